"""`embed`: a SpatialData store in, its table with an embedding out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kronos_sc._cli._errors import Debug
from kronos_sc._cli._output import OutputFile
from kronos_sc._cli._store import added, kept_on_disk, read, require_writable, stored, write

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

# headings of the help
_DATA = "Data"
_MODEL = "Model"
_RUN = "Run"
_WRITE = "What is written"


def embed(
    data: Annotated[Path, typer.Argument(help="A SpatialData store (.zarr).", metavar="SPATIALDATA")],
    *,
    model: Annotated[
        str, typer.Option(help="Registered name, folder, or hf-hub:owner/name.", rich_help_panel=_MODEL)
    ] = "kronos",
    image: Annotated[str | None, typer.Option(help="Image; the only one if left out.", rich_help_panel=_DATA)] = None,
    labels: Annotated[str | None, typer.Option(help="Embed the cells of these labels.", rich_help_panel=_DATA)] = None,
    shapes: Annotated[str | None, typer.Option(help="Embed these boxes.", rich_help_panel=_DATA)] = None,
    table: Annotated[str | None, typer.Option(help="Table; the only one if left out.", rich_help_panel=_DATA)] = None,
    spatial_key: Annotated[
        str | None,
        typer.Option(help="Centre windows on these coordinates of obsm, not on centroids.", rich_help_panel=_DATA),
    ] = None,
    channels: Annotated[
        str | None,
        typer.Option(
            help="Channels to use, comma-separated (AR=unseen says what one is), or a .csv of pp.match_markers.",
            rich_help_panel=_DATA,
        ),
    ] = None,
    mapping: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            help="CHANNEL=MARKER, CHANNEL=unseen, or CHANNEL= to leave it out; repeatable.",
            rich_help_panel=_DATA,
        ),
    ] = None,
    no_nuclear: Annotated[
        bool,
        typer.Option("--no-nuclear", help="Do without a nuclear stain (require_nuclear=False).", rich_help_panel=_DATA),
    ] = False,
    max_value: Annotated[float | None, typer.Option(help="Raw value that becomes 1.", rich_help_panel=_DATA)] = None,
    nan: Annotated[str, typer.Option(help="Pixels without a value: error, or zero.", rich_help_panel=_DATA)] = "error",
    scale: Annotated[
        str | None, typer.Option(help="Pyramid level; full resolution if left out.", rich_help_panel=_DATA)
    ] = None,
    mpp: Annotated[
        float | None, typer.Option(help="Resample to this many µm per pixel.", rich_help_panel=_DATA)
    ] = None,
    patch_size: Annotated[
        int | None, typer.Option(help="Edge of the window in pixels.", rich_help_panel=_MODEL)
    ] = None,
    features: Annotated[str, typer.Option(help="marker, cls, or marker,cls.", rich_help_panel=_MODEL)] = "marker",
    mask_fill: Annotated[
        str, typer.Option(help="Outside the cell: mean, zero, or none to keep it.", rich_help_panel=_MODEL)
    ] = "mean",
    token_overlap: Annotated[
        bool | None, typer.Option(help="Cut tokens every half token; four times the cost.", rich_help_panel=_MODEL)
    ] = None,
    blocks: Annotated[
        str | None,
        typer.Option(
            help="Run the official blocks, or all; the model's own choice if left out.", rich_help_panel=_MODEL
        ),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="cuda, cpu, …; the fastest if left out.", rich_help_panel=_RUN)
    ] = None,
    precision: Annotated[str, typer.Option(help="auto, float32 or bfloat16.", rich_help_panel=_RUN)] = "auto",
    dtype: Annotated[
        str, typer.Option(help="Of the features: float32 or float16.", rich_help_panel=_WRITE)
    ] = "float32",
    batch_size: Annotated[int | None, typer.Option(help="Units per pass.", rich_help_panel=_RUN)] = None,
    key_added: Annotated[
        str | None, typer.Option(help="Name that all slots are derived from.", rich_help_panel=_RUN)
    ] = None,
    store: Annotated[
        Path | None,
        typer.Option(
            help="Keep the features in a store of their own: resumable, larger than memory.", rich_help_panel=_WRITE
        ),
    ] = None,
    beside: Annotated[
        bool, typer.Option("--beside", help="The same, in a store beside the SpatialData.", rich_help_panel=_WRITE)
    ] = False,
    restart: Annotated[
        bool,
        typer.Option("--restart", help="Drop what such a store holds already, do not resume.", rich_help_panel=_WRITE),
    ] = False,
    into_table: Annotated[
        bool,
        typer.Option(
            "--into-table",
            help="With --store or --beside: write the table of the SpatialData too.",
            rich_help_panel=_WRITE,
        ),
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(help="Write the table to this .h5ad or .zarr, not into the SpatialData.", rich_help_panel=_WRITE),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing --output.", rich_help_panel=_WRITE)
    ] = False,
    debug: Debug = False,
) -> None:
    """Embed the cells or patches of a SpatialData store.

    The embedding is written into its table, and nothing else in it is touched; features larger than memory stay in a
    store beside it. With --output the table goes to a file; with --store or --beside the features stay in a store of
    their own. Neither changes the SpatialData, unless --into-table says so. A run that was killed goes on where it
    stopped if its features have a store: make the same call again.
    """
    # whatever can be refused is refused before the store is read and a model loaded
    _require_choices(nan, mask_fill, blocks, dtype)
    _require_places(store, beside=beside, into_table=into_table, output=output)
    _require_used(restart=restart and store is None and not beside, overwrite=overwrite and output is None)
    corrections = parse_map(mapping or [])
    file = OutputFile.checked(output, store=data, overwrite=overwrite) if output is not None else None
    by_default = not into_table and output is None and store is None and not beside
    if into_table or by_default:
        require_writable(data)
    sdata = read(data)
    # imported late: help and errors above come at once
    from kronos_sc import models, patches, tl

    element_keys = {"image_key": image, "labels_key": labels, "shapes_key": shapes}
    target = patches.target(sdata, **element_keys, table=table, scale=scale)
    before = dict(target.table.uns)
    available = next(iter(target.images.values())).channels  # the panel of a call is that of its first image
    tl.embed(
        sdata,
        model=model if blocks is None else models.load(model, blocks=blocks),
        **element_keys,
        table_key=target.key,
        spatial_key=spatial_key,
        channels=chosen_channels(available, channels, corrections),
        features=[kind.strip() for kind in features.split(",")],
        patch_size=patch_size,
        mask_fill=None if mask_fill == "none" else mask_fill,
        token_overlap=token_overlap,
        scale=scale,
        mpp=mpp,
        max_value=max_value,
        nan=nan,
        require_nuclear=not no_nuclear,
        precision=precision,
        dtype=dtype,
        batch_size=batch_size,
        device=device,
        key_added=key_added,
        store=True if beside else store,
        overwrite=restart,
    )
    if file is not None:
        typer.echo(f"wrote table {target.key!r} to {file.write(sdata, target.key)}")
    # what tl.embed kept in a store of its own is named; what lies in memory goes where it was asked for
    for name in added(target.table, before):
        on_disk = kept_on_disk(target.table, name)  # by themselves, where they are larger than settings.memory
        if on_disk:
            typer.echo(stored(sdata, target.key, name, store))
        if into_table or (by_default and not on_disk):
            typer.echo(write(sdata, target.key, name))


def _require_places(store: Path | None, *, beside: bool, into_table: bool, output: Path | None) -> None:
    """Raise a ValueError for options that contradict each other."""
    if store is not None and beside:
        msg = f"--store {store} and --beside are two places for the same features. Leave one of them out."
        raise ValueError(msg)
    if into_table and output is not None:
        msg = f"--into-table writes into the SpatialData, and --output {output} leaves it alone. Leave one of them out."
        raise ValueError(msg)


def _require_used(*, restart: bool, overwrite: bool) -> None:
    """Raise a ValueError for options that would change nothing."""
    if restart:
        msg = (
            "--restart starts a store of features again, and none was named. Add --beside or --store PATH, or leave "
            "--restart out."
        )
        raise ValueError(msg)
    if overwrite:
        msg = (
            "--overwrite replaces an existing --output, and there is none. Add --output FILE, or leave --overwrite "
            "out; a store of features begins again with --restart."
        )
        raise ValueError(msg)


def _require_choices(nan: str, mask_fill: str, blocks: str | None, dtype: str) -> None:
    """Raise a ValueError in the shell's words, before anything is read or downloaded."""
    from kronos_sc._core.checks import one_of

    one_of(nan, ("error", "zero"), name="--nan")
    one_of(mask_fill, ("mean", "zero", "none"), name="--mask-fill")
    one_of(dtype, ("float32", "float16"), name="--dtype")
    if blocks is not None:
        one_of(blocks, ("official", "all"), name="--blocks")


