"""Plots of scores, on results made by hand."""

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData, read_h5ad
from matplotlib.colors import to_hex
from scipy.stats import t

from kronos_sc import pl
from kronos_sc._core import results
from kronos_sc.pl._compared import BASELINE, representation_colors

REPS = {"kronos": 0.8, "mine": 0.7, "mean_marker": 0.5}


def bars(ax):
    """Height of each bar by label of its group."""
    return {c.get_label(): [bar.get_height() for bar in c] for c in ax.containers if hasattr(c, "patches")}


@pytest.fixture
def table():
    """Scores of three representations over two folds: means 0.8, 0.7 and 0.5, each ± 0.1."""
    folds = [
        {"representation": rep, "fold": str(f), "balanced_accuracy": mean + d, "macro_f1": mean + d - 0.2}
        for rep, mean in REPS.items()
        for f, d in enumerate((-0.1, 0.1))
    ]
    shots = [
        row | {"shots": n, "balanced_accuracy": row["balanced_accuracy"] * n / 1000}
        for row in folds
        for n in (100, 500, 1000)
    ]
    thresholds = [row | {"threshold": t} for row in folds for t in (0.2, 1.0)]
    scores = pd.DataFrame(folds)
    few = pd.DataFrame(shots)
    metrics = ["balanced_accuracy", "macro_f1"]
    adata = AnnData(np.zeros((3, 1)))
    summary = results.summary(scores, by="representation", metrics=metrics)
    results.store(adata, "probe", kind="linear_probe", params={}, tables={"scores": scores, "summary": summary})
    summary = results.summary(few, by=["representation", "shots"], metrics=metrics)
    results.store(adata, "few", kind="few_shot", params={}, tables={"scores": few, "summary": summary})
    both = results.summary(few.assign(threshold=0.5), by=["representation", "shots", "threshold"], metrics=metrics)
    results.store(adata, "both", kind="few_shot", params={}, tables={"summary": both})
    results.store(
        adata, "ratio", kind="transfer", params={}, tables={"scores": scores, "ratio_scores": pd.DataFrame(thresholds)}
    )
    results.store(adata, "bare", kind="cluster", params={}, tables={"clusters": scores[["representation"]]})
    return adata


class TestColours:
    def test_a_representation_keeps_its_colour(self):
        alone = representation_colors(["kronos"])
        beside = representation_colors(["mine", "mean_marker", "other", "kronos", "X"])
        assert alone["kronos"] == beside["kronos"]
        assert beside["mean_marker"] == beside["X"] == BASELINE
        assert len({beside[name] for name in ("mine", "other", "kronos", "X")}) == 4

    def test_the_user_has_the_last_word(self):
        assert representation_colors(["kronos", "mine"], {"kronos": "red"})["kronos"] == "red"

    def test_there_are_enough(self):
        assert None not in representation_colors([f"r{i}" for i in range(40)]).values()


class TestScores:
    def test_bars_are_means_and_lines_are_spreads(self, table, ax):
        pl.scores(table, "probe", ax=ax)
        found = bars(ax)
        assert list(found) == list(REPS)
        for name, mean in REPS.items():
            assert found[name] == pytest.approx([mean, mean - 0.2])
        (line,) = [c.lines[2][0] for c in ax.containers if c.get_label() == "_nolegend_" or not hasattr(c, "patches")][
            :1
        ]
        assert np.ptp(line.get_segments()[0][:, 1]) == pytest.approx(2 * np.std([-0.1, 0.1], ddof=1))
        assert [t.get_text() for t in ax.get_xticklabels()] == ["balanced\naccuracy", "macro F1"]

    def test_the_interval_is_that_of_the_summary(self, table, ax):
        pl.scores(table, "probe", metrics="macro_f1", representation="kronos", error="interval", ax=ax)
        row = (
            results.frame(table, "probe", "summary")
            .query("representation == 'kronos' and metric == 'macro_f1'")
            .iloc[0]
        )
        (line,) = [c.lines[2][0] for c in ax.containers if not hasattr(c, "patches")]
        assert line.get_segments()[0][:, 1].tolist() == pytest.approx([row["low"], row["high"]])
        assert ax.get_legend() is None  # one representation needs none

    @pytest.mark.parametrize("shots", [500, 500.0, np.int64(500), "500"])
    def test_one_of_what_was_varied(self, table, ax, shots):
        pl.scores(table, "few", metrics="balanced_accuracy", at={"shots": shots}, ax=ax)
        assert [height for (height,) in bars(ax).values()] == pytest.approx([0.4, 0.35, 0.25])

    def test_representations_may_be_named_by_their_slot(self, table):
        by_slot = pl.scores(table, "probe", representation=["X_mean_marker", "X_kronos"])
        assert list(bars(by_slot)) == ["mean_marker", "kronos"]

    def test_choices_come_in_the_order_named(self, table, ax):
        pl.scores(
            table, "probe", metrics=["macro_f1", "balanced_accuracy"], representation=["mean_marker", "kronos"], ax=ax
        )
        found = bars(ax)
        assert list(found) == ["mean_marker", "kronos"]
        assert found["kronos"] == pytest.approx([0.6, 0.8])
        assert [text.get_text() for text in ax.get_legend().get_texts()] == ["mean_marker", "kronos"]

    def test_missing_scores_leave_a_gap(self, ax):
        adata = AnnData(np.zeros((2, 1)))
        scores = pd.DataFrame(
            {"representation": ["kronos", "leiden"], "fold": "all", "ari": [0.5, 0.4], "silhouette": [0.1, np.nan]}
        )
        summary = results.summary(scores, by="representation", metrics=["ari", "silhouette"])
        results.store(adata, "ari", kind="ari", params={}, tables={"scores": scores, "summary": summary})
        pl.scores(adata, "ari", ax=ax)
        assert np.isnan(bars(ax)["leiden"][1])

    def test_the_palette_colours_bars(self, table, ax):
        pl.scores(table, "probe", palette={"mine": "#ff0000"}, ax=ax)
        colors = {c.get_label(): to_hex(c.patches[0].get_facecolor()) for c in ax.containers if hasattr(c, "patches")}
        assert colors["mine"] == "#ff0000"
        assert colors["mean_marker"] == BASELINE

    def test_results_from_a_file_look_the_same(self, table, tmp_path):
        before = bars(pl.scores(table, "probe"))
        table.write_h5ad(tmp_path / "t.h5ad")
        assert bars(pl.scores(read_h5ad(tmp_path / "t.h5ad"), "probe")) == before

    @pytest.mark.parametrize(
        ("key", "how", "error", "message"),
        [
            ("prob", {}, KeyError, "Did you mean 'probe'"),
            ("bare", {}, KeyError, "made by tl.cluster, has no table 'summary'"),
            (
                "few",
                {},
                ValueError,
                r"several values of 'shots' \(100, 500, 1000\). "
                r"Choose with at={'shots': 1000}, or .* pl.curve\(adata, 'few'\)",
            ),
            ("few", {"at": {"shots": 300}}, ValueError, "'shots' has: 100, 500, 1000"),
            ("few", {"at": {"shot": 100}}, KeyError, "Did you mean 'shots'"),
            ("probe", {"at": {"shots": 100}}, KeyError, "leave at out"),
            ("probe", {"metrics": "accuracy"}, KeyError, "Name one of these with metrics="),
            ("probe", {"representation": "kronus"}, KeyError, "Did you mean 'kronos'"),
            ("probe", {"error": "sem"}, ValueError, "error can be"),
        ],
    )
    def test_bad_input_is_named(self, table, key, how, error, message):
        with pytest.raises(error, match=message):
            pl.scores(table, key, **how)


