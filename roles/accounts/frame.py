"""What an apply owns inside the directory: branches, password policies, binds. Pure text.

The form is that of the script's comparison: one line for each value, ``DN<TAB>attribute: value`` as ldapsearch(1)
prints it unwrapped, in the C locale's order.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable, Mapping

from houblon import directory

POLICIES = f"ou=policies,{directory.SUFFIX}"
POLICY_PEOPLE = f"cn=people,{POLICIES}"
POLICY_SERVICES = f"cn=services,{POLICIES}"

FAILURES, WINDOW, LOCKED = 10, 600, 300
"""So many wrong passwords within so many seconds shut an account for so many. It opens by itself, and a guesser is
held to 60 guesses an hour whatever address they come from."""


def frame(password_length: int) -> str:
    """Branches and policies."""
    lines: list[str] = []
    _add(lines, directory.SUFFIX, {"objectClass": ["organization"], "o": ["houblon"]})
    for branch in (directory.PEOPLE, directory.GROUPS, directory.SERVICES, POLICIES):
        name = branch.partition(",")[0].removeprefix("ou=")
        _add(lines, branch, {"objectClass": ["organizationalUnit"], "ou": [name]})
    kinds = {"objectClass": ["applicationProcess", "pwdPolicy"], "pwdAttribute": [directory.PASSWORD]}
    _add(lines, POLICY_PEOPLE, kinds | {
        "cn": ["people"],
        # 2: a password that is already hashed cannot be judged, and is refused.
        "pwdCheckQuality": ["2"],
        "pwdMinLength": [str(password_length)],
        "pwdLockout": ["TRUE"],
        "pwdMaxFailure": [str(FAILURES)],
        "pwdFailureCountInterval": [str(WINDOW)],
        "pwdLockoutDuration": [str(LOCKED)],
        "pwdAllowUserChange": ["TRUE"],
    })  # fmt: skip
    # No lockout: whoever can reach the socket could shut a whole service out.
    _add(lines, POLICY_SERVICES, kinds | {
        "cn": ["services"], "pwdLockout": ["FALSE"], "pwdAllowUserChange": ["FALSE"],
    })  # fmt: skip
    return _text(lines)


def binds(passwords: Mapping[str, str]) -> str:
    """The binds of roles, with their passwords hashed.

    One round of salted SHA-512: a password of 190 random bits cannot be guessed at any speed, and a service that
    binds for every request must not wait for Argon2 each time. The salt is derived, because a plan has no randomness.
    """
    lines: list[str] = []
    for role, password in passwords.items():
        salt = hmac.digest(password.encode(), f"houblon directory {role}".encode(), "sha256")[:16]
        hashed = hashlib.sha512(password.encode() + salt).digest()
        value = "{SSHA512}" + base64.b64encode(hashed + salt).decode()
        _add(lines, directory.bind_dn(role), {
            "objectClass": ["applicationProcess", "simpleSecurityObject"],
            "cn": [role],
            "pwdPolicySubentry": [POLICY_SERVICES],
        })  # fmt: skip
        # ldapsearch prints passwords in base64, always.
        lines.append(f"{directory.bind_dn(role)}\tuserPassword:: {base64.b64encode(value.encode()).decode()}")
    return _text(lines)


def _add(lines: list[str], dn: str, attributes: Mapping[str, Iterable[str]]) -> None:
    lines += [f"{dn}\t{name}: {value}" for name, values in attributes.items() for value in values]


def _text(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in sorted(lines))
