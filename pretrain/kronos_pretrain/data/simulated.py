"""Simulated tissue as a corpus: something to train on without a download."""

from __future__ import annotations

import numpy as np

from kronos_pretrain.config.schema import Simulate
from kronos_pretrain.data.corpus import Corpus, Image
from kronos_pretrain.data.store import ArraySource
from kronos_sc._core.checks import positive_integer
from kronos_sc._core.moments import Moments
from kronos_sc.markers import Marker, Vocabulary, match, paper_vocabulary

DONORS = BATCHES = 4
SCALE = 65535.0


def simulate(settings: Simulate, patch: int) -> Corpus:
    """Simulate images and return them as a corpus in memory; needs `kronos_sc` with all of its dependencies.

    The images go round four donors and four staining batches; a subset is the images of one group in one batch. Ids are
    those of :func:`kronos_sc.markers.paper_vocabulary`; mean and standard deviation are those of the pixels. The same
    settings give the same corpus.

    Parameters
    ----------
    settings
        How many images, how large, and the seed.
    patch
        Edge of a patch in pixels; patches overlap by half.
    """
    count = positive_integer(settings.images, name="data.simulate.images")
    if settings.size < patch:
        msg = (
            f"data.simulate.size={settings.size} is smaller than a patch (data.patch={patch}). Set "
            f"data.simulate.size={2 * patch}, or a smaller data.patch."
        )
        raise ValueError(msg)
    from kronos_sc import datasets

    shape = (settings.size, settings.size)
    tissue = datasets.tissue(
        shape=shape, n_images=count, n_donors=min(DONORS, count), n_batches=min(BATCHES, count), rng=settings.seed
    )
    obs = tissue.tables["table"].obs.drop_duplicates("element").set_index("element")
    names = list(tissue.images)
    of_cells = [obs.loc[name.replace("image", "cells")] for name in names]
    subsets = [f"simulated {cells['group']} · {cells['batch']}" for cells in of_cells]
    pixels = [np.asarray(tissue.images[name].data) for name in names]

    channels = [str(channel) for channel in tissue.images[names[0]].coords["c"].to_numpy()]
    vocabulary = _vocabulary(channels, pixels)
    nuclear = np.array([plane for plane, marker in enumerate(vocabulary) if marker.role == "nuclear"], np.int64)
    ids = np.array([marker.id for marker in vocabulary], np.int64)
    origins = _origins(settings.size, patch)
    images = [
        Image(name, subset, shape, SCALE, ids, nuclear, origins, ArraySource(planes))
        for name, subset, planes in zip(names, subsets, pixels, strict=True)
    ]
    return Corpus(images, vocabulary, patch)


def _vocabulary(channels: list[str], pixels: list[np.ndarray]) -> Vocabulary:
    """Return the markers of the channels, in their order, with the statistics of their pixels."""
    panel = match(channels, paper_vocabulary())
    markers = []
    for plane, row in enumerate(panel.itertuples()):
        moments = Moments()
        for image in pixels:
            of_image = Moments()
            of_image.add(image[plane])
            moments.merge(of_image, scale=SCALE)
        markers.append(Marker(row.marker, int(row.id), moments.mean, moments.std, row.role))
    return Vocabulary("simulated tissue", tuple(markers))


def _origins(size: int, patch: int) -> np.ndarray:
    """Return the corners of all patches that lie inside, overlapping by half."""
    corners = np.arange(0, size - patch + 1, max(patch // 2, 1), dtype=np.int32)
    return np.stack(np.meshgrid(corners, corners, indexing="ij"), -1).reshape(-1, 2)
