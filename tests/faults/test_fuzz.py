"""Whatever comes from outside is used or refused with a UserError: nothing else is raised, nothing hangs.

Each reader of outside data, and the config, gets valid input with damage (see mutations). A few examples of each
run in the suite, the same every time; `make fuzz MINUTES=10` runs new ones for as long.
"""

from __future__ import annotations

import io
import json
import os
import random
import signal
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from routelmt import config, provenance, strict_json, tables
from routelmt.data import archives, catalogs
from routelmt.data.downloads import manifest
from routelmt.data.readers import bouquet, commt, flores, own_rows, wmt24pp
from routelmt.data.segments import read_segments
from routelmt.data.unscored import scored_everywhere
from routelmt.errors import UserError
from routelmt.pins import unpinned
from routelmt.plan import Plan
from routelmt.routers import artifact, deploy, stream
from routelmt.score import precomputed as scores
from routelmt.score import rating_sheets
from routelmt.settings import speeds_of, stage_settings
from routelmt.states import StatesWriter, open_states
from routelmt.stats.streaming import Settings
from routelmt.trail.audit import audit
from routelmt.trail.diff import diff
from routelmt.translate import chatter, openai_engine, precomputed, prompts
from routelmt.translate.degenerate import is_degenerate
from routelmt.translate.engines import Decoded
from tests.faults.mutations import TEXTS, VALUES, damaged, flipped, twisted

ROOT = Path(__file__).parents[2]
MINUTES = float(os.environ.get("FUZZ_MINUTES", 0))
EXAMPLES = 200 if MINUTES else 12
SECONDS = 20  # that one example may take, on a busy machine
LONGEST = 6000  # characters of what is said of it; five lines of requests, or a list of names

# A strategy of input, and what is done with it.
Target = tuple[st.SearchStrategy[Any], Callable[[Any], object]]
TARGETS: dict[str, Callable[[Path, Path], Target]] = {}  # of a folder, and of a trained router's


def target(make: Callable[[Path, Path], Target]) -> Callable[[Path, Path], Target]:
    TARGETS[make.__name__] = make
    return make


@contextmanager
def bounded() -> Iterator[None]:
    """A UserError of a readable length may be raised; what takes too long is a failure."""

    def late(*_: object) -> None:
        raise TimeoutError(f"more than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    except UserError as error:
        assert 0 < len(str(error)) <= LONGEST, str(error)[:1000]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


# --- rows of text ---------------------------------------------------------------------------------

SEGMENTS = [
    {"segment_id": f"s{i}", "direction": "en-zh", "source": f'the "file {i}"', "reference": f"文件{i}",
     "group_id": f"g{i // 2}", "doc_id": None, "domain": "x"}
    for i in range(4)
]  # fmt: skip
COLUMNS = list(SEGMENTS[0])


def lines(rows: list[dict[str, Any]]) -> bytes:
    return "\n".join(json.dumps(row) for row in rows).encode()


def cells(rows: list[dict[str, Any]], delimiter: str) -> bytes:
    table = [list(rows[0]), *([str(v or "") for v in row.values()] for row in rows)]
    return "\n".join(delimiter.join(row) for row in table).encode()


def parquet(rows: list[dict[str, Any]]) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), out)
    return out.getvalue()


def json_lines(rows: list[dict[str, Any]]) -> st.SearchStrategy[bytes]:
    """Rows with values that do not fit, or bytes that do not."""

    def dumped(tree: Any) -> bytes:
        text = "\n".join(json.dumps(row, skipkeys=True) for row in tree)
        return text.encode("utf-8", "surrogatepass")

    return st.one_of(twisted(rows).map(dumped), damaged(lines(rows)))


def file_target(
    path: Path, strategy: st.SearchStrategy[bytes], use: Callable[[], object]
) -> Target:
    """What reads a file, whatever is in it."""
    path.parent.mkdir(parents=True, exist_ok=True)

    def written(data: bytes) -> None:
        path.write_bytes(data)
        use()

    return strategy, written


