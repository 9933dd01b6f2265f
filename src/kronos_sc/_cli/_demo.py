"""`demo`: simulated tissue → embedding → clusters → a page to look at."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from kronos_sc._cli._errors import Debug


def demo(
    *,
    out: Annotated[Path, typer.Option(help="Folder of the page and its figures.")] = Path("kronos_sc_demo"),
    model: Annotated[str, typer.Option(help="Registered name, folder, or hf-hub:owner/name.")] = "kronos-untrained",
    size: Annotated[int, typer.Option(help="Edge of the simulated image in pixels.")] = 320,
    seed: Annotated[int, typer.Option(help="Of tissue, clusters and t-SNE.")] = 0,
    debug: Debug = False,
) -> None:
    """Simulate a tissue, embed its cells, and write a page that shows every step; no data or download needed."""
    from kronos_sc import models
    from kronos_sc._cli import _demo_figures, _demo_page, _demo_steps

    start = time.perf_counter()
    encoder = models.load(model)
    out.mkdir(parents=True, exist_ok=True)
    result = _demo_steps.run(encoder, size=size, seed=seed, say=typer.echo)
    figures = _demo_figures.draw(result, out)
    page = _demo_page.write(result, figures, out / "index.html", seconds=time.perf_counter() - start)
    for name, score in result.ari.items():
        typer.echo(f"ARI of clusters and true cell types, {name}: {score:.3f}")
    if result.card.trained is False:
        typer.echo(
            f"{result.card.name!r} has UNTRAINED weights: the figures show the pipeline, not what a trained model sees."
        )
    typer.echo(f"{time.perf_counter() - start:.0f} s; open {page}")
