"""A probe of tokens drawn over a whole image."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from kronos_sc import models, patches
from kronos_sc._core.checks import one_of
from kronos_sc._core.keys import EmbedKeys
from kronos_sc._core.log import info
from kronos_sc._core.progress import bar
from kronos_sc._core.record import freeze
from kronos_sc._core.resolve import require_spatialdata
from kronos_sc._dense.blend import Blend
from kronos_sc._dense.elements import MapKeys, add_elements, build_elements
from kronos_sc._dense.source import encoder_of, panel_of, warn_of_size
from kronos_sc._dense.tokens import token_job
from kronos_sc._dense.windows import Tiling, tiling
from kronos_sc._embedding.compute import InferenceConfig, embed_blocks
from kronos_sc._embedding.signal import warn_if_dim
from kronos_sc.models.inference import placement
from kronos_sc.models.views.dense import TokenClasses

if TYPE_CHECKING:
    import os

    import torch
    from spatialdata import SpatialData

    from kronos_sc._dense.probe import DenseProbe
    from kronos_sc._embedding.jobs import RegionJob


def predict_map(
    sdata: SpatialData,
    probe: DenseProbe,
    *,
    image_key: str | None = None,
    model: str | os.PathLike[str] | models.Model | None = None,
    opening: int | None = None,
    closing: int | None = None,
    polygons: bool = False,
    nan: str = "error",
    precision: str = "auto",
    device: str | torch.device | None = None,
    key_added: str = "map",
    overwrite: bool = False,
) -> None:
    """Draw a dense probe over a whole image :cite:p:`Shaban2025`.

    The map has probabilities and classes at the resolution of tokens. Overlapping windows are read block by block; what
    they say about a token is averaged, the middle of a window counting more than its border (a raised cosine).
    Probabilities are made on the device, so a map takes memory for a few numbers per token, whatever the size of the
    image. The map has one pixel per token and lies where the image lies in every coordinate system.

    Nothing of the SpatialData changes before all of it succeeded, and nothing is written to disk:
    `sdata.write_element(["map", "map_class", "map_table"])` does that, with `"map_regions"` where there are outlines.

    Parameters
    ----------
    sdata
        Holds the image.
    probe
        From :func:`dense_probe` or :meth:`DenseProbe.load`.
    image_key
        Which image; the only one if left out. Its channels are found by name, else by marker.
    model
        The encoder that the probe was trained with, where it cannot be loaded by its name (weights from a file, say).
        Its sha256 is compared with the probe's.
    opening, closing
        Radius in tokens by which the class map is opened (specks vanish) and closed (holes fill). 1 for probes of a
        preset, else 0, if left out. Probabilities stay as they are.
    polygons
        Add the outlines of connected regions as shapes.
    nan
        `"error"`, or `"zero"` to take pixels without a value (NaN, infinite, chunk not stored) as zero.
    precision
        `"float32"`, `"bfloat16"`, or `"auto"` for the faster one that the hardware offers.
    device
        Where the network runs; the fastest there is if left out.
    key_added
        Name that all elements are derived from.
    overwrite
        Replace elements of these names; outlines of an earlier map go, too.

    Returns
    -------
    `None`. Sets:

    `images['map' | key_added]`
        Probabilities (c = classes, y, x), float32, one pixel per token, with all transformations of the image.
    `labels['map_class' | key_added + '_class']`
        The most probable class, after opening and closing: `i + 1` for `probe.classes[i]`; 0 is none. uint8 (int32
        beyond 255 classes).
    `tables['map_table' | key_added + '_table']`
        Annotates these labels. `obs`: `label`, `class`, `area` (pixels of the image), `share` of the image.
        `uns[key_added]`: model, panel, parameters; a frame per class for :func:`kronos_sc.get.result`.
        `uns['class_colors']`.
    `shapes['map_regions' | key_added + '_regions']`
        With `polygons=True`: outlines in pixels of the image, clipped to it, with their `class`.

    Raises
    ------
    TypeError
        Not a DenseProbe.
    ValueError
        A probe of another model; markers that the image lacks; an image smaller than a window; a name that is taken.
    ConnectionError, PermissionError
        The probe's model cannot be fetched by its name: pass it with `model=`.

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
    >>> ks.tl.predict_map(sdata, probe)
    >>> sdata["map"].shape, sdata["map_class"].shape
    ((2, 8, 8), (8, 8))
    """
    require_spatialdata(sdata)
    one_of(nan, ("error", "zero"), name="nan")
    one_of(precision, placement.PRECISIONS, name="precision")
    encoder = encoder_of(probe, model)
    opening = _radius(probe, opening, "opening")
    closing = _radius(probe, closing, "closing")

    # whatever can be refused is refused before the first window is read
    image = patches.raster(sdata, image_key)
    keys = MapKeys(EmbedKeys(key_added).name)
    keys.require_free(sdata, polygons=polygons, overwrite=overwrite)
    panel = panel_of(probe, image, encoder)
    warn_of_size(probe, image)

    tiles = tiling(image, encoder, probe.patch_size, probe.overlap)
    job = token_job(image, list(panel["channel"]), tiles.units(image.name), max_value=probe.max_value, nan=nan)
    device = placement.choose_device(device)
    dtype = placement.choose_dtype(placement.precision_for_model(precision, encoder), device)
    view = TokenClasses(encoder, probe.coef, probe.intercept, probe.mean, probe.scale)
    info(
        f"map of {image.name!r}: {tiles.map_shape[0]} × {tiles.map_shape[1]} tokens, {len(job.units):,} windows with "
        f"{encoder.card.label!r}"
    )

    began = time.perf_counter()
    config = InferenceConfig(view, panel, ("token",), nan, None, device, dtype)
    proba_krc = _probabilities(job, tiles, config, len(probe.classes))
    codes_rc = _class_map(proba_krc, opening, closing)
    seconds = round(time.perf_counter() - began, 3)

    # all elements exist before the first one is added: a failure leaves the SpatialData as it was
    params = {
        "panel": panel.drop(columns="role"),
        "image": image.name,
        "opening": opening,
        "closing": closing,
        "nan": nan,
        "polygons": polygons,
        "precision": placement.dtype_name(dtype),
        "device": device.type,
        "seconds": seconds,
    }
    by_kind = build_elements(
        keys,
        image,
        tiles,
        proba_krc,
        codes_rc,
        classes=probe.classes,
        params=freeze(probe.record() | params),
        polygons=polygons,
    )
    add_elements(sdata, keys, by_kind)
    _report(keys, proba_krc, codes_rc, probe.classes, polygons=polygons, seconds=seconds)


def _radius(probe: DenseProbe, value: int | None, name: str) -> int:
    """Return a radius in tokens: as told, or what the probe's preset stands for."""
    if value is None:
        return int(bool(probe.preset))
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 0:
        msg = (
            f"{name} is a radius in tokens, a whole number from 0 (none) up, got {value!r}. The paper's maps are "
            f"smoothed: try {name}=1."
        )
        raise ValueError(msg)
    return int(value)


