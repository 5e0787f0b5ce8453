"""Archives that would reach outside, fill the disk or mean two things are refused by name; good ones are not."""

from __future__ import annotations

import gzip
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from toyrelease import member, packed

from houblon.artifacts import archive
from houblon.artifacts.archive import Contents, Evil, inspect

FILE, DIR, SYM, HARD = tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE


def judged(folder: Path, data: bytes, limit_mb: int = 10) -> Contents:
    file = folder / "archive"
    file.write_bytes(data)
    return inspect(file, "toy", limit_mb)


def link(name: str, to: str, kind: bytes = SYM) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, type=kind, linkname=to)


GOOD = (
    member("toy", type=DIR, mode=0o755), member("toy/bin/run", b"#!/bin/sh\n", mode=0o755), link("toy/run", "bin/run"),
    link("toy/lib/here/up", "../../bin/run"), link("toy/bin/again", "toy/bin/run", HARD),
    member("toy/" + "long/" * 40 + "name", b"x"), member("toy/été", b"y"), link("toy/lib/self", "."),
)  # fmt: skip


@pytest.mark.parametrize("packing", ["gz", "bz2", "xz"])
def test_a_real_tree_is_taken(tmp_path: Path, packing: Any) -> None:
    assert judged(tmp_path, packed(*GOOD, packing=packing)) == Contents(12, 8)


def test_what_gnu_tar_packs_is_taken(tmp_path: Path) -> None:
    tree = tmp_path / "toy"
    (tree / "sub" / ("deep" * 30)).mkdir(parents=True)
    (tree / "sub" / ("deep" * 30) / ("name" * 40)).write_text("x" * 1000)
    (tree / "link").symlink_to("sub")
    (tree / "hard").hardlink_to(tree / "sub" / ("deep" * 30) / ("name" * 40))
    for form in ("gnu", "pax", "posix"):
        subprocess.run(["tar", "-C", tmp_path, f"--format={form}", "-czf", tmp_path / "archive", "toy"], check=True)
        assert inspect(tmp_path / "archive", "toy", 1) == Contents(1000, 6), form


EVIL = {
    "an absolute path": ([member("/etc/passwd", b"x")], "absolute path"),
    "a path that climbs out": ([member("toy/../../etc/passwd", b"x")], "leaves the tree"),
    "a path that starts above": ([member("../toy/x", b"x")], "leaves the tree"),
    "two tops": ([member("toy/a", b"x"), member("other/b", b"x")], "does not lie in toy/"),
    "another top that begins the same": ([member("toys/b", b"x")], "does not lie in toy/"),
    "no top": ([member("readme", b"x")], "does not lie in toy/"),
    "a top that is a file": ([member("toy", b"x")], "toy is no directory"),
    "a top that is a link": ([link("toy", "toy/a")], "toy is no directory"),
    "a path with a dot": ([member("./toy/a", b"x")], "does not lie in toy/"),
    "a path with a dot inside": ([member("toy/./a", b"x")], "not written plainly"),
    "a path with an empty step": ([member("toy//a", b"x")], "not written plainly"),
    "a path with a line feed": ([member("toy/a\nb", b"x")], "no name for a file"),
    "a path that is not UTF-8": ([member("toy/\udcff", b"x")], "no name for a file"),
    "a name that is too long": ([member("toy/" + "a" * 256, b"x")], "no name for a file"),
    "a link to an absolute path": ([link("toy/a", "/etc/passwd")], "out of the tree"),
    "a link that climbs out": ([link("toy/a/b", "../../x")], "out of the tree"),
    "a link to the root's parent": ([link("toy/a", "..")], "out of the tree"),
    "a link to nothing": ([link("toy/a", "")], "out of the tree"),
    "a link that climbs out past another link": (
        [link("toy/a/b/up", "../../"), link("toy/a/out", "b/up/../..")], "out of the tree"),
    "a file through a link": ([link("toy/a", "b"), member("toy/a/x", b"x")], "goes through a link"),
    "a link in a directory's place": ([member("toy/a/x", b"x"), link("toy/a", "b")], "both a directory and a link"),
    "a file through a file": ([member("toy/a", b"x"), member("toy/a/x", b"x")], "goes through a file"),
    "a link, then a file that writes through it": (
        [link("toy/a", "b"), member("toy/a", b"x")], "both a link and a file"),
    "a hard link outside": ([link("toy/a", "/etc/shadow", HARD)], "no file before it"),
    "a hard link that climbs": ([link("toy/a", "../etc/shadow", HARD)], "no file before it"),
    "a hard link to a link": ([link("toy/x/a", "../b"), link("toy/c", "toy/x/a", HARD)], "no file before it"),
    "a device": ([member("toy/sda", type=tarfile.BLKTYPE)], "neither file, directory nor link"),
    "a terminal": ([member("toy/tty", type=tarfile.CHRTYPE)], "neither file, directory nor link"),
    "a fifo": ([member("toy/fifo", type=tarfile.FIFOTYPE)], "neither file, directory nor link"),
    "another user's rights": ([member("toy/su", b"x", mode=0o4755)], "setuid"),
    "another group's rights": ([member("toy/sg", b"x", mode=0o2755)], "setuid"),
    "nothing": ([], "empty"),
}  # fmt: skip


