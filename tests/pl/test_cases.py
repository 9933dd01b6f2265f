import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from matplotlib.colors import to_hex

from kronos_sc import pl, tl


@pytest.fixture
def donors():
    rng = np.random.default_rng(0)
    case = np.repeat(np.arange(6), 5)
    obs = pd.DataFrame(
        {"group": np.array(["A", "B"])[case % 2], "donor": [f"d{c}" for c in case]}, index=np.arange(30).astype(str)
    )
    adata = AnnData(rng.random((30, 4), dtype=np.float32), obs=obs)
    return tl.aggregate(adata, "donor", use_rep="X", n_components=3)


def test_points_colours_and_names(donors, ax):
    pl.cases(donors, "group", ax=ax)
    (points,) = ax.collections
    np.testing.assert_allclose(points.get_offsets(), donors.obsm["X_pca"][:, :2], rtol=1e-6)
    assert [to_hex(c) for c in points.get_facecolors()] == ["#0072b2", "#e69f00"] * 3
    assert [text.get_text() for text in ax.texts] == list(donors.obs_names)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["A", "B"]
    share = donors.uns["pca"]["variance_ratio"]
    assert ax.get_xlabel() == f"PC1 ({share[0]:.0%})"


def test_colours_of_the_table_come_first(donors, ax):
    donors.uns["group_colors"] = ["#111111", "#222222"]
    pl.cases(donors, "group", ax=ax)
    assert to_hex(ax.collections[0].get_facecolors()[0]) == "#111111"


def test_numbers_and_other_components(donors, ax):
    pl.cases(donors, donors.var_names[1], components=(3, 2), names=False, ax=ax)
    (points,) = ax.collections
    np.testing.assert_allclose(points.get_offsets(), donors.obsm["X_pca"][:, [2, 1]], rtol=1e-6)
    np.testing.assert_allclose(points.get_array(), donors.X[:, 1], rtol=1e-6)
    assert not ax.texts
    assert ax.get_xlabel().startswith("PC3")


def test_missing_groups_are_grey_and_any_basis_will_do(donors, ax):
    donors.obs["group"] = donors.obs["group"].where(donors.obs_names != "d0")
    donors.obsm["X_umap"] = np.arange(12.0).reshape(6, 2)
    pl.cases(donors, "group", basis="X_umap", ax=ax)
    assert to_hex(ax.collections[0].get_facecolors()[0]) == "#b8b8b8"
    assert ax.get_xlabel() == "umap 1"


def test_many_cases_are_not_named_unless_asked(ax):
    cases = AnnData(
        obs=pd.DataFrame(index=[f"c{i}" for i in range(41)]), obsm={"X_pca": np.random.default_rng(0).random((41, 2))}
    )
    pl.cases(cases, ax=ax)
    assert not ax.texts
    pl.cases(cases, names=True, ax=ax)
    assert len(ax.texts) == 41


def test_names_keep_off_each_other(donors):
    """Names of points in two tight pairs: no text lies on another."""
    donors.obsm["X_pca"] = np.array([[0, 0], [0.3, 0.1], [5, 5], [5.3, 5.2], [0, 5], [5, 0]], float)
    ax = pl.cases(donors)
    ax.figure.canvas.draw()
    boxes = [text.get_window_extent() for text in ax.texts]
    assert not [(i, j) for i in range(6) for j in range(i) if boxes[i].overlaps(boxes[j])]


def test_errors(donors):
    with pytest.raises(KeyError, match=r"no entry of obsm 'X_umap'.*basis="):
        pl.cases(donors, basis="X_umap")
    with pytest.raises(ValueError, match=r"it holds 3, counted from 1.*n_components=4"):
        pl.cases(donors, components=(1, 4))
    with pytest.raises(ValueError, match="counted from 1"):
        pl.cases(donors, components=(0, 1))
    with pytest.raises(KeyError, match="no column 'sex'"):
        pl.cases(donors, "sex")
