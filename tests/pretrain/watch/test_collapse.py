"""Collapse monitors: the ends of their scales, and against plain definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from kronos_pretrain.watch.collapse import effective_rank, feature_std, monitors, target_entropy


def _normal(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_features_all_over_the_sphere_have_standard_deviation_one() -> None:
    assert float(feature_std(_normal(4000, 64))) == pytest.approx(1, abs=0.01)


def test_equal_features_have_none_whatever_their_length() -> None:
    assert float(feature_std(_normal(1, 64) * torch.rand(50, 1).add(0.5))) == pytest.approx(0, abs=1e-5)


def test_one_row_has_no_standard_deviation() -> None:
    assert math.isnan(feature_std(_normal(1, 8)))


@pytest.mark.parametrize("k", [2, 96])
def test_entropy_of_uniform_and_certain_targets(k: int) -> None:
    assert float(target_entropy(torch.full((3, k), 1 / k))) == pytest.approx(1)
    assert float(target_entropy(torch.eye(k))) == 0


def test_the_two_kinds_of_collapse_are_told_apart() -> None:
    same = torch.zeros(16, 16)
    same[:, 3] = 1
    figures = {
        name: monitors(_normal(16, 8), t)
        for name, t in {"good": torch.eye(16), "same": same, "flat": torch.full((16, 16), 1 / 16)}.items()
    }
    entropies = {
        name: (round(f["collapse/teacher_entropy"], 5), round(f["collapse/target_entropy"], 5))
        for name, f in figures.items()
    }
    assert entropies == {"good": (0, 1), "same": (0, 0), "flat": (1, 1)}


@pytest.mark.parametrize("shape", [(20, 6), (6, 20), (1, 5)])
def test_rank_is_the_published_formula(shape: tuple[int, int]) -> None:
    x = _normal(*shape)
    s = np.linalg.svd(x.double().numpy(), compute_uv=False)
    p = s / s.sum()
    assert float(effective_rank(x)) == pytest.approx(np.exp(-(p * np.log(p)).sum()), rel=1e-6)


def test_rank_of_orthogonal_and_of_parallel_rows() -> None:
    assert float(effective_rank(3 * torch.eye(7))) == pytest.approx(7)
    assert float(effective_rank(_normal(30, 1) @ _normal(1, 9))) == pytest.approx(1, abs=1e-3)


def test_all_monitors_in_half_precision_and_for_one_row() -> None:
    figures = monitors(_normal(1, 8).bfloat16(), torch.full((1, 4), 0.25, dtype=torch.bfloat16))
    assert set(figures) == {f"collapse/{name}" for name in ("feature_std", "teacher_entropy", "target_entropy", "rank")}
    assert figures["collapse/rank"] == pytest.approx(1)
    assert math.isnan(figures["collapse/feature_std"])


def test_monitors_leave_no_graph() -> None:
    x = _normal(4, 8).requires_grad_()
    assert all(isinstance(value, float) for value in monitors(x, torch.softmax(x, 1)).values())
