"""Every Parquet table of the workflow: its schema, and the only way to read and write it.

A table is declared once, here. `write` checks it, stamps provenance into the Parquet metadata and
puts the file in place atomically; `read` checks it again. A file is whole and valid, or absent.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from routelmt import plugins
from routelmt.errors import UserError
from routelmt.records import parse_record
from routelmt.strict_json import JsonError, cut

SCHEMA_VERSION = 1
METADATA_KEY = b"routelmt"
ARROW = ".arrow"  # suffix of the files that are mapped instead of read: see states
JOIN_KEY = ("dataset", "direction", "segment_id")


@dataclass(frozen=True)
class Column:
    """A column: Arrow type, whether it may be null, and its closed range (numbers only)."""

    type: pa.DataType
    about: str
    nullable: bool = False
    low: float | None = None
    high: float | None = None
    nan: bool = False  # whether NaN may stand for "undefined, see the reason column"
    added: bool = False  # later than the table, at its end: null in a file without it


@dataclass(frozen=True)
class Table:
    """A table: its columns in order, and the columns that identify a row."""

    about: str
    key: tuple[str, ...]
    columns: Mapping[str, Column]
    may_be_empty: bool = False


_TEXT = pa.string()
_KEY = {
    "dataset": Column(_TEXT, "dataset name from the config"),
    "direction": Column(_TEXT, "source-target, e.g. en-zh"),
    "segment_id": Column(_TEXT, "identifies the segment within dataset and direction"),
}


def _number(about: str, **limits: Any) -> Column:
    return Column(pa.float64(), about, **limits)


def _count(about: str, **limits: Any) -> Column:
    return Column(pa.int64(), about, low=0, **limits)


_INTERVAL = {
    "low": _number("lower end of the bootstrap interval", nan=True),
    "high": _number("upper end of the bootstrap interval", nan=True),
}
# At the end of every table with intervals.
_CLUSTERS = {"clusters": _count("clusters of requests that were drawn", nullable=True, added=True)}
_SUPPORT = {
    **_CLUSTERS,
    "undefined": _number(
        "share of the replicates in which a figure of the row is undefined",
        low=0, high=1, nullable=True, added=True,
    ),
}  # fmt: skip
_DOUBT = {
    "reason": Column(_TEXT, "why figures are undefined, or are in many replicates", nullable=True,
                     added=True),
}  # fmt: skip
_RUN = {
    "router": Column(_TEXT, "router name from the config"),
    "direction": Column(_TEXT, "direction, or 'average' over the directions"),
    "budget": _number("share of the requests that the large model gets", low=0, high=1),
}
_POOL_BUDGET = _number(
    "mean cost as a share of the range from the cheapest model's to the dearest one's; of a single "
    "model, where it lies in that range", low=0, high=1,
)  # fmt: skip
_ROLE = Column(_TEXT, "router, random (its exact expectation) or oracle (not deployable)")


def _ends(figure: str) -> dict[str, Column]:
    """The interval of one of several figures of a row."""
    return {
        f"{figure}_low": _number(f"lower end of {figure}'s bootstrap interval", nan=True),
        f"{figure}_high": _number(f"upper end of {figure}'s bootstrap interval", nan=True),
    }


def _some_ends(figure: str) -> dict[str, Column]:
    """The same where only some rows have one."""
    return {name: replace(end, about=f"{end.about}, of chosen pairs")
            for name, end in _ends(figure).items()}  # fmt: skip


_PAIR = {
    "small": Column(_TEXT, "system that translates by default"),
    "large": Column(_TEXT, "system that routed requests go to"),
    "direction": _RUN["direction"],
    "metric": Column(_TEXT, "metric that judges"),
    "budget": _RUN["budget"],
}
# Of one router under a guard, beside the figures themselves.
_TO_UNGUARDED = {
    name: column
    for figure in ("severe_loss", "mean_delta")
    for name, column in (
        (f"{figure}_difference", _number(f"{figure} less the same router's without a guard")),
        *_ends(f"{figure}_difference").items(),
    )
}

_TRANSFER_PLACE = {
    "split": Column(_TEXT, "name from the config, or 'average' over the splits"),
    "part": Column(_TEXT, "part it is tested on, or 'average' over the parts"),
    "budget": _number("share of the requests of each part and direction", low=0, high=1),
}
_TRANSFER_SIZE = {
    "requests": _count("evaluated requests"),
    "left_out": _count("requests of domains that are in no part"),
}

_STREAMED = {
    "policy": Column(_TEXT, "fixed, rolling or controller: how the threshold comes about"),
    "rate": _number("share of the requests that was routed", low=0, high=1),
    **_ends("rate"),
    "mean_delta": _number("mean gain of the routed requests", nan=True),
    **_ends("mean_delta"),
    "quality": _number("mean quality of the mixed system"),
    **_ends("quality"),
    "offline_quality": _number("with as many of these requests, those of highest priority"),
    "requests": _count("requests served"),
    "calibration": _count("requests that the threshold was taken from"),
    "rate_alarm": Column(
        pa.int64(),
        "requests until the first of the streams of all seeds (and, on the average, directions) "
        "left its band; null if none did. The level is divided by their number",
        nullable=True,
    ),
    "traffic_alarm": Column(
        pa.int64(), "the same of the fixed threshold beside the policy", nullable=True
    ),
    "reason": Column(_TEXT, "why the mean gain is undefined", nullable=True),
    **_SUPPORT,
    "random_quality": _number(
        "with as many of these requests, drawn by chance, in expectation", nullable=True, added=True
    ),
}  # fmt: skip

_BUILT_IN: dict[str, Table] = {
    "corpus": Table(
        "one text of a gettext corpus and its translation",
        ("text_id", "language"),
        {
            "text_id": Column(_TEXT, "hash of the normalised English text"),
            "group_id": Column(_TEXT, "texts that share a normalised string in any language"),
            "language": Column(_TEXT, "language of `translation`"),
            "package": Column(_TEXT, "PyPI package that carries the catalog"),
            "catalog": Column(_TEXT, "path of the catalog in the wheel"),
            "split": Column(_TEXT, "translator-train, router-train, valid, test or unused"),
            "english": Column(_TEXT, "msgid"),
            "translation": Column(_TEXT, "msgstr"),
        },
    ),
    "segments": Table(
        "one text to translate, with its human reference",
        JOIN_KEY,
        {
            **_KEY,
            "group_id": Column(_TEXT, "ties the same text across directions"),
            "doc_id": Column(_TEXT, "document the text stands in", nullable=True),
            "domain": Column(_TEXT, "domain or origin", nullable=True),
            "split": Column(_TEXT, "split it was drawn from"),
            "source": Column(_TEXT, "text to translate"),
            "reference": Column(_TEXT, "human translation"),
        },
    ),
    "overlaps": Table(
        "a training or validation row whose text is also in held-out data, one row a held-out set",
        (*JOIN_KEY, "held_out"),
        {
            **_KEY,
            "role": Column(_TEXT, "train or valid"),
            "held_out": Column(_TEXT, "dataset that has the text too"),
            "kind": Column(_TEXT, "exact, near, or group (shares the group of an exact or near)"),
            "side": Column(_TEXT, "source or reference of this row; null for group", nullable=True),
            "similarity": _number("Jaccard of character n-grams; of the match for group", high=1),
            "held_out_id": Column(_TEXT, "segment_id of the best match in the held-out set"),
        },
        may_be_empty=True,  # as it should be
    ),
    "datasheet": Table(
        "what the data of an experiment is: counts and lengths by domain",
        ("dataset", "direction", "domain"),
        {
            "dataset": _KEY["dataset"],
            "direction": _KEY["direction"],
            "domain": Column(_TEXT, "domain, or 'all'"),
            "role": Column(_TEXT, "train, valid or test"),
            "segments": _count("rows"),
            "groups": _count("distinct texts, as tied across directions"),
            "documents": _count("distinct documents; 0 where upstream names none"),
            **{
                f"{side}_words_{name}": _number(f"{about} of words per {side}, see words()", low=0)
                for side in ("source", "reference")
                for name, about in (
                    ("mean", "mean"),
                    ("p05", "5th percentile"),
                    ("p25", "lower quartile"),
                    ("p50", "median"),
                    ("p75", "upper quartile"),
                    ("p95", "95th percentile"),
                )
            },
            "source_chars_mean": _number("mean characters per source", low=0),
            "reference_chars_mean": _number("mean characters per reference", low=0),
        },
    ),
    "contamination": Table(
        "training and validation rows whose text is in held-out data, and what was removed",
        ("dataset", "held_out", "direction"),
        {
            "dataset": _KEY["dataset"],
            "role": Column(_TEXT, "train or valid"),
            "held_out": Column(_TEXT, "dataset compared with, or 'any'"),
            "direction": Column(_TEXT, "direction, or 'all'"),
            "rows": _count("rows of the training or validation set"),
            "exact": _count("rows with a normalised text that the held-out set has"),
            "near": _count("rows that are near-duplicates only"),
            "group": _count("rows that share the group of such a row"),
            "removed": _count("rows kept away from the routers; 0 where the config only counts"),
        },
        may_be_empty=True,  # an experiment that trains nothing has nothing to keep apart
    ),
    "flagged": Table(
        "a request with a flag of the small or of the large model",
        JOIN_KEY,
        {
            **_KEY,
            "truncated": Column(pa.bool_(), "the metric saw only part of its texts"),
            "degenerate": Column(pa.bool_(), "a translation is blank, runaway, or repeats a piece"),
        },
        may_be_empty=True,  # as it should be
    ),
    "flags": Table(
        "translations that a reader must know of, and requests that are left out for them",
        ("model", "dataset", "direction"),
        {
            "model": Column(_TEXT, "model name from the config"),
            "dataset": _KEY["dataset"],
            "direction": _KEY["direction"],
            "requests": _count("translations"),
            "truncated": _count("of which the metric saw only part of the texts"),
            "degenerate": _count("that are blank, runaway, or one piece repeated"),
            "length": _count(
                "that the limit of new tokens cut (finish_reason), degenerate as well"
            ),
            "left_out": _count("requests that leave_out takes out, for a flag of either model"),
        },
    ),
    "hypotheses": Table(
        "one model's translation of one segment",
        (*JOIN_KEY, "model"),
        {
            **_KEY,
            "model": Column(_TEXT, "model name from the config"),
            "hypothesis": Column(
                _TEXT,
                "decoded translation; may be blank, see degenerate; null if not published",
                nullable=True,
            ),
            "prompt_tokens": _count("tokens of the prompt; null if precomputed", nullable=True),
            "output_tokens": _count(
                "tokens decoded, end of sequence included; null if precomputed", nullable=True
            ),
            "finish_reason": Column(
                _TEXT, "stop, length, too_long, ...; null if precomputed", nullable=True
            ),
            "mean_logprob": _number(
                "mean log-probability (nats) of the decoded tokens", nan=True, high=1e-6
            ),
            "degenerate": Column(pa.bool_(), "blank, runaway, or one piece repeated"),
        },
    ),
    "samples": Table(
        "one of several translations of a segment, drawn from the model's distribution",
        (*JOIN_KEY, "sample", "model"),
        {
            **_KEY,
            "sample": _count("index of the sample, from 0"),
            "model": Column(_TEXT, "model name from the config"),
            "hypothesis": Column(_TEXT, "decoded translation; may be blank"),
            "prompt_tokens": _count("tokens of the prompt"),
            "output_tokens": _count("tokens decoded, end of sequence included"),
            "finish_reason": Column(_TEXT, "stop, length, too_long, ..."),
            "mean_logprob": _number(
                "mean log-probability (nats) of the tokens at temperature 1", nan=True, high=1e-6
            ),
        },
    ),
    "signals": Table(
        "what one prefill of the small model says before anything is decoded",
        (*JOIN_KEY, "model"),
        {
            **_KEY,
            "model": Column(_TEXT, "model name from the config"),
            "prompt_tokens": _count("tokens of the prompt"),
            "entropy": _number("entropy (nats) of the first target token", low=-1e-6),
            "margin": _number("p1 - p2 of the first target token", low=0, high=1),
            "max_logit": _number("largest logit of the first target token"),
            "state": Column(pa.list_(pa.float16()), "final hidden state at the last prompt token"),
        },
    ),
    # Kept in Arrow files and written by `states`; the sizes of the lists are the model's.
    "states": Table(
        "what every layer of the small model makes of a prompt",
        JOIN_KEY,
        {
            **_KEY,
            "last": Column(
                pa.list_(pa.list_(pa.float16())),
                "state of the last prompt token at each layer, embeddings first, final norm last",
            ),
            "mean": Column(
                pa.list_(pa.list_(pa.float16())), "the same, mean over the prompt's tokens"
            ),
        },
    ),
    "scores": Table(
        "quality of one hypothesis",
        (*JOIN_KEY, "metric", "model"),
        {
            **_KEY,
            "metric": Column(_TEXT, "metric name from the config"),
            "model": Column(_TEXT, "model name from the config"),
            "score": _number("quality, higher is better; 0-100 unless the metric says otherwise"),
            "truncated": Column(pa.bool_(), "the metric saw only part of the texts"),
            "error_spans": Column(
                _TEXT, "errors that the metric marks, as JSON; null if it marks none", nullable=True
            ),
        },
    ),
    "sample_scores": Table(
        "quality of one sampled translation",
        (*JOIN_KEY, "sample", "metric", "model"),
        {
            **_KEY,
            "sample": _count("index of the sample, from 0"),
            "metric": Column(_TEXT, "metric name from the config"),
            "model": Column(_TEXT, "model name from the config"),
            "score": _number("quality, higher is better; 0-100 unless the metric says otherwise"),
        },
    ),
    "gains": Table(
        "what the large model adds to each segment",
        JOIN_KEY,
        {
            **_KEY,
            "group_id": Column(_TEXT, "ties the same text across directions"),
            "quality_small": _number("score of the small model's hypothesis"),
            "quality_large": _number("score of the large model's hypothesis"),
            "gain": _number("quality_large - quality_small"),
            "doc_id": Column(_TEXT, "document the text stands in", nullable=True, added=True),
            "domain": Column(_TEXT, "domain or origin", nullable=True, added=True),
        },
    ),
    "predictions": Table(
        "what one router says of each request; higher priority goes to the large model first",
        (*JOIN_KEY, "router", "seed"),
        {
            **_KEY,
            "router": Column(_TEXT, "router name from the config"),
            "seed": Column(pa.int64(), "training or sampling seed", low=0),
            "prediction": _number("in the router's own unit (gain points, nats, tokens, ...)"),
            "priority": _number("higher = large model first"),
        },
    ),
    "routers": Table(
        "Spearman, HitRate and mean gain of the routed requests (RouteLMT Table 2)",
        ("router", "direction", "budget", "metric"),
        {
            **_RUN,
            "role": _ROLE,
            "metric": Column(
                _TEXT,
                "spearman, hit_rate (0-100), mean_delta, headroom (0-1; of the gain oracle's) or "
                "headroom_attainable (of what true gains leave of it; may be above 1)",
            ),
            "value": _number("mean over the seeds", nan=True),
            **_INTERVAL,
            "seeds": _count("number of seeds; 0 where all draws are averaged exactly"),
            "seed_spread": _number("standard deviation over the seeds", nan=True),
            "requests": _count("evaluated requests"),
            "reason": Column(_TEXT, "why the value is undefined", nullable=True),
            **_SUPPORT,
        },
    ),
    "comparisons": Table(
        "paired differences between routers on the same bootstrap replicates",
        ("router", "other", "direction", "budget", "metric"),
        {
            "router": Column(_TEXT, "router name"),
            "other": Column(_TEXT, "router it is compared with"),
            "direction": _RUN["direction"],
            "budget": _RUN["budget"],
            "metric": Column(_TEXT, "spearman, hit_rate (0-100) or mean_delta"),
            "difference": _number("router - other", nan=True),
            **_INTERVAL,
            "p_value": _number("two-sided, t; see docs/evaluation.md", low=0, high=1, nan=True),
            "p_holm": _number("Holm-corrected over the router pairs", low=0, high=1, nan=True),
            "detectable": _number("difference that Holm's first step finds in 80 of 100", nan=True),
            **_SUPPORT,
            **_DOUBT,
        },
        may_be_empty=True,  # one deployable router has nothing to be compared with
    ),
    "router_metrics": Table(
        "every metric of every router, at the budgets and of the whole curve",
        ("router", "direction", "budget", "metric"),
        {
            "router": _RUN["router"],
            "direction": Column(_TEXT, "direction, 'average' over them, or 'pooled': one budget"),
            "budget": _number("call rate; null for a metric without", nullable=True),
            "role": _ROLE,
            "metric": Column(_TEXT, "spearman, hit_rate (0-100), mean_delta, headroom, pgr, ..."),
            "value": _number("mean over the seeds", nan=True),
            **_INTERVAL,
            "seeds": _count("number of seeds; 0 where all draws are averaged exactly"),
            "seed_spread": _number("standard deviation over the seeds", nan=True),
            "requests": _count("evaluated requests"),
            "reason": Column(_TEXT, "why the value is undefined", nullable=True),
            **_SUPPORT,
        },
    ),
    "breakdown": Table(
        "Spearman, HitRate and MeanΔ within domains and quarters of source lengths",
        ("router", "direction", "by", "group", "budget", "metric"),
        {
            "router": _RUN["router"],
            "direction": _RUN["direction"],
            "by": Column(_TEXT, "domain or length"),
            "group": Column(_TEXT, "domain, or quarter of the lengths: shortest to longest"),
            "detail": Column(_TEXT, "range of the lengths in words; empty where there is none"),
            "budget": _number("share of the group's requests; null for Spearman", nullable=True),
            "role": _ROLE,
            "metric": Column(_TEXT, "spearman, hit_rate (0-100) or mean_delta"),
            "value": _number("mean over the seeds", nan=True),
            **_INTERVAL,
            "requests": _count("evaluated requests of the group"),
            "reason": Column(_TEXT, "why the value is undefined", nullable=True),
            **_SUPPORT,
        },
    ),
    "domains": Table(
        "the routers' figures within named domains, against the rest of the test data",
        ("router", "direction", "domain", "budget", "metric"),
        {
            "router": _RUN["router"],
            "direction": Column(_TEXT, "direction, or 'average' over those with the domain"),
            "domain": Column(_TEXT, "name from the config, or 'in-domain': the rest"),
            "budget": _number("share of the domain's requests", low=0, high=1),
            "role": _ROLE,
            "metric": Column(_TEXT, "spearman, hit_rate (0-100), mean_delta or headroom (0-1)"),
            "value": _number("mean over the seeds", nan=True),
            **_INTERVAL,
            "seeds": _count("number of seeds; 0 where all draws are averaged exactly"),
            "seed_spread": _number("standard deviation over the seeds", nan=True),
            "requests": _count("evaluated requests of the domain"),
            "directions": _count("directions that it is over"),
            "difference": _number("value - in-domain's in the same directions", nan=True),
            **_ends("difference"),
            "reason": Column(_TEXT, "why the value is undefined", nullable=True),
            **_SUPPORT,
        },
        may_be_empty=True,  # an experiment need not name domains
    ),
    "noise": Table(
        "how much of 1 - Spearman could be noise of the labels",
        ("direction", "router", "measure"),
        {
            "direction": _RUN["direction"],
            "router": Column(_TEXT, "router; null for the labels themselves", nullable=True),
            "measure": Column(
                _TEXT, "reliability, attainable_spearman, spearman, noise_share of 1 - spearman"
            ),
            "method": Column(_TEXT, "raters, one factor, parallel or none"),
            "metrics": Column(_TEXT, "whose gains the reliability is from"),
            "value": _number("the measure", nan=True),
            **_INTERVAL,
            "requests": _count("evaluated requests"),
            "reason": Column(_TEXT, "why the value is undefined", nullable=True),
            **_SUPPORT,
        },
    ),
    "cross_metric": Table(
        "the same routers judged by the gains of several metrics",
        ("judge", "router", "direction", "budget", "metric"),
        {
            "judge": Column(_TEXT, "metric of the gains that judge"),
            "router": Column(_TEXT, "router; null for the ranking as a whole", nullable=True),
            "direction": _RUN["direction"],
            "budget": _number("call rate; null for Spearman", nullable=True),
            "role": Column(_TEXT, _ROLE.about, nullable=True),
            "metric": Column(_TEXT, "spearman, hit_rate, mean_delta, rank or kendall_tau"),
            "value": _number("mean over the seeds", nan=True),
            **_INTERVAL,
            "reason": Column(_TEXT, "why the value is undefined", nullable=True),
            **_SUPPORT,
        },
    ),
    "human": Table(
        "whether the order of two routers by the metric holds for people, or cannot be told",
        ("judge", "router", "other", "direction", "budget"),
        {
            "judge": Column(_TEXT, "metric of people's scores"),
            "router": Column(_TEXT, "router name"),
            "other": Column(_TEXT, "router it is compared with"),
            "direction": _RUN["direction"],
            "budget": _RUN["budget"],
            "metric": Column(_TEXT, "the experiment's metric"),
            "metric_difference": _number("MeanΔ of router - other, by the metric", nan=True),
            "metric_p_holm": _number("its p-value, Holm-corrected", low=0, high=1, nan=True),
            "expected": _number("the same in people's points, if they agreed", nan=True),
            "difference": _number("MeanΔ of router - other, by people", nan=True),
            **_INTERVAL,
            "p_value": _number("two-sided, of people's difference", low=0, high=1, nan=True),
            "p_holm": _number("Holm-corrected over the router pairs", low=0, high=1, nan=True),
            "detectable": _number("difference that Holm's first step finds in 80 of 100", nan=True),
            "verdict": Column(
                _TEXT,
                "holds, reversed, not confirmed (though `expected` could be detected), too few "
                "requests to tell, or undefined",
            ),
            "requests": _count("requests that people scored"),
            **_SUPPORT,
            **_DOUBT,
        },
        may_be_empty=True,  # one deployable router has nothing to be compared with
    ),
    "atlas": Table(
        "what routing between any two systems of a pool could gain, and how much of it is noise",
        ("small", "large", "direction", "metric", "budget"),
        {
            **_PAIR,
            "mean_gain": _number("of all requests; what a random choice gains"),
            **_some_ends("mean_gain"),
            "losses": _number("share of the requests that lose (risk_edges)", low=0, high=1),
            **_some_ends("losses"),
            "severe_losses": _number("share with a severe loss", low=0, high=1),
            **_some_ends("severe_losses"),
            "headroom": _number("MeanΔ of the gain oracle less mean_gain", nan=True),
            **_some_ends("headroom"),
            "cross_headroom": _number(
                "the same of another metric's gain oracle, judged by this one; mean over the "
                "metrics that share no rater with it",
                nan=True,
            ),
            "attainable_headroom": _number(
                "the same of a perfect predictor of the true gain, see docs/evaluation.md", nan=True
            ),
            **_some_ends("attainable_headroom"),
            "reliability": _number("of the gains, from Pearson's correlations", nan=True),
            **_some_ends("reliability"),
            "attainable_spearman": _number("root of the same from rank correlations", nan=True),
            "agreement_pearson": _number("mean correlation with other metrics' gains", nan=True),
            "agreement_spearman": _number("the same of ranks", nan=True),
            "method": Column(_TEXT, "of the reliability: one factor, parallel or none"),
            "requests": _count("requests that all metrics have scores of both systems of"),
            "directions": _count("directions that it is over"),
            "reason": Column(_TEXT, "why the attainable headroom is undefined", nullable=True),
            **_SUPPORT,
        },
    ),
    "atlas_signals": Table(
        "what each signal recovers of the headroom between two systems of a pool",
        ("small", "large", "direction", "metric", "budget", "kind", "signal"),
        {
            **_PAIR,
            "kind": Column(
                _TEXT,
                "gain: another metric's gain oracle; quality: of the small system, lowest first; "
                "router: one of the experiment's, which sees the source",
            ),
            "signal": Column(_TEXT, "metric or router (of several seeds the first)"),
            "shares_rater": Column(
                pa.bool_(), "a gain by a metric that shares a rater with the judge"
            ),
            "recovered": _number("share of the headroom"),
            **_some_ends("recovered"),
            "spearman": _number("of the signal and the gain", nan=True),
            **_some_ends("spearman"),
            "pearson": _number("of the signal and the gain", nan=True),
            "requests": _count("requests"),
            **_SUPPORT,
        },
    ),
    "pareto": Table(
        "mean system quality at every call rate",
        ("router", "direction", "call_rate"),
        {
            "router": Column(_TEXT, "router name"),
            "direction": _RUN["direction"],
            "role": _ROLE,
            "call_rate": _number("share of requests sent to the large model", low=0, high=1),
            "quality": _number("mean quality of the mixed system"),
            **_INTERVAL,
            "to_large": _number("quality minus that of the large model alone"),
            **_ends("to_large"),
            **_SUPPORT,
            **_DOUBT,
        },
    ),
    "risk_buckets": Table(
        "what happens to the routed requests (RouteLMT section 6.3)",
        ("router", "direction", "budget", "bucket"),
        {
            **_RUN,
            "role": _ROLE,
            "bucket": Column(_TEXT, "severe_loss, minor_loss, tie or substantial_gain"),
            "share": _number("share of the routed requests", low=0, high=1),
            **_INTERVAL,
            **_SUPPORT,
            **_DOUBT,
        },
    ),
    "guards": Table(
        "routing with an eligibility guard (RouteLMT section 6.4)",
        ("router", "guard", "direction", "budget", "quantile"),
        {
            "router": Column(_TEXT, "router that ranks"),
            "guard": Column(_TEXT, "router whose priority decides who is eligible, or none"),
            "oracle": Column(pa.bool_(), "the guard needs the reference, so it cannot be deployed"),
            "direction": _RUN["direction"],
            "budget": _RUN["budget"],
            "quantile": _number("share of requests that are eligible", low=0, high=1),
            "severe_loss": _number("share of the routed requests with a severe loss"),
            **_ends("severe_loss"),
            "mean_delta": _number("mean gain of the routed requests"),
            **_ends("mean_delta"),
            **_TO_UNGUARDED,
            **_SUPPORT,
            **_DOUBT,
        },
        may_be_empty=True,  # an experiment need not have guards
    ),
    "cases": Table(
        "requests to look at, picked by rule: severe losses, largest gains, worst regressions",
        ("kind", "direction", "budget", "rank"),
        {
            **_KEY,
            "group_id": Column(_TEXT, "ties the same text across directions"),
            "doc_id": Column(_TEXT, "document the text stands in", nullable=True),
            "domain": Column(_TEXT, "domain or origin", nullable=True),
            "kind": Column(_TEXT, "severe_loss, largest_gain or worst_regression"),
            "budget": _RUN["budget"],
            "rank": Column(pa.int64(), "within kind, direction and budget, from 1", low=1),
            "found": Column(pa.int64(), "requests of this kind there, before any limit", low=1),
            "source": Column(_TEXT, "text to translate"),
            "reference": Column(_TEXT, "human translation"),
            "hypothesis_small": Column(_TEXT, "the small model's translation", nullable=True),
            "hypothesis_large": Column(_TEXT, "the large model's translation", nullable=True),
            "quality_small": _number("score of the small model's"),
            "quality_large": _number("score of the large model's"),
            "gain": _number("quality_large - quality_small"),
            **{
                f"{flag}_{size}": Column(type_, f"{about} ({size} model)", nullable=nullable)
                for size in ("small", "large")
                for flag, type_, about, nullable in (
                    ("truncated", pa.bool_(), "the metric saw only part of the texts", False),
                    ("degenerate", pa.bool_(), "blank, runaway, or one piece repeated", False),
                    ("error_spans", _TEXT, "errors that the metric marks, as JSON", True),
                )
            },
            "routed_by": Column(pa.list_(_TEXT), "deployable routers that send it in any seed"),
            "seed_shares": Column(pa.list_(pa.float64()), "the shares of their seeds that do"),
            "oracles": Column(pa.list_(_TEXT), "oracles that send it"),
        },
        may_be_empty=True,  # all gains may be 0
    ),
    "training": Table(
        "losses of the trained routers: a row an epoch, and rows of the training loss in between",
        ("router", "seed", "learning_rate", "step", "epoch_end"),
        {
            "router": _RUN["router"],
            "seed": Column(pa.int64(), "training seed", low=0),
            "learning_rate": _number("highest learning rate of the schedule", low=0),
            "epoch": _count("epoch, from 1"),
            "step": _count("optimiser steps so far"),
            "train_loss": _number("mean over the epoch, or over the rows since", nan=True),
            "validation_loss": _number("mean over the validation rows", nan=True),
            "validation_spearman": _number("on the validation rows", nan=True),
            "epoch_end": Column(pa.bool_(), "whether the row is about a whole epoch"),
            "kept": Column(pa.bool_(), "whether the router has the weights of this epoch"),
        },
        may_be_empty=True,  # an experiment need not train any router
    ),
    "sweep": Table(
        "one setting of a router at several values, with reference lines",
        ("router", "direction", "budget", "metric"),
        {
            "sweep": Column(_TEXT, "sweep name from the config"),
            "setting": Column(_TEXT, "setting of the router that differs"),
            "value": Column(_TEXT, "its value; null for a reference line", nullable=True),
            "position": _count("order of the value; null for a reference line", nullable=True),
            "number": _number("the value if it is a number", nan=True),
            **_RUN,
            "role": _ROLE,
            "metric": Column(_TEXT, "spearman, hit_rate (0-100), mean_delta or headroom (0-1)"),
            "estimate": _number("the metric, mean over the seeds", nan=True),
            **_INTERVAL,
            "seeds": _count("number of seeds; 0 where all draws are averaged exactly"),
            "seed_spread": _number("standard deviation over the seeds", nan=True),
            "requests": _count("evaluated requests"),
            "reason": Column(_TEXT, "why the estimate is undefined", nullable=True),
            **_SUPPORT,
        },
    ),
    "transfer": Table(
        "routers trained on one part of the domains, on the part they have seen and on the other",
        ("router", "seen", "split", "part", "budget", "metric"),
        {
            "router": Column(_TEXT, "router name from the config"),
            "seen": Column(
                pa.bool_(),
                "trained on the part it is tested on (true) or on the other (false); "
                "null for chance and the gain oracle",
                nullable=True,
            ),
            **_TRANSFER_PLACE,
            "role": _ROLE,
            "metric": Column(_TEXT, "spearman, hit_rate (0-100), mean_delta or headroom (0-1)"),
            "value": _number("mean over the seeds", nan=True),
            **_INTERVAL,
            "seeds": _count("number of seeds; 0 where all draws are averaged exactly"),
            "seed_spread": _number("standard deviation over the seeds", nan=True),
            **_TRANSFER_SIZE,
            "reason": Column(_TEXT, "why the value is undefined", nullable=True),
            **_SUPPORT,
        },
    ),
    "transfer_comparisons": Table(
        "paired differences: seen less unseen domains of a router, routers on unseen domains",
        ("router", "seen", "other", "other_seen", "split", "part", "budget", "metric"),
        {
            "router": Column(_TEXT, "router name"),
            "seen": Column(pa.bool_(), "whether it has seen the domains that it is tested on"),
            "other": Column(_TEXT, "router it is compared with: itself, where only seen differs"),
            "other_seen": Column(
                pa.bool_(), "the same of the other; null for chance", nullable=True
            ),
            **_TRANSFER_PLACE,
            "metric": Column(_TEXT, "spearman, hit_rate (0-100), mean_delta or headroom (0-1)"),
            "difference": _number("router - other", nan=True),
            **_INTERVAL,
            "p_value": _number("two-sided p-value", low=0, high=1, nan=True),
            "p_holm": _number(
                "p-value, Holm-corrected over the routers (seen - unseen) or over the router pairs",
                low=0,
                high=1,
                nan=True,
            ),
            "detectable": _number("difference that Holm's first step finds in 80 of 100", nan=True),
            **_TRANSFER_SIZE,
            **_SUPPORT,
            **_DOUBT,
        },
    ),
    "streaming": Table(
        "requests routed one at a time by a calibrated threshold (RouteLMT section 4)",
        ("router", "direction", "budget", "policy"),
        {**_RUN, "role": _ROLE, **_STREAMED},
    ),
    "calibration": Table(
        "realised rate of a calibrated threshold against the rate it was calibrated for",
        ("router", "direction", "target"),
        {
            "router": Column(_TEXT, "router name"),
            "direction": _RUN["direction"],
            "role": _ROLE,
            "target": _number("rate that the threshold was calibrated for", low=0, high=1),
            "rate": _number("rate realised on the test sets", low=0, high=1),
            **_INTERVAL,
            **_SUPPORT,
        },
    ),
    "drift": Table(
        "as streaming, where the traffic is not like the calibration traffic",
        ("scenario", "router", "direction", "budget", "policy"),
        {
            "scenario": Column(_TEXT, "same (no drift), shift, or gradual (A turns into B)"),
            **_RUN,
            "role": _ROLE,
            **_STREAMED,
        },
        may_be_empty=True,  # test data of one dataset without domains has no two parts
    ),
    "drift_paths": Table(
        "the realised rate as the requests of a drift come",
        ("scenario", "router", "direction", "budget", "policy", "request"),
        {
            "scenario": Column(_TEXT, "see drift"),
            "router": Column(_TEXT, "router name"),
            "direction": _KEY["direction"],
            "budget": _RUN["budget"],
            "role": _ROLE,
            "policy": _STREAMED["policy"],
            "request": _count("requests so far"),
            "rate": _number("share of them that was routed", low=0, high=1),
            "recent_rate": _number("of the last 200 of them", low=0, high=1, nan=True),
            "low": _number("lower limit of the band of the rate", low=0, high=1),
            "high": _number("upper limit of the band of the rate", low=0, high=1),
        },
        may_be_empty=True,
    ),
    "reliability": Table(
        "observed against predicted gain, in bins of equally many requests",
        ("router", "direction", "bin"),
        {
            "router": Column(_TEXT, "router whose prediction is a gain"),
            "direction": Column(_TEXT, "direction, or 'all' requests together"),
            "bin": _count("from the smallest predictions to the largest"),
            "predicted": _number("mean predicted gain"),
            "observed": _number("mean gain"),
            **_INTERVAL,
            "requests": _count("in the bin"),
        },
        may_be_empty=True,  # no router need predict gains
    ),
    "budgets": Table(
        "one total budget shared out over the directions in several ways",
        ("router", "allocation", "direction", "budget"),
        {
            "router": _RUN["router"],
            "direction": Column(_TEXT, "direction, or 'all' requests together"),
            "budget": _RUN["budget"],
            "role": _ROLE,
            "allocation": Column(
                _TEXT,
                "per_direction, pooled, predicted_gain, gain_per_second, gain_per_money or oracle",
            ),
            "rate": _number("share of the requests that the large model gets", low=0, high=1),
            "mean_delta": _number("mean gain of the routed requests", nan=True),
            **_ends("mean_delta"),
            "quality": _number("mean quality of the mixed system"),
            **_ends("quality"),
            "behind_oracle": _number("quality that the gain oracle's allocation has more"),
            **_ends("behind_oracle"),
            "reason": Column(_TEXT, "why the mean gain is undefined", nullable=True),
            **_SUPPORT,
        },
    ),
    "smallest_budget": Table(
        "the smallest budget whose quality is within x points of all-large",
        ("router", "direction", "within"),
        {
            "router": Column(_TEXT, "router name"),
            "direction": _RUN["direction"],
            "role": _ROLE,
            "within": _number("points that may be lost against all-large", low=0),
            "confidence": _number(
                "of the choice, on the validation sets, for a router chosen without them",
                low=0,
                high=1,
            ),
            "budget": _number("the smallest that passes there", low=0, high=1),
            "calibration_difference": _number("quality - all-large's, on the validation sets"),
            "calibration_bound": _number("its lower confidence bound"),
            "test_difference": _number("quality - all-large's, on the test sets"),
            **_INTERVAL,
            "held": Column(pa.bool_(), "the test sets' difference is within x points"),
            "simultaneous": _number(
                "the smallest that passes with this confidence for all deployable routers at once",
                low=0,
                high=1,
                nullable=True,
                added=True,
            ),
            "chosen_on_validation": Column(
                pa.bool_(),
                "the same validation rows chose the router's epoch, rate or strength",
                nullable=True,
                added=True,
            ),
            **_CLUSTERS,
        },
    ),
    "rates": Table(
        "seconds that models and routers take on a device",
        ("name", "step"),
        {
            "name": Column(_TEXT, "model, router or metric of the config"),
            "step": Column(_TEXT, "prefill, decode (a token each), or request"),
            "seconds": _number("for one token or request", low=0),
            "low": _number("lower end of the interval of the measurements", low=0, nan=True),
            "high": _number("upper end of the interval of the measurements", low=0, nan=True),
            "origin": Column(_TEXT, "timed, benchmarks (of the workflow's jobs), record or given"),
            "device": Column(_TEXT, "what it was measured on"),
            "batches": Column(
                _TEXT,
                "how requests were put together: tokens a batch, ...; null if not known",
                nullable=True,
            ),
            "date": Column(_TEXT, "day of the measurement; null if given", nullable=True),
            "measurements": _count("how many it rests on; 0 if given"),
        },
    ),
    "costs": Table(
        "time and money of every router and budget, and the quality they buy",
        ("router", "direction", "budget"),
        {
            **_RUN,
            "role": _ROLE,
            "quality": _number("mean quality of the mixed system"),
            "seconds": _number("of the device, for 1000 requests", low=0, nan=True),
            **{f"seconds_{end}": column for end, column in _INTERVAL.items()},
            "router_seconds": _number("of these, the router's own", low=0, nan=True),
            "small_seconds": _number("of these, the small model's", low=0, nan=True),
            "large_seconds": _number("of these, the large model's", low=0, nan=True),
            "mean_seconds": _number("were the routed requests as long as all", low=0, nan=True),
            "of_all_large": _number("seconds as a share of all-large's", low=0, nan=True),
            "router_share": _number("router_seconds / seconds", low=0, high=1, nan=True),
            "break_even": _number("budget at which all-large costs the same", nan=True, high=1),
            "money": _number("for 1000 requests, in the prices' currency", low=0, nan=True),
            "currency": Column(_TEXT, "of money; null without prices", nullable=True),
            "aiq_seconds": _number(
                "mean quality under the hull over seconds, any budget", nan=True
            ),
            **_ends("aiq_seconds"),
            "aiq_money": _number("the same over money", nan=True),
            **_ends("aiq_money"),
            "aiq_zero": _number("the same of the models alone and mixed by chance"),
            "remark": Column(
                _TEXT, "if its rates are of several devices or batches", nullable=True
            ),
            "reason": Column(_TEXT, "why something is undefined", nullable=True),
            **_SUPPORT,
        },
    ),
    "pool": Table(
        "quality at cost of every policy over a pool of models",
        ("policy", "name", "direction", "budget"),
        {
            "policy": Column(
                _TEXT,
                "single (a model alone), mixture (of models by chance, the zero router), "
                "allocated (by a router's predicted gains), coherent (the same, charged for "
                "switches within a document), pair (the two models it makes the most of), cascade "
                "or oracle",
            ),
            "name": Column(_TEXT, "model, router, or which oracle"),
            "direction": _RUN["direction"],
            "budget": _POOL_BUDGET,
            "role": _ROLE,
            "quality": _number("mean quality, points", nan=True),
            **_ends("quality"),
            "cost": _number("mean cost of a request, what deciding costs included", nan=True),
            **_ends("cost"),
            "unit": Column(_TEXT, "of costs: seconds, money or stated"),
            "to_mixture": _number("quality less the static mixture's at the budget", nan=True),
            **_ends("to_mixture"),
            "to_pair": _number("quality less that of the same router's best pair", nan=True),
            **_ends("to_pair"),
            "area": _number(
                "mean of to_mixture over the cost range; 0 where not payable", nan=True
            ),
            **_ends("area"),
            "switches": _number(
                "share of neighbours within a document with different models",
                low=0,
                high=1,
                nan=True,
            ),
            "reason": Column(_TEXT, "why something is undefined", nullable=True),
            **_SUPPORT,
        },
    ),
    "pool_shares": Table(
        "how many requests a policy over a pool gives to each model",
        ("policy", "name", "direction", "budget", "model"),
        {
            "policy": Column(_TEXT, "see table pool"),
            "name": Column(_TEXT, "router, or which oracle"),
            "direction": _RUN["direction"],
            "budget": _POOL_BUDGET,
            "model": Column(_TEXT, "model from the config"),
            "share": _number(
                "of the requests whose translation is this model's", nan=True, low=0, high=1
            ),
            **_INTERVAL,
            "reason": Column(_TEXT, "why it is undefined", nullable=True),
            **_SUPPORT,
        },
    ),
    "pool_choice": Table(
        "which models deserve to be in the pool: the best subset of each size, chosen on one half "
        "of the clusters and judged on the other, on average over the directions",
        ("name", "budget", "size"),
        {
            "name": Column(_TEXT, "router whose predicted gains allocate, or oracle"),
            "budget": _POOL_BUDGET,
            "size": Column(pa.int64(), "models in the subset", low=1),
            "role": _ROLE,
            "models": Column(_TEXT, "the subset, cheapest first"),
            "same": Column(pa.bool_(), "whether the other half would choose it too"),
            "chosen_at": _number("quality on the half that it was chosen on", nan=True),
            "quality": _number("quality on the other half", nan=True),
            **_ends("quality"),
            "to_smaller": _number("quality there less that of the subset a size smaller", nan=True),
            **_ends("to_smaller"),
            "reason": Column(_TEXT, "why something is undefined", nullable=True),
            **_SUPPORT,
        },
    ),
    "guard_costs": Table(
        "routing with an eligibility guard, and what the guard's signal costs",
        ("router", "guard", "direction", "budget", "quantile"),
        {
            "router": Column(_TEXT, "router that ranks"),
            "guard": Column(_TEXT, "router whose priority decides who is eligible, or none"),
            "direction": _RUN["direction"],
            "budget": _RUN["budget"],
            "quantile": _number("share of requests that are eligible", low=0, high=1),
            "role": Column(_TEXT, "of the guard (oracle: not deployable), or random: by chance"),
            "degenerate": Column(pa.bool_(), "quantile = budget: the guard routes alone"),
            "severe_loss": _number("share of the routed requests with a severe loss"),
            **_ends("severe_loss"),
            "mean_delta": _number("mean gain of the routed requests"),
            **_ends("mean_delta"),
            **_TO_UNGUARDED,
            "seconds": _number("for 1000 requests, all asked by the guard", low=0, nan=True),
            **_ends("seconds"),
            "guard_seconds": _number("of these, what the guard adds", low=0, nan=True),
            "calibrated_seconds": _number(
                "for 1000 requests, asked by rank until the budget is spent", low=0, nan=True
            ),
            "asked": _number("share of the requests asked so", low=0, high=1),
            "remark": Column(
                _TEXT, "if its rates are of several devices or batches", nullable=True
            ),
            "reason": Column(_TEXT, "why the seconds are undefined", nullable=True),
            **_SUPPORT,
        },
        may_be_empty=True,  # an experiment need not have guards
    ),
}
TABLES = plugins.Registry("tables", _BUILT_IN, plugins.SCHEMA)


@cache
def arrow_schema(table: str) -> pa.Schema:
    """The Arrow schema of a table, without metadata."""
    columns = TABLES[table].columns
    return pa.schema([pa.field(n, c.type, nullable=c.nullable) for n, c in columns.items()])


def from_columns(table: str, columns: Mapping[str, Any]) -> pa.Table:
    """Arrow table of the declared schema from arrays, lists or scalars (scalars are repeated)."""
    schema = arrow_schema(table)
    columns = {n: None for n, c in TABLES[table].columns.items() if c.added} | dict(columns)
    lengths = {len(v) for v in columns.values() if _is_sequence(v)}
    if len(lengths) > 1:
        raise ValueError(f"columns of {table} have different lengths: {sorted(lengths)}")
    rows = lengths.pop() if lengths else 1
    missing = set(schema.names) ^ set(columns)
    if missing:
        raise ValueError(f"columns of {table} and of its schema differ: {sorted(missing)}")
    arrays = [_array(columns[field.name], field, rows) for field in schema]
    return pa.Table.from_arrays(arrays, schema=schema)


def from_rows(table: str, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Arrow table of the declared schema from rows that have all its columns."""
    names = [n for n, c in TABLES[table].columns.items() if not c.added or (rows and n in rows[0])]
    return from_columns(table, {name: [row[name] for row in rows] for name in names})


