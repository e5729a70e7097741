"""Unpacking keeps to its folder, its limits and its patterns, or leaves nothing."""

from __future__ import annotations

import io
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routelmt.data import archives
from routelmt.data.archives import extract, inside
from routelmt.errors import UserError

GOOD = {"top/a.txt": b"first", "top/b.tsv": b"second", "top/sub/c.txt": b"third"}


def tar_of(
    path: Path, files: dict[str, bytes], *extra: tarfile.TarInfo, mode: str = "w:gz"
) -> Path:
    with tarfile.open(path, mode) as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        for info in extra:
            tar.addfile(info, io.BytesIO(b"x" * info.size))
    return path


def zip_of(path: Path, files: dict[str, bytes], *extra: zipfile.ZipInfo) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, content in files.items():
            zipped.writestr(name, content)
        for info in extra:
            zipped.writestr(info, b"/etc/passwd")
    return path


def tar_entry(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def zip_entry(name: str, kind: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system = 3  # unix: the upper half of external_attr is the mode
    info.external_attr = (kind | 0o644) << 16
    return info


def on_disk(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


def assert_nothing_left(tmp_path: Path) -> None:
    assert not (tmp_path / "out").exists()
    assert [p.name for p in tmp_path.iterdir() if "unpacking" in p.name] == []


@pytest.mark.parametrize("make", [tar_of, zip_of])
def test_files_that_match_are_unpacked(make: Callable[..., Path], tmp_path: Path) -> None:
    archive = make(tmp_path / "archive", GOOD)
    assert extract(archive, tmp_path / "out", ["top/*.txt"]) == ["top/a.txt", "top/sub/c.txt"]
    assert on_disk(tmp_path / "out") == {k: GOOD[k] for k in ("top/a.txt", "top/sub/c.txt")}


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_leading_dot_of_tar_members_is_no_folder(mode: str, tmp_path: Path) -> None:
    root = tar_entry(".", tarfile.DIRTYPE)
    archive = tar_of(tmp_path / "a", {"./top/a.txt": b"1"}, root, mode=mode)
    assert extract(archive, tmp_path / "out", ["top/a.txt"]) == ["top/a.txt"]


def test_no_file_is_executable_or_setuid(tmp_path: Path) -> None:
    info = tar_entry("tool", tarfile.REGTYPE)
    info.mode = 0o6777
    extract(tar_of(tmp_path / "a", {}, info), tmp_path / "out")
    assert not (tmp_path / "out/tool").stat().st_mode & (stat.S_ISUID | stat.S_ISGID | 0o111)


EVIL_NAMES = ["/etc/cron.d/x", "../x", "top/../../x", "..", "C:/x", "top\\..\\x", "//host/x"]


@pytest.mark.parametrize("name", EVIL_NAMES)
@pytest.mark.parametrize("make", [tar_of, zip_of])
def test_paths_out_of_the_folder_are_refused(
    make: Callable[..., Path], name: str, tmp_path: Path
) -> None:
    archive = make(tmp_path / "archive", GOOD | {name: b"evil"})
    with pytest.raises(UserError, match="a path in it is not allowed"):
        extract(archive, tmp_path / "out", ["top/*"])
    assert_nothing_left(tmp_path)


TAR_KINDS = {
    "symlink": tar_entry("top/x", tarfile.SYMTYPE, "/etc/passwd"),
    "relative symlink": tar_entry("top/x", tarfile.SYMTYPE, "a.txt"),
    "hard link": tar_entry("top/x", tarfile.LNKTYPE, "top/a.txt"),
    "character device": tar_entry("top/x", tarfile.CHRTYPE),
    "block device": tar_entry("top/x", tarfile.BLKTYPE),
    "fifo": tar_entry("top/x", tarfile.FIFOTYPE),
}


@pytest.mark.parametrize("kind", TAR_KINDS)
def test_links_and_devices_in_a_tar_are_refused(kind: str, tmp_path: Path) -> None:
    archive = tar_of(tmp_path / "a.tar.gz", GOOD, TAR_KINDS[kind])
    with pytest.raises(UserError, match=r"'top/x' in it is a (link|device), not a file"):
        extract(archive, tmp_path / "out")
    assert_nothing_left(tmp_path)


ZIP_KINDS = [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK]


@pytest.mark.parametrize("kind", ZIP_KINDS)
def test_links_and_devices_in_a_zip_are_refused(kind: int, tmp_path: Path) -> None:
    archive = zip_of(tmp_path / "a.zip", GOOD, zip_entry("top/x", kind))
    with pytest.raises(UserError, match=r"'top/x' in it is a (link|device), not a file"):
        extract(archive, tmp_path / "out")
    assert_nothing_left(tmp_path)


@pytest.mark.parametrize("make", [tar_of, zip_of])
def test_bombs_are_refused_by_size(make: Callable[..., Path], tmp_path: Path) -> None:
    archive = make(tmp_path / "archive", {"top/a": b"0" * 2_000_000})  # packs to a few kB
    assert archive.stat().st_size < 20_000
    with pytest.raises(UserError, match="more than 1,000,000 bytes"):
        extract(archive, tmp_path / "out", max_bytes=1_000_000)
    assert_nothing_left(tmp_path)


@pytest.mark.parametrize("make", [tar_of, zip_of])
def test_bombs_are_refused_by_number(
    make: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "MAX_MEMBERS", 2)
    with pytest.raises(UserError, match="or 2 files, the limits"):
        extract(make(tmp_path / "archive", GOOD), tmp_path / "out")
    assert_nothing_left(tmp_path)


def test_a_zip_that_lies_about_a_size_is_refused(tmp_path: Path) -> None:
    archive = zip_of(tmp_path / "a.zip", {"top/a": b"0" * 5_000})
    data = bytearray(archive.read_bytes())
    directory = data.index(b"PK\x01\x02")
    data[directory + 24 : directory + 28] = (10).to_bytes(4, "little")  # 10 bytes, it says
    archive.write_bytes(data)
    with pytest.raises(UserError, match="not unpacked"):
        extract(archive, tmp_path / "out")
    assert_nothing_left(tmp_path)


def test_encrypted_members_are_refused(tmp_path: Path) -> None:
    archive = zip_of(tmp_path / "a.zip", {"top/a": b"secret"})
    data = bytearray(archive.read_bytes())
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(data)
    with pytest.raises(UserError, match="'top/a' in it is encrypted"):
        extract(archive, tmp_path / "out")
    assert_nothing_left(tmp_path)


@pytest.mark.parametrize("make", [tar_of, zip_of])
@pytest.mark.parametrize("keep", [0, 3, 100, -40])
def test_a_cut_or_foreign_file_is_refused(
    make: Callable[..., Path], keep: int, tmp_path: Path
) -> None:
    archive = make(tmp_path / "archive", {n: bytes(range(256)) * 20 for n in GOOD})
    archive.write_bytes(archive.read_bytes()[:keep])
    with pytest.raises(UserError, match="not unpacked"):
        extract(archive, tmp_path / "out")
    assert_nothing_left(tmp_path)


def test_damage_inside_is_found(tmp_path: Path) -> None:
    archive = tar_of(tmp_path / "a.tar.gz", {"top/a": bytes(range(256)) * 400})
    data = bytearray(archive.read_bytes())
    data[len(data) // 2] ^= 0xFF
    archive.write_bytes(data)
    with pytest.raises(UserError, match="not unpacked"):
        extract(archive, tmp_path / "out")
    assert_nothing_left(tmp_path)


def test_the_same_path_twice_is_refused(tmp_path: Path) -> None:
    archive = tar_of(tmp_path / "a", {"top/a": b"1", "./top/a": b"2"})
    with pytest.raises(UserError, match="holds 'top/a' twice"):
        extract(archive, tmp_path / "out")
    archive = tar_of(tmp_path / "b", {"top": b"1", "top/a": b"2"})
    with pytest.raises(UserError, match="both a file and a folder"):
        extract(archive, tmp_path / "out")
    assert_nothing_left(tmp_path)


def test_a_pattern_without_a_file_is_an_error(tmp_path: Path) -> None:
    archive = tar_of(tmp_path / "a", GOOD)
    with pytest.raises(UserError, match=r"no file in it matches 'top/\*.json' \('members'"):
        extract(archive, tmp_path / "out", ["top/*.txt", "top/*.json"])
    assert_nothing_left(tmp_path)


def test_a_missing_archive_is_not_called_damaged(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        extract(tmp_path / "absent", tmp_path / "out")
    assert_nothing_left(tmp_path)


NAMES = st.text(st.sampled_from("ab./\\:"), min_size=1, max_size=8)


@given(names=st.lists(NAMES, min_size=1, max_size=4), zipped=st.booleans())
def test_nothing_is_ever_written_outside(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], zipped: bool
) -> None:
    tmp_path = tmp_path_factory.mktemp("any")
    make = zip_of if zipped else tar_of
    archive = make(tmp_path / "archive", {name: name.encode() for name in names})
    before = {archive: archive.read_bytes()}
    try:
        extract(archive, tmp_path / "deep" / "out")
    except UserError:
        assert not (tmp_path / "deep" / "out").exists()
    found = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    outside = {p: c for p, c in found.items() if tmp_path / "deep" / "out" not in p.parents}
    assert outside == before


@given(name=st.text(max_size=12))
def test_inside_never_leads_out(name: str) -> None:
    try:
        path = inside(name)
    except ValueError:
        return
    folder = Path("/some/folder")
    assert folder in (folder / path).parents and ".." not in path.parts
