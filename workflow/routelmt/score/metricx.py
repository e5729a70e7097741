"""MetricX-24 (Juraska et al. 2024): an mT5 that is read as a regressor of the errors of a text.

Source, hypothesis and, unless it is used reference-free, reference are one sequence of at most
1,536 tokens, the last of them (in training the end of sequence) left out. The decoder takes one
step; the logit of one reserved token, between 0 and 25, counts errors as MQM does. Scores here are
that number negated: 0 is the best, -25 the worst.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from routelmt.checkpoints import find_snapshot
from routelmt.device import find_device
from routelmt.errors import UserError
from routelmt.score.comet.files import weights_hash
from routelmt.score.scorers import Scored, Triple
from routelmt.strict_json import JsonError, parse_object
from routelmt.translate.batches import token_batches
from routelmt.translate.memory import as_memory_allows

HEAD = 250089  # <extra_id_10> of mT5's vocabulary: its logit is the score
LONGEST = 1536  # tokens that the published models were trained with
WORST = 25.0
CONFIG = "config.json"
_SAFE, _PICKLED = "*.safetensors", "pytorch_model*.bin"
_TOKENIZER = ["tokenizer*", "spiece.model", "special_tokens_map.json"]
_EMBEDDINGS = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight")  # all one: `shared`
_SHOWN = 3


def open_scorer(settings: Mapping[str, Any], speed: Mapping[str, Any]) -> MetricxScorer:
    """The scorer with its model on the device that `speed` names.

    settings: path, revision, tokenizer, tokenizer_revision, reference, dtype. Raises UserError for
    a model or tokenizer that is not there, is no MetricX, or does not fit.
    """
    import torch

    torch.set_num_threads(speed["threads"])
    device = find_device(speed["device"])
    folder, files = _checkpoint(settings["path"], settings["revision"])
    tokenizer = _tokenizer(settings["tokenizer"], settings["tokenizer_revision"])
    model, head = _load(folder, files, getattr(torch, settings["dtype"]))
    identity = {
        "checkpoint": [weights_hash(file) for file in files],
        "tokenizer": hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest(),
    }
    return MetricxScorer(model.to(device), head.to(device), tokenizer, identity, settings, speed)


class MetricxScorer:
    """A loaded model. head: the reserved token's row (hidden,) of the output layer, float32."""

    def __init__(
        self, model: Any, head: Any, tokenizer: Any, identity: Mapping[str, Any],
        settings: Mapping[str, Any], speed: Mapping[str, Any],
    ) -> None:  # fmt: skip
        self.model, self.head, self.tokenizer = model, head, tokenizer
        self.identity, self.settings, self.budget = identity, settings, speed["batch_tokens"]

    def signature(self) -> dict[str, Any]:
        """Hashes of the checkpoint and the tokenizer, dtype, reference."""
        told = {key: self.settings[key] for key in ("dtype", "reference")}
        return {"metric": "metricx", **self.identity, **told}

    def score(self, triples: Sequence[Triple]) -> Scored:
        """Scores from -25 to 0 in the triples' order; truncated: the end was not read."""
        import torch

        from routelmt.progress import progress

        if not triples:
            return Scored([], [])
        texts = [sequence(*triple, self.settings["reference"]) for triple in triples]
        encode = {"add_special_tokens": False, "return_attention_mask": False, "verbose": False}
        ids = self.tokenizer(texts, **encode)["input_ids"]
        truncated = [len(row) > LONGEST - 1 for row in ids]
        ids = [row[: LONGEST - 1] for row in ids]
        values = [0.0] * len(ids)

        def run(rows: list[int], budget: int) -> Iterator[tuple[Sequence[int], int]]:
            for batch in token_batches([len(ids[row]) for row in rows], budget):
                places = [rows[i] for i in batch]
                for row, errors in zip(places, self._errors([ids[r] for r in places]), strict=True):
                    values[row] = 0.0 - errors  # no -0.0
                yield places, len(places)

        with torch.inference_mode(), progress((), "this block", "rows", len(ids)) as bar:
            for done in as_memory_allows(range(len(ids)), self.budget, run):
                bar.update(done)
        return Scored(values, truncated)

    def _errors(self, ids: list[list[int]]) -> list[float]:
        """What the model says of some sequences, 0 to 25."""
        import torch

        device, longest = self.head.device, max(map(len, ids))
        padded = torch.tensor([row + [0] * (longest - len(row)) for row in ids], device=device)
        mask = torch.tensor([[1] * len(r) + [0] * (longest - len(r)) for r in ids], device=device)
        states = self.model.encoder(input_ids=padded, attention_mask=mask).last_hidden_state
        first = self.model.decoder(
            input_ids=torch.zeros(len(ids), 1, dtype=torch.long, device=device),
            encoder_hidden_states=states, encoder_attention_mask=mask, use_cache=False,
        ).last_hidden_state[:, 0]  # fmt: skip
        found: list[float] = (first.float() @ self.head).clamp(0, WORST).tolist()
        return found


