"""What this process can multiply: the one place that asks which number formats a processor has instructions for.

Half formats need instructions that only some processors have. Without them torch multiplies by plain loops, some eighty
times slower than in float32, and oneDNN's fused product does not exist at all.
"""

from __future__ import annotations

import platform
from contextlib import nullcontext
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

from kronos_sc._core import instructions
from kronos_sc._core.instructions import usable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

_NEEDED = {torch.bfloat16: ("amx_bf16", "avx512_bf16"), torch.float16: ("amx_fp16", "avx512_fp16")}
_ONEDNN_KNOWS = {torch.bfloat16: "_is_mkldnn_bf16_supported", torch.float16: "_is_mkldnn_fp16_supported"}
# What networks multiply matrices with, as functions and as methods.
# Others (in place, with out=) are as slow as torch has them.
_PRODUCTS = {
    F.linear,
    F.bilinear,
    F.conv1d,
    F.conv2d,
    F.conv3d,
    F.conv_transpose1d,
    F.conv_transpose2d,
    F.conv_transpose3d,
    F.scaled_dot_product_attention,
    F.multi_head_attention_forward,
    torch.einsum,
    torch.tensordot,
    torch.inner,
    torch.Tensor.__matmul__,
    torch.Tensor.__rmatmul__,
    *(
        getattr(owner, name)
        for name in ("matmul", "mm", "bmm", "mv", "addmm", "addbmm", "baddbmm", "addmv")
        for owner in (torch, torch.Tensor)
    ),
}


def is_fast(dtype: torch.dtype) -> bool:
    """Return whether matrix products of a number format are faster than those of float32, or it is float32.

    Faster on this processor, that is.
    """
    return dtype not in _NEEDED or (multiplies(dtype) and usable(capabilities(), *_NEEDED[dtype]))


@cache
def multiplies(dtype: torch.dtype) -> bool:
    """Return whether this processor multiplies in a number format by itself.

    Plain loops, or kernels that imitate the format, do not count.
    """
    if dtype not in _NEEDED:
        return True
    supported = getattr(torch.ops.mkldnn, _ONEDNN_KNOWS[dtype], None)
    if supported is None or not torch.backends.mkldnn.is_available() or not supported():
        return False
    # oneDNN imitates bfloat16 on any AVX-512, at a fifth of the speed of float32
    return platform.machine().lower() not in ("x86_64", "amd64") or usable(capabilities(), *_NEEDED[dtype])


@cache
def capabilities() -> Mapping[str, object]:
    """Return the instruction sets of the processor by torch's names; the process may be told to use fewer of them."""
    return instructions.capabilities(torch.cpu)


def limited() -> bool:
    """Return whether this process is told to do without instructions for half formats that the processor has."""
    sets = [name for names in _NEEDED.values() for name in names]
    return any(bool(capabilities().get(name)) and not usable(capabilities(), name) for name in sets)


def name() -> str:
    """Return the instruction sets by which this process computes, for people: `"AVX512, AVX512-BF16"`, say."""
    vectors = torch.backends.cpu.get_cpu_capability()
    if vectors == "DEFAULT":
        vectors = "no vector instructions"
    half_sets = [name for names in _NEEDED.values() for name in reversed(names)]
    usable_sets = [name.upper().replace("_", "-") for name in half_sets if usable(capabilities(), name)]
    return ", ".join([vectors, *usable_sets])


@cache
def fused_linear(dtype: torch.dtype) -> Callable[..., torch.Tensor] | None:
    """Return oneDNN's matrix product with bias and GELU inside, the one torch's own compiler emits; None without one.

    Found out once per number format, by trying it on a few numbers: which kernels oneDNN has depends on the processor,
    on limits that users set, and on the build of torch.
    """
    fused = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
    if fused is None or not torch.backends.mkldnn.is_available() or not multiplies(dtype):
        return None
    ones = torch.ones(2, 8, dtype=dtype)
    try:
        with torch.inference_mode():
            # 8 · 1 · 1 = 8, with a bias of one 9; GELU changes neither within the tolerance
            for bias, expected in ((None, 8.0), (torch.ones(2, dtype=dtype), 9.0)):
                for activation, algorithm in (("none", ""), ("gelu", "none")):
                    product = fused(ones, ones, bias, activation, [], algorithm)
                    if not torch.allclose(product.float(), torch.tensor(expected), rtol=2**-6):
                        return None
    except (RuntimeError, NotImplementedError):
        return None
    return fused


def products(dtype: torch.dtype, device: torch.device) -> AbstractContextManager[Any]:
    """Return a context for networks in a number format.

    Where the processor has no products in the format, they are computed in float32.

    Numbers of half formats are float32 too, so the sums are those that a processor with instructions for the format
    makes, rounded once to it. What lies between products, and all that is kept, stays in the format. Holds for the
    calling thread, backward passes included.
    """
    if device.type != "cpu" or multiplies(dtype):
        return nullcontext()
    return ProductsInFloat32(dtype)


class ProductsInFloat32(TorchFunctionMode):
    """Computes matrix products of a half format in float32 and rounds them to it."""

    def __init__(self, half: torch.dtype) -> None:
        super().__init__()
        self.half = half

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func not in _PRODUCTS or kwargs.get("out") is not None or not self._has_half(args, kwargs):
            return func(*args, **kwargs)
        wide_args, wide_kwargs = tree_map(self._widen, (tuple(args), kwargs))
        return tree_map(self._round, func(*wide_args, **wide_kwargs))

    def _has_half(self, args: Any, kwargs: Any) -> bool:
        leaves = tree_leaves((tuple(args), kwargs))
        return any(isinstance(value, torch.Tensor) and value.dtype == self.half for value in leaves)

    def _widen(self, value: Any) -> Any:
        return value.float() if isinstance(value, torch.Tensor) and value.dtype == self.half else value

    def _round(self, value: Any) -> Any:
        return value.to(self.half) if isinstance(value, torch.Tensor) and value.dtype == torch.float32 else value
