"""How well each class is recognised."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from kronos_sc._core import results
from kronos_sc._core.checks import known
from kronos_sc.pl._axes import axes_or_new
from kronos_sc.pl._compared import at_one, legend, plain, representation_colors, several, table, words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes

_BAR = 0.12  # inches
_WHOSE = ("representation", "fold", "class")


def class_scores(
    adata: AnnData | results.HasResult,
    key: str | None = None,
    *,
    metric: str = "average_precision",
    representation: str | Sequence[str] | None = None,
    at: Mapping[str, Any] | None = None,
    palette: Mapping[str, Any] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Compare representations class by class: a good mean may hide a class that is never found.

    Parameters
    ----------
    adata
        Table with the result of :func:`kronos_sc.tl.linear_probe` or another classifier; or a
        :class:`kronos_sc.tl.DenseProbe`, without `key`.
    key
        Name of the result in `uns`.
    metric
        `"average_precision"`, `"precision"`, `"recall"` or `"f1"`.
    representation
        Which representations, in which order; all of the result if left out.
    at
        Which value of what was varied, as in `at={"shots": 100}`; needed where there are several.
    palette
        Colours by representation; the package's own if left out, baselines grey.
    ax
        Axes to draw on; a new figure if left out.

    Returns
    -------
    The axes: a group of bars per class, the mean over folds and its standard deviation. Behind each class the number of
    test units.

    Raises
    ------
    KeyError
        There is no such result, representation or metric.
    ValueError
        The result has several lines per class, one per number of shots, say, and `at` does not choose.

    Examples
    --------
    >>> import kronos_sc as ks
    >>> cells = ks.datasets.tissue(shape=(200, 200))["table"]
    >>> cells.obs["nest"] = cells.obs["region"] == "nest"
    >>> ks.pp.spatial_folds(cells, n_folds=2)
    >>> ks.tl.linear_probe(cells, "nest", use_rep="X", C=1)
    >>> ks.pl.class_scores(cells, "nest_probe", metric="f1").get_xlabel()
    'F1'
    """
    frame = table(adata, key, "per_class", needs=("representation", "class"), make="tl.linear_probe")
    # scores are fractions; whole numbers are counts (n_test) or what was varied (shots, k)
    metrics = [column for column in frame.columns if frame[column].dtype.kind == "f" and not column.startswith("n_")]
    known(metric, metrics, what="score per class", fix="Name one of these with metric=.")
    varied = [column for column in frame.columns if column not in (*_WHOSE, *metrics) and not column.startswith("n_")]
    rows = at_one(several(frame, representation), at, varied=varied, key=str(key))
    names = list(rows["representation"].unique())
    classes = list(rows["class"].unique())
    groups = rows.groupby(["class", "representation"])[metric]
    mean = groups.mean().unstack()
    sd = groups.std().unstack()
    step = 0.8 / len(names)
    ax = axes_or_new(ax, size=(5.6, len(classes) * (len(names) + 0.6) * _BAR + 1.1))
    colors = representation_colors(names, palette)
    # bars of one class stand side by side around its tick
    for number, name in enumerate(names):
        y = np.arange(len(classes)) + (number - (len(names) - 1) / 2) * step
        error = np.nan_to_num(sd.reindex(classes)[name])  # one fold has no spread
        ax.barh(
            y,
            mean.reindex(classes)[name],
            height=step * 0.9,
            xerr=error,
            color=colors[name],
            label=name,
            error_kw={"elinewidth": 0.8, "ecolor": "0.25"},
        )
    ax.set_yticks(range(len(classes)), _with_counts(rows, classes), fontsize="small")
    ax.set(ylim=(len(classes) - 0.5, -0.5), xlim=(0, 1.05), xlabel=words(metric), ylabel="class")
    ax.xaxis.grid(visible=True, color="0.9", linewidth=0.6)
    ax.set_axisbelow(True)
    plain(ax)
    legend(ax)
    return ax


def _with_counts(rows: Any, classes: list[str]) -> list[str]:
    """Return classes with their test units over all folds, which are the same for every representation."""
    if "n_test" not in rows:
        return classes
    first = rows[rows["representation"] == rows["representation"].iloc[0]]
    counts = first.groupby("class")["n_test"].sum()
    return [f"{name} ({int(counts.get(name, 0)):,})" for name in classes]
