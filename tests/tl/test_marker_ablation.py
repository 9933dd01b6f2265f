"""Dropping markers: against embeddings of smaller panels, against classifiers by hand, and where nothing can change."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

import kronos_sc as ks
from kronos_sc._analysis import ablation as _ablation_probe
from kronos_sc._analysis.ablation import AblationProbe
from kronos_sc._methods.logistic import softmax
from kronos_sc.models.views.ablation import FoldClassifier

KEY = "kronos_ablation"
CHANNELS = ["DAPI", "CD3", "CD8", "CD20", "CYTOKERATIN"]


@pytest.fixture(scope="module")
def sdata(make):
    """Cells of two kinds: every second one is bright in CD8."""
    data = make(shape=(150, 190))
    labels = data["cells"].to_numpy()
    cells = data["table"]
    bright = np.arange(cells.n_obs) % 2 == 1
    image = np.random.default_rng(1).integers(0, 3000, (5, *labels.shape)).astype("uint16")
    image[2][np.isin(labels, cells.obs["cell_id"].to_numpy()[bright])] = 40_000
    data = make(image=image, labels=labels)
    data["table"].obs["kind"] = np.where(bright, "bright", "dark")
    data["table"].obs["fold"] = [str(i // 2 % 2) for i in range(cells.n_obs)]
    return data


def ablation(sdata, model, **kwargs):
    return ks.tl.marker_ablation(sdata, model=model, inplace=False, **kwargs)


@pytest.mark.parametrize("features", ["marker", "cls"])
def test_equals_embedding_the_smaller_panel(sdata, tiny, features):
    table = ablation(sdata, tiny, features=features, markers=["CD8"], n_units=None)
    kwargs = {"model": tiny, "features": features, "precision": "float32", "inplace": False}
    full = ks.tl.embed(sdata, **kwargs).obsm["X_kronos"]
    part = ks.tl.embed(sdata, channels=[c for c in CHANNELS if c != "CD8"], **kwargs).obsm["X_kronos"]
    shared = full if features == "cls" else np.delete(full.reshape(-1, 5, 48), 2, axis=1).reshape(len(full), -1)
    cosine = 1 - (shared * part).sum(1, dtype=float) / np.linalg.norm(shared, axis=1) / np.linalg.norm(part, axis=1)
    assert_allclose(table.obsm[KEY]["CD8"], cosine, atol=1e-5)
    change = ks.get.result(table, KEY)
    assert_allclose(change["cosine"], cosine.mean(), atol=1e-5)
    assert_allclose(
        change["relative"], (np.linalg.norm(shared - part, axis=1) / np.linalg.norm(shared, axis=1)).mean(), rtol=1e-4
    )


def test_markers_that_do_not_see_each_other_change_nothing(sdata):
    table = ablation(sdata, "mean-marker", n_units=9, groupby="kind")
    change = ks.get.result(table, "mean_marker_ablation")
    assert list(change["group"].unique()) == ["all", "bright", "dark"]
    assert list(change.groupby("group", sort=False)["n"].first()) == [18, 9, 9]
    assert (change[["cosine", "relative"]] == 0).all(axis=None)


def test_a_classifier_that_reads_one_marker_falls_with_it(sdata):
    table = ablation(sdata, "mean-marker", target="kind", n_units=None)
    change = ks.get.result(table, "mean_marker_ablation").query("group == 'all'").set_index("marker")
    assert change["p_true"].iloc[0] > 0.9
    assert change.loc["CD8", "changed"] > 0.3  # one of the two kinds is lost
    assert change.loc["CD8", "p_fall"] > 0.25
    assert (change.drop("CD8")[["changed", "p_fall"]].abs() < 0.1).all(axis=None)
    assert table.obsm["mean_marker_ablation_p"].shape == (table.n_obs, 5)


def test_the_classifier_is_fitted_where_the_network_runs(sdata, monkeypatch):
    import torch

    from kronos_sc.models.inference import placement

    seen = []
    fit = _ablation_probe.cross_validate
    monkeypatch.setattr(
        _ablation_probe, "cross_validate", lambda *a, **kwargs: seen.append(kwargs["device"]) or fit(*a, **kwargs)
    )
    ablation(sdata, "mean-marker", target="kind", n_units=20, markers=["CD8"], device="cpu")
    assert seen == ["cpu"]
    monkeypatch.setattr(placement, "choose_device", torch.device)
    assert [placement.fit_device(name) for name in ("cpu", "cuda:1", "mps")] == ["cpu", "cuda:1", "cpu"]


def test_decisions_by_hand():
    """Two units in two folds, two classes, one dropped marker; scores of the other fold must not count."""
    classifier = FoldClassifier(np.zeros((2, 2, 4)), np.zeros((2, 2)), np.zeros((2, 4)))
    probe = AblationProbe(classifier, np.array([0, 1]), np.array([0, 0]))
    nine = [9.0, -9.0]
    scores = np.array([[[[2.0, 0.0], nine], [[0.0, 1.0], nine]], [[nine, [0.0, 0.0]], [nine, [3.0, 0.0]]]]).reshape(
        2, -1
    )
    changes = probe.compare(scores)
    p = [softmax(np.array([s]))[0, 0] for s in ([2.0, 0.0], [0.0, 1.0], [0.0, 0.0], [3.0, 0.0])]
    assert changes["changed"].tolist() == [[1.0], [0.0]]
    assert_allclose(changes["p_fall"], [[p[0] - p[1]], [p[2] - p[3]]])
    assert_allclose(changes["p_true"], [[p[0]], [p[2]]])
    assert probe.width(1) == 8


def test_batches_do_not_matter_and_draws_follow_the_seed(sdata, tiny):
    frames = [
        ablation(sdata, tiny, n_units=6, rng=seed, batch_size=size).obsm[KEY] for seed, size in ((0, 1), (0, 4), (1, 4))
    ]
    assert_allclose(frames[0], frames[1], atol=1e-6)
    drawn = [set(np.flatnonzero(frame.notna().all(axis=1))) for frame in frames]
    assert len(drawn[0]) == 6
    assert drawn[0] == drawn[1] != drawn[2]


def test_a_second_call_leaves_nothing_of_the_first(sdata):
    from spatialdata import SpatialData

    table = ablation(sdata, "mean-marker", target="kind", n_units=20)
    other = SpatialData(images=dict(sdata.images), labels=dict(sdata.labels), tables={"table": table})
    again = ablation(other, "mean-marker", n_units=4)
    assert "mean_marker_ablation_p" not in again.obsm


def test_it_survives_a_file(sdata, tmp_path):
    import anndata

    table = ablation(sdata, "mean-marker", target="kind", n_units=20)
    table.write_h5ad(tmp_path / "t.h5ad")
    back = anndata.read_h5ad(tmp_path / "t.h5ad")
    assert ks.get.result(back, "mean_marker_ablation").equals(ks.get.result(table, "mean_marker_ablation"))


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"markers": ["CD99"]}, KeyError, "There is no marker in the panel 'CD99'"),
        ({"markers": []}, ValueError, "markers is empty"),
        ({"channels": ["DAPI"]}, ValueError, "nothing is left without it"),
        ({"features": "token"}, ValueError, "features can be 'marker', 'cls'"),
        ({"target": "no"}, KeyError, "There is no column in obs 'no'"),
        ({"target": "kind", "fold_key": "no"}, KeyError, "There is no column 'no' in obs"),
        ({"target": "kind", "fold_key": "kind"}, ValueError, "hold 1 classes of 'kind' and lack"),
        ({"n_units": 0}, ValueError, "n_units must be a whole number"),
        (
            {"groupby": "apart", "target": "kind", "fold_key": "some"},
            ValueError,
            "No unit that is read has a 'apart' and a 'some'",
        ),
        ({"patchsize": 0}, TypeError, "Did you mean 'patch_size'"),
    ],
)
def test_errors(sdata, tiny, kwargs, error, message, state, unchanged):
    folds = sdata["table"].obs["fold"]
    sdata["table"].obs["apart"] = np.where(np.arange(len(folds)) < 4, "x", "")  # those have no fold in "some"
    sdata["table"].obs["some"] = np.where(np.arange(len(folds)) < 4, "", folds)
    before = state(sdata)
    with pytest.raises(error, match=message):
        ks.tl.marker_ablation(sdata, **({"model": tiny} | kwargs))
    unchanged(before, state(sdata))
