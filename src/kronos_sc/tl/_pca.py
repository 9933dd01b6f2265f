"""Principal components of an embedding that need not fit into memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from kronos_sc._analysis.driver import AnalysisRun
from kronos_sc._analysis.reduce import held
from kronos_sc._core import results
from kronos_sc._core.checks import positive_integer
from kronos_sc._core.log import info
from kronos_sc._core.progress import bar
from kronos_sc._core.representation import Representation, representation
from kronos_sc._core.rng import Seed, seed, start
from kronos_sc._core.target import require_anndata
from kronos_sc._methods.streamed_pca import Components, principal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anndata import AnnData


def pca(
    adata: AnnData,
    *,
    use_rep: str = "X_kronos",
    n_comps: int = 50,
    scale: bool = False,
    rng: Seed = 0,
    key_added: str | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Reduce an embedding to its principal components, wherever it lies.

    Marker features are thousands per unit; neighbour graphs, UMAP and searches over a million units want fifty.
    Features on disk are read block by block, several times over (the log says how often), so that memory holds the
    result and some blocks, however many units there are; scanpy takes the result from there (`sc.pp.neighbors(adata,
    use_rep="X_kronos_pca")`). The components are those of all units, not of a sample, exact to what a plot or a graph
    can show; up to 1,024 features, exact to rounding.

    Parameters
    ----------
    adata
        Units with an embedding.
    use_rep
        Entry of `obsm`, or `"X"`.
    n_comps
        Components to keep, or as many as there can be: no more than features, or units less one.
    scale
        Standardise features first, so that dim markers count as much as bright ones.
    rng
        Seed or generator, for the directions that wide embeddings start from; the result hardly depends on it.
    key_added
        Name of the record, and with `X_` before it of the entry of `obsm`; `"{representation}_pca"` if left out, and
        `"pca"` for `X`, so that the result lies where scanpy puts and seeks its own; one of scanpy's is not replaced.
    copy
        Return a new AnnData instead of adding to this one.

    Returns
    -------
    `None`, or a new `AnnData` if `copy=True`. Sets:

    `obsm['X_kronos_pca' | 'X_' + key_added]`
        float32, units × components, the one with the largest variance first. Units with NaN stay NaN.
    `uns['kronos_pca' | key_added]`
        `components` (`component` from 1, `variance`, `variance_ratio`: share of the total), arrays `loadings` (features
        × components, float32), `mean` and `scale` (features, float32), and `params`. `((x - mean) / scale) @ loadings`
        brings other units to the same axes.

    Raises
    ------
    KeyError
        There is no such representation.
    ValueError
        Fewer than two units have features, `key_added` is the name of the representation itself, or the result would
        replace components that this function did not make.

    Examples
    --------
    >>> import kronos_sc as ks
    >>> cells = ks.datasets.tissue(shape=(128, 128))["table"]
    >>> ks.tl.pca(cells, use_rep="X", n_comps=3)
    >>> cells.obsm["X_pca"].shape == (cells.n_obs, 3)
    True
    """
    require_anndata(adata)
    rep = representation(adata, use_rep)
    positive_integer(n_comps, name="n_comps")
    default = "pca" if rep.name == "X" else f"{rep.label}_pca"
    key = key_added or default
    _require_own(adata, use_rep, key)
    run = AnalysisRun(adata, "pca", key, copy=copy)
    rows = np.flatnonzero(rep.finite)
    if len(rows) < 2:
        msg = (
            f"{len(rows)} of {rep.n_units:,} units have features in {use_rep!r}, and components need two. Embed units "
            "with tl.embed(sdata)."
        )
        raise ValueError(msg)
    if missing := rep.n_units - len(rows):
        info(f"{missing:,} of {rep.n_units:,} units have NaN in {rep.name!r} and get no components")
    if (count := min(n_comps, rep.width, len(rows) - 1)) < n_comps:
        info(f"{count} components: {len(rows):,} units with {rep.width:,} features have no more")

    run.announce()
    fitted, values = _fitted(rep, rows, count, scale=scale, rng=start(rng))

    columns = {"component": np.arange(count) + 1, "variance": fitted.variance, "variance_ratio": fitted.share}
    params = {"use_rep": use_rep, "n_comps": n_comps, "scale": bool(scale), "n_units": len(rows), "rng": seed(rng)}
    run.store(
        params=params,
        tables={"components": pd.DataFrame(columns)},
        obsm={f"X_{key}": values},
        loadings=fitted.vectors,
        mean=fitted.scaler.mean,
        scale=fitted.scaler.scale,
    )
    if not fitted.settled:
        info(f"many directions of {rep.name!r} vary alike; the last components are approximate")
    quality = f"{np.nansum(fitted.share):.1%} of the variance, {fitted.passes} passes, {run.elapsed}"
    return run.finish(f"added obsm['X_{key}'], {rep.n_units:,} × {count} ({quality})")


def _require_own(adata: AnnData, use_rep: str, key: str) -> None:
    """Raise a ValueError if an entry of `obsm` that is not an earlier result would be lost to this one."""
    if f"X_{key}" == use_rep:
        msg = (
            f"key_added={key!r} would replace obsm[{use_rep!r}], which the result is made of. Choose another name, "
            f"{key + '_pca'!r} say."
        )
        raise ValueError(msg)
    if f"X_{key}" in adata.obsm and key == "pca" and key not in results.names(adata):
        msg = (
            "obsm['X_pca'] holds components that tl.pca did not make, scanpy's perhaps, and they are not replaced. "
            "Choose another name, key_added='markers_pca' say, or remove them first: del adata.obsm['X_pca']."
        )
        raise ValueError(msg)


def _fitted(
    rep: Representation, rows: np.ndarray, count: int, *, scale: bool, rng: np.random.Generator
) -> tuple[Components, np.ndarray]:
    """Return the components of some rows, and the coordinates of all (NaN for the others)."""
    with bar(description="principal components", unit="block") as shown:

        def blocks() -> Iterator[np.ndarray]:
            for _, block in rep.blocks(rows, size=held(rep)):
                yield block
                shown.update()

        fitted = principal(blocks, rep.width, count, scale=scale, rng=rng)
        coordinates = np.full((rep.n_units, count), np.nan, np.float32)
        for part, block in rep.blocks(rows, size=held(rep)):
            coordinates[part] = fitted.apply(block)
            shown.update()
    return fitted, coordinates
