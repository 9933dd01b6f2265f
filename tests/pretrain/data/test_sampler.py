"""Two-stage sampling: frequencies, and a draw that depends on its numbers alone."""

from __future__ import annotations

import numpy as np
import pytest

from kronos_pretrain.config.schema import Data
from kronos_pretrain.data.corpus import Corpus, Image
from kronos_pretrain.data.sampler import Sampler
from kronos_pretrain.data.store import ArraySource

MARKERS = np.array([4, 6, 222, 270, 206, 264])


def _image(name: str, subset: str, count: int, *, planes: int = 6, size: int = 64, nuclear: int = 2) -> Image:
    origins = np.stack([np.arange(count) % (size - 16 + 1), np.arange(count) // (size - 16 + 1)], 1).astype(np.int32)
    chosen = MARKERS[:planes] if nuclear == 2 else MARKERS[[0, *range(2, planes + 1)]]
    pixels = ArraySource(np.zeros((planes, size, size), np.uint8))
    return Image(name, subset, (size, size), 255.0, chosen, np.arange(nuclear), origins, pixels)


@pytest.fixture(scope="module")
def corpus(some_vocabulary) -> Corpus:
    """A large subset of two images, and a small one of which one image has few markers."""
    images = [
        _image("a1", "a", 300),
        _image("a2", "a", 100, planes=5),
        _image("b1", "b", 4),
        _image("b2", "b", 6, planes=3, nuclear=1),
        _image("c1", "c", 50, planes=3, nuclear=1),
    ]
    return Corpus(images, some_vocabulary(), 16)


def _chi_square(counts: np.ndarray, expected: np.ndarray) -> bool:
    """Whether counts fit at the 0.1 % level."""
    from scipy.stats import chisquare

    return chisquare(counts, expected / expected.sum() * counts.sum()).pvalue > 1e-3


def test_subsets_are_uniform_and_patches_uniform_within(corpus) -> None:
    sampler = Sampler(corpus, Data(patch=16), seed=3)
    draws = [sampler.draw(step, index) for step in range(60) for index in range(100)]
    images = np.bincount([d.image for d in draws], minlength=5)
    assert _chi_square(images, np.array([3 / 4 / 3, 1 / 4 / 3, 4 / 10 / 3, 6 / 10 / 3, 1 / 3]))
    corners = np.array([(d.row, d.column) for d in draws if d.image == 4])
    _, counts = np.unique(corners, axis=0, return_counts=True)
    assert len(counts) == 50
    assert _chi_square(counts, np.ones(50))


def test_markers_are_one_nuclear_stain_and_others_all_alike(corpus) -> None:
    sampler = Sampler(corpus, Data(patch=16), seed=3)
    planes = np.concatenate([d.planes for i in range(6000) if (d := sampler.draw(0, i)).image == 0])
    assert _chi_square(np.bincount(planes[:, 0]), np.ones(2))
    assert _chi_square(np.bincount(planes[:, 1:].ravel())[2:], np.ones(4))
    assert planes[:, 1:].min() == 2
    assert (planes[:, 1] != planes[:, 2]).all()


def test_a_draw_depends_on_its_numbers_alone(corpus) -> None:
    def numbers(seed: int, step: int, index: int) -> tuple:
        draw = Sampler(corpus, Data(patch=16), seed=seed).draw(step, index)
        return (*draw[:3], draw.planes.tolist())

    sampler = Sampler(corpus, Data(patch=16), seed=5)
    late_first = [sampler.draw(7, index) for index in (9, 3)]
    assert (*late_first[1][:3], late_first[1].planes.tolist()) == numbers(5, 7, 3)
    different = {str(numbers(*where)) for where in ((5, 7, 3), (6, 7, 3), (5, 8, 3), (5, 7, 4), (5, 3, 7))}
    assert len(different) == 5


def test_a_whole_step_has_as_many_markers_and_images_with_fewer_stay_out(corpus) -> None:
    sampler = Sampler(corpus, Data(patch=16, markers=(2, 5)), seed=1)
    seen = set()
    for step in range(40):
        count = sampler.markers_at(step)
        draws = [sampler.draw(step, index) for index in range(30)]
        assert {d.planes.shape for d in draws} == {(1, count)}
        images = {d.image for d in draws}
        assert images <= {2: {0, 1, 2, 3, 4}, 3: {0, 1, 2, 3, 4}, 4: {0, 1, 2}, 5: {0, 2}}[count]
        seen |= {(count, image) for image in images}
    assert {count for count, _ in seen} == {2, 3, 4, 5}
    assert {(4, 1), (5, 2), (5, 0)} <= seen


def test_subsets_that_drop_out_leave_the_rest_uniform(corpus) -> None:
    sampler = Sampler(corpus, Data(patch=16, markers=(5, 5)), seed=1)
    images = np.bincount([sampler.draw(0, index).image for index in range(3000)], minlength=5)
    assert images[[1, 3, 4]].tolist() == [0, 0, 0]
    assert _chi_square(images[[0, 2]], np.ones(2))


@pytest.mark.row("`data.markers` larger than any image has; `data.patch` larger than the corpus's")
def test_too_many_markers_are_refused_before_anything_is_drawn(corpus) -> None:
    with pytest.raises(
        ValueError,
        match=r"samples of 6 markers; the images of this corpus have at most 5 \(one nuclear stain and 4 others\)",
    ):
        Sampler(corpus, Data(patch=16, markers=(3, 6)), seed=0)
    with pytest.raises(ValueError, match="is no range"):
        Sampler(corpus, Data(patch=16, markers=(4, 3)), seed=0)
    for markers in ((3, 5), (3, 3)):  # "at most 5", "(3, 3), say"
        Sampler(corpus, Data(patch=16, markers=markers), seed=0)


def test_smaller_samples_lie_anywhere_in_a_patch(corpus) -> None:
    sampler = Sampler(corpus, Data(patch=12), seed=2)
    small = [sampler.draw(0, index) for index in range(2000)]
    whole = [Sampler(corpus, Data(patch=16), seed=2).draw(0, index) for index in range(0, 2000, 100)]
    shifts = np.array([(d.row, d.column) for d in small[::100]]) - np.array([(d.row, d.column) for d in whole])
    assert shifts.min() >= 0
    assert shifts.max() <= 4
    only = [d for d in small if d.image == 2]  # four origins in the first four rows
    assert {d.row for d in only} == set(range(8))
    with pytest.raises(ValueError, match=r"data.patch=17 is larger than the patches of the corpus \(16 px\)"):
        Sampler(corpus, Data(patch=17), seed=0)


def test_two_sets_of_markers_share_the_nuclear_stain(corpus) -> None:
    sampler = Sampler(corpus, Data(patch=16, shared_markers=False), seed=2)
    planes = np.stack([sampler.draw(0, index).planes for index in range(500)])
    assert planes.shape == (500, 2, 3)
    assert (planes[:, 0, 0] == planes[:, 1, 0]).all()
    assert (planes[:, 0, 1:] != planes[:, 1, 1:]).any(1).mean() > 0.3
    shared = Sampler(corpus, Data(patch=16), seed=2)
    np.testing.assert_array_equal(planes[:, :1], np.stack([shared.draw(0, index).planes for index in range(500)]))
