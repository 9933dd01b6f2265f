"""Files of labelled patches: what was saved comes back, and what cannot be used is refused with a reason."""

from __future__ import annotations

import numpy as np
import pytest

from kronos_pretrain.evaluate import Labelled


def test_round_trip(labelled, tmp_path):
    one = labelled(mask=np.arange(30 * 32 * 32).reshape(30, 32, 32) % 3 == 0)
    one.save(tmp_path / "deep" / "cells.npz")
    again = Labelled.load(tmp_path / "deep" / "cells.npz")
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["cells.npz"]
    for field in ("pixels", "labels", "split", "mask"):
        np.testing.assert_array_equal(getattr(again, field), getattr(one, field))
    assert (again.name, again.scale, again.markers) == ("toy", 255.0, ("DAPI", "CD3", "CD8"))
    assert again.pixels.dtype == np.uint8
    assert str(again) == "toy: 30 patches (18 train, 12 test) of 32 × 32 pixels, 3 markers, 3 classes"
    labelled().save(tmp_path / "deep" / "cells.npz")
    assert Labelled.load(tmp_path / "deep" / "cells.npz").mask is None


def test_classes_and_parts(labelled):
    one = labelled()
    assert one.classes.tolist() == ["B", "NK", "T"]
    assert one.codes[:4].tolist() == [0, 2, 1, 0]
    assert one.part("test").tolist() == list(range(18, 30))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pixels": np.zeros((30, 3, 32, 32), np.int32)}, r"'toy' are int32 .* uint8, uint16, float32"),
        (
            {"pixels": np.zeros((30, 3, 40, 40), np.uint8)},
            r"30 of 40 × 40 pixels; they must be square, the edge a multiple of 16",
        ),
        ({"pixels": np.zeros((30, 3, 32, 48), np.uint8)}, "32 × 48 pixels"),
        (
            {"pixels": np.zeros((29, 3, 32, 32), np.uint8)},
            r"another length than pixels \(29, 3, 32, 32\): labels \(30,\) for \(29,\)",
        ),
        ({"pixels": np.full((30, 3, 32, 32), np.nan, np.float32)}, "30 of 30 hold NaN"),
        ({"mask": np.zeros((30, 16, 16), bool)}, r"mask \(30, 16, 16\) for \(30, 32, 32\)"),
        ({"markers": ("DAPI", "CD3", "CD3")}, "name the markers 'CD3' more than once"),
        ({"labels": ["T"] * 30}, r"one class only \('T'\).*Take a column"),
        ({"labels": ["T"] * 29 + ["B"]}, r"train part of 'toy' lacks 1 of 2 classes \('B'\)"),
        ({"split": ["train"] * 30}, r"test part of 'toy' lacks 3 of 3 classes"),
        ({"split": ["validation"] * 30}, r"splits 'validation'; there are 'train' and 'test'"),
        ({"scale": 0}, "scale must be a positive number"),
    ],
)
def test_what_cannot_be_used_is_refused(labelled, changes, message):
    with pytest.raises(ValueError, match=message):
        labelled(**changes)


@pytest.mark.row("labelled file missing, truncated, with objects, or with missing fields")
def test_files_that_are_none_of_ours(labelled, tmp_path):
    with pytest.raises(FileNotFoundError, match="Make one with"):
        Labelled.load(tmp_path / "none.npz")
    path = tmp_path / "cells.npz"
    labelled().save(path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ValueError, match=r"not a readable \.npz of plain arrays"):
        Labelled.load(path)
    np.savez(path, pixels=np.zeros(3), labels=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match=r"not a readable \.npz of plain arrays"):
        Labelled.load(path)
    np.savez(path, pixels=np.zeros(3))
    with pytest.raises(ValueError, match="lacks 'name', 'scale', 'labels', 'split', 'markers'; it holds 'pixels'"):
        Labelled.load(path)
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(ValueError, match=r"not a readable \.npz"):
        Labelled.load(path)
    labelled().save(path)
    assert Labelled.load(path).name == "toy"


def test_a_full_disk_leaves_the_old_file(labelled, tmp_path, monkeypatch):
    path = tmp_path / "cells.npz"
    labelled().save(path)

    def full(*_args, **_fields):
        raise OSError("No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(OSError, match="No space"):
        labelled(name="new").save(path)
    assert Labelled.load(path).name == "toy"
    assert [p.name for p in tmp_path.iterdir()] == ["cells.npz"]
