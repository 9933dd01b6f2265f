"""Files from the Hugging Face hub, with the user's own login and cache; tokens are never read here, logged or stored."""

from __future__ import annotations

from pathlib import Path

from kronos_sc._core.log import info
from kronos_sc.models._weights import read_config


def fetch(repository: str, *, local_only: bool = False) -> Path:
    """Return the local folder of a hub repository, downloading what is missing.

    Parameters
    ----------
    repository
        `owner/name`.
    local_only
        Look into the cache and nowhere else.
    """
    folder = _download(repository, ["config.json"], local_only=local_only)
    # only the weights that config.json describes: a repository may hold several
    weights = f"kronos_{read_config(folder).get('model_type')}_model.pt"
    folder = _download(repository, ["config.json", "model.safetensors", "marker_metadata.csv", weights], local_only=local_only)
    info(f"model files of {repository} are in the Hugging Face cache")
    return folder


def _download(repository: str, patterns: list[str], *, local_only: bool) -> Path:
    """Return the local folder of a hub repository with some of its files, or raise an error that says how to get them."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError
    from huggingface_hub.utils import HFValidationError

    page = f"https://huggingface.co/{repository}"
    try:
        return Path(snapshot_download(repository, allow_patterns=patterns, local_files_only=local_only))
    except GatedRepoError as error:
        msg = f"Access to {repository!r} has not been granted to you. Ask for it at {page}, then log in with `hf auth login` and try again."
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
    except (HfHubHTTPError, OSError) as error:  # a file that is not cached is an OSError too
        msg = (
            f"{repository!r} is not in the local cache and the hub cannot be reached ({type(error).__name__}). "
            f"Connect once, or copy the files of {page} into a folder and pass its path; without weights there are 'kronos-untrained' and 'mean-marker'."
        )
        raise ConnectionError(msg) from error
