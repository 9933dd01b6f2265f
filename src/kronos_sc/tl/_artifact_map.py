"""Where an image is damaged: the artifact preset drawn over it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kronos_sc._dense.source import require_probe
from kronos_sc.tl._predict_map import predict_map

if TYPE_CHECKING:
    import os

    import torch
    from spatialdata import SpatialData

    from kronos_sc import models
    from kronos_sc._dense.probe import DenseProbe


def artifact_map(
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
    key_added: str = "artifact_map",
    overwrite: bool = False,
) -> None:
    """Find artifacts from the nuclear stain alone: artifact, background or foreground per token :cite:p:`Shaban2025`.

    :func:`predict_map` for a probe of the preset `"artifact"` (paper, Artifact detection). Its class map can be a mask: cells on it are
    left out by `tl.embed(sdata, exclude={"artifact_map_class": ["artifact"]})`, and likewise in `pp.tile` and
    `pp.marker_stats`.

    Parameters
    ----------
    sdata
        Holds the image.
    probe
        Trained with `dense_probe(..., preset="artifact")`.
    image_key
        Which image; the only one if left out.
    model
        The encoder that the probe was trained with, where it cannot be loaded by its name.
    opening, closing
        Radius in tokens by which the class map is opened and closed; 1 if left out.
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
    `None`. Sets the elements of :func:`predict_map`:

    `images['artifact_map' | key_added]`
        Probabilities (c = classes, y, x), float32, one pixel per token.
    `labels['artifact_map_class' | key_added + '_class']`
        The most probable class; 0 is none.
    `tables['artifact_map_table' | key_added + '_table']`
        Names the classes, with area and share.
    `shapes['artifact_map_regions' | key_added + '_regions']`
        With `polygons=True`: outlines, clipped to the image, with their `class`.

    Raises
    ------
    ValueError
        A probe of another preset, and whatever :func:`predict_map` refuses.

    Examples
    --------
    >>> import geopandas, shapely, spatialdata
    >>> import kronos_sc as ks
    >>> sdata = ks.datasets.tissue(shape=(128, 128), channels=["DAPI"])
    >>> boxes = shapely.box([0, 64, 0, 64], [0, 0, 64, 64], [64, 128, 64, 128], [64, 64, 128, 128])
    >>> frame = geopandas.GeoDataFrame({"class": ["artifact", "foreground"] * 2}, geometry=boxes)
    >>> sdata["boxes"] = spatialdata.models.ShapesModel.parse(frame)
    >>> options = ks.tl.DenseOptions(C=1.0)
    >>> probe = ks.tl.dense_probe(sdata, "boxes", model="mean-marker", preset="artifact", patch_size=64, options=options)
    >>> ks.tl.artifact_map(sdata, probe)
    >>> sdata["artifact_map"].coords["c"].values.tolist()
    ['artifact', 'foreground']
    """
    require_probe(probe)
    if probe.preset != "artifact":
        of = f"of the preset {probe.preset!r}" if probe.preset else "without a preset"
        msg = (
            f"An artifact map is drawn with a probe of the nuclear stain alone, got one {of} on "
            f"{', '.join(probe.markers)}. "
            "Train it with tl.dense_probe(..., preset='artifact'), or draw this one with tl.predict_map."
        )
        raise ValueError(msg)
    predict_map(
        sdata,
        probe,
        image_key=image_key,
        model=model,
        opening=opening,
        closing=closing,
        polygons=polygons,
        nan=nan,
        precision=precision,
        device=device,
        key_added=key_added,
        overwrite=overwrite,
    )
