"""Samples come from softmax(logits / T), and what is drawn belongs to the prompt and the seed."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from routelmt import tables
from routelmt.__main__ import main
from routelmt.blocks import Blocks
from routelmt.errors import UserError
from routelmt.translate import sampling
from routelmt.translate.samples import sample_segments
from routelmt.translate.usage import total, usage

LOGPROB = 1e-4  # float32 sums over some twenty steps, computed in differently shaped batches


def drawn(engine: Any, prompts: list[list[int]], count: int, **changed: Any) -> list[list[Any]]:
    """Samples of each prompt, in their order; every one must come exactly once."""
    found: dict[tuple[int, int], Any] = {}
    for row, sample, output in engine.sample(
        prompts, count, **{"temperature": 0.7, "seed": 0, **changed}
    ):
        assert (row, sample) not in found
        found[row, sample] = output
    assert set(found) == {(r, s) for r in range(len(prompts)) for s in range(count)}
    return [[found[r, s] for s in range(count)] for r in range(len(prompts))]


def texts(samples: list[list[Any]]) -> list[list[tuple[str, int, str]]]:
    return [[(o.text, o.output_tokens, o.finish_reason) for o in row] for row in samples]


def next_tokens(engine: Any, prompt: list[int], temperature: float) -> Any:
    """softmax(logits / temperature) after a prompt, from transformers' own model, float64."""
    import torch
    from transformers import AutoModelForCausalLM

    plain = AutoModelForCausalLM.from_pretrained(engine.model.name_or_path)
    with torch.inference_mode():
        logits = plain(torch.tensor([prompt])).logits[0, -1].double()
    return (logits / temperature).softmax(-1).numpy()


@pytest.mark.parametrize("temperature", [0.7, 1.5])
def test_first_tokens_have_the_frequencies_of_the_distribution(
    engine: Any, asked: list[list[int]], temperature: float
) -> None:
    from scipy.stats import chisquare

    from routelmt.translate.sampling import SamplingDecoder

    engine.max_new_tokens, draws, prompt = 1, 4000, asked[4]
    decoder = SamplingDecoder(
        engine.model, engine.end_ids, engine.pad_id, 1, 20_000,
        temperature=temperature, seed=0, samples=range(draws),
    )  # fmt: skip
    first = Counter(output.ids[0] for _, output in decoder.decode([prompt] * draws))
    expected = draws * next_tokens(engine, prompt, temperature)
    often = np.flatnonzero(expected >= 5)  # the others in one bin, as the test needs
    rest = draws - sum(first[int(t)] for t in often)
    observed = [*(first[int(t)] for t in often), rest]
    # The seed is fixed: no flicker. A wrong temperature gives p-values of 0.
    assert len(often) > 5
    wanted = [*expected[often], draws - expected[often].sum()]
    assert chisquare(observed, wanted).pvalue > 0.01
    wrong = draws * next_tokens(engine, prompt, 2 * temperature)
    wanted = [*wrong[often], draws - wrong[often].sum()]
    assert chisquare(observed, wanted).pvalue < 1e-4


def test_later_tokens_are_those_that_their_numbers_select(
    engine: Any, asked: list[list[int]]
) -> None:
    """Every token of a sample by an inverse distribution function of numpy's, step by step."""
    for prompt in asked[::4]:
        decoder = sampling.SamplingDecoder(
            engine.model, engine.end_ids, engine.pad_id, 8, 10_000,
            temperature=0.9, seed=3, samples=[2],
        )  # fmt: skip
        [(_, output)] = decoder.decode([prompt])
        numbers = sampling.uniforms(3, prompt, 2, 8)
        so_far, logprob = list(prompt), 0.0
        for token, number in zip(output.ids, numbers, strict=False):
            borders = np.cumsum(next_tokens(engine, so_far, 0.9))
            assert token == int(np.searchsorted(borders, number * borders[-1], side="right"))
            logprob += math.log(next_tokens(engine, so_far, 1.0)[token])  # at temperature 1
            so_far.append(token)
        assert output.logprob == pytest.approx(logprob, abs=LOGPROB)


def test_a_number_selects_the_token_on_whose_interval_it_lies() -> None:
    import torch

    logits = torch.tensor([[0.2, 0.0, 0.5, 0.3]]).log().repeat(6, 1)
    draws = torch.tensor([0.0, 0.199, 0.2, 0.699, 0.701, 1 - 2**-53], dtype=torch.float64)
    assert sampling.inverse_cdf(logits, 1.0, draws).tolist() == [0, 0, 2, 2, 3, 3]
    # At temperature 1/2 the weights are squared: 4, 0, 25, 9 of 38.
    draws = torch.tensor([0.1, 0.11, 0.75, 0.77, 0.1, 0.9], dtype=torch.float64)
    assert sampling.inverse_cdf(logits, 0.5, draws).tolist() == [0, 2, 2, 3, 0, 3]


