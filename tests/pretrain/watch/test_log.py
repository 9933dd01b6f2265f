"""The log of figures: appended, cut where a run goes on, read back."""

from __future__ import annotations

import builtins
import json
import math

import numpy as np
import pytest

from kronos_pretrain.watch.log import Lines, read, save_picture, tensorboard


def _write(path, steps, *, first_step: int = 0, **values: float) -> None:
    lines = Lines(path, first_step=first_step)
    for step in steps:
        lines.write({"step": step, "loss/total": float(step), **values})
    lines.close()


def _steps(path) -> list[int]:
    return [json.loads(line)["step"] for line in path.read_text().splitlines()]


def test_lines_are_whole_json_at_once(tmp_path) -> None:
    path = tmp_path / "run" / "metrics.jsonl"
    lines = Lines(path)
    lines.write({"step": 1, "loss/total": 0.5})
    assert json.loads(path.read_text()) == {"step": 1, "loss/total": 0.5}
    lines.close()


def test_what_is_not_finite_becomes_null(tmp_path) -> None:
    _write(tmp_path / "metrics.jsonl", [1], a=math.nan, b=math.inf)
    assert '"a": null, "b": null' in (tmp_path / "metrics.jsonl").read_text()


def test_going_on_drops_the_lines_after_the_step(tmp_path) -> None:
    path = tmp_path / "metrics.jsonl"
    _write(path, [0, 10, 20, 30, 40])
    _write(path, [30, 40, 50], first_step=20)
    assert _steps(path) == [0, 10, 20, 30, 40, 50]


@pytest.mark.parametrize("left", ['{"step": 25, "lo', '{"step": 25}', "\0\0\0\0\n"])
def test_a_line_cut_off_is_dropped(tmp_path, left: str) -> None:
    path = tmp_path / "metrics.jsonl"
    _write(path, [10, 20])
    with path.open("a") as file:
        file.write(left)
    assert read(tmp_path)["step"].tolist() == [10, 20]
    _write(path, [30], first_step=28)
    assert _steps(path) == [10, 20, 30]


def test_starting_anew_starts_the_file_anew(tmp_path) -> None:
    path = tmp_path / "metrics.jsonl"
    _write(path, [0, 10])
    _write(path, [0])
    assert _steps(path) == [0]


def test_reading_gives_one_entry_per_step(tmp_path) -> None:
    lines = Lines(tmp_path / "metrics.jsonl")
    lines.write({"step": 0, "epoch": 0.0, "probe/knn": 0.25})
    lines.write({"step": 5, "epoch": 0.5, "loss/total": 3.0, "optim/grad_norm": math.nan})
    lines.write({"step": 5, "epoch": 0.5, "probe/knn": 0.5})
    lines.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6')  # being written
    curves = read(tmp_path)
    assert curves["step"].tolist() == [0, 5]
    assert curves["step"].dtype == np.int64
    assert curves["probe/knn"].tolist() == [0.25, 0.5]
    np.testing.assert_array_equal(curves["loss/total"], [math.nan, 3.0])
    assert np.isnan(curves["optim/grad_norm"]).all()


def test_reading_a_folder_without_a_log_says_what_to_give(tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no metrics\.jsonl .* Give the folder of a run"):
        read(tmp_path)


def test_without_tensorboard_a_line_says_so(tmp_path, monkeypatch) -> None:
    real = builtins.__import__

    def missing(name, *args, **kwargs):
        if name.startswith("torch.utils.tensorboard"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    monkeypatch.setattr("kronos_pretrain.watch.log.info", lambda message: log_lines.append(message))
    log_lines: list[str] = []
    assert tensorboard(tmp_path, first_step=0) is None
    assert "Install tensorboard, or set watch.tensorboard=false" in log_lines[0]


def test_pictures_are_written_by_name_and_step(tmp_path) -> None:
    from PIL import Image

    picture = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    save_picture(tmp_path, 120, "tokens", picture)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "pictures" / "tokens" / "00000120.png")), picture)
