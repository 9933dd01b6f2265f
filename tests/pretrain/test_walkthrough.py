"""Real images all the way, in the commands of the how-to guide.

Corpus, training, stop, resume, evaluation, export, features. About 40 seconds on two cores, of which a third is the
corpus of thirteen images.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import kronos_sc as ks

MANIFEST = Path(__file__).parent / "corpus_build" / "real.toml"
WIDTH = 48  # of the network in the debug settings
CELLS = 60
PER_COMMAND = 900  # seconds; each takes 3 to 15


@pytest.fixture
def shell(real, tmp_path):
    """Return a function that runs `python -m kronos_pretrain …` in the folder of the test and returns what it said."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1", "KRONOS_SC_TEST_DATA": str(real.resolve())}

    def run(*words: str, status: int = 0) -> str:
        line = [sys.executable, "-m", "kronos_pretrain", *words]
        done = subprocess.run(
            line, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=PER_COMMAND
        )
        assert done.returncode == status, done.stderr[-3000:]
        return done.stdout + done.stderr

    return run


@pytest.fixture
def slide(real):
    """The lymph node of 56 channels, with its cells and the types that people gave them."""
    folder = real / "codex_lymph_56ch_labelled"
    sdata = ks.io.read_tiff(folder / "crop512.image.ome.tif", mask=folder / "crop512.mask.tif", mpp=0.5)
    types = pd.read_csv(folder / "cells.csv").set_index("label")["cell_type"]
    obs = sdata["table"].obs
    obs["cell_type"] = pd.Categorical(types.reindex(obs["cell_id"]).to_numpy())
    return sdata


@pytest.mark.slow(45)
@pytest.mark.filterwarnings("ignore:.*autosharding.*:UserWarning")
def test_from_real_images_to_features(shell, slide, tmp_path) -> None:
    output = shell("corpus", "build", str(MANIFEST), "corpus")
    assert "13 images (13 built, 0 as they were)" in output
    assert "excluded by their verdict: granuloma: CD163" in output
    assert "pixel size" not in output

    train = ("debug", "data.corpus=corpus", "data.simulate.images=0", "run.folder=runs/mine")
    assert "step 10 of 10" in shell(*train, "run.epochs=2")
    assert "goes on from step 10" in shell(*train)
    log = [json.loads(line) for line in (tmp_path / "runs/mine/metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in log] == list(range(1, 21))
    assert all(np.isfinite(row["loss/total"]) for row in log)

    slide.write(tmp_path / "slide.zarr")
    cut = ("labelled", "slide.zarr", "cells.npz", "--target", "cell_type", "--size", "32", "--per-class", "20")
    assert "55 markers" in shell(*cut, "--channel", "CD4 Cy7=")
    assert "cells.npz exists already. Name another file, or replace it with --overwrite." in shell(*cut, status=1)
    assert "mean intensities (baseline)" in shell("evaluate", "runs/mine", "cells.npz")

    shell("export", "runs/mine", "models/mine")
    slide.tables["table"] = slide["table"][:CELLS].copy()
    ks.tl.embed(slide, model=str(tmp_path / "models/mine/model"), channels={"CD4 Cy7": None}, precision="float32")
    record = ks.get.record(slide["table"])
    features = slide["table"].obsm["X_kronos"]
    assert features.shape == (CELLS, len(record["panel"]) * WIDTH)
    assert len(record["panel"]) == 52
    assert np.isfinite(features).all()
    assert np.ptp(features, axis=0).max() > 0
    assert (record["model"]["name"], record["model"]["trained"]) == ("mine", True)
    assert {"CD79A", "KAPPA"} <= set(record["panel"]["marker"]), "markers that are new to the paper's"