def sequence(source: str, hypothesis: str, reference: str, with_reference: bool) -> str:
    """What the model reads of a triple."""
    text = f"source: {source} candidate: {hypothesis}"
    return f"{text} reference: {reference}" if with_reference else text


# --- loading -------------------------------------------------------------------------------------


def _checkpoint(path: str, revision: str | None) -> tuple[Path, list[Path]]:
    """(folder, files of weights): safetensors, else PyTorch's own if there are none."""
    for kind in (_SAFE, _PICKLED):
        folder = find_snapshot(
            path, revision, [CONFIG, kind], f"MetricX '{path}'", "path", "metric"
        )
        if files := sorted(folder.glob(kind)):
            return folder, files
    raise UserError(
        f"{folder}: no {_SAFE} and no {_PICKLED}. Correct 'path' under 'metrics' in the config."
    )


def _tokenizer(name: str, revision: str | None) -> Any:
    """mT5's tokenizer. UserError if it is another, or if packages that it needs are missing."""
    from transformers import AutoTokenizer

    what = f"tokenizer '{name}' of a metric of type metricx"
    folder = find_snapshot(name, revision, [*_TOKENIZER, CONFIG], what, "tokenizer", "metric")
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        reserved = str(tokenizer.convert_ids_to_tokens(HEAD))
    except (ImportError, OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise UserError(
            f"{what}: cannot be read ({str(error).strip().splitlines()[0]}). mT5's is a "
            "spiece.model, for which `pip install sentencepiece protobuf` is needed beside this "
            "package, or a tokenizer.json, for which nothing is."
        ) from None
    if "extra_id_10" not in reserved:
        raise UserError(
            f"{what}: token {HEAD} is '{reserved}', where mT5 has <extra_id_10>; take that of the "
            "mT5 that the checkpoint was trained from, such as google/mt5-xl."
        )
    return tokenizer


def _load(folder: Path, files: Sequence[Path], dtype: Any) -> tuple[Any, Any]:
    """(encoder and decoder with every weight in its place, row HEAD of the output layer).

    The output layer's other 250,111 rows are not kept. Not by `from_pretrained`, which ties it to
    the embeddings, as mT5's code has it, where a checkpoint does not say better.
    """
    import torch
    from transformers import MT5Config, MT5Model

    raw = _config(folder / CONFIG)
    state = {name: value for file in files for name, value in _tensors(file).items()}
    with torch.device("meta"):
        model = MT5Model(MT5Config(**raw))
    output = state.pop("lm_head.weight", None)
    shared = state.get("shared.weight")
    for name in _EMBEDDINGS:
        if name in state and shared is not None and torch.equal(state[name], shared):
            del state[name]
    try:
        found = model.load_state_dict(
            {name: value.to(dtype) for name, value in state.items()}, strict=False, assign=True
        )
    except RuntimeError as error:
        raise _misfit(folder, [line.strip() for line in str(error).splitlines()[1:]]) from None
    problems = [f"no {name}" for name in found.missing_keys if name not in _EMBEDDINGS]
    problems += [f"{name} is not of it" for name in found.unexpected_keys]
    if output is None or tuple(output.shape) != (raw["vocab_size"], raw["d_model"]):
        problems.append("no lm_head.weight of its own")
    if problems:
        raise _misfit(folder, problems)
    model.set_input_embeddings(model.shared)
    return model.eval(), output[HEAD].float()


def _config(path: Path) -> dict[str, Any]:
    """config.json of an mT5 that may be MetricX."""
    try:
        raw = parse_object(path.read_bytes())
    except (OSError, JsonError) as error:
        raise UserError(f"{path}: cannot be read ({error}).") from None
    kind, built = raw.get("model_type"), raw.get("architectures")
    if kind != "mt5" or built == ["MT5ForConditionalGeneration"] or raw.get("tie_word_embeddings"):
        raise UserError(
            f"{path}: model_type {kind!r}, architectures {built!r}, tie_word_embeddings "
            f"{raw.get('tie_word_embeddings')!r}: not MetricX, which is an mt5 for regression with "
            "an output layer of its own. Its scores would mean nothing; correct 'path'."
        )
    if not isinstance(raw.get("vocab_size"), int) or raw["vocab_size"] <= HEAD:
        raise UserError(f"{path}: vocab_size is {raw.get('vocab_size')!r}; MetricX's is 250112.")
    return raw


def _tensors(file: Path) -> dict[str, Any]:
    """Tensors of a file by name, mapped and not yet read; never code."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if file.suffix == ".safetensors":
            return dict(load_file(file))
        return dict(torch.load(file, map_location="cpu", weights_only=True, mmap=True))
    except (
        SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError, TypeError,
    ) as error:  # fmt: skip
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"{file}: not weights alone, or cut short ({reason}). Copy or download it again."
        ) from None


def _misfit(folder: Path, problems: Sequence[str]) -> UserError:
    listed = "; ".join(problems[:_SHOWN])
    return UserError(
        f"{folder}: its weights do not fit its config ({len(problems):,} problems, first: "
        f"{listed}). Both must be of one model."
    )
