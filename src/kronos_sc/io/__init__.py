"""Files → SpatialData: TIFF images and masks, and the pixel size that goes with them."""

from kronos_sc.io._pixel_size import set_pixel_size
from kronos_sc.io._tiff import read_tiff

__all__ = ["read_tiff", "set_pixel_size"]