def own(folder: Path, suffix: str, strategy: st.SearchStrategy[bytes], **more: Any) -> Target:
    path = folder / f"own.{suffix}"
    given = {"source": suffix, **more}

    def use() -> None:
        read_segments("routelmt.data.readers.own_rows", path, given, "d", "en-zh")

    return file_target(path, strategy, use)


@target
def own_json_lines(folder: Path, router: Path) -> Target:
    return own(folder, "jsonl", json_lines(SEGMENTS))


@target
def own_csv(folder: Path, router: Path) -> Target:
    return own(folder, "csv", damaged(cells(SEGMENTS, ",")), part=[0, 0.9], drop_blank=True)


@target
def own_tsv(folder: Path, router: Path) -> Target:
    return own(folder, "tsv", damaged(cells(SEGMENTS, "\t")))


@target
def own_quoted_tsv(folder: Path, router: Path) -> Target:
    return own(
        folder, "tsv", damaged(cells(SEGMENTS, "\t").replace(b"file", b'""file')), quoting="csv"
    )


@target
def own_parquet(folder: Path, router: Path) -> Target:
    whole = parquet(SEGMENTS)
    return own(folder, "parquet", st.one_of(flipped(whole), damaged(whole)))


@target
def own_parquet_of_other_types(folder: Path, router: Path) -> Target:
    def use(rows: list[dict[str, Any]]) -> None:
        path = folder / "own.parquet"
        try:
            pq.write_table(pa.Table.from_pylist(rows), path)
        except (pa.ArrowException, AttributeError, TypeError, OverflowError, UnicodeError):
            return  # no table could be made of it
        read_segments(own_rows.__name__, path, {"source": "parquet"}, "d", "en-zh")

    return twisted(SEGMENTS), use


# --- what others publish --------------------------------------------------------------------------

PUBLISHED: dict[str, tuple[Any, str, list[dict[str, Any]]]] = {
    "commt": (commt, "zh-en/train.en-zh.general_trans.json",
              [{"translation": {"en": f"a file {i}", "zh": f"文件{i}"}, "task_type": "general_trans"} for i in range(3)]),
    "wmt24pp": (wmt24pp, "en-zh_CN.jsonl",
                [{"lp": "en-zh_CN", "domain": "news", "document_id": "d", "segment_id": i, "is_bad_source": False,
                  "source": f"a file {i}", "target": f"文件{i}"} for i in range(3)]),
    "flores_plus": (flores, "devtest/cmn_Hans.jsonl", [{"id": i, "text": f"文件{i}", "url": "u"} for i in range(3)]),
}  # fmt: skip


def published(name: str) -> None:
    reader, path, rows = PUBLISHED[name]

    def make(folder: Path, router: Path) -> Target:
        other = folder / "devtest/eng_Latn.jsonl"
        other.parent.mkdir(exist_ok=True)
        other.write_bytes(lines([{"id": i, "text": f"a file {i}"} for i in range(3)]))
        given = {"split": "devtest"} if reader is flores else {"split": "train"}

        def use() -> None:
            read_segments(reader.__name__, folder, given, "d", "en-zh")

        return file_target(folder / path, json_lines(rows), use)

    TARGETS[name] = make


for published_name in PUBLISHED:
    published(published_name)


@target
def flores_lines(folder: Path, router: Path) -> Target:
    english = folder / "devtest/eng_Latn.devtest"
    english.parent.mkdir()
    english.write_text("a file\nthe window\n")

    def use() -> None:
        read_segments(flores.__name__, folder, {}, "d", "en-zh")

    return file_target(folder / "devtest/zho_Hans.devtest", damaged("文件\n窗口\n".encode()), use)


