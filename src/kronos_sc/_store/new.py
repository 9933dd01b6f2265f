"""What a store is made of before the first block: arrays, names, edges."""

from __future__ import annotations

import hashlib
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kronos_sc._store import arrays
from kronos_sc._store.stage import BRIGHTEST, PIXELS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import zarr


@dataclass(frozen=True)
class Spec:
    """What a new store is made for.

    Parameters
    ----------
    key
        Name of the embedding.
    kinds
        Width of each kind of features.
    dtype
        Of features: `float32` or `float16`.
    rows
        Row of the table of each stored row (blocks × capacity, int64), -1 where a block has fewer units.
    edge
        Per row of the table, whether the window reaches beyond the image.
    names
        `obs_names` of the table.
    fingerprint
        What must agree on resume: nested dicts of lists, text and numbers.
    excluded
        Per row of the table, whether the caller left it out; None if nothing was to be left out.
    """

    key: str
    kinds: dict[str, int]
    dtype: str
    rows: np.ndarray
    edge: np.ndarray
    names: np.ndarray
    fingerprint: dict[str, Any]
    excluded: np.ndarray | None = None

    @property
    def flags(self) -> dict[str, np.ndarray]:
        """One truth value per row of the table, by name."""
        flags = {"edge": self.edge}
        if self.excluded is not None:
            flags["excluded"] = self.excluded
        return flags


def create_block_arrays(spec: Spec, group: Any) -> dict[str, zarr.Array]:
    """Make the arrays that are written block by block."""
    # (rows of a block, width, dtype); what is one number per unit, or per block, has no width
    blocks, capacity = spec.rows.shape
    layouts = {kind: (capacity, width, spec.dtype) for kind, width in spec.kinds.items()}
    layouts |= {PIXELS: (capacity, None, "int32"), BRIGHTEST: (1, None, "float32")}
    return {
        name: arrays.create(group, name, blocks=blocks, capacity=rows, width=width, dtype=dtype)
        for name, (rows, width, dtype) in layouts.items()
    }


def names_sha256(names: Iterable[object]) -> str:
    """Return the checksum of `obs_names`, order included."""
    return hashlib.sha256(b"".join(str(name).encode() + b"\0" for name in names)).hexdigest()


def write_rows(group: Any, **values: np.ndarray) -> None:
    """Write values of one number per row, each array as one file."""
    for name, array in values.items():
        arrays.create(group, name, blocks=1, capacity=len(array), width=None, dtype=array.dtype.name)[:] = array


def write_names(group: zarr.Group, names: np.ndarray) -> None:
    """Write `obs_names`."""
    from anndata.io import write_elem

    write_elem(group, "names", np.asarray(names, dtype=object))


@contextmanager
def ignore_zarr_warnings() -> Iterator[None]:
    """Text in Zarr 3 is young, and zarr says so each time."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
