"""Where figures go: lines of JSON, TensorBoard, pictures; and how to read them again."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kronos_sc._core.log import info

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torch.utils.tensorboard import SummaryWriter

METRICS = "metrics.jsonl"
TENSORBOARD = "tensorboard"
PICTURES = "pictures"


class Lines:
    """A file with one JSON object a line, appended to and flushed at once.

    A run that goes on from a step drops the lines after it: they belong to a future that did not happen. So does a line
    that was cut off.

    Parameters
    ----------
    path
        The file.
    first_step
        Steps done when the run starts; 0 starts the file anew.
    """

    def __init__(self, path: Path, *, first_step: int = 0) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a+b")
        self._file.truncate(self._keep(first_step) if first_step else 0)

    def _keep(self, step: int) -> int:
        """Return the number of bytes up to the first line that is later than `step` or not whole."""
        self._file.seek(0)
        kept = 0
        for line in self._file:
            figures = _parsed(line)
            if figures is None or figures["step"] > step:
                break
            kept += len(line)
        return kept

    def write(self, values: Mapping[str, float]) -> None:
        """Append a line; what is not finite is written as null."""
        line = json.dumps({name: _finite(value) for name, value in values.items()}, allow_nan=False)
        self._file.write(line.encode() + b"\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def read(folder: str | Path) -> dict[str, np.ndarray]:
    """Return the figures of a run as arrays of equal length, one entry per step that has any.

    NaN where a step lacks a figure.

    Parameters
    ----------
    folder
        Folder of the run (`run.folder`).

    Raises
    ------
    FileNotFoundError
        The folder has no log.
    """
    path = Path(folder) / METRICS
    if not path.is_file():
        msg = f"There is no {METRICS} in {str(folder)!r}. Give the folder of a run (run.folder in its configuration)."
        raise FileNotFoundError(msg)
    # figures of an evaluation have a line of their own, beside that of their step
    steps: dict[int, dict[str, float]] = {}
    for line in _whole_lines(path):
        steps.setdefault(line["step"], {}).update(line)

    lines = [steps[step] for step in sorted(steps)]
    names = dict.fromkeys(name for line in lines for name in line)
    return {name: np.array([_number(line.get(name)) for line in lines], dtype=_dtype(name)) for name in names}


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _dtype(name: str) -> type:
    return np.int64 if name == "step" else np.float64


def _whole_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield every line but those cut off, or being written."""
    with path.open("rb") as file:
        yield from filter(None, map(_parsed, file))


def _parsed(line: bytes) -> dict[str, Any] | None:
    """Return a line's object, or None if a crash left less than that."""
    try:
        return json.loads(line) if line.endswith(b"\n") else None
    except ValueError:
        return None


def tensorboard(folder: Path, *, first_step: int) -> SummaryWriter | None:
    """Return a writer that hides what an earlier run wrote after `first_step`.

    None, with a log line, where TensorBoard is missing.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        info(
            f"TensorBoard is not installed: figures go to {METRICS} alone. Install tensorboard, or set "
            "watch.tensorboard=false."
        )
        return None
    return SummaryWriter(str(folder / TENSORBOARD), purge_step=first_step + 1 if first_step else None, flush_secs=30)


def save_picture(folder: Path, step: int, name: str, picture: np.ndarray) -> None:
    """Write a picture (rows, columns, 3), uint8, as `pictures/NAME/STEP.png`."""
    from PIL import Image

    path = folder / PICTURES / name / f"{step:08d}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path)
