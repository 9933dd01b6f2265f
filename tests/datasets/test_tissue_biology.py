from __future__ import annotations

import numpy as np
import pytest

from kronos_sc.datasets import tissue
from kronos_sc.datasets._sim.panel import MARKERS
from kronos_sc.datasets._sim.phenotypes import CELL_TYPES
from kronos_sc.datasets._sim.shapes import border


def _median(sdata, channel, cell_type):
    """Return the median over cells above the darkest pixels."""
    table = sdata["table"]
    rows = (table.obs["cell_type"] == cell_type).to_numpy()
    assert rows.sum() >= 5
    return float(np.median(table[rows, channel].X) - np.percentile(sdata["image"].sel(c=channel), 2) / 65535)


@pytest.mark.parametrize(
    ("channel", "positive", "negative", "ratio"),
    [
        ("CD8", "CD8 T cell", "Tumor", 4),
        ("CD8", "CD8 T cell", "CD4 T cell", 3),
        ("CD4", "CD4 T cell", "CD8 T cell", 2),
        ("CD3", "CD4 T cell", "B cell", 2),
        ("CD20", "B cell", "Tumor", 4),
        ("CYTOKERATIN", "Tumor", "Fibroblast", 4),
        ("CD31", "Endothelial", "Fibroblast", 3),
        ("CD68", "M2 macrophage", "CD4 T cell", 2),
        ("CD163", "M2 macrophage", "M1 macrophage", 1.5),
        ("A-SMA", "Smooth muscle", "Tumor", 3),
    ],
)
def test_markers_are_on_the_cells_that_carry_them(one, channel, positive, negative, ratio):
    assert _median(one, channel, positive) > ratio * _median(one, channel, negative)


def test_each_location_is_brightest_where_it_should_be(one):
    labels = np.asarray(one["cells"])
    image = one["image"]
    edge = border(labels, 1)
    middle = (labels > 0) & ~border(labels, 5)
    b_cell = np.concatenate([[False], one["table"].obs["cell_type"] == "B cell"])[labels]
    cd20, dapi = (np.asarray(image.sel(c=name)).astype(float) for name in ("CD20", "DAPI"))
    assert cd20[edge & b_cell].mean() > 2 * cd20[middle & b_cell].mean()
    assert dapi[middle & b_cell].mean() > 1.5 * dapi[edge & b_cell].mean()
    assert dapi[middle].mean() > 4 * dapi[labels == 0].mean()


def test_nuclear_markers_overlap_dapi_and_cytoplasm_avoids_it(one):
    labels = np.asarray(one["cells"])
    image = one["image"]
    tumour = np.concatenate([[False], one["table"].obs["cell_type"] == "Tumor"])[labels]
    dapi, keratin, ki67 = (
        np.asarray(image.sel(c=name))[tumour].astype(float) for name in ("DAPI", "CYTOKERATIN", "KI-67")
    )
    assert np.corrcoef(dapi, ki67)[0, 1] > 0.2
    assert np.corrcoef(dapi, keratin)[0, 1] < -0.2


def test_states_drive_their_markers(one):
    table = one["table"]
    assert np.corrcoef(table.obs["proliferation"], table[:, "KI-67"].X.ravel())[0, 1] > 0.6
    t_cells = table[table.obs["cell_type"].isin(["CD4 T cell", "CD8 T cell"])]
    assert np.corrcoef(t_cells.obs["activation"], np.log(t_cells[:, "PD1"].layers["truth"].ravel()))[0, 1] > 0.5


def test_truth_is_the_programme(one):
    table = one["table"]
    truth = table[table.obs["cell_type"] == "CD8 T cell", "CD8"].layers["truth"]
    assert np.log(truth).mean() == pytest.approx(np.log(1.03), abs=0.2)
    assert table[table.obs["cell_type"] == "Tumor", "CD8"].layers["truth"].max() < 0.3
    correlations = [
        np.corrcoef(table[:, name].layers["truth"].ravel(), table[:, name].X.ravel())[0, 1]
        for name in ("CD8", "CD20", "CD45")
    ]
    assert min(correlations) > 0.8


def test_compartments_hold_their_cells(one):
    obs = one["table"].obs
    counts = obs.groupby(["region", "cell_type"], observed=True).size().unstack(fill_value=0)
    share = counts.div(counts.sum(axis=1), axis=0)
    assert share.loc["nest", "Tumor"] > 0.6
    assert share.loc["follicle", "B cell"] > 0.45
    assert share.loc["stroma", "Fibroblast"] > 0.15
    assert set(obs.loc[obs["region"] == "vessel", "cell_type"]) <= {"Endothelial", "Smooth muscle"}
    assert (obs.loc[obs["cell_type"] == "Follicular DC", "region"] == "follicle").all()


def test_every_known_marker_names_known_cells_and_parts():
    for name, marker in MARKERS.items():
        assert set(marker.levels) <= set(CELL_TYPES), name
        assert marker.location in {"nucleus", "membrane", "cytoplasm", "granules"}, name
        assert marker.matrix in {None, "fibres", "mesh"}, name
        assert marker.state in {None, "proliferation", "activation"}, name


def test_every_known_marker_can_be_asked_for():
    sdata = tissue(shape=(64, 64), channels=list(MARKERS))
    assert sdata["image"].shape == (len(MARKERS), 64, 64)
    assert np.isfinite(sdata["table"].X).all()
