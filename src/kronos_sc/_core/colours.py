"""Colours of classes, for figures and for files that others draw."""

from __future__ import annotations

# The first eight follow Okabe & Ito (2008), for readers with a colour vision deficiency; the others are as far from all before as can be.
EIGHT = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#56b4e9", "#cc79a7", "#c2b200", "#7a3e9d")
MORE = ("#80701a", "#e0186a", "#86e08c", "#f47be0", "#3b7d80", "#a8484c", "#4aa51c", "#7472ff", "#5fe0d8", "#c58f66", "#cba0f8", "#ddcaab")


def class_colours(count: int) -> list[str]:
    """Return colours (#rrggbb) for so many classes; beyond twenty they come round again."""
    every = [*EIGHT, *MORE]
    return [every[i % len(every)] for i in range(count)]
