"""A dataset hub on the loopback interface, for the real huggingface_hub client.

It serves folders as repositories through the Hub's HTTP API, plain files below /files, and goes
wrong on demand. Every request is recorded.

    with Hub() as hub:
        repository = hub.add("someone/texts", folder)
        hub.fault("train.json", cut=1000)
        ...  # HF_ENDPOINT=hub.endpoint
        assert hub.sent("train.json") < 2000
"""

from __future__ import annotations

import hashlib
import json
import sys
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

BLOCK = 1 << 14


@dataclass
class File:
    """A file of a repository; one in LFS is known by its SHA-256, others by git's SHA-1."""

    content: bytes
    lfs: bool

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @property
    def git(self) -> str:
        header = b"blob %d\0" % len(self.content)
        return hashlib.sha1(header + self.content).hexdigest()

    def statement(self, path: str) -> dict[str, Any]:
        """As the tree and paths-info answers have it."""
        stated = {"type": "file", "oid": self.git, "size": len(self.content), "path": path}
        if self.lfs:
            stated["lfs"] = {"oid": self.sha256, "size": len(self.content), "pointerSize": 134}
        return stated


@dataclass
class Repository:
    """A dataset repository with one commit, the head of `main`."""

    name: str
    files: dict[str, File]
    commit: str
    gated: bool = False
    token: str = "hf_accepted"  # of the one account that accepted the licence

    def resolves(self, revision: str) -> bool:
        return revision == "main" or (len(revision) >= 4 and self.commit.startswith(revision))


@dataclass
class Fault:
    """What goes wrong with requests whose path contains `where`, `times` times (None: always)."""

    where: str
    method: str | None = None
    times: int | None = None
    status: int | None = None  # an error answer instead
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: int | None = None  # the connection ends after so many bytes of the body
    hold: int | None = None  # no more is sent after so many bytes, until `release`
    corrupt: bool = False  # other bytes, as many
    shorter: int = 0  # so many bytes are missing, and Content-Length agrees

    def takes(self, method: str, path: str) -> bool:
        return self.times != 0 and self.where in path and self.method in (None, method)


@dataclass
class Request:
    """A request as it came, and how it was answered."""

    method: str
    path: str
    range: str | None
    if_range: str | None
    authorization: str | None
    status: int = 0
    sent: int = 0


