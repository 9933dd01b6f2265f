"""A corpus: images, the markers of each, and where patches may be cut."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kronos_pretrain.data.store import NpySource, PixelSource, ZarrSource
from kronos_sc._core import log
from kronos_sc._core.checks import listed, numbers, positive_integer, positive_number, repeated
from kronos_sc.markers import Vocabulary

if TYPE_CHECKING:
    from collections.abc import Iterable

FORMAT = "kronos-corpus/1"
LEAST_OTHERS = 2  # markers beside the nuclear stain


@dataclass(frozen=True, eq=False)
class Image:
    """One image of a corpus.

    Parameters
    ----------
    name, subset
        Its name, and the subset (tissue × technology) that it belongs to.
    shape
        Height and width in pixels.
    scale
        Raw value that becomes 1.
    markers
        Marker id of each plane, int64.
    nuclear
        Planes that show nuclear stains.
    origins
        Row and column of the first pixel of every patch that may be cut (n, 2), int32.
    pixels
        Source of the planes.
    """

    name: str
    subset: str
    shape: tuple[int, int]
    scale: float
    markers: np.ndarray
    nuclear: np.ndarray
    origins: np.ndarray
    pixels: PixelSource

    @cached_property
    def others(self) -> np.ndarray:
        """Planes that show no nuclear stain."""
        return np.setdiff1d(np.arange(len(self.markers)), self.nuclear)


@dataclass(frozen=True, eq=False)
class Corpus:
    """Images to train on; made from a folder by :meth:`open`, or from arrays directly, for which numpy is enough.

    Images without a single origin are left out, and a line of the log names them.

    Parameters
    ----------
    images
        The images.
    vocabulary
        The markers, with the mean and standard deviation of their pixels (scaled to [0, 1]) over the corpus.
    patch
        Edge of a patch in pixels.

    Raises
    ------
    ValueError
        If an image has no nuclear stain or fewer than two other markers, a marker twice, a marker that the vocabulary
        does not hold or whose standard deviation is zero or unknown, or an origin whose patch is not inside it; the
        message names image and marker.
    """

    images: list[Image]
    vocabulary: Vocabulary
    patch: int

    def __post_init__(self) -> None:
        positive_integer(self.patch, name="patch")
        empty = [image.name for image in self.images if not len(image.origins)]
        if len(empty) == len(self.images):
            msg = (
                f"None of the {len(empty)} images has a patch of {self.patch} px to cut. Build the corpus with a "
                "smaller patch or another tissue mask."
            )
            raise ValueError(msg)
        if empty:
            log.info(f"corpus: {len(empty)} images without a patch are left out: {listed(empty)}")
        # the class is frozen for its users
        object.__setattr__(self, "images", [image for image in self.images if len(image.origins)])
        _require_markers(self.images)
        _require_statistics(self.images, self.vocabulary)
        for image in self.images:
            _require_windows(image, self.patch)

    @classmethod
    def open(cls, folder: str | Path) -> Corpus:
        """Open the corpus that `corpus build` wrote into `folder`; needs numpy and, for Zarr pixels, numcodecs."""
        folder = Path(folder)
        record = _record(folder)
        try:
            # before Vocabulary does, whose message does not say what to do about a corpus
            rows = record["vocabulary"]["markers"]
            _refuse_flat((row["name"], row.get("std")) for row in rows if row.get("std") is not None)
            vocabulary = Vocabulary.from_dict(record["vocabulary"])
            images = [_image(folder, row, vocabulary) for row in record["images"]]
            return cls(images, vocabulary, record["patch"])
        except (KeyError, TypeError) as error:
            msg = (
                f"{str(folder / 'corpus.json')!r} is not complete ({type(error).__name__}: {error}). Build the corpus "
                "again with `corpus build`."
            )
            raise ValueError(msg) from error

    @cached_property
    def subsets(self) -> dict[str, list[int]]:
        """Positions in `images` by subset, in order of first appearance."""
        positions: dict[str, list[int]] = {}
        for position, image in enumerate(self.images):
            positions.setdefault(image.subset, []).append(position)
        return positions


def _record(folder: Path) -> dict[str, Any]:
    path = folder / "corpus.json"
    build = "Build one with `python -m kronos_pretrain corpus build MANIFEST.toml OUT`."
    if not path.is_file():
        content = "no such folder"
        if folder.is_dir():
            content = listed(sorted(path.name for path in folder.iterdir()))
        msg = (
            f"{str(folder)!r} is no corpus: it has no corpus.json ({content}), which is written last, so a build may "
            f"not have ended. {build}"
        )
        raise FileNotFoundError(msg)
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        msg = f"{str(path)!r} is not JSON ({error}). {build}"
        raise ValueError(msg) from error
    written = record.get("format") if isinstance(record, dict) else None
    if written != FORMAT:
        msg = f"{str(path)!r} has format {written!r}; this version reads {FORMAT!r}. {build}"
        raise ValueError(msg)
    return record


def _image(folder: Path, row: dict[str, Any], vocabulary: Vocabulary) -> Image:
    """Return one image of the record; its pixels are not read, but must be there and as the record says."""
    name = row["name"]
    home = folder / row["folder"]
    channels = tuple(marker["channel"] for marker in row["markers"])
    if [marker["plane"] for marker in row["markers"]] != list(range(len(channels))):
        planes = numbers(marker["plane"] for marker in row["markers"])
        msg = (
            f"Image {name!r} lists its markers for planes {planes}; they go from 0 to {len(channels) - 1}. Build the "
            "corpus again."
        )
        raise ValueError(msg)
    # opened for shape and dtype alone: pixels that are missing, or of another build, are noticed before a run starts
    path = home / row["pixels"]
    pixels: PixelSource = NpySource(path, name) if path.suffix == ".npy" else ZarrSource(path, name, channels)
    shape = (len(channels), *row["shape"])
    dtype = np.dtype(row["dtype"])
    if (pixels.shape, pixels.dtype) != (shape, dtype):
        msg = (
            f"Image {name!r} holds pixels {pixels.shape} of {pixels.dtype}, and corpus.json says {shape} of {dtype}. "
            f"Delete {str(home)!r} and run the same `corpus build` again."
        )
        raise ValueError(msg)

    markers = np.array([marker["id"] for marker in row["markers"]], np.int64)
    roles = [_known(marker, name, vocabulary).role for marker in markers.tolist()]
    nuclear = [plane for plane, role in enumerate(roles) if role == "nuclear"]
    return Image(
        name=name,
        subset=row["subset"],
        shape=tuple(row["shape"]),
        scale=row["scale"],
        markers=markers,
        nuclear=np.array(nuclear, np.int64),
        origins=_origins(home / "origins.npy", name, row["origins"]),
        pixels=pixels,
    )


def _origins(path: Path, image: str, count: int) -> np.ndarray:
    try:
        origins = np.load(path, allow_pickle=False)
        if origins.shape != (count, 2) or origins.dtype.kind not in "iu":
            msg = f"it holds {origins.shape} of {origins.dtype}, not ({count}, 2) whole numbers"
            raise ValueError(msg)  # noqa: TRY301 - one message for all that can be wrong with the file
    except (OSError, ValueError) as error:
        msg = (
            f"The origins of image {image!r} cannot be read from {str(path)!r}: {error}. "
            f"Delete {str(path.parent)!r} and run the same `corpus build` again."
        )
        raise OSError(msg) from error
    return origins.astype(np.int32, copy=False)


def _known(marker: int, image: str, vocabulary: Vocabulary) -> Any:
    try:
        return vocabulary.get_by_id(marker)
    except KeyError as error:
        msg = f"Image {image!r} has a marker of id {marker}, and {error.args[0]}"
        raise ValueError(msg) from error


def _require_markers(images: list[Image]) -> None:
    """Raise a ValueError that names images with too few markers, or with one marker twice."""
    for image in images:
        if twice := repeated(str(marker) for marker in image.markers):
            msg = (
                f"Image {image.name!r} has marker id {numbers(twice)} more than once; a marker is one plane. Keep one "
                "plane of each."
            )
            raise ValueError(msg)
        if len(image.nuclear) and not 0 <= min(image.nuclear) <= max(image.nuclear) < len(image.markers):
            msg = (
                f"Image {image.name!r} has nuclear planes {numbers(image.nuclear)}; its planes go from 0 to "
                f"{len(image.markers) - 1}. Correct them."
            )
            raise ValueError(msg)
    few = [f"{image.name} ({len(image.nuclear)} + {len(image.others)})" for image in images if not _enough(image)]
    if few:
        msg = (
            f"Images need a nuclear stain and {LEAST_OTHERS} other markers; these have fewer (nuclear + other): "
            f"{listed(few)}. Name their markers in the manifest, or leave these images out."
        )
        raise ValueError(msg)


def _enough(image: Image) -> bool:
    return len(image.nuclear) > 0 and len(image.others) >= LEAST_OTHERS


def _require_statistics(images: list[Image], vocabulary: Vocabulary) -> None:
    """Raise a ValueError that names markers by whose standard deviation pixels cannot be divided."""
    used = {marker: _known(marker, image.name, vocabulary) for image in images for marker in image.markers.tolist()}
    _refuse_flat((marker.name, marker.std if math.isfinite(marker.mean) else math.nan) for marker in used.values())


def _refuse_flat(markers: Iterable[tuple[str, float]]) -> None:
    flat = [
        f"{name}: {'unknown' if math.isnan(std) else std}"
        for name, std in markers
        if not (math.isfinite(std) and std > 0)
    ]
    if flat:
        msg = (
            "Pixels are divided by the standard deviation of their marker over the corpus, and it is zero or unknown "
            f"for {listed(flat)}. Such a marker shows nothing: exclude it in the manifest and build the corpus again."
        )
        raise ValueError(msg)


def _require_windows(image: Image, patch: int) -> None:
    """Raise a ValueError unless planes, shape and origins of an image belong together."""
    positive_number(image.scale, name=f"scale of image {image.name!r}")
    expected = (len(image.markers), *image.shape)
    if tuple(image.pixels.shape) != expected:
        msg = (
            f"Image {image.name!r} has pixels {image.pixels.shape}, and markers and shape say {expected} (planes, "
            "height, width). Make them agree."
        )
        raise ValueError(msg)
    low = image.origins.min(0)
    high = image.origins.max(0) + patch
    if low.min() < 0 or (high > image.shape).any():
        msg = (
            f"Image {image.name!r} is {image.shape[0]} × {image.shape[1]} px, and its patches of {patch} px reach from "
            f"{tuple(low.tolist())} to {tuple(high.tolist())}. Origins are the first row and column of patches that "
            "lie inside; build the corpus again."
        )
        raise ValueError(msg)
