"""What plots of scores share: tables of results, what to show of them, and a colour per representation.

A representation has the same colour wherever it appears.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from kronos_sc._core import results
from kronos_sc._core.checks import known, listed, numbers
from kronos_sc.pl._choice import as_list
from kronos_sc.pl._palette import default_colors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes

STATISTICS = ("mean", "sd", "n", "low", "high")
BASELINE = "#8a8f98"
MARKS = "osD^vPX"
_FIXED = {
    "X": BASELINE,
    "mean_marker": BASELINE,
    "kronos": "#0072b2",
    "kronos_cls": "#56b4e9",
    "dinov2": "#e69f00",
    "uni": "#009e73",
    "ca_mae": "#cc79a7",
}

_WORDS = {
    "ari": "adjusted Rand index",
    "nmi": "normalised mutual information",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "macro_ap": "macro average precision",
    "auroc": "AUROC",
    "auroc_ovo": "AUROC, one vs. one",
    "auroc_ovr": "AUROC, one vs. rest",
    "f1": "F1",
    "rmse": "RMSE",
    "shots": "labelled units per class",
    "bras": "BRAS",
    "ilisi": "iLISI",
    "kbet": "kBET",
    "kbet_per_label": "kBET per label",
    "pcr": "PCR (lower: better mixed)",
}


def table(
    adata: AnnData | results.HasResult, key: str | None, name: str, *, needs: Sequence[str], make: str
) -> pd.DataFrame:
    """Return one table of a result that has the columns needed; the error says which function makes it."""
    entry = results.entry(adata, key)
    if name not in entry:
        which = f"uns[{key!r}]" if key is not None else f"This {type(adata).__name__}"
        msg = f"{which}, made by tl.{entry['kind']}, has no table {name!r}. Draw a result of {make}."
        raise KeyError(msg)
    frame = results.frame(adata, key, name)
    if missing := [column for column in needs if column not in frame.columns]:
        which = results.described(adata, key)
        msg = (
            f"The table {name!r} of {which} has no column {listed(missing)}; it has: {listed(frame.columns)}. Draw a "
            f"result of {make}."
        )
        raise KeyError(msg)
    return frame


def one(frame: pd.DataFrame, representation: str | None) -> tuple[pd.DataFrame, str]:
    """Return the rows of one representation, the first if none is named, and its name."""
    name = labels_of(frame, None if representation is None else [representation])[0]
    return frame[frame["representation"] == name], name


def several(frame: pd.DataFrame, representation: str | Sequence[str] | None) -> pd.DataFrame:
    """Return the rows of the representations named, in that order; all of them as they come if none is."""
    if representation is None:
        return frame
    import pandas as pd

    return pd.concat(
        [frame[frame["representation"] == name] for name in labels_of(frame, representation)], ignore_index=True
    )


def labels_of(frame: pd.DataFrame, representation: str | Sequence[str] | None) -> list[str]:
    """Return the representations to show as the table calls them.

    Those named, by label or by slot (`"X_kronos"`), or all.
    """
    labels = list(dict.fromkeys(frame["representation"]))
    if representation is None:
        return labels
    names = [name if name in labels else str(name).removeprefix("X_") for name in as_list(representation)]
    fix = "Name one of these, or none for all."
    return [known(name, labels, what="representation in this result", fix=fix) for name in names]


def at_one(
    rows: pd.DataFrame, at: Mapping[str, Any] | None, *, varied: Sequence[str], key: str, instead: str = ""
) -> pd.DataFrame:
    """Return the rows where what was varied has the values of `at`.

    An error says which there are where that leaves several.
    """
    # one named value after the other narrows the rows down
    for name, value in (at or {}).items():
        known(
            name, varied, what=f"column that was varied in {key!r}", fix="Name such a column in at=, or leave at out."
        )
        chosen = rows[_equal(rows[name], value)]
        if chosen.empty:
            msg = (
                f"at={{{name!r}: {value!r}}} is not in {key!r}; {name!r} has: {numbers(rows[name].unique())}. Choose "
                "one of these."
            )
            raise ValueError(msg)
        rows = chosen
    if several_values := {name: rows[name].unique().tolist() for name in varied if rows[name].nunique() > 1}:
        described = ", ".join(f"{name!r} ({numbers(values)})" for name, values in several_values.items())
        example = {name: values[-1] for name, values in several_values.items()}
        msg = f"The result {key!r} has lines for several values of {described}. Choose with at={example!r}{instead}."
        raise ValueError(msg)
    return rows


def _equal(column: pd.Series, value: Any) -> np.ndarray:
    """Return where values are the one named (bool); numbers as people write them: 0.6 is 0.6000000000000001."""
    if column.dtype.kind in "iuf" and isinstance(value, int | float | np.number):
        return np.isclose(column.to_numpy(float), float(value))
    return (column.astype(str) == str(value)).to_numpy()


def representation_colors(names: Sequence[str], palette: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the colour of each representation: as told, or its fixed one, or the next that is free.

    Baselines are grey. The known models keep their colour whatever else is in the plot.
    """
    chosen = dict(palette or {})
    names = list(dict.fromkeys(names))
    colors = {name: chosen.get(name, _FIXED.get(name)) for name in names}
    # a colour of a known model stays free for it, even if that model is not in this plot
    taken = {*colors.values(), *_FIXED.values()}
    free = [color for color in default_colors(20) if color not in taken]
    unknown = [name for name, color in colors.items() if color is None]
    free += default_colors(len(unknown) + 20)
    return colors | dict(zip(unknown, free, strict=False))


def words(name: str) -> str:
    """Return a column as people write it."""
    return _WORDS.get(name, str(name).replace("_", " "))


def legend(ax: Axes, **kwargs: Any) -> None:
    """Put the legend to the right of the axes, where it covers nothing; none for a single entry."""
    handles, labels = ax.get_legend_handles_labels()
    if len(labels) > 1:
        ax.legend(
            handles,
            labels,
            loc="upper left",
            bbox_to_anchor=(1.01, 1.0),
            frameon=False,
            fontsize="small",
            borderaxespad=0,
            **kwargs,
        )


def plain(ax: Axes) -> None:
    """Take away the frame where it says nothing."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(length=2.5, width=0.6)
