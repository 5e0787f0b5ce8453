"""Archives that would reach outside, fill the disk or mean two things are refused by name; good ones are not."""

from __future__ import annotations

import gzip
import posixpath
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
from houblon.artifacts.archive import LISTING_SHELL, Contents, Evil, inspect

FILE, DIR, SYM, HARD = tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE


def judged(folder: Path, data: bytes, limit_mb: int = 10) -> Contents:
    file = folder / "archive"
    file.write_bytes(data)
    return inspect(file, "toy", limit_mb)


def listing(tree: Path) -> str:
    """What a host says of an unpacked tree."""
    return subprocess.run(
        ["sh", "-c", f'{LISTING_SHELL}listing "$1"', "sh", tree], capture_output=True, text=True, check=True
    ).stdout.strip()


def unpacked(folder: Path, file: Path) -> Path:
    """The tree that GNU tar makes of an archive, as the engine has it unpacked."""
    into = folder / "into"
    into.mkdir()
    subprocess.run(
        ["tar", "--extract", f"--file={file}", f"--directory={into}", "--no-same-owner", "--no-same-permissions"],
        check=True, capture_output=True,
    )  # fmt: skip
    assert [path.name for path in into.iterdir()] == ["toy"]
    return into / "toy"


def link(name: str, to: str, kind: bytes = SYM) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, type=kind, linkname=to)


GOOD = (
    member("toy", type=DIR, mode=0o755), member("toy/bin/run", b"#!/bin/sh\n", mode=0o755), link("toy/run", "bin/run"),
    link("toy/lib/here/up", "../../bin/run"), link("toy/bin/again", "toy/bin/run", HARD),
    member("toy/" + "long/" * 40 + "name", b"x"), member("toy/été", b"y"), link("toy/lib/self", "."),
)  # fmt: skip


@pytest.mark.parametrize("packing", ["gz", "bz2", "xz"])
def test_a_real_tree_is_taken(tmp_path: Path, packing: Any) -> None:
    found = judged(tmp_path, packed(*GOOD, packing=packing))
    assert found == Contents(12, 8, listing(unpacked(tmp_path, tmp_path / "archive")))


@pytest.mark.parametrize("change", [
    "echo more >>toy/bin/run", "rm toy/run", "ln -sfn bin toy/run", "touch toy/new", "mkdir toy/new",
    "mv toy/été toy/e",
    "mkfifo toy/new", "rm toy/lib/self; echo . >toy/lib/self",
])  # fmt: skip
def test_a_tree_that_came_out_otherwise_is_listed_otherwise(tmp_path: Path, change: str) -> None:
    before = judged(tmp_path, packed(*GOOD)).listing
    tree = unpacked(tmp_path, tmp_path / "archive")
    assert listing(tree) == before
    subprocess.run(["sh", "-ec", change], cwd=tree.parent, check=True)
    assert listing(tree) != before


def test_what_gnu_tar_packs_is_taken(tmp_path: Path) -> None:
    tree = tmp_path / "toy"
    (tree / "sub" / ("deep" * 30)).mkdir(parents=True)
    (tree / "sub" / ("deep" * 30) / ("name" * 40)).write_text("x" * 1000)
    (tree / "link").symlink_to("sub")
    (tree / "hard").hardlink_to(tree / "sub" / ("deep" * 30) / ("name" * 40))
    for form in ("gnu", "pax", "posix"):
        subprocess.run(["tar", "-C", tmp_path, f"--format={form}", "-czf", tmp_path / "archive", "toy"], check=True)
        found = inspect(tmp_path / "archive", "toy", 1)
        assert found == Contents(1000, 6, listing(tree)), form


def test_what_git_packs_is_taken(tmp_path: Path) -> None:
    """It begins with a global pax header that names the commit."""
    def git(*arguments: str | Path) -> None:
        who = ["-c", "user.name=Toy", "-c", "user.email=toy@toy.example"]
        subprocess.run(["git", "-C", tmp_path, *who, *arguments], check=True, capture_output=True)

    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / ("name" * 40)).write_text("x" * 1000)
    (tmp_path / "link").symlink_to("sub/" + "name" * 40)
    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "toy")
    git("archive", "--prefix=toy/", "-o", tmp_path / "archive.tar.gz", "HEAD")
    found = inspect(tmp_path / "archive.tar.gz", "toy", 1)
    assert found == Contents(1000, 4, listing(unpacked(tmp_path, tmp_path / "archive.tar.gz")))


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
    "a path that is not UTF-8": ([member("toy/\udcff", b"x")], "'hdrcharset', which has no place there"),
    "a file that comes twice": ([member("toy/a", b"x"), member("toy/a", b"y")], "there twice"),
    "a link that comes twice": ([link("toy/a", "b"), link("toy/a", "c")], "there twice"),
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