def _probabilities(job: RegionJob, tiles: Tiling, config: InferenceConfig, n_classes: int) -> np.ndarray:
    """Return the blended probabilities (k, r, c)."""
    blend = Blend(tiles, n_classes)
    rows, columns = tiles.first_token(job.units)
    brightest = 0.0
    # block by block: the features of all windows would not fit into memory
    with bar(total=len(job.units), description="map", unit="window") as progress:
        for block in embed_blocks(job, config):
            blend.add(rows[block.rows], columns[block.rows], block.features["token"])
            brightest = max(brightest, block.brightest)
            progress.update(len(block.rows))
    warn_if_dim(job, brightest)
    return blend.mean()


def _class_map(proba_krc: np.ndarray, opening: int, closing: int) -> np.ndarray:
    """Return the class of each token (1 to k), smoothed if asked for."""
    codes_rc = proba_krc.argmax(axis=0) + 1
    if not opening and not closing:
        return codes_rc
    from kronos_sc._methods.morphology import smoothed

    return smoothed(codes_rc, opening=opening, closing=closing, n_classes=len(proba_krc))


def _report(
    keys: MapKeys,
    proba_krc: np.ndarray,
    codes_rc: np.ndarray,
    classes: tuple[str, ...],
    *,
    polygons: bool,
    seconds: float,
) -> None:
    """Log what was added, and how much of the map each class takes."""
    shares = np.bincount(codes_rc.ravel(), minlength=len(classes) + 1)[1:] / max(codes_rc.size, 1)
    parts = [f"{name} {share:.0%}" for name, share in zip(classes, shares.tolist(), strict=True)]
    more = f" and shapes[{keys.shapes!r}]" if polygons else ""
    info(
        f"added images[{keys.name!r}], labels[{keys.labels!r}], tables[{keys.table!r}]{more} in {seconds:.1f} s: "
        f"{', '.join(parts)}"
    )
