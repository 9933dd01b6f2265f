"""Manifest → corpus: everything is checked first, then image after image is built, then the index is written."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from concurrent.futures import FIRST_EXCEPTION, CancelledError, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Lock
from time import perf_counter
from typing import TYPE_CHECKING, Any

from kronos_pretrain.corpus_build.image import ImageJob, build_image, finished, read_record
from kronos_pretrain.corpus_build.index import set_aside, statistics, write_index, write_quality
from kronos_pretrain.corpus_build.manifest import Manifest
from kronos_pretrain.corpus_build.panel import lacking, panels, refuse
from kronos_pretrain.corpus_build.read import read
from kronos_pretrain.corpus_build.review import write_review
from kronos_pretrain.corpus_build.source import open_source
from kronos_sc._core.checks import listed, positive_integer
from kronos_sc._core.log import info
from kronos_sc._core.progress import bar

if TYPE_CHECKING:
    from collections.abc import Callable

BUDGET = 256 << 20  # bytes of pixels held at a time, over all threads
MOST_WORKERS = 4
MEGA = 1_000_000


@dataclass(frozen=True)
class Summary:
    """What a build did; `str()` of it is meant for a terminal.

    Parameters
    ----------
    folder
        Of the corpus.
    built, reused
        Names of the images that were built now, and that were there already.
    origins
        Patches per image.
    subsets
        Patches per subset.
    verdicts
        Markers of images per verdict.
    dropped
        "image: channel (reason)" of markers that their verdict excluded.
    unmatched
        Channels without a marker → number of images that have them.
    markers
        Markers of the corpus.
    seconds
        Time taken.
    """

    folder: Path
    built: tuple[str, ...]
    reused: tuple[str, ...]
    origins: dict[str, int]
    subsets: dict[str, int]
    verdicts: dict[str, int]
    dropped: tuple[str, ...]
    unmatched: dict[str, int]
    markers: int
    seconds: float

    def __str__(self) -> str:
        """Return a few lines for people."""
        built = f"{len(self.built)} built, {len(self.reused)} as they were"
        lines = [
            f"{self.folder}: {len(self.origins)} images ({built}) in {self.seconds:.1f} s",
            f"{sum(self.origins.values()):,} patches, {self.markers} markers, {len(self.subsets)} subsets:",
            *(f"  {count:>9,}  {subset}" for subset, count in sorted(self.subsets.items())),
            "quality: " + ", ".join(f"{count} {verdict}" for verdict, count in self.verdicts.items()),
        ]
        if self.dropped:
            lines.append(f"excluded by their verdict: {'; '.join(self.dropped)}")
        if self.unmatched:
            named = ", ".join(f"{name} ({count})" if count > 1 else name for name, count in self.unmatched.items())
            lines.append(f'without a marker, left out (keep one with "unseen" in [channels]): {named}')
        lines.append(f"look at {self.folder / 'review.html'}, exclude what is bad in the manifest, and build again")
        return "\n".join(lines)


def build(manifest: str | Path, out: str | Path, *, resume: bool = True, workers: int | None = None) -> Summary:
    """Build a corpus from a manifest.

    Every image is opened and its panel matched before the first pixel is read: whatever is wrong with the manifest is
    said at once. Then each image is read once, in blocks; a build that was stopped goes on with the images that are not
    finished, and one whose manifest changed builds only the images that the change concerns.

    Parameters
    ----------
    manifest
        TOML file, see :mod:`kronos_pretrain.corpus_build.manifest`.
    out
        Folder of the corpus; made if it does not exist.
    resume
        Whether images that are already built stay; otherwise all are built anew.
    workers
        Images read at a time; one per core by default, at most four.

    Returns
    -------
    What was done.

    Raises
    ------
    ValueError, KeyError, TypeError, FileNotFoundError
        The manifest is wrong, or images cannot be used; the message names all of them and what to write.
    OSError
        An image is damaged, or the disk is full. Finished images stay.
    """
    started = perf_counter()
    if workers is None:
        workers = min(MOST_WORKERS, _cores())
    workers = positive_integer(workers, name="workers")

    # whatever is wrong is said before the first pixel is read
    checked = read(manifest)
    out = _folder(Path(out))
    sources = {entry.name: open_source(entry) for entry in checked.images}
    panel_of = panels(checked, sources)
    folders = _folders(out, [entry.name for entry in checked.images])
    jobs = [
        ImageJob(entry, sources[entry.name], panel_of[entry.name], checked, out / "images" / folders[entry.name])
        for entry in checked.images
    ]

    reused = {job.entry.name: record for job in jobs if resume and (record := finished(job))}
    todo = [job for job in jobs if job.entry.name not in reused]
    if any(job.folder.exists() for job in todo):  # an index must not name images that are being replaced
        set_aside(out)
    records = reused | _built(todo, workers)
    ordered = {entry.name: records[entry.name] for entry in checked.images}

    # the page comes first: it shows what is wrong with images that the index then refuses
    write_quality(out, ordered)
    write_review(out, ordered, folders)
    refuse(_unusable(checked, ordered), checked, done="Images are built and stay; no index was written.")
    vocabulary = write_index(out, checked, ordered, folders)
    _unlisted_images(out, set(folders.values()))
    return _summary(out, ordered, [job.entry.name for job in todo], len(vocabulary), perf_counter() - started)


def _cores() -> int:
    import os

    if hasattr(os, "sched_getaffinity"):  # the cores that this process may use; not every system tells
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _folder(out: Path) -> Path:
    """Return the folder of the corpus; one that holds other things is refused."""
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not (out / "images").is_dir())):
        msg = f"{str(out)!r} exists and is no corpus. Name a new or empty folder."
        raise ValueError(msg)
    (out / "images").mkdir(parents=True, exist_ok=True)
    return out


def _folders(out: Path, names: list[str]) -> dict[str, str]:
    """Return the folder of each image: the one that it has, or a new number."""
    existing = sorted(path for path in (out / "images").iterdir() if path.name[:4].isdigit())
    folders = {record["name"]: path.name for path in existing if (record := read_record(path))}
    last = max((int(path.name.partition("-")[0]) for path in existing), default=-1)
    for name in names:
        if name not in folders:
            last += 1
            plain = re.sub(r"[^\w.-]", "_", name)
            folders[name] = f"{last:04d}-{plain}"
    return {name: folders[name] for name in names}


def _built(jobs: list[ImageJob], workers: int) -> dict[str, dict[str, Any]]:
    """Build images, several at a time.

    The first error, or an interrupt, ends it after the blocks that are in work.
    """
    total = sum(len(job.panel.channels) * job.source.shape[0] * job.source.shape[1] for job in jobs)
    stop = Event()
    with bar(total=total // MEGA, description="corpus", unit="Mpx") as progress, ThreadPoolExecutor(workers) as pool:
        step = _counter(progress.update, stop)
        futures = [pool.submit(build_image, job, budget=BUDGET // workers, step=step) for job in jobs]
        try:
            # asked one by one, an error would be told only once all images before it are built
            wait(futures, return_when=FIRST_EXCEPTION)
            for future in futures:
                if future.done() and not future.cancelled() and (error := future.exception()):
                    raise error
            return {job.entry.name: future.result() for job, future in zip(jobs, futures, strict=True)}
        finally:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)


def _counter(update: Callable[[int], Any], stop: Event) -> Callable[[int], None]:
    """Return a function that counts pixels and moves a bar of whole megapixels.

    Several threads may call it, until they are to stop.
    """
    done = 0
    lock = Lock()

    def count(pixels: int) -> None:
        nonlocal done
        if stop.is_set():
            raise CancelledError
        with lock:
            before = done
            done += pixels
            update(done // MEGA - before // MEGA)

    return count


def _unusable(manifest: Manifest, records: dict[str, dict[str, Any]]) -> list[str]:
    """Return what only the pixels could tell: too few markers left, no patch, or a marker without any variance."""
    problems = []
    for entry in manifest.images:
        record = records[entry.name]
        used = [marker for marker in record["markers"] if marker["plane"] is not None]
        if reasons := lacking(entry, [marker["role"] for marker in used]):
            dropped = listed(
                f"{marker['channel']} ({marker['quality']['verdict']})"
                for marker in record["markers"]
                if marker["plane"] is None
            )
            problems.append(f"{reasons[0]} Excluded by their verdict: {dropped}; keep = [...] keeps one all the same.")
        if not record["origins"]:
            shares = ", ".join(f"{record[key]:.0%} {key}" for key in ("tissue", "saturated", "blurred"))
            problems.append(
                f'{entry.name!r}: no patch can be used ({shares}). Write tissue = "all" if this is wrong, or take it '
                "out."
            )
    return problems + _constant(records)


def _constant(records: dict[str, dict[str, Any]]) -> list[str]:
    """Return markers that have the same value in every pixel of the corpus: a z-score would divide by zero."""
    problems = []
    for marker, (_, moments) in statistics(records).items():
        if moments.count and not moments.squares > 0:
            images = [
                name for name, record in records.items() if any(row["marker"] == marker for row in record["markers"])
            ]
            line = f'[[exclude]] with marker = "{marker}"'
            problems.append(
                f"{marker!r} has the value {moments.mean:.4g} in every pixel of {listed(images)}. Exclude it: {line}."
            )
    return problems


def _unlisted_images(out: Path, listed_folders: set[str]) -> None:
    """Remove what a killed build left half written, and name folders of images that the manifest lists no more."""
    for path in (out / "images").iterdir():
        if path.name.startswith(".") and path.name.endswith(".part"):
            shutil.rmtree(path, ignore_errors=True)
    if unlisted := sorted(path.name for path in (out / "images").iterdir() if path.name not in listed_folders):
        names = listed(unlisted)
        info(f"corpus: {names} of an earlier build are not part of it; delete them if they are not wanted again")


def _summary(out: Path, records: dict[str, dict[str, Any]], built: list[str], markers: int, seconds: float) -> Summary:
    markers_of_images = [(name, marker) for name, record in records.items() for marker in record["markers"]]
    subsets: Counter[str] = Counter()
    for record in records.values():
        subsets[record["subset"]] += record["origins"]
    return Summary(
        folder=out,
        built=tuple(built),
        reused=tuple(name for name in records if name not in built),
        origins={name: record["origins"] for name, record in records.items()},
        subsets=dict(subsets),
        verdicts=dict(Counter(marker["quality"]["verdict"] for _, marker in markers_of_images).most_common()),
        dropped=tuple(
            f"{name}: {marker['channel']} ({marker['quality']['reason']})"
            for name, marker in markers_of_images
            if marker["plane"] is None
        ),
        unmatched=dict(Counter(channel for record in records.values() for channel in record["unmatched"])),
        markers=markers,
        seconds=seconds,
    )
