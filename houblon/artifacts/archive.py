"""Judges an archive before anything is unpacked: whatever could reach outside its tree is refused.

The archive is read as a stream, nothing is written. The rules are stricter than tar needs, so that every program that
unpacks it later (GNU tar on the host) sees the same tree: canonical names below one top directory; links that climb
only at their start; no member through a link; no path that is two things; a proper end, and nothing after it.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import posixpath
import re
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path

MEMBERS = 200_000
"""Most members of an archive; Nextcloud has 26 000."""
_HEADER = 1024 * 1024
"""Most bytes of one member's headers, long names included."""
OVERHEAD = 512 * 1024 * 1024
"""Most bytes of headers and padding in an archive."""
_CONTROL = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
_DAMAGE = (EOFError, OSError, zlib.error, lzma.LZMAError, tarfile.TarError, ValueError, OverflowError)


class Evil(Exception):
    """The archive must not be unpacked; the text says why."""


@dataclass(frozen=True)
class Contents:
    """What is in an archive.

    :param size: of all its files, unpacked, in bytes.
    :param members: files, directories and links.
    """

    size: int
    members: int


def inspect(path: Path, top: str, limit_mb: int) -> Contents:
    """Look at every member of a tar archive packed with gzip, bzip2 or xz.

    :param top: the one directory that everything must lie in.
    :param limit_mb: largest size unpacked, in mebibytes.
    :raises Evil: naming the member at fault.
    """
    tree = Tree(top)
    limit = limit_mb * 1024 * 1024
    size = members = 0
    try:
        with _unpacked(path) as plain:
            stream = _Counted(plain, limit + OVERHEAD)
            stream.allow(_HEADER)
            # Blocks of 512 bytes, so that `stream` knows what the last block was that tarfile has seen.
            with tarfile.open(fileobj=stream, mode="r|", bufsize=tarfile.BLOCKSIZE, encoding="utf-8") as tar:
                while True:
                    stream.allow(tar.offset + _HEADER)
                    member = tar.next()
                    if member is None:
                        break
                    tar.members = []  # type: ignore[attr-defined] # it would keep them all
                    tree.add(member)
                    members += 1
                    size += member.size if member.isreg() else 0
                    if max(members, len(tree.kinds)) > MEMBERS:
                        raise Evil(f"it has more than {MEMBERS} members")
                    if size > limit:
                        raise Evil(f"it holds more than {limit_mb} MB unpacked")
            stream.end()
    except _DAMAGE as error:
        raise Evil(f"it is damaged or cut off ({_reason(error)})") from None
    if not tree.kinds:
        raise Evil("it is empty")
    return Contents(size, members)


class Tree:
    """The paths of an archive so far; refuses what would make them reach outside, or be two things at once."""

    def __init__(self, top: str) -> None:
        self.top = top
        self.kinds: dict[str, str] = {}

    def add(self, member: tarfile.TarInfo) -> None:
        """Take in one more member.

        :raises Evil: saying why it is refused.
        """
        name = member.name
        if _CONTROL.search(name) or len(name.encode()) > 3000 or any(len(s.encode()) > 255 for s in name.split("/")):
            raise Evil(f"{_shown(name)} is no name for a file")
        if name.startswith("/"):
            raise Evil(f"{_shown(name)} is an absolute path")
        if ".." in name.split("/"):
            raise Evil(f"{_shown(name)} leaves the tree")
        if name.split("/")[0] != self.top:
            raise Evil(f"{_shown(name)} does not lie in {self.top}/, as everything must")
        if name != posixpath.normpath(name):
            raise Evil(f"{_shown(name)} is not written plainly")
        kind = self._kind(member)
        parent = posixpath.dirname(name)
        while parent and self.kinds.get(parent) != "directory":
            if self.kinds.setdefault(parent, "directory") != "directory":
                raise Evil(f"{_shown(name)} goes through a {self.kinds[parent]}, not a directory")
            parent = posixpath.dirname(parent)
        if self.kinds.setdefault(name, kind) != kind:
            raise Evil(f"{_shown(name)} is both a {self.kinds[name]} and a {kind}")
        if name == self.top and kind != "directory":
            raise Evil(f"{self.top} is no directory")

    def _kind(self, member: tarfile.TarInfo) -> str:
        if member.isdir():
            return "directory"
        if member.issym():
            self._target(member.name, member.linkname)
            return "link"
        if member.islnk():
            # tar makes it from the root of the archive on, and a link to a link would move that to another depth.
            if self.kinds.get(member.linkname) != "file":
                raise Evil(f"{_shown(member.name)} is a hard link to {_shown(member.linkname)}, no file before it")
            return "file"
        if not member.isreg() or member.issparse():
            raise Evil(f"{_shown(member.name)} is neither file, directory nor link")
        if member.size < 0:
            raise Evil(f"{_shown(member.name)} has no possible size")
        if member.mode & 0o6000:
            raise Evil(f"{_shown(member.name)} would run with another user's rights (setuid)")
        return "file"

    def _target(self, name: str, target: str) -> None:
        steps = target.split("/")
        while steps and steps[0] in ("..", "."):
            steps.pop(0)
        # A `..` after a name is relative to wherever that name leads, which may be a link itself.
        goes = posixpath.normpath(posixpath.join(posixpath.dirname(name), target))
        inside = goes == self.top or goes.startswith(f"{self.top}/")
        if not target or target.startswith("/") or ".." in steps or not inside or _CONTROL.search(target):
            raise Evil(f"{_shown(name)} is a link to {_shown(target)}, out of the tree")


class _Counted(io.RawIOBase):
    """A stream that is read forwards, not further than allowed, and that knows what its last block was.

    :param most: bytes it may have in all.
    """

    def __init__(self, inner: io.BufferedIOBase, most: int) -> None:
        super().__init__()
        self._inner, self._most, self._allowed, self._read = inner, most, 0, 0
        self._last = b""

    def allow(self, position: int) -> None:
        """Let it be read up to this position."""
        self._allowed = min(position, self._most)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if self._read + size > self._allowed:
            raise Evil("its headers are larger than any real one's")
        self._last = self._inner.read(size)
        self._read += len(self._last)
        return self._last

    def end(self) -> None:
        """Read what follows the last member: zeros, at least one block.

        :raises Evil: tarfile stopped at what is no end, where another program might go on.
        """
        self._allowed = self._most + 65536
        chunk = self._last
        if len(chunk) < tarfile.BLOCKSIZE:
            raise Evil("it is cut off")
        while chunk:
            if chunk.count(0) != len(chunk):
                raise Evil("it is damaged: after its last readable member there is more")
            chunk = self.read(65536)


def _unpacked(path: Path) -> gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile:
    with path.open("rb") as stream:
        magic = stream.read(6)
    if magic.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(path)
    if magic.startswith(b"BZh"):
        return bz2.BZ2File(path)
    if magic == b"\xfd7zXZ\x00":
        return lzma.LZMAFile(path)
    raise Evil("it is no archive packed with gzip, bzip2 or xz")


def _shown(name: str) -> str:
    return repr(name if len(name) <= 100 else name[:97] + "...")


def _reason(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
