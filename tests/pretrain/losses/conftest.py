"""Golden values of the losses, and processes to compute losses in."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "dinov2_losses.json"


@pytest.fixture(scope="session")
def golden() -> dict:
    """Values of DINOv2's losses and schedules."""
    return json.loads(GOLDEN.read_text())


@pytest.fixture(scope="session")
def normal() -> Callable[..., torch.Tensor]:
    """Return float32 normal numbers from a legacy numpy seed, as the golden values were made."""

    def draw(seed: int, *shape: int) -> torch.Tensor:
        return torch.from_numpy(np.random.RandomState(seed).randn(*shape).astype(np.float32))

    return draw


@pytest.fixture
def run_processes(tmp_path) -> Callable[[str, int], None]:
    """Return a function that runs a script in several gloo processes.

    `rank`, `world` and `folder` are defined in it.
    """
    head = """
import sys
import torch
from torch import distributed
rank, world, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
torch.set_num_threads(1)
distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world)
"""

    def run(code: str, world: int) -> None:
        script = tmp_path / "script.py"
        script.write_text(head + code + "\ndistributed.destroy_process_group()\n")
        command = [sys.executable, str(script)]
        running = [
            subprocess.Popen([*command, str(rank), str(world), str(tmp_path)], stderr=subprocess.PIPE)
            for rank in range(world)
        ]
        said = [process.communicate(timeout=300)[1].decode() for process in running]
        assert [process.returncode for process in running] == [0] * world, "\n".join(said)

    return run
