"""Units on artifacts are not embedded."""

import shutil

import numpy as np
import pytest
import spatialdata
from spatialdata.models import Labels2DModel

import kronos_sc as ks

HOW = {"precision": "float32", "device": "cpu", "patch_size": 32}


@pytest.fixture
def damaged():
    """Return a function that adds labels 1 at the left and 2 at the top right of the image."""

    def add(sdata):
        codes = np.zeros((150, 190), np.uint8)
        codes[:, :60], codes[:40, 100:] = 1, 2
        sdata.labels["artifacts"] = Labels2DModel.parse(codes, dims=("y", "x"))
        return codes

    return add


def centres(table):
    x, y = np.floor(table.obsm["spatial"]).astype(int).T
    return y, x


def test_rows_on_excluded_pixels_are_missing_and_the_others_are_the_same(make, tiny, damaged):
    sdata = make()
    codes = damaged(sdata)
    ks.tl.embed(sdata, model=tiny, **HOW)
    table = sdata["table"]
    whole = table.obsm["X_kronos"].copy()
    assert "kronos_excluded" not in table.obs
    ks.tl.embed(sdata, model=tiny, exclude={"artifacts": [1]}, **HOW)
    out = codes[centres(table)] == 1
    assert 0 < out.sum() < len(out)
    np.testing.assert_array_equal(table.obs["kronos_excluded"], out)
    assert np.isnan(table.obsm["X_kronos"][out]).all()
    np.testing.assert_allclose(table.obsm["X_kronos"][~out], whole[~out], atol=1e-5)
    assert list(ks.get.record(table)["params"]["exclude"]) == ["artifacts: 1"]
    ks.tl.embed(sdata, model=tiny, **HOW)
    assert "kronos_excluded" not in table.obs, "a flag of an earlier call must not stay behind"


def test_boxes_too(make, tiny, damaged):
    sdata = make()
    codes = damaged(sdata)
    ks.pp.tile(sdata, size=32)
    ks.tl.embed(sdata, model=tiny, shapes_key="patches", exclude="artifacts", precision="float32", device="cpu")
    table = sdata["patches_table"]
    np.testing.assert_array_equal(np.isnan(table.obsm["X_kronos"]).all(axis=1), codes[centres(table)] > 0)


def test_a_store_goes_on_with_the_same_exclusion_only(make, tiny, damaged, tmp_path):
    sdata = make()
    damaged(sdata)
    how = {"model": tiny, "store": tmp_path / "s.zarr", **HOW}
    ks.tl.embed(sdata, exclude={"artifacts": [1]}, **how)
    first = np.asarray(sdata["table"].obsm["X_kronos"])
    ks.tl.embed(sdata, exclude={"artifacts": [1]}, **how)
    np.testing.assert_array_equal(np.asarray(sdata["table"].obsm["X_kronos"]), first)
    with pytest.raises(ValueError, match=r"holds an embedding of another call.*exclude"):
        ks.tl.embed(sdata, exclude={"artifacts": [2]}, **how)
    with pytest.raises(ValueError, match=r"holds an embedding of another call.*exclude"):
        ks.tl.embed(sdata, **how)
    # the same words, other pixels
    sdata["artifacts"].data = sdata["artifacts"].data[:, ::-1]
    with pytest.raises(ValueError, match=r"holds an embedding of another call.*units"):
        ks.tl.embed(sdata, exclude={"artifacts": [1]}, **how)


def test_statistics_of_unseen_markers_leave_excluded_pixels_out(make, tiny, damaged):
    sdata = make()
    damaged(sdata)
    sdata["image"].data[:, :, :60] = 60000  # what lies under the artifact would shift every mean
    out = {"artifacts": [1]}
    ks.tl.embed(sdata, model=tiny, channels={"CD8": "unseen"}, exclude=out, **HOW)
    panel = ks.get.record(sdata)["panel"].set_index("channel")
    measured = ks.pp.marker_stats(sdata, exclude=out).loc["CD8"]
    assert panel.loc["CD8", "mean"] == pytest.approx(measured["mean"], rel=1e-6)
    assert panel.loc["CD8", "mean"] < ks.pp.marker_stats(sdata).loc["CD8", "mean"] * 0.9


def test_flags_travel_with_the_store_and_into_the_table(tiny, damaged, stored, tmp_path):
    sdata = stored(tmp_path / "slide.zarr")
    damaged(sdata)
    ks.tl.embed(sdata, model=tiny, store=tmp_path / "s.zarr", exclude={"artifacts": [1]}, **HOW)
    flags = sdata["table"].obs["kronos_excluded"].to_numpy()
    assert flags.any()
    ks.io.write_embedding(sdata)
    again = spatialdata.read_zarr(sdata.path)["table"]
    np.testing.assert_array_equal(again.obs["kronos_excluded"], flags)
    part = sdata["table"][::-2].copy()
    del part.obs["kronos_excluded"]
    ks.io.read_embedding(part, tmp_path / "s.zarr")
    np.testing.assert_array_equal(part.obs["kronos_excluded"], flags[::-2])
    ks.tl.embed(sdata, model=tiny, **HOW)  # without: the flag on disk goes too
    ks.io.write_embedding(sdata)
    assert "kronos_excluded" not in spatialdata.read_zarr(sdata.path)["table"].obs


def test_errors_come_before_any_work(make, tiny, damaged, state, unchanged):
    sdata = make()
    damaged(sdata)
    sdata.labels["all"] = Labels2DModel.parse(np.ones((150, 190), np.uint8), dims=("y", "x"))
    before = state(sdata)
    with pytest.raises(KeyError, match=r"There is no labels 'artifact'; there are: .* Did you mean 'artifacts'"):
        ks.tl.embed(sdata, model=tiny, exclude="artifact", **HOW)
    with pytest.raises(ValueError, match=r"All \d+ units lie on excluded pixels \('all'\)"):
        ks.tl.embed(sdata, model=tiny, exclude="all", **HOW)
    unchanged(before, state(sdata))


def test_a_stopped_call_goes_on_where_it_was(make, tiny, damaged, tmp_path, monkeypatch, caplog):
    """A block that is gone is computed anew, for the units that are not excluded."""
    monkeypatch.setattr(ks.settings, "block_memory", 2**16)
    sdata = make()
    damaged(sdata)
    how = {"model": tiny, "store": tmp_path / "s.zarr", "exclude": "artifacts", **HOW}
    ks.tl.embed(sdata, **how)
    first = np.asarray(sdata["table"].obsm["X_kronos"])
    flags = sdata["table"].obs["kronos_excluded"].copy()
    shutil.rmtree(tmp_path / "s.zarr" / "marker" / "c" / "1")
    with caplog.at_level("INFO", "kronos_sc"):
        ks.tl.embed(sdata, **how)
    assert "blocks" in caplog.text
    assert "are in" in caplog.text
    np.testing.assert_allclose(np.asarray(sdata["table"].obsm["X_kronos"]), first, atol=1e-6)
    assert sdata["table"].obs["kronos_excluded"].equals(flags)
