"""Sentinel-src: how hard a source is to translate, by a published model that reads it alone.

Reads the checkpoints of Proietti et al. 2025 (Sentinel-src-24, -25) and of Perrella et al. 2024 in
the layout they are published in: hparams.yaml and checkpoints/model.ckpt, a Lightning checkpoint.
The last layer's state of the first token of an XLM-RoBERTa goes through a feed-forward network
(published: 1024 -> 512 -> 128 -> 1, tanh between).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from routelmt.checkpoints import check_class, find_snapshot, read_checkpoint
from routelmt.device import find_device
from routelmt.errors import UserError
from routelmt.routers.inputs import Priorities, RouterContext, RouterInputs
from routelmt.routers.networks.encoder_model import (
    TOKENIZER_FILES,
    Encoder,
    read_distinct,
    read_tokenizer,
)
from routelmt.routers.registry import RouterType

BEHAVIOUR = 1
ROUTER = RouterType(costs=("encoder",))

HPARAMS = Path("hparams.yaml")
WEIGHTS = Path("checkpoints") / "model.ckpt"
CLASS = "sentinel_regression_metric"
ENCODERS = {"XLM-RoBERTa": "xlm-roberta"}  # their name: transformers' model_type
ACTIVATIONS = ("Tanh", "Sigmoid", "Hardtanh")  # their lookup finds no name with two capitals
# Left in checkpoints by older libraries; no score depends on them.
_UNUSED = re.compile(r"encoder\.model\.(embeddings\.(position|token_type)_ids|pooler\..*)")
_SHOWN = 3


def predict(spec: Mapping[str, Any], inputs: RouterInputs, context: RouterContext) -> Priorities:
    """(score, -score) of each row: the higher the score, the easier the source.

    spec: path, revision, encoder, encoder_revision. The direction is not read. Raises UserError for
    a checkpoint that is missing, cut short, or another kind of model.
    """
    import torch

    torch.set_num_threads(context.speed["threads"])
    encoder, estimator = load(spec, find_device(context.speed["device"]))
    rows = read_distinct(encoder.tokenizer, inputs.sources, None, encoder.positions)
    if rows.truncated:
        print(
            f"{spec['type']}: {rows.truncated:,} sources are longer than {encoder.positions} "
            "tokens; their ends were not read",
            file=sys.stderr,
        )

    def score(ids: Sequence[Sequence[int]]) -> Any:
        return estimator(encoder.first(ids))

    values = encoder.each(rows.ids, score, 1, context.speed["batch_tokens"], "sentinel")
    scores: npt.NDArray[np.float64] = values[rows.of_row, 0].astype(np.float64)
    if not np.isfinite(scores).all():
        raise UserError(f"sentinel '{spec['path']}': its scores are not finite numbers.")
    return scores, -scores


def load(spec: Mapping[str, Any], device: str) -> tuple[Encoder, Any]:
    """(encoder, feed-forward network) of a checkpoint, in float32 on the device."""
    files = (HPARAMS.as_posix(), WEIGHTS.as_posix())
    what = f"sentinel '{spec['path']}'"
    root = find_snapshot(spec["path"], spec.get("revision"), files, what, "path", "router")
    _check_class(root)
    state, hparams = read_checkpoint(root / WEIGHTS)
    _check_hparams(hparams, root / WEIGHTS)
    name = spec.get("encoder") or hparams["pretrained_model"]
    revision = spec.get("encoder_revision")
    what = f"sentinel's encoder '{name}'"
    folder = find_snapshot(name, revision, TOKENIZER_FILES, what, "encoder", "router")
    model = _encoder(folder, hparams["encoder_model"])
    estimator = _estimator(model.config.hidden_size, hparams)
    _fill({"encoder.model.": model, "estimator.ff.": estimator}, state, root / WEIGHTS)
    tokenizer = read_tokenizer(folder, "encoder")
    if len(tokenizer) > model.config.vocab_size:
        raise UserError(
            f"{folder}: {len(tokenizer):,} tokens in its tokenizer, {model.config.vocab_size:,} in "
            "the checkpoint. Correct 'encoder' of the router in the config."
        )
    return (
        Encoder(model.to(device).eval(), tokenizer, "float32", device),
        estimator.to(device).eval(),
    )


def _check_class(root: Path) -> None:
    """UserError unless it is the folder of a sentinel regression model."""
    if not (root / WEIGHTS).is_file():
        raise UserError(
            f"{root / WEIGHTS}: no such file. A sentinel checkpoint is a folder with {HPARAMS} and "
            f"{WEIGHTS}; correct 'path' of the router in the config."
        )
    if (root / HPARAMS).is_file():  # upstream loads a folder without it too
        check_class(root / HPARAMS, (CLASS,))


def _check_hparams(hparams: dict[str, Any], path: Path) -> None:
    """Upstream's defaults filled in; UserError where they describe a model of another kind."""
    for key, value in {
        "encoder_model": "XLM-RoBERTa", "pretrained_model": "xlm-roberta-large",
        "activations": "Tanh", "final_activation": None, "sent_to_use": "mt",
    }.items():  # fmt: skip
        hparams.setdefault(key, value)
    if hparams["sent_to_use"] != "src":
        raise UserError(
            f"{path}: a sentinel that reads {hparams['sent_to_use']!r}; only those that read the "
            "source ('src') can route before translating."
        )
    used = [hparams["activations"], *filter(None, [hparams["final_activation"]])]
    if hparams["encoder_model"] not in ENCODERS or {a.title() for a in used} - {*ACTIVATIONS}:
        raise UserError(
            f"{path}: encoder {hparams['encoder_model']!r} with activations "
            f"{', '.join(map(repr, used))}; supported: {', '.join(ENCODERS)} with "
            f"{', '.join(ACTIVATIONS)}."
        )
    if not hparams.get("hidden_sizes"):
        raise UserError(f"{path}: its hyper_parameters have no 'hidden_sizes'.")