def header(name: str, size: int = 0, **fields: Any) -> bytes:
    """One header as it lies in an archive; ``at`` puts bytes at a place in it."""
    at = fields.pop("at", {})
    info, _ = member(name, **fields)
    info.size = size
    block = bytearray(info.tobuf(tarfile.USTAR_FORMAT))
    for place, data in at.items():
        block[place : place + len(data)] = data
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def whole(name: str, data: bytes, **fields: Any) -> bytes:
    return header(name, len(data), **fields) + data + bytes(-len(data) % 512)


def pax(kind: bytes = b"x", **records: str) -> bytes:
    """Keys with a dot are written with two underscores."""
    data = b""
    for key, value in records.items():
        rest = f" {key.replace('__', '.')}={value}\n".encode()
        data += next(b"%d" % n + rest for n in range(1000) if n == len(b"%d" % n + rest))
    return whole("pax", data, type=kind)


def gnu(kind: bytes, text: str) -> bytes:
    return whole("././@LongLink", text.encode() + b"\0", type=kind, at={257: b"ustar  \0"})


TOP = header("toy/", type=DIR, mode=0o755)
OUT = header("toy/evil", type=SYM, linkname="/etc/shadow")
HARMLESS = header("toy/evil", type=SYM, linkname="x")
SIZE = 124
TRICKS = {
    "a GNU target, then a pax one": (gnu(b"K", "x") + pax(linkpath="/etc/shadow") + HARMLESS, "before one member"),
    "a pax target, then a GNU one": (pax(linkpath="x") + gnu(b"K", "/etc/shadow") + HARMLESS, "before one member"),
    "a GNU name, then a pax one": (gnu(b"L", "toy/a") + pax(path="../a") + HARMLESS, "before one member"),
    "a pax name, then a GNU one": (pax(path="toy/a") + gnu(b"L", "../a") + HARMLESS, "before one member"),
    "two GNU targets": (gnu(b"K", "x") + gnu(b"K", "/etc/shadow") + HARMLESS, "two GNU link target headers"),
    "two GNU names": (gnu(b"L", "toy/a") + gnu(b"L", "../a") + HARMLESS, "two GNU name headers"),
    "two pax headers": (pax(linkpath="x") + pax(linkpath="/etc/shadow") + HARMLESS, "two pax headers"),
    "a key twice": (whole("x", 2 * b"14 linkpath=x\n", type=b"x") + HARMLESS, "'linkpath', which has no place"),
    "two global headers": (pax(b"g", comment="x") * 2 + HARMLESS, "two global pax headers"),
    "a global header late": (pax(path="toy/a") + pax(b"g", comment="x") + HARMLESS, "before one member"),
    "a global target": (pax(b"g", linkpath="/etc/shadow") + HARMLESS, "'linkpath', which has no place"),
    "a global size": (pax(b"g", size="0") + whole("toy/a", OUT), "'size', which has no place"),
    "a size of its own": (pax(size="0") + whole("toy/a", OUT), "two sizes"),
    "a size of its own with a sign": (pax(size="+512") + whole("toy/a", OUT), "two sizes"),
    "a size with an underscore": (header("toy/a", at={SIZE: b"1_000".ljust(12, b"\0")}) + OUT, "a number belongs"),
    "a size in base 64": (header("toy/a", at={SIZE: b"+1000".ljust(12, b"\0")}) + OUT, "a number belongs"),
    "a size below zero": (header("toy/a", at={SIZE: b"-1000".ljust(12, b"\0")}) + OUT, "a number belongs"),
    "a size below zero in base 256": (header("toy/a", at={SIZE: b"\xff" * 12}) + OUT, "a number belongs"),
    "no size": (header("toy/a", at={SIZE: bytes(12)}) + OUT, "a number belongs"),
    "rights that are no number": (header("toy/a", at={100: b"0o4755\0 "}), "a number belongs"),
    "a directory with a size": (whole("toy/d/", OUT, type=DIR), "is a directory, and has a size"),
    "a link with a size": (whole("toy/l", OUT, type=SYM, linkname="a"), "is a link, and has a size"),
    "a hard link with a size": (whole("toy/l", OUT, type=HARD, linkname="toy/a"), "is a hard link, and has a size"),
    "a file that ends like a directory": (header("toy/a/"), "not written plainly"),
    "holes": (pax(GNU__sparse__realsize="0") + whole("toy/a", b"z" * 2048), "'GNU.sparse.realsize'"),
    "a name for what has holes": (pax(GNU__sparse__name="../x") + whole("toy/a", b"z"), "'GNU.sparse.name'"),
    "a GNU name of two": (whole("x", b"toy/a\0/../../x\0", type=b"L") + HARMLESS, "more than one thing"),
    "another header than any": (whole("toy/a", b"x", type=b"X") + HARMLESS, "neither file"),
    "no magic": (header("toy/a", at={257: bytes(8)}), "no tar archive as POSIX"),
    "something behind the prefix": (header("toy/a", at={400: b"/.."}), "where nothing belongs"),
    "a prefix where GNU tar has none": (
        header("a", at={257: b"ustar  \0", 345: b"toy"}), "where nothing belongs"),
    "a prefix that climbs": (header("a", at={345: b"toy/.."}), "leaves the tree"),
    "a pax header at the end": (pax(path="toy/a"), "belongs to no member"),
    "a pax header that is none": (whole("x", b"path=toy/a\n", type=b"x") + HARMLESS, "a pax header is none"),
    "a pax header that is short": (whole("x", b"99 path=toy/a\n", type=b"x") + HARMLESS, "a pax header is none"),
}  # fmt: skip


