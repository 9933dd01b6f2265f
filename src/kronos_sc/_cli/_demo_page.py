"""The demo's page: one file, nothing from the network."""

from __future__ import annotations

from base64 import b64encode
from html import escape
from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING

from kronos_sc import __version__, get

if TYPE_CHECKING:
    from pathlib import Path

    from kronos_sc._cli._demo_figures import Figure
    from kronos_sc._cli._demo_steps import Result


def write(result: Result, figures: dict[str, Figure], path: Path, *, seconds: float) -> Path:
    """Write the page and return its path."""
    record = get.record(result.table, key=result.key)
    fields = {
        "version": __version__,
        "model": escape(result.card.name),
        "banner": _banner(result),
        "tiles": _tiles(result, markers=len(record["panel"]), seconds=seconds),
        "scores": _scores(result),
        "clusters": str(result.clusters),
        "facts": _facts(result, record),
        "steps": _rows({step: f"{time:.1f} s" for step, time in result.seconds.items()} | dict(record["software"])),
        "key": escape(result.key),
    }
    template = Template(files("kronos_sc._cli").joinpath("demo.html").read_text(encoding="utf-8"))
    path.write_text(
        template.substitute(fields, **{f"fig_{name}": _picture(figure) for name, figure in figures.items()}),
        encoding="utf-8",
    )
    return path


def _picture(figure: Figure) -> str:
    """Return a picture element with a version for dark pages."""
    light, dark = (f"data:image/webp;base64,{b64encode(figure.images[theme]).decode()}" for theme in ("light", "dark"))
    width, height = figure.size
    return (
        f'<picture><source media="(prefers-color-scheme: dark)" srcset="{dark}">'
        f'<img src="{light}" alt="{escape(figure.alt)}" width="{width}" height="{height}"></picture>'
    )


def _banner(result: Result) -> str:
    """Return the statement that nobody must overlook where weights are random."""
    if result.card.trained is not False:
        return ""
    return (
        '<aside class="banner"><strong>Untrained weights.</strong> '
        f"<code>{escape(result.card.name)}</code> has the architecture of KRONOS and random numbers for weights. "
        "This page shows that the pipeline runs from pixels to figures; it says nothing about what a trained model "
        "sees.</aside>"
    )


def _tiles(result: Result, *, markers: int, seconds: float) -> str:
    """Return the numbers at the top of the page, each with a note."""
    embed = result.seconds["embed"]
    slot = f"X_{result.key}"
    tiles = {
        "cells": (f"{result.table.n_obs:,}", f"{result.shape[0]} × {result.shape[1]} pixels"),
        "markers": (str(markers), "matched by name"),
        "features per cell": (f"{result.table.obsm[slot].shape[1]:,}", f"obsm[{slot!r}]"),
        "embedding": (f"{embed:.1f} s", f"{result.table.n_obs / embed:,.0f} cells per second"),
        "whole demo": (f"{seconds:.0f} s", "model loading to this page"),
    }
    return "".join(
        f"<div><dt>{name}</dt><dd>{escape(number)}</dd><dd class=note>{escape(note)}</dd></div>"
        for name, (number, note) in tiles.items()
    )


def _scores(result: Result) -> str:
    """Return one bar per representation; the number stands beside it as it is."""
    rows = []
    for name, score in result.ari.items():
        model = "mean-marker"
        state = ""
        if name == "embedding":
            model = result.card.name
            state = " <em>untrained</em>" if result.card.trained is False else ""
        rows.append(
            f'<div class="score"><span>{escape(name)}<small>{escape(model)}{state}</small></span>'
            f'<span class="bar"><i style="width:{max(0.0, score) * 100:.1f}%"></i></span><b>{score:.3f}</b></div>'
        )
    return "".join(rows)


def _facts(result: Result, record: dict) -> str:
    """Return what is known of the model as rows of a table, without those that have no value."""
    card = result.card
    blocks = record["model"].get("blocks_run", ())
    facts = {
        "model": f"{card.name} – {card.title}",
        "weights": card.state,
        "licence": card.licence,
        "source": card.source,
        "architecture": card.architecture.partition(";")[0],
        "blocks run": ", ".join(str(block) for block in blocks) or "–",
        "precision": f"{record['precision']} on {record['device']}",
        "notes": card.notes,
    }
    return _rows({name: value for name, value in facts.items() if value})


def _rows(values: dict[str, str]) -> str:
    """Return a name and a value per row."""
    return "".join(f"<tr><th>{escape(name)}</th><td>{escape(str(value))}</td></tr>" for name, value in values.items())
