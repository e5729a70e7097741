"""The openai engine: chat completions of any OpenAI-compatible endpoint, served or commercial.

Prompts are the turns themselves: the endpoint has the chat template and counts the tokens. Every
answer is written down as it comes, so that none is paid for twice (see `answers`).
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import random
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from typing import Any, NoReturn
from urllib.parse import urlsplit

from routelmt.errors import UserError
from routelmt.strict_json import JsonError, parse
from routelmt.translate import keys
from routelmt.translate.answers import Answers
from routelmt.translate.chatter import REASONING
from routelmt.translate.engines import Decoded
from routelmt.translate.seeds import seed_of

TRIES = 8  # of one request; with the waits below, about a minute
FIRST_TRIES = 4  # while the endpoint has not answered anything yet
FIRST_WAIT, LONGEST_WAIT = 0.5, 60.0  # seconds; each wait is twice the one before
SHOWN = 500  # characters of what an endpoint says
SAID_EVERY = 5.0  # seconds between two lines about retries
DRAIN = 60.0  # seconds that requests under way get to end when another one has failed
LOOPBACK = ("localhost", "127.0.0.1", "::1")
# How endpoints say that a prompt does not fit, or must not be answered: the fault of one row.
MOST_TOKENS = 1 << 31  # of one answer, as an endpoint counts
LONGEST_ANSWER = 1 << 28  # bytes; many samples with log-probabilities are long
LONG_CODES = ("context_length_exceeded",)
LONG_WORDS = ("context length", "context window", "maximum model length", "max_model_len")
FILTER_CODES = ("content_filter", "content_policy_violation")


def load(model: Mapping[str, Any], speed: Mapping[str, Any]) -> OpenaiEngine:
    """An engine that asks the endpoint `base_url`; nothing is sent yet.

    speed: `concurrency` requests at a time; `kept`, a folder for answers, or None. Raises UserError
    if the endpoint needs a key and there is none.
    """
    keys.check_address(
        model["base_url"], f"base_url of model '{model['path']}'", model["api_key_variable"]
    )
    address = urlsplit(model["base_url"])
    key = os.environ.get(model["api_key_variable"], "").strip()
    local = address.hostname in LOOPBACK
    if not key and not local:
        raise UserError(
            f"model '{model['path']}' at {address.hostname} needs a key: set the environment "
            f"variable {model['api_key_variable']} (its name is 'api_key_variable' in the config), "
            "to any text if the endpoint asks for none."
        )
    return OpenaiEngine(model, speed, key, local)


@dataclass
class Usage:
    """What the endpoint has counted, for answers asked for by this job."""

    answers: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0

    def cost(self, price: Sequence[float]) -> float:
        """In the currency of `price`: [input, output] of a million tokens."""
        return (self.prompt_tokens * price[0] + self.output_tokens * price[1]) / 1e6


@dataclass(frozen=True)
class Asked:
    """What is asked of one turn: `samples` of it, by index; one for a translation.

    seed: of the samples; None for a translation, whose request has no seed.
    """

    row: int
    turn: str
    samples: tuple[int, ...] = (0,)
    seed: int | None = None


class OpenaiEngine:
    """See `engines.Engine`; its prompts are turns, and it has no weights to prefill."""

    context: int | None = None  # the endpoint says when a prompt is too long
    batches = "the endpoint's"

    def __init__(
        self, model: Mapping[str, Any], speed: Mapping[str, Any], key: str, local: bool
    ) -> None:
        self.model, self.key, self.local = model, key, local
        self._concurrency: int = speed["concurrency"]
        self._kept = speed.get("kept")
        self._answers = Answers(None, ())
        self.usage = Usage()
        self._options: dict[str, Any] = {"max_tokens": model["max_new_tokens"]}
        if model.get("logprobs", True):
            self._options["logprobs"] = True
        self._lacking: set[str] = set()  # options of samples that are not known there
        self._said = -math.inf

    def encode(self, turns: Sequence[str]) -> list[str]:
        """The turns as they are."""
        return list(turns)

    def translate(
        self, prompts: Sequence[str], logprobs: bool = True
    ) -> Iterator[tuple[int, Decoded]]:
        """(row, its answer) as they come: first those that are known from an earlier try.

        A prompt that the endpoint refuses because of what it is (too long, filtered) has a
        blank translation and finish_reason "too_long" or "content_filter". Raises UserError for
        everything else that goes wrong and stays wrong.
        """
        self._draw_at(self.model["temperature"])
        for row, _, found in self._all([Asked(row, turn) for row, turn in enumerate(prompts)]):
            yield row, found

    def sample(
        self, prompts: Sequence[str], count: int, temperature: float, seed: int
    ) -> Iterator[tuple[int, int, Decoded]]:
        """(row, sample, its answer) as they come; see `engines.Engine` and `translate`.

        One request for all samples of a turn (`n`), or one for each where the endpoint does not
        know `n`. Equal seeds give equal samples only as far as the endpoint heeds `seed`.
        """
        self._draw_at(temperature, count, seed)
        samples = tuple(range(count))
        return self._all([Asked(row, turn, samples, seed) for row, turn in enumerate(prompts)])

    def _draw_at(self, temperature: float, *samples: int) -> None:
        """Set the temperature, and open the file of what is answered at it."""
        self._options["temperature"] = temperature
        shape = [self.model[name] for name in ("base_url", "path", "max_new_tokens")]
        shape += [self.model.get("logprobs", True), temperature, *samples]
        self._answers = Answers(self._kept, shape)

    def _all(self, asked: Sequence[Asked]) -> Iterator[tuple[int, int, Decoded]]:
        """(row, sample, answer): known ones first, then the others as they come."""
        known = self._answers.read()
        missing = []
        for ask in asked:
            found = [known.get(self._answers.key(ask.turn, sample)) for sample in ask.samples]
            yield from ((ask.row, n, a) for n, a in zip(ask.samples, found, strict=True) if a)
            left = tuple(n for n, a in zip(ask.samples, found, strict=True) if a is None)
            if left:
                missing.append(replace(ask, samples=left))
        if missing:
            with asyncio.Runner() as runner, self._answers:
                yield from self._ask_all(runner, missing)
        wanted, left_out = (sum(len(ask.samples) for ask in asks) for asks in (asked, missing))
        self._report(wanted - left_out)

    def prefill(self, prompts: Sequence[str]) -> NoReturn:
        """Endpoints do not hand out states."""
        raise UserError("signals need a model's weights; an endpoint has none to give.")

    def _report(self, known: int) -> None:
        usage, price = self.usage, self.model["price"]
        cost = f", cost {usage.cost(price):.4f}" if any(price) else ""
        print(
            f"{self.model['path']}: {usage.answers} answers, {usage.prompt_tokens} prompt tokens, "
            f"{usage.output_tokens} output tokens{cost}"
            + (f"; {known} answers were there from an earlier try" if known else ""),
            file=sys.stderr,
        )

    def _ask_all(
        self, runner: asyncio.Runner, asked: Sequence[Asked]
    ) -> Iterator[tuple[int, int, Decoded]]:
        """(row, sample, answer) as they come; the loop runs while the caller waits for the next."""
        talk = runner.run(_start(self, asked, min(self._concurrency, len(asked))))
        try:
            for _ in asked:
                ask, found = runner.run(talk.results.get())
                if isinstance(found, Exception):
                    raise found
                for sample, answer in zip(ask.samples, found, strict=True):
                    yield ask.row, sample, answer
        finally:
            runner.run(talk.end())

    async def answer(
        self, client: Any, ask: Asked, stopping: asyncio.Event
    ) -> list[Decoded] | None:
        """An answer for each sample, of as many requests as it takes; None if the job stops."""
        found: list[Decoded] = []
        while left := ask.samples[len(found) :]:
            some = await self._answer(client, replace(ask, samples=left), stopping)
            if some is None:
                return None
            found += some[: len(left)]
        return found

    async def _answer(
        self, client: Any, ask: Asked, stopping: asyncio.Event
    ) -> list[Decoded] | None:
        """The answers of one request, after retries if need be: at least the first sample's."""
        tries = 0
        while not stopping.is_set():
            tries, options = tries + 1, {**self._options, **self._drawn(ask)}
            try:
                found = self._decoded(await self._request(client, ask.turn, options))
            except Exception as error:
                if (refused := self._refused(error)) is not None:
                    return [refused] * len(ask.samples)
                if self._adapted(error, options):
                    continue
                wait = self._wait(error, tries)
                self._say(error, tries, wait)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stopping.wait(), wait)
            else:
                for sample, answer in zip(ask.samples, found, strict=False):
                    self._answers.append(ask.turn, answer, sample)
                return found
        return None

    def _drawn(self, ask: Asked) -> dict[str, int]:
        """Options of a request for samples: how many, and the seed of the first."""
        if ask.seed is None:
            return {}
        options = {"n": len(ask.samples), "seed": seed_of(ask.seed, ask.turn, ask.samples[0])}
        if len(ask.samples) == 1:
            del options["n"]
        return {name: value for name, value in options.items() if name not in self._lacking}

    async def _request(self, client: Any, turn: str, options: Mapping[str, Any]) -> Any:
        """One chat completion as JSON. The client's own parsing would cost more than the rest."""
        response = await client.chat.completions.with_raw_response.create(
            model=self.model["path"],
            messages=[{"role": "user", "content": turn}],
            **options,
        )
        return parse(response.content, LONGEST_ANSWER)

    def _decoded(self, answer: Any) -> list[Decoded]:
        """An answer for each choice; counts the usage."""
        try:
            choices = answer["choices"]
            if not choices:
                raise LookupError
            texts = [_text(choice["message"].get("content")) for choice in choices]
            ends = [_finish(choice) for choice in choices]
            counts = answer.get("usage") or {}
            tokens = [_logprobs(choice) for choice in choices]
            prompt = _count(counts.get("prompt_tokens")) or 0
            lengths = _shares(
                _count(counts.get("completion_tokens")), [len(some) for some in tokens]
            )
        except (LookupError, TypeError, AttributeError):
            raise UserError(
                f"{self._where()}: the answer is no chat completion. Check base_url."
            ) from None
        self.usage.answers += len(choices)
        self.usage.prompt_tokens += prompt
        self.usage.output_tokens += sum(lengths)
        return [
            Decoded(
                text=text,
                output_tokens=length,
                finish_reason=self._safe(end),
                mean_logprob=_mean(some),
                prompt_tokens=prompt,
            )
            for text, end, some, length in zip(texts, ends, tokens, lengths, strict=True)
        ]

    # --- what to do about errors ---------------------------------------------------------------

    def _refused(self, error: Exception) -> Decoded | None:
        """The row of a prompt that the endpoint will never answer; None for other errors."""
        status, code, text = _parts(error)
        low = text.lower()
        if status not in (400, 413, 422):
            return None
        if code in LONG_CODES or any(words in low for words in LONG_WORDS):
            reason = "too_long"
        elif code in FILTER_CODES:
            reason = "content_filter"
        else:
            return None
        print(f"{self._where()}: a prompt was refused: {self._safe(text)}", file=sys.stderr)
        return Decoded("", 0, reason, math.nan, 0)

    def _adapted(self, error: Exception, sent: Mapping[str, Any]) -> bool:
        """Whether an option that was sent is not known there, and the next try does without."""
        status, _, text = _parts(error)
        if status not in (400, 422):
            return False
        if "logprobs" in text and "logprobs" in sent:
            if self._options.pop("logprobs", None):  # else another request has found out before
                print(f"{self._where()}: no log-probabilities there: NaN", file=sys.stderr)
            return True
        if "max_completion_tokens" in text and "max_tokens" in sent:
            self._options.pop("max_tokens", None)
            self._options["max_completion_tokens"] = self.model["max_new_tokens"]
            return True
        if "seed" in text and "seed" in sent:
            self._lack("seed", "the samples are others each time")
            return True
        if "n" in sent:  # refused in many words; a request without it shows whether that was why
            self._lack("n", "a request for each sample")
            return True
        return False

    def _lack(self, option: str, meaning: str) -> None:
        """Do without an option from here on."""
        if option not in self._lacking:
            print(f"{self._where()}: no '{option}' there: {meaning}", file=sys.stderr)
        self._lacking.add(option)

    def _wait(self, error: Exception, tries: int) -> float:
        """Seconds until the next try; raises UserError if there is no use in one."""
        from openai import APIConnectionError

        status, code, text = _parts(error)
        passing = status in (408, 409, 429) or status >= 500
        passing = passing or isinstance(error, APIConnectionError | JsonError)
        if not passing or code == "insufficient_quota":
            raise self._explained(error, status, code, text) from None
        if tries >= (TRIES if self.usage.answers else FIRST_TRIES):
            raise self._explained(error, status, code, text) from None
        asked = _retry_after(error)
        if asked is not None:
            return min(asked, LONGEST_WAIT)
        # Spread, so that requests that failed together do not come back together.
        return min(FIRST_WAIT * 2.0 ** (tries - 1), LONGEST_WAIT) * random.uniform(0.75, 1.25)

    def _explained(self, error: Exception, status: int, code: str, text: str) -> Exception:
        """The UserError for an error of the endpoint; errors of another kind as they are."""
        from openai import OpenAIError

        if not isinstance(error, OpenAIError | JsonError):
            return error
        variable, said = self.model["api_key_variable"], self._safe(text)
        if status == 401:  # what the endpoint says may quote the key
            advice = f"the key in {variable} is not accepted (401). Correct it."
        elif code == "insufficient_quota":
            advice = f"the quota of the key in {variable} is used up: {said}"
        elif status == 404:
            advice = (
                f"no model '{self.model['path']}' there, or base_url is wrong (it usually ends in "
                f"/v1): {said}"
            )
        elif status == 429:
            advice = f"still too many requests after {TRIES} tries: lower 'concurrency'. {said}"
        elif status:
            advice = f"it answers with {status}: {said}"
        else:
            advice = f"it cannot be reached, or breaks off: {said} Is the server up?"
        return UserError(f"{self._where()}: {advice} Answers so far are kept for the next try.")

    def _where(self) -> str:
        return f"endpoint {keys.masked(self.model['base_url'], self.key)}"

    def _safe(self, text: str) -> str:
        """A text of the endpoint, in one line, without any part of the key."""
        return keys.masked(" ".join(text.split())[: 4 * SHOWN], self.key)[:SHOWN]

    def _say(self, error: Exception, tries: int, wait: float) -> None:
        """One line about a retry, not more often than every few seconds."""
        if time.monotonic() - self._said >= SAID_EVERY:
            self._said = time.monotonic()
            status, _, text = _parts(error)
            print(
                f"{self._where()}: {status or 'no answer'} ({self._safe(text)}); "
                f"try {tries + 1} of {TRIES} in {wait:.1f} s",
                file=sys.stderr,
            )


