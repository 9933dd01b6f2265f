"""An embedding and its record, as plain values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from kronos_sc._core.checks import known, listed
from kronos_sc._core.features import feature_frame, has_named_features
from kronos_sc._core.keys import EmbedKeys
from kronos_sc._core.lazy import is_lazy
from kronos_sc._core.record import thaw
from kronos_sc._core.representation import Representation
from kronos_sc._core.resolve import as_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xarray as xr
    from anndata import AnnData
    from spatialdata import SpatialData


def record(data: AnnData | SpatialData, *, key: str = "kronos", table_key: str | None = None) -> dict[str, Any]:
    """Return how an embedding was made.

    Parameters
    ----------
    data
        A table, or the SpatialData that holds it.
    key
        `key_added` of the embedding.
    table_key
        Which table of a SpatialData; the only one if left out.

    Returns
    -------
    `model` (name, sha256, licence, blocks run), `panel` (a frame: channel, marker, id, mean, std, how), `left_out`
    (channels), `params`, `precision`, `device`, `seconds`, `software`; the same from memory, h5ad and Zarr. Options
    that were left open are "".
    """
    table = as_table(data, table_key)
    known(EmbedKeys(key).uns, list(table.uns), what="record in uns", fix="Embed first with tl.embed(sdata).")
    return thaw(table.uns[EmbedKeys(key).uns])


def embedding(
    data: AnnData | SpatialData,
    *,
    key: str = "kronos",
    markers: str | Sequence[str] | None = None,
    table_key: str | None = None,
) -> xr.DataArray:
    """Return marker features as an array with named axes.

    Parameters
    ----------
    data
        A table, or the SpatialData that holds it.
    key
        `key_added` of the embedding.
    markers
        Markers to return, as the panel of the record names them; all if left out.
    table_key
        Which table of a SpatialData; the only one if left out.

    Returns
    -------
    Array (`unit`, `marker`, `feature`), a view of `obsm` where all markers are taken; features have names where the
    model gives them (`"mean"` of `mean-marker+`). Features on disk stay there: the array is a dask array, of which
    `.compute()` reads what was selected.
    """
    import xarray as xr

    table = as_table(data, table_key)
    names = list(record(table, key=key)["panel"]["marker"])
    slot = EmbedKeys(key).obsm("marker", alone=True)
    known(slot, list(table.obsm), what="entry of obsm", fix="Embed with features='marker'.")
    values = table.obsm[slot]
    if not is_lazy(values):
        values = np.asarray(values)
    if values.shape[1] % len(names) or "marker" not in list(record(table, key=key)["params"]["features"]):
        msg = (
            f"obsm[{slot!r}] holds one vector per unit, not one per marker ({values.shape[1]} features, {len(names)} "
            "markers). Read it from obsm directly."
        )
        raise ValueError(msg)

    # features have names where the model gives them, the same ones for every marker
    coords = {"unit": table.obs_names.to_numpy(), "marker": names}
    frame = feature_frame(table, Representation(slot, values))
    if has_named_features(frame):
        coords["feature"] = list(frame["feature"].iloc[: values.shape[1] // len(names)])
    array = xr.DataArray(_by_marker(values, len(names)), dims=("unit", "marker", "feature"), coords=coords, name=slot)
    if markers is None:
        return array
    markers = [markers] if isinstance(markers, str) else list(markers)
    if unknown := [m for m in markers if m not in names]:
        msg = f"The embedding has no marker {listed(unknown)}; its panel is {listed(names, most=60)}."
        raise KeyError(msg)
    return array.sel(marker=markers)


def _by_marker(values: Any, n_markers: int) -> Any:
    """Return features (units × markers × features) from the blocks side by side; nothing of a dask array is read."""
    shape = (values.shape[0], n_markers, values.shape[1] // n_markers)
    if not is_lazy(values):
        return values.reshape(shape)
    # a chunk must hold all markers of its units, or it could not be reshaped by itself
    whole = values.rechunk({1: -1})
    return whole.map_blocks(
        lambda block: block.reshape(len(block), *shape[1:]),
        new_axis=2,
        chunks=(whole.chunks[0], *shape[1:]),
        dtype=values.dtype,
    )
