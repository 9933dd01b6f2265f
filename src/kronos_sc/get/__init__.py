"""Plain arrays and frames out: pixels of units, embeddings with named axes, records."""

from kronos_sc.get._embedding import embedding, record
from kronos_sc.get._feature_names import feature_names
from kronos_sc.get._patches import patches
from kronos_sc.get._result import result

__all__ = ["embedding", "feature_names", "patches", "record", "result"]
