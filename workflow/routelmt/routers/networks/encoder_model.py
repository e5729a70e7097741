"""A multilingual encoder as a router's reader: which one, its tokens, its states.

Rows are padded on the right and the padding is masked, so that a row's states do not depend on the
rows beside it.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from routelmt.checkpoints import find_snapshot
from routelmt.errors import UserError
from routelmt.progress import progress
from routelmt.routers.networks.base_model import weights_hash
from routelmt.routers.networks.prompt_rows import cut_text
from routelmt.translate import control_tokens, prompts
from routelmt.translate.batches import pass_tokens, token_batches

PREFIX = "{src} to {tgt}: {text}"  # the direction as text before the source (RouteLMT App. A)
TOKENIZER_FILES = ("config.json", "tokenizer*", "sentencepiece*", "special_tokens_map.json",
                   "vocab*")  # fmt: skip
_FILES = (*TOKENIZER_FILES, "model.safetensors", "model-*.safetensors",
          "model.safetensors.index.json")  # fmt: skip
_SHOWN = 3
_PROBE = ("Hello 世界, привет.", "Да, 好.")


@dataclass(frozen=True)
class Encoder:
    """An encoder in float32 with its tokenizer. dtype: what a pass computes in."""

    model: Any
    tokenizer: Any
    dtype: str
    device: str

    @property
    def hidden(self) -> int:
        """Size of a token's state."""
        size: int = self.model.config.hidden_size
        return size

    @property
    def positions(self) -> int:
        """Tokens of the longest text it can read, special ones included."""
        config = self.model.config
        # Position numbers of the RoBERTa family begin after the padding token's.
        skipped = (config.pad_token_id or 0) + 1 if "roberta" in config.model_type else 0
        return int(min(config.max_position_embeddings - skipped, self.tokenizer.model_max_length))

    def batch_tokens(self, wanted: int) -> int:
        """The token budget of one pass on this device."""
        return pass_tokens(wanted, self.device)

    def states(self, rows: Sequence[Sequence[int]]) -> tuple[Any, Any]:
        """(last hidden states (rows, longest, hidden), mask (rows, longest): 1 for a token)."""
        import torch

        arrays = pad_masked(rows, self.model.config.pad_token_id or 0)
        ids, mask = (torch.from_numpy(a).to(self.device, non_blocking=True) for a in arrays)
        with torch.autocast(
            self.device.split(":")[0], torch.bfloat16, enabled=self.dtype != "float32"
        ):
            found = self.model(input_ids=ids, attention_mask=mask)
        return found.last_hidden_state, mask

    def first(self, rows: Sequence[Sequence[int]]) -> Any:
        """State of each row's first token, float32 (rows, hidden)."""
        return self.states(rows)[0][:, 0].float()

    def mean(self, rows: Sequence[Sequence[int]]) -> Any:
        """Mean of each row's token states, special ones included, float32 (rows, hidden)."""
        states, mask = self.states(rows)
        weights = mask.unsqueeze(-1).float()
        return (states.float() * weights).sum(1) / weights.sum(1)

    @contextmanager
    def running(self, training: bool) -> Iterator[None]:
        """Train mode (with dropout, where the encoder has any) or eval mode; then as before."""
        before = self.model.training
        self.model.train(training)
        yield
        self.model.train(before)

    def each(
        self,
        ids: Sequence[Sequence[int]],
        compute: Callable[[Sequence[Sequence[int]]], Any],
        columns: int,
        batch_tokens: int,
        what: str | None = None,
    ) -> npt.NDArray[np.float32]:
        """What `compute` says of each row, (rows, columns), in batches of rows of like length."""
        import torch

        values = np.empty((len(ids), columns), dtype=np.float32)
        lengths = np.array([len(row) for row in ids], dtype=np.int64)
        batches = token_batches(lengths, self.batch_tokens(batch_tokens))
        with torch.inference_mode(), self.running(training=False):
            for batch in progress(batches, what, "batch") if what else batches:
                values[batch] = compute([ids[i] for i in batch]).cpu().numpy()
        return values


