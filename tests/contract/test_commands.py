"""Each stage as a command: Parquet in, checked Parquet out, with its parents on record."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sacrebleu.metrics import CHRF

from routelmt import tables
from routelmt.__main__ import main
from routelmt.trail.audit import audit
from tests.contract.conftest import MODELS

Command = Callable[..., None]
ROUTERS = ("random", "length", "rarity", "entropy", "gain-oracle", "quality-oracle")


def rows(path: Path, table: str) -> list[dict[str, Any]]:
    return tables.read(path, table).to_pylist()


def test_segments_have_source_and_reference_of_the_direction(chain: dict[str, Path]) -> None:
    found = rows(chain["segments-test"], "segments")
    assert found and all(r["source"].isascii() and not r["reference"].isascii() for r in found)
    assert {r["dataset"] for r in found} == {"test"} and {r["split"] for r in found} == {"test"}
    train = rows(chain["segments-train"], "segments")
    assert not {r["group_id"] for r in found} & {r["group_id"] for r in train}


def test_scores_are_sentence_chrf(chain: dict[str, Path]) -> None:
    references = {r["segment_id"]: r["reference"] for r in rows(chain["segments-test"], "segments")}
    hypotheses = {
        r["segment_id"]: r["hypothesis"] for r in rows(chain["hypotheses-small-test"], "hypotheses")
    }
    for row in rows(chain["scores-small-test"], "scores"):
        key = row["segment_id"]
        expected = CHRF().sentence_score(hypotheses[key], [references[key]]).score
        assert row["score"] == pytest.approx(expected)


def test_gains_are_differences_of_scores(chain: dict[str, Path]) -> None:
    small = {r["segment_id"]: r["score"] for r in rows(chain["scores-small-test"], "scores")}
    large = {r["segment_id"]: r["score"] for r in rows(chain["scores-large-test"], "scores")}
    for row in rows(chain["gains-test"], "gains"):
        assert row["gain"] == large[row["segment_id"]] - small[row["segment_id"]]


def test_every_table_is_audited_back_to_the_wheel(chain: dict[str, Path], world: Path) -> None:
    report = audit([chain["gains-test"]])
    assert report.broken == []
    assert any(str(world / "wheels/words.whl") in line for line in report.lines)
    assert any("data/demo/large" in line for line in report.lines)


@pytest.fixture(scope="session")
def predictions(
    chain: dict[str, Path], settings: dict[str, Any], command: Command, world: Path
) -> dict[str, Path]:
    paths = {r: world / f"predictions/{r}.parquet" for r in (*ROUTERS, "routelmt")}
    artifact = world / "routelmt"
    command(
        "train",
        router="routelmt",
        settings=settings["routelmt"],
        model=settings["small"],
        seed=0,
        train_segments=chain["segments-train"],
        train_gains=chain["gains-train"],
        valid_segments=chain["segments-train"],
        valid_gains=chain["gains-train"],
        device="cpu",
        out=artifact,
    )
    for router, path in paths.items():
        command(
            "predict",
            segments=chain["segments-test"],
            router=router,
            settings=settings[router],
            model=settings["small"],
            seed=0,
            artifact=[artifact] if router == "routelmt" else [],
            signals=[chain["signals-test"]] if router == "entropy" else [],
            gains=[chain["gains-test"]] if "oracle" in router else [],
            device="cpu",
            out=path,
        )
    return paths


def test_oracles_and_entropy_repeat_what_they_read(
    chain: dict[str, Path], predictions: dict[str, Path]
) -> None:
    gains = {r["segment_id"]: r for r in rows(chain["gains-test"], "gains")}
    entropy = {r["segment_id"]: r["entropy"] for r in rows(chain["signals-test"], "signals")}
    for row in rows(predictions["gain-oracle"], "predictions"):
        assert row["priority"] == gains[row["segment_id"]]["gain"]
    for row in rows(predictions["quality-oracle"], "predictions"):
        assert row["priority"] == -gains[row["segment_id"]]["quality_small"]
    for row in rows(predictions["entropy"], "predictions"):
        assert row["priority"] == entropy[row["segment_id"]]


def test_the_artifact_is_a_peft_adapter_with_a_head(
    predictions: dict[str, Path], world: Path
) -> None:
    from peft import PeftModel
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    artifact = world / "routelmt"
    base = AutoModelForCausalLM.from_pretrained(MODELS / "small")
    adapted = PeftModel.from_pretrained(base, artifact)
    assert any(p.abs().sum() > 0 for n, p in adapted.named_parameters() if "lora_B" in n)
    assert load_file(artifact / "head.safetensors")
    assert (artifact / "router.json").is_file() and (artifact / "README.md").is_file()


def test_evaluation_writes_every_table_and_rendering(
    chain: dict[str, Path],
    predictions: dict[str, Path],
    command: Command,
    world: Path,
    settings: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    from routelmt.evaluate.registry import TABLES
    from routelmt.figures.registry import FIGURES

    run = world / "runs/tiny"
    options = {
        "oracles": ["gain-oracle", "quality-oracle"],
        "random": ["random"],
        "bootstrap": {"replicates": 100, "seed": 0, "level": 0.95},
        "budgets": [0.3],
        "risk_edges": [-5, -0.5, 0.5],
        "guards": {"rank": ["routelmt"], "signals": ["quality-oracle"], "quantiles": [0.5, 1.0]},
        "metric": "chrf",
        "judge_metrics": [],
        "raters": [],
        "domains": {
            "own": {
                "datasets": [tables.read(chain["segments-test"], "segments")["dataset"][0].as_py()]
            }
        },
    }
    given = {
        "predictions": list(predictions.values()),
        "gains": chain["gains-test"],
        "segments": chain["segments-test"],
    }
    judged = {
        table
        for table, kind in TABLES.items()
        if kind.of == "routers" and kind.category == "Tables" and {"domains"}.issuperset(kind.when)
    }
    for table in sorted(judged - {"cases"}):
        files = {name: files for name, files in given.items() if name in TABLES[table].reads}
        out = run / f"tables/{table}.parquet"
        command("table", table, settings=options, **files, out=out)
        command("render", out)
        assert tables.read(out, table).num_rows
        assert all(out.with_suffix(f".{e}").stat().st_size for e in ("csv", "tex", "md"))
    roles = {"train": chain["segments-train"], "valid": [], "test": chain["segments-test"]}
    rules = {"threshold": 0.8, "ngram": 5, "ngram_han": 2, "permutations": 128, "action": "remove"}
    command("overlaps", **roles, settings=rules, out=run / "overlaps.parquet")
    for table, more in (
        ("datasheet", {}),
        ("contamination", {"overlaps": run / "overlaps.parquet"}),
    ):
        out = run / f"tables/{table}.parquet"
        command("table", table, **roles, **more, settings={"action": "remove"}, out=out)
        command("render", out)
        assert tables.read(out, table).num_rows
        assert all(out.with_suffix(f".{e}").stat().st_size for e in ("csv", "tex", "md"))
    for figure, kind in FIGURES.items():
        if not all((run / f"tables/{t}.parquet").exists() for t in kind.tables):
            continue  # of trainings and deployments, which have tests of their own
        command(
            "plot",
            figure=figure,
            settings=settings["style"],
            out=run / f"{figure}.pdf",
            tables=[run / f"tables/{t}.parquet" for t in kind.tables],
        )
        assert (run / f"{figure}.pdf").read_bytes().startswith(b"%PDF")
        assert (run / f"{figure}.png").read_bytes().startswith(b"\x89PNG")
    capsys.readouterr()
    assert main(["summary", str(run)]) == 0
    printed = capsys.readouterr().out
    assert all(router in printed for router in predictions)
    assert audit([run / "tables/routers.parquet"]).broken == []


def test_new_requests_are_decided_within_the_budget(
    predictions: dict[str, Path], world: Path, tmp_path: Path
) -> None:
    import json

    requests = tmp_path / "requests.jsonl"
    requests.write_text(
        "".join(
            json.dumps({"id": i, "direction": "en-zh", "source": f"Delete file {i}"}) + "\n"
            for i in range(10)
        )
    )
    out = tmp_path / "decisions.jsonl"
    assert (
        main(
            [
                "route",
                "--router",
                str(world / "routelmt"),
                "--budget",
                "0.3",
                "--input",
                str(requests),
                "--out",
                str(out),
                "--device",
                "cpu",
            ]
        )
        == 0
    )
    decisions = [json.loads(line) for line in out.read_text().splitlines()]
    assert [d["id"] for d in decisions] == list(range(10))
    routed = [d["predicted_gain"] for d in decisions if d["route"] == "large"]
    kept = [d["predicted_gain"] for d in decisions if d["route"] == "small"]
    assert len(routed) == 3 and min(routed) >= max(kept)


@pytest.mark.parametrize("router", ["ngram", "frozen-ridge"])
def test_routers_that_are_solved_are_trained_asked_and_deployed(
    chain: dict[str, Path],
    command: Command,
    world: Path,
    settings: dict[str, Any],
    tmp_path: Path,
    router: str,
) -> None:
    import json

    artifact, asked = tmp_path / "r/seed0", tmp_path / "predictions.parquet"
    states = {split: tmp_path / f"{split}.arrow" for split in ("train", "test")}
    model = settings["small"] if router == "frozen-ridge" else {}
    for split, path in states.items() if model else ():
        command(
            "signals", segments=chain[f"segments-{split}"], model="small", settings=model,
            device="cpu", states=path, out=tmp_path / f"{split}.parquet",
        )  # fmt: skip
    needs = {f"{role}_states": [states["train"]] for role in ("train", "valid") if model}
    learned = {
        f"{role}_{table}": chain[f"{table}-train"]
        for role in ("train", "valid")
        for table in ("segments", "gains")
    }
    same = {"router": router, "settings": settings[router], "model": model, "seed": 0}
    command("train", **same, **learned, **needs, device="cpu", out=artifact)
    command(
        "predict", **same, segments=chain["segments-test"], artifact=[artifact], device="cpu",
        states=[states["test"]] if model else [], out=asked,
    )  # fmt: skip
    assert audit([asked]).broken == []
    priority = {r["segment_id"]: r["priority"] for r in rows(asked, "predictions")}
    segments = rows(chain["segments-test"], "segments")
    assert len(set(priority.values())) > 1
    lines = [
        {"id": s["segment_id"], "direction": s["direction"], "source": s["source"]}
        for s in segments
    ]
    (tmp_path / "requests.jsonl").write_text("\n".join(map(json.dumps, lines)))
    out = tmp_path / "decisions.jsonl"
    command(
        "route", router=artifact, budget=0.3, input=tmp_path / "requests.jsonl", out=out,
        device="cpu",
    )  # fmt: skip
    decisions = [json.loads(line) for line in out.read_text().splitlines()]
    assert sum(d["route"] == "large" for d in decisions) == int(0.3 * len(segments))
    for decision in decisions:
        assert decision["priority"] == pytest.approx(priority[decision["id"]], abs=0.5)
    # Nothing was descended to: no losses, and a table and a figure that say so.
    command("table", "training", routers=artifact, settings={}, out=tmp_path / "training.parquet")
    command(
        "plot", figure="training_curves", settings=settings["style"],
        tables=[tmp_path / "training.parquet"], out=tmp_path / "losses.pdf",
    )  # fmt: skip
    assert tables.read(tmp_path / "training.parquet", "training").num_rows == 0


def test_flagged_rows_are_left_out_of_training(
    chain: dict[str, Path],
    command: Command,
    settings: dict[str, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import json

    texts = rows(chain["segments-train"], "segments")
    kept = tables.read(chain["hypotheses-small-train"], "hypotheses").to_pylist()
    marks = [{"degenerate": i < 3} for i in range(len(kept))]
    blank = tables.from_rows(
        "hypotheses", [row | mark for row, mark in zip(kept, marks, strict=True)]
    )
    tables.write(blank, tmp_path / "blank.parquet", "hypotheses", {})
    command(
        "flagged", hypotheses=tmp_path / "blank.parquet", scores=chain["scores-small-train"],
        leave_out=["degenerate"], out=tmp_path / "flagged.parquet",
    )  # fmt: skip
    files = {f"{role}_{table}": chain[f"{table}-train"]
             for role in ("train", "valid") for table in ("segments", "gains")}  # fmt: skip
    command(
        "train", router="ngram", settings=settings["ngram"], model={}, seed=0, device="cpu",
        flagged=tmp_path / "flagged.parquet", out=tmp_path / "r", **files,
    )  # fmt: skip
    said = f"training: 3 of {len(texts)} rows left out, flagged as degenerate (table flags"
    assert said in capsys.readouterr().err
    learned = json.loads((tmp_path / "r/router.json").read_text())["rows"]["training"]
    assert learned["count"] == len(texts) - 3, learned


def test_a_deployment_is_calibrated_timed_and_drawn(
    chain: dict[str, Path],
    predictions: dict[str, Path],
    command: Command,
    world: Path,
    settings: dict[str, Any],
) -> None:
    from routelmt.evaluate.build import DEPLOYMENTS
    from routelmt.figures.registry import FIGURES

    run = world / "runs/deployed"
    held_out = {}
    for router in ("length", "gain-oracle", "routelmt"):
        held_out[router] = run / f"{router}.parquet"
        command(
            "predict",
            segments=chain["segments-train"],
            router=router,
            settings=settings[router],
            model=settings["small"] if router == "routelmt" else {},
            seed=0,
            artifact=[world / "routelmt"] if router == "routelmt" else [],
            gains=[chain["gains-train"]] if "oracle" in router else [],
            device="cpu",
            out=held_out[router],
        )
    used = [predictions[router] for router in held_out]
    common = {
        "routers": list(held_out),
        "oracles": ["gain-oracle"],
        "random": [],
        "bootstrap": {"replicates": 100, "seed": 0, "level": 0.95},
        "budgets": [0.3],
    }
    options = common | {
        "gain_routers": ["routelmt"],
        "stream": {"seed": 0, "window": 20, "correction": 0.05, "false_alarms": 0.05},
        "drift": {"from": None, "to": None},
        "within": [2],
        "confidence": 0.9,
        "chosen_on_validation": [],
        "bins": 3,
    }
    for table in DEPLOYMENTS:
        command(
            "table",
            table,
            settings=options,
            predictions=used,
            gains=chain["gains-test"],
            segments=chain["segments-test"],
            calibration_predictions=list(held_out.values()),
            calibration_gains=chain["gains-train"],
            out=run / f"tables/{table}.parquet",
        )
        command("render", run / f"tables/{table}.parquet")
        assert all((run / f"tables/{table}.{e}").stat().st_size for e in ("csv", "tex", "md"))
    for size in ("small", "large"):
        command(
            "rates",
            model=size,
            settings=settings[size],
            segments=chain["segments-test"],
            rows=4,
            given={"length": {"seconds_per_request": 1e-5}},
            device="cpu",
            out=run / f"rates-{size}.parquet",
        )
        assert all(row["seconds"] > 0 for row in rows(run / f"rates-{size}.parquet", "rates"))
    terms = {"length": {"terms": []}, "routelmt": {"terms": ["prefill"]}}
    command(
        "table",
        "costs",
        settings=common | {"cost": {"small": "small", "large": "large", "routers": terms}},
        predictions=used,
        gains=chain["gains-test"],
        hypotheses_small=chain["hypotheses-small-test"],
        hypotheses_large=chain["hypotheses-large-test"],
        rates=[run / f"rates-{size}.parquet" for size in ("small", "large")],
        out=run / "tables/costs.parquet",
    )
    assert all(r["seconds"] > 0 for r in rows(run / "tables/costs.parquet", "costs"))
    command(
        "table", "routers", settings=common, predictions=used, gains=chain["gains-test"],
        out=run / "tables/routers.parquet",
    )  # fmt: skip
    for figure in ("calibration", "reliability", "drift", "cost_pareto", "router_costs"):
        command(
            "plot",
            figure=figure,
            settings=settings["style"],
            out=run / f"{figure}.pdf",
            tables=[run / f"tables/{t}.parquet" for t in FIGURES[figure].tables],
        )
        assert (run / f"{figure}.png").read_bytes().startswith(b"\x89PNG")
    made = [run / f"tables/{name}.parquet" for name in ("streaming", "budgets", "costs")]
    assert audit(made).broken == []


def test_a_stream_is_decided_line_by_line_and_goes_on_from_its_state(
    predictions: dict[str, Path], world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import json

    lines = [
        json.dumps({"id": i, "direction": "en-zh", "source": f"Delete file {i}"}) + "\n"
        for i in range(12)
    ]
    lines[5] = "{\n"
    command = ["route", "--stream", "--router", str(world / "routelmt"), "--budget", "0.3",
               "--state", str(tmp_path / "state.json"), "--device", "cpu"]  # fmt: skip
    calibration = ["--calibration", str(predictions["routelmt"])]
    answers = []
    for first, options in ((0, calibration), (6, [])):
        requests = tmp_path / "requests.jsonl"
        requests.write_text("".join(lines[first : first + 6]))
        capsys.readouterr()
        assert main([*command, *options, "--input", str(requests)]) == 0
        answers += [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [a.get("id") for a in answers] == [*range(5), None, *range(6, 12)]
    assert answers[5]["line"] == 6 and "not JSON" in answers[5]["error"]
    assert {a["route"] for a in answers if "route" in a} <= {"small", "large"}
    state = json.loads((tmp_path / "state.json").read_text())
    assert state["directions"]["en-zh"]["served"] == 11
    assert main([*command, "--policy", "rolling", "--input", str(requests)]) == 1
    assert "its policy is fixed, asked is rolling" in capsys.readouterr().err
    assert main([*command, "--budget", "1.5", "--input", str(requests)]) == 1
    assert "expected a share between 0 and 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"direction": "en-zh", "source": "x"', "requests.jsonl:2: "),
        ('{"direction": "en-zh"}', "requests.jsonl:2: "),
        ('{"direction": "en-fr", "source": "x"}', "requests.jsonl:2: "),
    ],
)
def test_a_broken_request_line_is_named_and_nothing_is_written(
    predictions: dict[str, Path],
    world: Path,
    tmp_path: Path,
    line: str,
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    requests = tmp_path / "requests.jsonl"
    requests.write_text('{"direction": "en-zh", "source": "fine"}\n' + line + "\n")
    out = tmp_path / "decisions.jsonl"
    assert (
        main(
            [
                "route",
                "--router",
                str(world / "routelmt"),
                "--budget",
                "0.3",
                "--input",
                str(requests),
                "--out",
                str(out),
                "--device",
                "cpu",
            ]
        )
        == 1
    )
    assert message in capsys.readouterr().err
    assert not out.exists()


def test_a_wheel_with_another_checksum_is_refused(
    world: Path, settings: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import json

    file = settings["corpus"]["files"][0] | {"sha256": "0" * 64}
    out = tmp_path / "corpus.parquet"
    assert (
        main(
            [
                "catalogs",
                "--wheels",
                str(world / "wheels"),
                "--settings",
                json.dumps(settings["corpus"] | {"files": [file]}),
                "--out",
                str(out),
            ]
        )
        == 1
    )
    message = capsys.readouterr().err
    assert "words.whl: SHA-256 is" in message and "expects 000000" in message
    assert not out.exists()


def test_an_empty_test_set_is_named(
    chain: dict[str, Path],
    settings: dict[str, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import json

    out = tmp_path / "segments.parquet"
    assert (
        main(
            [
                "segments",
                "--origin",
                str(chain["corpus"]),
                "--dataset",
                "empty",
                "--direction",
                "en-zh",
                "--settings",
                json.dumps(settings["test"] | {"split": "valid"}),
                "--out",
                str(out),
            ]
        )
        == 1
    )
    assert "dataset 'empty', direction en-zh: no segments" in capsys.readouterr().err
    assert not out.exists()


def test_an_unexpected_number_of_rows_names_both(
    chain: dict[str, Path],
    settings: dict[str, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import json

    found = tables.read(chain["segments-test"], "segments").num_rows
    assert (
        main(
            [
                "segments",
                "--origin",
                str(chain["corpus"]),
                "--dataset",
                "d",
                "--direction",
                "en-zh",
                "--settings",
                json.dumps(settings["test"] | {"rows": 3368}),
                "--out",
                str(tmp_path / "s.parquet"),
            ]
        )
        == 1
    )
    error = capsys.readouterr().err
    assert f"{found} segments" in error and "expects 3368" in error


@pytest.mark.parametrize("command_name", ["--help", "--version"])
def test_the_command_line_explains_itself(
    command_name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command_name]) == 0
    assert capsys.readouterr().out


def test_an_unknown_command_is_bad_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trane"]) == 2
    assert "unknown command 'trane'" in capsys.readouterr().err


def test_a_reader_that_stops_early_is_no_error(chain: dict[str, Path]) -> None:
    import subprocess
    import sys

    piped = subprocess.run(
        f"{sys.executable} -m routelmt audit {chain['gains-test']} | head -n 1",
        shell=True,
        capture_output=True,
        text=True,
        check=False,
    )
    assert piped.returncode == 0 and "Traceback" not in piped.stderr


def test_no_command_waits_for_pandas(chain: dict[str, Path]) -> None:
    import subprocess
    import sys

    command = [sys.executable, "-X", "importtime", "-m", "routelmt", "audit"]
    done = subprocess.run(
        [*command, chain["gains-test"]], capture_output=True, text=True, check=True
    )
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "pyarrow" in imported
    assert "pandas._libs" not in imported  # its name alone is there: it was asked for
