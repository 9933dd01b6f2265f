"""Any vision backbone of timm by name: `timm:NAME`, or `timm:hf-hub:owner/name`."""

# Shapes: n images, h × w pixels, r × c tokens, d features of an image, e of a token.
from __future__ import annotations

import re
from dataclasses import replace
from math import isqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import torch
from torch import nn

from kronos_sc._core.checks import listed, near
from kronos_sc.models import _state, _weights
from kronos_sc.models._card import Card
from kronos_sc.models._hub import explain_errors
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
    net = _create(library, name, config, pretrained=weights is None)
    model_card = _card(name, config)
    if weights is None:
        checksum = _weights.checksum(net.state_dict())
    else:  # the file's name, not its place: paths do not belong into results
        path = Path(weights).expanduser()
        checksum = _fill(net, path, name, config)
        model_card = replace(model_card, source=f"file {path.name}")
    window_fit = _window_fit(name, net, config, fit)
    key = re.sub(r"\W+", "_", name.rpartition("/")[2]).strip("_").lower()
    return VisionModel(TimmNet(net, window_fit), model_card, fit=window_fit, key=key, sha256=checksum)


def _window_fit(name: str, net: nn.Module, config: dict[str, Any], fit: str | None) -> Fit:
    """Return how windows reach a size that the network takes."""
    if config.get("fixed_input_size") and not getattr(net, "dynamic_img_size", False):
        return Fit(PREFIX + name, fit or "resize", 1, int(config["input_size"][-1]))
    return Fit(PREFIX + name, fit or "crop", _patch(net))


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
            f"{torch.__version__}: install both from one index, as https://pytorch.org/get-started shows."
        )
        raise ImportError(msg) from error
    return timm


