"""What an embedding says of the machine it was made on: nothing. What it loads: no pickle."""

from __future__ import annotations

import getpass
import pickle
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest

import kronos_sc as ks

TOKEN = "hf_" + "Qx7TopSecretOfJaneDoe"
TELLING = {
    **dict.fromkeys(("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "AWS_SECRET_ACCESS_KEY", "WANDB_API_KEY"), TOKEN),
    **dict.fromkeys(("USER", "LOGNAME", "USERNAME", "LNAME"), "jane-doe-4711"),
    "HOSTNAME": "lab-host-0815",
}


@pytest.fixture
def telling(monkeypatch, tmp_path) -> tuple[Path, list[str]]:
    """A folder, a user, a host and a token whose names nobody else has; the words that must appear nowhere."""
    for name, value in TELLING.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(getpass, "getuser", lambda: "jane-doe-4711")
    monkeypatch.setattr(socket, "gethostname", lambda: "lab-host-0815")
    folder = tmp_path / "home of jane-doe-4711" / "patient Muster-1899"
    folder.mkdir(parents=True)
    return folder, [TOKEN, "jane-doe-4711", "Muster-1899", "lab-host-0815", str(tmp_path)]


def text_of(value: Any) -> Iterator[str]:
    """Every key and every value of a record, as text."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield str(key)
            yield from text_of(item)
    elif isinstance(value, pd.DataFrame):
        yield from text_of({column: value[column].to_numpy() for column in value})
    elif isinstance(value, np.ndarray | list | tuple):
        for item in np.asarray(value, object).ravel():
            yield str(item)
    else:
        yield str(value)


def leaks(words: list[str], texts: Iterator[str]) -> list[str]:
    return [f"{word} in {text[:80]!r}" for text in texts for word in words if word in text]


def contents(folder: Path) -> Iterator[str]:
    """Every file of a store as text, small arrays decoded."""
    import zarr

    for path in folder.rglob("*"):
        yield path.relative_to(folder).as_posix()
        if path.is_file():
            yield path.read_bytes().decode("latin-1")
    group = zarr.open_group(folder, mode="r", use_consolidated=False)
    for name, array in group.members(max_depth=None):
        if isinstance(array, zarr.Array) and array.dtype.kind not in "iufb":
            yield from (f"{name}: {item}" for item in np.asarray(array[...], object).ravel())


@pytest.mark.filterwarnings("ignore")
def test_neither_records_nor_stores_nor_logs_tell_of_the_machine(telling, stored, tiny, caplog):
    folder, words = telling
    ks.models.save(tiny, folder / "a model")
    sdata = stored(folder / "tissue.zarr", shape=(90, 110))
    with caplog.at_level("DEBUG"):
        for key, how in {"kronos": {"store": True}, "memory": {}, "mean_marker": {"model": "mean-marker"}}.items():
            ks.tl.embed(sdata, **{"model": folder / "a model", "key_added": key} | how)
        table = sdata["table"]
        ks.tl.pca(table, n_comps=3)
        ks.tl.cluster(table, n_clusters=2)
        ks.tl.aggregate(table, "region")
    assert {"kronos", "memory", "mean_marker", "kronos_pca", "kronos_cluster"} <= set(table.uns)
    assert not leaks(words, text_of(dict(table.uns)))
    assert not leaks(words, contents(folder / "tissue.table.kronos.zarr"))
    assert TOKEN not in caplog.text  # logs may name the place of a store: they are not kept with the data
    table.write_zarr(folder / "out.zarr")
    assert not leaks(words, contents(folder / "out.zarr"))


def test_the_search_finds_what_is_there(tmp_path):
    table = anndata.AnnData(
        np.zeros((2, 1)),
        uns={"a": {"b": np.array(["x", "jane-doe-4711"], object), "c": pd.DataFrame({"d": ["/srv/jane"]})}},
    )
    words = ["jane-doe-4711", "/srv/jane"]
    assert len(leaks(words, text_of(dict(table.uns)))) == 2
    table.write_zarr(tmp_path / "a.zarr")
    assert {leak.split(" in ")[0] for leak in leaks(words, contents(tmp_path / "a.zarr"))} == set(words)


@pytest.fixture
def no_pickle(monkeypatch) -> list[str]:
    """Whatever is unpickled from a file from here on.

    Dask unpickles in memory what it has just pickled, to see whether the two are alike.
    """
    loaded: list[str] = []

    def refuse(name: str):
        def refused(*args, **kwargs):
            loaded.append(name)
            msg = f"pickle.{name} was called"
            raise AssertionError(msg)

        return refused

    for name in ("load", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse(name))
    return loaded


@pytest.mark.filterwarnings("ignore")
def test_nothing_is_unpickled_on_the_way_of_an_embedding(tiny, stored, tmp_path, no_pickle):
    ks.models.save(tiny, tmp_path / "model")
    sdata = stored(tmp_path / "tissue.zarr", shape=(90, 110))
    ks.tl.embed(sdata, model=tmp_path / "model", store=True)
    ks.tl.embed(sdata, model=tmp_path / "model", store=True)  # found complete
    table = sdata["table"]
    ks.io.read_embedding(table, tmp_path / "tissue.table.kronos.zarr")
    table.write_h5ad(tmp_path / "a.h5ad")
    table.write_zarr(tmp_path / "a.zarr")
    for back in (anndata.read_h5ad(tmp_path / "a.h5ad"), anndata.read_zarr(tmp_path / "a.zarr")):
        ks.get.record(back)
        ks.get.embedding(back)
    ks.tl.pca(table, n_comps=3)
    assert not no_pickle


def test_a_pickle_is_refused(tmp_path):
    """A file that would run code when unpickled is not read as weights."""

    class Bad:
        def __reduce__(self):
            return Path.touch, (tmp_path / "ran",)

    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "kronos_vits16_model.pt").write_bytes(pickle.dumps({"teacher": Bad()}))
    (folder / "config.json").write_text('{"model_type": "vits16", "token_overlap": true}')
    (folder / "marker_metadata.csv").write_text("marker_name,marker_id,marker_mean,marker_std\nDAPI,4,0.11,0.09\n")
    with pytest.raises(ValueError, match=r"pickle|safetensors|weights"):
        ks.models.load(folder)
    assert not (tmp_path / "ran").exists()
