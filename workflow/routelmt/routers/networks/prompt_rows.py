"""Prompts as token ids, each distinct one once, none longer than the router reads."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np
import numpy.typing as npt

from routelmt.errors import UserError
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
        long = [i for i, ids in enumerate(encoded) if len(ids) > self.max_length]
        pairs = list(distinct)
        for i in long:
            encoded[i] = self._cut(encoded[i], pairs[i][0])
        return PromptRows(encoded, of_row, truncated=int(np.isin(of_row, long).sum()))

    def _cut(self, ids: list[int], direction: str) -> list[int]:
        """The prompt without the end of its text: what the template puts after it stays whole.

        The head reads the last token, which must be the one it was trained on.
        """
        other = prompts.encode(
            self.tokenizer, [prompts.render(self.template, self.languages, direction, "")]
        )[0]
        tail = _common_suffix(ids, other)
        if tail >= self.max_length:
            raise UserError(
                f"max_length {self.max_length}: the prompt template alone ends in {tail} tokens "
                "after the text. Raise max_length of the router."
            )
        return ids[: self.max_length - tail] + ids[len(ids) - tail :]

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
    """`ids[of_row[i]]` are the prompt tokens of row i; `truncated` rows were cut."""

    ids: list[list[int]]
    of_row: npt.NDArray[np.int64]  # (rows,)
    truncated: int

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Tokens of each distinct prompt, shape (len(ids),)."""
        return np.array([len(ids) for ids in self.ids], dtype=np.int64)


def _common_suffix(first: Sequence[int], second: Sequence[int]) -> int:
    count = 0
    for a, b in zip(reversed(first), reversed(second), strict=False):
        if a != b:
            break
        count += 1
    return count
