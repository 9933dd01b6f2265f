"""Scores of representations beside each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from kronos_sc._core import results
from kronos_sc._core.checks import known, one_of
from kronos_sc.pl._axes import axes_or_new
from kronos_sc.pl._choice import as_list
from kronos_sc.pl._compared import STATISTICS, at_one, legend, plain, representation_colors, several, table, words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes


def scores(
    adata: AnnData | results.HasResult,
    key: str | None = None,
    *,
    metrics: str | Sequence[str] | None = None,
    representation: str | Sequence[str] | None = None,
    at: Mapping[str, Any] | None = None,
    error: Literal["sd", "interval"] = "sd",
    palette: Mapping[str, Any] | None = None,
    ax: Axes | None = None,
) -> Axes:
    r"""Compare representations by their scores, with mean marker expression in grey beside them.

    Parameters
    ----------
    adata
        Table with a result that has a summary: of :func:`kronos_sc.tl.ari`, :func:`kronos_sc.tl.linear_probe` and so
        on; or a :class:`kronos_sc.tl.DenseProbe`, without `key`.
    key
        Name of the result in `uns`.
    metrics
        Which scores, in which order; all of the summary if left out. Whether more is better depends on the score.
    representation
        Which representations, in which order; all of the result if left out.
    at
        Which value of what was varied, as in `at={"shots": 100}`; needed where there are several.
    error
        What the lines on the bars show: `"sd"`, the standard deviation over folds or draws, or `"interval"`, the 95 %
        interval of the mean.
    palette
        Colours by representation; the package's own if left out, baselines grey.
    ax
        Axes to draw on; a new figure if left out.

    Returns
    -------
    The axes: a group of bars per score. Scores that were not computed leave a gap.

    Raises
    ------
    KeyError
        There is no such result, score or representation, or the result has no summary.
    ValueError
        The result has several lines per score, one per number of shots, say, and `at` does not choose.

    Examples
    --------
    >>> import kronos_sc as ks
    >>> cells = ks.datasets.tissue(shape=(128, 128))["table"]
    >>> ks.tl.ari(cells, "cell_type", use_rep="X")
    >>> ks.pl.scores(cells, "cell_type_ari", metrics=["ari", "nmi"]).get_ylabel()
    'score'
    """
    one_of(error, ("sd", "interval"), name="error")
    frame = table(
        adata,
        key,
        "summary",
        needs=("representation", "metric", "mean"),
        make="tl.ari, tl.linear_probe or another that scores",
    )
    varied = [column for column in frame.columns if column not in ("representation", "metric", *STATISTICS)]
    instead = f", or draw all of them with pl.curve(adata, {key!r})"
    rows = _of_metrics(several(frame, representation), metrics)
    rows = at_one(rows, at, varied=varied, key=str(key), instead=instead)
    names = list(rows["representation"].unique())
    shown = list(rows["metric"].unique())
    ax = axes_or_new(ax, size=(len(shown) * max(0.34 * len(names) + 0.5, 1.4) + 1.8, 3.2))
    colors = representation_colors(names, palette)
    step = 0.8 / len(names)
    # bars of one score stand side by side around its tick
    for number, name in enumerate(names):
        bar_rows = rows[rows["representation"] == name].set_index("metric").reindex(shown)
        x = np.arange(len(shown)) + (number - (len(names) - 1) / 2) * step
        ax.bar(
            x,
            bar_rows["mean"],
            width=step * 0.9,
            yerr=_error(bar_rows, error),
            color=colors[name],
            label=name,
            error_kw={"elinewidth": 0.8, "ecolor": "0.25"},
        )
    ax.set_xticks(range(len(shown)), [_broken(words(metric)) for metric in shown], fontsize="small")
    ax.set_ylabel("score")
    ax.axhline(0, color="0.3", linewidth=0.6)
    ax.yaxis.grid(visible=True, color="0.9", linewidth=0.6)
    ax.set_axisbelow(True)
    plain(ax)
    legend(ax)
    return ax


def _of_metrics(rows: pd.DataFrame, metrics: str | Sequence[str] | None) -> pd.DataFrame:
    """Return the rows of some scores, in the order named."""
    if metrics is None:
        return rows
    import pandas as pd

    names = as_list(metrics)
    available = list(rows["metric"].unique())
    for metric in names:
        known(metric, available, what="score in this result", fix="Name one of these with metrics=.")
    return pd.concat([rows[rows["metric"] == metric] for metric in names], ignore_index=True)


def _error(bar_rows: pd.DataFrame, error: str) -> np.ndarray:
    """Return the lengths below and above each bar (2 × bars); 0 where there is one value."""
    if error == "sd":
        return np.nan_to_num(np.stack([bar_rows["sd"], bar_rows["sd"]]).astype(float))
    return np.nan_to_num(
        np.stack([bar_rows["mean"] - bar_rows["low"], bar_rows["high"] - bar_rows["mean"]]).astype(float)
    )


def _broken(text: str) -> str:
    """Return words on two lines of about the same length."""
    if len(text) < 12 or " " not in text:
        return text
    # at the blank nearest to the middle
    spaces = [i for i, letter in enumerate(text) if letter == " "]
    middle = min(spaces, key=lambda i: abs(i - len(text) / 2))
    return f"{text[:middle]}\n{text[middle + 1 :]}"
