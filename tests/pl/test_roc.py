import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from matplotlib.colors import to_hex

from kronos_sc import get, pl, tl


@pytest.fixture(scope="module")
def study():
    rng = np.random.default_rng(0)
    case = np.repeat(np.arange(16), 10)
    x = rng.normal(size=(160, 4)) + 0.8 * (case % 2)[:, None]
    obs = pd.DataFrame(
        {"group": np.array(["A", "B"])[case % 2], "donor": case.astype(str)}, index=np.arange(160).astype(str)
    )
    adata = AnnData(rng.random((160, 3), dtype=np.float32), obs=obs, obsm={"X_kronos": x.astype(np.float32)})
    tl.stratify(adata, "group", case_key="donor", use_rep="X_kronos", n_splits=6)
    return adata


def lines(ax):
    return {line.get_label().split()[0]: line for line in ax.lines if not line.get_label().startswith("_")}


def test_curves_are_those_of_the_result(study, ax):
    pl.roc(study, "group_stratify", ax=ax)
    table = get.result(study, "group_stratify", table="roc")
    for name, line in lines(ax).items():
        own = table[table["representation"] == name]
        np.testing.assert_allclose(line.get_ydata()[1:], own["true_positive_rate"])
        assert (line.get_xdata()[0], line.get_ydata()[0]) == (0, 0)
    assert set(lines(ax)) == {"kronos", "X"}
    assert to_hex(lines(ax)["X"].get_color()) == "#8a8f98"  # the baseline is grey


def test_the_legend_gives_the_score_with_its_interval(study, ax):
    pl.roc(study, "group_stratify", ax=ax)
    row = get.result(study, "group_stratify", table="summary").iloc[0]
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts[0] == f"kronos  {row['mean']:.2f} ± {row['high'] - row['mean']:.2f}"


def test_representations_and_colours_can_be_chosen(study, ax):
    pl.roc(study, "group_stratify", representation="X", palette={"X": "red"}, ax=ax)
    assert list(lines(ax)) == ["X"]
    assert to_hex(lines(ax)["X"].get_color()) == "#ff0000"


def test_a_new_figure(study):
    ax = pl.roc(study, "group_stratify")
    assert ax.get_xlabel() == "false positive rate"
    assert ax.get_aspect() == 1


def test_errors(study):
    with pytest.raises(KeyError, match="no result in uns 'other'"):
        pl.roc(study, "other")
    with pytest.raises(KeyError, match="no representation in this result 'uni'"):
        pl.roc(study, "group_stratify", representation="uni")
    adata = study.copy()
    tl.ari(adata, "group", use_rep="X")
    with pytest.raises(KeyError, match=r"has no table 'roc'.*tl.stratify"):
        pl.roc(adata, "group_ari")
