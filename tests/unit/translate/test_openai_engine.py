"""The openai engine against a small endpoint on loopback that can be told to misbehave."""

from __future__ import annotations

import base64
import json
import math
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from routelmt import tables
from routelmt.blocks import Blocks
from routelmt.errors import UserError
from routelmt.translate import keys, openai_engine
from routelmt.translate.hypotheses import translate_segments

KEY = "sk-secret-0123456789"
VARIABLE = "TEST_ENDPOINT_KEY"
Reply = tuple[int, dict[str, Any], dict[str, str]] | None  # status, body, headers; None: hang up
Script = Callable[[dict[str, Any], int], Reply]


def completion(request: dict[str, Any]) -> Reply:
    """The turn backwards; two tokens for each of its characters."""
    text = request["messages"][0]["content"][::-1]
    choice: dict[str, Any] = {"message": {"role": "assistant", "content": text}}
    choice["finish_reason"] = "length" if "long" in request["messages"][0]["content"] else "stop"
    if request.get("logprobs"):
        choice["logprobs"] = {"content": [{"token": "a", "logprob": -v} for v in (0.5, 1.5)]}
    usage = {"prompt_tokens": 2 * len(text), "completion_tokens": len(text)}
    return 200, {"choices": [choice], "usage": usage}, {}


def refusal(status: int, message: str, code: str | None = None, **headers: str) -> Reply:
    return status, {"error": {"message": message, "code": code, "type": "x"}}, headers


class Endpoint:
    """Counts requests, and the most at a time; `script` decides about each."""

    def __init__(self) -> None:
        self.script: Script = lambda request, count: completion(request)
        self.requests: list[dict[str, Any]] = []
        self.keys: set[str] = set()
        self.most = self._now = 0
        self._lock = threading.Lock()
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                request = json.loads(self.rfile.read(int(self.headers["content-length"])))
                endpoint.keys.add(self.headers["authorization"])
                with endpoint._lock:
                    endpoint.requests.append(request)
                    count = len(endpoint.requests)
                    endpoint._now += 1
                    endpoint.most = max(endpoint.most, endpoint._now)
                try:
                    reply = endpoint.script(request, count)
                finally:
                    with endpoint._lock:
                        endpoint._now -= 1
                if reply is None:
                    self.close_connection = True
                    return
                status, body, headers = reply
                content = json.dumps(body).encode()
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name.replace("_", "-"), value)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *arguments: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture()
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    monkeypatch.setenv(VARIABLE, KEY)
    monkeypatch.setattr(openai_engine, "FIRST_WAIT", 0.01)
    found = Endpoint()
    yield found
    found.server.shutdown()
    found.server.server_close()


@pytest.fixture()
def model(endpoint: Endpoint) -> dict[str, Any]:
    return {
        "engine": "openai",
        "path": "served",
        "base_url": endpoint.url,
        "api_key_variable": VARIABLE,
        "prompt": "{src} {tgt}: {text}",
        "temperature": 0,
        "max_new_tokens": 32,
        "price": [2, 8],
    }


@pytest.fixture()
def speed() -> dict[str, Any]:
    return {"concurrency": 4}


def translate(model: dict[str, Any], speed: dict[str, Any], turns: list[str]) -> Any:
    found = dict(openai_engine.load(model, speed).translate(turns))
    return [found[i] for i in range(len(turns))]


def fails(model: dict[str, Any], speed: dict[str, Any], turns: list[str]) -> str:
    with pytest.raises(UserError) as caught:
        translate(model, speed, turns)
    assert KEY not in str(caught.value)
    return str(caught.value)


TURNS = [f"turn {n}" for n in range(40)]


def test_answers_are_those_of_the_turns(
    endpoint: Endpoint, model: dict[str, Any], speed: dict[str, Any]
) -> None:
    found = translate(model, speed, [*TURNS, "long"])
    assert [d.text for d in found] == [t[::-1] for t in [*TURNS, "long"]]
    assert [d.prompt_tokens for d in found] == [2 * len(d.text) for d in found]
    assert [d.output_tokens for d in found] == [len(d.text) for d in found]
    assert [d.finish_reason for d in found] == ["stop"] * 40 + ["length"]
    assert {d.mean_logprob for d in found} == {-1.0}
    assert endpoint.keys == {f"Bearer {KEY}"}
    sent = endpoint.requests[0]
    assert (sent["model"], sent["temperature"], sent["max_tokens"]) == ("served", 0, 32)
    assert [m["role"] for m in sent["messages"]] == ["user"]


