"""Drawing: reads slots and pixels, returns Axes; never computes, shows or saves."""

from kronos_sc.pl._image import image
from kronos_sc.pl._markers import markers
from kronos_sc.pl._patches import patches
from kronos_sc.pl._spatial import spatial

__all__ = ["image", "markers", "patches", "spatial"]
