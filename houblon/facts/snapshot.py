"""The bulk fact: the state of every item of a model, in one round trip.

pyinfra's own facts cost one command each (345 for a mid-size site), so a no-op over a slow line would take a
minute. The script is derived from the desired items, never recorded, so it cannot go stale.
"""

from __future__ import annotations

import base64
import json
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from pyinfra.api import FactBase, StringCommand

from houblon.facts import releases
from houblon.facts.releases import ReleasesSeen
from houblon.resources import (
    Absent,
    Directory,
    Door,
    Ensure,
    File,
    Item,
    Link,
    OldRelease,
    Packages,
    Release,
    UnitState,
    User,
)
from houblon.software import LAB_MARK

RECORD = "/var/lib/houblon/state.json"
STAMPS = "/var/lib/houblon/stamps"
POLICY = "/usr/sbin/policy-rc.d"
POLICY_MARK = "# made by houblon while it installs packages"


@dataclass(frozen=True)
class Entry:
    """One path on the host: kind as stat(1) names it, octal mode, owner, group."""

    kind: str
    mode: int
    owner: str
    group: str


@dataclass(frozen=True)
class UnitSeen:
    """A systemd unit as `systemctl show` describes it."""

    load: str
    active: str
    sub: str
    enabled: str
    reload_needed: bool
    kind: str


@dataclass(frozen=True)
class UserSeen:
    """A local account; ``password`` is the SHA-256 of its shadow field, which itself is not read."""

    home: str
    shell: str
    groups: frozenset[str]
    password: str
    comment: str = ""


@dataclass
class Seen:
    """What the host looked like at one moment."""

    paths: dict[str, Entry] = field(default_factory=dict)
    sums: dict[str, str] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    packages: set[str] = field(default_factory=set)
    dpkg_broken: bool = False
    policy_left: bool = False
    units: dict[str, UnitSeen] = field(default_factory=dict)
    users: dict[str, UserSeen] = field(default_factory=dict)
    stamps: dict[str, str] = field(default_factory=dict)
    guards: dict[str, bool] = field(default_factory=dict)
    live: dict[str, str] = field(default_factory=dict)
    record: dict[str, Any] | None = None
    facts: dict[str, str] = field(default_factory=dict)
    releases: ReleasesSeen = field(default_factory=ReleasesSeen)


def script_for(items: Iterable[Item], extra_paths: Sequence[str] = (), extra_units: Sequence[str] = ()) -> str:
    """The read-only shell script whose output `parse` turns into `Seen`.

    :param extra_paths: further paths to stat (recorded by an earlier apply, perhaps no longer asked for).
    """
    paths: list[str] = list(extra_paths)
    sums: list[str] = list(extra_paths)
    links: list[str] = list(extra_paths)
    packages: list[str] = []
    units: list[str] = list(extra_units)
    users: list[str] = []
    guards: list[tuple[str, str]] = []
    doors: list[Door] = []
    trees: list[Release] = []
    for item in items:
        match item:
            case File():
                paths.append(item.path)
                sums.append(item.path)
            case Directory() | OldRelease():
                paths.append(item.path)
            case Release():
                trees.append(item)
            case Absent():
                paths.append(item.path)
                packages += [item.comes_with] if item.comes_with else []
            case Link():
                paths.append(item.path)
                links.append(item.path)
            case Packages():
                packages += item.names
            case UnitState():
                units.append(item.name)
            case User():
                users.append(item.name)
            case Ensure():
                guards.append((item.name, item.check))
            case Door():
                doors.append(item)
                paths += [f.path for f in item.files]
                sums += [f.path for f in item.files]
    parts = [_META]
    if paths:
        parts.append(f"echo '#paths'\nstat --printf '%F\\t%a\\t%U\\t%G\\t%n\\n' -- {_quote(paths)} 2>/dev/null")
    if sums:
        # A FIFO or device in the way must not block the reading.
        parts.append(
            f"echo '#sums'\nfor p in {_quote(sums)}; do [ -f \"$p\" ] && [ ! -L \"$p\" ] && "
            # -z, or it would escape names that hold a backslash, as systemd's do.
            "printf '%s\\0' \"$p\"; done | xargs -0r sha256sum -z -- | tr '\\0' '\\n'"
        )
    if links:
        parts.append(
            f"echo '#links'\nfor p in {_quote(links)}; do [ -L \"$p\" ] && "
            "printf '%s\\t%s\\n' \"$p\" \"$(readlink -- \"$p\")\"; done"
        )
    if packages:
        parts.append(
            "echo '#packages'\ndpkg-query -W -f '${Package}\\t${db:Status-Status}\\n' -- "
            f"{_quote(packages)} 2>/dev/null"
        )
    if units:
        parts.append(
            "echo '#units'\nsystemctl show -p Id,LoadState,ActiveState,SubState,UnitFileState,NeedDaemonReload,Type "
            f"-- {_quote(units)}"
        )
    for user in users:
        name = shlex.quote(user)
        parts.append(
            f"echo '#user {user}'\ngetent passwd {name} && id -Gn {name} && "
            f"getent shadow {name} | cut -d: -f2 | tr -d '\\n' | sha256sum"
        )
    for name, check in guards:
        title = shlex.quote(f"#guard {name}")
        parts.append(f"printf '%s\\n' {title}\n(\n{check}\n) >/dev/null 2>&1 </dev/null; echo $?")
    if trees:
        parts.append(releases.look(trees))
    for door in doors:
        live = door.live or ":"
        parts.append(
            f"echo {shlex.quote('#live ' + door.name)}\n(\n{live}\n) 2>/dev/null </dev/null | sha256sum"
        )
    parts.append("echo '#end'")
    return "\n".join(parts) + "\n"


