"""Advice about boxes, panel files and answers of a search, followed to the letter."""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path

import geopandas
import numpy as np
import pandas as pd
import pytest
import shapely
from anndata import AnnData
from spatialdata.models import Labels2DModel, ShapesModel, TableModel

import kronos_sc as ks
from kronos_sc import pl, pp, tl
from kronos_sc.markers._panel_file import read_channel_names


@pytest.fixture
def typed(make):
    """An image, cells of two types, and boxes of 32 pixels."""
    sdata = make((96, 96))
    table = sdata["table"]
    table.obs["cell_type"] = pd.Categorical(np.array(["T", "B"])[np.arange(table.n_obs) % 2])
    pp.tile(sdata, size=32)
    return sdata


def majority(sdata, **how):
    pp.majority_labels(sdata, "cell_type", **how)


@pytest.mark.row("circles, polygons or rotated boxes", "boxes smaller than a pixel of the labels")
@pytest.mark.parametrize(
    "outline", [shapely.Polygon([(0, 0), (32, 0), (0, 32)]), shapely.box(3.1, 3.1, 3.3, 3.3)], ids=["triangle", "tiny"]
)
def test_boxes_are_made(typed, advice, outline):
    typed["mine"] = ShapesModel.parse(geopandas.GeoDataFrame(geometry=[outline]))
    obs = pd.DataFrame({"region": pd.Categorical(["mine"]), "id": [0]}, index=["a"])
    typed["mine_table"] = TableModel.parse(AnnData(obs=obs), region="mine", region_key="region", instance_key="id")
    message = advice.of(lambda: majority(typed, shapes_key="mine"))
    assert "oxes with pp.tile" in message
    pp.tile(typed, size=16, key_added="mine", overwrite=True)
    majority(typed, shapes_key="mine")


@pytest.mark.row(
    "ids of cells that the labels do not hold, boxes that lie elsewhere",
    "one label in two rows of the table",
    "two tables or two segmentations and none named",
)
def test_rows_that_are_cells_of_the_labels(typed, advice):
    ids = typed["table"].obs["cell_id"].to_numpy().copy()
    typed["table"].obs["cell_id"] = ids + 100_000
    assert "check that they are the values of labels 'cells'" in advice.of(lambda: majority(typed))
    typed["table"].obs["cell_id"] = np.r_[ids[0], ids[0], ids[2:]]
    text = advice.code(advice.of(lambda: majority(typed)), "table[~")
    typed.tables["table"] = eval(text, {"table": typed["table"]}).copy()
    majority(typed)
    typed["again"] = typed["table"].copy()
    assert "Choose one with table_key=" in advice.of(lambda: majority(typed))
    majority(typed, table_key="table")
    for wrong in ({"shapes_key": "patch"}, {"background": "count"}, {"key_added": "region"}):
        message = advice.of(lambda w=wrong: majority(typed, table_key="table", **w))
        majority(typed, table_key="table", **advice.corrected(message, wrong))


@pytest.fixture
def probed():
    """Patches that a probe has guessed: `tests/tl/test_ratio_scores.py` makes them."""
    path = Path(__file__).parents[1] / "tl" / "test_ratio_scores.py"
    spec = importlib.util.spec_from_file_location("ratio_score_cases", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module.probed, "__wrapped__", None) or module.probed._get_wrapped_function()


@pytest.mark.row("ratios or thresholds in percent", "no box above the lowest threshold")
def test_shares(probed, advice):
    adata = probed()
    adata.obs["majority_ratio"] *= 100
    assert "Percent are divided by 100" in advice.of(lambda: tl.ratio_scores(adata))
    adata.obs["majority_ratio"] /= 100
    assert "Percent are divided by 100" in advice.of(lambda: tl.ratio_scores(adata, thresholds=(20, 40)))
    tl.ratio_scores(adata, thresholds=(0.2, 0.4))
    adata.obs["majority_ratio"] = 0.1
    message = advice.of(lambda: tl.ratio_scores(adata))
    tl.ratio_scores(adata, thresholds=(float(message.split("the largest is ")[1].split(")")[0]),))


@pytest.mark.row("boxes whose image no cells belong to")
def test_cells_and_boxes_name_their_image(advice):
    sdata = ks.datasets.tissue(shape=(96, 96), n_images=2, channels=["DAPI"])
    pp.tile(sdata, size=48, image_key="image_1", key_added="boxes")
    cells = sdata["table"]
    boxes = sdata["boxes_table"]
    how = {"target": "cell_type", "radius": 5, "patches": boxes, "patch_size": 48}
    kind = cells.obs["cell_type"].astype(str).iloc[0]
    assert "with library_key=" in advice.of(lambda: tl.motif_query(cells, [kind], **how))
    cells.obs["where"] = cells.obs["element"].astype(str).str.replace("cells", "image")
    boxes.obs["where"] = "image_1"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        tl.motif_query(cells, [kind], library_key="where", **how)


