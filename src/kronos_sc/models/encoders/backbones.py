"""DINOv2 and UNI by name: what they are, where their weights lie, how these are read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from kronos_sc.models import _state, _weights
from kronos_sc.models._card import Card
from kronos_sc.models.encoders.resize import Fit
from kronos_sc.models.encoders.vision import VisionModel
from kronos_sc.models.nets.plain_vit import PlainConfig, PlainViT, adapted

if TYPE_CHECKING:
    import os

_PROTOCOL = (
    "Each marker is z-scored (statistics of the images of the call, unless the model has others: with_vocabulary), "
    "stands for all three colours and gives its class token after the final norm. The positional table is interpolated "
    "as timm does (bicubic, antialiased)."
)


@dataclass(frozen=True)
class Origin:
    """A published plain vision transformer.

    Parameters
    ----------
    card
        What it is.
    config
        Its shape.
    repository, file
        Where its weights lie on the Hugging Face hub.
    """

    card: Card
    config: PlainConfig
    repository: str
    file: str

    @property
    def key(self) -> str:
        """Name of the slots."""
        return self.card.name.replace("-", "_")

    def load(self, *, weights: str | os.PathLike[str] | None = None, fit: str | None = None) -> VisionModel:
        """Return the model with weights of a local file, or of the hub."""
        from kronos_sc.models._hub import fetch_weights

        window_fit = Fit(self.card.name, fit or "crop", self.config.patch)  # a wrong choice is told before any reading
        if weights is None:
            path = fetch_weights(self.repository, self.file)
            card = self.card
        else:  # the file's name, not its place: paths do not belong into results
            path = Path(weights).expanduser()
            card = replace(self.card, source=f"file {path.name}")
        net = plain_vit(path, self.config)
        return VisionModel(net, card, fit=window_fit, key=self.key, sha256=_weights.sha256(path))


def plain_vit(path: Path, config: PlainConfig) -> PlainViT:
    """Return the network with the weights of a file; table and registers are as large as the file's."""
    state = _state.read(path)
    config = config.adapted_to(state)
    with torch.device("meta"):  # no memory and no random numbers for weights that are about to be replaced
        net = PlainViT(config)
    what = f"a plain ViT of width {config.dim} with {config.depth} blocks and patches of {config.patch} pixels"
    fix = "Check that the file is of this model, in the naming of DINOv2's release or timm."
    _state.fill(net, adapted(state), path, what=what, fix=fix)
    return net


def _dinov2(name: str, size: str, config: PlainConfig, parameters: str) -> Origin:
    repository = f"timm/vit_{size.lower()}_patch14_dinov2.lvd142m"
    card = Card(
        name=name,
        title=f"DINOv2 ViT-{size[0]}/14, a vision transformer for natural images",
        licence="Apache-2.0",
        features=("marker",),
        source=f"hf-hub:{repository}",
        architecture=f"ViT-{size[0]}/14, {parameters} M parameters",
        citation="Oquab et al. 2024, TMLR, arXiv:2304.07193",
        patch_multiple=1,
        training_data="LVD-142M, 142 million natural images",
        resolution="no physical scale",
        notes=_PROTOCOL + " The paper compares with ViT-L/14.",
    )
    return Origin(card, config, repository, "model.safetensors")


_UNI = Origin(
    Card(
        name="uni",
        title="UNI ViT-L/16, a vision transformer for histology",
        licence="CC BY-NC-ND 4.0",
        features=("marker",),
        gated=True,
        source="hf-hub:MahmoodLab/UNI",
        architecture="ViT-L/16, 303 M parameters",
        citation="Chen et al. 2024, Nature Medicine, doi:10.1038/s41591-024-02857-3",
        patch_multiple=1,
        training_data="Mass-100K, 100 million patches of 100,426 H&E slides",
        resolution="20× (0.5 µm per pixel)",
        notes=(
            "Ask for access at https://huggingface.co/MahmoodLab/UNI, then log in once with `hf auth login`. "
            f"{_PROTOCOL}"
        ),
    ),
    PlainConfig(dim=1024, depth=24, heads=16, patch=16, grid=14),
    "MahmoodLab/UNI",
    "pytorch_model.bin",
)

BACKBONES = (
    _dinov2("dinov2-s14", "Small", PlainConfig(dim=384, depth=12, heads=6, patch=14, grid=37), "22"),
    _dinov2("dinov2-b14", "Base", PlainConfig(dim=768, depth=12, heads=12, patch=14, grid=37), "87"),
    _dinov2("dinov2-l14", "Large", PlainConfig(dim=1024, depth=24, heads=16, patch=14, grid=37), "304"),
    _UNI,
)
