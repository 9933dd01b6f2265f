"""Scale bars of a round length, with matplotlib's own means."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kronos_sc._core.checks import one_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ROUND = tuple(digit * 10**power for power in range(-1, 6) for digit in (1, 2, 5))


def bar_length(span: float) -> float:
    """Return the longest round length (1, 2 or 5 times a power of ten) within a quarter of `span`, in µm."""
    return float(max((length for length in _ROUND if length <= span / 4), default=_ROUND[0]))


def label(length: float) -> str:
    """Return a length in µm or mm."""
    if length >= 1000:
        return f"{length / 1000:g} mm"
    return f"{length:g} µm"


def scale_bar(
    ax: Axes,
    *,
    mpp: float = 1.0,
    span: float | None = None,
    color: str | None = None,
    where: str = "inside",
    backing: str | None = None,
) -> None:
    """Draw a scale bar.

    Parameters
    ----------
    ax
        Its limits must be set.
    mpp
        Micrometres per unit of the axes; 1 where the axes are in µm.
    span
        Width in units of the axes that the bar should suit; the axes' own if left out.
    color
        Of bar and text; the text colour if left out.
    where
        `"inside"`, at the lower right, or `"below"` the axes.
    backing
        Colour of a box behind, where the picture may be as bright as the bar; none if left out.
    """
    from matplotlib import rcParams
    from matplotlib.font_manager import FontProperties
    from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar

    one_of(where, ("inside", "below"), name="where")
    low, high = ax.get_xlim()
    bottom, top = ax.get_ylim()
    thickness = abs(top - bottom) / 150
    if span is None:
        span = abs(high - low)
    else:  # a canvas of patches: its own height says nothing of how large they are
        thickness = span / 60
    length = bar_length(span * mpp)

    position: dict[str, Any] = {"loc": "lower right"}
    if where == "below":
        position = {"loc": "upper right", "bbox_to_anchor": (1, 0), "bbox_transform": ax.transAxes}
    bar = AnchoredSizeBar(
        ax.transData,
        length / mpp,
        label(length),
        color=color or rcParams["text.color"],
        size_vertical=thickness,
        frameon=backing is not None,
        pad=0.4,
        borderpad=0.3,
        sep=3,
        label_top=where == "inside",
        fontproperties=FontProperties(size="small", weight="bold" if color else "normal"),
        **position,
    )
    if backing is not None:
        bar.patch.set(facecolor=backing, edgecolor="none", alpha=0.6)
    bar.set_label("scale bar")
    ax.add_artist(bar)
