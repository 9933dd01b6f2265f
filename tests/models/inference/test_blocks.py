"""The two ways from block to input, the order of transfers, and memory that does not suffice."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from kronos_sc import models
from kronos_sc.models.inference import device_block, runner

CPU = torch.device("cpu")


def _block(rng, *, markers=3, units=5, size=32, dtype=np.uint16, labels=True, index=0):
    shape = size + 20, size + 30
    pixels = (
        rng.random((markers, *shape))
        if dtype == np.float32
        else rng.integers(0, np.iinfo(dtype).max, (markers, *shape))
    )
    ids = np.arange(units) + 1
    return SimpleNamespace(
        index=index,
        units=np.arange(units) + 100 * index,
        pixels=pixels.astype(dtype),
        labels=rng.choice(np.r_[0, ids], shape).astype(np.int32) if labels else None,
        ids=ids if labels else None,
        y=rng.integers(0, 20, units),
        x=rng.integers(0, 30, units),
        size=size,
        inside=(2, shape[0], 0, shape[1] - 3),
    )


def _recipe(markers=3, *, patch=32, fill="mean", scale=65535.0, features=("marker",)):
    spread = np.linspace(0.1, 0.3, markers)
    return runner.PreprocessConfig(np.arange(markers) * 8, spread, spread[::-1].copy(), scale, patch, fill, features)


class _Spy(models.Model):
    """Returns its input, in whatever format it declares; holds at most `room` units."""

    card = models.Card("spy", "spy", "MIT")
    input_format = torch.float32

    def __init__(self, input_format=torch.float32, room=1000):
        self.input_format, self.room, self.seen = input_format, room, []

    def width(self, kind, markers):
        return markers

    def tokens(self, size, markers):
        return 1

    def encode(self, pixels_bmhw, marker_ids_bm, mask_bhw, kinds):
        self.seen.append((len(pixels_bmhw), pixels_bmhw.dtype))
        if len(pixels_bmhw) > self.room:
            raise torch.OutOfMemoryError("no room")
        return {"marker": pixels_bmhw.flatten(1), "cls": mask_bhw.flatten(1)}


def _run(model, blocks, config, dtype=torch.float32, **options):
    parts = list(runner.run(model, blocks, config, device=CPU, dtype=dtype, **options))
    return {kind: np.concatenate([p.features[kind] for p in parts]) for kind in parts[0].features}, parts


@pytest.mark.parametrize("labels", [True, False], ids=["cells", "boxes"])
@pytest.mark.parametrize("fill", ["mean", "zero", None])
@pytest.mark.parametrize(("dtype", "scale"), [(np.uint8, 255.0), (np.uint16, 65535.0), (np.float32, 1.0)])
@pytest.mark.parametrize("format_", [torch.float32, torch.bfloat16])
def test_compiled_input_equals_that_of_torch(monkeypatch, labels, fill, dtype, scale, format_):
    block, config = (
        _block(np.random.default_rng(0), dtype=dtype, labels=labels),
        _recipe(fill=fill, scale=scale, features=("marker", "cls")),
    )
    model = _Spy(format_)
    compiled, parts = _run(model, [block], config, batch_size=2)
    assert {format_} == {dtype for _, dtype in model.seen}

    monkeypatch.setattr(runner, "fits", lambda *_: False)
    model = _Spy(format_)
    plain, plain_parts = _run(model, [block], config, batch_size=2)
    assert {torch.float32} == {dtype for _, dtype in model.seen}

    # a processor without fused multiply-add may round product and sum apart
    expected = torch.from_numpy(plain["marker"]).to(format_).float().numpy()
    assert_allclose(
        compiled["marker"],
        expected,
        atol=2e-6 if format_ == torch.float32 else 0,
        rtol=0 if format_ == torch.float32 else 2**-7,
    )
    np.testing.assert_array_equal(compiled["cls"], plain["cls"])
    np.testing.assert_array_equal(
        np.concatenate([p.pixels for p in parts]), np.concatenate([p.pixels for p in plain_parts])
    )


def test_rounding_to_bfloat16_is_that_of_torch():
    """Every 16-bit value, through a marker whose scale makes ties and both directions."""
    block = _block(np.random.default_rng(0), markers=1, units=1, size=256, labels=False)
    block.pixels = np.arange(65536, dtype=np.uint16).reshape(1, 256, 256)
    block.y = block.x = np.zeros(1, int)
    block.inside = (0, 256, 0, 256)
    config = runner.PreprocessConfig(
        np.array([0]), np.array([0.25]), np.array([0.5]), 65536.0, 256, None, ("marker",)
    )  # exact sums
    got, _ = _run(_Spy(torch.bfloat16), [block], config, torch.bfloat16)
    exact = torch.arange(65536) / 32768 - 0.5
    assert torch.equal(torch.from_numpy(got["marker"][0]), exact.bfloat16().float())


@pytest.mark.parametrize(("markers", "size"), [(3, 32), (3, 256), (18, 64), (60, 32), (60, 64)])
def test_every_panel_and_window(tiny, markers, size):
    block = _block(np.random.default_rng(1), markers=markers, units=3, size=size)
    config = _recipe(markers, patch=size, features=("marker", "cls"))
    together, _ = _run(tiny, [block], config)
    alone, parts = _run(tiny, [block], config, batch_size=1)
    assert [len(part.units) for part in parts] == [1, 1, 1]
    for kind in ("marker", "cls"):
        assert together[kind].shape == (3, tiny.width(kind, markers))
        assert np.isfinite(together[kind]).all()
        assert_allclose(together[kind], alone[kind], atol=1e-5)


def test_features_keep_nothing_else_in_memory(tiny):
    """The class token of a pass is a view of all its tokens."""
    _, parts = _run(tiny, [_block(np.random.default_rng(1))], _recipe(features=("cls",)), batch_size=1)
    for part in parts:
        assert torch.from_numpy(part.features["cls"]).untyped_storage().nbytes() == part.features["cls"].nbytes


@pytest.mark.parametrize("corner", [-1, 21])
def test_a_window_beyond_its_block_is_an_error(corner):
    block = _block(np.random.default_rng(1))
    block.y[2] = corner
    with pytest.raises(RuntimeError, match="stack expects each tensor to be equal size"):
        _run(_Spy(), [block], _recipe())


def test_size_of_a_pass():
    """2,500 tokens in float32, twice as many in bfloat16, one unit at least.

    8 MiB of pixels where a unit is one token.
    """
    kronos, mean = models.load("kronos-untrained"), models.load("mean-marker")

    def auto(model, size, markers, dtype=torch.float32):
        return runner.auto_batch(model, size, markers, device=CPU, dtype=dtype)

    tokens = kronos.tokens(64, 18)
    assert auto(kronos, 64, 18) == 2500 // tokens
    assert auto(kronos, 64, 18, torch.bfloat16) == 5000 // tokens
    assert auto(kronos, 256, 60) == auto(mean, 1024, 60) == 1
    assert auto(mean, 64, 18) == 2**23 // (4 * 18 * 64 * 64)


def test_batches_shrink_until_they_fit(caplog):
    rng = np.random.default_rng(2)
    blocks = [_block(rng, units=11, index=0), _block(rng, units=4, index=1)]
    free, _ = _run(_Spy(), blocks, _recipe())
    model = _Spy(room=3)
    with caplog.at_level("INFO", logger="kronos_sc"):
        tight, parts = _run(model, blocks, _recipe(), batch_size=8)
    np.testing.assert_array_equal(tight["marker"], free["marker"])
    assert [len(part.units) for part in parts] == [2, 2, 2, 2, 2, 1, 2, 2]
    assert [n for n, _ in model.seen if n > 3] == [8, 4], "once too large, for good"
    assert (
        caplog.messages[0]
        == "8 units at once do not fit the memory that is free on cpu: going on with 4 (batch_size=4)"
    )
    assert len(caplog.messages) == 2


def test_one_unit_too_large_is_an_error_that_says_what_to_do():
    with pytest.raises(torch.OutOfMemoryError) as caught:
        _run(_Spy(room=0), [_block(np.random.default_rng(3))], _recipe())
    assert "choose device='cpu', or a smaller patch_size" in caught.value.__notes__[0]


def test_a_block_too_large_is_an_error_that_says_what_to_do():
    def full(block):
        raise torch.OutOfMemoryError("no room")

    with pytest.raises(torch.OutOfMemoryError) as caught:
        list(device_block.opened([1], full, ahead=False))
    assert "settings.block_memory" in caught.value.__notes__[0]


@pytest.mark.parametrize(
    ("ahead", "order"),
    [
        (False, ["send 0", "use 0", "send 1", "use 1", "send 2", "use 2"]),
        (True, ["send 0", "send 1", "use 0", "send 2", "use 1", "use 2"]),
    ],
)
def test_the_next_block_is_sent_before_this_one_is_used(ahead, order):
    seen = []

    def opener(block):
        seen.append(f"send {block}")
        return block

    for block in device_block.opened(iter(range(3)), opener, ahead=ahead):
        seen.append(f"use {block}")
    assert seen == order


class _SlowTransfer(device_block.DeviceTransfer):
    """Transfers arrive only when somebody waits for them, as late as on a busy device."""

    def __init__(self, device):
        super().__init__(device)
        self.out, self.back, self.waits = [], [], 0
        self.copy_stream = "slow"

    def to_device(self, array):
        self.copy_stream = None
        there = super().to_device(array)
        self.copy_stream = "slow"
        self.out.append((torch.zeros_like(there), there.clone()))
        return self.out[-1][0]

    def sent_event(self):
        mark, self.out = self.out, []
        return mark

    def wait(self, mark, *tensors):
        self.waits += 1
        for target, value in mark:
            assert any(tensor is target for tensor in tensors)
            target.copy_(value)

    def to_host(self, tensor):
        self.back.append((torch.full_like(tensor, -1), tensor.clone()))
        return self.back[-1][0]

    def fetched_event(self):
        pairs, self.back = self.back, []

        @torch.inference_mode()
        def synchronize():
            for target, value in pairs:
                target.copy_(value)

        return SimpleNamespace(synchronize=synchronize)


@pytest.mark.parametrize("labels", [True, False], ids=["cells", "boxes"])
@pytest.mark.parametrize("size", [1, 4, 100])
def test_nothing_is_used_before_it_has_arrived(monkeypatch, tiny, labels, size):
    rng = np.random.default_rng(5)
    blocks = [_block(rng, units=n, index=i, labels=labels) for i, n in enumerate((9, 1, 6))]
    config = _recipe(features=("marker", "cls"))
    here, parts = _run(tiny, blocks, config, batch_size=size)
    transfers = []
    monkeypatch.setattr(runner, "fits", lambda *_: False)
    monkeypatch.setattr(
        runner, "DeviceTransfer", lambda device: transfers.append(_SlowTransfer(device)) or transfers[0]
    )
    there, late = _run(tiny, blocks, config, batch_size=size)
    assert transfers[0].waits == len(blocks)
    for kind in here:
        assert_allclose(there[kind], here[kind], atol=1e-5)
    for a, b in zip(parts, late, strict=True):
        assert a.block == b.block
        np.testing.assert_array_equal(a.units, b.units)
        np.testing.assert_array_equal(a.pixels, b.pixels)


def test_a_model_is_moved_without_a_trace(tiny):
    weights = {name: value.clone() for name, value in tiny.net.state_dict().items()}
    moved = tiny.at(CPU, torch.bfloat16)
    assert {value.dtype for value in moved.net.state_dict().values()} == {torch.bfloat16}
    assert moved.input_format == moved.net.marker_table.dtype == torch.bfloat16
    assert not any(p.requires_grad for p in moved.net.parameters())
    for name, value in tiny.net.state_dict().items():
        assert torch.equal(value, weights[name])
        assert torch.equal(moved.net.state_dict()[name], value.bfloat16())
    assert tiny.at(CPU, torch.float32) is tiny


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_device_gives_what_the_processor_gives(tiny):
    rng = np.random.default_rng(4)
    blocks = [_block(rng, units=n, index=i) for i, n in enumerate((9, 1, 6))]
    here, _ = _run(tiny, blocks, _recipe())
    parts = list(runner.run(tiny, blocks, _recipe(), device=torch.device("cuda", 0), dtype=torch.float32, batch_size=4))
    assert [part.block for part in parts] == [0, 0, 0, 1, 2, 2]
    assert_allclose(np.concatenate([p.features["marker"] for p in parts]), here["marker"], atol=1e-4)
