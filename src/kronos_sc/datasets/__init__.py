"""Data to work with: a tissue simulator that needs no download and knows the truth."""

from __future__ import annotations

from kronos_sc.datasets._tissue import tissue

__all__ = ["tissue"]
