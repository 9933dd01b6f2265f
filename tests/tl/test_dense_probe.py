"""A probe of token features on labelled regions."""

from dataclasses import replace

import geopandas
import numpy as np
import pandas as pd
import pytest
import shapely
from anndata import AnnData
from numpy.testing import assert_allclose, assert_array_equal
from spatialdata.models import ShapesModel, TableModel
from spatialdata.transformations import Scale

import kronos_sc as ks
from kronos_sc._dense.tokens import Tokens, labelled_tokens, sample_tokens
from kronos_sc._dense.windows import Tiling
from kronos_sc.models._model import TokenGrid
from kronos_sc.tl import DenseOptions, DenseProbe, dense_probe

QUICK = DenseOptions(C=1.0, precision="float32", n_folds=2)
TWO = ("DAPI", "CD3")


def boxes(sdata, corners, classes, *, size=32, name="regions", **columns) -> None:
    y, x = np.array(corners).T
    frame = geopandas.GeoDataFrame({"class": classes, **columns}, geometry=shapely.box(x, y, x + size, y + size))
    sdata[name] = ShapesModel.parse(frame)


@pytest.fixture(scope="module")
def striped(make):
    """Bright and dark squares of 32 pixels in turn, with noise; one labelled region on each."""
    rng = np.random.default_rng(0)
    corners = [(y, x) for y in range(0, 160, 32) for x in range(0, 192, 32)]
    image = rng.integers(0, 9000, (2, 160, 192)).astype(np.uint16)
    classes = []
    for y, x in corners:
        bright = (y // 32 + x // 32) % 2
        image[:, y : y + 32, x : x + 32] += 20_000 * bright
        classes.append("bright" if bright else "dark")

    def build(**kwargs):
        sdata = make(image=image, channels=TWO, table=False, **kwargs)
        boxes(sdata, corners, classes, core=[f"core{i % 5}" for i in range(len(corners))])
        return sdata

    return build


def test_windows_cover_the_image_with_less_than_one_token_beyond() -> None:
    for shape, size, grid, stride in (
        ((100, 131), 64, TokenGrid(4, 16, 8.0), 32),
        ((64, 65), 64, TokenGrid(4, 16, 8.0), 64),
        ((100, 131), 64, TokenGrid(7, 8, 8.0), 24),  # tokens at every half token leave a margin
        ((90, 97), 60, TokenGrid(4, 14, 9.0), 28),  # a backbone that crops its window
    ):
        tiling = Tiling(shape, size, grid, stride)
        for axis, edge in enumerate(shape):
            origins = tiling.origins[axis]
            assert (np.diff(origins) > 0).all()
            assert (np.diff(origins) <= stride).all()
            assert (origins % grid.step == 0).all()
            first = origins[0] + tiling.margin
            last = origins[-1] + tiling.margin + grid.count * grid.step
            assert -grid.step < first <= 0
            assert edge <= last < edge + grid.step
            assert tiling.map_shape[axis] * grid.step + tiling.corner == last


def test_a_token_is_read_where_it_is_most_central() -> None:
    """Five tokens per window, two from one to the next: 0–4, 2–6, 4–8; token 3 lies nearer the middle of the second."""
    tiling = Tiling((144, 144), 80, TokenGrid(5, 16, 8.0), 32)
    assert tiling.origins[0].tolist() == [0, 32, 64]
    assert tiling.home(0).tolist() == [0, 0, 0, 0, 1, 1, 2, 2, 2]
    assert_allclose(tiling.centres(1)[:2], [8, 24])


def test_tokens_whose_centre_lies_inside_carry_the_class(make, tiny) -> None:
    """A triangle, a circle, a box of which half lies beyond the image, and an outline that crosses itself."""
    from kronos_sc._dense.regions import read_regions

    sdata = make((96, 96), channels=TWO, table=False)
    shapes = [
        shapely.Polygon([(0, 0), (48, 0), (0, 48)]),
        shapely.box(80, 80, 112, 112),
        shapely.Polygon([(0, 64), (32, 96), (32, 64), (0, 96)]),
    ]
    sdata["drawn"] = ShapesModel.parse(geopandas.GeoDataFrame({"class": ["a", "b", "b"]}, geometry=shapes))
    circle = geopandas.GeoDataFrame({"class": ["a"], "radius": [17.0]}, geometry=[shapely.Point(72, 24)])
    sdata["round"] = ShapesModel.parse(circle)
    regions = read_regions(sdata, ["drawn", "round"], class_key="class", image_key=None, group_key=None)
    tokens = labelled_tokens(regions, [Tiling((96, 96), 32, tiny.token_grid(32), 16)])
    places = {
        (r, y, x) for r, y, x in zip(tokens.region.tolist(), tokens.row.tolist(), tokens.column.tolist(), strict=True)
    }
    triangle = {(0, 0, 0), (0, 0, 1), (0, 1, 0)}  # centres (8, 40) and (24, 24) lie on its edge, which is not inside
    cross = {(3, 1, 4), (3, 0, 4), (3, 2, 4), (3, 1, 3), (3, 1, 5)}
    assert places == triangle | {(1, 5, 5)} | cross  # the centres under the third lie on its diagonals


def test_tokens_of_two_classes_are_left_out_and_those_of_one_counted_once(make, tiny) -> None:
    from kronos_sc._dense.regions import read_regions

    sdata = make((64, 64), channels=TWO, table=False)
    boxes(sdata, [(0, 0), (0, 0), (0, 16), (32, 32)], ["a", "a", "b", "b"])
    regions = read_regions(sdata, "regions", class_key="class", image_key=None, group_key=None)
    with pytest.warns(UserWarning, match="2 tokens lie in regions of different classes"):
        tokens = labelled_tokens(regions, [Tiling((64, 64), 32, tiny.token_grid(32), 16)])
    assert np.bincount(tokens.region, minlength=4).tolist() == [2, 0, 2, 4]


def test_tokens_are_drawn_evenly_over_regions() -> None:
    region = np.repeat([0, 1, 2, 3], [2, 50, 50, 7])
    tokens = Tokens(region, np.arange(109), np.arange(109))
    some = sample_tokens(tokens, np.array([0, 0, 0, 1]), 20, np.random.default_rng(0))
    assert np.bincount(some.region).tolist() == [2, 9, 9, 7]
    assert (np.diff(some.row) > 0).all()
    fewest = sample_tokens(tokens, np.array([0, 0, 0, 1]), 1, np.random.default_rng(0))
    assert np.bincount(fewest.region).tolist() == [1, 1, 1, 1]  # no region is lost to the evaluation
    assert sample_tokens(tokens, np.array([0, 0, 0, 1]), None, np.random.default_rng(0)) is tokens


def test_features_are_those_of_the_window_that_holds_the_token(striped, tiny) -> None:
    """Against the network on the windows themselves, cut and scaled by hand, at each labelled token."""
    import torch

    from kronos_sc._dense.regions import read_regions
    from kronos_sc._dense.tokens import collect
    from kronos_sc._embedding.compute import InferenceConfig
    from kronos_sc._embedding.panel import complete, panel_for

    sdata = striped()
    regions = read_regions(sdata, "regions", class_key="class", image_key=None, group_key=None)
    tiling = Tiling((160, 192), 64, tiny.token_grid(64), 32)
    tokens = labelled_tokens(regions, [tiling]).subset(np.array([0, 17, 45, 88, 119]))
    panel = complete(
        panel_for(regions.images, tiny, None, require_nuclear=True), regions.images, tiny, max_value=None, nan="error"
    ).frame
    config = InferenceConfig(tiny, panel, ("token",), "error", None, torch.device("cpu"), torch.float32)
    features = collect(regions, tokens, [tiling], config, max_value=None)
    pixels = np.asarray(sdata["image"].data) / 65535
    for i in range(5):
        y, x = (tiling.origins[a][tiling.home(a)[(tokens.row, tokens.column)[a][i]]] for a in (0, 1))
        window = torch.tensor((pixels[None, :, y : y + 64, x : x + 64] - 0.05) / 0.1, dtype=torch.float32)
        with torch.inference_mode():
            tokens_bmrcd = tiny.net(window, torch.tensor(panel["id"].to_numpy())[None]).tokens  # b, m, r, c, d
        expected = tokens_bmrcd[0, :, tokens.row[i] - y // 16, tokens.column[i] - x // 16].flatten()
        assert_allclose(features[i], expected, atol=1e-4)


def test_scores_stand_beside_raw_intensities(striped, tiny) -> None:
    """Bright against dark is what intensities tell: both must find it; folds keep cores together."""
    probe = dense_probe(striped(), "regions", model=tiny, patch_size=64, group_key="core", options=QUICK)
    assert probe.classes == ("bright", "dark")
    assert probe.markers == ["DAPI", "CD3"]
    assert probe.coef.shape == (2, tiny.width("token", 2))
    scores = probe.scores.set_index(["representation", "fold"])
    assert list(scores.index) == [(rep, fold) for rep in ("tiny", "mean-marker") for fold in ("0", "1", "all")]
    every = scores.xs("all", level="fold")
    assert (every[["balanced_accuracy", "macro_f1", "macro_ap", "auroc"]] == 1).all(axis=None)
    assert (every["n_regions"] == 30).all()
    of_tiny = probe.regions[probe.regions["representation"] == "tiny"]
    assert (of_tiny.groupby("group")["fold"].nunique() == 1).all()
    assert (of_tiny["n_tokens"] == 4).all()
    assert_allclose(of_tiny[["p_bright", "p_dark"]].sum(axis=1), 1)
    assert (every["n_groups"] == 5).all()
    assert "tiny: balanced accuracy 1.000, AUROC 1.000 [1.000, 1.000], 30 regions in 5 groups" in repr(probe)


def test_the_same_seed_gives_the_same_probe(striped, tiny) -> None:
    kwargs = DenseOptions(n_trials=2, max_tokens=20, precision="float32", baseline=False)
    one, two = (dense_probe(striped(), "regions", model=tiny, patch_size=64, options=kwargs, rng=3) for _ in range(2))
    assert_array_equal(one.coef, two.coef)
    pd.testing.assert_frame_equal(one.scores, two.scores)
    assert one.params["n_tokens"] == 40


def test_class_and_group_may_come_from_a_table_and_shapes_have_their_own_scale(striped) -> None:
    """Shapes in half pixels, classes in obs of their table, in another order of rows; a missing class is left out."""
    sdata = striped()
    frame = sdata["regions"]
    expected = dense_probe(sdata, "regions", model="mean-marker", patch_size=64, options=QUICK)
    half = geopandas.GeoDataFrame(geometry=shapely.transform(frame.geometry.to_numpy(), lambda xy: xy * 2))
    sdata["half"] = ShapesModel.parse(half, transformations={"global": Scale([0.5, 0.5], axes=("x", "y"))})
    order = np.random.default_rng(0).permutation(len(frame))
    kind = pd.Categorical(frame["class"].iloc[order], categories=["dark", "bright"])
    obs = pd.DataFrame(
        {"region": pd.Categorical(["half"] * len(order)), "number": order, "kind": kind}, index=order.astype(str)
    )
    sdata["notes"] = TableModel.parse(AnnData(obs=obs), region="half", region_key="region", instance_key="number")
    probe = dense_probe(sdata, "half", class_key="kind", model="mean-marker", patch_size=64, options=QUICK)
    assert probe.classes == ("dark", "bright")  # the order of the categories
    assert_allclose(probe.coef[::-1], expected.coef, atol=1e-5)
    sdata["notes"].obs.loc["0", "kind"] = np.nan
    probe = dense_probe(sdata, "half", class_key="kind", model="mean-marker", patch_size=64, options=QUICK)
    assert probe.scores["n_regions"].max() == 29


def test_several_images_are_folds_of_their_own(striped) -> None:
    sdata = striped()
    other = striped()
    sdata["image_b"] = other["image"]
    sdata["regions_b"] = other["regions"]
    probe = dense_probe(
        sdata, {"image": "regions", "image_b": "regions_b"}, model="mean-marker", patch_size=64, options=QUICK
    )
    assert probe.regions.groupby("image")["fold"].nunique().tolist() == [1, 1]
    assert probe.scores["n_regions"].max() == 60
    every = probe.scores.set_index("fold").loc["all"]
    assert every["n_groups"] == 2
    assert every[["auroc_low", "auroc_high"]].isna().all()  # two images can be drawn in three ways
    assert "AUROC 1.000, 60 regions in 2 groups, too few for an interval" in repr(probe)


def test_a_saved_probe_is_the_same_again(striped, tiny, tmp_path) -> None:
    probe = dense_probe(striped(), "regions", model=tiny, patch_size=64, options=QUICK)
    probe.save(tmp_path / "probe.npz")
    again = DenseProbe.load(tmp_path / "probe.npz")
    for name in ("coef", "intercept", "mean", "scale"):
        assert_array_equal(getattr(again, name), getattr(probe, name))
    for name in ("panel", "scores", "per_class", "regions"):
        pd.testing.assert_frame_equal(getattr(again, name), getattr(probe, name), check_dtype=False)
    assert repr(again) == repr(probe)
    assert again.model["sha256"] == "none"
    assert again.classes == probe.classes
    assert str(tmp_path).encode() not in (tmp_path / "probe.npz").read_bytes()
    (tmp_path / "other.npz").write_bytes(b"not a probe")
    with pytest.raises(ValueError, match=r"'other.npz' holds no dense probe .* probe.save"):
        DenseProbe.load(tmp_path / "other.npz")


def test_the_artifact_preset_reads_the_nuclear_stain_alone(striped, make, tiny) -> None:
    probe = dense_probe(striped(), "regions", model=tiny, preset="artifact", patch_size=64, options=QUICK)
    assert probe.markers == ["DAPI"]
    sdata = make((96, 96), channels=("CD3", "CD8"), table=False)
    boxes(sdata, [(0, 0), (32, 32), (0, 32), (32, 0)], ["a", "b", "a", "b"])
    with pytest.raises(
        ValueError, match=r"nuclear stain, and image 'image' has none .* 'CD3', 'CD8'. Name yours with channels="
    ):
        dense_probe(sdata, "regions", model=tiny, preset="artifact", patch_size=64)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            {"class_key": "kind"},
            KeyError,
            r"Shapes 'regions' have no column 'kind'; they have: 'class', 'core'.*class_key=",
        ),
        (
            {"shapes_key": "region"},
            KeyError,
            r"no shapes 'region'; .* Did you mean 'regions'\? Read annotations with io.read_geojson",
        ),
        ({"class_key": "one"}, ValueError, r"have 1 classes in 'one' \('x'\); at least 2 are needed"),
        (
            {"class_key": "rare"},
            ValueError,
            r"Class 'y' lies in a single group of regions \(regions: 'x': 29, 'y': 1\)",
        ),
        (
            {"patch_size": 256},
            ValueError,
            r"\(160 × 192 pixels\) is smaller than a window of 256 pixels. The largest .* patch_size=160",
        ),
        ({"patch_size": 60}, ValueError, r"patch_size=60 does not fit 'tiny'"),
        ({"preset": "regions"}, ValueError, r"preset='regions' is not a choice; preset can be 'region', 'artifact'"),
        ({"channels": ["CD3"]}, ValueError, r"No matched channel is a nuclear stain"),
        ({"group_key": "class"}, ValueError, r"Class 'bright', 'dark' lies in a single group"),
        (
            {"options": {"C": 1.0}},
            TypeError,
            r"options must be a tl.DenseOptions, got dict .* Write options=tl.DenseOptions\(C=1.0\)",
        ),
    ],
)
def test_errors_say_what_to_do(striped, tiny, change, error, message) -> None:
    sdata = striped()
    sdata["regions"]["one"] = "x"
    sdata["regions"]["rare"] = ["y"] + ["x"] * 29
    kwargs = {"shapes_key": "regions", "model": tiny, "patch_size": 64, "options": QUICK} | change
    with pytest.raises(error, match=message):
        dense_probe(sdata, **kwargs)


