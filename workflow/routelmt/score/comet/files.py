"""Where a checkpoint and its encoder are: a local folder, or a snapshot of a hub repository."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from routelmt.errors import UserError

WEIGHTS = Path("checkpoints") / "model.ckpt"
HPARAMS = Path("hparams.yaml")
# A checkpoint holds the encoder's weights; of the encoder's own repository these suffice.
_ENCODER_FILES = [
    "config.json",
    "tokenizer*",
    "sentencepiece*",
    "special_tokens_map.json",
    "vocab*",
]
_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def find_checkpoint(path: str, revision: str | None) -> Path:
    """Folder with hparams.yaml and checkpoints/model.ckpt (COMET's layout); UserError if none."""
    files = [HPARAMS.as_posix(), WEIGHTS.as_posix()]
    root = find_snapshot(path, revision, files, f"checkpoint '{path}'", "path")
    for file in (HPARAMS, WEIGHTS):
        if not (root / file).is_file():
            raise UserError(
                f"{root / file}: no such file. A checkpoint is a folder with {HPARAMS} and "
                f"{WEIGHTS}, as COMET publishes them; correct 'path' under 'metrics' in the config."
            )
    return root


def find_encoder(name: str, revision: str | None, chosen: bool) -> Path:
    """Folder with the encoder's config.json and tokenizer; UserError if there is none.

    chosen: whether the config names it, not the checkpoint.
    """
    who = "'encoder' in the config" if chosen else "what the checkpoint was trained from"
    folder = find_snapshot(name, revision, _ENCODER_FILES, f"encoder '{name}' ({who})", "encoder")
    if not (folder / "config.json").is_file():
        raise UserError(
            f"{folder}/config.json: no such file. An encoder is a folder with config.json and the "
            "tokenizer's files, without weights; set 'encoder' of the metric in the config."
        )
    return folder


def find_snapshot(name: str, revision: str | None, files: list[str], what: str, key: str) -> Path:
    """The folder that `name` is, or a snapshot of `files` of the hub repository that it names.

    what: how errors call it. key: the metric's setting that names it. Raises UserError if there is
    neither.
    """
    if Path(name).is_dir():
        return Path(name)
    if not _HUB_NAME.fullmatch(name):
        raise UserError(
            f"{what}: no such folder, and not a hub name either. Correct '{key}' of the metric in "
            "the config."
        )
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=files))
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno:  # disk full, no permission
            raise
        raise UserError(f"{what}: {_refusal(error, name, revision)}") from None


def _refusal(error: Exception, name: str, revision: str | None) -> str:
    """Why the hub did not give a snapshot, and what to do."""
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        GatedRepoError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    page = f"{constants.ENDPOINT}/{name}"
    at = f" at revision {revision}" if revision else ""
    if isinstance(error, GatedRepoError):
        return (
            f"its licence must be accepted. Log in at {page}, accept it, make an access token "
            "there and put it into the environment variable HF_TOKEN."
        )
    if isinstance(error, RepositoryNotFoundError):
        return f"no such folder, and {page} does not exist, or is private and needs HF_TOKEN."
    if isinstance(error, RevisionNotFoundError):
        return f"{page} has no revision '{revision}'. Correct 'revision' of the metric."
    if constants.HF_HUB_OFFLINE:
        return (
            f"no such folder, and not in the hub cache {constants.HF_HUB_CACHE}{at}, while "
            f"HF_HUB_OFFLINE forbids to download. Run `hf download {name}"
            f"{f' --revision {revision}' if revision else ''}` where there is internet."
        )
    return f"no such folder, and {page}{at} cannot be reached ({type(error).__name__}: {error})."


def weights_hash(path: Path) -> str:
    """SHA-256 of a file of weights, without reading it where it is known already.

    The hub's cache names files by it. Of other files it is kept in ~/.cache/routelmt, by place,
    size and time of change: a 43 GB file takes half a minute in every job otherwise.
    """
    file = path.resolve()
    if file.parent.name == "blobs" and _SHA256.fullmatch(file.name):
        return file.name
    status = file.stat()
    key = hashlib.blake2b(
        f"{file}\0{status.st_size}\0{status.st_mtime_ns}".encode(), digest_size=16
    )
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    kept = cache / "routelmt" / "sha256" / key.hexdigest()
    if kept.is_file() and _SHA256.fullmatch(found := kept.read_text().strip()):
        return found
    with file.open("rb") as handle:
        digest = hashlib.file_digest(handle, "sha256").hexdigest()
    _keep(kept, digest)
    return digest


def _keep(path: Path, text: str) -> None:
    """Write if that is possible: a cache that cannot be written is no error."""
    from routelmt.tables import atomic_path

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            Path(temporary).write_text(text + "\n")
    except OSError:
        return
