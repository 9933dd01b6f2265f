"""What must agree between the call that began a store and the one that goes on with it."""

from __future__ import annotations

from typing import Any


def differences(stored: Any, current: Any, *, name: str = "") -> list[str]:
    """Say in words where two fingerprints (nested dicts, lists, text and numbers) differ.

    Checksums (names that end in `sha256`) are not spelt out.
    """
    if isinstance(stored, dict) and isinstance(current, dict):
        keys = [*stored, *(key for key in current if key not in stored)]
        lines = [differences(stored.get(key), current.get(key), name=f"{name} {key}".strip()) for key in keys]
        return [line for group in lines for line in group]
    if stored == current:
        return []
    # a checksum says that something differs, and nothing that a reader could use
    if name.endswith("sha256"):
        return [f"{name.removesuffix('sha256').strip()} differ"]
    # of long lists what came and went, not all that they hold
    if isinstance(stored, list) and isinstance(current, list) and not len(stored) == len(current) == 1:
        removed = [item for item in stored if item not in current]
        added = [item for item in current if item not in stored]
        return [_listed(name, removed, added, sizes=(len(stored), len(current)))]
    return [f"{name} was {_item(stored)} and is {_item(current)} now"]


def _listed(name: str, removed: list[Any], added: list[Any], *, sizes: tuple[int, int]) -> str:
    """Say what a list has lost and won."""
    if removed and added:
        return f"{name} had {_items(removed)} and has {_items(added)} instead"
    if removed:
        return f"{name} lacks {_items(removed)} now"
    if added:
        return f"{name} has {_items(added)} now, and had not"
    before, after = sizes
    if before != after:
        return f"{name} had {before} entries and has {after} now"
    return f"{name} is in another order"


def _items(items: list[Any], most: int = 4) -> str:
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(_item(item) for item in items[:most]) + more


def _item(item: Any) -> str:
    if item is None:
        return "missing"
    if isinstance(item, list):
        if len(item) == 1:
            return repr(item[0])
        return " ".join(str(part) for part in item)
    return repr(item)