def test_options_are_checked() -> None:
    for kwargs, message in (
        ({"overlap": 1.0}, "overlap must be at least 0 and below 1"),
        ({"n_folds": 1}, "n_folds must be at least 2"),
        ({"max_tokens": 0}, "max_tokens must be a whole number"),
        ({"C": -1.0}, "C must be a positive number"),
        ({"nan": "skip"}, "nan='skip' is not a choice"),
    ):
        with pytest.raises(ValueError, match=message):
            DenseOptions(**kwargs)


def test_regions_outside_the_image(striped) -> None:
    sdata = striped()
    frame = sdata["regions"]
    frame.geometry = [
        shapely.transform(g, lambda xy: xy + 500) if i in (3, 8) else g for i, g in enumerate(frame.geometry)
    ]
    with pytest.warns(
        UserWarning, match=r"2 of 30 labelled regions of 'regions' lie outside image 'image' .* left out: 3, 8"
    ):
        probe = dense_probe(sdata, "regions", model="mean-marker", patch_size=64, options=QUICK)
    assert probe.scores["n_regions"].max() == 28
    frame.geometry = [shapely.transform(g, lambda xy: xy + 1000) for g in frame.geometry]
    with pytest.raises(
        ValueError, match=r"All 30 labelled regions of 'regions' lie outside image 'image' \(160 × 192 pixels\)"
    ):
        dense_probe(sdata, "regions", model="mean-marker", patch_size=64, options=QUICK)


