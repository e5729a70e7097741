"""Files of a dataset repository of the Hugging Face Hub, at one commit.

The Hub's own client resolves revisions, states sizes and checksums, finds the token and names what
goes wrong. The bytes come through its session too, but are kept by routelmt.data.downloads.resume:
the client itself throws away what a cut or killed download of a file had got.
"""

from __future__ import annotations

import difflib
import re
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from routelmt.data.archives import inside
from routelmt.data.downloads.advice import Asked, elsewhere, explain_hub
from routelmt.data.downloads.manifest import write_manifest
from routelmt.data.downloads.resume import (
    TIMEOUT,
    Measured,
    Stream,
    WrongSize,
    check_entry,
    continue_file,
    measure,
)
from routelmt.data.downloads.retry import Interrupted, patiently
from routelmt.errors import UserError

Entry = dict[str, Any]
Answer = TypeVar("Answer")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHORT = re.compile(r"[0-9a-f]{4,39}")


KEYS = frozenset(("path", "size", "sha256"))


def file_entries(
    source: str, settings: Mapping[str, Any], keys: Collection[str] = KEYS
) -> list[Entry]:
    """`files` of a source as {path, size?, sha256?}; UserError for what cannot be a file in it."""
    entries: list[Entry] = [
        {"path": file} if isinstance(file, str) else dict(file) for file in settings["files"]
    ]
    for entry in entries:
        unknown = set(entry) - set(keys)
        if "path" not in entry or unknown:
            raise UserError(
                f"source '{source}', 'files': {entry} is not a file; it needs 'path' and may have "
                "'size' and 'sha256'."
            )
        try:
            entry["path"] = str(inside(entry["path"]))
        except ValueError as error:
            raise UserError(f"source '{source}', 'files': {error}.") from None
    paths = [entry["path"] for entry in entries]
    twice = sorted({path for path in paths if paths.count(path) > 1})
    if twice:
        raise UserError(f"source '{source}', 'files': {', '.join(twice)} listed more than once.")
    return entries


def download(source: str, settings: Mapping[str, Any], partial: Path) -> Path:
    """Every file of the source in a folder below `partial`, which is returned, with a manifest.

    Each is checked against the Hub's statement for the commit and against its entry. Files and
    parts of files that are there already are not downloaded again.
    """
    entries = file_entries(source, settings)
    remote = Remote(source, settings)
    commit = remote.resolve(pinned=True)
    stated = remote.stated(commit, [e["path"] for e in entries])
    for entry in entries:  # before anything is downloaded
        stated[entry["path"]].check(remote.name(entry["path"]), entry)
    folder = partial / "files"
    _sweep(folder, stated)
    found = remote.fetch(commit, list(stated.values()), folder, partial / "parts")
    files = []
    for entry in entries:
        path, size, sha256 = entry["path"], *found[entry["path"]][:2]
        try:
            check_entry(remote.name(path), found[path], entry)
        except UserError:
            (folder / path).unlink()
            raise
        files.append({"path": path, "size": size, "sha256": sha256})
    write_manifest(
        folder,
        {
            "kind": "hub",
            "repository": settings["repository"],
            "commit": commit,
            "files": files,
        },
    )
    return folder


def pin(source: str, settings: Mapping[str, Any]) -> Entry:
    """The entry with the full commit, and the size and SHA-256 of every file, as of now.

    Files that the Hub keeps in git, whose SHA-256 it does not state, are downloaded to a temporary
    folder for it.
    """
    entries = file_entries(source, settings)
    remote = Remote(source, settings)
    commit = remote.resolve(pinned=False)
    stated = remote.stated(commit, [e["path"] for e in entries])
    unknown = [file for file in stated.values() if file.sha256 is None]
    hashes = {file.path: file.sha256 for file in stated.values()}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if unknown:
            found = remote.fetch(commit, unknown, folder / "files", folder / "parts")
            hashes |= {path: measured.sha256 for path, measured in found.items()}
    files = [{"path": p, "size": f.size, "sha256": hashes[p]} for p, f in stated.items()]
    return {**settings, "revision": commit, "files": files}


