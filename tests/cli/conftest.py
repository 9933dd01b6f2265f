import shutil
import warnings

import pytest
from typer.testing import CliRunner


@pytest.fixture
def call():
    """Return a function that runs the command line and returns exit code, standard output and standard error."""
    from kronos_sc._cli import app

    def run(*arguments):
        done = CliRunner().invoke(app, [str(argument) for argument in arguments])
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done

    return run


@pytest.fixture(scope="session")
def checkpoint(tiny, tmp_path_factory):
    """A folder with a network that takes milliseconds."""
    from kronos_sc import models

    folder = tmp_path_factory.mktemp("models") / "tiny"
    models.save(tiny, folder)
    return folder


@pytest.fixture(scope="session")
def _tissue_on_disk(tmp_path_factory):
    """A simulated tissue, written once."""
    from kronos_sc import datasets

    path = tmp_path_factory.mktemp("tissue") / "tissue.zarr"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        datasets.tissue(shape=(128, 128), channels=["DAPI", "CD8", "CYTOKERATIN", "CD31"], rng=2).write(path)
    return path


@pytest.fixture
def store(_tissue_on_disk, tmp_path):
    """A simulated tissue on disk, which the test may change."""
    return shutil.copytree(_tissue_on_disk, tmp_path / "tissue.zarr")


@pytest.fixture
def contents():
    """Return every file of a folder with its bytes, but for those under the given places."""

    def read(folder, *without):
        files = (path for path in folder.rglob("*") if path.is_file())
        names = {str(path.relative_to(folder)): path for path in files}
        return {name: path.read_bytes() for name, path in names.items() if not name.startswith(without)}

    return read


@pytest.fixture
def embedding(monkeypatch):
    """Count how often anything is embedded."""
    from kronos_sc import tl

    calls = []
    monkeypatch.setattr(tl, "embed", lambda *args, **kwargs: calls.append(kwargs))
    return calls
