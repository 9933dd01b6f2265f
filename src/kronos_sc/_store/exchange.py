"""Two folders that trade places in one step, where the system can."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from kronos_sc._storage.files import swap

if TYPE_CHECKING:
    from pathlib import Path

_HERE = -100  # AT_FDCWD: paths are as the process sees them
_SWAP = 2  # RENAME_EXCHANGE of Linux and RENAME_SWAP of macOS


def put(new: Path, target: Path, *, aside: Path) -> None:
    """Put a finished folder in the place of another one, and the other one out of the way.

    One step on Linux (`renameat2`) and macOS (`renamex_np`) on the usual local file systems: whoever looks finds the
    old folder or the new one. Elsewhere (NFS, Windows) two renames, between which nothing is there for some
    microseconds; the old folder then is `aside`.
    """
    if not exchange(new, target):
        swap(new, target, aside=aside)


def exchange(one: Path, other: Path) -> bool:
    """Let two paths trade places.

    False if that cannot be done here, whatever the reason: a plain rename will say why.
    """
    import ctypes

    if sys.platform not in ("linux", "darwin"):
        return False
    system = ctypes.CDLL(None)
    paths = os.fsencode(one), os.fsencode(other)
    if sys.platform == "darwin":
        return getattr(system, "renamex_np", _cannot)(*paths, ctypes.c_uint(_SWAP)) == 0
    # an old libc may lack the function, an old kernel or a network file system answers with an error
    return getattr(system, "renameat2", _cannot)(_HERE, paths[0], _HERE, paths[1], ctypes.c_uint(_SWAP)) == 0


def _cannot(*arguments: object) -> int:
    return -1
