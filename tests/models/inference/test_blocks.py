"""The two ways from block to input, the order of transfers, and memory that does not suffice."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from kronos_sc import models
from kronos_sc.models.inference import device_block, preprocess, runner

CPU = torch.device("cpu")


def _block(rng, *, markers=3, units=5, size=32, dtype=np.uint16, labels=True, index=0):
    shape = size + 20, size + 30
    if dtype == np.float32:
        pixels = rng.random((markers, *shape))
    else:
        pixels = rng.integers(0, np.iinfo(dtype).max, (markers, *shape))
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


def _config(markers=3, *, patch=32, fill="mean", scale=65535.0, features=("marker",)):
    spread = np.linspace(0.1, 0.3, markers)
    ids = np.arange(markers) * 8
    return preprocess.PreprocessConfig(ids, spread, spread[::-1].copy(), scale, patch, fill, features)


class _Spy(models.Model):
    """Returns its input, in whatever format it declares; holds at most `room` units."""

    card = models.Card("spy", "spy", "MIT")
    input_format = torch.float32

    def __init__(self, input_format=torch.float32, room=1000):
        self.input_format = input_format
        self.room = room
        self.seen = []

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
    features = {kind: np.concatenate([p.features[kind] for p in parts]) for kind in parts[0].features}
    return features, parts


@pytest.mark.parametrize("labels", [True, False], ids=["cells", "boxes"])
@pytest.mark.parametrize("fill", ["mean", "zero", None])
@pytest.mark.parametrize(("dtype", "scale"), [(np.uint8, 255.0), (np.uint16, 65535.0), (np.float32, 1.0)])
@pytest.mark.parametrize("format_", [torch.float32, torch.bfloat16])
def test_compiled_input_equals_that_of_torch(monkeypatch, labels, fill, dtype, scale, format_):
    block = _block(np.random.default_rng(0), dtype=dtype, labels=labels)
    config = _config(fill=fill, scale=scale, features=("marker", "cls"))
    model = _Spy(format_)
    compiled, parts = _run(model, [block], config, batch_size=2)
    assert {format_} == {dtype for _, dtype in model.seen}

    monkeypatch.setattr(preprocess, "takes_compiled_path", lambda *_: False)
    model = _Spy(format_)
    plain, plain_parts = _run(model, [block], config, batch_size=2)
    assert {torch.float32} == {dtype for _, dtype in model.seen}

    # a processor without fused multiply-add may round product and sum apart
    expected = torch.from_numpy(plain["marker"]).to(format_).float().numpy()
    bound = {"atol": 2e-6, "rtol": 0} if format_ == torch.float32 else {"atol": 0, "rtol": 2**-7}
    assert_allclose(compiled["marker"], expected, **bound)
    np.testing.assert_array_equal(compiled["cls"], plain["cls"])
    pixels, plain_pixels = (np.concatenate([p.pixels for p in run]) for run in (parts, plain_parts))
    np.testing.assert_array_equal(pixels, plain_pixels)


def test_rounding_to_bfloat16_is_that_of_torch():
    """Every 16-bit value, through a marker whose scale makes ties and both directions."""
    block = _block(np.random.default_rng(0), markers=1, units=1, size=256, labels=False)
    block.pixels = np.arange(65536, dtype=np.uint16).reshape(1, 256, 256)
    block.y = block.x = np.zeros(1, int)
    block.inside = (0, 256, 0, 256)
    # statistics that make every sum exact
    mean = np.array([0.25])
    std = np.array([0.5])
    config = preprocess.PreprocessConfig(np.array([0]), mean, std, 65536.0, 256, None, ("marker",))
    got, _ = _run(_Spy(torch.bfloat16), [block], config, torch.bfloat16)
    exact = torch.arange(65536) / 32768 - 0.5
    assert torch.equal(torch.from_numpy(got["marker"][0]), exact.bfloat16().float())


@pytest.mark.parametrize(("markers", "size"), [(3, 32), (3, 256), (18, 64), (60, 32), (60, 64)])
def test_every_panel_and_window(tiny, markers, size):
    block = _block(np.random.default_rng(1), markers=markers, units=3, size=size)
    config = _config(markers, patch=size, features=("marker", "cls"))
    together, _ = _run(tiny, [block], config)
    alone, parts = _run(tiny, [block], config, batch_size=1)
    assert [len(part.units) for part in parts] == [1, 1, 1]
    for kind in ("marker", "cls"):
        assert together[kind].shape == (3, tiny.width(kind, markers))
        assert np.isfinite(together[kind]).all()
        assert_allclose(together[kind], alone[kind], atol=1e-5)


def test_features_keep_nothing_else_in_memory(tiny):
    """The class token of a pass is a view of all its tokens."""
    _, parts = _run(tiny, [_block(np.random.default_rng(1))], _config(features=("cls",)), batch_size=1)
    for part in parts:
        assert torch.from_numpy(part.features["cls"]).untyped_storage().nbytes() == part.features["cls"].nbytes


@pytest.mark.parametrize("corner", [-1, 21])
def test_a_window_beyond_its_block_is_an_error(corner):
    block = _block(np.random.default_rng(1))
    block.y[2] = corner
    with pytest.raises(RuntimeError, match="stack expects each tensor to be equal size"):
        _run(_Spy(), [block], _config())


def test_size_of_a_pass():
    """2,500 tokens in float32, 5,000 in bfloat16, one unit at least; 8 MiB of pixels where a unit is one token."""
    kronos = models.load("kronos-untrained")
    mean = models.load("mean-marker")

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
    free, _ = _run(_Spy(), blocks, _config())
    model = _Spy(room=3)
    with caplog.at_level("INFO", logger="kronos_sc"):
        tight, parts = _run(model, blocks, _config(), batch_size=8)
    np.testing.assert_array_equal(tight["marker"], free["marker"])
    assert [len(part.units) for part in parts] == [2, 2, 2, 2, 2, 1, 2, 2]
    assert [n for n, _ in model.seen if n > 3] == [8, 4], "once too large, for good"
    message = "8 units at once do not fit the memory that is free on cpu: going on with 4 (batch_size=4)"
    assert caplog.messages[0] == message
    assert len(caplog.messages) == 2


def test_one_unit_too_large_is_an_error_that_says_what_to_do():
    with pytest.raises(torch.OutOfMemoryError) as caught:
        _run(_Spy(room=0), [_block(np.random.default_rng(3))], _config())
    assert "choose device='cpu', or a smaller patch_size" in caught.value.__notes__[0]


def test_a_block_too_large_is_an_error_that_says_what_to_do():
    def full(block):
        raise torch.OutOfMemoryError("no room")

    with pytest.raises(torch.OutOfMemoryError) as caught:
        list(device_block.open_blocks([1], full, ahead=False))
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

    for block in device_block.open_blocks(iter(range(3)), opener, ahead=ahead):
        seen.append(f"use {block}")
    assert seen == order


class _SlowTransfer(device_block.DeviceTransfer):
    """Transfers arrive only when somebody waits for them, as late as on a busy device."""

    def __init__(self, device):
        super().__init__(device)
        self.out = []
        self.back = []
        self.waits = 0
        self.copy_stream = "slow"

    def to_device(self, array):
        self.copy_stream = None
        sent = super().to_device(array)
        self.copy_stream = "slow"
        self.out.append((torch.zeros_like(sent), sent.clone()))
        return self.out[-1][0]

    def sent_event(self):
        event, self.out = self.out, []
        return event

    def wait(self, event, *tensors):
        self.waits += 1
        for target, value in event:
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
    config = _config(features=("marker", "cls"))
    on_cpu, parts = _run(tiny, blocks, config, batch_size=size)

    transfers = []

    def slow_transfer(device):
        transfers.append(_SlowTransfer(device))
        return transfers[0]

    monkeypatch.setattr(preprocess, "takes_compiled_path", lambda *_: False)
    monkeypatch.setattr(runner, "DeviceTransfer", slow_transfer)
    on_device, device_parts = _run(tiny, blocks, config, batch_size=size)
    assert transfers[0].waits == len(blocks)
    for kind in on_cpu:
        assert_allclose(on_device[kind], on_cpu[kind], atol=1e-5)
    for a, b in zip(parts, device_parts, strict=True):
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
    on_cpu, _ = _run(tiny, blocks, _config())
    cuda = torch.device("cuda", 0)
    parts = list(runner.run(tiny, blocks, _config(), device=cuda, dtype=torch.float32, batch_size=4))
    assert [part.block for part in parts] == [0, 0, 0, 1, 2, 2]
    assert_allclose(np.concatenate([p.features["marker"] for p in parts]), on_cpu["marker"], atol=1e-4)