@pytest.mark.parametrize("case", TRICKS)
def test_what_two_programs_could_read_differently_is_refused(tmp_path: Path, case: str) -> None:
    data, why = TRICKS[case]
    with pytest.raises(Evil, match=why):
        judged(tmp_path, gzip.compress(TOP + data + bytes(1024), 1))


def plain(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    return gzip.decompress(packed(*members))


BOMB = 12_000_000
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
        "checksum is wrong"),
    "no tar": (gzip.compress(b"hello" * 1000), "damaged"),
    "no archive": (b"<!DOCTYPE html>" * 100, "no archive"),
    "an empty file": (b"", "no archive"),
    "a zip": (b"PK\x03\x04" + bytes(1000), "no archive"),
    "a bomb in one file": (packed(member("toy/zeros", bytes(BOMB))), "more than 10 MB unpacked"),
    "a bomb in many": (packed(*(member(f"toy/{n}", bytes(BOMB // 100)) for n in range(100))), "more than 10 MB"),
    "a bomb after the end": (gzip.compress(TAR + bytes(20_000_000), 1), "larger than any real one"),
    "a bomb in a header": (gzip.compress(plain(member("x" * 3_000_000, b"x"))), "headers"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_a_damaged_archive_or_a_bomb_is_refused(tmp_path: Path, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data, why = BROKEN[case]
    monkeypatch.setattr(archive, "OVERHEAD", 8_000_000)
    with pytest.raises(Evil, match=why):
        judged(tmp_path, data)


def test_too_many_members_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MEMBERS", 50)
    judged(tmp_path, packed(*(member(f"toy/{n}") for n in range(49))))
    for many in ([f"toy/{n}" for n in range(51)], ["toy/" + "a/" * 60 + "b"]):
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
        assert listing(tree) == found.listing and found.members == len(steps)
        for path in tree.rglob("*"):
            if path.is_symlink():
                # By its text: a link that leads to nothing today could lead out of the tree tomorrow.
                leads = posixpath.normpath(posixpath.join(path.parent, str(path.readlink())))
                assert (leads + "/").startswith(f"{tree}/")


PIECES = st.one_of(
    st.sampled_from([TOP, OUT, HARMLESS, whole("toy/a", b"data"), whole("toy/b", OUT), header("toy/d/", type=DIR),
                     header("toy/c", type=HARD, linkname="toy/a"), bytes(512)]),
    st.sampled_from(["toy/a", "toy/n", "x", "/etc/shadow", "../x"]).flatmap(lambda text: st.sampled_from(
        [gnu(b"L", text), gnu(b"K", text), pax(path=text), pax(linkpath=text), pax(b"g", path=text)])),
    st.sampled_from([b"0", b"4", b"512", b"1000"]).flatmap(lambda size: st.sampled_from([
        pax(size=size.decode()), pax(b"g", size=size.decode()), whole("toy/e", bytes(int(size))),
        *(header("toy/s", at={SIZE: text.ljust(12, b"\0")}) for text in (size, size.rjust(11), b"+" + size))])),
)  # fmt: skip


@given(st.lists(PIECES, min_size=1, max_size=5))
def test_whatever_headers_are_taken_gnu_tar_reads_alike(pieces: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "archive"
        file.write_bytes(gzip.compress(TOP + b"".join(pieces) + bytes(1024), 1))
        try:
            found = inspect(file, "toy", 1)
        except Evil:
            return
        assert listing(unpacked(Path(name), file)) == found.listing


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
            found = inspect(file, "toy", 1)
        except Evil as error:
            assert str(error)
        else:
            assert listing(unpacked(Path(folder), file)) == found.listing


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
