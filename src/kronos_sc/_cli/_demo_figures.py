"""The figures of the demo, each for a light and a dark page; no pyplot, so that nothing global changes."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np

from kronos_sc._cli._demo_steps import SHOWN

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from anndata import AnnData
    from matplotlib.axes import Axes

    from kronos_sc._cli._demo_steps import Result

_INK = {"light": "#1c2128", "dark": "#dfe3e8"}
_INKED = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
_DPI = 180


@dataclass(frozen=True)
class Figure:
    """One figure, drawn twice.

    Parameters
    ----------
    name
        Of its file.
    alt
        What it shows, in words.
    images
        WebP files by theme, "light" and "dark".
    size
        Width and height in pixels.
    """

    name: str
    alt: str
    images: dict[str, bytes]
    size: tuple[int, int]


def draw(result: Result, folder: Path) -> dict[str, Figure]:
    """Draw everything, and keep the light version of each as PNG."""
    from kronos_sc import pl

    sdata = result.sdata
    table = result.table
    figures: dict[str, Figure] = {}

    def add(name: str, alt: str, size: tuple[float, float], plot: Callable[[Axes], object]) -> None:
        figures[name] = _figure(name, alt, size, plot, folder)

    # those that stand beside each other on the page have one size
    beside = (5.7, 4.2)
    add(
        "tissue",
        f"Simulated tissue in pseudo-colour: {', '.join(SHOWN)}.",
        beside,
        lambda ax: pl.image(sdata, channels=SHOWN, ax=ax),
    )
    for name, column, alt in (
        ("types", "cell_type", "True cell types in space."),
        ("clusters", "cluster", "Clusters of the embedding in space."),
        ("baseline", "mean_marker_cluster", "Clusters of mean marker expression in space."),
    ):
        add(name, alt, beside, lambda ax, column=column: pl.spatial(sdata, column, ax=ax)[0, 0].set_title(""))
    for name, column, alt in (
        ("tsne_types", "cell_type", "t-SNE of the embedding, coloured by true cell type."),
        ("tsne_clusters", "cluster", "t-SNE of the embedding, coloured by cluster."),
    ):
        add(name, alt, (5.7, 4.0), lambda ax, column=column: _tsne(table, column, ax))
    rows = table.obs["cluster"].nunique()
    add(
        "patches",
        "Cells of each cluster, one row per cluster.",
        (11.0, rows * 0.93 + 0.8),
        lambda ax: pl.patches(sdata, channels=SHOWN, groupby="cluster", n=11, patch_size=48, ax=ax),
    )
    used = len(table.uns[result.key]["panel"]["channel"])
    add(
        "panel",
        "The panel: which channel is which marker.",
        (9.5, (used + 2.2) * 0.21 + 0.4),
        lambda ax: pl.markers(table, key=result.key, ax=ax),
    )
    return figures


def _figure(name: str, alt: str, size: tuple[float, float], plot: Callable[[Axes], object], folder: Path) -> Figure:
    """Draw one figure for both themes."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas
    from PIL import Image

    images = {}
    for theme, ink in _INK.items():
        with rc_context(dict.fromkeys(_INKED, ink)):
            figure = Canvas(figsize=size, dpi=_DPI, layout="compressed", facecolor="none")
            canvas = FigureCanvasAgg(figure)
            ax = figure.add_subplot(facecolor="none")
            plot(ax)
            # the page's own background shows through, light or dark
            insets = [inset for axes in figure.axes for inset in axes.child_axes]
            for axes in (*figure.axes, *insets):
                axes.patch.set_alpha(0)
            canvas.draw()
            picture = Image.fromarray(np.array(canvas.buffer_rgba()))
        if theme == "light":
            white = Image.new("RGBA", picture.size, "white")
            Image.alpha_composite(white, picture).convert("RGB").save(folder / f"{name}.png", dpi=(_DPI, _DPI))
        web = BytesIO()
        picture.save(web, format="WEBP", quality=88, method=4)
        images[theme] = web.getvalue()
    return Figure(name, alt, images, picture.size)


def _tsne(table: AnnData, column: str, ax: Axes) -> None:
    """Draw a t-SNE in the colours that the package gives the categories of a column."""
    from kronos_sc.pl import _points
    from kronos_sc.pl._values import values

    layer = _points.layer(table, column, values(table, column), None)
    xy = table.obsm["X_tsne"]
    shades = [*layer.colors.values()]
    ax.scatter(xy[:, 0], xy[:, 1], s=14, linewidths=0, c=[shades[int(code)] for code in layer.values])
    _points.category_legend(ax, layer)
    ax.set(xlabel="t-SNE 1", ylabel="t-SNE 2", xticks=[], yticks=[])
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
