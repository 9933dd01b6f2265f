"""Labels of boxes from cells."""

import anndata
import dask.array as da
import numpy as np
import pandas as pd
import pytest
from spatialdata.models import Labels2DModel, ShapesModel, TableModel
from spatialdata.transformations import Identity, Scale, Sequence, Translation

import kronos_sc as ks
from kronos_sc.pp._class_pixels import Lookup, class_pixels


@pytest.fixture
def typed(make):
    """Return a function that makes noise, round cells of three types (some without one) and boxes."""

    def build(size=32, stride=16, **kwargs):
        sdata = make(**kwargs)
        cells = sdata["table"]
        rng = np.random.default_rng(5)
        types = rng.choice(["T", "B", "tumour"], cells.n_obs).astype(object)
        types[rng.random(cells.n_obs) < 0.1] = None
        cells.obs["cell_type"] = pd.Categorical(types, categories=["tumour", "B", "T"])
        ks.pp.tile(sdata, size=size, stride=stride)
        return sdata

    return build


def pixels(sdata, labels=None):
    """Class of each pixel as text, None outside classified cells."""
    labels = sdata["cells"].to_numpy() if labels is None else labels
    of_cell = dict(zip(sdata["table"].obs["cell_id"], sdata["table"].obs["cell_type"].astype(object), strict=True))
    return np.vectorize(lambda i: of_cell.get(i) if isinstance(of_cell.get(i), str) else None, otypes=[object])(labels)


def expected(sdata, types):
    """Counts per box, by looking at every box's pixels."""
    rows = []
    for box in sdata["patches"].geometry:
        left, top, right, bottom = (int(edge) for edge in box.bounds)
        inside = types[top:bottom, left:right].ravel()
        rows.append([int((inside == name).sum()) for name in ("tumour", "B", "T")] + [inside.size])
    return np.array(rows)


def check(sdata, counts, table="patches_table"):
    table = sdata[table]
    own = counts[:, :3]
    size = counts[:, 3]
    names = np.array(["tumour", "B", "T"], object)
    most = own.max(axis=1)
    assert table.obs["majority"].cat.categories.tolist() == names.tolist()
    np.testing.assert_array_equal(table.obs["majority"].cat.codes, np.where(most > 0, own.argmax(axis=1), -1))
    np.testing.assert_allclose(table.obs["majority_ratio"], np.where(most > 0, most / size, np.nan), rtol=1e-6)
    np.testing.assert_allclose(table.obs["background_ratio"], 1 - own.sum(axis=1) / size, rtol=1e-5, atol=1e-7)
    with np.errstate(invalid="ignore"):
        np.testing.assert_allclose(table.obsm["composition"], own / own.sum(axis=1, keepdims=True), rtol=1e-6)
    assert table.obsm["composition"].columns.tolist() == names.tolist()


def test_by_hand(make):
    labels = np.zeros((64, 96), np.int32)
    labels[:16, :16] = 7
    labels[:16, 16:24] = 9
    labels[40, 40] = 11
    labels[0, 64:96] = 7
    labels[1, 64:96] = 9
    sdata = make(image=np.zeros((1, 64, 96), np.uint8), channels=("DAPI",), labels=labels)
    sdata["table"].obs["cell_type"] = pd.Categorical(["B", "T", None], categories=["T", "B"])
    ks.pp.tile(sdata, size=32)
    ks.pp.majority_labels(sdata, "cell_type")
    obs = sdata["patches_table"].obs
    # the second row holds a cell without a class; the two rows of the last box in the first row are a tie, which the
    # first category wins
    assert obs["majority"].astype(object).where(obs["majority"].notna(), None).tolist() == [
        "B",
        None,
        "T",
        None,
        None,
        None,
    ]
    np.testing.assert_allclose(obs["majority_ratio"], [256 / 1024, np.nan, 32 / 1024, np.nan, np.nan, np.nan])
    np.testing.assert_allclose(obs["background_ratio"], [640 / 1024, 1, 960 / 1024, 1, 1, 1])
    np.testing.assert_allclose(sdata["patches_table"].obsm["composition"].iloc[0], [1 / 3, 2 / 3], rtol=1e-6)
    classes = ks.get.result(sdata["patches_table"], "majority")
    assert classes.to_dict("list") == {"class": ["T", "B"], "n_boxes": [1, 1], "n_pixels": [160, 288]}
    ks.pp.majority_labels(sdata, "cell_type", background="vote", key_added="tutorial")
    obs = sdata["patches_table"].obs
    assert obs["tutorial"].tolist() == ["background"] * 6
    np.testing.assert_allclose(obs["tutorial_ratio"], obs["background_ratio"])
    assert "tutorial_background_ratio" in obs
    assert "tutorial_composition" in sdata["patches_table"].obsm


