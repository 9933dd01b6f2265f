"""From where a sample is cut to normalised numbers."""

# Shapes: b samples, t sets of markers, m markers, h × w pixels; u planes read once for all sets.
from __future__ import annotations

import math
from typing import NamedTuple, NoReturn

import numpy as np
import torch
from torch.utils.data import Dataset

from kronos_pretrain.config.schema import Data
from kronos_pretrain.data.batch import Samples
from kronos_pretrain.data.corpus import Corpus, Image
from kronos_pretrain.data.sampler import Draw, Sampler
from kronos_sc._core.checks import listed

Key = tuple[int, int]


class Sample(NamedTuple):
    """One sample.

    Parameters
    ----------
    index
        Its number in the step.
    pixels
        Intensities after the marker's z-score (t, m, h, w), float32.
    marker_ids
        Marker ids (t, m), int64.
    """

    index: int
    pixels: torch.Tensor
    marker_ids: torch.Tensor


class Patches(Dataset):
    """The samples of a run, by (step, number in the step); reading one again gives the same numbers.

    Parameters
    ----------
    corpus
        Images.
    data
        Settings.
    seed
        Of the run.
    """

    def __init__(self, corpus: Corpus, data: Data, *, seed: int) -> None:
        self._sampler = Sampler(corpus, data, seed=seed)
        self._images = corpus.images
        self._size = data.patch
        ids = sorted({int(marker) for image in corpus.images for marker in image.markers})
        self._markers = {marker: corpus.vocabulary.get_by_id(marker) for marker in ids}

    @property
    def most_values(self) -> int:
        """Numbers in the largest sample that a step may have."""
        return self._sampler.sets * self._sampler.most_markers * self._size**2

    def __getitem__(self, key: Key) -> Sample:
        batch = self.read([key])
        return Sample(key[1], batch.pixels[0], batch.marker_ids[0])

    def __getitems__(self, keys: list[Key]) -> Samples:
        """Return several samples of one step as a batch; torch's DataLoader calls this by its name."""
        return self.read(keys)

    def blank(self, keys: list[Key], *, pixels: torch.Tensor | None = None, pin: bool = False) -> Samples:
        """Return a batch that has its numbers, and room for the rest.

        Parameters
        ----------
        keys
            Step and number of each sample; all of one step.
        pixels
            Memory for the pixels, float32 in one dimension and at least `len(keys)` × `most_values` long; claimed anew
            by default.
        pin
            Claim pinned memory, from which CUDA copies while it computes.
        """
        step = keys[0][0]
        shape = (len(keys), self._sampler.sets, self._sampler.markers_at(step), self._size, self._size)
        if pixels is None:
            pixels = torch.empty(math.prod(shape), pin_memory=pin)
        return Samples(
            step,
            torch.tensor([index for _, index in keys], dtype=torch.int64),
            pixels[: math.prod(shape)].view(shape),
            torch.empty(shape[:3], dtype=torch.int64, pin_memory=pin),
            zero=torch.empty(shape[:3], pin_memory=pin),
        )

    def read(self, keys: list[Key], into: Samples | None = None) -> Samples:
        """Return several samples of one step as a batch, in the memory of `into` if given (see :meth:`blank`)."""
        batch = self.blank(keys) if into is None else into
        pixels = batch.pixels.numpy()
        marker_ids = batch.marker_ids.numpy()
        zeros = batch.zero.numpy()  # type: ignore[union-attr]
        for (step, index), out_tmhw, ids_tm, zero_tm in zip(keys, pixels, marker_ids, zeros, strict=True):
            self._fill(step, index, out_tmhw, ids_tm, zero_tm)
        return batch

    def _fill(self, step: int, index: int, out_tmhw: np.ndarray, ids_tm: np.ndarray, zero_tm: np.ndarray) -> None:
        # a plane that both sets of markers show is read once
        draw = self._sampler.draw(step, index)
        image = self._images[draw.image]
        planes_u, inverse = np.unique(draw.planes, return_inverse=True)
        raw_uhw = image.pixels.read(planes_u, draw.row, draw.column, self._size)
        if raw_uhw.dtype.kind == "f" and not np.isfinite(raw_uhw).all():
            self._refuse(image, planes_u[~np.isfinite(raw_uhw).all((1, 2))], draw)

        # (raw / scale − mean) / std as one product and one sum, in float32; factors are computed in float64
        ids_tm[:] = image.markers[draw.planes]
        mean_tm = np.array([[self._markers[marker].mean for marker in row] for row in ids_tm.tolist()])
        std_tm = np.array([[self._markers[marker].std for marker in row] for row in ids_tm.tolist()])
        gain_tm = 1 / (image.scale * std_tm)
        offset_tm = -mean_tm / std_tm
        zero_tm[:] = offset_tm
        planes_tm = inverse.reshape(draw.planes.shape)
        for set_mhw, planes_m, gain_m, offset_m in zip(out_tmhw, planes_tm, gain_tm, offset_tm, strict=True):
            for out_hw, plane, gain, offset in zip(set_mhw, planes_m, gain_m, offset_m, strict=True):
                np.multiply(raw_uhw[plane], np.float32(gain), out=out_hw, dtype=np.float32, casting="unsafe")
                out_hw += np.float32(offset)

    def _refuse(self, image: Image, planes: np.ndarray, draw: Draw) -> NoReturn:
        """Say which markers of an image have pixels that are no numbers."""
        names = [self._markers[int(image.markers[plane])].name for plane in planes]
        msg = (
            f"Image {image.name!r} has NaN or infinite pixels in marker {listed(names)}, in the patch at row "
            f"{draw.row}, column {draw.column}; training on them would spoil the weights. Correct the image, or "
            "leave it out, and build the corpus again."
        )
        raise ValueError(msg)
