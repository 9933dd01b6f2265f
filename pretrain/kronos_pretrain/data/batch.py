"""What passes from the reader to the device, and from there to the network."""

# Shapes: b samples, t sets of markers (1 if all views share them, else 2), m markers, h × w pixels, n = views · b
# crops.
from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import torch

GLOBAL_VIEWS = 2  # of every sample; the teacher sees no others


class Samples(NamedTuple):
    """One process's share of a step, as the loader gives it.

    Parameters
    ----------
    step
        Step of the run.
    index
        Numbers of the samples within the step's batch over all processes (b,), int64.
    pixels
        Intensities after the marker's z-score (b, t, m, h, w), float32.
    marker_ids
        Marker ids (b, t, m), int64; the nuclear stain first.
    wait
        Seconds the training process waited for them.
    zero
        What zero intensity became by the z-score: -mean / std of each marker (b, t, m), float32; a gain changes what
        exceeds it.
    """

    step: int
    index: torch.Tensor
    pixels: torch.Tensor
    marker_ids: torch.Tensor
    wait: float = 0.0
    zero: torch.Tensor | None = None

    def to(self, device: torch.device) -> Samples:
        """Return the samples with what is computed with on a device.

        Their numbers stay where random numbers are drawn.
        """
        pixels, marker_ids, zero = (
            None if part is None else part.to(device, non_blocking=True)
            for part in (self.pixels, self.marker_ids, self.zero)
        )
        return self._replace(pixels=pixels, marker_ids=marker_ids, zero=zero)


class Crops(NamedTuple):
    """All views of one size: view 0 of every sample, then view 1 of every sample, and so on.

    Parameters
    ----------
    pixels
        (n, m, s, s), float32.
    marker_ids
        (n, m), int64.
    views
        Views per sample.
    """

    pixels: torch.Tensor
    marker_ids: torch.Tensor
    views: int
