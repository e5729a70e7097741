"""A config is complete and consistent, or one paragraph says which key is not."""

from __future__ import annotations

import copy
import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from routelmt import config, settings
from routelmt.errors import UserError
from routelmt.evaluate.registry import TABLES
from routelmt.plan import Plan, short
from routelmt.routers.registry import ROUTERS

ROOT = Path(__file__).parents[2]
DEMO = yaml.safe_load((ROOT / "profiles/demo/experiment.yaml").read_text())
FULL = yaml.safe_load((ROOT / "profiles/demo/full.yaml").read_text())


def overlaid(below: dict, above: dict) -> dict:
    """Two configs as Snakemake merges them."""
    merged = copy.deepcopy(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = overlaid(merged[key], value) if both else copy.deepcopy(value)
    return merged


def full(change: Callable[[dict], object]) -> dict:
    found = overlaid(DEMO, FULL)
    change(found)
    return found


def changed(change: Callable[[dict], object]) -> dict:
    found = copy.deepcopy(DEMO)
    change(found)
    return found


def test_files_are_read_on_top_of_one_another_as_snakemake_does(tmp_path: Path) -> None:
    paths = [ROOT / f"profiles/demo/{name}.yaml" for name in ("experiment", "full")]
    assert config.read(*paths) == overlaid(DEMO, FULL)


@pytest.mark.parametrize("path", ["config.yaml", "profiles/demo/experiment.yaml"])
def test_shipped_configs_are_valid(path: str) -> None:
    resolved = config.load(ROOT / path)
    assert config.resolve(resolved) == resolved  # resolving again changes nothing


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda c: c["experiments"]["demo"].update(bootstrap={"clusters": "pages"}),
            r"bootstrap\.clusters': found 'pages', allowed: one of documents, groups, domains",
        ),
        (
            lambda c: c.update(modles={}),
            r"config: unknown key 'modles' \(did you mean 'models'\?\)",
        ),
        (
            lambda c: c["models"]["demo-small"].update(beems=5),
            r"'models\.demo-small': unknown key 'beems' \(did you mean 'beams'\?\); allowed: ",
        ),
        (
            lambda c: c["models"]["demo-small"].update(beams=0),
            r"'models\.demo-small\.beams': found 0, allowed: minimum 1",
        ),
        (
            lambda c: c["models"]["demo-small"].update(engine="vlm"),
            r"'models\.demo-small\.engine': 'vlm' is unknown \(did you mean 'vllm'\?\)",
        ),
        (
            lambda c: c["models"]["demo-small"].update(prompt="no text"),
            r"'models\.demo-small\.prompt': prompt 'no text': has no \{text\}",
        ),
        (
            lambda c: c["models"]["demo-small"].pop("path"),
            r"'models\.demo-small': required key 'path' is missing",
        ),
        (
            lambda c: c["routers"]["length"].update(share=1),
            r"'routers\.length': unknown key 'share'",
        ),
        (
            lambda c: c["experiments"]["demo"]["routers"].append("routelm"),
            r"'experiments\.demo\.routers': 'routelm' is not in 'routers' \(did you mean 'routelmt'",
        ),
        (
            lambda c: c["routers"].update(new={"type": "oracle"}),
            r"'routers\.new\.type': 'oracle' is unknown.*; allowed: random, length",
        ),
        (lambda c: c["routers"].update(new={}), r"'routers\.new': needs 'type', one of "),
        (
            lambda c: c["datasets"]["software-test"].update(directions=["en-zh"]),
            r"'experiments\.demo\.directions': no dataset of 'test' \(software-test\) has direction",
        ),
        (
            lambda c: c["directions"].append("en-de"),
            r"'en-de' uses language 'de', which has no name",
        ),
        (
            lambda c: c["experiments"]["demo"].update(test=[]),
            r"'experiments\.demo\.test': found \[\]",
        ),
        (
            lambda c: c["experiments"]["demo"].update(train=[]),
            r"'experiments\.demo\.train': no dataset, but routelmt, frozen-ridge, ngram, routelmt-q, .* must be",
        ),
        (
            lambda c: c["experiments"]["demo"].update(valid=["software-test"]),
            r"'experiments\.demo\.test': 'software-test' is in 'valid' too; .*see 'part'",
        ),
        (
            lambda c: c["datasets"]["software-test"].update(part=[0.8, 0.2]),
            r"'datasets\.software-test\.part': found \[0\.8, 0\.2\], needs low below high",
        ),
        (
            lambda c: c["datasets"]["software-test"].update(rows={"en-hz": 3}),
            r"'datasets\.software-test\.rows': 'en-hz' is not in 'directions'",
        ),
        (
            lambda c: c["datasets"].update(more={"source": "flores", "origin": "floers"}),
            r"'datasets\.more\.origin': 'floers' is not in 'sources' \(did you mean 'flores'",
        ),
        (
            lambda c: c.update(sources={"flores": {"token": "x"}}),
            r"'sources\.flores': unknown key 'token'",
        ),
        (
            lambda c: c["models"].update({"demo-small": {"engine": "precomputed", "path": "x"}}),
            r"routelmt, frozen-ridge, routelmt-q, entropy.* read the small model, but 'demo-small' \(engine "
            r"precomputed\) has no weights .*without_model: leave-out",
        ),
        (
            lambda c: c["models"]["demo-small"].update(engine="precomputed"),
            r"'models\.demo-small': unknown key 'dtype'",
        ),
        (
            lambda c: c["metrics"]["chrf"].update(type="precomputed"),
            r"'metrics\.chrf': required key 'path' is missing",
        ),
        (
            lambda c: c["experiments"]["demo"].update(drift={"from": ["software-test"]}),
            r"'experiments\.demo\.drift': found .* name test sets for both 'from' and 'to'",
        ),
        (
            lambda c: c["experiments"]["demo"].update(drift={"from": ["software-train"]}),
            r"'experiments\.demo\.drift\.from': 'software-train' is not in .*demo\.test",
        ),
        (
            lambda c: c["experiments"]["demo"].update(raters=["anna"]),
            r"'experiments\.demo\.raters': 'anna' is not in 'metrics'",
        ),
        (
            lambda c: c.update(rates={"demo-smal": {"seconds_per_request": 1}}),
            r"'rates': 'demo-smal' is not in .* \(did you mean 'demo-small'\?\)",
        ),
        (
            lambda c: c["models"]["demo-small"].update(speed={"price_input": 50}),
            r"speed': 'price_input' is no key any more; prices stand in one place: 'prices: \{",
        ),
        (
            lambda c: c.update(prices={"currency": "EUR", "per_million": {"gpt": [1, 2]}}),
            r"'prices\.per_million': 'gpt' is not in 'models'",
        ),
        (
            lambda c: c["experiments"]["demo"].update(budgets=[30]),
            r"'experiments\.demo\.budgets\.0': found 30, allowed: exclusiveMaximum 1",
        ),
        (
            lambda c: c["experiments"]["demo"].update(large="demo-small"),
            r"the same model as 'small'",
        ),
        (
            lambda c: c["datasets"]["software-test"].update(corpus="getext"),
            r"'datasets\.software-test\.corpus': 'getext' is not in 'corpora'",
        ),
        (
            lambda c: c["experiments"]["demo"]["guards"].update(rank=["nobody"]),
            r"'experiments\.demo\.guards\.rank': 'nobody' is not in",
        ),
        (
            lambda c: c["experiments"].update({"two--dashes": c["experiments"]["demo"]}),
            r"'two--dashes'",
        ),
        (
            lambda c: c["experiments"]["demo"].update(budgets=[float("nan")]),
            r"'experiments\.demo\.budgets\.0': found nan; needs a finite number",
        ),
        (
            lambda c: c["metrics"].update(
                own={"type": "precomputed", "path": "x", "range": [100, 0]}
            ),
            r"'metrics\.own\.range': found \[100, 0\], needs low below high",
        ),
        (
            lambda c: c["metrics"].update({"line\n": {"type": "chrf"}}),
            r"'metrics': found 'line\\n'",
        ),
        (
            lambda c: c["metrics"].update(
                one={"type": "mean", "of": ["chrf", "two"]},
                two={"type": "mean", "of": ["one", "chrf"]},
            ),
            r"'metrics\.one\.of': the mean is of itself",
        ),
        (
            lambda c: c["models"]["demo-small"].update(prompt="{text:>999999999}"),
            r"'models\.demo-small\.prompt': .* '{' that is no part of",
        ),
        (
            lambda c: c["models"]["demo-small"].update(prompt="{src.__class__} {text}"),
            r"'models\.demo-small\.prompt': .* '{' that is no part of",
        ),
        (
            lambda c: c["models"]["demo-small"].update(prompt="{{text}}"),
            r"'models\.demo-small\.prompt': .* '{' that is no part of",
        ),
        (
            lambda c: (
                c["routers"].update(ask={"type": "self-ask", "prompt": "{0} {text}"})
                or c["experiments"]["demo"]["routers"].append("ask")
            ),
            r"'routers\.ask\.prompt': .* '{' that is no part of",
        ),
    ],
)
def test_a_bad_config_names_the_key(change: Callable[[dict], object], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        config.resolve(changed(change))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600


def test_aliases_that_multiply_are_refused_at_once() -> None:
    bomb = "a0: &a0 [1, 2, 3, 4, 5, 6, 7, 8, 9]\n" + "".join(
        f"a{n}: &a{n} [{', '.join(f'*a{n - 1}' for _ in range(9))}]\n" for n in range(1, 12)
    )
    with pytest.raises(UserError, match=r"more than .* values; do YAML aliases"):
        config.resolve(changed(lambda c: c.update(sources=yaml.safe_load(bomb))))


def test_routers_without_their_model_are_left_out_if_asked() -> None:
    def change(c: dict) -> None:
        c["models"]["demo-small"] = {"engine": "precomputed", "path": "x"}
        c["experiments"]["demo"]["without_model"] = "leave-out"

    demo = config.resolve(changed(change))["experiments"]["demo"]
    text = ["ngram", "ngram-q", "rarity", "length", "random"]
    assert demo["routers"] == ["gain-oracle", "quality-oracle", *text]
    assert demo["guards"]["rank"] == [] and demo["guards"]["signals"] == ["quality-oracle"]


def test_an_experiment_that_trains_nothing_needs_no_training_data() -> None:
    def change(c: dict) -> None:
        c["experiments"]["demo"] |= {"routers": ["random", "length"], "guards": {}, "transfer": {}}
        del c["experiments"]["demo"]["train"], c["experiments"]["demo"]["valid"]

    assert config.resolve(changed(change))["experiments"]["demo"]["train"] == []


def test_a_dataset_that_drops_the_unscored_knows_whose_scores_it_needs() -> None:
    def change(c: dict) -> None:
        c["metrics"]["human"] = {"type": "precomputed", "path": "human.csv", "quoting": "csv"}
        c["metrics"]["both"] = {"type": "mean", "of": ["human", "chrf"]}
        c["experiments"]["demo"]["judge_metrics"] = ["both"]

    resolved = config.resolve(changed(change))
    spec = resolved["experiments"]["demo"]
    wanted = {
        "path": "human.csv",
        "quoting": "csv",
        "models": sorted([spec["small"], spec["large"]]),
    }
    dataset = spec["test"][0]
    assert config.scores_files(resolved, dataset) == {"human": wanted}
    assert "scored" not in settings.stage_settings(resolved)["datasets"][dataset]
    resolved["datasets"][dataset]["unscored"] = "drop"
    assert json.loads(settings.stage_settings(resolved)["datasets"][dataset])["scored"] == {
        "human": wanted
    }
    assert Plan(resolved).required_scores(dataset) == ["human.csv"]


def with_atlas(**atlas: object) -> Callable[[dict], object]:
    """The demo with an atlas of its two models and of three of a file's, one by two raters."""

    def change(c: dict) -> None:
        for name in ("wmt-a", "wmt-b", "wmt-c"):
            c["models"][name] = {"engine": "precomputed", "path": "x"}
        for rater in ("anna", "ben"):
            c["metrics"][rater] = {"type": "precomputed", "path": f"{rater}.csv"}
        c["metrics"]["both"] = {"type": "mean", "of": ["anna", "ben"]}
        given = {"models": ["wmt-*", "demo-small"], "metrics": ["chrf", "anna", "both"]}
        c["experiments"]["demo"]["atlas"] = given | atlas

    return change


def test_an_atlas_reads_all_its_scores_and_knows_who_shares_a_rater() -> None:
    resolved = config.resolve(changed(with_atlas(signals=["length"])))
    plan, models = Plan(resolved), ["wmt-a", "wmt-b", "wmt-c", "demo-small"]
    assert {"atlas", "atlas_signals"} <= set(plan.table_names("demo"))
    files = plan.table_inputs("demo", "atlas")
    places = [p.removeprefix("data/segments/") for p in plan.segments("demo", "test")]
    assert files["pool_scores"] == [
        f"results/scores/{metric}/{model}/{place}"
        for metric in ("chrf", "anna", "both") for model in models for place in places
    ]  # fmt: skip
    assert files["signal_predictions"] == [
        "results/runs/demo/predictions/length/seed0/test.parquet"
    ]
    told = json.loads(settings.stage_settings(resolved)["tables"]["demo"]["atlas"])
    own = {"chrf": ["chrf"], "anna": ["anna", "both"], "both": ["anna", "both"]}
    assert told["atlas"]["sharing"] == own
    assert told["atlas"]["models"] == models
    dataset = resolved["experiments"]["demo"]["test"][0]
    needed = config.scores_files(resolved, dataset)  # with `unscored: drop`, of the whole pool
    assert set(models) <= set(needed["anna"]["models"]) and set(needed) == {"anna", "ben"}
    assert "atlas" not in Plan(config.resolve(DEMO)).table_names("demo")


@pytest.mark.parametrize(
    ("atlas", "message"),
    [
        ({"models": ["wmt-*", "wnt-*"]}, "atlas.models': 'wnt-\\*' is not in 'models'"),
        ({"models": ["wmt-a"]}, "a pair needs two; found \\['wmt-a'\\]"),
        ({"metrics": ["chfr"]}, "atlas.metrics': 'chfr' .*did you mean 'chrf'"),
        ({"intervals": [["wmt-a", "demo-large"]]}, "'demo-large' is not in .*atlas.models'"),
        ({"intervals": [["wmt-a", "wmt-a"]]}, "atlas.intervals.0': found"),
        ({"signals": ["length", "gain-oracle"]}, "atlas.signals': gain-oracle read what the"),
        ({"signals": ["lenght"]}, "atlas.signals': 'lenght' .*did you mean 'length'"),
    ],
)
def test_an_atlas_of_what_is_not_there_names_the_key(atlas: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        config.resolve(changed(with_atlas(**atlas)))


def test_people_are_among_the_judges() -> None:
    def change(c: dict) -> None:
        c["metrics"]["esa"] = {"type": "precomputed", "path": "esa.csv"}
        c["experiments"]["demo"] |= {"judge_metrics": ["esa"], "human": ["esa"]}

    assert "human" in Plan(config.resolve(changed(change))).table_names("demo")
    with pytest.raises(UserError, match=r"demo\.human': 'esa' is not in 'its judge_metrics or"):
        config.resolve(
            changed(lambda c: (change(c), c["experiments"]["demo"].pop("judge_metrics")))
        )


def test_thousands_of_score_files_are_one_short_word_of_a_shell() -> None:
    """Which bash expands to the same files; what is not all of a product stays as it is."""
    names = [f"system-{i}.{i}b" for i in range(26)]
    places = [f"wmt25/en-{i}.parquet" for i in range(31)]
    files = [f"results/scores/{m}/{n}/{p}" for m in "abcde" for n in names for p in places]
    words = short(files)
    assert len(words) == 1 and len(words[0]) < 2000
    done = subprocess.run(
        ["bash", "-c", f"echo {words[0]}"], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == files
    assert short(files[1:]) == files[1:] and short([]) == [] and short(["a b"]) == ["'a b'"]


def test_missing_files_are_named_with_their_keys(tmp_path: Path) -> None:
    def change(c: dict) -> None:
        c["datasets"]["mine"] = {"source": "csv", "path": str(tmp_path / "no.csv")}
        c["models"]["ready"] = {"engine": "precomputed", "path": str(tmp_path)}
        c["metrics"]["human"] = {"type": "precomputed", "path": str(ROOT / "README.md")}
        c["sources"] = {"flores": {"local": str(tmp_path / "flores")}}

        c["metrics"]["later"] = {"type": "precomputed", "path": "no/such.tsv"}

    resolved = config.resolve(changed(change))
    found = list(config.missing_files(resolved))
    assert [message.split("'")[1] for message in found] == [
        "datasets.mine.path",
        "sources.flores.local",
    ]
    assert "there is no such file" in found[0]
    late = config.missing_inputs(resolved)
    assert list(late) == [str(tmp_path), "no/such.tsv"]
    assert late[str(tmp_path)].startswith("config key 'models.ready.path'")
    assert "is a folder" in late[str(tmp_path)]
    assert "'metrics.later.path': 'no/such.tsv': there is no such file" in late["no/such.tsv"]
    assert Plan(resolved).weights("ready") == [str(tmp_path)]


def test_the_paper_has_its_3368_requests_per_direction() -> None:
    paper = config.load(ROOT / "config.yaml")
    tests = [paper["datasets"][name] for name in paper["experiments"]["paper"]["test"]]
    assert sum(dataset["rows"] for dataset in tests) == 3368


def test_a_limit_makes_slices_of_every_dataset_of_an_experiment_and_of_no_other() -> None:
    paper = yaml.safe_load((ROOT / "config.yaml").read_text())
    whole = config.resolve(paper)
    drift = {"from": ["flores"], "to": ["bouquet"]}
    paper["experiments"]["try"] = paper["experiments"]["paper"] | {"limit": 50, "drift": drift}
    resolved = config.resolve(paper)
    assert resolved["experiments"]["paper"] == whole["experiments"]["paper"]
    tried = resolved["experiments"]["try"]
    assert tried["train"] == ["commt-train.first50"]
    assert tried["domains"]["medical"] == {"datasets": ["commt-medical.first50"]}
    assert tried["drift"] == {"from": ["flores.first50"], "to": ["bouquet.first50"]}
    entry, of = resolved["datasets"]["commt-train.first50"], resolved["datasets"]["commt-train"]
    assert entry == {k: v for k, v in of.items() if k != "rows"} | {"shards": 1, "limit": 50}
    assert config.resolve(resolved) == resolved


def test_files_of_translations_have_no_slices() -> None:
    example = yaml.safe_load((ROOT / "docs/example/experiment.yaml").read_text())
    example["experiments"]["by-chrf"]["limit"] = 5
    with pytest.raises(
        UserError, match=r"by-chrf\.limit': 'system-a' is a file.*'datasets.NAME.part'"
    ):
        config.resolve(example)


def test_sources_are_fetched_only_where_nothing_local_is_named() -> None:
    from routelmt.plan import Plan

    paper = config.load(ROOT / "config.yaml")
    assert Plan(paper).sources() == ["commt", "flores", "wmt24pp", "bouquet"]
    paper["sources"] = {"flores": {"local": "my/flores"}, "wmt24pp": {"revision": "f" * 40}}
    paper["datasets"]["bouquet"]["origin"] = "flores-plus"
    resolved = config.resolve(paper)
    assert Plan(resolved).sources() == ["commt", "wmt24pp", "flores-plus"]
    assert Plan(resolved).origin("flores") == "my/flores"
    merged = json.loads(settings.stage_settings(resolved)["sources"]["wmt24pp"])
    assert merged["revision"] == "f" * 40 and merged["repository"] == "google/wmt24pp"
    assert "local" not in json.loads(settings.stage_settings(resolved)["sources"]["flores"])


def test_only_routers_that_read_the_model_ask_for_its_gpu() -> None:
    routers = settings.speeds_of(config.load(ROOT / "config.yaml"))["routers"]["paper"]
    asking = {name for name, speed in routers.items() if speed["gpu"]}
    sentinels = {"sentinel-src-24", "sentinel-src-25"}
    assert asking == {"routelmt", "routelmt-q", "xlmr-gain", "xlmr-quality", *sentinels}
    assert routers["random"]["device"] == "cpu" and routers["routelmt"]["device"] == "cuda"


def test_registries_and_schema_name_the_same_types() -> None:
    from routelmt.data.registry import READERS
    from routelmt.score.registry import METRICS
    from routelmt.translate.registry import ENGINES

    kinds = config.load_schema()["kinds"]
    assert set(kinds["datasets"]["of"]) == set(READERS)
    assert set(kinds["metrics"]["of"]) == set(METRICS)
    assert set(kinds["routers"]["of"]) == set(ROUTERS)
    assert set(kinds["models"]["of"]) == set(ENGINES)


def test_every_key_of_the_schema_is_documented() -> None:
    def undocumented(schema: dict, where: str) -> list[str]:
        found = []
        for name, sub in schema.get("properties", {}).items():
            found += undocumented(sub, f"{where}.{name}")
            if not ("description" in sub or "enum" in sub or sub.get("properties")):
                found.append(f"{where}.{name}")
        return found

    schema = config.load_schema()
    missing = undocumented(schema, "config")
    for section, kinds in schema["kinds"].items():
        for kind, entry in kinds["of"].items():
            properties = {k: v for k, v in entry["properties"].items() if k != kinds["by"]}
            missing += undocumented({"properties": properties}, f"{section}.{kind}")
    assert missing == ["models.transformers.speed.x"][:0]


def test_settings_hold_identity_and_speed_apart() -> None:
    resolved = config.resolve(DEMO)
    model = json.loads(settings.stage_settings(resolved)["models"]["demo-small"])
    assert "speed" not in model and model["languages"] == DEMO["languages"]
    assert settings.speeds_of(resolved)["models"]["demo-small"]["batch_tokens"] == 16384


def test_tables_alone_depend_on_what_is_drawn_together() -> None:
    """gettext's catalogs are files of strings; other documents are running text, or as stated."""

    def stated(change: Callable[[dict], object] = lambda c: None) -> dict:
        return settings.stage_settings(config.resolve(changed(change)))

    def bootstrap(found: dict) -> dict:
        drawn: dict = json.loads(found["tables"]["demo"]["routers"])["bootstrap"]
        return drawn

    demo = stated()
    used = DEMO["experiments"]["demo"]
    assert bootstrap(demo)["strings"] == sorted({*used["train"], *used["valid"], *used["test"]})
    assert bootstrap(demo)["clusters"] == "documents"
    first = used["test"][0]
    text = stated(lambda c: c["datasets"][first].update(running_text=True))
    assert first not in bootstrap(text)["strings"]
    assert text["datasets"] == demo["datasets"]  # no segment is made again
    paper = config.load(ROOT / "config.yaml")
    assert all(paper["datasets"][name]["running_text"] for name in paper["datasets"])


def test_only_routers_with_chance_in_them_have_several_seeds() -> None:
    resolved = config.resolve(changed(lambda c: c["experiments"]["demo"].update(seeds=[3, 5])))
    seeds = {r: config.router_seeds(resolved, "demo", r) for r in resolved["routers"]}
    assert seeds["routelmt"] == seeds["random"] == [3, 5]
    assert seeds["entropy"] == seeds["gain-oracle"] == [3]


@pytest.mark.parametrize("above", ["full", "three-seeds", "search"])
def test_what_lies_over_the_demo_is_valid(above: str) -> None:
    more = yaml.safe_load((ROOT / f"profiles/demo/{above}.yaml").read_text())
    resolved = config.resolve(overlaid(overlaid(DEMO, FULL), more))
    assert config.resolve(resolved) == resolved


def test_every_point_of_a_sweep_is_a_router() -> None:
    resolved = config.resolve(full(lambda c: None))
    demo = resolved["experiments"]["demo-full"]
    points = config.sweep_points("learning-curve", demo["sweeps"]["learning-curve"])
    assert list(points) == [f"routelmt.learning.curve.{n}" for n in (650, 1300, 2600)]
    for name, (label, value) in points.items():
        same = resolved["routers"]["routelmt"] | {"train_rows": value}
        assert resolved["routers"][name] == same and label == str(value)
    assert not set(points) & set(demo["routers"])  # the tables of all routers leave them out
    asked = json.loads(settings.stage_settings(resolved)["in_model"]["demo-full"]["learning-curve"])
    assert [entry["router"] for entry in asked["ask"][::2]] == list(points)


def test_every_part_of_a_split_is_a_router_of_its_own() -> None:
    resolved = config.resolve(full(lambda c: None))
    demo, transfer = (resolved["experiments"]["demo-full"][k] for k in ("routers", "transfer"))
    points = config.transfer_points(transfer)
    assert len(points) == 4 * len(transfer["routers"]) and not set(points) & set(demo)
    for name, (router, split, part, domains) in points.items():
        assert domains == transfer["splits"][split][part]
        base = resolved["routers"][router]
        change = {"train_domains": domains}
        if "of" in base:  # an answer of the same part's router
            change = {"of": base["of"] + name.removeprefix(router)}
        assert resolved["routers"][name] == base | change
        assert config.router_seeds(resolved, "demo-full", name) == [0]
    asked = json.loads(settings.stage_settings(resolved)["in_model"]["demo-full"]["transfer"])
    assert {entry["router"] for entry in asked["ask"]} <= set(points)
    parts = json.loads(settings.stage_settings(resolved)["tables"]["demo-full"]["transfer"])[
        "splits"
    ]
    assert parts["halves"]["a"]["routers"]["routelmt"] == "routelmt.halves.a"


@pytest.mark.parametrize("above", [{}, FULL])
def test_the_demos_splits_take_every_package_once(above: dict) -> None:
    resolved = config.resolve(overlaid(DEMO, above))
    (experiment,) = resolved["run"]
    packages = {f["package"] for f in config.load_sources()["gettext"]["files"]}
    for parts in resolved["experiments"][experiment]["transfer"]["splits"].values():
        named = [domain for domains in parts.values() for domain in domains]
        assert len(named) == len(set(named)) and set(named) <= packages


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"routers": ["routelm"]}, r"transfer\.routers': 'routelm' is not in 'routers' \(did you"),
        ({"routers": ["length"]}, r"transfer\.routers': 'length' \(type length\) is not trained"),
        ({"routers": ["routelmt-cautious"]}, r"'routelmt-quantile' is not in .*transfer\.routers'"),
        ({"seeds": []}, r"transfer\.seeds': found \[\], allowed: minItems 1"),
        ({"splits": {"x": {"a": ["p"]}}}, r"splits\.x': found .*minProperties 2\. \(Two parts"),
        ({"splits": {"x": {"a": ["p"], "b": ["q"], "c": ["r"]}}}, r"splits\.x': .*maxProperties 2"),
        ({"splits": {"x": {"a": ["p", "q"], "b": ["q"]}}}, r"splits\.x': q in both a and b"),
        (
            {"splits": {"x": {"average": ["p"], "b": ["q"]}}},
            r"splits\.x': the name 'average' is tak",
        ),
        (
            {"splits": {"average": {"a": ["p"], "b": ["q"]}}},
            r"splits\.average': the name 'average'",
        ),
        ({"splits": {"x": {"a": [], "b": ["q"]}}}, r"splits\.x\.a': found \[\]"),
        ({"split": {}}, r"transfer': unknown key 'split' \(did you mean 'splits'"),
    ],
)
def test_a_bad_transfer_is_refused(change: dict, message: str) -> None:
    def apply(c: dict) -> None:
        c["experiments"]["demo-full"]["transfer"].update(change)

    with pytest.raises(UserError, match=message):
        config.resolve(full(apply))


