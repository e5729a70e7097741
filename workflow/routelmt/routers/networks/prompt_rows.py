"""Prompts as token ids, each distinct one once, none longer than the router reads."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np
import numpy.typing as npt

from routelmt.translate import prompts

_PROBE = "Hello 世界, привет."


@dataclass(frozen=True)
class PromptReader:
    """Turns requests into prompt tokens the way the small model is prompted."""

    tokenizer: Any
    template: str
    languages: Mapping[str, str]
    max_length: int

    def read(self, directions: Sequence[str], sources: Sequence[str]) -> PromptRows:
        """Render, encode and cut the prompt of each request."""
        distinct: dict[tuple[str, str], int] = {}
        of_row = np.array(
            [distinct.setdefault(pair, len(distinct))
             for pair in zip(directions, sources, strict=True)],
            dtype=np.int64,
        )  # fmt: skip
        turns = [prompts.render(self.template, self.languages, *pair) for pair in distinct]
        encoded = prompts.encode(self.tokenizer, turns)
        cut = np.array([len(ids) > self.max_length for ids in encoded], dtype=np.bool_)
        for i, pair in enumerate(distinct):
            if cut[i]:
                empty = prompts.render(self.template, self.languages, pair[0], "")
                (other,) = prompts.encode(self.tokenizer, [empty])
                encoded[i] = prompts.shortened(encoded[i], other, self.max_length, "max_length")
        rows = PromptRows(encoded, of_row, cut)
        if rows.truncated:
            print(cut_text(rows.truncated, len(of_row), self.max_length), file=sys.stderr)
        return rows

    def fingerprint(self) -> str:
        """SHA-256 of a fixed text's prompt tokens for every pair of languages.

        Another tokenizer, chat template or prompt template gives another one.
        """
        pairs = [f"{a}-{b}" for a, b in permutations(sorted(self.languages), 2)]
        turns = [prompts.render(self.template, self.languages, pair, _PROBE) for pair in pairs]
        ids = prompts.encode(self.tokenizer, turns)
        return hashlib.sha256(json.dumps(ids).encode()).hexdigest()


@dataclass(frozen=True)
class PromptRows:
    """`ids[of_row[i]]` are the prompt tokens of row i; those with `cut` lost the end of a text."""

    ids: list[list[int]]
    of_row: npt.NDArray[np.int64]  # (rows,)
    cut: npt.NDArray[np.bool_]  # (len(ids),)

    @property
    def truncated(self) -> int:
        """How many rows were cut."""
        return int(self.cut[self.of_row].sum())

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Tokens of each distinct prompt, shape (len(ids),)."""
        return np.array([len(ids) for ids in self.ids], dtype=np.int64)


def cut_text(count: int, rows: int, tokens: int) -> str:
    """What to say of requests that are read in part."""
    return (
        f"{count:,} of {rows:,} requests are longer than the {tokens:,} tokens that the router "
        "reads: the end of their text is not read."
    )
