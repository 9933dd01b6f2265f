"""Embeddings on disk: one Zarr group per embedding, written block by block, each block whole or absent."""

from kronos_sc._store._folder import attributes, begun, beside, found_beside, require_free
from kronos_sc._store._identity import differences
from kronos_sc._store._lock import held
from kronos_sc._store._mend import mend
from kronos_sc._store._new import Spec, names_sha256
from kronos_sc._store._stage import Finished, Staged, Stager
from kronos_sc._store._store import EmbeddingStore

__all__ = [
    "EmbeddingStore",
    "Finished",
    "Spec",
    "Staged",
    "Stager",
    "attributes",
    "begun",
    "beside",
    "differences",
    "found_beside",
    "held",
    "mend",
    "names_sha256",
    "require_free",
]
