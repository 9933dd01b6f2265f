"""Compiled functions, kept for the next process where there is a place for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def compiled(*signature: str, **options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a decorator that compiles a function, which then runs without the interpreter's lock.

    A container may have no place to keep the result: neither beside the source nor in the user's cache. It is then
    compiled anew in each process.

    Parameters
    ----------
    signature
        Types to compile for at once, if not at the first call.
    options
        Further options of `numba.njit`.
    """
    import numba

    njit: Any = numba.njit  # its types know neither signatures in a tuple nor options in a mapping

    def compile_(function: Callable[..., Any]) -> Callable[..., Any]:
        try:
            return njit(*signature, cache=True, nogil=True, **options)(function)
        except (RuntimeError, OSError):  # no place to look in; none to write to
            return njit(*signature, nogil=True, **options)(function)

    return compile_
