"""Compiled: windows of a block → input of a model on a processor, in one pass over the pixels that count."""

# Shapes: b units, m markers, s pixels; a block has rows × columns pixels per marker.
from __future__ import annotations

import numpy as np
from numba import njit

from kronos_sc._core.compiled import compiled

_HALF = np.uint32(16)


@compiled()
def spans(mask_bss: np.ndarray, first_bs: np.ndarray, last_bs: np.ndarray, pixels_b: np.ndarray) -> None:
    """Write where each row of a mask begins and ends, and how many pixels a mask has in all.

    An empty row begins and ends at 0.
    """
    units, size, _ = mask_bss.shape
    for i in range(units):
        total = 0
        for r in range(size):
            row = mask_bss[i, r]
            count = 0
            for q in range(size):
                count += row[q]
            begin = end = 0
            if count:
                end = size
                while not row[begin]:
                    begin += 1
                while not row[end - 1]:
                    end -= 1
            first_bs[i, r] = begin
            last_bs[i, r] = end
            total += count
        pixels_b[i] = total


@njit(nogil=True, inline="always")
def _bfloat16(bits: np.uint32) -> np.uint32:
    """Return the upper half of a float32, rounded to the nearest, ties to even."""
    return (bits + np.uint32(0x7FFF) + ((bits >> _HALF) & np.uint32(1))) >> _HALF


# `contract` lets a product and a sum round once, as torch's addcmul does: the numbers are the same, bit for bit
@compiled(fastmath={"contract"})
def fill(
    block: np.ndarray,
    corners: tuple[np.ndarray, np.ndarray],
    scale: tuple[np.ndarray, np.ndarray, np.ndarray],
    mask_bss: np.ndarray,
    ends: tuple[np.ndarray, np.ndarray],
    out_bmss: np.ndarray,
) -> None:
    """Write `pixel · gain + zero` where the mask holds and `outside` elsewhere.

    Parameters
    ----------
    block
        Pixels (m, rows, columns).
    corners
        First row and first column of each window.
    scale
        Gain, zero and outside of each marker (float32).
    mask_bss
        Which pixels count (bool).
    ends
        Where each row of the masks begins and ends; what lies beyond is neither read nor computed.
    out_bmss
        Bits of float32 (uint32) or bfloat16 (uint16).
    """
    y, x = corners
    gain, zero, outside = scale
    first, last = ends
    size: int
    units, markers, size, _ = out_bmss.shape
    half = out_bmss.itemsize == 2
    values = np.empty(size + 1, np.float32)
    bits = values.view(np.uint32)
    for i in range(units):
        for c in range(markers):
            g = gain[c]
            z = zero[c]
            k = outside[c]
            # the value outside goes through the same rounding as the others, once per marker
            values[size] = k
            beyond = _bfloat16(bits[size]) if half else bits[size]
            for r in range(size):
                begin = first[i, r]
                end = last[i, r]
                out_bmss[i, c, r, :begin] = beyond
                out_bmss[i, c, r, end:] = beyond
                source = block[c, y[i] + r, x[i] + begin : x[i] + end]
                out = out_bmss[i, c, r, begin:end]
                mask = mask_bss[i, r, begin:end]
                # numbers first, then their bits: `bits` is a view of `values`
                for q in range(end - begin):
                    value = np.float32(source[q]) * g + z
                    values[q] = value if mask[q] else k
                if half:
                    for q in range(end - begin):
                        out[q] = _bfloat16(bits[q])
                else:
                    for q in range(end - begin):
                        out[q] = bits[q]
