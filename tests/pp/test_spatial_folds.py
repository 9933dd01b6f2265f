"""Folds that keep neighbours together."""

import anndata
import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import GroupKFold

import kronos_sc as ks


def table(xy, **obs):
    frame = pd.DataFrame({name: list(values) for name, values in obs.items()}, index=[f"c{i}" for i in range(len(xy))])
    return anndata.AnnData(obs=frame, obsm={"spatial": np.asarray(xy, float)})


def fold(adata, key="fold"):
    """Fold of each unit as a number, -1 for none."""
    return adata.obs[key].cat.codes.to_numpy()


@pytest.fixture
def scattered():
    """3,000 cells on 1,000 × 800 pixels, of three types, on images of two, from twelve donors of two kinds."""
    rng = np.random.default_rng(0)
    n = 3000
    donor = rng.choice(12, n, p=np.arange(1, 13) / 78)
    return table(
        rng.random((n, 2)) * (1000, 800),
        cell_type=rng.choice(["B", "T", "tumour"], n, p=[0.2, 0.3, 0.5]),
        image=np.where(rng.random(n) < 0.4, "a", "b"),
        donor=[f"D{i}" for i in donor],
        response=np.where(donor % 3 == 0, "yes", "no"),
    )


def test_quadrants_by_hand():
    adata = table([[0, 0], [100, 0], [0, 60], [100, 60], [49, 29], [50, 30], [51, 29]])
    ks.pp.spatial_folds(adata)
    assert adata.obs["fold"].tolist() == ["0", "1", "2", "3", "0", "3", "1"]
    assert adata.obs["fold"].cat.categories.tolist() == ["0", "1", "2", "3"]


@pytest.mark.parametrize(
    ("n", "shape"), [(2, (1, 2)), (3, (1, 3)), (4, (2, 2)), (6, (2, 3)), (7, (1, 7)), (9, (3, 3)), (12, (3, 4))]
)
@pytest.mark.parametrize("tall", [False, True])
def test_more_parts_along_the_longer_edge(n, shape, tall):
    y, x = np.mgrid[:81, :121].reshape(2, -1)
    adata = table(np.column_stack([y, x] if tall else [x, y]))
    ks.pp.spatial_folds(adata, n_folds=n)
    parts = adata.obs.assign(x=adata.obsm["spatial"][:, 0], y=adata.obsm["spatial"][:, 1]).groupby(
        "fold", observed=True
    )
    rows, columns = (len(np.unique(parts[axis].min())) for axis in ("y", "x"))
    assert (rows, columns) == (shape[::-1] if tall else shape)
    assert (
        (parts["x"].max() - parts["x"].min() + 1) * (parts["y"].max() - parts["y"].min() + 1)
    ).to_numpy() == pytest.approx(81 * 121 / n, rel=0.15)


def test_guard_bands_by_distance(scattered):
    ks.pp.spatial_folds(scattered, guard=32, key_added="guarded")
    ks.pp.spatial_folds(scattered)
    xy = scattered.obsm["spatial"]
    middle = (xy.min(axis=0) + xy.max(axis=0)) / 2
    band = (np.abs(xy - middle) < 32).any(axis=1)
    np.testing.assert_array_equal(fold(scattered, "guarded"), np.where(band, -1, fold(scattered)))
    record = scattered.uns["guarded"]
    assert record["params"]["n_guard"] == band.sum() > 0
    assert ks.get.result(scattered, "guarded")["n_units"].sum() == (~band).sum()
    # windows of 64 pixels of different folds share none
    kept = np.flatnonzero(~band)
    for a in range(4):
        for b in range(a):
            one, other = (xy[kept][fold(scattered)[kept] == i] for i in (a, b))
            assert np.abs(one[:, None] - other).max(axis=2).min() >= 64


def test_each_image_is_cut_by_itself(scattered):
    ks.pp.spatial_folds(scattered, library_key="image", guard=10)
    for image in ("a", "b"):
        alone = scattered[scattered.obs["image"] == image].copy()
        ks.pp.spatial_folds(alone, guard=10, key_added="alone")
        np.testing.assert_array_equal(fold(alone), fold(alone, "alone"))
    assert ks.get.result(scattered, "fold", table="groups")["group"].tolist()[3:5] == ["a: part 3", "b: part 0"]


def test_regions_of_a_spatialdata_table_are_images(scattered):
    scattered.uns["spatialdata_attrs"] = {"region": ["a", "b"], "region_key": "image", "instance_key": "id"}
    by_column = ks.pp.spatial_folds(scattered, library_key="image", copy=True)
    ks.pp.spatial_folds(scattered)
    np.testing.assert_array_equal(fold(scattered), fold(by_column))
    assert scattered.uns["fold"]["params"]["library_key"] == "image"