def test_a_region_smaller_than_a_token_is_left_out(striped) -> None:
    sdata = striped()
    sdata["regions"].geometry = [shapely.box(0, 0, 3, 3), *sdata["regions"].geometry[1:]]
    with pytest.warns(UserWarning, match=r"1 of 30 labelled regions hold no centre of a token and are left out: 0"):
        probe = dense_probe(sdata, "regions", model="mean-marker", patch_size=64, options=QUICK)
    assert probe.scores["n_regions"].max() == 29


def test_regions_that_are_all_smaller_than_a_token(striped, tiny) -> None:
    sdata = striped()
    frame = sdata["regions"]
    frame.geometry = [shapely.box(x, y, x + 5, y + 3) for x, y in frame.bounds[["minx", "miny"]].to_numpy()]
    with pytest.raises(
        ValueError, match=r"None of the 30 labelled regions .* of 16 × 16 pixels, .* at most 5 × 3 pixels. Draw larger"
    ):
        dense_probe(sdata, "regions", model=tiny, patch_size=64, options=QUICK)


def _shrunk(sdata, which) -> None:
    """Leave of some squares the 6 pixels around the middle of their first 32.

    A token of every half token lies there, and no other.
    """
    frame = sdata["regions"]
    small = shapely.box(
        *(
            frame.bounds[edge].to_numpy() + part
            for edge, part in (("minx", 13), ("miny", 13), ("minx", 19), ("miny", 19))
        )
    )
    frame.geometry = np.where(which, small, frame.geometry.to_numpy())