@target
def bouquet_pairs(folder: Path, router: Path) -> Target:
    rows = [{"uniq_id": f"u{i}", "par_id": "p", "domain": "x", "src_text": f"文件{i}", "tgt_text": f"a file {i}"}
            for i in range(3)]  # fmt: skip
    path = folder / "data/sentence_level/dev/cmn_Hans.parquet"

    def use() -> None:
        read_segments(bouquet.__name__, folder, {"splits": ["dev"]}, "d", "en-zh")

    return file_target(path, flipped(parquet(rows)), use)


CATALOG = """msgid ""
msgstr ""
"Content-Type: text/plain; charset=utf-8\\n"

#, fuzzy
msgid "Delete the file"
msgstr "删除文件"

msgid "Show the window now"
msgstr "显示窗口"
"""


@target
def catalogs_in_wheels(folder: Path, router: Path) -> Target:
    path = folder / "w.whl"

    def use(data: bytes) -> None:
        with zipfile.ZipFile(path, "w") as wheel:
            wheel.writestr("w/locale/zh_CN/LC_MESSAGES/w.po", data)
        list(catalogs.pairs_of(path, "w"))

    return damaged(CATALOG.encode()), use


@target
def wheels(folder: Path, router: Path) -> Target:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as wheel:
        wheel.writestr("w/locale/zh_CN/LC_MESSAGES/w.po", CATALOG)
    path = folder / "w.whl"
    return file_target(
        path,
        st.one_of(flipped(out.getvalue()), damaged(out.getvalue())),
        lambda: list(catalogs.pairs_of(path, "w")),
    )


@target
def unpacking(folder: Path, router: Path) -> Target:
    zipped, tarred = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/b.txt", "text" * 9)
    with tarfile.open(fileobj=tarred, mode="w:gz") as archive:
        entry = tarfile.TarInfo("a/b.txt")
        entry.size = 36
        archive.addfile(entry, io.BytesIO(b"text" * 9))
    path, out = folder / "archive", folder / "out"

    def use() -> None:
        if out.exists():
            out.rename(folder / f"out{time.monotonic_ns()}")
        archives.extract(path, out, max_bytes=10_000)
        assert {p.parent for p in out.rglob("*")} <= {out, *out.rglob("*")}

    whole = [zipped.getvalue(), tarred.getvalue()]
    return file_target(path, st.one_of(*map(flipped, whole), *map(damaged, whole)), use)


@target
def manifests(folder: Path, router: Path) -> Target:
    found = {
        "kind": "hub",
        "repository": "a/b",
        "commit": "0" * 40,
        "files": [{"path": "a", "size": 1}],
    }
    wanted = {"kind": "hub", "repository": "a/b", "revision": "0" * 40, "files": ["a"]}
    strategy = st.one_of(
        json_lines([found]),
        twisted([found]).map(lambda t: json.dumps(t[:1], skipkeys=True).encode()),
    )
    return file_target(
        folder / manifest.NAME, strategy, lambda: manifest.difference(folder, wanted)
    )


# --- what users bring beside segments ---------------------------------------------------------------

TRANSLATED = [
    {"dataset": "d", "direction": "en-zh", "segment_id": f"s{i}", "model": "m", "hypothesis": f"文件{i}",
     "hypothesis_hash": None, "score": 10.0 * i}
    for i in range(4)
]  # fmt: skip


def segments_table(rows: int = 4) -> pa.Table:
    ids = [f"s{i}" for i in range(rows)]
    return tables.from_columns("segments", {
        "dataset": "d", "direction": "en-zh", "segment_id": ids, "group_id": ids, "doc_id": None, "domain": None,
        "split": "test", "source": ids, "reference": "x",
    })  # fmt: skip


@target
def translations(folder: Path, router: Path) -> Target:
    path = folder / "t.jsonl"
    rows = [
        {k: row[k] for k in ("dataset", "direction", "segment_id", "hypothesis")}
        for row in TRANSLATED
    ]
    return file_target(
        path,
        json_lines(rows),
        lambda: precomputed.hypotheses(segments_table(), "m", {"path": str(path)}),
    )


