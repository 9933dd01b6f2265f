"""What a process may use of its processor; no test looks at the processor it runs on."""

from __future__ import annotations

import pytest

from kronos_sc._core.instructions import usable

EVERYTHING = dict.fromkeys(("avx512_bf16", "avx512_fp16", "amx_bf16", "amx_fp16"), True)
KINDS = list(EVERYTHING)


@pytest.fixture(autouse=True)
def _unlimited(monkeypatch):
    for name in ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("name", KINDS)
def test_what_the_processor_lacks_is_not_usable(name):
    assert usable(EVERYTHING, name)
    assert not usable(EVERYTHING | {name: False}, name)
    assert not usable({}, name)


@pytest.mark.parametrize(
    ("limit", "left"),
    [
        ("AVX2", []),
        ("avx2", []),  # oneDNN does not mind
        ("AVX512_CORE", []),
        ("AVX512_CORE_BF16", ["avx512_bf16"]),
        ("AVX512_CORE_FP16", ["avx512_bf16", "avx512_fp16"]),
        ("AVX512_CORE_AMX", ["avx512_bf16", "avx512_fp16", "amx_bf16"]),
        ("AVX512_CORE_AMX_FP16", KINDS),
        ("DEFAULT", KINDS),
        ("anything else", KINDS),  # oneDNN ignores it
        ("", KINDS),
    ],
)
@pytest.mark.parametrize("variable", ["ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"])
def test_the_limit_of_the_process_counts(monkeypatch, variable, limit, left):
    monkeypatch.setenv(variable, limit)
    assert [name for name in KINDS if usable(EVERYTHING, name)] == left


def test_the_newer_name_of_the_limit_wins(monkeypatch):
    monkeypatch.setenv("DNNL_MAX_CPU_ISA", "AVX2")
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "DEFAULT")
    assert usable(EVERYTHING, "amx_bf16")


def test_one_of_several_is_enough():
    assert usable({"avx512_bf16": True}, "amx_bf16", "avx512_bf16")
