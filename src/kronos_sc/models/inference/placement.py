"""Where and in which number format a model runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from kronos_sc._core.checks import one_of
from kronos_sc._core.log import info
from kronos_sc.models.inference import instructions

if TYPE_CHECKING:
    from kronos_sc.models._model import Model

PRECISIONS = ("auto", "float32", "bfloat16")


def choose_device(device: str | torch.device | None) -> torch.device:
    """Return the device asked for, or the fastest one there is.

    An unavailable one is an error that lists what exists.
    """
    if device is None:
        if torch.cuda.is_available():
            return torch.device("cuda", torch.cuda.current_device())
        if torch.backends.mps.is_available():
            return torch.device("mps")
        return torch.device("cpu")
    try:
        chosen = torch.device(device)
        if chosen.type == "cuda" and chosen.index is None:
            chosen = torch.device("cuda", torch.cuda.current_device())
        torch.zeros(1, device=chosen).item()  # a device that cannot hold a number cannot run a model
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        available = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
        if torch.backends.mps.is_available():
            available.append("mps")
        msg = (
            f"Device {str(device)!r} cannot be used ({error}). Available: {', '.join(available)}. "
            "Leave device out to take the fastest."
        )
        raise ValueError(msg) from error
    return chosen


def fit_device(device: str | torch.device | None) -> str:
    """Return where to fit a classifier: as told, or on a CUDA device if there is one.

    Never on Apple's, which lack the float64 that sums are taken in.
    """
    chosen = choose_device(device)
    return "cpu" if chosen.type == "mps" else str(chosen)


def choose_dtype(precision: str, device: torch.device) -> torch.dtype:
    """Return the number format: bfloat16 where the hardware multiplies fast in it, for `"auto"`."""
    one_of(precision, PRECISIONS, name="precision")
    if precision != "auto":
        dtype: torch.dtype = getattr(torch, precision)
        if warning := slow(dtype, device):
            info(warning)
        return dtype

    # emulated bfloat16 (older CUDA devices, processors without instructions for it) is slower than float32
    fast = False
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    elif device.type == "cpu":
        fast = instructions.is_fast(torch.bfloat16)
    return torch.bfloat16 if fast else torch.float32


def precision_for_model(precision: str, model: Model) -> str:
    """Return the precision asked for; float32 for a model without a network, which is arithmetic on pixels."""
    return precision if model.net is not None else "float32"


def dtype_name(dtype: torch.dtype) -> str:
    """Return a number format as records and messages say it: `"bfloat16"`, say."""
    return str(dtype).removeprefix("torch.")


def slow(dtype: torch.dtype, device: torch.device) -> str:
    """Return what to say of a number format in which a processor is slow; empty where it is not."""
    if device.type != "cpu" or instructions.multiplies(dtype):
        return ""
    half = dtype_name(dtype)
    return (
        f"this processor ({instructions.name()}) has no instructions for {half}: products are computed in float32 and "
        "rounded, which is slower than precision 'float32'"
    )
