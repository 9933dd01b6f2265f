"""Preparing data: which channel is which marker, statistics, grids of patches, tables for segmentations."""

from kronos_sc.pp._label_table import label_table
from kronos_sc.pp._majority_labels import majority_labels
from kronos_sc.pp._marker_stats import marker_stats
from kronos_sc.pp._match_markers import match_markers
from kronos_sc.pp._nested_subsets import nested_subsets
from kronos_sc.pp._spatial_folds import spatial_folds
from kronos_sc.pp._tile import tile

__all__ = ["label_table", "majority_labels", "marker_stats", "match_markers", "nested_subsets", "spatial_folds", "tile"]
