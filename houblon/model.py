"""From a site to everything that should be on its host: a list of batches, computed offline."""

from __future__ import annotations

import shlex
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from houblon.claimjson import claim_from_json
from houblon.claims import Artifact, DataPath, Package
from houblon.claims import Secret as SecretClaim
from houblon.contract import Role
from houblon.kit import Kit
from houblon.resources import (
    Absent,
    Batch,
    Door,
    Ensure,
    File,
    Item,
    Link,
    OldRelease,
    Packages,
    Proof,
    Release,
    UnitState,
    User,
    digest,
)
from houblon.vault import SecretSpec

if TYPE_CHECKING:
    from houblon.record import Record, RoleRecord
    from houblon.site import Site
    from houblon.vault import Vault

STAGES = ("install", "configure", "activate")
UNPACKERS = {"bzip2", "xz-utils"}
"""What tar calls; gzip is on every Debian."""


@dataclass
class Model:
    """The desired state of one host.

    :param batches: in the order they are applied.
    :param recorded: the same by role, before what is to be removed was added.
    """

    site: Site
    batches: list[Batch] = field(default_factory=list)
    recorded: dict[str, list[Batch]] = field(default_factory=dict)

    def items(self) -> Iterator[tuple[str, Item]]:
        """Every item with the role that asks for it."""
        for batch in self.batches:
            for item in batch.items:
                yield batch.role, item

    def files(self) -> dict[str, dict[str, File]]:
        """Files by role and path, those behind doors included."""
        found: dict[str, dict[str, File]] = defaultdict(dict)
        for role, item in self.items():
            if isinstance(item, File):
                found[role][item.path] = item
            elif isinstance(item, Door):
                found[role].update({f.path: f for f in item.files})
        return found

    def units(self) -> dict[str, tuple[UnitState, ...]]:
        """Units that run, by role."""
        found: dict[str, tuple[UnitState, ...]] = {}
        for role, item in self.items():
            if isinstance(item, UnitState) and item.state == "running":
                found[role] = (*found.get(role, ()), item)
        return found

    def of(self, role: str, kind: type[Any]) -> list[Any]:
        """Items of one kind that one role asks for."""
        return [item for name, item in self.items() if name == role and isinstance(item, kind)]


def secret_specs(site: Site) -> list[SecretSpec]:
    """The secrets that the site's roles claim, for the vault."""
    return [
        SecretSpec(claim.role, claim.name, claim.kind, claim.length, claim.description)  # type: ignore[arg-type]
        for claim in site.claims(SecretClaim)
    ]


def build(site: Site, vault: Vault, record: Record | None = None, earlier: Model | None = None) -> Model:
    """Run every role's stages with a recording kit and put the batches in order.

    :param record: what an earlier apply left on the host; files, links, units and accounts in it that a
        managed role no longer asks for become part of the model as things to remove.
    :param earlier: a model to take over what the roles ask for from, if it is of the very same site.
    """
    model = Model(site)
    if names := package_names(site):
        model.batches.append(Batch("base", "install", (Packages(names),)))
    if earlier is not None and earlier.site is site:
        recorded = earlier.recorded
    else:
        recorded = {role.name: _run(site, role, vault) for role in site.roles}
    model.recorded = recorded
    first = [r for r in site.roles if r.first]
    later = [r for r in site.roles if not r.first]
    for role in first:
        model.batches += recorded[role.name]
    if proof := _proof(site, model):
        model.batches.append(Batch("base", "activate", (proof,)))
    for stage in STAGES:
        if stage == "activate":
            model.batches += _orphans(model, recorded, record)
        for role in later:
            model.batches += [b for b in recorded[role.name] if b.stage == stage]
    model.batches += _old_releases(model, record)
    return model


def package_names(site: Site, role: str | None = None) -> tuple[str, ...]:
    """The Debian packages that the roles, or one of them, claim, and those that unpack their releases."""
    names = {name for claim in site.claims(Package) if role in (None, claim.role) for name in claim.names}
    if any(role in (None, claim.role) for claim in site.claims(Artifact)):
        names |= UNPACKERS
    return tuple(sorted(names))


def removal(
    site: Site, vault: Vault, name: str, record: RoleRecord, purge: bool, rest: Model | None = None
) -> list[Batch]:
    """What takes a role off its host: its own `remove`, then all that was recorded for it.

    :param purge: delete its data too, and what providers keep for it (databases).
    :param rest: what stays: releases that another role has taken over are not deleted.
    """
    stays = [item for _, item in rest.items() if isinstance(item, Release)] if rest else []
    batches: list[Batch] = []
    if record.units:
        batches.append(Batch(name, "remove", tuple(UnitState(u, "stopped") for u in sorted(record.units))))
    claims = [claim for data in record.claims if (claim := claim_from_json(data)[0])] if purge else []
    for provider in site.roles if claims else ():
        kit = Kit(site, provider, vault)
        kit.stage = "remove"
        provider.purge(kit, [claim for claim in claims if type(claim) in provider.consumes])
        batches += kit.batches
    # A site's own role may be gone with its folder; what it made is recorded all the same.
    if name in site.registry.roles:
        role = site.instantiate(name, record.settings)
        kit = Kit(site, role, vault)
        kit.stage = "remove"
        role.remove(kit)
        batches += kit.batches
    paths = sorted({*record.files, *record.links} - {release.link for release in stays})
    if paths:
        batches.append(Batch(name, "remove", tuple(Absent(p) for p in paths)))
    versions = {release.name: release.version for release in stays}
    trees = [
        OldRelease(release, version) for release, known in sorted(record.releases.items())
        for version in sorted(unneeded(known, versions[release]) if release in versions else known["all"])
    ]  # fmt: skip
    if trees:
        batches.append(Batch(name, "remove", tuple(trees)))
    if purge and record.data:
        batches.append(Batch(name, "remove", tuple(
            _purge(path) for path in sorted(record.data)
        )))
    return batches


