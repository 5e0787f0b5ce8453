"""A person and a group, and how they stand in the directory. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from houblon import directory
from houblon.people import ldif, names
from houblon.people.ldif import Change, Entry

LOCKED_FOR_EVER = "000001010000Z"
"""pwdAccountLockedTime of an account that only an administrator unlocks (slapo-ppolicy(5))."""
LOCK = "pwdAccountLockedTime"
CHOSEN = "pwdChangedTime"
"""There as soon as a password was ever set."""

READ = (
    "uid", "cn", "sn", "givenName", directory.MAIL, directory.ALIAS, directory.RECOVERY, directory.LANGUAGE,
    directory.MAIL_QUOTA, directory.FILE_QUOTA, directory.STATE, LOCK, CHOSEN, "memberOf",
    "createTimestamp",
)  # fmt: skip
"""What is asked of the directory about a person; never a password."""


@dataclass(frozen=True)
class Person:
    """Someone with an account. Quotas in mebibytes; None leaves it to the service.

    :param given: and ``family``: empty when not told; then they are taken from the full name.
    """

    name: str
    full_name: str
    given: str = ""
    family: str = ""
    mail: str = ""
    aliases: tuple[str, ...] = ()
    recovery: str = ""
    language: str = "fr"
    mail_quota: int | None = None
    file_quota: int | None = None
    groups: frozenset[str] = frozenset()
    active: bool = True
    locked: bool = False
    has_password: bool = False
    made: str = ""

    def attributes(self) -> dict[str, tuple[str, ...]]:
        """What the directory holds of them, apart from class, state and password."""
        given, family = names.parts(self.full_name)
        return {
            "cn": (self.full_name,),
            "displayName": (self.full_name,),
            "sn": (self.family or family,),
            "givenName": tuple(filter(None, (self.given or given,))),
            directory.MAIL: tuple(filter(None, (self.mail,))),
            directory.ALIAS: self.aliases,
            directory.RECOVERY: tuple(filter(None, (self.recovery,))),
            directory.LANGUAGE: (self.language,),
            directory.MAIL_QUOTA: () if self.mail_quota is None else (str(self.mail_quota),),
            directory.FILE_QUOTA: () if self.file_quota is None else (str(self.file_quota),),
        }

    @property
    def addresses(self) -> tuple[str, ...]:
        """Those whose mail is theirs alone."""
        return tuple(filter(None, (self.mail, *self.aliases)))

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name, "full_name": self.full_name, "given_name": self.given, "family_name": self.family,
            "mail": self.mail, "aliases": list(self.aliases), "recovery": self.recovery, "language": self.language,
            "mail_quota_mb": self.mail_quota, "file_quota_mb": self.file_quota, "groups": sorted(self.groups),
            "state": "active" if self.active else "disabled", "locked": self.locked,
            "has_password": self.has_password, "made": self.made,
        }  # fmt: skip


@dataclass
class People:
    """All of a directory, or what was asked for: people by name, and the members of each group."""

    people: dict[str, Person] = field(default_factory=dict)
    groups: dict[str, frozenset[str]] = field(default_factory=dict)


def person_from(entry: Entry) -> Person:
    """A person as the directory has them."""
    return Person(
        name=entry.one("uid"), full_name=entry.one("cn"), given=entry.one("givenName"), family=entry.one("sn"),
        mail=entry.one(directory.MAIL), aliases=tuple(sorted(entry.get(directory.ALIAS))),
        recovery=entry.one(directory.RECOVERY), language=entry.one(directory.LANGUAGE) or "fr",
        mail_quota=_number(entry.one(directory.MAIL_QUOTA)), file_quota=_number(entry.one(directory.FILE_QUOTA)),
        groups=frozenset(filter(None, map(group_in, entry.get("memberOf")))),
        active=entry.one(directory.STATE) == "active", locked=bool(entry.get(LOCK)),
        has_password=bool(entry.get(CHOSEN)), made=entry.one("createTimestamp"),
    )


def added(person: Person) -> str:
    """The record that adds a person, active and without a password."""
    return ldif.add(directory.person_dn(person.name), {
        "objectClass": ("inetOrgPerson", directory.CLASS), "uid": (person.name,),
        directory.STATE: ("active",), **person.attributes(),
    })  # fmt: skip


def changed(before: Person, after: Person) -> str:
    """The record that makes one of the other; empty when they are alike."""
    old, new = before.attributes(), after.attributes()
    return ldif.modify(
        directory.person_dn(before.name),
        [Change("replace", name, values) for name, values in new.items() if sorted(old[name]) != sorted(values)],
    )


def disabled(name: str) -> str:
    """Neither readers of the state nor binds take them any more: both in one change."""
    return ldif.modify(directory.person_dn(name), [
        Change("replace", directory.STATE, ("disabled",)), Change("replace", LOCK, (LOCKED_FOR_EVER,)),
    ])  # fmt: skip


def enabled(person: Person) -> str:
    """The opposite of `disabled`; lifts a lock after failed logins too."""
    changes = [Change("replace", directory.STATE, ("active",))]
    # slapd forgets the failed logins only with an explicit deletion, which fails where there is no lock.
    if person.locked:
        changes.append(Change("delete", LOCK))
    return ldif.modify(directory.person_dn(person.name), changes)


def joined(group: str, names: Iterable[str], *, new: bool) -> str:
    """The record that takes people into a group, or makes the group with them."""
    members = tuple(map(directory.person_dn, names))
    if new:
        return ldif.add(
            directory.group_dn(group), {"objectClass": (directory.GROUP_CLASS,), "cn": (group,), "member": members}
        )
    return ldif.modify(directory.group_dn(group), [Change("add", "member", members)] if members else [])


def left(group: str, names: Iterable[str]) -> str:
    """The record that takes people out of a group; the group stays."""
    members = tuple(map(directory.person_dn, names))
    return ldif.modify(directory.group_dn(group), [Change("delete", "member", members)] if members else [])


def person_in(dn: str) -> str:
    """The person a DN means; empty for whatever else it may be."""
    return _in(dn, "uid", directory.PEOPLE)


def group_in(dn: str) -> str:
    """The group a DN means; empty for whatever else it may be."""
    return _in(dn, "cn", directory.GROUPS)


def _in(dn: str, attribute: str, branch: str) -> str:
    found = re.fullmatch(rf"{attribute}=({directory.NAME.pattern}),{re.escape(branch)}", dn)
    return found[1] if found else ""


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() else None
