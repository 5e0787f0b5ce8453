"""What must be true of a host before houblon changes anything on it."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Iterable
from typing import TYPE_CHECKING

from houblon import __version__, releases
from houblon.claims import Artifact, Port, Resource
from houblon.connection import Connection
from houblon.errors import OperationFailed, Refused
from houblon.facts.snapshot import Seen
from houblon.model import Model
from houblon.record import Record
from houblon.resources import File, Link, Release

if TYPE_CHECKING:
    from houblon.site import Site

TARGETS = {"debian": ("13", "12")}
SPARE_DISK_MB = 500
"""Kept free beside what the roles claim: packages being unpacked, logs."""


def check_system(site: Site, seen: Seen) -> None:
    """The host runs a Debian we know, the one that the site file says.

    :raises Refused: otherwise.
    """
    name, version = seen.facts.get("os", ""), seen.facts.get("version", "").strip('"')
    if version not in TARGETS.get(name, ()):
        raise Refused(
            f"the host runs {name or 'an unknown system'} {version}; "
            "houblon knows Debian 13 and, for web services, Debian 12",
            cure="Install Debian 13 on it.",
        )
    if int(version) != site.host.debian:
        raise Refused(
            f"the host runs Debian {version}, the site file says {site.host.debian}",
            cure=f"Write `debian: {version}` under `host:`.", file=site.file, line=site.line_of_key("host"),
        )  # fmt: skip
    binary = any(claim.architecture != "all" for claim in site.claims(Artifact))
    if binary and (machine := seen.facts.get("architecture")) != site.host.architecture:
        raise Refused(
            f"the host's architecture is {machine}, the site file says {site.host.architecture}",
            cure=f"Write `architecture: {machine}` under `host:`.", file=site.file, line=site.line_of_key("host"),
        )  # fmt: skip


def check_size(site: Site, seen: Seen) -> None:
    """Memory and disk suffice for all roles together.

    :raises Refused: with the numbers.
    """
    memory = sum(c.memory_mb for c in site.claims(Resource))
    disk = sum(c.disk_mb for c in site.claims(Resource)) + SPARE_DISK_MB
    has = int(seen.facts["memory_kb"]) // 1024
    free = int(seen.facts["disk_free_kb"]) // 1024
    by_role = ", ".join(f"{c.role} {c.memory_mb}" for c in site.claims(Resource) if c.memory_mb)
    if memory > has:
        raise Refused(
            f"the services need {memory} MB of memory and the host has {has} MB ({by_role})",
            cure="Choose fewer services, or a larger host.",
        )
    if seen.record is None and disk > free:
        raise Refused(
            f"the services need {disk} MB of disk and {free} MB are free", cure="Free some, or take a larger disk."
        )


def check_age(site: Site, record: Record | None, allow_older: bool) -> None:
    """Neither this houblon nor this checkout is older than what the host has.

    :raises Refused: when it is, or when git cannot tell.
    """
    if record is None or allow_older:
        return
    if _version(record.version) > _version(__version__):
        raise Refused(
            f"this host was last set up by houblon {record.version}; this is {__version__}",
            cure="Update houblon, or say --allow-older if you mean to go back.",
        )
    commit, _ = site.commit()
    if not record.commit or commit == record.commit:
        return
    if not commit:
        raise Refused(
            f"the host was set up from commit {record.commit[:10]} of the site, and this folder is not under git",
            cure="Use the site's git checkout, or say --allow-older.",
        )
    known = subprocess.run(
        ["git", "-C", str(site.folder), "merge-base", "--is-ancestor", record.commit, "HEAD"],
        capture_output=True, check=False,
    )
    if known.returncode != 0:
        raise Refused(
            f"the host was set up by {record.by or 'somebody'} from commit {record.commit[:10]}, "
            "which this checkout does not contain",
            cure="Run `git pull` in the site's folder first, or say --allow-older if you mean to go back.",
        )


def check_preflight(site: Site, connection: Connection) -> None:
    """No role sees something on the host that it could harm (a foreign firewall, say).

    :raises Refused: with the roles' own sentences.
    """
    scripts = [(r.name, p) for r in site.roles if (p := getattr(r, "preflight", ""))]
    if not scripts:
        return
    result = connection.run("\n".join(f"(\n{script}\n) </dev/null" for _, script in scripts), timeout=60)
    if result.exit_status != 0:
        raise OperationFailed(f"looking at the host before the first change failed: {result.stderr.strip()}")
    if lines := [line for line in result.stdout.splitlines() if line.strip()]:
        raise Refused(lines[0], cure="\n  ".join(lines[1:]))


def foreign(model: Model, record: Record | None, seen: Seen, connection: Connection) -> list[str]:
    """Paths and ports we are about to take that somebody else uses, each as a sentence.

    Files that Debian ships and nobody changed, and files every Debian has (`File.system`), are no foreign use.
    """
    known = record.paths() if record else frozenset()
    new_roles = {r.name for r in model.site.roles} - set(record.roles if record else ())
    paths = [
        item.path
        for _, item in model.items()
        if isinstance(item, (File, Link)) and item.path in seen.paths and item.path not in known
        and not (isinstance(item, File) and (item.system or seen.sums.get(item.path) == item.sha256))
        and not (isinstance(item, Link) and seen.links.get(item.path) == item.target)
    ]
    trees = [item for _, item in model.items() if isinstance(item, Release)]
    found = releases.foreign(trees, known, seen)
    ports = [c for c in model.site.claims(Port) if c.role in new_roles and c.number != model.site.host.port]
    if not paths and not ports:
        return found
    result = connection.run(_foreign_script(paths, ports), timeout=60)
    if result.exit_status != 0:
        raise OperationFailed(f"looking for foreign use of our paths and ports failed: {result.stderr.strip()}")
    return found + result.stdout.splitlines()


def _foreign_script(paths: Iterable[str], ports: Iterable[Port]) -> str:
    """Print a sentence for each foreign path and port; conffiles are compared with dpkg's own sums."""
    lines = ["c=$(dpkg-query -W -f '${Conffiles}\\n' | awk 'NF >= 2 {print $2, $1}')"]
    for path in paths:
        p = shlex.quote(path)
        lines.append(
            f"sum=$(md5sum -- {p} 2>/dev/null | cut -d' ' -f1)\n"
            f'if printf "%s\\n" "$c" | grep -qxF -- "$sum "{p}; then :\n'
            f'elif printf "%s\\n" "$c" | grep -qF -- " "{p}; then echo {p}" was changed by hand"\n'
            f'elif dpkg-query -S {p} >/dev/null 2>&1; then :\n'
            f'else echo {p}" exists and is not ours"; fi'
        )
    for port in ports:
        flag = "-Hltnp" if port.proto == "tcp" else "-Hlunp"
        lines.append(
            f"ss {flag} 'sport = :{port.number}' | sed -n 's/.*users:((\"\\([^\"]*\\)\".*/\\1/p' | sort -u | "
            f"while read -r n; do echo \"port {port.number}/{port.proto} is used by $n ({port.role} needs it)\"; done"
        )
    return "\n".join(lines)


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("+")[0].split(".") if part.isdigit())


