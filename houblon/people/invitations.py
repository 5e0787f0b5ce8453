"""Invitations: one-time links from whichever role makes them, or first passwords where none does."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from houblon import directory
from houblon.claims import Invites
from houblon.errors import OperationFailed
from houblon.people import ldif
from houblon.people.ldif import Change
from houblon.people.model import Person
from houblon.people.remote import Remote

if TYPE_CHECKING:
    from houblon.connection import Connection

# No 0 O 1 l I: it is copied from paper.
_LETTERS = "abcdefghijkmnpqrstuvwxyz23456789"


@dataclass(frozen=True)
class Invitation:
    """What one person gets: a link and when it ends (seconds since the epoch), or a first password."""

    person: Person
    url: str = field(default="", repr=False)
    expires: int = 0
    password: str = field(default="", repr=False)


def links(connection: Connection, invites: Invites, people: Sequence[Person], hours: int) -> list[Invitation]:
    """A one-time link for each person; it ends any earlier one of theirs.

    :raises OperationFailed: the role's command failed, or its answer is not what the claim promises.
    """
    if not people:
        return []
    asked = "".join(
        json.dumps({"name": person.name, "hours": hours, "language": person.language}) + "\n" for person in people
    )
    result = connection.run(invites.command, asked.encode())
    if result.exit_status != 0:
        raise OperationFailed(
            f"{invites.role} makes no links: {' '.join(result.stderr.split())[-300:] or result.exit_status}",
            cure=f"See `houblon status`, and `houblon verify --only {invites.role}`.",
        )
    lines = result.lines()
    if len(lines) != len(people):
        raise OperationFailed(f"{invites.role} made {len(lines)} links for {len(people)} people")
    return [_understood(line, person, invites.role) for line, person in zip(lines, people, strict=True)]


def passwords(remote: Remote, people: Iterable[Person]) -> list[Invitation]:
    """A first password for each person, drawn here; the directory keeps its hash."""
    made = [Invitation(person, password=draw()) for person in people]
    remote.apply("".join(password_set(one.person.name, one.password) for one in made))
    return made


def password_set(name: str, password: str) -> str:
    """The record that sets a password; slapd hashes it (slapo-ppolicy(5), olcPPolicyHashCleartext)."""
    return ldif.modify(directory.person_dn(name), [Change("replace", directory.PASSWORD, (password,))])


def draw() -> str:
    """A password of four groups of four letters and digits: 80 bits."""
    return "-".join("".join(secrets.choice(_LETTERS) for _ in range(4)) for _ in range(4))


def _understood(line: str, person: Person, role: str) -> Invitation:
    # The answer is not repeated: it may hold a link that works.
    try:
        answer = json.loads(line)
        name, url, expires = answer["name"], answer["url"], answer["expires"]
        parts = urlsplit(url)
        good = name == person.name and parts.scheme == "https" and parts.hostname and isinstance(expires, int)
    except (ValueError, KeyError, TypeError, AttributeError):
        good = False
    if not good:
        raise OperationFailed(f"the answer of {role} about {person.name} is no invitation")
    return Invitation(person, url, expires)
