"""What a run will take, before it is started: `python -m routelmt estimate`.

Jobs are those of Snakemake's own dry run, so what is there already costs nothing. Their seconds
come from measured rates where there are any (results/rates, `rates` of the config), else from the
arithmetic of a model of that many parameters on a card of these figures, which is said.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from routelmt.config import Config, sources_of, type_of
from routelmt.hub_cache import is_cached, is_on_the_hub
from routelmt.translate.registry import ENGINES


class Hardware(NamedTuple):
    """Makers' figures of one device: dense bfloat16 products a second, bytes a second, bytes."""

    flops: float
    bandwidth: float
    memory: float


HARDWARE = {
    "h200": Hardware(989e12, 4.8e12, 141e9),
    "h100": Hardware(989e12, 3.35e12, 80e9),
    "a100": Hardware(312e12, 2.04e12, 80e9),
    "l40s": Hardware(362e12, 0.864e12, 48e9),
    "l4": Hardware(121e12, 0.3e12, 24e9),
    "rtx4090": Hardware(165e12, 1.01e12, 24e9),
}
CPU = Hardware(5e10, 1e10, 16e9)  # of one thread, float32
# Assumed wherever nothing is measured; every answer lists them.
PROMPT_TOKENS, OUTPUT_TOKENS, SCORED_TOKENS = 60, 40, 120  # of a sentence
READING, DECODING = 0.35, 0.15  # share of the arithmetic that prefill and batched decoding reach
BATCH = 128  # rows that share a pass over the weights while decoding
TRAINING = 3  # passes' worth of arithmetic of a step: forward, and backward twice that
# Seconds of a start on a card and on a CPU, and bytes of weights loaded a second.
START, START_ON_CPU, LOADING = 30.0, 5.0, 1e9
CHEAP = 2.0  # seconds of a job without a network
ASSUMED_ROWS = 1000
TEXT_BYTES = 600  # of a row of segments, hypotheses and scores together
STATES_BYTES = 119_000  # of a row of a model of 0.6e9 parameters: 29 layers, twice 1,024 halves
GIVEN = {"prefill_tokens_per_second": "prefill", "decode_tokens_per_second": "decode"}
_ENCODER = 0.56e9  # XLM-R large, and what is built on it
# Parameters of metrics that are networks, by a part of the checkpoint's name: XLM-R's and mT5's.
NETWORKS = {
    "comet": {"xxl": 10.7e9, "xl": 3.5e9, "": _ENCODER},
    "metricx": {"xxl": 13e9, "xl": 3.7e9, "": 1.2e9},
}


class Job(NamedTuple):
    """A job of a dry run: its rule, wildcards, inputs and resources."""

    rule: str
    wildcards: dict[str, str]
    inputs: list[str]
    resources: dict[str, str]

    @property
    def name(self) -> str:
        """The rule and what of."""
        return f"{self.rule} {'/'.join(self.wildcards.values())}"

    @property
    def gpus(self) -> int:
        """Cards that it holds."""
        return int(self.resources.get("gpu", 0))


def parse(dry_run: str) -> list[Job]:
    """The jobs of `snakemake --dry-run`, as it prints them; target rules left out."""
    jobs = []
    for block in re.split(r"^(?=(?:local)?rule )", dry_run, flags=re.MULTILINE)[1:]:
        rule = block.partition(":")[0].split()[1]
        lines = re.findall(r"^    (\w+): (.*)$", block, re.MULTILINE)
        entries = {key: value.split(", ") for key, value in reversed(lines)}
        pairs = {
            key: dict(entry.split("=", 1) for entry in entries.get(key, []) if "=" in entry)
            for key in ("wildcards", "resources")
        }
        if "output" in entries:
            inputs = entries.get("input", [])
            jobs.append(Job(rule, pairs["wildcards"], inputs, pairs["resources"]))
    return jobs


