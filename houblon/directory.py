"""The one directory of accounts, as everybody who reads it knows it: names, attributes, filters. Pure.

The schema is inetOrgPerson (RFC 2798) and a small class of our own, `CLASS`. A person is
``uid=NAME,ou=people,o=houblon``, a group ``cn=NAME,ou=groups,o=houblon`` (groupOfNames semantics, ``member`` holds
DNs), the bind of a role ``cn=ROLE,ou=services,o=houblon``. The suffix is the same on every site, so that a site can
change its domain without rewriting its people.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

SUFFIX = "o=houblon"
PEOPLE = f"ou=people,{SUFFIX}"
GROUPS = f"ou=groups,{SUFFIX}"
SERVICES = f"ou=services,{SUFFIX}"
CLASS = "houblonPerson"
"""Auxiliary object class of every person."""
GROUP_CLASS = "houblonGroup"
"""Structural object class of every group: ``cn``, ``member``, ``description``; may be empty, unlike groupOfNames."""
PASSWORD = "userPassword"  # noqa: S105 - the attribute's name
"""Only ever written in clear, over the host's own socket; the directory hashes it."""

SOCKET = "/run/slapd/ldapi"
LDAPI = "ldapi://%2Frun%2Fslapd%2Fldapi"
HOST, PORT = "127.0.0.1", 389
LDAP = f"ldap://{HOST}:{PORT}"
"""For readers that cannot speak over a socket; plain, because it never leaves the host."""

STATE = "houblonState"
"""``active`` or ``disabled``."""
ALIAS = "houblonAlias"
"""Further addresses whose mail is theirs; many."""
RECOVERY = "houblonRecovery"
"""An address elsewhere, for invitations and forgotten passwords; one."""
MAIL_QUOTA = "houblonMailQuota"
FILE_QUOTA = "houblonFileQuota"
"""Mebibytes; absent: the service's default."""
LANGUAGE = "preferredLanguage"
"""``fr`` or ``en``."""
MAIL = "mail"
"""The address services show and write to; one."""

ALWAYS = ("uid", "cn", "sn", "givenName", "displayName", "memberOf", LANGUAGE, STATE)
"""What every `Accounts` claim may read of the people it sees."""

NAME = re.compile(r"[a-z][a-z0-9._-]{1,30}")
"""A person's or a group's name: also a directory, an e-mail address and a path, hence no more than this."""


def person_dn(name: str) -> str:
    return f"uid={_judged(name)},{PEOPLE}"


def group_dn(name: str) -> str:
    return f"cn={_judged(name)},{GROUPS}"


def bind_dn(role: str) -> str:
    """Whom a role binds as; the password is its secret ``directory``."""
    return f"cn={role},{SERVICES}"


def person_filter(groups: Iterable[str] = (), also: str = "") -> str:
    """The people who may use something (RFC 4515): active, and in one of these groups if any are named.

    :param also: a further condition in parentheses, such as ``(uid={login})`` of a program's own template.
    """
    member = "".join(f"(memberOf={group_dn(group)})" for group in groups)
    return f"(&(objectClass={CLASS})({STATE}=active){f'(|{member})' if member else ''}{also})"


def escape(value: str) -> str:
    r"""A value for a filter (RFC 4515, section 3): ``* ( ) \`` NUL and all beyond ASCII as ``\xx``."""
    return "".join(
        char if char.isascii() and char.isprintable() and char not in "*()\\" else
        "".join(f"\\{byte:02x}" for byte in char.encode())
        for char in value
    )  # fmt: skip


def _judged(name: str) -> str:
    if not NAME.fullmatch(name):
        raise ValueError(f"{name!r} cannot be the name of a person or a group")
    return name