@pytest.mark.parametrize("budget", [1, 150, 317, 10**6])
def test_samples_do_not_depend_on_batching_or_order(
    engine: Any, asked: list[list[int]], budget: int
) -> None:
    reference = drawn(engine, asked, 3)
    rng = np.random.default_rng(budget)
    order = rng.permutation(len(asked))
    engine.batch_tokens = budget
    found = drawn(engine, [asked[i] for i in order], 3)
    assert texts(found) == texts([reference[i] for i in order])
    for mine, theirs in zip(found, (reference[i] for i in order), strict=True):
        for one, other in zip(mine, theirs, strict=True):
            assert one.mean_logprob == pytest.approx(other.mean_logprob, abs=LOGPROB)


def test_more_samples_begin_with_the_same_ones(engine: Any, asked: list[list[int]]) -> None:
    assert texts(drawn(engine, asked, 2)) == [row[:2] for row in texts(drawn(engine, asked, 4))]


def test_seeds_samples_and_prompts_differ(engine: Any, asked: list[list[int]]) -> None:
    one, other = (texts(drawn(engine, asked, 1, seed=s, temperature=1.5)) for s in (0, 1))
    assert sum(a != b for a, b in zip(one, other, strict=True)) > len(asked) / 2
    several = texts(drawn(engine, asked, 4, temperature=1.5))
    assert sum(len(set(row)) > 1 for row in several) > len(asked) / 2
    numbers = [
        sampling.uniforms(s, p, n, 5) for s, p, n in [(0, [1], 0), (1, [1], 0), (0, [2], 0), (0, [1], 1)]
    ]  # fmt: skip
    assert len({tuple(n) for n in numbers}) == 4
    assert sampling.uniforms(0, [1], 0, 9)[:5].tolist() == numbers[0].tolist()


def test_numbers_are_uniform_over_prompts_and_steps() -> None:
    from scipy.stats import kstest

    numbers = np.array([sampling.uniforms(0, [n, 7], n % 3, 20) for n in range(500)])
    assert kstest(numbers.reshape(-1), "uniform").pvalue > 0.001
    assert kstest(numbers[:, 0], "uniform").pvalue > 0.001
    assert ((numbers >= 0) & (numbers < 1)).all()


def test_a_low_temperature_is_greedy(engine: Any, asked: list[list[int]]) -> None:
    greedy = dict(engine.translate(asked))
    for row, [output] in enumerate(drawn(engine, asked, 1, temperature=1e-6)):
        assert output.text == greedy[row].text
        assert output.mean_logprob == pytest.approx(greedy[row].mean_logprob, abs=LOGPROB)


