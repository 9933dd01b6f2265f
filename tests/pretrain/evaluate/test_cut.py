"""Labelled patches from tissue: the right windows, parts that share no pixel, the same for the same seed."""

from __future__ import annotations

import numpy as np
import pytest

import kronos_sc as ks
from kronos_pretrain.evaluate.cut import from_spatialdata, simulated


@pytest.fixture
def tissue(make):
    """Round cells on noise, two classes and a few cells without one."""
    sdata = make((160, 300))
    obs = sdata["table"].obs
    obs["kind"] = np.array(["even", "odd"])[np.arange(len(obs)) % 2]
    obs.loc[obs.index[::10], "kind"] = np.nan
    return sdata


def windows(sdata, size):
    """Every window as `get.patches` reads it, by its bytes."""
    cut = ks.get.patches(sdata, list(sdata["table"].obs_names), patch_size=size)
    return {cut.values[i].tobytes(): i for i in range(len(cut))}, cut


def test_windows_are_those_of_the_library(tissue):
    cells = from_spatialdata(tissue, target="kind", size=32)
    known, cut = windows(tissue, 32)
    rows = [known[patch.tobytes()] for patch in cells.pixels]
    np.testing.assert_array_equal(cells.mask, cut["mask"].values[rows])
    assert cells.labels.tolist() == tissue["table"].obs["kind"].to_numpy()[rows].tolist()
    assert list(cells.markers) == cut["c"].to_numpy().tolist()
    assert cells.scale == 65535


def test_halves_share_no_pixel(tissue):
    cells = from_spatialdata(tissue, target="kind", size=32)
    known, cut = windows(tissue, 32)
    left = np.array([cut["left"].values[known[patch.tobytes()]] for patch in cells.pixels])
    assert left[cells.split == "train"].max() + 32 <= left[cells.split == "test"].min()
    top = np.array([cut["top"].values[known[patch.tobytes()]] for patch in cells.pixels])
    assert min(left.min(), top.min()) >= 0  # none reaches beyond the image
    assert (left + 32).max() <= 300
    assert (top + 32).max() <= 160


def test_a_given_split_channels_and_a_limit_per_class(tissue):
    obs = tissue["table"].obs
    obs["part"] = np.array(["train", "test", "other"])[np.arange(len(obs)) % 3]
    cells = from_spatialdata(
        tissue, target="kind", size=32, split="part", channels=["CD8", "DAPI"], n_per_class=3, mask=False
    )
    known, _ = windows(tissue, 32)
    assert cells.pixels.shape[1:] == (2, 32, 32)
    assert cells.mask is None
    assert [
        ((cells.labels == label) & (cells.split == part)).sum() for label in cells.classes for part in ("train", "test")
    ] == [3] * 4
    whole = from_spatialdata(tissue, target="kind", size=32, split="part", mask=False)
    rows = [known[patch.tobytes()] for patch in whole.pixels]
    assert whole.split.tolist() == obs["part"].to_numpy()[rows].tolist()


def test_channels_are_named_and_dropped(tissue):
    plain = from_spatialdata(tissue, target="kind", size=32)
    cells = from_spatialdata(tissue, target="kind", size=32, channels={"CD8": None, "CD20": "MS4A1"})
    assert cells.markers == ("DAPI", "CD3", "MS4A1", "CYTOKERATIN")
    np.testing.assert_array_equal(cells.pixels, plain.pixels[:, [0, 1, 3, 4]])
    with pytest.raises(ValueError, match="give 'CD3' to several channels"):
        from_spatialdata(tissue, target="kind", size=32, channels={"CD8": "CD3"})
    with pytest.raises(ValueError, match="leave none of 'DAPI'"):
        from_spatialdata(
            tissue, target="kind", size=32, channels=dict.fromkeys(("DAPI", "CD3", "CD8", "CD20", "CYTOKERATIN"))
        )


def test_the_seed_decides_which_cells(tissue):
    one, same, other = (
        from_spatialdata(tissue, target="kind", size=32, n_per_class=4, seed=seed) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one.pixels, same.pixels)
    assert not np.array_equal(one.pixels, other.pixels)


def test_from_a_store_on_disk(stored, tmp_path):
    sdata = stored(tmp_path / "slide.zarr", shape=(160, 300))
    sdata["table"].obs["kind"] = np.array(["even", "odd"])[np.arange(sdata["table"].n_obs) % 2]
    sdata.delete_element_from_disk("table")
    sdata.write_element("table")
    cells = from_spatialdata(tmp_path / "slide.zarr", target="kind", size=32)
    np.testing.assert_array_equal(cells.pixels, from_spatialdata(sdata, target="kind", size=32).pixels)
    assert cells.name == "slide · kind"
    with pytest.raises(FileNotFoundError, match="no SpatialData store"):
        from_spatialdata(tmp_path / "none.zarr", target="kind")


@pytest.mark.row(
    "`labelled` with a size that is no multiple of 16, channels of one name, an output that exists",
    "cells for `labelled` without two classes in both halves; unknown column or channel",
)
def test_what_cannot_be_cut(tissue):
    with pytest.raises(ValueError, match=r"size=20 is no multiple of 16, .* windows of 16 pixels"):
        from_spatialdata(None, target="kind", size=20)  # said before anything is read
    with pytest.raises(KeyError, match=r"no column of obs 'kinds'.*Did you mean 'kind'"):
        from_spatialdata(tissue, target="kinds")
    with pytest.raises(KeyError, match="no channel 'CD33'"):
        from_spatialdata(tissue, target="kind", channels=["CD33"], size=32)
    tissue["table"].obs["one"] = "same"
    with pytest.raises(ValueError, match="Fewer than two classes have 2 cells both to train and to test on"):
        from_spatialdata(tissue, target="one", size=32)
    from_spatialdata(tissue, target="kind", channels=["CD3"], size=16)


def test_simulated_cells_are_repeatable_and_balanced():
    one, same, other = (simulated(80, size=32, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.pixels, same.pixels)
    assert not np.array_equal(one.pixels[:10], other.pixels[:10])
    assert 40 <= len(one) <= 80
    assert one.pixels.shape[1:] == (20, 32, 32)
    assert one.pixels.dtype == np.uint16  # the intensities that training on simulated tissue sees
    assert one.mask.any((1, 2)).all()
    assert {"Tumor", "B cell"} <= set(one.classes)
    counts = np.unique(one.labels, return_counts=True)[1]
    assert counts.max() <= 2 * 4