def pad_masked(
    rows: Sequence[Sequence[int]], padding: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """(ids, mask), both (rows, longest row); mask is 1 where there is a token."""
    lengths = np.array([len(row) for row in rows], dtype=np.int64)
    ids = np.full((len(rows), int(lengths.max())), padding, dtype=np.int64)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = row
    return ids, (np.arange(ids.shape[1]) < lengths[:, None]).astype(np.int64)


# --- where encoders come from --------------------------------------------------------------------


def load_encoder(
    path: str, revision: str | None, dtype: str, device: str, training: bool = False
) -> tuple[Encoder, Path]:
    """(the encoder of a folder or hub repository, its local folder).

    Raises UserError if it is missing, cut short, without weights or tokenizer, or other than its
    config says.
    """
    folder = find_snapshot(path, revision, _FILES, f"encoder '{path}'", "path", "router")
    return read_encoder(folder, dtype, device, training), folder


def read_encoder(folder: Path, dtype: str, device: str, training: bool = False) -> Encoder:
    """The encoder in a local folder; never code that comes with it."""
    import torch
    from safetensors import SafetensorError

    _check_files(folder)
    tokenizer = read_tokenizer(folder, "path")
    try:
        model, report = _from_pretrained(
            folder, dtype=torch.float32, use_safetensors=True, trust_remote_code=False,
            local_files_only=True, output_loading_info=True,
            attn_implementation=_attention(training, device),
        )  # fmt: skip
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise UserError(
            f"encoder '{folder}': cannot be loaded ({str(error).splitlines()[0]}). Copy or "
            "download it again, or correct 'path' of the router in the config."
        ) from None
    missing = sorted(report["missing_keys"])
    if missing or report["mismatched_keys"]:
        found = [*missing, *(str(k[0]) for k in report["mismatched_keys"])]
        raise UserError(
            f"encoder '{folder}': {len(found):,} of its weights are missing or of another shape "
            f"than config.json says (first: {', '.join(found[:_SHOWN])}). Copy it again."
        )
    return Encoder(model.to(device), tokenizer, dtype, device)


def _from_pretrained(folder: Path, **options: Any) -> Any:
    """(model, loading report), without the layer that only next-sentence training uses."""
    from transformers import AutoModel

    try:
        return AutoModel.from_pretrained(folder, add_pooling_layer=False, **options)
    except TypeError:  # a class that never has one
        return AutoModel.from_pretrained(folder, **options)


def open_encoder(
    spec: Mapping[str, Any], seed: int, device: str, training: bool
) -> tuple[Encoder, dict[str, Any]]:
    """(the encoder that a router's settings name or shape, which one that is).

    Raises UserError if they do neither, or its positions are fewer than max_length.
    """
    start: dict[str, Any]
    if spec.get("from_scratch"):
        shape = spec["from_scratch"]
        encoder = new_encoder(shape, spec["max_length"], seed, spec["dtype"], device)
        start = {"from_scratch": dict(shape)}
    elif spec.get("path"):
        path, revision = spec["path"], spec.get("revision")
        encoder, folder = load_encoder(path, revision, spec["dtype"], device, training=training)
        start = {"path": path, "revision": revision, "weights_sha256": weights_hash(folder)}
    else:
        raise UserError(
            f"router '{spec['type']}': set 'path' (an encoder's folder or hub name) or "
            "'from_scratch' (the shape of a new one)."
        )
    if spec["max_length"] > encoder.positions:
        raise UserError(
            f"router '{spec['type']}': max_length {spec['max_length']} is more than the encoder's "
            f"{encoder.positions} tokens; lower it."
        )
    return encoder, start


def new_encoder(
    shape: Mapping[str, Any], max_length: int, seed: int, dtype: str, device: str
) -> Encoder:
    """An encoder (BERT) with random weights from the seed, for the tokenizer in a folder.

    shape: tokenizer, hidden, layers, heads, intermediate. Raises UserError if the tokenizer is
    missing or the heads do not divide the hidden size.
    """
    import torch
    from transformers import AutoModel, BertConfig

    if shape["hidden"] % shape["heads"]:
        raise UserError(
            f"from_scratch: hidden {shape['hidden']} is not a multiple of heads {shape['heads']}."
        )
    tokenizer = _with_ends(read_tokenizer(Path(shape["tokenizer"]), "from_scratch: tokenizer"))
    tokenizer.model_max_length = max_length
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=shape["hidden"],
        num_hidden_layers=shape["layers"],
        num_attention_heads=shape["heads"],
        intermediate_size=shape["intermediate"],
        max_position_embeddings=max_length,
        type_vocab_size=1,
        pad_token_id=tokenizer.pad_token_id,
    )
    torch.manual_seed(seed)
    model = AutoModel.from_config(
        config, add_pooling_layer=False, attn_implementation=_attention(True, device),
        dtype=torch.float32,
    )  # fmt: skip
    return Encoder(model.to(device), tokenizer, dtype, device)


