"""The inference loop on hand-made blocks."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from kronos_sc import models
from kronos_sc.models.inference import device_block, placement, preprocess, runner

CPU = torch.device("cpu")


def _block(rng, *, dtype=np.uint16, units=5, size=32, start=0, labels=True):
    pixels = rng.integers(0, 60_000 if dtype == np.uint16 else 250, (3, 50, 60)).astype(dtype)
    ids = np.arange(units) + 3_000_000_000
    plane = rng.choice(np.r_[0, ids], (50, 60)).astype(np.uint32) if labels else None
    y = rng.integers(0, 50 - size, units)
    x = rng.integers(0, 60 - size, units)
    return SimpleNamespace(
        index=start,
        units=np.arange(start, start + units),
        pixels=pixels,
        labels=plane,
        ids=ids if labels else None,
        y=y,
        x=x,
        size=size,
        inside=(2, 50, 0, 58),
    )


def _config(**changes):
    values = {
        "ids": np.array([4, 222, 238]),
        "mean": np.array([0.1, 0.2, 0.3]),
        "std": np.array([0.1, 0.05, 0.2]),
        "max_value": 65535.0,
        "patch_size": 32,
        "mask_fill": "mean",
        "features": ("marker",),
    }
    return preprocess.PreprocessConfig(**values | changes)


class _Echo(models.Model):
    """Returns its input."""

    card = models.Card("echo", "echo", "MIT")

    def width(self, kind, markers):
        return markers

    def tokens(self, size, markers):
        return 1

    def encode(self, pixels_bmhw, marker_ids_bm, mask_bhw, kinds):
        assert marker_ids_bm.shape == pixels_bmhw.shape[:2]
        return {kind: pixels_bmhw.flatten(1) for kind in kinds}


def _expected(block, config):
    rows = []
    mean = config.mean[:, None, None]
    std = config.std[:, None, None]
    for i, (y, x) in enumerate(zip(block.y, block.x, strict=True)):
        part = np.s_[y : y + block.size, x : x + block.size]
        z = (block.pixels[(slice(None), *part)] / config.max_value - mean) / std
        if block.labels is not None:
            mask = block.labels[part] == block.ids[i]
            if config.mask_fill == "mean":
                z = z * mask
            elif config.mask_fill == "zero":
                z = np.where(mask, z, -mean / std)
        rows.append(z.ravel())
    return np.stack(rows)


def _run(blocks, config, **options):
    parts = list(runner.run(_Echo(), blocks, config, device=CPU, dtype=torch.float32, **options))
    order = np.argsort(np.concatenate([p.units for p in parts]))
    return np.concatenate([p.features["marker"] for p in parts])[order], [len(p.units) for p in parts]


@pytest.mark.parametrize("fill", ["mean", "zero", None])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_input_is_what_the_specification_says(fill, dtype):
    block = _block(np.random.default_rng(0), dtype=dtype)
    config = _config(mask_fill=fill, max_value=float(np.iinfo(dtype).max))
    got, _ = _run([block], config)
    assert_allclose(got, _expected(block, config), atol=2e-5)


def test_batches_stay_inside_blocks_and_do_not_change_results():
    rng = np.random.default_rng(1)
    blocks = [_block(rng, units=n, start=s) for n, s in ((5, 0), (1, 5), (7, 6))]
    config = _config()
    reference = np.concatenate([_expected(b, config) for b in blocks])
    cut = {1: [1] * 13, 4: [4, 1, 1, 4, 3], 100: [5, 1, 7]}
    for size, sizes in cut.items():
        got, got_sizes = _run(blocks, config, batch_size=size)
        assert_allclose(got, reference, atol=2e-5)
        assert got_sizes == sizes


def test_every_part_names_its_block():
    rng = np.random.default_rng(1)
    blocks = [_block(rng, units=n, start=s) for n, s in ((5, 0), (7, 6))]
    parts = list(runner.run(_Echo(), blocks, _config(), device=CPU, dtype=torch.float32, batch_size=4))
    assert [part.block for part in parts] == [0, 0, 6, 6]
    assert all(set(part.units) <= set(range(part.block, part.block + 7)) for part in parts)


def test_gather_on_a_device_equals_slicing():
    block = _block(np.random.default_rng(2))
    plane = torch.from_numpy(block.pixels.view(np.int16))
    y = torch.from_numpy(block.y)
    x = torch.from_numpy(block.x)
    sliced = device_block.cut_windows(plane, y, x, 32)
    assert torch.equal(sliced[3], plane[:, y[3] : y[3] + 32, x[3] : x[3] + 32])
    assert torch.equal(device_block.gather_windows(plane, y, x, 32), sliced)
    assert torch.equal(device_block.gather_windows(plane[0], y, x, 32), sliced[:, 0])


def test_boxes_know_which_part_is_image():
    block = _block(np.random.default_rng(3), labels=False)
    model = models.load("mean-marker")
    config = _config(mean=np.zeros(3), std=np.ones(3), mask_fill=None)
    (part,) = runner.run(model, [block], config, device=CPU, dtype=torch.float32)
    for i, (y, x) in enumerate(zip(block.y, block.x, strict=True)):
        inside = block.pixels[:, max(y, 2) : y + 32, x : min(x + 32, 58)]
        assert_allclose(part.features["marker"][i], inside.mean((1, 2)) / 65535, rtol=1e-5)
        assert part.pixels[i] == inside[0].size


def test_resampling_changes_the_size_only():
    block = _block(np.random.default_rng(4))
    block.pixels[:] = 6553  # a flat image stays flat
    got, _ = _run([block], _config(patch_size=16, mask_fill=None))
    assert got.shape == (5, 3 * 16 * 16)
    want = (6553 / 65535 - np.array([0.1, 0.2, 0.3])) / np.array([0.1, 0.05, 0.2])
    assert_allclose(got.reshape(5, 3, -1), np.broadcast_to(want[:, None], (5, 3, 256)), atol=1e-5)


def test_precision():
    assert placement.choose_dtype("float32", CPU) == torch.float32
    assert placement.choose_dtype("bfloat16", CPU) == torch.bfloat16
    assert placement.choose_dtype("auto", CPU) in (torch.float32, torch.bfloat16)
    with pytest.raises(ValueError, match="precision can be"):
        placement.choose_dtype("half", CPU)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_missing_device_lists_what_exists():
    with pytest.raises(ValueError, match=r"'cuda' cannot be used.*Available: cpu"):
        placement.choose_device("cuda")
    assert placement.choose_device("cpu") == CPU


def test_threads_and_seeds_are_left_alone(tmp_path):
    threads = torch.get_num_threads()
    state = torch.get_rng_state()
    model = models.load("kronos-untrained")
    models.save(model, tmp_path / "m")
    models.load(tmp_path / "m")
    _run([_block(np.random.default_rng(5))], _config())
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)


def test_masks_survive_resampling():
    masks = torch.zeros(3, 32, 32, dtype=torch.bool)
    masks[0, 4, 5] = True  # one pixel of a coarser pixel's four
    masks[1, 8:24, 8:24] = True
    small = preprocess.resample_masks(masks, 16)
    assert small[0].nonzero().tolist() == [[2, 2]]
    assert int(small[1].sum()) == 64
    assert not small[2].any()
    assert torch.equal(preprocess.resample_masks(masks, 64)[1, 16:48, 16:48], torch.ones(32, 32, dtype=torch.bool))


def test_unsigned_32_bit_pixels_stay_positive():
    block = _block(np.random.default_rng(6))
    block.pixels = np.full(block.pixels.shape, 3_000_000_000, np.uint32)
    got, _ = _run([block], _config(mask_fill=None, max_value=float(2**32 - 1), mean=np.zeros(3), std=np.ones(3)))
    assert_allclose(got, 3e9 / (2**32 - 1), rtol=1e-6)


def test_a_device_without_numbers_is_refused():
    with pytest.raises(ValueError, match="'meta' cannot be used"):
        placement.choose_device("meta")


def test_a_number_is_no_model():
    with pytest.raises(TypeError, match="a path or a loaded model, got int"):
        models.load(3)
