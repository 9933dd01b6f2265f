"""Pixels of a SpatialData → features in the table that annotates them."""

from __future__ import annotations

import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np

from kronos_sc import models
from kronos_sc._core.checks import one_of
from kronos_sc._core.keys import EmbedKeys
from kronos_sc._core.log import info
from kronos_sc._core.resolve import require_spatialdata
from kronos_sc._core.slots import fill
from kronos_sc._embedding.compute import InferenceConfig
from kronos_sc._embedding.executor import choose_executor
from kronos_sc._embedding.fingerprint import fingerprint
from kronos_sc._embedding.provenance import record
from kronos_sc._embedding.read_options import ReadOptions
from kronos_sc._embedding.request import EmbedRequest, feature_kinds
from kronos_sc._embedding.resume import finish, open_store, precision_for, resolve_store_path
from kronos_sc._embedding.signal import warn_if_cut, warn_if_dim
from kronos_sc._embedding.sinks import MemorySink
from kronos_sc._store import Spec
from kronos_sc.models.inference import placement
from kronos_sc.patches._exclude import excluded_codes

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    import pandas as pd
    import torch
    from anndata import AnnData
    from spatialdata import SpatialData

    from kronos_sc._embedding.jobs import RegionJob
    from kronos_sc._embedding.request import EmbedPlan
    from kronos_sc._embedding.sinks import Sink


