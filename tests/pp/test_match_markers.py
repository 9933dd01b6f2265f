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


def test_before_an_image_is_converted(make, tmp_path):
    """Names as a list, or in a panel file of any program."""
    names = ["DNA_1", "rb CD3e Cy5", "DNA_2", "Blank"]
    panel = ks.pp.match_markers(names)
    assert panel["marker"].tolist() == ["DAPI", "CD3", "", ""]
    assert panel["note"].tolist() == ["", "", "nuclear stain of another cycle: 'DNA_1' is read", "not a marker"]
    assert all(column in str(panel.head()) for column in ("channel", "marker", "how"))
    (tmp_path / "panel.csv").write_text("channel,name,keep\n1,DNA_1,1\n2,rb CD3e Cy5,1\n3,DNA_2,1\n4,Blank,1\n")
    for source in (tmp_path / "panel.csv", str(tmp_path / "panel.csv"), np.array(names), pd.Index(names)):
        pd.testing.assert_frame_equal(ks.pp.match_markers(source), panel)
    assert ks.pp.match_markers(["DAPI", "Blank", "CD3", "Blank"])["channel"].tolist() == [
        "DAPI",
        "Blank_1",
        "CD3",
        "Blank_2",
    ]
    assert ks.pp.match_markers(names, channels=["DNA_2", "rb CD3e Cy5=CD8"])["marker"].tolist() == [
        "",
        "CD8",
        "DAPI",
        "",
    ]
    with pytest.raises(FileNotFoundError, match=r"There is no 'panl\.csv' in .*'panel\.csv'.*Correct sdata="):
        ks.pp.match_markers(tmp_path / "panl.csv")
    with pytest.raises(TypeError, match="Expected a SpatialData, got list"):
        ks.pp.match_markers([make(), "DAPI"])


def test_a_listed_channel_without_a_marker_is_an_error_everywhere(make, tiny):
    """The paper's own prostate panel has AR, which the model has not seen."""
    sdata = make(channels=("DAPI", "CD3", "AR", "CD8", "CD4"))
    for call in (ks.pp.match_markers, lambda sdata, **more: ks.tl.marker_ablation(sdata, model=tiny, **more)):
        with pytest.raises(
            ValueError, match=r"1 of 2 channels listed .*'AR' \(known protein AR.*channels=\['DAPI', 'AR=unseen'\]"
        ):
            call(sdata, channels=["DAPI", "AR"])
    panel = ks.pp.match_markers(sdata, channels=["DAPI", "AR=unseen", "CD8=CD3"])
    assert panel["marker"].tolist() == ["DAPI", "", "AR", "CD3", ""]
    assert ks.pp.marker_stats(sdata, channels=["AR=unseen"]).index.tolist() == ["AR"]


def test_a_panel_of_the_users(make, tiny):
    sdata = make()
    panel = ks.pp.match_markers(sdata, vocabulary=tiny)
    pd.testing.assert_frame_equal(ks.pp.match_markers(sdata, vocabulary=tiny, channels=panel), panel)
    with pytest.raises(
        ValueError, match=r"A panel needs the columns 'channel', .*; missing: 'std'\. Start from pp\.match_markers"
    ):
        ks.tl.embed(sdata, model=tiny, channels=panel.drop(columns="std"))
    with pytest.raises(
        KeyError, match=r"The panel names channels that the image does not have: 'CD33'\. The image has: 'DAPI'"
    ):
        ks.tl.embed(sdata, model=tiny, channels=panel.replace({"channel": {"CD3": "CD33"}}))
    twice = panel.copy()
    twice.loc[2, ["marker", "id"]] = twice.loc[1, ["marker", "id"]].to_numpy()
    with pytest.raises(ValueError, match="Several channels match one marker"):
        ks.tl.embed(sdata, model=tiny, channels=twice)
    for strange in (600, 300):
        foreign = panel.assign(id=panel["id"].where(panel["channel"] != "CD8", strange))
        with pytest.raises(
            ValueError, match=r"made for another vocabulary than 'paper': the ids of 'CD8' are not the model's"
        ):
            ks.tl.embed(sdata, model=tiny, channels=foreign)
    with pytest.raises(ValueError, match=r"several rows for 'CD3'"):
        ks.tl.embed(sdata, model=tiny, channels=pd.concat([panel, panel.iloc[[1]]]))
    assert "X_kronos" not in sdata["table"].obsm


def test_which_image(make):
    sdata = make()
    sdata.images["other"] = make(channels=("DAPI", "CD4"), table=False, image=np.ones((2, 150, 190), np.uint16))[
        "image"
    ]
    with pytest.raises(ValueError, match=r"2 elements of the kind 'image'"):
        ks.pp.match_markers(sdata)
    assert len(ks.pp.match_markers(sdata, image_key="other")) == 2
