"""Many questions in one script: named frames, so that a whole verification costs a few round trips.

Shared by verify and status. Building and parsing are pure; nothing here knows a service.
"""

from __future__ import annotations

import re
import secrets
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from houblon.errors import OperationFailed

if TYPE_CHECKING:
    from houblon.verify.backend import Runner

RECORD = "/var/lib/houblon/state.json"
TLS = "/etc/houblon/tls"


@dataclass(frozen=True)
class Frame:
    """The answer to one question.

    :param status: exit status of its commands.
    :param output: standard output and error together.
    """

    status: int
    output: str

    @property
    def lines(self) -> list[str]:
        return [line for line in self.output.splitlines() if line.strip()]


def ask(
    runner: Runner, questions: Mapping[str, str], slow: Iterable[str] = (), timeout: float = 120
) -> dict[str, Frame]:
    """Run all questions in one round trip.

    :param questions: shell by name; each runs in a subshell.
    :param slow: names of questions that are worth a process beside the others.
    :raises OperationFailed: when the answer is not whole, so that a missing answer is never an empty one.
    """
    nonce = secrets.token_hex(8)
    answer = runner.run(script_for(questions, nonce, slow), timeout=timeout)
    frames = parse_frames(answer.stdout, nonce)
    missing = [name for name in questions if name not in frames]
    if missing:
        raise OperationFailed(
            f"the host did not answer about {', '.join(missing[:3])}: {answer.stderr.strip()[-300:]}",
            cure="Run the command again; if it stays, look at the host's memory, disk and log.",
        )
    return frames


def script_for(questions: Mapping[str, str], nonce: str, slow: Iterable[str] = ()) -> str:
    """The script that answers all questions; ``nonce`` keeps output from being taken for a frame's edge."""
    parts = {
        name: f"printf '%s\\n' '#{nonce} begin {name}'\n( {{\n{shell}\n}} ) 2>&1 </dev/null\n"
        f"printf '\\n#{nonce} end %s\\n' \"$?\"\n"
        for name, shell in questions.items()
    }
    beside = "".join(parts.pop(name) for name in dict.fromkeys(slow) if name in parts)
    rest = "".join(parts.values())
    # The slow ones write into the pipe while the others run, and are read when these are done.
    return f"{{\n{beside}}} | {{\n{rest}cat\n}}\n" if beside else rest


def parse_frames(text: str, nonce: str) -> dict[str, Frame]:
    """Parse what `script_for` prints; a frame that was cut off is left out."""
    pattern = rf"^#{nonce} begin ([^\n]*)\n(.*?)\n#{nonce} end (\d+)$"
    return {
        name: Frame(int(status), output)
        for name, output, status in re.findall(pattern, text, re.MULTILINE | re.DOTALL)
    }


def quote(values: Iterable[str]) -> str:
    """Words for a shell command, each once."""
    return " ".join(shlex.quote(value) for value in dict.fromkeys(values))


# --- units ------------------------------------------------------------------------------------------------

UNIT_PROPERTIES = "Id,Names,LoadState,ActiveState,SubState,UnitFileState,Result,Type,NRestarts,StateChangeTimestamp"


def units_question(names: Iterable[str]) -> str:
    """`systemctl show` of these units, times as seconds since the epoch."""
    wanted = quote(names)
    if not wanted:
        return ":"
    return f"systemctl show --timestamp=unix -p {UNIT_PROPERTIES} -- {wanted}"


@dataclass(frozen=True)
class UnitSeen:
    """A unit as systemd describes it; ``since`` in seconds since the epoch, 0 when it never changed."""

    name: str
    load: str
    active: str
    sub: str
    enabled: str
    result: str
    kind: str
    restarts: int
    since: int
    names: tuple[str, ...] = ()


def parse_units(text: str) -> dict[str, UnitSeen]:
    """Blocks of ``Key=value``; a unit is found under each of its names (mysql.service is mariadb.service)."""
    found: dict[str, UnitSeen] = {}
    for block in re.split(r"\n\s*\n", text.strip()):
        values = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        if "Id" not in values:
            continue
        stamp = values.get("StateChangeTimestamp", "").lstrip("@")
        unit = UnitSeen(
            name=values["Id"],
            load=values.get("LoadState", ""),
            active=values.get("ActiveState", ""),
            sub=values.get("SubState", ""),
            enabled=values.get("UnitFileState", ""),
            result=values.get("Result", ""),
            kind=values.get("Type", ""),
            restarts=_number(values.get("NRestarts")),
            since=_number(stamp),
            names=tuple(values.get("Names", "").split()),
        )
        for name in {unit.name, *unit.names}:
            found[name] = unit
    return found


def _number(text: str | None) -> int:
    return int(text) if text and text.isdecimal() else 0


# --- sockets ----------------------------------------------------------------------------------------------

LISTEN_QUESTION = "ss -Htulnp"