GRIDS = [(32, 16), (32, 32), (48, 20), (17, 50), (150, 7)]
CHUNKS = [(64, 64), (37, 190), (150, 11)]


@pytest.mark.parametrize(
    ("size", "stride", "chunks"), [(*grid, chunks) for grid in GRIDS for chunks in CHUNKS] + [(40, 1, (64, 64))]
)
def test_against_looking_at_every_box(typed, size, stride, chunks):
    sdata = typed(size, stride, label_chunks=chunks)
    ks.pp.majority_labels(sdata, "cell_type")
    check(sdata, expected(sdata, pixels(sdata)))


def boxes_of(sdata, rectangles, **transformations):
    import geopandas
    import shapely

    frame = geopandas.GeoDataFrame(
        geometry=[shapely.box(*r) for r in rectangles], index=[f"box{i}" for i in range(len(rectangles))]
    )
    sdata.shapes["mine"] = ShapesModel.parse(frame, **transformations)
    obs = pd.DataFrame(
        {"region": pd.Categorical(["mine"] * len(frame)), "name": frame.index}, index=[f"r{i}" for i in frame.index]
    )
    table = TableModel.parse(anndata.AnnData(obs=obs), region="mine", region_key="region", instance_key="name")
    sdata.tables["mine_table"] = table
    return table


@pytest.mark.parametrize("extra", [(), ((0, 0, 1, 1),)])
def test_boxes_of_any_size_anywhere(typed, extra):
    """With a box of one pixel the tiles of a common grid would be pixels, so boxes are counted one by one."""
    sdata = typed()
    rng = np.random.default_rng(1)
    rectangles = [
        (x, y, x + w, y + h) for x, y, w, h in rng.integers((0, 0, 1, 1), (150, 110, 60, 50), (40, 4)) * 5
    ] + list(extra)
    boxes_of(sdata, rectangles)
    ks.pp.majority_labels(sdata, "cell_type", shapes_key="mine")
    types = np.full((700, 1100), None, object)  # what lies beyond the labels is background
    types[:150, :190] = pixels(sdata)
    counts = []
    for left, top, right, bottom in rectangles:
        inside = types[top:bottom, left:right].ravel()
        counts.append(
            [int((inside == name).sum()) for name in ("tumour", "B", "T")] + [(bottom - top) * (right - left)]
        )
    check(sdata, np.array(counts), "mine_table")


def test_boxes_that_reach_beyond_the_first_pixel(typed):
    sdata = typed()
    boxes_of(sdata, [(-10, -20, 30, 40), (100, 100, 250, 160)])
    ks.pp.majority_labels(sdata, "cell_type", shapes_key="mine")
    types = pixels(sdata)
    counts = [
        [int((part == name).sum()) for name in ("tumour", "B", "T")] for part in (types[:40, :30], types[100:, 100:])
    ]
    check(sdata, np.column_stack([counts, [2400, 9000]]), "mine_table")


def test_rows_of_the_table_in_another_order(typed):
    sdata = typed()
    whole = typed()
    ks.pp.majority_labels(whole, "cell_type")
    order = np.random.default_rng(3).permutation(sdata["patches_table"].n_obs)[:50]
    sdata.tables["patches_table"] = sdata["patches_table"][order].copy()
    ks.pp.majority_labels(sdata, "cell_type")
    pd.testing.assert_frame_equal(
        sdata["patches_table"].obs[["majority", "majority_ratio", "background_ratio"]],
        whole["patches_table"].obs.iloc[order][["majority", "majority_ratio", "background_ratio"]],
    )


def test_huge_ids(typed):
    sdata = typed()
    plain = typed()
    ks.pp.majority_labels(plain, "cell_type")
    ids = np.unique(sdata["cells"].to_numpy())
    rng = np.random.default_rng(0)
    new = np.r_[0, rng.permutation(np.arange(1, len(ids)) * 10**13 + 2**53 + 1)]
    labels = new[np.searchsorted(ids, sdata["cells"].to_numpy())]
    del sdata.labels["cells"]
    sdata.labels["cells"] = Labels2DModel.parse(da.from_array(labels, chunks=(50, 60)), dims=("y", "x"))
    sdata["table"].obs["cell_id"] = new[np.searchsorted(ids, sdata["table"].obs["cell_id"])]
    ks.pp.majority_labels(sdata, "cell_type")
    pd.testing.assert_frame_equal(sdata["patches_table"].obs, plain["patches_table"].obs)


