"""What each role may see of people: `Accounts` claims as access rules of slapd. Pure.

A rule has a filter, which picks the people, and attributes. slapd evaluates both for every entry it is about to
return and every attribute a filter names (slapd.access(5)), so a role cannot even guess at what it may not read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from houblon import directory
from houblon.claims import Accounts

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]*")
GROUP_ATTRIBUTES = ("entry", "objectClass", "cn", "description")


@dataclass(frozen=True)
class Rule:
    """One role's view.

    :param people: filter (RFC 4515) of those it sees.
    :param reads: attributes it may read and search by.
    :param writes: attributes it may write, besides the password.
    :param password: it may set passwords, and never read them.
    :param groups: filter of the groups it sees; `group_reads`: of which attributes.
    """

    dn: str
    people: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    password: bool
    groups: str
    group_reads: tuple[str, ...]


def rules(claims: Iterable[Accounts]) -> tuple[Rule, ...]:
    """Rules in the order of the roles' names; a role's several claims each make one."""
    return tuple(
        _rule(claim) for claim in sorted(claims, key=lambda c: (c.role, c.groups, c.needs, c.writes))
    )


def _rule(claim: Accounts) -> Rule:
    for name in (*claim.needs, *claim.writes):
        # slapd also takes numbers, options and whole classes (`@inetOrgPerson`) there.
        if not _NAME.fullmatch(name):
            raise ValueError(f"{claim.role}: {name!r} is no attribute's name")
    needs = [name for name in claim.needs if not _is(name, directory.PASSWORD) and not _is(name, "member")]
    writes = [name for name in claim.writes if not _is(name, directory.PASSWORD)]
    names = "".join(f"(cn={group})" for group in claim.groups)
    kind = f"(objectClass={directory.GROUP_CLASS})"
    return Rule(
        dn=directory.bind_dn(claim.role),
        people=directory.person_filter(claim.groups),
        reads=tuple(dict.fromkeys(("entry", "objectClass", *directory.ALWAYS, *needs, *writes))),
        writes=tuple(writes),
        password=any(_is(name, directory.PASSWORD) for name in claim.writes),
        groups=f"(&{kind}(|{names}))" if names else kind,
        group_reads=(*GROUP_ATTRIBUTES, *(("member",) if any(_is(n, "member") for n in claim.needs) else ())),
    )


def _is(name: str, other: str) -> bool:
    """Attribute names have no case (RFC 4512, section 2.5)."""
    return name.lower() == other.lower()
