"""Which markers a model looks at."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from kronos_sc import models
from kronos_sc._core import results
from kronos_sc._core.balanced import standardised
from kronos_sc._core.free_key import free_key
from kronos_sc._core.keys import EmbedKeys, storable
from kronos_sc._core.log import info
from kronos_sc._core.resolve import require_spatialdata
from kronos_sc._core.warn import warn
from kronos_sc._embedding import readout
from kronos_sc._embedding.read_options import ReadKeywords, ReadOptions
from kronos_sc.models.views.attention import AttentionView

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence
    from typing import Unpack

    from anndata import AnnData
    from spatialdata import SpatialData

_MOST_MAPS = 2**28  # bytes of token maps that may go into `uns`


def attention(
    sdata: SpatialData,
    *,
    model: str | os.PathLike[str] | models.Model = "kronos",
    method: str = "cls",
    head: str | int | None = None,
    layer: int = -1,
    direction: np.ndarray | None = None,
    inside: bool = False,
    ids: Sequence[str] | None = None,
    maps: bool = False,
    key_added: str | None = None,
    inplace: bool = True,
    **reading: Unpack[ReadKeywords],
) -> AnnData | None:
    """Measure how much the class token attends to each marker :cite:p:`Shaban2025`.

    As in the paper by default (Online Methods, "Model interpretability"): the attention of the class token in the last
    block that runs, first head, summed over the tokens of each marker, and its z-score. What is left to 1 goes to the
    class token itself and to the registers. The row is computed from the class token's query alone, without an
    attention matrix, and takes less time than :func:`kronos_sc.tl.embed` (0.7 of it where four blocks run).

    Attention says where information could flow from, not what a decision rests on; for that see
    :func:`kronos_sc.tl.marker_ablation`.

    Parameters
    ----------
    sdata
        Holds image, labels or shapes, and a table that annotates them.
    model
        As in :func:`kronos_sc.tl.embed`; a model whose tokens of all markers attend to each other, as those of KRONOS
        and CA-MAE do.
    method
        `"cls"`: one block's attention. `"rollout"`: the attention of all blocks up to `layer` multiplied, half of each
        kept for the token itself :cite:p:`Abnar2020`; about twice the time, and memory for one more copy of the tokens
        per block. `"gradient"`: the last block's attention times the gradient of `direction`, where it is positive
        :cite:p:`Chefer2021`; does not add up to 1.
    head
        `"first"`, a number from 0, or `"mean"` of all heads. The first for `"cls"`, the mean for the others if left
        out.
    layer
        Which block, counted among those that run; the last if left out.
    direction
        For `"gradient"`: a vector (D) of class features, such as the weights of a classifier for one class against
        another; what speaks for it is shown. If left out, what makes the class token long: its squared length before
        the last normalisation, after which all have one length.
    inside
        Weigh each token by the share of its area that lies inside the cell (on the image, for boxes): attention to the
        cell's own place only. Cells are smaller than most windows, so most tokens then count little.
    ids
        Compute these units only (`obs_names`), 1,000 per cell type as in the paper, say; other rows become NaN. Name
        another `key_added` (`"attention_maps"`) where a result of more units is there and should stay.
    maps
        Keep the attention to each token as well, for `pl.attention_map(sdata, key="attention_maps")`
        (:func:`kronos_sc.pl.attention_map`); name a few units with `ids`, and `key_added="attention_maps"`.
    key_added
        Name that all slots are derived from; the model's key and `_attention` (`"kronos_attention"`) if left out.
    inplace
        Write into the table (default), or return a copy of it with the slots added.
    **reading
        Which units and pixels: `image_key`, `labels_key`, `shapes_key`, `table_key`, `spatial_key`, `channels`,
        `exclude`, `patch_size`, `mask_fill`, `token_overlap`, `scale`, `mpp`, `max_value`, `nan`, `require_nuclear`,
        `precision`, `batch_size`, `device`, all as in :func:`kronos_sc.tl.embed`.

    Returns
    -------
    `None`, or the table's copy with `inplace=False`. Sets, in `tables[table_key]`:

    `obsm['kronos_attention' | key_added]`
        Attention summed over the tokens of each marker: frame units × markers, float32.
    `obsm['kronos_attention_z' | key_added + '_z']`
        The same, standardised marker by marker over all units computed (mean 0, standard deviation (n) 1; 0 where all
        are equal): what sets cell types apart for a marker, however much the model looks at it in general (the paper
        shows the "distribution of z-scores across cell types per marker").
    `uns['kronos_attention' | key_added]`
        Table `markers` (marker, channel, n, mean, sd of the raw values) for :func:`kronos_sc.get.result`; `params`;
        `record` (model, panel, precision, software). With `maps`: `units` (names), `maps` (units × markers × rows ×
        columns, float32).

    Raises
    ------
    ValueError
        The model has no attention over markers; a head, layer or method it has not; a direction of another width; maps
        of too many units.
    KeyError
        A unit, image or region does not exist.
    TypeError
        An argument that does not exist.

    Warns
    -----
    UserWarning
        A result of more units is replaced.

    Examples
    --------
    >>> import kronos_sc as ks
    >>> sdata = ks.datasets.tissue(shape=(96, 96), channels=["DAPI", "CD8", "CYTOKERATIN"])
    >>> model = ks.models.load("kronos-untrained", blocks="official")
    >>> ks.tl.attention(sdata, model=model, patch_size=32)
    >>> list(sdata["table"].obsm["kronos_attention"].columns)
    ['DAPI', 'CD8', 'CYTOKERATIN']
    """
    require_spatialdata(sdata)
    options = ReadOptions.of(reading)
    encoder = models.load(model, token_overlap=options.token_overlap)
    view = AttentionView(encoder, method=method, head=head, layer=layer, inside=inside, direction=direction)
    run = readout.prepare(sdata, view, options, ("attention",))
    key = free_key(run.table, EmbedKeys(key_added or f"{encoder.key}_attention").name)
    run = run.of(readout.rows_named(run, ids))
    widths = {"attention": len(run.used)}
    grid = _grid(run, view) if maps else 0
    if maps:
        widths["attention_map"] = len(run.used) * grid**2
    if inplace:
        _warn_if_fewer(run.table, key, len(run.rows))
    info(
        f"attention ({method}) of {len(run.rows):,} units ({run.target}) to {len(run.used)} markers with "
        f"{encoder.card.label!r}"
    )

    began = time.perf_counter()
    values = run.compute(view, widths)
    seconds = time.perf_counter() - began

    entries: dict[str, Any] = {"record": run.record(encoder, seconds=seconds)}
    if maps:
        entries["units"] = run.table.obs_names[run.rows].to_numpy()
        entries["maps"] = values["attention_map"].reshape(-1, len(run.used), grid, grid)
    params = _params(view, ids=ids, maps=maps)
    table = run.table if inplace else run.table.copy()
    _write(table, key, run, values["attention"], params, **entries)
    info(f"added obsm[{key!r}], obsm['{key}_z'] and uns[{key!r}] to table {run.target.key!r} ({seconds:.1f} s)")
    return None if inplace else table


def _warn_if_fewer(table: AnnData, key: str, count: int) -> None:
    """Warn where a result of more units is about to be replaced."""
    if key not in results.names(table) or key not in table.obsm:
        return
    old_count = int(np.isfinite(np.asarray(table.obsm[key], np.float32)).all(1).sum())
    if count < old_count:
        warn(
            f"obsm[{key!r}] has the attention of {old_count:,} units, and is replaced by that of {count:,}; other rows "
            "become NaN. Name key_added= (such as 'attention_maps') to keep both."
        )


def _params(view: AttentionView, *, ids: Sequence[str] | None, maps: bool) -> dict[str, Any]:
    """Return what was read off the model."""
    rows = view.rows
    heads = list(range(rows.heads))[view.heads]
    params = {
        "method": view.method,
        "heads": heads,
        "layer": view.layer,
        "block": int(rows.running[view.layer]),
        "inside": view.inside,
        "maps": maps,
        "all_units": ids is None,
    }
    if view.direction is not None:
        params["direction"] = view.direction.numpy()
    return params


def _grid(run: readout.Readout, view: AttentionView) -> int:
    """Return the number of tokens along each axis of a map, the same for all regions."""
    # maps of all units are one array, so all windows must have one number of tokens
    sizes = sorted({job.patch_size for job in run.plan.jobs})
    if len(sizes) > 1:
        msg = (
            f"Regions are read with windows of {', '.join(map(str, sizes))} pixels, and maps need one size. Choose it "
            "with patch_size=."
        )
        raise ValueError(msg)
    count = view.token_grid(sizes[0]).count
    size = 4 * len(run.rows) * len(run.used) * count**2  # bytes of float32
    if size > _MOST_MAPS:
        msg = (
            f"Maps of {len(run.rows):,} units × {len(run.used)} markers × {count} × {count} tokens take "
            f"{size / 2**30:.1f} GiB, and {_MOST_MAPS / 2**30:g} GiB may go into uns. Name the units to draw with "
            "ids=[...]."
        )
        raise ValueError(msg)
    return count


def _write(
    table: AnnData, key: str, run: readout.Readout, values: np.ndarray, params: dict[str, Any], **arrays: Any
) -> None:
    """Write all slots."""
    used = run.used
    columns = storable(used["marker"])
    # rows that were not computed are NaN: a frame of obsm has all rows of the table
    for name, computed in ((key, values), (f"{key}_z", standardised(values))):
        full = np.full((table.n_obs, len(used)), np.nan, np.float32)
        full[run.rows] = computed
        table.obsm[name] = pd.DataFrame(full, index=table.obs_names, columns=columns)
    markers = pd.DataFrame(
        {"marker": used["marker"].to_numpy(), "channel": used["channel"].to_numpy(), "n": len(values)}
    )
    markers["mean"] = values.mean(0, dtype=np.float64)
    markers["sd"] = values.std(0, dtype=np.float64)
    results.store(table, key, kind="attention", params=params, tables={"markers": markers}, **arrays)
