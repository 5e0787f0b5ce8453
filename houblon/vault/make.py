"""Making secrets, deriving their public halves, and refusing weak ones."""

from __future__ import annotations

import base64
import secrets
import string
import unicodedata

from cryptography.hazmat.primitives import serialization as ser
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519

from houblon.errors import BadInput
from houblon.vault.spec import DRAWN

MIN_LENGTH = 12
_PEM, _RAW = ser.Encoding.PEM, ser.Encoding.Raw
_CLEAR = ser.NoEncryption()
_COMMON = (
    "password", "passphrase", "motdepasse", "azerty", "qwerty", "houblon", "letmein", "changeme",
    "changezmoi", "secret", "admin", "administrator", "welcome", "bienvenue", "iloveyou", "jetaime",
    "correcthorsebatterystaple", "soleil", "doudou", "nextcloud", "root", "toor", "monkey", "dragon",
)  # fmt: skip
_RUNS = (
    "abcdefghijklmnopqrstuvwxyz", "01234567890123456789", "qwertyuiop", "asdfghjkl", "zxcvbnm",
    "azertyuiop", "qsdfghjklm", "wxcvbn",
)  # fmt: skip


def make(kind: str, length: int, comment: str) -> bytes:
    """A new secret of this kind; see :class:`~houblon.vault.spec.SecretSpec` for the formats.

    :param length: characters, for a password or a token.
    :param comment: ends the line of an SSH public key.
    """
    if kind == "password":
        # Letters and digits alone need no quoting in any file or URL; 16 of them hold 95 bits.
        alphabet = string.ascii_letters + string.digits
        return "".join(secrets.choice(alphabet) for _ in range(length)).encode()
    if kind == "token":
        return secrets.token_hex(length // 2 + 1)[:length].encode()
    if kind == "ed25519-ssh":
        key = ed25519.Ed25519PrivateKey.generate()
        return key.private_bytes(_PEM, ser.PrivateFormat.OpenSSH, _CLEAR)
    if kind == "ed25519-dkim":
        return _pkcs8(ed25519.Ed25519PrivateKey.generate())
    if kind == "rsa-2048":
        return _pkcs8(rsa.generate_private_key(public_exponent=65537, key_size=2048))
    if kind == "ecdsa-p256":
        return _pkcs8(ec.generate_private_key(ec.SECP256R1()))
    if kind == "x25519-wireguard":
        raw = x25519.X25519PrivateKey.generate().private_bytes(_RAW, ser.PrivateFormat.Raw, _CLEAR)
        return base64.b64encode(raw)
    raise ValueError(f"no kind {kind!r}")


def _pkcs8(key: ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(_PEM, ser.PrivateFormat.PKCS8, _CLEAR)


def public_half(kind: str, value: bytes, comment: str) -> str | None:
    """The public half of a key, one line without its end; None for passwords and tokens.

    :raises BadInput: the value is not a private key of this kind.
    """
    if kind in DRAWN:
        return None
    try:
        return _public_half(kind, value, comment)
    except (ValueError, TypeError):
        # `from None`: the parser's message may quote what it could not parse.
        raise BadInput(
            f"this is not a private key of kind {kind}",
            cure="Give it unencrypted, on standard input, in the format that `houblon secret show` prints.",
        ) from None


def _public_half(kind: str, value: bytes, comment: str) -> str:
    if kind == "x25519-wireguard":
        wg = x25519.X25519PrivateKey.from_private_bytes(base64.b64decode(value.strip(), validate=True))
        return base64.b64encode(wg.public_key().public_bytes(_RAW, ser.PublicFormat.Raw)).decode()
    if kind == "ed25519-ssh":
        ssh = ser.load_ssh_private_key(value, None)
        if not isinstance(ssh, ed25519.Ed25519PrivateKey):
            raise ValueError("not ed25519")
        line = ssh.public_key().public_bytes(ser.Encoding.OpenSSH, ser.PublicFormat.OpenSSH)
        return f"{line.decode()} {comment}"
    key = ser.load_pem_private_key(value, None)
    if kind == "ed25519-dkim" and isinstance(key, ed25519.Ed25519PrivateKey):
        return base64.b64encode(key.public_key().public_bytes(_RAW, ser.PublicFormat.Raw)).decode()
    wanted = (kind == "rsa-2048" and isinstance(key, rsa.RSAPrivateKey) and key.key_size >= 2048) or (
        kind == "ecdsa-p256" and isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name == "secp256r1"
    )
    if not wanted:
        raise ValueError("another kind of key")
    der = key.public_key().public_bytes(ser.Encoding.DER, ser.PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(der).decode()


def weakness(value: str) -> str | None:
    """Why a password chosen by a person is refused, or None. The reason never quotes the value.

    It catches what is guessed first, no more: a short value, one built from a few characters or from one
    repeated piece, a keyboard run, a common word with digits around it.
    """
    if any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in value):
        return "it holds a control character or a line break"
    if value != value.strip():
        return "it starts or ends with a space, which files and forms lose"
    if len(value) < MIN_LENGTH:
        return f"it has fewer than {MIN_LENGTH} characters"
    if len(set(value)) < 5:
        return "it is made of fewer than five different characters"
    if (value + value).find(value, 1) < len(value):
        return "it repeats one piece"
    rest = value.lower()
    for run in sorted((*_RUNS, *(r[::-1] for r in _RUNS)), key=len, reverse=True):
        for size in range(len(run), 3, -1):
            for start in range(len(run) - size + 1):
                rest = rest.replace(run[start : start + size], "")
    for word in sorted(_COMMON, key=len, reverse=True):
        rest = rest.replace(word, "")
    if len(rest.strip(string.digits + string.punctuation + " ")) < 4 and len(rest) < MIN_LENGTH:
        return "it is a common word or keyboard run with little around it"
    return None


def refuse_unfit(value: str, what: str) -> None:
    """:raises BadInput: the value cannot stand on one line of a configuration file."""
    if not value or value != value.strip() or any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in value):
        raise BadInput(f"{what} is refused: it is empty, or has spaces around it or a line break in it",
                       cure="Copy it again, alone, on one line.")  # fmt: skip


def refuse_weak(value: str, what: str) -> None:
    """:raises BadInput: the value is weak; ``what`` names it in the message."""
    reason = weakness(value)
    if reason:
        raise BadInput(
            f"{what} is refused: {reason}",
            cure="Take a longer one, such as five random words, or let `houblon secret rotate` draw it.",
        )
