"""Exact nearest neighbours by brute force: a matrix product rules most pairs out, float64 settles the rest.

With q and r centred (distances stay, lengths shrink), ‖q − r‖² = ‖q‖² + ‖r‖² − 2 q·r. The products are computed in
float32, or in bfloat16 where the processor multiplies fast in it, with the error bounded in advance: a pair is passed
over only if no rounding could have made it one of the k nearest. The others, a few dozen per query, are measured in
float64 from the rows as given. So the answer is that of a double loop in float64, and neither the number format nor the
sizes of blocks change it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
from numba import get_num_threads

from kronos_sc._core.arrays import writable
from kronos_sc._core.checks import one_of, positive_integer
from kronos_sc._core.instructions import capabilities, usable
from kronos_sc._core.progress import bar
from kronos_sc._methods.screen import bfloat16_shift, inverse_lengths, prepare, settle

METRICS = ("euclidean", "cosine")
PRECISIONS = ("auto", "float32", "bfloat16")
Blocks = Iterable[tuple[np.ndarray, np.ndarray]]

# scores at once: 16 MB of float32
_QUERIES = 1024
_REFERENCES = 4096
_FIRST = 256
_HELD = 2**25  # numbers of a block of references (134 MB)
_WORTH = 3e11  # multiplications from which bfloat16 pays for loading torch
_LOADED = 2e10  # the same where torch is loaded anyway
_PARTS = 3  # columns that hold a float32 as a sum of bfloat16


def top_k(
    references: np.ndarray | Blocks, queries: np.ndarray, k: int, *, metric: str = "euclidean", precision: str = "auto"
) -> tuple[np.ndarray, np.ndarray]:
    """Return distance (float32) and row number (int64) of the `k` references nearest to each query, both queries × k.

    Nearest first; of equal distances the lower row number. Beyond the arrays given, memory stays below 0.5 GB up to
    16,000 features, however many rows there are.

    Parameters
    ----------
    references
        Rows (n × d), or blocks (row numbers, rows) read one after the other, row numbers increasing throughout.
    queries
        Rows (q × d). All values are float32 and finite.
    k
        How many, at most the number of references.
    metric
        `"euclidean"`, or `"cosine"`: 1 − cos of the angle, 0 to 2; a row of zeros is at distance 1 from everything.
    precision
        Number format of the matrix product; it changes the time, not the answer.
    """
    one_of(metric, METRICS, name="metric")
    one_of(precision, PRECISIONS, name="precision")
    k = positive_integer(k, name="k")
    if isinstance(references, np.ndarray):
        _enough(len(references), k)
    queries = np.ascontiguousarray(queries, dtype=np.float32)
    blocks, total = _blocks(references, len(queries))
    search = None
    count = 0
    threads = get_num_threads()
    with ThreadPoolExecutor(threads) as pool, bar(total=total, description="searching", unit="block") as shown:
        for numbers, rows in blocks:
            if rows.shape[1:] != queries.shape[1:]:
                msg = f"References have {rows.shape[1:]} features and queries {queries.shape[1:]}; both need the same."
                raise ValueError(msg)
            if search is None:  # the first block shows how wide rows are, and where their centre lies
                bfloat16 = _use_bfloat16(precision, len(queries) * rows.size)
                cosine = metric == "cosine"
                search = _Search(queries, k, rows, cosine=cosine, bfloat16=bfloat16, pool=pool, threads=threads)
            count += len(rows)
            for _ in search.against(numbers, rows):
                shown.update()
    _enough(count, k)
    square = search.distance
    if not np.isfinite(square).all():
        msg = (
            f"{int((~np.isfinite(square).all(axis=1)).sum()):,} queries have fewer than {k} references at a finite "
            "distance. Leave rows with NaN out."
        )
        raise ValueError(msg)
    # between vectors of length 1, half the squared distance is 1 − cos
    distance = square / 2 if metric == "cosine" else np.sqrt(square)
    return distance.astype(np.float32), search.index


def _enough(n_references: int, k: int) -> None:
    if n_references < k:
        msg = f"k={k} neighbours were asked for, and there are {n_references} references. Lower k."
        raise ValueError(msg)


def _blocks(
    references: np.ndarray | Blocks, n_queries: int
) -> tuple[Iterator[tuple[np.ndarray, np.ndarray]], int | None]:
    """Return references block by block, and the number of steps if it is known."""
    if not isinstance(references, np.ndarray):
        return iter(references), None
    step = max(256, _HELD // max(references.shape[1], 1))
    starts = range(0, len(references), step)
    parts = ((np.arange(s, min(s + step, len(references))), references[s : s + step]) for s in starts)
    return parts, len(starts) * -(-n_queries // _QUERIES)


class _Search:
    """The lists of neighbours of all queries, and what is needed to bring them up to date with more references.

    Parameters
    ----------
    queries
        All of them (float32).
    k
        Length of a list.
    sample
        The first references: their mean becomes the centre.
    cosine
        Compare directions.
    bfloat16
        Compute products in bfloat16.
    pool, threads
        Threads that pass over scores; the product has its own.
    """

    def __init__(
        self,
        queries: np.ndarray,
        k: int,
        sample: np.ndarray,
        *,
        cosine: bool,
        bfloat16: bool,
        pool: ThreadPoolExecutor,
        threads: int,
    ):
        self.queries = queries
        self.cosine = cosine
        self.bfloat16 = bfloat16
        self.pool = pool
        self.threads = threads
        self.distance = np.full((len(queries), k), np.inf)
        self.index = np.full((len(queries), k), -1, np.int64)
        # the mean of the first references, prepared like all that is compared, but not centred yet
        self.centre = np.zeros(queries.shape[1])
        first, _, _ = self._prepared(np.ascontiguousarray(sample[:_REFERENCES], np.float32))
        self.centre = first[:, : -2 * _PARTS].mean(axis=0, dtype=np.float64)
        self.buffer = np.empty(_QUERIES * _REFERENCES, np.uint32)
        starts = range(0, len(queries), _QUERIES) if bfloat16 else ()
        self.rounding = max(
            (self._rounding(self._prepared(queries[start : start + _QUERIES])[0]) for start in starts), default=0.0
        )

    def against(self, numbers: np.ndarray, rows: np.ndarray) -> Iterator[None]:
        """Compare all queries with a block of references; yields after each block of queries."""
        rows = np.ascontiguousarray(rows, dtype=np.float32)
        numbers = np.asarray(numbers, np.int64)
        ready, weight, norm = self._prepared(rows)
        bfloat16 = None
        reference = ready
        slack = 0.0
        for start in range(0, len(self.queries), _QUERIES):
            if bfloat16 != self.bfloat16:
                bfloat16 = self.bfloat16
                rounding = (self.rounding, self._rounding(ready)) if bfloat16 else (0.0, 0.0)
                slack = _slack(ready.shape[1], *rounding)
                reference = _reference_side(ready, norm * (1 - slack), bfloat16=bfloat16)
            chosen = slice(start, start + _QUERIES)
            query, query_weight, query_norm = self._prepared(self.queries[chosen])
            query = _query_side(query, bfloat16=bfloat16)
            measured = 0
            for part in self._steps(chosen, len(rows)):
                floor, level = self._levels(chosen, query_norm * (1 - slack), query.shape[1])
                _shift(query, level)
                scores = _product(query, reference[part], self.buffer)
                measured += self._settle(
                    scores, chosen, (query_weight, floor, level), (rows[part], weight[part], numbers[part])
                )
            # where bfloat16 cannot tell neighbours from others, measuring them costs more than it saves
            if measured > len(query) * (50 * self.index.shape[1] + len(rows) // 50):
                self.bfloat16 = False
            yield

    def _steps(self, chosen: slice, count: int) -> list[slice]:
        """Return parts of the references.

        The very first is small, because nothing is known yet that could rule out any.
        """
        first = _FIRST if np.isinf(self.distance[chosen]).any() else _REFERENCES
        edges = [0, *range(first, count, _REFERENCES), count]
        return [slice(a, b) for a, b in pairwise(edges)]

    def _levels(self, chosen: slice, floor: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
        """Return `floor`, lowered by what one more summand may round, and that summand.

        The summand is the score (float32) that a new neighbour has to reach now. Scores are counted from there, so that
        those in question are near 0, where bfloat16 is fine: else its eight bits would be those of the queries'
        lengths.
        """
        worst = self.distance[chosen, -1]
        level = np.where(np.isfinite(worst), (floor - worst) / 2, 0).astype(np.float32)
        return floor - _slack(width, 0, 0) * np.abs(level), level

    def _prepared(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return centred rows with room for 2 · `_PARTS` columns, their weights and squared lengths."""
        out = np.empty((len(rows), rows.shape[1] + 2 * _PARTS), np.float32)
        weight = np.ones(len(rows))
        norm = np.empty(len(rows))
        if self.cosine:
            inverse_lengths(rows, weight)
        self._share(len(rows), lambda s: prepare(rows[s], weight[s], self.centre, out[s], norm[s]))
        return out, weight, norm

    def _rounding(self, ready: np.ndarray) -> float:
        """Return the largest share of its length by which bfloat16 moves a row.

        It is at most 2⁻⁸, and less than half of that as a rule.
        """
        width = ready.shape[1] - 2 * _PARTS
        return max(self._share(len(ready), lambda s: bfloat16_shift(ready[s], width)), default=0.0)

    def _settle(
        self, scores: np.ndarray, chosen: slice, query: tuple[np.ndarray, ...], reference: tuple[np.ndarray, ...]
    ) -> int:
        """Pass over one block of scores; returns how many pairs were measured."""
        queries = (self.queries[chosen], *query)
        lists = (self.distance[chosen], self.index[chosen])
        return sum(
            self._share(
                len(scores), lambda s: settle(scores[s], *(x[s] for x in queries), *reference, *(x[s] for x in lists))
            )
        )

    def _share(self, count: int, work: Callable[[slice], Any]) -> list[Any]:
        """Return the results of `work` on consecutive rows, one slice per thread."""
        step = max(1, -(-count // self.threads))
        return list(self.pool.map(work, [slice(first, min(first + step, count)) for first in range(0, count, step)]))


def _slack(width: int, query: float, reference: float) -> float:
    """Return c such that the computed q·r is off by at most c (‖q‖² + ‖r‖²) / 2, everything that rounds included.

    A sum of `width` products in float32 is off by at most width · 2⁻²⁴ · Σ|qᵢrᵢ| in any order (Higham 2002, 3.1), with
    twice that as the half length of r is one of the summands; centring, lengths and the final subtraction add a few
    units. Rounding to bfloat16 moves q and r by shares `query` and `reference` of their lengths. |q·r| ≤ (‖q‖² + ‖r‖²)
    / 2.
    """
    return 2 * (width + 32) * 2.0**-24 + query + (1 + query) * reference


def _reference_side(ready: np.ndarray, norm: np.ndarray, *, bfloat16: bool) -> Any:
    """Return references (n × d + 6) whose product with the other side is q·r − `norm` / 2 − level.

    As an array, or as a tensor of bfloat16.
    """
    ready[:, -2 * _PARTS : -_PARTS] = _parts(-0.5 * norm)
    ready[:, -_PARTS:] = 1
    return _bfloat16(ready) if bfloat16 else ready


def _query_side(ready: np.ndarray, *, bfloat16: bool) -> Any:
    """Return queries (n × d + 6), as array or as tensor of bfloat16; `_shift` sets their level."""
    ready[:, -2 * _PARTS : -_PARTS] = 1
    return _bfloat16(ready) if bfloat16 else ready


def _shift(query: Any, level: np.ndarray) -> None:
    """Let scores count from `level`."""
    parts = _parts(-level)
    query[:, -_PARTS:] = parts if isinstance(query, np.ndarray) else _bfloat16(parts)


def _parts(values: np.ndarray) -> np.ndarray:
    """Return columns (n × 3) that add up to `values` in float32.

    Each takes eight leading bits, which bfloat16 holds exactly.
    """
    out = np.empty((len(values), _PARTS), np.float32)
    rest = values.astype(np.float32)
    for column in out.T:
        column[:] = (rest.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
        rest = rest - column
    return out


def _bfloat16(rows: np.ndarray) -> Any:
    import torch

    return torch.from_numpy(writable(rows)).to(torch.bfloat16)


def _product(query: Any, reference: Any, buffer: np.ndarray) -> np.ndarray:
    """Return scores (queries × references) as bit patterns, in the memory of `buffer`."""
    shape = (len(query), len(reference))
    size = shape[0] * shape[1]
    if isinstance(query, np.ndarray):
        out = buffer[:size].reshape(shape)
        np.matmul(query, reference.T, out=out.view(np.float32))
        return out
    import torch

    out = buffer.view(np.uint16)[:size].reshape(shape)
    scores = torch.from_numpy(out.view(np.int16)).view(torch.bfloat16)
    if _has("amx_bf16", "avx512_bf16"):
        torch.mm(query, reference.T, out=scores)
    else:  # the same sums, rounded the same once; without instructions for bfloat16, torch multiplies by plain loops
        scores.copy_(query.float() @ reference.T.float())
    return out


def _use_bfloat16(precision: str, multiplications: int) -> bool:
    """Whether to compute products in bfloat16.

    As told, or where there is enough to do and the processor has tiles for it (AMX).
    """
    if precision != "auto":
        return precision == "bfloat16"
    if multiplications < (_LOADED if "torch" in sys.modules else _WORTH):
        return False
    return _has("amx_bf16")


def _has(*names: str) -> bool:
    """Return whether this process may use one of some instruction sets, by torch's names; loads torch."""
    import torch

    return usable(capabilities(torch.cpu), *names)
