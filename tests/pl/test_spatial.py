import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import EllipseCollection
from matplotlib.colors import to_hex

from kronos_sc import pl, pp
from kronos_sc.pl._palette import MISSING, default_colors


def discs(ax):
    (found,) = [artist for artist in ax.collections if isinstance(artist, EllipseCollection)]
    return found


def test_units_lie_where_they_are_in_micrometres(sdata, ax, bars):
    (panel,) = pl.spatial(sdata, "cell_type", ax=ax).flat
    assert panel is ax
    np.testing.assert_allclose(np.asarray(discs(ax).get_offsets()), sdata["table"].obsm["spatial"] * 0.5)
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_title()) == ("x (µm)", "y (µm)", "cell_type")
    assert ax.yaxis_inverted()
    assert ax.get_aspect() == 1
    assert bars(ax) == [("20 µm", 20.0)]


def test_categories_have_their_colours_and_a_legend(sdata, ax):
    column = sdata["table"].obs["cell_type"].astype("category")
    pl.spatial(sdata, "cell_type", ax=ax)
    colors = dict(zip(column.cat.categories, default_colors(len(column.cat.categories)), strict=True))
    assert [to_hex(c) for c in discs(ax).get_facecolors()] == [colors[value] for value in column]
    present = [str(c) for c in column.cat.categories if (column == c).any()]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == present


def test_palette_then_uns_then_default(sdata, ax):
    table = sdata["table"]
    table.obs["side"] = pd.Categorical(np.where(table.obsm["spatial"][:, 0] < 96, "left", "right"))
    left = (table.obs["side"] == "left").to_numpy()

    def colors(**how):
        shown = pl.spatial(table, "side", **how)[0, 0]
        faces = [to_hex(c) for c in discs(shown).get_facecolors()]
        return faces[left.argmax()], faces[(~left).argmax()]

    assert colors() == tuple(default_colors(2))
    table.uns["side_colors"] = ["#112233", "#445566"]
    assert colors() == ("#112233", "#445566")
    assert colors(palette={"left": "#ff0000", "right": "#00ff00"}) == ("#ff0000", "#00ff00")
    assert colors(palette=["#0000ff", "#ffffff"]) == ("#0000ff", "#ffffff")


def test_numbers_variables_and_features_of_an_embedding(sdata):
    table = sdata["table"]
    axes = pl.spatial(sdata, ["activation", "CD8", "X_mean_marker[-1]"])
    assert axes.shape == (1, 3)
    expected = [table.obs["activation"], table[:, "CD8"].X.ravel(), table.obsm["X_mean_marker"][:, -1]]
    for ax, values in zip(axes.flat, expected, strict=True):
        np.testing.assert_allclose(discs(ax).get_array(), values)
        assert discs(ax).get_clim() == pytest.approx((float(np.min(values)), float(np.max(values))))


def test_missing_values_are_grey_and_underneath(sdata, ax):
    table = sdata["table"]
    table.obs["kind"] = pd.Categorical(["a"] * table.n_obs)
    table.obs.loc[table.obs_names[7], "kind"] = np.nan
    pl.spatial(table, "kind", ax=ax)
    faces = [to_hex(c) for c in discs(ax).get_facecolors()]
    assert faces[0] == MISSING
    assert MISSING not in faces[1:]
    np.testing.assert_allclose(discs(ax).get_offsets()[0], table.obsm["spatial"][7])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["a", "missing"]


def test_without_color_all_units_are_alike(sdata, ax):
    pl.spatial(sdata, ax=ax)
    assert ax.get_legend() is None
    assert len(np.unique(discs(ax).get_facecolors(), axis=0)) == 1


def test_a_bare_table_is_in_pixels_unless_told(sdata, bars):
    table = sdata["table"].copy()
    del table.uns["spatialdata_attrs"]
    ax = pl.spatial(table, "CD8")[0, 0]
    assert ax.get_xlabel() == "x (px)"
    assert bars(ax) == []
    ax = pl.spatial(table, "CD8", mpp=2)[0, 0]
    assert ax.get_xlabel() == "x (µm)"
    np.testing.assert_allclose(np.asarray(discs(ax).get_offsets()), table.obsm["spatial"] * 2)


