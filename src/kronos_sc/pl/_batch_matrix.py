"""How far apart every two conditions lie, as a matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kronos_sc._core import results
from kronos_sc._core.checks import one_of
from kronos_sc._core.target import require_anndata
from kronos_sc.pl._axes import new_grid
from kronos_sc.pl._compared import labels_of
from kronos_sc.pl._palette import number_map

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

    from kronos_sc.pl._palette import Palette

_METRICS = {"silhouette": "silhouette", "ari": "adjusted Rand index"}
_WRITTEN = 10  # up to so many conditions, the numbers are written into the cells


def batch_matrix(
    adata: AnnData,
    key: str,
    *,
    metric: str = "silhouette",
    representation: str | Sequence[str] | None = None,
    palette: Palette = None,
    ax: Axes | None = None,
) -> np.ndarray:
    """Show the score of every pair of conditions as a matrix, one per representation, on one scale of colour.

    A row that stands out is a condition unlike all others; lower is better mixed. Mean and standard deviation over
    pairs are in the title.

    Parameters
    ----------
    adata
        Table with a result of `tl.batch_silhouette`.
    key
        Name of the result.
    metric
        `"silhouette"` or `"ari"`.
    representation
        Which of those scored; all if left out.
    palette
        Name of a colormap.
    ax
        Axes to draw on, for one representation; a new figure if left out.

    Returns
    -------
    Array of axes, one per representation.

    Raises
    ------
    KeyError
        There is no such result or representation.
    ValueError
        Unknown metric, or `ax` was given for several representations.

    Examples
    --------
    >>> import kronos_sc as ks
    >>> cells = ks.datasets.tissue(shape=(128, 128), n_images=3, n_batches=3)["table"]
    >>> ks.tl.batch_silhouette(cells, "batch", use_rep="X")
    >>> ks.pl.batch_matrix(cells, "batch_silhouette").shape
    (1,)
    """
    require_anndata(adata)
    one_of(metric, _METRICS, name="metric")
    scores = results.frame(adata, key, "scores", kind="batch_silhouette")
    summary = (
        results.frame(adata, key, "summary", kind="batch_silhouette")
        .query("metric == @metric")
        .set_index("representation")
    )
    chosen = labels_of(scores, representation)
    conditions = list(dict.fromkeys([*scores["batch_a"], *scores["batch_b"]]))
    matrices = [_matrix(scores[scores["representation"] == name], conditions, metric) for name in chosen]
    axes = _axes(ax, len(chosen), len(conditions))

    # one scale for all, and 0, where nothing tells conditions apart, always on it
    low = min(0.0, *(np.nanmin(m) for m in matrices))
    high = max(0.0, *(np.nanmax(m) for m in matrices))
    colormap = number_map(palette).with_extremes(bad="white")
    for matrix_ax, name, matrix in zip(axes, chosen, matrices, strict=True):
        image = matrix_ax.imshow(matrix, cmap=colormap, vmin=low, vmax=high or 1.0)
        _label(matrix_ax, conditions, names=matrix_ax is axes[0])
        if len(conditions) <= _WRITTEN:
            _write(matrix_ax, matrix, image)
        mean, spread = summary.loc[name, ["mean", "sd"]].astype(float)
        numbers = number_text(mean)
        if np.isfinite(spread):  # a single pair has none
            numbers += f" ± {number_text(spread)}"
        matrix_ax.set_title(f"{name}\n{numbers}", fontsize="medium")
    bar = axes[-1].figure.colorbar(image, cax=axes[-1].inset_axes((1.04, 0.1, 0.05, 0.8)))
    bar.set_label(f"{_METRICS[metric]} (lower: better mixed)", fontsize="small")
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=2, labelsize="small")
    return axes


def number_text(value: float, *, digits: int = 3) -> str:
    """Return a number with a true minus sign, and none before zero."""
    return f"{round(float(value), digits) + 0.0:.{digits}f}".replace("-", "−")


def _matrix(scores: pd.DataFrame, conditions: list[str], metric: str) -> np.ndarray:
    """Return scores as a symmetric matrix, with NaN on the diagonal."""
    # a pair is scored once, whichever of the two comes first
    matrix = np.full((len(conditions), len(conditions)), np.nan)
    position = {name: i for i, name in enumerate(conditions)}
    a = scores["batch_a"].map(position).to_numpy()
    b = scores["batch_b"].map(position).to_numpy()
    matrix[a, b] = matrix[b, a] = scores[metric].to_numpy(float)
    return matrix


def _axes(ax: Axes | None, count: int, conditions: int) -> np.ndarray:
    if ax is None:
        width = float(np.clip(0.9 + 0.42 * conditions, 2.2, 5.5))
        return new_grid(1, count, size=(count * width + 1.4, width + 0.9))[0]
    if count > 1:
        msg = (
            f"ax is one axes, and there are {count} representations. Choose one with representation=, or leave ax out."
        )
        raise ValueError(msg)
    return np.array([ax], dtype=object)


def _label(ax: Axes, conditions: list[str], *, names: bool) -> None:
    """Name rows (on the first axes) and columns."""
    size = "small" if len(conditions) <= 12 else "x-small"
    # long names, or many, would run into each other side by side
    rotation = 90 if len(conditions) > 4 or max(map(len, conditions)) > 6 else 0
    rows = conditions if names else [""] * len(conditions)
    ax.set_xticks(range(len(conditions)), conditions, rotation=rotation, fontsize=size)
    ax.set_yticks(range(len(conditions)), rows, fontsize=size)
    ax.tick_params(length=0)
    for spine in ax.spines.values():
        spine.set_visible(False)


def _write(ax: Axes, matrix: np.ndarray, image: AxesImage) -> None:
    """Write the numbers into the cells, dark on light and light on dark."""
    for i, j in np.argwhere(np.isfinite(matrix)):
        red, green, blue, _ = image.cmap(image.norm(matrix[i, j]))
        is_light = 0.3 * red + 0.59 * green + 0.11 * blue > 0.5
        color = "black" if is_light else "white"
        text = number_text(matrix[i, j], digits=2)
        ax.text(j, i, text, ha="center", va="center", fontsize="x-small", color=color)
