"""Masks: exact numbers, the same for any split into processes, blocks rather than noise."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kronos_pretrain.config.schema import Masks
from kronos_pretrain.data.masks import block_extent, cover, masks

GRID = (14, 14)


def _masks(
    config: Masks | None = None, *, index: torch.Tensor | None = None, batch: int = 64, step: int = 3, **kwargs
) -> torch.Tensor:
    index = torch.arange(batch) if index is None else index
    return masks(config or Masks(), index=index, batch=batch, **({"seed": 0, "step": step, "grid": GRID} | kwargs))


def _pairs(hidden: np.ndarray) -> int:
    """Pairs of hidden neighbours."""
    return int((hidden[1:] & hidden[:-1]).sum() + (hidden[:, 1:] & hidden[:, :-1]).sum())


def test_half_of_the_views_and_one_stratum_each() -> None:
    hidden = _masks()
    assert hidden.shape == (128, 196)
    assert hidden.dtype == torch.bool
    counts = np.sort(hidden.sum(1).numpy())
    assert (counts > 0).sum() == 64
    edges = 196 * np.linspace(0.1, 0.5, 65)
    assert (counts[64:] >= np.floor(edges[:-1])).all()
    assert (counts[64:] <= np.ceil(edges[1:])).all()


@pytest.mark.parametrize(("fraction", "views"), [(0.0, 0), (0.3, 38), (1.0, 128)])
def test_the_asked_fraction_is_masked(fraction: float, views: int) -> None:
    assert int(_masks(Masks(fraction=fraction)).any(1).sum()) == views


def test_a_fixed_ratio_is_met_exactly() -> None:
    assert _masks(Masks(fraction=1.0, ratio=(0.4, 0.4))).sum(1).unique().tolist() == [78]


@pytest.mark.parametrize(("ratio", "count"), [((0.0, 0.0), 1), ((1.0, 1.0), 3)])
def test_at_least_one_position_is_hidden_and_one_seen(ratio: tuple[float, float], count: int) -> None:
    assert _masks(Masks(fraction=1.0, ratio=ratio), grid=(2, 2)).sum(1).unique().tolist() == [count]


@pytest.mark.parametrize("world", [2, 4])
def test_any_split_into_processes_gives_the_same(world: int) -> None:
    parts = [_masks(index=share) for share in torch.arange(64).chunk(world)]
    together = torch.cat([p.unflatten(0, (2, -1)) for p in parts], 1).flatten(0, 1)
    assert torch.equal(together, _masks())


def test_steps_and_seeds_differ_and_repeat() -> None:
    assert torch.equal(_masks(), _masks())
    assert not torch.equal(_masks(), _masks(step=4))
    assert not torch.equal(_masks(), _masks(seed=1))


def test_masks_are_blocky() -> None:
    """Against the same number of positions at random: far more neighbours are hidden together."""
    hidden = _masks(Masks(fraction=1.0)).numpy()
    rng = np.random.default_rng(0)
    blocky = np.mean([_pairs(one.reshape(GRID)) for one in hidden])
    noise = np.mean([_pairs(rng.permutation(one).reshape(GRID)) for one in hidden])
    assert blocky > 1.8 * noise


def test_blocks_keep_to_the_aspect_and_area() -> None:
    draws = np.random.default_rng(0).random((2000, 2))
    extents = np.array([block_extent(size, shape, most=400, aspect=0.3) for size, shape in draws])
    area = extents.prod(1)
    aspect = np.log(extents[:, 0] / extents[:, 1])
    large = area > 50  # rounding distorts the small ones
    assert abs(aspect[large]).max() == pytest.approx(np.log(1 / 0.3), abs=0.15)
    assert abs(aspect.mean()) < 0.05
    assert area.mean() == pytest.approx(202, rel=0.03)
    assert area.max() < 420
    assert all(h == w for h, w in (block_extent(size, shape, most=400, aspect=1.0) for size, shape in draws[:50]))


def test_few_positions_stand_alone() -> None:
    """Fewer than the smallest block are left to single positions."""
    hidden = np.zeros((40, 40), dtype=bool)
    cover(hidden, 200, 0.3, np.random.default_rng(0))
    assert hidden.sum() == 200
    alone = hidden & ~(np.roll(hidden, 1, 0) | np.roll(hidden, -1, 0) | np.roll(hidden, 1, 1) | np.roll(hidden, -1, 1))
    assert alone.sum() < 4


def test_small_and_oblong_grids() -> None:
    for grid in ((2, 2), (1, 6), (3, 9)):
        hidden = _masks(Masks(fraction=1.0, ratio=(0.5, 0.5)), grid=grid)
        assert hidden.sum(1).unique().tolist() == [round(grid[0] * grid[1] / 2)]


def test_different_samples_have_different_masks() -> None:
    hidden = _masks(Masks(fraction=1.0, ratio=(0.3, 0.3)))
    assert len(hidden.unique(dim=0)) == 128
