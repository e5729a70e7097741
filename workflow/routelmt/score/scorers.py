"""What a metric is to the stage that scores: distinct triples in, scores out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

import pyarrow as pa

from routelmt.errors import UserError

Triple = tuple[str, str, str]  # source, hypothesis, reference
Span = dict[str, Any]  # start, end (characters of the hypothesis), text, severity, confidence


@dataclass(frozen=True)
class Scored:
    """Scores of some triples, in their order.

    values: higher is better; truncated: whether the metric saw only part of the texts; spans: the
    errors that the metric marks in each hypothesis, None if it marks none.
    """

    values: list[float]
    truncated: list[bool]
    spans: list[list[Span]] | None = None


class Scorer(Protocol):
    """A metric that is ready to score."""

    def signature(self) -> dict[str, Any]:
        """What a score means: metric, version, and what else would change it; kept in the file."""

    def score(self, triples: Sequence[Triple]) -> Scored:
        """Scores of the triples; UserError for what the metric cannot score."""


def target_language(segments: pa.Table) -> str:
    """Code of the language that segments of one direction are translated into.

    Raises UserError for several: a metric may cut each language into words in its own way.
    """
    directions = segments.column("direction").unique().to_pylist()
    if len(directions) != 1:
        raise UserError(
            f"segments of one direction expected, found {sorted(directions)}: score each alone."
        )
    return str(directions[0].partition("-")[2])


def open_scorer(module: str, settings: Mapping[str, Any], speed: Mapping[str, Any]) -> Scorer:
    """The scorer of a registry's module.

    settings: the metric's, and `language`, the code of what it translates into (see
    `target_language`); speed: batch_tokens, device, threads.
    """
    scorer: Scorer = import_module(module).open_scorer(settings, speed)
    return scorer
