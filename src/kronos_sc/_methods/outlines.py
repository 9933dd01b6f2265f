"""Outlines of class maps; `io` draws cells with the same function, which is why it stands in `_core`."""

from kronos_sc._core.outlines import outlines

__all__ = ["outlines"]
