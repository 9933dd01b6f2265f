"""Compiled inner loops of the neighbour search: prepare rows, pass over scores, settle candidates in float64."""

from __future__ import annotations

import numpy as np

from kronos_sc._core.compiled import compiled

CHUNK = 128  # scores tested at once, a few vector registers


@compiled()
def inverse_lengths(rows: np.ndarray, out: np.ndarray) -> None:
    """Write one over the length of each row (float64) to `out`; 0 for a row of zeros."""
    for i in range(rows.shape[0]):
        square = 0.0
        for j in range(rows.shape[1]):
            square += np.float64(rows[i, j]) * np.float64(rows[i, j])
        out[i] = 1.0 / np.sqrt(square) if square > 0 else 0.0


@compiled()
def prepare(rows: np.ndarray, weight: np.ndarray, centre: np.ndarray, out: np.ndarray, norm: np.ndarray) -> None:
    """Write `rows · weight − centre` (n × d) to the first columns of `out`, and its squared length to `norm` (float64).

    A weight of 0 stands for a row without direction: it gets a `norm` as if it stood at right angles to everything.
    """
    for i in range(rows.shape[0]):
        total = 0.0
        for j in range(rows.shape[1]):
            value = np.float32(np.float64(rows[i, j]) * weight[i] - centre[j])
            out[i, j] = value
            total += np.float64(value) * np.float64(value)
        norm[i] = total + (1.0 if weight[i] == 0.0 else 0.0)


@compiled(fastmath={"reassoc", "nsz"})
def bfloat16_shift(rows: np.ndarray, width: int) -> float:
    """Return the largest share of its length by which rounding to bfloat16 moves a row.

    Of its first `width` features (float32).
    """
    rounded = np.empty(width, np.uint32)
    back = rounded.view(np.float32)
    worst = 0.0
    for i in range(rows.shape[0]):
        row = rows[i]
        bits = row.view(np.uint32)
        for j in range(width):
            # to the nearest upper half, ties to even
            rounded[j] = (bits[j] + np.uint32(0x7FFF) + ((bits[j] >> np.uint32(16)) & np.uint32(1))) & np.uint32(
                0xFFFF0000
            )
        moved = square = np.float32(0)
        for j in range(width):
            change = row[j] - back[j]
            moved += change * change
            square += row[j] * row[j]
        if square > 0:
            worst = max(worst, moved / square)
    return 1.001 * np.sqrt(worst)  # the sums are in float32


@compiled(fastmath={"reassoc", "nsz"})
def squared_distance(a: np.ndarray, b: np.ndarray, wa: float, wb: float) -> float:
    """Return ‖a·wa − b·wb‖² in float64; equal rows give exactly 0, and a weight of 0 gives 2, as right angles do."""
    if wa == 0.0 or wb == 0.0:
        return 2.0
    total = 0.0
    for j in range(a.size):
        difference = np.float64(a[j]) * wa - np.float64(b[j]) * wb
        total += difference * difference
    return total


@compiled()
def _range(level: float, cell: np.ndarray, shift: int) -> tuple[int, int]:
    """Return (base, span): a score of at least `level` has a bit pattern with `0 <= pattern - base <= span`.

    They are counted without sign. Patterns of floats grow with the number from 0 up, and with its size from the sign
    bit on. `shift` is 16 for bfloat16, the upper half of a float32. One step is spare on either side, for the rounding
    of `level` and of the scores.
    """
    cell[0] = level
    pattern = np.int64(cell.view(np.uint32)[0]) >> shift
    sign = 0x80000000 >> shift
    if 0 < pattern < sign:
        return pattern - 1, sign - pattern
    return 0, min(max(pattern, sign) + 1, 2 * sign - 1)


@compiled()
def _insert(distance: np.ndarray, index: np.ndarray, value: float, number: int) -> None:
    """Put a candidate into its place in a list sorted by distance, then index; the last one drops out."""
    place = distance.size - 1
    while place > 0 and (value < distance[place - 1] or (value == distance[place - 1] and number < index[place - 1])):
        distance[place] = distance[place - 1]
        index[place] = index[place - 1]
        place -= 1
    distance[place] = value
    index[place] = number


@compiled()
def settle(
    scores: np.ndarray,
    queries: np.ndarray,
    query_weight: np.ndarray,
    floor: np.ndarray,
    level: np.ndarray,
    references: np.ndarray,
    reference_weight: np.ndarray,
    numbers: np.ndarray,
    distance: np.ndarray,
    index: np.ndarray,
) -> int:
    """Pass over scores and update the lists of neighbours.

    Scores (queries × references) are bit patterns of float32 or bfloat16, as uint32 or uint16. A reference whose score
    rules it out is passed over, `CHUNK` at a time; any other is measured in float64 and takes its place in `distance`
    (queries × k, squared) and `index`. `floor` (queries) is what the bound leaves of the query's own squared length: a
    reference can be nearer than `d` only if its score reaches `(floor − d²) / 2 − level`. `numbers` (int64) must
    increase from call to call. Returns how many were measured.
    """
    n, width = scores.shape
    last = distance.shape[1] - 1
    kind = scores.dtype.type
    shift = 32 - scores.itemsize * 8
    cell = np.empty(1, np.float32)
    measured = 0
    for i in range(n):
        if distance[i, last] == 0.0:  # later numbers lose a tie
            continue
        low, span = _range((floor[i] - distance[i, last] * (1 + 1e-12)) / 2 - level[i], cell, shift)
        base = kind(low)
        most = kind(span)
        for start in range(0, width, CHUNK):
            part = scores[i, start : start + CHUNK]
            # one pass that the processor vectorises says whether any of a chunk is worth a look
            least = kind(2 * (0x80000000 >> shift) - 1)
            for j in range(part.size):
                least = min(least, kind(part[j] - base))
            if least > most:
                continue
            for j in range(part.size):
                if kind(part[j] - base) > most:
                    continue
                measured += 1
                r = start + j
                value = squared_distance(queries[i], references[r], query_weight[i], reference_weight[r])
                if value < distance[i, last] or (value == distance[i, last] and numbers[r] < index[i, last]):
                    _insert(distance[i], index[i], value, numbers[r])
                    low, span = _range((floor[i] - distance[i, last] * (1 + 1e-12)) / 2 - level[i], cell, shift)
                    base = kind(low)
                    most = kind(span)
            if distance[i, last] == 0.0:
                break
    return measured