@target
def scored(folder: Path, router: Path) -> Target:
    ready = folder / "t.jsonl"
    ready.write_bytes(lines(TRANSLATED))
    hypotheses = precomputed.hypotheses(segments_table(), "m", {"path": str(ready)})
    path = folder / "scores.jsonl"
    spec = {
        "path": str(path),
        "range": [0, 100],
        "higher_is_better": False,
        "models": ["m"],
        "quoting": None,
    }

    def use() -> None:
        scored_everywhere(["s0", "s1"], {"x": spec}, "d", "en-zh")
        scores.scores(hypotheses, "x", spec)

    return file_target(path, json_lines(TRANSLATED), use)


@target
def rated_sheets(folder: Path, router: Path) -> Target:
    key = folder / "key.csv"
    key.write_text(
        "item,dataset,direction,segment_id,model,hypothesis_hash\n1,d,en-zh,s0,m,00\n2,d,en-zh,s1,m,11\n"
    )
    path = folder / "ratings.csv"
    sheet = b"item,source,reference,hypothesis,score\n1,a,b,c,50\n2,a,b,c,\n"
    return file_target(path, damaged(sheet), lambda: rating_sheets.scores_of(path, key))


# --- texts of any kind ------------------------------------------------------------------------------

ANY = st.one_of(st.sampled_from(TEXTS), st.text(), st.lists(st.sampled_from(TEXTS)).map("".join))


@target
def json_texts(folder: Path, router: Path) -> Target:
    def use(text: str | bytes) -> None:
        try:
            strict_json.parse(text)
        except strict_json.JsonError as error:
            assert len(str(error)) <= strict_json.SHOWN

    whole = json.dumps({"id": 1, "source": "\ud83d\ude42", "list": [1.5, None, {}]}).encode()
    return st.one_of(ANY, VALUES.map(json.dumps), damaged(whole)), use


@target
def templates(folder: Path, router: Path) -> Target:
    pieces = st.lists(
        st.sampled_from(("{text}", "{src}", "{tgt}", "{", "}", "a", "{text:>9}", "{text.x}"))
    ).map("".join)
    return st.one_of(ANY, pieces), lambda text: prompts.render(
        text, {"en": "E", "zh": "Z"}, "en-zh", "s"
    )


@target
def answers(folder: Path, router: Path) -> Target:
    def use(pair: tuple[str, str]) -> None:
        source, text = pair
        answer = chatter.cleaned(source, Decoded(text, 1, "stop", 0.0))
        assert len(answer.text) <= len(text)
        is_degenerate(
            source, answer.text, "en-zh", answer.finish_reason, ["Translate the following text:"]
        )

    pieces = st.lists(
        st.sampled_from(("<think>", "</think>", "<thinking>", "x ", "Sure! Here is: ", "\n"))
    ).map("".join)
    return st.tuples(ANY, st.one_of(ANY, pieces)), use


