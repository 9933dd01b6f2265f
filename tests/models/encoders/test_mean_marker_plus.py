"""Statistics and shape of a unit, against NumPy and scikit-image cell by cell."""

from __future__ import annotations

import anndata
import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from skimage.measure import regionprops

import kronos_sc as ks
from kronos_sc import models
from kronos_sc._analysis.alignment import align
from kronos_sc.models.encoders.mean_marker_plus import MeanMarkerPlus

MARKERS = 3


def _encode(pixels, masks):
    pixels = torch.as_tensor(pixels)
    ids = torch.zeros(pixels.shape[:2], dtype=torch.long)
    got = MeanMarkerPlus().encode(pixels, ids, torch.as_tensor(masks), ("marker", "cls"))
    return got["marker"].numpy().reshape(len(pixels), pixels.shape[1], 7), got["cls"].numpy()


@pytest.fixture
def cells():
    """Windows with noise and masks of many forms: blobs, a line, one pixel, one that touches the border, a full box."""
    rng = np.random.default_rng(0)
    size = 24
    yy, xx = np.mgrid[:size, :size]
    masks = [
        ((yy - cy) / a) ** 2 + ((xx - cx) / b) ** 2 + (yy - cy) * (xx - cx) / t <= 1
        for cy, cx, a, b, t in _ellipses(rng)
    ]
    line, dot, two, whole = (np.zeros((size, size), bool) for _ in range(4))
    line[5, 3:15] = True
    dot[7, 9] = True
    two[[4, 9], [4, 17]] = True
    whole[:] = True
    masks = np.stack([*masks, line, dot, two, whole, rng.random((size, size)) < 0.3])
    return rng.gamma(0.5, 0.2, (len(masks), MARKERS, size, size)).astype(np.float32), masks


def _ellipses(rng):
    for _ in range(6):
        yield *rng.uniform(6, 18, 2), *rng.uniform(2, 6, 2), rng.choice([-40, 40, 1e9])


def test_equals_numpy_and_scikit_image(cells):
    pixels, masks = cells
    marker, shape = _encode(pixels, masks)
    for i, mask in enumerate(masks):
        inside = pixels[i][:, mask].astype(np.float64)
        expected = np.stack(
            [inside.mean(1), inside.std(1), *np.quantile(inside, [0.05, 0.25, 0.5, 0.75, 0.95], axis=1)], axis=1
        )
        assert_allclose(marker[i], expected, atol=1e-6)
        (region,) = regionprops(mask.astype(np.uint8))
        assert shape[i, 0] == region.area
        assert_allclose(shape[i, 1], region.eccentricity, atol=2e-4)
        top, left, bottom, right = region.bbox
        assert shape[i, 2] == (min(top, left) == 0 or max(bottom, right) == len(mask))


def test_by_hand():
    pixels = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    mask = np.zeros((1, 4, 4), bool)
    mask[0, 1, 1:3] = True  # the values 5 and 6
    marker, shape = _encode(pixels, mask)
    assert_allclose(marker[0, 0], [5.5, 0.5, 5.05, 5.25, 5.5, 5.75, 5.95], atol=1e-6)
    assert_allclose(shape[0], [2, 1, 0])


def test_what_is_outside_does_not_count_and_batches_do_not_matter(cells):
    pixels, masks = cells
    marker, shape = _encode(pixels, masks)
    other = np.where(masks[:, None], pixels, np.float32(7))
    assert_allclose(_encode(other, masks)[0], marker, atol=1e-6)
    one = [_encode(pixels[i : i + 1], masks[i : i + 1]) for i in range(len(masks))]
    assert_allclose(np.concatenate([m for m, _ in one]), marker, atol=1e-6)
    assert_allclose(np.concatenate([s for _, s in one]), shape, atol=1e-6)


def test_turned_cells_have_the_same_numbers(cells):
    pixels, masks = cells
    turned = _encode(np.rot90(pixels, axes=(2, 3)).copy(), np.rot90(masks, axes=(1, 2)).copy())
    for got, expected in zip(turned, _encode(pixels, masks), strict=True):
        assert_allclose(got, expected, atol=1e-4)


def test_a_unit_without_pixels_is_zero(cells):
    pixels, masks = cells
    masks = masks.copy()
    masks[2] = False
    marker, shape = _encode(pixels, masks)
    assert not marker[2].any()
    assert not shape[2].any()
    assert np.isfinite(marker).all()
    alone = _encode(pixels[2:3], masks[2:3])
    assert not alone[0].any()