def embed(
    sdata: SpatialData,
    *,
    model: str | os.PathLike[str] | models.Model = "kronos",
    image_key: str | Mapping[str, str] | None = None,
    labels_key: str | None = None,
    shapes_key: str | None = None,
    table_key: str | None = None,
    spatial_key: str | None = None,
    channels: Mapping[str, str | None] | Sequence[str] | pd.DataFrame | None = None,
    features: str | Sequence[str] = "marker",
    patch_size: int | None = None,
    mask_fill: str | None = "mean",
    token_overlap: bool | None = None,
    scale: str | None = None,
    mpp: float | None = None,
    max_value: float | None = None,
    nan: str = "error",
    exclude: str | Sequence[str] | Mapping[str, Any] | None = None,
    require_nuclear: bool = True,
    precision: str = "auto",
    dtype: str = "float32",
    batch_size: int | None = None,
    device: str | torch.device | None = None,
    store: str | os.PathLike[str] | bool | None = None,
    overwrite: bool = False,
    key_added: str | None = None,
    inplace: bool = True,
) -> AnnData | None:
    """Embed the cells or patches of multiplexed images with a foundation model :cite:p:`Shaban2025`.

    Units are what the table annotates: labels (a square window around each cell's centroid, everything outside the cell
    masked) or shapes (boxes from :func:`kronos_sc.pp.tile`, or windows around circles and polygons; unmasked). Pixels
    are scaled by the image's value range, z-scored with the model's statistics of each marker, then masked (paper,
    Online Methods). Features land in `.obsm`, where scanpy and squidpy take over. Nothing of the SpatialData changes
    before all of it succeeded.

    With an active client of `dask.distributed` blocks of units run on its workers, one model in each; features are the
    same.

    Parameters
    ----------
    sdata
        Holds image, labels or shapes, and a table that annotates them.
    model
        A registered name (:func:`kronos_sc.models.list_models`), a folder, `hf-hub:owner/name`, or a loaded model.
    image_key
        Which image; a mapping from region to image where the table annotates several. The only image if left out, or
        the one whose name ends like the region's (`cells_3`, `image_3`).
    labels_key, shapes_key
        Embed only this region of the table; rows of other regions become NaN. All regions if left out.
    table_key
        Which table; the only one if left out, or the one that annotates the region named.
    spatial_key
        Centre windows on these coordinates of `obsm` instead of the labels' centroids: x and y in pixels of the
        annotated element, as
        :func:`kronos_sc.pp.label_table` writes them (pixel `i` covers [i, i + 1)).
    channels
        Corrections to the matching of channels to markers: a mapping from channel to marker, to `"unseen"` (a marker
        the model has not seen: free id, statistics of this image) or to None (leave out); a list of channels to use; or
        a panel from
        :func:`kronos_sc.pp.match_markers`.
    features
        `"marker"`: one vector per marker, concatenated in panel order (M · D); `"cls"`: one vector per unit (D); or
        both.
    patch_size
        Edge of the window in pixels of the model's input, a multiple of 16. 64 for cells; the boxes' own size for
        boxes. Larger windows hold more neighbourhood and cost quadratically more.
    mask_fill
        What pixels outside the cell become: `"mean"` of the marker, raw `"zero"`, or None to keep the neighbourhood.
        The paper says "zero-masked", which can be read as either of the first two: zero after the z-score, which is the
        marker's mean and what the released code does, or zero before it, which is black.
    token_overlap
        Cut tokens every half token: about four times the cost, finer features. Off if left out.
    scale
        Pyramid level of the image to read (`"scale1"`); full resolution if left out.
    mpp
        Resample windows to this many µm per pixel; the image must record its pixel size
        (:func:`kronos_sc.io.set_pixel_size`).
    max_value
        Raw value that becomes 1; 255 for uint8, 65535 for uint16 and 1 for floats in [0, 1] if left out.
    nan
        `"error"`, or `"zero"` to take pixels without a value (NaN, infinite, chunk not stored) as zero.
    exclude
        Labels that mark pixels not to be used: an element of which every pixel above 0 counts, several, or a mapping
        from element to names or codes of classes, `{"artifact_map_class": ["artifact"]}`
        (:func:`kronos_sc.tl.artifact_map`). Units whose centre lies on such a pixel are not read or computed; their
        rows are NaN. Of several images, each takes the labels with its number.
    require_nuclear
        Insist on a nuclear stain among the matched channels; the model was never trained without one.
    precision
        `"float32"` reproduces the official numbers; `"bfloat16"` is faster on recent hardware, and works, slower, on
        any; `"auto"` takes it where it is faster, and goes on with a store in the precision it was begun with.
    dtype
        Of the features: `"float32"` or `"float16"`.
    batch_size
        Units per pass; chosen by the device if left out. Does not change results.
    device
        `"cuda"`, `"cpu"`, …; the fastest there is, or the fastest of each worker, if left out.
    store
        Write features to disk block by block: to a folder of this path, or with True beside the SpatialData
        (`tissue.table.kronos.zarr`). `obsm` then holds a dask array that reads them when needed. A call that was
        stopped, in whatever way, goes on where it was when it is made again. If left out, features go to disk when they
        would take more memory than `settings.memory`; False keeps them in memory.
    overwrite
        Start again where the store holds another embedding, or this one. Without a store it changes nothing: features
        in memory are computed anew by every call.
    key_added
        Name that all slots are derived from; `"kronos"` for KRONOS and its kin if left out.
    inplace
        Write into the table (default), or return a copy of it with the slots added.

    Returns
    -------
    `None`, or the table's copy with `inplace=False`. Sets, in `tables[table_key]`:

    `obsm['X_kronos' | 'X_' + key_added]`
        Features (rows × M · D for `"marker"`, rows × D for `"cls"`); with both kinds, class features are in `X_…_cls`.
    `obs['kronos_edge' | key_added + '_edge']`
        Whether the window reaches beyond the image and was padded with zeros.
    `obs['kronos_excluded' | key_added + '_excluded']`
        Only with `exclude`: whether the unit was left out.
    `uns['kronos' | key_added]`
        Model, panel, parameters, precision, software; read it with :func:`kronos_sc.get.record`.

    Raises
    ------
    ValueError, KeyError
        Before anything is computed: no or several images, tables or regions; rows without pixels; ambiguous or repeated
        markers; sizes that differ; no statistics; labels or classes to exclude that do not exist, or that leave no
        unit. While reading: values outside the scale, pixels that are not finite.
    ValueError
        The store holds an embedding of another call; what differs is named.
    BlockingIOError
        Another process is writing to the store.
    OSError
        A chunk is corrupt or missing; the disk is full. Blocks that are complete stay in the store.
    OSError, RuntimeError
        On a cluster: blocks that failed three times, by name; workers that lack the package or the model.
    ConnectionError
        The cluster is gone.
    """
    require_spatialdata(sdata)
    options = ReadOptions(
        image_key=image_key,
        labels_key=labels_key,
        shapes_key=shapes_key,
        table_key=table_key,
        spatial_key=spatial_key,
        channels=channels,
        exclude=exclude,
        patch_size=patch_size,
        mask_fill=mask_fill,
        token_overlap=token_overlap,
        scale=scale,
        mpp=mpp,
        max_value=max_value,
        nan=nan,
        require_nuclear=require_nuclear,
        precision=precision,
        batch_size=batch_size,
        device=device,
    )
    kinds = feature_kinds(features)
    one_of(dtype, ("float32", "float16"), name="dtype")
    excluded_codes(sdata, exclude)  # labels or classes that do not exist are an error before a model is loaded
    executor = choose_executor(device)
    encoder = models.load(model, token_overlap=token_overlap)
    request = EmbedRequest.of(sdata, encoder, options, kinds)

    # where features go is settled before labels are scanned: it may be an error
    table = request.table
    keys = EmbedKeys(key_added or encoder.key)
    size = table.n_obs * sum(request.widths.values()) * np.dtype(dtype).itemsize
    path = resolve_store_path(sdata, store, table=request.target.key, key=keys.name, size=size)
    precision = precision_for(path, precision, overwrite=overwrite)

    plan = request.plan()
    torch_device, torch_dtype = executor.resolve_device(placement.precision_for_model(precision, encoder))
    number_format = placement.dtype_name(torch_dtype)
    config = InferenceConfig(encoder, plan.used, kinds, nan, batch_size, torch_device, torch_dtype)
    parameters = plan.parameters | {"features": list(kinds), "dtype": dtype}
    start = time.perf_counter()

    describe = _store_description(plan, keys.name, dtype, parameters, precision=number_format)
    _announce(request, plan)
    with _open_sink(path, plan, dtype, describe, overwrite=overwrite) as (sink, remaining):
        executor.compute(remaining, config, sink)
        _warn_of_signal(plan.jobs, sink)
        units = sum(job.n_planned for job in remaining)
        seconds = time.perf_counter() - start
        recorded = parameters | {"batch_size": batch_size}
        entry = record(
            encoder, plan.panel, recorded, precision=number_format, device=torch_device.type, seconds=seconds
        )
        entry = finish(sink, entry, anew=units > 0)

    table = table if inplace else table.copy()
    values = {kind: sink.features(kind) for kind in kinds}
    slots = fill(table, keys, values, plan.edge, entry, excluded=plan.exclusion.is_excluded)
    _report(plan, keys, slots, path, units=units, seconds=seconds)
    return None if inplace else table


