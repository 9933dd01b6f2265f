"""One image: one pass over its pixels, then its folder, whole or not at all."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kronos_pretrain.corpus_build import pictures
from kronos_pretrain.corpus_build.plane import Plane
from kronos_pretrain.corpus_build.quality import Report, report
from kronos_pretrain.corpus_build.source import read_ahead, stored_dtype
from kronos_pretrain.corpus_build.store import STORES, NpyStore, ZarrStore
from kronos_pretrain.corpus_build.tissue import Grids, covered, origins
from kronos_sc._core.intensity import check_range, max_value
from kronos_sc._core.moments import Moments

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from kronos_pretrain.corpus_build.manifest import Entry, Manifest
    from kronos_pretrain.corpus_build.panel import Channel, CorpusPanel
    from kronos_pretrain.corpus_build.source import Source

FORMAT = "kronos-corpus-image/2"
RECORD = "image.json"


@dataclass(frozen=True)
class ImageJob:
    """An image to build.

    Parameters
    ----------
    entry, source, panel
        What the manifest says, the open image, and what its channels are.
    manifest
        All of it.
    folder
        Where the image goes.
    """

    entry: Entry
    source: Source
    panel: CorpusPanel
    manifest: Manifest
    folder: Path

    def fingerprint(self) -> dict[str, Any]:
        """Return everything that the folder's content depends on, in types that JSON can hold."""
        entry = self.entry
        settings = asdict(self.manifest.settings)
        del settings["name"], settings["root"], settings["vocabulary"]  # images hold names of markers, not ids
        return {
            "format": FORMAT,
            "source": [entry.path.name, entry.image, self.source.stamp],
            "settings": settings,
            "quality": asdict(self.manifest.quality) | {"drop": list(self.manifest.quality.drop)},
            "entry": [entry.name, entry.subset, entry.max_value, entry.nan, entry.tissue],
            "channels": [list(asdict(channel).values()) for channel in self.panel.channels],
            "excluded": dict(self.panel.excluded),
        }


def finished(job: ImageJob) -> dict[str, Any] | None:
    """Return the record of an image that is already built from the same file in the same way, and still all there."""
    record = read_record(job.folder)
    if record is None or record.get("fingerprint") != job.fingerprint():
        return None
    return record if record.get("files") == _extent(job.folder) else None


def read_record(folder: Path) -> dict[str, Any] | None:
    """Return the record in a folder, or None if there is none that can be read."""
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) and record.get("format") == FORMAT else None


def _extent(folder: Path) -> list[int]:
    """Return number and bytes of the files of an image: a shard that was lost or cut off changes them."""
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file() and path.name != RECORD]
    return [len(sizes), sum(sizes)]


