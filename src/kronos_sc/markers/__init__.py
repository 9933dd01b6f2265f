"""Markers: what a model knows, and which of it the channels of an image are."""

from kronos_sc.markers._check import check
from kronos_sc.markers._concepts import recognise
from kronos_sc.markers._marker import Marker
from kronos_sc.markers._match import match
from kronos_sc.markers._paper import paper_vocabulary
from kronos_sc.markers._vocabulary import Vocabulary

__all__ = ["Marker", "Vocabulary", "paper_vocabulary", "match", "check", "recognise"]
