"""Which patch and which markers a sample is: a pure function of seed, step and the sample's number in the step."""

# Shapes: t sets of markers, m markers.
from __future__ import annotations

from typing import NamedTuple

import numpy as np

from kronos_pretrain.config.schema import Data
from kronos_pretrain.data.corpus import Corpus
from kronos_pretrain.rng import RngStream, generator
from kronos_sc._core.checks import positive_integer

WHOLE_STEP = 2**62  # beyond the number of any sample: what is drawn once for all samples of a step


class Draw(NamedTuple):
    """Where a sample is cut.

    Parameters
    ----------
    image
        Position in the corpus.
    row, column
        First pixel.
    planes
        Planes of the image (t, m), int64, a nuclear stain first.
    """

    image: int
    row: int
    column: int
    planes: np.ndarray


class _Subset(NamedTuple):
    """The images of a subset that have enough markers, and the number of origins up to and including each."""

    images: np.ndarray
    ends: np.ndarray


class Sampler:
    """Draws samples in two stages (paper, Methods): a subset uniformly, then a patch uniformly among all of its images.

    Small subsets are thus seen as often as large ones, and within a subset an image counts by its patches. Then come
    markers: one of the image's nuclear stains, and others without repetition. All samples of a step have the same
    number of markers, drawn from `data.markers`; at that step, images with fewer are left out, and subsets without an
    image drop out.

    Without `data.shared_markers` a sample has two sets of markers, with the same nuclear stain and the others drawn
    independently, so that the sets may overlap.

    Parameters
    ----------
    corpus
        Images.
    data
        Settings.
    seed
        Of the run.

    Raises
    ------
    ValueError
        If `data.patch` is larger than the patch of the corpus, or no image has as many markers as `data.markers` may
        ask for.
    """

    def __init__(self, corpus: Corpus, data: Data, *, seed: int) -> None:
        self._corpus = corpus
        self._data = data
        self._seed = seed
        if positive_integer(data.patch, name="data.patch") > corpus.patch:
            msg = (
                f"data.patch={data.patch} is larger than the patches of the corpus ({corpus.patch} px). Set "
                f"data.patch={corpus.patch} or less."
            )
            raise ValueError(msg)
        low, high = data.markers
        if not 1 <= low <= high:
            msg = (
                f"data.markers={data.markers!r} is no range; it takes the least and the largest number of markers, (3, "
                "3), say."
            )
            raise ValueError(msg)
        self._eligible = {count: self._with_markers(count) for count in range(low, high + 1)}

    @property
    def sets(self) -> int:
        """Sets of markers of a sample."""
        return 1 if self._data.shared_markers else 2

    @property
    def most_markers(self) -> int:
        """Largest number of markers of a step."""
        return self._data.markers[1]

    def markers_at(self, step: int) -> int:
        """Return the number of markers of every sample of a step."""
        low, high = self._data.markers
        return int(generator(self._seed, RngStream.SAMPLE, step=step, index=WHOLE_STEP).integers(low, high + 1))

    def draw(self, step: int, index: int) -> Draw:
        """Return sample number `index` of the whole batch of a step."""
        count = self.markers_at(step)
        rng = generator(self._seed, RngStream.SAMPLE, step=step, index=index)

        # a subset, one of all its patches, and a window anywhere inside that
        subsets = self._eligible[count]
        subset = subsets[rng.integers(len(subsets))]
        patch = int(rng.integers(subset.ends[-1]))
        position = int(np.searchsorted(subset.ends, patch, side="right"))
        number = int(subset.images[position])
        image = self._corpus.images[number]
        before = int(subset.ends[position - 1]) if position else 0
        shift = rng.integers(0, self._corpus.patch - self._data.patch, size=2, endpoint=True)
        row, column = (image.origins[patch - before] + shift).tolist()

        nuclear = rng.choice(image.nuclear)
        planes = [[nuclear, *rng.choice(image.others, count - 1, replace=False)] for _ in range(self.sets)]
        return Draw(number, row, column, np.array(planes, np.int64))

    def _with_markers(self, count: int) -> list[_Subset]:
        """Return the subsets that are left when every image has a nuclear stain and `count` − 1 others."""
        images = self._corpus.images
        subsets = []
        for members in self._corpus.subsets.values():
            enough = np.array([i for i in members if len(images[i].others) >= count - 1], np.int64)
            if len(enough):
                ends = np.cumsum([len(images[i].origins) for i in enough], dtype=np.int64)
                subsets.append(_Subset(enough, ends))
        if not subsets:
            most = max(len(image.others) for image in images) + 1
            msg = (
                f"data.markers={tuple(self._data.markers)} asks for samples of {count} markers; the images of this "
                f"corpus have at most {most} (one nuclear stain and {most - 1} others). Set data.markers to at most "
                f"{most}."
            )
            raise ValueError(msg)
        return subsets
