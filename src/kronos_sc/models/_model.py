"""The one interface of every encoder: normalised pixels of some markers in, one vector per unit and kind out."""

# Shapes: b units, m markers, h × w pixels, f features.
from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

if TYPE_CHECKING:
    import torch

    from kronos_sc.markers import Vocabulary
    from kronos_sc.models._card import Card


@dataclass(frozen=True)
class TokenGrid:
    """Where the tokens of a square window lie.

    Parameters
    ----------
    count
        Tokens along each axis.
    step
        Pixels from one token to the next.
    first
        Pixels from the border of the window to the centre of the first token.
    """

    count: int
    step: int
    first: float


class Model(ABC):
    """A loaded encoder.

    Attributes
    ----------
    card
        What it is.
    vocabulary
        The markers it knows, with ids and statistics.
    net
        The network, or None where there are no weights.
    sha256
        Of the weights; empty where there are none.
    key
        Name of the slots that its embeddings go to.
    needs_statistics
        Whether pixels are z-scored; else they are only scaled to [0, 1].
    image_statistics
        Whether markers without statistics take those of the images of a call; else they are an error.
    per_marker, per_unit
        Names of the features of a marker and of a unit, in order, where each means something (`"mean"`, `"area"`);
        empty where they are numbered. An embedding records them, and :func:`kronos_sc.get.feature_names` names its
        columns by them.
    """

    card: Card
    vocabulary: Vocabulary
    net: torch.nn.Module | None = None
    sha256: str = ""
    key: str = "embedding"
    needs_statistics: bool = True
    image_statistics: bool = False
    per_marker: ClassVar[tuple[str, ...]] = ()
    per_unit: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def width(self, kind: str, markers: int) -> int:
        """Return the number of features of one unit."""

    @abstractmethod
    def tokens(self, size: int, markers: int) -> int:
        """Return the length of one unit's sequence: what a pass costs."""

    @abstractmethod
    def encode(
        self, pixels_bmhw: torch.Tensor, marker_ids_bm: torch.Tensor, mask_bhw: torch.Tensor, kinds: tuple[str, ...]
    ) -> dict[str, torch.Tensor]:
        """Return features (b, f) by kind; `mask_bhw` says which pixels belong to the unit.

        The kind `"token"` is (b, rows · columns · width("token", m)): tokens row by row, the markers of each location
        side by side. Both inputs are overwritten by the next batch: copy what is to be kept.
        """

    def token_grid(self, size: int) -> TokenGrid:
        """Return where the tokens of a window of `size` pixels lie; a ValueError where a model has none."""
        msg = (
            f"{self.card.name!r} gives one vector per window and no token features, which maps are made of. Take "
            "'kronos', say."
        )
        raise ValueError(msg)

    def with_vocabulary(self, vocabulary: Vocabulary) -> Self:
        """Return this model with the ids and statistics of another vocabulary, those of a KRONOS checkpoint say.

        Weights are shared.
        """
        other = copy.copy(self)
        other.vocabulary = vocabulary
        return other

    def at(self, device: torch.device, dtype: torch.dtype) -> Self:
        """Return a copy of this model with its network on a device and in a number format.

        The model itself if it is there already.
        """
        from kronos_sc.models.inference.copies import copy_to

        if self.net is None:
            return self
        net = copy_to(self.net, device, dtype)
        if net is self.net:
            return self
        other = copy.copy(self)
        other.net = net
        return other

    @property
    def input_format(self) -> torch.dtype:
        """Return the number format in which `encode` takes pixels without converting them, that of the weights.

        Float32 is always taken.
        """
        import torch

        return torch.float32 if self.net is None else next(self.net.parameters()).dtype

    @property
    def facts(self) -> dict[str, object]:
        """Return what an embedding records of its model."""
        card = self.card
        identity = {
            "name": card.name,
            "sha256": self.sha256,
            "licence": card.licence,
            "trained": card.trained,
            "source": card.source,
        }
        names = {"per_marker": list(self.per_marker), "per_unit": list(self.per_unit)}
        return identity | {field: value for field, value in names.items() if value}
