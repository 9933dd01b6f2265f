"""Checkpoints: what is written, what survives, what is refused."""

from __future__ import annotations

import json
import resource
import shutil
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from kronos_pretrain import checkpoint, parallel
from kronos_pretrain.export import load_teacher
from kronos_pretrain.trainer import Trainer
from kronos_sc.markers import Marker, Vocabulary

VOCABULARY = Vocabulary(
    "test", (Marker("DAPI", 4, 0.1, 0.1, "nuclear"), Marker("CD3", 140, 0.1, 0.1), Marker("CD8", 200, 0.1, 0.1))
)


class Named:
    """As much of a corpus as a checkpoint needs."""

    vocabulary = VOCABULARY
    images = ()
    patch = 96


@pytest.fixture
def run(small, tmp_path):
    """Makes trainers of one folder; `steps` of them are taken at once."""
    with parallel.processes(small.settings()) as procs:

        def make(steps: int = 0, **sections) -> Trainer:
            config = small.settings(
                **{"run": {"folder": str(tmp_path / "run")}, "checkpoints": {"keep": 2}, **sections}
            )
            trainer = Trainer(config, procs, Named())
            for _ in range(steps):
                trainer.take_step(small.Fixed(config, first_step=trainer.step), small.Going())
                trainer.step += 1
            return trainer

        yield make


def values(trainer: Trainer) -> dict[str, torch.Tensor]:
    """Return copies of all tensors of a state, whole."""
    return {name: parallel.local([value])[0].clone() for name, value in trainer.state.tensors().items()}


def test_everything_comes_back(run) -> None:
    first = run(steps=3)
    first.save()
    again = run()
    again.resume(override=False)
    assert again.step == 3
    expected = values(first)
    restored = values(again)
    assert expected.keys() == restored.keys()
    assert all(torch.equal(expected[name], restored[name]) for name in expected)
    kinds = {name.split(".")[0] for name in expected}
    assert kinds == {"student", "teacher", "optim", "objective"}
    assert float(restored["optim.backbone.norm.weight.step"]) == 3


def test_the_next_step_is_the_same(run, small) -> None:
    straight = run(steps=3)
    straight.save()
    broken = run()
    broken.resume(override=False)
    for trainer in (straight, broken):
        trainer.figures = trainer.take_step(small.Fixed(trainer.config, first_step=3), small.Going())
    assert straight.figures.losses == broken.figures.losses
    assert straight.figures.norm == broken.figures.norm


def test_the_last_ones_stay(run) -> None:
    trainer = run()
    for step in (1, 2, 5):
        trainer.step = step
        trainer.save()
    assert checkpoint.steps(trainer.folder) == [2, 5]
    assert checkpoint.newest(trainer.folder) == 5


def test_no_pickle_is_in_it(run) -> None:
    trainer = run(steps=1)
    trainer.save()
    folder = checkpoint.place(trainer.folder, 1)
    assert {path.suffix for path in folder.iterdir()} == {".safetensors", ".json"}
    state = json.loads((folder / "state.json").read_text())
    assert (state["format"], state["step"], state["world"]) == ("kronos-run/1", 1, 1)
    assert state["config"]["model"]["dim"] == 48