def read_tokenizer(folder: Path, key: str) -> Any:
    """The tokenizer in a local folder; UserError, naming the setting `key`, if there is none."""
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    names = ("tokenizer.json", "sentencepiece.bpe.model", "spiece.model", "vocab.txt", "vocab.json")
    if not any((folder / name).is_file() for name in names):
        raise UserError(
            f"{folder}: no tokenizer there (tokenizer.json or the like). Correct '{key}' of the "
            "router in the config."
        )
    # From transformers 5 on, a model's own tokenizer class builds its splitting anew and reads only
    # the vocabulary; the plain class takes tokenizer.json as it is.
    plain = (folder / names[0]).is_file()
    kind = PreTrainedTokenizerFast if plain else AutoTokenizer
    try:
        return kind.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # the tokenizers library raises plain Exception for a broken file
        raise UserError(
            f"{folder}: its tokenizer cannot be loaded ({type(error).__name__}: {error}). Copy it "
            f"again, or correct '{key}' of the router in the config."
        ) from None


def _check_files(folder: Path) -> None:
    for names in (("config.json",), ("model.safetensors", "model.safetensors.index.json")):
        if not any((folder / name).is_file() for name in names):
            raise UserError(
                f"encoder '{folder}': it has no {names[0]}. An encoder is a folder with "
                "config.json, safetensors weights and the tokenizer's files; correct 'path' of the "
                "router in the config."
            )


def _attention(training: bool, device: str) -> str:
    # As in base_model: on the CPU the fused attention's backward pass is slow over short rows.
    return "eager" if training and device == "cpu" else "sdpa"


def _with_ends(tokenizer: Any) -> Any:
    """The tokenizer, made to put a special token before a text and after each of its segments.

    One that does so already stays as it is.
    """
    from tokenizers.processors import TemplateProcessing

    if tokenizer.num_special_tokens_to_add(False):
        return tokenizer
    first = tokenizer.cls_token or tokenizer.bos_token or tokenizer.eos_token
    last = tokenizer.sep_token or tokenizer.eos_token or first
    if first is None:
        raise UserError(
            f"tokenizer '{tokenizer.name_or_path}': it has no special token (cls, bos or eos) to "
            "put before a text. Take another tokenizer for 'from_scratch'."
        )
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{first} $A {last}",
        pair=f"{first} $A {last} $B {last}",
        special_tokens=[
            (t, tokenizer.convert_tokens_to_ids(t)) for t in dict.fromkeys((first, last))
        ],
    )
    return tokenizer


# --- what it reads -------------------------------------------------------------------------------


