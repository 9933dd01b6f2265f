"""Scores of a dense probe against scikit-learn, over folds and in plots."""

import io
import json
from dataclasses import replace

import geopandas
import numpy as np
import pandas as pd
import pytest
import shapely
from numpy.testing import assert_allclose
from sklearn import metrics
from spatialdata.models import ShapesModel

import kronos_sc as ks
from kronos_sc.tl import DenseOptions, DenseProbe, dense_probe

QUICK = DenseOptions(C=1e-3, precision="float32", n_folds=2)


@pytest.fixture(scope="module")
def tissue(make):
    """Squares of 32 pixels of three brightnesses that noise makes hard to tell apart.

    Classes of two and of three kinds.
    """
    rng = np.random.default_rng(0)
    corners = np.array([(y, x) for y in range(0, 192, 32) for x in range(0, 224, 32)])
    kind = np.arange(len(corners)) % 7 % 3  # 18, 12 and 12: of equally many the two means of AUROC are equal
    image = rng.integers(0, 30_000, (2, 192, 224)).astype(np.uint16)
    for (y, x), level in zip(corners, kind + rng.normal(0, 0.7, len(corners)), strict=True):
        image[:, y : y + 32, x : x + 32] += np.uint16(12_000 + 3000 * level)
    sdata = make(image=image, channels=("DAPI", "CD3"), table=False)
    y, x = corners.T
    columns = {"class": np.array(["fat", "gland", "muscle"])[kind], "side": np.where(kind == 0, "tumor", "healthy")}
    sdata["regions"] = ShapesModel.parse(geopandas.GeoDataFrame(columns, geometry=shapely.box(x, y, x + 32, y + 32)))
    return sdata


@pytest.fixture(scope="module")
def three(tissue) -> DenseProbe:
    return dense_probe(tissue, "regions", model="mean-marker", patch_size=64, options=QUICK)


@pytest.fixture(scope="module")
def two(tissue) -> DenseProbe:
    return dense_probe(tissue, "regions", class_key="side", model="mean-marker", patch_size=64, options=QUICK)


def parts(probe: DenseProbe):
    """Fold, true classes, probabilities and the row of scores, fold by fold and over all."""
    regions = probe.regions
    for row in probe.scores.itertuples():
        of_fold = regions if row.fold == "all" else regions[regions["fold"] == row.fold]
        yield row.fold, of_fold["true"].to_numpy(str), of_fold[[f"p_{name}" for name in probe.classes]].to_numpy(), row


def test_more_than_two_classes_have_the_auroc_of_pairs(three) -> None:
    assert [fold for fold, *_ in parts(three)] == ["0", "1", "all"]
    for _, true, proba, row in parts(three):
        ovo, ovr = (
            metrics.roc_auc_score(true, proba, multi_class=kwargs, labels=list(three.classes))
            for kwargs in ("ovo", "ovr")
        )
        assert row.auroc_ovo == pytest.approx(ovo)
        assert row.auroc == pytest.approx(ovr)
        assert row.auroc_ovo != pytest.approx(row.auroc, abs=1e-4)
        assert np.isnan([row.f1, row.average_precision]).all()
    assert three.positive is None
    assert "F1 and average" not in repr(three)


@pytest.mark.parametrize("positive", [None, "tumor", "healthy"])
def test_of_two_classes_one_is_positive(tissue, two, positive) -> None:
    kwargs = {"class_key": "side", "model": "mean-marker", "patch_size": 64}
    probe = (
        two if positive is None else dense_probe(tissue, "regions", options=replace(QUICK, positive=positive), **kwargs)
    )
    label = positive or "tumor"  # the second of the alphabet
    assert probe.positive == label
    assert probe.params["positive"] == label
    for _, true, proba, row in parts(probe):
        predicted = np.array(probe.classes)[proba.argmax(axis=1)]
        score = proba[:, probe.classes.index(label)]
        assert row.f1 == pytest.approx(metrics.f1_score(true, predicted, pos_label=label))
        assert row.average_precision == pytest.approx(metrics.average_precision_score(true, score, pos_label=label))
        assert row.macro_f1 == pytest.approx(metrics.f1_score(true, predicted, average="macro"))
        assert row.auroc_ovo == pytest.approx(row.auroc) == pytest.approx(metrics.roc_auc_score(true == label, score))
    assert f"F1 and average precision of {label!r}" in repr(probe)


def test_a_positive_class_that_is_none(tissue) -> None:
    kwargs = {"model": "mean-marker", "patch_size": 64}
    with pytest.raises(
        ValueError, match=r"positive='fat' names one of two .* have 3 .*'muscle'\)\. Leave positive out"
    ):
        dense_probe(tissue, "regions", options=replace(QUICK, positive="fat"), **kwargs)
    with pytest.raises(KeyError, match=r"no class 'Tumor'; there are: 'healthy', 'tumor'. Did you mean 'tumor'\?"):
        dense_probe(tissue, "regions", class_key="side", options=replace(QUICK, positive="Tumor"), **kwargs)


def test_the_summary_is_mean_and_sd_over_folds(two, three) -> None:
    for probe in (two, three):
        summary = probe.summary.set_index(["representation", "metric"])
        folds = probe.scores[probe.scores["fold"] != "all"]
        for metric in ("balanced_accuracy", "macro_ap", "auroc", "auroc_ovo"):
            values = folds[metric].to_numpy()
            assert_allclose(
                summary.loc[("mean-marker", metric), ["mean", "sd", "n"]].to_numpy(float),
                [values.mean(), values.std(ddof=1), 2],
            )
    assert {"f1", "average_precision"} <= set(two.summary["metric"])
    assert not {"f1", "average_precision"} & set(three.summary["metric"])


