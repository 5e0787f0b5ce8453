"""A backup by hand, from the `BackupSet` claims alone, until there is a backup role: saved, wiped, put back."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field

from houblon.claims import BackupSet, Unit
from houblon.site import Site, load
from tests.host.sites import Applied


@dataclass
class Saved:
    """What was saved of a role: an archive of its paths, its dump, its databases, and what `compare` said."""

    claim: BackupSet
    compare: str
    archive: bytes = field(repr=False)
    dump: bytes = field(repr=False)
    databases: dict[str, bytes] = field(repr=False)


def save(site: Applied) -> dict[str, Saved]:
    """Save every role that claims something to save, while it runs."""
    return {claim.role: _save(site, claim) for claim in load(site.site_folder).claims(BackupSet)}


def wipe(site: Applied, saved: dict[str, Saved]) -> None:
    """Stop the roles' services and delete all that was saved of them."""
    loaded = load(site.site_folder)
    for claim in (one.claim for one in saved.values()):
        for unit in _services(loaded, claim.role):
            site.sh(f"systemctl stop {shlex.quote(unit)}")
    for claim in (one.claim for one in saved.values()):
        site.sh("rm -rf -- " + " ".join(map(shlex.quote, claim.paths)) if claim.paths else ":")
        for name in map(_database, claim.dumps):
            site.sh(f"cd /; runuser -u postgres -- dropdb --force {name}")


def restore(site: Applied, saved: dict[str, Saved]) -> None:
    """Put everything back on a host that was just applied to, providers before those they provide for."""
    loaded = load(site.site_folder)
    for role in (role.name for role in loaded.roles if role.name in saved):
        one = saved[role]
        units = " ".join(map(shlex.quote, _services(loaded, role)))
        if one.archive:
            site.sh(f"systemctl stop {units}" if units else ":")
            site.sh("rm -rf -- " + " ".join(map(shlex.quote, one.claim.paths)))
            _bash(site, "tar -C / -xzp --numeric-owner -f -", one.archive)
        for name, data in one.databases.items():
            # Not dropdb: whom a database lets in is a matter of the provider's, settled by the apply.
            empty = "DROP SCHEMA public CASCADE; CREATE SCHEMA public AUTHORIZATION pg_database_owner; " \
                "GRANT USAGE ON SCHEMA public TO PUBLIC"
            site.sh(f"cd /; runuser -u postgres -- psql -Xq -v ON_ERROR_STOP=1 -d {name} -c '{empty}'")
            options = f"--no-owner --role={name} --exit-on-error -d {name}"
            _bash(site, f"cd /; runuser -u postgres -- pg_restore {options}", data)
        if one.claim.restore:
            _bash(site, one.claim.restore, one.dump)
        if units:
            site.sh(f"systemctl start {units}")


def compare(site: Applied, role: str, claim: BackupSet) -> str:
    """What the role's own measure of its data says; never empty."""
    said = site.sh(claim.compare)
    assert said.strip(), f"{role}'s compare says nothing"
    return said


def _save(site: Applied, claim: BackupSet) -> Saved:
    assert claim.compare, f"{claim.role} cannot tell whether a restore is right"
    before, after = claim.quiesce or (":", ":")
    paths = " ".join(map(shlex.quote, (path.lstrip("/") for path in claim.paths)))
    site.sh(before)
    try:
        measure = compare(site, claim.role, claim)
        archive = _bash(site, f"tar -C / -czf - --numeric-owner {paths}") if paths else b""
        dump = _bash(site, claim.dump) if claim.dump else b""
        names = map(_database, claim.dumps)
        databases = {name: _bash(site, f"cd /; runuser -u postgres -- pg_dump -Fc {name}") for name in names}
    finally:
        site.sh(after)
    return Saved(claim, measure, archive, dump, databases)


def _database(dump: str) -> str:
    """The name in ``postgresql:NAME``."""
    engine, _, name = dump.partition(":")
    assert engine == "postgresql", f"nobody here can dump {dump}"
    return name


def _bash(site: Applied, command: str, data: bytes = b"") -> bytes:
    return site.host.console(["bash", "-euo", "pipefail", "-c", command], input=data).stdout


def _services(loaded: Site, role: str) -> list[str]:
    return [unit.name for unit in loaded.claims(Unit) if unit.role == role]
