"""An explanation for readers, at most WIDTH columns wide."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from unicodedata import east_asian_width

from routelmt.roles import labelled
from routelmt.trail.explain import Decision, Explanation, Output

WIDTH = 100
_LABEL = 12


def explanation_lines(found: Explanation) -> Iterator[str]:
    """Text, outputs, scores and gain; then every router's decision; a plain sentence last."""
    key = found.key
    yield f"{key['segment_id']}  ({key['dataset']}, {key['direction']})"
    yield from labelled_text("run", found.run)
    for name in ("group_id", "doc_id", "domain"):
        if found.segment[name] is not None:
            yield from labelled_text(name.removesuffix("_id"), str(found.segment[name]))
    for name in ("source", "reference"):
        yield from labelled_text(name, found.segment[name] or "not available")
    for size, output in found.outputs.items():
        yield ""
        yield from _output(size, output)
    yield ""
    yield from labelled_text("gain", _gain(found))
    for budget in dict.fromkeys(d.budget for d in found.decisions):
        yield ""
        yield from _decided([d for d in found.decisions if d.budget == budget])
    for note in found.notes:
        yield from labelled_text("note", note)
    yield ""
    yield from sentences(found)


def _output(size: str, output: Output) -> Iterator[str]:
    yield from labelled_text(size, output.hypothesis or f"no text ({output.model})")
    facts = [output.model or "unknown model"]
    if output.output_tokens is not None:
        facts.append(f"{output.prompt_tokens} + {output.output_tokens} tokens")
    if output.finish_reason is not None:
        facts.append(f"finished by {output.finish_reason}")
    if output.mean_logprob is not None and not math.isnan(output.mean_logprob):
        facts.append(f"mean log-probability {output.mean_logprob:.3f}")
    if output.degenerate:
        facts.append("DEGENERATE (blank, runaway or repeated)")
    yield from labelled_text("", ", ".join(facts))
    for score in output.scores:
        cut = ", the metric saw only part of the texts" if score["truncated"] else ""
        signature = score["signature"]
        how = f", {_signature(signature)}" if signature else ""
        yield from labelled_text("", f"{score['metric']} {score['score']:.2f}{cut}{how}")
        for span in score["error_spans"]:
            told = ", ".join(f"{name} {value}" for name, value in span.items() if name != "text")
            yield from labelled_text("", f'error "{span.get("text", "")}" ({told})')


def _signature(signature: object) -> str:
    return signature if isinstance(signature, str) else json.dumps(signature, ensure_ascii=False)


def _gain(found: Explanation) -> str:
    small, large = found.quality["small"], found.quality["large"]
    tied = f", with {found.gain_ties - 1:,} others of the same gain" if found.gain_ties > 1 else ""
    return (
        f"{large:.2f} - {small:.2f} = {found.gain:+.2f} ({found.bucket.replace('_', ' ')}); rank "
        f"{found.gain_rank:,} of the {found.requests:,} gains of {found.key['direction']}{tied}"
    )


def _decided(decisions: list[Decision]) -> Iterator[str]:
    first = decisions[0]
    yield (
        f"At p = {first.budget:g} the large model gets {first.k:,} of the {first.requests:,} "
        "requests of the direction:"
    )
    width = min(34, max(len(_name(d)) for d in decisions))
    yield (
        f"{'router':<{width}} {'seed':>4} {'prediction':>11} {'priority':>11} {'rank':>9}"
        f"  {'goes to':<7} {'margin':>11}"
    )
    for d in decisions:
        margin = "-" if math.isnan(d.margin) else f"{d.margin:+.4g}"
        mark = "  hash" if d.by_hash else ""
        yield (
            f"{_name(d)[:width]:<{width}} {d.seed:>4} {d.prediction:>11.4g} {d.priority:>11.4g}"
            f" {d.rank:>9,}  {'large' if d.large else 'small':<7} {margin:>11}{mark}"
        )
    if any(d.by_hash for d in decisions):
        yield "hash: equal priorities stand on both sides of the cut; the hash of the id decides."


def _name(decision: Decision) -> str:
    # What a router that draws did draw, not its expectation.
    return labelled(decision.router, "router" if decision.role == "random" else decision.role)


def sentences(found: Explanation) -> Iterator[str]:
    """What the router that is spoken of decides, in words; one for each budget and seed."""
    own = [d for d in found.decisions if d.router == found.focus]
    for d in own:
        seeds = {other.seed for other in own}
        name = d.router if len(seeds) == 1 else f"{d.router} (seed {d.seed})"
        verb = "sends it to the large model" if d.large else "leaves it to the small model"
        tie = f" among {d.ties:,} of equal priority, by the hash of its id" if d.by_hash else ""
        of_gain = d.target == "gain"
        said = f"predicted gain {d.prediction:+.1f}" if of_gain else f"says {d.prediction:.4g}"
        yield from wrapped(
            f"At p = {d.budget:g} {name} {verb}: rank {d.rank:,} of {d.requests:,}{tie}, the cut "
            f"is at {d.k:,}; {said}, true gain {found.gain:+.1f}.",
            WIDTH,
        )


def labelled_text(label: str, text: str) -> Iterator[str]:
    """The text in a column beside its label."""
    for line in wrapped(text, WIDTH - _LABEL):
        yield f"{label:<{_LABEL}}{line}"
        label = ""


def wrapped(text: str, width: int) -> Iterator[str]:
    """Lines of at most `width` columns, broken at a space if there is one; Chinese takes two.

    Line breaks and control characters of the text are shown as escapes.
    """
    rest = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    while _columns(rest) > width:
        end, columns = 0, 0
        while columns + _columns(rest[end]) <= width:
            columns += _columns(rest[end])
            end += 1
        space = rest.rfind(" ", 1, end + 1)
        end = space if space > 0 else end
        yield rest[:end]
        rest = rest[end:].lstrip(" ")
    yield rest


def _columns(text: str) -> int:
    return sum(2 if east_asian_width(character) in "WF" else 1 for character in text)
