"""Encoders: KRONOS and its kin, baselines and plug-ins, behind one interface.

Torch only; no AnnData, no SpatialData.
"""

from kronos_sc.models._card import Card
from kronos_sc.models._model import Model
from kronos_sc.models._registry import card, list_models, load, register
from kronos_sc.models._weights import save
from kronos_sc.models.encoders.kronos import KronosModel
from kronos_sc.models.nets.config import ViTConfig
from kronos_sc.models.nets.vit import Features, KronosViT

__all__ = [
    "Card",
    "Features",
    "KronosModel",
    "KronosViT",
    "Model",
    "ViTConfig",
    "card",
    "list_models",
    "load",
    "register",
    "save",
]
