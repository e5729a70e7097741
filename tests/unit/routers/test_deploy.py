"""New requests get a route, and broken ones a reason."""

from __future__ import annotations

import json

import numpy as np
import pytest
from router_toys import SPEED, toy

from routelmt.errors import UserError
from routelmt.routers import deploy, lora


def write(path, rows):
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return path


def test_each_direction_gets_its_share_of_the_large_model(trained, context, tmp_path):
    out, _ = trained
    inputs = toy(41, 9)
    pairs = list(zip(inputs.directions, inputs.sources, strict=True))
    rows = [{"id": f"r{i}", "direction": d, "source": s} for i, (d, s) in enumerate(pairs)]
    found = deploy.route_requests(out, write(tmp_path / "r.jsonl", rows), 0.3, speed=SPEED)
    assert [r["id"] for r in found] == [r["id"] for r in rows]
    expected, _ = lora.predict_trained(out, inputs, context)
    assert [r["predicted_gain"] for r in found] == pytest.approx(expected, abs=1e-4)
    for direction in ("en-zh", "en-ru"):
        mine = [r for r in found if r["direction"] == direction]
        large = [r["priority"] for r in mine if r["route"] == "large"]
        small = [r["priority"] for r in mine if r["route"] == "small"]
        assert len(large) == int(0.3 * len(mine)) > 0
        assert min(large) >= max(small)


def test_equal_requests_are_chosen_by_id_not_by_place(trained, tmp_path):
    out, _ = trained
    rows = [{"id": i, "direction": "en-zh", "source": "save the file"} for i in range(20)]
    chosen = []
    for order in (range(20), np.random.default_rng(0).permutation(20)):
        path = write(tmp_path / "r.jsonl", [rows[i] for i in order])
        found = deploy.route_requests(out, path, 0.3, speed=SPEED)
        chosen.append({r["id"] for r in found if r["route"] == "large"})
    assert chosen[0] == chosen[1]
    assert len(chosen[0]) == 6


def test_a_budget_that_is_less_than_a_request_is_told(trained, tmp_path, capsys):
    rows = [{"direction": "en-zh", "source": "save"}] * 3
    rows += [{"direction": "en-ru", "source": "save"}] * 4
    path = write(tmp_path / "r.jsonl", rows)
    found = deploy.route_requests(trained[0], path, 0.3, speed=SPEED)
    assert [r["direction"] for r in found if r["route"] == "large"] == ["en-ru"]
    told = [line for line in capsys.readouterr().err.splitlines() if "a share of" in line]
    assert told == [
        "direction en-zh: a share of 0.3 of 3 requests is less than one request, so none goes to "
        "the large model."
    ]
    deploy.route_requests(trained[0], path, 0.0, speed=SPEED)
    assert "a share of" not in capsys.readouterr().err


def test_a_request_that_is_too_long_is_routed_and_told(trained, tmp_path, capsys):
    rows = [{"id": i, "direction": "en-zh", "source": "save " * n} for i, n in enumerate((1, 90))]
    found = deploy.route_requests(trained[0], write(tmp_path / "r.jsonl", rows), 0.5, speed=SPEED)
    assert [row.get("truncated") for row in found] == [None, True]
    said = capsys.readouterr().err
    assert "1 of 2 requests are longer than the 64 tokens that the router reads" in said


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"direction": "en-zh", "source": ', "not JSON"),
        ('["en-zh"]', "expected a JSON object, found list"),
        ('{"direction": "en-zh"}', "'source' is missing"),
        ('{"source": "a"}', "'direction' is missing"),
        ('{"direction": "en-zh", "source": "  "}', "'source' must be a text"),
        (r'{"direction": "en-zh", "source": "\u200b \ufeff"}', "'source' must be a text with some"),
        (r'{"direction": "en-zh", "source": "a\u0000b"}', "'source' has a NUL character"),
        ('{"direction": "en-zh", "source": 5}', "'source' must be a text"),
        ('{"direction": "en-fr", "source": "a"}', "direction 'en-fr' is not one of"),
        ('{"id": 1.5, "direction": "en-zh", "source": "a"}', "'id' must be"),
        ('{"id": "one", "direction": "en-zh", "source": "a"}', "id 'one' stands in line 1"),
        (r'{"direction": "en-zh", "source": "\ud800"}', "surrogate"),
        (b'{"direction": "en-zh", "source": "\xff"}', "not UTF-8"),
    ],
)
def test_a_broken_request_is_named_before_the_model_loads(
    trained, tmp_path, monkeypatch, line, reason
):
    monkeypatch.setattr(deploy, "load_router", lambda *_: pytest.fail("the model was loaded"))
    path = tmp_path / "requests.jsonl"
    good = b'{"id": "one", "direction": "en-zh", "source": "a"}\n\n'
    path.write_bytes(good + (line if isinstance(line, bytes) else line.encode()) + b"\n")
    with pytest.raises(UserError, match=rf"requests\.jsonl:3: .*{reason}"):
        deploy.route_requests(trained[0], path, 0.3)


def test_other_bad_input_is_explained(trained, tmp_path):
    path = write(tmp_path / "r.jsonl", [{"direction": "en-zh", "source": "a"}])
    with pytest.raises(UserError, match=r"--budget: found 1\.5"):
        deploy.route_requests(trained[0], path, 1.5)
    with pytest.raises(UserError, match="not a trained router"):
        deploy.route_requests(tmp_path, path, 0.3)
    with pytest.raises(UserError, match="cannot be read"):
        deploy.route_requests(trained[0], tmp_path / "none.jsonl", 0.3)
    empty = tmp_path / "empty.jsonl"
    empty.write_text("\n")
    with pytest.raises(UserError, match="no requests"):
        deploy.route_requests(trained[0], empty, 0.3)
    many = tmp_path / "many.jsonl"
    many.write_text("{\n" * 9)
    with pytest.raises(UserError, match="and 4 more"):
        deploy.route_requests(trained[0], many, 0.3)
