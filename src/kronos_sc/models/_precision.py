"""Where and in which number format a model runs."""

from __future__ import annotations

import torch

from kronos_sc._core.checks import one_of

PRECISIONS = ("auto", "float32", "bfloat16")


def choose_device(device: str | torch.device | None) -> torch.device:
    """Return the device asked for, or the fastest one there is; an unavailable one is an error that lists what exists."""
    if device is None:
        if torch.cuda.is_available():
            return torch.device("cuda", torch.cuda.current_device())
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        if chosen.type == "cuda" and chosen.index is None:
            chosen = torch.device("cuda", torch.cuda.current_device())
        torch.zeros(1, device=chosen).item()  # a device that cannot hold a number cannot run a model
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        there = ["cpu"] + [f"cuda:{i}" for i in range(torch.cuda.device_count())] + (["mps"] if torch.backends.mps.is_available() else [])
        msg = f"Device {str(device)!r} cannot be used ({error}). Available: {', '.join(there)}. Leave device out to take the fastest."
        raise ValueError(msg) from error
    return chosen


def choose_dtype(precision: str, device: torch.device) -> torch.dtype:
    """Return the number format: bfloat16 where the hardware multiplies fast in it, for `"auto"`."""
    one_of(precision, PRECISIONS, name="precision")
    if precision != "auto":
        return getattr(torch, precision)
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    return torch.bfloat16 if device.type == "cpu" and _cpu_has_fast_bfloat16() else torch.float32


def _cpu_has_fast_bfloat16() -> bool:
    """Whether the processor has matrix (AMX) or vector (AVX512-BF16) instructions for bfloat16."""
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    if capabilities:
        return any(bool(capabilities.get(name)) for name in ("amx_bf16", "avx512_bf16"))
    names = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(getattr(torch.cpu, name, bool)() for name in names)