@contextmanager
def small_files(most: int):
    """Files cannot grow beyond so many bytes: what a full disk does, and real."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_leaves_the_earlier_checkpoint_alone(run) -> None:
    trainer = run(steps=1)
    trainer.save()
    before = values(trainer)
    trainer.step = 2
    with (
        small_files(20_000),
        pytest.raises(
            OSError, match=r"step-00000002 could not be written .*The checkpoint of step 1 is intact; make room"
        ),
    ):
        trainer.save()
    assert [path.name for path in (trainer.folder / "checkpoints").iterdir()] == ["step-00000001"]
    again = run()
    again.resume(override=False)
    assert all(torch.equal(value, before[name]) for name, value in values(again).items())


def test_a_full_disk_at_the_very_end_leaves_no_half_checkpoint(run, monkeypatch) -> None:
    trainer = run(steps=1)

    def full(*_args, **_kwargs) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint.json, "dump", full)
    with pytest.raises(OSError, match=r"No space left on device.*There is no earlier checkpoint"):
        trainer.save()
    assert list((trainer.folder / "checkpoints").iterdir()) == []


@pytest.mark.row("truncated checkpoint")
def test_a_truncated_checkpoint_is_named(run) -> None:
    trainer = run(steps=1)
    trainer.save()
    trainer.step = 2
    trainer.save()
    file = next(checkpoint.place(trainer.folder, 2).glob("*.safetensors"))
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(
        OSError, match=r"step-00000002 cannot be read .*Other checkpoints of this run: 1\. Move the damaged one away"
    ):
        run().resume(override=False)
    shutil.rmtree(checkpoint.place(trainer.folder, 2))
    trainer = run()
    trainer.resume(override=False)
    assert trainer.step == 1


def test_an_unfinished_checkpoint_is_not_one(run) -> None:
    trainer = run(steps=1)
    trainer.save()
    place = checkpoint.place(trainer.folder, 1)
    shutil.copytree(place, place.with_name(".step-00000009.part"))
    assert checkpoint.newest(trainer.folder) == 1


def test_a_place_that_cannot_be_written_to_is_said_on_every_process(run) -> None:
    trainer = run(steps=1)
    (trainer.folder / "checkpoints").write_text("a file of the user's")
    with pytest.raises(OSError, match=r"step-00000001 could not be written .*There is no earlier checkpoint"):
        trainer.save()
    assert (trainer.folder / "checkpoints").read_text() == "a file of the user's"


def test_an_old_checkpoint_that_cannot_be_removed_does_not_end_the_run(run, monkeypatch) -> None:
    trainer = run()
    real = Path.rename

    def stubborn(self, target):
        if self.name == "step-00000001":
            raise OSError(16, "Device or resource busy")
        return real(self, target)

    monkeypatch.setattr(Path, "rename", stubborn)
    for step in (1, 2, 3):
        trainer.step = step
        trainer.save()
    assert checkpoint.steps(trainer.folder) == [1, 2, 3]


def test_leftovers_are_cleared_away(run) -> None:
    trainer = run(steps=1)
    for name in (".step-00000007.part", ".step-00000003.old"):
        (trainer.folder / "checkpoints" / name).mkdir(parents=True)
    trainer.save()
    assert [path.name for path in (trainer.folder / "checkpoints").iterdir()] == ["step-00000001"]


@pytest.mark.row("resume with a network of another shape")
def test_another_shape_is_not_called_damage(run) -> None:
    trainer = run(steps=1)
    trainer.save()
    other = run(head={"prototypes": 128})
    with pytest.raises(
        ValueError, match=r"network of another shape: .*\(96, 16\) for \(128, 16\).*Set model\.\* and head\.\* back"
    ):
        other.resume(override=True)
    run(head={"prototypes": 96}).resume(override=False)  # "Set model.* and head.* back"


def test_other_settings_are_refused_by_name(run, caplog) -> None:
    trainer = run(steps=1)
    trainer.save()
    other = run(optim={"lr": 0.5}, masks={"fraction": 0.25})
    with pytest.raises(ValueError, match=r"(?s)masks\.fraction: 0\.5 → 0\.25\n- optim\.lr: 0\.016 → 0\.5.*--override"):
        other.resume(override=False)
    other.resume(override=True)
    assert other.step == 1


def test_settings_that_compute_nothing_else_may_change(run) -> None:
    trainer = run(steps=1)
    trainer.save()
    other = run(watch={"every": 7}, data={"workers": 3}, parallel={"recompute": True})
    other.resume(override=False)
    assert other.step == 1


@pytest.mark.row("no checkpoint, or none of the step asked for")
def test_what_is_missing_is_said(tmp_path, run) -> None:
    with pytest.raises(FileNotFoundError, match="holds no complete checkpoint"):
        checkpoint.require(tmp_path, None)
    trainer = run(steps=1)
    trainer.save()
    with pytest.raises(FileNotFoundError, match="no checkpoint of step 9; there are: 1"):
        checkpoint.require(trainer.folder, 9)
    checkpoint.require(trainer.folder, 1)
    checkpoint.require(trainer.folder, None)
    (checkpoint.place(trainer.folder, 1) / "state.json").write_text('{"format": "another/7"}')
    with pytest.raises(ValueError, match="says format 'another/7'"):
        checkpoint.read_metadata(trainer.folder, 1)


def test_the_teacher_comes_alone_and_without_processes(run) -> None:
    trainer = run(steps=2)
    trainer.save()
    network, config, vocabulary, step = load_teacher(trainer.folder)
    assert (step, config, vocabulary) == (2, trainer.config, VOCABULARY)
    expected = {name: value.full_tensor() for name, value in trainer.state.teacher.state_dict().items()}
    assert all(torch.equal(value, expected[name]) for name, value in network.state_dict().items())