def test_tables_have_the_columns_of_other_classifiers(three) -> None:
    cells = ks.datasets.tissue(shape=(128, 128))["table"]
    ks.pp.spatial_folds(cells, n_folds=2)
    cells.obs["half"] = (np.arange(cells.n_obs) % 2).astype(str)
    ks.tl.linear_probe(cells, "half", use_rep="X", C=1.0)
    for table in ("summary", "per_class", "confusion"):
        own = ks.get.result(three, table=table)
        assert list(own.columns) == list(ks.get.result(cells, "half_probe", table=table).columns)
    regions = three.regions
    table = ks.get.result(three, table="confusion").pivot_table(
        index="true", columns="predicted", values="count", aggfunc="sum"
    )
    assert (table.to_numpy() == metrics.confusion_matrix(regions["true"], regions["predicted"])).all()
    per_class = ks.get.result(three, table="per_class").set_index(["fold", "class"])
    first = regions[regions["fold"] == "0"]
    expected = metrics.recall_score(first["true"], first["predicted"], average=None)
    assert_allclose(per_class.loc["0", "recall"], expected)
    assert set(ks.get.result(three)["fold"]) == {"0", "1"}  # the pooled row is in probe.scores


def test_plots_take_a_probe(two, three) -> None:
    ax = ks.pl.scores(two, metrics=["f1", "auroc"])
    assert_allclose(
        [bar.get_height() for bar in ax.patches], two.summary.set_index("metric").loc[["f1", "auroc"], "mean"]
    )
    assert [label.get_text() for label in ax.get_xticklabels()] == ["F1", "AUROC"]
    ax = ks.pl.class_scores(three, metric="recall")
    assert [label.get_text() for label in ax.get_yticklabels()] == ["fat (18)", "gland (12)", "muscle (12)"]
    ax = ks.pl.confusion(three)
    assert ax.get_title() == "mean-marker, 42 units"
    mean = two.summary.set_index("metric").loc["auroc", "mean"]
    assert ks.pl.roc(two).get_legend().get_texts()[0].get_text().startswith(f"mean-marker  {mean:.2f} ± ")


@pytest.mark.parametrize("positive", ["tumor", "healthy"])
def test_the_roc_is_that_of_the_positive_class(two, positive) -> None:
    probe = replace(two, params=two.params | {"positive": positive})
    curve = ks.get.result(probe, table="roc")
    rates = []
    for fold, true, proba, _ in parts(probe):
        if fold != "all":
            false, hit, _ = metrics.roc_curve(
                true == positive, proba[:, probe.classes.index(positive)], drop_intermediate=False
            )
            rates.append([hit[false <= rate + 1e-12].max() for rate in (0.0, 1.0)])
    ends = curve["true_positive_rate"].iloc[[0, -1]]
    assert_allclose(ends, np.mean(rates, axis=0))
    area = metrics.auc(curve["false_positive_rate"], curve["true_positive_rate"])
    assert area == pytest.approx(probe.summary.set_index("metric").loc["auroc", "mean"], abs=0.02)


def test_a_file_of_an_earlier_version_is_completed(two, tmp_path) -> None:
    two.save(tmp_path / "new.npz")
    assert DenseProbe.load(tmp_path / "new.npz").positive == two.positive
    with np.load(tmp_path / "new.npz") as stored:
        held = dict(stored)
    meta = json.loads(held["meta"].tobytes().decode())
    scores = pd.read_json(io.StringIO(json.dumps(meta["frames"]["scores"])), orient="split", dtype=False)
    old = scores.drop(columns=["auroc_ovo", "f1", "average_precision"])
    meta["frames"]["scores"] = json.loads(old.to_json(orient="split", double_precision=15))
    del meta["params"]["positive"]
    held["meta"] = np.frombuffer(json.dumps(meta).encode(), np.uint8)
    np.savez_compressed(tmp_path / "old.npz", **held)
    again = DenseProbe.load(tmp_path / "old.npz")
    pd.testing.assert_frame_equal(again.scores[two.scores.columns], two.scores, check_dtype=False)
    pd.testing.assert_frame_equal(again.summary, two.summary)


def test_a_probe_is_passed_alone_and_a_table_with_a_key(two) -> None:
    for call in (ks.pl.scores, ks.pl.roc, ks.pl.class_scores, ks.pl.confusion, ks.pl.importance, ks.get.result):
        with pytest.raises(
            TypeError,
            match=r"key='side_probe' names a result in uns, and a DenseProbe is one by itself. Pass it alone to",
        ):
            call(two, "side_probe")
    cells = ks.datasets.tissue(shape=(64, 64))["table"]
    ks.tl.ari(cells, "cell_type", use_rep="X")
    for call in (ks.pl.scores, ks.get.result):
        with pytest.raises(TypeError, match=r"key is missing: which result in uns\? There are: 'cell_type_ari'"):
            call(cells)
    with pytest.raises(
        KeyError, match=r"no table of the result of this DenseProbe 'trials'; there are: 'scores', 'summary'"
    ):
        ks.get.result(two, table="trials")
