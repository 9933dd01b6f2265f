"""Multiplexed tissue with known truth."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

from kronos_sc._core import checks, log
from kronos_sc._core.progress import track
from kronos_sc.datasets._sim.artifacts import ARTIFACTS
from kronos_sc.datasets._sim.panel import DEFAULT_PANEL, MARKERS
from kronos_sc.datasets._sim.simulate import TissueSettings, simulate
from kronos_sc.datasets._sim.streams import Streams
from kronos_sc.datasets._sim.study import design

if TYPE_CHECKING:
    from spatialdata import SpatialData

LEAST_PIXELS = 64
LEAST_MICRONS = 32
MPP_RANGE = (0.2, 2.0)


def tissue(
    *,
    shape: tuple[int, int] = (1000, 1000),
    channels: Sequence[str] | None = None,
    n_images: int = 1,
    n_donors: int = 1,
    n_batches: int = 1,
    group_effect: float = 1.0,
    batch_effect: float = 1.0,
    bit_depth: int = 16,
    mpp: float = 0.5,
    artifacts: Collection[str] = (),
    regions: bool = False,
    rng: int | np.random.Generator | None = 0,
) -> SpatialData:
    """Simulate multiplexed images of a tumour and return them with the truth.

    The tissue has tumour nests, lymphoid follicles, vessels and stroma. For tests, tutorials and benchmarks that need
    to know the right answer. Cells have a nucleus, a membrane and cytoplasm, a type whose markers sit where they
    belong, and continuous states; light passes through point spread, spill-over into neighbours, autofluorescence,
    uneven illumination, shot and read noise. 1,000 × 1,000 pixels × 20 channels take about two seconds.

    The same arguments give the same bytes. Each channel has its own random stream, found by its name: asking for fewer
    channels changes neither the cells nor the remaining channels.

    Parameters
    ----------
    shape
        Height and width of each image in pixels, at least 64 × 64 and 32 µm × 32 µm.
    channels
        Names of markers, in the order wanted; the default is a panel of 20 that starts with DAPI. An unknown name lists
        the known ones.
    n_images
        Number of images.
    n_donors
        Number of donors, at most `n_images`. Images go round the donors; donors alternate between the groups A and B
        and differ in composition.
    n_batches
        Number of staining batches, at most `n_images`, each with its own gain and background per channel. A batch holds
        donors of both groups wherever the numbers allow it.
    group_effect
        How much group B differs from A: more CD8 T cells and M1 macrophages, fewer Tregs and M2 macrophages, more
        activation. 0 removes the difference.
    batch_effect
        How much batches differ; at 1 the gain has a standard deviation of about 30 %, at 0 all batches are alike.
    bit_depth
        8 or 16: `uint8`, with most of the range used, as in exported images, or `uint16`, with bright cells at a third
        of it.
    mpp
        Pixel size in µm, 0.2 to 2. Sizes of cells and compartments are in µm.
    artifacts
        Any of `"blur"`, `"saturation"`, `"fold"`; each image gets one of each.
    regions
        Whether to add the compartment of every pixel, the truth for region maps. Everything else stays the same.
    rng
        Seed or generator.

    Returns
    -------
    A new `SpatialData`. With several images, elements are called `image_0`, `cells_0`, …:

    `images['image']`
        (c, y, x), `uint8` or `uint16`. All elements know the coordinate systems `global` (pixels) and `um` (µm).
    `labels['cells']`
        `int32`, 0 outside cells.
    `labels['artifacts']`
        Only with `artifacts`: 0 none, 1 blur, 2 saturation, 3 fold.
    `labels['regions']`
        Only with `regions`: 1 nest (tumour), 2 stroma, 3 follicle, 4 vessel (lumen and wall), uint8.
    `tables['regions_table']`
        Only with `regions`: names these codes. `obs`: `label` (the code), `class`, `area` (pixels), `share` of the
        image.
    `tables['table']`
        One row per cell. `X`: mean of the pixels, as a fraction of the range, float32. `layers['truth']`: level before
        optics, where 1 is a bright positive cell. `obs`: `cell_id` and `element` (which labels), `cell_type`, `region`,
        `donor`, `batch`, `group`, `proliferation` and `activation` (0 to 1), `area` (pixels), `artifact` (at the
        centroid). `obsm['spatial']`: centroid (x, y) in pixels, where pixel i covers i to i + 1. `varm['gain']`,
        `varm['background']`: channels × batches. `uns['tissue']`: arguments.

    Raises
    ------
    ValueError
        If an argument is out of range or a name is unknown; nothing is simulated then.
    TypeError
        If `channels` or `artifacts` is a single string.

    Examples
    --------
    >>> import kronos_sc as ks
    >>> sdata = ks.datasets.tissue(shape=(128, 128), channels=["DAPI", "CD8", "CYTOKERATIN"])
    >>> sdata["image"].shape
    (3, 128, 128)
    """
    settings = TissueSettings(
        shape=_checked_shape(shape, mpp),
        channels=_checked_channels(channels),
        bit_depth=bit_depth,
        mpp=float(mpp),
        artifacts=_checked_artifacts(artifacts),
        batch_effect=_checked_effect(batch_effect, name="batch_effect"),
        regions=bool(regions),
    )
    checks.one_of(bit_depth, (8, 16), name="bit_depth")
    group_effect = _checked_effect(group_effect, name="group_effect")
    n_images = checks.positive_integer(n_images, name="n_images")
    n_donors = _at_most(n_donors, n_images, name="n_donors")
    n_batches = _at_most(n_batches, n_images, name="n_batches")

    started = perf_counter()
    streams = Streams.start(rng)
    samples = design(streams, n_images=n_images, n_donors=n_donors, n_batches=n_batches, group_effect=group_effect)
    images = [
        simulate(streams, number, settings, sample)
        for number, sample in enumerate(track(samples, description="tissue", unit="image"))
    ]

    from kronos_sc.datasets._sim.assemble import assemble

    sdata = assemble(streams, settings, samples, images, group_effect=group_effect, seed=rng)
    log.info(
        f"tissue: {sdata['table'].n_obs} cells, {len(settings.channels)} channels, {len(images)} images in "
        f"{perf_counter() - started:.1f} s"
    )
    return sdata


def _checked_shape(shape: tuple[int, int], mpp: float) -> tuple[int, int]:
    """Return the shape if there is room for tissue in it."""
    if not MPP_RANGE[0] <= mpp <= MPP_RANGE[1]:
        msg = (
            f"mpp={mpp!r} is out of range; the pixel size can be {MPP_RANGE[0]} to {MPP_RANGE[1]} µm. Pass mpp=0.5 for "
            "a usual slide scan."
        )
        raise ValueError(msg)
    sides = tuple(shape) if isinstance(shape, Sequence) else (shape,)
    if len(sides) != 2:
        msg = (
            f"shape={shape!r} has {len(sides)} numbers; it takes two: height and width in pixels, shape=(1000, 1000), "
            "say."
        )
        raise ValueError(msg)
    height, width = (checks.positive_integer(side, name="each side of shape") for side in sides)
    least = max(LEAST_PIXELS, int(np.ceil(LEAST_MICRONS / mpp)))
    if min(height, width) < least:
        msg = (
            f"shape=({height}, {width}) is too small for tissue; at mpp={mpp} each side has at least {least} pixels "
            f"({LEAST_PIXELS} pixels and {LEAST_MICRONS} µm). Pass shape=({max(height, least)}, {max(width, least)})."
        )
        raise ValueError(msg)
    return height, width


def _checked_channels(channels: Sequence[str] | None) -> tuple[str, ...]:
    """Return the channels if the simulator knows each of them and each is there once."""
    if channels is None:
        return DEFAULT_PANEL
    if isinstance(channels, str):
        msg = f"channels={channels!r} is a string, not a list of names; pass channels=[{channels!r}]."
        raise TypeError(msg)
    if not len(channels):
        msg = (
            "channels is empty; an image has at least one. Leave channels out for a panel of 20, or pass "
            "channels=['DAPI', 'CD8'], say."
        )
        raise ValueError(msg)
    unknown = [name for name in channels if name not in MARKERS]
    if unknown:
        close = checks.near(unknown[0], MARKERS)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        msg = (
            f"The simulator does not know {checks.listed(unknown)}; it knows: "
            f"{checks.listed(MARKERS, most=len(MARKERS))}.{hint} Leave channels out for a panel of 20."
        )
        raise ValueError(msg)
    twice = checks.repeated(channels)
    if twice:
        msg = (
            f"channels names {checks.listed(twice)} more than once; a channel's name is its identity. Name each marker "
            "once."
        )
        raise ValueError(msg)
    return tuple(channels)


def _checked_artifacts(artifacts: Collection[str]) -> tuple[str, ...]:
    """Return the artifacts wanted, in the order of their codes."""
    if isinstance(artifacts, str):
        msg = (
            f"artifacts={artifacts!r} is a string; pass a list: artifacts=[{artifacts!r}]. There are: "
            f"{checks.listed(ARTIFACTS)}."
        )
        raise TypeError(msg)
    unknown = [name for name in artifacts if name not in ARTIFACTS]
    if unknown:
        msg = (
            f"There is no artifact {checks.listed(unknown)}; there are: {checks.listed(ARTIFACTS)}. Pass some of "
            "these, or () for none."
        )
        raise ValueError(msg)
    return tuple(name for name in ARTIFACTS if name in artifacts)


def _checked_effect(value: float, *, name: str) -> float:
    """Return the strength of an effect, a number from 0 up."""
    if not (np.isfinite(value) and value >= 0):
        msg = f"{name}={value!r} is not a strength; {name} can be 0 (no difference) or more, and 1 is a usual one."
        raise ValueError(msg)
    return float(value)


def _at_most(value: int, n_images: int, *, name: str) -> int:
    """Return a count that no more than `n_images` can be told apart by."""
    value = checks.positive_integer(value, name=name)
    if value > n_images:
        msg = (
            f"{name}={value} is more than n_images={n_images}, and each needs one. Pass n_images={value} or more, or a "
            f"smaller {name}."
        )
        raise ValueError(msg)
    return value
