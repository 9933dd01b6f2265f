"""What a run says about itself."""

from __future__ import annotations

from kronos_pretrain.watch.collapse import monitors
from kronos_pretrain.watch.log import read

__all__ = ["monitors", "read"]
