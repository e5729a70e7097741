"""An expensive stage writes what is recorded of it, or declares another behaviour.

golden.json has, for inputs that stand in this file, some values of every output beside the stage's
declared behaviour (see stages.BEHAVIOUR). Who changes what a stage writes raises its number and
records again: RECORD_GOLDEN=1 python -m pytest tests/contract/test_golden.py
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from snakemake.utils import update_config

from routelmt import config, stages, tables
from routelmt.data.registry import READERS
from routelmt.routers.registry import ROUTERS, router_type
from routelmt.score.registry import METRICS
from routelmt.settings import stage_settings
from routelmt.translate.registry import ENGINES
from tests.contract.conftest import ENDS, NOUNS, VERBS

ROOT = Path(__file__).parents[2]
FILE = Path(__file__).with_name("golden.json")
SHOWN = 4  # values of a column that are recorded
# Trained weights differ from machine to machine by the order of sums; a changed formula by more.
CLOSE = {"rtol": 5e-3, "atol": 5e-3}

Golden = dict[str, Any]
Make = Callable[[Path], Path]

# Kinds whose outputs are stated value by value elsewhere, or need what is not here.
STATED_ELSEWHERE = {
    "routelmt.data.readers": "tests/unit/data/test_readers.py has every row",
    "routelmt.translate.vllm_engine": "tests/vllm compares it with the transformers engine",
    "routelmt.translate.openai_engine": "tests/unit/translate has every answer",
    "routelmt.translate.precomputed": "takes what a file has",
    "routelmt.score.precomputed": "takes what a file has",
    "routelmt.score.comet_metric": "tests/comet compares it with COMET's own predict",
    "routelmt.score.metricx": "tests/unit/score compares it with a forward pass in numpy",
    "routelmt.score.command_metric": "takes what a program says",
    "routelmt.routers.sentinel": "tests/unit/routers compares it with the checkpoint's own pass",
    "rates": "is a measurement",
    "catalogs": "tests/unit/data/test_catalogs.py has every row",
    "gathered": "tests/unit/test_shards.py: what one job would have written",
}


def rows(count: int, split: str) -> dict[str, list[Any]]:
    """Made-up segments, the same on every machine."""
    texts = [
        (f"{v} the {n} {e}", f"{vz}{nz}{ez}")
        for v, vz in VERBS.items()
        for n, nz in NOUNS.items()
        for e, ez in ENDS.items()
    ]
    chosen = [texts[(7 * i + len(split)) % len(texts)] for i in range(count)]
    names = [f"{split}-{i}" for i in range(count)]
    return {
        "dataset": [split] * count, "direction": ["en-zh"] * count, "segment_id": names,
        "group_id": names, "doc_id": [None] * count, "domain": ["words"] * count,
        "split": [split] * count, "source": [s for s, _ in chosen],
        "reference": [r for _, r in chosen],
    }  # fmt: skip


def quality(source: str, factor: int) -> float:
    """A made-up score of a text, 0 to 100."""
    return float(sum(map(ord, source)) * factor % 101)


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Inputs by what they are: segments, hypotheses, samples, scores, gains of two splits."""
    folder = tmp_path_factory.mktemp("golden")
    files = {}
    for split, count in (("train", 32), ("valid", 12)):
        segments = rows(count, split)
        key = {name: segments[name] for name in tables.JOIN_KEY}
        small, large = ([quality(s, f) for s in segments["source"]] for f in (7, 11))
        said = {
            "hypothesis": [r[:-1] or r for r in segments["reference"]],
            "prompt_tokens": [9] * count, "output_tokens": [4] * count,
            "finish_reason": ["stop"] * count, "mean_logprob": [-0.5] * count,
        }  # fmt: skip
        drawn = {k: [v for v in column for _ in range(2)] for k, column in (key | said).items()}
        named = {"metric": ["chrf"] * count, "truncated": [False] * count,
                 "error_spans": [None] * count}  # fmt: skip
        made = {
            "segments": segments,
            "hypotheses": key | said | {"model": ["m"] * count, "degenerate": [False] * count},
            "samples": drawn | {"model": ["m"] * 2 * count, "sample": [0, 1] * count},
            "gains": {k: v for k, v in segments.items() if k in tables.TABLES["gains"].columns}
            | {"quality_small": small, "quality_large": large,
               "gain": [b - a for a, b in zip(small, large, strict=True)]},
            "small": key | named | {"model": ["small"] * count, "score": small},
            "large": key | named | {"model": ["large"] * count, "score": large},
        }  # fmt: skip
        for what, columns in made.items():
            files[f"{what}-{split}"] = folder / f"{what}-{split}.parquet"
            table = {"small": "scores", "large": "scores"}.get(what, what)
            tables.write(tables.from_columns(table, columns), files[f"{what}-{split}"], table, {})
    return files


