"""Markers the simulator knows: where in the cell each sits and which cell types carry it."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from kronos_sc.datasets._sim.phenotypes import CELL_TYPES

if TYPE_CHECKING:
    from collections.abc import Mapping

T_CELLS = {"CD4 T cell": 1.0, "CD8 T cell": 1.0, "Treg": 0.9}
LEUKOCYTES = {
    **T_CELLS,
    "B cell": 0.9,
    "Plasma cell": 0.3,
    "Dendritic cell": 0.7,
    "M1 macrophage": 0.6,
    "M2 macrophage": 0.5,
    "Neutrophil": 0.7,
}
ANTIGEN_PRESENTING = {
    "B cell": 0.8,
    "Dendritic cell": 1.0,
    "M1 macrophage": 0.9,
    "M2 macrophage": 0.5,
    "Follicular DC": 0.3,
    "Tumor": 0.1,
}
MESENCHYMAL = {"Fibroblast": 1.0, "Endothelial": 0.8, "Smooth muscle": 0.7, "M2 macrophage": 0.4, "M1 macrophage": 0.4}
EVERY_CELL = dict.fromkeys(CELL_TYPES, 1.0)


@dataclass(frozen=True)
class Marker:
    """One marker; a level of 1 is a bright positive cell.

    Attributes
    ----------
    location
        Part of the cell that carries it: `nucleus`, `membrane`, `cytoplasm` or `granules`.
    levels
        Mean level per cell type; types left out are negative.
    state
        Cell state that scales the levels: `proliferation`, `activation` or none.
    floor
        Part of the level that a cell has with its state at zero.
    matrix, matrix_level
        Structure outside the cells that carries the marker too, `fibres` or `mesh`, and how brightly.
    brightness
        Of the antibody and its dye, relative to the others.
    """

    location: str
    levels: Mapping[str, float] = field(default_factory=dict)
    state: str | None = None
    floor: float = 0.0
    matrix: str | None = None
    matrix_level: float = 0.0
    brightness: float = 1.0

    def profile(self) -> np.ndarray:
        """Return the level per cell type, float32, in the order of `CELL_TYPES`."""
        return np.array([self.levels.get(name, 0.0) for name in CELL_TYPES], dtype=np.float32)


MARKERS: Mapping[str, Marker] = MappingProxyType(
    {
        "DAPI": Marker("nucleus", EVERY_CELL, state="proliferation", floor=0.75, brightness=1.2),
        "CD3": Marker("membrane", T_CELLS),
        "CD4": Marker(
            "membrane",
            {"CD4 T cell": 1.0, "Treg": 0.9, "M1 macrophage": 0.25, "M2 macrophage": 0.25, "Dendritic cell": 0.2},
        ),
        "CD8": Marker("membrane", {"CD8 T cell": 1.0}, brightness=0.9),
        "FOXP3": Marker("nucleus", {"Treg": 1.0, "CD4 T cell": 0.04}, brightness=0.6),
        "CD20": Marker("membrane", {"B cell": 1.0}),
        "CD21": Marker(
            "membrane", {"Follicular DC": 1.0, "B cell": 0.3}, matrix="mesh", matrix_level=0.5, brightness=0.9
        ),
        "CD68": Marker("granules", {"M1 macrophage": 1.0, "M2 macrophage": 1.0, "Dendritic cell": 0.15}),
        "CD163": Marker("membrane", {"M2 macrophage": 1.0, "M1 macrophage": 0.12}, brightness=0.8),
        "CD11C": Marker(
            "membrane", {"Dendritic cell": 1.0, "M1 macrophage": 0.6, "M2 macrophage": 0.2}, brightness=0.8
        ),
        "HLA-DR": Marker("membrane", ANTIGEN_PRESENTING, state="activation", floor=0.5),
        "CD31": Marker("membrane", {"Endothelial": 1.0}),
        "A-SMA": Marker("cytoplasm", {"Smooth muscle": 1.0, "Fibroblast": 0.12}),
        "VIMENTIN": Marker("cytoplasm", {**MESENCHYMAL, **dict.fromkeys((*T_CELLS, "B cell"), 0.2)}, brightness=0.8),
        "COLLAGEN": Marker("cytoplasm", {"Fibroblast": 0.35, "Smooth muscle": 0.3}, matrix="fibres", matrix_level=1.0),
        "CYTOKERATIN": Marker("cytoplasm", {"Tumor": 1.0}),
        "E-CADHERIN": Marker("membrane", {"Tumor": 1.0}, brightness=0.9),
        "KI-67": Marker("nucleus", EVERY_CELL, state="proliferation", brightness=0.9),
        "PD1": Marker(
            "membrane",
            {"CD4 T cell": 0.8, "CD8 T cell": 1.0, "Treg": 0.6},
            state="activation",
            floor=0.05,
            brightness=0.5,
        ),
        "CD45": Marker("membrane", LEUKOCYTES),
        "CD2": Marker("membrane", T_CELLS, brightness=0.9),
        "CD5": Marker("membrane", {**T_CELLS, "B cell": 0.15}, brightness=0.8),
        "CD15": Marker("granules", {"Neutrophil": 1.0}),
        "CD19": Marker("membrane", {"B cell": 1.0, "Plasma cell": 0.3}, brightness=0.7),
        "CD25": Marker("membrane", {"Treg": 1.0, "CD4 T cell": 0.2}, state="activation", floor=0.5, brightness=0.5),
        "CD34": Marker("membrane", {"Endothelial": 0.9}),
        "CD35": Marker("membrane", {"Follicular DC": 1.0, "B cell": 0.2}, matrix="mesh", matrix_level=0.5),
        "CD38": Marker("membrane", {"Plasma cell": 1.0, "CD8 T cell": 0.1}),
        "CD138": Marker("membrane", {"Plasma cell": 1.0, "Tumor": 0.25}, brightness=0.8),
        "CD206": Marker("membrane", {"M2 macrophage": 0.9}, brightness=0.7),
        "EPCAM": Marker("membrane", {"Tumor": 1.0}),
        "GZMB": Marker("granules", {"CD8 T cell": 1.0}, state="activation", brightness=0.7),
        "LAG3": Marker("membrane", {"CD8 T cell": 1.0, "Treg": 0.5}, state="activation", brightness=0.4),
        "MPO": Marker("granules", {"Neutrophil": 1.0}, brightness=1.1),
        "PAX5": Marker("nucleus", {"B cell": 1.0}, brightness=0.8),
        "PD-L1": Marker(
            "membrane", {"M1 macrophage": 0.9, "Dendritic cell": 0.6, "Tumor": 0.35}, state="activation", brightness=0.5
        ),
    }
)
DEFAULT_PANEL = tuple(MARKERS)[:20]
