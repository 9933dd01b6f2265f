"""DINOv2 with real weights: read as a user would, compared with timm, on real tissue.

`pytest -m network` fetches them.
"""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import KNeighborsClassifier

import kronos_sc as ks

pytestmark = pytest.mark.network


@pytest.fixture(scope="module")
def weights(tmp_path_factory, beside):
    """The file of a pretrained ViT-S/14."""
    pytest.importorskip("onnx")
    folder = tmp_path_factory.mktemp("dinov2")
    small = beside("dinov2_small")
    np.savez(folder / "dinov2_s14.npz", **small.extract(small.download(folder)))
    return folder / "dinov2_s14.npz"


@pytest.fixture(scope="module")
def tissue(real):
    """The labelled CODEX crop: cells with a type, all markers that match."""
    folder = real / "codex_lymph_56ch_labelled"
    sdata = ks.io.read_tiff(folder / "crop512.image.ome.tif", mask=folder / "crop512.mask.tif", mpp=0.5)
    table = sdata["table"]
    types = pd.read_csv(folder / "cells.csv").set_index("label")["cell_type"].reindex(table.obs["cell_id"]).to_numpy()
    types = pd.Series(types, index=table.obs_names).dropna().astype(str)
    sdata.tables["table"] = table[types[types.map(types.value_counts()) >= 40].index].copy()
    sdata["table"].obs["cell_type"] = types.reindex(sdata["table"].obs_names).astype("category")
    return sdata


@pytest.mark.parametrize("size", [518, 56])
def test_parity_with_timm_on_real_weights(weights, timm, tissue, size):
    """At the size of the table and at that of a cell, on real pixels; our class tokens and tokens against timm's."""
    theirs = timm.create_model("vit_small_patch14_dinov2.lvd142m", num_classes=0, dynamic_img_size=True).eval()
    theirs.load_state_dict({name: torch.from_numpy(value) for name, value in np.load(weights).items()})
    ours = ks.models.load("dinov2-s14", weights=weights)
    image = torch.as_tensor(tissue["image"].sel(c=["DAPI", "CD20"]).to_numpy()).float()
    image = torch.nn.functional.pad(image, (3, 3, 3, 3))[None, :, :size, :size]
    image = (image - image.mean((2, 3), keepdim=True)) / image.std((2, 3), keepdim=True)
    with torch.inference_mode():
        reference = theirs.forward_features(image[0, :, None].expand(-1, 3, -1, -1))
        features = ours.encode(image, None, None, ("marker", "token"))
        alone = ours.encode(image, None, None, ("marker",))["marker"]
    torch.testing.assert_close(features["marker"].view(2, 384), reference[:, 0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(alone, features["marker"], atol=1e-5, rtol=1e-5)
    tokens = features["token"].view(-1, 2, 384).transpose(0, 1)
    # single numbers of the tokens reach 10, and either forward is 3e-5 away from what it gives in float64
    assert (tokens - reference[:, 1:]).abs().max() <= 1e-5 * reference.abs().max()


def test_real_weights_on_real_tissue(weights, tissue):
    """Features are finite and tell cell types apart.

    The neighbours of a cell, all of the other half, know its type better than chance.
    """
    markers = ["DAPI", "CD20", "CD3", "CD8", "CD4", "FoxP3"]
    model = ks.models.load("dinov2-s14", weights=weights)
    ks.tl.embed(tissue, model=model, channels=markers, precision="float32")
    table = tissue["table"]
    features = np.asarray(table.obsm["X_dinov2_s14"])
    assert features.shape == (table.n_obs, 6 * 384)
    assert np.isfinite(features).all()
    record = ks.get.record(table, key="dinov2_s14")
    assert record["model"]["sha256"] == model.sha256
    in_left_half = table.obsm["spatial"][:, 0] < 256
    types = table.obs["cell_type"].to_numpy().astype(str)
    classifier = KNeighborsClassifier(20).fit(features[in_left_half], types[in_left_half])
    shares = classifier.predict_proba(features[~in_left_half])
    assert roc_auc_score(types[~in_left_half], shares, multi_class="ovr") > 0.65  # 0.74 with the mean of each marker
