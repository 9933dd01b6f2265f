"""Building a corpus from people's images.

Chunked stores, valid patches, marker statistics and a page for manual review.
"""

from kronos_pretrain.corpus_build.builder import Summary, build
from kronos_pretrain.corpus_build.manifest import Manifest
from kronos_pretrain.corpus_build.read import read as read_manifest

__all__ = ["Manifest", "Summary", "build", "read_manifest"]