def test_all_are_scored_on_the_regions_that_all_can_see(striped, tiny) -> None:
    """Tokens at every half token see regions that the squares of raw intensities do not."""
    fine = ks.models.load(tiny, token_overlap=True)
    sdata = striped()
    small = np.isin(np.arange(30), [0, 1, 7, 14, 15, 28])
    _shrunk(sdata, small)
    probe = dense_probe(sdata, "regions", model=fine, patch_size=48, options=QUICK)
    every = probe.scores[probe.scores["fold"] == "all"]
    assert every["representation"].tolist() == ["tiny", "mean-marker"]
    assert every["n_regions"].tolist() == [24, 24]
    of_tiny, of_baseline = (part.set_index("region") for _, part in probe.regions.groupby("representation", sort=False))
    assert_array_equal(of_tiny["scored"], ~small)
    assert of_baseline.index.tolist() == of_tiny.index[~small].tolist()
    assert of_tiny["p_bright"].notna().all()
    # what is scored is what the regions that count say
    counted = of_tiny[of_tiny["scored"]]
    right = counted["predicted"] == counted["true"]
    assert_allclose(every["balanced_accuracy"].iloc[0], right.groupby(counted["true"]).mean().mean())


def test_raw_intensities_that_see_too_little_are_left_out(striped, tiny) -> None:
    fine = ks.models.load(tiny, token_overlap=True)
    sdata = striped()
    _shrunk(sdata, sdata["regions"]["class"].to_numpy() == "bright")
    with pytest.warns(
        UserWarning,
        match=r"Raw intensities are left out: 15 of 30 labelled regions hold the centre of a square of 16 pixels",
    ):
        probe = dense_probe(sdata, "regions", model=fine, patch_size=48, options=QUICK)
    assert set(probe.scores["representation"]) == {"tiny"}
    assert probe.scores["n_regions"].max() == 30


