"""Pictures of tokens: the right colours in the right places, comparable from step to step."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kronos_pretrain.evaluate.features import panel_of
from kronos_pretrain.evaluate.tokens import EDGE, GAP, chosen, components, false_color, pictures
from kronos_sc.models import Features


@pytest.fixture
def tokens():
    """Forty tokens in eight dimensions, and intensities that grow with the first axis."""
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(40, 8, generator=rng) * torch.tensor([9.0, 5, 3, 1, 1, 0.5, 0.5, 0.5])
    return x, x[:, 0] + 0.3 * x[:, 1] + 0.2 * x[:, 2]


def test_components_are_the_axes_of_largest_spread(tokens):
    x, intensity = tokens
    result = components(x, intensity)
    centred = (x - x.mean(0)).double().numpy()
    values, axes = np.linalg.eigh(centred.T @ centred)
    for i, axis in enumerate(axes.T[np.argsort(-values)][:3]):
        score = centred @ axis
        score *= np.sign(score @ intensity.numpy())
        low, high = np.quantile(score, [0.02, 0.98])
        np.testing.assert_allclose(result[:, i].numpy(), np.clip((score - low) / (high - low), 0, 1), atol=1e-4)


def test_signs_and_rotations_of_the_network_do_not_show(tokens):
    x, intensity = tokens
    turn, _ = torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(1)))
    for other in (-x, x @ turn, 3 * x + 7):
        torch.testing.assert_close(components(other, intensity), components(x, intensity), atol=1e-4, rtol=0)


def test_tokens_without_spread_are_grey():
    assert (components(torch.ones(12, 8), torch.arange(12.0)) == 0.5).all()
    line = torch.arange(12.0)[:, None] * torch.ones(8)
    result = components(line, torch.arange(12.0))
    assert result[:, 0].tolist() == sorted(result[:, 0].tolist())
    assert result[0, 0] == 0
    assert (result[:, 1:] == 0.5).all()


def test_false_color_by_hand():
    pixels = np.zeros((1, 4, 16, 16), np.float32)
    pixels[0, 0, :8] = 1  # nuclei
    pixels[0, 2, :, :8] = 5  # varies most
    pixels[0, 3, 8:] = 2
    picture = false_color(pixels, np.array([True, False, False, False]))
    assert picture[0, 0, 0].tolist() == [1, 0, 1]
    assert picture[0, 15, 15].tolist() == [0, 1, 0]
    assert false_color(pixels[:, :1], np.array([True]))[0, 0, 0].tolist() == [0, 0, 1]  # a nuclear stain alone
    assert false_color(pixels[:, 2:3], np.array([False]))[0, 0, 0].tolist() == [1, 0, 0]


def test_patches_to_draw_are_tested_ones_of_every_class(labelled):
    one = labelled()
    rows = chosen(one, 5)
    assert set(rows) <= set(one.part("test").tolist())
    assert one.labels[rows].tolist() == ["B", "NK", "T", "B", "NK"]
    assert len(chosen(one, 100)) == 12


def test_the_picture_lays_patches_beside_their_tokens(labelled, vocabulary):
    one = labelled()
    panel = panel_of(one, vocabulary)

    def encode(pixels, ids):
        """Tokens that point one way in the upper half and another way in the lower, more with more intensity."""
        b, m = ids.shape
        tokens = torch.zeros(b, m, 2, 2, 6)
        tokens[:, :, 0, :, 0] = 4
        tokens[..., 1] = torch.nn.functional.adaptive_avg_pool2d(pixels, 2)
        return Features(tokens.sum((1, 2, 3)), tokens.mean((2, 3)), tokens)

    picture = pictures(encode, one, panel, count=3)
    assert picture.dtype == np.uint8
    assert picture.shape == (2 * EDGE + 3 * GAP, 2 * (2 * EDGE + GAP) + 3 * GAP, 3)
    tile = picture[:EDGE, EDGE + GAP : 2 * EDGE + GAP]
    corners = tile.reshape(2, EDGE // 2, 2, EDGE // 2, 3)
    assert (corners == corners[:, :1, :, :1]).all()  # four tokens, each one colour
    assert abs(int(tile[0, 0, 0]) - int(tile[-1, 0, 0])) > 200  # halves differ along the first component
    assert (picture[EDGE + 3 * GAP :, -2 * EDGE :] == 255).all()  # no fourth patch
    assert (picture == pictures(encode, one, panel, count=3)).all()