def _store_description(
    plan: EmbedPlan, key: str, dtype: str, parameters: dict[str, Any], *, precision: str
) -> Callable[[np.ndarray], Spec]:
    """Return what makes, of the rows of its blocks, the description of a store for this call."""
    table = plan.request.table
    widths = plan.request.widths

    def describe(rows: np.ndarray) -> Spec:
        same = fingerprint(plan, parameters, precision=precision)
        names = table.obs_names.to_numpy()
        return Spec(key, widths, dtype, rows, plan.edge, names, same, plan.exclusion.is_excluded)

    return describe


def _open_sink(
    path: Path | None, plan: EmbedPlan, dtype: str, describe: Callable[[np.ndarray], Spec], *, overwrite: bool
) -> AbstractContextManager[tuple[Sink, list[RegionJob]]]:
    """Return where features go, and the jobs that are left to do: all of them in memory, what a store lacks on disk."""
    if path is None:
        request = plan.request
        return nullcontext((MemorySink(request.table.n_obs, request.widths, dtype), plan.jobs))
    return open_store(path, plan.jobs, describe, overwrite=overwrite)


def _announce(request: EmbedRequest, plan: EmbedPlan) -> None:
    units = sum(len(job.units) for job in plan.jobs)
    info(f"embedding {units:,} units ({request.target}) × {len(plan.used)} markers with {request.model.card.label!r}")
    dropped = plan.panel.dropped["channel"]
    if len(dropped):
        info(f"{len(dropped)} channels are not embedded: {', '.join(dropped)} (why: kronos_sc.pp.match_markers)")


def _warn_of_signal(jobs: list[RegionJob], sink: Sink) -> None:
    """Warn about what only all pixels together can show."""
    pixels = sink.pixels()
    brightest = sink.brightest()
    for job in jobs:
        warn_if_dim(job, float(brightest[job.units.rows].max()))
        warn_if_cut(job.units, pixels[job.units.rows])


def _report(
    plan: EmbedPlan, keys: EmbedKeys, slots: list[str], path: Path | None, *, units: int, seconds: float
) -> None:
    columns = [keys.edge]
    if plan.exclusion.is_excluded is not None:
        columns.append(keys.excluded)
    added = ", ".join([*(f"obsm[{slot!r}]" for slot in slots), *(f"obs[{column!r}]" for column in columns)])
    rate = f": {units:,} units in {seconds:.1f} s ({units / seconds:,.0f}/s)" if units else ""
    info(f"added {added} and uns[{keys.uns!r}] to table {plan.request.target.key!r}{rate}")
    if path is not None:
        info(f"features are in {path}; attach them to a table read later with io.read_embedding(sdata, {str(path)!r})")
