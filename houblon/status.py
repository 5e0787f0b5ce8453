"""``houblon status``: the host at a glance, in two scripts over one connection. Parsing is pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from cryptography import x509

from houblon.claimjson import claim_from_json
from houblon.claims import Artifact, Claim, Database, Listen, Port, Unit
from houblon.errors import Exit
from houblon.facts import releases
from houblon.resources import Release
from houblon.verify import probe
from houblon.verify.certificates import LIFETIME_LEFT, fraction_left, issuer

if TYPE_CHECKING:
    from houblon.site import Site
    from houblon.verify.backend import Runner

FULL_RED, FULL_YELLOW = 95, 85
"""Percent of a disk, or of its inodes, in use."""
NAMED = 5
"""How many changed files of a release are named."""
LISTS_STALE_DAYS = 7
"""Package lists older than this say nothing about updates."""
HEARTBEAT = "/srv/houblon/health/public/.well-known/houblon/health.json"
LOOKED_SECONDS = 300
"""The host looks at itself every minute; when it has not for so long, silence means nothing."""
OUR_TABLES = ("houblon",)
TABLES_LEFT_ALONE = ("f2b-table",)
"""fail2ban makes its table when it first bans."""

QUESTIONS = {
    "now": "date +%s; cat /proc/uptime",
    "record": f"[ ! -e {probe.RECORD} ] || cat {probe.RECORD}",
    "certificates": (
        f"for d in {probe.TLS}/*/; do [ -d \"$d\" ] || continue; echo \"@ $d\"; cat \"$d/fullchain.pem\"; done"
    ),
    "disks": "df -P -x tmpfs -x devtmpfs -x efivarfs -x overlay; df -P /; echo @; "
    "df -Pi -x tmpfs -x devtmpfs -x efivarfs -x overlay; df -Pi /",
    "memory": "cat /proc/meminfo",
    # The lists are read as they are: asking the mirrors is the host's own daily work. A simulated upgrade would
    # take three times as long, and hides what it would hold back.
    "updates": "apt list --upgradable 2>/dev/null",
    "lists": "stat -c %Y /var/lib/apt/periodic/update-success-stamp /var/cache/apt/pkgcache.bin /var/lib/apt/lists "
    "2>/dev/null | sort -n | tail -n1",
    "reboot": "[ ! -e /run/reboot-required ] || { echo required; cat /run/reboot-required.pkgs 2>/dev/null; }\n"
    "if ! systemd-detect-virt -qc; then echo \"running $(uname -r)\"; "
    "ls -v /boot/vmlinuz-* 2>/dev/null | tail -n1 | sed 's,.*/vmlinuz-,newest ,'; fi",
    "heartbeat": f"cat {HEARTBEAT} 2>/dev/null; :",
    "failed": "systemctl list-units --failed --plain --no-legend --no-pager",
    "listen": probe.LISTEN_QUESTION,
    "people": "awk -F: '$3 >= 1000 && $3 < 60000 && $7 !~ /(nologin|false|sync)$/ {print $1}' /etc/passwd",
    "own units": "find /etc/systemd/system -maxdepth 1 -type f -name '*.*'",
    "vhosts": "find /etc/nginx/sites-enabled /etc/nginx/conf.d -mindepth 1 -maxdepth 1 2>/dev/null; :",
    "tables": "command -v nft >/dev/null || exit 0; nft list tables",
    "databases": """if [ -S /run/postgresql/.s.PGSQL.5432 ]; then echo '@ postgresql'
