"""Which instruction sets matrix products may use: those of the processor, unless oneDNN is told to use fewer."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

# oneDNN's own limit, under its two names; the first that is set counts.
_VARIABLES = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")
_WITHOUT_BFLOAT16 = {"SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2", "AVX512_CORE", "AVX512_CORE_VNNI"}
_WITHOUT_FLOAT16 = _WITHOUT_BFLOAT16 | {"AVX512_CORE_BF16"}
_WITHOUT_TILES = _WITHOUT_FLOAT16 | {"AVX512_CORE_FP16", "AVX10_1_512", "AVX10_2_512", "AVX10_2"}
_LEFT_OUT_BY = {
    "avx512_bf16": _WITHOUT_BFLOAT16,
    "avx512_fp16": _WITHOUT_FLOAT16,
    "amx_bf16": _WITHOUT_TILES,
    "amx_fp16": _WITHOUT_TILES | {"AVX512_CORE_AMX", "AVX10_1_512_AMX"},
}

# How single ones were asked for before torch could list them.
_OLDER_QUERIES = {"amx_bf16": "_is_amx_tile_supported", "avx512_bf16": "_is_avx512_bf16_supported"}


def capabilities(cpu: Any) -> Mapping[str, object]:
    """Return the instruction sets of the processor by torch's names; the process may be told to use fewer of them.

    Parameters
    ----------
    cpu
        The module `torch.cpu`.
    """
    listed: Mapping[str, object] = getattr(cpu, "get_capabilities", dict)()
    return listed or {name: bool(getattr(cpu, query, bool)()) for name, query in _OLDER_QUERIES.items()}


def usable(capabilities: Mapping[str, object], *names: str) -> bool:
    """Return whether matrix products of this process may use one of some instruction sets.

    Parameters
    ----------
    capabilities
        What the processor has, as :func:`capabilities` returns it. It knows nothing of the limit that users set, to
        compare machines or to imitate one.
    names
        Instruction sets by torch's names: `"avx512_bf16"`, `"avx512_fp16"`, `"amx_bf16"`, `"amx_fp16"`.
    """
    limit = next((os.environ[name] for name in _VARIABLES if os.environ.get(name)), "").upper()
    return any(bool(capabilities.get(name)) and limit not in _LEFT_OUT_BY[name] for name in names)
