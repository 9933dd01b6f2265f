"""Files of tensors: read without running any code, filled into a network strictly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np
import torch

from kronos_sc._core.arrays import writable
from kronos_sc._core.checks import listed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

_WRAPPINGS = ("teacher", "state_dict", "model")  # under which trainers put the tensors
_PREFIX = "backbone."


def read(path: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of a file by name.

    Read are safetensors, `.npz`, and `.pth`, `.pt` and `.bin` that hold nothing but tensors.

    What trainers wrap around a backbone (`teacher`, `state_dict`, `model`; the prefix `backbone.`) is taken off.
    """
    if not path.is_file():
        msg = f"{path} is not a file. Pass the file with the weights itself: {listed(_READERS)}."
        raise FileNotFoundError(msg)
    if path.suffix not in _READERS:
        msg = f"{path.name} is none of {listed(_READERS)}. Save the network's state_dict() in one of these formats."
        raise ValueError(msg)
    content = _READERS[path.suffix](path)
    for key in _WRAPPINGS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not _is_state(content):
        what = f"a dict of {listed(content, most=4)}" if isinstance(content, dict) else type(content).__name__
        msg = f"{path} holds {what}, and not one tensor per name. Save the network's state_dict() instead."
        raise ValueError(msg)
    backbone = {key.removeprefix(_PREFIX): value for key, value in content.items() if key.startswith(_PREFIX)}
    return backbone or content


def _is_state(content: object) -> TypeGuard[dict[str, torch.Tensor]]:
    """Whether the content of a file is tensors by name, and at least one."""
    if not isinstance(content, dict) or not content:
        return False
    return all(isinstance(value, torch.Tensor) for value in content.values())


def read_checkpoint(path: Path) -> Any:
    """Return what torch saved in a file; anything else than tensors in plain containers is refused."""
    from pickle import UnpicklingError

    with path.open("rb") as file:
        start = file.read(16)
    if not start.startswith((b"PK", b"\x80")):  # a zip archive, or the pickle of old
        msg = (
            f"{path} is no checkpoint (it begins with {start!r}); a web page or a pointer may have been saved in its "
            "place. Download it again."
        )
        raise ValueError(msg)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        msg = (
            f"{path} was refused: it holds objects other than tensors, which would run code when loaded. "
            "Use a checkpoint from its owner; an official one is a dict of tensors."
        )
        raise ValueError(msg) from error
    except (RuntimeError, EOFError, OSError, KeyError) as error:
        msg = (
            f"{path} is not a readable checkpoint ({type(error).__name__}: {error}); it may be truncated. Download it "
            "again and compare its size."
        )
        raise ValueError(msg) from error


def read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of a safetensors file."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        msg = f"{path} is not a readable safetensors file ({error}); it may be truncated. Copy it again."
        raise ValueError(msg) from error


def _read_npz(path: Path) -> dict[str, torch.Tensor]:
    from zipfile import BadZipFile

    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {key: torch.from_numpy(writable(arrays[key])) for key in arrays.files}
    except (BadZipFile, EOFError, OSError, ValueError, TypeError, AttributeError) as error:
        msg = (
            f"{path} is not a readable file of numeric arrays ({type(error).__name__}: {error}). Write it again with "
            "numpy.savez."
        )
        raise ValueError(msg) from error


_READERS: dict[str, Callable[[Path], Any]] = {
    ".safetensors": read_safetensors,
    ".npz": _read_npz,
    ".pth": read_checkpoint,
    ".pt": read_checkpoint,
    ".bin": read_checkpoint,
}


def fill(net: torch.nn.Module, state: Mapping[str, torch.Tensor], path: Path, *, what: str, fix: str) -> None:
    """Load weights strictly; name what is missing, unexpected or of another shape.

    Parameters
    ----------
    net
        The network; may be on the meta device.
    state
        Tensors by name; floating-point ones become float32.
    path
        Where they come from, for the message.
    what, fix
        What they do not fit, and what to do about it, for the message.
    """
    expected = net.state_dict()
    missing = sorted(set(expected) - set(state))
    unexpected = sorted(set(state) - set(expected))
    other_shape = [
        f"{key} {tuple(state[key].shape)} for {tuple(expected[key].shape)}"
        for key in expected
        if key in state and state[key].shape != expected[key].shape
    ]
    if missing or unexpected or other_shape:
        msg = (
            f"{path} does not fit {what}: missing {listed(missing, most=3)}; "
            f"unexpected {listed(unexpected, most=3)}; other shape: {listed(other_shape, most=3)}. {fix}"
        )
        raise ValueError(msg)
    values = {key: value.float() if value.is_floating_point() else value for key, value in state.items()}
    net.load_state_dict(values, strict=True, assign=True)