def test_one_row_per_region(pair):
    axes = pl.spatial(pair, ["cell_type", "CD8"])
    assert axes.shape == (2, 2)
    assert [ax.get_title() for ax in axes[:, 0]] == ["cell_type · cells_0", "cell_type · cells_1"]
    counts = pair["table"].obs["element"].value_counts()
    assert [len(discs(ax).get_offsets()) for ax in axes[:, 0]] == [counts["cells_0"], counts["cells_1"]]
    assert discs(axes[0, 1]).get_clim() == discs(axes[1, 1]).get_clim()
    assert axes[0, 0].get_legend() is not None
    assert axes[1, 0].get_legend() is None
    assert pl.spatial(pair, "CD8", region="cells_1").shape == (1, 1)


def test_tissue_underneath(sdata, ax, channel_names):
    pl.spatial(sdata, "cell_type", channels=["DAPI"], ax=ax)
    assert list(channel_names(ax)) == ["DAPI"]
    assert ax.images[0].get_extent() == [0, 96, 80, 0]
    assert ax.images[0].get_zorder() < discs(ax).get_zorder()
    assert ax.get_xlim() == (0, 96)


def test_each_region_lies_on_its_own_image(pair):
    axes = pl.spatial(pair, channels=["DAPI"])
    first, second = (np.asarray(ax.images[0].get_array()) for ax in axes.flat)
    assert not np.array_equal(first, second)


def test_the_same_table_alone_has_no_boxes(sdata, ax):
    pp.tile(sdata, size=32)
    pl.spatial(sdata["patches_table"], "row", ax=ax)
    assert len(discs(ax).get_offsets()) == 30


def test_size_in_units_of_the_axes(sdata, ax):
    pl.spatial(sdata, size=12.0, ax=ax)
    ax.figure.canvas.draw()
    # from the unit circle to pixels of the page: size of the disc, then scale of the axes
    radius = discs(ax).get_transforms()[0][0, 0]
    drawn = np.diff(discs(ax).get_transform().transform([(-radius, 0), (radius, 0)])[:, 0])[0]
    unit = np.diff(ax.transData.transform([(0, 0), (1, 0)])[:, 0])[0]
    assert drawn == pytest.approx(12 * unit, rel=0.01)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"color": "cell_typ"}, KeyError, "no column 'cell_typ' in obs.*Did you mean 'cell_type'.*'X_kronos\\[0\\]'"),
        ({"color": "X_mean_marker[6]"}, KeyError, r"obsm\['X_mean_marker'\] has 6 features"),
        ({"region": "cell"}, KeyError, "no region of the table 'cell'; there are: 'cells'"),
        ({"spatial_key": "xy"}, KeyError, "no entry of obsm 'xy'"),
        ({"mpp": -1}, ValueError, "mpp must be a positive number"),
        ({"color": "CD8", "palette": "rainbowish"}, ValueError, "palette='rainbowish' is no colormap"),
        ({"color": "cell_type", "palette": ["red"]}, ValueError, "palette has 1 colours, and 'cell_type' has"),
        ({"color": "cell_type", "palette": {"Tumor": "red"}}, KeyError, "palette has no colour for"),
    ],
)
def test_wrong_arguments_say_so(sdata, arguments, error, message):
    with pytest.raises(error, match=message):
        pl.spatial(sdata, **arguments)


def test_one_axes_is_not_enough_for_several_panels(pair, ax):
    with pytest.raises(ValueError, match="ax is one axes, and 2 regions × 1 colours need 2"):
        pl.spatial(pair, "CD8", ax=ax)


def test_a_table_has_no_image(sdata):
    with pytest.raises(ValueError, match="channels and image_key need pixels, and a table has none"):
        pl.spatial(sdata["table"], channels=["DAPI"])