@dataclass
class Estimate:
    """What the jobs of a resolved config take on cards of this kind."""

    config: Config
    jobs: list[Job]
    card: str
    rates: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # seconds by name, step
    price: float | None = None  # of an hour of a card

    @cached_property
    def seconds(self) -> list[float]:
        """Of each job."""
        return [self._seconds(job) for job in self.jobs]

    @property
    def gpu_hours(self) -> float:
        """Over all jobs, each times its cards."""
        return sum(s * j.gpus for s, j in zip(self.seconds, self.jobs, strict=True)) / 3600

    @property
    def ceiling_hours(self) -> float:
        """The same of what the jobs may take at most (`runtime` of the config's `speed`)."""
        return sum(int(j.resources.get("runtime", 0)) * j.gpus for j in self.jobs) / 60

    def by_rule(self) -> dict[str, tuple[int, float, float]]:
        """Jobs, GPU-hours and CPU-hours of each rule, in the order of the dry run."""
        counts = Counter(job.rule for job in self.jobs)
        hours: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        for job, seconds in zip(self.jobs, self.seconds, strict=True):
            hours[job.rule][0] += seconds * job.gpus / 3600
            hours[job.rule][1] += 0 if job.gpus else seconds / 3600
        return {rule: (count, hours[rule][0], hours[rule][1]) for rule, count in counts.items()}

    # --- rows ----------------------------------------------------------------------------------

    def rows(self, dataset: str, direction: str) -> int:
        """Of a dataset and direction: as there, as the config says, or assumed."""
        file = Path(f"data/segments/{dataset}/{direction}.parquet")
        if file.is_file():
            from pyarrow import parquet

            return int(parquet.read_metadata(file).num_rows)
        spec = self.config["datasets"][dataset]
        said = spec.get("rows")
        count = said.get(direction) if isinstance(said, Mapping) else said
        limit: int = spec.get("limit") or count or ASSUMED_ROWS
        return min(int(count or limit), limit)

    def _rows(self, job: Job) -> float:
        """Of the segments that a job reads."""
        places = {
            found.groups() for path in job.inputs
            if (found := re.fullmatch(r"data/segments/([^/]+)/([^/]+)\.parquet", path))
        }  # fmt: skip
        return sum(self.rows(*place) for place in places) / int(job.wildcards.get("shards", 1))

    # --- seconds -------------------------------------------------------------------------------

    def _seconds(self, job: Job) -> float:
        of, rows = job.wildcards, self._rows(job)
        if job.rule in ("translate", "translate_shard", "sample"):
            spec = self.config["models"][of["model"]]
            times = spec["samples"]["count"] if job.rule == "sample" else spec.get("beams", 1)
            return self._start(of["model"], job) + rows * self._decoding(of["model"], times, job)
        if job.rule in ("prefill_states", "prefill_signals"):
            return self._start(of["model"], job) + rows * self._reading(of["model"], job)
        if job.rule in ("score", "score_shard", "score_samples"):
            return self._scoring(job, rows)
        if job.rule == "time_model":
            return self._start(of["model"], job) + 60
        if job.rule in ("train_router", "predict", "predict_in_model"):
            return self._routing(job, rows)
        return CHEAP

    def _routing(self, job: Job, rows: float) -> float:
        """Training, or asking, routers: passes of the small model or of an encoder."""
        small = self.config["experiments"][job.wildcards["experiment"]]["small"]
        if job.rule == "predict_in_model":
            base = job.wildcards["group"].partition("--")[2] or small
            adapters = sum("/routers/" in path for path in job.inputs)
            return self._start(base, job) + rows * adapters * self._reading(base, job)
        one = job.wildcards["router"]
        costs, spec = type_of(self.config, one).costs, self.config["routers"][one]
        small = spec.get("base", small)
        if not {"prefill", "encoder", "answer"} & set(costs):
            return CHEAP
        encoder = 2 * _ENCODER * PROMPT_TOKENS / (READING * self._device(job).flops)
        reading = encoder if "encoder" in costs else self._reading(small, job)
        if job.rule == "predict":
            return self._start(small, job) + rows * reading
        rates = spec.get("learning_rate")
        passes: int = spec["epochs"] * (len(rates) if isinstance(rates, list) else 1) * TRAINING
        wanted = min(rows, float(spec.get("train_rows") or rows))
        return self._start(small, job) + wanted * passes * reading

    def _scoring(self, job: Job, rows: float) -> float:
        metric = self.config["metrics"][job.wildcards["metric"]]
        if metric["type"] not in NETWORKS:
            return CHEAP + rows / 2000
        count = self.parameters(metric)
        device = self._device(job)
        passes = rows * SCORED_TOKENS * 2 * count / (READING * device.flops)
        return self._loading(metric, job) + passes

    def _start(self, model: str, job: Job) -> float:
        return self._loading(self.config["models"][model], job)

    def _loading(self, spec: Mapping[str, Any], job: Job) -> float:
        return (START if job.gpus else START_ON_CPU) + self._bytes(spec) / LOADING

    def _reading(self, model: str, job: Job) -> float:
        """Seconds of a text's prompt."""
        if "prefill" in self.rates.get(model, {}):
            return PROMPT_TOKENS * self.rates[model]["prefill"]
        count = self.parameters(self.config["models"][model])
        return PROMPT_TOKENS * 2 * count / (READING * self._device(job).flops)

    def _decoding(self, model: str, times: int, job: Job) -> float:
        """Seconds of a text's translations by so many beams or samples, its prompt read once."""
        known = self.rates.get(model, {})
        if "decode" in known:
            beams = self.config["models"][model].get("beams", 1) if job.rule == "sample" else times
            # A rate is of the model's own beams.
            return self._reading(model, job) + OUTPUT_TOKENS * known["decode"] * times / beams
        spec, device = self.config["models"][model], self._device(job)
        arithmetic = 2 * self.parameters(spec) / (DECODING * device.flops)
        weights = self._bytes(spec) / device.bandwidth / BATCH
        return self._reading(model, job) + OUTPUT_TOKENS * times * max(arithmetic, weights)

    def _device(self, job: Job) -> Hardware:
        return HARDWARE[self.card] if job.gpus else CPU

    # --- sizes ---------------------------------------------------------------------------------

    def parameters(self, spec: Mapping[str, Any]) -> float:
        """Of a model or metric: of its files, or as its name says; 0 of what has no weights."""
        path = str(spec.get("path") or "")
        if "engine" in spec and not ENGINES[spec["engine"]].weights:
            return 0.0
        if Path(path).is_dir():
            return sum(f.stat().st_size for f in Path(path).glob("*.safetensors")) / 4
        if sizes := NETWORKS.get(spec.get("type", "")):
            return next(size for name, size in sizes.items() if name in path.lower())
        named = re.search(r"(\d+(?:\.\d+)?)([bm])(?![a-z])", path.lower())
        return float(named[1]) * {"b": 1e9, "m": 1e6}[named[2]] if named else _ENCODER

    def _bytes(self, spec: Mapping[str, Any]) -> float:
        return self.parameters(spec) * (4 if spec.get("dtype") == "float32" else 2)

    def _used(self, section: str, key: str) -> dict[str, Any]:
        """Models or metrics that jobs run, by name."""
        names = dict.fromkeys(j.wildcards[key] for j in self.jobs if key in j.wildcards)
        return {n: self.config[section][n] for n in names if n in self.config[section]}

    @property
    def card_memory(self) -> tuple[float, str]:
        """Bytes that the largest network needs on a card, a third more than its weights, and it."""
        used = self._used("models", "model") | self._used("metrics", "metric")
        sizes = {name: self._bytes(s) * 4 / 3 / s["speed"].get("tensor_parallel", 1)
                 for name, s in used.items() if s.get("speed", {}).get("gpu")}  # fmt: skip
        largest = max(sizes, key=lambda name: sizes[name], default="")
        return sizes.get(largest, 0.0), largest

    @property
    def downloads(self) -> float:
        """Bytes of weights that are not in the hub's cache, and of sources that are not there."""
        entries = [
            *self._used("models", "model").values(),
            *self._used("metrics", "metric").values(),
        ]
        hub = {
            e["path"]: self._bytes(e) for e in entries
            if is_on_the_hub(e) and not is_cached(e["path"], e.get("revision"))
        }  # fmt: skip
        sources = sources_of(self.config)
        fetched = [j.wildcards["source"] for j in self.jobs if j.rule == "fetch"]
        return sum(hub.values()) + sum(_size(sources[name]) for name in fetched)

    @property
    def disk(self) -> float:
        """Bytes of downloads and of what the jobs write."""
        written = 0.0
        for job in self.jobs:
            if job.rule == "prefill_states":
                size = self.parameters(self.config["models"][job.wildcards["model"]])
                written += self._rows(job) * STATES_BYTES * (size / 0.6e9) ** (2 / 3)
            elif job.rule.startswith(("translate", "score", "read_segments")):
                written += self._rows(job) * TEXT_BYTES
        return self.downloads + written