@pytest.mark.parametrize("case", EVIL)
def test_an_evil_archive_is_refused(tmp_path: Path, case: str) -> None:
    members, why = EVIL[case]
    with pytest.raises(Evil, match=why):
        judged(tmp_path, packed(*members))


def plain(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    return gzip.decompress(packed(*members))


BOMB = 30_000_000
WHOLE = packed(*GOOD, member("toy/noise", bytes(range(256)) * 400))
TAR = gzip.decompress(WHOLE)
BROKEN = {
    "a cut archive": (WHOLE[:-200], "damaged or cut off"),
    "an archive cut in its last bytes": (WHOLE[:-4], "damaged or cut off"),
    "one flipped bit": (WHOLE[:400] + bytes([WHOLE[400] ^ 1]) + WHOLE[401:], "damaged"),
    "a tree cut between two members": (gzip.compress(plain(*GOOD)[:512]), "cut off"),
    "no end": (gzip.compress(TAR.rstrip(b"\0") + bytes(-len(TAR.rstrip(b"\0")) % 512)), "cut off|damaged"),
    "more after the end": (gzip.compress(TAR + plain(member("/etc/x", b"x"))), "there is more"),
    "more after one block of zeros": (
        gzip.compress(plain(member("toy/a", b"x"))[:1024] + bytes(512) + plain(member("/etc/x", b"x"))),
        "there is more"),
    "a bad header, then more": (
        gzip.compress(plain(member("toy/a", b"x"))[:1024] + b"x" * 512 + plain(member("/etc/x", b"x"))),
        "there is more"),
    "no tar": (gzip.compress(b"hello" * 1000), "damaged"),
    "no archive": (b"<!DOCTYPE html>" * 100, "no archive"),
    "an empty file": (b"", "no archive"),
    "a zip": (b"PK\x03\x04" + bytes(1000), "no archive"),
    "a bomb in one file": (packed(member("toy/zeros", bytes(BOMB))), "more than 10 MB unpacked"),
    "a bomb in many": (packed(*(member(f"toy/{n}", bytes(BOMB // 100)) for n in range(100))), "more than 10 MB"),
    "a bomb after the end": (gzip.compress(TAR + bytes(40_000_000), 1), "larger than any real one"),
    "a bomb in a header": (gzip.compress(plain(member("x" * 3_000_000, b"x"))), "headers"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_a_damaged_archive_or_a_bomb_is_refused(tmp_path: Path, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data, why = BROKEN[case]
    monkeypatch.setattr(archive, "OVERHEAD", 20_000_000)
    with pytest.raises(Evil, match=why):
        judged(tmp_path, data)


def test_too_many_members_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MEMBERS", 50)
    judged(tmp_path, packed(*(member(f"toy/{n}") for n in range(49))))
    for many in ([f"toy/{n}" for n in range(51)], ["toy/same"] * 51, ["toy/" + "a/" * 60 + "b"]):
        with pytest.raises(Evil, match="more than 50 members"):
            judged(tmp_path, packed(*(member(name) for name in many)))


def test_a_sparse_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "toy").mkdir()
    with (tmp_path / "toy/hole").open("wb") as stream:
        stream.truncate(5_000_000)
    subprocess.run(["tar", "-C", tmp_path, "-S", "-czf", tmp_path / "archive", "toy"], check=True)
    with pytest.raises(Evil, match="neither file"):
        inspect(tmp_path / "archive", "toy", 10)


# --- properties ------------------------------------------------------------------------------------------

ANY = st.lists(st.sampled_from(["toy", "a", "b", "c", "..", ".", "", "é"]), min_size=1, max_size=6).map("/".join)
TAME = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=3).map(lambda steps: "/".join(["toy", *steps]))
CLIMBS = st.tuples(st.integers(0, 3), st.sampled_from(["a", "b/a", "..", "b/..", "c/../..", "."])).map(
    lambda given: "../" * given[0] + given[1]
)
NAMES = st.one_of(TAME, TAME, TAME, ANY)
MEMBERS = st.lists(
    st.tuples(NAMES, st.sampled_from([FILE, FILE, FILE, DIR, SYM, SYM, SYM, HARD]), st.one_of(CLIMBS, NAMES)),
    min_size=1, max_size=6,
)  # fmt: skip


def made(steps: list[tuple[str, bytes, str]]) -> list[tuple[tarfile.TarInfo, bytes]]:
    return [
        member(name, b"new" if kind == FILE else b"", type=kind, linkname=to if kind in (SYM, HARD) else "", mode=0o755)
        for name, kind, to in steps
    ]


@given(MEMBERS)
def test_whatever_is_taken_gnu_tar_unpacks_inside_its_tree(steps: list[tuple[str, bytes, str]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        around = Path(name)
        into = around / "deep/er"
        into.mkdir(parents=True)
        canary = [around / "a", around / "deep/a", into / "a"]
        for path in canary:
            path.write_text("old")
        file = around / "archive"
        file.write_bytes(packed(*made(steps)))
        try:
            found = inspect(file, "toy", 1)
        except Evil:
            return
        done = subprocess.run(["tar", "-C", into, "-xzf", file], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert all(path.read_text() == "old" for path in canary)
        assert sorted(path.name for path in around.iterdir()) == ["a", "archive", "deep"]
        assert sorted(path.name for path in into.iterdir()) == ["a", "toy"]
        tree = into / "toy"
        inside = list(tree.rglob("*"))
        # A link that leads to itself is harmless: nothing can be reached through it.
        leads = [path.resolve() for path in inside if path.is_symlink() and path.exists()]
        assert all(path.is_relative_to(tree.resolve()) for path in leads)
        assert len(inside) + 1 <= archive.MEMBERS and found.members == len(steps)


@given(st.binary(max_size=3000), st.integers(0, 3000), st.booleans())
def test_any_bytes_are_an_archive_or_refused(noise: bytes, position: int, zipped: bool) -> None:
    tar = bytearray(TAR[:4096] + bytes(1024))
    tar[position : position + len(noise)] = noise
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "archive"
        file.write_bytes(gzip.compress(bytes(tar), 1) if zipped else noise)
        try:
            inspect(file, "toy", 1)
        except Evil as error:
            assert str(error)


@given(st.integers(0, 4095), st.integers(0, 255))
def test_any_one_byte_of_a_tar_may_be_wrong(position: int, value: int) -> None:
    tar = bytearray(TAR[:4096])
    tar[position] = value
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "archive"
        file.write_bytes(gzip.compress(bytes(tar) + bytes(1024), 1))
        try:
            inspect(file, "toy", 1)
        except Evil as error:
            assert str(error)


def test_headers_are_not_read_into_memory_without_limit(tmp_path: Path) -> None:
    """A pax header says its size itself; tarfile would read all of it at once."""
    info = tarfile.TarInfo("toy/x")
    info.type, info.size = tarfile.XHDTYPE, 30_000_000
    file = tmp_path / "archive"
    with gzip.open(file, "wb", compresslevel=1) as stream:
        stream.write(info.tobuf(format=tarfile.USTAR_FORMAT))
        for _ in range(30):
            stream.write(bytes(1_000_000))
    with pytest.raises(Evil, match="headers"):
        inspect(file, "toy", 1000)
