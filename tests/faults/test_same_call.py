"""What makes two calls the same: an error names what changed and leaves the store alone.

What does not matter changes nothing.
"""

import shutil

import dask.array as da
import numpy as np
import pytest
import torch
from spatialdata.models import Image2DModel, Labels2DModel

from kronos_sc import settings
from kronos_sc.models import KronosModel

from .conftest import contents

pytestmark = pytest.mark.slow(10)  # seconds, for the file


@pytest.fixture
def whole(case, finished):
    """A finished store."""
    shutil.copytree(finished, case.store)
    return case


def other_weights(model, **how):
    """Return a copy of which one number differs, whatever its card says."""
    import copy

    net = copy.deepcopy(model.net)
    with torch.no_grad():
        next(reversed(list(net.parameters()))).view(-1)[-1] += 1e-3
    return KronosModel(net, model.card, model.vocabulary, **{"sha256": model.sha256} | how)


def with_image(sdata, change, **how):
    """Put other pixels (channels × rows × columns) in place."""
    values = change(sdata["image"].data.compute())
    names = how.get("names", list(sdata["image"].coords["c"].values))
    sdata["image"] = Image2DModel.parse(
        da.from_array(values, chunks=how.get("chunks", (1, 48, 48))), dims=("c", "y", "x"), c_coords=names
    )


def with_labels(sdata, change, chunks=(48, 48)):
    values = change(sdata["cells"].data.compute())
    sdata["cells"] = Labels2DModel.parse(da.from_array(values, chunks=chunks), dims=("y", "x"))


def one_cell_larger(labels):
    """Give one more pixel to a cell, where there was none."""
    out = labels.copy()
    y, x = np.argwhere((labels[1:-1, 1:-1] == 0) & (labels[:-2, 1:-1] > 0))[5] + 1
    out[y, x] = out[y - 1, x]
    return out


def renamed(sdata):
    table = sdata["table"]
    table.obs_names = [*table.obs_names[:-1], "another"]


def in_order(sdata, rows):
    sdata["table"] = sdata["table"][rows].copy()


CHANNELS = ("DAPI", "CD3", "CD8", "CD20", "CYTOKERATIN")
SHUFFLED = [0, 2, 1, 3, 4]

