"""A table for a segmentation that has none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from kronos_sc._core.log import info
from kronos_sc._core.resolve import only, require_free, require_spatialdata, unit_labels
from kronos_sc.patches import label_table as measure
from kronos_sc.patches._raster import label_raster

if TYPE_CHECKING:
    from spatialdata import SpatialData


def label_table(sdata: SpatialData, *, labels_key: str | None = None, key_added: str = "table") -> None:
    """Make a table with one row per label of a segmentation.

    Parameters
    ----------
    sdata
        Holds the labels; the table is added to it.
    labels_key
        Which labels; the only ones if left out.
    key_added
        Name of the table.

    Returns
    -------
    `None`. Sets `tables[key_added]`, annotating the labels: `obs` has `region`, `cell_id` (the label) and `area`
    (pixels); `obsm['spatial']` the centroids (x, y) in pixels, where pixel `i` covers [i, i + 1).
    """
    from anndata import AnnData
    from spatialdata.models import TableModel

    require_spatialdata(sdata)
    # masks of artifacts and maps are labels, too: only those of units are guessed
    name = only(
        sdata.labels if labels_key is not None else unit_labels(sdata),
        labels_key,
        what="labels",
        argument="labels_key",
        fix="Segment the image first, or read a mask with io.read_tiff(mask=...).",
    )
    require_free(sdata, {key_added: "tables"})
    cells = measure(label_raster(sdata, name)[0], name=name)
    if cells.empty:
        msg = (
            f"Labels {name!r} hold no cell: every pixel is 0 (background). Choose other labels with labels_key=, or "
            "segment the image again."
        )
        raise ValueError(msg)
    obs = pd.DataFrame(
        {
            "region": pd.Categorical([name] * len(cells)),
            "cell_id": cells["label"].to_numpy(),
            "area": cells["area"].to_numpy(),
        },
        index=cells["label"].astype(str).to_numpy(),
    )
    table = AnnData(obs=obs, obsm={"spatial": np.ascontiguousarray(cells[["x", "y"]].to_numpy())})
    sdata.tables[key_added] = TableModel.parse(table, region=name, region_key="region", instance_key="cell_id")
    info(f"added {len(cells):,} cells of labels {name!r} to tables[{key_added!r}]")
