"""Representations of units: any entry of `obsm` or `X`, in memory or not, read by rows or block by block."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from kronos_sc._core import lazy
from kronos_sc._core.checks import known, listed, repeated
from kronos_sc._core.log import info
from kronos_sc._core.progress import track
from kronos_sc._core.record import is_embedding
from kronos_sc._core.settings import settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from anndata import AnnData

BASELINE = "X_mean_marker"
_NO_EMBEDDING = {BASELINE, "X_pca", "X_umap", "X_tsne", "X_draw_graph_fa", "X_diffmap"}
_FIX = "Name an entry of obsm, or 'X', with use_rep=; embed with tl.embed(sdata)."


@dataclass(frozen=True)
class Representation:
    """One vector per unit, wherever it lies.

    Parameters
    ----------
    name
        Key of `obsm`, or `"X"`.
    values
        Array-like (units × features): numpy, frame, sparse, dask, Zarr or HDF5. Only :meth:`rows` and :meth:`blocks`
        read it.
    """

    name: str
    values: Any

    @property
    def label(self) -> str:
        """Name as people say it: without the `X_` of its slot."""
        return self.name.removeprefix("X_") or self.name

    @property
    def n_units(self) -> int:
        """Number of rows."""
        return int(self.values.shape[0])

    @property
    def width(self) -> int:
        """Number of features."""
        return int(self.values.shape[1])

    @property
    def in_memory(self) -> bool:
        """Whether all of it is a plain numpy array, so that slices cost nothing."""
        return isinstance(self.values, np.ndarray)

    def rows(self, index: np.ndarray | slice | None = None) -> np.ndarray:
        """Return rows as float32 (n × features, C order), in the order of `index` (row numbers, a mask or a slice).

        All if left out.
        """
        if index is None:
            index = slice(None)
        elif not isinstance(index, slice):
            index = np.asarray(index)
            if index.dtype == bool:
                index = np.flatnonzero(index)
        return np.ascontiguousarray(lazy.computed(_take(self.values, index)), dtype=np.float32)

    def blocks(
        self, index: np.ndarray | None = None, *, size: int | None = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield (row numbers, rows as float32) until all of `index`, or all rows, were read.

        A block holds `size` rows, or what `settings.block_memory` allows. Chunks of a dask array are computed once,
        wherever blocks end.
        """
        rows = np.arange(self.n_units) if index is None else np.asarray(index)
        step = size or self._rows_per_block
        source = self
        if lazy.is_lazy(self.values):
            most = max(step, self._rows_per_block)
            source = replace(self, values=lazy.ForwardReader(self.values, most=most))
        for start in range(0, len(rows), step):
            part = rows[start : start + step]
            # a run of rows is read as a slice: one contiguous read wherever the array lies
            is_run = len(part) == part[-1] - part[0] + 1 and bool((np.diff(part) == 1).all())
            yield part, source.rows(slice(int(part[0]), int(part[-1]) + 1) if is_run else part)

    @property
    def _rows_per_block(self) -> int:
        """Rows that `settings.block_memory` holds; rows are read whole."""
        return max(1, settings.block_memory // (4 * max(int(self.values.shape[1]), 1)))

    @cached_property
    def finite(self) -> np.ndarray:
        """Which rows hold numbers throughout (bool, one per unit).

        `tl.embed` leaves NaN in rows of regions it was not asked for.

        A pass over all features; for a dask array its result is remembered as long as the array lives.
        """
        return lazy.remembered(self.values, self._read_finite)

    def _read_finite(self) -> np.ndarray:
        mask = np.zeros(self.n_units, bool)
        n_blocks = -(-self.n_units // self._rows_per_block)
        for part, values in track(self.blocks(), total=n_blocks, description="look for NaN", unit="block"):
            mask[part] = np.isfinite(values.sum(axis=1, dtype=np.float64))
        mask.setflags(write=False)
        return mask


def representation(adata: AnnData, name: str) -> Representation:
    """Return one representation by the key of its slot."""
    if name == "X":
        if adata.X is None or adata.n_vars == 0:
            msg = f"This table has no X (obsm has: {listed(adata.obsm)}). {_FIX}"
            raise KeyError(msg)
        return Representation("X", adata.X)
    known(name, list(adata.obsm), what="representation in obsm", fix=_FIX)
    values = adata.obsm[name]
    if getattr(values, "ndim", 2) != 2:
        msg = f"obsm[{name!r}] has the shape {values.shape}; one row of features per unit is needed. {_FIX}"
        raise ValueError(msg)
    return Representation(name, values)


def representations(adata: AnnData, use_rep: str | Sequence[str] | None) -> list[Representation]:
    """Return the representations to compare: those named, or all on record, and always mean marker expression.

    Mean marker expression is `obsm["X_mean_marker"]` (`tl.embed(sdata, model="mean-marker")`) or else `X`. It comes
    last unless it was named elsewhere: a claim about an embedding is a comparison with it.
    """
    if isinstance(use_rep, str):
        use_rep = [use_rep]
    named = _on_record(adata) if use_rep is None else list(use_rep)

    baseline = None
    if BASELINE in adata.obsm:
        baseline = BASELINE
    elif adata.X is not None and adata.n_vars:
        baseline = "X"
    if baseline is None:
        info("no mean marker expression to compare with; tl.embed(sdata, model='mean-marker') adds it")
    elif BASELINE not in named and baseline not in named:
        named.append(baseline)
    if not named:
        msg = f"This table has no embedding on record and no X (obsm has: {listed(adata.obsm)}). {_FIX}"
        raise KeyError(msg)

    chosen = [representation(adata, name) for name in dict.fromkeys(named)]
    if twice := repeated([rep.label for rep in chosen]):
        msg = (
            f"Two representations go by the name {listed(twice)} once the 'X_' is left out. Rename one of them in obsm."
        )
        raise ValueError(msg)
    return chosen


def _on_record(adata: AnnData) -> list[str]:
    """Return the embeddings that `tl.embed` has on record, in the order of `obsm`.

    Without the baseline, which goes last.
    """
    recorded = [key for key, entry in adata.uns.items() if is_embedding(entry)]
    slots = {name for key in recorded for name in (f"X_{key}", f"X_{key}_cls")}
    embeddings = [name for name in adata.obsm if name in slots and name != BASELINE]
    others = [name for name in adata.obsm if name.startswith("X_") and name not in _NO_EMBEDDING]
    if not embeddings and not recorded and others:
        msg = (
            f"obsm has {listed(others)}, and no record of tl.embed says which of them are embeddings (anndata.concat "
            "drops records unless uns_merge='same'). Name them with use_rep=."
        )
        raise ValueError(msg)
    return embeddings


def _take(values: Any, index: np.ndarray | slice) -> Any:
    """Return rows of an array-like in the order asked for, reading each once."""
    if isinstance(values, lazy.ForwardReader):
        return values.take(index)
    if hasattr(values, "iloc"):
        return values.iloc[index]
    if isinstance(values, np.ndarray) or isinstance(index, slice):
        return values[index]
    # arrays on disk want increasing rows, and read a range faster than they pick
    unique, back = np.unique(index, return_inverse=True)
    if lazy.is_dense(unique):
        return lazy.computed(values[int(unique[0]) : int(unique[-1]) + 1])[index - unique[0]]
    picked = values.oindex[unique] if hasattr(values, "oindex") else values[unique]
    return lazy.computed(picked)[back]
