"""The panel of an image."""

import numpy as np
import pandas as pd
import pytest

import kronos_sc as ks
from kronos_sc.markers import paper_vocabulary


def test_whole_panel(make, tiny):
    sdata = make(channels=("DAPI-01", "CD3", "Na", "AR", "PanCK"))
    panel = ks.pp.match_markers(sdata, vocabulary=tiny, channels={"AR": "unseen", "CD3": None})
    assert list(panel["channel"]) == ["DAPI-01", "CD3", "Na", "AR", "PanCK"]
    assert list(panel["marker"]) == ["DAPI", "", "", "AR", "CYTOKERATIN"]
    assert list(panel["how"]) == ["alias", "dropped", "dropped", "unseen", "alias"]
    assert (panel["id"] >= 0).tolist() == [True, False, False, True, True]
    assert panel.loc[0, "id"] == 4
    assert np.isnan(panel.loc[3, "std"])
    assert panel.loc[4, "std"] == 0.1
    assert {"role", "near", "note"} <= set(panel)


def test_vocabularies(make, tiny):
    sdata = make()
    for vocabulary in (None, paper_vocabulary(), tiny):
        assert list(ks.pp.match_markers(sdata, vocabulary=vocabulary)["how"]) == ["exact"] * 5
    for wrong in ("kronos", 7):
        with pytest.raises(TypeError, match=r"vocabulary must be a loaded model or a Vocabulary, got .*models\.load\("):
            ks.pp.match_markers(sdata, vocabulary=wrong)


def test_list_of_channels_and_statistics(make, tiny):
    sdata = make()
    stats = ks.pp.marker_stats(sdata, channels=["CD3"])
    panel = ks.pp.match_markers(sdata, vocabulary=tiny, channels=["DAPI", "CD3"], stats=stats).set_index("channel")
    assert (panel["id"] >= 0).sum() == 2
    assert panel.loc["CD3", "mean"] == stats.loc["CD3", "mean"]
    assert panel.loc["DAPI", "mean"] == 0.05
    assert list(ks.pp.match_markers(sdata, channels="DAPI")["id"] >= 0) == [True, False, False, False, False]


def test_a_panel_of_the_users(make, tiny):
    sdata = make()
    panel = ks.pp.match_markers(sdata, vocabulary=tiny)
    pd.testing.assert_frame_equal(ks.pp.match_markers(sdata, vocabulary=tiny, channels=panel), panel)
    with pytest.raises(ValueError, match=r"A panel needs the columns 'channel', .*; missing: 'std'\. Start from pp\.match_markers"):
        ks.tl.embed(sdata, model=tiny, channels=panel.drop(columns="std"))
    with pytest.raises(KeyError, match=r"The panel names channels that the image does not have: 'CD33'\. The image has: 'DAPI'"):
        ks.tl.embed(sdata, model=tiny, channels=panel.replace({"channel": {"CD3": "CD33"}}))
    twice = panel.copy()
    twice.loc[2, ["marker", "id"]] = twice.loc[1, ["marker", "id"]].to_numpy()
    with pytest.raises(ValueError, match="Several channels match one marker"):
        ks.tl.embed(sdata, model=tiny, channels=twice)
    for strange in (600, 300):
        foreign = panel.assign(id=panel["id"].where(panel["channel"] != "CD8", strange))
        with pytest.raises(ValueError, match=r"made for another vocabulary than 'paper': the ids of 'CD8' are not the model's"):
            ks.tl.embed(sdata, model=tiny, channels=foreign)
    with pytest.raises(ValueError, match=r"several rows for 'CD3'"):
        ks.tl.embed(sdata, model=tiny, channels=pd.concat([panel, panel.iloc[[1]]]))
    assert "X_kronos" not in sdata["table"].obsm


def test_which_image(make):
    sdata = make()
    sdata.images["other"] = make(channels=("DAPI", "CD4"), table=False, image=np.ones((2, 150, 190), np.uint16))["image"]
    with pytest.raises(ValueError, match=r"2 elements of the kind 'image'"):
        ks.pp.match_markers(sdata)
    assert len(ks.pp.match_markers(sdata, image_key="other")) == 2
