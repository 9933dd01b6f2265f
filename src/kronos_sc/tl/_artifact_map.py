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

    :func:`predict_map` for a probe of the preset `"artifact"` (paper, Artifact detection). Its class map can be a mask:
    cells on it are left out by `tl.embed(sdata, exclude={"artifact_map_class": ["artifact"]})`, and likewise in
    `pp.tile` and `pp.marker_stats`.

    Parameters
    ----------
    sdata
        Holds the image.
    probe
        Trained with `dense_probe(..., preset="artifact")`.
    image_key
        As in :func:`predict_map`.
    model
        As in :func:`predict_map`.
    opening, closing
        As in :func:`predict_map`: 1 if left out.
    polygons
        As in :func:`predict_map`.
    nan
        As in :func:`predict_map`.
    precision
        As in :func:`predict_map`.
    device
        As in :func:`predict_map`.
    key_added
        Name that all elements are derived from.
    overwrite
        As in :func:`predict_map`.

    Returns
    -------
    `None`. Sets the elements of :func:`predict_map`, under these names:

    `images['artifact_map' | key_added]`
        Probabilities of the classes.
    `labels['artifact_map_class' | key_added + '_class']`
        The most probable class; 0 is none.
    `tables['artifact_map_table' | key_added + '_table']`
        Names the classes, with area and share.
    `shapes['artifact_map_regions' | key_added + '_regions']`
        With `polygons=True`: outlines with their `class`.

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
    >>> settings = {"model": "mean-marker", "preset": "artifact", "patch_size": 64}
    >>> probe = ks.tl.dense_probe(sdata, "boxes", **settings, options=ks.tl.DenseOptions(C=1.0))
    >>> ks.tl.artifact_map(sdata, probe)
    >>> sdata["artifact_map"].coords["c"].values.tolist()
    ['artifact', 'foreground']
    """
    _require_artifact_probe(probe)
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


def _require_artifact_probe(probe: DenseProbe) -> None:
    """Raise a ValueError for a probe of another preset."""
    require_probe(probe)
    if probe.preset == "artifact":
        return
    kind = f"of the preset {probe.preset!r}" if probe.preset else "without a preset"
    msg = (
        f"An artifact map is drawn with a probe of the nuclear stain alone, got one {kind} on "
        f"{', '.join(probe.markers)}. Train it with tl.dense_probe(..., preset='artifact'), or draw this one with "
        "tl.predict_map."
    )
    raise ValueError(msg)