@target
def completions(folder: Path, router: Path) -> Target:
    """What an endpoint may answer with instead of a chat completion."""
    message = {"role": "assistant", "content": "保存", "reasoning_content": None}
    tokens = {"content": [{"token": "a", "logprob": -0.5}]}
    whole = {"choices": [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": tokens}],
             "usage": {"prompt_tokens": 5, "completion_tokens": 1}}  # fmt: skip
    model = {"path": "m", "base_url": "http://127.0.0.1:1/v1", "prompt": "{text}", "max_new_tokens": 4,
             "temperature": 0, "api_key_variable": "K", "price": [0, 0]}  # fmt: skip
    engine = openai_engine.OpenaiEngine(model, {"concurrency": 1}, "", True)

    def use(answer: Any) -> None:
        for found in engine._decoded(answer):
            assert isinstance(found.text, str) and isinstance(found.finish_reason, str)
            assert isinstance(found.output_tokens, int) and isinstance(found.prompt_tokens, int)
            chatter.cleaned("Save", found)

    return st.one_of(twisted([whole]).map(lambda tree: tree[0] if tree else None), VALUES), use


# --- deployments ------------------------------------------------------------------------------------


@target
def request_lines(folder: Path, router: Path) -> Target:
    whole = {"id": "a", "direction": "en-zh", "source": "Save the file"}

    def use(line: bytes) -> None:
        found = deploy.parse_request(line, 1, ["en-zh", "en-ru"])
        assert isinstance(found, deploy.Request) or 0 < len(found) <= 500

    return json_lines([whole]), use


@target
def request_files(folder: Path, router: Path) -> Target:
    rows = [{"id": i, "direction": "en-zh", "source": f"Save {i}"} for i in range(3)]
    path = folder / "requests.jsonl"
    return file_target(path, json_lines(rows), lambda: deploy.read_requests(path, ["en-zh"]))


@target
def router_records(folder: Path, router: Path) -> Target:
    """Loading a router whose record somebody wrote: its own hash fits, whatever it says."""
    whole = json.loads((router / artifact.RECORD).read_text())
    copy = folder / "r"
    copy.mkdir()
    for file in router.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())

    def use(tree: Any) -> None:
        record = tree[0] if tree and isinstance(tree[0], dict) else {}
        fields = {k: v for k, v in record.items() if k != artifact.FILES}
        try:
            hashes = {**whole[artifact.FILES], artifact.RECORD: artifact._fields_hash(fields)}
            text = json.dumps(fields | {artifact.FILES: hashes}, skipkeys=True)
        except TypeError:  # keys that JSON cannot order
            return
        (copy / artifact.RECORD).write_text(text)
        deploy.load_router(copy)

    return twisted([whole]), use


@target
def router_weights(folder: Path, router: Path) -> Target:
    copy = folder / "r"
    copy.mkdir()
    for file in router.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    record = json.loads((copy / artifact.RECORD).read_text())
    path = copy / "ngram.safetensors"

    def use() -> None:
        fields = {k: v for k, v in record.items() if k != artifact.FILES}
        (copy / artifact.RECORD).write_text(json.dumps(fields))
        artifact.seal(copy)
        deploy.load_router(copy).score(["en-zh"], ["Save the file"])

    whole = path.read_bytes()
    return file_target(path, st.one_of(flipped(whole), damaged(whole)), use)


@target
def stream_states(folder: Path, router: Path) -> Target:
    loaded = deploy.load_router(router)
    own = Settings(0.3, window=4)
    path, held_out = folder / "state", folder / "held-out.jsonl"
    held_out.write_bytes(lines([{"direction": "en-zh", "source": f"Save {i}"} for i in range(20)]))
    first = stream.open_stream(router, loaded, "rolling", own, path, [held_out])
    asked = [
        (i, json.dumps({"direction": "en-zh", "source": f"Open {i}"}).encode()) for i in range(1, 9)
    ]
    stream.write_state(path, first)
    stream.write_journal(path, 8, list(first.answer(asked)))
    state, journal = json.loads(path.read_text()), stream.journal_of(path).read_bytes()

    def use(found: tuple[Any, bytes]) -> None:
        tree, noted = found
        path.write_text(json.dumps(tree[0] if tree else None, skipkeys=True))
        stream.journal_of(path).write_bytes(noted)
        again = stream.open_stream(router, loaded, "rolling", own, path)
        list(again.answer(asked))

    return st.tuples(twisted([state]), st.one_of(st.just(journal), damaged(journal))), use


# --- tables and what the trail reads ------------------------------------------------------------------


