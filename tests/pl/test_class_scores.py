import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from kronos_sc import datasets, get, pl, pp, tl
from kronos_sc._core import results


@pytest.fixture
def table():
    """Two classes, two folds, two representations; the second fold tests no tumour."""
    rows = [
        ("kronos", "0", "B", 10, 0.8),
        ("kronos", "0", "tumour", 5, 0.6),
        ("kronos", "1", "B", 20, 0.6),
        ("X", "0", "B", 10, 0.4),
        ("X", "0", "tumour", 5, 0.2),
        ("X", "1", "B", 20, 0.2),
    ]
    frame = pd.DataFrame(rows, columns=["representation", "fold", "class", "n_test", "average_precision"]).assign(
        f1=0.5
    )
    adata = AnnData(np.zeros((2, 1)))
    results.store(adata, "probe", kind="linear_probe", params={}, tables={"per_class": frame})
    few = [
        frame.assign(shots=shots, average_precision=frame["average_precision"] * factor)
        for shots, factor in ((5, 0.5), (50, 1))
    ]
    results.store(adata, "few", kind="few_shot", params={}, tables={"per_class": pd.concat(few)})
    return adata


def widths(ax):
    return {c.get_label(): [bar.get_width() for bar in c] for c in ax.containers if hasattr(c, "patches")}


def test_bars_are_means_over_the_folds_that_test_a_class(table, ax):
    pl.class_scores(table, "probe", ax=ax)
    assert widths(ax) == {"kronos": pytest.approx([0.7, 0.6]), "X": pytest.approx([0.3, 0.2])}
    assert [text.get_text() for text in ax.get_yticklabels()] == ["B (30)", "tumour (5)"]
    assert ax.get_xlabel() == "average precision"


def test_lines_are_standard_deviations_and_none_for_one_fold(table, ax):
    pl.class_scores(table, "probe", representation="kronos", ax=ax)
    (line,) = [c.lines[2][0] for c in ax.containers if not hasattr(c, "patches")]
    spans = [np.ptp(segment[:, 0]) for segment in line.get_segments()]
    assert spans == pytest.approx([2 * np.std([0.8, 0.6], ddof=1), 0])


def test_another_metric(table, ax):
    pl.class_scores(table, "probe", metric="f1", ax=ax)
    assert widths(ax)["X"] == pytest.approx([0.5, 0.5])


def test_the_figure_grows_with_the_classes(table):
    assert pl.class_scores(table, "probe").figure.get_figheight() < 3
    many = pd.DataFrame({"representation": "kronos", "fold": "0", "class": [str(i) for i in range(30)], "recall": 0.5})
    results.store(table, "many", kind="linear_probe", params={}, tables={"per_class": many})
    assert pl.class_scores(table, "many", metric="recall").figure.get_figheight() > 5


@pytest.mark.parametrize(
    ("key", "how", "error", "message"),
    [
        ("probe", {"metric": "accuracy"}, KeyError, "Name one of these with metric="),
        ("probe", {"metric": "n_test"}, KeyError, "no score per class 'n_test'; there are: 'average_precision', 'f1'"),
        ("few", {"metric": "shots"}, KeyError, "no score per class 'shots'"),
        ("probe", {"representation": "kronus"}, KeyError, "Did you mean 'kronos'"),
        (
            "few",
            {},
            ValueError,
            r"'few' has lines for several values of 'shots' \(5, 50\). Choose with at={'shots': 50}",
        ),
        ("few", {"at": {"shots": 6}}, ValueError, "at={'shots': 6} is not in 'few'; 'shots' has: 5, 50"),
        ("few", {"at": {"fold": "0"}}, KeyError, "no column that was varied in 'few' 'fold'; there are: 'shots'"),
    ],
)
def test_bad_input_is_named(table, key, how, error, message):
    with pytest.raises(error, match=message):
        pl.class_scores(table, key, **how)


def test_one_number_of_shots(table, ax):
    pl.class_scores(table, "few", at={"shots": 5}, representation="X_kronos", ax=ax)
    assert widths(ax) == {"kronos": pytest.approx([0.35, 0.3])}
    assert [text.get_text() for text in ax.get_yticklabels()] == ["B (30)", "tumour (5)"]


def test_real_tables_of_few_shot_and_neighbours():
    cells = datasets.tissue(shape=(160, 160), channels=["DAPI", "CD8", "CYTOKERATIN"])["table"]
    cells.obs["nest"] = (cells.obs["region"] == "nest").astype(str)
    pp.spatial_folds(cells, n_folds=2, block_size=40)
    tl.few_shot(cells, "nest", use_rep="X", shots=(2, 5), C=1)
    tl.knn_probe(cells, "nest", use_rep="X", k=(1, 5))
    for key, varied in (("nest_few_shot", "shots"), ("nest_knn", "k")):
        with pytest.raises(ValueError, match=f"at={{'{varied}': 5}}"):
            pl.class_scores(cells, key)
        own = get.result(cells, key, table="per_class")
        own = own[own[varied] == 5].groupby("class")["recall"].mean()
        shown = pl.class_scores(cells, key, metric="recall", at={varied: 5})
        assert widths(shown)["X"] == pytest.approx(own.tolist())