def test_real_cells_with_large_ids_some_without_a_class(real):
    folder = real / "codex_lymph_5ch_500px_labelled"
    sdata = ks.io.read_tiff(folder / "image.ome.tif", mask=folder / "mask.tif")
    labels = sdata["cells"].to_numpy()
    cluster = pd.read_csv(folder / "cells.csv").set_index("label")["cluster"]
    sdata["table"].obs["cell_type"] = (
        sdata["table"].obs["cell_id"].map(cluster).map("{:.0f}".format, na_action="ignore").to_numpy()
    )
    assert labels.max() > 200_000
    assert sdata["table"].obs["cell_type"].isna().sum() == 260
    ks.pp.tile(sdata, size=32, stride=16)
    ks.pp.majority_labels(sdata, "cell_type")
    table = sdata["patches_table"]
    names = table.obs["majority"].cat.categories
    known = cluster.dropna().map("{:.0f}".format)
    code = np.zeros(labels.max() + 1, int)
    code[known.index] = names.get_indexer(known) + 1
    for box in np.random.default_rng(0).choice(table.n_obs, 60, replace=False):
        left, top, right, bottom = sdata["patches"].geometry.iloc[box].bounds
        counts = np.bincount(
            code[labels[int(top) : int(bottom), int(left) : int(right)]].ravel(), minlength=len(names) + 1
        )
        assert table.obs["majority"].iloc[box] == names[counts[1:].argmax()]
        assert table.obs["majority_ratio"].iloc[box] == pytest.approx(counts[1:].max() / 1024)
        np.testing.assert_allclose(table.obsm["composition"].iloc[box], counts[1:] / counts[1:].sum(), rtol=1e-5)


def test_labels_of_another_scale_and_place(typed):
    """Labels at half the resolution, 20 pixels from the corner: their pixels are those whose centres lie in a box."""
    sdata = typed(
        image=np.zeros((5, 190, 230), np.uint8),
        labels=np.kron(np.arange(1, 43).reshape(6, 7), np.ones((12, 14), np.int32)).astype(np.int32),
        labels_transformations={
            "global": Sequence([Scale([2, 2], axes=("y", "x")), Translation([20, 20], axes=("y", "x"))])
        },
        size=31,
        stride=31,
    )
    ks.pp.majority_labels(sdata, "cell_type")
    types = pixels(sdata)
    centre_y, centre_x = (2 * (np.arange(n) + 0.5) + 20 for n in types.shape)
    for i, box in enumerate(sdata["patches"].geometry):
        left, top, right, bottom = box.bounds
        inside = types[np.ix_((centre_y >= top) & (centre_y < bottom), (centre_x >= left) & (centre_x < right))].ravel()
        counts = pd.Series(inside[inside != None]).value_counts()  # noqa: E711
        composition = sdata["patches_table"].obsm["composition"].iloc[i]
        if len(counts):
            np.testing.assert_allclose(composition[counts.index], counts / counts.sum(), rtol=1e-6)
        else:
            assert composition.isna().all()


def test_several_images_by_their_numbers(typed):
    sdata = ks.datasets.tissue(shape=(100, 100), channels=["DAPI"], n_images=2)
    for i in (0, 1):
        ks.pp.tile(sdata, size=25, image_key=f"image_{i}", key_added=f"patches_{i}")
        ks.pp.majority_labels(sdata, "cell_type", shapes_key=f"patches_{i}")
        assert sdata[f"patches_{i}_table"].uns["majority"]["params"]["labels_key"] == f"cells_{i}"
    names = [sdata[f"patches_{i}_table"].obs["majority"].cat.categories.tolist() for i in (0, 1)]
    assert names[0] == names[1], "tables of one study can be put together"
    ks.pp.tile(sdata, size=25, image_key="image_1", key_added="other")
    with pytest.raises(ValueError, match=r"2 elements of the kind 'labels' \('cells_0', 'cells_1'\) .* labels_key="):
        ks.pp.majority_labels(sdata, "cell_type", shapes_key="other")
    ks.pp.majority_labels(sdata, "cell_type", shapes_key="other", labels_key="cells_1")
    assert (
        sdata["other_table"].obs["majority"].to_numpy() == sdata["patches_1_table"].obs["majority"].to_numpy()
    ).all()


def test_lazy_labels_come_in_pieces(typed, monkeypatch):
    """No piece handed to the counting is larger than a stored chunk."""
    from kronos_sc.pp import _majority_labels as module

    sdata = typed(label_chunks=(40, 50))
    seen = []

    def spy(strips, *args, **kwargs):
        def watched():
            for y, x, piece in strips:
                seen.append(piece.shape)
                yield y, x, piece

        return class_pixels(watched(), *args, **kwargs)

    monkeypatch.setattr(module, "class_pixels", spy)
    ks.pp.majority_labels(sdata, "cell_type")
    assert len(seen) == 16
    assert max(h * w for h, w in seen) <= 2000