def _is_sequence(value: Any) -> bool:
    return not isinstance(value, str) and hasattr(value, "__len__")


def _array(value: Any, field: pa.Field, rows: int) -> pa.Array | pa.ChunkedArray:
    if isinstance(value, pa.Array | pa.ChunkedArray):
        return value.cast(field.type)
    if not _is_sequence(value):
        return pa.repeat(pa.scalar(value, field.type), rows)
    if pa.types.is_floating(field.type):  # NaN stays NaN: null and undefined differ
        return pa.array(np.asarray(value, dtype=np.float64), field.type, from_pandas=False)
    return pa.array(value, field.type)


def check(data: pa.Table, table: str, where: str) -> None:
    """Raise UserError unless `data` is a valid `table`; `where` begins the message."""
    spec, schema = TABLES[table], arrow_schema(table)
    found = data.schema.remove_metadata()
    if found.names != schema.names:
        lost, extra = set(schema.names) - set(found.names), set(found.names) - set(schema.names)
        raise UserError(
            f"{where}: not a '{table}' table: missing columns {sorted(lost)}, unexpected columns "
            f"{sorted(extra)}. Delete the file and let the workflow rebuild it."
        )
    for name, column in spec.columns.items():
        _check_column(data.column(name), name, column, schema.field(name), where)
    if not data.num_rows and not spec.may_be_empty:
        raise UserError(f"{where}: the '{table}' table is empty; look at what it was made from.")
    _check_key(data, spec.key, table, where)


