"""A rectangle of pixels."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Rect:
    """Rows `y0`–`y1` and columns `x0`–`x1`, ends excluded; may reach beyond the image."""

    y0: int
    y1: int
    x0: int
    x1: int

    def meet(self, other: Rect) -> Rect | None:
        """Return the common part, or None."""
        y0 = max(self.y0, other.y0)
        y1 = min(self.y1, other.y1)
        x0 = max(self.x0, other.x0)
        x1 = min(self.x1, other.x1)
        if y0 >= y1 or x0 >= x1:
            return None
        return Rect(y0, y1, x0, x1)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.y1 - self.y0, self.x1 - self.x0
