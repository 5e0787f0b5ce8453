"""What the host remembers of the last apply: /var/lib/houblon/state.json, root-only.

It is written before the first change (as the union of old and new, marked ``running``) and again at the end,
so that a run killed in between leaves nothing that nobody knows of.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from houblon import __version__
from houblon.claimjson import claim_from_json, claim_to_json
from houblon.claims import Claim
from houblon.errors import Refused
from houblon.facts.snapshot import RECORD
from houblon.model import Model, data_paths
from houblon.resources import File, Link, Release, UnitState, User

if TYPE_CHECKING:
    from houblon.site import Site

FORMAT = 1
HISTORY = "/var/lib/houblon/history.jsonl"


@dataclass
class RoleRecord:
    """What one role has on the host.

    :param releases: by name: ``current``, the version that the last good apply put in place, ``before``, the one it
        took the place of, ``sha256`` of the current one's archive, and ``all`` the versions that may be on disk.
    """

    settings: dict[str, Any] = field(default_factory=dict)
    claims: list[dict[str, Any]] = field(default_factory=list)
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    units: list[str] = field(default_factory=list)
    people: list[str] = field(default_factory=list)
    data: list[str] = field(default_factory=list)
    releases: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass
class Record:
    """The whole record.

    :param at: when the last apply that changed something ended, ISO 8601 in UTC.
    :param result: ``running``, ``ok`` or ``failed``.
    :param pending: paths that an unfinished run was about to take: what stands there may still be somebody
        else's, of which a copy must be kept.
    """

    version: str = __version__
    commit: str = ""
    dirty: bool = False
    by: str = ""
    at: str = ""
    result: str = "ok"
    roles: dict[str, RoleRecord] = field(default_factory=dict)
    pending: list[str] = field(default_factory=list)
    format: int = FORMAT

    @classmethod
    def read(cls, data: dict[str, Any] | None) -> Record | None:
        """From JSON; None when the host was never applied to.

        :raises Refused: when a newer houblon wrote it.
        """
        if data is None:
            return None
        if data.get("format", 0) > FORMAT:
            raise Refused(
                f"this host was set up by houblon {data.get('version')}, which is newer than this one ({__version__})",
                cure="Update houblon on this machine.",
            )
        roles = {name: RoleRecord(**values) for name, values in data.pop("roles").items()}
        return cls(**{**data, "roles": roles})

    def paths(self) -> frozenset[str]:
        """All files and links that we have put on the host or were about to."""
        return frozenset(p for role in self.roles.values() for p in (*role.files, *role.links))

    def ours(self) -> frozenset[str]:
        """All files and links on the host that are certainly ours."""
        return self.paths() - frozenset(self.pending)

    def release(self, name: str, role: str) -> dict[str, Any] | None:
        """What is known of a release that ``role`` has, or had another role before: pins move."""
        found = [
            old.releases[name] for _, old in sorted(self.roles.items(), key=lambda pair: pair[0] != role)
            if name in old.releases
        ]  # fmt: skip
        if not found:
            return None
        current = next((known for known in found if known["current"]), found[0])
        return {**current, "all": sorted({version for known in found for version in known["all"]})}

    def to_json(self) -> bytes:
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":")).encode()

    def claims_of(self, roles: set[str]) -> list[Claim]:
        """Recorded claims of roles, for providers, when the site no longer names these roles."""
        found = []
        for name in sorted(roles):
            for data in self.roles[name].claims:
                claim, _ = claim_from_json(data)
                if claim is not None:
                    found.append(claim)
        return found


def desired(model: Model, site: Site, by: str, at: str, old: Record | None = None) -> Record:
    """The record of a model that is wholly applied to a host with the record ``old``."""
    commit, dirty = site.commit()
    record = Record(commit=commit, dirty=dirty, by=by, at=at)
    files = model.files()
    for role in site.roles:
        record.roles[role.name] = RoleRecord(
            settings=site.raw_settings(role.name),
            claims=[claim_to_json(c) for c in site.claims(Claim) if c.role == role.name],
            files={path: describe(file) for path, file in sorted(files.get(role.name, {}).items())},
            links={link.path: link.target for link in model.of(role.name, Link)},
            units=sorted(u.name for u in model.of(role.name, UnitState) if u.state == "running"),
            people=sorted(u.name for u in model.of(role.name, User) if not u.system),
            data=data_paths(site, role.name),
            releases={
                release.name: _moved(release, old.release(release.name, role.name) if old else None)
                for release in model.of(role.name, Release)
            },
        )
    return record


def _moved(release: Release, old: dict[str, Any] | None) -> dict[str, Any]:
    was = old or {"current": "", "before": ""}
    before = was["before"] if was["current"] == release.version else was["current"]
    return {
        "current": release.version, "before": before, "sha256": release.sha256,
        "all": sorted({release.version, before} - {""}),
    }


def describe(file: File) -> dict[str, Any]:
    """A file as the record keeps it: what the drift check needs."""
    return {
        "sha256": file.sha256, "mode": f"{file.mode:04o}", "owner": file.owner, "group": file.group,
        "secret": file.secret,
    }


def union(old: Record | None, new: Record) -> Record:
    """Everything either of the two knows of; for the time while a run is between them."""
    both = Record(**{**new.__dict__, "roles": dict(new.roles)})
    both.pending = sorted(new.paths() - (old.ours() if old else frozenset()))
    for name, role in new.roles.items():
        if role.releases and (old is None or name not in old.roles):
            waiting = {release: _between(None, known) for release, known in role.releases.items()}
            both.roles[name] = RoleRecord(**{**role.__dict__, "releases": waiting})
    if old is None:
        return both
    for name, role in old.roles.items():
        mine = both.roles.get(name)
        if mine is None:
            both.roles[name] = role
            continue
        both.roles[name] = RoleRecord(
            settings=mine.settings, claims=mine.claims, files={**role.files, **mine.files},
            links={**role.links, **mine.links}, units=sorted({*role.units, *mine.units}),
            people=sorted({*role.people, *mine.people}), data=sorted({*role.data, *mine.data}),
            releases={
                release: _between(role.releases.get(release), mine.releases.get(release))
                for release in sorted({*role.releases, *mine.releases})
            },
        )
    return both


def _between(old: dict[str, Any] | None, new: dict[str, Any] | None) -> dict[str, Any]:
    if old is None or new is None:
        # What no good apply has put in place yet is nothing to go back to.
        return old or {**(new or {}), "current": "", "before": "", "sha256": ""}
    return {**old, "all": sorted({*old["all"], *new["all"]})}


def of_one(old: Record | None, new: Record, role: str) -> Record:
    """The record once one role alone is applied: nothing of the others is taken yet that was not before."""
    mine = Record(**{**new.__dict__, "roles": {n: r for n, r in new.roles.items() if n == role}})
    if old is None:
        return mine
    pending = sorted(set(old.pending) - mine.paths())
    return Record(**{**mine.__dict__, "roles": {**old.roles, **mine.roles}, "pending": pending})


def write_script(data: bytes) -> str:
    """Replace the record atomically with ``data``, which comes on standard input."""
    return f"set -eu; {_take(RECORD, data)}; sync {RECORD}.new; mv -f {RECORD}.new {RECORD}"


def history_script(data: bytes) -> str:
    """Append ``data``, which comes on standard input, to the history."""
    return (
        f"set -eu; {_take(HISTORY, data)}; [ -z \"$(tail -c1 {HISTORY} 2>/dev/null)\" ] || echo >>{HISTORY}; "
        f"cat {HISTORY}.new >>{HISTORY}; rm -f {HISTORY}.new"
    )


def read_history(text: str) -> list[dict[str, Any]]:
    """The lines of the history; a disk that was full may have left half of one, which hides no other."""
    found = []
    for line in text.split("\n"):
        with suppress(ValueError):
            found.append(json.loads(line))
    return found


def _take(path: str, data: bytes) -> str:
    # A line that is cut looks to `cat` like the end of its input: half a record, or none, would take the place of
    # a whole one, and the next run would not know what is ours.
    return (
        f"mkdir -p -m 755 /var/lib/houblon; umask 077; cat >{path}.new; "
        f"[ $(wc -c <{path}.new) -eq {len(data)} ] || {{ rm -f {path}.new; echo 'the line was cut' >&2; exit 65; }}"
    )
