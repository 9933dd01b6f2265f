from __future__ import annotations

import os
import subprocess
import sys
from hashlib import sha256

import numpy as np
import pytest

from kronos_sc.datasets import tissue

SMALL = {"shape": (96, 112), "channels": ["DAPI", "CD8", "COLLAGEN", "CD21", "CD68"], "rng": 7}


def test_bytes_are_those_of_the_day_this_was_written():
    """Every figure and threshold made on simulated tissue rests on this; if it must change, say so in the changelog."""
    sdata = tissue(**SMALL)
    pixels, labels = (np.ascontiguousarray(sdata[name]) for name in ("image", "cells"))
    assert (
        sha256(pixels.astype("<u2").tobytes()).hexdigest()
        == "289eb04bed3187264f90269e24b392c0d5d59980939e10a0eafa4aa5b0dabbd0"
    )
    assert (
        sha256(labels.astype("<i4").tobytes()).hexdigest()
        == "c69b9eb734816ff9637ef4cff4958862b78f2d5783c691467c00a36a124b60c2"
    )


def test_processor_does_not_matter():
    """Without numpy's vector instructions, mathematical functions differ in the last bit, and the pixels do not."""
    umath = pytest.importorskip("numpy._core._multiarray_umath")
    script = (
        "import sys; from hashlib import sha256; import numpy as np; from kronos_sc.datasets import tissue\n"
        f"sdata = tissue(**{ {**SMALL, 'shape': (256, 256)}!r})\n"
        "sys.stdout.write(sha256(b''.join(np.asarray(sdata[name]).tobytes() for name in ('image', "
        "'cells'))).hexdigest())"
    )
    hashes = {
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", script],
            env={**os.environ, "NPY_DISABLE_CPU_FEATURES": " ".join(off)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for off in ((), umath.__cpu_dispatch__)
    }
    assert len(hashes) == 1


def test_same_seed_same_study_other_seed_another():
    first = tissue(**SMALL)
    again = tissue(**SMALL)
    other = tissue(**{**SMALL, "rng": 8})
    assert np.array_equal(first["image"], again["image"])
    assert first["table"].obs.equals(again["table"].obs)
    assert np.array_equal(first["table"].X, again["table"].X)
    assert not np.array_equal(first["image"], other["image"])


def test_generator_moves_on():
    rng = np.random.default_rng(7)
    first, second = (tissue(**{**SMALL, "rng": rng}) for _ in range(2))
    assert np.array_equal(first["image"], tissue(**SMALL)["image"])
    assert not np.array_equal(first["image"], second["image"])
    assert isinstance(first["table"].uns["tissue"]["rng"], str)


def test_fewer_channels_change_neither_cells_nor_the_others():
    every = tissue(**SMALL)
    few = tissue(**{**SMALL, "channels": ["CD68", "DAPI"]})
    assert np.array_equal(every["cells"], few["cells"])
    for name in ("CD68", "DAPI"):
        assert np.array_equal(every["image"].sel(c=name), few["image"].sel(c=name))
        assert np.array_equal(every["table"][:, name].X, few["table"][:, name].X)
    assert every["table"].obs.equals(few["table"].obs)


def test_more_images_leave_the_first_as_it_was():
    alone = tissue(**SMALL)
    two = tissue(**SMALL, n_images=2)
    assert np.array_equal(alone["image"], two["image_0"])
    assert not np.array_equal(two["image_0"], two["image_1"])


@pytest.mark.parametrize("shape", [(64, 64), (64, 200), (65, 131)])
def test_small_and_uneven_shapes(shape):
    sdata = tissue(shape=shape, channels=["DAPI"], artifacts=["blur", "fold", "saturation"])
    assert sdata["image"].shape == (1, *shape)
    assert sdata["table"].n_obs > 5