def build_image(job: ImageJob, *, budget: int, step: Callable[[int], None]) -> dict[str, Any]:
    """Build one image and return its record.

    Parameters
    ----------
    job
        What to build.
    budget
        Bytes that one block of pixels may take.
    step
        Called with the number of pixels after each block.
    """
    part = job.folder.with_name(f".{job.folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        record = _written(job, part, budget, step)
        record["files"] = _extent(part)
        (part / RECORD).write_text(json.dumps(record, ensure_ascii=False, indent=1), encoding="utf-8")
        shutil.rmtree(job.folder, ignore_errors=True)
        part.rename(job.folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return record


def _written(job: ImageJob, folder: Path, budget: int, step: Callable[[int], None]) -> dict[str, Any]:
    """Write pixels, origins and pictures into a folder, and return the record of the image."""
    source = job.source
    settings = job.manifest.settings
    channels = job.panel.channels
    scale = max_value(source.dtype, job.entry.max_value or None, image=job.entry.name)
    dtype = stored_dtype(source, [channel.position for channel in channels], budget)
    store = STORES[settings.format](folder, (len(channels), *source.shape), dtype)
    try:
        planes, reports, grids = _read_once(job, store, dtype, scale, budget, step)
        kept = [n for n, channel in enumerate(channels) if _stays(reports[n], channel, job)]
        store.keep(kept)
    finally:
        store.close()

    # which patches can be used is known only now, with all markers summed up
    tissue = np.ones_like(grids.others, bool)
    if job.entry.tissue == "auto":
        tissue = grids.tissue()
    saturated, blurred = grids.artifacts(settings, tissue)
    corners = origins(source.shape, tissue, saturated | blurred, settings)
    np.save(folder / "origins.npy", corners, allow_pickle=False)
    inside = covered(source.shape, corners, settings)

    names = {_picture(channel): plane for channel, plane in zip(channels, planes, strict=True)}
    nuclear = next(_picture(channel) for channel in channels if channel.role == "nuclear")
    pictures.write(folder, names, nuclear, pictures.Masks(tissue, saturated, blurred, inside))
    positions = {n: position for position, n in enumerate(kept)}
    in_patches = float(inside.sum()) * settings.stride**2 / (source.shape[0] * source.shape[1])
    return {
        "format": FORMAT,
        "fingerprint": job.fingerprint(),
        "name": job.entry.name,
        "subset": job.entry.subset,
        "pixels": store.name,
        "shape": list(source.shape),
        "dtype": dtype.name,
        "scale": scale,
        "origins": len(corners),
        "tissue": float(tissue.mean()),
        "saturated": float(saturated.mean()),
        "blurred": float(blurred.mean()),
        "outside": max(0.0, 1 - in_patches),
        "excluded": dict(job.panel.excluded),
        "unmatched": list(job.panel.unmatched),
        "markers": [
            _marker(channel, planes[n], reports[n], positions.get(n), inside) for n, channel in enumerate(channels)
        ],
    }


def _read_once(
    job: ImageJob, store: ZarrStore | NpyStore, dtype: np.dtype, scale: float, budget: int, step: Callable[[int], None]
) -> tuple[list[Plane], list[Report], Grids]:
    """Read every pixel once: store it, and sum up what is to be known of it."""
    source = job.source
    channels = job.panel.channels
    number = {channel.position: n for n, channel in enumerate(channels)}
    planes: dict[int, Plane] = {}
    reports: dict[int, Report] = {}
    grids = Grids(source.shape)
    for group, block, pixels, last in read_ahead(source, list(number), budget):
        for position, raw in zip(group, pixels, strict=True):
            n = number[position]
            clean = _finite(raw, job, channels[n]).astype(dtype, copy=False)
            store.write(n, block[0], block[2], clean)
            plane = planes.setdefault(n, Plane(source.shape, dtype, scale, job.manifest.settings.stride))
            plane.add(clean, block[0], block[2])
            step(clean.size)
            if last:
                reports[n] = report(plane, job.manifest.quality)
                grids.add(plane, nuclear=channels[n].role == "nuclear")
                plane.forget(keep=plane is grids.nuclear)
    order = range(len(channels))
    return [planes[n] for n in order], [reports[n] for n in order], grids


def _finite(pixels: np.ndarray, job: ImageJob, channel: Channel) -> np.ndarray:
    """Return pixels that all have a value within the range, or raise a ValueError."""
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        if job.entry.nan == "error":
            msg = (
                f"Channel {channel.name!r} of image {job.entry.name!r} has NaN or infinite pixels. "
                'Mend the image, or write nan = "zero" into its [[image]] to read them as zero.'
            )
            raise ValueError(msg)
        pixels = np.nan_to_num(pixels, nan=0.0, posinf=0.0, neginf=0.0)
    check_range(pixels, given=job.entry.max_value or None, image=job.entry.name)
    return pixels


def _picture(channel: Channel) -> str:
    return f"{channel.position:03d}.png"


def _stays(quality: Report, channel: Channel, job: ImageJob) -> bool:
    return channel.kept or quality.verdict not in job.manifest.quality.drop


def _marker(
    channel: Channel, plane: Plane, quality: Report, position: int | None, inside: np.ndarray
) -> dict[str, Any]:
    moments = plane.moments(inside) if position is not None else Moments()
    return {
        "channel": channel.name,
        "marker": channel.marker,
        "role": channel.role,
        "plane": position,
        "picture": _picture(channel),
        "stretched": list(pictures.limits(plane.thumbnail)),
        "moments": asdict(moments),
        "quality": quality.to_dict(),
    }
