"""The command line: each command parses its words, calls one function and says what it did."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator

Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what an earlier call wrote there.")]
Step = Annotated[int | None, typer.Option(help="Checkpoint of this step; the last one if left out.")]

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Pretraining of marker-aware vision transformers. `python -m kronos_pretrain CONFIG.toml a.b=c …` trains.",
)
corpus = typer.Typer(no_args_is_help=True, help="From images to a corpus of training samples.")
app.add_typer(corpus, name="corpus")


@contextmanager
def _report_errors() -> Iterator[None]:
    """Turn errors that are meant for people into one message and exit status 1; anything else keeps its traceback."""
    try:
        yield
    except (ValueError, KeyError, OSError, FloatingPointError, ImportError) as error:
        if os.environ.get("KRONOS_PRETRAIN_TRACEBACK"):
            raise
        text = error.args[0] if isinstance(error, KeyError) and error.args else error
        sys.stderr.write(f"error: {text}\n")
        raise typer.Exit(1) from error


def _print(text: object) -> None:
    sys.stdout.write(f"{text}\n")


def _channels(words: list[str]) -> dict[str, str | None] | None:
    """Return channel → marker of NAME=MARKER; NAME= drops a channel."""
    if malformed := [word for word in words if "=" not in word]:
        msg = f"--channel {malformed[0]!r} has no equals sign. Write NAME=MARKER, or NAME= to drop the channel."
        raise ValueError(msg)
    pairs = (word.rpartition("=") for word in words)
    return {name: marker or None for name, _, marker in pairs} or None


@app.command()
def train(
    config: Annotated[
        str,
        typer.Argument(help="TOML file, or the name of one that comes with the package: debug, vitti16_cpu, vits16 …"),
    ],
    settings: Annotated[
        list[str] | None, typer.Argument(help="Settings as section.key=value.", show_default=False)
    ] = None,
    override: Annotated[  # noqa: FBT002
        bool, typer.Option("--override", help="Resume although settings changed that decide what is computed.")
    ] = False,
) -> None:
    """Train, or go on with a run that was stopped."""
    from kronos_pretrain.config import load
    from kronos_pretrain.trainer import train as run

    with _report_errors():
        run(load(config, settings or []), override=override)


@corpus.command("build")
def build(
    manifest: Annotated[Path, typer.Argument(help="TOML file that lists images.")],
    out: Annotated[Path, typer.Argument(help="Folder to write; finished images in it are kept.")],
    workers: Annotated[
        int | None, typer.Option(help="Images read at a time; one per core by default, at most four.")
    ] = None,
    rebuild: Annotated[  # noqa: FBT002
        bool, typer.Option("--rebuild", help="Build all images anew, also those that are finished.")
    ] = False,
) -> None:
    """Build a corpus from the images of a manifest."""
    from kronos_pretrain.corpus_build import build as run

    with _report_errors():
        _print(run(manifest, out, resume=not rebuild, workers=workers))


@app.command()
def labelled(
    store: Annotated[Path, typer.Argument(help="SpatialData Zarr store with a table of cells.")],
    out: Annotated[Path, typer.Argument(help="File to write (.npz).")],
    target: Annotated[str, typer.Option(help="Column of obs with the classes.")],
    size: Annotated[int, typer.Option(help="Edge of the window around a cell in pixels, a multiple of 16.")] = 64,
    per_class: Annotated[int, typer.Option(help="Most cells per class to train and to test on.")] = 500,
    channel: Annotated[
        list[str] | None,
        typer.Option(help="NAME=MARKER says what a channel is, NAME= drops it; may be repeated.", show_default=False),
    ] = None,
    image: Annotated[str | None, typer.Option(help="Key of the image, where there are several.")] = None,
    labels: Annotated[str | None, typer.Option(help="Key of the labels or shapes, where there are several.")] = None,
    table: Annotated[str | None, typer.Option(help="Key of the table, where there are several.")] = None,
    split: Annotated[
        str | None, typer.Option(help='Column of obs that says "train" or "test"; left and right halves without.')
    ] = None,
    max_value: Annotated[
        float | None, typer.Option(help="Raw value that becomes 1; full scale of 8 and 16 bits, 1 of floats.")
    ] = None,
    overwrite: Overwrite = False,  # noqa: FBT002 - an option of the shell
) -> None:
    """Cut labelled patches, by which training can be watched."""
    from kronos_pretrain.evaluate.cut import from_spatialdata

    with _report_errors():
        if out.exists() and not overwrite:
            msg = f"{out} exists already. Name another file, or replace it with --overwrite."
            raise FileExistsError(msg)
        keys = {"image_key": image, "region_key": labels, "table_key": table}
        cells = {"target": target, "split": split, "n_per_class": per_class}
        patches = from_spatialdata(
            store, size=size, channels=_channels(channel or []), max_value=max_value, **cells, **keys
        )
        patches.save(out)
        _print(f"{out}: {patches}")


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="Folder of the run.")],
    out: Annotated[
        Path,
        typer.Argument(help="Folder to write: model/ (safetensors) and official/ (the layout of the released KRONOS)."),
    ],
    step: Step = None,
    name: Annotated[str | None, typer.Option(help="Name of the model; that of the run's folder if left out.")] = None,
    overwrite: Overwrite = False,  # noqa: FBT002 - an option of the shell
) -> None:
    """Write the teacher of a checkpoint as a model that `kronos_sc.models.load` reads."""
    from kronos_pretrain.export import export_run

    with _report_errors():
        _print(export_run(run, out, step=step, name=name, overwrite=overwrite))


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(help="Folder of the run.")],
    labelled: Annotated[Path, typer.Argument(help="File of labelled patches.")],
    step: Step = None,
) -> None:
    """Print what the frozen features of a checkpoint's teacher are worth on labelled patches."""
    from kronos_pretrain.evaluate.table import table
    from kronos_pretrain.teacher_evaluation import evaluate_run

    with _report_errors():
        _print(table(evaluate_run(run, labelled, step=step)))


COMMANDS = {"train", "corpus", "labelled", "export", "evaluate"}
__all__: list[str] = ["COMMANDS", "app"]