def test_so_many_requests_at_a_time(endpoint: Endpoint, model: dict[str, Any]) -> None:
    together = threading.Barrier(4)

    def script(request: dict[str, Any], count: int) -> Reply:
        together.wait(timeout=10)  # each needs three others under way
        return completion(request)

    endpoint.script = script
    translate(model, {"concurrency": 4}, TURNS)
    assert endpoint.most == 4


def test_usage_and_cost_are_said(
    endpoint: Endpoint,
    model: dict[str, Any],
    speed: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    translate(model, speed, ["x" * 1000])
    said = capsys.readouterr().err
    assert "1 answers, 2000 prompt tokens, 1000 output tokens, cost 0.0120" in said
    assert KEY not in said


@pytest.mark.parametrize("status", [429, 500, 502, 503, 408])
def test_passing_errors_are_tried_again(
    endpoint: Endpoint,
    model: dict[str, Any],
    speed: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
    status: int,
) -> None:
    def script(request: dict[str, Any], count: int) -> Reply:
        return refusal(status, f"not now, {KEY}") if count % 3 == 1 else completion(request)

    endpoint.script = script
    assert [d.text for d in translate(model, speed, TURNS)] == [t[::-1] for t in TURNS]
    said = capsys.readouterr().err
    assert f"{status} (not now, ***)" in said and KEY not in said


def test_retry_after_is_heeded(
    endpoint: Endpoint, model: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import time

    def script(request: dict[str, Any], count: int) -> Reply:
        return refusal(429, "slow", retry_after="1") if count == 1 else completion(request)

    endpoint.script = script
    start = time.monotonic()
    translate(model, {"concurrency": 1}, ["a"])
    assert time.monotonic() - start > 0.95


def test_cut_connections_are_tried_again(
    endpoint: Endpoint, model: dict[str, Any], speed: dict[str, Any]
) -> None:
    endpoint.script = lambda request, count: None if count % 4 == 1 else completion(request)
    assert len(translate(model, speed, TURNS)) == len(TURNS)


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (refusal(401, f"Incorrect API key: {KEY}"), f"the key in {VARIABLE} is not accepted"),
        (refusal(403, "no access"), "it answers with 403: no access"),
        (refusal(404, "model `served` does not exist"), "no model 'served' there, or base_url"),
        (refusal(429, "pay", "insufficient_quota"), f"the quota of the key in {VARIABLE}"),
        (refusal(400, f"strange {KEY}"), r"it answers with 400: strange ***"),
        ((200, {"hello": 1}, {}), "the answer is no chat completion"),
    ],
)
def test_lasting_errors_are_not_tried_again(
    endpoint: Endpoint, model: dict[str, Any], reply: Reply, message: str
) -> None:
    endpoint.script = lambda request, count: reply
    assert message in fails(model, {"concurrency": 1}, TURNS)
    assert len(endpoint.requests) == 1


def test_an_endpoint_that_stays_down_is_an_error(
    endpoint: Endpoint, model: dict[str, Any], speed: dict[str, Any]
) -> None:
    endpoint.script = lambda request, count: refusal(503, "loading")
    assert "503: loading" in fails(model, {"concurrency": 1}, TURNS)
    assert len(endpoint.requests) == openai_engine.FIRST_TRIES
    # Nobody listens on the port of a closed server.
    endpoint.server.server_close()
    assert "cannot be reached" in fails(model, speed, TURNS)


def test_keys_come_from_the_environment_only(
    model: dict[str, Any], speed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE)
    with pytest.raises(UserError, match=f"environment variable {VARIABLE}"):
        openai_engine.load({**model, "base_url": "https://api.example.com/v1"}, speed)
    with pytest.raises(UserError, match="no user or key belongs into an address"):
        openai_engine.load({**model, "base_url": f"https://me:{KEY}@example.com/v1"}, speed)
    assert len(translate(model, speed, TURNS)) == len(TURNS)  # loopback needs none