@pytest.mark.parametrize("guard", [0, 15])
def test_blocks_against_a_double_loop(scattered, guard):
    size = 120
    adata = scattered[:700].copy()
    ks.pp.spatial_folds(adata, block_size=size, library_key="image", guard=guard, rng=3)
    plain = ks.pp.spatial_folds(adata, block_size=size, library_key="image", rng=3, copy=True)
    xy = adata.obsm["spatial"]
    image = adata.obs["image"].to_numpy()
    folds = fold(plain)
    low = {i: xy[image == i].min(axis=0) for i in ("a", "b")}
    owner = {}
    for p, i, f in zip(xy, image, folds, strict=True):
        assert owner.setdefault((i, *((p - low[i]) // size).astype(int)), f) == f, "a block is torn"
    expected = []
    for p, i, f in zip(xy, image, folds, strict=True):
        near = False
        for (j, bx, by), g in owner.items():
            corner = np.array([bx, by]) * size + low[i]
            distance = np.maximum(np.maximum(corner - p, p - corner - size), 0).max()
            near |= j == i and g != f and distance < guard
        expected.append(-1 if near else f)
    np.testing.assert_array_equal(fold(adata), expected)


def test_blocks_are_dealt_evenly_and_at_random(scattered):
    drawn = []
    for rng in (0, 0, 1, np.random.default_rng(1)):
        ks.pp.spatial_folds(scattered, block_size=100, rng=rng)
        counts = np.bincount(fold(scattered))
        assert np.ptp(counts) <= ks.get.result(scattered, "fold", table="groups")["n_units"].max()
        drawn.append(fold(scattered))
    np.testing.assert_array_equal(drawn[0], drawn[1])
    np.testing.assert_array_equal(drawn[2], drawn[3])
    assert (drawn[0] != drawn[2]).any()


def test_groups_stay_whole_and_folds_even_as_scikit_learn_deals(scattered):
    ks.pp.spatial_folds(scattered, groupby="donor")
    assert (scattered.obs.groupby("donor")["fold"].nunique() == 1).all()
    reference = [len(test) for _, test in GroupKFold(4).split(scattered.obs, groups=scattered.obs["donor"])]
    assert sorted(np.bincount(fold(scattered))) == sorted(reference)


def test_a_value_per_group_is_spread_over_all_folds(scattered):
    ks.pp.spatial_folds(scattered, groupby="donor", stratify="response")
    donors = scattered.obs.groupby("donor", observed=True).first()
    per_fold = pd.crosstab(donors["fold"], donors["response"])
    assert per_fold["yes"].tolist() == [1, 1, 1, 1]
    assert per_fold["no"].tolist() == [2, 2, 2, 2]
    values = ks.get.result(scattered, "fold", table="values")
    expected = pd.crosstab(scattered.obs["fold"], scattered.obs["response"]).to_numpy().ravel()
    assert values["n_units"].tolist() == expected.tolist()


@pytest.mark.parametrize("kwargs", [{"groupby": "donor", "n_folds": 3}, {"block_size": 150}])
def test_values_of_units_are_spread_by_scikit_learn(kwargs):
    """Every type lives in a corner of its own, so that quadrants would each lack some.

    Dealt, every fold has a fair share.
    """
    rng = np.random.default_rng(1)
    xy = rng.random((4000, 2)) * 900
    types = np.where(xy[:, 0] < 450, "left", "right")
    types[rng.random(4000) < 0.1] = "anywhere"
    adata = table(xy, cell_type=types, donor=(xy[:, 0] // 75).astype(int))
    ks.pp.spatial_folds(adata, stratify="cell_type", **kwargs)
    share = pd.crosstab(adata.obs["fold"], adata.obs["cell_type"], normalize="columns")
    assert share.to_numpy().min() > 0.5 / len(share)


def test_missing_groups_are_left_out_and_missing_values_still_fill_folds(scattered):
    scattered.obs.loc[scattered.obs["donor"] == "D3", "donor"] = None
    scattered.obs.loc[scattered.obs["donor"] == "D5", "response"] = None
    lost = int(scattered.obs["donor"].isna().sum())
    ks.pp.spatial_folds(scattered, groupby="donor", stratify="response", n_folds=3)
    np.testing.assert_array_equal(scattered.obs["fold"].isna(), scattered.obs["donor"].isna())
    assert scattered.uns["fold"]["params"]["n_left_out"] == lost > 0


def test_permuted_units_keep_their_folds(scattered):
    order = np.random.default_rng(2).permutation(scattered.n_obs)
    other = scattered[order].copy()
    for kwargs in (
        {"guard": 20},
        {"block_size": 90, "guard": 20},
        {"groupby": "donor"},
        {"groupby": "donor", "stratify": "response"},
    ):
        ks.pp.spatial_folds(scattered, **kwargs)
        ks.pp.spatial_folds(other, **kwargs)
        np.testing.assert_array_equal(fold(scattered)[order], fold(other))


def test_copy_leaves_the_table_alone(scattered):
    before = scattered.obs.columns.tolist()
    folded = ks.pp.spatial_folds(scattered, key_added="quadrant", copy=True)
    assert scattered.obs.columns.tolist() == before
    assert not scattered.uns
    assert "quadrant" in folded.obs
    assert "quadrant" in folded.uns


def test_results_survive_files(scattered, tmp_path):
    ks.pp.spatial_folds(scattered, groupby="donor", stratify="response", guard=0)
    scattered.write_h5ad(tmp_path / "a.h5ad")
    scattered.write_zarr(tmp_path / "a.zarr")
    for back in (anndata.read_h5ad(tmp_path / "a.h5ad"), anndata.read_zarr(tmp_path / "a.zarr")):
        np.testing.assert_array_equal(fold(back), fold(scattered))
        for name in ("folds", "groups", "values"):
            pd.testing.assert_frame_equal(
                ks.get.result(back, "fold", table=name), ks.get.result(scattered, "fold", table=name)
            )


def test_a_value_that_a_fold_lacks_is_a_warning(scattered):
    rare = scattered.obs["donor"].isin(["D0", "D1"]).to_numpy()
    scattered.obs["rare"] = np.where(rare, "rare", "common")
    with pytest.warns(
        UserWarning, match=r"Folds lack values of obs\['rare'\]: 'rare in \d', 'rare in \d'\. Lower n_folds"
    ):
        ks.pp.spatial_folds(scattered, groupby="donor", stratify="rare")


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"n_folds": 1}, ValueError, "n_folds=1 leaves nothing to train on"),
        ({"n_folds": 0}, ValueError, "n_folds must be a whole number"),
        ({"groupby": "donr"}, KeyError, "no column in obs 'donr'.*Did you mean 'donor'.*groupby="),
        ({"groupby": "response"}, ValueError, r"2 groups \('no', 'yes'\) cannot fill 4 folds. Lower n_folds"),
        (
            {"groupby": "donor", "guard": 5},
            ValueError,
            "keeps whole groups together and cuts no image, so 'guard' does not apply",
        ),
        ({"groupby": "donor", "block_size": 5}, ValueError, "'block_size' does not apply"),
        ({"stratify": "cell_type"}, ValueError, "Add groupby= or block_size="),
        ({"block_size": 0}, ValueError, "block_size must be a positive number"),
        ({"block_size": 5000}, ValueError, "1 blocks .* cannot fill 4 folds"),
        ({"guard": -1}, ValueError, "guard must be a number of pixels from 0 up"),
        ({"guard": 10_000}, ValueError, "With guard=10000 nothing is left of the folds '0', '1', '2', '3'"),
        (
            {"block_size": 100, "guard": 50},
            ValueError,
            "guard=50 on each side leaves nothing of blocks of 100 pixels. Choose a guard below 50",
        ),
        ({"spatial_key": "xy"}, KeyError, "no entry of obsm 'xy'; there are: 'spatial'.*groupby="),
        ({"library_key": "imag"}, KeyError, "Did you mean 'image'"),
    ],
)
def test_errors(scattered, kwargs, error, message):
    with pytest.raises(error, match=message):
        ks.pp.spatial_folds(scattered, **kwargs)
    assert "fold" not in scattered.obs
    assert not scattered.uns


def test_coordinates_must_be_numbers(scattered):
    scattered.obsm["spatial"][7, 1] = np.nan
    with pytest.raises(ValueError, match="1 of 3,000 units have no finite x and y"):
        ks.pp.spatial_folds(scattered)


def test_units_without_an_image(scattered):
    scattered.obs.loc["c3", "image"] = None
    with pytest.raises(ValueError, match="1 units have no image"):
        ks.pp.spatial_folds(scattered, library_key="image")


def test_a_real_table(real):
    """Blocks share types out more evenly than quadrants do."""
    cells = anndata.read_h5ad(real / "cell_tables" / "scimap_exemplar001.h5ad")
    cells.obsm["spatial"] = cells.obs[["X_centroid", "Y_centroid"]].to_numpy()
    ks.pp.spatial_folds(cells, guard=32, key_added="quadrant")
    ks.pp.spatial_folds(cells, block_size=400, guard=32, stratify="phenotype")
    spread = {
        key: pd.crosstab(cells.obs[key], cells.obs["phenotype"], normalize="columns").std().mean()
        for key in ("quadrant", "fold")
    }
    assert spread["fold"] < spread["quadrant"] / 2


def test_the_tie_to_the_elements_is_not_overwritten(make):
    table = make()["table"]
    with pytest.raises(ValueError, match=r"obs\['cell_id'\] ties the table to its elements"):
        ks.pp.spatial_folds(table, key_added="cell_id")


def test_an_empty_quadrant():
    adata = table([[0, 0], [100, 0], [0, 100]])
    with pytest.raises(ValueError, match="No unit lies in the folds '3'"):
        ks.pp.spatial_folds(adata)


def test_not_an_anndata(make):
    with pytest.raises(TypeError, match="Expected an AnnData, got SpatialData"):
        ks.pp.spatial_folds(make())
