from __future__ import annotations

import numpy as np
import pytest

from kronos_sc.datasets import tissue

CODES = {"blur": 1, "saturation": 2, "fold": 3}


@pytest.fixture(scope="module")
def pair():
    """The same tissue, clean and damaged."""
    arguments = {"shape": (360, 360), "channels": ["DAPI", "CD45"], "rng": 4}
    return tissue(**arguments), tissue(**arguments, artifacts=["saturation", "fold", "blur"])


def test_artifacts_are_where_the_mask_says(pair):
    clean, damaged = pair
    assert "artifacts" not in clean
    mask = np.asarray(damaged["artifacts"])
    before = np.asarray(clean["image"])
    after = np.asarray(damaged["image"])
    assert set(np.unique(mask)) == {0, *CODES.values()}
    assert np.array_equal(clean["cells"], damaged["cells"])
    assert np.array_equal(before[:, mask == 0], after[:, mask == 0])
    for code in CODES.values():
        assert 0.005 < (mask == code).mean() < 0.4
        assert (before[:, mask == code] != after[:, mask == code]).mean() > 0.9


def test_each_artifact_does_what_it_is_called(pair):
    clean, damaged = pair
    mask = np.asarray(damaged["artifacts"])
    before, after = (np.asarray(sdata["image"].sel(c="DAPI")).astype(float) for sdata in (clean, damaged))
    assert (np.asarray(damaged["image"])[:, mask == CODES["saturation"]] == 65535).all()
    blurred = mask == CODES["blur"]
    folded = mask == CODES["fold"]
    assert after[blurred].std() < 0.7 * before[blurred].std()
    assert after[blurred].mean() == pytest.approx(before[blurred].mean(), rel=0.1)
    assert after[folded].mean() > 1.5 * before[folded].mean()


def test_rows_say_which_cells_are_hit(pair):
    clean, damaged = pair
    table = damaged["table"]
    mask = np.asarray(damaged["artifacts"])
    x, y = table.obsm["spatial"].astype(int).T
    assert np.array_equal(table.obs["artifact"].cat.codes, mask[y, x])
    assert (clean["table"].obs["artifact"] == "none").all()
    assert np.array_equal(clean["table"].layers["truth"], table.layers["truth"])


def test_one_artifact_alone():
    sdata = tissue(shape=(128, 128), channels=["DAPI"], n_images=2, artifacts=("fold",))
    assert set(np.unique(sdata["artifacts_1"])) == {0, CODES["fold"]}
    assert not np.array_equal(sdata["artifacts_0"], sdata["artifacts_1"])
