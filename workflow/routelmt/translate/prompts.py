"""The prompt P(x, d): what the small model translates from and what routers read (RouteLMT §4)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from routelmt.errors import UserError
from routelmt.strict_json import cut
from routelmt.translate import control_tokens

_NAME = re.compile(r"\{(src|tgt|text)\}")


@cache
def parts(template: str) -> tuple[str, ...]:
    """A template cut at its names: text, name, text, name, ..., text.

    Names are replaced, nothing is evaluated: a template comes with a config or a router, and a
    format string could ask for an attribute or for gigabytes of padding. Raises UserError for other
    braces, or without {text}.
    """
    pieces = tuple(_NAME.split(template))
    if stray := [brace for text in pieces[::2] for brace in text if brace in "{}"]:
        raise UserError(
            f"prompt {cut(template)!r}: a '{stray[0]}' that is no part of {{src}}, {{tgt}} or "
            "{text}; these three are replaced, and other braces cannot stand in a template: leave "
            "them out."
        )
    if "text" not in pieces[1::2]:
        raise UserError(
            f"prompt {cut(template)!r}: has no {{text}}, so it would never hold the source."
        )
    return pieces


def render(template: str, languages: Mapping[str, str], direction: str, source: str) -> str:
    """The user turn for one source: {src} and {tgt} are language names, {text} the source."""
    source_code, _, target_code = direction.partition("-")
    try:
        values = {
            "src": languages[source_code],
            "tgt": languages[target_code],
            "text": source,  # braces in it stay as they are
        }
    except KeyError as error:
        raise UserError(
            f"prompt for direction '{direction}': nothing is known as {error}; every language "
            "needs a name under 'languages' in the config."
        ) from None
    pieces = enumerate(parts(template))
    return "".join(values[part] if i % 2 else part for i, part in pieces)


def around(template: str, languages: Mapping[str, str], direction: str) -> list[str]:
    """What a user turn says before and after the source (between its copies, if it has several)."""
    return render(template, languages, direction, "\0").split("\0")


def encode(tokenizer: Any, turns: Sequence[str]) -> list[list[int]]:
    """Token ids of each user turn, in the tokenizer's chat template, generation prompt added.

    A turn is text: the string of a control token (<|im_end|>) in it is encoded as its letters, and
    how many turns hold one is said on standard error. Raises UserError without a chat template.
    """
    if not turns:
        return []
    if not getattr(tokenizer, "chat_template", None):
        raise UserError(
            f"model '{tokenizer.name_or_path}': its tokenizer has no chat template, and prompts "
            "are turns of a chat. Take the instruction-tuned model, or put its template into "
            "chat_template.jinja in the model's folder."
        )
    control_tokens.tell(tokenizer, turns)
    ids = _ids(tokenizer, _in_chat(tokenizer, turns))
    for i in control_tokens.holding(tokenizer, turns):
        ids[i] = _as_text(tokenizer, turns[i])
    return ids


def shortened(ids: list[int], empty: Sequence[int], limit: int, setting: str) -> list[int]:
    """A prompt of `limit` tokens, without the end of its text: what follows the text stays whole.

    The last token is what a router and a signal are read at. empty: the same prompt without a
    text. Raises UserError, naming the setting, if what follows the text has `limit` tokens itself.
    """
    tail = _common_suffix(ids, empty)
    if tail >= limit:
        raise UserError(
            f"{setting} {limit}: the prompt template alone ends in {tail} tokens after the text. "
            f"Raise {setting}."
        )
    return ids[: limit - tail] + ids[len(ids) - tail :]


def _common_suffix(first: Sequence[int], second: Sequence[int]) -> int:
    count = 0
    for a, b in zip(reversed(first), reversed(second), strict=False):
        if a != b:
            break
        count += 1
    return count


def _in_chat(tokenizer: Any, turns: Sequence[str]) -> list[str]:
    """Each turn in the chat template, as text."""
    return [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": turn}], tokenize=False, add_generation_prompt=True
        )
        for turn in turns
    ]


def _as_text(tokenizer: Any, turn: str) -> list[int]:
    """Token ids of a turn that holds control tokens: only the chat template's are control tokens.

    It is encoded in pieces, with a cut within each of the turn's own.
    """
    text, mark = control_tokens.cut(tokenizer, turn)
    pieces = _in_chat(tokenizer, [text])[0].split(mark)
    return [token for piece in _ids(tokenizer, pieces) for token in piece]


def _ids(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    # verbose would warn of texts that are too long, which are cut or left out and told of later.
    ids: list[list[int]] = tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
    return ids
