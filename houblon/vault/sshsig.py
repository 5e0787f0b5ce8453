"""SSH signatures, as ``ssh-keygen -Y sign`` and ``-Y verify`` make and check them (PROTOCOL.sshsig).

Written here, and not by calling ssh-keygen, because ssh-keygen wants a protected key either on disk or in
an agent, while ours is open in memory for one run only; and because every command verifies, on systems
whose ssh-keygen may be old or absent. Only ed25519. Tests check both directions against ssh-keygen.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import struct
import textwrap

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

_TYPE = b"ssh-ed25519"
_BEGIN, _END = "-----BEGIN SSH SIGNATURE-----\n", "-----END SSH SIGNATURE-----\n"


class BadSignature(ValueError):
    """The signature is malformed, or is not one of this message in this namespace."""


def _string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def _take(data: bytes) -> tuple[bytes, bytes]:
    if len(data) < 4:
        raise BadSignature("truncated")
    (size,) = struct.unpack(">I", data[:4])
    if len(data) < 4 + size:
        raise BadSignature("truncated")
    return data[4 : 4 + size], data[4 + size :]


def key_line(key: Ed25519PublicKey) -> str:
    """``ssh-ed25519 AAAA...``, without a comment."""
    return "ssh-ed25519 " + base64.b64encode(_string(_TYPE) + _string(key.public_bytes_raw())).decode()


def public_key(line: str) -> Ed25519PublicKey:
    """The key of an ``ssh-ed25519 AAAA... comment`` line.

    :raises ValueError: it is not an ed25519 key, or is malformed.
    """
    parts = line.split()
    if len(parts) < 2 or parts[0] != "ssh-ed25519":
        raise ValueError("not an ssh-ed25519 key")
    kind, rest = _take(base64.b64decode(parts[1], validate=True))
    raw, rest = _take(rest)
    if kind != _TYPE or rest:
        raise ValueError("malformed ssh-ed25519 key")
    return Ed25519PublicKey.from_public_bytes(raw)


def fingerprint(line: str) -> str:
    """``SHA256:...``, as ``ssh-keygen -l`` prints it, of a public key line."""
    digest = hashlib.sha256(base64.b64decode(line.split()[1])).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def _signed_data(message: bytes, namespace: str) -> bytes:
    digest = hashlib.sha512(message).digest()
    return b"SSHSIG" + _string(namespace.encode()) + _string(b"") + _string(b"sha512") + _string(digest)


def _armor(blob: bytes) -> bytes:
    body = "\n".join(textwrap.wrap(base64.b64encode(blob).decode(), 70))
    return f"{_BEGIN}{body}\n{_END}".encode()


def sign(key: Ed25519PrivateKey, message: bytes, namespace: str) -> bytes:
    """The armored signature of a message."""
    signature = key.sign(_signed_data(message, namespace))
    blob = (
        b"SSHSIG"
        + struct.pack(">I", 1)
        + _string(_string(_TYPE) + _string(key.public_key().public_bytes_raw()))
        + _string(namespace.encode())
        + _string(b"")
        + _string(b"sha512")
        + _string(_string(_TYPE) + _string(signature))
    )
    return _armor(blob)


def verify(armored: bytes, message: bytes, namespace: str) -> str:
    """The public key line of the signer. Whether he may sign is the caller's question.

    :raises BadSignature: for anything but the one canonical encoding of a valid ed25519 signature.
    """
    try:
        text = armored.decode("ascii")
        if not (text.startswith(_BEGIN) and text.endswith(_END)):
            raise BadSignature("not an SSH signature")
        blob = base64.b64decode(text[len(_BEGIN) : -len(_END)].replace("\n", ""), validate=True)
        # Base64 and line ends leave bits unused: without this, some flipped bytes would go unnoticed.
        if _armor(blob) != armored or blob[:10] != b"SSHSIG" + struct.pack(">I", 1):
            raise BadSignature("not a canonical SSH signature")
        key_blob, rest = _take(blob[10:])
        space, rest = _take(rest)
        reserved, rest = _take(rest)
        algorithm, rest = _take(rest)
        signature, rest = _take(rest)
        kind, raw = _take(signature)
        raw, tail = _take(raw)
        if (space, reserved, algorithm, rest, kind, tail) != (
            namespace.encode(),
            b"",
            b"sha512",
            b"",
            _TYPE,
            b"",
        ):
            raise BadSignature("made for something else")
        line = "ssh-ed25519 " + base64.b64encode(key_blob).decode()
        public_key(line).verify(raw, _signed_data(message, namespace))
    except (InvalidSignature, UnicodeDecodeError, binascii.Error) as error:
        raise BadSignature("does not fit what it signs") from error
    except BadSignature:
        raise
    except ValueError as error:
        raise BadSignature(str(error)) from error
    return line