class _TimmNetwork(Protocol):
    """What is asked of a network of timm."""

    pretrained_cfg: dict[str, Any]

    def forward_features(self, x: torch.Tensor) -> Any:
        """Return what comes before pooling, in the layout of its family."""

    def forward_head(self, x: Any) -> torch.Tensor:
        """Return the features of images."""


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
        self.net = cast("_TimmNetwork", net.eval())
        self.in_channels = int(getattr(net, "in_chans", 0) or self.net.pretrained_cfg["input_size"][0])
        size = fit.fixed_size or -(-_PROBE // fit.patch) * fit.patch
        # what it gives is asked of the network itself: its own descriptions differ from family to family
        with torch.inference_mode():
            image_nd, token_nrce = self(torch.zeros(1, size, size), tokens=True)
        if image_nd.ndim != 2:
            msg = (
                f"{fit.name!r} gives no vector per image (its output is {tuple(image_nd.shape)}). Choose a network "
                "with pooling or a class token."
            )
            raise ValueError(msg)
        self.dim = image_nd.shape[1]
        # without a grid of tokens on whole pixels, a step of 16 stands in for what a pass costs
        self.token_dim = 0
        self.step = 16
        if token_nrce is not None and size % token_nrce.shape[1] == 0:
            self.token_dim = token_nrce.shape[3]
            self.step = size // token_nrce.shape[1]
        self.prefix = self._prefix

    @property
    def _prefix(self) -> int:
        return int(getattr(self.net, "num_prefix_tokens", 0))

    def forward(self, pixels_nhw: torch.Tensor, *, tokens: bool = False) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return features of images (n, d) and of their tokens (n, r, c, e), where these are on a square grid."""
        features = self.net.forward_features(pixels_nhw[:, None].expand(-1, self.in_channels, -1, -1))
        image_nd = self.net.forward_head(features)
        return image_nd, self._token_grid(features) if tokens else None

    def _token_grid(self, features: Any) -> torch.Tensor | None:
        """Return tokens (n, r, c, e) out of what the network gives; None where they are on no square grid."""
        if not isinstance(features, torch.Tensor):
            return None
        if features.ndim == 4:
            channels_last = getattr(self.net, "output_fmt", "NCHW") == "NHWC"
            return features if channels_last else features.permute(0, 2, 3, 1)
        if features.ndim == 3:
            tokens = features[:, self._prefix :]
            side = isqrt(tokens.shape[1])
            if side > 1 and side**2 == tokens.shape[1]:
                return tokens.unflatten(1, (side, side))
        return None


def _config(library: ModuleType, name: str, *, pretrained: bool) -> dict[str, Any]:
    """Return what timm knows of a network, or raise a ValueError for a name that it does not know."""
    if name.startswith(_HUB):
        repository = name.removeprefix(_HUB)
        without = "load the network by its architecture, 'timm:ARCHITECTURE', with the file as weights="
        with explain_errors(repository, without):
            config, architecture, _ = library.models.load_model_config_from_hf(repository)
        return dict(config) | {"architecture": architecture}
    base = name.partition(".")[0]
    if not library.is_model(base):
        close = near(base, library.list_models())
        msg = (
            f"timm {library.__version__} knows no network {base!r}. Close: {listed(close)}. "
            "timm.list_models() lists all."
        )
        raise ValueError(msg)
    try:
        pretrained_config = library.get_pretrained_cfg(name)
    except RuntimeError as error:
        tags = library.list_pretrained(f"{base}.*")
        msg = f"timm {library.__version__} has no weights {name!r}. There are: {listed(tags)}."
        raise ValueError(msg) from error
    config = {} if pretrained_config is None else pretrained_config.to_dict()
    if pretrained and not any(config.get(source) for source in ("hf_hub_id", "url", "file")):
        tags = library.list_pretrained(f"{base}.*")
        msg = (
            f"timm {library.__version__} offers no weights for {name!r}. Pass a file with weights=, or choose among: "
            f"{listed(tags)}."
        )
        raise ValueError(msg)
    return {"input_size": (3, 224, 224), "architecture": base} | config


def _create(library: ModuleType, name: str, config: dict[str, Any], *, pretrained: bool) -> nn.Module:
    """Return the network without a classifier, for images of any size where its family allows them."""
    repository = str(config.get("hf_hub_id") or name.removeprefix(_HUB))
    without = f"pass the file with its weights: models.load('{PREFIX}{name}', weights=...)"
    # timm draws weights before it replaces them; the user's random state stays as it is
    with explain_errors(repository, without), torch.random.fork_rng(devices=[]):
        try:
            return library.create_model(name, pretrained=pretrained, num_classes=0, dynamic_img_size=True)
        except TypeError as error:
            if "dynamic_img_size" not in str(error):
                raise
            return library.create_model(name, pretrained=pretrained, num_classes=0)


def _fill(net: nn.Module, path: Path, name: str, config: dict[str, Any]) -> str:
    """Load the weights of a file, but for the classifier; return its checksum."""
    classifier = config.get("classifier") or ()
    if isinstance(classifier, str):
        classifier = (classifier,)
    prefixes = tuple(f"{head}." for head in classifier)  # no key starts with one of none
    state = {key: value for key, value in _state.read(path).items() if not key.startswith(prefixes)}
    fix = "Check the name, and that the file is in timm's naming."
    _state.fill(net, state, path, what=repr(PREFIX + name), fix=fix)
    return _weights.sha256(path)


def _patch(net: nn.Module) -> int:
    """Return what sizes are multiples of: the patch of a transformer, 1 for convolutions."""
    size = getattr(getattr(net, "patch_embed", None), "patch_size", 1)
    if isinstance(size, int):
        return size
    return int(size[0])


def _card(name: str, config: dict[str, Any]) -> Card:
    papers = config.get("paper_ids") or ()
    if isinstance(papers, str):
        papers = [papers]
    hub_id = config.get("hf_hub_id")
    size = " × ".join(map(str, config["input_size"][1:]))
    return Card(
        name=PREFIX + name,
        title=str(config.get("description") or f"{config['architecture']} of timm"),
        licence=str(config.get("license") or "see the source"),
        features=("marker",),
        source=f"{_HUB}{hub_id}" if hub_id else str(config.get("url") or "a local file"),
        architecture=str(config["architecture"]),
        citation=", ".join(papers),
        patch_multiple=1,
        training_data=f"what timm tags {config['tag']!r}" if config.get("tag") else "",
        notes=f"Input has the size {size}; a marker stands for all colours, after its z-score.",
    )