@pytest.fixture(scope="module")
def settings() -> dict[str, Any]:
    """Settings of every stage, of the experiment with every router."""
    demo = yaml.safe_load((ROOT / "profiles/demo/experiment.yaml").read_text())
    full = yaml.safe_load((ROOT / "profiles/demo/full.yaml").read_text())
    update_config(demo, full)
    return stage_settings(config.resolve(demo))


class Stages:
    """Runs stages on the inputs above, each once."""

    def __init__(self, given: Mapping[str, Path], settings: Any, command: Any, out: Path) -> None:
        self.given, self.settings, self.command, self.out = given, settings, command, out

    def model(self, size: str, **changed: Any) -> dict[str, Any]:
        """Settings of a model that ships, decoding a few tokens."""
        model = json.loads(self.settings["models"][f"demo-{size}"])
        path = {"path": str(ROOT / model["path"]), "max_new_tokens": 12}
        return model | path | changed

    def translated(self, size: str, beams: int) -> Path:
        """Translations of the validation rows."""
        out = self.out / f"{size}{beams}.parquet"
        self.command("translate", segments=self.given["segments-valid"], model=size, device="cpu",
                     settings=self.model(size, beams=beams), out=out)  # fmt: skip
        return out

    def sampled(self) -> Path:
        """Samples of the validation rows."""
        drawn = {"count": 2, "temperature": 0.7, "top_p": 1.0, "seed": 0}
        known = json.loads(self.settings["samples"]["demo-small"])["samples"]
        out = self.out / "samples.parquet"
        self.command("samples", segments=self.given["segments-valid"], model="m", device="cpu",
                     settings=self.model("small", samples=known | drawn), out=out)  # fmt: skip
        return out

    def prefilled(self, split: str = "valid") -> Path:
        """Signals of a split, and states beside them."""
        out = self.out / f"signals-{split}.parquet"
        if not out.exists():
            self.command("signals", segments=self.given[f"segments-{split}"], model="m",
                         device="cpu", settings=self.model("small"), out=out,
                         states=out.with_suffix(".arrow"))  # fmt: skip
        return out

    def scored(self, metric: str, command: str = "score") -> Path:
        """Scores of the validation rows' hypotheses, or of their samples."""
        what = {"score": "hypotheses", "score-samples": "samples"}[command]
        out = self.out / f"{command}-{metric}.parquet"
        self.command(command, segments=self.given["segments-valid"], metric=metric, out=out,
                     settings=json.loads(self.settings["metrics"].get(metric, "{}"))
                     or {"type": metric}, **{what: self.given[f"{what}-valid"]})  # fmt: skip
        return out

    def averaged(self) -> Path:
        """The mean of two metrics."""
        out = self.out / "mean.parquet"
        self.command("mean-scores", scores=[self.scored("chrf"), self.scored("chrfpp")],
                     metric="both", settings={"type": "mean", "of": ["chrf", "chrfpp"]}, out=out)  # fmt: skip
        return out

    def labelled(self) -> Path:
        """Gains of the validation rows."""
        out = self.out / "gains.parquet"
        self.command("gains", segments=self.given["segments-valid"], out=out,
                     small=self.given["small-valid"], large=self.given["large-valid"])  # fmt: skip
        return out

    def compared(self) -> Path:
        """Overlaps of the training rows with the validation rows."""
        out = self.out / "overlaps.parquet"
        rules = json.loads(self.settings["overlaps"]["demo-full"])
        self.command("overlaps", train=self.given["segments-train"], valid=[],
                     test=self.given["segments-valid"], settings=rules, out=out)  # fmt: skip
        return out

    def trained(self, router: str) -> Path:
        """Predictions for the validation rows by a router trained on the others."""
        spec = json.loads(self.settings["routers"][router]) | {"learning_rate": 1e-2}
        spec |= {"epochs": 1, "batch_size": 8} if "epochs" in spec else {}
        if spec.get("from_scratch"):
            spec["from_scratch"] |= {"tokenizer": str(ROOT / spec["from_scratch"]["tokenizer"])}
        kind = router_type(spec["type"])
        model = {"languages": {"en": "English", "zh": "Chinese"}}
        if kind.needs & {"model", "states"}:
            model = self.model("small")
        states = {s: self.prefilled(s).with_suffix(".arrow") for s in ("train", "valid")}
        read = {f"{s}_states": p for s, p in states.items()} if "states" in kind.needs else {}
        artifact, out = self.out / router, self.out / f"{router}.parquet"
        self.command("train", router=router, settings=spec, model=model, seed=3, device="cpu",
                     train_segments=self.given["segments-train"], out=artifact,
                     train_gains=self.given["gains-train"], **read,
                     valid_segments=self.given["segments-valid"],
                     valid_gains=self.given["gains-valid"])  # fmt: skip
        asked = {"states": states["valid"]} if "states" in kind.needs else {}
        self.command("predict", segments=self.given["segments-valid"], router=router, seed=3,
                     settings=spec, model=model, artifact=artifact, device="cpu", out=out,
                     **asked)  # fmt: skip
        return out

    def asked(self) -> Path:
        """Predictions of a router that lets the small model answer."""
        out = self.out / "self-ask.parquet"
        self.command("predict", segments=self.given["segments-valid"], router="self-ask", seed=0,
                     settings=json.loads(self.settings["routers"]["self-ask"]), device="cpu",
                     model=self.model("small"), out=out)  # fmt: skip
        return out


