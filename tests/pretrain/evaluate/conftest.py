"""Labelled patches whose class shows in one marker, and encoders whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kronos_pretrain.evaluate import Labelled
from kronos_sc.markers import Marker, Vocabulary
from kronos_sc.models import Features


@pytest.fixture
def vocabulary() -> Vocabulary:
    return Vocabulary(
        "panel", (Marker("DAPI", 4, 0.1, 0.2, "nuclear"), Marker("CD3", 140, 0.2, 0.1), Marker("CD8", 142, 0.3, 0.4))
    )


@pytest.fixture
def labelled():
    """Return a function that makes 30 patches of three classes; the class is the brightness of CD3."""

    def make(**changes) -> Labelled:
        rng = np.random.default_rng(0)
        labels = np.array(["B", "T", "NK"])[np.arange(30) % 3]
        pixels = rng.integers(0, 40, (30, 3, 32, 32), dtype=np.uint8)
        pixels[:, 1] += (np.arange(30) % 3 * 80).astype(np.uint8)[:, None, None]
        fields = {
            "pixels": pixels,
            "scale": 255.0,
            "labels": labels,
            "split": np.where(np.arange(30) < 18, "train", "test"),
        }
        return Labelled(**({"name": "toy", "markers": ("DAPI", "CD3", "CD8")} | fields | changes))

    return make


@pytest.fixture
def moments():
    """An encoder that answers with means of quarters: cls (b, 4 m), markers (b, m, 4), tokens 2 × 2."""

    def encode(pixels: torch.Tensor, ids: torch.Tensor) -> Features:
        quarters = torch.nn.functional.adaptive_avg_pool2d(pixels, 2)
        tokens = torch.stack([quarters, quarters**2, quarters * 0 + ids[:, :, None, None] / 100, -quarters], dim=-1)
        return Features(quarters.flatten(1), tokens.mean((2, 3)), tokens)

    return encode
