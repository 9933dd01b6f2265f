"""Where a store may lie: names, links, folders that change; and what is never touched."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

import kronos_sc as ks

from .conftest import CALL, contents, features_of

pytestmark = pytest.mark.slow(23)  # seconds, for the file


@pytest.mark.parametrize(
    "name",
    ["a store with spaces.zarr", "größe µm 细胞.zarr", "quote ' \" and # % $HOME {x}.zarr", "line\nbreak", ".hidden"],
)
def test_names_of_all_kinds(case, tmp_path, name):
    case.store = tmp_path / "Führung, Ω" / name
    case.check(case.embed())
    case.check(case.embed())


def test_all_of_the_tissue_lies_below_an_odd_name(case, tmp_path, tiny, truth):
    folder = tmp_path / "Zürich (2) 细胞"
    folder.mkdir()
    shutil.copytree(case.path, folder / "my tissue.zarr")
    case.path = folder / "my tissue.zarr"
    table = case.embed(store=True)
    case.store = folder / "my tissue.table.kronos.zarr"
    case.check(table)


@pytest.mark.parametrize(
    "form", [str, Path, lambda path: f"{path}/", lambda path: f"{path}//.", lambda path: path / ".." / path.name]
)
def test_forms_of_the_same_path(case, form):
    case.check(case.embed(store=form(case.store)))


def test_a_relative_path_means_what_it_meant_at_the_call(case, monkeypatch, tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    monkeypatch.chdir(tmp_path / "one")
    table = case.embed(store="x.zarr")
    monkeypatch.chdir(tmp_path / "two")
    case.store = tmp_path / "one" / "x.zarr"
    case.check(table)
    assert list(Path().iterdir()) == []
    case.embed(store=os.path.relpath(case.store))
    assert list(Path().iterdir()) == []


def test_home(case, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    case.store = tmp_path / "home" / "x.zarr"
    case.check(case.embed(store="~/x.zarr"))


def test_through_a_link(case, tmp_path):
    (tmp_path / "far").mkdir()
    (tmp_path / "near").symlink_to("far", target_is_directory=True)
    table = case.embed(store=tmp_path / "near" / "x.zarr")
    case.store = tmp_path / "far" / "x.zarr"
    case.check(table)
    case.check(case.embed())


def test_a_link_to_an_empty_folder_stays_a_link(case, tmp_path):
    (tmp_path / "far").mkdir()
    case.store.symlink_to("far", target_is_directory=True)
    case.check(case.embed())
    case.check(case.embed(overwrite=True))
    assert case.store.is_symlink()


def other_folder(path):
    path.mkdir()
    (path / "thesis.docx").write_text("years of work")


def like_ours(path):
    """Names alone prove nothing."""
    for name in ("marker", "record"):
        (path / name).mkdir(parents=True)
        (path / name / "list.txt").write_text("CD3")


def like_ours_and_locked(path):
    like_ours(path)
    (path / ".lock").touch()


def a_file(path):
    path.write_text("mine")


def a_tissue(path):
    shutil.copytree(path.parent / "tissue.zarr", path)


def a_table(path):
    import anndata

    anndata.AnnData(np.ones((3, 2), np.float32)).write_zarr(path)


def a_group(path):
    import zarr

    zarr.create_group(path).create_array("marker", data=np.arange(5))


def a_group_with_our_names(path):
    import zarr

    group = zarr.create_group(path, attributes={"mine": True})
    for name in ("row", "names", "edge", "marker"):
        group.create_array(name, data=np.arange(5))


def a_zarr_2(path):
    import zarr

    zarr.create_group(path, zarr_format=2).create_array("marker", data=np.arange(5))


def a_link_to_a_folder(path):
    other_folder(path.with_name("elsewhere"))
    path.symlink_to("elsewhere", target_is_directory=True)


def a_broken_link(path):
    path.symlink_to("nowhere")


WHATEVER = (other_folder, like_ours, like_ours_and_locked, a_file, a_link_to_a_folder, a_broken_link)
GROUPS = (a_tissue, a_table, a_group, a_group_with_our_names, a_zarr_2)


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("theirs", [*WHATEVER, *GROUPS])
def test_what_is_not_ours_is_never_touched(case, theirs, overwrite):
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs(case.store)
    before = contents(case.folder)
    with pytest.raises((FileExistsError, ValueError), match=r"features\.zarr"):
        case.embed(overwrite=overwrite)
    assert contents(case.folder) == before


def test_a_file_of_the_user_in_our_folder_is_kept(case):
    case.embed()
    (case.store / "notes.md").write_text("good run")
    for overwrite in (False, True):
        np.testing.assert_array_equal(features_of(case.embed(overwrite=overwrite))["marker"], case.truth["marker"])
        assert (case.store / "notes.md").read_text() == "good run"


def test_what_a_link_in_our_folder_points_to_is_kept(case):
    """Big arrays moved to another disk by hand: starting again must not empty that folder."""
    case.embed()
    far = case.folder / "far"
    (case.store / "marker").rename(far)
    (case.store / "marker").symlink_to(far, target_is_directory=True)
    before = contents(far)
    case.check(case.embed())
    case.check(case.embed(overwrite=True))
    assert contents(far) == before


def test_a_store_that_was_moved_is_the_same_store(case, tmp_path):
    lazy = case.embed().obsm["X_kronos"]
    passes = []
    hook = case.model.net.register_forward_hook(lambda *_: passes.append(1))
    case.store = case.store.rename(tmp_path / "archive.zarr")
    case.check(case.embed())
    hook.remove()
    assert not passes
    with pytest.raises(OSError, match=r"features\.zarr .*moved"):
        lazy.compute()


@pytest.mark.parametrize("name", ["x.zarr", "images/x.zarr", "tables/table/obsm/x.zarr", ""])
def test_not_within_the_tissue(case, name):
    with pytest.raises((ValueError, FileExistsError)):
        case.embed(store=case.path / name)


def test_a_tissue_is_not_disturbed_by_what_lies_beside_it(case):
    import spatialdata

    table = case.embed(store=True)
    beside = case.folder / "tissue.table.kronos.zarr"
    assert beside.is_dir()
    sdata = spatialdata.read_zarr(case.path)
    assert sdata["table"].obs_names.tolist() == table.obs_names.tolist()
    assert "X_kronos" not in sdata["table"].obsm
    ks.tl.embed(sdata, model=case.model, store=True, **CALL)
    case.store = beside
    case.check(sdata["table"])


@pytest.mark.parametrize("store", ["s3://bucket/x.zarr", "https://example.org/x.zarr"])
def test_addresses(case, monkeypatch, tmp_path, store):
    monkeypatch.chdir(tmp_path)
    before = contents(tmp_path)
    with pytest.raises(ValueError, match="is an address"):
        case.embed(store=store)
    assert contents(tmp_path) == before