def _check_column(
    values: pa.ChunkedArray, name: str, column: Column, field: pa.Field, where: str
) -> None:
    if values.type != field.type:
        raise UserError(f"{where}: column '{name}' is {values.type}, expected {field.type}.")
    if values.null_count and not column.nullable:
        row = pc.index(pc.is_null(values), True).as_py()
        raise UserError(
            f"{where}: column '{name}' has {values.null_count} empty values, the first in row "
            f"{row}; none is allowed."
        )
    if not pa.types.is_floating(field.type) and not pa.types.is_integer(field.type):
        return
    if not column.nan and pa.types.is_floating(field.type):
        undefined = pc.sum(pc.is_nan(values)).as_py() or 0
        if undefined:
            row = pc.index(pc.is_nan(values), True).as_py()
            raise UserError(
                f"{where}: column '{name}' has {undefined} NaN values, the first in row {row}."
            )
    for bound, outside, word in (
        (column.low, pc.less, "below"),
        (column.high, pc.greater, "above"),
    ):
        if bound is not None and pc.any(outside(values, bound)).as_py():
            row = pc.index(outside(values, bound), True).as_py()
            raise UserError(
                f"{where}: column '{name}' has {values[row].as_py()} in row {row}, {word} {bound}."
            )


def _check_key(data: pa.Table, key: tuple[str, ...], table: str, where: str) -> None:
    # A column that never varies cannot tell rows apart, and grouping by it costs time.
    varying = [k for k in key if pc.count_distinct(data.column(k)).as_py() > 1] or [key[0]]
    groups = data.select(varying).group_by(varying).aggregate([([], "count_all")])
    if groups.num_rows == data.num_rows:
        return
    twice = groups.filter(pc.greater(groups.column("count_all"), 1))
    examples = twice.select(varying).slice(0, 3).to_pylist()
    raise UserError(
        f"{where}: {twice.num_rows} keys of the '{table}' table occur more than once, "
        f"first: {examples}; every {', '.join(key)} may occur once."
    )