def test_c_is_chosen_even_where_nothing_can_be_held_out(striped) -> None:
    """One token per class and fold: two regions of each class, every one of them a single square."""
    sdata = striped()
    frame = sdata["regions"].iloc[[0, 1, 2, 3]].copy()
    frame.geometry = [shapely.box(x, y, x + 16, y + 16) for x, y in frame.bounds[["minx", "miny"]].to_numpy()]
    sdata["few"] = ShapesModel.parse(frame)
    probe = dense_probe(sdata, "few", model="mean-marker", patch_size=64, options=DenseOptions(n_trials=2, n_folds=2))
    assert probe.scores["n_regions"].tolist() == [2, 2, 4]


def test_pixel_sizes_of_training_are_remembered(striped, tmp_path) -> None:
    sdata = striped()
    other = striped()
    assert dense_probe(sdata, "regions", model="mean-marker", patch_size=64, options=QUICK).mpp is None
    ks.io.set_pixel_size(sdata, 0.5)
    probe = dense_probe(sdata, "regions", model="mean-marker", patch_size=64, options=QUICK)
    probe.save(tmp_path / "probe.npz")
    assert DenseProbe.load(tmp_path / "probe.npz").mpp == probe.mpp == 0.5
    ks.io.set_pixel_size(other, 0.25)
    sdata["image_b"] = other["image"]
    sdata["regions_b"] = other["regions"]
    with pytest.warns(UserWarning, match=r"'image_b' has 0.25 µm per pixel, 'image' 0.5. Tokens are counted in pixels"):
        dense_probe(
            sdata, {"image": "regions", "image_b": "regions_b"}, model="mean-marker", patch_size=64, options=QUICK
        )


