"""A corpus on disk or of arrays: what is read, and what is refused by name."""

from __future__ import annotations

import json
import logging
import subprocess
import sys

import numpy as np
import pytest

from kronos_pretrain.data.corpus import Corpus, Image
from kronos_pretrain.data.store import ArraySource


def _rewrite(written, change) -> None:
    change(written.record)
    (written.folder / "corpus.json").write_text(json.dumps(written.record))


def _marker(record: dict, name: str) -> dict:
    return next(row for row in record["vocabulary"]["markers"] if row["name"] == name)


def _image(**changes) -> Image:
    raw = np.ones((4, 20, 30), np.uint16)
    fields = {
        "name": "one",
        "subset": "a",
        "shape": (20, 30),
        "scale": 65535.0,
        "markers": np.array([4, 222, 270, 206]),
        "nuclear": np.array([0]),
        "origins": np.array([[0, 0], [4, 14]], np.int32),
        "pixels": ArraySource(raw),
    }
    return Image(**(fields | changes))


def test_a_corpus_is_read_as_it_was_written(written) -> None:
    corpus = Corpus.open(written.folder)
    assert [image.name for image in corpus.images] == ["one", "two", "three"]
    assert corpus.subsets == {"a · CODEX": [0, 1], "b · IMC": [2]}
    assert corpus.patch == 32
    first, _, last = corpus.images
    assert (first.shape, first.scale, len(first.origins), first.origins.dtype) == ((100, 150), 65535.0, 5 * 8, np.int32)
    np.testing.assert_array_equal(first.nuclear, [0, 1])
    np.testing.assert_array_equal(first.others, [2, 3, 4, 5])
    np.testing.assert_array_equal(last.markers, [4, 222, 270, 264])
    assert corpus.vocabulary["CD3"].std == pytest.approx(0.3)
    for image in corpus.images:
        np.testing.assert_array_equal(
            image.pixels.read([2, 0], 3, 5, 32), written.pixels[image.name][[2, 0], 3:35, 5:37]
        )


