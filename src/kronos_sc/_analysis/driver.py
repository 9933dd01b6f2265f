"""What every verb does around its computation: a free key, a clock, the table or a copy of it, one line of log.

A verb checks its arguments, plans, announces, computes arrays, stores and finishes::

    run = AnalysisRun(adata, "ari", key_added or f"{target}_ari", copy=copy)
    ...
    run.announce("what is about to be computed")
    ...
    run.store(params=params, tables=tables, obs={run.key: labels})
    return run.finish(f"added uns[{run.key!r}] ({run.elapsed})")
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any

from kronos_sc._core import results
from kronos_sc._core.free_key import free_key
from kronos_sc._core.log import info

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from anndata import AnnData


class AnalysisRun:
    """One call of a verb, from its key to the table that it returns.

    Nothing is written before :meth:`store`, so an error on the way leaves the table as it was.

    Parameters
    ----------
    adata
        Table that the verb was called with.
    kind
        Name of the verb, as the record says it.
    key
        Name of the result; an error is raised if something would be lost to it.
    inputs
        Columns that the call reads, which the result must not replace.
    copy
        Whether results go to a copy of the table.
    """

    def __init__(self, adata: AnnData, kind: str, key: str, *inputs: str | None, copy: bool) -> None:
        self.key = free_key(adata, key, *inputs)
        self.kind = kind
        self._copy = copy
        self._table = adata
        self._started = perf_counter()

    def announce(self, text: str | None = None) -> None:
        """Start the clock, after a line of log on what is about to be computed if there is one."""
        if text is not None:
            info(text)
        self._started = perf_counter()

    @property
    def elapsed(self) -> str:
        """Time since the announcement, as a line of log says it."""
        return f"{perf_counter() - self._started:.1f} s"

    def store(
        self,
        *,
        params: Mapping[str, Any],
        tables: Mapping[str, pd.DataFrame],
        obs: Mapping[str, Any] | None = None,
        obsm: Mapping[str, Any] | None = None,
        **arrays: Any,
    ) -> None:
        """Write all of the result at once: columns, entries of `obsm`, and the record `uns[key]`.

        Parameters
        ----------
        params
            What was run.
        tables
            Frames by name, the first being the main one.
        obs, obsm
            Values by slot name, one row per unit.
        arrays
            Arrays of the record by name.
        """
        # the copy is made here and not earlier, so that memory holds it only once there is something to write
        if self._copy:
            self._table = self._table.copy()
        for name, column in (obs or {}).items():
            self._table.obs[name] = column
        for name, values in (obsm or {}).items():
            self._table.obsm[name] = values
        results.store(self._table, self.key, kind=self.kind, params=params, tables=tables, **arrays)

    def finish(self, text: str) -> AnnData | None:
        """Log what was added, and return the new table if there is one."""
        info(text)
        return self._table if self._copy else None
