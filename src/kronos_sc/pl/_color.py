"""Pseudo-colour: channels, each in its colour, added like light."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kronos_sc._core.checks import listed, repeated

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Told apart on black by readers with and without a colour vision deficiency: the closest two differ by 30 in CIELAB
# under simulated deuteranopia, protanopia and tritanopia (Machado, Oliveira & Fernandes 2009). Blue is first because
# nuclei usually are.
CHANNEL_COLORS = ("#2a5cff", "#f5ee1e", "#e0104f", "#26ffb8", "#ff59c8", "#78b21b")
PERCENTILES = (1.0, 99.7)

Channels = Sequence[str] | Mapping[str, Any] | str | None
Limits = tuple[float, float] | Mapping[str, tuple[float, float]]


def channel_colors(
    channels: Channels, available: Sequence[str], *, image: str
) -> dict[str, tuple[float, float, float]]:
    """Return the colour (RGB, 0 to 1) of each channel to show, in order.

    Parameters
    ----------
    channels
        Names, or names with colours; the first four of the image if None.
    available
        Channels of the image.
    image
        Its name, for messages.
    """
    from matplotlib.colors import to_rgb

    if channels is None:
        channels = list(available[:4])
    if isinstance(channels, Mapping):
        chosen = channels
    elif isinstance(channels, str):
        chosen = {channels: None}
    else:
        chosen = dict.fromkeys(channels)
        if twice := repeated(channels):
            msg = f"Channels are named twice: {listed(twice)}. Name each channel once."
            raise ValueError(msg)
    if not chosen:
        msg = (
            f"No channel was named. Image {image!r} has: {listed(available, most=60)}. Pass "
            f"channels=[{str(available[0])!r}], say."
        )
        raise ValueError(msg)
    if unknown := [name for name in chosen if name not in available]:
        msg = (
            f"Image {image!r} has no channel {listed(unknown)}; it has: {listed(available, most=60)}. Name channels as "
            "the image spells them."
        )
        raise KeyError(msg)
    if len(chosen) > len(CHANNEL_COLORS) and any(color is None for color in chosen.values()):
        msg = (
            f"{len(chosen)} channels were named, and {len(CHANNEL_COLORS)} colours can be told apart. "
            "Show fewer channels, or choose the colours with channels={'DAPI': 'blue', ...}."
        )
        raise ValueError(msg)
    default = iter(CHANNEL_COLORS)
    return {name: to_rgb(color if color is not None else next(default)) for name, color in chosen.items()}


def channel_limits(planes: np.ndarray, names: Sequence[str], limits: Limits) -> np.ndarray:
    """Return the raw values (channels × 2) that become black and full colour.

    Parameters
    ----------
    planes
        Pixels; the channel is the first axis. Pixels that are not finite do not count.
    names
        Of the channels.
    limits
        Percentiles (low, high) over all pixels; or raw values by channel, percentiles for channels left out.
    """
    if isinstance(limits, Mapping):
        by_channel = limits
        low, high = PERCENTILES
    else:
        by_channel = {}
        low, high = limits
    if not 0 <= low < high <= 100:
        msg = (
            f"limits={limits!r} are no percentiles; give two of 0 to 100, the lower first, or raw values by channel: "
            f"limits={{'DAPI': (0, 5000)}}."
        )
        raise ValueError(msg)
    if unknown := [name for name in by_channel if name not in names]:
        msg = (
            f"limits names channels that are not shown: {listed(unknown)}. Shown are: {listed(names)}. Correct limits= "
            "or add them to channels=."
        )
        raise KeyError(msg)
    bounds = [
        by_channel[name] if name in by_channel else _percentiles(plane, low, high)
        for name, plane in zip(names, planes, strict=True)
    ]
    return np.asarray(bounds, float)


def _percentiles(plane: np.ndarray, low: float, high: float) -> tuple[float, float]:
    # whole numbers are all finite, and a pass over them can be spared
    values = plane[np.isfinite(plane)] if plane.dtype.kind == "f" else plane.ravel()
    if values.size == 0:
        return 0.0, 1.0
    return tuple(np.percentile(values, (low, high)))  # type: ignore[return-value]


def composite(planes: np.ndarray, colors: Sequence[tuple[float, float, float]], limits: np.ndarray) -> np.ndarray:
    """Return RGB pixels (y, x, 3; 0 to 1).

    Each channel is stretched between its limits, times its colour; they are summed and cut at white.

    Parameters
    ----------
    planes
        (c, y, x).
    colors
        One per channel.
    limits
        (c, 2) raw values.
    """
    rgb = np.zeros((*planes.shape[1:], 3), np.float32)
    for plane, color, (low, high) in zip(planes, colors, limits, strict=True):
        span = high - low if high > low else 1.0  # a channel of one value is black
        light = np.nan_to_num(np.clip((plane.astype(np.float32) - low) / span, 0, 1))
        rgb += light[..., None] * np.asarray(color, np.float32)
    return np.minimum(rgb, 1)


def channel_legend(ax: Axes, colors: Mapping[str, tuple[float, float, float]], *, columns: int | None = None) -> None:
    """Name the channels in their colours, on a dark strip above the axes: bright colours are unreadable on paper."""
    from matplotlib.legend import Legend
    from matplotlib.patches import Patch

    legend = Legend(
        ax,
        handles=[Patch(visible=False) for _ in colors],
        labels=list(colors),
        labelcolor=list(colors.values()),
        ncols=columns or len(colors),
        loc="lower left",
        bbox_to_anchor=(0, 1.01),
        borderaxespad=0,
        handlelength=0,
        handletextpad=0,
        columnspacing=1.2,
        fontsize="small",
        facecolor="black",
        edgecolor="none",
        framealpha=1,
    )
    for text in legend.get_texts():
        text.set_fontweight("bold")
    legend.set_label("channels")
    ax.add_artist(legend)
    legend.set_clip_on(False)  # it lies outside the axes; clipped artists get no room in the layout