def _purge(path: str) -> Ensure:
    quoted = shlex.quote(path)
    return Ensure(
        f"delete {path} with all data in it", check=f"[ ! -e {quoted} ]",
        run=f"rm -rf --one-file-system -- {quoted}",
    )


def data_paths(site: Site, role: str) -> list[str]:
    """Directories with people's data of a role."""
    return [claim.path for claim in site.claims(DataPath) if claim.role == role]


def _run(site: Site, role: Role[Any], vault: Vault) -> list[Batch]:
    kit = Kit(site, role, vault)
    for stage in STAGES:
        kit.stage = stage
        getattr(role, stage)(kit)
    return kit.batches


def _proof(site: Site, model: Model) -> Proof | None:
    people = [item for _, item in model.items() if isinstance(item, User) and not item.system]
    if not people:
        return None
    doors = [door.stamp for door in model.of("ssh", Door)]
    keys = [f.sha256 for f in model.files().get("base", {}).values() if f.path.endswith("/authorized_keys")]
    marks = [f"{u.name} {u.home} {u.shell} {','.join(u.groups)} {u.password_hash}" for u in people]
    return Proof("every admin gets in and becomes root", tuple(u.name for u in people), digest(*marks, *keys, *doors))


def _orphans(model: Model, recorded: dict[str, list[Batch]], record: Record | None) -> list[Batch]:
    """What managed roles asked for in an earlier apply and no longer do."""
    if record is None:
        return []
    items = [(b.role, i) for batches in recorded.values() for b in batches for i in b.items]
    wanted_paths = {i.path for _, i in items if isinstance(i, (File, Link))}
    wanted_paths |= {f.path for _, i in items if isinstance(i, Door) for f in i.files}
    wanted_units = {i.name for _, i in items if isinstance(i, UnitState)}
    wanted_users = {i.name for _, i in items if isinstance(i, User)}
    batches = []
    for name, old in record.roles.items():
        if name not in recorded:
            continue
        if units := sorted(set(old.units) - wanted_units):
            batches.append(Batch(name, "configure", tuple(UnitState(u, "stopped") for u in units)))
        if paths := sorted({*old.files, *old.links} - wanted_paths):
            batches.append(Batch(name, "configure", tuple(Absent(p) for p in paths)))
        if people := sorted(set(old.people) - wanted_users):
            batches.append(Batch(name, "configure", tuple(_lock(p) for p in people)))
    return batches


def unneeded(known: dict[str, Any], version: str) -> set[str]:
    """Recorded versions of a release that go once ``version`` runs: all but it and the one that ran before."""
    return set(known["all"]) - {version, known["before"] if known["current"] == version else known["current"]}


def _old_releases(model: Model, record: Record | None) -> list[Batch]:
    """What goes last, once the roles run from their new releases; the one before stays.

    A release is known by its name alone: a pin may move from one role to another.
    """
    if record is None:
        return []
    owners = {release: name for name, old in record.roles.items() if name in model.recorded for release in old.releases}
    versions = {item.name: item.version for _, item in model.items() if isinstance(item, Release)}
    owners |= {item.name: role for role, item in model.items() if isinstance(item, Release)}
    gone: defaultdict[str, list[Item]] = defaultdict(list)
    for release, role in sorted(owners.items()):
        known = record.release(release, role)
        if known is None:
            continue
        old = unneeded(known, versions[release]) if release in versions else known["all"]
        gone[role] += [OldRelease(release, version) for version in sorted(old)]
    return [Batch(role, "activate", tuple(items)) for role, items in sorted(gone.items()) if items]


def _lock(person: str) -> Ensure:
    """Close the account of someone who is no longer an admin; the home stays."""
    return Ensure(
        f"close the account of {person}",
        check=f"! getent passwd {person} || {{ getent shadow {person} | cut -d: -f2 | grep -q '^!' && "
        f"[ \"$(getent shadow {person} | cut -d: -f8)\" = 1 ] && ! id -Gn {person} | grep -qw sudo; }}",
        run=f"usermod --lock --expiredate 1970-01-02 {person} && {{ ! id -Gn {person} | grep -qw sudo || "
        f"gpasswd --delete {person} sudo; }}; loginctl terminate-user {person} 2>/dev/null || :",
    )
