"""Files from the Hugging Face hub, with the user's own login and cache.

Tokens are never read here, logged or stored.
"""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from kronos_sc._core.log import info
from kronos_sc.models._weights import read_config

if TYPE_CHECKING:
    from collections.abc import Iterator


def fetch(repository: str, *, local_only: bool = False) -> Path:
    """Return the local folder of a hub repository, downloading what is missing.

    Parameters
    ----------
    repository
        `owner/name`.
    local_only
        Look into the cache and nowhere else.
    """
    without = (
        "bring them here in a folder and pass its path; without weights there are 'kronos-untrained' and 'mean-marker'"
    )
    folder = _download(repository, ["config.json"], without, local_only=local_only)
    config = read_config(folder)
    if "pretrained_cfg" in config and "model_type" not in config:
        msg = f"{repository!r} holds a network of timm. Load it as 'timm:hf-hub:{repository}'."
        raise ValueError(msg)
    # only the weights that config.json describes: a repository may hold several
    weights = f"kronos_{config.get('model_type')}_model.pt"
    files = ["config.json", "model.safetensors", "marker_metadata.csv", weights]
    folder = _download(repository, files, without, local_only=local_only)
    info(f"model files of {repository} are in the Hugging Face cache")
    return folder


def fetch_weights(repository: str, name: str) -> Path:
    """Return the local path of one file of a hub repository, downloading it if it is missing.

    Parameters
    ----------
    repository
        `owner/name`.
    name
        Name of the file.
    """
    without = f"bring {name} here and pass its path as weights="
    path = _download(repository, [name], without, local_only=False) / name
    if not path.is_file():  # offline, a cached folder is returned whatever it holds
        msg = (
            f"{name!r} of {repository!r} is not in the local cache, and the hub gave none. Connect once, or {without}."
        )
        raise ConnectionError(msg)
    info(f"{name} of {repository} is in the Hugging Face cache")
    return path


def _download(repository: str, patterns: list[str], without: str, *, local_only: bool) -> Path:
    """Return the local folder of a hub repository with some of its files."""
    from huggingface_hub import snapshot_download

    with explain_errors(repository, without):
        return Path(snapshot_download(repository, allow_patterns=patterns, local_files_only=local_only))


@contextmanager
def explain_errors(repository: str, without: str) -> Iterator[None]:
    """Turn errors of the hub into ones that say how to get access.

    Parameters
    ----------
    repository
        `owner/name`.
    without
        What to do where there is no connection.
    """
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )
    from huggingface_hub.utils import HFValidationError

    page = f"https://huggingface.co/{repository}"
    try:
        yield
    except GatedRepoError as error:
        msg = (
            f"Access to {repository!r} has not been granted to you. Ask for it at {page}, then log in with `hf auth "
            "login` and try again."
        )
        raise PermissionError(msg) from error
    except RepositoryNotFoundError as error:
        msg = (
            f"{repository!r} was not found on the hub, or it is private or gated and you are not logged in. "
            f"Open {page}, ask for access if it is gated, then log in with `hf auth login`."
        )
        raise PermissionError(msg) from error
    except HFValidationError as error:
        msg = f"{repository!r} is not a hub repository name. Write 'hf-hub:owner/name'."
        raise ValueError(msg) from error
    except (EntryNotFoundError, HfHubHTTPError, OSError) as error:  # a file that is not cached is an OSError too
        if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
            msg = f"{repository!r} lacks a file that its kind of model has ({error}). Look at {page} for what it holds."
            raise FileNotFoundError(msg) from error
        msg = (
            f"{repository!r} is not in the local cache and the hub cannot be reached ({type(error).__name__}). "
            f"Connect once, or fetch what {page} holds elsewhere and {without}."
        )
        raise ConnectionError(msg) from error