def _size(source: Mapping[str, Any]) -> float:
    files = [f for f in source.get("files", []) if isinstance(f, Mapping)]
    return float(source.get("size", 0) + sum(f.get("size", 0) for f in files))


def measured_rates(config: Config, models: Iterable[str]) -> dict[str, dict[str, float]]:
    """Seconds a token by model and step, as the config gives them or a job has timed them."""
    rates: dict[str, dict[str, float]] = {}
    for name in models:
        given = config["rates"].get(name, {})
        rates[name] = {step: 1 / given[key] for key, step in GIVEN.items() if key in given}
        file = Path(f"results/rates/{name}.parquet")
        if not rates[name] and file.is_file():
            from routelmt import tables

            timed = tables.read(file, "rates").to_pylist()
            rates[name] = {row["step"]: row["seconds"] for row in timed if row["name"] == name}
    return {name: steps for name, steps in rates.items() if steps}


def told(estimate: Estimate) -> str:
    """The estimate as people read it, with what it rests on."""
    if not estimate.jobs:
        return "Nothing is left to do."
    lines = [f"{'rule':<20} {'jobs':>5} {'GPU-hours':>10} {'CPU-hours':>10}"]
    by_rule = estimate.by_rule()
    for rule, (jobs, *hours) in by_rule.items():
        shown = [f"{h:.1f}" if h else "" for h in hours]
        lines.append(f"{rule:<20} {jobs:>5} {shown[0]:>10} {shown[1]:>10}".rstrip())
    memory, largest = estimate.card_memory
    seconds, longest = max(zip(estimate.seconds, estimate.jobs, strict=True), key=lambda p: p[0])
    prices = estimate.config["prices"] or {}
    price = estimate.price or prices.get("per_hour")
    money = (
        f"{price * estimate.gpu_hours:,.0f} {prices.get('currency', '')}"
        if price
        else "--price says"
    )
    facts = {
        "jobs": f"{len(estimate.jobs):,}",
        "GPU-hours": f"{estimate.gpu_hours:,.1f} (at most {estimate.ceiling_hours:,.0f}, by the "
        "runtimes of the config)",
        "CPU-hours": f"{sum(cpu for *_, cpu in by_rule.values()):,.1f} of jobs without a card",
        "longest job": f"{seconds / 3600:.2f} h: {longest.name}",
        "card memory": f"{memory / 1e9:.0f} GB ({largest or 'no job asks for a card'})",
        "disk": f"{estimate.disk / 1e9:,.1f} GB, of it downloads {estimate.downloads / 1e9:,.1f}",
        "money": money.strip(),
    }
    lines += ["", *(f"{name:<13} {fact}" for name, fact in facts.items()), ""]
    lines.append(
        f"Measured rates: {', '.join(estimate.rates) or 'none'}. Assumed for all else: "
        f"{estimate.card} at {READING:.0%} (reading) and {DECODING:.0%} (decoding) of its "
        f"arithmetic, {PROMPT_TOKENS} tokens a prompt and {OUTPUT_TOKENS} an output, "
        f"{ASSUMED_ROWS:,} rows where the config has no 'rows', sizes as models' names say."
    )
    return "\n".join(lines)