def content_hash(data: pa.Table) -> str:
    """SHA-256 of the values, independent of file layout, chunking and metadata."""
    digest = hashlib.sha256()
    hash_columns(digest, data)
    return digest.hexdigest()


def hash_columns(digest: Any, data: pa.Table) -> None:
    """Put the columns' names and values into a hash."""
    for name in data.column_names:
        digest.update(name.encode())
        for buffer in _canonical(data.column(name)):
            digest.update(buffer)


def _canonical(values: pa.ChunkedArray) -> Iterable[bytes | memoryview]:
    array = values.combine_chunks()
    if isinstance(array, pa.ChunkedArray):  # zero chunks
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], values.type)
    if array.null_count:
        yield np.asarray(array.is_null()).tobytes()
    if pa.types.is_list(array.type):
        yield np.asarray(pc.list_value_length(array).fill_null(0)).astype(np.int64).tobytes()
        yield from _canonical(pa.chunked_array([array.flatten()]))
    elif pa.types.is_fixed_size_list(array.type):
        yield np.array([array.type.list_size], dtype=np.int64).tobytes()
        yield from _canonical(pa.chunked_array([array.flatten()]))
    elif pa.types.is_string(array.type):
        filled = array.fill_null("")
        yield np.asarray(pc.binary_length(filled)).astype(np.int64).tobytes()
        yield "".join(filled.to_pylist()).encode()
    else:
        filled = array.fill_null(False if pa.types.is_boolean(array.type) else 0)
        yield np.ascontiguousarray(filled.to_numpy(zero_copy_only=False)).tobytes()


