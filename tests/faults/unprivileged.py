"""A superuser who may not write everywhere: read-only folders are read-only for the rest of this process."""

from __future__ import annotations

import ctypes
import os

# `man capabilities`: write to and read from files whatever their permissions say, and change what others own
_OVERRIDES = (1 << 1) | (1 << 2)  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
_VERSION = 0x20080522


def obey_permissions() -> bool:
    """Give up, for this thread and all that it starts, what lets a superuser pass over permissions.

    Returns whether permissions count now; they do for everybody else anyway, and cannot be made to outside Linux. There
    is no way back: call it in a process of its own.
    """
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return hasattr(os, "geteuid")
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "capset"):
        return False
    header = (ctypes.c_uint32 * 2)(_VERSION, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable: low words, then high words
    if libc.capget(header, sets):
        return False
    for index in (0, 1, 2):
        sets[index] &= ~_OVERRIDES
    return libc.capset(header, sets) == 0
