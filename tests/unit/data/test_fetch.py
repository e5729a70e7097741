"""Downloads against a loopback hub: whole and checked, or absent; and on from where they stopped."""

from __future__ import annotations

import hashlib
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator, Mapping
from email.utils import formatdate
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from routelmt.commands.fetch import pinned
from routelmt.config import load, load_sources
from routelmt.data.downloads import retry
from routelmt.data.fetch import difference, fetch
from routelmt.errors import UserError
from routelmt.settings import stage_settings
from tests.hub import layouts
from tests.hub.server import Hub, Repository

TEXTS = "someone/texts"
BIG = "big.jsonl"  # about 300 kB, in git
LARGE = "large.parquet"  # in LFS, so from another host
TOKEN = "hf_planted_0123456789abcdef"
ELSEWHERE = ["`python -m routelmt fetch --all`", "'sources.texts.local: FOLDER'"]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub that the client in this process talks to, without a token and without patience."""
    from huggingface_hub import constants

    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_OFFLINE", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    with Hub() as running:
        template = running.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "ENDPOINT", running.endpoint)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(retry, "FIRST_WAIT", 0.01)
        yield running


@pytest.fixture
def texts(hub: Hub, tmp_path: Path) -> Repository:
    """A repository with small and big files, some of them in LFS."""
    folder = tmp_path / "upstream"
    folder.mkdir()
    layouts.write_wmt24pp(folder, 300)
    big = "".join(text["ru"] + "\n" for text in layouts.sentences(1500, "big"))
    (folder / BIG).write_text(big, encoding="utf-8")
    (folder / LARGE).write_bytes(hashlib.shake_256(b"large").digest(300_000))
    (folder / "data").mkdir()
    (folder / "data" / "small.jsonl").write_text("{}\n")
    return hub.add(TEXTS, folder)


def entry(served: Repository, *files: Any, **more: Any) -> dict[str, Any]:
    """Settings of a source."""
    start = {"kind": "hub", "repository": served.name, "revision": served.commit}
    return {**start, "files": list(files), **more}


def archive_entry(url: str, content: bytes, **more: Any) -> dict[str, Any]:
    """Settings of an archive."""
    known = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    return {"kind": "archive", "url": url, **known, **more}


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, hidden ones too."""
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


def failure(settings: Mapping[str, Any], out: Path) -> str:
    """The message of a fetch that must fail, and must leave nothing that looks finished."""
    with pytest.raises(UserError) as caught:
        fetch("texts", settings, out)
    assert not out.exists()
    return str(caught.value)


@pytest.fixture
def flores(hub: Hub, tmp_path: Path) -> tuple[dict[str, Any], bytes]:
    """(settings, bytes) of a tarball in the layout of FLORES-200, on the hub's host."""
    layouts.write_flores_tarball(tmp_path / "unpacked", 300)
    layouts.pack_tarball(tmp_path / "unpacked", tmp_path / "flores.tar.gz")
    content = (tmp_path / "flores.tar.gz").read_bytes()
    members = ["flores200_dataset/devtest/*.devtest", "flores200_dataset/metadata_devtest.tsv"]
    return archive_entry(hub.add_file("flores.tar.gz", content), content, members=members), content


# --- what a fetch leaves -------------------------------------------------------------------------


def test_the_files_of_a_commit_and_what_they_are(
    hub: Hub, texts: Repository, tmp_path: Path
) -> None:
    out = tmp_path / "raw" / "texts"
    files = ["en-zh_CN.jsonl", {"path": "data/small.jsonl", "size": 3}, LARGE]
    fetch("texts", entry(texts, *files), out)
    found = tree(out)
    manifest = json.loads(found.pop("SOURCE.json"))
    paths = ["en-zh_CN.jsonl", "data/small.jsonl", LARGE]
    assert found == {path: texts.files[path].content for path in paths}
    assert manifest == {
        "kind": "hub",
        "repository": TEXTS,
        "commit": texts.commit,
        "files": [
            {"path": p, "size": len(found[p]), "sha256": hashlib.sha256(found[p]).hexdigest()}
            for p in paths
        ],
    }
    assert [p.name for p in out.parent.iterdir()] == ["texts"]
    again = tmp_path / "elsewhere"
    fetch("texts", entry(texts, *files), again)
    assert tree(again) == tree(out)


@pytest.mark.parametrize(
    ("write", "path"),
    [
        (layouts.write_commt, "zh-en/train.zh-en.general_trans.json"),
        (layouts.write_flores_plus, "devtest/cmn_Hans.jsonl"),
        (layouts.write_wmt24pp, "en-ru_RU.jsonl"),
        (layouts.write_bouquet, "data/sentence_level/test/rus_Cyrl.parquet"),
    ],
)
def test_every_layout_arrives_byte_for_byte(
    hub: Hub, tmp_path: Path, write: Any, path: str
) -> None:
    write(tmp_path / "upstream", 20)
    repository = hub.add("a/b", tmp_path / "upstream")
    fetch("texts", entry(repository, *repository.files), tmp_path / "out")
    assert (tmp_path / "out" / path).is_file()
    found = tree(tmp_path / "out")
    del found["SOURCE.json"]
    assert found == tree(tmp_path / "upstream")


SHIPPED = {
    "commt": layouts.write_commt,
    "flores-plus": layouts.write_flores_plus,
    "wmt24pp": layouts.write_wmt24pp,
    "bouquet": layouts.write_bouquet,
}


