"""From light to pixels: blur, spill-over, illumination, noise and the camera's integers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

PSF = 0.5  # µm, standard deviation of the point spread
HALO = 3.0  # µm, side of the box that scattered light is spread over, twice
HALO_SHARE = 0.15
FULL_WELL = 2500.0  # electrons at the top of the range: shot noise
READ_NOISE = 0.002  # of the range
EXPOSURE = {8: 0.55, 16: 0.3}  # of the range, a bright positive cell; 8-bit files have usually been rescaled
TILE = 420.0  # µm, one field of view of the stitched scan
STRIP = 64  # rows


@dataclass(frozen=True)
class Staining:
    """One channel in one batch: gain, background and autofluorescence, in units of a bright positive cell."""

    gain: float
    background: float
    glow: float


def spread_light(light: np.ndarray, mpp: float) -> np.ndarray:
    """Blur by the optics and let some of the light spill over into the neighbourhood."""
    sharp = ndimage.gaussian_filter(light, PSF / mpp, truncate=3.0)
    side = max(3, 2 * round(HALO / mpp) // 2 + 1)
    halo = ndimage.uniform_filter(ndimage.uniform_filter(light, side), side)
    return np.float32(1 - HALO_SHARE) * sharp + np.float32(HALO_SHARE) * halo


def shading(rng: np.random.Generator, shape: tuple[int, int], mpp: float) -> np.ndarray:
    """Return the illumination, darker towards the corners of each field of view, as a float32 factor."""
    side = TILE / mpp
    depth = rng.uniform(0.02, 0.1)
    axes = []
    for length in shape:
        place = ((np.arange(length) + rng.uniform(0, side)) % side) / side - 0.5 + rng.uniform(-0.1, 0.1)
        axes.append((1 - depth * 4 * place**2).astype(np.float32))
    return axes[0][:, None] * axes[1][None, :]


def _strips(height: int) -> list[slice]:
    """Cut rows into strips whose temporaries stay in the processor's cache."""
    return [slice(start, start + STRIP) for start in range(0, height, STRIP)]


def expose(light: np.ndarray, glow: np.ndarray, staining: Staining, shade: np.ndarray, bit_depth: int) -> np.ndarray:
    """Return the noiseless signal as a float32 fraction of the camera's range."""
    signal = np.empty_like(light)
    for rows in _strips(len(light)):
        lit = np.float32(staining.gain) * light[rows] + np.float32(staining.glow) * glow[rows]
        signal[rows] = np.float32(EXPOSURE[bit_depth]) * (lit * shade[rows] + np.float32(staining.background))
    return signal


def record(rng: np.random.Generator, signal: np.ndarray, bit_depth: int) -> np.ndarray:
    """Add shot and read noise and return uint8 or uint16.

    Counts are large where it matters, and a Poisson variable is then a normal one; one draw stands for both noises.
    """
    top = 2**bit_depth - 1
    pixels = np.empty(signal.shape, dtype=np.uint8 if bit_depth == 8 else np.uint16)
    for rows in _strips(len(signal)):
        clean = signal[rows]
        spread = np.sqrt(np.maximum(clean, 0) / np.float32(FULL_WELL) + np.float32(READ_NOISE**2))
        noisy = clean + spread * rng.standard_normal(clean.shape, dtype=np.float32)
        pixels[rows] = np.clip(np.rint(noisy * np.float32(top)), 0, top)
    return pixels
