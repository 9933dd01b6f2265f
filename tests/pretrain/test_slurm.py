"""The script for several nodes, with stand-ins for Slurm's commands and for training."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "pretrain/slurm/train.sbatch"
SRUN = """#!/usr/bin/env bash
[ "$1" = --kill-on-bad-exit=1 ] && shift
for number in 0 1; do SLURM_PROCID="$number" SLURM_LOCALID="$number" "$@" || exit; done
"""
SCONTROL = """#!/usr/bin/env bash
if [ "$1" = show ]; then printf 'node-7\\nnode-8\\n'; else echo "$*" >> "$SEEN/scontrol"; fi
"""
PYTHON = """#!/usr/bin/env bash
if [ "$1" != -m ]; then exec "$PYTHON" "$@"; fi
echo "$RANK $LOCAL_RANK $WORLD_SIZE $MASTER_ADDR $MASTER_PORT $*" >> "$SEEN/trained"
exit "$STATUS"
"""


@pytest.fixture
def submit(tmp_path):
    """Run the script on a run that has taken so many of its 20 steps when training ends.

    Return its status, training's lines, requeues.
    """
    if shutil.which("bash") is None:
        pytest.skip("needs bash")
    commands = tmp_path / "commands"
    commands.mkdir()
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL), ("python", PYTHON)):
        (commands / name).write_text(text)
        (commands / name).chmod(0o755)

    def run(*, steps: tuple[int, ...], status: int = 0) -> tuple[int, list[str], list[str]]:
        for step in steps:
            place = tmp_path / f"run/checkpoints/step-{step:08d}"
            place.mkdir(parents=True)
            (place / "state.json").write_text(
                json.dumps({"step": step, "config": {"run": {"epochs": 4, "epoch_steps": 5}}})
            )
        slurm = {"SLURM_JOB_ID": "4711", "SLURM_JOB_NODELIST": "node-[7-8]", "SLURM_NTASKS": "2"}
        own = {
            "PATH": f"{commands}:{os.environ['PATH']}",
            "PYTHON": sys.executable,
            "SEEN": str(tmp_path),
            "STATUS": str(status),
        }
        command = ["bash", str(SCRIPT), str(tmp_path / "run"), "vits16", "data.corpus=my corpus"]
        done = subprocess.run(
            command, env=os.environ | slurm | own, capture_output=True, text=True, check=False, timeout=300
        )
        seen = [
            (tmp_path / name).read_text().splitlines() if (tmp_path / name).exists() else []
            for name in ("trained", "scontrol")
        ]
        return done.returncode, *seen

    return run


def test_every_process_knows_its_place_and_gets_the_words(submit, tmp_path) -> None:
    status, trained, _ = submit(steps=(20,))
    assert status == 0
    words = f"24711 -m kronos_pretrain vits16 data.corpus=my corpus run.folder={tmp_path / 'run'}"
    assert trained == [f"0 0 2 node-7 {words}", f"1 1 2 node-7 {words}"]


def test_a_run_that_was_stopped_is_put_back_into_the_queue(submit) -> None:
    assert submit(steps=(5, 10))[::2] == (0, ["requeue 4711"])


def test_a_complete_run_is_not(submit) -> None:
    assert submit(steps=(15, 20))[::2] == (0, [])


def test_a_failure_is_passed_on_and_not_tried_again(submit) -> None:
    status, trained, requeued = submit(steps=(5,), status=3)
    assert (status, len(trained), requeued) == (3, 1, [])