@pytest.mark.parametrize("name", SHIPPED)
def test_the_shipped_entries_name_files_of_the_layouts(
    hub: Hub, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load_sources()[name]
    assert re.fullmatch(r"[0-9a-f]{7}|[0-9a-f]{40}", settings["revision"])
    SHIPPED[name](tmp_path / "upstream", 10)
    served = hub.add(settings["repository"], tmp_path / "upstream", gated=settings["gated"])
    monkeypatch.setenv("HF_TOKEN", served.token)
    paths = [file["path"] for file in settings["files"]]
    fetch(name, settings | {"revision": served.commit, "files": paths}, tmp_path / "out")
    assert set(tree(tmp_path / "out")) == {*paths, "SOURCE.json"}


def test_the_shipped_archive_entry_fits_its_layout(
    hub: Hub, flores: tuple[dict[str, Any], bytes], tmp_path: Path
) -> None:
    settings = load_sources()["flores"]
    assert settings["url"].startswith("https://") and len(settings["sha256"]) == 64
    known = {key: flores[0][key] for key in ("url", "size", "sha256")}
    fetch("flores", settings | known, tmp_path / "out")
    wanted = {f for f in tree(tmp_path / "unpacked") if "README" not in f}
    assert set(tree(tmp_path / "out")) == wanted | {"SOURCE.json"}


def test_a_short_revision_is_resolved_to_the_full_commit(texts: Repository, tmp_path: Path) -> None:
    fetch("texts", entry(texts, BIG, revision=texts.commit[:7]), tmp_path / "out")
    assert json.loads((tmp_path / "out/SOURCE.json").read_text())["commit"] == texts.commit


def test_a_revision_that_moves_is_refused(hub: Hub, texts: Repository, tmp_path: Path) -> None:
    message = failure(entry(texts, BIG, revision="main"), tmp_path / "out")
    assert "'revision' is 'main', which can move" in message and "--pin" in message
    assert hub.requests == []


def test_a_commit_that_does_not_begin_with_the_revision_is_refused(
    texts: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Repository, "resolves", lambda *_: True)
    message = failure(entry(texts, BIG, revision="abc1234"), tmp_path / "out")
    assert (
        f"revision 'abc1234' of {TEXTS} with commit '{texts.commit}', which is another" in message
    )


def test_an_older_folder_is_replaced_as_a_whole(texts: Repository, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "older.txt").write_text("of another commit")
    fetch("texts", entry(texts, "data/small.jsonl"), out)
    assert set(tree(out)) == {"SOURCE.json", "data/small.jsonl"}


def test_nothing_of_an_earlier_entry_gets_in(hub: Hub, texts: Repository, tmp_path: Path) -> None:
    hub.fault(BIG, status=404)
    failure(entry(texts, "data/small.jsonl", BIG), tmp_path / "out")
    assert (tmp_path / ".out.partial/files/data/small.jsonl").exists()
    hub.heal()
    fetch("texts", entry(texts, BIG), tmp_path / "out")
    assert set(tree(tmp_path / "out")) == {"SOURCE.json", BIG}


# --- who may ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("token", "status"), [(None, 401), (TOKEN, 403)])
def test_gated_says_which_page_and_which_variable(
    hub: Hub, texts: Repository, tmp_path: Path, token: str | None, status: int, monkeypatch: Any
) -> None:
    texts.gated = True
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    message = failure(entry(texts, BIG, gated=True), tmp_path / "out")
    for part in (
        f"https://huggingface.co/datasets/{TEXTS}",
        f"HTTP {status}",
        "HF_TOKEN",
        "`hf auth login`",
        "The token in use has no access" if token else "No token was found",
        *ELSEWHERE,
    ):
        assert part in message
    assert TOKEN not in message


def test_the_token_opens_the_gate_and_stays_on_the_hub(
    hub: Hub, texts: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts.gated = True
    monkeypatch.setenv("HF_TOKEN", texts.token)
    fetch("texts", entry(texts, BIG, LARGE), tmp_path / "out")
    assert {r.authorization for r in hub.seen("GET", "/resolve/")} == {f"Bearer {texts.token}"}
    assert [r.authorization for r in hub.seen("GET", "/cdn/")] == [None]


def test_a_token_that_the_hub_does_not_know(
    hub: Hub, texts: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    says = {"X-Error-Message": "Invalid credentials in Authorization header"}
    hub.fault("/api/", status=401, headers=says)
    assert "does not accept the token" in failure(entry(texts, BIG), tmp_path / "out")


def test_the_token_is_never_told(hub: Hub, texts: Repository, tmp_path: Path) -> None:
    """Not in any output, not even of a server that echoes it, with debugging on; nor on disk."""
    texts.token = TOKEN
    texts.gated = True
    echo = {"X-Error-Code": "GatedRepo", "X-Error-Message": f"token {TOKEN} may not"}
    hub.fault("en-ru_RU", status=403, headers=echo, times=1)
    settings = entry(texts, "en-zh_CN.jsonl", "en-ru_RU.jsonl", gated=True)
    for status in (1, 0):
        done = command(hub, tmp_path, settings, HF_TOKEN=TOKEN, HF_DEBUG="1")
        assert done.returncode == status, done.stderr
        assert TOKEN not in done.stdout + done.stderr
    assert "token (token) may not" in command_failure(hub, tmp_path, settings, echo)
    assert not any(TOKEN.encode() in content for content in tree(tmp_path / "run").values())


def command_failure(
    hub: Hub, tmp_path: Path, settings: Mapping[str, Any], echo: Mapping[str, str]
) -> str:
    hub.fault("en-ru_RU", status=403, headers=echo)
    done = command(hub, tmp_path, settings, out="other", HF_TOKEN=TOKEN)
    assert done.returncode == 1 and TOKEN not in done.stderr
    return done.stderr


# --- what is not there --------------------------------------------------------------------------


def test_missing_revision(texts: Repository, tmp_path: Path) -> None:
    message = failure(entry(texts, BIG, revision="0" * 40), tmp_path / "out")
    assert f"{TEXTS} has no revision '{'0' * 40}'. Correct 'revision' of sources.texts" in message
    assert all(part in message for part in ELSEWHERE)


def test_missing_repository(texts: Repository, tmp_path: Path) -> None:
    message = failure(entry(texts, BIG, repository="someone/else"), tmp_path / "out")
    assert "no dataset 'someone/else'" in message and "'repository' of sources.texts" in message
    assert all(part in message for part in ELSEWHERE)


def test_a_repository_that_cannot_be_one(texts: Repository, tmp_path: Path) -> None:
    message = failure(entry(texts, BIG, repository="a/b/c"), tmp_path / "out")
    assert "'repository' is 'a/b/c'" in message


def test_a_page_in_between_is_not_taken_for_the_hub(
    hub: Hub, texts: Repository, tmp_path: Path
) -> None:
    hub.fault("/api/", status=200, headers={"Content-Type": "text/html"})
    message = failure(entry(texts, BIG), tmp_path / "out")
    assert "does not answer as a Hub does" in message and "a login page in between" in message


def test_missing_files_are_named_with_what_is_near(texts: Repository, tmp_path: Path) -> None:
    settings = entry(texts, BIG, "data/smal.jsonl", "nowhere/x.jsonl")
    message = failure(settings, tmp_path / "out")
    assert f"no file data/smal.jsonl, nowhere/x.jsonl at commit {texts.commit}" in message
    assert "Near: data/small.jsonl" in message and "'files' (or 'revision')" in message


def test_a_file_that_vanishes(hub: Hub, texts: Repository, tmp_path: Path) -> None:
    hub.fault(BIG, status=404, headers={"X-Error-Code": "EntryNotFound"})
    message = failure(entry(texts, BIG), tmp_path / "out")
    assert f"has no file {BIG}" in message and "Correct 'files' of sources.texts" in message


def test_offline(hub: Hub, texts: Repository, tmp_path: Path) -> None:
    done = command(hub, tmp_path, entry(texts, BIG), HF_HUB_OFFLINE="1")
    assert done.returncode == 1 and hub.requests == []
    assert "HF_HUB_OFFLINE" in done.stderr and all(part in done.stderr for part in ELSEWHERE)


def test_no_network(hub: Hub, texts: Repository, tmp_path: Path) -> None:
    hub.server.shutdown()
    hub.server.server_close()
    message = failure(entry(texts, BIG), tmp_path / "out")
    assert "the connection failed" in message and all(part in message for part in ELSEWHERE)
    url = f"{hub.endpoint}/files/a.tar.gz"
    message = failure(archive_entry(url, b"a"), tmp_path / "out")
    assert "the connection failed" in message and all(part in message for part in ELSEWHERE)


# --- connections that are cut --------------------------------------------------------------------


@pytest.mark.parametrize("path", [BIG, LARGE])
def test_a_cut_connection_is_taken_up_where_it_ended(
    hub: Hub, texts: Repository, tmp_path: Path, path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    where = "/cdn/" if path == LARGE else path
    hub.fault(where, cut=100_000, times=1)
    fetch("texts", entry(texts, path), tmp_path / "out")
    size = len(texts.files[path].content)
    assert [r.range for r in hub.seen("GET", where)] == [None, "bytes=100000-"]
    assert hub.sent(where) == size
    assert "the connection" in capsys.readouterr().err


@pytest.mark.parametrize("known", [True, False])
def test_a_cut_archive_is_taken_up_where_it_ended(
    hub: Hub, flores: tuple[dict[str, Any], bytes], tmp_path: Path, known: bool
) -> None:
    settings, content = flores
    hub.fault("flores", cut=9_000, times=2)
    size = {"size": settings["size"]} if known else {}
    fetch("texts", {k: v for k, v in settings.items() if k != "size"} | size, tmp_path / "out")
    requests = hub.seen("GET", "flores")
    assert [r.range for r in requests] == [None, "bytes=9000-", "bytes=18000-"]
    assert len({r.if_range for r in requests[1:]}) == 1 and requests[1].if_range
    assert hub.sent() == len(content)


@pytest.mark.parametrize("path", [BIG, LARGE])
def test_after_giving_up_the_next_run_downloads_only_the_rest(
    hub: Hub, texts: Repository, tmp_path: Path, path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    where = "/cdn/" if path == LARGE else path
    hub.fault(where, cut=10_000)
    message = failure(entry(texts, "en-zh_CN.jsonl", path), tmp_path / "out")
    assert "What has arrived is kept" in message
    kept = 10_000 * retry.TRIES
    assert hub.sent(where) == kept and len(hub.seen("GET", where)) == retry.TRIES
    assert capsys.readouterr().err.count("the connection") == retry.TRIES - 1
    hub.heal()
    fetch("texts", entry(texts, "en-zh_CN.jsonl", path), tmp_path / "out")
    assert [r.range for r in hub.seen("GET", where)] == [f"bytes={kept}-"]
    assert hub.sent() == len(texts.files[path].content) - kept  # and nothing of the other file
    assert (tmp_path / "out" / path).read_bytes() == texts.files[path].content
    assert [p.name for p in tmp_path.glob(".out*")] == []


def test_a_damaged_part_is_downloaded_again(hub: Hub, texts: Repository, tmp_path: Path) -> None:
    hub.fault(BIG, cut=20_000)
    failure(entry(texts, BIG), tmp_path / "out")
    (part,) = (tmp_path / ".out.partial/parts").iterdir()
    part.write_bytes(b"?" * part.stat().st_size)
    hub.heal()
    fetch("texts", entry(texts, BIG), tmp_path / "out")
    assert (tmp_path / "out" / BIG).read_bytes() == texts.files[BIG].content


def test_a_part_longer_than_the_file_is_no_part_of_it(
    hub: Hub, texts: Repository, tmp_path: Path
) -> None:
    part = tmp_path / ".out.partial/parts" / f"{texts.files[BIG].git}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"?" * 1_000_000)
    fetch("texts", entry(texts, BIG), tmp_path / "out")
    assert [r.range for r in hub.seen("GET", BIG)] == [None]


@pytest.mark.parametrize("kind", ["hub", "hub-lfs", "archive"])
def test_a_killed_fetch_goes_on(
    hub: Hub, texts: Repository, flores: tuple[dict[str, Any], bytes], tmp_path: Path, kind: str
) -> None:
    path = {"hub": BIG, "hub-lfs": LARGE, "archive": "flores.tar.gz"}[kind]
    where = "/cdn/" if kind == "hub-lfs" else path
    settings, content = flores
    if kind != "archive":
        settings, content = entry(texts, "en-zh_CN.jsonl", path), texts.files[path].content
    half = len(content) // 2
    hub.fault(where, hold=half)
    process = subprocess.Popen(**arguments(hub, tmp_path, settings))
    try:
        assert hub.holding.wait(30)
        parts = tmp_path / "run"
        until(lambda: any(p.stat().st_size == half for p in parts.rglob("*.part")))
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert [p.name for p in (tmp_path / "run").iterdir()] == [".out.partial"]
    hub.heal()
    done = command(hub, tmp_path, settings)
    assert done.returncode == 0, done.stderr
    assert [r.range for r in hub.seen("GET", where)] == [f"bytes={half}-"]
    assert hub.sent() == len(content) - half
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["out"]


# --- bytes that are not the right ones ------------------------------------------------------------


@pytest.mark.parametrize("path", [BIG, LARGE])
def test_bytes_other_than_the_hub_states_are_not_kept(
    hub: Hub, texts: Repository, tmp_path: Path, path: str
) -> None:
    hub.fault("/cdn/" if path == LARGE else path, corrupt=True)
    message = failure(entry(texts, path), tmp_path / "out")
    file = texts.files[path]
    kind, stated = ("SHA-256", file.sha256) if file.lfs else ("git SHA-1", file.git)
    assert "checksum of what arrived is wrong" in message
    assert kind in message and f"the Hub states {stated}" in message
    assert not any(p.is_file() for p in (tmp_path / ".out.partial").rglob("*"))
    hub.heal()
    fetch("texts", entry(texts, path), tmp_path / "out")


@pytest.mark.parametrize("path", [BIG, LARGE])
def test_a_size_other_than_the_hub_states(
    hub: Hub, texts: Repository, tmp_path: Path, path: str
) -> None:
    size = len(texts.files[path].content)
    hub.fault("/cdn/" if path == LARGE else path, shorter=7)
    message = failure(entry(texts, path), tmp_path / "out")
    assert f"the server sends {size - 7:,} bytes, the Hub states {size:,}" in message
    assert hub.sent("/resolve/") + hub.sent("/cdn/") <= size - 7  # one try, no more


@pytest.mark.parametrize("path", [BIG, LARGE])
@pytest.mark.parametrize(("key", "value"), [("sha256", "0" * 64), ("size", 12)])
def test_the_entry_counts_as_much_as_the_hub(
    hub: Hub, texts: Repository, tmp_path: Path, path: str, key: str, value: Any
) -> None:
    message = failure(entry(texts, {"path": path, key: value}), tmp_path / "out")
    assert f"{TEXTS}/{path}" in message and f"'{key}' of its entry" in message
    assert str(value) in message and "Upstream replaced the file" in message
    if path == LARGE or key == "size":  # known before
        assert hub.sent() == 0


def test_an_archive_with_another_checksum_is_not_unpacked(
    hub: Hub, flores: tuple[dict[str, Any], bytes], tmp_path: Path
) -> None:
    settings, content = flores
    message = failure({**settings, "sha256": "0" * 64}, tmp_path / "out")
    assert hashlib.sha256(content).hexdigest() in message and "0" * 64 in message
    assert not any(p.is_file() and p.suffix != ".etag" for p in tmp_path.glob(".out.partial/**/*"))
    hub.fault("flores", corrupt=True)
    assert "its SHA-256 is" in failure(settings, tmp_path / "out")
    hub.heal()
    fetch("texts", settings, tmp_path / "out")


def test_an_archive_of_another_size_is_not_even_read(
    hub: Hub, flores: tuple[dict[str, Any], bytes], tmp_path: Path
) -> None:
    settings, content = flores
    message = failure({**settings, "size": 12}, tmp_path / "out")
    assert f"the server's file has {len(content):,} bytes, 'size' of its entry is 12" in message


# --- busy servers ---------------------------------------------------------------------------------


def of_kind(
    kind: str, texts: Repository, flores: tuple[dict[str, Any], bytes]
) -> tuple[str, dict[str, Any]]:
    """(path that is asked for, settings); of the API, a file of the hub, or an archive."""
    if kind == "archive":
        return "flores.tar.gz", flores[0]
    return {"api": "/api/datasets/", "file": BIG}[kind], entry(texts, BIG)


KINDS = ["api", "file", "archive"]


@pytest.mark.parametrize("kind", KINDS)
def test_too_many_requests_waits_as_long_as_asked(
    hub: Hub,
    texts: Repository,
    flores: tuple[dict[str, Any], bytes],
    tmp_path: Path,
    kind: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    where, settings = of_kind(kind, texts, flores)
    hub.fault(where, status=429, headers={"Retry-After": "1"}, times=1)
    begin = time.monotonic()
    fetch("texts", settings, tmp_path / "out")
    assert time.monotonic() - begin >= 1
    said = capsys.readouterr().err
    assert "HTTP 429 (too many requests), the server asks to wait 1 s; try 2 of 6 in 1 s" in said


@pytest.mark.parametrize("kind", KINDS)
def test_too_many_requests_is_given_up_in_the_end(
    hub: Hub,
    texts: Repository,
    flores: tuple[dict[str, Any], bytes],
    tmp_path: Path,
    kind: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    where, settings = of_kind(kind, texts, flores)
    hub.fault(where, status=429, headers={"Retry-After": "0"})
    message = failure(settings, tmp_path / "out")
    assert "HTTP 429" in message and "run it again to go on" in message
    assert len([r for r in hub.requests if r.status == 429]) == retry.TRIES
    assert capsys.readouterr().err.count("HTTP 429") == retry.TRIES - 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_server_that_asks_for_a_day_is_not_waited_for(
    hub: Hub, texts: Repository, flores: tuple[dict[str, Any], bytes], tmp_path: Path, kind: str
) -> None:
    where, settings = of_kind(kind, texts, flores)
    hub.fault(where, status=429, headers={"Retry-After": "86400"})
    assert "asks to wait 86400 s" in failure(settings, tmp_path / "out")
    assert len([r for r in hub.requests if r.status == 429]) == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("status", [500, 503, 408])
def test_passing_errors_pass(
    hub: Hub,
    texts: Repository,
    flores: tuple[dict[str, Any], bytes],
    tmp_path: Path,
    kind: str,
    status: int,
) -> None:
    where, settings = of_kind(kind, texts, flores)
    hub.fault(where, status=status, times=2)
    fetch("texts", settings, tmp_path / "out")


@pytest.mark.parametrize("status", [400, 404, 410])
def test_lasting_errors_are_not_repeated(
    hub: Hub, flores: tuple[dict[str, Any], bytes], tmp_path: Path, status: int
) -> None:
    hub.fault("flores", status=status)
    assert f"HTTP {status}" in failure(flores[0], tmp_path / "out")
    assert len(hub.requests) == 1


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "120"}, 120),
        ({"retry-after": " 7 "}, 7),
        ({"ratelimit": '"api";r=0;t=55', "retry-after": "1"}, 55),
        ({"ratelimit": '"api";r=12;t=55'}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Thu, 01 Jan 1970 00:00:00 GMT"}, 0),
        ({}, None),
    ],
)
def test_what_servers_ask_to_wait(headers: dict[str, str], seconds: float | None) -> None:
    error = OSError()
    error.response = SimpleNamespace(status_code=429, headers=headers)  # type: ignore[attr-defined]
    assert retry.retry_after(error) == seconds


def test_a_date_to_wait_for() -> None:
    error = OSError()
    headers = {"retry-after": formatdate(time.time() + 90, usegmt=True)}
    error.response = SimpleNamespace(status_code=503, headers=headers)  # type: ignore[attr-defined]
    assert 85 < (retry.retry_after(error) or 0) <= 90


# --- archives -------------------------------------------------------------------------------------


def test_the_wanted_members_of_an_archive(
    flores: tuple[dict[str, Any], bytes], tmp_path: Path
) -> None:
    settings, _ = flores
    fetch("texts", settings, tmp_path / "out")
    found = tree(tmp_path / "out")
    manifest = json.loads(found.pop("SOURCE.json"))
    upstream = tree(tmp_path / "unpacked")
    assert found == {k: v for k, v in upstream.items() if "devtest" in k}
    assert manifest["sha256"] == settings["sha256"] and manifest["url"] == settings["url"]
    assert [f["path"] for f in manifest["files"]] == sorted(found)
    assert [p.name for p in tmp_path.glob(".out*")] == []


def test_an_archive_that_changed_is_not_glued_to_the_half_of_the_old(
    hub: Hub, flores: tuple[dict[str, Any], bytes], tmp_path: Path
) -> None:
    settings, _ = flores
    hub.fault("flores", cut=1_000)
    failure(settings, tmp_path / "out")
    hub.heal()
    layouts.write_flores_tarball(tmp_path / "newer", 310)
    layouts.pack_tarball(tmp_path / "newer", tmp_path / "newer.tar.gz")
    newer = (tmp_path / "newer.tar.gz").read_bytes()
    url = hub.add_file("flores.tar.gz", newer)
    fetch("texts", archive_entry(url, newer), tmp_path / "out")
    (request,) = hub.seen("GET", "flores")
    assert request.range and request.if_range and request.status == 200
    assert request.sent == len(newer)


def test_an_archive_is_not_downloaded_again_for_other_members(
    hub: Hub, flores: tuple[dict[str, Any], bytes], tmp_path: Path
) -> None:
    settings, content = flores
    message = failure({**settings, "members": ["flores200_dataset/*.json"]}, tmp_path / "out")
    assert "no file in it matches" in message
    fetch("texts", settings, tmp_path / "out")
    assert hub.sent() == len(content)


def test_an_archive_with_a_link_leaves_nothing(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "evil").mkdir()
    (tmp_path / "evil/link.devtest").symlink_to("/etc/passwd")
    layouts.pack_tarball(tmp_path / "evil", tmp_path / "evil.tar.gz")
    content = (tmp_path / "evil.tar.gz").read_bytes()
    url = hub.add_file("evil.tar.gz", content)
    assert "is a link, not a file" in failure(archive_entry(url, content), tmp_path / "out")
    assert not any("files" in p.name for p in (tmp_path / ".out.partial").iterdir())


# --- disks and entries ----------------------------------------------------------------------------


def test_a_full_disk_is_said_and_nothing_looks_finished(
    hub: Hub, texts: Repository, tmp_path: Path
) -> None:
    def little_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    done = subprocess.run(**arguments(hub, tmp_path, entry(texts, BIG)), preexec_fn=little_room)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "File too large" in done.stderr and ".out.partial" in done.stderr
    assert not (tmp_path / "run/out").exists()
    assert command(hub, tmp_path, entry(texts, BIG)).returncode == 0


def test_a_file_or_a_link_where_the_folder_goes(texts: Repository, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path)
    for name in ("file", "link"):
        with pytest.raises(UserError, match="not a folder"):
            fetch("texts", entry(texts, BIG), tmp_path / name)
    with pytest.raises(UserError, match="Not a directory"):
        fetch("texts", entry(texts, BIG), tmp_path / "file" / "out")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "ftp"}, "'kind' is 'ftp'; allowed: archive, github, hub, model, wheels"),
        ({"kind": "archive"}, "needs 'url'"),
        ({"files": []}, "needs 'files'"),
        ({"files": ["../x"]}, "'../x' leads out of its folder"),
        ({"files": ["/etc/x"]}, "'/etc/x' is not a relative path"),
        ({"files": [{"name": "x"}]}, "{'name': 'x'} is not a file; it needs 'path'"),
        ({"files": [{"path": "x", "md5": "0"}]}, "is not a file"),
        ({"files": ["x", {"path": "x"}]}, "x listed more than once"),
        ({"kind": "archive", "url": "http://127.0.0.1/a.zip"}, "an archive needs 'sha256'"),
    ],
)
def test_entries_that_cannot_be(
    texts: Repository, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    assert message in failure(entry(texts, BIG) | change, tmp_path / "out")


# --- the command ----------------------------------------------------------------------------------


def arguments(
    hub: Hub,
    tmp_path: Path,
    settings: Mapping[str, Any] | None,
    *more: str,
    out: str = "out",
    **env: str,
) -> dict[str, Any]:
    """What subprocess needs to run `python -m routelmt fetch` in the folder `run`."""
    folder = tmp_path / "run"
    folder.mkdir(exist_ok=True)
    options = list(more)
    if settings is not None:
        options = ["--source", "texts", "--settings", json.dumps(settings), *more]
        options += [] if "--pin" in more else ["--out", out]
    hidden = {"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_OFFLINE"}
    clean = {k: v for k, v in os.environ.items() if k not in hidden}
    own = {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1"}
    return {
        "args": [sys.executable, "-m", "routelmt", "fetch", *options],
        "cwd": folder,
        "env": clean | own | env,
        "text": True,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
    }


def command(hub: Hub, tmp_path: Path, *rest: Any, **more: Any) -> subprocess.CompletedProcess[str]:
    """Run the command."""
    return subprocess.run(**arguments(hub, tmp_path, *rest, **more), timeout=60)


def until(condition: Any) -> None:
    """Wait until it is true."""
    for _ in range(1000):
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError("it never came true")


def test_the_real_client_downloads_from_the_loopback_hub(
    hub: Hub, texts: Repository, tmp_path: Path
) -> None:
    """What is tested here is the hub: the client's own functions take it for one."""
    from huggingface_hub import HfApi, hf_hub_download, snapshot_download

    options: dict[str, Any] = {"repo_type": "dataset", "local_dir": tmp_path / "own"}
    for path in (BIG, LARGE):
        found = hf_hub_download(TEXTS, path, revision=texts.commit, **options)
        assert Path(found).read_bytes() == texts.files[path].content
    snapshot_download(TEXTS, revision=texts.commit, allow_patterns="*.jsonl", **options)
    assert (tmp_path / "own/data/small.jsonl").exists()
    api = HfApi()
    assert api.dataset_info(TEXTS).sha == texts.commit
    assert [c.commit_id for c in api.list_repo_commits(TEXTS, repo_type="dataset")] == [
        texts.commit
    ]
    assert set(api.list_repo_files(TEXTS, repo_type="dataset")) == set(texts.files)


def test_pin_prints_an_entry_that_fetches(hub: Hub, texts: Repository, tmp_path: Path) -> None:
    settings = entry(texts, BIG, LARGE, revision="main", about="Texts — тексты", gated=False)
    done = command(hub, tmp_path, settings, "--pin")
    assert done.returncode == 0, done.stderr
    (entry_now,) = [yaml.safe_load(done.stdout)["texts"]]
    assert entry_now == settings | {
        "revision": texts.commit,
        "files": [
            {"path": p, "size": len(f.content), "sha256": f.sha256}
            for p, f in ((p, texts.files[p]) for p in (BIG, LARGE))
        ],
    }
    assert hub.sent(LARGE) == hub.sent("/cdn/") == 0  # the Hub states its SHA-256
    assert list((tmp_path / "run").iterdir()) == []
    fetch("texts", entry_now, tmp_path / "out")


def test_pin_of_an_archive(hub: Hub, flores: tuple[dict[str, Any], bytes]) -> None:
    settings, _ = flores
    text = pinned("flores", {**settings, "sha256": "0" * 64, "size": 1})
    assert yaml.safe_load(text)["flores"] == settings


def experiment(hub: Hub, tmp_path: Path) -> Path:
    """The paper's config, its sources on the loopback hub; BOUQuET is gated."""
    paper = Path(__file__).parents[3] / "config.yaml"
    config = yaml.safe_load(paper.read_text(encoding="utf-8"))
    writers = {
        "commt": ("NiuTrans/ComMT", layouts.write_commt),
        "wmt24pp": ("google/wmt24pp", layouts.write_wmt24pp),
        "bouquet": ("facebook/bouquet", layouts.write_bouquet),
    }
    sources: dict[str, Any] = {}
    for name, (repository, write) in writers.items():
        write(tmp_path / name, 10)
        served = hub.add(repository, tmp_path / name, gated=name == "bouquet")
        data = [path for path in served.files if path != "README.md"]
        sources[name] = {"revision": served.commit[:7], "files": data}
    layouts.write_flores_tarball(tmp_path / "flores", 10)
    layouts.pack_tarball(tmp_path / "flores", tmp_path / "flores.tar.gz")
    content = (tmp_path / "flores.tar.gz").read_bytes()
    settings = archive_entry(hub.add_file("flores200_dataset.tar.gz", content), content)
    sources["flores"] = {k: settings[k] for k in ("url", "size", "sha256")}
    path = tmp_path / "experiment.yaml"
    path.write_text(yaml.safe_dump(config | {"sources": sources}), encoding="utf-8")
    return path


def test_all_sources_of_a_config(hub: Hub, tmp_path: Path) -> None:
    options = [None, "--all", "--config", str(experiment(hub, tmp_path))]
    done = command(hub, tmp_path, *options)
    raw = tmp_path / "run/data/raw"
    assert done.returncode == 1
    assert "bouquet: failed: source 'bouquet': the Hub gives facebook/bouquet" in done.stderr
    assert "1 of 4 sources could not be fetched: bouquet." in done.stderr
    assert sorted(done.stdout.splitlines()) == [
        f"{name}: fetched, data/raw/{name}" for name in ("commt", "flores", "wmt24pp")
    ]
    assert (raw / "flores/flores200_dataset/devtest/eng_Latn.devtest").exists()
    hub.requests.clear()
    token = hub.repositories["facebook/bouquet"].token
    done = command(hub, tmp_path, *options, HF_TOKEN=token)
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == [
        "bouquet: fetched, data/raw/bouquet",
        *(f"{name}: there already, data/raw/{name}" for name in ("commt", "flores", "wmt24pp")),
    ]
    assert not any("bouquet" not in r.path for r in hub.seen("GET", "/resolve/"))
    assert [p.name for p in raw.glob(".*")] == []


@pytest.mark.parametrize(
    ("source", "change", "said"),
    [
        ("wmt24pp", {"files": ["en-ru_RU.jsonl"]}, "the entry has other 'files'"),
        ("wmt24pp", {"revision": "0" * 40}, "the entry of 0000000"),
        ("flores", {"sha256": "0" * 64}, "the entry has another 'sha256'"),
    ],
)
def test_a_source_whose_entry_changed_is_told_apart(
    hub: Hub, tmp_path: Path, source: str, change: dict[str, Any], said: str
) -> None:
    settings = sources_of(experiment(hub, tmp_path))[source]
    fetch(source, settings, tmp_path / "out")
    assert difference(source, settings, tmp_path / "out") == ""
    assert said in (difference(source, settings | change, tmp_path / "out") or "")


def sources_of(config: Path) -> dict[str, Any]:
    """Settings of every source as the workflow hands them over."""
    handed: dict[str, str] = stage_settings(load(config))["sources"]
    return {name: json.loads(settings) for name, settings in handed.items()}


def test_a_changed_pin_is_fetched_again_in_one_go(hub: Hub, tmp_path: Path) -> None:
    path = experiment(hub, tmp_path)
    token = hub.repositories["facebook/bouquet"].token
    options: list[Any] = [None, "--all", "--config", str(path)]
    assert command(hub, tmp_path, *options, HF_TOKEN=token).returncode == 0
    raw = tmp_path / "run/data/raw"
    older = tree(raw / "wmt24pp")
    layouts.write_wmt24pp(tmp_path / "wmt24pp", 20)
    served = hub.add("google/wmt24pp", tmp_path / "wmt24pp")
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    config["sources"]["wmt24pp"]["revision"] = served.commit
    path.write_text(yaml.safe_dump(config), encoding="utf-8")

    hub.fault("wmt24pp", status=404)  # as long as the new one cannot be had, the older one stays
    failed = command(hub, tmp_path, *options, HF_TOKEN=token)
    assert failed.returncode == 1 and "wmt24pp: failed" in failed.stderr
    assert tree(raw / "wmt24pp") == older
    hub.heal()
    done = command(hub, tmp_path, *options, HF_TOKEN=token)
    assert done.returncode == 0, done.stderr
    was = json.loads(older["SOURCE.json"])["commit"][:12]
    assert (
        f"wmt24pp: fetched again (it is of commit {was}, the entry of {served.commit}), "
        "data/raw/wmt24pp"
    ) in done.stdout
    assert done.stdout.count("there already") == 3
    assert json.loads((raw / "wmt24pp/SOURCE.json").read_text())["commit"] == served.commit
    assert [p.name for p in raw.glob(".*")] == []


def test_a_file_that_was_cut_since_is_noticed(texts: Repository, tmp_path: Path) -> None:
    settings = entry(texts, BIG, LARGE)
    fetch("texts", settings, tmp_path / "out")
    (tmp_path / "out" / BIG).write_text("cut")
    assert (
        difference("texts", settings, tmp_path / "out") == f"{BIG} is missing or has another size"
    )
    (tmp_path / "out/SOURCE.json").write_text("{")
    assert "damaged" in (difference("texts", settings, tmp_path / "out") or "")


def test_a_folder_that_somebody_put_there_is_not_touched(hub: Hub, tmp_path: Path) -> None:
    path = experiment(hub, tmp_path)
    theirs = tmp_path / "run/data/raw/flores"
    theirs.mkdir(parents=True)
    (theirs / "own.txt").write_text("mine")
    token = hub.repositories["facebook/bouquet"].token
    done = command(hub, tmp_path, None, "--all", "--config", str(path), HF_TOKEN=token)
    assert "flores: there already, data/raw/flores (not by fetch, so not compared)" in done.stdout
    assert tree(theirs) == {"own.txt": b"mine"}


@pytest.fixture
def github(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """An entry of kind github with a file in git and one in LFS, which leaves a pointer."""
    from routelmt.data.downloads import github

    monkeypatch.setattr(github, "HOSTS", (f"{hub.endpoint}/files", f"{hub.endpoint}/files/lfs"))
    commit, large = "c" * 40, b"large"
    hub.add_file(f"some/one/{commit}/data/small.jsonl", b"{}\n")
    hub.add_file(f"some/one/{commit}/large", b"version https://git-lfs.github.com/spec/v1\noid 1\n")
    hub.add_file(f"lfs/some/one/{commit}/large", large)
    digest = hashlib.sha256(large).hexdigest()
    files = ["data/small.jsonl", {"path": "large", "lfs": True, "size": 5, "sha256": digest}]
    return {"kind": "github", "repository": "some/one", "revision": commit, "files": files}


def test_a_commit_of_github_comes_whole_and_once(
    github: dict[str, Any], hub: Hub, tmp_path: Path
) -> None:
    fetch("texts", github, tmp_path / "out")
    assert (tmp_path / "out/data/small.jsonl").read_text() == "{}\n"
    assert (tmp_path / "out/large").read_bytes() == b"large"
    assert difference("texts", github, tmp_path / "out") == ""
    other = github | {"revision": "d" * 40}
    assert "commit cccccccccccc" in str(difference("texts", other, tmp_path / "out"))
    pins = yaml.safe_load(pinned("texts", github))["texts"]["files"]
    assert pins[1] == github["files"][1]
    assert pins[0]["size"] == 3


def test_what_is_wrong_with_a_commit_of_github_is_said(
    github: dict[str, Any], hub: Hub, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert "must be a whole commit" in failure(github | {"revision": "main"}, out)
    assert "say 'lfs: true'" in failure(github | {"files": ["large"]}, out)
    wrong = {"path": "data/small.jsonl", "sha256": "0" * 64}
    assert "'sha256' of its entry" in failure(github | {"files": [wrong]}, out)
    assert "gone.jsonl could not be downloaded" in failure(github | {"files": ["gone.jsonl"]}, out)


def test_wheels_come_through_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "tiny_catalog-1.0-py3-none-any.whl"
    (tmp_path / "links").mkdir()
    with zipfile.ZipFile(tmp_path / "links" / name, "w") as wheel:
        wheel.writestr("tiny_catalog/zh.txt", "你好")
        metadata = "Metadata-Version: 2.1\nName: tiny-catalog\nVersion: 1.0\n"
        wheel.writestr("tiny_catalog-1.0.dist-info/METADATA", metadata)
        wheel.writestr(
            "tiny_catalog-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n"
        )
        wheel.writestr("tiny_catalog-1.0.dist-info/RECORD", "")
    content = (tmp_path / "links" / name).read_bytes()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "links"))
    sha256 = hashlib.sha256(content).hexdigest()
    file = {"package": "tiny-catalog", "version": "1.0", "file": name, "size": len(content)}
    with pytest.raises(UserError, match="pip could not download 1 pinned wheels"):
        fetch("g", {"kind": "wheels", "files": [{**file, "sha256": "0" * 64}]}, tmp_path / "out")
    fetch("g", {"kind": "wheels", "files": [{**file, "sha256": sha256}]}, tmp_path / "out")
    assert tree(tmp_path / "out") == {name: content}
    pinned_now = {"kind": "wheels", "files": [{**file, "sha256": sha256}]}
    assert difference("g", pinned_now, tmp_path / "out") == ""
    newer = {
        "kind": "wheels",
        "files": [{**file, "file": name.replace("1.0", "1.1"), "sha256": "0"}],
    }
    assert "tiny_catalog-1.1" in (difference("g", newer, tmp_path / "out") or "")
    (tmp_path / "out" / f"older-{name}").write_bytes(b"")
    assert "is not of the entry" in (difference("g", pinned_now, tmp_path / "out") or "")
    assert [p.name for p in tmp_path.glob(".out*")] == []
