"""Files → SpatialData: TIFF images and masks, and the pixel size that goes with them.

Outlines from and to QuPath; one embedding → a store that is there.
"""

from kronos_sc.io._pixel_size import set_pixel_size
from kronos_sc.io._read_embedding import read_embedding
from kronos_sc.io._read_geojson import read_geojson
from kronos_sc.io._tiff import read_tiff
from kronos_sc.io._write_embedding import recover, write_embedding
from kronos_sc.io._write_geojson import write_geojson

__all__ = [
    "read_embedding",
    "read_geojson",
    "read_tiff",
    "set_pixel_size",
    "write_embedding",
    "write_geojson",
    "recover",
]
