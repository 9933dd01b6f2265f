"""Any vision backbone of timm by name: `timm:NAME`, or `timm:hf-hub:owner/name`."""

# Shapes: n images, h × w pixels, r × c tokens, d features of an image, e of a token.
from __future__ import annotations

import re
from dataclasses import replace
from math import isqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from kronos_sc._core.checks import listed, near
from kronos_sc.models import _state, _weights
from kronos_sc.models._card import Card
from kronos_sc.models._hub import explained
from kronos_sc.models.encoders.resize import Fit
from kronos_sc.models.encoders.vision import VisionModel

if TYPE_CHECKING:
    import os
    from types import ModuleType

PREFIX = "timm:"
_HUB = "hf-hub:"
_PROBE = 128  # pixels, at least: four tokens of networks that halve their input five times


def load(name: str, *, weights: str | os.PathLike[str] | None = None, fit: str | None = None) -> VisionModel:
    """Return a backbone of timm for one marker at a time.

    Features are those of the network's own pooling before its classifier. The marker stands for all colours that the
    network knows.

    Parameters
    ----------
    name
        As timm's own, with `hf-hub:` before a repository of the Hugging Face hub.
    weights
        A local file in timm's naming; those that timm downloads if left out.
    fit
        `"crop"` (default) or `"resize"`; networks of one fixed size take `"resize"` if nothing is said.
    """
    library = timm()
    config = _config(library, name, pretrained=weights is None)
    net = _created(library, name, config, pretrained=weights is None)
    about = _card(name, config)
    if weights is None:
        checksum = _weights.checksum(net.state_dict())
    else:
        checksum = _filled(net, path := Path(weights).expanduser(), name, config)
        about = replace(
            about, source=f"file {path.name}"
        )  # the file's name, not its place: paths do not belong into results
    fixed = config.get("fixed_input_size") and not getattr(net, "dynamic_img_size", False)
    only = int(config["input_size"][-1]) if fixed else None
    how = Fit(PREFIX + name, fit or ("resize" if only else "crop"), 1 if only else _patch(net), only)
    key = re.sub(r"\W+", "_", name.rpartition("/")[2]).strip("_").lower()
    return VisionModel(TimmNet(net, how), about, fit=how, key=key, sha256=checksum)


def card(name: str) -> Card:
    """Return the card of a backbone, without its weights."""
    return _card(name, _config(timm(), name, pretrained=False))


def timm() -> ModuleType:
    """Return the package timm, or raise an ImportError that says what is missing."""
    try:
        import timm
    except ModuleNotFoundError as error:
        if error.name != "timm":
            raise
        msg = "Models named 'timm:…' need timm, which is not installed. Install it with: pip install 'kronos-sc[timm]'"
        raise ImportError(msg) from error
    except (ImportError, RuntimeError, OSError) as error:
        msg = (
            f"timm is installed and does not import ({error}). It imports torchvision, whose build must fit torch "
            f"{torch.__version__}: "
            "install both from one index, as https://pytorch.org/get-started shows."
        )
        raise ImportError(msg) from error
    return timm


