"""Preparing data: which channel is which marker, statistics, grids of patches, tables for segmentations."""

from kronos_sc.pp._label_table import label_table
from kronos_sc.pp._marker_stats import marker_stats
from kronos_sc.pp._panel import match_markers
from kronos_sc.pp._tile import tile

__all__ = ["label_table", "marker_stats", "match_markers", "tile"]