ECHOES = [
    KEY[:9],
    KEY[-6:],
    KEY.upper(),
    KEY[::-1],
    base64.b64encode(KEY.encode()).decode(),
    base64.b64encode(f"Bearer {KEY}".encode()).decode(),
    base64.urlsafe_b64encode(f"me:{KEY}".encode()).decode(),
    KEY.encode().hex(),
]


@pytest.mark.parametrize("status", [403, 400])
@pytest.mark.parametrize("echo", ECHOES)
def test_no_part_of_the_key_is_in_a_message(
    endpoint: Endpoint, model: dict[str, Any], capsys: pytest.CaptureFixture[str], echo: str,
    status: int,
) -> None:  # fmt: skip
    code = "content_filter" if status == 400 else None  # a refusal is said, not raised
    endpoint.script = lambda request, count: refusal(status, f"<<{echo}>> here İ", code)
    if status == 400:
        translate(model, {"concurrency": 1}, TURNS[:1])
        said = capsys.readouterr().err
    else:
        said = fails(model, {"concurrency": 1}, TURNS[:1])
    assert "***" in said and "here İ" in said
    before, _, after = said.partition("<<")[2].partition(">>")[0].partition("***")
    assert before in ("", "QmVhcmVyI", "QmVhcmVyIH", "bWU6")  # "Bearer " and "me:"
    assert len(after) <= 3  # the last bits, and padding


def test_a_message_without_the_key_is_whole() -> None:
    assert keys.masked("İ secre 01234 is no part", KEY) == "İ secre 01234 is no part"
    assert keys.masked("the key is ab", "ab") == "the key is ***"
    assert keys.masked("nothing", "") == "nothing"


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (refusal(400, "This model's maximum context length is 64 tokens."), "too_long"),
        (refusal(400, "too much", "context_length_exceeded"), "too_long"),
        (refusal(400, "no", "content_filter"), "content_filter"),
    ],
)
def test_a_prompt_that_is_refused_costs_its_row_alone(
    endpoint: Endpoint, model: dict[str, Any], speed: dict[str, Any], reply: Reply, reason: str
) -> None:
    def script(request: dict[str, Any], count: int) -> Reply:
        return reply if request["messages"][0]["content"] == "bad" else completion(request)

    endpoint.script = script
    *good, bad = translate(model, speed, [*TURNS, "bad"])
    assert (bad.text, bad.finish_reason, bad.output_tokens) == ("", reason, 0)
    assert math.isnan(bad.mean_logprob) and {d.finish_reason for d in good} == {"stop"}


def test_options_that_an_endpoint_lacks_are_left_out(
    endpoint: Endpoint, model: dict[str, Any], speed: dict[str, Any]
) -> None:
    def script(request: dict[str, Any], count: int) -> Reply:
        if "logprobs" in request:
            return refusal(400, "logprobs are not supported with this model")
        if "max_tokens" in request:
            return refusal(400, "'max_tokens' is not supported, use 'max_completion_tokens'")
        return completion(request)

    endpoint.script = script
    found = translate(model, speed, TURNS)
    assert all(math.isnan(d.mean_logprob) for d in found)
    assert endpoint.requests[-1]["max_completion_tokens"] == 32


def test_no_answer_is_paid_for_twice(
    endpoint: Endpoint, model: dict[str, Any], segments: Any, tmp_path: Path
) -> None:
    answered: list[str] = []

    def script(request: dict[str, Any], count: int) -> Reply:
        if len(answered) == 6 and not broken:
            return refusal(401, "expired")
        answered.append(request["messages"][0]["content"])
        return completion(request)

    def run() -> Any:
        blocks = Blocks(out, {"settings": model})
        languages = {"en": "English", "zh": "Chinese"}
        return translate_segments(segments, "m", model, languages, {"concurrency": 3}, blocks)

    endpoint.script, broken, out = script, [], tmp_path / "out.parquet"
    with pytest.raises(UserError, match="Answers so far are kept"):
        run()
    kept = next(tmp_path.rglob("answers.jsonl"))
    assert len(answered) == 6 == len(kept.read_text().splitlines())
    assert not any(
        KEY in p.read_text(errors="replace") for p in tmp_path.rglob("*.*") if p.is_file()
    )
    with kept.open("a") as file:
        file.write('{"key": "cut o')  # as a crash leaves it
    broken.append(True)
    table = run()
    tables.check(table, "hypotheses", "here")
    assert sorted(answered) == sorted(set(answered))
    for row, source in zip(table.to_pylist(), segments["source"].to_pylist(), strict=True):
        turn = f"English Chinese: {source}"
        assert row["hypothesis"] == turn[::-1] and row["prompt_tokens"] == 2 * len(turn)


