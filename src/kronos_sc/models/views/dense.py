"""Class probabilities of every token, computed where the tokens are: a few numbers per token leave the device."""

# Shapes: b windows, n tokens of a window, f features of a token, k classes.
from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np
import torch

from kronos_sc._core.arrays import writable
from kronos_sc.models.views.base import View

if TYPE_CHECKING:
    from kronos_sc.models._model import Model


class TokenClasses(View):
    """A model read through a linear classifier of its tokens: the kind `"token"` is k probabilities per location.

    Parameters
    ----------
    model
        The encoder.
    coef
        Weights (k × f) of standardised features.
    intercept
        One per class.
    mean, scale
        Of each feature; a feature is standardised as (value − mean) / scale.
    """

    def __init__(
        self, model: Model, coef: np.ndarray, intercept: np.ndarray, mean: np.ndarray, scale: np.ndarray
    ) -> None:
        super().__init__(model)
        # the mean is taken off first, as in training: in the intercept it would cancel large numbers in float32
        self._weights_fk = torch.from_numpy(writable((np.asarray(coef, float) / scale).T, np.float32))
        self._intercept = torch.from_numpy(writable(intercept, np.float32))
        self._mean = torch.from_numpy(writable(mean, np.float32))

    def width(self, kind: str, markers: int) -> int:
        """Return k for tokens; the model's own width for other kinds, which say what a pass costs."""
        if kind == "token":
            return len(self._intercept)
        return self.model.width(kind, markers)

    def encode(
        self, pixels_bmhw: torch.Tensor, marker_ids_bm: torch.Tensor, mask_bhw: torch.Tensor, kinds: tuple[str, ...]
    ) -> dict[str, torch.Tensor]:
        """Return probabilities (b, n · k), tokens row by row."""
        tokens = self.model.encode(pixels_bmhw, marker_ids_bm, mask_bhw, ("token",))["token"]
        tokens_nf = tokens.reshape(-1, len(self._mean)).float() - self._mean
        proba_nk = torch.softmax(torch.addmm(self._intercept, tokens_nf, self._weights_fk), dim=1)
        return {"token": proba_nk.reshape(len(pixels_bmhw), -1)}

    def at(self, device: torch.device, dtype: torch.dtype) -> Self:
        """Return the same view on a device; the classifier stays in float32 whatever the network runs in."""
        other = super().at(device, dtype)
        other._weights_fk = self._weights_fk.to(device)
        other._intercept = self._intercept.to(device)
        other._mean = self._mean.to(device)
        return other
