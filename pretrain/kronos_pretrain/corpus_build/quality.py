"""The verdict on one marker of one image, and the numbers behind it."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from kronos_pretrain.corpus_build.manifest import Quality
    from kronos_pretrain.corpus_build.plane import Plane


@dataclass(frozen=True)
class Report:
    """Numbers of one marker of one image, over all its pixels, in raw values.

    Parameters
    ----------
    low, median, high
        0.1st, 50th and 99.9th percentile.
    saturated
        Share of pixels at full scale.
    zero
        Share of pixels that are zero.
    signal
        Mean above Otsu's threshold over mean below it (at least one grey level).
    focus
        Mean squared Laplacian over variance, scaled so that 1 is noise without structure and 0 is perfectly smooth.
    verdict
        `"ok"`, `"review"`, `"saturated"`, `"empty"` or `"flat"`.
    reason
        Why, unless ok.
    """

    low: float
    median: float
    high: float
    saturated: float
    zero: float
    signal: float
    focus: float
    verdict: str = "ok"
    reason: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return plain types; numbers that do not exist are None."""
        values = asdict(self)
        for key, value in values.items():
            if isinstance(value, float) and not math.isfinite(value):
                values[key] = None
        return values


def report(plane: Plane, limits: Quality) -> Report:
    """Return numbers and verdict of one marker of one image."""
    levels = plane.levels
    count = max(1, int(levels.sum()))
    ranks = np.array([0.001, 0.5, 0.999]) * count
    low, median, high = np.searchsorted(np.cumsum(levels), ranks).tolist()
    full = int(np.ceil(plane.full)) if plane.small else len(levels) - 1
    variance = float(plane.variance.sum())
    numbers = Report(
        low=float(plane.raw(low)),
        median=float(plane.raw(median)),
        high=float(plane.raw(high)),
        saturated=float(levels[full:].sum() / count),
        zero=float(levels[0] / count),
        signal=_signal(levels),
        focus=float(plane.detail.sum()) / variance if variance > 0 else math.nan,
    )
    verdict, reason = _verdict(numbers, high - low, limits)
    return Report(**(asdict(numbers) | {"verdict": verdict, "reason": reason}))


def _signal(levels: np.ndarray) -> float:
    """Return the mean grey level above Otsu's threshold over that below, from a histogram."""
    from skimage.filters import threshold_otsu

    used = np.flatnonzero(levels)
    if len(used) < 2:
        return math.nan
    middle = threshold_otsu(hist=(levels[: used[-1] + 1], np.arange(used[-1] + 1)))
    edge = min(int(middle), int(used[-1]) - 1)
    grey = np.arange(len(levels))
    above = levels[edge + 1 :]
    below = levels[: edge + 1]
    mean_above = above @ grey[edge + 1 :] / above.sum()
    mean_below = below @ grey[: edge + 1] / max(1, below.sum())
    return float(mean_above / max(1.0, mean_below))


def _verdict(numbers: Report, span: int, limits: Quality) -> tuple[str, str]:
    # the worst first: a marker gets one verdict
    if 1 - numbers.zero < limits.empty:
        return "empty", f"{1 - numbers.zero:.3%} of the pixels are above zero"
    if not math.isfinite(numbers.signal) or (span < 2 and numbers.zero < 0.5):
        return "flat", f"from {numbers.low:g} to {numbers.high:g}: hardly two grey levels"
    if numbers.saturated > limits.saturated:
        return "saturated", f"{numbers.saturated:.1%} of the pixels are at full scale"
    if numbers.focus > limits.noise:
        return "review", f"hardly more structure than noise ({numbers.focus:.2f} of it as fine as pixels)"
    if span < limits.levels:
        return "review", f"a range of {span} grey levels without the outermost 0.1 %"
    if numbers.signal < limits.signal:
        return "review", f"signal only {numbers.signal:.2f} times the background"
    if numbers.focus < limits.focus:
        return "review", f"hardly any fine detail ({numbers.focus:.4f}): out of focus?"
    return "ok", ""
