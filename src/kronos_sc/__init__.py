"""Foundation models of multiplexed tissue images for scverse.

Pixels of a SpatialData go in, an embedding in an AnnData comes out. The namespaces follow scanpy: `io` and `datasets`
bring data in, `pp` prepares it, `models` holds the networks, `tl` computes, `pl` draws, `get` hands plain arrays and
frames back.

Importing this package loads none of torch, spatialdata, scanpy or pyplot: each namespace is loaded at its first use.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING

from kronos_sc._core.settings import settings

if TYPE_CHECKING:
    from kronos_sc import datasets, get, io, markers, models, patches, pl, pp, tl

__version__ = version("kronos-sc")
_NAMESPACES = ("io", "datasets", "markers", "patches", "pp", "models", "tl", "pl", "get")
__all__ = ["__version__", "datasets", "get", "io", "markers", "models", "patches", "pl", "pp", "settings", "tl"]


def __getattr__(name: str) -> object:
    if name in _NAMESPACES:
        return import_module(f"kronos_sc.{name}")
    msg = f"module 'kronos_sc' has no attribute {name!r}; namespaces: {', '.join(_NAMESPACES)}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    return sorted(__all__)