class Stated:
    """What the Hub states of a file: its bytes, and its SHA-256 (LFS) or git's SHA-1 of it."""

    def __init__(self, file: Any) -> None:
        self.path: str = file.path
        self.size: int = file.lfs.size if file.lfs else file.size
        self.sha256: str | None = file.lfs.sha256 if file.lfs else None
        self.git: str | None = None if file.lfs else file.blob_id

    def holds(self, found: Measured) -> bool:
        """Whether a file on disk is the stated one."""
        known = self.sha256 or self.git
        return found.size == self.size and known == (found.sha256 if self.sha256 else found.git)

    def check(self, where: str, entry: Mapping[str, Any]) -> None:
        """Raise UserError if the Hub states another size or SHA-256 than the entry."""
        known = {k: v for k, v in entry.items() if k == "size" or self.sha256 is not None}
        check_entry(where, Measured(self.size, self.sha256 or "", ""), known)


class Remote:
    """A dataset repository of the Hub; what goes wrong with it is a UserError."""

    def __init__(self, source: str, settings: Mapping[str, Any]) -> None:
        from huggingface_hub import HfApi, is_offline_mode

        self.source = source
        self.repository: str = settings["repository"]
        self.revision: str = str(settings["revision"])
        self.gated = bool(settings.get("gated"))
        self.api = HfApi()
        if is_offline_mode():
            raise UserError(
                f"source '{source}': the Hub's client is offline here (HF_HUB_OFFLINE or "
                f"TRANSFORMERS_OFFLINE is set), so {self.repository} cannot be downloaded. "
                f"{elsewhere(source)}"
            )

    def name(self, path: str) -> str:
        """A file as messages name it."""
        return f"source '{self.source}', {self.repository}/{path}"

    def resolve(self, pinned: bool) -> str:
        """Full commit of the revision. `pinned`: UserError unless the revision names a commit."""
        revision = self.revision
        if pinned and not (_COMMIT.fullmatch(revision) or _SHORT.fullmatch(revision)):
            raise UserError(
                f"source '{self.source}': 'revision' is '{revision}', which can move; it must be a "
                f"commit. `python -m routelmt fetch --pin --source {self.source}` prints the entry "
                "with the commit it stands for now."
            )
        info = self._ask(
            lambda: self.api.dataset_info(self.repository, revision=revision, timeout=TIMEOUT)
        )
        commit = str(info.sha)
        if not _COMMIT.fullmatch(commit) or (pinned and not commit.startswith(revision)):
            raise UserError(
                f"source '{self.source}': the Hub answers revision '{revision}' of "
                f"{self.repository} with commit '{commit}', which is another one. Correct "
                f"'revision' of sources.{self.source}."
            )
        return commit

    def stated(self, commit: str, paths: Sequence[str]) -> dict[str, Stated]:
        """The Hub's statement on each file; UserError naming those that the commit lacks."""
        from huggingface_hub.hf_api import RepoFile

        answer = self._ask(
            lambda: self.api.get_paths_info(
                self.repository, list(paths), revision=commit, repo_type="dataset"
            )
        )
        found = {f.path: Stated(f) for f in answer if isinstance(f, RepoFile)}
        missing = [path for path in paths if path not in found]
        if missing:
            raise UserError(
                f"source '{self.source}': {self.repository} has no file {', '.join(missing)} at "
                f"commit {commit}.{self._near(missing[0], commit)} Correct 'files' (or 'revision') "
                f"of sources.{self.source}."
            )
        return {path: found[path] for path in paths}

    def fetch(
        self, commit: str, files: Sequence[Stated], folder: Path, parts: Path
    ) -> dict[str, Measured]:
        """Files in `folder`, checked; what is missing is downloaded, unfinished ones in `parts`."""
        from routelmt.progress import progress

        done, found = 0, {}
        what = f"fetching {self.source} ({len(files)} files)"
        with progress((), what, "B", total=sum(file.size for file in files)) as bar:
            bar.unit_scale = True
            for file in files:

                def report(there: int, before: int = done) -> None:
                    bar.update(before + there - bar.n)

                goal = folder / file.path
                there = measure(goal) if goal.is_file() else None
                if there is None or not file.holds(there):
                    there = self._fetch_one(commit, file, goal, parts, report)
                found[file.path] = there
                done += file.size
                bar.update(done - bar.n)
        shutil.rmtree(parts, ignore_errors=True)
        return found

    def _fetch_one(
        self, commit: str, file: Stated, goal: Path, parts: Path, report: Callable[[int], object]
    ) -> Measured:
        part = parts / f"{file.sha256 or file.git}.part"
        resumed = part.exists()
        try:
            self._ask(
                lambda: continue_file(
                    part, file.size, lambda headers: self._open(commit, file.path, headers), report
                ),
                file.path,
            )
        except WrongSize as error:
            raise UserError(
                f"{self.name(file.path)}: the server sends {error}, the Hub states {file.size:,} "
                f"bytes for commit {commit}. A proxy or mirror (HF_ENDPOINT) in between may be at "
                f"fault; run it again. {elsewhere(self.source)}"
            ) from None
        found = measure(part)
        if file.holds(found):
            goal.parent.mkdir(parents=True, exist_ok=True)
            part.replace(goal)
            return found
        part.unlink()
        if resumed:  # the older part may have been damaged on disk
            return self._fetch_one(commit, file, goal, parts, report)
        kind = "SHA-256" if file.sha256 else "git SHA-1"
        raise UserError(
            f"{self.name(file.path)}: the checksum of what arrived is wrong: {kind} "
            f"{found.sha256 if file.sha256 else found.git}, the Hub states "
            f"{file.sha256 or file.git} for commit {commit}. It was damaged on the way and is not "
            f"kept; run it again. {elsewhere(self.source)}"
        )

    @contextmanager
    def _open(self, commit: str, path: str, headers: Mapping[str, str]) -> Iterator[Stream]:
        from huggingface_hub import get_session, hf_hub_url, hf_raise_for_status
        from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

        url = hf_hub_url(self.repository, path, repo_type="dataset", revision=commit)
        all_headers = {**build_hf_headers(), **headers}
        with get_session().stream("GET", url, headers=all_headers, timeout=TIMEOUT) as response:
            hf_raise_for_status(response)
            yield Stream(response.status_code, response.headers, response.iter_raw())

    def _ask(self, call: Callable[[], Answer], what: str = "") -> Answer:
        """An answer of the Hub, patiently; what is wrong for good is a UserError."""
        import httpx2
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError

        asked = Asked(self.source, self.repository, self.revision, self.gated, what)

        def once() -> Answer:
            try:
                return call()
            except httpx2.TransportError as error:
                name = type(error).__name__
                raise Interrupted(f"the connection failed ({name}: {error})") from None

        try:
            return patiently(f"{self.source}: {what or self.repository}", once)
        except (HfHubHTTPError, Interrupted) as error:
            raise UserError(explain_hub(error, asked, self.api.endpoint)) from None
        except HFValidationError as error:
            raise UserError(
                f"source '{self.source}': 'repository' is '{self.repository}': {error}"
            ) from None
        except (ValueError, KeyError, httpx2.HTTPError) as error:
            raise UserError(
                f"source '{self.source}': {self.api.endpoint} does not answer as a Hub does "
                f"({type(error).__name__}); is a proxy or a login page in between, or HF_ENDPOINT "
                f"set? {elsewhere(self.source)}"
            ) from None

    def _near(self, path: str, commit: str) -> str:
        """Files of the commit that are named like `path`, as a sentence, for a message."""
        parent = path.rpartition("/")[0]
        try:
            tree = self._ask(
                lambda: list(
                    self.api.list_repo_tree(
                        self.repository, parent or None, revision=commit, repo_type="dataset"
                    )
                )
            )
        except UserError:  # there is no such folder
            return ""
        near = difflib.get_close_matches(path, [item.path for item in tree], 3, 0.5)
        return f" Near: {', '.join(near)}." if near else ""


def _sweep(folder: Path, wanted: Mapping[str, object]) -> None:
    """Remove what an earlier run, with another entry, left in the folder."""
    for path in sorted(folder.rglob("*"), reverse=True):  # files before their folders
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):
                path.rmdir()
        elif path.relative_to(folder).as_posix() not in wanted:
            path.unlink()
