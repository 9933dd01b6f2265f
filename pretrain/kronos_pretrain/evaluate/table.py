"""Scores as a table for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

ROWS = {"": "class token", "marker_": "marker features", "mean_marker_": "mean intensities (baseline)"}
COLUMNS = {
    "knn_balanced_accuracy": "k-NN: balanced accuracy",
    "knn_macro_f1": "macro F1",
    "linear_balanced_accuracy": "linear: balanced accuracy",
    "linear_macro_f1": "macro F1",
}


def table(scores: Mapping[str, float]) -> str:
    """Return the scores of :class:`kronos_pretrain.evaluate.Evaluation`.

    Features in rows, probes and scores in columns.
    """
    width = max(map(len, ROWS.values()))
    lines = ["  ".join(["features".ljust(width), *COLUMNS.values()])]
    for prefix, words in ROWS.items():
        values = {key: scores[f"evaluate/{prefix}{key}"] for key in COLUMNS}
        cells = (f"{values[key]:.3f}".rjust(len(head)) for key, head in COLUMNS.items())
        lines.append("  ".join([words.ljust(width), *cells]))
    return "\n".join(lines)
