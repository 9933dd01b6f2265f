"""Which markers a probe reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kronos_sc._core import results
from kronos_sc._core.checks import listed, one_of, positive_integer
from kronos_sc.pl._compared import one, table
from kronos_sc.pl._heat import heat

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes

    from kronos_sc.pl._palette import Palette


_PER_FEATURE = "feature_importance"
_MAKE = "tl.linear_probe"
_FEATURES = 40  # more columns are no longer read


def importance(
    adata: AnnData,
    key: str,
    *,
    representation: str | None = None,
    by: str | None = None,
    n_top: int | None = None,
    palette: Palette = None,
    ax: Axes | None = None,
) -> Axes:
    """Show which markers tell each class from the others, by the weights of the linear probe.

    A weight is the marker's share of the squared weights of a class, over standardised features. It says what the
    classifier reads, not what causes what: of two markers that go together it may read either. Where the model names
    its features, as `mean-marker+` does, they are shown one by one: `CD3_mean`, `CD3_q95`.

    Parameters
    ----------
    adata
        Table with the result of :func:`kronos_sc.tl.linear_probe`.
    key
        Name of the result in `uns`.
    representation
        Whose weights; the first of the result if left out.
    by
        `"marker"`, or `"feature"` for each named feature; features if left out and there are names, else markers.
    n_top
        Show so many columns only, those that some class reads most; all markers, or 40 features, if left out.
    palette
        Name of a colormap.
    ax
        Axes to draw on; a new figure if left out.

    Returns
    -------
    The axes: classes as rows, markers or features as columns, ordered so that they stand below the class that reads
    them most.

    Raises
    ------
    KeyError
        There is no such result or representation, or the result has no weights per marker (or per feature, if asked
        for).
    ValueError
        `by` is no choice.

    Examples
    --------
    >>> import kronos_sc as ks
    >>> cells = ks.datasets.tissue(shape=(200, 200))["table"]
    >>> cells.obs["nest"] = cells.obs["region"] == "nest"
    >>> ks.pp.spatial_folds(cells, n_folds=2)
    >>> ks.tl.linear_probe(cells, "nest", use_rep="X", C=1)
    >>> ks.pl.importance(cells, "nest_probe").get_xlabel()
    'marker'
    """
    if by is not None:
        one_of(by, ("marker", "feature"), name="by")
    if n_top is not None:
        n_top = positive_integer(n_top, name="n_top")
    rows, name, by = _weights(adata, key, representation, by)
    shares = rows.pivot_table(index="class", columns=by, values="weight", aggfunc="mean", sort=False).fillna(0.0)
    n_columns = shares.shape[1]
    if n_top is None:
        n_top = n_columns if by == "marker" else _FEATURES
    if n_top < n_columns:
        strongest = np.argsort(-shares.to_numpy().max(axis=0), kind="stable")[:n_top]
        shares = shares.iloc[:, np.sort(strongest)]
    # markers in the order of the class that reads them most, so that the picture has a diagonal
    values = shares.to_numpy()
    reader = values.argmax(axis=0)
    order = sorted(range(values.shape[1]), key=lambda column: (reader[column], -values[reader[column], column]))
    ax = heat(
        ax,
        values[:, order],
        rows=list(shares.index),
        columns=[str(shares.columns[column]) for column in order],
        top=None,
        bar="share of squared weights",
        palette=palette,
    )
    xlabel = by
    if n_top < n_columns:
        xlabel = f"{by} ({n_top} of {n_columns})"
    ax.set(xlabel=xlabel, ylabel="class")
    ax.set_title(name, fontsize="medium")
    return ax


def _weights(adata: AnnData, key: str, representation: str | None, by: str | None) -> tuple[pd.DataFrame, str, str]:
    """Return the weights to show, whose they are, and what they are of."""
    frame = table(adata, key, "importance", needs=("representation", "class", "marker", "weight"), make=_MAKE)
    rows, name = one(frame, representation)
    if by == "marker":
        return rows, name, "marker"
    # not every model names its features; the error says which representations have names
    named: list[str] = []
    if _PER_FEATURE in results.entry(adata, key):
        features = table(adata, key, _PER_FEATURE, needs=("representation", "class", "feature", "weight"), make=_MAKE)
        named = list(dict.fromkeys(features["representation"]))
        if name in named:
            return *one(features, name), "feature"
    if by == "feature":
        msg = (
            f"The features of {name!r} have numbers for names; those with names: {listed(named)}. "
            "Take by='marker', or name another with representation=."
        )
        raise KeyError(msg)
    return rows, name, "marker"