def test_samples_of_a_prompt_share_its_prefill(
    engine: Any, asked: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    prefilled: list[int] = []
    original = engine.model.forward

    def counted(*arguments: Any, **options: Any) -> Any:
        if options["input_ids"].shape[1] > 1:
            prefilled.append(len(options["input_ids"]))
        return original(*arguments, **options)

    engine.batch_tokens = 10**6
    monkeypatch.setattr(engine.model, "forward", counted)
    drawn(engine, asked, 5)
    assert prefilled == [len(asked)]


def test_beams_of_the_model_do_not_matter(engine: Any, asked: list[list[int]]) -> None:
    greedy = texts(drawn(engine, asked, 2))
    engine.beams = 5
    assert texts(drawn(engine, asked, 2)) == greedy


# --- the stage ---------------------------------------------------------------------------------

SAMPLES = {"count": 3, "temperature": 0.9, "seed": 5}


@pytest.fixture()
def sampled(
    segments: Any, model_config: dict[str, Any], languages: dict[str, str], speed: dict[str, Any]
) -> Any:
    model = {**model_config, "samples": SAMPLES}
    return sample_segments(segments, "tiny", model, languages, speed)


def test_rows_are_by_segment_then_by_sample(sampled: Any, segments: Any) -> None:
    tables.check(sampled, "samples", "here")
    ids = segments["segment_id"].to_pylist()
    assert sampled["segment_id"].to_pylist() == [i for i in ids for _ in range(3)]
    assert sampled["sample"].to_pylist() == [0, 1, 2] * len(ids)
    assert set(sampled["model"].to_pylist()) == {"tiny"}


def test_rows_are_what_the_engine_draws(
    sampled: Any, segments: Any, engine: Any, asked: list[list[int]]
) -> None:
    expected = drawn(engine, asked, 3, temperature=0.9, seed=5)
    rows = sampled.to_pylist()
    sources = segments["source"].to_pylist()
    for n, source in enumerate(sources):
        first = sources.index(source)  # segments with one source share its samples
        for row, output in zip(rows[3 * n : 3 * n + 3], expected[first], strict=True):
            assert row["prompt_tokens"] == len(asked[first])
            assert row["hypothesis"] == output.text
            assert row["output_tokens"] == output.output_tokens
            assert row["finish_reason"] == output.finish_reason
            assert row["mean_logprob"] == pytest.approx(output.mean_logprob, abs=LOGPROB)


def test_a_killed_job_draws_the_same_samples(
    segments: Any,
    model_config: dict[str, Any],
    languages: dict[str, str],
    speed: dict[str, Any],
    sampled: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from routelmt.translate.transformers_engine import TransformersEngine

    original, calls = TransformersEngine.sample, []

    def dying(self: Any, prompts: Any, *how: Any) -> Any:
        calls.append(len(prompts))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(self, prompts, *how)

    monkeypatch.setattr(TransformersEngine, "sample", dying)

    def run() -> Any:
        blocks = Blocks(tmp_path / "samples.parquet", {"settings": SAMPLES})
        model = {**model_config, "samples": SAMPLES}
        how = {**speed, "block_rows": 12}  # samples: four prompts
        return sample_segments(segments, "tiny", model, languages, how, blocks)

    with pytest.raises(KeyboardInterrupt):
        run()
    again = run()
    assert calls[:3] == [4, 4, 4] and sum(calls[3:]) == 15 - 8  # two blocks were kept
    names = ["segment_id", "sample", "hypothesis", "output_tokens", "finish_reason"]
    assert again.select(names).equals(sampled.select(names))


def test_prompts_that_are_too_long_are_kept_blank(
    segments: Any,
    model_config: dict[str, Any],
    languages: dict[str, str],
    speed: dict[str, Any],
    asked: list[list[int]],
) -> None:
    longest = max(map(len, asked))
    model = {**model_config, "samples": SAMPLES, "max_prompt_tokens": longest - 1}
    table = sample_segments(segments, "tiny", model, languages, speed)
    rows = [r for r in table.to_pylist() if r["prompt_tokens"] == longest]
    assert len(rows) == 3 and {r["finish_reason"] for r in rows} == {"too_long"}
    assert {r["hypothesis"] for r in rows} == {""}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"engine": "precomputed", "samples": SAMPLES}, "engine precomputed .* leave out 'samples'"),
        ({}, "model 'tiny' has no 'samples'"),
        ({"samples": {"count": 3, "temperature": 0}}, "temperature 0; both must be above 0"),
        ({"samples": {"count": 0}}, "count 0"),
    ],
)  # fmt: skip
def test_models_without_samples_are_named(
    segments: Any, model_config: dict[str, Any], changed: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        sample_segments(segments, "tiny", {**model_config, **changed}, {}, {})


def test_usage_counts_every_distinct_prompt_once(
    sampled: Any, segments: Any, engine: Any, asked: list[list[int]]
) -> None:
    outputs = drawn(engine, asked, 3, temperature=0.9, seed=5)
    tokens = sum(o.output_tokens for row in outputs for o in row)
    prompts = sum(map(len, asked))
    assert usage(segments, sampled) == {"prompt_tokens": prompts, "output_tokens": tokens}
    priced = usage(segments, sampled, [2.0, 8.0])
    assert priced["cost"] == pytest.approx((2 * prompts + 8 * tokens) / 1e6, abs=1e-6)
    assert total([priced, {"output_tokens": 1}])["output_tokens"] == tokens + 1


def test_the_command_and_its_shards_make_one_table(
    segments: Any, model_config: dict[str, Any], languages: dict[str, str], tmp_path: Path
) -> None:
    tables.write(segments, tmp_path / "segments.parquet", "segments", {"settings": {}})
    settings = json.dumps({**model_config, "samples": SAMPLES, "languages": languages})

    def command(*arguments: str) -> None:
        assert main(list(arguments)) == 0

    def samples(shard: str, out: Path) -> None:
        command("samples", "--segments", str(tmp_path / "segments.parquet"), "--model", "tiny",
                "--settings", settings, "--shard", shard, "--device", "cpu", "--out", str(out))  # fmt: skip

    samples("1/1", tmp_path / "whole.parquet")
    for n in (1, 2):
        samples(f"{n}/2", tmp_path / f"{n}.parquet")
    command("gather", "--table", "samples", "--segments", str(tmp_path / "segments.parquet"),
            "--shards", str(tmp_path / "2.parquet"), str(tmp_path / "1.parquet"),
            "--out", str(tmp_path / "gathered.parquet"))  # fmt: skip
    whole, gathered = (
        tables.read(tmp_path / f"{n}.parquet", "samples") for n in ("whole", "gathered")
    )
    names = [n for n in whole.schema.names if n != "mean_logprob"]
    assert gathered.select(names).equals(whole.select(names))
    record = tables.record_of(tmp_path / "whole.parquet")
    assert record["usage"] == usage(segments, whole)
    assert not list(tmp_path.glob(".*blocks"))
    parts = [tables.record_of(tmp_path / f"{n}.parquet")["usage"] for n in (1, 2)]
    assert tables.record_of(tmp_path / "gathered.parquet")["usage"] == total(parts)