class TestCurve:
    def test_a_line_per_representation(self, table, ax):
        pl.curve(table, "few", ax=ax)
        lines = {line.get_label(): line for line in ax.lines}
        assert list(lines) == list(REPS)
        assert lines["kronos"].get_xdata().tolist() == [100, 500, 1000]
        assert lines["kronos"].get_ydata().tolist() == pytest.approx([0.08, 0.4, 0.8])
        assert ax.get_xscale() == "log"
        assert ax.get_xlabel() == "labelled units per class"

    @pytest.mark.parametrize("band", ["sd", "interval"])
    def test_the_band_is_the_spread(self, table, ax, band):
        pl.curve(table, "few", representation="kronos", band=band, ax=ax)
        half = np.std([0.7, 0.9], ddof=1) * (1 if band == "sd" else t.ppf(0.975, 1) / np.sqrt(2))
        ys = ax.collections[0].get_paths()[0].vertices[:, 1]
        assert ys.max() == pytest.approx(0.8 + half)

    def test_what_was_varied_is_found(self, table):
        frame = results.frame(table, "few", "summary").rename(columns={"shots": "threshold"})
        results.store(table, "thresholds", kind="ratio_scores", params={}, tables={"summary": frame})
        assert pl.curve(table, "thresholds").get_xlabel() == "threshold"

    def test_scores_by_fold_are_summarised(self, table, ax):
        pl.curve(table, "ratio", x="threshold", ax=ax)
        assert ax.lines[0].get_ydata().tolist() == pytest.approx([0.8, 0.8])
        assert ax.get_xscale() == "linear"  # shares are no counts
        by_name = pl.curve(table, "ratio", x="threshold", table="ratio_scores")
        assert by_name.lines[0].get_ydata().tolist() == ax.lines[0].get_ydata().tolist()

    def test_the_scale_is_as_told(self, table, ax):
        pl.curve(table, "few", log=False, ax=ax)
        assert ax.get_xscale() == "linear"

    @pytest.mark.parametrize(
        ("key", "how", "error", "message"),
        [
            (
                "probe",
                {},
                KeyError,
                r"'summary' of 'probe' does not say what was varied; .* pl.scores\(adata, 'probe'\)",
            ),
            ("probe", {"x": "shots"}, KeyError, "No table of 'probe' .* 'shots' with the score 'balanced_accuracy'"),
            ("both", {}, KeyError, "several columns for what was varied: 'shots', 'threshold'"),
            ("ratio", {}, KeyError, "no table of the result 'ratio' 'summary'; there are: 'scores', 'ratio_scores'"),
            ("ratio", {"table": "ratio_scores"}, KeyError, "with x="),
            ("few", {"x": "k"}, KeyError, "name the column with x="),
            ("few", {"metric": "accuracy"}, KeyError, "accuracy"),
            ("few", {"band": "ci"}, ValueError, "band can be"),
            ("few", {"table": "summery"}, KeyError, "Did you mean 'summary'"),
        ],
    )
    def test_bad_input_is_named(self, table, key, how, error, message):
        with pytest.raises(error, match=message):
            pl.curve(table, key, **how)