runuser -u postgres -- psql -XAtqc "select datname from pg_database where not datistemplate and datname <> 'postgres'"
fi 2>/dev/null
if [ -S /run/mysqld/mysqld.sock ]; then echo '@ mariadb'
mariadb -N -e 'show databases' | grep -vxE 'information_schema|performance_schema|mysql|sys'
fi 2>/dev/null; :""",
}


@dataclass(frozen=True)
class UnitLine:
    """A claimed unit; ``since`` in seconds since the epoch."""

    role: str
    name: str
    state: str
    since: int
    ok: bool


@dataclass(frozen=True)
class CertificateLine:
    """A certificate on the host; ``fraction`` is the part of its lifetime that is left."""

    name: str
    issuer: str
    days: int
    fraction: float
    ok: bool


@dataclass(frozen=True)
class DiskLine:
    """A file system; ``inodes`` is None where they are made as needed (btrfs)."""

    mount: str
    percent: int
    free_mb: int
    inodes: int | None


@dataclass(frozen=True)
class Drift:
    """A recorded file that is no more as the last apply left it."""

    role: str
    path: str
    what: str


@dataclass
class Status:
    """The host as it is now. ``problems`` is what makes the exit status 6, ``remarks`` what can wait.

    :param updates: packages that could be upgraded; None when that is unknown.
    :param memory_mb: total and available.
    """

    site: str
    host: str
    at: int
    uptime: int = 0
    applied: dict[str, Any] | None = None
    units: list[UnitLine] = field(default_factory=list)
    certificates: list[CertificateLine] = field(default_factory=list)
    disks: list[DiskLine] = field(default_factory=list)
    memory_mb: tuple[int, int] = (0, 0)
    updates: int | None = None
    security_updates: int | None = None
    reboot: str = ""
    drift: list[Drift] = field(default_factory=list)
    unmanaged: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> Exit:
        return Exit.VERIFICATION_FAILED if self.problems else Exit.OK

    def to_json(self) -> dict[str, Any]:
        """Stable names for programs (docs/reference/verify.md)."""
        return {**asdict(self), "at": _iso(self.at), "ok": not self.problems}


def status(site: Site, runner: Runner) -> Status:
    """Look at the host once.

    :raises CannotConnect: when the line is lost.
    :raises OperationFailed: when the host's answer is not whole.
    """
    units = [claim.name for claim in site.claims(Unit)]
    frames = probe.ask(runner, {**QUESTIONS, "units": probe.units_question(units)}, ("updates",), timeout=60)
    record = _record(frames["record"])[0]
    paths = [file.path for file in probe.recorded_files(record)]
    if paths:
        trees = releases.look(recorded_releases(record)) or ":"
        frames |= probe.ask(runner, {"files": probe.files_question(paths), "releases": trees}, timeout=120)
    return understand(site, frames)


def understand(site: Site, frames: Mapping[str, probe.Frame]) -> Status:
    """Turn the host's answers into a status."""
    now, uptime = parse_now(frames["now"].output)
    result = Status(site.name, site.host.address, now, uptime)
    record, damage = _record(frames["record"])
    if damage:
        result.problems.append(f"the host's record of the last apply is damaged ({damage}); run `houblon apply`")
    _applied(result, record)
    placed = {role.name for role in site.roles}
    result.unmanaged = sorted(set((record or {}).get("roles") or {}) - placed)
    claims = [*site.claims(Claim), *recorded_claims(record, result.unmanaged)]
    _units(result, [c for c in claims if isinstance(c, Unit) and c.role in placed], frames)
    result.certificates = list(parse_certificates(frames["certificates"].output, now))
    result.problems += [
        f"certificate {c.name} ({c.issuer}): {c.days} days left, {c.fraction:.0%} of its lifetime"
        for c in result.certificates if not c.ok
    ]  # fmt: skip
    result.disks = parse_disks(frames["disks"].output)
    _disks(result)
    result.memory_mb = parse_memory(frames["memory"].output)
    _updates(result, frames)
    result.reboot = parse_reboot(frames["reboot"].output)
    if result.reboot:
        result.remarks.append(f"reboot pending: {result.reboot}")
    if "files" in frames:
        seen = probe.parse_files(frames["files"].output)
        result.drift = [Drift(f.role, f.path, what) for f, what in probe.drift(probe.recorded_files(record), seen)]
    result.remarks += [f"{d.path} ({d.role}): {d.what} changed since the last apply" if d.what != "missing"
                       else f"{d.path} ({d.role}) is missing" for d in result.drift]  # fmt: skip
    if "releases" in frames:
        _releases(result, recorded_releases(record), releases.read(frames["releases"].output))
    result.remarks += [f"{n}: no longer managed; left alone until `houblon remove {n}`" for n in result.unmanaged]
    if record is not None:
        lookers = [role for role in site.roles if "alerts" in role.provides]
        result.remarks += [note for role in lookers for note in role.notes()]
        # A host that has just booted has had no time to look.
        if any(role.name in record.get("roles", ()) for role in lookers) and result.uptime > LOOKED_SECONDS:
            result.problems += filter(None, [unseen(now, parse_heartbeat(frames["heartbeat"].output))])
    if frames["tables"].status != 0:
        result.remarks.append("nftables tables unknown: `nft list tables` fails on the host")
    result.foreign = list(foreign(site, record, claims, frames))
    return result


