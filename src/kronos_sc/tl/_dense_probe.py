"""Labelled boxes and polygons → a probe of token features that can be drawn over whole images."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from kronos_sc import models
from kronos_sc._core.checks import listed, one_of
from kronos_sc._core.log import info
from kronos_sc._core.progress import bar
from kronos_sc._core.resolve import require_spatialdata
from kronos_sc._core.rng import integer, seed, start
from kronos_sc._core.warn import warn
from kronos_sc._dense import fit
from kronos_sc._dense.options import PRESETS, WINDOW, DenseOptions
from kronos_sc._dense.panel import dense_panel
from kronos_sc._dense.probe import DenseProbe
from kronos_sc._dense.regions import Regions, read_regions
from kronos_sc._dense.tables import positive_class
from kronos_sc._dense.tokens import Tokens, collect, labelled_tokens, sample_tokens, without_tokens
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
    options = _checked_options(options)
    device = placement.choose_device(device)
    generator = start(rng)
    began = time.perf_counter()

    # which regions, which channels of their images, and which tokens lie in them
    regions = read_regions(sdata, shapes_key, class_key=class_key, image_key=image_key, group_key=group_key)
    positive = positive_class(regions.classes, options.positive)
    encoder = models.load(model)
    regions, panel = dense_panel(regions, encoder, channels, require_nuclear=options.require_nuclear, preset=preset)
    size = window_size(patch_size, encoder, WINDOW)
    tilings = [tiling(image, encoder, size, options.overlap) for image in regions.images]
    regions, tokens = _regions_with_tokens(regions, tilings)

    # what is drawn at random comes before the network runs, and in this order: a seed stands for it
    fold = fit.folds(regions, options.n_folds, generator)
    tokens = sample_tokens(tokens, regions.codes, options.max_tokens, generator)
    squares, scored = _baseline_tokens(regions, fold, encoder, options, generator)
    mpp = pixel_size_of(regions.images)
    _announce(regions, tokens, panel, encoder)

    panel = complete(panel, regions.images, encoder, max_value=options.max_value, nan=options.nan)
    used = panel.used.reset_index(drop=True)
    dtype = _number_format(encoder, options, device)
    config = InferenceConfig(encoder, used, ("token",), options.nan, None, device, dtype)
    sets = [(encoder.card.name, tokens, collect(regions, tokens, tilings, config, max_value=options.max_value))]
    if squares is not None:
        sets.append((BASELINE, squares, _baseline_features(regions, squares, used, options, device)))
    frames, final = _evaluate_and_fit(
        regions, fold, scored, sets, options, generator, placement.fit_device(device), positive
    )

    params = {"class_key": class_key, "group_key": group_key or "", "rng": seed(rng)}
    probe = DenseProbe(
        classes=regions.classes,
        **final.arrays(),
        panel=used[[*PANEL_COLUMNS, "role"]],
        model=dict(encoder.facts),
        patch_size=size,
        overlap=options.overlap,
        preset=preset or "",
        C=final.C,
        max_value=options.max_value,
        **frames,
        params=params | _fit_params(options, fold, tokens, dtype, positive),
        mpp=mpp,
    )
    seconds = time.perf_counter() - began
    info(
        f"dense probe in {seconds:.1f} s: {_summary_text(probe.scores)} (see probe.scores); draw it with tl.predict_map"
    )
    return probe


def _fit_params(
    options: DenseOptions, fold: np.ndarray, tokens: Tokens, dtype: torch.dtype, positive: str | None
) -> dict[str, Any]:
    """Return what a probe remembers of its training beside the columns and the seed."""
    return {
        "n_folds": int(fold.max()) + 1,
        "max_tokens": options.max_tokens,
        "n_tokens": len(tokens.region),
        "precision": placement.dtype_name(dtype),
        "positive": positive or "",
        "n_trials": options.n_trials if options.C is None else 0,
    }


def _regions_with_tokens(regions: Regions, tilings: list[Tiling]) -> tuple[Regions, Tokens]:
    """Return the regions that hold a token, and their tokens; others are left out with a warning."""
    tokens = labelled_tokens(regions, tilings)
    empty = without_tokens(regions, tokens, tilings[0].grid.step)
    if not empty.any():
        return regions, tokens
    regions = regions.subset(~empty)
    return regions, labelled_tokens(regions, tilings)


def _number_format(encoder: models.Model, options: DenseOptions, device: torch.device) -> torch.dtype:
    """Return the number format that the network runs in; mean intensities have no network."""
    return placement.choose_dtype(placement.precision_for_model(options.precision, encoder), device)


def _announce(regions: Regions, tokens: Tokens, panel: Panel, encoder: models.Model) -> None:
    """Log what is about to be computed."""
    n_regions = np.bincount(regions.codes, minlength=len(regions.classes)).tolist()
    n_tokens = np.bincount(regions.codes[tokens.region], minlength=len(regions.classes)).tolist()
    parts = ", ".join(
        f"{name}: {r} regions, {t:,} tokens" for name, r, t in zip(regions.classes, n_regions, n_tokens, strict=True)
    )
    info(f"dense probe of {encoder.card.label!r} on {', '.join(panel.markers)}: {parts}")


def _checked_options(options: DenseOptions | None) -> DenseOptions:
    """Return the options of a call, the usual ones if there are none; a TypeError for anything else."""
    if options is None:
        return DenseOptions()
    if not isinstance(options, DenseOptions):
        msg = (
            f"options must be a tl.DenseOptions, got {type(options).__name__} {options!r}; it takes "
            f"{listed(DenseOptions.__dataclass_fields__)}. Write options=tl.DenseOptions(C=1.0), say."
        )
        raise TypeError(msg)
    return options


def _baseline_tilings(regions: Regions) -> list[Tiling]:
    """Return the squares of the baseline on each image."""
    grid = models.load(BASELINE).token_grid(WINDOW)
    return [Tiling(image.shape, WINDOW, grid, WINDOW) for image in regions.images]


def _baseline_tokens(
    regions: Regions, fold: np.ndarray, encoder: models.Model, options: DenseOptions, rng: np.random.Generator
) -> tuple[Tokens | None, np.ndarray]:
    """Return the tokens of the baseline, if it can be compared, and which regions count for the scores (flags).

    Those count that both see.
    """
    all_regions = np.ones(len(regions), bool)
    if not options.baseline or encoder.card.name == BASELINE:
        return None, all_regions
    tilings = _baseline_tilings(regions)
    tokens = labelled_tokens(regions, tilings)
    seen = np.bincount(tokens.region, minlength=len(regions)) > 0
    coverage = (
        f"{int(seen.sum())} of {len(regions)} labelled regions hold the centre of a square of {tilings[0].grid.step} "
        "pixels"
    )
    if not fit.comparable(regions, fold, seen):
        warn(
            f"Raw intensities are left out: {coverage}, too few to train and test them in every fold. Label larger "
            "regions to have them beside the tokens, or leave them out with options=tl.DenseOptions(baseline=False)."
        )
        return None, all_regions
    if not seen.all():
        info(
            f"{coverage}: the scores of all representations count these alone; the others train, and are in "
            "probe.regions (scored is False)"
        )
    return sample_tokens(tokens, regions.codes, options.max_tokens, rng), seen


def _baseline_features(
    regions: Regions, tokens: Tokens, used: pd.DataFrame, options: DenseOptions, device: torch.device
) -> np.ndarray:
    """Return the features of the baseline, mean intensities of small squares in the same regions."""
    raw = used.assign(mean=0.0, std=1.0)  # intensities as they are: the classifier standardises them itself
    dtype = placement.choose_dtype("float32", device)
    config = InferenceConfig(models.load(BASELINE), raw, ("token",), options.nan, None, device, dtype)
    return collect(regions, tokens, _baseline_tilings(regions), config, max_value=options.max_value)


def _evaluate_and_fit(
    regions: Regions,
    fold: np.ndarray,
    scored: np.ndarray,
    sets: list[tuple[str, Tokens, np.ndarray]],
    options: DenseOptions,
    rng: np.random.Generator,
    device: str,
    positive: str | None,
) -> tuple[dict[str, pd.DataFrame], fit.TokenClassifier]:
    """Return frames over all representations, and the classifier of the first, fitted on all regions."""
    search = options.search()
    code = None if positive is None else regions.classes.index(positive)
    runs = len(np.unique(fold)) * len(sets) + 1
    parts = []
    with bar(total=runs * search.fits, description="dense probe", unit="fit") as progress:
        # one seed for all: representations are split and searched alike
        kwargs = {"search": search, "seed": integer(rng), "device": device, "tell": progress.update}
        for label, tokens, features in sets:
            parts.append(fit.evaluate(label, features, tokens.region, regions, fold, scored, positive=code, **kwargs))
        _, tokens, features = sets[0]
        final = fit.fit(features, tokens.region, regions, **kwargs)
    return {name: pd.concat([part[name] for part in parts], ignore_index=True) for name in parts[0]}, final


def _summary_text(scores: pd.DataFrame) -> str:
    rows = scores[scores["fold"] == "all"]
    return ", ".join(
        f"{row.representation} balanced accuracy {row.balanced_accuracy:.3f}, AUROC {row.auroc:.3f}"
        for row in rows.itertuples()
    )
