"""Computing: one verb per file; the only place where images, models and AnnData meet."""

from kronos_sc.tl._embed import embed

__all__ = ["embed"]
