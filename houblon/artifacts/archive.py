"""Judges an archive before anything is unpacked: whatever could reach outside its tree is refused.

The archive is read as a stream, nothing is written. The rules are stricter than tar needs, so that every program that
unpacks it later (GNU tar on the host) sees the same tree: headers that can be read in one way only (`tar`); canonical
names below one top directory; links that climb only at their start; no member through a link; no path twice; a proper
end, and nothing after it. What the tree must look like once unpacked is summed up, for the host to compare.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import posixpath
import re
import zlib
from dataclasses import dataclass
from pathlib import Path

from houblon.artifacts.tar import Evil, Member, members

__all__ = ["LISTING_SHELL", "RULES", "Contents", "Evil", "inspect"]

RULES = 2
"""Counted up when the rules change: what was judged by earlier ones is judged anew."""
MEMBERS = 200_000
"""Most members of an archive; Nextcloud has 26 000."""
OVERHEAD = 512 * 1024 * 1024
"""Most bytes of headers and padding in an archive."""
LISTING_SHELL = r"""listing() { # TREE: what must equal `Contents.listing`
  ( cd -- "$1" && find . -type f -printf 'f\t%s\t%P\0' -o -type l -printf 'l\t%l\t%P\0' -o -printf '%y\t\t%P\0' |
    LC_ALL=C sort -z | sha256sum | cut -d' ' -f1 )
}
"""
"""A function for sh that says of an unpacked tree what `inspect` says of its archive (find(1) of GNU)."""
_CONTROL = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
_DAMAGE = (EOFError, OSError, zlib.error, lzma.LZMAError)


@dataclass(frozen=True)
class Contents:
    """What is in an archive.

    :param size: of all its files, unpacked, in bytes.
    :param members: files, directories and links.
    :param listing: SHA-256 of the unpacked tree's sorted listing: kind, size or link target, and path of each file
        (a hard link is one), link and directory, also of those that only paths imply; see `LISTING_SHELL`.
    """

    size: int
    members: int
    listing: str


def inspect(path: Path, top: str, limit_mb: int) -> Contents:
    """Look at every member of a tar archive packed with gzip, bzip2 or xz.

    :param top: the one directory that everything must lie in.
    :param limit_mb: largest size unpacked, in mebibytes.
    :raises Evil: naming the member at fault.
    """
    tree = Tree(top)
    limit = limit_mb * 1024 * 1024
    size = count = 0
    try:
        with _unpacked(path) as plain:
            stream = _Counted(plain, limit + OVERHEAD)
            for member in members(stream.exactly):
                tree.add(member)
                count += 1
                size += member.size
                if max(count, len(tree.kinds)) > MEMBERS:
                    raise Evil(f"it has more than {MEMBERS} members")
                if size > limit:
                    raise Evil(f"it holds more than {limit_mb} MB unpacked")
            stream.end()
    except _DAMAGE as error:
        raise Evil(f"it is damaged or cut off ({_reason(error)})") from None
    if not tree.kinds:
        raise Evil("it is empty")
    return Contents(size, count, tree.listing())


class Tree:
    """The paths of an archive so far; refuses what would make them reach outside, or be two things at once."""

    def __init__(self, top: str) -> None:
        self.top = top
        self.kinds: dict[str, str] = {}
        self._says: dict[str, str] = {}
        """Of files their sizes, of links their targets."""

    def add(self, member: Member) -> None:
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
        if name in self.kinds and (kind, self.kinds[name]) != ("directory", "directory"):
            twice = kind == self.kinds[name]
            raise Evil(f"{_shown(name)} is " + ("there twice" if twice else f"both a {self.kinds[name]} and a {kind}"))
        self.kinds[name] = kind
        if name == self.top and kind != "directory":
            raise Evil(f"{self.top} is no directory")
        if kind == "file":
            self._says[name] = self._says[member.target] if member.kind == "hard link" else str(member.size)
        elif kind == "link":
            self._says[name] = member.target

    def listing(self) -> str:
        """See `Contents`."""
        lines = sorted(
            f"{kind[0]}\t{self._says.get(name, '')}\t{name[len(self.top) + 1:]}".encode()
            for name, kind in self.kinds.items()
        )
        return hashlib.sha256(b"".join(line + b"\0" for line in lines)).hexdigest()

    def _kind(self, member: Member) -> str:
        if member.kind == "link":
            self._target(member.name, member.target)
        if member.kind == "hard link":
            # tar makes it from the root of the archive on, and a link to a link would move that to another depth.
            if self.kinds.get(member.target) != "file":
                raise Evil(f"{_shown(member.name)} is a hard link to {_shown(member.target)}, no file before it")
            return "file"
        if member.kind == "file" and member.mode & 0o6000:
            raise Evil(f"{_shown(member.name)} would run with another user's rights (setuid)")
        return member.kind

    def _target(self, name: str, target: str) -> None:
        steps = target.split("/")
        while steps and steps[0] in ("..", "."):
            steps.pop(0)
        # A `..` after a name is relative to wherever that name leads, which may be a link itself.
        goes = posixpath.normpath(posixpath.join(posixpath.dirname(name), target))
        inside = goes == self.top or goes.startswith(f"{self.top}/")
        if not target or target.startswith("/") or ".." in steps or not inside or _CONTROL.search(target):
            raise Evil(f"{_shown(name)} is a link to {_shown(target)}, out of the tree")


class _Counted:
    """A stream that is read forwards.

    :param most: bytes it may have in all.
    """

    def __init__(self, inner: gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile, most: int) -> None:
        self._inner, self._left = inner, most

    def exactly(self, size: int) -> bytes:
        """The next bytes.

        :raises EOFError: there are fewer.
        """
        data = self._read(size)
        if len(data) < size:
            raise EOFError("it ends too early")
        return data

    def end(self) -> None:
        """Read what follows the last member: zeros.

        :raises Evil: there is more, which another program might unpack.
        """
        while chunk := self._read(1 << 16):
            if chunk.count(0) != len(chunk):
                raise Evil("it is damaged: after its last member there is more")

    def _read(self, size: int) -> bytes:
        if size > self._left:
            raise Evil("its headers are larger than any real one's")
        data = self._inner.read(size)
        self._left -= len(data)
        return data


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
