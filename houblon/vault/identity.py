"""The operator's own key: found, opened at most once per run, never written anywhere."""

from __future__ import annotations

import base64
import getpass
import os
import stat
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyrage
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives import serialization as ser
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from houblon.errors import BadInput
from houblon.vault import files, sshsig
from houblon.vault.admins import Admins, Keys, describe
from houblon.vault.trust import config_folder

_AGE, _SSH = b"age-encryption.org/v1\n", b"-----BEGIN OPENSSH PRIVATE KEY-----"
_MAKE = "`houblon admin identity` makes one; its .pub file goes to an admin, who adds it."


@dataclass(frozen=True)
class Opened:
    """A key ready for use. Its repr shows the file and no key."""

    file: Path
    keys: Keys
    opener: pyrage.x25519.Identity | pyrage.ssh.Identity
    signing: Ed25519PrivateKey

    def __repr__(self) -> str:
        return f"<identity {self.file}>"


def default_file() -> Path:
    """Where the identity made by houblon lies."""
    return config_folder() / "identity.age"


def ask_on_terminal(prompt: str) -> str:
    """Reads a passphrase without echo.

    :raises BadInput: there is no terminal to ask on.
    """
    try:
        # getpass falls back to standard input, with echo, where there is no terminal.
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        raise BadInput(
            "a passphrase is needed, and there is no terminal to ask on",
            cure="Set HOUBLON_PASSPHRASE_FILE to a file of mode 0600 that holds it.",
        ) from None
    return getpass.getpass(prompt)


def passphrase(prompt: str, ask: Callable[[str], str]) -> str:
    """The passphrase: first line of the file named by ``HOUBLON_PASSPHRASE_FILE``, or asked for.

    :raises BadInput: that file is missing, or others may read it.
    """
    name = os.environ.get("HOUBLON_PASSPHRASE_FILE")
    if not name:
        return ask(prompt)
    text = _private(Path(name), "HOUBLON_PASSPHRASE_FILE").decode(errors="surrogateescape")
    first = text.split("\n", 1)[0].rstrip("\r")
    if not first:
        raise BadInput(
            "the passphrase file is empty", file=name, cure="Write the passphrase on its first line."
        )
    return first