@pytest.fixture(scope="module")
def run(
    given: dict[str, Path],
    settings: dict[str, Any],
    command: Any,
    tmp_path_factory: pytest.TempPathFactory,
) -> Stages:
    return Stages(given, settings, command, tmp_path_factory.mktemp("out"))


ENGINE, SACREBLEU = ENGINES["transformers"].module, METRICS["chrf"].module
# By name: stage, kind, what makes the output.
CASES: dict[str, tuple[str, str, Callable[[Stages], Path]]] = {
    "greedy": ("hypotheses", ENGINE, lambda run: run.translated("small", 1)),
    "beams": ("hypotheses", ENGINE, lambda run: run.translated("large", 3)),
    "samples": ("samples", ENGINE, Stages.sampled),
    "signals": ("signals", ENGINE, Stages.prefilled),
    "chrf": ("scores", SACREBLEU, lambda run: run.scored("chrf")),
    "chrf++": ("scores", SACREBLEU, lambda run: run.scored("chrfpp")),
    "bleu": ("scores", SACREBLEU, lambda run: run.scored("bleu")),
    "mean": ("scores", METRICS["mean"].module, Stages.averaged),
    "chrf of samples": ("sample_scores", SACREBLEU, lambda run: run.scored("chrf", "score-samples")),
    "gains": ("gains", "", Stages.labelled),
    "overlaps": ("overlaps", "", Stages.compared),
    "self-ask": ("predictions", ROUTERS["self-ask"], Stages.asked),
    **{
        name: ("routers", ROUTERS[kind], lambda run, name=name: run.trained(name))  # type: ignore[misc]
        for name, kind in {
            "routelmt": "lora",
            "routelmt-quantile": "lora",
            "lora-det": "lora",
            "frozen-ridge": "probe",
            "probe-dirichlet": "probe",
            "ngram": "ngram",
            "scratch-encoder-gain": "encoder",
            "scratch-embedding-mlp": "embedding-mlp",
        }.items()
    },
}  # fmt: skip