def test_a_probe_that_cannot_be_written_leaves_the_old_one(striped, tmp_path, monkeypatch) -> None:
    probe = dense_probe(striped(), "regions", model="mean-marker", patch_size=64, options=QUICK)
    probe.save(tmp_path / "probe.npz")
    before = (tmp_path / "probe.npz").read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        probe.save(tmp_path / "probe.npz")
    assert (tmp_path / "probe.npz").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["probe.npz"]


def test_the_nuclear_stain_may_have_another_name_in_each_image(striped, make) -> None:
    sdata = striped()
    pixels = np.asarray(sdata["image"].data)
    other = make(image=pixels[::-1], channels=("CD8", "Hoechst"), table=False)
    sdata["image_b"] = other["image"]
    sdata["regions_b"] = ShapesModel.parse(sdata["regions"].copy())
    pairs = {"image": "regions", "image_b": "regions_b"}
    kwargs = {"model": "mean-marker", "preset": "artifact", "patch_size": 64, "options": QUICK}
    probe = dense_probe(sdata, pairs, **kwargs)
    assert probe.panel["channel"].tolist() == ["DAPI"]
    shown = probe.regions.groupby("image")["p_bright"].apply(list)
    assert_allclose(shown["image"], shown["image_b"], atol=1e-6)  # the same pixels, trained on each other
    sdata["image_b"] = make(image=pixels, channels=("CD8", "CD3"), table=False)["image"]
    with pytest.raises(
        ValueError,
        match=r"'image_b' has no channel of 'DAPI', which is 'DAPI' in 'image'; its channels are 'CD8', 'CD3'",
    ):
        dense_probe(sdata, pairs, **kwargs)


