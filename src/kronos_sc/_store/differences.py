"""What must agree between the call that began a store and the one that goes on with it."""

from __future__ import annotations

from typing import Any


def differences(there: Any, here: Any, *, name: str = "") -> list[str]:
    """Say in words where two identities (nested dicts, lists, text and numbers) differ.

    Checksums (names that end in `sha256`) are not spelt out.
    """
    if isinstance(there, dict) and isinstance(here, dict):
        keys = [*there, *(key for key in here if key not in there)]
        lines = [differences(there.get(key), here.get(key), name=f"{name} {key}".strip()) for key in keys]
        return [line for group in lines for line in group]
    if there == here:
        return []
    if name.endswith("sha256"):
        return [f"{name.removesuffix('sha256').strip()} differ"]
    if isinstance(there, list) and isinstance(here, list) and not len(there) == len(here) == 1:
        gone, new = ([item for item in one if item not in other] for one, other in ((there, here), (here, there)))
        return [_listed(name, gone, new, sizes=(len(there), len(here)))]
    return [f"{name} was {_item(there)} and is {_item(here)} now"]


def _listed(name: str, gone: list[Any], new: list[Any], *, sizes: tuple[int, int]) -> str:
    """Say what a list has lost and won."""
    if gone and new:
        return f"{name} had {_items(gone)} and has {_items(new)} instead"
    if gone or new:
        return f"{name} lacks {_items(gone)} now" if gone else f"{name} has {_items(new)} now, and had not"
    before, after = sizes
    return f"{name} had {before} entries and has {after} now" if before != after else f"{name} is in another order"


def _items(items: list[Any], most: int = 4) -> str:
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(_item(item) for item in items[:most]) + more


def _item(item: Any) -> str:
    if item is None:
        return "missing"
    if isinstance(item, list):
        return repr(item[0]) if len(item) == 1 else " ".join(str(part) for part in item)
    return repr(item)
