"""A network on another device or in another number format, the original left as it is."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch

Net = TypeVar("Net", bound=torch.nn.Module)


def at(net: Net, device: torch.device, dtype: torch.dtype) -> Net:
    """Return a copy of a network; the network itself if it is there already."""
    here = next(net.parameters())
    if here.device == device and here.dtype == dtype:
        return net
    # converted tensors stand in for the originals while the modules are copied: nothing is copied first and converted
    # then
    return copy.deepcopy(net, {id(t): _moved(t, device, dtype) for t in (*net.parameters(), *net.buffers())})


def _moved(tensor: torch.Tensor, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """Return a copy of a parameter or buffer on a device and in a number format."""
    values = tensor.detach().to(device=device, dtype=dtype if tensor.is_floating_point() else None, copy=True)
    return torch.nn.Parameter(values, requires_grad=False) if isinstance(tensor, torch.nn.Parameter) else values