class TimmNet(nn.Module):
    """A network of timm as a backbone for images of one channel.

    Parameters
    ----------
    net
        The network, without a classifier.
    fit
        Sizes that it takes.
    """

    def __init__(self, net: nn.Module, fit: Fit) -> None:
        super().__init__()
        self.net = net.eval()
        self.colours = int(getattr(net, "in_chans", 0) or net.pretrained_cfg["input_size"][0])
        size = fit.only or -(-_PROBE // fit.patch) * fit.patch
        with (
            torch.inference_mode()
        ):  # what it gives is asked of the network itself: its own descriptions differ from family to family
            image_nd, token_nrce = self(torch.zeros(1, size, size), tokens=True)
        if image_nd.ndim != 2:
            msg = (
                f"{fit.name!r} gives no vector per image (its output is {tuple(image_nd.shape)}). Choose a network "
                "with pooling or a class token."
            )
            raise ValueError(msg)
        self.dim = image_nd.shape[1]
        self.token_dim = 0 if token_nrce is None or size % token_nrce.shape[1] else token_nrce.shape[3]
        self.step = size // token_nrce.shape[1] if self.token_dim else 16
        self.prefix = self._prefix

    @property
    def _prefix(self) -> int:
        return int(getattr(self.net, "num_prefix_tokens", 0))

    def forward(self, pixels_nhw: torch.Tensor, *, tokens: bool = False) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return features of images (n, d), and of their tokens (n, r, c, e) where the network has a square grid of them."""
        features = self.net.forward_features(pixels_nhw[:, None].expand(-1, self.colours, -1, -1))
        return self.net.forward_head(features), self._grid(features) if tokens else None

    def _grid(self, features: Any) -> torch.Tensor | None:
        if isinstance(features, torch.Tensor) and features.ndim == 4:
            return features if getattr(self.net, "output_fmt", "NCHW") == "NHWC" else features.permute(0, 2, 3, 1)
        if isinstance(features, torch.Tensor) and features.ndim == 3:
            on_grid = features[:, self._prefix :]
            side = isqrt(on_grid.shape[1])
            return on_grid.unflatten(1, (side, side)) if side > 1 and side**2 == on_grid.shape[1] else None
        return None


def _config(library: ModuleType, name: str, *, pretrained: bool) -> dict[str, Any]:
    """Return what timm knows of a network, or raise a ValueError for a name that it does not know."""
    if name.startswith(_HUB):
        repository = name.removeprefix(_HUB)
        with explained(
            repository, "load the network by its architecture, 'timm:ARCHITECTURE', with the file as weights="
        ):
            config, architecture, _ = library.models.load_model_config_from_hf(repository)
        return dict(config) | {"architecture": architecture}
    base = name.partition(".")[0]
    if not library.is_model(base):
        close = near(base, library.list_models())
        msg = (
            f"timm {library.__version__} knows no network {base!r}. Close: {listed(close)}. timm.list_models() lists "
            "all."
        )
        raise ValueError(msg)
    try:
        found = library.get_pretrained_cfg(name)
    except RuntimeError as error:
        tags = library.list_pretrained(f"{base}.*")
        msg = f"timm {library.__version__} has no weights {name!r}. There are: {listed(tags)}."
        raise ValueError(msg) from error
    config = {} if found is None else found.to_dict()
    if pretrained and not any(config.get(place) for place in ("hf_hub_id", "url", "file")):
        tags = library.list_pretrained(f"{base}.*")
        msg = (
            f"timm {library.__version__} offers no weights for {name!r}. Pass a file with weights=, or choose among: "
            f"{listed(tags)}."
        )
        raise ValueError(msg)
    return {"input_size": (3, 224, 224), "architecture": base} | config


def _created(library: ModuleType, name: str, config: dict[str, Any], *, pretrained: bool) -> nn.Module:
    """Return the network without a classifier, for images of any size where its family allows them."""
    repository = str(config.get("hf_hub_id") or name.removeprefix(_HUB))
    with (
        explained(repository, f"pass the file with its weights: models.load('{PREFIX}{name}', weights=...)"),
        torch.random.fork_rng(devices=[]),
    ):
        try:
            return library.create_model(name, pretrained=pretrained, num_classes=0, dynamic_img_size=True)
        except TypeError as error:
            if "dynamic_img_size" not in str(error):
                raise
            return library.create_model(name, pretrained=pretrained, num_classes=0)


def _filled(net: nn.Module, path: Path, name: str, config: dict[str, Any]) -> str:
    """Load the weights of a file, but for the classifier; return its checksum."""
    heads = config.get("classifier") or ()
    heads = tuple(f"{head}." for head in ((heads,) if isinstance(heads, str) else heads))
    state = {key: value for key, value in _state.read(path).items() if not heads or not key.startswith(heads)}
    _state.fill(
        net, state, path, what=repr(PREFIX + name), fix="Check the name, and that the file is in timm's naming."
    )
    return _weights.sha256(path)


def _patch(net: nn.Module) -> int:
    """Return what sizes are multiples of: the patch of a transformer, 1 for convolutions."""
    size = getattr(getattr(net, "patch_embed", None), "patch_size", 1)
    return int(size if isinstance(size, int) else size[0])


def _card(name: str, config: dict[str, Any]) -> Card:
    papers = config.get("paper_ids") or ()
    notes = "Input has the size {}; a marker stands for all colours, after its z-score.".format(
        " × ".join(map(str, config["input_size"][1:]))
    )
    return Card(
        name=PREFIX + name,
        title=str(config.get("description") or f"{config['architecture']} of timm"),
        licence=str(config.get("license") or "see the source"),
        features=("marker",),
        source=f"{_HUB}{config['hf_hub_id']}" if config.get("hf_hub_id") else str(config.get("url") or "a local file"),
        architecture=str(config["architecture"]),
        citation=", ".join([papers] if isinstance(papers, str) else papers),
        patch_multiple=1,
        training_data=f"what timm tags {config['tag']!r}" if config.get("tag") else "",
        notes=notes,
    )