def test_lookup_of_unknown_labels():
    lookup = Lookup(np.array([5, 9]), np.array([2, 1], np.uint16))
    np.testing.assert_array_equal(lookup(np.array([[0, 5, 5, 9], [10, 4, -1, 9]])), [[0, 2, 2, 1], [0, 0, 0, 1]])
    assert lookup(np.zeros((0, 4), int)).shape == (0, 4)


def test_results_survive_a_file(typed, tmp_path):
    sdata = typed()
    ks.pp.majority_labels(sdata, "cell_type")
    table = sdata["patches_table"]
    table.write_h5ad(tmp_path / "a.h5ad")
    back = anndata.read_h5ad(tmp_path / "a.h5ad")
    pd.testing.assert_frame_equal(back.obsm["composition"], table.obsm["composition"])
    pd.testing.assert_frame_equal(back.obs[["majority", "majority_ratio"]], table.obs[["majority", "majority_ratio"]])
    pd.testing.assert_frame_equal(ks.get.result(back, "majority"), ks.get.result(table, "majority"))


def circles(sdata):
    sdata.shapes["round"] = ShapesModel.parse(np.array([[20.0, 20.0], [50.0, 50.0]]), geometry=0, radius=5)
    obs = pd.DataFrame({"region": pd.Categorical(["round"] * 2), "id": [0, 1]}, index=["a", "b"])
    sdata.tables["round_table"] = TableModel.parse(
        anndata.AnnData(obs=obs), region="round", region_key="region", instance_key="id"
    )


def other_ids(sdata):
    sdata["table"].obs["cell_id"] += 100_000


def far_away(sdata):
    boxes_of(sdata, [(0, 0, 10, 10)], transformations={"global": Translation([5000, 0], axes=("x", "y"))})


def tiny_boxes(sdata):
    boxes_of(sdata, [(0, 0, 10, 10), (3.1, 3.1, 3.3, 3.3)])


def unrelated(sdata):
    boxes_of(sdata, [(0, 0, 10, 10)], transformations={"elsewhere": Identity()})


def has_background(sdata):
    sdata["table"].obs["cell_type"] = sdata["table"].obs["cell_type"].cat.rename_categories({"B": "background"})


def repeated(sdata):
    sdata["table"].obs["cell_id"] = 5


def no_boxes(sdata):
    del sdata.tables["patches_table"]


def second_table(sdata):
    other = sdata["table"].copy()
    sdata.tables["again"] = other


@pytest.mark.parametrize(
    ("spoil", "kwargs", "error", "message"),
    [
        (None, {"target": "type"}, KeyError, "no column in obs 'type'.*Did you mean 'cell_type'"),
        (None, {"shapes_key": "patch"}, KeyError, "no shapes 'patch'; .*Did you mean 'patches'.* pp.tile"),
        (
            None,
            {"key_added": "region"},
            ValueError,
            r"obs\['region'\] ties the table to its elements .*Choose another key_added",
        ),
        (None, {"labels_key": "nuclei"}, KeyError, "no labels 'nuclei'; there are: 'cells'.*table_key="),
        (
            None,
            {"background": "count"},
            ValueError,
            "background='count' is not a choice; background can be 'own', 'vote'",
        ),
        (None, {"table_key": "cells_table"}, KeyError, "no table 'cells_table'.*table_key="),
        (
            circles,
            {"shapes_key": "round"},
            ValueError,
            r"2 of 2 shapes of 'round' \('Point'\) are no axis-aligned boxes.*pp.tile",
        ),
        (
            other_ids,
            {},
            ValueError,
            "No box of 'patches' holds a pixel of a cell with a class.*have ids '1000.*labels 'cells'",
        ),
        (far_away, {"shapes_key": "mine"}, ValueError, "No box of 'mine' holds a pixel"),
        (
            tiny_boxes,
            {"shapes_key": "mine"},
            ValueError,
            "1 boxes of 'mine' hold no pixel of labels 'cells': they are smaller than one",
        ),
        (unrelated, {"shapes_key": "mine"}, ValueError, "share no coordinate system"),
        (has_background, {"background": "vote"}, ValueError, "has a class 'background' already"),
        (repeated, {}, ValueError, "Several rows of table 'table' name the same label of 'cells': '5'"),
        (no_boxes, {}, ValueError, "no table of the shapes 'patches'.*pp.tile"),
        (
            second_table,
            {},
            ValueError,
            r"2 elements of the kind 'table of the labels' \('table', 'again'\).*table_key=",
        ),
    ],
)
def test_errors(typed, state, unchanged, spoil, kwargs, error, message):
    sdata = typed()
    if spoil:
        spoil(sdata)
    before = state(sdata)
    with pytest.raises(error, match=message):
        ks.pp.majority_labels(sdata, **({"target": "cell_type"} | kwargs))
    unchanged(before, state(sdata))
