"""Simulated tissue as a corpus."""

from __future__ import annotations

import numpy as np
import pytest

from kronos_pretrain.config.schema import Data, Simulate
from kronos_pretrain.data.dataset import Patches
from kronos_pretrain.data.simulated import simulate


@pytest.fixture(scope="module")
def corpus():
    return simulate(Simulate(images=5, size=128, seed=3), 64)


def test_it_has_images_subsets_and_overlapping_patches(corpus) -> None:
    assert len(corpus.images) == 5
    assert len(corpus.subsets) > 2
    assert all(name.startswith("simulated ") for name in corpus.subsets)
    image = corpus.images[0]
    assert image.shape == (128, 128)
    assert image.origins.tolist() == [[y, x] for y in (0, 32, 64) for x in (0, 32, 64)]
    assert corpus.vocabulary.get_by_id(int(image.markers[image.nuclear[0]])).name == "DAPI"
    assert len(image.others) == 19


def test_statistics_are_those_of_the_pixels(corpus) -> None:
    for plane, number in enumerate(corpus.images[0].markers):
        values = np.stack([image.pixels.read([plane], 0, 0, 128) for image in corpus.images]) / 65535
        marker = corpus.vocabulary.get_by_id(int(number))
        assert marker.mean == pytest.approx(values.mean(), rel=1e-9)
        assert marker.std == pytest.approx(values.std(), rel=1e-9)


def test_the_same_settings_give_the_same_corpus(corpus) -> None:
    again = simulate(Simulate(images=5, size=128, seed=3), 64)
    other = simulate(Simulate(images=5, size=128, seed=4), 64)
    first = corpus.images[4].pixels.read([0], 0, 0, 128)
    np.testing.assert_array_equal(first, again.images[4].pixels.read([0], 0, 0, 128))
    assert (first != other.images[4].pixels.read([0], 0, 0, 128)).any()
    assert again.vocabulary == corpus.vocabulary


def test_samples_are_normalised(corpus) -> None:
    pixels = Patches(corpus, Data(patch=64), seed=0).read([(0, i) for i in range(64)]).pixels
    assert abs(float(pixels.mean())) < 0.3
    assert 0.6 < float(pixels.std()) < 1.5


def test_one_image_will_do() -> None:
    assert len(simulate(Simulate(images=1, size=64), 64).images) == 1


@pytest.mark.row("simulated images smaller than a patch")
def test_images_smaller_than_a_patch_are_refused() -> None:
    with pytest.raises(ValueError, match=r"data.simulate.size=128 is smaller than a patch \(data.patch=256\)"):
        simulate(Simulate(images=1, size=128), 256)
    simulate(Simulate(images=1, size=512), 256)