class Hub:
    """The server; a context manager. `endpoint` is its address."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.plain: dict[str, bytes] = {}
        self.faults: list[Fault] = []
        self.requests: list[Request] = []
        self.holding = threading.Event()
        self.released = threading.Event()
        self.lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"hub": self})
        self.server = _Server(("127.0.0.1", 0), handler)
        self.port = self.server.server_address[1]
        self.endpoint = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Hub:
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        self.server.shutdown()
        self.server.server_close()

    def add(
        self, name: str, folder: Path, *, gated: bool = False, lfs: Iterable[str] = ("*.parquet",)
    ) -> Repository:
        """Serve a folder as the dataset `name`; files matching `lfs` are large ones."""
        patterns = list(lfs)
        files = {}
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            key = path.relative_to(folder).as_posix()
            files[key] = File(path.read_bytes(), any(fnmatchcase(key, p) for p in patterns))
        tree = "".join(f"{path}\0{file.git}\n" for path, file in files.items())
        commit = hashlib.sha1(f"{name}\n{tree}".encode()).hexdigest()
        self.repositories[name] = Repository(name, files, commit, gated)
        return self.repositories[name]

    def add_file(self, name: str, content: bytes) -> str:
        """Serve bytes at an address outside the API, which is returned."""
        self.plain[name] = content
        return f"{self.endpoint}/files/{name}"

    def fault(self, where: str, **options: Any) -> Fault:
        """Let requests whose path contains `where` go wrong; see Fault."""
        fault = Fault(where, **options)
        self.faults.append(fault)
        return fault

    def heal(self) -> None:
        """End all faults and forget the requests so far."""
        self.faults.clear()
        self.requests.clear()
        self.released.set()
        self.released = threading.Event()
        self.holding.clear()

    def sent(self, where: str = "") -> int:
        """Bytes of files sent for requests whose path contains `where`."""
        return sum(r.sent for r in self.seen("GET", where))

    def seen(self, method: str = "GET", where: str = "") -> list[Request]:
        """Requests with a method and a path that contains `where`, in their order."""
        return [r for r in self.requests if r.method == method and where in r.path]


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that are killed are part of the tests; anything else is shown."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Nothing: tests look at hub.requests."""

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        self.form = parse_qs(self.rfile.read(length).decode())
        self._answer()

    def _answer(self) -> None:
        url = urlsplit(self.path)
        path = unquote(url.path)
        self.query = parse_qs(url.query)
        self.record = Request(
            self.command,
            path,
            self.headers.get("Range"),
            self.headers.get("If-Range"),
            self.headers.get("Authorization"),
        )
        with self.hub.lock:
            self.hub.requests.append(self.record)
            fault = next((f for f in self.hub.faults if f.takes(self.command, path)), None)
            if fault and fault.times:
                fault.times -= 1
        if fault and fault.status:
            self._error(fault.status, fault.headers)
            return
        try:
            self._route(path, fault or Fault(""))
        except (BrokenPipeError, ConnectionResetError):  # the client was killed
            self.close_connection = True

    def _route(self, path: str, fault: Fault) -> None:
        kind, *rest = path.strip("/").split("/")
        if kind == "files" and "/".join(rest) in self.hub.plain:
            content = self.hub.plain["/".join(rest)]
            etag = f'"{hashlib.md5(content).hexdigest()}"'
            self._content(content, {"ETag": etag}, fault)
        elif kind == "cdn" and len(rest) == 1:
            self._cdn(rest[0], fault)
        elif kind == "api" and rest[:1] == ["datasets"] and len(rest) >= 3:
            self._api("/".join(rest[1:3]), rest[3:])
        elif kind == "datasets" and len(rest) >= 5 and rest[2] == "resolve":
            self._resolve("/".join(rest[:2]), rest[3], "/".join(rest[4:]), fault)
        else:
            self._error(404, {"X-Error-Message": "Not found"})

    # --- the API ---------------------------------------------------------------------------------

    def _repository(self, name: str, revision: str) -> Repository | None:
        """The repository; None after an error was answered."""
        repository = self.hub.repositories.get(name)
        if repository is None:
            # What the real Hub answers to strangers, so as not to tell what is private.
            self._error(
                401, {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"}
            )
        elif not repository.resolves(revision):
            message = f"Invalid rev id: {revision}"
            self._error(404, {"X-Error-Code": "RevisionNotFound", "X-Error-Message": message})
            return None
        return repository

    def _api(self, name: str, rest: list[str]) -> None:
        action, revision = rest[:2] if len(rest) > 1 else ("revision", "main")
        repository = self._repository(name, revision)
        if repository is None:
            return
        if action == "revision":
            self._json(_info(repository))
        elif action == "paths-info":
            wanted = self.form.get("paths", [])
            files = repository.files
            self._json([files[path].statement(path) for path in wanted if path in files])
        elif action == "tree":
            self._tree(repository, "/".join(rest[2:]))
        elif action == "commits":
            commit = {"id": repository.commit, "title": "Upload", "message": "", "authors": []}
            self._json([commit | {"date": "2025-01-01T00:00:00.000Z"}])
        else:
            self._error(404, {})

    def _tree(self, repository: Repository, folder: str) -> None:
        start = f"{folder}/" if folder else ""
        found: dict[str, dict[str, Any]] = {}
        for path, file in repository.files.items():
            if not path.startswith(start):
                continue
            inner = path.removeprefix(start).partition("/")
            if not inner[1] or self.query.get("recursive", [""])[0].lower() in ("true", "1"):
                found[path] = file.statement(path)
            else:
                child = start + inner[0]
                oid = hashlib.sha1(child.encode()).hexdigest()
                found[child] = {"type": "directory", "oid": oid, "size": 0, "path": child}
        if found:
            self._json(list(found.values()))
        else:
            self._error(404, {"X-Error-Code": "EntryNotFound"})

    # --- files -----------------------------------------------------------------------------------

    def _resolve(self, name: str, revision: str, path: str, fault: Fault) -> None:
        repository = self._repository(name, revision)
        if repository is None:
            return
        if repository.gated and self.record.authorization != f"Bearer {repository.token}":
            status = 403 if self.record.authorization else 401
            message = (
                f"Access to dataset {name} is restricted. You must have access to it and be "
                "authenticated to access it."
            )
            self._error(status, {"X-Error-Code": "GatedRepo", "X-Error-Message": message})
            return
        headers = {"X-Repo-Commit": repository.commit, "Accept-Ranges": "bytes"}
        file = repository.files.get(path)
        if file is None:
            self._error(404, headers | {"X-Error-Code": "EntryNotFound"})
        elif file.lfs:
            # On another host, as upstream: the token must not follow the redirection.
            self._send_headers(
                302,
                headers
                | {
                    "Location": f"http://localhost:{self.hub.port}/cdn/{file.sha256}",
                    "X-Linked-Size": str(len(file.content)),
                    "X-Linked-Etag": f'"{file.sha256}"',
                    "Content-Length": "0",
                },
            )
        else:
            self._content(file.content, headers | {"ETag": f'"{file.git}"'}, fault)

    def _cdn(self, sha256: str, fault: Fault) -> None:
        files = [f for r in self.hub.repositories.values() for f in r.files.values()]
        file = next((f for f in files if f.sha256 == sha256), None)
        if file is None:
            self._error(404, {})
        else:
            self._content(file.content, {"ETag": f'"{sha256[:32]}"'}, fault)

    def _content(self, content: bytes, headers: Mapping[str, str], fault: Fault) -> None:
        if fault.corrupt:
            content = bytes(byte ^ 1 for byte in content)
        if fault.shorter:
            content = content[: -fault.shorter]
        total, start, status = len(content), 0, 200
        extra: dict[str, str] = {"Accept-Ranges": "bytes"}
        wanted = self.record.range
        if wanted and self.record.if_range in (None, headers.get("ETag")):
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            start, status = int(first), 206
            if start >= total:
                self._error(416, {"Content-Range": f"bytes */{total}"})
                return
            content = content[start : int(last) + 1 if last else None]
            extra["Content-Range"] = f"bytes {start}-{start + len(content) - 1}/{total}"
        extra["Content-Length"] = str(len(content))
        self._send_headers(status, {**headers, **extra})
        if self.command != "HEAD":
            self._body(content, fault)

    def _body(self, content: bytes, fault: Fault) -> None:
        for limit, holds in ((fault.cut, False), (fault.hold, True)):
            if limit is not None:
                self._write(content[:limit])
                if holds:
                    released = self.hub.released
                    self.hub.holding.set()
                    released.wait(60)
                self.close_connection = True
                return
        self._write(content)

    def _write(self, content: bytes) -> None:
        for begin in range(0, len(content), BLOCK):
            block = content[begin : begin + BLOCK]
            self.wfile.write(block)
            self.record.sent += len(block)
        self.wfile.flush()

    # --- answers ---------------------------------------------------------------------------------

    def _send_headers(self, status: int, headers: Mapping[str, str]) -> None:
        self.record.status = status
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()

    def _json(self, value: Any) -> None:
        body = json.dumps(value).encode()
        headers = {"Content-Type": "application/json", "Content-Length": str(len(body))}
        self._send_headers(200, headers)
        self.wfile.write(body)

    def _error(self, status: int, headers: Mapping[str, str]) -> None:
        message = headers.get("X-Error-Message", "")
        body = json.dumps({"error": message}).encode() if message else b""
        self._send_headers(status, {**headers, "Content-Length": str(len(body))})
        if self.command != "HEAD":
            self.wfile.write(body)


def _info(repository: Repository) -> dict[str, Any]:
    return {
        "_id": "0" * 24,
        "id": repository.name,
        "sha": repository.commit,
        "gated": "auto" if repository.gated else False,
        "private": False,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": [],
        "lastModified": "2025-01-01T00:00:00.000Z",
        "siblings": [{"rfilename": path} for path in repository.files],
    }


def address(endpoint: str, repository: Repository, path: str) -> str:
    """Where a file of a repository is served."""
    return f"{endpoint}/datasets/{repository.name}/resolve/{repository.commit}/{quote(path)}"
