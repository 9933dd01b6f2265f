"""Files as a newcomer has them."""

from __future__ import annotations

from pathlib import Path

import pytest
import tifffile

import kronos_sc as ks

PANEL = (
    "DAPI",
    "CD3",
    "CD4",
    "CD8",
    "CD20",
    "CD68",
    "CD31",
    "CYTOKERATIN",
    "PD1",
    "COLLAGEN",
)  # what pages name; quick to embed


@pytest.fixture(scope="session")
def files(tmp_path_factory) -> Path:
    """A folder with an OME-TIFF, its mask, a folder of one TIFF per channel, and a panel."""
    folder = tmp_path_factory.mktemp("files")
    sdata = ks.datasets.tissue(shape=(192, 192), channels=PANEL, rng=1)
    pixels = sdata["image"].to_numpy()
    names = sdata["image"].c.to_numpy().tolist()
    metadata = {"axes": "CYX", "Channel": {"Name": names}, "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
    tifffile.imwrite(folder / "core.ome.tif", pixels, metadata=metadata)
    tifffile.imwrite(folder / "core_mask.tif", sdata["cells"].to_numpy())
    (folder / "core_channels").mkdir()
    for name, plane in zip(names, pixels, strict=True):
        tifffile.imwrite(folder / "core_channels" / f"{name}.tif", plane)
    (folder / "panel.csv").write_text(
        "cycle,marker\n" + "".join(f"{i // 4},{name}\n" for i, name in enumerate(names)), encoding="utf-8"
    )
    return folder