@pytest.mark.parametrize(("device", "fitted"), [("cuda:1", "cuda:1"), ("mps", "cpu")])
def test_the_classifier_is_fitted_on_the_device_that_was_chosen(striped, monkeypatch, device, fitted) -> None:
    """Pretend to have the device: the network stays on the CPU, and the fit says where it was sent."""
    import torch

    from kronos_sc._dense import fit as _dense_fit
    from kronos_sc.tl import _dense_probe

    fit = _dense_fit.fit
    collect = _dense_probe.collect
    seen = set()

    def fit_noted(*args, device, **kwargs):
        seen.add(device)
        return fit(*args, device="cpu", **kwargs)

    def collect_on_cpu(regions, tokens, tilings, config, **kwargs):
        return collect(regions, tokens, tilings, replace(config, device=torch.device("cpu")), **kwargs)

    monkeypatch.setattr(_dense_probe.placement, "choose_device", lambda _: torch.device(device))
    monkeypatch.setattr(_dense_fit, "fit", fit_noted)
    monkeypatch.setattr(_dense_probe, "collect", collect_on_cpu)
    dense_probe(striped(), "regions", model="mean-marker", patch_size=64, options=QUICK)
    assert seen == {fitted}


def test_a_model_without_tokens_is_refused(striped) -> None:
    from kronos_sc.models import Card, Model
    from kronos_sc.models.encoders.mean_marker import MeanMarker

    class Blind(MeanMarker):
        token_grid = Model.token_grid

    blind = Blind()
    blind.card = Card("blind", "no tokens", "none", trained=None, patch_multiple=1)
    with pytest.raises(ValueError, match=r"'blind' gives one vector per window and no token features"):
        dense_probe(striped(), "regions", model=blind, patch_size=64)


def test_tokens_find_blur_that_intensities_do_not(tiny) -> None:
    """Truth of the simulator: out of focus, the mean hardly changes; tokens see what lies inside of them."""
    sdata = ks.datasets.tissue(shape=(384, 384), channels=["DAPI"], artifacts=["blur"], rng=4)
    truth = np.asarray(sdata["artifacts"])
    corners = []
    classes = []
    for y, x in ks.patches.grid(truth.shape, 32, 32).tolist():
        share = (truth[y : y + 32, x : x + 32] > 0).mean()
        if share in (0, 1):
            corners.append((y, x))
            classes.append("artifact" if share else "foreground")
    boxes(sdata, corners, classes)
    kwargs = DenseOptions(n_folds=2, C=1e-2, precision="float32")
    probe = dense_probe(sdata, "regions", model="kronos-untrained", preset="artifact", patch_size=128, options=kwargs)
    area = probe.scores[probe.scores["fold"] == "all"].set_index("representation")["auroc"]
    assert area["kronos-untrained"] > 0.95
    assert area["kronos-untrained"] > area["mean-marker"] + 0.15
