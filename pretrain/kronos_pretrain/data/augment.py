"""Changes of intensity of views: gain, offset, blur, noise and marker dropout; all off unless asked for."""

# Shapes: v views, b samples, t sets of markers, m markers, s × s pixels of a view.
from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from kronos_sc._core.arrays import writable

if TYPE_CHECKING:
    from kronos_pretrain.config.schema import Augment


class Draws(NamedTuple):
    """Random numbers of one sample.

    Drawn in full whatever is switched on, so that one setting does not change another's numbers.

    Parameters
    ----------
    normal
        For gain and offset (v, m, 2).
    share
        Uniform, for the amount of blur and of noise (v, 2).
    survival
        Uniform, for dropout (v, m).
    key
        Of the noise, one per view (v,), int64.
    """

    normal: np.ndarray
    share: np.ndarray
    survival: np.ndarray
    key: np.ndarray


class Changes(NamedTuple):
    """What happens to each view of each sample; `None` where a change is off.

    Parameters
    ----------
    gain, offset, dropped
        Factor on what exceeds the zero signal, constant, and whether the marker is set to its mean (v, b, m).
    sigma, noise, key
        Blur in pixels, standard deviation of the noise, and its key (v, b).
    """

    gain: torch.Tensor | None = None
    offset: torch.Tensor | None = None
    dropped: torch.Tensor | None = None
    sigma: torch.Tensor | None = None
    noise: torch.Tensor | None = None
    key: torch.Tensor | None = None

    def part(self, views: slice) -> Changes:
        """Return the changes of some of the views."""
        return Changes(*(None if change is None else change[views] for change in self))


def used(config: Augment) -> bool:
    """Return whether anything is switched on."""
    return any((config.gain, config.offset, config.blur, config.noise, config.marker_dropout))


def draw(rng: np.random.Generator, *, views: int, markers: int) -> Draws:
    """Draw the random numbers of one sample."""
    return Draws(
        rng.standard_normal((views, markers, 2), dtype=np.float32),
        rng.random((views, 2), dtype=np.float32),
        rng.random((views, markers), dtype=np.float32),
        rng.integers(2**63, size=views, dtype=np.int64),
    )


def stack(draws: list[Draws], config: Augment, *, device: torch.device) -> Changes:
    """Turn the random numbers of samples into changes on a device."""
    # view by view, then sample by sample: the order of the views themselves
    normal, share, survival, key = (
        torch.from_numpy(writable(np.stack(numbers, axis=1))).to(device) for numbers in zip(*draws, strict=True)
    )
    changes: dict[str, torch.Tensor] = {}
    if config.gain:
        changes["gain"] = torch.exp(config.gain * normal[..., 0])
    if config.offset:
        changes["offset"] = config.offset * normal[..., 1]
    if config.marker_dropout:
        changes["dropped"] = survival < config.marker_dropout
        changes["dropped"][..., 0] = False  # the nuclear stain stays
    if config.blur:
        changes["sigma"] = config.blur * share[..., 0]
    if config.noise:
        changes["noise"] = config.noise * share[..., 1]
        changes["key"] = key
    return Changes(**changes)


def apply(pixels_vbmss: torch.Tensor, changes: Changes, zero_btm: torch.Tensor | None) -> torch.Tensor:
    """Change views in place, all but the blur, which is part of their resampling.

    View i has set i modulo t of the markers.

    Parameters
    ----------
    pixels_vbmss
        Views.
    changes
        Theirs.
    zero_btm
        What zero intensity became by the z-score; needed for a gain.
    """
    if changes.gain is not None:
        if zero_btm is None:
            msg = (
                "augment.gain needs the z-score of zero intensity, and the samples carry none: fill Samples.zero, or "
                "set augment.gain=0."
            )
            raise ValueError(msg)
        sets = torch.arange(len(pixels_vbmss), device=pixels_vbmss.device) % zero_btm.shape[1]
        zero_vbm = zero_btm.to(pixels_vbmss.device).transpose(0, 1)[sets]
        # zero + gain (x - zero)
        pixels_vbmss.mul_(_wide(changes.gain)).add_(_wide(zero_vbm * (1 - changes.gain)))
    if changes.offset is not None:
        pixels_vbmss.add_(_wide(changes.offset))
    if changes.noise is not None and changes.key is not None:
        pixels_vbmss.addcmul_(white_noise(changes.key, pixels_vbmss.shape[2:]), _wide(changes.noise[..., None]))
    if changes.dropped is not None:
        pixels_vbmss.masked_fill_(_wide(changes.dropped), 0.0)
    return pixels_vbmss


def white_noise(key: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """Return standard normal numbers (…, *shape), each a function of its crop's key and its place in the crop.

    SplitMix64 (Steele et al. 2014) of key + place · γ, then Box–Muller: no state, so all crops are made at once, on any
    device.
    """
    place = torch.arange(math.prod(shape), device=key.device)
    bits = key[..., None] + place * _signed(0x9E3779B97F4A7C15)
    bits = (bits ^ _shifted(bits, 30)).mul_(_signed(0xBF58476D1CE4E5B9))
    bits = (bits ^ _shifted(bits, 27)).mul_(_signed(0x94D049BB133111EB))
    bits ^= _shifted(bits, 31)
    radius = (_shifted(bits, 40).float() + 0.5).mul_(2.0**-24).log_().mul_(-2).sqrt_()
    angle = (bits & 0xFFFFFF).float().mul_(2.0**-24 * 2 * math.pi)
    return radius.mul_(angle.cos_()).unflatten(-1, shape)


def _signed(word: int) -> int:
    """Return an unsigned 64-bit word as the signed one with the same bits; torch multiplies those modulo 2^64."""
    return word - 2**64 if word >= 2**63 else word


def _shifted(bits: torch.Tensor, by: int) -> torch.Tensor:
    """Shift right without copies of the sign."""
    return (bits >> by) & (2 ** (64 - by) - 1)


def _wide(values: torch.Tensor) -> torch.Tensor:
    return values[..., None, None]
