"""Which markers a probe reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kronos_sc.pl._compared import one, table
from kronos_sc.pl._heat import heat

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes

    from kronos_sc.pl._palette import Palette


def importance(adata: AnnData, key: str, *, representation: str | None = None, palette: Palette = None, ax: Axes | None = None) -> Axes:
    """Show which markers tell each class from the others, by the weights of the linear probe.

    A weight is the marker's share of the squared weights of a class, over standardised features. It says what the classifier reads, not
    what causes what: of two markers that go together it may read either.

    Parameters
    ----------
    adata
        Table with the result of :func:`kronos_sc.tl.linear_probe`.
    key
        Name of the result in `uns`.
    representation
        Whose weights; the first of the result if left out.
    palette
        Name of a colormap.
    ax
        Axes to draw on; a new figure if left out.

    Returns
    -------
    The axes: classes as rows, markers as columns, ordered so that markers stand below each other's class.

    Raises
    ------
    KeyError
        There is no such result or representation, or the result has no weights per marker.

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
    frame = table(adata, key, "importance", needs=("representation", "class", "marker", "weight"), make="tl.linear_probe")
    rows, name = one(frame, representation)
    shares = rows.pivot_table(index="class", columns="marker", values="weight", aggfunc="mean", sort=False).fillna(0.0)
    # markers in the order of the class that reads them most, so that the picture has a diagonal
    values = shares.to_numpy()
    home = values.argmax(axis=0)
    order = sorted(range(values.shape[1]), key=lambda column: (home[column], -values[home[column], column]))
    ax = heat(
        ax,
        values[:, order],
        rows=list(shares.index),
        columns=[str(shares.columns[column]) for column in order],
        top=None,
        bar="share of squared weights",
        palette=palette,
    )
    ax.set(xlabel="marker", ylabel="class")
    ax.set_title(name, fontsize="medium")
    return ax
