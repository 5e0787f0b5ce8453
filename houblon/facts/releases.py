"""What the host has of upstream releases: read-only shell, and the parsing of what it prints.

A release is whole when its stamp names the archive it came from and a witness: the hash of every inode's change
time, size, rights and name. Programs cannot set a change time, so a tree that was touched shows in one walk that
opens no file. Only when the witness differs are the files themselves hashed: a tree that was copied or restored
with all its content is still good, and the next apply writes its witness anew.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from houblon.resources import Release

CACHE = "/var/cache/houblon"
LISTS = "/var/lib/houblon/releases"
MOST_NAMED = 200

FUNCTIONS = rf"""witness() {{ # TREE
  ( cd "$1" && find . -printf '%C@ %s %m %U:%G %p\n' | sort | sha256sum | cut -d' ' -f1 )
}}
sums() {{ # TREE: sha256sum(1) of every file, by name
  ( cd "$1" && find . -type f -print0 | sort -z | xargs -0r sha256sum -- )
}}
names() {{ # TREE: kind, rights, owner, target and name of everything in it
  ( cd "$1" && find . -printf '%y %m %U:%G %l\t%p\n' | sort )
}}
differs() {{ # KEY TREE: what is not as it was unpacked, one path a line
  [ -f {LISTS}/"$1".sha256 ] && [ -f {LISTS}/"$1".tree ] || {{ echo .; return; }}
  {{ sums "$2" | diff - {LISTS}/"$1".sha256 | sed -nE 's/^[<>] \\?[0-9a-f]{{64}}  (\.\/)?//p'
    names "$2" | diff - {LISTS}/"$1".tree | sed -nE 's/^[<>] [^\t]*\t(\.\/)?//p'; }} | sort -u
}}
release() {{ # KEY TREE ARCHIVE
  s=$(cat {LISTS}/"$1".stamp 2>/dev/null)
  if [ ! -e "$2" ] && [ ! -L "$2" ]; then printf '%s\tmissing\n' "$1"
  elif [ -L "$2" ] || [ ! -d "$2" ] || [ -z "$s" ]; then printf '%s\tunknown\n' "$1"
  elif [ "${{s% *}}" != "$3" ]; then printf '%s\tother\n' "$1"
  elif [ "${{s#* }}" = "$(witness "$2")" ]; then printf '%s\tgood\n' "$1"
  elif d=$(differs "$1" "$2"); [ -z "$d" ]; then printf '%s\thashed\n' "$1"
  else printf '%s\tchanged\n' "$1"; printf '%s\n' "$d" | head -n {MOST_NAMED} | sed 's/^/ /'; fi
}}
room() {{ # DIRECTORY: device, free kibibytes and inodes of the file system it is, or will be, on
  p=$1; while [ ! -d "$p" ]; do p=$(dirname -- "$p"); done
  printf '%s\t%s %s\n' "$1" "$(stat -c %d -- "$p")" "$(df -k --output=avail,iavail -- "$p" | tail -n1)"
}}
"""


@dataclass(frozen=True)
class ReleaseSeen:
    """A release on the host.

    :param state: ``missing``, ``unknown`` (something stands there that was never finished by us), ``other`` (made
        from another archive), ``changed`` or ``good``.
    :param changed: paths in it that are not as they were unpacked; at most `MOST_NAMED`.
    :param hashed: it is good by its content, though its witness is of another tree (it was copied or restored).
    """

    state: str = "missing"
    changed: tuple[str, ...] = ()
    hashed: bool = False


@dataclass(frozen=True)
class Room:
    """What is free on a file system: its device number, kibibytes, inodes (None where they are made as needed)."""

    device: str
    free_kb: int
    inodes: int | None


@dataclass
class ReleasesSeen:
    """All that was seen of releases.

    :param trees: by key.
    :param archives: bytes of the archive that the host already has, by sha256.
    :param rooms: by directory: where archives are kept, and where trees go.
    :param taken: directories in /opt that exist although no release of ours was ever finished there.
    """

    trees: dict[str, ReleaseSeen] = field(default_factory=dict)
    archives: dict[str, int] = field(default_factory=dict)
    rooms: dict[str, Room] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)

    def state(self, release: Release) -> str:
        """See `ReleaseSeen`."""
        return self.trees.get(release.key, ReleaseSeen()).state


def look(releases: Iterable[Release]) -> str:
    """The part of the bulk fact that describes these releases; empty without any."""
    items = list(releases)
    if not items:
        return ""
    lines = ["echo '#releases'", FUNCTIONS]
    lines += [f"release {shlex.quote(i.key)} {shlex.quote(i.path)} {i.sha256}" for i in items]
    lines.append("echo '#archives'")
    lines += [f"stat --printf '{i.sha256}\\t%s\\n' {part(i.sha256)} 2>/dev/null" for i in items]
    lines.append("echo '#rooms'")
    names = sorted({i.name for i in items})
    # Each may be a disk of its own.
    lines += [f"room {path}" for path in (CACHE, *(shlex.quote(f"/opt/{name}") for name in names))]
    lines.append("echo '#taken'")
    for name in names:
        home, ours = shlex.quote(f"/opt/{name}"), f"{LISTS}/{shlex.quote(name)}@*.stamp"
        lines.append(f"[ -e {home} ] && ! ls {ours} >/dev/null 2>&1 && echo {home}")
    return "\n".join(lines)


def part(sha256: str) -> str:
    """Where an archive is kept on the host until it is unpacked."""
    return f"{CACHE}/{sha256}.part"


def parse(seen: ReleasesSeen, section: str, lines: Sequence[str]) -> None:
    """Take in one section that `look` printed."""
    key = ""
    for line in lines:
        name, _, value = line.partition("\t")
        match section:
            case "releases" if line.startswith(" "):
                now = seen.trees[key]
                seen.trees[key] = ReleaseSeen(now.state, (*now.changed, shown(line[1:])))
            case "releases":
                key = name
                seen.trees[key] = ReleaseSeen("good", hashed=True) if value == "hashed" else ReleaseSeen(value)
            case "archives":
                seen.archives[name] = int(value)
            case "rooms":
                device, free, inodes = value.split()
                seen.rooms[name] = Room(device, int(free), int(inodes) if inodes not in ("-", "0") else None)
            case "taken":
                seen.taken.add(line)


def read(text: str) -> ReleasesSeen:
    """Parse all that `look` prints."""
    seen = ReleasesSeen()
    section = ""
    chunk: list[str] = []
    for line in [*text.splitlines(), "#"]:
        if line.startswith("#"):
            parse(seen, section, chunk)
            section, chunk = line[1:], []
        elif line:
            chunk.append(line)
    return seen


def deeply(release: Release) -> str:
    """Shell that hashes every file of a release, and prints what is not as it was unpacked."""
    return f"{FUNCTIONS}\ndiffers {shlex.quote(release.key)} {shlex.quote(release.path)}"


def shown(path: str) -> str:
    """A path that somebody else chose, fit for a terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in path) or "."