def _encoder(folder: Path, name: str) -> Any:
    """An encoder without a pooling layer, its weights still to be filled in."""
    from transformers import AutoConfig, AutoModel

    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{folder}: its config.json cannot be read ({str(error).splitlines()[0]}). Correct "
            "'encoder' of the router in the config."
        ) from None
    if config.model_type != ENCODERS[name]:
        raise UserError(
            f"{folder}: an encoder of type {config.model_type}; the checkpoint's is {name}. "
            "Correct 'encoder' of the router in the config."
        )
    return AutoModel.from_config(config, add_pooling_layer=False, attn_implementation="sdpa")


def _estimator(hidden: int, hparams: Mapping[str, Any]) -> Any:
    """The feed-forward network; dropout keeps its place in the names of the weights."""
    from torch import nn

    layers: list[Any] = []
    width = hidden
    for size in hparams["hidden_sizes"]:
        activation = getattr(nn, hparams["activations"].title())
        layers += [nn.Linear(width, size), activation(), nn.Dropout(0.0)]
        width = size
    layers.append(nn.Linear(width, 1))
    if hparams["final_activation"]:
        layers.append(getattr(nn, hparams["final_activation"].title())())
    return nn.Sequential(*layers)


def _fill(parts: Mapping[str, Any], state: Mapping[str, Any], path: Path) -> None:
    """Put the weights in by prefix: all that the model has, and none that it has not."""
    wanted = {p + k: v.shape for p, part in parts.items() for k, v in part.state_dict().items()}
    found = {k: v for k, v in state.items() if not _UNUSED.fullmatch(k)}
    problems = [f"no {k}" for k in wanted.keys() - found.keys()]
    problems += [f"{k} is not of it" for k in found.keys() - wanted.keys()]
    problems += [
        f"{k} has shape {tuple(found[k].shape)} instead of {tuple(shape)}"
        for k, shape in wanted.items()
        if k in found and found[k].shape != shape
    ]
    if problems:
        listed = "; ".join(sorted(problems)[:_SHOWN])
        raise UserError(
            f"{path}: its weights do not fit the model ({len(problems):,} problems, first: "
            f"{listed}). The checkpoint and 'encoder' must be of one model."
        )
    for prefix, part in parts.items():
        part.load_state_dict({k: found[prefix + k] for k in part.state_dict()})
