"""The small model as a router's base: its decoder, its tokenizer, and which weights they are."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from routelmt.errors import UserError
from routelmt.strict_json import JsonError, parse_object

WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class BaseModel:
    """A loaded causal language model, its tokenizer, and the SHA-256 of its weight files."""

    causal: Any
    tokenizer: Any
    weights_sha256: str

    @property
    def hidden_size(self) -> int:
        """Width of the decoder's states."""
        return int(self.causal.config.get_text_config(decoder=True).hidden_size)

    def longest(self, wanted: int) -> int:
        """Tokens of a prompt: as many as wanted, but no more than the model was made for."""
        config = self.causal.config.get_text_config(decoder=True)
        return min(wanted, getattr(config, "max_position_embeddings", None) or wanted)


def load_base(
    model: Mapping[str, Any],
    dtype: str,
    device: str,
    training: bool,
    expected: str | None = None,
    layers: int | None = None,
) -> BaseModel:
    """The base model on `device`, its weights hashed; never code that comes with a model.

    model: path (folder or hub name) and revision. expected: SHA-256 that the weights must have.
    layers: keep the first so many decoder layers; the others never reach the device.
    Raises UserError if the model is missing, cannot be loaded, is another one, or has fewer layers.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    path, revision = model["path"], model.get("revision")
    options = {
        "revision": revision,
        "trust_remote_code": False,
        "local_files_only": Path(path).is_dir(),
    }
    # On the CPU the fused attention's backward pass over many short rows takes a third of a step.
    attention = "eager" if training and device == "cpu" else "sdpa"
    try:
        found = weights_hash(model_folder(path, revision))
        if expected not in (None, found):
            raise UserError(other_weights(path, str(expected), found))
        tokenizer = AutoTokenizer.from_pretrained(path, **options)
        causal = AutoModelForCausalLM.from_pretrained(
            path, dtype=getattr(torch, dtype), attn_implementation=attention,
            use_safetensors=True, **options,
        )  # fmt: skip
    except (OSError, ValueError) as error:
        raise UserError(
            f"base model '{path}'{f' at revision {revision}' if revision else ''} cannot be "
            f"loaded: {error} Needed: a folder with config.json, safetensors weights and the "
            "tokenizer's files, or a model in the hub's local cache. If it has moved, give its "
            "folder with --base."
        ) from None
    keep_layers(causal.get_decoder(), layers, path)
    return BaseModel(causal.to(device), tokenizer, found)


def keep_layers(decoder: Any, count: int | None, path: str) -> None:
    """Leave a decoder its first `count` layers and the final norm; all of them if None."""
    if count is None:
        return
    if not 1 <= count <= len(decoder.layers):
        raise UserError(
            f"layer: found {count}, and base model '{path}' has layers 1 to {len(decoder.layers)}."
        )
    decoder.layers = decoder.layers[:count]
    # Some decoders loop over config.num_hidden_layers, others over their list.
    decoder.config.num_hidden_layers = count


def other_weights(path: str, expected: str, found: str) -> str:
    """What to say of a base model that is not the one a router was trained on."""
    return (
        f"base model '{path}': its weights (SHA-256 {found[:12]}) are not the ones this router was "
        f"trained on ({expected[:12]}); its predictions would mean nothing. Give the folder of the "
        "original model with --base, or train the router again."
    )


def model_folder(path: str, revision: str | None) -> Path:
    """Local folder of a model: `path` itself, or its snapshot in the hub's cache.

    Raises OSError if there is neither.
    """
    if Path(path).is_dir():
        return Path(path)
    from transformers.utils import cached_file

    # The index names the shards; a model without one has a single file.
    file = cached_file(path, f"{WEIGHTS}.index.json", revision=revision,
                       _raise_exceptions_for_missing_entries=False)  # fmt: skip
    return Path(file or cached_file(path, WEIGHTS, revision=revision)).parent


def weights_hash(folder: Path) -> str:
    """SHA-256 over names and bytes of the safetensors weights. Raises OSError without any."""
    index = folder / f"{WEIGHTS}.index.json"
    if index.is_file():
        try:
            names = sorted(set(parse_object(index.read_bytes())["weight_map"].values()))
        except (JsonError, KeyError, AttributeError, TypeError) as error:
            raise OSError(f"{index}: damaged ({error}); copy the model again.") from None
    else:
        names = [WEIGHTS]
    digest = hashlib.sha256()
    for name in names:
        with (folder / name).open("rb") as handle:
            digest.update(f"{name}\0{hashlib.file_digest(handle, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()