def messages(*found: dict[str, Any]) -> Script:
    """Answers with these messages by turn; the last one for all further turns."""

    def script(request: dict[str, Any], count: int) -> Reply:
        text = request["messages"][0]["content"]
        message = found[int(text) if text.isdigit() else -1]
        choice = {"message": {"role": "assistant", **message}, "finish_reason": "stop"}
        return 200, {"choices": [choice], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}, {}

    return script


def test_reasoning_beside_the_content_is_told(
    endpoint: Endpoint, model: dict[str, Any], speed: dict[str, Any]
) -> None:
    endpoint.script = messages(
        {"content": None, "reasoning_content": "It says"},
        {"content": "", "reasoning": "It says"},
        {"content": "text", "reasoning_content": "It says"},
        {"content": None},
    )
    found = translate(model, speed, ["0", "1", "2", "3"])
    assert [(d.text, d.finish_reason) for d in found] == [
        ("", "reasoning"), ("", "reasoning"), ("text", "stop"), ("", "stop"),
    ]  # fmt: skip


def test_only_reasoning_is_an_error_and_the_answers_are_kept(
    endpoint: Endpoint, model: dict[str, Any], segments: Any, tmp_path: Path
) -> None:
    languages = {"en": "English", "zh": "Chinese"}
    endpoint.script = messages({"content": None, "reasoning_content": "It says"})
    blocks = Blocks(tmp_path / "out.parquet", {"settings": model})
    with pytest.raises(UserError, match=r"answers are blank.*reasoning.*out\.parquet\.blocks"):
        translate_segments(segments, "m", model, languages, {"concurrency": 3}, blocks)
    assert list(tmp_path.rglob("answers.jsonl"))


def test_closed_reasoning_is_no_part_of_the_table(
    endpoint: Endpoint, model: dict[str, Any], segments: Any, tmp_path: Path
) -> None:
    endpoint.script = messages({"content": "<think>\nIt says\n</think>\n\n译文"})
    languages = {"en": "English", "zh": "Chinese"}
    table = translate_segments(segments, "m", model, languages, {"concurrency": 3})
    assert set(table["hypothesis"].to_pylist()) == {"译文"}
    assert set(table["finish_reason"].to_pylist()) == {"stop"}


# --- samples, and answers without log-probabilities ----------------------------------------------


def samples_of(request: dict[str, Any], most: int = 99) -> Reply:
    """`n` answers: the turn, the seed and a number; as many tokens as their number and one."""
    turn, count = request["messages"][0]["content"], min(request.get("n", 1), most)
    seed = request.get("seed", "none")
    choices = [
        {
            "message": {"content": f"{turn}/{seed}/{n}"},
            "finish_reason": "stop",
            "logprobs": {"content": [{"logprob": -1.0}] * (n + 1)}
            if "logprobs" in request
            else None,
        }
        for n in range(count)
    ]
    usage = {"prompt_tokens": 7, "completion_tokens": sum(range(1, count + 1))}
    return 200, {"choices": choices, "usage": usage}, {}


def sample(model: dict[str, Any], speed: dict[str, Any], turns: list[str], count: int = 3) -> Any:
    engine = openai_engine.load(model, speed)
    found = {(row, n): answer for row, n, answer in engine.sample(turns, count, 0.7, 5)}
    assert set(found) == {(row, n) for row in range(len(turns)) for n in range(count)}
    return engine, [[found[row, n] for n in range(count)] for row in range(len(turns))]


