"""Receiver operating characteristic over splits of cases."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kronos_sc._core import results
from kronos_sc.pl._axes import axes_or_new
from kronos_sc.pl._compared import plain, representation_colors, several, table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes

_MAKE = "tl.stratify or tl.dense_probe"


def roc(
    adata: AnnData | results.HasResult,
    key: str | None = None,
    *,
    representation: str | Sequence[str] | None = None,
    palette: Mapping[str, Any] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Show the mean ROC curve of each representation.

    The mean is over the splits of :func:`kronos_sc.tl.stratify`, or the folds of a dense probe. Curves of single splits
    are steps of a few cases; their mean at each false positive rate is shown, with the 95 % interval of that mean. The
    band narrows with the number of splits and says nothing about other patients. Mean marker expression is grey. Bands
    of four folds are wide; those of the paper's region classification are standard deviations, two thirds as wide.

    Parameters
    ----------
    adata
        Table with the result; or a :class:`kronos_sc.tl.DenseProbe`, without `key`.
    key
        Name of the result in `uns`.
    representation
        Which representations, in which order; all of the result if left out.
    palette
        Colours by representation; the package's own if left out.
    ax
        Axes to draw on; a new figure if left out.

    Returns
    -------
    The axes. The legend gives the mean AUROC and its 95 % interval. With two classes the curve is that of the second
    category (of a probe, of its positive class), with more the mean over classes, each against the rest.

    Raises
    ------
    KeyError
        There is no such result or representation.

    Examples
    --------
    >>> import kronos_sc as ks
    >>> cells = ks.datasets.tissue(shape=(128, 128), n_images=6, n_donors=6)["table"]
    >>> ks.tl.stratify(cells, "group", case_key="donor", use_rep="X", n_splits=10)
    >>> ks.pl.roc(cells, "group_stratify").get_ylabel()
    'true positive rate'
    """
    needs = ("representation", "false_positive_rate", "true_positive_rate", "low", "high")
    rows = several(table(adata, key, "roc", needs=needs, make=_MAKE), representation)
    summary = results.frame(adata, key, "summary")
    names = list(rows["representation"].unique())
    colors = representation_colors(names, palette)
    ax = axes_or_new(ax, size=(4.2, 4.0))
    ax.plot([0, 1], [0, 1], color="0.75", linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
    # the band first, so that no line lies under the band of its own curve
    for name in names:
        curve_rows = rows[rows["representation"] == name]
        x = curve_rows["false_positive_rate"].to_numpy(float)
        low, high = (curve_rows[column].to_numpy(float) for column in ("low", "high"))
        ax.fill_between(x, low, high, color=colors[name], alpha=0.18, linewidth=0)
        # every curve begins in the corner, also where the mean rises from there at once
        ax.plot(
            [0, *x],
            [0, *curve_rows["true_positive_rate"]],
            color=colors[name],
            linewidth=1.6,
            label=f"{name}  {_auroc(summary, name)}",
        )
    ax.set(
        xlim=(-0.02, 1.02),
        ylim=(-0.02, 1.02),
        xlabel="false positive rate",
        ylabel="true positive rate",
        aspect="equal",
    )
    plain(ax)
    ax.legend(
        loc="lower right",
        frameon=False,
        fontsize="small",
        title="AUROC, 95 % interval",
        title_fontsize="small",
        alignment="right",
    )
    return ax


def _auroc(summary: pd.DataFrame, name: str) -> str:
    """Return mean and half the interval as text."""
    score = summary[(summary["representation"] == name) & (summary["metric"] == "auroc")].iloc[0]
    return f"{score['mean']:.2f} ± {score['high'] - score['mean']:.2f}"