@pytest.mark.row("a gallery of answers that lie in another SpatialData")
def test_the_searched_one_is_passed(make, advice):
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    one = make((64, 64))
    other = make((64, 64), seed=1)
    other["table"].obs_names = "other_" + other["table"].obs_names
    for sdata in (one, other):
        tl.embed(sdata, model="mean-marker", key_added="kronos")
    tl.retrieve(one["table"], list(one["table"].obs_names[:2]), reference=other["table"], k=2)
    assert "Pass the SpatialData that was searched as reference=" in advice.of(lambda: pl.retrieval(one))
    pl.retrieval(one, reference=other)
    plt.close("all")


@pytest.mark.row(
    "a workbook, a TIFF, a web page in place of a panel",
    "more cells in a row than the header has",
    "rows not in the order of their channel number",
    "a table of cycles and channels",
)
@pytest.mark.parametrize(
    ("content", "says", "then"),
    [
        ("<html>DAPI\nCD3", "Save it as CSV UTF-8", "DAPI\nCD3"),
        ("marker,cycle\nDAPI,1\nKi-67, B56,1\n", "in quotes", 'marker,cycle\nDAPI,1\n"Ki-67, B56",1\n'),
        ("channel_number,name\n2,a\n1,b\n3,c\n3,d\n", "Sort the rows", "channel_number,name\n1,b\n2,a\n3,c\n4,d\n"),
    ],
)  # fmt: skip
def test_a_panel_is_written_again(tmp_path, advice, content, says, then):
    path = tmp_path / "panel.csv"
    path.write_text(content)
    assert says in advice.of(lambda: read_channel_names(path))
    path.write_text(then)
    assert len(read_channel_names(path)) >= 2


@pytest.mark.row("a missing Zarr chunk of labels that held cells of the table")
def test_rows_of_a_lost_chunk_are_left_out(make, advice):
    sdata = make((64, 64))
    labels = np.asarray(sdata["cells"].data).copy()
    lost = np.unique(labels[:20, :20])[1:]
    sdata["cells"] = Labels2DModel.parse(np.where(np.isin(labels, lost), 0, labels), dims=("y", "x"))
    text = advice.code(advice.of(lambda: tl.embed(sdata, model="mean-marker")), "table[~")
    sdata.tables["table"] = eval(text.replace("...", ", ".join(map(str, lost))), {"table": sdata["table"]}).copy()
    tl.embed(sdata, model="mean-marker")


@pytest.mark.row("labels or images with a z axis in a SpatialData")
@pytest.mark.parametrize("kind", ["labels", "images"])
def test_a_plane_is_selected(make, advice, kind):
    import spatialdata
    from spatialdata.models import Image3DModel, Labels3DModel

    sdata = make((40, 40))
    if kind == "labels":
        sdata["cells"] = Labels3DModel.parse(np.stack([sdata["cells"].data] * 3), dims=("z", "y", "x"))
    else:
        names = sdata["image"].c.values.tolist()
        sdata["image"] = Image3DModel.parse(
            np.stack([sdata["image"].data] * 3, axis=1), dims=("c", "z", "y", "x"), c_coords=names
        )
    message = advice.of(lambda: tl.embed(sdata, model="mean-marker"))
    line = message.split("Select a plane first: ")[1].split(" takes the first")[0]
    exec(line, {"sdata": sdata, "spatialdata": spatialdata})
    tl.embed(sdata, model="mean-marker")


@pytest.mark.row("a mask of several planes (nuclei and whole cells, depth, samples, on the first axis or the last)")
def test_a_plane_of_a_mask_is_named(tmp_path, advice):
    import tifffile

    image = tmp_path / "image.tif"
    mask = tmp_path / "mask.tif"
    pixels = np.random.default_rng(0).integers(0, 9_000, (2, 40, 40)).astype(np.uint16)
    tifffile.imwrite(image, pixels, photometric="minisblack", metadata={"axes": "CYX"})
    tifffile.imwrite(mask, np.stack([np.eye(40, dtype=np.uint16)] * 2), photometric="minisblack")
    message = advice.of(lambda: ks.io.read_tiff(image, channels=["DAPI", "CD3"], mask=mask))
    assert "mask=(" in message
    ks.io.read_tiff(image, channels=["DAPI", "CD3"], mask=(mask, 0))


@pytest.mark.row(
    "`pl.spatial`: `outline=` a category that there is not, or without a column of categories",
    "`pl.spatial`: `labels=` for a table alone, for shapes, labels of other ids, or one element for several regions",
)
def test_what_is_outlined(make, advice):
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    sdata = make((64, 64))
    table = sdata["table"]
    table.obs["number"] = np.arange(table.n_obs) % 3
    table.obs["leiden"] = pd.Categorical(table.obs["number"].astype(str))
    message = advice.of(lambda: pl.spatial(sdata, color="leiden", outline="7"))
    pl.spatial(sdata, color="leiden", **advice.corrected(message, {"outline": "7"}))
    message = advice.of(lambda: pl.spatial(sdata, color="number", outline="1"))
    pl.spatial(sdata, color="leiden", outline="1")
    assert "astype(str)" in message
    table.obs["number"] = table.obs["number"].astype(str).astype("category")
    pl.spatial(sdata, color="number", outline="1")
    assert "Pass the SpatialData, or leave them out" in advice.of(
        lambda: pl.spatial(table, color="leiden", labels="cells")
    )
    pl.spatial(sdata, color="leiden", labels="cells")
    pl.spatial(table, color="leiden")
    plt.close("all")
