"""Views: each crop against torch's interpolation of its box, and independent of how the step is split."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from kronos_pretrain.config.schema import Config, Views
from kronos_pretrain.data import views as module
from kronos_pretrain.data.batch import Samples
from kronos_pretrain.data.views import boxes, views
from kronos_pretrain.rng import RngStream, generator

CONFIG = Config(views=Views(global_size=32, local_size=16, local_count=4))


def _samples(b: int = 3, *, sets: int = 1, markers: int = 2, size: int = 48, step: int = 5) -> Samples:
    pixels = torch.randn(b, sets, markers, size, size, generator=torch.Generator().manual_seed(0))
    ids = torch.arange(b * sets * markers).view(b, sets, markers)
    return Samples(step, torch.arange(b) + 10, pixels, ids)


def _boxes(samples: Samples, config: Config, scale: tuple[float, float]) -> module.Boxes:
    """Boxes of all views of `scale`, from the documented source of chance."""
    count = module.GLOBAL_VIEWS + config.views.local_count
    draws = [generator(0, RngStream.VIEWS, step=samples.step, index=int(i)).random((count, 25)) for i in samples.index]
    c = config.views
    size = tuple(samples.pixels.shape[-2:])
    return boxes(np.stack(draws, 1), size, scale=scale, aspect=c.aspect, flip=c.flip, rotate=c.rotate)


def _reference(image: torch.Tensor, placed: module.Boxes, at: tuple[int, int], size: int) -> torch.Tensor:
    top, left, h, w, flip_rows, flip_columns, turns = (int(a[at]) for a in placed)
    crop = F.interpolate(image[None, :, top : top + h, left : left + w], (size, size), mode="bicubic", antialias=True)[
        0
    ]
    crop = crop.flip(-2) if flip_rows else crop
    crop = crop.flip(-1) if flip_columns else crop
    return torch.rot90(crop, turns, (-2, -1))


@pytest.mark.parametrize("sets", [1, 2])
def test_every_crop_is_its_box_resized_mirrored_and_turned(sets: int) -> None:
    samples = _samples(sets=sets)
    whole, local = views(samples, CONFIG, seed=0)
    c = CONFIG.views
    seen = set()
    for crops, first, scale, size in ((whole, 0, c.global_scale, 32), (local, 2, c.local_scale, 16)):
        placed = _boxes(samples, CONFIG, scale)
        for v in range(crops.views):
            for i in range(3):
                n = v * 3 + i
                chosen = v % sets
                expected = _reference(samples.pixels[i, chosen], placed, (first + v, i), size)
                torch.testing.assert_close(crops.pixels[n], expected, atol=1e-5, rtol=0)
                assert crops.marker_ids[n].tolist() == samples.marker_ids[i, chosen].tolist()
                seen.add((bool(placed.flip_rows[first + v, i]), int(placed.turns[first + v, i])))
    assert len(seen) > 5, "too few orientations drawn to test anything"


def test_shapes() -> None:
    whole, local = views(_samples(3, markers=5), CONFIG, seed=0)
    assert (whole.pixels.shape, whole.marker_ids.shape, whole.views) == ((6, 5, 32, 32), (6, 5), 2)
    assert (local.pixels.shape, local.marker_ids.shape, local.views) == ((12, 5, 16, 16), (12, 5), 4)
    assert whole.pixels.dtype == torch.float32
    assert whole.pixels.is_contiguous()


@pytest.mark.parametrize("sets", [1, 2])
def test_no_local_views(sets: int) -> None:
    _, local = views(_samples(sets=sets), replace(CONFIG, views=replace(CONFIG.views, local_count=0)), seed=0)
    assert (local.pixels.shape, local.marker_ids.shape, local.views) == ((0, 2, 16, 16), (0, 2), 0)


def test_a_whole_sample_at_its_own_size_is_copied() -> None:
    plain = Views(
        global_size=48,
        local_size=16,
        local_count=1,
        global_scale=(1.0, 1.0),
        aspect=(1.0, 1.0),
        flip=False,
        rotate=False,
    )
    samples = _samples()
    whole, _ = views(samples, Config(views=plain), seed=0)
    assert torch.equal(whole.pixels[:3], samples.pixels[:, 0])


def test_mirrors_and_turns_are_exact() -> None:
    turning = Views(global_size=48, local_size=16, local_count=1, global_scale=(1.0, 1.0), aspect=(1.0, 1.0))
    samples = _samples(20, markers=1)
    config = Config(views=turning)
    whole, _ = views(samples, config, seed=0)
    placed = _boxes(samples, config, (1.0, 1.0))
    for n in range(40):
        image = samples.pixels[n % 20, 0]
        turned = image.flip(-2) if placed.flip_rows[divmod(n, 20)] else image
        turned = turned.flip(-1) if placed.flip_columns[divmod(n, 20)] else turned
        assert torch.equal(whole.pixels[n], torch.rot90(turned, int(placed.turns[divmod(n, 20)]), (-2, -1)))


def test_splitting_the_step_changes_nothing() -> None:
    samples = _samples(4)
    whole, local = views(samples, CONFIG, seed=0)
    part = Samples(samples.step, samples.index[2:3], samples.pixels[2:3], samples.marker_ids[2:3])
    one_whole, one_local = views(part, CONFIG, seed=0)
    torch.testing.assert_close(one_whole.pixels, whole.pixels[2::4], atol=1e-5, rtol=0)
    torch.testing.assert_close(one_local.pixels, local.pixels[2::4], atol=1e-5, rtol=0)


@pytest.mark.parametrize(("changed", "seed"), [({"step": 6}, 0), ({}, 1)])
def test_other_steps_and_seeds_give_other_views(changed: dict, seed: int) -> None:
    samples = _samples()
    assert not torch.equal(
        views(samples, CONFIG, seed=0)[0].pixels, views(samples._replace(**changed), CONFIG, seed=seed)[0].pixels
    )


def test_boxes_keep_to_scale_aspect_and_sample() -> None:
    draws = np.random.default_rng(0).random((4000, 25))
    placed = boxes(draws, (256, 256), scale=(0.16, 0.48), aspect=(0.75, 4 / 3), flip=True, rotate=True)
    share = placed.height * placed.width / 256**2
    assert 0.155 < share.min() < 0.17
    assert 0.47 < share.max() < 0.485
    assert share.mean() == pytest.approx(0.32, abs=0.005)
    aspect = np.log(placed.width / placed.height)
    assert abs(aspect).max() < np.log(4 / 3) + 0.02
    assert aspect.std() == pytest.approx(np.log(4 / 3) / np.sqrt(3), rel=0.03)
    assert placed.top.min() == placed.left.min() == 0
    assert (placed.top + placed.height).max() == (placed.left + placed.width).max() == 256
    assert np.bincount(placed.turns).tolist() == pytest.approx([1000] * 4, rel=0.1)
    assert placed.flip_rows.mean() == pytest.approx(0.5, abs=0.05)


def test_the_first_proposal_that_fits_is_taken() -> None:
    draws = np.full(25, 0.5)
    draws[:10] = 1.0
    draws[10:20] = 0.5
    draws[10] = 1.0  # a whole sample of aspect 4/3 is wider than the sample; the next proposal is square
    placed = boxes(draws, (60, 60), scale=(0.2, 1.0), aspect=(0.75, 4 / 3), flip=False, rotate=False)
    assert (int(placed.top), int(placed.left), int(placed.height), int(placed.width)) == (0, 0, 60, 60)


@pytest.mark.parametrize(
    ("extent", "box"), [((100, 40), (23, 0, 53, 40)), ((40, 100), (0, 23, 40, 53)), ((50, 60), (0, 0, 50, 60))]
)
def test_if_nothing_fits_the_largest_centred_crop_is_taken(extent: tuple[int, int], box: tuple[int, ...]) -> None:
    draws = np.full(25, 0.3)
    draws[10:20] = 1.0 if extent[0] >= extent[1] else 0.0
    draws[:10] = 1.0
    if extent == (50, 60):
        draws[10:20] = 0.0
    placed = boxes(draws, extent, scale=(1.0, 1.0), aspect=(0.75, 4 / 3), flip=False, rotate=False)
    assert (int(placed.top), int(placed.left), int(placed.height), int(placed.width)) == box
