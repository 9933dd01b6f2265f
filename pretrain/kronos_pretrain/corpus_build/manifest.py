"""The manifest of a corpus: which images, which of their channels, and how much of a patch must be tissue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from kronos_sc._core.checks import listed, near

if TYPE_CHECKING:
    from pathlib import Path

    from kronos_sc.markers import Vocabulary

VERDICTS = ("ok", "review", "saturated", "empty", "flat")


@dataclass(frozen=True)
class CorpusSettings:
    """`[corpus]`: the grid of patches and which of them are used.

    Parameters
    ----------
    name
        Of the vocabulary that the corpus carries.
    root
        Folder that paths of images are relative to, `$VARIABLES` of the environment allowed; that of the manifest by
        default.
    vocabulary
        Whose names and ids of markers are kept: a folder written by `export` (the model that training will continue
        from), another corpus, or a `marker_metadata.csv`. New markers get free ids. Relative to the manifest; the
        paper's markers if empty.
    patch, stride
        Edge of a patch and distance of two in pixels; the stride is a power of two of at least 32, the patch a multiple
        of it. The paper's are 256 px with 50 % overlap.
    format
        `"zarr"` (sharded, compressed) or `"npy"` (plain arrays for memory mapping).
    least_tissue
        Least share of a patch that is tissue. Half: even the smallest global crop, 48 % of a sample, then has tissue in
        it.
    most_artifacts
        Largest share of a patch that is saturated or out of focus.
    saturation
        Share of saturated pixels, over all markers or in the nuclear stain alone, from which 32 × 32 pixels are an
        artifact.
    blur
        Sharpness of the nuclear stain below which a place is out of focus, as a share of the image's median.
    """

    name: str = "corpus"
    root: str = ""
    vocabulary: str = ""
    patch: int = 256
    stride: int = 128
    format: str = "zarr"
    least_tissue: float = 0.5
    most_artifacts: float = 0.25
    saturation: float = 0.25
    blur: float = 0.35


@dataclass(frozen=True)
class Quality:
    """`[quality]`: what the verdict on a marker in an image depends on.

    Parameters
    ----------
    empty
        Share of pixels above zero below which a marker is `"empty"`.
    saturated
        Share of pixels at full scale above which it is `"saturated"`.
    signal
        Signal over background below which it is for `"review"`.
    levels
        Grey levels between the 0.1st and the 99.9th percentile below which it is for `"review"`; below 2 it is
        `"flat"`.
    focus
        Share of the variance that is as fine as pixels, below which it is for `"review"` (blurred).
    noise
        The same, above which it is for `"review"` (noise without structure).
    drop
        Verdicts that exclude a marker from an image without being asked; the summary, `quality.csv` and the page name
        each such exclusion.
    """

    empty: float = 0.001
    saturated: float = 0.01
    signal: float = 1.5
    levels: int = 4
    focus: float = 0.0005
    noise: float = 0.7
    drop: tuple[str, ...] = ("empty", "flat")


@dataclass(frozen=True)
class Entry:
    """`[[image]]`: one image, or the images that a pattern finds.

    Parameters
    ----------
    path
        TIFF, folder of TIFFs, SpatialData store, or `.npy` array (channels, rows, columns); relative to the manifest.
    subset
        Tissue and technology, as "lymph node · CODEX"; the trainer draws a subset first, then a patch of it.
    name
        Of the image; its file name if left out.
    image
        Key of the image in a SpatialData store; needed if there are several.
    names
        Channel names in stored order, for files that hold none or wrong ones.
    channels
        What a channel is: a marker, `"unseen"` for one that the vocabulary lacks, `False` or `""` to drop it.
    exclude
        Markers or channels that manual review excludes from this image, with the reason.
    keep
        Markers or channels that stay whatever their verdict.
    max_value
        Raw value that becomes 1; 255, 65535 or 1 (float) if left out.
    nan
        `"error"`, or `"zero"` to read pixels that are not finite as zero.
    tissue
        `"auto"`, or `"all"` if the whole image is tissue.
    """

    path: Path
    subset: str
    name: str = ""
    image: str = ""
    names: tuple[str, ...] = ()
    channels: Mapping[str, str | None] = field(default_factory=dict)
    exclude: Mapping[str, str] = field(default_factory=dict)
    keep: tuple[str, ...] = ()
    max_value: float = 0.0
    nan: str = "error"
    tissue: str = "auto"


@dataclass(frozen=True)
class Exclusion:
    """`[[exclude]]`: a marker that manual review excludes, in all images or in some.

    Parameters
    ----------
    marker
        Marker or channel.
    subset, image
        Only in this subset, only in the image of this name; in all if empty.
    reason
        Why.
    """

    marker: str
    subset: str = ""
    image: str = ""
    reason: str = ""

    def concerns(self, entry: Entry) -> bool:
        """Whether an image is one of those meant."""
        return self.subset in ("", entry.subset) and self.image in ("", entry.name)


@dataclass(frozen=True)
class Manifest:
    """A manifest, checked; patterns are already replaced by the images that they found.

    Parameters
    ----------
    path
        Of the file, for messages.
    settings, quality
        Of the whole corpus.
    channels
        `[channels]`: what a channel is, in every image that has one of this name.
    exclusions
        `[[exclude]]`.
    images
        One entry per image, with a name of its own.
    given
        The vocabulary that `[corpus]` names, if it does.
    known
        The markers that channels are matched with: those given, and the paper's.
    """

    path: Path
    settings: CorpusSettings
    quality: Quality
    channels: Mapping[str, str | None]
    exclusions: tuple[Exclusion, ...]
    images: tuple[Entry, ...]
    given: Vocabulary | None
    known: Vocabulary


def section(cls: type, record: Any, place: str) -> Any:
    """Return a dataclass from a TOML table.

    An error names the key that is wrong, and the nearest one if it is unknown.
    """
    from kronos_pretrain.corpus_build.values import value

    if not isinstance(record, Mapping):
        msg = f"{place} must be a table, got {record!r}. Write it as [{place.split()[-1]}] with one key per line."
        raise TypeError(msg)
    known = {field.name: field for field in fields(cls)}
    for key in record:
        if key not in known:
            close = near(key, known)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            msg = f"{place} has no key {key!r}; it has {listed(known, most=20)}.{hint} Correct or remove the key."
            raise KeyError(msg)
    return cls(**{key: value(str(known[key].type), each, f"{key} of {place}") for key, each in record.items()})
