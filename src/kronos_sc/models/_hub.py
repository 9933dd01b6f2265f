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
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError
    from huggingface_hub.utils import HFValidationError

    page = f"https://huggingface.co/{repository}"
    try:
        folder = Path(snapshot_download(repository, allow_patterns=["config.json"], local_files_only=local_only))
        # only the weights that config.json describes: a repository may hold several
        model_type = read_config(folder).get("model_type")
        wanted = ["config.json", "model.safetensors", "marker_metadata.csv", f"kronos_{model_type}_model.pt"]
        folder = Path(snapshot_download(repository, allow_patterns=wanted, local_files_only=local_only))
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
    except FileNotFoundError as error:
        if isinstance(error, LocalEntryNotFoundError):
            raise ConnectionError(_unreachable(repository, page, error)) from error
        raise
    except (HfHubHTTPError, OSError) as error:
        raise ConnectionError(_unreachable(repository, page, error)) from error
    info(f"model files of {repository} are in the Hugging Face cache")
    return folder


def _unreachable(repository: str, page: str, error: Exception) -> str:
    return (
        f"{repository!r} is not in the local cache and the hub cannot be reached ({type(error).__name__}). "
        f"Connect once, or copy the files of {page} into a folder and pass its path; without weights there are 'kronos-untrained' and 'mean-marker'."
    )
