"""Pairs of conditions on their principal components."""

import anndata
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from kronos_sc import get, pl, tl


@pytest.fixture(scope="session")
def batches():
    """Three conditions in an embedding and in mean marker expression, scored."""
    rng = np.random.default_rng(0)
    condition = np.repeat(["a", "b", "c"], 40)
    shift = np.repeat([0.0, 0.5, 4.0], 40)[:, None]
    obsm = {
        "X_kronos": rng.standard_normal((120, 8)) + 0.2 * shift,
        "X_mean_marker": rng.standard_normal((120, 4)) + shift,
    }
    obs = pd.DataFrame({"condition": condition}, index=[f"p{i}" for i in range(120)])
    table = anndata.AnnData(obs=obs, obsm={key: value.astype(np.float32) for key, value in obsm.items()})
    tl.batch_silhouette(table, "condition", use_rep="X_kronos")
    return table


@pytest.fixture
def table(batches):
    return batches.copy()


def points(ax):
    (found,) = [artist for artist in ax.collections if artist.get_label() == "units"]
    return found


def test_one_axes_per_kept_pair_and_representation(table):
    axes = pl.batch_pairs(table, "condition_silhouette")
    assert axes.shape == (3, 2)
    kept = get.result(table, "condition_silhouette", table="coordinates")
    scores = get.result(table, "condition_silhouette").set_index(["representation", "batch_a", "batch_b"])
    first = kept[
        (kept["representation"] == "kronos")
        & (kept["batch_a"] == kept["batch_a"][0])
        & (kept["batch_b"] == kept["batch_b"][0])
    ]
    drawn = np.asarray(points(axes[0, 0]).get_offsets())
    np.testing.assert_allclose(np.sort(drawn, axis=0), np.sort(first[["pc1", "pc2"]].to_numpy(float), axis=0))
    score = scores.loc[("kronos", first["batch_a"].iloc[0], first["batch_b"].iloc[0])]
    title = axes[0, 0].get_title().replace("−", "-")
    assert f"silhouette {score['silhouette']:.3f}" in title
    assert f"ARI {score['ari']:.3f}" in title
    assert axes[0, 0].get_xlabel() == f"PC 1 ({score['pc1']:.0%})"
    assert axes[0, 0].get_aspect() == 1


def test_colours_follow_the_units_and_the_legend(table):
    (ax,) = pl.batch_pairs(
        table,
        "condition_silhouette",
        pairs=[("c", "a")],
        representation="X_mean_marker",
        palette={"a": "red", "b": "black", "c": "blue"},
    )[0]
    legend = {
        text.get_text(): to_hex(handle.get_color())
        for text, handle in zip(ax.get_legend().get_texts(), ax.get_legend().legend_handles, strict=True)
    }
    assert legend == {"a": "#ff0000", "c": "#0000ff"}
    assert ax.get_legend().get_title().get_text() == "condition"
    found = points(ax)
    xy = np.asarray(found.get_offsets())
    color = [to_hex(c) for c in found.get_facecolors()]
    kept = get.result(table, "condition_silhouette", table="coordinates").query(
        "representation == 'mean_marker' and batch_a == 'a' and batch_b == 'c'"
    )
    for at, shown in zip(xy, color, strict=True):
        unit = kept.loc[(kept[["pc1", "pc2"]] - at).abs().sum(axis=1).idxmin()]
        assert shown == legend[unit["batch"]]


def test_stored_colours_are_used(table):
    table.uns["condition_colors"] = ["#111111", "#222222", "#333333"]
    (ax,) = pl.batch_pairs(table, "condition_silhouette", pairs=[("a", "c")], representation="kronos")[0]
    assert {to_hex(c) for c in points(ax).get_facecolors()} == {"#111111", "#333333"}


def test_own_axes(table, ax):
    axes = pl.batch_pairs(table, "condition_silhouette", pairs=[("a", "c")], representation="kronos", size=9, ax=ax)
    assert axes[0, 0] is ax
    assert points(ax).get_sizes().tolist() == [9]


@pytest.mark.parametrize(
    ("how", "error", "message"),
    [
        ({"key": "condition"}, KeyError, "no result in uns 'condition'.*Run .*batch_silhouette first"),
        (
            {"representation": "uni"},
            KeyError,
            "no representation in this result 'uni'; there are: 'kronos', 'mean_marker'",
        ),
        ({"pairs": [("a", "z")]}, KeyError, r"The coordinates of \('a', 'z'\) were not kept.*keep="),
        ({"key": "line"}, ValueError, "has one component.*n_components=2"),
        ({"key": "bare"}, ValueError, "holds no coordinates.*keep="),
    ],
)
def test_error(table, how, error, message):
    tl.batch_silhouette(table, "condition", use_rep="X_kronos", n_components=1, key_added="line")
    tl.batch_silhouette(table, "condition", use_rep="X_kronos", keep=[], key_added="bare")
    with pytest.raises(error, match=message):
        pl.batch_pairs(table, how.pop("key", "condition_silhouette"), **how)


def test_one_axes_for_several_panels(table, ax):
    with pytest.raises(ValueError, match="3 pairs × 2 representations need 6"):
        pl.batch_pairs(table, "condition_silhouette", ax=ax)