def _private(path: Path, what: str) -> bytes:
    """Reads a file that only its owner may read."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > files.MAX_SIZE:
            raise BadInput(f"{what} is not a plain small file", file=path, cure="Name the right file.")
        if status.st_mode & 0o077:
            raise BadInput(
                f"others may read this file (mode {stat.S_IMODE(status.st_mode):04o}), and it holds a secret",
                file=path,
                cure=f"`chmod 600 {path}`, and ask yourself who has read it.",
            )
        return path.read_bytes()
    except OSError as error:
        raise BadInput(
            f"{what} cannot be read: {error.strerror}", file=path, cure="Name the right file."
        ) from None


def age_keys(identity: pyrage.x25519.Identity) -> tuple[Keys, Ed25519PrivateKey]:
    """Public keys and signing key of an age identity.

    The signing key is derived from it (HKDF-SHA256): one thing to keep, to type from paper, to protect.
    """
    seed = HKDF(hashes.SHA256(), 32, salt=None, info=b"houblon-vault signing key 1").derive(
        str(identity).encode()
    )
    signing = Ed25519PrivateKey.from_private_bytes(seed)
    return Keys((str(identity.to_public()),), (sshsig.key_line(signing.public_key()),)), signing


def make_identity(path: Path, phrase: str | None) -> Opened:
    """Makes an age identity, protected by a passphrase unless that is None, with its ``.pub`` beside it.

    ``age -d -i`` reads it too.
    """
    identity = pyrage.x25519.Identity.generate()
    keys, signing = age_keys(identity)
    text = f"# houblon identity\n{identity}\n".encode()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    pub = "".join(f"reader {key}\n" for key in keys.readers) + "".join(
        f"signer {key}\n" for key in keys.signers
    )
    files.replace_synced(path.with_suffix(".pub"), pub.encode(), 0o644)
    # Created, not replaced: the only copy of somebody's key must not be overwritten by a race.
    files.write_synced(path, text if phrase is None else pyrage.passphrase.encrypt(text, phrase), 0o600)
    files.sync_folder(path.parent)
    return Opened(path, keys, identity, signing)


@dataclass(frozen=True)
class Candidate:
    """A key file that could open a vault. ``keys`` is None when only opening it would tell."""

    file: Path
    data: bytes
    keys: Keys | None
    protected: bool

    def open(self, ask: Callable[[str], str], phrase: str | None = None) -> Opened:
        """:raises BadInput: wrong passphrase, or a kind of key that cannot open a vault."""
        if not self.protected:
            phrase = None
        elif phrase is None:
            phrase = passphrase(f"Passphrase of {self.file}: ", ask)
        if self.data.startswith(_SSH):
            return self._open_ssh(phrase)
        try:
            text = pyrage.passphrase.decrypt(self.data, phrase) if phrase is not None else self.data
        except pyrage.DecryptError:
            raise _wrong(self.file) from None
        secrets = [
            line.strip() for line in text.decode(errors="replace").splitlines() if line[:1] not in ("", "#")
        ]
        try:
            identity = pyrage.x25519.Identity.from_str(secrets[0].upper())
        except (pyrage.IdentityError, IndexError):
            raise BadInput(
                "this file holds no age identity and no OpenSSH private key",
                file=self.file,
                cure="Let HOUBLON_IDENTITY name one of these.",
            ) from None
        keys, signing = age_keys(identity)
        return Opened(self.file, keys, identity, signing)

    def _open_ssh(self, phrase: str | None) -> Opened:
        try:
            key = ser.load_ssh_private_key(
                self.data, None if phrase is None else phrase.encode(errors="surrogateescape")
            )
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise _wrong(self.file) from None
        if not isinstance(key, Ed25519PrivateKey):
            raise BadInput("this SSH key is not of type ed25519", file=self.file, cure=_MAKE)
        plain = key.private_bytes(ser.Encoding.PEM, ser.PrivateFormat.OpenSSH, ser.NoEncryption())
        line = sshsig.key_line(key.public_key())
        return Opened(self.file, Keys((line,), (line,)), pyrage.ssh.Identity.from_buffer(plain), key)


def _wrong(path: Path) -> BadInput:
    return BadInput("the passphrase does not open this key", file=path, cure="Run the command again.")


def _ssh_public(data: bytes, path: Path) -> tuple[str, bool]:
    """Public key line, and whether a passphrase protects the key, of an OpenSSH private key file."""
    try:
        body = b"".join(line for line in data.split(b"\n") if line and not line.startswith(b"-----"))
        blob = base64.b64decode(body, validate=True)
        if not blob.startswith(b"openssh-key-v1\0"):
            raise ValueError
        fields, position = [], 15
        for index in range(5):
            if index == 3:
                position += 4
                continue
            (size,) = struct.unpack_from(">I", blob, position)
            fields.append(blob[position + 4 : position + 4 + size])
            position += 4 + size
        cipher, _, _, public = fields
        (size,) = struct.unpack_from(">I", public)
        kind = public[4 : 4 + size].decode("ascii")
    except (ValueError, struct.error):
        raise BadInput("this SSH private key is damaged", file=path, cure="Name another key.") from None
    return f"{kind} {base64.b64encode(public).decode()}", cipher != b"none"


def inspect(path: Path, what: str = "this key file") -> Candidate:
    """Looks at a key file without opening it.

    :raises BadInput: it cannot be read, others may read it, or no key of its kind opens a vault.
    """
    data = _private(path, what)
    if data.startswith(_SSH):
        line, protected = _ssh_public(data, path)
        if line.startswith("sk-"):
            raise BadInput(
                "this key lives in a security key, which signs but cannot decrypt: it opens no vault",
                file=path,
                cure=f"Keep it for logging in, and take another key for the vault. {_MAKE}",
            )
        if not line.startswith("ssh-ed25519 "):
            raise BadInput(
                f"an SSH key of type {line.split()[0]} opens no vault; only ssh-ed25519 does",
                file=path,
                cure=f"Take another key. {_MAKE}",
            )
        return Candidate(path, data, Keys((line,), (line,)), protected)
    if b"PRIVATE KEY-----" in data:
        raise BadInput(
            "only OpenSSH's own format is read here", file=path, cure=f"`ssh-keygen -p -f {path}` converts it."
        )
    keys: Keys | None = None
    try:
        lines = [line.split(" ", 1) for line in path.with_suffix(".pub").read_text().splitlines()]
        keys = Keys(
            tuple(rest for kind, rest in lines if kind == "reader"),
            tuple(rest for kind, rest in lines if kind == "signer"),
        )
    except (OSError, ValueError):
        keys = None
    return Candidate(path, data, keys if keys and keys.readers else None, data.startswith(_AGE))


def candidates() -> list[Candidate]:
    """The keys to try: the one named by ``HOUBLON_IDENTITY`` alone, else houblon's own, then SSH's.

    :raises BadInput: the one named cannot be used. Others are passed over.
    """
    named = os.environ.get("HOUBLON_IDENTITY")
    if named:
        return [inspect(Path(named).expanduser(), "the key named by HOUBLON_IDENTITY")]
    found = [path for path in (default_file(), Path.home() / ".ssh/id_ed25519") if path.exists()]
    if len(found) == 1:
        return [inspect(found[0])]
    result = []
    for path in found:
        try:
            result.append(inspect(path))
        except BadInput:
            continue
    return result


def find(admins: Admins, root: Path) -> Candidate:
    """The key here that opens this vault; one that needs no passphrase first.

    :raises BadInput: none does; the message says whose would.
    """
    mine = candidates()
    readers = set(admins.readers)
    fit = [c for c in mine if c.keys is None or readers & set(c.keys.readers)]
    if not fit:
        raise none_opens(admins, root, mine)
    return min(fit, key=lambda c: c.protected)


def none_opens(admins: Admins, root: Path, tried: list[Candidate]) -> BadInput:
    """The error that says whose keys would open this vault."""
    found = ", ".join(str(c.file) for c in tried) or "no key at all"
    return BadInput(
        f"no key here opens this vault (found: {found}); it opens with the keys of {describe(admins)}",
        file=root,
        cure=f"Let HOUBLON_IDENTITY name such a key (a file with the paper key's line will do). {_MAKE}",
    )