def test_all_samples_of_a_turn_are_one_request(
    endpoint: Endpoint, model: dict[str, Any], speed: dict[str, Any]
) -> None:
    endpoint.script = lambda request, count: samples_of(request)
    engine, found = sample(model, speed, TURNS)
    assert len(endpoint.requests) == len(TURNS)
    assert {(r["n"], r["temperature"]) for r in endpoint.requests} == {(3, 0.7)}
    assert len({r["seed"] for r in endpoint.requests}) == len(TURNS)  # not one noise for all
    for turn, row in zip(TURNS, found, strict=True):
        assert [d.text.rpartition("/")[2] for d in row] == ["0", "1", "2"]
        assert {d.text.partition("/")[0] for d in row} == {turn}
        assert [d.output_tokens for d in row] == [1, 2, 3]
        assert {d.prompt_tokens for d in row} == {7}
    usage = engine.usage
    assert (usage.answers, usage.prompt_tokens, usage.output_tokens) == (120, 7 * 40, 6 * 40)
    assert sample(model, speed, TURNS)[1] == found  # the same seeds


@pytest.mark.parametrize("way", ["refused", "ignored"])
def test_where_n_is_not_known_each_sample_is_a_request(
    endpoint: Endpoint,
    model: dict[str, Any],
    speed: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
    way: str,
) -> None:
    def script(request: dict[str, Any], count: int) -> Reply:
        if way == "refused" and request.get("n", 1) > 1:
            return refusal(400, "Only one completion choice is allowed")
        return samples_of(request, most=1)

    endpoint.script = script
    _, found = sample(model, speed, TURNS)
    assert all(len({d.text for d in row}) == 3 for row in found)  # another seed each
    answered = [r for r in endpoint.requests if way == "ignored" or "n" not in r]
    assert len(answered) == 3 * len(TURNS)
    assert ("no 'n' there" in capsys.readouterr().err) == (way == "refused")


def test_samples_without_seeds_and_too_long_turns(
    endpoint: Endpoint, model: dict[str, Any], speed: dict[str, Any]
) -> None:
    def script(request: dict[str, Any], count: int) -> Reply:
        if request["messages"][0]["content"] == "bad":
            return refusal(400, "maximum context length is 64 tokens")
        if "seed" in request:
            return refusal(400, "Unrecognized request argument supplied: seed")
        return samples_of(request)

    endpoint.script = script
    _, [good, bad] = sample(model, speed, ["good", "bad"])
    assert [d.text for d in good] == ["good/none/0", "good/none/1", "good/none/2"]
    assert [(d.text, d.finish_reason) for d in bad] == [("", "too_long")] * 3


def test_no_sample_is_paid_for_twice(
    endpoint: Endpoint, model: dict[str, Any], tmp_path: Path
) -> None:
    failing = True

    def script(request: dict[str, Any], count: int) -> Reply:
        if request.get("n", 1) > 1:
            return refusal(422, "n > 1 is not supported")
        answered = sum("n" not in r for r in endpoint.requests)
        return refusal(401, "expired") if failing and answered > 7 else samples_of(request)

    endpoint.script = script
    speed = {"concurrency": 1, "kept": tmp_path}
    with pytest.raises(UserError, match="Answers so far are kept"):
        sample(model, speed, TURNS[:5])
    before, failing = len(endpoint.requests), False
    assert sample(model, speed, TURNS[:5])[0].usage.answers == 15 - 7
    # What was answered is not asked again, and belongs to these settings alone.
    assert len(endpoint.requests) - before == 15 - 7 + 1
    assert sample(model, speed, TURNS[:5])[0].usage.answers == 0
    assert sample(model, speed, TURNS[:5], 2)[0].usage.answers == 10
    assert len(translate(model, speed, TURNS[:5])) == 5


def test_answers_without_logprobs_if_they_are_not_wanted(
    endpoint: Endpoint, model: dict[str, Any], speed: dict[str, Any], tmp_path: Path
) -> None:
    bare = {**model, "logprobs": False}
    found = translate(bare, {**speed, "kept": tmp_path}, TURNS)
    assert all("logprobs" not in r for r in endpoint.requests)
    assert all(math.isnan(d.mean_logprob) for d in found)
    assert [d.text for d in found] == [t[::-1] for t in TURNS]
    # Kept answers without log-probabilities are not taken for those with.
    again = translate(model, {**speed, "kept": tmp_path}, TURNS)
    assert {d.mean_logprob for d in again} == {-1.0}
    endpoint.script = lambda request, count: samples_of(request)
    _, [row] = sample(bare, speed, ["turn"])
    assert [d.output_tokens for d in row] == [
        2,
        2,
        2,
    ]  # six of all three, which nothing tells apart
