"""A network on another device or in another number format, the original left as it is."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch

Net = TypeVar("Net", bound=torch.nn.Module)


def copy_to(net: Net, device: torch.device, dtype: torch.dtype) -> Net:
    """Return a copy of a network; the network itself if it is there already."""
    parameter = next(net.parameters())
    if parameter.device == device and parameter.dtype == dtype:
        return net
    # converted tensors stand in for the originals while the modules are copied, so that nothing is copied twice
    converted = {id(t): _convert(t, device, dtype) for t in (*net.parameters(), *net.buffers())}
    return copy.deepcopy(net, converted)


def _convert(tensor: torch.Tensor, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """Return a copy of a parameter or buffer on a device and in a number format."""
    new_dtype = dtype if tensor.is_floating_point() else None
    values = tensor.detach().to(device=device, dtype=new_dtype, copy=True)
    if isinstance(tensor, torch.nn.Parameter):
        return torch.nn.Parameter(values, requires_grad=False)
    return values
