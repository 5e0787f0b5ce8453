"""What a role may ask the vault for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args

Kind = Literal[
    "password",
    "token",
    "ed25519-ssh",
    "rsa-2048",
    "ecdsa-p256",
    "x25519-wireguard",
    "ed25519-dkim",
    "given",
]
KINDS: tuple[str, ...] = get_args(Kind)

#: Kinds without a public half; all others are key pairs whose public half stands in clear. `given` is never
#: made: somebody else chose it (the password of a relay, a token), and a person stores it.
DRAWN: frozenset[str] = frozenset({"password", "token", "given"})

ROLE = re.compile(r"[a-z][a-z0-9_-]{0,63}")
NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,98}[a-z0-9])?")


@dataclass(frozen=True)
class SecretSpec:
    """One secret that must exist before a host is changed.

    :param role: the role that owns it, such as ``nextcloud``.
    :param name: its name inside that role, such as ``admin`` or ``dkim-example.org``.
    :param kind: ``password`` (letters and digits), ``token`` (lower-case hexadecimal), ``ed25519-ssh``
        (OpenSSH key), ``rsa-2048`` and ``ecdsa-p256`` (PKCS#8 PEM; public half: base64 of the DER
        SubjectPublicKeyInfo, as DKIM's ``p=`` wants it), ``x25519-wireguard`` (both halves base64, as
        ``wg`` prints them), ``ed25519-dkim`` (PKCS#8 PEM; public half: base64 of the 32 bytes, RFC 8463),
        ``given`` (by `houblon secret set`; houblon never makes it).
    :param length: characters of a password or token; ignored for keys.
    :param description: one line for ``houblon secret list``.
    :raises ValueError: a name that cannot be a file name, a kind that does not exist, a short length.
    """

    role: str
    name: str
    kind: Kind = "password"
    length: int = 32
    description: str = ""

    def __post_init__(self) -> None:
        if not ROLE.fullmatch(self.role):
            raise ValueError(f"secret of role {self.role!r}: not a role name")
        if not NAME.fullmatch(self.name):
            raise ValueError(f"secret {self.role}/{self.name!r}: use a-z, 0-9, dot, dash, underscore")
        if self.kind not in KINDS:
            raise ValueError(f"secret {self.id}: no kind {self.kind!r}; there are {', '.join(KINDS)}")
        if not 16 <= self.length <= 1024:
            raise ValueError(f"secret {self.id}: length {self.length} is not between 16 and 1024")
        if "\n" in self.description:
            raise ValueError(f"secret {self.id}: the description is one line")

    @property
    def id(self) -> str:
        """``role/name``, as commands and messages write it."""
        return f"{self.role}/{self.name}"
