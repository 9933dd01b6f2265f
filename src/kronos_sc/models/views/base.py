"""A model seen through another: something else is read off the same network, by the same runner."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Self

from kronos_sc.models._model import Model, TokenGrid

if TYPE_CHECKING:
    import torch


class View(Model):
    """Another reading of a model; what a subclass does not say is the model's own.

    Parameters
    ----------
    model
        The encoder.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self.card = model.card
        self.vocabulary = model.vocabulary
        self.net = model.net
        self.sha256 = model.sha256
        self.key = model.key
        self.needs_statistics = model.needs_statistics
        self.image_statistics = model.image_statistics

    def width(self, kind: str, markers: int) -> int:
        """Return the number of features of one unit."""
        return self.model.width(kind, markers)

    def tokens(self, size: int, markers: int) -> int:
        """Return the length of one unit's sequence."""
        return self.model.tokens(size, markers)

    def token_grid(self, size: int) -> TokenGrid:
        """Return where the tokens of a window lie."""
        return self.model.token_grid(size)

    def at(self, device: torch.device, dtype: torch.dtype) -> Self:
        """Return the same view of the model on a device and in a number format."""
        model = self.model.at(device, dtype)
        other = copy.copy(self)
        other.model = model
        other.net = model.net
        return other

    @property
    def input_format(self) -> torch.dtype:
        """Return the number format in which `encode` takes pixels without converting them."""
        return self.model.input_format

    @property
    def facts(self) -> dict[str, object]:
        """Return what a result records of the model."""
        return self.model.facts
