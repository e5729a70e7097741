"""What runs a model: one name in the config, one module here, loaded only when it is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from routelmt.errors import UserError
from routelmt.translate.registry import ENGINES


@dataclass(frozen=True)
class Decoded:
    """One decoded output: text without special tokens, and what decoding it took."""

    text: str
    output_tokens: int  # end of sequence included
    finish_reason: str  # "stop", "length" when max_new_tokens cut it, or an endpoint's word
    mean_logprob: float  # nats a token, end of sequence included; NaN if unknown
    prompt_tokens: int | None = None  # as an endpoint counts them; None where prompts are tokens


@dataclass(frozen=True)
class Prefill:
    """What the model says after the prompt, for some of the prompts."""

    rows: npt.NDArray[np.int64]  # (n,) which prompts
    entropy: npt.NDArray[np.float32]  # (n,) nats, whole vocabulary
    margin: npt.NDArray[np.float32]  # (n,) p1 - p2
    max_logit: npt.NDArray[np.float32]  # (n,) not normalised
    states: npt.NDArray[np.float16]  # (n, hidden) after the final norm, at the last prompt token


class Engine(Protocol):
    """What a stage asks of an engine. Results come in the engine's own order, each row once.

    A prompt is token ids, or the user turn itself where an endpoint does the encoding.
    """

    context: int | None  # longest prompt plus output the model was made for, if it says so
    batches: str  # how it puts prompts together, as timings are recorded with

    def encode(self, turns: Sequence[str]) -> Sequence[Any]:
        """The prompt of each user turn: token ids in the model's chat template."""

    def translate(
        self, prompts: Sequence[Any], logprobs: bool = True
    ) -> Iterator[tuple[int, Decoded]]:
        """(row, its output) as rows finish.

        logprobs: without, mean_logprob is NaN where it would take a pass of its own.
        """

    def sample(
        self, prompts: Sequence[Any], count: int, temperature: float, seed: int
    ) -> Iterator[tuple[int, int, Decoded]]:
        """(row, sample, output): `count` samples of each prompt from softmax(logits / temperature).

        The log-probability is that of the model's own distribution, at temperature 1. The same
        seed gives the same samples, as far as the engine's arithmetic does.
        """

    def prefill(self, prompts: Sequence[Any]) -> Iterator[Prefill]:
        """One forward pass over the prompts, a batch at a time."""


def open_engine(model: Mapping[str, Any], speed: Mapping[str, Any]) -> Engine:
    """The engine that the model's `engine` names, with the model loaded.

    Raises UserError for an unknown engine, for one that is not available, and for a model that
    cannot be loaded.
    """
    name = model["engine"]
    if name not in ENGINES:
        raise UserError(f"engine '{name}' is not known; allowed: {', '.join(ENGINES)}.")
    engine: Engine = import_module(ENGINES[name].module).load(model, speed)
    return engine
