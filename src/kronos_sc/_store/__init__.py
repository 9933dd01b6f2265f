"""Embeddings on disk: one Zarr group per embedding, written block by block, each block whole or absent."""

from kronos_sc._store.differences import differences
from kronos_sc._store.folder import attributes, begun, beside, found_beside, require_free
from kronos_sc._store.lock import lock_store
from kronos_sc._store.new import Spec, names_sha256
from kronos_sc._store.repair import repair_store
from kronos_sc._store.stage import BlockWriter, FeatureBlock, StagedBlock
from kronos_sc._store.store import EmbeddingStore

__all__ = [
    "EmbeddingStore",
    "FeatureBlock",
    "Spec",
    "StagedBlock",
    "BlockWriter",
    "attributes",
    "begun",
    "beside",
    "differences",
    "found_beside",
    "lock_store",
    "repair_store",
    "names_sha256",
    "require_free",
]
