"""An archive from an address, checked against its SHA-256 before it is unpacked."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from routelmt.data.archives import extract, inside
from routelmt.data.downloads.advice import elsewhere, failed
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

_CHUNK = 1 << 16


def download(source: str, settings: Mapping[str, Any], folder: Path) -> Path:
    """The wanted members of the archive in a folder below `folder`, which is returned.

    What an interrupted run had downloaded is not downloaded again.
    """
    if "sha256" not in settings:
        raise UserError(
            f"source '{source}': an archive needs 'sha256'. `python -m routelmt fetch --pin "
            f"--source {source}` prints the entry with it."
        )
    archive = folder / _file_name(source, settings)
    if not (archive.is_file() and measure(archive).sha256 == settings["sha256"]):
        fetch_file(source, settings, archive)
    unpacked = folder / "files"
    shutil.rmtree(unpacked, ignore_errors=True)
    members = settings.get("members") or ["*"]
    paths = extract(archive, unpacked, members)
    files = []
    for path in paths:
        found = measure(unpacked / path)
        files.append({"path": path, "size": found.size, "sha256": found.sha256})
    content = {"kind": "archive", "url": settings["url"], "sha256": settings["sha256"]}
    write_manifest(unpacked, {**content, "members": members, "files": files})
    return unpacked


def pin(source: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The entry with the size and SHA-256 of the archive as it is now."""
    loose = {k: v for k, v in settings.items() if k not in ("size", "sha256")}
    with tempfile.TemporaryDirectory() as scratch:
        archive = Path(scratch) / _file_name(source, settings)
        found = fetch_file(source, loose, archive)
    return {**settings, "size": found.size, "sha256": found.sha256}


def _file_name(source: str, settings: Mapping[str, Any]) -> str:
    name = settings.get("file") or settings["url"].rpartition("/")[2]
    try:
        return inside(name).name
    except ValueError as error:
        raise UserError(f"source '{source}', 'file': {error}.") from None


def fetch_file(source: str, settings: Mapping[str, Any], archive: Path) -> Measured:
    """Download `url` to its place, checked against `size` and `sha256` if they are given."""
    part = archive.with_name(f"{archive.name}.part")
    resumed = part.exists()
    _continue(source, settings, part)
    found = measure(part)
    try:
        check_entry(f"source '{source}', {settings['url']}", found, settings)
    except UserError as error:
        part.unlink()
        if resumed:  # the older part may have been damaged on disk
            return fetch_file(source, settings, archive)
        raise UserError(f"{error} What was downloaded is not kept. {elsewhere(source)}") from None
    part.replace(archive)
    return found


def _continue(source: str, settings: Mapping[str, Any], part: Path) -> None:
    """Download what is missing of `part`, patiently and with a progress bar."""
    import requests

    from routelmt.progress import progress

    url, size = settings["url"], settings.get("size")
    with progress((), f"fetching {source}", "B", total=size) as bar:
        bar.unit_scale = True

        def once() -> None:
            continue_file(
                part,
                size,
                lambda headers: _open(url, headers, part.with_name(f"{part.name}.etag")),
                lambda there: bar.update(there - bar.n),
            )

        try:
            patiently(f"{source}: {url}", once)
        except WrongSize as error:
            raise UserError(
                f"source '{source}', {url}: the server's file has {error}, 'size' of its entry is "
                f"{size:,}. Upstream replaced the file, or the entry is wrong. {elsewhere(source)}"
            ) from None
        except (requests.RequestException, Interrupted) as error:
            raise UserError(failed(source, url, error)) from None


@contextmanager
def _open(url: str, headers: Mapping[str, str], etag: Path) -> Iterator[Stream]:
    """GET; a range only if the file is still the one whose ETag was seen at the beginning."""
    import requests
    import urllib3

    headers = dict(headers)
    if "Range" in headers and etag.exists():
        headers["If-Range"] = etag.read_text()
    try:
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
            response.raise_for_status()
            seen = response.headers.get("ETag", "")
            if seen.startswith('"'):  # a weak one (W/) says nothing about bytes
                etag.parent.mkdir(parents=True, exist_ok=True)
                etag.write_text(seen)
            yield Stream(
                response.status_code, response.headers, iter(partial(_read, response), b"")
            )
    except (requests.ConnectionError, requests.Timeout, urllib3.exceptions.HTTPError) as error:
        raise Interrupted(f"the connection failed ({type(error).__name__})") from None


def _read(response: Any) -> bytes:
    """The next bytes as they come, at most _CHUNK: none wait in a buffer that a kill would lose."""
    chunk: bytes = response.raw.read1(_CHUNK, decode_content=False)
    return chunk
