"""Which class is taken for which."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from kronos_sc._core import results
from kronos_sc._core.checks import one_of
from kronos_sc.pl._compared import one, table
from kronos_sc.pl._heat import heat

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes

    from kronos_sc.pl._palette import Palette


def confusion(
    adata: AnnData | results.HasResult,
    key: str | None = None,
    *,
    representation: str | None = None,
    normalize: Literal["true", "predicted"] | None = "true",
    palette: Palette = None,
    ax: Axes | None = None,
) -> Axes:
    """Show which class a classifier takes for which, summed over folds.

    Parameters
    ----------
    adata
        Table with the result of :func:`kronos_sc.tl.linear_probe` or another classifier; or a
        :class:`kronos_sc.tl.DenseProbe`, without `key`.
    key
        Name of the result in `uns`.
    representation
        Whose predictions; the first of the result if left out.
    normalize
        `"true"`: a row sums to 1 and the diagonal is recall. `"predicted"`: a column sums to 1 and the diagonal is
        precision. `None`: units.
    palette
        Name of a colormap.
    ax
        Axes to draw on; a new figure if left out.

    Returns
    -------
    The axes: true classes as rows, predicted ones as columns, shares in hundredths up to 20 classes. A class without
    units is grey.

    Raises
    ------
    KeyError
        There is no such result or representation, or the result has no confusion table.
    ValueError
        `normalize` is no choice.

    Examples
    --------
    >>> import kronos_sc as ks
    >>> cells = ks.datasets.tissue(shape=(200, 200))["table"]
    >>> cells.obs["nest"] = cells.obs["region"] == "nest"
    >>> ks.pp.spatial_folds(cells, n_folds=2)
    >>> ks.tl.linear_probe(cells, "nest", use_rep="X", C=1)
    >>> ks.pl.confusion(cells, "nest_probe").get_xlabel()
    'predicted'
    """
    one_of(normalize, ("true", "predicted", None), name="normalize")
    frame = table(
        adata, key, "confusion", needs=("representation", "true", "predicted", "count"), make="tl.linear_probe"
    )
    rows, name = one(frame, representation)
    classes = list(dict.fromkeys([*rows["true"], *rows["predicted"]]))
    counts = rows.pivot_table(index="true", columns="predicted", values="count", aggfunc="sum", fill_value=0)
    values = counts.reindex(index=classes, columns=classes, fill_value=0).to_numpy(float)
    units = int(values.sum())
    if normalize is not None:  # a class without units has no share, which is not a share of 0
        total = values.sum(axis=1 if normalize == "true" else 0, keepdims=True)
        values = np.divide(
            values, total, out=np.full_like(values, np.nan), where=np.broadcast_to(total > 0, values.shape)
        )

    bar = {"true": "share of the true class", "predicted": "share of the predicted class", None: "units"}[normalize]
    top = None
    form = "{:,.0f}"
    if normalize is not None:
        top = 1.0
        form = "{:.2f}"
    ax = heat(ax, values, rows=classes, columns=classes, top=top, bar=bar, palette=palette, form=form)
    ax.set(xlabel="predicted", ylabel="true")
    ax.set_title(f"{name}, {units:,} units", fontsize="medium")
    return ax
