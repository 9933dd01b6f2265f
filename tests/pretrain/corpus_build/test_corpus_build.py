"""A corpus from end to end: content, resume, and what happens when something goes wrong."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from concurrent.futures import CancelledError
from pathlib import Path
from threading import Event

import numpy as np
import pytest

from kronos_pretrain.corpus_build import build
from kronos_pretrain.corpus_build.builder import _counter
from kronos_pretrain.corpus_build.image import build_image
from kronos_pretrain.corpus_build.store import STORES
from kronos_pretrain.data.corpus import Corpus
from kronos_sc.markers import Vocabulary

PANEL = ["DAPI", "CD3", "CD8", "NEW-B", "CD20"]


def _image(name: str, more: str = "", subset: str = "s") -> str:
    return f'path = "{name}.ome.tif"\nsubset = "{subset}"\n{more}'


def _files(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def _index(out: Path) -> dict:
    return json.loads((out / "corpus.json").read_text())


def _pixels(out: Path, image: dict) -> np.ndarray:
    path = out / image["folder"] / image["pixels"]
    if path.suffix == ".npy":
        return np.load(path, mmap_mode="r", allow_pickle=False)
    import zarr

    return zarr.open_array(path, mode="r")


@pytest.fixture
def two(tiff, manifest, tmp_path):
    """Two images that share some markers; the second is of 8 bits."""
    a = tiff("a.ome.tif", PANEL)
    b = tiff("b.ome.tif", ["CD3", "NEW-A", "DNA", "Blank"], dtype="uint8", seed=1, shape=(200, 130))
    images = (_image("a", 'channels = { NEW-B = "unseen" }'), _image("b", 'channels = { NEW-A = "unseen" }', "t"))
    return manifest(*images), tmp_path / "out", {"a": a, "b": b[:3]}, images


@pytest.mark.parametrize("kind", ["zarr", "npy"])
def test_what_is_written(two, manifest, kind) -> None:
    _path, out, pixels, images = two
    summary = build(manifest(*images, kind=kind), out, workers=1)
    index = _index(out)
    assert (index["format"], index["patch"], index["stride"]) == ("kronos-corpus/1", 64, 32)
    a, b = index["images"]
    assert [a["name"], a["subset"], a["shape"], a["dtype"], a["scale"]] == ["a", "s", [160, 224], "uint16", 65535.0]
    assert [b["dtype"], b["scale"], b["pixels"]] == ["uint8", 255.0, f"pixels.{kind}"]
    assert [m["marker"] for m in b["markers"]] == ["CD3", "NEW-A", "DAPI"]
    assert [m["plane"] for m in a["markers"]] == list(range(5))
    for image in (a, b):
        np.testing.assert_array_equal(_pixels(out, image)[...], pixels[image["name"]])
        corners = np.load(out / image["folder"] / "origins.npy", allow_pickle=False)
        assert corners.dtype == np.int32
        assert corners.shape == (image["origins"], 2)
        assert not (corners % 32).any()
        assert (corners + 64 <= image["shape"]).all()
    assert summary.origins == {"a": a["origins"], "b": b["origins"]}
    assert "2 images (2 built, 0 as they were)" in str(summary)


def test_statistics_are_those_of_the_covered_pixels_of_all_images(two) -> None:
    path, out, pixels, _ = two
    build(path, out)
    index = _index(out)
    vocabulary = Vocabulary.from_dict(index["vocabulary"])
    values: dict[str, list[np.ndarray]] = {}
    for image in index["images"]:
        covered = np.zeros(image["shape"], bool)
        for y, x in np.load(out / image["folder"] / "origins.npy", allow_pickle=False):
            covered[y : y + 64, x : x + 64] = True
        for marker in image["markers"]:
            plane = pixels[image["name"]][marker["plane"]]
            values.setdefault(marker["marker"], []).append(plane[covered] / image["scale"])
            assert marker["id"] == vocabulary[marker["marker"]].id
    assert set(values) == set(vocabulary.names)
    for name, parts in values.items():
        every = np.concatenate(parts)
        assert vocabulary[name].mean == pytest.approx(every.mean(), rel=1e-10)
        assert vocabulary[name].std == pytest.approx(every.std(), rel=1e-10)


def test_building_again_changes_nothing(two) -> None:
    path, out, _, _ = two
    build(path, out)
    before = _files(out)
    again = build(path, out)
    assert _files(out) == before
    assert (again.built, again.reused) == ((), ("a", "b"))


def test_only_what_changed_is_built(two, manifest, tiff) -> None:
    path, out, _, images = two
    build(path, out)
    before = _files(out)
    summary = build(manifest(images[0], images[1] + "\nmax_value = 200"), out)
    assert summary.built == ("b",)
    kept = {name: stamp for name, stamp in before.items() if name.startswith("images/0000-a/")}
    assert kept.items() <= _files(out).items()
    tiff("a.ome.tif", PANEL, seed=5)
    assert build(manifest(images[0], images[1] + "\nmax_value = 200"), out).built == ("a",)


def test_order_and_number_of_workers_change_nothing(two, manifest, tmp_path) -> None:
    path, out, _, images = two
    build(path, out, workers=1)
    build(manifest(*images[::-1]), tmp_path / "other", workers=3)
    one = _index(out)
    other = _index(tmp_path / "other")
    assert one["vocabulary"] == other["vocabulary"]
    assert [image["name"] for image in other["images"]] == ["b", "a"]
    assert build(manifest(*images[::-1]), out).built == ()


def test_a_new_image_moves_no_other(two, manifest, tiff) -> None:
    path, out, _, images = two
    build(path, out)
    tiff("c.ome.tif", PANEL[:3])
    assert build(manifest(_image("c"), *images), out).built == ("c",)
    assert [image["folder"] for image in _index(out)["images"]] == ["images/0002-c", "images/0000-a", "images/0001-b"]


KILLED = """
import os, signal, sys
from kronos_pretrain.corpus_build import build
from kronos_pretrain.corpus_build.store import ZarrStore

