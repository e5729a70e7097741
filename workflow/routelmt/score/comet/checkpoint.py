"""A COMET model from its checkpoint: checked, built by COMET's own class, and filled strictly."""

from __future__ import annotations

import hashlib
import inspect
import re
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from routelmt.checkpoints import check_class, read_checkpoint
from routelmt.errors import UserError
from routelmt.score.comet.files import HPARAMS, WEIGHTS, find_checkpoint, find_encoder, weights_hash

# Classes that score a text by itself; the ranking metric only orders.
CLASSES = (
    "xcomet_metric",
    "unified_metric",
    "regression_metric",
    "referenceless_regression_metric",
)
# In files of older libraries; no score depends on them.
_UNUSED = re.compile(r"encoder\.model\.(embeddings\.position_ids|pooler\..*)")
# What the class itself computes, for training only.
_TRAINING_ONLY = re.compile(r"wordloss\.weight|layerwise_attention\.dropout_(mask|fill)")
_SHOWN = 3


def load(settings: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """(model on the CPU, what identifies it: class, checkpoint, encoder).

    The encoder's weights are in the settings' dtype, the small heads in float32. Raises UserError
    for whatever is missing, does not fit, or could run code.
    """
    root = find_checkpoint(settings["path"], settings["revision"])
    kind = check_class(root / HPARAMS, CLASSES)
    state, hparams = read_checkpoint(root / WEIGHTS)
    encoder = find_encoder(
        settings["encoder"] or hparams.get("pretrained_model", ""),
        settings.get("encoder_revision"),
        bool(settings["encoder"]),
    )
    model = _build(kind, hparams, encoder, settings["dtype"], root)
    tokenizer = model.encoder.tokenizer.backend_tokenizer.to_str()
    identity = {
        "class": kind,
        "checkpoint": weights_hash(root / WEIGHTS),
        "encoder": hashlib.sha256(
            (encoder / "config.json").read_bytes() + tokenizer.encode()
        ).hexdigest(),
    }
    _fill(model, state, root / WEIGHTS)
    return model.eval(), identity


def _build(kind: str, hparams: dict[str, Any], encoder: Path, dtype: str, root: Path) -> Any:
    """The class's model with memory for its weights, which hold nothing yet."""
    import torch
    from transformers.modeling_utils import no_init_weights

    cls: Any = import_module("comet.models").str2model[kind]
    known = inspect.signature(cls.__init__).parameters
    arguments = {k: v for k, v in hparams.items() if k in known}
    local = {
        "pretrained_model": str(encoder),
        "load_pretrained_weights": False,
        "local_files_only": True,
    }
    try:
        with no_init_weights():  # ten billion random numbers would only be overwritten
            model = cls(**{**arguments, **local})
    except Exception as error:  # whatever COMET and transformers raise for settings that do not fit
        raise UserError(
            f"{root}: {kind} cannot be built from its hyper_parameters and the config and "
            f"tokenizer in {encoder} ({type(error).__name__}: {error}). Is that the encoder that "
            "this checkpoint was trained from? Set 'encoder' of the metric in the config."
        ) from None
    _check_encoder(model.encoder, encoder)
    # Before the weights are there: a model of 43 GB in float32 never is in memory as such.
    model.encoder.to(getattr(torch, dtype))
    return model


def _check_encoder(encoder: Any, folder: Path) -> None:
    """UserError where config and tokenizer are of another encoder than the checkpoint's."""
    import json

    config = encoder.model.config
    wanted, size = type(config).model_type, config.vocab_size
    found = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
    tokens = len(encoder.tokenizer)
    if found != wanted or tokens > size:
        raise UserError(
            f"{folder}: an encoder of type {found} with {tokens:,} tokens in its tokenizer; the "
            f"checkpoint's is of type {wanted} with {size:,}. Correct 'encoder' of the metric in "
            "the config."
        )


def _fill(model: Any, state: Mapping[str, Any], path: Path) -> None:
    """Put the weights in; every weight must be there, and be of the model."""
    try:
        found = model.load_state_dict(state, strict=False)
    except RuntimeError as error:
        shapes = [line.strip() for line in str(error).splitlines()[1:]]
        raise _misfit(path, shapes or [str(error)]) from None
    missing = [k for k in found.missing_keys if not _TRAINING_ONLY.fullmatch(k)]
    extra = [k for k in found.unexpected_keys if not _UNUSED.fullmatch(k)]
    if missing or extra:
        raise _misfit(path, [f"no {k}" for k in missing] + [f"{k} is not of it" for k in extra])


def _misfit(path: Path, problems: list[str]) -> UserError:
    listed = "; ".join(problems[:_SHOWN])
    return UserError(
        f"{path}: its weights do not fit the model ({len(problems):,} problems, first: {listed}). "
        f"{HPARAMS}, the checkpoint and 'encoder' must be of one model."
    )
