"""Small tissue, a tiny network and looks at what a call changed; fixtures only, shared by all rooms."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest

CHANNELS = ("DAPI", "CD3", "CD8", "CD20", "CYTOKERATIN")


def pytest_configure() -> None:
    """The folder of real images by its whole name, because manifests and commands read it from elsewhere.

    No time limits; an ear for Ctrl-C.
    """
    if folder := os.environ.get("KRONOS_SC_TEST_DATA"):
        os.environ["KRONOS_SC_TEST_DATA"] = str(Path(folder).resolve())
    # One thread, here and in processes started from here: tests are small, and several compare bytes of runs with
    # different numbers of threads, which without AVX-512 differ in their last digits.
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    # hypothesis fails an example that takes 200 ms, which says how busy the machine is
    hypothesis.settings.register_profile(
        "any machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
    )
    hypothesis.settings.load_profile("any machine")
    if (
        signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    ):  # a shell starts what runs in the background deaf to Ctrl-C, which tests send
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _quiet_for_tests():
    from kronos_sc import settings

    before = settings.progress
    settings.progress = False
    yield
    settings.progress = before


@pytest.fixture(scope="module")
def one_thread():
    """One thread for torch: in small tests a second one costs more than it brings."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def real() -> Path:
    """Folder of real images."""
    if not (folder := os.environ.get("KRONOS_SC_TEST_DATA")):
        pytest.skip("real images: KRONOS_SC_TEST_DATA names no folder")
    return Path(folder)


@pytest.fixture(scope="session")
def tiny() -> Any:
    """A network of four small blocks that attend for real.

    LayerScale gains are about one half, everything else is drawn by seed.
    """
    import torch

    from kronos_sc.markers import paper_vocabulary
    from kronos_sc.models import Card, KronosModel, KronosViT, ViTConfig

    net = KronosViT(ViTConfig(dim=48, depth=4, heads=3, chunks=2, registers=4))
    rng = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, value in net.named_parameters():
            z = torch.randn(value.shape, generator=rng)
            gain = "norm" in name and name.endswith("weight")
            value.copy_(0.5 + 0.1 * z if name.endswith("gamma") else 1 + 0.1 * z if gain else 0.1 * z)
    card = Card("tiny", "a small network for tests", "BSD-3-Clause", trained=False, source="drawn from seed 7")
    return KronosModel(net, card, paper_vocabulary(mean=0.05, std=0.1), sha256="none")


def _blobs(shape: tuple[int, int], rng: np.random.Generator, *, step: int = 23, radius: int = 8) -> np.ndarray:
    """Return round cells on a shaken grid, ids with gaps, some on the border."""
    labels = np.zeros(shape, np.int32)
    yy, xx = np.ogrid[: shape[0], : shape[1]]
    number = 3
    for y in range(0, shape[0], step):
        for x in range(0, shape[1], step):
            cy, cx = y + rng.integers(-3, 4), x + rng.integers(-3, 4)
            r = rng.integers(3, radius)
            disc = ((yy - cy) ** 2 + (xx - cx) ** 2 <= r * r) & (labels == 0)
            if disc.any():
                labels[disc] = number
            number += 2
    return labels


@pytest.fixture(scope="session")
def make() -> Callable[..., Any]:
    """Return a function that builds a SpatialData: noise image, round cells, a table with their centroids."""

    def build(
        shape: tuple[int, int] = (150, 190),
        *,
        channels: tuple[str, ...] = CHANNELS,
        image: np.ndarray | None = None,
        labels: np.ndarray | None = None,
        dtype: str = "uint16",
        chunks: Any = (1, 64, 64),
        label_chunks: Any = (64, 64),
        image_transformations: dict[str, Any] | None = None,
        labels_transformations: dict[str, Any] | None = None,
        scale_factors: list[int] | None = None,
        table: bool = True,
        seed: int = 0,
    ) -> Any:
        import dask.array as da
        from spatialdata import SpatialData
        from spatialdata.models import Image2DModel, Labels2DModel

        import kronos_sc as ks

        rng = np.random.default_rng(seed)
        if image is None:
            top = {"uint8": 255, "uint16": 40_000}.get(dtype, 1.0)
            image = (rng.random((len(channels), *shape)) ** 2 * top).astype(dtype)
        if labels is None:
            labels = _blobs(image.shape[1:], rng)
        sdata = SpatialData(
            images={
                "image": Image2DModel.parse(
                    da.from_array(image, chunks=chunks) if chunks is not None else image,
                    dims=("c", "y", "x"),
                    c_coords=list(channels),
                    transformations=image_transformations,
                    scale_factors=scale_factors,
                )
            },
            labels={
                "cells": Labels2DModel.parse(
                    da.from_array(labels, chunks=label_chunks), dims=("y", "x"), transformations=labels_transformations
                )
            },
        )
        if table:
            ks.pp.label_table(sdata)
        return sdata

    return build


@pytest.fixture(scope="session")
def stored(make) -> Callable[..., Any]:
    """Return a function that writes what `make` builds into a folder and opens it again."""

    def build(folder: Path, **how: Any) -> Any:
        import warnings

        import spatialdata

        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*autosharding.*")
            make(**how).write(folder)
        return spatialdata.read_zarr(folder)

    return build


@pytest.fixture(scope="session")
def state() -> Callable[[Any], dict[str, Any]]:
    """Return a function that describes all that a failed call must leave alone."""

    def describe(sdata: Any) -> dict[str, Any]:
        tables = {}
        for name, table in sdata.tables.items():
            kept = {"obs": table.obs.copy(), "obs_names": list(table.obs_names), "uns": repr(sorted(table.uns.items()))}
            kept["obsm"] = {key: np.array(value) for key, value in table.obsm.items()}
            tables[name] = kept
        elements = {
            kind: {k: id(v) for k, v in getattr(sdata, kind).items()}
            for kind in ("images", "labels", "shapes", "points", "tables")
        }
        return {"elements": elements, "tables": tables, "attrs": dict(sdata.attrs)}

    return describe


@pytest.fixture(scope="session")
def unchanged(state) -> Callable[[dict[str, Any], dict[str, Any]], None]:
    """Return a function that asserts that two states are the same."""

    def same(before: dict[str, Any], after: dict[str, Any]) -> None:
        assert before["elements"] == after["elements"]
        assert before["attrs"] == after["attrs"]
        for name, table in before["tables"].items():
            now = after["tables"][name]
            assert table["obs"].equals(now["obs"])
            assert table["obs_names"] == now["obs_names"]
            assert table["uns"] == now["uns"]
            assert table["obsm"].keys() == now["obsm"].keys()
            for key, value in table["obsm"].items():
                np.testing.assert_array_equal(value, now["obsm"][key])

    return same
