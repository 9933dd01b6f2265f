"""Embeddings on disk: one Zarr group per embedding, written block by block, each block whole or absent."""

from kronos_sc._store._folder import exists, require_free
from kronos_sc._store._identity import differences
from kronos_sc._store._lock import held
from kronos_sc._store._stage import Finished, Staged, Stager
from kronos_sc._store._store import EmbeddingStore, Spec, names_sha256

__all__ = ["EmbeddingStore", "Finished", "Spec", "Staged", "Stager", "differences", "exists", "held", "names_sha256", "require_free"]
