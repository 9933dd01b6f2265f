"""Tokens of labelled regions: which they are, from which window each is read, and their features."""

# Shapes: t tokens, f features.
from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kronos_sc import patches
from kronos_sc._core.checks import numbers
from kronos_sc._core.intensity import max_value as full_scale
from kronos_sc._core.progress import bar
from kronos_sc._core.warn import warn
from kronos_sc._embedding.compute import InferenceConfig, embed_blocks
from kronos_sc._embedding.jobs import RegionJob

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kronos_sc._dense.regions import Regions
    from kronos_sc._dense.windows import Tiling
    from kronos_sc.patches import Raster

_MOST_BYTES = 2**26  # of token features of one block


@dataclass(frozen=True)
class Tokens:
    """Labelled tokens; arrays have one entry per token.

    Parameters
    ----------
    region
        Position of its region (int64).
    row, column
        On the map of the region's image (int64).
    """

    region: np.ndarray
    row: np.ndarray
    column: np.ndarray

    def subset(self, keep: np.ndarray) -> Tokens:
        """Return some of the tokens (positions or flags)."""
        return Tokens(self.region[keep], self.row[keep], self.column[keep])


def labelled_tokens(regions: Regions, tilings: Sequence[Tiling]) -> Tokens:
    """Return the tokens whose centres lie inside a region, each in one region.

    Those that two classes claim are left out.
    """
    parts = []
    for number, (outline, image) in enumerate(zip(regions.outline, regions.image.tolist(), strict=True)):
        rows, columns = _inside(outline, tilings[image])
        parts.append(np.stack([np.full(len(rows), number), rows, columns]))
    region, row, column = np.concatenate([np.empty((3, 0), np.int64), *parts], axis=1)
    if not len(region):
        return Tokens(region, row, column)

    # a token that several regions hold belongs to the first of them, unless their classes contradict each other
    place = np.stack([regions.image[region], row, column])
    _, first, inverse = np.unique(place, axis=1, return_index=True, return_inverse=True)
    first_region = region[first][inverse.ravel()]
    differ = regions.codes[region] != regions.codes[first_region]
    contested = np.zeros(len(first), bool)
    np.logical_or.at(contested, inverse.ravel(), differ)
    if contested.any():
        warn(
            f"{int(contested.sum())} tokens lie in regions of different classes and are left out. Do regions overlap "
            "that should not?"
        )
    keep = first[~contested]
    return Tokens(region, row, column).subset(np.sort(keep))


def _inside(outline: object, tiling: Tiling) -> tuple[np.ndarray, np.ndarray]:
    """Return rows and columns of the tokens whose centres lie in an outline and on the image."""
    import shapely

    low_x, low_y, high_x, high_y = shapely.bounds(outline)
    ys = tiling.centres(0)
    xs = tiling.centres(1)

    # only tokens in the box around the outline are asked for exactly
    rows = np.flatnonzero((ys >= max(low_y, 0)) & (ys <= min(high_y, tiling.shape[0])))
    columns = np.flatnonzero((xs >= max(low_x, 0)) & (xs <= min(high_x, tiling.shape[1])))
    row, column = (grid.ravel() for grid in np.meshgrid(rows, columns, indexing="ij"))
    shapely.prepare(outline)
    within = shapely.contains_xy(outline, xs[column], ys[row])
    return row[within], column[within]


def sample_tokens(tokens: Tokens, codes: np.ndarray, most: int | None, rng: np.random.Generator) -> Tokens:
    """Draw at most `most` tokens per class (`codes` by region), as evenly over its regions as their sizes allow.

    One of each at least.
    """
    if most is None:
        return tokens

    # a random rank of each token within its region
    order = np.lexsort((rng.random(len(tokens.region)), tokens.region))
    sizes = np.bincount(tokens.region, minlength=len(codes))
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order)) - np.repeat(np.cumsum(sizes) - sizes, sizes)

    chosen = []
    for c in np.unique(codes):
        members = np.flatnonzero(codes[tokens.region] == c)
        n_regions = int((rank[members] == 0).sum())
        # the first token of every region, then the second of every region, …
        by_rank = members[np.lexsort((rng.random(len(members)), rank[members]))]
        chosen.append(by_rank[: max(most, n_regions)])
    return tokens.subset(np.sort(np.concatenate(chosen)))


