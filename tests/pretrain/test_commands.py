"""What commands hand on, refuse and print; the work behind them is tested where it is done."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
from typer.testing import CliRunner

from kronos_pretrain import export
from kronos_pretrain.cli import app
from kronos_pretrain.corpus_build import build
from kronos_pretrain.evaluate import Labelled, cut
from kronos_pretrain.evaluate.table import table


def call(*words: object, status: int = 0) -> str:
    """Run a command and return what it said."""
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == status, done.output
    return done.output


@pytest.fixture
def handed(monkeypatch):
    """Return a function that puts a recorder in the place of a function, and its calls."""
    calls = []

    def replace(where: str, result: object) -> list[dict]:
        monkeypatch.setattr(where, lambda *given, **options: (calls.append({"given": given} | options), result)[1])
        return calls

    return replace


@pytest.fixture
def cells() -> Labelled:
    halves = np.array(["train", "test"])[np.arange(8) % 2]
    return Labelled("toy", np.zeros((8, 1, 16, 16), np.uint8), 255.0, np.repeat(["a", "b"], 4), halves, ("DAPI",))


def test_options_of_corpus_build(handed) -> None:
    calls = handed("kronos_pretrain.corpus_build.build", "built")
    assert call("corpus", "build", "m.toml", "out", "--workers", 3, "--rebuild") == "built\n"
    call("corpus", "build", "m.toml", "out")
    assert [(each["resume"], each["workers"]) for each in calls] == [(False, 3), (True, None)]
    assert {"resume", "workers"} <= set(inspect.signature(build).parameters)


def test_options_of_labelled(handed, cells, tmp_path) -> None:
    out = tmp_path / "cells.npz"
    known = set(inspect.signature(cut.from_spatialdata).parameters)
    calls = handed("kronos_pretrain.evaluate.cut.from_spatialdata", cells)
    keys = (
        "--image",
        "i",
        "--labels",
        "l",
        "--table",
        "t",
        "--split",
        "part",
        "--max-value",
        40,
        "--size",
        32,
        "--per-class",
        7,
    )
    output = call("labelled", "s.zarr", out, "--target", "type", "--channel", "CD4 Cy7=", "--channel", "a=b=CD8", *keys)
    assert output == f"{out}: toy: 8 patches (4 train, 4 test) of 16 × 16 pixels, 1 markers, 2 classes\n"
    (given,) = calls
    assert given["channels"] == {"CD4 Cy7": None, "a=b": "CD8"}
    assert [given[key] for key in ("image_key", "region_key", "table_key", "split", "max_value", "size")] == [
        "i",
        "l",
        "t",
        "part",
        40,
        32,
    ]
    assert given["n_per_class"] == 7
    assert set(given) - {"given"} <= known


def test_labelled_replaces_nothing_by_accident(handed, cells, tmp_path) -> None:
    out = tmp_path / "cells.npz"
    out.write_text("precious")
    calls = handed("kronos_pretrain.evaluate.cut.from_spatialdata", cells)
    assert "exists already. Name another file, or replace it with --overwrite." in call(
        "labelled", "s", out, "--target", "t", status=1
    )
    assert (calls, out.read_text()) == ([], "precious")
    call("labelled", "s", out, "--target", "t", "--overwrite")
    assert len(Labelled.load(out)) == 8
    assert calls[0]["channels"] is None
    assert "has no equals sign" in call(
        "labelled", "s", tmp_path / "new", "--target", "t", "--channel", "CD4", status=1
    )


def test_export_refuses_before_it_reads(tmp_path, monkeypatch) -> None:
    (tmp_path / "out").mkdir()

    def never(*_):
        raise AssertionError

    monkeypatch.setattr(export, "load_teacher", never)
    assert "exists already. Choose another folder" in call("export", tmp_path / "run", tmp_path / "out", status=1)
    (tmp_path / "out" / "thesis.docx").write_text("precious")
    assert "holds something else than an export" in call(
        "export", tmp_path / "run", tmp_path / "out", "--overwrite", status=1
    )


def test_evaluate_prints_a_table(handed) -> None:
    probes = ("knn_balanced_accuracy", "knn_macro_f1", "linear_balanced_accuracy", "linear_macro_f1")
    keys = [f"evaluate/{prefix}{probe}" for prefix in ("", "marker_", "mean_marker_") for probe in probes]
    scores = {key: number / 100 for number, key in enumerate(keys)}
    handed("kronos_pretrain.teacher_evaluation.evaluate_run", scores)
    assert call("evaluate", "run", "cells.npz") == f"{table(scores)}\n"
    head, *rows = (line.split("  ") for line in table(scores).splitlines())
    assert [cell.strip() for cell in head if cell] == [
        "features",
        "k-NN: balanced accuracy",
        "macro F1",
        "linear: balanced accuracy",
        "macro F1",
    ]
    cells_of_rows = [[cell.strip() for cell in row if cell.strip()] for row in rows]
    assert cells_of_rows == [
        ["class token", "0.000", "0.010", "0.020", "0.030"],
        ["marker features", "0.040", "0.050", "0.060", "0.070"],
        ["mean intensities (baseline)", "0.080", "0.090", "0.100", "0.110"],
    ]
