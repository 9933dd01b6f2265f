"""The folder of an embedding: what may stand there, and what is never touched."""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
from glob import escape
from typing import TYPE_CHECKING, Any

from kronos_sc._core.checks import listed
from kronos_sc._store.lock import LOCK
from kronos_sc._store.stage import BRIGHTEST, PARTS, PIXELS

if TYPE_CHECKING:
    from pathlib import Path

    import zarr

FORMAT = "kronos-sc embedding/1"
ROOT = "zarr.json"
_OWN_NAMES = {LOCK, PARTS, ROOT, "record", "marker", "cls", PIXELS, BRIGHTEST, "row", "edge", "excluded", "names"}


def store_attributes(facts: dict[str, Any]) -> dict[str, Any]:
    """Return the attributes of a new store: facts, its format, an id of its own, and a checksum of them all."""
    whole = {"format": FORMAT, "id": secrets.token_hex(8), **facts}
    return whole | {"sha256": _checksum(whole)}


def _checksum(facts: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def open_group(path: Path) -> tuple[zarr.Group, dict[str, Any]]:
    """Open the group of a store and its attributes, or raise an error that says what lies there instead."""
    import zarr

    if not (path / ROOT).is_file():
        what = "holds no embedding" if path.exists() else "does not exist"
        msg = f"{path} {what}. Make one with tl.embed(sdata, store={str(path)!r})."
        raise FileNotFoundError(msg)
    try:
        group = zarr.open_group(path, mode="r", use_consolidated=False)
        facts = dict(group.attrs)
    except Exception as error:
        raise _damaged(path, f"{type(error).__name__}: {error}") from error
    if (stored_format := facts.get("format")) is None:
        msg = (
            f"{path} is no store of an embedding: it is a Zarr group of another kind (attributes: "
            f"{listed(facts, most=4)}). Name a folder that tl.embed(sdata, store=...) wrote; to write one, choose "
            "another place with store=."
        )
        raise ValueError(msg)
    if stored_format != FORMAT:
        msg = (
            f"{path} is not an embedding of this version of kronos-sc (format {stored_format!r}, not {FORMAT!r}). "
            "Choose another place with store=."
        )
        raise ValueError(msg)
    if facts.pop("sha256", None) != _checksum(facts):
        raise _damaged(path, "its checksum is wrong")
    return group, facts


def _damaged(path: Path, why: str) -> OSError:
    return OSError(
        f"{path / ROOT} is damaged ({why}). Restore it from a copy, or start again with tl.embed(..., overwrite=True)."
    )


def identifier(path: Path) -> str | None:
    """Return the id of the store at a path, read with as little as possible; None if there is none."""
    return (attributes(path) or {}).get("id")


def beside(tissue: Path, table: str, key: str) -> Path:
    """Return where the features of a table lie if nobody says otherwise.

    Beside the SpatialData, which is not ours to change.
    """
    return tissue.with_name(f"{_stem(tissue)}.{table}.{key}.zarr")


def found_beside(tissue: Path, table: str) -> list[Path]:
    """Return the embeddings of a table that lie beside a SpatialData."""
    stores = []
    for path in sorted(tissue.parent.glob(f"{escape(_stem(tissue))}.{escape(table)}.*.zarr")):
        facts = attributes(path) or {}
        # the key in the name must be the store's own: "cells.part" and "cells" both match "cells.part.kronos"
        if facts.get("format") == FORMAT and path == beside(tissue, table, str(facts.get("key"))):
            stores.append(path)
    return stores


def _stem(tissue: Path) -> str:
    return tissue.name.removesuffix(".zarr")


def attributes(path: Path) -> dict[str, Any] | None:
    """Return the attributes of a folder's root, or None where they cannot be read."""
    try:
        return dict(json.loads((path / ROOT).read_text(encoding="utf-8"))["attributes"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def begun(path: Path) -> bool:
    """Whether a path holds an embedding, to be opened; anything else that stands there is an error, then or now."""
    if (path / ROOT).is_file():
        return True
    require_free(path)
    return False


def require_free(path: Path) -> None:
    """Raise a FileExistsError unless a path is free, or holds an embedding of ours: whole, damaged, or only begun."""
    if not path.exists():
        return
    names = {child.name for child in path.iterdir()} if path.is_dir() else {path.name}
    if path.is_dir() and _is_embedding(path, names):
        return
    what = listed(sorted(names - _OWN_NAMES or names), most=4)
    msg = (
        f"{path} holds something else than an embedding ({what}) and is not touched. Choose another place with store=."
    )
    raise FileExistsError(msg)


def _is_embedding(path: Path, names: set[str]) -> bool:
    """Whether a folder is ours: it says so itself, or, where it cannot, by all of its names."""
    if ROOT not in names:  # names alone prove nothing: people have folders called "marker"
        return names <= _OWN_NAMES and (PARTS in names or names <= {LOCK})
    if (facts := attributes(path)) is None:
        return {"row", "names"} <= names <= _OWN_NAMES
    return str(facts.get("format")).startswith(FORMAT.rpartition("/")[0])


def discard(path: Path) -> None:
    """Remove an embedding, all but its lock."""
    (path / PARTS).mkdir(parents=True, exist_ok=True)  # until the end: it says that what is left is ours
    (path / ROOT).unlink(missing_ok=True)  # first: without it nobody takes the rest for an embedding
    for name in sorted(_OWN_NAMES - {LOCK, PARTS, ROOT}):
        if (path / name).is_symlink():  # to another disk, say: what lies there is not ours to remove
            (path / name).unlink()
        elif (path / name).exists():
            shutil.rmtree(path / name)
    shutil.rmtree(path / PARTS, ignore_errors=True)  # a worker of a run that is dead may still be writing there
