"""Frozen features: normalised as the model expects, whatever the batches and processes; no weight is touched."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kronos_pretrain.evaluate import features
from kronos_pretrain.evaluate.features import frozen, normalised, panel_of
from kronos_sc.markers import Marker, Vocabulary
from kronos_sc.models import KronosViT, ViTConfig


@pytest.fixture
def net():
    made = KronosViT(ViTConfig(dim=24, depth=2, heads=2, chunks=2, registers=2, grid=2)).eval()
    made.reset(torch.Generator().manual_seed(0))
    return made


def test_pixels_are_scaled_and_standardised_by_name(labelled, vocabulary):
    one = labelled(markers=("CD8a", "DAPI-01", "CD3"))  # other order, other spellings
    panel = panel_of(one, vocabulary)
    assert panel.ids.tolist() == [142, 4, 140]
    assert panel.nuclear.tolist() == [False, True, False]
    pixels, ids = normalised(one, panel, np.array([3, 7]), "cpu")
    raw = one.pixels[[3, 7]].astype(np.float64) / 255
    expected = (raw - np.array([0.3, 0.1, 0.2])[:, None, None]) / np.array([0.4, 0.2, 0.1])[:, None, None]
    np.testing.assert_allclose(pixels.numpy(), expected, atol=1e-6)
    assert pixels.dtype == torch.float32
    assert ids.tolist() == [[142, 4, 140]] * 2


def test_what_the_mask_hides_is_the_marker_s_mean(labelled, vocabulary, moments):
    mask = np.zeros((30, 32, 32), bool)
    mask[:, 8:24, 4:12] = True
    one = labelled(mask=mask)
    panel = panel_of(one, vocabulary)
    pixels, _ = normalised(one, panel, np.arange(5), "cpu")
    plain, _ = normalised(one, panel, np.arange(5), "cpu", masked=False)
    inside = torch.from_numpy(mask[:5])[:, None].expand_as(pixels)
    assert (pixels[~inside] == 0).all()
    assert torch.equal(pixels[inside], plain[inside])
    encoded = frozen(moments, one, panel)
    # of the cell, not of the window
    torch.testing.assert_close(encoded.mean[:5], plain[:, :, 8:24, 4:12].mean((2, 3)))


def test_unknown_markers_are_left_out(labelled, vocabulary, monkeypatch):
    log_lines = []
    monkeypatch.setattr(features, "info", log_lines.append)
    panel = panel_of(labelled(markers=("FOXP3", "CD8", "blank")), vocabulary)
    assert panel.ids.tolist() == [142]
    assert log_lines == ["toy: markers that the model does not know are left out: 'FOXP3', 'blank'"]
    with pytest.raises(
        ValueError, match=r"None of the 3 markers of 'toy' is among the 1 of 'other': 'DAPI', 'CD3', 'CD8'\. Name"
    ):
        panel_of(labelled(), Vocabulary("other", (Marker("FOXP3", 300, 0.1, 0.1),)))


@pytest.mark.row("labelled patches with several channels of one marker")
def test_of_two_channels_the_one_of_the_marker_s_name_is_taken(labelled, vocabulary, monkeypatch):
    """Whichever comes first; and where the names do not tell, nobody chooses."""
    log_lines = []
    monkeypatch.setattr(features, "info", log_lines.append)
    panel = panel_of(labelled(markers=("CD8 Cy7", "DAPI", "CD8")), vocabulary)
    assert (panel.planes.tolist(), panel.ids.tolist()) == ([1, 2], [4, 142])
    assert len(log_lines) == 1
    assert (
        "toy: 1 channel(s) are left out, because a marker is read once: 'CD8 Cy7' is the same marker as 'CD8'"
        in log_lines[0]
    )
    with pytest.raises(
        ValueError, match=r"one marker: CD8 is 'CD8a', 'CD8 Cy7'\. Cut the patches again.* --channel \"CD8 Cy7=\""
    ):
        panel_of(labelled(markers=("CD8a", "DAPI", "CD8 Cy7")), vocabulary)
    with pytest.raises(ValueError, match="CD8 is 'CD8', 'cd8'"):
        panel_of(labelled(markers=("CD8", "cd8", "CD3")), vocabulary)
    one = labelled()
    cut_again = labelled(markers=("CD8a", "DAPI"), pixels=one.pixels[:, :2])  # --channel "CD8 Cy7="
    assert panel_of(cut_again, vocabulary).ids.tolist() == [142, 4]


def test_features_are_those_of_the_network_whatever_the_batch(labelled, vocabulary, net):
    one = labelled()
    panel = panel_of(one, vocabulary)
    encoded = frozen(net, one, panel, batch=7)
    with torch.no_grad():
        expected = net(*normalised(one, panel, np.arange(30), "cpu"))
    torch.testing.assert_close(encoded.cls, expected.cls)
    torch.testing.assert_close(encoded.marker, expected.markers.flatten(1))
    assert encoded.marker.shape == (30, 3 * 24)
    assert not any(part.requires_grad for part in encoded)


@pytest.mark.parametrize("world", [2, 4])
def test_processes_share_the_work(labelled, vocabulary, moments, monkeypatch, world):
    """Each process encodes its share in equally many passes; the shares in the order of ranks are the whole."""
    one = labelled()
    panel = panel_of(one, vocabulary)
    whole = frozen(moments, one, panel)
    calls = []
    shares = []

    def counted(pixels, ids):
        calls.append(len(pixels))
        return moments(pixels, ids)

    monkeypatch.setattr(features, "count", lambda: world)
    monkeypatch.setattr(features, "gathered", lambda part: part)
    for rank in range(world):
        monkeypatch.setattr(features, "_rank", lambda rank=rank: rank)
        shares.append(frozen(counted, one, panel, batch=3))
    per_rank = np.reshape(calls, (world, -1))
    assert (per_rank == per_rank[0]).all()
    for part, parts in zip(whole, zip(*shares, strict=True), strict=True):
        assert torch.equal(torch.cat(parts)[:30], part)


def test_sharded_networks_are_only_called(labelled, vocabulary, net):
    """FSDP2, in one process: parameters are never looked at, so nothing has to be gathered for it."""
    from torch import distributed
    from torch.distributed.fsdp import fully_shard

    one = labelled()
    panel = panel_of(one, vocabulary)
    plain = frozen(net, one, panel)
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    try:
        for index in range(2):
            fully_shard(net.block(index), mesh=distributed.device_mesh.init_device_mesh("cpu", (1,)))
        fully_shard(net, mesh=distributed.device_mesh.init_device_mesh("cpu", (1,)))
        sharded = frozen(net, one, panel)
    finally:
        distributed.destroy_process_group()
    for got, expected in zip(sharded, plain, strict=True):
        torch.testing.assert_close(got, expected)
