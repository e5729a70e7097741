"""Where a router's encoder or checkpoint is: a local folder, or a snapshot in the hub's cache."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from routelmt.errors import UserError

_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")


def find_folder(name: str, revision: str | None, files: Sequence[str], what: str, key: str) -> Path:
    """The folder `name`, or a snapshot of `files` of the hub repository `name`.

    what: how errors call it. key: the router's setting that names it. Raises UserError if there
    is neither, or the hub cannot be asked.
    """
    if Path(name).is_dir():
        return Path(name)
    if not _NAME.fullmatch(name):
        raise UserError(
            f"{what} '{name}': no such folder, and not a hub name either. Correct '{key}' of the "
            "router in the config."
        )
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(files)))
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno:  # disk full, no permission
            raise
        raise UserError(_refusal(error, name, revision, what, key)) from None


def _refusal(error: Exception, name: str, revision: str | None, what: str, key: str) -> str:
    """Why the hub did not give a snapshot, and what to do."""
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        GatedRepoError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    page = f"{constants.ENDPOINT}/{name}"
    at = f" at revision {revision}" if revision else ""
    option = f" --revision {revision}" if revision else ""
    start = f"{what} '{name}'{at}: no such folder, and"
    if isinstance(error, GatedRepoError):
        return (
            f"{start} its licence must be accepted: log in at {page}, accept it, and put an access "
            "token into the environment variable HF_TOKEN."
        )
    if isinstance(error, RepositoryNotFoundError):
        return f"{start} {page} does not exist, or is private and needs HF_TOKEN."
    if isinstance(error, RevisionNotFoundError):
        return f"{start} {page} has no such revision. Correct 'revision' of the router."
    if constants.HF_HUB_OFFLINE:
        return (
            f"{start} it is not in the hub cache {constants.HF_HUB_CACHE}, while HF_HUB_OFFLINE "
            f"forbids to download. Run `hf download {name}{option}` where there is internet, or "
            f"set '{key}' to a folder."
        )
    return (
        f"{start} {page} cannot be reached ({type(error).__name__}). Run `hf download "
        f"{name}{option}` where there is internet, or set '{key}' to a folder."
    )