def recorded_of(path: Path) -> Golden:
    """Some values of a table: the first of every column, and the mean of its numbers."""
    frame = tables.read(path, tables.record_of(path)["table"]).to_pandas()
    found: Golden = {"rows": len(frame)}
    for name, column in frame.items():
        if name == "state":
            states = np.stack(column.to_list()).astype(np.float64)
            found["state"] = [float(states.mean()), float(np.abs(states).mean())]
        elif column.dtype.kind == "f":
            found[name] = [*column[:SHOWN].round(6).tolist(), round(float(column.mean()), 6)]
        elif name not in tables.JOIN_KEY:
            found[name] = [None if v is None else str(v) for v in column[:SHOWN]]
    return found


def same(one: Golden, other: Golden) -> bool:
    """Whether two have the same values, numbers up to CLOSE."""
    if one.keys() != other.keys():
        return False
    for name, value in one.items():
        listed = isinstance(value, list) and all(isinstance(v, float) for v in value)
        if not (np.allclose(value, other[name], **CLOSE) if listed else value == other[name]):
            return False
    return True


def verdict(now: Golden, before: Golden) -> str:
    """What is wrong with the declared behaviour, nothing if it is right."""
    unchanged, declared = same(now["values"], before["values"]), now["behaviour"]
    if unchanged and declared != before["behaviour"]:
        return f"{declared} is a new number, but the output is that of {before['behaviour']}"
    if not unchanged and declared == before["behaviour"]:
        return (
            f"the output changed: raise the number of {declared} (stages.BEHAVIOUR or the kind's)"
        )
    return "" if unchanged else f"a new output of a new number, {declared}: record it"


@pytest.mark.parametrize("name", CASES)
def test_output_and_declared_behaviour_change_together(name: str, run: Stages) -> None:
    stage, kind, make = CASES[name]
    path = make(run)
    now = {"behaviour": stages.behaviour(stage, kind), "values": recorded_of(path)}
    golden = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    if os.environ.get("RECORD_GOLDEN"):
        text = json.dumps(golden | {name: now}, ensure_ascii=False, indent=1, sort_keys=True)
        FILE.write_text(f"{text}\n", encoding="utf-8")
        return
    assert verdict(now, golden[name]) == ""


def test_a_change_without_a_number_and_a_number_without_a_change_are_told() -> None:
    old = {"behaviour": "gains 1.1", "values": {"rows": 2, "gain": [1.0, 2.0], "text": ["a", "b"]}}
    assert verdict(old, old) == ""
    noise = old | {"values": old["values"] | {"gain": [1.0001, 2.0]}}
    assert verdict(noise, old) == ""
    other = old | {"values": old["values"] | {"gain": [1.1, 2.0]}}
    text = old | {"values": old["values"] | {"text": ["a", "c"]}}
    assert "raise the number of gains 1.1" in verdict(other, old)
    assert "raise the number of gains 1.1" in verdict(text, old)
    assert "the output is that of gains 1.1" in verdict(old | {"behaviour": "gains 2.1"}, old)
    assert "record it" in verdict(other | {"behaviour": "gains 2.1"}, old)


def test_every_stage_with_a_number_is_held_to_it() -> None:
    kinds = {
        "segments": {r.module for r in READERS.values()},
        **{
            key: {e.module for e in ENGINES.values()}
            for key in ("hypotheses", "samples", "signals")
        },
        **{key: {m.module for m in METRICS.values()} for key in ("scores", "sample_scores")},
        "routers": {ROUTERS[kind] for kind in ROUTERS if router_type(kind).trained},
        "predictions": {m for m in ROUTERS.values() if stages.behaviour("predictions", m)},
    }
    held = {(stage, kind) for stage, kind, _ in CASES.values()}
    # A trained router's case is of its predictions, which are made of what it learned.
    held |= {("predictions", kind) for stage, kind in held if stage == "routers"}
    held |= {("predictions", ROUTERS["answer"])}  # of an adapter's outputs: tests/unit/routers
    for stage in (*stages.BEHAVIOUR, "predictions"):
        for kind in kinds.get(stage, {""}):
            known = any((kind or stage).startswith(told) for told in STATED_ELSEWHERE)
            mean = kind == METRICS["mean"].module and stage == "sample_scores"  # is of no samples
            assert (stage, kind) in held or known or mean, (stage, kind)
