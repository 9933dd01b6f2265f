"""Messages of the library in the words of the command line: options for arguments, commands for calls."""

from __future__ import annotations

import re

_SAME = ("channels", "device", "dtype", "features", "model", "mpp", "nan", "precision", "scale", "store")
_DASHED = ("batch_size", "key_added", "mask_fill", "max_value", "patch_size", "spatial_key")
_OPTIONS = {
    **{name: f"--{name.replace('_', '-')}" for name in _SAME + _DASHED},
    **{f"{name}_key": f"--{name}" for name in ("image", "labels", "shapes", "table")},
}
# what is not an option and its value, reworded in this order
_PHRASES = (
    (r"tl\.embed\(\.\.\., overwrite=True\)|overwrite=True", "--restart"),
    (r"store=True", "--beside"),
    (r"require_nuclear=False", "--no-nuclear"),
    (r"channels=\{((?:'[^'{}]*': (?:None|'[^'{}]*')(?:, )?)+)\}", lambda match: _maps(match[1])),
    (r"channels=\[('[^'\[\]]*'(?:, '[^'\[\]]*')*)\]", lambda match: _list(match[1])),
    (r"channels=\[\.\.\.\]", "--channels"),
    (r"is not a choice; \w+ can be", "is not a choice; it can be"),
    (r"\bmake the (same )?call( of tl\.embed)?\b", r"give the \1command"),
    (r"\bMake the (same )?call( of tl\.embed)?\b", r"Give the \1command"),
)
_CALL = re.compile(r"((?:\b\w+\.)+\w+\((?!\.\.\.)[^()]*\))")  # is Python, and stays so
_ARGUMENT = re.compile(rf"(?<![\w/.-])({'|'.join(_OPTIONS)})=('[^']*'|\w+(?:\.\d+)?)?")


def in_options(text: str) -> str:
    """Return a message of `tl.embed` as the command `embed` says it."""
    return "".join(part if number % 2 else _reworded(part) for number, part in enumerate(_CALL.split(text)))


def _maps(pairs: str) -> str:
    """Return the items of a mapping as one option each; no marker leaves a channel out."""
    return " ".join(
        f"--map '{channel}={marker}'" for channel, marker in re.findall(r"'([^']*)': (?:None|'([^']*)')", pairs)
    )


def _list(items: str) -> str:
    """Return the items of a list as one option."""
    names = re.findall(r"'([^']*)'", items)
    return f"--channels '{','.join(names)}'"


def _reworded(text: str) -> str:
    """Return text that is no Python with options for arguments."""
    for pattern, words in _PHRASES:
        text = re.sub(pattern, words, text)
    return _ARGUMENT.sub(lambda match: " ".join(filter(None, (_OPTIONS[match[1]], match[2]))), text)