def test_embeds_and_the_slots_are_named(make, tmp_path):
    sdata = make((100, 120))
    ks.tl.embed(sdata, model="mean-marker+", features=("marker", "cls"))
    ks.tl.embed(sdata, model="mean-marker")
    table = sdata["table"]
    model = models.load("mean-marker+")
    record = ks.get.record(table, key="mean_marker_plus")
    markers = list(record["panel"]["marker"])
    names = model.feature_names(markers)
    assert names[:8] == [
        "DAPI_mean",
        "DAPI_std",
        "DAPI_q05",
        "DAPI_q25",
        "DAPI_q50",
        "DAPI_q75",
        "DAPI_q95",
        "CD3_mean",
    ]
    assert table.obsm["X_mean_marker_plus"].shape == (table.n_obs, len(names))
    assert_allclose(table.obsm["X_mean_marker_plus"][:, ::7], table.obsm["X_mean_marker"], atol=1e-6)
    area, eccentricity, border = table.obsm["X_mean_marker_plus_cls"].T
    assert model.feature_names(markers, "cls") == ["area", "eccentricity", "border"]
    true = {region.label: region for region in regionprops(sdata["cells"].to_numpy())}
    regions = [true[number] for number in table.obs["cell_id"]]
    assert_allclose(area, [region.area for region in regions])
    assert_allclose(eccentricity, [region.eccentricity for region in regions], atol=2e-4)
    assert not border.any()  # every cell is smaller than its window
    path = tmp_path / "table.h5ad"
    table.write_h5ad(path)
    again = ks.get.record(anndata.read_h5ad(path), key="mean_marker_plus")["model"]
    assert list(again["per_marker"]) == ["mean", "std", "q05", "q25", "q50", "q75", "q95"]
    assert list(again["per_unit"]) == ["area", "eccentricity", "border"]
    array = ks.get.embedding(table, key="mean_marker_plus", markers="CD8")
    assert_allclose(array[:, 0], np.asarray(table.obsm["X_mean_marker_plus"])[:, 14:21])


def test_windows_that_cut_a_cell_say_so(make):
    labels = np.zeros((90, 90), np.int32)
    labels[20:70, 40:44] = 1
    labels[10:14, 10:14] = 2
    sdata = make(image=np.full((1, 90, 90), 20_000, np.uint16), labels=labels, channels=("DAPI",))
    with pytest.warns(UserWarning, match="beyond the window"):
        ks.tl.embed(sdata, model="mean-marker+", features="cls", patch_size=32)
    values = dict(zip(sdata["table"].obs["cell_id"], sdata["table"].obsm["X_mean_marker_plus"], strict=True))
    assert_allclose(values[1], [32 * 4, np.sqrt(1 - (4**2 - 1) / (32**2 - 1)), 1], atol=1e-4)
    assert_allclose(values[2], [16, 0, 0])


def test_blocks_line_up_across_panels(make):
    """Another panel, another order: the columns that are compared carry the same names."""
    tables = []
    for channels in (("DAPI", "CD3", "CD8", "CD20", "CYTOKERATIN"), ("CD8", "DAPI", "CD3")):
        sdata = make((100, 120), channels=channels)
        ks.tl.embed(sdata, model="mean-marker+", features=("marker", "cls"))
        tables.append(sdata["table"])
    names = []
    for table in tables:
        markers = ks.get.record(table, key="mean_marker_plus")["panel"]["marker"]
        names.append(np.array([models.load("mean-marker+").feature_names(markers)]))
    aligned = align(*tables, "X_mean_marker_plus")
    assert aligned.markers == ("DAPI", "CD3", "CD8")
    shared = names[0][0, :21].tolist()
    assert aligned.take_left(names[0])[0].tolist() == aligned.take_right(names[1])[0].tolist() == shared
    assert align(*tables, "X_mean_marker_plus_cls").width == 3  # of the same meaning whatever the panel


def test_it_has_no_options():
    with pytest.raises(ValueError, match="do not apply"):
        models.load("mean-marker+", blocks="all")
    with pytest.raises(ValueError, match="takes no 'weights'"):
        models.load("mean-marker+", weights="x.safetensors")
    with pytest.raises(ValueError, match="no token features"):
        models.load("mean-marker+").token_grid(64)