@dataclass(frozen=True)
class SourceRows:
    """`ids[of_row[i]]` are the tokens of row i; those with `cut` lost the end of a text."""

    ids: list[list[int]]
    of_row: npt.NDArray[np.int64]  # (rows,)
    cut: npt.NDArray[np.bool_]  # (len(ids),)

    @property
    def truncated(self) -> int:
        """How many rows were cut."""
        return int(self.cut[self.of_row].sum())


@dataclass(frozen=True)
class SourceReader:
    """Turns requests into an encoder's tokens: the direction as text, then the source.

    A second text, the small model's hypothesis, may follow as a segment of its own.
    """

    tokenizer: Any
    languages: Mapping[str, str]
    max_length: int

    def read(
        self,
        directions: Sequence[str],
        sources: Sequence[str],
        hypotheses: Sequence[str] | None = None,
    ) -> SourceRows:
        """Tokens of each distinct request. What is over max_length is cut off the longer text."""
        firsts = [
            prompts.render(PREFIX, self.languages, *pair)
            for pair in zip(directions, sources, strict=True)
        ]
        rows = read_distinct(self.tokenizer, firsts, hypotheses, self.max_length)
        if rows.truncated:
            print(cut_text(rows.truncated, len(rows.of_row), self.max_length), file=sys.stderr)
        return rows

    def fingerprint(self) -> str:
        """SHA-256 of the tokens of a fixed text, alone and with a second one."""
        ids = [
            encode(self.tokenizer, [_PROBE[0]], None),
            encode(self.tokenizer, [_PROBE[0]], [_PROBE[1]]),
        ]
        return hashlib.sha256(json.dumps([PREFIX, ids]).encode()).hexdigest()


def encode(
    tokenizer: Any, firsts: list[str], seconds: list[str] | None, max_length: int | None = None
) -> list[list[int]]:
    """Token ids of each text (or pair), special ones included; cut to max_length if given.

    The string of a special token (</s>) in a text is encoded as its letters.
    """

    def ids(first: Sequence[Any], second: Sequence[Any] | None, **kind: bool) -> list[list[int]]:
        found: list[list[int]] = tokenizer(
            first, second, truncation="longest_first" if max_length else False,
            max_length=max_length, return_attention_mask=False, verbose=False, **kind,
        )["input_ids"]  # fmt: skip
        return found

    whole, columns = ids(firsts, seconds), [firsts] if seconds is None else [firsts, seconds]
    if held := sorted({i for texts in columns for i in control_tokens.holding(tokenizer, texts)}):
        # Not split_special_tokens: a unigram model finds the token's string in its vocabulary.
        pieces = [[control_tokens.pieces(tokenizer, texts[i]) for i in held] for texts in columns]
        letters = ids(pieces[0], pieces[1] if seconds else None, is_split_into_words=True)
        for i, row in zip(held, letters, strict=True):
            whole[i] = row
    return whole


def read_distinct(
    tokenizer: Any, firsts: Sequence[str], seconds: Sequence[str] | None, max_length: int
) -> SourceRows:
    """Tokens of each distinct text (or pair of texts), none above max_length."""
    pairs = list(zip(firsts, seconds if seconds is not None else firsts, strict=True))
    place: dict[tuple[str, str], int] = {}
    of_row = np.array([place.setdefault(p, len(place)) for p in pairs], dtype=np.int64)
    if not place:
        return SourceRows([], of_row, np.zeros(0, dtype=np.bool_))
    texts = [p[0] for p in place], [p[1] for p in place] if seconds is not None else None
    control_tokens.tell(tokenizer, [*texts[0], *(texts[1] or [])])
    whole = encode(tokenizer, *texts)
    long = np.array([len(ids) > max_length for ids in whole])
    if long.any():
        rows = np.flatnonzero(long)
        cut = encode(
            tokenizer, [texts[0][i] for i in rows],
            [texts[1][i] for i in rows] if texts[1] else None, max_length,
        )  # fmt: skip
        for i, ids in zip(rows, cut, strict=True):
            whole[i] = ids
    return SourceRows(whole, of_row, long)