def write(data: pa.Table, path: str | Path, table: str, provenance: Mapping[str, Any]) -> None:
    """Check `data`, add `provenance`, and put it at `path` atomically.

    Raises UserError if the data break the table's schema; nothing is written then.
    """
    path = Path(path)
    check(data, table, str(path))
    record = {
        "table": table,
        "schema_version": SCHEMA_VERSION,
        "rows": data.num_rows,
        "content": content_hash(data),
        **provenance,
    }
    stamped = data.replace_schema_metadata({METADATA_KEY: json.dumps(record, ensure_ascii=False)})
    with atomic_path(path) as temporary:
        pq.write_table(stamped, temporary, compression="zstd", write_page_checksum=True)


class atomic_path:
    """Context: a temporary path beside `path` that replaces it, synced to disk, on success."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def __enter__(self) -> Path:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            prefix=f".{self.path.stem}.", suffix=self.path.suffix, dir=self.path.parent
        )
        os.close(handle)
        self.temporary = Path(name)
        return self.temporary

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.temporary.unlink(missing_ok=True)
            return
        with self.temporary.open("rb") as handle:
            os.fsync(handle.fileno())
        as_umask(self.temporary)  # mkstemp makes private files; results are shared
        self.temporary.replace(self.path)


def as_umask(path: Path) -> None:
    """Give a file the mode that an ordinary new one has."""
    mask = os.umask(0)
    os.umask(mask)
    path.chmod(0o666 & ~mask)


def is_foreign(path: str | Path) -> bool:
    """Whether this is a readable Parquet or Arrow file that the workflow did not write.

    A record whose key is damaged is a record all the same.
    """
    try:
        metadata = _schema_of(path).metadata or {}
    except Exception:  # as in `readable`
        return False
    return METADATA_KEY not in metadata and not any(
        b'"schema_version"' in value for value in metadata.values()
    )


@contextmanager
def readable(path: str | Path) -> Iterator[None]:
    """Whatever Arrow raises at a damaged file, as a UserError that names the file."""
    kind = "Arrow" if Path(path).suffix == ARROW else "Parquet"
    try:
        yield
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"{path}: no such file.") from None
    # ArrowInvalid and OSError mostly; but one flipped bit can also make a number of bytes that
    # cannot be allocated, a type that is not implemented, or a name that is not UTF-8.
    except Exception as error:
        raise UserError(
            f"{path}: not a readable {kind} file ({cut(str(error))}). It was cut short, damaged or "
            "overwritten; delete it and run the workflow again."
        ) from None


def _schema_of(path: str | Path) -> pa.Schema:
    if not stat.S_ISREG(Path(path).stat().st_mode):  # a pipe would be waited for without end
        raise OSError("not a regular file")
    if Path(path).suffix != ARROW:
        return pq.read_schema(path)
    with pa.memory_map(str(path)) as source:
        return pa.ipc.open_file(source).schema


def record_of(path: str | Path) -> dict[str, Any]:
    """The provenance record of a Parquet file, or of an Arrow file of states.

    Raises UserError if the file is missing, cut short, damaged, not ours, or of another schema
    version.
    """
    with readable(path):
        metadata = _schema_of(path).metadata or {}
    if METADATA_KEY not in metadata:
        raise UserError(f"{path}: a file without provenance, so not one that this workflow wrote.")
    try:
        record = parse_record(metadata[METADATA_KEY])
    except JsonError as error:
        raise UserError(
            f"{path}: its record is damaged ({error}); delete it and run the workflow again."
        ) from None
    if record["schema_version"] != SCHEMA_VERSION:
        raise UserError(
            f"{path}: written with table schema version {cut(repr(record['schema_version']))}, "
            f"this version reads {SCHEMA_VERSION}. Delete the file and run the workflow again."
        )
    if record["table"] not in TABLES:
        raise UserError(
            f"{path}: its record names the table {record['table'][:60]!r}, which this version does "
            "not know. Delete the file and run the workflow again."
        )
    return record


def read(path: str | Path, table: str, columns: list[str] | None = None) -> pa.Table:
    """Read a table of the given kind, checked; `columns` selects (and checks) some only."""
    record, spec = record_of(path), TABLES[table]
    if record["table"] != table:
        raise UserError(f"{path}: holds a '{record['table']}' table, expected '{table}'.")
    with readable(path):
        there = pq.read_schema(path).names
        asked = columns and [name for name in columns if name in there]
        data = pq.read_table(
            path, columns=asked, partitioning=None, page_checksum_verification=True
        )
        data.validate(full=True)  # offsets and UTF-8: a tenth of the reading, and never a crash
        for name, column in spec.columns.items():
            if column.added and name not in there and name in (columns or (name,)):
                data = data.append_column(name, pa.nulls(data.num_rows, column.type))
        if columns is None:
            check(data, table, str(path))
    return data.replace_schema_metadata(None)


def read_all(paths: Iterable[str | Path], table: str, columns: list[str] | None = None) -> pa.Table:
    """Several files of one table, one under the other, in the given order."""
    return pa.concat_tables([read(path, table, columns) for path in paths])
