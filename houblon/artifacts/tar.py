"""Reads a tar archive's headers as narrowly as honest programs write them.

Whatever two programs could read differently is refused, so that GNU tar on the host unpacks what was judged here.
Python's tarfile is no judge: it takes ``+1000`` for a size and lets a pax header overrule a GNU one that came first.

Formats: POSIX.1-2017, pax, "ustar Interchange Format" and "pax Header Block"; GNU tar manual, "Basic Tar Format".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

BLOCK = 512
HEADER = 1024 * 1024
"""Most bytes of one extended header."""
_NUMBER = re.compile(rb" *([0-7]+)[ \0]*")
_RECORD = re.compile(rb"([1-9][0-9]{0,7}) ([^=\n\0]+)=")
_KEYS = re.compile(
    rb"path|linkpath|size|[acm]time|uid|gid|uname|gname|comment"
    rb"|SCHILY\.(dev|ino|nlink|fflags|(xattr|acl)\..+)|LIBARCHIVE\.(creationtime|xattr\..+)"
)
_KINDS = {b"0": "file", b"\0": "file", b"1": "hard link", b"2": "link", b"5": "directory"}
_EXTENDED = {b"L": "GNU name", b"K": "GNU link target", b"x": "pax", b"g": "global pax"}


class Evil(Exception):
    """The archive must not be unpacked; the text says why."""


@dataclass(frozen=True)
class Member:
    """One member.

    :param kind: file, directory, link or hard link.
    :param target: of links.
    :param size: of the data that follows, in bytes; 0 but for files.
    """

    name: str
    kind: str
    target: str
    size: int
    mode: int


def members(read: Callable[[int], bytes]) -> Iterator[Member]:
    """The members of an archive; ends behind the first block of zeros.

    :param read: gives so many bytes exactly, or raises EOFError.
    :raises Evil: something is not written plainly.
    """
    extended: dict[bytes, bytes] = {}
    while (block := read(BLOCK)).count(0) != BLOCK:
        kind, size = _checked(block)
        if kind in _EXTENDED:
            _fitting(kind, extended)
            if size > HEADER:
                raise Evil("its headers are larger than any real one's")
            extended[kind] = read(_padded(size))[:size]
            if kind == b"g":
                _records(extended[kind], re.compile(b"comment"))
            continue
        yield _member(block, kind, size, extended)
        extended = {}
        rest = _padded(size)
        while rest:
            rest -= len(read(min(rest, 1 << 18)))
    if extended:
        raise Evil("it ends with a header that belongs to no member")


# --- inside ----------------------------------------------------------------------------------------------


def _checked(block: bytes) -> tuple[bytes, int]:
    """Kind and size, once the header has proved to be one."""
    field, kind = block[148:156], block[156:157]
    sums = _NUMBER.fullmatch(field)
    if sums is None or int(sums[1], 8) != sum(block) - sum(field) + 8 * 0x20:
        raise Evil("it is damaged (a header's checksum is wrong)")
    if kind not in _KINDS | _EXTENDED:
        raise Evil(f"{_text(block[:100]).decode('utf-8', 'replace')!r} is neither file, directory nor link")
    if block[257:265] not in (b"ustar\x0000", b"ustar  \0"):
        raise Evil("it is no tar archive as POSIX or GNU tar write it")
    # After the magic of GNU tar stand times and maps of holes; behind POSIX's prefix star's own fields.
    prefix, _, rest = block[345:500].partition(b"\0")
    if (block[257:265] == b"ustar  \0" and prefix) or any(rest) or any(block[500:]):
        raise Evil("a header has something in it where nothing belongs")
    for start, end in ((108, 116), (116, 124), (136, 148)):
        _number(block[start:end])
    return kind, _number(block[124:136])


def _fitting(kind: bytes, extended: dict[bytes, bytes]) -> None:
    if kind in extended:
        raise Evil(f"there are two {_EXTENDED[kind]} headers before one member")
    # git archive begins with a global one. Which of GNU's and pax's has the last word, programs do not agree on.
    other = extended.keys() & {b"x": {b"L", b"K"}, b"L": {b"x"}, b"K": {b"x"}, b"g": {b"x", b"L", b"K"}}[kind]
    if other:
        raise Evil(f"a {_EXTENDED[kind]} header and a {_EXTENDED[other.pop()]} header stand before one member")


def _member(block: bytes, kind: bytes, size: int, extended: dict[bytes, bytes]) -> Member:
    prefix, name, target = (_text(field) for field in (block[345:500], block[:100], block[157:257]))
    if prefix:
        name = prefix + b"/" + name
    name, target = _alone(extended.get(b"L"), name), _alone(extended.get(b"K"), target)
    records = _records(extended.get(b"x", b""), _KEYS)
    name, target = records.get(b"path", name), records.get(b"linkpath", target)
    shown = name.decode("utf-8", "surrogateescape")
    if records.get(b"size", b"%d" % size) != b"%d" % size:
        raise Evil(f"{shown[:100]!r} has two sizes")
    if size and _KINDS[kind] != "file":
        raise Evil(f"{shown[:100]!r} is a {_KINDS[kind]}, and has a size")
    if _KINDS[kind] == "directory":
        shown = shown.removesuffix("/")
    return Member(shown, _KINDS[kind], target.decode("utf-8", "surrogateescape"), size, _number(block[100:108]))


def _number(field: bytes) -> int:
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    match = _NUMBER.fullmatch(field)
    if match is None:
        raise Evil(f"a header has {field.rstrip(bytes(1))!r} where a number belongs")
    return int(match[1], 8)


def _text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


def _alone(data: bytes | None, otherwise: bytes) -> bytes:
    """What a GNU header says: one text, then nothing but its zeros."""
    if data is None:
        return otherwise
    if b"\0" in data.rstrip(b"\0"):
        raise Evil("a GNU header says more than one thing")
    return data.rstrip(b"\0")


def _records(data: bytes, keys: re.Pattern[bytes]) -> dict[bytes, bytes]:
    """What a pax header says."""
    found: dict[bytes, bytes] = {}
    while data:
        match = _RECORD.match(data)
        record = data[: int(match[1])] if match else b""
        if match is None or len(record) <= match.end() or len(record) < int(match[1]) or not record.endswith(b"\n"):
            raise Evil("it is damaged (a pax header is none)")
        if not keys.fullmatch(match[2]) or match[2] in found:
            raise Evil(f"a pax header says {match[2][:50].decode('ascii', 'replace')!r}, which has no place there")
        found[match[2]] = record[match.end() : -1]
        data = data[len(record) :]
    return found


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK
