"""Names → models: what is built in, what plug-ins bring, what lies in a folder or on a hub."""

from __future__ import annotations

import os
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch

from kronos_sc._core.checks import listed, near
from kronos_sc._core.warn import warn
from kronos_sc.markers import paper_vocabulary
from kronos_sc.models import _weights
from kronos_sc.models._card import Card
from kronos_sc.models._model import Model
from kronos_sc.models.encoders import timm
from kronos_sc.models.encoders.backbones import BACKBONES
from kronos_sc.models.encoders.ca_mae import CA_MAE, load_ca_mae
from kronos_sc.models.encoders.kronos import KronosModel
from kronos_sc.models.encoders.mean_marker import MEAN_MARKER, MeanMarker
from kronos_sc.models.encoders.mean_marker_plus import MEAN_MARKER_PLUS, MeanMarkerPlus
from kronos_sc.models.nets.vit import KronosViT

if TYPE_CHECKING:
    from collections.abc import Callable

HUB = "hf-hub:"
KRONOS_HUB = "MahmoodLab/kronos"
_UNTRAINED_SEED = 0

KRONOS = Card(
    name="kronos",
    title="KRONOS, the released ViT-S/16 for spatial proteomics",
    licence="CC BY-NC-ND 4.0",
    gated=True,
    source=f"{HUB}{KRONOS_HUB}",
    architecture="vits16, 21.5 M parameters; official blocks by default",
    citation="Shaban et al. 2025, arXiv:2506.03373",
    training_data="SPM-47M, 47 million single-marker patches of 175 proteins",
    resolution="0.37 to 0.5 µm per pixel",
    notes=f"Ask for access at https://huggingface.co/{KRONOS_HUB}, then log in once with `hf auth login`.",
)
UNTRAINED = Card(
    name="kronos-untrained",
    title="the architecture of KRONOS with random weights",
    licence="BSD-3-Clause",
    trained=False,
    source=f"drawn from seed {_UNTRAINED_SEED}",
    architecture="vits16, 21.5 M parameters; official blocks by default",
    notes=(
        "For demonstrations and tests of the pipeline. Every marker has the same placeholder statistics "
        "(mean 0.05, std 0.1)."
    ),
)


class Loader(Protocol):
    """Makes a model.

    `blocks` and `token_overlap` are always given, other options of :func:`load` only if the user named them.
    """

    def __call__(self, *, blocks: str | None, token_overlap: bool | None, **options: Any) -> Model:
        """Return the model on the CPU in float32."""


def _kronos(*, blocks: str | None, token_overlap: bool | None, **options: Any) -> Model:
    _refuse(KRONOS, options, "pass the folder of its files instead of its name")
    from kronos_sc.models._hub import fetch

    return _weights.from_folder(fetch(KRONOS_HUB), KRONOS, blocks=blocks, token_overlap=token_overlap)


def _untrained(*, blocks: str | None, token_overlap: bool | None, **options: Any) -> Model:
    _refuse(UNTRAINED, options, "leave it out")
    with torch.random.fork_rng(devices=[]):  # the user's random state stays as it is
        net = KronosViT(blocks=blocks or "official", token_overlap=bool(token_overlap))
    net.reset(torch.Generator().manual_seed(_UNTRAINED_SEED))
    return KronosModel(net, UNTRAINED, paper_vocabulary(mean=0.05, std=0.1))


def _without_blocks(card: Card, make: Callable[..., Model], *accepted: str) -> Loader:
    """Return a loader of a model without chunks of blocks.

    `accepted` are the options of :func:`load` that go to `make`.
    """

    def loader(*, blocks: str | None, token_overlap: bool | None, **options: Any) -> Model:
        if blocks is not None or token_overlap is not None:
            lacking = "network" if card.trained is None else "chunks of blocks and no overlap of tokens"
            msg = f"{card.name!r} has no {lacking}: blocks and token_overlap do not apply to it. Leave them out."
            raise ValueError(msg)
        _refuse(card, {key: value for key, value in options.items() if key not in accepted}, "leave it out")
        return make(**options)

    return loader


def _refuse(card: Card, options: dict[str, Any], fix: str) -> None:
    """Raise a ValueError for options of `load` that do not apply to a model."""
    if options:
        msg = f"{card.name!r} takes no {listed(options)}: {fix}."
        raise ValueError(msg)


_REGISTRY: dict[str, tuple[Card, Loader]] = {}
_plugins_seen = False


def register(card: Card, loader: Loader, *, overwrite: bool = False) -> None:
    """Make a model known under its card's name.

    Packages register theirs through the entry-point group `kronos_sc.models`: the entry point is a function without
    arguments that returns `(card, loader)`.

    Parameters
    ----------
    card
        What the model is.
    loader
        Called as `loader(blocks=..., token_overlap=...)`, with `weights=` and `fit=` only if the user gave them;
        returns a :class:`Model`.
    overwrite
        Replace a model of the same name.
    """
    if card.name in _REGISTRY and not overwrite:
        msg = f"A model named {card.name!r} is registered already. Choose another name, or pass overwrite=True."
        raise ValueError(msg)
    _REGISTRY[card.name] = (card, loader)


for _card, _loader in (
    (KRONOS, _kronos),
    (UNTRAINED, _untrained),
    (MEAN_MARKER, _without_blocks(MEAN_MARKER, MeanMarker)),
    (MEAN_MARKER_PLUS, _without_blocks(MEAN_MARKER_PLUS, MeanMarkerPlus)),
    (CA_MAE, _without_blocks(CA_MAE, load_ca_mae, "weights")),
    *((origin.card, _without_blocks(origin.card, origin.load, "weights", "fit")) for origin in BACKBONES),
):
    register(_card, _loader)


def _registry() -> dict[str, tuple[Card, Loader]]:
    """Return all models; plug-ins are asked once, a broken one warns and is skipped."""
    global _plugins_seen
    if not _plugins_seen:
        _plugins_seen = True
        for point in entry_points(group="kronos_sc.models"):
            try:
                register(*point.load()())
            except Exception as error:  # noqa: BLE001 - a plug-in may fail in any way; the package must not
                warn(f"The model plug-in {point.name!r} ({point.value}) was skipped: {type(error).__name__}: {error}")
    return _REGISTRY


def list_models() -> list[str]:
    """Return the names that :func:`load` knows; folders, `hf-hub:` and `timm:` names can be loaded besides."""
    return sorted(_registry())


def load(
    name_or_path: str | os.PathLike[str] | Model,
    *,
    blocks: str | None = None,
    token_overlap: bool | None = None,
    weights: str | os.PathLike[str] | None = None,
    fit: str | None = None,
    device: str | torch.device | None = None,
) -> Model:
    """Load an encoder.

    Parameters
    ----------
    name_or_path
        A registered name (see :func:`list_models`), a folder or file in the official layout (`config.json`,
        `kronos_*_model.pt`, `marker_metadata.csv`), a folder written by :func:`save`, `hf-hub:owner/name` (your own
        login and cache are used), or any vision backbone of timm: `timm:NAME`, `timm:hf-hub:owner/name` (needs the
        extra `timm`). A loaded model is returned with the options applied.
    blocks
        `"official"` runs the first block of each chunk, as the released package does (default for official checkpoints
        and `kronos-untrained`, their stand-in); `"all"` runs every block (default for everything else).
    token_overlap
        Cut tokens every half token: four times the tokens, finer features. Off by default.
    weights
        A local file with the weights of a registered backbone (safetensors, `.npz`, or a `.pth` of nothing but
        tensors), instead of the hub's.
    fit
        How windows reach a multiple of a backbone's patch: `"crop"` around the centre (as in the paper; default) or
        `"resize"`.
    device
        Where to put the network, for instance `"cuda"`; `tl.embed` chooses by itself.

    Returns
    -------
    An object with `.net`, `.card`, `.vocabulary` and `.sha256`.
    """
    options = {key: value for key, value in (("weights", weights), ("fit", fit)) if value is not None}
    model = _load(name_or_path, blocks=blocks, token_overlap=token_overlap, **options)
    if device is None or model.net is None:
        return model
    return model.at(torch.device(device), model.input_format)


