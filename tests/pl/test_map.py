"""Maps of classes over tissue."""

import geopandas
import numpy as np
import pandas as pd
import pytest
import shapely
from anndata import AnnData
from matplotlib.colors import to_hex
from spatialdata.models import Image2DModel, Labels2DModel, ShapesModel, TableModel
from spatialdata.transformations import Scale, Sequence, Translation, get_transformation

from kronos_sc import pl
from kronos_sc._core import results

CLASSES = ["tumour", "stroma"]
COLORS = ["#ff0000", "#00ff00"]


@pytest.fixture
def mapped(sdata):
    """The tissue (160 × 192 pixels of 0.5 µm) with a map as `tl.predict_map` writes it.

    The map has 10 × 12 tokens of 16 pixels, shifted by 8.
    """
    rng = np.random.default_rng(0)
    proba = rng.dirichlet([1, 1], (10, 12)).transpose(2, 0, 1).astype(np.float32)
    codes = (proba.argmax(0) + 1).astype(np.uint8)
    codes[0, 0] = 0
    onto = [Scale([16, 16], axes=("y", "x")), Translation([8, 8], axes=("y", "x"))]
    where = {
        system: Sequence([*onto, there]) for system, there in get_transformation(sdata["image"], get_all=True).items()
    }
    sdata.images["map"] = Image2DModel.parse(proba, dims=("c", "y", "x"), c_coords=CLASSES, transformations=where)
    sdata.labels["map_class"] = Labels2DModel.parse(codes, dims=("y", "x"), transformations=where)
    obs = pd.DataFrame(
        {
            "region": pd.Categorical(["map_class"] * 2),
            "label": [1, 2],
            "class": pd.Categorical(CLASSES, categories=CLASSES),
        },
        index=["1", "2"],
    )
    table = TableModel.parse(AnnData(obs=obs), region="map_class", region_key="region", instance_key="label")
    table.uns["class_colors"] = np.array(COLORS, object)
    sdata.tables["map_table"] = table
    frame = geopandas.GeoDataFrame(
        {"class": pd.Categorical(CLASSES)}, geometry=shapely.box([8, 40], [8, 8], [40, 100], [100, 100])
    )
    sdata.shapes["map_regions"] = ShapesModel.parse(
        frame, transformations=get_transformation(sdata["image"], get_all=True)
    )
    return sdata


def drawn(ax):
    (found,) = [image for image in ax.images if image.get_label() == "map"]
    return found


def test_classes_lie_in_their_colours_where_the_map_lies(mapped, ax, bars, channel_names):
    pl.map(mapped, channels=["DAPI"], alpha=0.4, ax=ax)
    over = drawn(ax)
    codes = np.asarray(mapped["map_class"])
    rgba = over.get_array()
    assert rgba.shape == (10, 12, 4)
    assert (rgba[codes == 0] == 0).all()
    np.testing.assert_allclose(rgba[codes == 1], np.tile([1, 0, 0, 0.4], ((codes == 1).sum(), 1)))
    np.testing.assert_allclose(rgba[codes == 2], np.tile([0, 1, 0, 0.4], ((codes == 2).sum(), 1)))
    assert over.get_extent() == [4, 100, 84, 4]
    assert (ax.get_xlim(), ax.get_ylim()) == ((0, 96), (80, 0)), "the tissue, whatever the map covers"
    assert [text.get_text() for text in ax.get_legend().get_texts()] == CLASSES
    assert [to_hex(patch.get_facecolor()) for patch in ax.get_legend().get_patches()] == COLORS
    assert bars(ax) == [("20 µm", 20.0)]
    assert list(channel_names(ax)) == ["DAPI"]


def test_the_probability_of_one_class(mapped, ax):
    pl.map(mapped, color="stroma", palette="magma", ax=ax)
    over = drawn(ax)
    np.testing.assert_array_equal(over.get_array(), np.asarray(mapped["map"])[1])
    assert over.get_clim() == (0, 1)
    assert over.get_cmap().name == "magma"
    (bar,) = ax.child_axes
    assert bar.get_ylabel() == "probability"
    assert ax.get_title() == "map · stroma"


def test_palette_and_pixel_size_are_heeded(mapped, ax):
    pl.map(mapped, palette={"tumour": "blue", "stroma": "white"}, mpp=2, ax=ax)
    assert to_hex(ax.get_legend().get_patches()[0].get_facecolor()) == "#0000ff"
    assert drawn(ax).get_extent() == [16, 400, 336, 16]
    assert ax.get_xlim() == (0, 384)


