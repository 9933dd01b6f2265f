import shutil

import anndata
import pytest
import spatialdata
import zarr

from kronos_sc._cli import _output


@pytest.fixture
def table(store):
    """A SpatialData whose table can be written."""
    return spatialdata.read_zarr(store)


def _is(store):
    return store


def _dotted(store):
    return store.parent / "elsewhere" / ".." / store.name


def _linked(store):
    link = store.parent / "link.zarr"
    link.symlink_to(store, target_is_directory=True)
    return link


def _within(store):
    return store / "tables" / "new.zarr"


def _within_file(store):
    return store / "cells.h5ad"


def _around(store):
    outer = store.parent / "outer.zarr"
    outer.mkdir()
    (outer / "zarr.json").write_text('{"attributes": {"encoding-type": "anndata"}}')
    return outer


@pytest.mark.parametrize(
    ("place", "text"),
    [
        (_is, "is the input store itself"),
        (_dotted, "is the input store itself"),
        (_linked, "is the input store itself"),
        (_within, "lies inside the input store"),
        (_within_file, "lies inside the input store"),
        (_around, "contains the input store"),
    ],
)
def test_the_input_is_never_the_output(store, call, contents, embedding, place, text):
    (store.parent / "elsewhere").mkdir()
    path = place(store)
    if place is _around:
        store = store.rename(path / store.name)
    before = contents(store)
    done = call("embed", store, "--model", "mean-marker", "--output", path, "--overwrite")
    assert done.exit_code == 1
    assert text in done.stderr
    assert "Leave --output out" in done.stderr
    assert embedding == []
    assert contents(store) == before


def _other_store(path, store):
    shutil.copytree(store, path)


def _notes(path, store):
    path.mkdir()
    (path / "notes.txt").write_text("mine")


def _file(path, store):
    path.write_text("mine")


@pytest.mark.parametrize(
    ("make", "name", "text"),
    [
        (
            _other_store,
            "other.zarr",
            "other.zarr is a SpatialData store; --overwrite replaces a .zarr only if it is an AnnData store",
        ),
        (_notes, "other.zarr", "other.zarr is a folder of another kind; --overwrite"),
        (_file, "other.zarr", "other.zarr is a file; --overwrite"),
        (
            _notes,
            "other.h5ad",
            "other.h5ad is a folder of another kind; --overwrite replaces a .h5ad only if it is a file",
        ),
    ],
)
def test_only_tables_are_overwritten(store, call, contents, embedding, tmp_path, make, name, text):
    path = tmp_path / name
    make(path, store)
    before = contents(tmp_path)
    done = call("embed", store, "--model", "mean-marker", "--output", path, "--overwrite")
    assert done.exit_code == 1
    assert text in done.stderr
    assert "Choose another --output, or move what is there away first." in done.stderr
    assert embedding == []
    assert contents(tmp_path) == before


def test_a_table_in_the_older_format_is_overwritten(store, call, table, tmp_path):
    path = tmp_path / "cells.zarr"
    anndata.io.write_elem(zarr.open_group(path, mode="w", zarr_format=2), "/", anndata.AnnData(obs={"old": [1.0]}))
    assert call("embed", store, "--model", "mean-marker", "--output", path, "--overwrite").exit_code == 0
    assert "X_mean_marker" in anndata.read_zarr(path).obsm
    assert not (path / ".zattrs").exists()


@pytest.mark.parametrize("suffix", [".h5ad", ".zarr"])
def test_a_failed_last_step_puts_the_replaced_output_back(table, contents, monkeypatch, tmp_path, suffix):
    path = tmp_path / f"cells{suffix}"
    _output.OutputFile(path).write(table, "table")
    before = contents(tmp_path)

    def gone(self, target):
        raise OSError("the disk is gone")

    monkeypatch.setattr(_output.Path, "replace", gone)
    table["table"].obs["new"] = 1.0
    with pytest.raises(OSError, match="the disk is gone"):
        _output.OutputFile(path).write(table, "table")
    assert contents(tmp_path) == before
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
