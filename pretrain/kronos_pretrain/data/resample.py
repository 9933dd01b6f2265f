"""Resampling as matrix products: crops of any size, place and orientation in a few batched multiplications."""

# Shapes: b samples, v views, m markers, h × w pixels of a sample, s × s pixels of a view.
from __future__ import annotations

import torch


def weights(
    start: torch.Tensor, length: torch.Tensor, reverse: torch.Tensor, *, size: int, extent: int
) -> torch.Tensor:
    """Return matrices (…, size, extent) that cut a stretch out of an axis and resize it.

    By antialiased bicubic interpolation: the kernel is Keys's (1981, a = -1/2), widened by the factor of reduction;
    taps outside the stretch are left out and the rest normalised, as `F.interpolate(mode="bicubic", antialias=True)`
    does to the stretch alone. A stretch of length `size` is copied exactly.

    Parameters
    ----------
    start, length
        First pixel and number of pixels of each stretch (…), integers.
    reverse
        Whether to turn the result round (…), bool.
    size
        Pixels after resizing.
    extent
        Pixels of the axis.
    """
    start = start[..., None, None]
    length = length[..., None, None]
    device = start.device
    to = torch.arange(size, device=device)[:, None]
    to = torch.where(reverse[..., None, None], size - 1 - to, to)
    tap = torch.arange(extent, device=device) - start
    # distance of centres in units of the kernel: the numerator is a whole number, exact in float32, so that only the
    # division rounds
    numerator = ((2 * tap + 1) * size).float() - ((2 * to + 1) * length).float()
    distance = numerator.abs_().div_(2 * length.clamp(min=size))
    # Keys's kernel in truncated powers of u = 2 - |x| and v = 1 - |x|: u²(u - 1) / 2 + v²(1 - 2v)
    u = (2 - distance).clamp_(min=0)
    v = (1 - distance).clamp_(min=0)
    kernel = u.square().mul_(u.sub_(1).mul_(0.5)).add_(v.square().mul_(v.mul_(-2).add_(1)))
    kernel = kernel.mul_((tap >= 0) & (tap < length))
    return kernel.div_(kernel.sum(-1, keepdim=True))


def blur(sigma: torch.Tensor, size: int) -> torch.Tensor:
    """Return matrices (…, size, size) that blur an axis by Gaussians of these standard deviations (…) in pixels.

    0 changes nothing.
    """
    place = torch.arange(size, device=sigma.device, dtype=torch.float32)
    distance = (place[:, None] - place) / sigma[..., None, None].clamp(min=1e-3)
    return torch.softmax(-0.5 * distance.square(), dim=-1)


def apply(
    pixels_bmhw: torch.Tensor, rows_vbsh: torch.Tensor, columns_vbsw: torch.Tensor, turn_vb: torch.Tensor
) -> torch.Tensor:
    """Return every view (v, b, m, s, s): rows · pixels · columnsᵀ, transposed where `turn_vb`.

    The markers stand side by side in the first product and the rows of all markers one below the other in the second,
    so that neither pixels nor matrices are copied for each view.
    """
    v, b, s, h = rows_vbsh.shape
    _, m, _, w = pixels_bmhw.shape
    wide = pixels_bmhw.transpose(1, 2).reshape(b, h, m * w)
    with torch.autocast(pixels_bmhw.device.type, enabled=False):
        tall = rows_vbsh.transpose(0, 1).reshape(b, v * s, h) @ wide
        resized = tall.view(b, v, s * m, w) @ columns_vbsw.permute(1, 0, 3, 2)
    out_vbmss = resized.view(b, v, s, m, s).permute(1, 0, 3, 2, 4)
    turned = turn_vb[:, :, None, None, None]
    return torch.where(turned, out_vbmss.transpose(-1, -2), out_vbmss).contiguous()
