"""What goes wrong on a slide: loss of focus, saturating debris, folds."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from kronos_sc.datasets._sim.streams import Streams, smooth_noise

ARTIFACTS = {"blur": 1, "saturation": 2, "fold": 3}
BLUR = 3.2  # µm, standard deviation out of focus


def _blob(rng: np.random.Generator, shape: tuple[int, int], radius: float) -> np.ndarray:
    """Return one uneven disc of about `radius` pixels, its centre inside the image."""
    cy, cx = rng.uniform(0.2, 0.8, 2) * shape
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    distance = np.sqrt((rows - cy) ** 2 + (columns - cx) ** 2).astype(np.float32) / np.float32(radius)
    return distance + np.float32(0.18) * smooth_noise(rng, shape, radius / 2) < 1


def _band(rng: np.random.Generator, shape: tuple[int, int], width: float) -> np.ndarray:
    """Return a winding band `width` pixels wide right across the image."""
    cy, cx = rng.uniform(0.3, 0.7, 2) * shape
    angle = rng.uniform(0, np.pi)
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    across = ((rows - cy) * np.cos(angle) - (columns - cx) * np.sin(angle)).astype(np.float32)
    return np.abs(across + np.float32(width) * smooth_noise(rng, shape, 4 * width)) < width / 2


def artifact_mask(
    streams: Streams, name: str | int, shape: tuple[int, int], mpp: float, kinds: tuple[str, ...]
) -> np.ndarray:
    """Return the codes of :data:`ARTIFACTS` per pixel, uint8.

    Where two meet, debris lies on folds and folds on blur.
    """
    mask = np.zeros(shape, dtype=np.uint8)
    side = min(shape)
    # the generator is asked for in any case: artifacts do not change what the others look like
    for kind in ("blur", "fold", "saturation"):
        rng = streams.get("artifact", kind, name)
        if kind not in kinds:
            continue
        if kind == "fold":
            area = _band(rng, shape, min(22 / mpp, 0.15 * side))
        elif kind == "blur":
            area = _blob(rng, shape, 0.2 * side)
        else:
            area = _blob(rng, shape, min(16 / mpp, 0.12 * side))
        mask[area] = ARTIFACTS[kind]
    return mask


def damage(signal: np.ndarray, mask: np.ndarray, mpp: float) -> np.ndarray:
    """Return the signal (fraction of the camera's range) with the artifacts of `mask` in it."""
    if not mask.any():
        return signal
    damaged = signal.copy()
    blurred, folded, debris = (mask == ARTIFACTS[kind] for kind in ("blur", "fold", "saturation"))
    if blurred.any():
        damaged[blurred] = ndimage.gaussian_filter(signal, BLUR / mpp, truncate=3.0)[blurred]
    if folded.any():
        # Two layers on top of each other: the neighbouring strip shows through, neither in focus.
        shift = round(18 / mpp)
        layers = ndimage.gaussian_filter(signal + np.roll(signal, (shift, shift), axis=(0, 1)), 0.8 / mpp, truncate=3.0)
        damaged[folded] = layers[folded]
    damaged[debris] = 4  # far above the range whatever the noise
    return damaged
