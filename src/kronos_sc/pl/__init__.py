"""Drawing: reads slots and pixels, returns Axes; never computes, shows or saves."""

from kronos_sc.pl._attention import attention
from kronos_sc.pl._attention_map import attention_map
from kronos_sc.pl._batch_matrix import batch_matrix
from kronos_sc.pl._batch_pairs import batch_pairs
from kronos_sc.pl._cases import cases
from kronos_sc.pl._class_scores import class_scores
from kronos_sc.pl._confusion import confusion
from kronos_sc.pl._curve import curve
from kronos_sc.pl._enrichment import enrichment
from kronos_sc.pl._image import image
from kronos_sc.pl._importance import importance
from kronos_sc.pl._map import map  # noqa: A004 - as a user calls it: pl.map
from kronos_sc.pl._markers import markers
from kronos_sc.pl._patches import patches
from kronos_sc.pl._retrieval import retrieval
from kronos_sc.pl._roc import roc
from kronos_sc.pl._scores import scores
from kronos_sc.pl._spatial import spatial

__all__ = [
    "attention",
    "attention_map",
    "batch_matrix",
    "batch_pairs",
    "cases",
    "class_scores",
    "confusion",
    "curve",
    "enrichment",
    "image",
    "importance",
    "map",
    "markers",
    "patches",
    "retrieval",
    "roc",
    "scores",
    "spatial",
]
