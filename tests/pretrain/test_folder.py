"""One folder and one last checkpoint for all processes."""

from __future__ import annotations

import pytest
import torch

from kronos_pretrain.folder import agreed_step, shared_folder


class Several:
    """Processes of which only this one is real; `others` is what they bring to each exchange in turn."""

    def __init__(self, *others: list[float]) -> None:
        self.rank = 0
        self.world = 1 + len(others[0]) if others else 1
        self.first = True
        self.device = "cpu"
        self.others = list(others)

    def gather(self, values: torch.Tensor) -> torch.Tensor:
        rest = self.others.pop(0) if self.others else []
        return torch.stack([values, *(torch.full_like(values, other) for other in rest)])

    def any(self, here: bool) -> bool:
        return here


def test_a_folder_is_made_and_left_clean(tmp_path) -> None:
    folder = shared_folder(str(tmp_path / "a/b"), Several())
    assert folder.is_dir()
    assert list(folder.iterdir()) == []


def test_a_file_is_no_folder(tmp_path) -> None:
    (tmp_path / "run").write_text("mine")
    with pytest.raises(OSError, match=r"run\.folder=.*cannot be written to .*Choose a folder that is writable"):
        shared_folder(str(tmp_path / "run"), Several())
    assert (tmp_path / "run").read_text() == "mine"


def test_a_folder_that_others_do_not_see_is_refused(tmp_path) -> None:
    with pytest.raises(OSError, match=r"Processes 1, 3 of 4 do not see the run\.folder"):
        shared_folder(str(tmp_path), Several([7, 7, 7], [0, 1, 0]))
    assert list(tmp_path.iterdir()) == []


def test_one_answer_to_where_the_run_stands(tmp_path) -> None:
    assert agreed_step(tmp_path, Several()) is None
    (tmp_path / "checkpoints/step-00000005").mkdir(parents=True)
    (tmp_path / "checkpoints/step-00000005/state.json").write_text("{}")
    assert agreed_step(tmp_path, Several([5, 5])) == 5
    with pytest.raises(OSError, match=r"process 0: 5, process 1: 5, process 2: none"):
        agreed_step(tmp_path, Several([5, -1]))
