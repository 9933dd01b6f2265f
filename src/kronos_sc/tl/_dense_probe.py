"""Labelled boxes and polygons → a probe of token features that can be drawn over whole images."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from kronos_sc import models
from kronos_sc._core import rng as chance
from kronos_sc._core.checks import listed, one_of
from kronos_sc._core.log import info
from kronos_sc._core.progress import bar
from kronos_sc._core.resolve import require_spatialdata
from kronos_sc._core.warn import warn
from kronos_sc._dense import fit
from kronos_sc._dense.options import PRESETS, WINDOW, DenseOptions
from kronos_sc._dense.panel import dense_panel
from kronos_sc._dense.probe import DenseProbe
from kronos_sc._dense.regions import Regions, regions
from kronos_sc._dense.tables import positive_class
from kronos_sc._dense.tokens import Tokens, collect, drawn, labelled, without_tokens
from kronos_sc._dense.windows import Tiling, pixel_size_of, tiling, window_size
from kronos_sc._embedding.compute import InferenceConfig
from kronos_sc._embedding.panel import complete
from kronos_sc.markers._panel import PANEL_COLUMNS, Panel
from kronos_sc.models.inference import placement

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    import torch
    from spatialdata import SpatialData

BASELINE = "mean-marker"


def dense_probe(
    sdata: SpatialData,
    shapes_key: str | Sequence[str] | Mapping[str, str],
    *,
    class_key: str = "class",
    model: str | os.PathLike[str] | models.Model = "kronos",
    preset: str | None = None,
    image_key: str | Mapping[str, str] | None = None,
    channels: Mapping[str, str | None] | Sequence[str] | pd.DataFrame | None = None,
    patch_size: int | None = None,
    group_key: str | None = None,
    options: DenseOptions | None = None,
    device: str | torch.device | None = None,
    rng: int | np.random.Generator | None = 0,
) -> DenseProbe:
    """Train a classifier of token features on labelled boxes or polygons :cite:p:`Shaban2025`.

    A token stands for a square of 16 pixels; the features of all markers there are put side by side (paper, Online
    Methods, Region classification and artifact detection). Tokens whose centre lies inside a labelled region carry its
    class, each read from the one window in which it lies most central. A logistic regression with balanced classes is
    evaluated on regions of groups that it did not see, beside raw intensities, then fitted on all regions. Draw it over
    images with :func:`predict_map`.

    Two presets follow the paper. `"region"` is for tumour and stroma and the like: name the few markers that tell them
    apart with `channels` (DAPI, cytokeratin and AR in the paper). `"artifact"` reads the nuclear stain alone, and
    expects regions of artifact, background and foreground; draw it with :func:`artifact_map`. Both take windows of 256
    pixels, and maps are opened and closed by one token.

    Parameters
    ----------
    sdata
        Holds images and labelled shapes.
    shapes_key
        Shapes (boxes, polygons or circles) that hold the labelled regions; several, or a mapping from image to shapes.
    class_key
        Column of the shapes with the class, or of `obs` of a table that annotates them. Regions without a class are
        left out.
    model
        Any encoder with token features: a registered name, a folder, `hf-hub:owner/name`, or a loaded model.
    preset
        `"region"`, `"artifact"`, or None.
    image_key
        Which image; a mapping from shapes to image where there are several. The only image if left out, or the one
        whose name has the number of the shapes (`regions_3`, `image_3`).
    channels
        Channels to read, or corrections to the matching of channels to markers, as in :func:`embed`. All that match if
        left out.
    patch_size
        Edge of the windows in pixels; 256 if left out. Larger windows show a token more of its surroundings and cost
        quadratically more.
    group_key
        Column with the core, slide or patient of each region; folds never split one. If left out: images where there
        are several, else each region by itself.
    options
        Folds, C, tokens per class, overlap and more: :class:`DenseOptions`.
    device
        Where the network runs; the fastest there is if left out.
    rng
        Seed or generator of tokens, folds, search and intervals.

    Returns
    -------
    A :class:`DenseProbe`, with scores on regions: balanced accuracy, macro F1, average precision, AUROC one-vs-rest
    with a 95 % interval from a bootstrap over groups of regions (five at least; fewer have no interval), and one-vs-one
    as in the paper. Of two classes there are also F1 and average precision of the positive one. A region's probability
    is the mean over its tokens. Beside raw intensities, both are scored on the regions in which both have a token.

    Raises
    ------
    KeyError
        Unknown shapes, image, column, channel or positive class.
    ValueError
        One class only; a class in a single group of regions; all regions outside the image; an image smaller than a
        window; no nuclear stain; a model without token features; regions that are all smaller than a token; a positive
        class of more than two.
    TypeError
        `options` is no :class:`DenseOptions`.

    Examples
    --------
    >>> import geopandas, shapely, spatialdata
    >>> import kronos_sc as ks
    >>> sdata = ks.datasets.tissue(shape=(128, 128), channels=["DAPI", "CD8"])
    >>> boxes = shapely.box([0, 64, 0, 64], [0, 0, 64, 64], [64, 128, 64, 128], [64, 64, 128, 128])
    >>> frame = geopandas.GeoDataFrame({"class": ["a", "b", "b", "a"]}, geometry=boxes)
    >>> sdata["boxes"] = spatialdata.models.ShapesModel.parse(frame)
    >>> options = ks.tl.DenseOptions(C=1.0)
    >>> probe = ks.tl.dense_probe(sdata, "boxes", model="mean-marker", patch_size=64, options=options)
    >>> probe.classes, probe.markers
    (('a', 'b'), ['DAPI', 'CD8'])
    """
    require_spatialdata(sdata)
    if preset is not None:
        one_of(preset, PRESETS, name="preset")
    options, began = _checked(options), time.perf_counter()
    where, draw = placement.choose_device(device), chance.start(rng)
    found = regions(sdata, shapes_key, class_key=class_key, image_key=image_key, group_key=group_key)
    positive = positive_class(found.classes, options.positive)
    encoder = models.load(model)
    found, panel = dense_panel(found, encoder, channels, require_nuclear=options.require_nuclear, preset=preset)
    size = window_size(patch_size, encoder, WINDOW)
    tilings = [tiling(image, encoder, size, options.overlap) for image in found.images]
    tokens = labelled(found, tilings)
    if (empty := without_tokens(found, tokens, tilings[0].grid.step)).any():
        found = found.subset(~empty)
        tokens = labelled(found, tilings)
    fold = fit.folds(found, options.n_folds, draw)
    tokens = drawn(tokens, found.codes, options.max_tokens, draw)
    squares, scored = _baseline(found, fold, encoder, options, draw)
    mpp = pixel_size_of(found.images)
    _announce(found, tokens, panel, encoder)
    panel = complete(panel, found.images, encoder, max_value=options.max_value, nan=options.nan)
    used = panel.used.reset_index(drop=True)
    at = InferenceConfig(encoder, used, ("token",), options.nan, None, where, _number_format(encoder, options, where))
    sets = [(encoder.card.name, tokens, collect(found, tokens, tilings, at, max_value=options.max_value))]
    if squares is not None:
        sets.append((BASELINE, squares, _raw(found, squares, used, options, where)))
    frames, final = _judged(found, fold, scored, sets, options, draw, placement.fit_device(where), positive)
    params = {
        "class_key": class_key,
        "group_key": group_key or "",
        "rng": chance.seed(rng),
        "n_folds": int(fold.max()) + 1,
        "max_tokens": options.max_tokens,
        "n_tokens": len(tokens.region),
        "precision": str(at.dtype).removeprefix("torch."),
        "positive": positive or "",
        "n_trials": options.n_trials if options.C is None else 0,
    }
    probe = DenseProbe(
        found.classes,
        final.linear.coef,
        final.linear.intercept,
        final.scaler.mean,
        final.scaler.scale,
        used[[*PANEL_COLUMNS, "role"]],
        dict(encoder.facts),
        size,
        options.overlap,
        preset or "",
        final.C,
        options.max_value,
        **frames,
        params=params,
        mpp=mpp,
    )
    info(
        f"dense probe in {time.perf_counter() - began:.1f} s: {_in_words(probe.scores)} (see probe.scores); draw it "
        "with tl.predict_map"
    )
    return probe


def _number_format(encoder: models.Model, options: DenseOptions, device: torch.device) -> torch.dtype:
    return placement.choose_dtype(options.precision if encoder.net is not None else "float32", device)


def _announce(found: Regions, tokens: Tokens, panel: Panel, encoder: models.Model) -> None:
    counts = np.bincount(found.codes, minlength=len(found.classes)).tolist()
    each = np.bincount(found.codes[tokens.region], minlength=len(found.classes)).tolist()
    parts = ", ".join(
        f"{name}: {r} regions, {t:,} tokens" for name, r, t in zip(found.classes, counts, each, strict=True)
    )
    info(f"dense probe of {encoder.card.label!r} on {', '.join(panel.markers)}: {parts}")


def _checked(options: DenseOptions | None) -> DenseOptions:
    """Return the options of a call, the usual ones if there are none; a TypeError for anything else."""
    if options is None:
        return DenseOptions()
    if not isinstance(options, DenseOptions):
        msg = (
            f"options must be a tl.DenseOptions, got {type(options).__name__} {options!r}; it takes "
            f"{listed(DenseOptions.__dataclass_fields__)}. "
            "Write options=tl.DenseOptions(C=1.0), say."
        )
        raise TypeError(msg)
    return options


def _squares(found: Regions) -> list[Tiling]:
    """Return the squares of the baseline on each image."""
    grid = models.load(BASELINE).token_grid(WINDOW)
    return [Tiling(image.shape, WINDOW, grid, WINDOW) for image in found.images]


def _baseline(
    found: Regions, fold: np.ndarray, encoder: models.Model, options: DenseOptions, draw: np.random.Generator
) -> tuple[Tokens | None, np.ndarray]:
    """Return the tokens of the baseline, if it can be compared, and which regions count for the scores (flags): those that both see."""
    every = np.ones(len(found), bool)
    if not options.baseline or encoder.card.name == BASELINE:
        return None, every
    squares = _squares(found)
    tokens = labelled(found, squares)
    seen = np.bincount(tokens.region, minlength=len(found)) > 0
    some = (
        f"{int(seen.sum())} of {len(found)} labelled regions hold the centre of a square of {squares[0].grid.step} "
        "pixels"
    )
    if not fit.comparable(found, fold, seen):
        warn(
            f"Raw intensities are left out: {some}, too few to train and test them in every fold. Label larger regions "
            "to have them beside the tokens, or leave them out with options=tl.DenseOptions(baseline=False)."
        )
        return None, every
    if not seen.all():
        info(
            f"{some}: the scores of all representations count these alone; the others train, and are in probe.regions "
            "(scored is False)"
        )
    return drawn(tokens, found.codes, options.max_tokens, draw), seen


def _raw(found: Regions, tokens: Tokens, used: pd.DataFrame, options: DenseOptions, device: torch.device) -> np.ndarray:
    """Return the features of the baseline, mean intensities of small squares in the same regions."""
    how = options.nan, None, device, placement.choose_dtype("float32", device)
    encoder = InferenceConfig(models.load(BASELINE), used.assign(mean=0.0, std=1.0), ("token",), *how)
    return collect(found, tokens, _squares(found), encoder, max_value=options.max_value)


def _judged(
    found: Regions,
    fold: np.ndarray,
    scored: np.ndarray,
    sets: list[tuple[str, Tokens, np.ndarray]],
    options: DenseOptions,
    draw: np.random.Generator,
    device: str,
    positive: str | None,
) -> tuple[dict[str, pd.DataFrame], fit.Fitted]:
    """Return frames over all representations, and the classifier of the first, fitted on all regions."""
    search, seed = options.search(), chance.integer(draw)
    runs = len(np.unique(fold)) * len(sets) + 1
    parts = []
    with bar(total=runs * search.fits, description="dense probe", unit="fit") as shown:
        how = {"search": search, "seed": seed, "device": device, "tell": shown.update}
        code = None if positive is None else found.classes.index(positive)
        for label, tokens, features in sets:
            parts.append(fit.evaluate(label, features, tokens.region, found, fold, scored, positive=code, **how))
        final = fit.fit(sets[0][2], sets[0][1].region, found, **how)
    return {name: pd.concat([part[name] for part in parts], ignore_index=True) for name in parts[0]}, final


def _in_words(scores: pd.DataFrame) -> str:
    rows = scores[scores["fold"] == "all"]
    return ", ".join(
        f"{row.representation} balanced accuracy {row.balanced_accuracy:.3f}, AUROC {row.auroc:.3f}"
        for row in rows.itertuples()
    )