def parse_map(items: Sequence[str]) -> dict[str, str | None]:
    """Return corrections from CHANNEL=MARKER; nothing after the sign leaves the channel out."""
    corrections: dict[str, str | None] = {}
    for item in items:
        channel, sign, marker = item.rpartition("=")
        if not sign or not channel.strip():
            msg = (
                f"--map {item!r} is no correction; it is written CHANNEL=MARKER, CHANNEL=unseen, or CHANNEL= to leave "
                "the channel out."
            )
            raise ValueError(msg)
        if channel.strip() in corrections:
            msg = f"--map names channel {channel.strip()!r} twice. Name each channel once."
            raise ValueError(msg)
        corrections[channel.strip()] = marker.strip() or None
    return corrections


def chosen_channels(available: Sequence[str], channels: str | None, corrections: dict[str, str | None]) -> Any:
    """Return what `tl.embed` takes: a panel from a file, a list, or corrections.

    Corrections leave out every channel that was not listed.
    """
    if channels is None:
        return corrections or None
    if channels.endswith(".csv"):
        if corrections:
            msg = (
                f"--channels {channels} is a finished panel and --map corrects one. Correct the file, or leave one of "
                "them out."
            )
            raise ValueError(msg)
        return _panel(Path(channels))
    from kronos_sc._core.checks import known
    from kronos_sc.markers._selection import selected, unlisted

    listed = [name.strip() for name in channels.split(",") if name.strip()]
    for name in unlisted(listed, available):
        known(name, available, what="channel", fix="Name channels as the image spells them.")
    chosen = selected(listed, available)
    if not corrections:
        return listed

    # a list and corrections become one mapping; what --map says of a channel comes last
    dropped = {name: None for name in available if name not in chosen}
    renamed = {name: marker for name, marker in chosen.items() if marker}
    return dropped | renamed | corrections


def _panel(path: Path) -> pd.DataFrame:
    """Read a panel; empty cells are empty names, not numbers."""
    import pandas as pd

    if not path.is_file():
        msg = f"There is no file {path}. Write one with pp.match_markers(sdata).to_csv({str(path)!r}, index=False)."
        raise FileNotFoundError(msg)
    panel = pd.read_csv(path)
    texts = [column for column in ("channel", "marker", "how", "role", "near", "note") if column in panel]
    return panel.assign(**{column: panel[column].fillna("").astype(str) for column in texts})
