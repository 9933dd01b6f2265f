"""Cell types of the simulator: how they look, where they live, what a group changes about them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

REGIONS = ("nest", "stroma", "follicle", "vessel")
GROUPS = ("A", "B")


@dataclass(frozen=True)
class Phenotype:
    """One cell type; lengths are semi-axes in µm.

    Attributes
    ----------
    long, short
        Semi-axes a cell would have with nobody around; neighbours cut it to size.
    nucleus_long, nucleus_short
        Semi-axes of the nucleus.
    nest, stroma, follicle
        Relative abundance per compartment; vessels are built, not sampled.
    cycling
        Fraction of cells in cycle.
    infiltrates
        Belongs to the immune cells that thin out towards the middle of a nest and gather in patches of stroma.
    shift
        Natural logarithm of the factor on the abundance in group B.
    """

    long: float
    short: float
    nucleus_long: float
    nucleus_short: float
    nest: float = 0.0
    stroma: float = 0.0
    follicle: float = 0.0
    cycling: float = 0.02
    infiltrates: bool = False
    shift: float = 0.0


PHENOTYPES: dict[str, Phenotype] = {
    "Tumor": Phenotype(8.6, 7.6, 4.5, 3.7, nest=100, stroma=0.6, cycling=0.3),
    "CD4 T cell": Phenotype(
        4.9, 4.6, 3.1, 2.9, nest=6, stroma=13, follicle=15, cycling=0.04, infiltrates=True, shift=0.3
    ),
    "CD8 T cell": Phenotype(
        4.9, 4.6, 3.1, 2.8, nest=9, stroma=10, follicle=3, cycling=0.08, infiltrates=True, shift=1.3
    ),
    "Treg": Phenotype(4.8, 4.5, 3.0, 2.8, nest=2, stroma=4, follicle=2, cycling=0.1, infiltrates=True, shift=-0.7),
    "B cell": Phenotype(4.9, 4.7, 3.2, 3.0, nest=0.3, stroma=4, follicle=62, cycling=0.1, infiltrates=True, shift=0.4),
    "Plasma cell": Phenotype(6.0, 5.0, 3.1, 2.8, nest=0.2, stroma=5, follicle=1, infiltrates=True),
    "Follicular DC": Phenotype(8.5, 5.5, 3.8, 2.7, follicle=9),
    "Dendritic cell": Phenotype(7.0, 4.6, 3.5, 2.6, nest=1, stroma=4, follicle=2, infiltrates=True, shift=0.4),
    "M1 macrophage": Phenotype(7.4, 6.0, 3.6, 3.0, nest=2, stroma=5, follicle=1.5, infiltrates=True, shift=0.6),
    "M2 macrophage": Phenotype(7.6, 6.0, 3.6, 3.0, nest=3, stroma=10, follicle=0.5, infiltrates=True, shift=-0.9),
    "Neutrophil": Phenotype(5.0, 4.7, 3.0, 2.4, nest=0.6, stroma=3, infiltrates=True),
    "Fibroblast": Phenotype(13.5, 3.4, 5.8, 1.9, nest=0.8, stroma=34, follicle=1),
    "Endothelial": Phenotype(8.5, 2.6, 4.2, 1.4, nest=0.6, stroma=3, follicle=0.8),
    "Smooth muscle": Phenotype(11.0, 3.0, 5.6, 1.5, stroma=0.8),
}
CELL_TYPES = tuple(PHENOTYPES)
CODE = {name: code for code, name in enumerate(CELL_TYPES)}
REGION_CODE = {name: code for code, name in enumerate(REGIONS)}


def attribute(name: str) -> np.ndarray:
    """Return one attribute of every cell type, float32, in the order of `CELL_TYPES`."""
    return np.array([getattr(phenotype, name) for phenotype in PHENOTYPES.values()], dtype=np.float32)


def abundance() -> np.ndarray:
    """Return relative abundances, float64, regions × cell types.

    Zeros for vessels, whose cells are placed one by one.
    """
    sampled = [attribute(region).astype(np.float64) for region in REGIONS[:3]]
    return np.stack([*sampled, np.zeros(len(CELL_TYPES))])
