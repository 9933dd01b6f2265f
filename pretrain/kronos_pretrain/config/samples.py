"""Settings of what the network sees: where samples come from, and what becomes of them."""

from __future__ import annotations

from dataclasses import dataclass, field

from kronos_pretrain.config.free import free


@dataclass(frozen=True)
class Simulate:
    """Simulated tissue in place of a corpus, made when the run starts.

    Parameters
    ----------
    images
        Number of images; 0 for none.
    size
        Edge of each in pixels.
    seed
        Of the simulator.
    """

    images: int = 0
    size: int = 512
    seed: int = 0


@dataclass(frozen=True)
class Data:
    """Where samples come from.

    Parameters
    ----------
    corpus
        Folder written by `corpus build`.
    simulate
        Simulated tissue instead.
    patch
        Edge of a sample in pixels, at most that of the corpus; smaller ones lie anywhere inside a valid patch.
    markers
        Least and largest number of markers of a sample, the nuclear stain included; drawn anew for each step.
    shared_markers
        Whether all views of a sample show the same markers; if not, the two global views differ in all but the nuclear
        stain, and local views take those of one or the other.
    workers
        Processes that read ahead; 0 reads in a thread of the training process.
    """

    corpus: str = free("")
    simulate: Simulate = field(default_factory=Simulate)
    patch: int = 256
    markers: tuple[int, int] = (3, 3)
    shared_markers: bool = True
    workers: int = free(4)


@dataclass(frozen=True)
class Views:
    """Crops of a sample.

    Parameters
    ----------
    global_size, local_size
        Edge of a view in pixels after resizing; a multiple of the token size.
    global_scale, local_scale
        Range of the area of a crop, as a share of the sample.
    local_count
        Local views per sample; there are always two global ones.
    aspect
        Range of width over height of a crop.
    flip, rotate
        Random flips along both axes; random quarter turns.
    """

    global_size: int = 224
    global_scale: tuple[float, float] = (0.48, 1.0)
    local_size: int = 96
    local_scale: tuple[float, float] = (0.16, 0.48)
    local_count: int = 8
    aspect: tuple[float, float] = (0.75, 4 / 3)
    flip: bool = True
    rotate: bool = True


@dataclass(frozen=True)
class Augment:
    """Changes of intensity, of which the paper names none; drawn for each view.

    Parameters
    ----------
    gain
        Standard deviation of the logarithm of a factor per marker, applied to intensities above zero signal.
    offset
        Standard deviation of a constant added per marker, in units of the marker's standard deviation.
    blur
        Largest standard deviation of a Gaussian blur in pixels of the view.
    noise
        Largest standard deviation of Gaussian noise, in units of the marker's standard deviation.
    marker_dropout
        Probability that a marker other than the nuclear stain is set to its mean.
    """

    gain: float = 0.0
    offset: float = 0.0
    blur: float = 0.0
    noise: float = 0.0
    marker_dropout: float = 0.0


@dataclass(frozen=True)
class Masks:
    """What the student does not see of global views; the same positions on every marker.

    Parameters
    ----------
    fraction
        Share of the global views that are masked.
    ratio
        Range of the share of positions hidden in a masked view.
    aspect
        Least height over width of a hidden block; the largest is its inverse.
    """

    fraction: float = 0.5
    ratio: tuple[float, float] = (0.1, 0.5)
    aspect: float = 0.3
