"""Unpacking of tar and zip archives that are not trusted."""

from __future__ import annotations

import errno
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from routelmt.errors import UserError

MAX_BYTES = 4 << 30  # of all members together
MAX_MEMBERS = 100_000
_BLOCK = 1 << 20


class Member(NamedTuple):
    """A regular file of an archive: path inside it, bytes as declared, and how to read it."""

    path: PurePosixPath
    size: int
    open: IO[bytes]


class Refused(Exception):
    """Why an archive is not unpacked."""


def inside(name: str) -> PurePosixPath:
    """`name` as a relative path; ValueError if it leads, on any system, out of where it starts."""
    path = PurePosixPath(name)
    if not name or path.is_absolute() or "\\" in name or "\0" in name or name[1:2] == ":":
        raise ValueError(f"'{name}' is not a relative path")
    if ".." in path.parts:
        raise ValueError(f"'{name}' leads out of its folder")
    if not path.parts:
        raise ValueError(f"'{name}' names no file")
    return path


def extract(
    archive: Path, folder: Path, members: Sequence[str] = ("*",), max_bytes: int = MAX_BYTES
) -> list[str]:
    """Unpack the regular files that match `members` into the new folder `folder`.

    members: shell patterns on the whole path in the archive (a leading ./ aside; * also matches
    /). Returns the paths of the files, sorted. Raises UserError, and leaves nothing, if the archive
    is damaged or holds a link, a device, a path that is absolute or has `..`, the same path twice,
    more than MAX_MEMBERS files or `max_bytes` bytes, or if a pattern matches no file.
    """
    unpacking = folder.with_name(f".{folder.name}.unpacking")
    shutil.rmtree(unpacking, ignore_errors=True)
    unpacking.mkdir(parents=True)
    try:
        with damage_refused():
            found = _unpack(archive, unpacking, members, max_bytes)
        unpacking.rename(folder)
    except Refused as why:
        raise UserError(
            f"{archive}: not unpacked: {why}. Nothing was kept of it; get the archive from its "
            "publisher, or unpack it by hand and name the folder as 'local' of the source."
        ) from None
    finally:
        shutil.rmtree(unpacking, ignore_errors=True)
    return found


def _unpack(archive: Path, folder: Path, members: Sequence[str], max_bytes: int) -> list[str]:
    found: set[str] = set()
    unused = set(members)
    total = 0
    read = _zip_members if zipfile.is_zipfile(archive) else _tar_members
    for count, member in enumerate(read(archive), 1):
        total += member.size
        if total > max_bytes or count > MAX_MEMBERS:
            raise Refused(
                f"it unpacks to more than {max_bytes:,} bytes or {MAX_MEMBERS:,} files, the limits"
            )
        path = str(member.path)
        matching = {pattern for pattern in members if fnmatchcase(path, pattern)}
        if not matching:
            continue
        unused -= matching
        if path in found:
            raise Refused(f"it holds '{path}' twice")
        found.add(path)
        _copy(member, folder / member.path)
    if unused:
        raise Refused(
            f"no file in it matches {', '.join(repr(p) for p in sorted(unused))} ('members' of the "
            "source)"
        )
    return sorted(found)


def _copy(member: Member, goal: Path) -> None:
    try:
        goal.parent.mkdir(parents=True, exist_ok=True)
        handle = goal.open("xb")
    except (FileExistsError, NotADirectoryError):
        raise Refused(f"'{member.path}' is both a file and a folder in it") from None
    with handle:
        left = member.size
        while block := member.open.read(_BLOCK):
            left -= len(block)
            if left < 0:
                break
            handle.write(block)
    if left:
        raise Refused(f"'{member.path}' is not of the {member.size:,} bytes that it declares")


@contextmanager
def damage_refused() -> Iterator[None]:
    """Errors of the readers of archives, as Refused; those of the disk stay what they are."""
    import lzma
    import zlib

    damaged = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError)
    try:
        yield
    except (*damaged, NotImplementedError) as error:
        raise Refused(f"it is damaged or no tar or zip archive ({error})") from None
    except RuntimeError as error:  # of zipfile, for a password
        raise Refused(f"it cannot be read ({error})") from None
    except OSError as error:
        if error.errno in (None, errno.EINVAL):  # of gzip and bz2; of a place before the start
            raise Refused(f"it is damaged ({error})") from None
        raise


def _tar_members(archive: Path) -> Iterator[Member]:
    with tarfile.open(archive) as tar:
        for info in tar:
            if info.isdir() and _is_root(info.name):
                continue
            path = _checked(info.name)
            if info.isdir():
                continue
            if not info.isreg() or info.issparse():
                raise Refused(f"'{info.name}' in it is a {_tar_kind(info)}, not a file")
            handle = tar.extractfile(info)
            assert handle is not None  # a regular file has content
            with handle:
                yield Member(path, info.size, handle)
        _read_to_end(tar)


def _read_to_end(tar: tarfile.TarFile) -> None:
    """Read what follows the last member, so that the compression's own checksum is verified."""
    assert tar.fileobj is not None
    for _ in range(MAX_BYTES // _BLOCK):
        if not tar.fileobj.read(_BLOCK):
            return
    raise Refused("there is no end of data after its last member")


def _zip_members(archive: Path) -> Iterator[Member]:
    with zipfile.ZipFile(archive) as zipped:
        for info in zipped.infolist():
            name = info.orig_filename  # `filename` is cut at NUL
            path = _checked(name)
            mode = info.external_attr >> 16
            kind = stat.S_IFMT(mode)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                what = "link" if stat.S_ISLNK(mode) else "device"
                raise Refused(f"'{name}' in it is a {what}, not a file")
            if info.is_dir() or kind == stat.S_IFDIR:
                continue
            if info.flag_bits & 1:
                raise Refused(f"'{name}' in it is encrypted")
            with zipped.open(info) as handle:
                yield Member(path, info.file_size, handle)


def _is_root(name: str) -> bool:
    return not PurePosixPath(name).parts


def _checked(name: str) -> PurePosixPath:
    try:
        return inside(name)
    except ValueError as error:
        raise Refused(f"a path in it is not allowed: {error}") from None


def _tar_kind(info: tarfile.TarInfo) -> str:
    if info.issym() or info.islnk():
        return "link"
    return "device" if info.isdev() else "special entry"