def without_tokens(regions: Regions, tokens: Tokens, step: int) -> np.ndarray:
    """Return which regions hold no token (flags), and warn about them; a ValueError if none does.

    Tokens lie `step` pixels apart.
    """
    empty = np.bincount(tokens.region, minlength=len(regions)) == 0
    if empty.all():
        import shapely

        sides = shapely.bounds(regions.outline).reshape(-1, 2, 2)
        width, height = np.ptp(sides, axis=1).max(axis=0).tolist()
        msg = (
            f"None of the {len(regions)} labelled regions holds the centre of a token: tokens are squares of {step} × "
            f"{step} pixels, and the regions measure at most {width:g} × {height:g} pixels. Draw larger regions; a "
            "model with smaller tokens reads smaller ones (models.load(..., token_overlap=True) for KRONOS)."
        )
        raise ValueError(msg)
    if empty.any():
        warn(
            f"{int(empty.sum())} of {len(regions)} labelled regions hold no centre of a token and are left out: "
            f"{numbers(regions.names.loc[empty, 'region'])}. They are smaller than a token, or lie under others."
        )
    return empty


def collect(
    regions: Regions, tokens: Tokens, tilings: Sequence[Tiling], config: InferenceConfig, *, max_value: float | None
) -> np.ndarray:
    """Return the features of the tokens (t × f, float32); only windows that hold one are read.

    Parameters
    ----------
    regions, tokens
        Which tokens, and the regions that they lie in.
    tilings
        Windows, one per image.
    config
        Of a model that gives the kind `"token"`.
    max_value
        Raw value that becomes 1, if given.
    """
    width = config.model.width("token", len(config.used))
    features_tf = np.empty((len(tokens.region), width), np.float32)
    jobs = []
    for number, (image, tiling) in enumerate(zip(regions.images, tilings, strict=True)):
        of_image = np.flatnonzero(regions.image[tokens.region] == number)
        if len(of_image):
            jobs.append((of_image, *_plan_image(image, tiling, tokens.subset(of_image), config, width, max_value)))

    with bar(total=sum(len(job.units) for _, job, _, _ in jobs), description="tokens", unit="window") as progress:
        for of_image, job, window, place in jobs:
            for block in embed_blocks(job, config):
                # blocks hold windows in their own order: first the window's place in the block, then the token's in it
                position = np.full(len(job.units), -1)
                position[block.rows] = np.arange(len(block.rows))
                in_block = np.flatnonzero(position[window] >= 0)
                block_features = block.features["token"].reshape(len(block.rows), -1, width)
                features_tf[of_image[in_block]] = block_features[position[window[in_block]], place[in_block]]
                progress.update(len(block.rows))
    return features_tf


def _plan_image(
    image: Raster, tiling: Tiling, tokens: Tokens, config: InferenceConfig, width: int, max_value: float | None
) -> tuple[RegionJob, np.ndarray, np.ndarray]:
    """Return the job of one image, the unit of each token, and its place among the tokens of that window."""
    rows = tiling.home(0)[tokens.row]
    columns = tiling.home(1)[tokens.column]
    picked, window = np.unique(rows * len(tiling.origins[1]) + columns, return_inverse=True)
    units = tiling.units(image.name, picked)
    top, left = tiling.first_token(units)
    count = tiling.grid.count
    place = (tokens.row - top[window]) * count + (tokens.column - left[window])
    most = max(1, _MOST_BYTES // (4 * width * count**2))
    channels = list(config.used["channel"])
    job = token_job(image, channels, units, max_value=max_value, nan=config.nan, most=most)
    return job, window, place


def token_job(
    image: Raster,
    channels: Sequence[str],
    units: patches.Units,
    *,
    max_value: float | None,
    nan: str,
    most: int | None = None,
) -> RegionJob:
    """Return the job that reads windows of an image for their tokens, as its blocks are numbered within it."""
    kwargs = {} if most is None else {"most": most}
    plan = patches.plan(image, [image.channels.index(name) for name in channels], units, **kwargs)
    if nan == "error":
        patches.require_stored(plan)
    scale = full_scale(image.data.dtype, max_value, image=image.name)
    return RegionJob(units, plan, units.size, None, scale, max_value, tuple(range(len(plan.blocks))))