# what is said → arguments of the call, or a change of the SpatialData
ARGUMENTS = {
    "patch_size": {"patch_size": 48},
    "mask_fill": {"mask_fill": "zero"},
    "features": {"features": "marker"},
    "dtype": {"dtype": "float16"},
    "precision": {"precision": "bfloat16"},
    "max_value": {"max_value": 65_000},
    "panel: DAPI DAPI": {"channels": ["DAPI", "CD3", "CD8", "CD20"]},
    "CD8 CD4": {"channels": {"CD8": "CD4"}},
    "token_overlap": {"token_overlap": True},
    "nan": {"nan": "zero"},
}
CHANGES = {
    "pixels": lambda sdata: with_image(sdata, lambda image: image // 2),
    "size 150 153": lambda sdata: (
        with_image(sdata, lambda image: np.pad(image, ((0, 0), (0, 3), (0, 0)))),
        with_labels(sdata, lambda labels: np.pad(labels, ((0, 3), (0, 0)))),
    ),
    "panel are in another order": lambda sdata: with_image(
        sdata, lambda image: image[SHUFFLED], names=[CHANNELS[i] for i in SHUFFLED]
    ),
    "panel CD8 CD4": lambda sdata: with_image(sdata, lambda image: image, names=["DAPI", "CD3", "CD4", *CHANNELS[3:]]),
    "dtype": lambda sdata: with_image(sdata, lambda image: (image / 40_000).astype("float32")),
    "units": lambda sdata: with_labels(sdata, one_cell_larger),
    "table rows is 63 in the store and 62 now": lambda sdata: in_order(sdata, np.arange(62)),
    "table obs_names": renamed,
    "obs_names differ": lambda sdata: in_order(sdata, np.r_[1, 0, 2:63]),
}


def refused(case, said, sdata=None, **how):
    before = contents(case.store)
    sdata = case.read() if sdata is None else sdata
    slots = set(sdata["table"].obsm), set(sdata["table"].uns)
    with pytest.raises(ValueError, match="holds an embedding of another call") as caught:
        case.embed(sdata, **how)
    text = str(caught.value)
    assert all(word in text for word in said.replace(":", "").split()), text
    assert "overwrite=True" in text
    assert contents(case.store) == before
    assert (set(sdata["table"].obsm), set(sdata["table"].uns)) == slots


@pytest.mark.parametrize("said", ARGUMENTS)
def test_another_argument(whole, said):
    if said.startswith("panel: DAPI"):
        refused(whole, "panel CYTOKERATIN", **ARGUMENTS[said])
    else:
        refused(whole, said, **ARGUMENTS[said])


@pytest.mark.parametrize("said", CHANGES)
def test_other_data(whole, said):
    sdata = whole.read()
    CHANGES[said](sdata)
    refused(whole, said, sdata)


@pytest.mark.parametrize("how", [{}, {"sha256": "other"}, {"sha256": ""}])
def test_other_weights(whole, how):
    refused(whole, "model weights", model=other_weights(whole.model, **how))


def test_weights_changed_in_memory(whole):
    """The same object, with the same card and checksum of its file."""
    model = other_weights(whole.model)
    with torch.no_grad():
        next(reversed(list(model.net.parameters()))).view(-1)[-1] -= 1e-3
    last = next(reversed(list(model.net.parameters()))).view(-1)
    with torch.no_grad():
        last[-1] = next(reversed(list(whole.model.net.parameters()))).view(-1)[-1]
    whole.check(whole.embed(model=model))
    with torch.no_grad():
        last[0] += 1
    refused(whole, "model weights", model=model)


def test_another_table_of_the_same_tissue(whole):
    sdata = whole.read()
    sdata["cells2"] = sdata["cells"]
    table = sdata["table"].copy()
    table.obs["region"] = table.obs[table.uns["spatialdata_attrs"]["region_key"]]
    key = table.uns["spatialdata_attrs"]["region_key"]
    table.obs[key] = table.obs[key].cat.rename_categories({"cells": "cells2"})
    table.uns["spatialdata_attrs"]["region"] = "cells2"
    del sdata["table"]
    sdata["table"] = table
    refused(whole, "cells cells2", sdata)


def test_rechunked_on_disk_and_in_memory(whole):
    sdata = whole.read()
    with_image(sdata, lambda image: image, chunks=(5, 150, 100))
    with_labels(sdata, lambda labels: labels, chunks=(150, 190))
    whole.check(whole.embed(sdata))
    with_image(sdata, lambda image: image.astype(">u2"), chunks=(2, 31, 47))
    whole.check(whole.embed(sdata))


def test_large_chunks_have_the_same_identity(make, tiny, tmp_path):
    """One chunk of 20 MB, or many small ones: the same pixels."""
    image = np.zeros((1, 3200, 3200), np.uint16)
    labels = np.zeros((3200, 3200), np.int32)
    rng = np.random.default_rng(4)
    for number, (y, x) in enumerate(rng.integers(50, 3100, (40, 2)).tolist(), 1):
        labels[y : y + 9, x : x + 9] = number
        image[:, y - 10 : y + 20, x - 10 : x + 20] = rng.integers(1000, 40_000, (30, 30))
    from kronos_sc import tl

    how = {"model": tiny, "patch_size": 32, "precision": "float32", "store": tmp_path / "x.zarr", "device": "cpu"}
    values = []
    for chunks in ((1, 3200, 3200), (1, 500, 640)):
        sdata = make(image=image, labels=labels, channels=("DAPI",), chunks=chunks, label_chunks=(800, 3200))
        tl.embed(sdata, **how)
        values.append(sdata["table"].obsm["X_kronos"].compute())
    np.testing.assert_array_equal(*values)


@pytest.mark.parametrize("stage", ["whole", "begun"])
@pytest.mark.parametrize("what", ["block_memory", "read_threads", "batch_size", "threads"])
def test_what_does_not_matter(case, finished, monkeypatch, what, stage):
    shutil.copytree(finished, case.store)
    if stage == "begun":
        for number in (0, 4, 5, 11):
            (case.store / "marker" / "c" / str(number) / "0").unlink()
    how = {}
    if what == "batch_size":
        how = {"batch_size": 7}  # blocks hold fewer units: the same passes
    elif what == "threads":
        torch.set_num_threads(2)  # put back by the fixture
    else:
        monkeypatch.setattr(settings, what, {"block_memory": 2**24, "read_threads": 5}[what])
    table = case.embed(**how)
    if what == "threads":  # sums of another order
        np.testing.assert_allclose(table.obsm["X_kronos"], case.truth["marker"], atol=1e-5)
    else:
        case.check(table)


def test_batches_smaller_than_a_block_go_on_with_the_same_store(whole):
    for number in (1, 2):
        (whole.store / "cls" / "c" / str(number) / "0").unlink()
    table = whole.embed(batch_size=2)
    for kind, slot in (("marker", "X_kronos"), ("cls", "X_kronos_cls")):
        np.testing.assert_allclose(table.obsm[slot], whole.truth[kind], atol=1e-5)


def test_starting_again(whole):
    table = whole.embed(overwrite=True, features="cls", patch_size=48)
    assert not (whole.store / "marker").exists()
    assert table.obsm["X_kronos"].shape == (63, 48)
    whole.check(whole.embed(overwrite=True))