def write(self, plane, *rest, write=ZarrStore.write):
    if "0001-b" in str(self.path) and plane == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    write(self, plane, *rest)

ZarrStore.write = write
build(*sys.argv[1:], workers=1)
"""


def test_a_killed_build_goes_on(two) -> None:
    path, out, pixels, _ = two
    done = subprocess.run([sys.executable, "-c", KILLED, str(path), str(out)], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL
    assert sorted(each.name for each in (out / "images").iterdir()) == [".0001-b.part", "0000-a"]
    assert not (out / "corpus.json").exists()
    assert build(path, out).built == ("b",)
    assert not list((out / "images").glob(".*"))
    np.testing.assert_array_equal(_pixels(out, _index(out)["images"][1])[...], pixels["b"])


def test_an_interrupt_ends_all_images(two, monkeypatch) -> None:
    path, out, _, _ = two

    def stop(job, **how):
        if job.entry.name == "a":
            raise KeyboardInterrupt
        return build_image(job, **how)

    monkeypatch.setattr("kronos_pretrain.corpus_build.builder.build_image", stop)
    with pytest.raises(KeyboardInterrupt):
        build(path, out, workers=1)
    assert not list((out / "images").iterdir())


def test_counting_stops_when_told() -> None:
    moved = []
    stop = Event()
    count = _counter(moved.append, stop)
    for pixels in (600_000, 600_000, 1_900_000):
        count(pixels)
    assert moved == [0, 1, 2]
    stop.set()
    with pytest.raises(CancelledError):
        count(1)


@pytest.mark.parametrize("kind", ["zarr", "npy"])
def test_a_full_disk_leaves_no_half_image(two, manifest, monkeypatch, kind) -> None:
    _, out, _, images = two
    build(manifest(images[0], kind=kind), out)
    write = STORES[kind].write

    def full(self, plane, *rest):
        if plane == 2:
            raise OSError(28, "No space left on device")
        write(self, plane, *rest)

    monkeypatch.setattr(STORES[kind], "write", full)
    path = manifest(*images, kind=kind)
    with pytest.raises(OSError, match="No space left"):
        build(path, out)
    assert [each.name for each in (out / "images").iterdir()] == ["0000-a"]
    assert _index(out)["images"][0]["name"] == "a", "the corpus that was there is still whole"
    monkeypatch.undo()
    assert build(path, out).built == ("b",)


def test_an_index_never_names_what_is_being_replaced(two, manifest, monkeypatch) -> None:
    path, out, _, images = two
    build(path, out)

    def broken(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("kronos_pretrain.corpus_build.builder.build_image", broken)
    with pytest.raises(OSError, match="No space"):
        build(manifest(images[0], images[1] + "\nmax_value = 200"), out)
    assert not (out / "corpus.json").exists()


def test_not_a_number_is_refused_or_read_as_zero(tiff, manifest, tmp_path, noise) -> None:
    pixels = noise((96, 96), 3, dtype="float32")
    pixels[1, 5, 5] = np.nan
    tiff("a.ome.tif", PANEL[:3], pixels=pixels)
    with pytest.raises(ValueError, match=r"'CD3' of image 'a' has NaN.*nan = .zero"):
        build(manifest(_image("a")), tmp_path / "out")
    assert not list((tmp_path / "out" / "images").iterdir())
    build(manifest(_image("a", 'nan = "zero"')), tmp_path / "out")
    assert _pixels(tmp_path / "out", _index(tmp_path / "out")["images"][0])[1, 5, 5] == 0


@pytest.mark.row("floats beyond 1 without `max_value`")
def test_floats_beyond_one_need_a_scale(tiff, manifest, tmp_path, noise) -> None:
    tiff("a.ome.tif", PANEL[:3], pixels=noise((96, 96), 3, dtype="float32") * 50)
    with pytest.raises(ValueError, match="max_value="):
        build(manifest(_image("a")), tmp_path / "out")
    build(manifest(_image("a", "max_value = 50")), tmp_path / "out")
    assert _index(tmp_path / "out")["images"][0]["scale"] == 50


KEPT = {
    "uint8": "uint8", "uint16": "uint16", "uint32": "uint16", "uint64": "uint16",
    "int8": "uint8", "int16": "uint16", "int32": "uint16", "int64": "uint16",
    "float16": "float32", "float32": "float32", "float64": "float32",
    ">u2": "uint16", ">f8": "float32",
}  # fmt: skip


@pytest.mark.parametrize("kind", ["zarr", "npy"])
@pytest.mark.parametrize("dtype", KEPT)
def test_every_kind_of_number_can_be_opened(manifest, tmp_path, noise, dtype, kind) -> None:
    """What is built can be trained on: no value changes, whatever it was stored as."""
    pixels = (noise((96, 96), 3, dtype="float32") * (1 if "f" in dtype else 100)).astype(dtype)
    np.save(tmp_path / "a.npy", pixels)
    entry = 'path = "a.npy"\nsubset = "s"\nnames = ["DAPI", "CD3", "CD8"]\nmax_value = 100'
    build(manifest(entry, kind=kind), tmp_path / "out")
    (image,) = Corpus.open(tmp_path / "out").images
    assert image.pixels.dtype == np.dtype(KEPT[dtype])
    np.testing.assert_array_equal(
        image.pixels.read([0, 1, 2], 0, 0, 96), pixels.astype("float32") if "f" in dtype else pixels
    )


def test_whole_numbers_of_many_bits(manifest, tmp_path, noise) -> None:
    """As few bits as hold all pixels; what no format of a corpus holds is refused before anything is written."""
    entry = 'path = "a.npy"\nsubset = "s"\nnames = ["DAPI", "CD3", "CD8"]\nmax_value = 65535'
    pixels = noise((96, 96), 3).astype("int64")
    for most, dtype in ((65_535, "uint16"), (65_536, "uint32"), (2**32 - 1, "uint32")):
        pixels[2, 95, 95] = most
        np.save(tmp_path / "a.npy", pixels)
        build(manifest(entry), tmp_path / "out")
        (image,) = Corpus.open(tmp_path / "out").images
        assert image.pixels.dtype == np.dtype(dtype)
        assert image.pixels.read([2], 0, 0, 96)[0, 95, 95] == most
    for value, message in (
        (2**32, "holds int64 up to 4,294,967,296; a corpus holds uint8, .*Scale it down"),
        (-1, "negative value -1"),
    ):
        pixels[2, 95, 95] = value
        np.save(tmp_path / "a.npy", pixels)
        with pytest.raises(ValueError, match=message):
            build(manifest(entry), tmp_path / "out")
    np.save(tmp_path / "a.npy", pixels.clip(-1, 100).astype("int8"))
    with pytest.raises(ValueError, match="negative value -1"):
        build(manifest(entry), tmp_path / "out")


def test_a_build_says_nothing_about_pixel_sizes(two, monkeypatch) -> None:
    """What reading a TIFF says of itself is of no use here; the summary is what is said."""
    from kronos_sc import settings

    path, out, _, _ = two
    lines = []
    monkeypatch.setattr("sys.stderr.write", lines.append)
    monkeypatch.setattr(settings, "verbosity", 2)
    build(path, out)
    assert not [line for line in lines if line.startswith("kronos_sc")]
    assert settings.verbosity == 2


def test_a_truncated_image_is_named(tiff, manifest, tmp_path) -> None:
    tiff("a.ome.tif", PANEL[:3])
    whole = (tmp_path / "a.ome.tif").read_bytes()
    (tmp_path / "a.ome.tif").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(
        (OSError, ValueError), match=r"'a'|a\.ome\.tif"
    ):  # names of channels may be gone with the end of the file
        build(manifest(_image("a")), tmp_path / "out")
    assert not (tmp_path / "out" / "corpus.json").exists()


def test_damage_within_an_image_is_named(manifest, tmp_path, noise) -> None:
    import tifffile

    how = {"compression": "zlib", "tile": (32, 32), "metadata": {"axes": "CYX", "Channel": {"Name": PANEL[:3]}}}
    tifffile.imwrite(tmp_path / "a.ome.tif", noise((96, 96), 3), photometric="minisblack", **how)
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as tif:
        start = tif.pages[1].dataoffsets[4]
    with (tmp_path / "a.ome.tif").open("r+b") as file:
        file.seek(start)
        file.write(b"\0" * 64)
    with pytest.raises(OSError, match=r"Image 'a' could not be read at 'CD3'"):
        build(manifest(_image("a")), tmp_path / "out")


def _with_constants(tiff, noise, channels, constants, name="a"):
    pixels = noise((96, 96), len(channels))
    for channel, value in constants.items():
        pixels[channels.index(channel)] = value
    tiff(f"{name}.ome.tif", channels, pixels=pixels)


def test_empty_markers_are_left_out_and_said(tiff, manifest, tmp_path, noise) -> None:
    _with_constants(tiff, noise, ["DAPI", "CD3", "CD8", "CD4"], {"CD3": 0})
    summary = build(manifest(_image("a")), tmp_path / "out")
    assert summary.dropped == ("a: CD3 (0.000% of the pixels are above zero)",)
    (image,) = _index(tmp_path / "out")["images"]
    assert [(m["marker"], m["plane"]) for m in image["markers"]] == [("DAPI", 0), ("CD8", 1), ("CD4", 2)]
    assert _pixels(tmp_path / "out", image).shape[0] == 3
    assert "excluded by their verdict: a: CD3 (0.000% of the pixels are above zero)" in str(summary)
    assert "a,s,CD3,CD3,empty,no" in (tmp_path / "out" / "quality.csv").read_text()


def test_too_few_markers_after_all(tiff, manifest, tmp_path, noise) -> None:
    _with_constants(tiff, noise, ["DAPI", "CD3", "CD8"], {"CD3": 0})
    with pytest.raises(ValueError, match=r"'a': 2 usable.*Excluded by their verdict: 'CD3 \(empty\)'"):
        build(manifest(_image("a")), tmp_path / "out")
    assert not (tmp_path / "out" / "corpus.json").exists()


@pytest.mark.row("marker without variance over the corpus")
def test_a_marker_without_variance_is_refused(tiff, manifest, tmp_path, noise) -> None:
    channels = ["DAPI", "CD3", "CD8", "CD4"]
    for name in "ab":
        _with_constants(tiff, noise, channels, {"CD3": 7}, name)
    kept = 'keep = ["CD3"]'
    with pytest.raises(
        ValueError, match=r"'CD3' has the value 0.0001068 in every pixel of 'a', 'b'. Exclude it"
    ) as error:
        build(manifest(_image("a", kept), _image("b", kept)), tmp_path / "out")
    assert '[[exclude]] with marker = "CD3"' in str(error.value)
    summary = build(manifest(_image("a"), _image("b"), rest='[[exclude]]\nmarker = "CD3"'), tmp_path / "out")
    assert summary.markers == 3


@pytest.mark.row("image in which no patch can be used")
def test_an_image_without_patches_is_refused(tiff, manifest, tmp_path, noise) -> None:
    pixels = noise((96, 96), 3)
    pixels[:] = np.where(np.arange(96)[None, None, :] < 90, 65535, pixels)
    tiff("a.ome.tif", PANEL[:3], pixels=pixels)
    path = manifest(_image("a"))
    path.write_text(path.read_text().replace("most_artifacts = 1.0", "most_artifacts = 0.1"))
    with pytest.raises(ValueError, match=r"'a': no patch can be used .*saturated"):
        build(path, tmp_path / "out")
    tiff("b.ome.tif", PANEL[:3], shape=(96, 96))
    build(manifest(_image("b")), tmp_path / "out")  # "or take it out"


def test_a_lost_shard_is_built_again(two) -> None:
    path, out, pixels, _ = two
    build(path, out)
    shard = out / "images" / "0001-b" / "pixels.zarr" / "c" / "1" / "0" / "0"
    shard.write_bytes(shard.read_bytes()[:-100])
    assert build(path, out).built == ("b",)
    np.testing.assert_array_equal(_pixels(out, _index(out)["images"][1])[...], pixels["b"])
    (out / "images" / "0001-b" / "image.json").write_text("{")
    assert build(path, out).built == ("b",)


def test_names_that_look_alike_on_disk(tiff, manifest, tmp_path) -> None:
    for name in "ab":
        tiff(f"{name}.ome.tif", PANEL[:3])
    path = manifest(_image("a", 'name = "x y"'), _image("b", 'name = "x/y"'))
    assert build(path, tmp_path / "out").built == ("x y", "x/y")
    assert [image["folder"] for image in _index(tmp_path / "out")["images"]] == ["images/0000-x_y", "images/0001-x_y"]
    assert build(path, tmp_path / "out").built == ()


@pytest.mark.row("output folder that holds other things")
def test_other_peoples_folders_are_left_alone(two) -> None:
    path, out, _, _ = two
    out.mkdir()
    (out / "thesis.docx").write_text("precious")
    with pytest.raises(ValueError, match="exists and is no corpus"):
        build(path, out)
    build(path, out.with_name("another"))


def test_a_spatialdata_store_of_the_simulator(tmp_path) -> None:
    import warnings

    import kronos_sc as ks

    sdata = ks.datasets.tissue(shape=(256, 300), channels=["DAPI", "CD8", "CYTOKERATIN", "CD20"], n_images=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sdata.write(tmp_path / "t.zarr")
    images = "".join(f'[[image]]\npath = "t.zarr"\nimage = "image_{n}"\nsubset = "simulated"\n' for n in (0, 1))
    (tmp_path / "m.toml").write_text(images)
    summary = build(tmp_path / "m.toml", tmp_path / "out")
    assert summary.origins == {"t-image_0": 1, "t-image_1": 1}
    for number, image in enumerate(_index(tmp_path / "out")["images"]):
        np.testing.assert_array_equal(_pixels(tmp_path / "out", image)[...], np.asarray(sdata[f"image_{number}"].data))
