"""The channel-agnostic network by itself; its numbers are checked in `encoders/test_ca_mae.py`, by files of weights."""

import pytest
import torch

from kronos_sc.models.nets.ca_mae import ChannelViT


def test_default_shape_is_that_of_the_paper():
    with torch.device("meta"):
        net = ChannelViT()
    assert sum(value.numel() for value in net.parameters()) == pytest.approx(21.5e6, rel=0.01)
    assert net.blocks[0].in_proj.weight.shape == (1536 + 3 * 384, 384)


def test_window_that_is_no_multiple():
    with pytest.raises(ValueError, match="multiples of 16"):
        ChannelViT(dim=24, depth=1, heads=3)(torch.zeros(1, 2, 30, 30))
