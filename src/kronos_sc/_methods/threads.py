"""Threads of libraries, for the length of a block."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from contextlib import AbstractContextManager


def one_thread(*, blas: bool = False) -> AbstractContextManager[object]:
    """Return a context in which OpenMP (scikit-learn's k-means, torch on the CPU) works on one thread.

    What was set before comes back.

    With `blas`, products and eigenvectors of numpy and scipy as well. For hundreds of small fits: waking threads for
    each takes longer than the fit, and ten times longer where other programs want the cores.
    """
    from threadpoolctl import threadpool_limits

    return threadpool_limits(1, user_api=None if blas else "openmp")
