import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from matplotlib.colors import to_hex

from kronos_sc import pl
from kronos_sc._core import results
from kronos_sc.pl._palette import MISSING


def store(adata, counts, classes, key="probe"):
    frames = []
    for name, matrix in counts.items():
        true, predicted = np.meshgrid(classes, classes, indexing="ij")
        frames.append(
            pd.DataFrame(
                {
                    "representation": name,
                    "true": true.ravel(),
                    "predicted": predicted.ravel(),
                    "count": np.ravel(matrix),
                }
            )
        )
    results.store(adata, key, kind="linear_probe", params={}, tables={"confusion": pd.concat(frames)})


@pytest.fixture
def table():
    adata = AnnData(np.zeros((2, 1)))
    store(
        adata,
        {"kronos": [[8, 2, 0], [1, 9, 0], [0, 0, 0]], "X": [[5, 5, 0], [5, 5, 0], [0, 0, 0]]},
        ["tumour", "B", "NK"],
    )
    return adata


def shown(ax):
    return np.asarray(ax.images[0].get_array().filled(np.nan))


def test_rows_are_shares_of_the_true_class(table, ax):
    pl.confusion(table, "probe", ax=ax)
    np.testing.assert_allclose(shown(ax), [[0.8, 0.2, 0], [0.1, 0.9, 0], [np.nan] * 3])
    assert [text.get_text() for text in ax.get_yticklabels()] == ["tumour", "B", "NK"]  # the order of the classes
    assert [text.get_text() for text in ax.texts] == [".80", ".20", ".10", ".90"]
    assert ax.get_title() == "kronos, 20 units"
    assert to_hex(ax.images[0].cmap.get_bad()) == MISSING


def test_columns_are_shares_of_the_predicted_class(table, ax):
    pl.confusion(table, "probe", normalize="predicted", ax=ax)
    np.testing.assert_allclose(shown(ax)[:2, :2], [[8 / 9, 2 / 11], [1 / 9, 9 / 11]])


def test_units_of_another_representation(table, ax):
    pl.confusion(table, "probe", representation="X", normalize=None, ax=ax)
    np.testing.assert_allclose(shown(ax), [[5, 5, 0], [5, 5, 0], [0, 0, 0]])
    assert [text.get_text() for text in ax.texts] == ["5"] * 4


def test_a_representation_may_be_named_by_its_slot(table, ax):
    pl.confusion(table, "probe", representation="X_kronos", ax=ax)
    assert ax.get_title() == "kronos, 20 units"


def test_many_classes_go_without_numbers(table):
    store(table, {"kronos": np.eye(25) * 3}, [f"c{i}" for i in range(25)], key="many")
    axes = pl.confusion(table, "many")
    assert not axes.texts
    assert axes.figure.get_figwidth() > 8


def test_numbers_can_be_read_on_any_colour(table, ax):
    pl.confusion(table, "probe", palette="magma", ax=ax)
    colors = [text.get_color() for text in ax.texts]
    assert set(colors) == {"white", "0.15"}


@pytest.mark.parametrize(
    ("key", "how", "error", "message"),
    [
        ("prob", {}, KeyError, "Did you mean 'probe'"),
        ("probe", {"representation": "kronus"}, KeyError, "Did you mean 'kronos'"),
        ("probe", {"normalize": "all"}, ValueError, "normalize can be"),
        ("probe", {"palette": "blue"}, ValueError, "no colormap"),
    ],
)
def test_bad_input_is_named(table, key, how, error, message):
    with pytest.raises(error, match=message):
        pl.confusion(table, key, **how)