@target
def table_records(folder: Path, router: Path) -> Target:
    path = folder / "results/gains.parquet"
    tables.write(
        segments_table(), path, "segments", provenance.describe("gains", {}, [Path(__file__)])
    )
    whole = pq.read_table(path, partitioning=None)
    record = json.loads(whole.schema.metadata[tables.METADATA_KEY])

    def use(tree: Any) -> None:
        text = json.dumps(tree[0] if tree else None, skipkeys=True)
        pq.write_table(whole.replace_schema_metadata({tables.METADATA_KEY: text}), path)
        audit([path])
        provenance.details(path)
        tables.read(path, "segments")

    return twisted([record]), use


@target
def table_bytes(folder: Path, router: Path) -> Target:
    path = folder / "gains.parquet"
    tables.write(segments_table(40), path, "segments", provenance.describe("gains", {}, []))
    whole = path.read_bytes()

    def use() -> None:
        audit([path])
        tables.read(path, "segments")

    return file_target(path, st.one_of(flipped(whole), damaged(whole)), use)


@target
def states_files(folder: Path, router: Path) -> Target:
    path, rows = folder / "s.arrow", segments_table(6)
    model = {"path": "m", "revision": None, "dtype": "float32", "prompt": "{text}"}
    states = np.random.default_rng(0).normal(size=(6, 2, 3)).astype(np.float16)
    with StatesWriter(path, rows, np.arange(6), 6) as writer:
        writer.put(np.arange(6), states, states)
        writer.finish(provenance.describe("signals", model, []))
    whole = path.read_bytes()

    def use() -> None:
        found = open_states([path], rows)
        assert (found.take("last", range(6)) == states).all()

    return file_target(path, st.one_of(flipped(whole), damaged(whole)), use)


# --- the config ---------------------------------------------------------------------------------------

DEMO = yaml.safe_load((ROOT / "profiles/demo/experiment.yaml").read_text())


def planned(raw: Any) -> None:
    """What is accepted can be planned."""
    found = config.resolve(raw)
    assert config.resolve(found) == found
    stage_settings(found)
    speeds_of(found)
    unpinned(found)
    plan = Plan(found)
    for stage in (
        "segments",
        "hypotheses",
        "gains",
        "predictions",
        "tables",
        "views",
        "figures",
        "sweeps",
        "page",
    ):
        plan.every(stage)
    list(config.missing_files(found))
    config.missing_inputs(found)


@target
def configs(folder: Path, router: Path) -> Target:
    small = {key: DEMO[key] for key in DEMO if key not in ("figures",)}
    return twisted(small), planned


@target
def experiments(folder: Path, router: Path) -> Target:
    """The same with all that is twisted within the experiment and its routers."""

    def use(tree: Any) -> None:
        planned({**DEMO, **tree})

    return twisted({key: DEMO[key] for key in ("experiments", "routers")}), use


@target
def config_files(folder: Path, router: Path) -> Target:
    path = folder / "config.yaml"
    text = (ROOT / "docs/example/experiment.yaml").read_bytes()
    return file_target(path, damaged(text), lambda: config.load(path))


@target
def runs_to_compare(folder: Path, router: Path) -> Target:
    path = folder / "a/tables/routers.parquet"
    tables.write(segments_table(), path, "segments", provenance.describe("gains", {}, []))
    whole = path.read_bytes()
    return file_target(
        path,
        st.one_of(flipped(whole), damaged(whole)),
        lambda: diff(path.parents[1], path.parents[1]),
    )


@pytest.mark.parametrize("name", TARGETS)
def test_it_is_used_or_refused(name: str, tmp_path: Path, router: Path) -> None:
    strategy, use = TARGETS[name](tmp_path, router)
    until = time.monotonic() + 60 * MINUTES / len(TARGETS)
    while True:
        drawn = random.randrange(2**32) if MINUTES else 0

        @seed(drawn)
        @settings(
            max_examples=EXAMPLES,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=(Phase.generate, Phase.shrink),
        )
        @given(strategy)
        def example(value: Any) -> None:
            with bounded():
                use(value)

        example()
        if time.monotonic() >= until:
            return
