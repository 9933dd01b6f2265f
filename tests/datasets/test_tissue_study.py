from __future__ import annotations

import numpy as np
import pytest

from kronos_sc.datasets import tissue


def test_images_are_spread_over_donors_groups_and_batches(study):
    obs = study["table"].obs
    images = obs.drop_duplicates("element").set_index("element")[["donor", "group", "batch"]]
    assert list(images.index) == [f"cells_{number}" for number in range(8)]
    assert list(images["donor"]) == [f"donor_{number % 4}" for number in range(8)]
    assert (images.groupby("donor", observed=True)["group"].nunique() == 1).all()
    assert (images.groupby("batch", observed=True)["group"].nunique() == 2).all()  # batch and group are not confounded
    assert set(study["table"].uns["spatialdata_attrs"]["region"]) == set(images.index)
    for element in images.index:
        assert np.array_equal(obs.loc[obs["element"] == element, "cell_id"], np.unique(study[element])[1:])


@pytest.mark.parametrize(("n_images", "n_donors", "n_batches"), [(2, 2, 2), (3, 1, 3), (4, 2, 2), (5, 3, 4), (6, 6, 3)])
def test_every_donor_and_batch_has_an_image(n_images, n_donors, n_batches):
    obs = tissue(shape=(64, 64), channels=["DAPI"], n_images=n_images, n_donors=n_donors, n_batches=n_batches)[
        "table"
    ].obs
    assert obs["donor"].nunique() == n_donors
    assert obs["batch"].nunique() == n_batches


def test_batch_gain_is_in_the_pixels(study):
    table = study["table"]
    gain = table.varm["gain"]
    assert gain.shape == (3, 2)
    row = list(table.var_names).index("CYTOKERATIN")
    background = [np.percentile(table[table.obs["batch"] == f"batch_{batch}", "CYTOKERATIN"].X, 5) for batch in (0, 1)]
    tumour = [
        float(
            np.median(
                table[(table.obs["batch"] == f"batch_{batch}") & (table.obs["cell_type"] == "Tumor"), "CYTOKERATIN"].X
            )
        )
        for batch in (0, 1)
    ]
    seen = (tumour[1] - background[1]) / (tumour[0] - background[0])
    assert seen == pytest.approx(gain[row, 1] / gain[row, 0], rel=0.15)
    assert abs(np.log(gain[row, 1] / gain[row, 0])) > 0.1


def test_without_batch_effect_batches_are_alike():
    table = tissue(shape=(64, 64), channels=["DAPI", "CD8"], n_images=2, n_batches=2, batch_effect=0)["table"]
    assert np.array_equal(table.varm["gain"][:, 0], table.varm["gain"][:, 1])
    assert np.array_equal(table.varm["background"][:, 0], table.varm["background"][:, 1])


def _ratio(obs, first, second):
    """Return log(first / second) in group B minus that in group A."""
    counts = obs.groupby(["group", "cell_type"], observed=False).size().unstack()
    logs = np.log(counts[first] / counts[second])
    return logs["B"] - logs["A"]


def test_group_shifts_composition(study):
    same = tissue(shape=(300, 300), channels=["DAPI"], n_images=8, n_donors=4, group_effect=0, rng=5)["table"].obs
    obs = study["table"].obs
    # The same donors with and without the effect: what is left is the effect, not the donors.
    assert _ratio(obs, "CD8 T cell", "M2 macrophage") - _ratio(same, "CD8 T cell", "M2 macrophage") > 1.2
    means = obs.groupby("group", observed=True)["activation"].mean()
    assert means["B"] > means["A"] + 0.1


def test_donors_differ_in_composition(study):
    counts = study["table"].obs.groupby(["donor", "region"], observed=False).size().unstack()
    share = counts["nest"] / counts.sum(axis=1)
    assert share.max() - share.min() > 0.02