def test_labels_of_codes_alone(mapped, ax):
    """Labels without a table are shown by their codes; large ones are thinned, not averaged."""
    codes = np.zeros((160, 192), np.int32)
    codes[:, 96:] = 5
    mapped.labels["artifacts"] = Labels2DModel.parse(
        codes, dims=("y", "x"), transformations=get_transformation(mapped["image"], get_all=True)
    )
    pl.map(mapped, "artifacts", ax=ax)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["5"]
    assert drawn(ax).get_extent() == [0, 96, 80, 0]


def test_what_cannot_be_drawn(mapped, ax):
    with pytest.raises(KeyError, match=r"There is no map 'maps'; there are: .*Draw a map with tl.predict_map"):
        pl.map(mapped, "maps", ax=ax)
    with pytest.raises(
        KeyError, match=r"There is no map of probabilities 'mapp'; there are: 'map'. Did you mean 'map'"
    ):
        pl.map(mapped, "mapp", color="tumour", ax=ax)
    with pytest.raises(
        KeyError, match=r"There is no class of map 'map' 'tumor'; there are: 'tumour', 'stroma'. Did you mean 'tumour'"
    ):
        pl.map(mapped, color="tumor", ax=ax)
    with pytest.raises(ValueError, match="alpha must lie between 0"):
        pl.map(mapped, alpha=2, ax=ax)
    mapped.images["other"] = mapped["image"]
    with pytest.raises(ValueError, match="Choose one with image_key="):
        pl.map(mapped, ax=ax)
    mapped.labels["artifacts"] = mapped["map_class"]
    with pytest.raises(KeyError, match=r"There is no map 'mapp'; there are: 'map', 'artifacts'. Did you mean 'map'"):
        pl.map(mapped, "mapp", ax=ax)
    assert pl.map(mapped, image_key="image", ax=ax) is ax


def recorded(sdata, **params):
    results.store(sdata["map_table"], "map", kind="predict_map", params=params, tables={})
    return sdata


def test_the_name_of_the_labels_stands_for_the_map_and_its_record_for_the_image(mapped, ax):
    mapped.images["other"] = mapped["image"]
    recorded(mapped, image="image", preset="")
    pl.map(mapped, "map_class", channels=["DAPI"], ax=ax)
    assert ax.get_title() == "map"
    assert drawn(ax).get_array().shape == (10, 12, 4)
    assert pl.map(mapped, "map_class", color="stroma", channels=["DAPI"]).get_title() == "map · stroma"


def test_labels_of_classes_have_no_probabilities(mapped, ax):
    mapped.labels["regions"] = mapped["map_class"]
    with pytest.raises(
        KeyError, match=r"There is no map of probabilities 'regions'; there are: 'map'\..* leave color out"
    ):
        pl.map(mapped, "regions", color="nest", ax=ax)


@pytest.mark.parametrize(
    ("palette", "painted"),
    [(None, ["artifact"]), ({"artifact": "red", "foreground": "blue"}, ["artifact", "foreground"])],
)
def test_only_artifacts_are_painted_in_maps_of_artifacts(mapped, ax, palette, painted):
    classes = ["artifact", "foreground"]
    mapped["map_table"].obs["class"] = pd.Categorical(classes, categories=classes)
    recorded(mapped, image="image", preset="artifact")
    pl.map(mapped, palette=palette, ax=ax)
    codes = np.asarray(mapped["map_class"])
    opacity = drawn(ax).get_array()[..., 3]
    assert set(opacity[codes == 1]) == {0.35}
    assert set(opacity[codes == 2]) == ({0.35} if palette else {0.0})
    assert [text.get_text() for text in ax.get_legend().get_texts()] == painted
    assert all(patch.get_facecolor()[3] == 1 for patch in ax.get_legend().get_patches())


def test_spatialdata_plot_opens_the_elements_as_they_are(mapped):
    pytest.importorskip("spatialdata_plot")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 3)
    mapped.pl.render_images("image", channel="DAPI").pl.render_labels(
        "map_class", color="class", table_name="map_table"
    ).pl.show(ax=axes[0], coordinate_systems="global")
    mapped.pl.render_images("map", channel="stroma").pl.show(ax=axes[1], coordinate_systems="um")
    mapped.pl.render_images("image", channel="DAPI").pl.render_shapes("map_regions", color="class").pl.show(
        ax=axes[2], coordinate_systems="um"
    )
    figure.canvas.draw()
    names = {text.get_text() for text in axes[0].get_legend().get_texts()}
    assert names == set(CLASSES)
    shades = np.asarray(axes[0].images[1].get_array())[..., :3].reshape(-1, 3)
    assert {(1, 0, 0), (0, 1, 0)} <= set(map(tuple, np.round(shades).astype(int).tolist()))
    assert axes[0].get_xlim()[1] == pytest.approx(200, abs=1), (
        "the map ends where its transformation says, 8 + 12 × 16 pixels"
    )
    assert axes[2].get_xlim()[1] == pytest.approx(96, abs=1)
