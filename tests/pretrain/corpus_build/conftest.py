"""Small images on disk, and manifests that list them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

SETTINGS = 'patch = 64\nstride = 32\nleast_tissue = 0.0\nmost_artifacts = 1.0\nformat = "{format}"\n'


def _noise(shape: tuple[int, int], count: int, *, dtype: str = "uint16", seed: int = 0) -> np.ndarray:
    """Return planes with structure of a few pixels: bright discs on a dim ground."""
    rng = np.random.default_rng(seed)
    top = {"uint8": 200, "uint16": 40_000}.get(dtype, 0.8)
    yy, xx = np.mgrid[: shape[0], : shape[1]]
    discs = shape[0] * shape[1] // 900
    planes = []
    for _ in range(count):
        inside = np.zeros(shape, bool)
        for y, x, r in zip(
            rng.integers(0, shape[0], discs), rng.integers(0, shape[1], discs), rng.integers(4, 9, discs), strict=True
        ):
            near = np.s_[max(0, y - 9) : y + 9, max(0, x - 9) : x + 9]
            inside[near] |= (yy[near] - y) ** 2 + (xx[near] - x) ** 2 < r * r
        planes.append((0.05 + 0.85 * inside + 0.05 * rng.random(shape)) * top)
    return np.stack(planes).astype(dtype)


@pytest.fixture
def tiff(tmp_path: Path):
    """Return a function that writes an OME-TIFF into the folder of the test and returns its pixels."""
    import tifffile

    def write(
        name: str,
        channels: list[str],
        *,
        pixels: np.ndarray | None = None,
        shape: tuple[int, int] = (160, 224),
        **how: Any,
    ) -> np.ndarray:
        pixels = _noise(shape, len(channels), **how) if pixels is None else pixels
        tifffile.imwrite(
            tmp_path / name, pixels, metadata={"axes": "CYX", "Channel": {"Name": channels}}, photometric="minisblack"
        )
        return pixels

    return write


@pytest.fixture
def noise():
    return _noise


@pytest.fixture
def manifest(tmp_path: Path):
    """Return a function that writes a manifest; each image is the text of its table."""

    def write(*images: str, settings: str = "", rest: str = "", kind: str = "zarr") -> Path:
        path = tmp_path / "corpus.toml"
        tables = "\n".join(f"[[image]]\n{image}\n" for image in images)
        path.write_text(f"[corpus]\n{SETTINGS.format(format=kind)}{settings}\n{rest}\n{tables}", encoding="utf-8")
        return path

    return write