# --- parsing ----------------------------------------------------------------------------------------------


def parse_now(text: str) -> tuple[int, int]:
    """Seconds since the epoch, and since the boot."""
    first, second = text.split()[:2]
    return int(first), int(float(second))


def parse_certificates(text: str, now: int) -> Iterator[CertificateLine]:
    """Blocks of ``@ DIRECTORY`` and PEM; only a chain's first certificate is the server's own."""
    for block in re.split(r"^@ ", text, flags=re.M)[1:]:
        directory, _, pem = block.partition("\n")
        name = directory.strip().rstrip("/").rpartition("/")[2]
        try:
            certificate = x509.load_pem_x509_certificates(pem.encode())[0]
        except (ValueError, IndexError):
            yield CertificateLine(name, "missing or damaged", 0, 0.0, ok=False)
            continue
        moment = datetime.fromtimestamp(now, UTC)
        left = fraction_left(certificate, moment)
        days = (certificate.not_valid_after_utc - moment).days
        own = certificate.issuer == certificate.subject
        yield CertificateLine(
            name, "self-signed" if own else issuer(certificate), days, round(left, 3), ok=left > LIFETIME_LEFT
        )


def parse_disks(text: str) -> list[DiskLine]:
    """`df -P`, ``@``, `df -Pi`; a file system that is mounted twice is told once."""
    blocks, _, inodes = text.partition("\n@\n")
    used = {fields[5]: fields[4] for fields in _df(inodes)}
    found: dict[str, DiskLine] = {}
    for device, _size, _used, free, percent, mount in _df(blocks):
        share = used.get(mount, "-").rstrip("%")
        line = DiskLine(mount, int(percent.rstrip("%")), int(free) // 1024, int(share) if share.isdecimal() else None)
        if mount.startswith(("/run/", "/proc/", "/sys/")):
            continue  # a container's binds of single files
        found.setdefault(device if device.startswith("/dev/") else mount, line)
    return sorted(found.values(), key=lambda line: line.mount)


def _df(text: str) -> Iterator[list[str]]:
    for line in text.splitlines():
        fields = line.split(None, 5)
        if len(fields) == 6 and fields[4].rstrip("%").isdecimal() | (fields[4] == "-") and fields[5].startswith("/"):
            yield fields


def parse_memory(text: str) -> tuple[int, int]:
    """Total and available memory of /proc/meminfo, in MB."""
    values = dict(re.findall(r"^(\w+):\s+(\d+)", text, re.M))
    return int(values.get("MemTotal", 0)) // 1024, int(values.get("MemAvailable", 0)) // 1024


def parse_heartbeat(text: str) -> int:
    """When the host last looked at itself, in seconds since the epoch; 0 when that is unknown."""
    try:
        at = json.loads(text)["at"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return 0
    return at if isinstance(at, int) else 0


def parse_updates(text: str) -> tuple[int, int]:
    """Packages that `apt list --upgradable` names, and those among them that mend security."""
    suites = re.findall(r"^[^\s/]+/(\S+) .*\[upgradable from: ", text, re.M)
    return len(suites), sum("-security" in names for names in suites)


def parse_reboot(text: str) -> str:
    """Why the host wants a reboot; empty when it does not."""
    lines = text.splitlines()
    words = dict(line.split(" ", 1) for line in lines if line.startswith(("running ", "newest ")))
    packages = [line for line in lines if line and line not in ("required",) and " " not in line]
    if "newest" in words and words["newest"] != words["running"]:
        return f"kernel {words['newest']} is installed, {words['running']} runs"
    if "required" in lines:
        return ", ".join(dict.fromkeys(packages)) or "some package asks for it"
    return ""


def recorded_claims(record: Mapping[str, Any] | None, roles: Iterable[str]) -> list[Claim]:
    """What roles claimed when they were last applied; claims that this houblon does not know are left out."""
    found = []
    for name in roles:
        for data in (record or {})["roles"][name].get("claims") or ():
            claim, _ = claim_from_json(data)
            if claim is not None:
                found.append(claim)
    return found


def recorded_releases(record: Mapping[str, Any] | None) -> list[Release]:
    """The upstream releases that the last apply put in place, whether the site still names them or not."""
    roles = (record or {}).get("roles") or {}
    claims = (claim for claim in recorded_claims(record, roles) if isinstance(claim, Artifact))
    return [Release(c) for c in claims if c.name in (roles[c.role].get("releases") or {})]


# --- judging ----------------------------------------------------------------------------------------------


def _record(frame: probe.Frame) -> tuple[dict[str, Any] | None, str]:
    """The record, and what is wrong with it."""
    text = frame.output.strip()
    if not text:
        return None, ""
    try:
        record = json.loads(text)
        probe.recorded_files(record)
        return dict(record), ""
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return None, str(error) or type(error).__name__


def _applied(result: Status, record: Mapping[str, Any] | None) -> None:
    if record is None:
        if not result.problems:
            result.remarks.append("never applied: run `houblon plan`, then `houblon apply`")
        return
    keys = ("by", "at", "version", "commit", "dirty", "result")
    result.applied = {key: record.get(key) for key in keys}
    if record.get("result") not in ("ok", None):
        state = "did not end" if record["result"] == "running" else "failed"
        result.problems.append(f"the last apply (by {record.get('by')}) {state}; run `houblon apply`")


def _units(result: Status, claims: Iterable[Unit], frames: Mapping[str, probe.Frame]) -> None:
    seen = probe.parse_units(frames["units"].output)
    for claim in claims:
        unit = seen.get(claim.name)
        ok = unit is not None and unit.active == "active"
        missing = unit is None or unit.load == "not-found"
        state = "not there" if missing or unit is None else f"{unit.active} ({unit.sub})"
        result.units.append(UnitLine(claim.role, claim.name, state, unit.since if unit else 0, ok))
        # On a host that was never applied to, nothing was promised yet.
        if not ok and result.applied is not None:
            result.problems.append(f"{claim.name} ({claim.role}) is {state}")
    ours = {unit.name for unit in result.units}
    failed = [line.replace("●", " ").split()[0] for line in frames["failed"].lines]
    result.remarks += [f"{name}, which is not ours, has failed" for name in failed if name not in ours]


def unseen(now: int, looked: int) -> str:
    """That nobody looks at the host any more, in a sentence; empty when somebody does.

    :param now: the host's clock, and ``looked``: its last heartbeat, both in seconds since the epoch.
    """
    # A heartbeat from the future was written before the clock was set right: since then there was none.
    if abs(now - looked) <= LOOKED_SECONDS:
        return ""
    since = f"since {_iso(looked)}" if 0 < looked < now else "yet, or its heartbeat means nothing"
    return f"nobody has looked at the host {since}: see `journalctl -u houblon-health` there, or run `houblon apply`"


def _releases(result: Status, wanted: Iterable[Release], seen: releases.ReleasesSeen) -> None:
    for release in wanted:
        about = release.artifact
        if about.unverified:
            result.remarks.append(f"UNVERIFIED: {about.name} {about.version} ({about.role}) is of a test manifest")
        now = seen.trees[release.key]
        if now.state == "good":
            continue
        # Nobody edits a release: a file that changed there is damage, or a way in.
        names = ", ".join(now.changed[:NAMED]) + (f" and {len(now.changed) - NAMED} more" * (len(now.changed) > NAMED))
        words = {"changed": f"changed on the host: {names}", "missing": "missing"}
        what = words.get(now.state, "not ours, or unfinished")
        result.problems.append(f"release {release.path} ({about.role}) is {what}; run `houblon apply`")
        result.drift.append(Drift(about.role, release.path, "missing" if now.state == "missing" else "content"))


def _disks(result: Status) -> None:
    for disk in result.disks:
        for share, what in ((disk.percent, "full"), (disk.inodes or 0, "of its inodes used")):
            text = f"{disk.mount} is {share} % full" if what == "full" else f"{disk.mount} has {share} % {what}"
            if share >= FULL_RED:
                result.problems.append(text)
            elif share >= FULL_YELLOW:
                result.remarks.append(text)


def _updates(result: Status, frames: Mapping[str, probe.Frame]) -> None:
    age = frames["lists"].output.strip()
    days = (result.at - int(age)) // 86400 if age.isdecimal() else None
    if frames["updates"].status != 0:
        result.remarks.append("updates unknown: `apt list --upgradable` fails on the host")
        return
    if days is None or days > LISTS_STALE_DAYS:
        since = "never" if days is None else f"{days} days ago"
        result.remarks.append(f"updates unknown: package lists were last read {since}")
        return
    result.updates, result.security_updates = parse_updates(frames["updates"].output)
    if result.security_updates:
        result.remarks.append(f"{result.security_updates} security updates wait to be installed")


def foreign(
    site: Site, record: Mapping[str, Any] | None, claims: Iterable[Claim], frames: Mapping[str, probe.Frame]
) -> Iterator[str]:
    """What is on the host and not ours, each as a sentence. It is never touched."""
    claims = list(claims)
    roles = ((record or {}).get("roles") or {}).values()
    ours = {path for role in roles for path in (*(role.get("files") or {}), *(role.get("links") or {}))}
    people = {admin.name for admin in site.admins} | {name for role in roles for name in role.get("people") or ()}
    for path in frames["vhosts"].lines:
        if path not in ours:
            yield f"nginx configuration {path}"
    engine = ""
    databases = {(claim.engine, claim.name) for claim in claims if isinstance(claim, Database)}
    for line in frames["databases"].lines:
        if line.startswith("@ "):
            engine = line[2:]
        elif (engine, line) not in databases:
            yield f"{engine} database {line}"
    for path in frames["own units"].lines:
        if path not in ours:
            yield f"unit {path.rpartition('/')[2]}"
    for line in frames["tables"].lines if frames["tables"].status == 0 else ():
        family, _, name = line.removeprefix("table ").partition(" ")
        if not name.startswith((*OUR_TABLES, *TABLES_LEFT_ALONE)):
            yield f"nftables table {family} {name}"
    for name in frames["people"].lines:
        if name not in people:
            yield f"user {name}"
    known = {(c.proto, c.port if isinstance(c, Listen) else c.number) for c in claims if isinstance(c, Listen | Port)}
    known.add(("tcp", site.host.port))
    strange: dict[tuple[str, int, str], None] = {}
    for listener in probe.parse_listeners(frames["listen"].output):
        if not listener.local and (listener.proto, listener.port) not in known:
            strange[listener.proto, listener.port, listener.program] = None
    for proto, port, program in strange:
        yield f"{program or 'something'} listens on {proto}/{port}"


def _iso(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