def _load(
    name: str | os.PathLike[str] | Model, *, blocks: str | None, token_overlap: bool | None, **options: Any
) -> Model:
    if not isinstance(name, str | os.PathLike | Model):
        msg = (
            f"A model is a name ({listed(list_models())}), a path or a loaded model, got {type(name).__name__}. "
            "Load one with models.load(...)."
        )
        raise TypeError(msg)
    registry = _registry()
    if isinstance(name, str) and name in registry:
        return registry[name][1](blocks=blocks, token_overlap=token_overlap, **options)
    if isinstance(name, str) and name.startswith(timm.PREFIX):
        load_network = partial(timm.load, name.removeprefix(timm.PREFIX))
        loader = _without_blocks(Card(name, "", ""), load_network, "weights", "fit")
        return loader(blocks=blocks, token_overlap=token_overlap, **options)
    if options:
        what = name.card.name if isinstance(name, Model) else os.fspath(name)
        msg = f"{what!r} takes no {listed(options)}; registered backbones do ({listed(list_models())}). Leave it out."
        raise ValueError(msg)
    if isinstance(name, Model):
        return _with_options(name, blocks=blocks, token_overlap=token_overlap)
    path, card = _locate(os.fspath(name))
    return _weights.from_folder(path, card, blocks=blocks, token_overlap=token_overlap)


def _with_options(model: Model, *, blocks: str | None, token_overlap: bool | None) -> Model:
    """Return a loaded model, with other blocks or stride where asked for; the user's own object is not changed."""
    if blocks is None and token_overlap is None:
        return model
    if not isinstance(model, KronosModel):
        msg = f"{model.card.name!r} has no blocks or token overlap to choose. Leave blocks and token_overlap out."
        raise ValueError(msg)  # noqa: TRY004 - the option is at fault, not the type of an argument
    import copy

    net = copy.copy(model.net)  # shares the weights
    net.set_blocks(blocks or net.blocks_mode)
    if token_overlap is not None:
        net.token_overlap = token_overlap
    return KronosModel(net, model.card, model.vocabulary, model.sha256)


def _locate(name: str) -> tuple[Path, Card]:
    """Return the local path of a hub name or path, and a card for what lies there."""
    if name.startswith(HUB):
        from kronos_sc.models._hub import fetch

        repository = name.removeprefix(HUB)
        folder = fetch(repository)
        if repository == KRONOS_HUB:
            return folder, KRONOS
        return folder, Card(name, repository, "see the repository", source=name)
    path = Path(name).expanduser()
    folder = path if path.is_dir() else path.parent
    if not path.exists():
        close = near(name, _registry())
        hint = f" Did you mean {close[0]!r}?" if close else ""
        msg = (
            f"{name!r} is neither a registered model ({listed(list_models())}) nor an existing path.{hint} "
            "Hub models are named 'hf-hub:owner/name'."
        )
        raise ValueError(msg)
    # the folder's name, not its place: paths do not belong into results
    return path, Card(folder.name, "a checkpoint in a folder", "see its source", source=f"folder {folder.name}")


def card(name_or_path: str | os.PathLike[str]) -> Card:
    """Return the card of a model.

    For a checkpoint in a folder or on a hub it includes the diagnostic of its LayerScale gammas.

    Registered names answer at once, without weights or network.

    Parameters
    ----------
    name_or_path
        As for :func:`load`.
    """
    if name_or_path in _registry():
        return _registry()[os.fspath(name_or_path)][0]
    if isinstance(name_or_path, str) and name_or_path.startswith(timm.PREFIX):
        return timm.card(name_or_path.removeprefix(timm.PREFIX))
    from dataclasses import replace

    model = _load(name_or_path, blocks=None, token_overlap=None)
    if not isinstance(model, KronosModel):  # whatever lies in a folder or on a hub is one
        return model.card
    return replace(model.card, diagnostic=_weights.diagnose(model.net))
