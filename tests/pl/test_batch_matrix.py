"""Scores of all pairs as a matrix."""

import anndata
import numpy as np
import pandas as pd
import pytest

from kronos_sc import get, pl, tl


@pytest.fixture(scope="session")
def scored():
    rng = np.random.default_rng(0)
    code = np.repeat(np.arange(4), 30)
    obsm = {
        "X_kronos": rng.standard_normal((120, 8)) + 0.1 * code[:, None],
        "X_mean_marker": rng.standard_normal((120, 4)) + code[:, None],
    }
    obs = pd.DataFrame({"condition": np.array(["a", "b", "c", "d"])[code]}, index=[f"p{i}" for i in range(120)])
    table = anndata.AnnData(obs=obs, obsm={key: value.astype(np.float32) for key, value in obsm.items()})
    tl.batch_silhouette(table, "condition", use_rep="X_kronos")
    return table


@pytest.mark.parametrize("metric", ["silhouette", "ari"])
def test_cells_are_the_scores_on_one_scale(scored, metric):
    axes = pl.batch_matrix(scored, "condition_silhouette", metric=metric)
    assert axes.shape == (2,)
    scores = get.result(scored, "condition_silhouette")
    images = [ax.images[0] for ax in axes]
    assert images[0].get_clim() == images[1].get_clim()
    assert images[0].get_clim() == (min(0, scores[metric].min()), pytest.approx(scores[metric].max()))
    for ax, image, name in zip(axes, images, ("kronos", "mean_marker"), strict=True):
        shown = image.get_array()
        np.testing.assert_array_equal(shown, shown.T)
        assert shown.mask[np.diag_indices(4)].all()
        for line in scores[scores["representation"] == name].itertuples():
            assert shown["abcd".index(line.batch_a), "abcd".index(line.batch_b)] == getattr(line, metric)
        assert [text.get_text() for text in ax.get_xticklabels()] == list("abcd")
        mean, sd = scores.loc[scores["representation"] == name, metric].agg(["mean", "std"])
        assert ax.get_title().replace("−", "-") == f"{name}\n{mean:.3f} ± {sd:.3f}"
    assert len(axes[0].texts) == 12
    assert "lower" in axes[1].child_axes[0].get_ylabel()


def test_own_axes_and_one_representation(scored, ax):
    axes = pl.batch_matrix(scored, "condition_silhouette", representation="X_kronos", palette="magma", ax=ax)
    assert axes.tolist() == [ax]
    assert ax.images[0].get_cmap().name == "magma"


def test_many_conditions_are_not_written_into_cells(scored):
    table = scored.copy()
    table.obs["many"] = (np.arange(120) % 12).astype(str)
    tl.batch_silhouette(table, "many", use_rep="X_kronos", keep=[])
    (ax,) = pl.batch_matrix(table, "many_silhouette", representation="kronos")
    assert not ax.texts
    assert len(ax.get_yticklabels()) == 12


@pytest.mark.parametrize(
    ("how", "error", "message"),
    [
        ({"key": "silhouette"}, KeyError, "no result in uns 'silhouette'; there are: 'condition_silhouette'"),
        ({"metric": "asw"}, ValueError, "metric='asw' is not a choice"),
        ({"representation": ["kronos", "dino"]}, KeyError, "no representation in this result 'dino'"),
        ({"palette": "rainbows"}, ValueError, "no colormap"),
    ],
)
def test_error(scored, how, error, message):
    with pytest.raises(error, match=message):
        pl.batch_matrix(scored, how.pop("key", "condition_silhouette"), **how)


def test_one_axes_for_several_representations(scored, ax):
    with pytest.raises(ValueError, match="2 representations"):
        pl.batch_matrix(scored, "condition_silhouette", ax=ax)
