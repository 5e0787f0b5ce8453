"""Reads SSH public keys as they stand in ``authorized_keys``, and says what is wrong with a bad one.

Formats: RFC 4253 section 6.6 (wire format), RFC 8709 (Ed25519), RFC 5656 (ECDSA), OpenSSH's PROTOCOL.u2f
(security keys).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass

RSA_BITS = 3072
"""Smallest RSA key accepted (ANSSI's guide to OpenSSH; NIST SP 800-57 part 1, after 2030)."""

_PLAIN = {
    "ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521",
}  # fmt: skip
_SECURITY_KEYS = {"sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com"}
_MAKE_ONE = "Make one with `ssh-keygen -t ed25519` and paste the one line of the .pub file."
_COMMENT = re.compile(r"[^\x00-\x1f\x7f-\x9f]{0,200}")


class BadKey(ValueError):
    """Why a text is no public key that can be used; never holds the text itself."""

    def __init__(self, what: str, cure: str = _MAKE_ONE) -> None:
        super().__init__(what)
        self.what, self.cure = what, cure


@dataclass(frozen=True)
class PublicKey:
    """An SSH public key: its type, its wire format and the comment after it."""

    type: str
    blob: bytes
    comment: str = ""

    @property
    def line(self) -> str:
        """The key as one line of ``authorized_keys``."""
        body = base64.b64encode(self.blob).decode()
        return f"{self.type} {body} {self.comment}".rstrip()

    @property
    def fingerprint(self) -> str:
        """As `ssh-keygen -l` prints it: ``SHA256:...``."""
        return "SHA256:" + base64.b64encode(hashlib.sha256(self.blob).digest()).decode().rstrip("=")


def parse(text: str) -> PublicKey:
    """Read one line of a .pub file.

    :raises BadKey: when it is no public key, a weak one, or something else that people paste by mistake.
    """
    text = text.strip()
    if "PRIVATE KEY" in text.upper() or "AGE-SECRET-KEY" in text.upper() or text.startswith("PuTTY-"):
        raise BadKey(
            "this is a private key; it must never leave its owner's machine",
            "Put the public key there (the .pub file). If this text was ever shared, make a new key pair.",
        )
    if "\n" in text:
        raise BadKey("a public key is one line")
    kind, _, rest = text.partition(" ")
    if kind == "ssh-dss":
        raise BadKey("DSA keys are broken")
    if kind.endswith("-cert-v01@openssh.com"):
        raise BadKey("this is an SSH certificate, not a public key", "Paste the .pub file, not -cert.pub.")
    if kind not in _PLAIN | _SECURITY_KEYS:
        raise BadKey("this is not an SSH public key (it should begin with ssh-ed25519)")
    body, _, comment = rest.strip().partition(" ")
    try:
        blob = base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError):
        raise BadKey("this public key is damaged: part of it is missing or changed") from None
    if not _COMMENT.fullmatch(comment.strip()):
        raise BadKey("the comment after this key holds control characters", "Leave the comment out.")
    _check(kind, blob)
    return PublicKey(kind, blob, comment.strip())


def _check(kind: str, blob: bytes) -> None:
    fields = _fields(blob)
    expected = {"ssh-ed25519": 2, "sk-ssh-ed25519@openssh.com": 3, "sk-ecdsa-sha2-nistp256@openssh.com": 4}
    damaged = BadKey("this public key is damaged: part of it is missing or changed")
    if not fields or fields[0] != kind.encode() or len(fields) != expected.get(kind, 3):
        raise damaged
    if kind in {"ssh-ed25519", "sk-ssh-ed25519@openssh.com"} and len(fields[1]) != 32:
        raise damaged
    if kind in _SECURITY_KEYS:
        return
    # Imported here: it takes longer than the rest of reading a site.
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.hazmat.primitives.serialization import load_ssh_public_key

    try:
        key = load_ssh_public_key(f"{kind} ".encode() + base64.b64encode(blob))
    except (ValueError, UnsupportedAlgorithm):
        raise damaged from None
    if isinstance(key, RSAPublicKey) and key.key_size < RSA_BITS:
        raise BadKey("this RSA key is too short")


def _fields(blob: bytes) -> list[bytes]:
    """The length-prefixed strings of RFC 4251 section 5; empty when they do not fit."""
    fields = []
    while blob:
        size = int.from_bytes(blob[:4], "big")
        if len(blob) < 4 + size:
            return []
        fields.append(blob[4 : 4 + size])
        blob = blob[4 + size :]
    return fields
