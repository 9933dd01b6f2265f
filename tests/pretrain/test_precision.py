"""`run.precision="auto"`: one number format for a whole run, on whatever machine.

No test looks at the processor it runs on.
"""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch

from kronos_pretrain import checkpoint
from kronos_pretrain import precision as module
from kronos_pretrain.config import require_same
from kronos_pretrain.precision import resolve_precision
from kronos_sc.models.inference import instructions

CPU = torch.device("cpu")


@pytest.fixture
def log_lines(monkeypatch):
    lines = []
    monkeypatch.setattr(module, "info", lines.append)
    return lines


def _processor(monkeypatch, *, fast: bool) -> None:
    monkeypatch.setattr(instructions, "multiplies", lambda dtype: fast or dtype == torch.float32)
    monkeypatch.setattr(instructions, "capabilities", lambda: {"amx_bf16": fast})
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    monkeypatch.delenv("DNNL_MAX_CPU_ISA", raising=False)


def _processes(*others_slow: bool) -> SimpleNamespace:
    """Return this process beside others, of which is known whether they are slow."""
    return SimpleNamespace(world=1 + len(others_slow), device=CPU, any=lambda here: here or any(others_slow))


def _begun(folder, name: str) -> int:
    """Write what a checkpoint says of its settings, and return its step."""
    place = folder / "checkpoints/step-00000005"
    place.mkdir(parents=True)
    (place / "state.json").write_text(json.dumps({"format": "kronos-run/1", "config": {"run": {"precision": name}}}))
    return 5


@pytest.mark.parametrize(("fast", "chosen"), [(True, "bfloat16"), (False, "float32")])
def test_a_new_run_takes_what_is_fast(small, monkeypatch, log_lines, tmp_path, fast, chosen) -> None:
    _processor(monkeypatch, fast=fast)
    config = resolve_precision(small.settings(run={"precision": "auto"}), _processes(), tmp_path, None)
    assert config == small.settings(run={"precision": chosen})
    assert log_lines == [f"run.precision is {chosen!r}, the faster one of float32 and bfloat16 here"]


def test_one_slow_machine_decides_for_all(small, monkeypatch, log_lines, tmp_path) -> None:
    _processor(monkeypatch, fast=True)
    config = resolve_precision(small.settings(run={"precision": "auto"}), _processes(False, True), tmp_path, None)
    assert config.run.precision == "float32"
    assert "on all processes" in log_lines[0]


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("begun", ["float32", "bfloat16", "float16"])
def test_a_run_goes_on_in_the_format_it_was_begun_in(small, monkeypatch, log_lines, tmp_path, begun, fast) -> None:
    _processor(monkeypatch, fast=fast)
    step = _begun(tmp_path, begun)
    config = resolve_precision(small.settings(run={"precision": "auto"}), _processes(), tmp_path, step)
    assert config.run.precision == begun
    assert log_lines[0] == f"run.precision is {begun!r}, as {tmp_path} was begun"
    assert len(log_lines) == 1 + (not fast and begun != "float32")
    require_same(small.settings(run={"precision": begun}), config)


@pytest.mark.parametrize("fast", [True, False])
def test_a_format_that_was_asked_for_is_kept_and_one_line_says_that_it_is_slow(
    small, monkeypatch, log_lines, tmp_path, fast
) -> None:
    _processor(monkeypatch, fast=fast)
    asked = small.settings(run={"precision": "bfloat16"})
    assert resolve_precision(asked, _processes(), tmp_path, None) == asked
    assert len(log_lines) == (not fast)
    assert all("no instructions for bfloat16" in line for line in log_lines)


def test_another_format_than_that_of_the_run_is_refused_by_name(small, monkeypatch, tmp_path) -> None:
    _processor(monkeypatch, fast=False)
    asked = resolve_precision(
        small.settings(run={"precision": "float32"}), _processes(), tmp_path, _begun(tmp_path, "bfloat16")
    )
    with pytest.raises(ValueError, match=r"run\.precision: 'bfloat16' → 'float32'"):
        require_same(small.settings(run={"precision": "bfloat16"}), asked)


def test_a_run_begun_on_a_gpu_in_float16_says_what_it_needs(alone, tmp_path) -> None:
    _begun(tmp_path, "float16")
    with pytest.raises(
        ValueError,
        match=r"run\.precision='float16' needs a GPU and there is none; use run\.precision=bfloat16 or float32",
    ):
        alone(run={"precision": "auto"})


def test_a_checkpoint_holds_the_choice(alone) -> None:
    trainer = alone(run={"precision": "auto"})
    assert trainer.config.run.precision in ("float32", "bfloat16")
    assert trainer.state.scale.value == 1
    trainer.corpus = SimpleNamespace(vocabulary=SimpleNamespace(to_dict=dict))
    trainer._corpus_fingerprint = {}
    trainer.save()
    metadata = checkpoint.read_metadata(trainer.folder, 0)
    assert metadata["config"]["run"]["precision"] == trainer.config.run.precision


def test_steps_on_an_ordinary_processor_are_those_of_bfloat16(alone, small) -> None:
    """Products in float32, rounded: losses of the run in bfloat16, to its rounding, and not those of float32."""
    losses = {}
    for name, precision, half in (
        ("native", "bfloat16", None),
        ("ordinary", "bfloat16", torch.bfloat16),
        ("single", "float32", None),
    ):
        trainer = alone(run={"precision": precision})
        reader = small.Fixed(trainer.config)
        context = instructions.ProductsInFloat32(half) if half else instructions.products(torch.float32, CPU)
        with context:
            losses[name] = trainer.take_step(reader, small.Going()).losses
    assert losses["ordinary"] != losses["single"]
    for name in losses["single"]:
        assert losses["ordinary"][name] == pytest.approx(losses["native"][name], rel=0.02, abs=0.02)
