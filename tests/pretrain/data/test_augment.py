"""Changes of intensity: by hand, switched one at a time, and independent of how the step is split."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from kronos_pretrain.config.schema import Augment, Config, Views
from kronos_pretrain.data import augment
from kronos_pretrain.data.batch import Crops, Samples
from kronos_pretrain.data.views import views

ALL = Augment(gain=0.3, offset=0.2, blur=1.5, noise=0.5, marker_dropout=0.4)
PLAIN = Config(views=Views(global_size=32, local_size=16, local_count=4))


def _samples(b: int = 3, *, sets: int = 2, zero: float = -0.7) -> Samples:
    pixels = torch.randn(b, sets, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    ids = torch.arange(3).expand(b, sets, 3)
    return Samples(2, torch.arange(b), pixels, ids, zero=torch.full((b, sets, 3), zero) - torch.arange(3))


def _views(samples: Samples, **changes: float) -> tuple[Crops, Crops]:
    return views(samples, replace(PLAIN, augment=Augment(**changes)), seed=0)


def test_nothing_is_on_by_default() -> None:
    assert not augment.used(Augment())
    assert all(augment.used(Augment(**{name: 0.1})) for name in ("gain", "offset", "blur", "noise", "marker_dropout"))


def test_gain_by_hand() -> None:
    """Zero signal stays, one unit above it becomes exp(0.3 · draw); view 1 has the second set of markers."""
    zero = torch.tensor([[[-1.0], [-2.0]]])
    pixels = torch.tensor([-1.0, 0.0, -2.0, -1.0]).view(2, 1, 1, 1, 2)
    gain = torch.tensor([[[1.5]], [[0.5]]])
    out = augment.apply(pixels, augment.Changes(gain, None, None, None, None, None), zero)
    torch.testing.assert_close(out.flatten(), torch.tensor([-1.0, 0.5, -2.0, -1.5]))


def test_gain_factors_are_per_view_and_marker() -> None:
    samples = _samples()
    before = _views(samples)[0].pixels
    after = _views(samples, gain=0.3)[0].pixels
    zero = samples.zero[:, 0].repeat(2, 1)[..., None, None]
    factor = ((after - zero) / (before - zero)).flatten(2).median(-1).values
    torch.testing.assert_close(after, zero + factor[..., None, None] * (before - zero), atol=1e-4, rtol=1e-4)
    assert len(factor.unique()) == factor.numel()


@pytest.mark.row("`augment.gain` with samples that carry no zero signal (own loader)")
def test_gain_needs_the_zero_signal() -> None:
    with pytest.raises(ValueError, match=r"fill Samples\.zero, or set augment\.gain=0"):
        _views(_samples()._replace(zero=None), gain=0.1)
    _views(_samples()._replace(zero=None), gain=0)


def test_offsets_are_constants() -> None:
    samples = _samples()
    shift = _views(samples, offset=0.2)[0].pixels - _views(samples)[0].pixels
    assert shift.flatten(2).std(-1).max() < 1e-5
    assert 0.05 < shift.flatten(2).mean(-1).std() < 0.4


def test_blur_equals_a_convolution_with_renormalised_edges() -> None:
    samples = _samples(b=1, sets=1)
    plain = _views(samples)[0].pixels
    blurred = _views(samples, blur=1.5)[0].pixels
    rng_share = augment.stack([_draws(samples)], Augment(blur=1.5), device=torch.device("cpu")).sigma[:2, 0]
    place = torch.arange(32.0)
    for view, sigma in enumerate(rng_share.tolist()):
        kernel = torch.exp(-((place[:, None] - place) ** 2) / (2 * sigma**2))
        kernel /= kernel.sum(1, keepdim=True)
        torch.testing.assert_close(blurred[view], kernel @ plain[view] @ kernel.T, atol=1e-5, rtol=1e-4)


def _draws(samples: Samples) -> augment.Draws:
    """Numbers of the first sample from the documented source of chance: boxes first, then changes."""
    from kronos_pretrain.rng import RngStream, generator

    rng = generator(0, RngStream.VIEWS, step=samples.step, index=0)
    rng.random((6, 25))
    return augment.draw(rng, views=6, markers=3)


def test_the_nuclear_stain_is_never_dropped() -> None:
    whole, local = _views(_samples(8), marker_dropout=0.5)
    dropped = torch.cat([(c.pixels == 0).flatten(2).all(-1) for c in (whole, local)])
    assert not dropped[:, 0].any()
    assert 0.35 < dropped[:, 1:].float().mean() < 0.65


def test_noise_is_white_and_normal() -> None:
    key = torch.from_numpy(np.random.default_rng(0).integers(2**63, size=(2, 3)))
    noise = augment.white_noise(key, torch.Size([2, 64, 64]))
    assert noise.shape == (2, 3, 2, 64, 64)
    flat = noise.flatten().double()
    assert abs(flat.mean()) < 0.02
    assert flat.std() == pytest.approx(1, abs=0.02)
    assert (flat**4).mean() == pytest.approx(3, abs=0.15)
    for shift in (1, 2, 64):
        assert abs((flat[shift:] * flat[:-shift]).mean()) < 0.02
    assert abs((noise[0, 0] * noise[0, 1]).mean()) < 0.04, "crops share no noise"


def test_noise_matches_splitmix_in_whole_numbers() -> None:
    """Python's integers as reference."""
    import math

    key = 1234567890123456789
    word = 2**64 - 1
    noise = augment.white_noise(torch.tensor([key]), torch.Size([5]))[0]
    for place in range(5):
        z = (key + place * 0x9E3779B97F4A7C15) & word
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & word
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & word
        z ^= z >> 31
        expected = math.sqrt(-2 * math.log(((z >> 40) + 0.5) / 2**24)) * math.cos(2 * math.pi * (z & 0xFFFFFF) / 2**24)
        assert float(noise[place]) == pytest.approx(expected, abs=1e-5)


def test_one_change_does_not_alter_the_numbers_of_another() -> None:
    samples = _samples()
    dropped = _views(samples, marker_dropout=0.5)[0].pixels == 0
    both = _views(samples, marker_dropout=0.5, offset=0.1)[0].pixels == 0
    assert torch.equal(dropped, both)


def test_splitting_the_step_changes_nothing() -> None:
    samples = _samples(4)
    config = replace(PLAIN, augment=ALL)
    whole = views(samples, config, seed=0)
    part = Samples(2, samples.index[1:2], samples.pixels[1:2], samples.marker_ids[1:2], zero=samples.zero[1:2])
    for one, all_ in zip(views(part, config, seed=0), whole, strict=True):
        torch.testing.assert_close(one.pixels, all_.pixels[1::4], atol=1e-5, rtol=0)


def test_samples_bring_the_zero_signal_of_their_markers(written) -> None:
    from kronos_pretrain.config.schema import Data
    from kronos_pretrain.data.corpus import Corpus
    from kronos_pretrain.data.dataset import Patches

    corpus = Corpus.open(written.folder)
    read = Patches(corpus, Data(patch=24, shared_markers=False), seed=0).__getitems__([(0, 0), (0, 1)])
    markers = [corpus.vocabulary.get_by_id(i) for i in read.marker_ids.flatten().tolist()]
    torch.testing.assert_close(read.zero.flatten(), torch.tensor([-m.mean / m.std for m in markers]))
    assert read.zero.shape == (2, 2, 3)
