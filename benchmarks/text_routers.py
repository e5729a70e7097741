"""Routers length and rarity: sentences per second of one core, against the naive loop.

The naive loop asks the tokeniser for every sentence, and wordfreq for every word of it. Each round
runs both on the same sentences, from nothing: nothing is remembered of an earlier round. Their
values must be equal. For zh, jieba's own time on the sentences is the bound. Texts are files with
a sentence a line, by language: real ones, since both ways live by how often words come again.

    python benchmarks/text_routers.py --en newstest*.eng --ru newstest*.rus --zh newstest*.zho
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import random
import statistics
import time
from collections.abc import Callable, Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

import jieba
import spacy
import wordfreq

from routelmt.routers.length import token_counter
from routelmt.routers.rarity import FLOOR, SHARE, rarity_of
from routelmt.routers.words import quiet_jieba

PACKAGES = ("jieba", "spacy", "wordfreq")
Router = Callable[[str], float]


def naive_length(language: str) -> Router:
    """The definition, sentence by sentence."""
    if language == "zh":
        return lambda text: sum(1 for _ in jieba.cut(text))
    tokenizer = spacy.blank(language).tokenizer
    return lambda text: len(tokenizer(text))


def naive_rarity(language: str) -> Router:
    """The definition, word by word; wordfreq remembers its own words."""
    wordfreq._wf_cache.clear()

    def rarity(text: str) -> float:
        tokens = wordfreq.tokenize(text, language)
        surprise = [-math.log(wordfreq.word_frequency(t, language, minimum=FLOOR)) for t in tokens]
        if not surprise:
            return 0.0
        rarest = max(1, math.ceil(round(SHARE * len(surprise), 9)))
        return math.fsum(sorted(surprise, reverse=True)[:rarest]) / rarest

    return rarity


def fast_length(language: str) -> Router:
    """The router's, with nothing remembered."""
    token_counter.cache_clear()
    return token_counter(language)


def fast_rarity(language: str) -> Router:
    """The router's, with nothing remembered."""
    wordfreq._wf_cache.clear()
    return rarity_of(language, SHARE, FLOOR)


def jieba_alone(router: str) -> Callable[[str], Any]:
    """What jieba does of a router's work in zh."""
    if router == "length":
        return jieba.lcut
    from wordfreq import chinese

    return lambda text: chinese.jieba_tokenizer.lcut(text, HMM=False)


ROUTERS = {"length": (naive_length, fast_length), "rarity": (naive_rarity, fast_rarity)}


def timed(ask: Callable[[str], Any], texts: Iterable[str]) -> tuple[float, list[Any]]:
    """CPU seconds, and what was said of every text."""
    start = time.process_time()
    values = [ask(text) for text in texts]
    return time.process_time() - start, values


def one_round(router: str, language: str, texts: list[str], number: int) -> dict[str, float]:
    """Sentences per second of both ways, in an order that changes with the round."""
    ways = dict(zip(("naive", "fast"), ROUTERS[router], strict=True))
    seconds, values = {}, {}
    for way in sorted(ways, reverse=bool(number % 2)):
        seconds[way], values[way] = timed(ways[way](language), texts)
    if values["naive"] != values["fast"]:
        raise SystemExit(f"{router}, {language}: the values differ")
    if language == "zh":
        seconds["jieba"], _ = timed(jieba_alone(router), texts)
    found = {f"{way}_per_second": round(len(texts) / s) for way, s in seconds.items()}
    found["ratio"] = round(seconds["naive"] / seconds["fast"], 2)
    if "jieba" in seconds:
        found["share_of_jieba"] = round(seconds["jieba"] / seconds["fast"], 2)
    return found


def sentences(files: list[Path], limit: int, seed: int) -> list[str]:
    """At most so many lines of the files, in random order; blank ones left out."""
    lines = [line for file in files for line in file.read_text(encoding="utf-8").split("\n")]
    chosen = [line for line in lines if line.strip()]
    random.Random(seed).shuffle(chosen)
    return chosen[:limit]


def warm_up(language: str) -> None:
    """Dictionaries are read once by both ways."""
    for naive, fast in ROUTERS.values():
        naive(language)("x")
        fast(language)("x")


def parse() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for language in ("en", "ru", "zh"):
        parser.add_argument(f"--{language}", type=Path, nargs="*", default=[], help="texts")
    parser.add_argument("--limit", type=int, default=20_000, help="sentences of a language")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    here = Path(__file__).parent
    parser.add_argument("--out", type=Path, default=here / "results" / "text_routers.json")
    return parser.parse_args()


def main() -> None:
    """Measure and write."""
    options = parse()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    quiet_jieba()
    summary, rounds, data = {}, {}, {}
    for language in ("en", "ru", "zh"):
        files = getattr(options, language)
        texts = sentences(files, options.limit, options.seed)
        if not texts:
            continue
        data[language] = {
            "files": sorted(file.name for file in files),
            "sentences": len(texts),
            "characters_mean": round(statistics.mean(map(len, texts)), 1),
        }
        warm_up(language)
        for router in ROUTERS:
            runs = [one_round(router, language, texts, i) for i in range(options.rounds)]
            rounds[f"{router}/{language}"] = runs
            medians = {k: statistics.median(run[k] for run in runs) for k in runs[0]}
            summary[f"{router}/{language}"] = medians
            print(router, language, json.dumps(medians), flush=True)
    report = {
        "summary": summary,
        "rounds": rounds,
        "data": data,
        "packages": {name: metadata.version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "machine": platform.processor() or platform.machine(),
        "load": [round(load, 2) for load in os.getloadavg()],
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
