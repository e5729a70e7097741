"""Models of others: where they are, on disk or on the hub, and what their files may hold.

Nothing here runs code that came with a model.
"""

from __future__ import annotations

import errno
import pickle
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from routelmt.errors import UserError

_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")
_PARTS = ("state_dict", "hyper_parameters")


def find_snapshot(
    name: str, revision: str | None, files: Sequence[str], what: str, key: str, of: str
) -> Path:
    """The folder `name`, or a snapshot of `files` of the hub repository `name`.

    what: how errors call it, with its name. key: the setting that names it, `of` a router or a
    metric. Raises UserError if there is neither, or the hub cannot be asked.
    """
    if Path(name).is_dir():
        return Path(name)
    if not _HUB_NAME.fullmatch(name):
        raise UserError(
            f"{what}: no such folder, and not a hub name either. Correct '{key}' of the "
            f"{of} in the config."
        )
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(files)))
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno:  # disk full, no permission
            raise
        at = f" at revision {revision}" if revision else ""
        why = _refusal(error, name, revision, key, of)
        raise UserError(f"{what}{at}: no such folder, and {why}") from None


def _refusal(error: Exception, name: str, revision: str | None, key: str, of: str) -> str:
    """Why the hub did not give a snapshot, and what to do."""
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        GatedRepoError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    page = f"{constants.ENDPOINT}/{name}"
    if isinstance(error, GatedRepoError):
        return (
            f"its licence must be accepted: log in at {page}, accept it, and put an access token "
            "into the environment variable HF_TOKEN."
        )
    if isinstance(error, RepositoryNotFoundError):
        return f"{page} does not exist, or is private and needs HF_TOKEN."
    if isinstance(error, RevisionNotFoundError):
        return f"{page} has no such revision. Correct 'revision' of the {of}."
    why = f"{page} cannot be reached ({type(error).__name__}: {error})."
    if constants.HF_HUB_OFFLINE:
        why = (
            f"it is not in the hub cache {constants.HF_HUB_CACHE}, while HF_HUB_OFFLINE forbids "
            "to download."
        )
    option = f" --revision {revision}" if revision else ""
    return (
        f"{why} Run `hf download {name}{option}` where there is internet, or set '{key}' to a "
        "folder."
    )


def check_class(path: Path, allowed: Sequence[str]) -> str:
    """class_identifier of an hparams.yaml; UserError unless it is one of `allowed`."""
    import yaml

    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not YAML of plain values ({error}).") from None
    kind = found.get("class_identifier") if isinstance(found, dict) else None
    if kind not in allowed:
        raise UserError(
            f"{path}: class_identifier is {kind!r}, which cannot run here; allowed: "
            f"{', '.join(allowed)}."
        )
    return str(kind)


def read_checkpoint(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """(weights by name, hyper-parameters) of a checkpoint of COMET's kind: never code.

    Tensors are mapped, not yet read. Raises UserError for anything else.
    """
    import torch

    try:
        saved = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path}: not loaded, it holds more than weights and plain values, and unpacking that "
            f"could run code of whoever made the file ({str(error).splitlines()[0]}) If you trust "
            "it, save its 'state_dict' and 'hyper_parameters' alone with torch.save and use that "
            "file."
        ) from None
    except (RuntimeError, EOFError, ValueError, OSError) as error:
        if isinstance(error, OSError) and error.errno != errno.EINVAL:  # no permission
            raise
        raise UserError(
            f"{path}: not a checkpoint, or cut short ({str(error).splitlines()[0]}). Copy or "
            "download it again."
        ) from None
    missing = set(_PARTS) - set(saved if isinstance(saved, dict) else ())
    if missing:
        raise UserError(f"{path}: holds no {' and no '.join(sorted(missing))}: not a checkpoint.")
    weights, hyper_parameters = (dict(saved[part]) for part in _PARTS)
    return weights, hyper_parameters
