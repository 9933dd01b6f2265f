"""What is meant where nothing is named: units and tissue, not maps of classes."""

import numpy as np
import pytest

import kronos_sc as ks


@pytest.fixture
def mapped():
    """Tissue with truth of regions, and with a map drawn over it."""
    import geopandas
    import shapely
    import spatialdata

    sdata = ks.datasets.tissue(shape=(128, 128), channels=["DAPI", "CD8"], regions=True)
    boxes = shapely.box([0, 64, 0, 64], [0, 0, 64, 64], [64, 128, 64, 128], [64, 64, 128, 128])
    frame = geopandas.GeoDataFrame({"class": ["a", "b", "b", "a"]}, geometry=boxes)
    sdata["boxes"] = spatialdata.models.ShapesModel.parse(frame)
    probe = ks.tl.dense_probe(sdata, "boxes", model="mean-marker", patch_size=64, options=ks.tl.DenseOptions(C=1.0))
    ks.tl.predict_map(sdata, probe)
    return sdata


def test_calls_that_name_nothing_still_find_the_cells(mapped, tmp_path):
    def calls(sdata):
        ks.tl.embed(sdata, model="mean-marker")
        assert list(ks.pp.marker_stats(sdata).index) == ["DAPI", "CD8"]
        ks.pp.tile(sdata, size=64)
        ks.pp.label_table(sdata, key_added="again")
        assert set(sdata["again"].obs["region"]) == {"cells"}

    calls(mapped)
    assert "X_mean_marker" in mapped["table"].obsm
    for name in ("patches", "patches_table", "again"):
        del mapped[name]
    mapped.write(tmp_path / "s.zarr")
    from spatialdata import read_zarr

    calls(read_zarr(tmp_path / "s.zarr"))


def test_a_map_without_its_table_is_no_tissue(mapped):
    del mapped.tables["map_table"]
    assert ks.pp.marker_stats(mapped)["images"].eq(1).all()


def test_a_table_of_classes_is_found_by_its_name(mapped):
    with pytest.raises(KeyError, match=r"'nope'.*'map_table'"):
        ks.tl.embed(mapped, model="mean-marker", table_key="nope")


def test_every_image_takes_the_labels_of_its_number_alone_or_together():
    sdata = ks.datasets.tissue(shape=(96, 96), channels=["DAPI", "CD8"], n_images=2, artifacts=["blur"])
    both = ["artifacts_0", "artifacts_1"]
    table = sdata["table"]
    ks.tl.embed(sdata, model="mean-marker", exclude=both)
    together = table.obs["mean_marker_excluded"].to_numpy().copy()
    assert 0 < together.sum() < len(together)
    for number in (0, 1):
        mine = table.obs["element"].to_numpy() == f"cells_{number}"
        ks.tl.embed(sdata, model="mean-marker", exclude=both, labels_key=f"cells_{number}")
        np.testing.assert_array_equal(table.obs["mean_marker_excluded"].to_numpy()[mine], together[mine])
    alone = ks.pp.marker_stats(sdata, image_key="image_1", exclude=both)
    assert alone["pixels"].iloc[0] == (np.asarray(sdata["artifacts_1"]) == 0).sum()
