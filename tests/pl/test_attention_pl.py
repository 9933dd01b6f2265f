"""Violins of attention and maps of tokens, drawn from what `tl.attention` left."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from spatialdata import SpatialData

import kronos_sc as ks
from kronos_sc._core import results

KEY = "kronos_attention"
MARKERS = ["DAPI", "CD8", "HLA-DR/DP", "CD20", "CD31", "COLLAGEN", "KI67"]


@pytest.fixture
def cells(sdata):
    """A table with the slots of a result, whose values are known."""
    table = sdata["table"]
    z = pd.DataFrame(
        np.random.default_rng(0).normal(size=(table.n_obs, 7)).astype(np.float32),
        index=table.obs_names,
        columns=[name.replace("/", "|") for name in MARKERS],
    )
    table.obs["kind"] = pd.Categorical(np.resize(["a", "b"], table.n_obs))
    z.loc[table.obs["kind"] == "b", ["CD31", "HLA-DR|DP"]] += 5
    z.iloc[0] = np.nan
    table.obsm[KEY] = z
    markers = pd.DataFrame({"marker": MARKERS, "channel": MARKERS, "n": table.n_obs, "mean": 0.1, "sd": 0.01})
    results.store(table, KEY, kind="attention", params={"method": "cls"}, tables={"markers": markers})
    return table


def medians(ax) -> list[float]:
    return [line.get_segments()[0][0][1] for line in ax.collections if line.get_label() == "median"]


def test_a_violin_per_group_and_its_median(cells):
    axes = ks.pl.attention(cells, "kind", markers=["HLA-DR/DP", "DAPI"])
    assert [ax.get_title() for ax in axes] == ["HLA-DR/DP", "DAPI"]
    sizes = cells.obs["kind"].iloc[1:].value_counts()  # the first cell has no attention
    assert [label.get_text() for label in axes[0].get_xticklabels()] == [f"{kind} (n={sizes[kind]})" for kind in "ab"]
    raw = cells.obsm[KEY]["HLA-DR|DP"]
    z = (raw - raw.mean()) / raw.std(ddof=0)
    assert_allclose(medians(axes[0]), [z[(cells.obs["kind"] == kind).to_numpy()].median() for kind in "ab"], atol=1e-5)
    assert axes[0].get_ylabel() == "attention (z-score)"
    assert axes[1].get_ylabel() == ""


def test_markers_that_differ_most_are_shown_and_at_most_six(cells):
    shown = [ax.get_title() for ax in ks.pl.attention(cells, "kind")]
    named = ["".join(label.get_text() for label in ax.get_xticklabels()) != "" for ax in ks.pl.attention(cells, "kind")]
    assert named == [False] * 3 + [True] * 3, "once below each column"
    assert len(shown) == 6
    assert {"CD31", "HLA-DR/DP"} <= set(shown)


@pytest.mark.parametrize("most", [8, None])
def test_medians_are_those_of_the_summary(cells, most):
    """A rare type: what is usual is taken over the balanced draw, in the figure as in the numbers."""
    cells.obs["rare"] = np.where(np.arange(cells.n_obs) % 15 == 1, "rare", "common")
    cells.obsm[KEY].loc[cells.obs["rare"] == "rare", "CD8"] += 3
    ks.tl.attention_summary(cells, "rare", n_per_group=most, rng=5)
    want = ks.get.result(cells, "rare_attention").set_index(["marker", "group"])["median"]
    for ax in ks.pl.attention(cells, "rare", markers=MARKERS, n_per_group=most, rng=5):
        assert_allclose(medians(ax), want[ax.get_title()][["common", "rare"]], atol=1e-6)
    if most:
        assert want["CD8", "rare"] + want["CD8", "common"] == pytest.approx(0, abs=0.5), (
            "balanced, so the two lie opposite"
        )


def test_groups_of_a_few_units_do_not_choose_markers(cells):
    kinds = np.where(np.arange(cells.n_obs) < 4, "few", cells.obs["kind"].astype(str))
    raw = cells.obsm[KEY]
    for column, marker in enumerate(raw.columns[1:]):
        raw.loc[kinds == "a", marker] += 10 + column
    raw.loc[kinds == "few", "DAPI"] = 1000  # three units far away
    cells.obs["kind"] = kinds
    assert [ax.get_title() for ax in ks.pl.attention(cells, "kind")] == MARKERS[1:]


def test_units_are_drawn_by_seed_and_colours_are_the_columns_own(cells, ax):
    cells.uns["kind_colors"] = ["#112233", "#445566"]
    (place,) = ks.pl.attention(cells, "kind", markers="CD8", n_per_group=3, ax=ax)
    assert place is ax
    some = medians(ax)
    assert some != medians(ks.pl.attention(cells, "kind", markers="CD8")[0])
    assert some == medians(ks.pl.attention(cells, "kind", markers="CD8", n_per_group=3)[0])
    bodies = [artist for artist in ax.collections if artist.get_label() != "median"]
    assert_allclose(bodies[0].get_facecolor()[0, :3], np.array([0x11, 0x22, 0x33]) / 255)


@pytest.mark.parametrize(
    ("how", "error", "message"),
    [
        ({"markers": ["CD99"]}, KeyError, "There is no marker in this result 'CD99'"),
        ({"markers": []}, ValueError, "No marker was named"),
        ({"key": "kind"}, KeyError, "There is no result in uns 'kind'"),
        ({"groupby": "no"}, KeyError, "There is no column in obs 'no'"),
        ({"groupby": "first"}, ValueError, "No unit has both a 'first' and attention"),
        ({"n_per_group": 0}, ValueError, "n_per_group must be a whole number"),
    ],
)
def test_errors(cells, how, error, message):
    cells.obs["first"] = ["x", *[""] * (cells.n_obs - 1)]
    with pytest.raises(error, match=message):
        ks.pl.attention(cells, **({"groupby": "kind"} | how))


def test_one_axes_takes_one_marker(cells, ax):
    with pytest.raises(ValueError, match="Choose one with markers="):
        ks.pl.attention(cells, "kind", markers=["CD8", "CD20"], ax=ax)


@pytest.fixture
def mapped(sdata, tiny):
    """Maps of two cells in windows of 32 pixels."""
    ks.tl.attention(
        sdata, model=tiny, ids=list(sdata["table"].obs_names[4:6]), maps=True, patch_size=32, token_overlap=True
    )
    return sdata


def test_images_above_maps(mapped, bars):
    table = mapped["table"]
    unit = table.obs_names[5]
    axes = ks.pl.attention_map(mapped, unit, markers=["CD20", "DAPI"])
    assert axes.shape == (2, 2)
    assert [ax.get_title() for ax in axes[0]] == ["CD20", "DAPI"]
    pixels = ks.get.patches(mapped, [unit], channels=["CD20"], patch_size=32).to_numpy()[0, 0]
    np.testing.assert_array_equal(axes[0, 0].images[0].get_array(), pixels)
    shown = axes[1, 0].images[0]
    assert_allclose(shown.get_array(), table.uns[KEY]["maps"][1, 3] * 1000)
    assert shown.get_extent() == [0, 32, 32, 0]
    assert shown.get_clim() == axes[1, 1].images[0].get_clim()
    assert [label for label, _ in bars(axes[0, 0])] == ["2 µm"]
    assert bars(axes[0, 1]) == []
    assert axes[0, 0].artists[0].patch.get_visible(), "a dark box behind the bar"
    assert axes[0, 0].figure.axes[-1].get_ylabel() == "attention (‰)"
    assert axes[0, 0].figure.get_suptitle() == unit


def test_the_outline_of_the_cell_lies_on_both(mapped):
    unit = mapped["table"].obs_names[5]
    mask = ks.get.patches(mapped, [unit], channels=["DAPI"], patch_size=32).coords["mask"].to_numpy()[0]
    for ax in ks.pl.attention_map(mapped, unit, markers="DAPI")[:, 0]:
        below, lines = ax.collections
        assert [below.get_color()[0, 0], lines.get_color()[0, 0]] == [0, 1], "black, and white on it"
        assert len(lines.get_segments()) == np.abs(np.diff(mask, axis=0)).sum() + np.abs(np.diff(mask, axis=1)).sum()
        assert ax.get_xlim() == (0, 32)


def test_limits_are_those_of_the_whole_image(mapped):
    """A channel that is bright elsewhere and nearly empty here stays dark."""
    axes = ks.pl.attention_map(mapped, markers=["CD20"])
    channel = np.asarray(mapped["image"].sel(c="CD20"))
    assert_allclose(axes[0, 0].images[0].get_clim(), np.percentile(channel, (1, 99.7)))
    with pytest.raises(KeyError, match="limits names channels that are not shown: 'DAPI'"):
        ks.pl.attention_map(mapped, markers=["CD20"], limits={"DAPI": (0, 9)})


def test_a_scale_of_its_own_for_each_marker(mapped):
    axes = ks.pl.attention_map(mapped, shared=False, limits={"DAPI": (0, 99)}, markers=["DAPI", "CD8"])
    assert axes[1, 0].images[0].get_clim() != axes[1, 1].images[0].get_clim()
    assert axes[0, 0].images[0].get_clim() == (0, 99)
    assert [ax.get_ylabel() for ax in axes[0, 0].figure.axes[4:]] == ["attention (‰)"] * 2


def test_without_names_the_first_unit_and_what_gets_most(mapped):
    axes = ks.pl.attention_map(mapped)
    assert axes.shape == (2, 6)


def test_maps_come_back_from_a_store(mapped, tmp_path):
    import warnings

    import spatialdata

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*autosharding.*")
        mapped.write(tmp_path / "s.zarr")
    there = ks.pl.attention_map(mapped)[1, 0].images[0].get_array()
    assert_allclose(ks.pl.attention_map(spatialdata.read_zarr(tmp_path / "s.zarr"))[1, 0].images[0].get_array(), there)


@pytest.mark.parametrize(
    ("how", "error", "message"),
    [
        ({"unit": "cells_1"}, KeyError, "There is no unit with a map 'cells_1'"),
        ({"markers": ["CD99"]}, KeyError, "There is no marker in this result 'CD99'"),
        ({"markers": []}, ValueError, "No marker was named"),
    ],
)
def test_errors_of_maps(mapped, how, error, message):
    with pytest.raises(error, match=message):
        ks.pl.attention_map(mapped, **how)


def test_a_result_without_maps(cells, sdata):
    data = SpatialData(images=dict(sdata.images), labels=dict(sdata.labels), tables={"table": cells})
    call = (
        r"tl.attention\(sdata, ids=\[...\], maps=True, key_added='attention_maps'\)"
        r".*pl.attention_map\(sdata, key='attention_maps'\)"
    )
    with pytest.raises(ValueError, match=rf"results with maps: none.*{call}"):
        ks.pl.attention_map(data)
    cells.uns["attention_maps"] = cells.uns[KEY] | {"maps": np.zeros((1, 7, 2, 2))}
    with pytest.raises(ValueError, match="results with maps: 'attention_maps'"):
        ks.pl.attention_map(data)
