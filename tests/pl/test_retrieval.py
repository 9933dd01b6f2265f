import numpy as np
import pytest

from kronos_sc import datasets, get, pl, tl
from kronos_sc.pl._palette import default_colors


@pytest.fixture
def searched(sdata):
    tl.retrieve(sdata["table"], use_rep="X_mean_marker", k=3)
    return sdata


def frames(ax):
    """Colour of each frame, from left to right and top to bottom."""
    from matplotlib.colors import to_hex

    return [to_hex(patch.get_edgecolor()) for patch in ax.patches]


def test_one_row_per_query(searched, ax, bars, channel_names):
    names = [str(name) for name in searched["table"].obs_names[[7, 2]]]
    pl.retrieval(searched, queries=names, channels=["DAPI", "CD8"], patch_size=32, ax=ax)
    assert [label.get_text() for label in ax.get_yticklabels()] == names
    assert list(channel_names(ax)) == ["DAPI", "CD8"]
    assert bars(ax) == [("5 µm", 10.0)]
    hits = get.result(searched["table"], "retrieval").set_index("query")
    expected = []
    for name in names:
        expected += [
            "query",
            *(
                f"{rank}  {distance:.3g}"
                for rank, distance in zip(hits.loc[name, "rank"], hits.loc[name, "distance"], strict=True)
            ),
        ]
    assert [text.get_text() for text in ax.texts] == expected
    assert not frames(ax)


def test_frames_tell_right_from_wrong(searched, ax):
    table = searched["table"]
    pl.retrieval(searched, n=5, target="cell_type", patch_size=32, ax=ax)
    names = [label.get_text() for label in ax.get_yticklabels()]
    hits = get.result(table, "retrieval")
    hits = hits.set_index("query").loc[names]
    blue, orange = default_colors(2)
    types = table.obs["cell_type"].astype(str)
    expected = [blue if types[q] == types[h] else orange for q, h in zip(hits.index, hits["hit"], strict=True)]
    assert frames(ax) == expected
    assert len(set(expected)) == 2
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["same cell_type", "other cell_type"]
    assert ax.texts[0].get_text() == types[names[0]]


def test_pixels_are_those_of_query_and_hits(searched, ax):
    name = str(searched["table"].obs_names[5])
    pl.retrieval(searched, queries=[name], channels={"DAPI": "red"}, limits={"DAPI": (0, 20000)}, patch_size=32, ax=ax)
    hits = list(get.result(searched["table"], "retrieval").set_index("query").loc[name, "hit"])
    canvas = np.asarray(ax.images[0].get_array())
    head = round(32 * 0.24)
    for column, unit in enumerate([name, *hits]):
        array = get.patches(searched, [unit], channels=["DAPI"], patch_size=32)[0, 0].to_numpy()
        left = column * 34
        shown = canvas[head : head + 32, left : left + 32]
        opaque = shown[..., 3] == 1
        np.testing.assert_allclose(shown[..., 0][opaque], np.clip(array / 20000, 0, 1)[opaque], atol=1e-6)


def test_answers_from_another_sdata(sdata, ax):
    other = datasets.tissue(shape=(128, 128), channels=["DAPI", "CD8", "CD20"], rng=8)
    tl.retrieve(sdata["table"], list(sdata["table"].obs_names[:2]), use_rep="X", reference=other["table"], k=2)
    pl.retrieval(
        sdata, reference=other, channels=["DAPI", "CD8"], target="cell_type", title="region", patch_size=32, ax=ax
    )
    assert len(ax.texts) == 6
    assert len(frames(ax)) == 4
    with pytest.raises(ValueError, match="Give both a patch_size="):
        pl.retrieval(
            sdata,
            reference=datasets.tissue(shape=(128, 128), channels=["DAPI", "CD8"], rng=8, mpp=1.0),
            patch_size=32,
            channels=["DAPI"],
        )


def test_rows_may_differ_in_length(sdata, ax):
    table = sdata["table"]
    table.obs["half"] = ["small"] * 2 + ["large"] * (table.n_obs - 2)
    with pytest.warns(UserWarning, match="fewer than 3 answers"):
        tl.retrieve(table, list(table.obs_names[1:3]), use_rep="X_mean_marker", k=3, groupby="half", within="same")
    pl.retrieval(sdata, patch_size=32, ax=ax)
    assert len(ax.texts) == 2 + 1 + 3


@pytest.mark.parametrize(
    ("how", "error", "message"),
    [
        ({"key": "search"}, KeyError, "no result in uns 'search'.*Run "),
        ({"queries": ["cell_x"]}, KeyError, "no query in uns.*'cell_x'"),
        ({"n": 0}, ValueError, "n must be a whole number"),
        ({"target": "type"}, KeyError, "no column 'type'"),
        ({"channels": ["CD99"]}, (KeyError, ValueError), "CD99"),
    ],
)
def test_error(searched, how, error, message):
    with pytest.raises(error, match=message):
        pl.retrieval(searched, **({"patch_size": 32} | how))


def test_error_where_the_table_of_hits_is_missing_or_is_not_of_these_units(searched):
    table = searched["table"]
    searched.tables["table"] = table[:30].copy()
    with pytest.raises(KeyError, match="no units"):
        pl.retrieval(searched, patch_size=32)
    del searched["table"].uns["retrieval"]["hits"]
    with pytest.raises(ValueError, match="has no table of hits"):
        pl.retrieval(searched)
    with pytest.raises(TypeError, match="Expected a SpatialData"):
        pl.retrieval(table)
