"""The prompt P(x, d): what the small model translates from and what routers read (RouteLMT §4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from routelmt.errors import UserError


def render(template: str, languages: Mapping[str, str], direction: str, source: str) -> str:
    """The user turn for one source: {src} and {tgt} are language names, {text} the source."""
    source_code, _, target_code = direction.partition("-")
    try:
        # One pass over the template, so that braces in the source text stay as they are.
        return template.format(src=languages[source_code], tgt=languages[target_code], text=source)
    except KeyError as error:
        raise UserError(
            f"prompt {template!r} for direction '{direction}': nothing is known as {error}; "
            "a template may use {src}, {tgt} and {text}, and every language needs a name under "
            "'languages' in the config."
        ) from None


def encode(tokenizer: Any, turns: Sequence[str]) -> list[list[int]]:
    """Token ids of each user turn, in the tokenizer's chat template, generation prompt added.

    Raises UserError if it has none.
    """
    if not turns:
        return []
    if not getattr(tokenizer, "chat_template", None):
        raise UserError(
            f"model '{tokenizer.name_or_path}': its tokenizer has no chat template, and prompts "
            "are turns of a chat. Take the instruction-tuned model, or put its template into "
            "chat_template.jinja in the model's folder."
        )
    texts = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": turn}], tokenize=False, add_generation_prompt=True
        )
        for turn in turns
    ]
    ids: list[list[int]] = tokenizer(texts, add_special_tokens=False)["input_ids"]
    return ids
