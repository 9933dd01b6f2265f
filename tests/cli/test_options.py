import inspect
import re
from pathlib import Path

import anndata
import numpy as np
import pytest
import spatialdata

from kronos_sc import get, models, tl

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "cli.md"
EMBED = inspect.signature(tl.embed)


@pytest.fixture
def taken(monkeypatch):
    """What `tl.embed` was called with."""
    kwargs = {}
    monkeypatch.setattr(tl, "embed", lambda sdata, **given: kwargs.update(given))
    return kwargs


@pytest.fixture
def cells(store, tmp_path):
    return (store, "--model", "mean-marker", "--output", tmp_path / "cells.h5ad")


def test_what_is_left_out_is_the_default(call, cells, taken):
    assert call("embed", *cells).exit_code == 0
    defaults = {name: of.default for name, of in EMBED.parameters.items()}
    same = set(taken) - {"model", "table_key", "features"}
    assert {name: taken[name] for name in same} == {name: defaults[name] for name in same}


@pytest.mark.parametrize(
    ("arguments", "name", "value"),
    [
        (["--nan", "zero"], "nan", "zero"),
        (["--no-nuclear"], "require_nuclear", False),
        (["--dtype", "float16"], "dtype", "float16"),
        (["--mpp", "0.5"], "mpp", 0.5),
        (["--mask-fill", "none"], "mask_fill", None),
        (["--mask-fill", "zero"], "mask_fill", "zero"),
        (["--token-overlap"], "token_overlap", True),
        (["--no-token-overlap"], "token_overlap", False),
        (["--spatial-key", "centre"], "spatial_key", "centre"),
    ],
)
def test_options_arrive(call, cells, taken, arguments, name, value):
    done = call("embed", *cells, *arguments)
    assert done.exit_code == 0, done.stderr
    assert taken[name] == value


def test_the_level_arrives(call, make, taken, tmp_path):
    from spatialdata.models import Image2DModel

    path = tmp_path / "levels.zarr"
    sdata = make()
    name = next(iter(sdata.images))
    image = sdata[name]
    del sdata.images[name]
    sdata.images[name] = Image2DModel.parse(image.data, dims=image.dims, c_coords=image.c.data, scale_factors=[2])
    sdata.write(path)
    done = call("embed", path, "--model", "mean-marker", "--scale", "scale1")
    assert done.exit_code == 0, done.stderr
    assert taken["scale"] == "scale1"
    assert "scale9" in call("embed", path, "--model", "mean-marker", "--scale", "scale9").stderr


@pytest.mark.parametrize("blocks", ["official", "all"])
def test_blocks_arrive(call, store, checkpoint, taken, tmp_path, blocks):
    done = call("embed", store, "--model", checkpoint, "--blocks", blocks, "--output", tmp_path / "cells.h5ad")
    assert done.exit_code == 0, done.stderr
    assert isinstance(taken["model"], models.Model)
    assert taken["model"].facts["blocks"] == blocks


def test_options_act(call, store, tmp_path):
    path = tmp_path / "cells.h5ad"
    refused = call("embed", store, "--model", "mean-marker", "--channels", "CD8,CD31", "--output", path)
    assert refused.exit_code == 1
    done = call(
        "embed",
        store,
        "--model",
        "mean-marker",
        "--channels",
        "CD8,CD31",
        "--no-nuclear",
        "--mask-fill",
        "none",
        "--output",
        path,
    )
    assert done.exit_code == 0, done.stderr
    entry = get.record(anndata.read_h5ad(path), key="mean_marker")
    assert entry["panel"]["marker"].tolist() == ["CD8", "CD31"]
    assert not {"mean", "zero"} & set(entry["params"]["mask_fill"])


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--nan", "skip"], "--nan='skip' is not a choice; --nan can be 'error', 'zero'"),
        (["--mask-fill", "black"], "--mask-fill='black' is not a choice; --mask-fill can be 'mean', 'zero', 'none'"),
        (["--dtype", "int8"], "--dtype='int8' is not a choice; --dtype can be 'float32', 'float16'"),
        (["--blocks", "some"], "--blocks='some' is not a choice; --blocks can be 'official', 'all'"),
        (["--blocks", "all"], "blocks and token_overlap do not apply to it"),
    ],
)
def test_errors_name_what_the_shell_has(call, cells, taken, arguments, text):
    done = call("embed", *cells, *arguments)
    assert done.exit_code == 1
    assert text in done.stderr
    assert taken == {}


def test_every_option_has_its_row():
    from typer.main import get_command

    from kronos_sc._cli import app

    rows = set(re.findall(r"--[a-z-]+", PAGE.read_text(encoding="utf-8")))
    names = {
        name
        for of in get_command(app).commands["embed"].params
        for name in (*of.opts, *of.secondary_opts)
        if name.startswith("--")
    }
    assert names - rows <= {"--debug", "--help"}


@pytest.fixture
def pairs(make, tmp_path):
    """Two fields paired by number, and before them an image of another panel that no field lies on."""
    from spatialdata import SpatialData
    from spatialdata.models import Image2DModel, TableModel

    fields = {number: make(shape=(96, 96)) for number in (1, 2)}
    other = Image2DModel.parse(np.zeros((1, 96, 96), "uint16"), dims=("c", "y", "x"), c_coords=["Overview"])
    tables = []
    for number, sdata in fields.items():
        cells = next(iter(sdata.tables.values())).copy()
        attributes = cells.uns.pop("spatialdata_attrs")
        cells.obs = cells.obs.assign(field=f"cells_{number}", number=cells.obs[attributes["instance_key"]].to_numpy())[
            ["field", "number"]
        ]
        tables.append(cells)
    both = anndata.concat(tables, index_unique="-", keys=["a", "b"])
    both.obs["field"] = both.obs["field"].astype("category")
    sdata = SpatialData(
        images={"a_0": other} | {f"image_{n}": next(iter(s.images.values())) for n, s in fields.items()},
        labels={f"cells_{n}": next(iter(s.labels.values())) for n, s in fields.items()},
        tables={
            "table": TableModel.parse(both, region=["cells_1", "cells_2"], region_key="field", instance_key="number")
        },
    )
    sdata.write(tmp_path / "pairs.zarr")
    return tmp_path / "pairs.zarr"


def test_channels_are_those_of_the_images_that_are_read(call, pairs, taken):
    assert next(iter(spatialdata.read_zarr(pairs).images)) == "a_0"
    done = call("embed", pairs, "--model", "mean-marker", "--channels", "DAPI,CD8")
    assert done.exit_code == 0, done.stderr
    assert taken["channels"] == ["DAPI", "CD8"]
    done = call("embed", pairs, "--model", "mean-marker", "--channels", "DAPI,CD8", "--map", "CD8=CD3")
    assert taken["channels"] == {"CD3": None, "CD20": None, "CYTOKERATIN": None, "CD8": "CD3"}
    assert (
        "There is no channel 'Overview'"
        in call("embed", pairs, "--model", "mean-marker", "--channels", "Overview").stderr
    )


def test_a_list_of_channels_is_embedded_for_every_pair(call, pairs, tmp_path):
    path = tmp_path / "cells.h5ad"
    done = call("embed", pairs, "--model", "mean-marker", "--channels", "DAPI,CD8", "--output", path)
    assert done.exit_code == 0, done.stderr
    assert np.isfinite(anndata.read_h5ad(path).obsm["X_mean_marker"]).all()