def test_reading_needs_none_of_the_scverse_stack(written) -> None:
    heavy = (
        "anndata",
        "spatialdata",
        "zarr",
        "dask",
        "xarray",
        "scanpy",
        "skimage",
        "sklearn",
        "scipy",
        "matplotlib",
        "tifffile",
        "numba",
    )
    code = f"""
import sys
from kronos_pretrain.config.schema import Config, Data, Optim
from kronos_pretrain.data.corpus import Corpus
from kronos_pretrain.data.loader import samples
config = Config(data=Data(patch=32, workers=0), optim=Optim(batch=8))
with samples(Corpus.open({str(written.folder)!r}), config, stop_step=2) as batches:
    count = len(list(batches))
print(count, [name for name in {heavy!r} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "2 []"


def test_a_folder_without_corpus_json_is_no_corpus(tmp_path) -> None:
    (tmp_path / "images").mkdir()
    with pytest.raises(FileNotFoundError, match=r"no corpus.json \('images'\).*corpus build"):
        Corpus.open(tmp_path)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        Corpus.open(tmp_path / "elsewhere")


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "is not JSON"), ("[]", "format None"), ('{"format": "kronos-corpus/9"}', "kronos-corpus/9")],
)
def test_another_format_is_refused(tmp_path, content, message) -> None:
    (tmp_path / "corpus.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        Corpus.open(tmp_path)


def test_an_incomplete_record_says_what_is_missing(spoilt) -> None:
    _rewrite(spoilt, lambda record: record["images"][1].pop("scale"))
    with pytest.raises(ValueError, match=r"not complete .*'scale'"):
        Corpus.open(spoilt.folder)


@pytest.mark.parametrize(("std", "shown"), [(0.0, "CD8: 0.0"), (None, "CD8: unknown"), (-1.0, "CD8: -1.0")])
def test_a_marker_without_spread_is_refused_by_name(spoilt, std, shown) -> None:
    _rewrite(spoilt, lambda record: _marker(record, "CD8").update(std=std))
    with pytest.raises(ValueError, match=f"zero or unknown for '{shown}'.*exclude it"):
        Corpus.open(spoilt.folder)


def test_statistics_of_markers_that_no_image_has_do_not_matter(spoilt) -> None:
    extra = {"name": "CD99", "id": 300, "mean": None, "std": None, "role": "other", "aliases": []}
    _rewrite(spoilt, lambda record: record["vocabulary"]["markers"].append(extra))
    assert len(Corpus.open(spoilt.folder).images) == 3


def test_a_marker_that_the_vocabulary_does_not_hold_is_refused(spoilt) -> None:
    _rewrite(spoilt, lambda record: record["images"][0]["markers"][2].update(id=300))
    with pytest.raises(ValueError, match="Image 'one' has a marker of id 300"):
        Corpus.open(spoilt.folder)


def test_pixels_that_are_not_as_recorded_are_refused(spoilt) -> None:
    _rewrite(spoilt, lambda record: record["images"][0].update(shape=[100, 151]))
    with pytest.raises(ValueError, match=r"Image 'one' holds pixels \(6, 100, 150\).*\(6, 100, 151\)"):
        Corpus.open(spoilt.folder)


def test_planes_out_of_order_are_refused(spoilt) -> None:
    _rewrite(spoilt, lambda record: record["images"][1]["markers"].reverse())
    with pytest.raises(ValueError, match="Image 'two' lists its markers for planes 3, 2, 1, 0"):
        Corpus.open(spoilt.folder)


def test_origins_that_cannot_be_read_are_named(spoilt) -> None:
    path = spoilt.folder / "images/0000-one/origins.npy"
    np.save(path, np.load(path)[:-1])
    with pytest.raises(OSError, match=r"origins of image 'one'.*\(39, 2\).*not \(40, 2\)"):
        Corpus.open(spoilt.folder)
    path.unlink()
    with pytest.raises(OSError, match="origins of image 'one'"):
        Corpus.open(spoilt.folder)


def test_a_corpus_can_be_made_of_arrays(some_vocabulary) -> None:
    corpus = Corpus([_image()], some_vocabulary(), 16)
    assert corpus.subsets == {"a": [0]}


def test_images_with_too_few_markers_are_refused_by_name(some_vocabulary) -> None:
    lacking = [
        _image(name="no nucleus", nuclear=np.array([], int)),
        _image(name="all nuclei", nuclear=np.array([0, 1, 2])),
    ]
    with pytest.raises(ValueError, match=r"'no nucleus \(0 \+ 4\)', 'all nuclei \(3 \+ 1\)'"):
        Corpus([_image(), *lacking], some_vocabulary(), 16)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"markers": np.array([4, 222, 222, 206])}, "marker id 222 more than once"),
        ({"nuclear": np.array([4])}, "nuclear planes 4"),
        ({"origins": np.array([[0, 15]])}, r"20 × 30 px, and its patches of 16 px reach .*\(16, 31\)"),
        ({"origins": np.array([[-1, 0]])}, r"reach from \(-1, 0\)"),
        ({"shape": (20, 31)}, "markers and shape say"),
        ({"scale": 0.0}, "scale of image 'one'"),
    ],
)
def test_an_image_that_contradicts_itself_is_refused(some_vocabulary, changes, message) -> None:
    with pytest.raises(ValueError, match=message):
        Corpus([_image(**changes)], some_vocabulary(), 16)


def test_images_without_a_patch_are_left_out_and_named(some_vocabulary, caplog) -> None:
    empty = _image(name="blank", origins=np.empty((0, 2), np.int32))
    with caplog.at_level(logging.INFO, logger="kronos_sc"):
        corpus = Corpus([empty, _image()], some_vocabulary(), 16)
    assert [image.name for image in corpus.images] == ["one"]
    assert corpus.subsets == {"a": [0]}
    assert "1 images without a patch are left out: 'blank'" in caplog.text
    with pytest.raises(ValueError, match="None of the 1 images has a patch"):
        Corpus([empty], some_vocabulary(), 16)
