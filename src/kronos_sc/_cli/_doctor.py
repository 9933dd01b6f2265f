"""`doctor`: what is installed, what it can run on, which models are at hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kronos_sc._cli._errors import Debug

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kronos_sc.models import Card

_HUB = "hf-hub:"
_PACKAGES = (
    "kronos-sc",
    "torch",
    "spatialdata",
    "anndata",
    "scanpy",
    "squidpy",
    "zarr",
    "dask",
    "numpy",
    "huggingface-hub",
)


def doctor(
    checkpoint: Annotated[
        str | None,
        typer.Argument(help="A model folder, hub name or registered name to describe; checkpoints are examined."),
    ] = None,
    *,
    debug: Debug = False,
) -> None:
    """Show versions, devices and models; nothing is downloaded, and no secret is read out."""
    sections = {"versions": _versions, "devices": _devices, "models": _models}
    for title, lines in sections.items():
        typer.echo(typer.style(title, bold=True))
        for line in lines():
            typer.echo(f"  {line}")
        typer.echo()
    if checkpoint is not None:
        typer.echo(typer.style("checkpoint", bold=True))
        for line in _checkpoint(checkpoint):
            typer.echo(f"  {line}")


def _versions() -> Iterator[str]:
    """Yield the versions of Python and of what results depend on."""
    import platform
    from importlib.metadata import PackageNotFoundError, version

    yield f"{'python':<17}{platform.python_version()} ({platform.system()} {platform.machine()})"
    for name in _PACKAGES:
        try:
            yield f"{name:<17}{version(name)}"
        except PackageNotFoundError:
            yield f"{name:<17}not installed"


def _devices() -> Iterator[str]:
    """Yield processors and accelerators, with the number format that `precision="auto"` takes on each."""
    import os

    import torch

    from kronos_sc.models.inference import instructions
    from kronos_sc.models.inference.placement import choose_device, choose_dtype, dtype_name

    def auto(device: torch.device) -> str:
        return dtype_name(choose_dtype("auto", device))

    cores = f"{os.cpu_count()} cores, {torch.get_num_threads()} threads"
    yield f"cpu      {_processor()}, {cores}; precision 'auto' is {auto(torch.device('cpu'))}"
    formats = (torch.float32, torch.bfloat16)
    fast = [dtype_name(dtype) for dtype in formats if instructions.is_fast(dtype)]
    limited = " (fewer than the processor has: the environment limits oneDNN)" if instructions.limited() else ""
    yield f"{'':<9}instructions {instructions.name()}{limited}; fast in {' and '.join(fast)}"

    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        memory = f"{properties.total_memory / 2**30:.0f} GiB"
        precision = auto(torch.device("cuda", index))
        yield f"cuda:{index}   {properties.name}, {memory}; precision 'auto' is {precision}"
    if torch.backends.mps.is_available():
        yield f"mps      Apple GPU; precision 'auto' is {auto(torch.device('mps'))}"
    if not torch.cuda.is_available():
        built = "" if torch.version.cuda else " (this torch was built without CUDA)"
        yield f"cuda     none{built}"
    yield f"device   {choose_device(None).type} is taken unless you choose another"


def _processor() -> str:
    """Return the processor's name."""
    import platform

    # platform.processor() is empty or says x86_64 only on most Linux systems
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _models() -> Iterator[str]:
    """Yield the registered models, and whether their weights are at hand."""
    from kronos_sc import models

    for name in models.list_models():
        card = models.card(name)
        yield f"{name:<17}{card.title}"
        gated = "; gated" if card.gated else ""
        yield f"{'':<17}{card.state}; licence {card.licence}{gated}; {_cached(card)}"
    yield f"{'hub':<17}logged in: {'yes' if _logged_in() else 'no'} (log in with `hf auth login`)"


def _cached(card: Card) -> str:
    """Return whether weights from the hub are in the local cache; nothing is fetched."""
    from huggingface_hub import try_to_load_from_cache

    if not card.source.startswith(_HUB):
        return "needs no download"
    path = try_to_load_from_cache(card.source.removeprefix(_HUB), "config.json")
    return "downloaded" if isinstance(path, str) else "not downloaded yet"


def _checkpoint(name: str) -> Iterator[str]:
    """Yield the card of a model, with the diagnostic of its weights if they are on this machine."""
    from kronos_sc import models

    on_hub = name.startswith(_HUB)
    card = _hub_card(name) if on_hub else models.card(name)
    # of registered models only the official one is known to lie on the hub in a layout that can be examined
    if not on_hub and card != models.card("kronos"):
        yield from str(card).splitlines()
        return
    examined = _examined(card)
    yield from str(examined or card).splitlines()
    yield f"{'cache':<13}{'downloaded' if examined else 'not downloaded'}"


def _hub_card(name: str) -> Card:
    """Return the card of a hub repository, without its weights or the network."""
    from kronos_sc import models

    official = models.card("kronos")
    if name == official.source:
        return official
    return models.Card(name, name.removeprefix(_HUB), "see the repository", source=name)


def _examined(card: Card) -> Card | None:
    """Return the card with the diagnostic of the weights in the local cache; None where they are not all there."""
    from kronos_sc import models
    from kronos_sc.models import _hub

    # never fetches: a look at what is installed must not start a download
    try:
        folder = _hub.fetch(card.source.removeprefix(_HUB), local_only=True)
        local = models.card(folder)
    except (ConnectionError, FileNotFoundError):
        return None
    # a folder of models.save brings a card of its own, any other is called after the folder
    if local.name == folder.name:
        return replace(card, diagnostic=local.diagnostic)
    return replace(local, source=card.source)


def _logged_in() -> bool:
    """Return whether this machine has a token of the hub; it is not shown."""
    from huggingface_hub import get_token

    return get_token() is not None
