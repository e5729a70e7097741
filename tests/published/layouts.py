"""Small test sets as WMT25 and mt-metrics-eval publish them; every text is invented."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

BREAK = "\n\n"
# Domain, name as the documents spell it, segments of the source.
DOCUMENTS = (
    ("news", "paper.1", ("The mill is old.", "It grinds on.", "Nobody knows why.")),
    ("social", "post_7", ("Look at this!",)),
    ("speech", "vid_a_b", ("So, um, hello.", "Right.")),
)
PAIRS = ("en-xx_AA", "en-yy_Latn_BB")
METRICS = {
    "XCOMET-XL": 0.01,
    "MetricX-24-Hybrid-XL": -0.25,
    "CometKiwi-XL": 0.01,
    "GEMBA-ESA-GPT4.1": 1,
}


def lines(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return path


def document(pair: str, domain: str, name: str, texts: Sequence[str]) -> dict[str, Any]:
    source, _, target = pair.partition("-")
    refs = {"refA": {"ref": BREAK.join(f"{target}: {text}" for text in texts)}}
    if domain == "social":
        refs |= {"refB": {"ref": BREAK.join(f"{target}, B: {text}" for text in texts)}}
    return {
        "doc_id": f"{pair}_#_{domain}_#_{name}",
        "domain": domain,
        "src_lang": source,
        "tgt_lang": target,
        "src_text": BREAK.join(texts),
        "refs": {} if domain == "news" and pair == PAIRS[1] else refs,
    }


def score(system: str, metric: str, domain: str, i: int) -> float:
    """A score for a test to expect: of its system, document and place, in the metric's unit."""
    return METRICS[metric] * (20 + 10 * len(system) + 5 * len(domain) + i)


def both(_: str, __: str, i: int) -> Sequence[float]:
    """What two people say; of the second system nothing of first segments, and so on."""
    return 60.0 + i, 70.0


def one_person(system: str, document: str, i: int) -> Sequence[float]:
    """What one says of every system, as if drawn by chance."""
    return (float(crc32(f"{system} {document} {i}".encode()) % 101),)


def drawn(system: str, metric: str, name: str, i: int) -> float:
    """A score that looks drawn by chance, from 5 to 94 in points."""
    return METRICS[metric] * (5 + crc32(f"{system} {metric} {name} {i}".encode()) % 90)


def wmt25(
    folder: Path,
    systems: Sequence[str] = ("ant-1B", "bee-2B"),
    texts: bool = True,
    pairs: Sequence[str] = PAIRS,
    told: Sequence[tuple[str, str, Sequence[str]]] = DOCUMENTS,
    score: Callable[[str, str, str, int], float] = score,
    rate: Callable[[str, str, int], Sequence[float]] = both,
) -> Path:
    """WMT25's files of some pairs below `folder`, which is returned."""
    data = folder / "data"
    documents = [document(pair, *one) for pair in pairs for one in told]
    lines(data / "wmt25-genmt.jsonl", documents)
    state = {"supported_lps": {pairs[0]: "supported", pairs[1]: "unsupported"}}
    about = dict.fromkeys(systems[:1], state)
    (data / "systems_metadata_updated3.json").write_text(json.dumps(about))
    for system in systems:
        rows = [
            {
                "language_pair": pair,
                "domain": domain,
                "document_id": name.removeprefix("vid_"),
                "metric_scores": {
                    metric: [score(system, metric, domain, i) for i in range(len(own))]
                    for metric in METRICS
                },
            }
            for pair in pairs
            for domain, name, own in told
        ]
        lines(data / "automatic_scores" / f"{system}.jsonl", rows)
        if texts:
            said = [
                {"doc_id": d["doc_id"], "hypothesis": d["src_text"].replace(".", f" {system}.")}
                for d in documents
            ]
            lines(data / "systems" / f"{system}.jsonl", said)
    rated = [
        {
            "doc_id": f"{d['doc_id']}_#_{i}",
            "scores": {
                s: [{"score": value} for value in rate(s, d["doc_id"], i)]
                for n, s in enumerate(systems)
                if n <= i or rate is not both
            },
        }
        for d in documents
        for i in range(len(d["src_text"].split(BREAK)))
    ]
    lines(data / "wmt25-genmt-humeval.jsonl", rated)
    return folder


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def mt_metrics_eval(folder: Path, systems: Sequence[str] = ("ant-1B", "bee-2B")) -> Path:
    """A test set wmtxx of one pair with a metric, and people's scores of two raters, two missing."""
    root, pair = folder / "wmtxx", "en-xx"
    sources = [text for _, _, texts in DOCUMENTS for text in texts]
    names = [(domain, name) for domain, name, texts in DOCUMENTS for _ in texts]
    own = (*systems, "refA")
    files = {
        f"sources/{pair}.txt": sources,
        f"documents/{pair}.docs": [f"{domain}\t{name}" for domain, name in names],
        **{f"references/{pair}.{r}.txt": [f"{r}: {t}" for t in sources] for r in ("refA", "refB")},
        **{f"system-outputs/{pair}/{s}.txt": [f"{s}: {t}" for t in sources] for s in own},
        f"metric-scores/{pair}/Judge-src.seg.score": [
            f"{s}\t{0.1 * len(s) + 0.01 * i}" for s in own for i in range(len(sources))
        ],
        **{
            f"human-scores/{pair}.esa{rater}.seg.score": [
                f"{s} {'None' if (s, i) == (own[0], rater) else 50 + 10 * rater + i}"
                for s in own
                for i in range(len(sources))
            ]
            for rater in (1, 2)
        },
    }
    for name, rows in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{row}\n" for row in rows))
    return folder