_META = f"""echo '#stamps'
[ -d {STAMPS} ] && for f in {STAMPS}/*; do [ -f "$f" ] && printf '%s\\t%s\\n' "${{f##*/}}" "$(cat "$f")"; done
echo '#record'
[ -f {RECORD} ] && cat {RECORD} && echo
echo '#facts'
( . /etc/os-release; echo "os=$ID"; echo "version=$VERSION_ID" )
echo "architecture=$(dpkg --print-architecture)"
awk '/^MemTotal/ {{print "memory_kb=" $2}}' /proc/meminfo
df -Pk / | awk 'NR==2 {{print "disk_free_kb=" $4}}'
echo "container=$(systemd-detect-virt --container 2>/dev/null)"
[ -f {LAB_MARK} ] && echo lab=yes
echo "hostname=$(uname -n)"
[ -f {POLICY} ] && grep -qF '{POLICY_MARK}' {POLICY} && echo policy=left
[ -n "$(dpkg --audit 2>/dev/null | head -c1)" ] && echo dpkg=broken
"""


def parse(lines: Sequence[str]) -> Seen:
    """Parse the output of `script_for`.

    :raises ValueError: when the output is not whole (its end mark is missing), so that a cut answer is
        never taken for an empty host.
    """
    if not lines or lines[-1] != "#end":
        raise ValueError("the host's answer is not whole")
    seen = Seen()
    section, argument = "", ""
    chunk: list[str] = []

    def finish() -> None:
        _section(seen, section, argument, chunk)

    for line in lines[:-1]:
        if line.startswith("#"):
            finish()
            section, _, argument = line[1:].partition(" ")
            chunk = []
        else:
            chunk.append(line)
    finish()
    return seen


def _section(seen: Seen, section: str, argument: str, lines: list[str]) -> None:
    match section:
        case "paths":
            for line in lines:
                kind, mode, owner, group, path = line.split("\t", 4)
                seen.paths[path] = Entry(kind, int(mode, 8), owner, group)
        case "sums":
            for line in lines:
                seen.sums[line[66:]] = line[:64]
        case "links":
            seen.links.update(_pairs(lines))
        case "packages":
            seen.packages |= {line.split("\t")[0] for line in lines if line.endswith("\tinstalled")}
        case "units":
            for block in "\n".join(lines).split("\n\n"):
                values = dict(line.split("=", 1) for line in block.strip().splitlines() if "=" in line)
                if "Id" in values:
                    seen.units[values["Id"]] = UnitSeen(
                        values.get("LoadState", ""),
                        values.get("ActiveState", ""),
                        values.get("SubState", ""),
                        values.get("UnitFileState", ""),
                        values.get("NeedDaemonReload") == "yes",
                        values.get("Type", ""),
                    )
        case "user" if len(lines) >= 3:
            fields = lines[0].split(":")
            seen.users[argument] = UserSeen(
                fields[5], fields[6], frozenset(lines[1].split()), lines[2].split()[0], fields[4]
            )
        case "stamps":
            seen.stamps.update(_pairs(lines))
        case "guard":
            seen.guards[argument] = bool(lines) and lines[-1] == "0"
        case "live":
            seen.live[argument] = lines[0].split()[0] if lines else ""
        case "record":
            text = "\n".join(lines).strip()
            # A damaged record raises here: unknown must not look like a host that was never applied to.
            seen.record = json.loads(text) if text else None
        case "releases" | "archives" | "rooms" | "taken":
            releases.parse(seen.releases, section, lines)
        case "facts":
            seen.facts = dict(line.split("=", 1) for line in lines if "=" in line)
            seen.policy_left = "policy" in seen.facts
            seen.dpkg_broken = "dpkg" in seen.facts


def _pairs(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    for line in lines:
        name, tab, value = line.partition("\t")
        if tab:
            yield name, value


class HostState(FactBase[Seen]):
    """`Seen`, as a pyinfra fact. ``script`` comes from `script_for`."""

    def command(self, script: str) -> StringCommand:
        return StringCommand(script)

    def process(self, output: list[str]) -> Seen:
        return parse(output)


def contents_script(paths: Sequence[str]) -> str:
    """Read whole files, base64 by line, for the plan's diffs; files above 256 KiB are left out."""
    return (
        f"for p in {_quote(paths)}; do [ -f \"$p\" ] && [ $(stat -c %s -- \"$p\") -le 262144 ] && "
        "printf '%s\\t%s\\n' \"$p\" \"$(base64 -w0 -- \"$p\")\"; done; :"
    )


def parse_contents(text: str) -> dict[str, bytes]:
    """Parse what `contents_script` prints."""
    found = {}
    for line in text.splitlines():
        path, _, data = line.partition("\t")
        found[path] = base64.b64decode(data)
    return found


def _quote(values: Iterable[str]) -> str:
    return " ".join(shlex.quote(value) for value in dict.fromkeys(values))
