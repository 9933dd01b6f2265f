"""What plots of scores share: tables of results, and one colour per representation wherever it appears."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kronos_sc._core import results
from kronos_sc._core.checks import known, listed
from kronos_sc._core.target import require_anndata
from kronos_sc.pl._palette import default_colours

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes

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
    "auroc_ovo": "AUROC, one vs. one",
    "auroc_ovr": "AUROC, one vs. rest",
    "f1": "F1",
    "rmse": "RMSE",
    "shots": "labelled units per class",
}


def table(adata: AnnData, key: str, name: str, *, needs: Sequence[str], make: str) -> pd.DataFrame:
    """Return one table of a result that has the columns needed; the error says which function makes it."""
    require_anndata(adata)
    there = results.entry(adata, key)
    if name not in there:
        msg = f"uns[{key!r}], made by tl.{there['kind']}, has no table {name!r}. Draw a result of {make}."
        raise KeyError(msg)
    frame = results.frame(adata, key, name)
    if missing := [column for column in needs if column not in frame.columns]:
        msg = f"The table {name!r} of {key!r} has no column {listed(missing)}; it has: {listed(frame.columns)}. Draw a result of {make}."
        raise KeyError(msg)
    return frame


def one(frame: pd.DataFrame, representation: str | None) -> tuple[pd.DataFrame, str]:
    """Return the rows of one representation, the first if none is named, and its name."""
    there = list(frame["representation"].unique())
    name = (
        there[0] if representation is None else known(representation, there, what="representation in this result", fix="Name one of these.")
    )
    return frame[frame["representation"] == name], name


def several(frame: pd.DataFrame, representation: str | Sequence[str] | None) -> pd.DataFrame:
    """Return the rows of the representations named, in that order; all of them as they come if none is."""
    if representation is None:
        return frame
    import pandas as pd

    wanted = [representation] if isinstance(representation, str) else list(representation)
    return pd.concat([one(frame, name)[0] for name in wanted], ignore_index=True)


def representation_colours(names: Sequence[str], palette: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the colour of each representation: as told, or its fixed one, or the next that is free.

    Baselines are grey. The known models keep their colour whatever else is in the plot.
    """
    given = dict(palette or {})
    names = list(dict.fromkeys(names))
    own = {name: given.get(name, _FIXED.get(name)) for name in names}
    taken = {*own.values(), *_FIXED.values()}
    free = [colour for colour in default_colours(20) if colour not in taken]
    unknown = [name for name, colour in own.items() if colour is None]
    free += default_colours(len(unknown) + 20)
    return own | dict(zip(unknown, free, strict=False))


def words(name: str) -> str:
    """Return a column as people write it."""
    return _WORDS.get(name, str(name).replace("_", " "))


def legend(ax: Axes, **how: Any) -> None:
    """Put the legend to the right of the axes, where it covers nothing; none for a single entry."""
    handles, labels = ax.get_legend_handles_labels()
    if len(labels) > 1:
        ax.legend(handles, labels, loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False, fontsize="small", borderaxespad=0, **how)


def plain(ax: Axes) -> None:
    """Take away the frame where it says nothing."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(length=2.5, width=0.6)
