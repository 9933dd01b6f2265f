from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from kronos_sc import pl, pp
from kronos_sc.pl._markers import HOW_COLORS


def texts(ax):
    return [text.get_text() for text in ax.texts]


@pytest.fixture
def panel(sdata):
    return pp.match_markers(sdata, channels={"CD31": None, "COLLAGEN": "unseen"})


def test_every_channel_is_named_with_its_marker(panel, ax):
    pl.markers(panel, ax=ax)
    assert ax.get_title(loc="left") == "5 of 6 channels are markers"
    for row in panel.to_dict("records"):
        assert row["channel"] in texts(ax)
        assert (str(row["id"]) in texts(ax)) == (row["id"] >= 0)
    assert "dropped by you" in texts(ax)


def test_colours_say_how_a_marker_was_found(panel, ax):
    pl.markers(panel, ax=ax)
    dots = [to_hex(line.get_color()) for line in ax.lines if line.get_marker() == "o"]
    assert dots == [HOW_COLORS[how] for how in panel["how"]]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["4 exact", "1 unseen", "1 dropped"]


@pytest.mark.parametrize("count", [1, 60])
def test_the_figure_grows_with_the_panel(count):
    panel = pd.DataFrame(
        {
            "channel": [f"channel {i}" for i in range(count)],
            "marker": "CD3",
            "id": 222,
            "mean": 0.1,
            "std": np.nan,
            "how": "alias",
        }
    )
    ax = pl.markers(panel)
    figure = ax.figure
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    boxes = sorted(
        (text.get_window_extent(renderer) for text in ax.texts if text.get_text().startswith("channel ")),
        key=lambda box: -box.y0,
    )
    assert len(boxes) == count
    assert all(upper.y0 >= lower.y1 for upper, lower in pairwise(boxes))  # no line runs into the next
    assert "0.1000" in texts(ax)
    assert "–" in texts(ax)


def test_channels_that_share_a_marker_say_so(panel, ax):
    panel.loc[panel["channel"] == "CD20", ["marker", "id"]] = ["CD8", panel.loc[panel["channel"] == "CD8", "id"].item()]
    pl.markers(panel, ax=ax)
    assert "same marker as 'CD20': drop one" in texts(ax)
    assert "same marker as 'CD8': drop one" in texts(ax)


def test_the_record_of_an_embedding(sdata, ax):
    pl.markers(sdata, key="mean_marker", ax=ax)
    assert ax.get_title(loc="left") == "6 of 6 channels are markers of mean-marker"


def test_channels_left_out_of_an_embedding_are_shown(sdata, ax):
    from kronos_sc import tl

    tl.embed(sdata, model="mean-marker", channels={"CD31": None})
    pl.markers(sdata["table"], key="mean_marker", ax=ax)
    assert "CD31" in texts(ax)
    assert ax.get_title(loc="left").startswith("5 of 6 channels")


def test_wrong_panels_say_so(sdata, panel):
    with pytest.raises(ValueError, match=r"A panel needs the columns .* missing: 'how'"):
        pl.markers(panel.drop(columns="how"))
    with pytest.raises(ValueError, match="The panel has no rows"):
        pl.markers(panel.iloc[:0])
    with pytest.raises(KeyError, match="no record in uns 'kronos'"):
        pl.markers(sdata)
