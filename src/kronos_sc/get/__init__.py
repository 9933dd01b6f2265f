"""Plain arrays and frames out: pixels of units, embeddings with named axes, records."""

from kronos_sc.get._embedding import embedding, record
from kronos_sc.get._patches import patches
from kronos_sc.get._result import result

__all__ = ["embedding", "patches", "record", "result"]
