"""What a chat model says beside its translation: reasoning, and an introduction.

A closed block of reasoning before the translation is taken off, with its opening tag or without:
where the chat template opens the block, the answer has its end alone. Anything else is left as it
is and flagged: reasoning that does not end or stands elsewhere, and an introduction ("Sure! Here is
the translation:"), whose end cannot be told from the translation's beginning.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from routelmt.errors import UserError
from routelmt.translate.engines import Decoded

REASONING = "reasoning"  # the finish_reason of an answer that is, or holds, reasoning
SEVERAL = 5  # a blank answer to one or two texts may be meant; it is flagged
REFUSED = ("too_long", "content_filter")  # finish reasons of prompts that were never answered
_TAGS = "think|thinking|reasoning"
_TAG = re.compile(rf"</?(?:{_TAGS})>", re.IGNORECASE)
# From the beginning to the end of a block that the prompt has opened.
_OPENED = re.compile(rf"(?:(?!<(?:{_TAGS})>).)*?</(?:{_TAGS})>\s*", re.IGNORECASE | re.DOTALL)
_BLOCK = re.compile(rf"\s*<({_TAGS})>.*?</\1>\s*", re.IGNORECASE | re.DOTALL)
_REST = r"[^\n:：]{0,80}"
# The first line, up to a colon if it has one: an announcement, or what names the translation.
_INTRODUCTION = re.compile(
    rf"""\s*(?:
        (?:sure|certainly|of\ course|absolutely|okay|ok)\W+here(?:['’]s|\ is|\ are)\b
        |(?:sure|certainly|of\ course|absolutely|okay|ok|here|below|this\ is)\b{_REST}\btranslat
        |(?:the\ )?translation(?:\ of\b|\ is\b|(?=:))
        |(?:当然|好的|以下|这是){_REST}(?:翻译|译文)|(?:翻译|译文)(?=[:：])
        |(?:конечно|вот){_REST}\bперевод|перевод(?=:)
    ){_REST}[:：\n]\s*\S""",
    re.IGNORECASE | re.VERBOSE,
)


def cleaned(source: str, answer: Decoded) -> Decoded:
    """The answer without its blocks of reasoning; finish_reason "reasoning" if any is left.

    Tokens and log-probability stay those of the whole answer. Tags that the source has too are
    part of the text.
    """
    text = without_reasoning(source, answer.text)
    left = holds_reasoning(source, text)
    return replace(answer, text=text, finish_reason=REASONING if left else answer.finish_reason)


def without_reasoning(source: str, text: str) -> str:
    """The text without closed blocks of reasoning before it, of which the prompt may open one."""
    if not holds_reasoning(source, text):
        return text
    if opened := _OPENED.match(text):
        text = text[opened.end() :]
    while block := _BLOCK.match(text):
        text = text[block.end() :]
    return text


def holds_reasoning(source: str, text: str) -> bool:
    """Whether a tag of reasoning is in the text, and none in the source."""
    return bool(_TAG.search(text)) and not _TAG.search(source)


def is_introduced(source: str, text: str) -> bool:
    """Whether the text begins with a sentence about the translation, before a colon or a new line.

    One that has no more colons and lines than the source has may be the translation itself.
    """
    ends = [sum(map(some.strip().count, ":：\n")) for some in (source, text)]
    return ends[1] > ends[0] and bool(_INTRODUCTION.match(text))


def tell(
    name: str, sources: Sequence[str], raw: Sequence[Decoded], kept: Sequence[Decoded]
) -> None:
    """Say on standard error how many answers held what; nothing if none did."""
    removed = sum(a.text != b.text for a, b in zip(raw, kept, strict=True))
    left = sum(answer.finish_reason == REASONING for answer in kept)
    introduced = sum(is_introduced(s, o.text) for s, o in zip(sources, kept, strict=True))
    found = [(removed, "with reasoning that was taken off")]
    found += [(left, "that are or hold reasoning (finish_reason), flagged as degenerate")]
    refused = sum(answer.finish_reason in REFUSED for answer in kept)
    found += [(refused, "that are blank, of prompts that are too long or filtered, flagged")]
    found += [(introduced, "that begin with a sentence about the translation, flagged")]
    if said := "; ".join(f"{count:,} {what}" for count, what in found if count):
        print(f"{name}: of {len(kept):,} answers {said}", file=sys.stderr)


def refuse_blank(
    name: str, sources: Sequence[str], answers: Sequence[Decoded], kept: object
) -> None:
    """Raise UserError if every text that was answered, SEVERAL at least, has a blank answer.

    kept: the folder where answers are kept for another try, or None.
    """
    answered = [
        answer
        for source, answer in zip(sources, answers, strict=True)
        if source.strip() and answer.finish_reason not in REFUSED
    ]
    if len(answered) < SEVERAL or any(answer.text.strip() for answer in answered):
        return
    reasons = ", ".join(
        f"{reason}: {n:,}" for reason, n in Counter(a.finish_reason for a in answered).items()
    )
    again = f" To ask again with the same settings, delete {kept}." if kept else ""
    raise UserError(
        f"model '{name}': all {len(answered):,} answers are blank (finish_reason {reasons}). If it "
        "reasons before it translates, switch that off, or raise max_new_tokens; else look at its "
        f"prompt and chat template.{again}"
    )
