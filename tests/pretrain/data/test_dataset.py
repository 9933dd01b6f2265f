"""Samples: cut where they were drawn, normalised by the marker's statistics."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from kronos_pretrain.config.schema import Data
from kronos_pretrain.data.corpus import Corpus
from kronos_pretrain.data.dataset import Patches
from kronos_pretrain.data.sampler import Sampler
from kronos_pretrain.data.store import ArraySource


@pytest.fixture(scope="module")
def corpus(written) -> Corpus:
    return Corpus.open(written.folder)


@pytest.mark.parametrize("shared", [True, False])
def test_a_sample_is_the_z_score_of_what_was_drawn(corpus, written, shared) -> None:
    data = Data(patch=24, shared_markers=shared)
    patches = Patches(corpus, data, seed=4)
    sampler = Sampler(corpus, data, seed=4)
    seen = set()
    for index in range(40):
        image, row, column, planes = sampler.draw(2, index)
        name = corpus.images[image].name
        seen.add(name)
        sample = patches[2, index]
        batch = patches.read([(2, index)])
        assert (sample.index, sample.pixels.dtype, sample.marker_ids.dtype) == (index, torch.float32, torch.int64)
        assert sample.pixels.shape == (1 if shared else 2, 3, 24, 24)
        for s, plane_set in enumerate(planes):
            for m, plane in enumerate(plane_set):
                marker = corpus.vocabulary.get_by_id(int(sample.marker_ids[s, m]))
                assert marker.id == corpus.images[image].markers[plane]
                assert batch.zero[0, s, m] == pytest.approx(-marker.mean / marker.std)
                scaled = written.pixels[name][plane, row : row + 24, column : column + 24] / np.float64(
                    corpus.images[image].scale
                )
                np.testing.assert_allclose(
                    sample.pixels[s, m], (scaled - marker.mean) / marker.std, rtol=1e-5, atol=1e-6
                )
        assert corpus.vocabulary.get_by_id(int(sample.marker_ids[0, 0])).role == "nuclear"
    assert seen == {"one", "two", "three"}


def test_a_batch_is_its_samples(corpus) -> None:
    patches = Patches(corpus, Data(patch=32), seed=4)
    keys = [(5, 3), (5, 9), (5, 4)]
    batch = patches.read(keys)
    assert (batch.step, batch.index.tolist()) == (5, [3, 9, 4])
    for i, key in enumerate(keys):
        assert torch.equal(batch.pixels[i], patches[key].pixels)
        assert torch.equal(batch.marker_ids[i], patches[key].marker_ids)


def test_planes_of_both_sets_are_read_once(corpus, monkeypatch) -> None:
    patches = Patches(corpus, Data(patch=32, shared_markers=False), seed=4)
    reads = []
    for source in {type(image.pixels) for image in corpus.images}:
        read = source.read
        monkeypatch.setattr(
            source,
            "read",
            lambda self, planes, *rest, read=read: reads.append(list(planes)) or read(self, planes, *rest),
        )
    for index in range(10):
        patches[0, index]
    assert len(reads) == 10
    assert all(len(set(planes)) == len(planes) for planes in reads)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_pixels_that_are_no_numbers_are_named(corpus, written, value) -> None:
    bad = written.pixels["three"].copy()
    bad[2, 20, 35] = value  # CD8; in every patch that holds it
    images = [replace(corpus.images[2], pixels=ArraySource(bad), origins=np.array([[8, 16]], np.int32))]
    patches = Patches(Corpus(images, corpus.vocabulary, 32), Data(patch=32, markers=(4, 4)), seed=0)
    with pytest.raises(
        ValueError, match="Image 'three' has NaN or infinite pixels in marker 'CD8', in the patch at row 8, column 16"
    ):
        patches[0, 0]
