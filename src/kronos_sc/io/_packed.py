"""Text files as they were sent: plain, gzip, or the only one of its kind in a zip; what is unpacked is bounded."""

from __future__ import annotations

import gzip
import io
import zipfile
import zlib
from pathlib import PurePosixPath
from typing import IO, TYPE_CHECKING

from kronos_sc._core.checks import listed

if TYPE_CHECKING:
    from pathlib import Path

_GZIP = b"\x1f\x8b"
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")  # the second is an archive without entries
_ALWAYS_ALLOWED = 64 * 2**20  # bytes that anything may unpack to
_MAX_RATIO = 100  # text packs ten- to fiftyfold; what packs better holds nothing
_PIECE = 2**20
_DAMAGE = (zlib.error, zipfile.BadZipFile, EOFError, OSError, NotImplementedError, RuntimeError, ValueError)


def unpack(path: Path, *, suffixes: tuple[str, ...], what: str, advice: str) -> bytes:
    """Return the bytes of a file, whatever its name says: of itself, of what gzip packed, or of the entry of a zip.

    Parameters
    ----------
    path
        The file.
    suffixes
        How the names of entries may end; those of the first suffix that any has are meant.
    what
        The kind of file, for errors.
    advice
        What to do about one that cannot be read.
    """
    raw = path.read_bytes()
    limit = max(_ALWAYS_ALLOWED, _MAX_RATIO * len(raw))
    try:
        if raw.startswith(_ZIP):
            raw = _entry(raw, suffixes, limit)
        if raw.startswith(_GZIP):
            with gzip.GzipFile(fileobj=io.BytesIO(raw)) as stream:
                raw = _bounded(stream, limit)
    except _Refused as error:
        msg = f"{path.name!r} {error}"
        raise ValueError(msg) from None
    except _DAMAGE as error:
        msg = f"{path.name!r} is no {what}: it is packed, and cannot be unpacked ({error}). {advice}"
        raise ValueError(msg) from error
    return raw


class _Refused(Exception):
    """An archive that is whole and yet not read; the text goes behind its name."""


def _entry(raw: bytes, suffixes: tuple[str, ...], limit: int) -> bytes:
    """Return the only entry of a zip that is meant."""
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/")]
        # macOS puts a second file beside each, with what its file system knows of it
        plain = [name for name in names if "__MACOSX" not in name and not PurePosixPath(name).name.startswith(".")]
        for suffix in suffixes:
            matches = [name for name in plain if name.lower().endswith((suffix, f"{suffix}.gz"))]
            if len(matches) > 1:
                msg = (
                    f"is a zip of {len(matches)} files of the kind {suffix!r}: {listed(matches)}. "
                    "Unpack it, and read each of them by a call of its own, with key_added= of its own."
                )
                raise _Refused(msg)
            if matches:
                with archive.open(matches[0]) as stream:
                    return _bounded(stream, limit)
    msg = (
        f"is a zip without a file of the kind {' or '.join(map(repr, suffixes))}; it holds {listed(names)}. Name the "
        "file that is meant."
    )
    raise _Refused(msg)


def _bounded(stream: IO[bytes], limit: int) -> bytes:
    """Return all that a stream holds, unless that is far more than text packs to."""
    buffer = io.BytesIO()
    while piece := stream.read(_PIECE):
        buffer.write(piece)
        if buffer.tell() > limit:
            msg = (
                f"unpacks to more than {limit / 2**20:,.0f} MiB, over {_MAX_RATIO} times its size, which text does not "
                "do. If you know where it comes from, unpack it yourself and read what is in it."
            )
            raise _Refused(msg)
    return buffer.getvalue()
