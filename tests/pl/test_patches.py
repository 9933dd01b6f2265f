import numpy as np
import pytest

from kronos_sc import get, pl, pp
from kronos_sc.pl._montage import Grid, cells
from kronos_sc.pl._outline import outline


def rows_of(ax):
    return [label.get_text() for label in ax.get_yticklabels()]


def test_outline_runs_along_pixel_edges():
    mask = np.zeros((4, 5), bool)
    mask[1, 1:3] = True
    edges = {tuple(map(tuple, segment)) for segment in outline(mask)}
    assert edges == {
        ((1, 1), (1, 2)),
        ((3, 1), (3, 2)),
        ((1, 1), (2, 1)),
        ((2, 1), (3, 1)),
        ((1, 2), (2, 2)),
        ((2, 2), (3, 2)),
    }


def test_outline_is_open_where_the_array_ends():
    assert len(outline(np.ones((3, 3), bool))) == 0


def test_grid_by_hand():
    assert cells(3, {"a": 2, "b": 1}).tolist() == [[0, 0], [0, 1], [1, 0]]
    assert cells(10, None).max(0).tolist() == [1, 4]
    grid = Grid(100, np.array([[0, 0], [1, 2]]), titled=True)
    assert grid.corners.tolist() == [[24, 0], [24 + 131, 214]]
    assert grid.shape == (255, 314)


def test_one_row_per_group_and_no_more_than_there_are(sdata, ax, bars, channel_names):
    counts = sdata["table"].obs["cell_type"].value_counts()
    groups = [str(c) for c in sdata["table"].obs["cell_type"].astype("category").cat.categories if counts[c]]
    pl.patches(sdata, channels=["DAPI", "CD8"], groupby="cell_type", n=3, patch_size=32, ax=ax)
    assert rows_of(ax) == groups
    assert list(channel_names(ax)) == ["DAPI", "CD8"]
    assert bars(ax) == [("5 µm", 10.0)]
    alpha = np.asarray(ax.images[0].get_array())[..., 3]
    drawn = sum(
        alpha[top : top + 32, left : left + 32].any()
        for top in range(0, alpha.shape[0], 34)
        for left in range(0, alpha.shape[1], 34)
    )
    assert drawn == sum(min(3, counts[c]) for c in groups)


def test_pixels_titles_and_order(sdata, ax):
    inner = np.abs(sdata["table"].obsm["spatial"] - [96, 80]).max(axis=1) < 50
    names = list(sdata["table"].obs_names[inner][[5, 2]])
    pl.patches(sdata, names, channels={"DAPI": "red"}, limits={"DAPI": (0, 20000)}, patch_size=32, title="name", ax=ax)
    assert [text.get_text() for text in ax.texts] == names
    array = get.patches(sdata, names, channels=["DAPI"], patch_size=32)
    canvas = np.asarray(ax.images[0].get_array())
    head = round(32 * 0.24)
    np.testing.assert_allclose(canvas[head : head + 32, :32, 0], np.clip(array[0, 0] / 20000, 0, 1), atol=1e-6)
    assert canvas[..., 1].max() == 0


def test_what_lies_beyond_the_image_is_faint(sdata, ax):
    table = sdata["table"]
    corner = table.obs_names[np.linalg.norm(table.obsm["spatial"], axis=1).argmin()]
    pl.patches(sdata, [corner], channels=["DAPI"], patch_size=64, ax=ax)
    array = get.patches(sdata, [corner], patch_size=64)
    alpha = np.asarray(ax.images[0].get_array())[..., 3]
    ys, xs = (array[name].item() + np.arange(64) for name in ("top", "left"))
    np.testing.assert_array_equal(alpha == 1, (ys >= 0)[:, None] & (xs >= 0))


def test_the_draw_depends_on_the_seed_alone(sdata):
    def canvas(rng):
        return np.asarray(pl.patches(sdata, n=4, patch_size=32, rng=rng).images[0].get_array())

    np.testing.assert_array_equal(canvas(1), canvas(1))
    assert not np.array_equal(canvas(1), canvas(2))


def test_outlines_can_be_left_out(sdata, ax):
    pl.patches(sdata, n=2, patch_size=32, outline=False, ax=ax)
    assert not ax.collections


def test_an_array_of_patches_is_drawn_too(sdata, ax, channel_names, bars):
    array = get.patches(sdata, list(sdata["table"].obs_names[:4]), patch_size=32)
    pl.patches(array, channels=["CD8"], title="name", ax=ax)
    assert list(channel_names(ax)) == ["CD8"]
    assert len(ax.texts) == 4
    assert bars(ax) == []


def test_boxes(sdata, ax):
    pp.tile(sdata, size=48)
    pl.patches(sdata, table_key="patches_table", n=5, ax=ax)
    assert ax.images[0].get_array().shape[1] == 4 * 48 + 3 * 3


def test_several_regions(pair, ax):
    pl.patches(pair, groupby="element", n=3, patch_size=32, ax=ax)
    assert rows_of(ax) == ["cells_0", "cells_1"]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"ids": ["nobody"]}, KeyError, "The table has no units 'nobody'; its names look like 'cells_1'"),
        ({"ids": []}, ValueError, "There is no unit to show"),
        ({"groupby": "cell_typ"}, KeyError, "no column in obs 'cell_typ'.*Did you mean 'cell_type'"),
        ({"groupby": "area"}, ValueError, r"obs\['area'\] has .* groups, and 60 rows can be shown"),
        ({"channels": ["CD3"]}, KeyError, "has no channel 'CD3'"),
        ({"title": "colour"}, KeyError, "no column 'colour' in obs"),
        ({"n": 0}, ValueError, "n must be a whole number of at least 1"),
    ],
)
def test_wrong_arguments_say_so(sdata, arguments, error, message):
    with pytest.raises(error, match=message):
        pl.patches(sdata, **{"patch_size": 32, **arguments})


def test_an_array_knows_no_obs(sdata):
    array = get.patches(sdata, list(sdata["table"].obs_names[:2]), patch_size=32)
    with pytest.raises(ValueError, match="groupby='cell_type' is a column of obs, and an array of patches has none"):
        pl.patches(array, groupby="cell_type")
    with pytest.raises(KeyError, match="no unit 'nobody'"):
        pl.patches(array, ["nobody"])
    with pytest.raises(ValueError, match="An array of patches has the axes"):
        pl.patches(array[0])
