"""Losses, gradients and the update of a whole step, against a plain reference that goes crop by crop."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pytest
import torch

from kronos_pretrain.schedule import schedules

BENCHMARK = Path(__file__).parents[2] / "benchmarks/training.py"


@pytest.fixture(scope="module")
def Reference():
    """The reference step of the benchmark."""
    spec = importlib.util.spec_from_file_location("benchmark_training", BENCHMARK)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Reference


@pytest.mark.parametrize(
    "sections",
    [
        {},
        {"views": {"local_count": 0}},
        {"masks": {"fraction": 1.0, "ratio": (0.4, 0.6)}},
        {"model": {"drop_path": 0.0}},
    ],
    ids=["all", "no local views", "everything masked", "no dropped paths"],
)
def test_steps_equal_the_reference(alone, small, Reference, sections) -> None:
    """Three steps: the losses of each, and the weights of student and teacher after them."""
    trainer = alone(**sections)
    config = trainer.config
    reference = Reference(config)
    values = schedules(config)
    reader = small.Fixed(config)
    for step in range(3):
        batch = trainer.batch(next(small.Fixed(config, first_step=step)))
        theirs = reference.step(batch, values(step))
        ours = trainer.take_step(reader, small.Going())
        trainer.step += 1
        assert ours.losses == pytest.approx({name: theirs[name] for name in ours.losses}, rel=2e-4, abs=2e-5)
    for mine, his in ((trainer.state.student, reference.student), (trainer.state.teacher, reference.teacher)):
        expected = his.state_dict()
        for name, value in mine.state_dict().items():
            torch.testing.assert_close(value.full_tensor(), expected[name], rtol=2e-3, atol=2e-4)


def test_the_teacher_gets_no_gradient_and_follows_exactly(alone, small) -> None:
    trainer = alone(teacher={"momentum": 0.75, "momentum_end": 0.75})
    teacher = trainer.state.teacher
    student = trainer.state.student
    before = {name: value.full_tensor().clone() for name, value in teacher.state_dict().items()}
    trainer.step = 5  # past the start of the warm-up, where the learning rate is 0
    trainer.take_step(small.Fixed(trainer.config), small.Going())
    assert all(p.grad is None and not p.requires_grad for p in teacher.parameters())
    after = {name: value.full_tensor() for name, value in student.state_dict().items()}
    moved = 0
    for name, value in teacher.state_dict().items():
        expected = 0.75 * before[name] + 0.25 * after[name]
        assert torch.equal(value.full_tensor(), expected) or torch.allclose(
            value.full_tensor(), expected, rtol=1e-7, atol=1e-9
        )
        moved += not torch.equal(before[name], value.full_tensor())
    assert moved > 20


def test_the_next_forward_pass_sees_the_teacher_that_moved(alone, small) -> None:
    trainer = alone(teacher={"momentum": 0.0, "momentum_end": 0.0}, model={"drop_path": 0.0})
    reader = small.Fixed(trainer.config)
    trainer.take_step(reader, small.Going())  # the teacher is now the student
    crops = trainer.batch(next(reader)).large
    ours, theirs = (
        network.frozen(crops.pixels, crops.marker_ids) for network in (trainer.state.teacher, trainer.state.student)
    )
    assert torch.equal(ours.cls, theirs.cls)


@pytest.mark.parametrize(
    ("term", "left"),
    [
        ("dino", {"ibot", "koleo"}),
        ("ibot", {"dino_global", "dino_local", "koleo"}),
        ("koleo", {"dino_global", "dino_local", "ibot"}),
    ],
)
def test_a_weight_of_zero_leaves_a_term_out(alone, small, term: str, left: set[str]) -> None:
    trainer = alone(loss={term: 0.0})
    assert set(trainer.take_step(small.Fixed(trainer.config), small.Going()).losses) == left | {"total"}


@pytest.mark.parametrize(
    "sections",
    [
        {"loss": {"centering": "sinkhorn"}},
        {"head": {"separate": True}},
        {"run": {"precision": "bfloat16"}},
        {"run": {"precision": "float16"}},
    ],
    ids=["sinkhorn", "separate heads", "bfloat16", "float16"],
)
def test_variants_learn(alone, small, sections) -> None:
    """On samples that never change, the loss falls."""
    trainer = alone(**sections, model={"drop_path": 0.0})
    reader = small.Fixed(trainer.config)
    losses_of_steps = []
    for _ in range(12):
        losses_of_steps.append(trainer.take_step(reader, small.Going()).losses["ibot"])
        trainer.step += 1
    assert all(torch.tensor(losses_of_steps).isfinite())
    assert min(losses_of_steps[-3:]) < losses_of_steps[0]


@pytest.mark.slow(60)
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_compiled_blocks_compute_the_same(alone, small) -> None:
    shape = {"depth": 2}
    losses_of_runs = []
    for compiled in (False, True):
        trainer = alone(model=shape, parallel={"compile": compiled})
        reader = small.Fixed(trainer.config)
        for _ in range(2):
            losses = trainer.take_step(reader, small.Going()).losses
            trainer.step += 1
        losses_of_runs.append(losses)
    assert losses_of_runs[1] == pytest.approx(losses_of_runs[0], rel=1e-4)


@pytest.mark.skipif(
    not hasattr(getattr(torch.compiler, "config", None), "cache_key_tag"), reason="torch 2.6 has no tag for its cache"
)
@pytest.mark.parametrize("own", ["", "mine"])
def test_compiled_code_is_kept_apart_by_instruction_set(alone, own) -> None:
    """torch's cache gave code for AVX2 to a process with AVX-512, where it wrote past the ends of arrays."""
    with torch.compiler.config.patch(cache_key_tag=own):
        for _ in range(2):
            alone(parallel={"compile": True})
        assert torch.compiler.config.cache_key_tag == own + torch.backends.cpu.get_cpu_capability()


def test_passes_of_a_step_add_up(alone, small) -> None:
    """Gradient accumulation: two passes of two samples are one of four, but for KoLeo, which sees those of a pass."""
    whole = alone(loss={"koleo": 0.0})
    parts = alone(loss={"koleo": 0.0}, parallel={"micro_batch": 2})
    assert (whole.passes, parts.passes) == (1, 2)
    for trainer in (whole, parts):
        reader = small.Fixed(trainer.config)
        for _ in range(3):
            trainer.figures = trainer.take_step(reader, small.Going())
            trainer.step += 1
    assert parts.figures.losses == pytest.approx(whole.figures.losses, rel=1e-4)
    assert parts.figures.norm == pytest.approx(whole.figures.norm, rel=1e-3)


def test_the_monitors_see_the_teacher(alone, small) -> None:
    trainer = alone()
    seen = trainer.take_step(small.Fixed(trainer.config), small.Going()).teacher_outputs
    assert seen.cls.shape == (8, 48)
    assert seen.targets.shape == (8, 96)
    torch.testing.assert_close(seen.targets.sum(1), torch.ones(8))
