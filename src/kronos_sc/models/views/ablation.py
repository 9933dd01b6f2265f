"""What becomes of features when a marker is taken out of the panel: windows are encoded with it and without it."""

# Shapes: b images, m markers, k markers to drop, d width, f folds, c classes.
from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch.nn import functional as F

from kronos_sc._core.arrays import writable
from kronos_sc.models.views.base import View

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from kronos_sc.models._model import Model


class FoldClassifier(NamedTuple):
    """A linear classifier per fold, on raw features around their mean in training.

    Parameters
    ----------
    coef
        Weights (f, c, m · d).
    intercept
        Scores of a unit whose features are all at the mean (f, c).
    mean
        Of the features (f, m · d).
    """

    coef: np.ndarray
    intercept: np.ndarray
    mean: np.ndarray


class AblationView(View):
    """Change of the features when one marker at a time is not in the sequence.

    Kinds: those of the model; `"cosine"` and `"relative"` (b, k), 1 − cosine of the features of the other markers with
    and without it and ‖difference‖ / ‖features‖; `"score"` (b, (1 + k) · f · c), scores of the classifiers with all
    markers, then without each.

    Parameters
    ----------
    model
        The encoder.
    dropped
        Positions of the markers to drop, one after the other.
    feature
        `"marker"` or `"cls"`.
    classifier
        One per fold; without, there are no scores.
    """

    def __init__(
        self, model: Model, dropped: Sequence[int], feature: str, classifier: FoldClassifier | None = None
    ) -> None:
        super().__init__(model)
        self.dropped = tuple(dropped)
        self.feature = feature
        self.classifier = classifier

    def encode(
        self, pixels_bmhw: torch.Tensor, marker_ids_bm: torch.Tensor, mask_bhw: torch.Tensor, kinds: tuple[str, ...]
    ) -> dict[str, torch.Tensor]:
        """Return the model's features, or what dropping markers changes."""
        if not {"cosine", "relative", "score"} & set(kinds):
            return self.model.encode(pixels_bmhw, marker_ids_bm, mask_bhw, kinds)
        # a model may hand out memory of its own, which the next call overwrites
        full = self._encode_feature(pixels_bmhw, marker_ids_bm, mask_bhw).clone()
        n_markers = marker_ids_bm.shape[1]
        has_blocks = self.feature == "marker" and n_markers > 1
        cosine: list[torch.Tensor] = []
        relative: list[torch.Tensor] = []
        score = self._scores(full, None)
        for position in self.dropped:
            kept = torch.tensor([i for i in range(n_markers) if i != position], device=pixels_bmhw.device)
            part = self._encode_feature(pixels_bmhw[:, kept], marker_ids_bm[:, kept], mask_bhw)
            # like is compared with like: the dropped marker's own block is left out of the full features
            shared = full.unflatten(1, (n_markers, -1))[:, kept].flatten(1) if has_blocks else full
            # 1 − cosine, exact where it is small
            cosine.append((F.normalize(shared) - F.normalize(part)).square().sum(1) / 2)
            relative.append((shared - part).norm(dim=1) / shared.norm(dim=1).clamp_min(1e-30))
            score += self._scores(part, kept if has_blocks else None, n_markers)
        changes = {"cosine": cosine, "relative": relative, "score": score}
        return {kind: torch.stack(changes[kind], 1).flatten(1) for kind in kinds}

    def _encode_feature(
        self, pixels_bmhw: torch.Tensor, marker_ids_bm: torch.Tensor, mask_bhw: torch.Tensor
    ) -> torch.Tensor:
        return self.model.encode(pixels_bmhw, marker_ids_bm, mask_bhw, (self.feature,))[self.feature].float()

    def _scores(self, features: torch.Tensor, kept: torch.Tensor | None, n_markers: int = 1) -> list[torch.Tensor]:
        """Return the scores of the classifiers (b, f · c); markers that are not there are taken at their mean."""
        if self.classifier is None:
            return []
        coef, intercept, mean = (torch.from_numpy(writable(part)).to(features.device) for part in self.classifier)
        if kept is not None:
            coef, mean = (part.unflatten(-1, (n_markers, -1))[..., kept, :].flatten(-2) for part in (coef, mean))
        centred_bfn = features[:, None] - mean
        return [(torch.einsum("bfn,fcn->bfc", centred_bfn, coef) + intercept).flatten(1)]