@dataclass
class _Talk:
    """Requests under way, and where their results arrive: (what was asked, answers or error)."""

    client: Any
    results: asyncio.Queue[tuple[Asked, Any]]
    stopping: asyncio.Event
    tasks: list[asyncio.Task[None]]

    async def end(self) -> None:
        """Let requests under way end, so that their answers are kept; then close."""
        self.stopping.set()
        _, late = await asyncio.wait(self.tasks, timeout=DRAIN)
        for task in late:
            task.cancel()
        await self.client.close()


async def _start(engine: OpenaiEngine, asked: Sequence[Asked], count: int) -> _Talk:
    """`count` tasks that take the next turn each time they have an answer."""
    talk = _Talk(_client(engine), asyncio.Queue(), asyncio.Event(), [])
    waiting = iter(asked)

    async def work() -> None:
        for ask in waiting:
            try:
                found = await engine.answer(talk.client, ask, talk.stopping)
            except Exception as error:
                talk.stopping.set()
                talk.results.put_nowait((ask, error))
                return
            if found is None:
                return
            talk.results.put_nowait((ask, found))

    talk.tasks += [asyncio.create_task(work()) for _ in range(count)]
    return talk


def _client(engine: OpenaiEngine) -> Any:
    from openai import AsyncOpenAI, DefaultAsyncHttpxClient

    # A proxy of the environment does not lead to this machine itself.
    direct = DefaultAsyncHttpxClient(trust_env=False) if engine.local else None
    return AsyncOpenAI(
        api_key=engine.key or "none",
        base_url=engine.model["base_url"],
        max_retries=0,  # they are counted and said here
        http_client=direct,
    )