def test_transfer_needs_its_names_for_itself() -> None:
    def sweep(c: dict) -> None:
        spec = {"router": "routelmt", "setting": "rank", "values": [4]}
        c["experiments"]["demo-full"]["sweeps"]["transfer"] = spec

    with pytest.raises(UserError, match=r"sweeps\.transfer': the name 'transfer' is taken"):
        config.resolve(full(sweep))

    def other(c: dict) -> None:
        c["routers"]["routelmt.halves.a"] = {"type": "length"}

    with pytest.raises(UserError, match=r"'a' needs the router name 'routelmt\.halves\.a', which"):
        config.resolve(full(other))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("languages: {en: English, no: Norwegian}", r"'languages': found the key False.*quotes"),
        ("languages: {en: 5}", r"'languages\.en': found 5.*quote it"),
        ("experiments: {demo: {test: [no]}}", r"test\.0': found False.*yes, no.*quote it"),
        ("routers: {routelmt: {learning_rate: 1e-4}}", r"found '1e-4'.*As a number: 1\.0e-4,"),
        ("routers: {routelmt: {learning_rate: 1.5e4}}", r"found '1\.5e4'.*As a number: 1\.5e\+4,"),
        ("routers: {routelmt: {epochs: '4'}}", r"found '4'.*As a number: 4, without quotes"),
        ("routers: {routelmt: {epochs: many}}", r"found 'many', allowed: type 'integer'"),
        ("directions: [en-zh-Hans]", r"found 'en-zh-Hans'.*write '_': en-zh_Hans"),
        ("models: {demo-small: {path: 'a/{x}'}}", r"models\.demo-small\.path': 'a/\{x\}': braces"),
        ("sources: {bouquet: {local: 'a}'}}", r"sources\.bouquet\.local': 'a\}': braces.*Rename"),
        ("models: {demo-small: {prompt: '{text} {}'}}", r"demo-small\.prompt'.*leave them out"),
        ("models: {Demo-small: {}}", r"'demo-small' and 'Demo-small' differ in capitals alone"),
        ("models: {GPT 4o: {}}", r"found 'GPT 4o'.*Names become parts of paths: letters"),
    ],
)
def test_what_yaml_or_a_path_makes_of_a_value_is_told_with_its_cure(
    text: str, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        config.resolve(overlaid(DEMO, yaml.safe_load(text)))


def test_names_have_capitals_and_codes_scripts_and_regions() -> None:
    def change(c: dict) -> None:
        c["models"] |= {"GPT-4o": c["models"]["demo-small"], "Qwen3-8B": c["models"]["demo-large"]}
        c["experiments"]["demo"] |= {"small": "GPT-4o", "large": "Qwen3-8B"}
        c["languages"] |= {"zh_Hans": "Chinese", "es_419": "Spanish", "no": "Norwegian"}
        c["directions"] += ["es_419-zh_Hans", "en-no"]
        for dataset in c["datasets"].values():
            dataset.setdefault("directions", DEMO["directions"])
        c["experiments"]["demo"].setdefault("directions", DEMO["directions"])

    resolved = config.resolve(changed(change))
    assert resolved["experiments"]["demo"]["large"] == "Qwen3-8B"
    assert "es_419-zh_Hans" in resolved["directions"]
    rules = (ROOT / "workflow/rules/common.smk").read_text()
    name = re.search(r'^NAME = r"(.*?)"', rules, re.MULTILINE)
    direction = re.search(r'direction=r"(.*?)"', rules)
    assert name and direction
    names = ["GPT-4o", "Qwen3-8B", "a.b_c-1", "a--b", "-a", "a b", "a-", "A-.b"]
    allowed = re.compile(config.load_schema()["$defs"]["name"]["pattern"])
    assert [bool(re.fullmatch(name[1], n)) for n in names] == [
        bool(allowed.match(n)) for n in names
    ]
    assert re.fullmatch(direction[1], "es_419-zh_Hans")


@pytest.mark.parametrize(
    "change",
    [
        {"base_url": "https://me:sk-0123456789@h/v1"},
        {"base_url": "https://sk-0123456789@h/v1"},
        {"base_url": "me:sk-0123456789@h/v1"},
        {"base_url": "https://[sk-0123456789/v1"},
        {"speed": {"api_key_variable": "sk-0123456789"}},
    ],
)
def test_a_key_in_the_config_is_refused_and_not_shown(change: dict) -> None:
    def keyed(c: dict) -> None:
        c["models"]["demo-small"] = {
            "engine": "openai", "path": "m", "prompt": "{text}", "base_url": "http://h:1/v1"
        } | change  # fmt: skip

    (key,) = change
    with pytest.raises(UserError, match=rf"models\.demo-small\.{key}") as caught:
        config.resolve(changed(keyed))
    assert "sk-012" not in str(caught.value)


def test_without_the_model_its_transfer_is_left_out() -> None:
    def precomputed(c: dict) -> None:
        c["models"]["demo-small"] = {
            "engine": "openai", "path": "m", "prompt": "{text}", "base_url": "http://h:1/v1"
        }  # fmt: skip
        c["experiments"]["demo"] |= {"without_model": "leave-out"}

    resolved = config.resolve(changed(precomputed))
    assert resolved["experiments"]["demo"]["transfer"]["routers"] == ["ngram"]
    assert config.groups(resolved["experiments"]["demo"])["transfer"] == [
        "ngram.by.origin.openstack", "ngram.by.origin.others"
    ]  # fmt: skip


def test_an_answer_is_asked_of_the_router_it_belongs_to() -> None:
    resolved = config.resolve(full(lambda c: None))
    folder = config.artifact(resolved, "demo-full", "routelmt-two-quality", 1)
    assert folder == "results/runs/demo-full/routers/routelmt-two/seed1"


def test_random_alone_needs_no_model() -> None:
    from routelmt.plan import Plan

    def change(c: dict) -> None:
        c["experiments"]["demo"] |= {"routers": ["random"], "guards": {}, "transfer": {}}

    plan = Plan(config.resolve(changed(change)))
    assert plan.needs("random") == frozenset() and not plan.keeps_states("demo-small")
    assert not any("in_model" in path for path in plan.predictions("demo", "test"))
    assert plan.trained_routers("demo") == [] and "training" not in plan.table_names("demo")


def test_settings_of_a_probe_that_do_not_go_together_are_refused_before_any_job() -> None:
    def change(c: dict) -> None:
        c["routers"]["frozen-ridge"]["layers"] = "mix"

    message = r"config key 'routers\.frozen-ridge': 'fit: ridge' cannot have 'layers: mix'"
    with pytest.raises(UserError, match=message):
        config.resolve(changed(change))


def test_a_router_that_no_chance_changes_is_trained_once() -> None:
    def change(c: dict) -> None:
        c["experiments"]["demo"]["seeds"] = [3, 4]

    resolved = config.resolve(changed(change))
    seeds = {
        r: config.router_seeds(resolved, "demo", r) for r in ("routelmt", "frozen-ridge", "ngram")
    }
    assert seeds == {"routelmt": [3, 4], "frozen-ridge": [3], "ngram": [3]}


def test_states_are_kept_only_for_probes() -> None:
    from routelmt.plan import Plan

    def no_probe(c: dict) -> None:
        c["experiments"]["demo"]["routers"].remove("frozen-ridge")
        c["experiments"]["demo"]["transfer"]["routers"].remove("frozen-ridge")

    assert not Plan(config.resolve(changed(no_probe))).keeps_states("demo-small")
    plan = Plan(config.resolve(DEMO))
    assert plan.keeps_states("demo-small") and not plan.keeps_states("demo-large")
    assert plan.needed_for("demo", "frozen-ridge", "states", "valid") == [
        f"results/states/demo-small/software-valid/{d}.arrow" for d in DEMO["directions"]
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda c: c["experiments"]["demo-full"]["sweeps"].update(
                x={"router": "routelmt", "setting": "rnak", "values": [1]}
            ),
            r"sweeps\.x\.setting': 'rnak' is not a setting of router type 'lora' \(did you mean "
            r"'rank'\?\)",
        ),
        (
            lambda c: c["experiments"]["demo-full"]["sweeps"].update(
                x={"router": "routelmt", "setting": "rank", "values": [0]}
            ),
            r"sweeps\.x at 0\.rank': found 0",
        ),
        (
            lambda c: (
                c["routers"]["routelmt-two-quality"].update(of="entropy"),
                c["experiments"]["demo-full"].pop("transfer"),
            ),
            r"'routers\.routelmt-two-quality\.of': 'entropy' is not a router of type lora",
        ),
        (
            lambda c: c["routers"]["routelmt-averaged"].update(label_metric="comet"),
            r"'routers\.routelmt-averaged\.label_metric': 'comet' is not in 'metrics'",
        ),
        (
            lambda c: c["routers"].update({"entropy": {"type": "qe-deferral", "metric": "chrf"}}),
            r"'routers\.entropy\.metric': 'chrf' reads the reference",
        ),
        (
            lambda c: c["models"]["demo-large"].pop("samples"),
            r"reads several sampled translations: set 'models\.demo-large\.samples'",
        ),
        (
            lambda c: c["routers"]["routelmt"].update(train_directions=["en-de"]),
            r"'routers\.routelmt\.train_directions': 'en-de' is not in 'directions'",
        ),
        (lambda c: c.update(run=["demo-ful"]), r"'run': 'demo-ful' is not in 'experiments' \(did"),
    ],
)
def test_routers_that_cannot_work_are_refused(
    change: Callable[[dict], object], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        config.resolve(full(change))


@pytest.mark.parametrize("tokenize", [{}, {"tokenize": "char"}])
def test_words_of_a_target_language_that_nothing_here_can_cut_are_refused(
    tokenize: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    from routelmt.score import tokenisers

    def japanese(c: dict) -> None:
        text = json.dumps(c).replace("en-zh", "en-ja")
        c.update(json.loads(text))
        c["languages"]["ja"] = "Japanese"
        c["metrics"]["bleu"] = {"type": "bleu", **tokenize}
        c["experiments"]["demo"]["judge_metrics"] = ["bleu"]

    monkeypatch.setattr(tokenisers.importlib.util, "find_spec", lambda module: None)
    if tokenize:
        assert config.resolve(changed(japanese))["metrics"]["bleu"]["tokenize"] == "char"
    else:
        with pytest.raises(UserError, match=r"'metrics\.bleu': .*pip install 'sacrebleu\[ja\]'"):
            config.resolve(changed(japanese))


DEPLOYMENTS = {name for name, kind in TABLES.items() if "valid" in kind.when}
COSTS = {name for name, kind in TABLES.items() if "rates" in kind.when}


def test_thresholds_need_validation_sets_and_costs_need_rates() -> None:
    from routelmt.plan import Plan

    def names(change: Callable[[dict], object]) -> set[str]:
        return set(Plan(config.resolve(changed(change))).table_names("demo"))

    everything = names(lambda c: None)
    assert {*DEPLOYMENTS, *COSTS} <= everything
    texts = ["length", "random"]

    def untrained(c: dict) -> None:
        c["experiments"]["demo"] |= {
            "routers": texts,
            "train": [],
            "valid": [],
            "guards": {},
            "transfer": {},
        }

    assert not names(untrained) & set(DEPLOYMENTS)
    only_texts = names(
        lambda c: c["experiments"]["demo"].update(routers=texts, guards={}, transfer={})
    )
    assert set(DEPLOYMENTS) - only_texts == {"reliability"}  # none predicts a gain

    def served(c: dict) -> None:
        c["models"]["demo-large"] = {
            "engine": "openai", "path": "m", "prompt": "{text}", "base_url": "http://h:1/v1"
        }  # fmt: skip

    def why(change: Callable[[dict], object]) -> str | None:
        resolved = config.resolve(changed(change))
        page = json.loads(settings.stage_settings(resolved)["pages"]["demo"])
        return page["no_costs"]

    assert names(served) & COSTS == set()
    assert why(served).startswith("rates.demo-large must be stated in the config")
    stated = {"demo-large": {"prefill_tokens_per_second": 9, "decode_tokens_per_second": 3}}
    assert names(lambda c: (served(c), c.update(rates=stated))) >= COSTS
    assert why(lambda c: (served(c), c.update(rates=stated))) is None

    def ready(c: dict) -> None:
        c["models"]["demo-large"] = {"engine": "precomputed", "path": "large.jsonl"}

    assert "demo-large are precomputed, without token counts" in why(ready)


def test_what_is_left_out_is_looked_for_where_routers_learn_too() -> None:
    def flagged_in(**experiment: object) -> set[str]:
        resolved = config.resolve(changed(lambda c: c["experiments"]["demo"].update(experiment)))
        files = Plan(resolved).judged("hypotheses", "demo")
        return {path.split("/")[3] for path in files}

    untrained = {"routers": ["length", "random"], "guards": {}, "transfer": {}}
    assert flagged_in() == {"software-test", "software-valid"}
    assert flagged_in(leave_out=["degenerate"]) == {"software-train", *flagged_in()}
    assert flagged_in(leave_out=["degenerate"], **untrained) == flagged_in()


def test_prices_reach_the_jobs_of_an_endpoint_from_their_one_place() -> None:
    prices = {"currency": "EUR", "per_million": {"demo-large": [0.5, 2]}}
    models = settings.speeds_of(config.resolve(changed(lambda c: c.update(prices=prices))))[
        "models"
    ]
    assert (models["demo-large"]["price"], models["demo-small"]["price"]) == ("0.5,2", "0,0")


def test_a_router_is_charged_by_what_it_declares() -> None:
    resolved = config.resolve(full(lambda c: None))
    table = json.loads(settings.stage_settings(resolved)["tables"]["demo-full"]["costs"])
    cost = table["cost"]["routers"]
    assert cost["random"]["terms"] == [] and cost["routelmt"]["terms"] == ["prefill"]
    assert cost["scratch-qe"]["terms"] == ["decode", "encoder"]  # it reads the translation
    assert cost["routelmt-two-quality"]["of"] == "routelmt-two"
    assert cost["semantic-entropy"]["samples"] == 4


def test_tables_figures_and_page_know_their_metric_and_what_is_from_scratch() -> None:
    stages = settings.stage_settings(config.resolve(full(lambda c: None)))
    tables, page = stages["tables"]["demo-full"], json.loads(stages["pages"]["demo-full"])
    evaluated = [table for table in map(json.loads, tables.values()) if "bootstrap" in table]
    for table in evaluated:
        assert table["about"]["metric"] == "chrf" and "scratch-qe" in table["about"]["from_scratch"]
    assert all(router.startswith("scratch-") for router in page["from_scratch"])
    assert json.loads(stages["figures"]["demo-full"]["pareto"])["metric"] == "chrf"
    assert (
        json.loads(stages["sweeps"]["demo-full"]["learning-curve"])["about"]["router"] == "routelmt"
    )


def test_what_predicts_points_of_gain_is_told_from_what_only_ranks() -> None:
    resolved = config.resolve(full(lambda c: None))
    spoken = {r for r, spec in resolved["routers"].items() if settings.predicts_gain(spec)}
    assert {"routelmt", "scratch-encoder-gain", "frozen-mix", "routelmt-quantile"} <= spoken
    ranking = {"routelmt-pairwise", "routelmt-top-p", "routelmt-q", "lora-det", "gain-oracle"}
    assert not spoken & {*ranking, "routelmt-averaged"}  # that one's gains are of another metric


def test_what_validation_rows_have_chosen_is_told_from_what_never_saw_them() -> None:
    def trained_once(raw: dict) -> None:
        raw["routers"]["routelmt-q"] |= {"epochs": 1, "learning_rate": 1e-3}

    resolved = config.resolve(full(trained_once))
    chosen = {r for r in resolved["routers"] if settings.chosen_on_validation(resolved, r)}
    assert {"routelmt", "ngram", "frozen-ridge", "frozen-mix", "routelmt-two-quality"} <= chosen
    assert not chosen & {"routelmt-q", "random", "length", "entropy", "gain-oracle"}
