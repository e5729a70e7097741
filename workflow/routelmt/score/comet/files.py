"""Where a checkpoint and its encoder are: a local folder, or a snapshot of a hub repository."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from routelmt.checkpoints import find_snapshot
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
_SHA256 = re.compile(r"[0-9a-f]{64}")


def find_checkpoint(path: str, revision: str | None) -> Path:
    """Folder with hparams.yaml and checkpoints/model.ckpt (COMET's layout); UserError if none."""
    files = [HPARAMS.as_posix(), WEIGHTS.as_posix()]
    what = f"checkpoint '{path}'"
    root = find_snapshot(path, revision, files, what, "path", "metric")
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
    what = f"encoder '{name}' ({who})"
    folder = find_snapshot(name, revision, _ENCODER_FILES, what, "encoder", "metric")
    if not (folder / "config.json").is_file():
        raise UserError(
            f"{folder}/config.json: no such file. An encoder is a folder with config.json and the "
            "tokenizer's files, without weights; set 'encoder' of the metric in the config."
        )
    return folder


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
