"""Which pixels belong to which unit: units → plan → blocks → reader; numpy and dask, no torch."""

from kronos_sc.patches._crop import covered, crop, crop_masks
from kronos_sc.patches._exclude import Exclusion, exclusion, exclusions
from kronos_sc.patches._grid import grid
from kronos_sc.patches._labels import label_table
from kronos_sc.patches._loaded import PixelBlock
from kronos_sc.patches._plan import Block, ReadPlan, plan
from kronos_sc.patches._raster import Raster, pixel_size, raster
from kronos_sc.patches._reader import read, require_stored, windows
from kronos_sc.patches._rect import Rect
from kronos_sc.patches._target import EmbedTarget, target
from kronos_sc.patches._units import Units, units

__all__ = [
    "Block",
    "Exclusion",
    "PixelBlock",
    "ReadPlan",
    "Raster",
    "Rect",
    "EmbedTarget",
    "Units",
    "covered",
    "crop",
    "crop_masks",
    "exclusion",
    "exclusions",
    "grid",
    "label_table",
    "pixel_size",
    "plan",
    "raster",
    "read",
    "require_stored",
    "target",
    "units",
    "windows",
]
