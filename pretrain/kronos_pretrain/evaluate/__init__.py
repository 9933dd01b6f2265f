"""What frozen features are worth while training goes on.

k-NN and linear probe on labelled patches, pictures of tokens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from kronos_pretrain.evaluate import knn, linear
from kronos_pretrain.evaluate.features import Encode, Frozen, frozen, panel_of
from kronos_pretrain.evaluate.labelled import SPLITS, Labelled
from kronos_pretrain.evaluate.metrics import scores
from kronos_pretrain.evaluate.tokens import pictures
from kronos_sc._core.arrays import writable

if TYPE_CHECKING:
    import numpy as np

    from kronos_sc.markers import Vocabulary

PREFIX = {"cls": "evaluate/", "marker": "evaluate/marker_", "mean": "evaluate/mean_marker_"}
PROBES = {"knn": knn.predict, "linear": linear.predict}


class Evaluation:
    """Labelled patches, ready to be encoded again and again.

    Markers are matched once, and the baseline is computed once.

    Parameters
    ----------
    labelled
        The patches.
    vocabulary
        Markers of the model, with ids and statistics.
    device
        Where the network is.
    batch
        Patches per pass.
    """

    def __init__(
        self, labelled: Labelled, vocabulary: Vocabulary, *, device: torch.device | str = "cpu", batch: int = 64
    ) -> None:
        self.labelled = labelled
        self.device = device
        self.batch = batch
        self.panel = panel_of(labelled, vocabulary)
        self.codes = torch.from_numpy(writable(labelled.codes)).to(device)
        self.train, self.test = (torch.from_numpy(writable(labelled.part(split))).to(device) for split in SPLITS)
        self._baseline: dict[str, float] | None = None

    def scores(self, encode: Encode) -> dict[str, float]:
        """Return balanced accuracy and macro F1 of each probe.

        Of class tokens (`evaluate/knn_…`, `evaluate/linear_…`), of marker features (`evaluate/marker_knn_…`, …) and,
        for comparison, of mean intensities (`evaluate/mean_marker_knn_…`, …).

        Parameters
        ----------
        encode
            Pixels (b, m, h, w) and marker ids (b, m) → features; every process of a run calls this.
        """
        features = frozen(encode, self.labelled, self.panel, device=self.device, batch=self.batch)
        if self._baseline is None:  # mean intensities do not change with the weights
            self._baseline = self._probe(features, "mean")
        return self._probe(features, "cls") | self._probe(features, "marker") | self._baseline

    def pictures(self, encode: Encode, *, count: int = 4) -> np.ndarray:
        """Return a picture (H, W, 3), uint8, of patches and their tokens.

        Parameters
        ----------
        encode
            As for :meth:`scores`.
        count
            Patches to draw.
        """
        return pictures(encode, self.labelled, self.panel, count=count, device=self.device)

    def _probe(self, features: Frozen, kind: str) -> dict[str, float]:
        values = getattr(features, kind)
        train, test = values[self.train], values[self.test]
        results = {}
        for name, probe in PROBES.items():
            predicted = probe(train, self.codes[self.train], test, classes=len(self.labelled.classes))
            for score, value in scores(self.codes[self.test], predicted).items():
                results[f"{PREFIX[kind]}{name}_{score}"] = value
        return results


def evaluate(
    encode: Encode, labelled: Labelled, vocabulary: Vocabulary, *, device: torch.device | str = "cpu", batch: int = 64
) -> dict[str, float]:
    """Return the scores of one network; see :class:`Evaluation`, which is for many looks at the same patches.

    Parameters
    ----------
    encode
        Pixels (b, m, h, w) and marker ids (b, m) → features.
    labelled, vocabulary, device, batch
        As for :class:`Evaluation`.
    """
    return Evaluation(labelled, vocabulary, device=device, batch=batch).scores(encode)


__all__ = ["Evaluation", "Labelled", "evaluate"]