def _shares(total: int | None, lengths: Sequence[int]) -> list[int]:
    """Tokens of each choice: `total` of all if there is one; else, or of several, `lengths`.

    Endpoints count the tokens of all choices together; without log-probabilities, which tell them
    apart, each has an equal share.
    """
    if total is None or (len(lengths) > 1 and all(lengths)):
        return list(lengths)
    share, more = divmod(total, len(lengths))
    return [share + (n < more) for n in range(len(lengths))]


def _text(content: Any) -> str:
    """What an answer says. TypeError if it is neither a text nor nothing."""
    if not isinstance(content, str | None):
        raise TypeError(content)
    return content or ""


def _count(value: Any) -> int | None:
    """A number of tokens; None for what is none."""
    return value if isinstance(value, int) and 0 <= value < MOST_TOKENS else None


def _logprobs(choice: Mapping[str, Any]) -> list[float]:
    """Log-probability of each token; none where one is no number."""
    tokens = (choice.get("logprobs") or {}).get("content") or []
    found = [token["logprob"] for token in tokens]
    return found if all(isinstance(value, int | float) for value in found) else []


def _finish(choice: Mapping[str, Any]) -> str:
    """Why an answer ended: "reasoning" if it has nothing else, which the endpoint sets apart."""
    message = choice["message"]
    if not message.get("content") and any(map(message.get, ("reasoning_content", "reasoning"))):
        return REASONING
    return str(choice.get("finish_reason") or "stop")


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def _parts(error: Exception) -> tuple[int, str, str]:
    """(HTTP status or 0, the endpoint's code, what it says)."""
    body = getattr(error, "body", None)
    body = body if isinstance(body, dict) else {}
    code = str(body.get("code") or body.get("type") or "")
    if body.get("type") == "insufficient_quota":
        code = "insufficient_quota"
    return int(getattr(error, "status_code", 0)), code, str(body.get("message") or _reason(error))


def _reason(error: BaseException) -> str:
    """What an error says, with its cause: that of the connection is behind the client's own."""
    return f"{error} {error.__cause__ or ''}".strip()


def _retry_after(error: Exception) -> float | None:
    """Seconds that the endpoint asks to wait, if it does."""
    response = getattr(error, "response", None)
    value = response.headers.get("retry-after") if response is not None else None
    if not value:
        return None
    with contextlib.suppress(ValueError):
        return max(0.0, float(value))
    with contextlib.suppress(ValueError):
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    return None
