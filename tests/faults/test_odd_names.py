"""Quotes, slashes, line breaks and other scripts in the names of channels, rows, regions and tables."""

import numpy as np
import pytest

import kronos_sc as ks
from kronos_sc._store import EmbeddingStore

pytestmark = pytest.mark.slow(13)  # seconds, for the file

CHANNELS = ("DAPI", "CD3 'ε' / \"e\"", "a\\b", "CD20\n2nd line", "细胞角蛋白 {0} %s")
MAP = {"CD3 'ε' / \"e\"": "CD3", "a\\b": "CD8", "CD20\n2nd line": "CD20", "细胞角蛋白 {0} %s": "unseen"}


@pytest.fixture
def odd(stored, tmp_path):
    return stored(tmp_path / "odd.zarr", channels=CHANNELS)


def embed(sdata, model, store, **how):
    ks.tl.embed(sdata, model=model, store=store, patch_size=32, precision="float32", device="cpu", **how)
    return next(iter(sdata.tables.values()))


def again_in_the_same_place(sdata, model, store, truth, **how):
    """The same call finds its store; the store holds what memory held."""
    for _ in range(2):
        values = np.asarray(embed(sdata, model, store, **how).obsm["X_kronos"])
        np.testing.assert_array_equal(values, truth)


def test_channels(odd, tiny, tmp_path):
    truth = embed(odd, tiny, False, channels=MAP).obsm["X_kronos"]
    again_in_the_same_place(odd, tiny, tmp_path / "x.zarr", truth, channels=MAP)
    record = EmbeddingStore(tmp_path / "x.zarr").record()
    assert list(record["panel"]["channel"]) == list(CHANNELS)
    assert list(record["panel"]["marker"])[1:4] == ["CD3", "CD8", "CD20"]
    other = MAP | {"a\\b": "CD4"}
    with pytest.raises(ValueError, match=r"another call: .*panel"):
        embed(odd, tiny, tmp_path / "x.zarr", channels=other)


NAMES = [
    "two\nlines",
    "tab\t",
    "",
    " ",
    "a/b",
    "..",
    "quote ' \"",
    "细胞",
    "e\u0301",
    "\u00e9",
    "🧬",
    "null\x00byte",
    "x" * 5000,
    "0",
    "None",
    "nan",
]


def test_names_of_rows(odd, tiny, tmp_path):
    names = np.array(
        [f"{NAMES[i % len(NAMES)]}{'' if i < len(NAMES) else i}" for i in range(odd["table"].n_obs)], dtype=object
    )
    odd["table"].obs_names = names
    truth = embed(odd, tiny, False, channels=MAP).obsm["X_kronos"]
    again_in_the_same_place(odd, tiny, tmp_path / "x.zarr", truth, channels=MAP)
    assert EmbeddingStore(tmp_path / "x.zarr").names().tolist() == names.tolist()
    changed = names.copy()
    changed[-1] += " "
    odd["table"].obs_names = changed
    with pytest.raises(ValueError, match="obs_names differ"):
        embed(odd, tiny, tmp_path / "x.zarr", channels=MAP)


@pytest.mark.filterwarnings("ignore:Observation names are not unique")
def test_names_of_rows_that_repeat(odd, tiny, tmp_path):
    odd["table"].obs_names = ["cell"] * odd["table"].n_obs
    truth = embed(odd, tiny, False, channels=MAP).obsm["X_kronos"]
    again_in_the_same_place(odd, tiny, tmp_path / "x.zarr", truth, channels=MAP)


def test_boundaries_between_names_count(odd, tiny, tmp_path):
    """["ab", "c"] and ["a", "bc"] are different rows."""
    rest = [f"r{i}" for i in range(odd["table"].n_obs - 2)]
    odd["table"].obs_names = ["ab", "c", *rest]
    embed(odd, tiny, tmp_path / "x.zarr", channels=MAP)
    odd["table"].obs_names = ["a", "bc", *rest]
    with pytest.raises(ValueError, match="obs_names differ"):
        embed(odd, tiny, tmp_path / "x.zarr", channels=MAP)


@pytest.mark.parametrize("key", ["a b", "a/b", "..", "ä", 'x"y', ""])
def test_names_of_the_embedding_are_checked_before_anything_is_made(odd, tiny, tmp_path, key):
    before = sorted(path.name for path in tmp_path.iterdir())
    if key in ("..", ""):  # allowed by its letters, or the default
        embed(odd, tiny, True, key_added=key, channels=MAP)
        made = {path.name for path in tmp_path.iterdir()} - set(before)
        assert made == {f"odd.table.{key or 'kronos'}.zarr"}
        return
    with pytest.raises(ValueError, match="is no name that can be stored"):
        embed(odd, tiny, True, key_added=key, channels=MAP)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_regions_and_tables(make, tiny, tmp_path):
    """As odd as SpatialData allows them."""
    import anndata
    import pandas as pd
    import spatialdata
    from spatialdata.models import TableModel

    region, name = ["Zellen-1.größe", "细胞_2"], "tabelle.ä-1"
    parts = [make(seed=seed) for seed in (1, 2)]
    tables = [part["table"] for part in parts]
    for table, one in zip(tables, region, strict=True):
        table.obs["region"] = pd.Categorical([one] * table.n_obs, categories=region)
        table.uns.clear()
    table = anndata.concat(tables, index_unique="-")
    table.obs["region"] = table.obs["region"].astype("category")
    keys = {
        "region_key": "region",
        "instance_key": next(
            column for column in table.obs if column != "region" and table.obs[column].dtype.kind == "i"
        ),
    }
    sdata = spatialdata.SpatialData(
        images={f"image-{one}": part["image"] for one, part in zip(region, parts, strict=True)},
        labels={one: part["cells"] for one, part in zip(region, parts, strict=True)},
        tables={name: TableModel.parse(table, region=region, **keys)},
    )
    sdata.write(tmp_path / "t.zarr")
    sdata = spatialdata.read_zarr(tmp_path / "t.zarr")
    how = {"image_key": {one: f"image-{one}" for one in region}}
    truth = embed(sdata, tiny, False, **how).obsm["X_kronos"]
    again_in_the_same_place(sdata, tiny, True, truth, **how)
    store = EmbeddingStore(tmp_path / f"t.{name}.kronos.zarr")
    assert sorted(store.record()["params"]["regions"]) == sorted(region)
    np.testing.assert_array_equal(store.features("marker").compute(), truth)
