"""Small images written anew for each test, and the folder of real ones."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import tifffile


@pytest.fixture
def cyx() -> np.ndarray:
    """Three channels of 70 × 90 pixels: no multiple of a tile, all values different between channels."""
    return np.random.default_rng(0).integers(0, 60_000, (3, 70, 90)).astype(np.uint16)


@pytest.fixture
def labels() -> np.ndarray:
    """Four cells of known place and area."""
    array = np.zeros((70, 90), np.uint32)
    array[2:5, 10:14] = 7
    array[60:70, 80:90] = 9
    array[0, 0] = 218_917
    array[30, 20:41] = 12
    return array


@pytest.fixture
def image(tmp_path: Path, cyx: np.ndarray) -> Path:
    path = tmp_path / "core.ome.tif"
    metadata = {"axes": "CYX", "Channel": {"Name": ["DAPI", "CD3", "CD20"]}, "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.4}
    tifffile.imwrite(path, cyx, metadata=metadata, tile=(32, 32), compression="zlib")
    return path


@pytest.fixture
def mask(tmp_path: Path, labels: np.ndarray) -> Path:
    path = tmp_path / "mask.tif"
    tifffile.imwrite(path, labels, compression="zlib")
    return path


@pytest.fixture(scope="session")
def real() -> Path:
    """Folder of real images."""
    if not (folder := os.environ.get("KRONOS_SC_TEST_DATA")):
        pytest.skip("real images: KRONOS_SC_TEST_DATA names no folder")
    return Path(folder)
