"""The contamination audit at ComMT's size: seconds, memory, and recall of planted duplicates.

Writes seeded text of invented words in three scripts: 56,918 en-zh and 40,862 en-ru training
pairs, each in both directions, against test sets of 1,012, 998 and 1,358 texts in four directions.
Copies of test texts, exact and with ever more characters changed, are planted in the training text.
A process of its own, on one core, reads the tables and runs `find_overlaps`; recall is of the
planted pairs that reach the threshold. The naive way, the Jaccard similarity of every pair of
texts, is timed on a sample of the training texts and extrapolated linearly.

    python benchmarks/find_overlaps.py
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib import metadata
from itertools import accumulate
from pathlib import Path
from typing import Any

import pyarrow as pa

from routelmt import tables
from routelmt.data.normalise import normalise
from routelmt.data.overlaps import find_overlaps, is_han, jaccard, ngrams

SETTINGS = {"threshold": 0.8, "ngram": 5, "ngram_han": 2, "permutations": 128, "action": "remove"}
TRAIN = {"zh": 56_918, "ru": 40_862}
TEST = {"test-a": 1_012, "test-b": 998, "test-c": 1_358}
LETTERS = {
    "en": "etaoinshrdlucmfwypvbgkjqxz",
    "ru": "оеаинтсрвлкмдпуяыьгзбчйхжшюцщэф",
    "zh": "".join(map(chr, range(0x4E00, 0x4E00 + 4000))),
}
VOCABULARY = 40_000
WORDS = 25
WORD_LENGTHS = {"en": range(2, 11), "ru": range(2, 13), "zh": (1, 2, 2, 3)}
Pair = tuple[str, str, str]  # language, English, text in the language
Planted = tuple[str, str, str]  # training text, test text, dataset


class Writer:
    """Texts of Zipf-distributed invented words, around WORDS of them, with some punctuation."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.words = {language: self._vocabulary(language) for language in LETTERS}
        self.cumulative = list(accumulate(1 / (rank + 3) for rank in range(VOCABULARY)))

    def _vocabulary(self, language: str) -> list[str]:
        letters, lengths = LETTERS[language], WORD_LENGTHS[language]
        return [
            "".join(self.random.choices(letters, k=self.random.choice(lengths)))
            for _ in range(VOCABULARY)
        ]

    def text(self, language: str) -> str:
        """A new text."""
        count = max(3, round(self.random.gauss(WORDS, 8)))
        words = self.random.choices(self.words[language], cum_weights=self.cumulative, k=count)
        words[count // 2] += "，" if language == "zh" else ","
        joined = ("" if language == "zh" else " ").join(words)
        return joined.capitalize() + ("。" if language == "zh" else ".")

    def near(self, text: str, edits: int, language: str) -> str:
        """The text with so many characters replaced."""
        letters = list(text)
        for place in self.random.sample(range(len(letters)), min(edits, len(letters))):
            letters[place] = self.random.choice(LETTERS[language][:200])
        return "".join(letters)


def segments(dataset: str, pairs: list[Pair], split: str) -> pa.Table:
    """Both directions of the pairs."""
    rows = [
        (f"en-{language}", i, english, other) for i, (language, english, other) in enumerate(pairs)
    ]
    rows += [(f"{d[3:]}-en", i, other, english) for d, i, english, other in rows]
    return tables.from_columns(
        "segments",
        {
            "dataset": dataset,
            "direction": [row[0] for row in rows],
            "segment_id": [f"{row[1]:06d}" for row in rows],
            "group_id": [f"{dataset}-{row[1]:06d}" for row in rows],
            "doc_id": pa.nulls(len(rows), pa.string()),
            "domain": pa.nulls(len(rows), pa.string()),
            "split": split,
            "source": [row[2] for row in rows],
            "reference": [row[3] for row in rows],
        },
    )


def corpus(seed: int, planted: int) -> tuple[dict[str, list[Pair]], list[Pair], list[Planted]]:
    """Test pairs by dataset, training pairs, and what was planted."""
    writer = Writer(seed)
    test = {}
    for name, size in TEST.items():
        english = [writer.text("en") for _ in range(size)]
        test[name] = [(lang, text, writer.text(lang)) for lang in TRAIN for text in english]
    train = [
        (lang, writer.text("en"), writer.text(lang))
        for lang, size in TRAIN.items()
        for _ in range(size)
    ]
    held_out = [(name, pair) for name, pairs in test.items() for pair in pairs]
    plants = []
    for i, place in enumerate(writer.random.sample(range(len(train)), planted)):
        dataset, (language, *texts) = held_out[writer.random.randrange(len(held_out))]
        _, *own = train[place]
        side = 0 if train[place][0] != language else i % 2
        edited = writer.near(texts[side], i % 12, ("en", language)[side])  # 0: an exact copy
        own[side] = edited.upper() if i % 12 == 0 else edited
        plants.append((own[side], texts[side], dataset))
        train[place] = (train[place][0], own[0], own[1])
    return test, train, plants


def similarity(one: str, other: str) -> float:
    """Jaccard similarity as `find_overlaps` defines it; 0 where it compares as exact only."""
    one, other = normalise(one), normalise(other)
    lengths = {SETTINGS["ngram_han" if is_han(text) else "ngram"] for text in (one, other)}
    if one == other:
        return 1.0
    if len(lengths) > 1 or min(len(one), len(other)) < min(lengths):
        return 0.0
    return jaccard(*(ngrams(text, min(lengths)) for text in (one, other)))


def recall(plants: list[Planted], train: pa.Table, found: pa.Table) -> dict[str, Any]:
    """How many of the planted pairs at or above the threshold were found."""
    rows = train.select(["direction", "segment_id", "source", "reference"]).to_pylist()
    places: dict[str, list[tuple[str, str]]] = {}
    for row in rows:
        for side in ("source", "reference"):
            places.setdefault(row[side], []).append((row["direction"], row["segment_id"]))
    hits = {
        (row["direction"], row["segment_id"], row["held_out"]): row["similarity"]
        for row in found.to_pylist()
        if row["kind"] != "group"
    }
    wanted, missed, least = [0, 0], 0, 1.0
    for own, other, dataset in plants:
        expected = similarity(own, other)
        if expected < SETTINGS["threshold"]:
            continue
        wanted[normalise(own) == normalise(other)] += 1
        least = min(least, expected)
        missed += any(hits.get((*place, dataset), 0) < expected for place in places[own])
    total = sum(wanted)
    return {
        "planted": len(plants),
        "exact": wanted[True],
        "near": wanted[False],
        "least_similar": least,
        "found": total - missed,
        "recall": (total - missed) / total,
    }


def naive(train: pa.Table, test: pa.Table, sample: int) -> dict[str, Any]:
    """Seconds of comparing every training text with every test text of its language."""
    asked, held_out = _distinct(train), _distinct(test)
    seconds = 0.0
    for language, texts in asked.items():
        others = [_grams(text) for text in sorted(held_out[language])]
        chosen = random.Random(0).sample(sorted(texts), min(sample, len(texts)))
        start = time.process_time()
        for text in chosen:
            own = _grams(text)
            for other in others:
                jaccard(own, other)
        seconds += (time.process_time() - start) * len(texts) / len(chosen)
    return {
        "extrapolated_cpu_seconds": round(seconds),
        "sampled_texts": sample * len(asked),
        "of_texts": sum(map(len, asked.values())),
        "held_out_texts": sum(map(len, held_out.values())),
    }


def _grams(text: str) -> set[str]:
    return ngrams(text, SETTINGS["ngram_han" if is_han(text) else "ngram"]) or {text}


def _distinct(table: pa.Table) -> dict[str, set[str]]:
    texts: dict[str, set[str]] = {}
    for row in table.select(["direction", "source", "reference"]).to_pylist():
        for language, side in zip(
            row["direction"].split("-"), ("source", "reference"), strict=True
        ):
            texts.setdefault(language, set()).add(normalise(row[side]))
    return texts


def audit(folder: Path) -> None:
    """What the process that is measured does."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    train, test = (tables.read(folder / f"{n}.parquet", "segments") for n in ("train", "test"))
    wall, cpu = time.perf_counter(), time.process_time()
    found = find_overlaps(train, None, test, SETTINGS)
    measured = {
        "seconds": round(time.perf_counter() - wall, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    tables.write(found, folder / "overlaps.parquet", "overlaps", {})
    (folder / "measured.json").write_text(json.dumps(measured))


def runs(folder: Path, repeats: int) -> Iterator[dict[str, Any]]:
    """Measurements of each repeat, in a process of its own."""
    for _ in range(repeats):
        subprocess.run([sys.executable, __file__, "--audit", str(folder)], check=True)
        yield json.loads((folder / "measured.json").read_text())


def parse() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--planted", type=int, default=3600)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--sample", type=int, default=150, help="texts per language, naive way")
    parser.add_argument("--audit", type=Path, help=argparse.SUPPRESS)
    here = Path(__file__).parent
    parser.add_argument("--out", type=Path, default=here / "results" / "find_overlaps.json")
    return parser.parse_args()


def main() -> None:
    """Measure and write."""
    options = parse()
    if options.audit:
        audit(options.audit)
        return
    sets, pairs, plants = corpus(options.seed, options.planted)
    train = segments("train", pairs, "train")
    test = pa.concat_tables([segments(name, own, "test") for name, own in sets.items()])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for role, table in (("train", train), ("test", test)):
            tables.write(table, folder / f"{role}.parquet", "segments", {})
        measured = list(runs(folder, options.repeats))
        found = tables.read(folder / "overlaps.parquet", "overlaps")
    by_brute_force = naive(train, test, options.sample)
    best = min(run["cpu_seconds"] for run in measured)
    report = {
        "summary": {
            "seconds": max(run["seconds"] for run in measured),
            "peak_memory_mb": max(run["peak_memory_mb"] for run in measured),
            "naive_cpu_ratio": round(by_brute_force["extrapolated_cpu_seconds"] / best),
        },
        "runs": measured,
        "recall": recall(plants, train, found),
        "overlapping_rows": found.num_rows,
        "naive": by_brute_force,
        "rows": {"train": train.num_rows, "test": test.num_rows},
        "settings": SETTINGS,
        "packages": {name: metadata.version(name) for name in ("datasketch", "numpy", "pyarrow")},
        "python": platform.python_version(),
        "machine": platform.processor() or platform.machine(),
        "load": [round(load, 2) for load in os.getloadavg()],
    }
    print(json.dumps(report["summary"] | report["recall"]))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