@dataclass(frozen=True)
class Listener:
    """A socket that waits for others; ``address`` without brackets, ``*`` and ``0.0.0.0`` as they are."""

    proto: str
    address: str
    port: int
    program: str = ""

    @property
    def local(self) -> bool:
        """Reachable from the host itself only."""
        bare = self.address.partition("%")[0]
        return bare.startswith("127.") or bare in ("::1", "::ffff:127.0.0.1") or self.address.endswith("%lo")


def parse_listeners(text: str) -> list[Listener]:
    """Parse `ss -Htulnp`: netid, state, queues, local, peer, users."""
    found = []
    for line in text.splitlines():
        fields = line.split()
        if len(fields) < 6 or fields[0] not in ("tcp", "udp"):
            continue
        address, _, port = fields[4].rpartition(":")
        if not port.isdecimal():
            continue
        program = re.search(r'users:\(\("([^"]+)"', line)
        bare = address.replace("[", "").replace("]", "")
        found.append(Listener(fields[0], bare, int(port), program.group(1) if program else ""))
    return found


# --- sandbox ----------------------------------------------------------------------------------------------


def parse_exposure(text: str) -> dict[str, float]:
    """Parse the overview of `systemd-analyze security`: unit, exposure, predicate, face."""
    return {
        match[1]: float(match[2]) for match in re.finditer(r"^\s*(\S+\.service)\s+(\d+(?:\.\d+)?)\s", text, re.M)
    }


# --- what the last apply recorded -------------------------------------------------------------------------


@dataclass(frozen=True)
class Recorded:
    """A file as the last apply left it; for a link only its target counts."""

    role: str
    path: str
    sha256: str = ""
    mode: int = 0
    owner: str = ""
    group: str = ""
    secret: bool = False
    target: str = ""


def recorded_files(record: Mapping[str, Any] | None) -> list[Recorded]:
    """The files and links in the host's record, in its order; none when there is no record.

    :raises KeyError, TypeError, AttributeError, ValueError: a damaged record.
    """
    if record is None:
        return []
    found = []
    for role, section in record["roles"].items():
        for path, about in (section.get("files") or {}).items():
            mode = about["mode"]
            found.append(
                Recorded(
                    role, path, about["sha256"], int(mode, 8) if isinstance(mode, str) else mode,
                    about["owner"], about["group"], bool(about.get("secret")),
                )
            )  # fmt: skip
        for path, target in (section.get("links") or {}).items():
            found.append(Recorded(role, path, target=target))
    return found


@dataclass(frozen=True)
class FileSeen:
    """A file as it is now; ``sha256`` is empty when it is no regular file, ``target`` when it is no link."""

    kind: str
    mode: int
    owner: str
    group: str
    sha256: str
    target: str = ""


def files_question(paths: Iterable[str]) -> str:
    """Stat and hash these paths. Anything but a regular file is not opened (a FIFO would block)."""
    wanted = quote(paths)
    if not wanted:
        return ":"
    return (
        f"stat --printf '%a\\t%U\\t%G\\t%F\\t%n\\n' -- {wanted} 2>/dev/null\n"
        f"for p in {wanted}; do [ -f \"$p\" ] && [ ! -L \"$p\" ] && printf '%s\\0' \"$p\"; done |\n"
        "xargs -0r sha256sum --\n"
        f"for p in {wanted}; do [ -L \"$p\" ] && printf '%s\\t%s\\n' \"$(readlink -- \"$p\")\" \"$p\"; done; :"
    )


def parse_files(text: str) -> dict[str, FileSeen]:
    """Parse the answer to `files_question`."""
    stats: dict[str, tuple[str, int, str, str]] = {}
    sums: dict[str, str] = {}
    targets: dict[str, str] = {}
    for line in text.splitlines():
        fields = line.split("\t", 4)
        if len(fields) == 5:
            stats[fields[4]] = (fields[3], int(fields[0], 8), fields[1], fields[2])
        elif re.match(r"[0-9a-f]{64}  ", line):
            sums[line[66:]] = line[:64]
        elif "\t" in line:
            target, _, path = line.partition("\t")
            targets[path] = target
    return {path: FileSeen(*about, sums.get(path, ""), targets.get(path, "")) for path, about in stats.items()}


def drift(record: Iterable[Recorded], seen: Mapping[str, FileSeen]) -> list[tuple[Recorded, str]]:
    """What differs from the record: each with ``missing``, ``kind``, ``target``, ``content``, ``mode``, ``owner``."""
    found = []
    for file in record:
        now = seen.get(file.path)
        if now is None:
            found.append((file, "missing"))
        elif file.target:
            if now.target != file.target:
                found.append((file, "target" if now.target else "kind"))
        elif not now.kind.startswith("regular"):
            found.append((file, "kind"))
        elif now.sha256 != file.sha256:
            found.append((file, "content"))
        elif now.mode != file.mode:
            found.append((file, "mode"))
        elif (now.owner, now.group) != (file.owner, file.group):
            found.append((file, "owner"))
    return found
