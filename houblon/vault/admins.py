"""Who reads and who signs: a chain of signed lists, `vault/admins/0001`, `0002`, ...

Each list names every admin's age recipients (``reader``) and signing keys (``signer``), and the paper key.
Each one after the first is signed by a signer of the one before, so that whoever knows one list can follow
every change since, and a list that an outsider adds is refused. The SHA-256 of the first is the name of
the vault: it never changes, and can be compared over the phone.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pyrage

from houblon.errors import BadInput
from houblon.vault import files, sshsig

NAMESPACE = "houblon-vault-admins"
PAPER = "paper"
ADMIN = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_HEAD = "houblon-vault-admins 1"


@dataclass(frozen=True)
class Keys:
    """One admin's public keys: ``readers`` are age recipients, ``signers`` ssh-ed25519 lines."""

    readers: tuple[str, ...]
    signers: tuple[str, ...]

    def __or__(self, other: Keys) -> Keys:
        return Keys(
            tuple(sorted({*self.readers, *other.readers})), tuple(sorted({*self.signers, *other.signers}))
        )


@dataclass(frozen=True)
class Admins:
    """The people (and the paper) who open and sign a vault, by name."""

    keys: dict[str, Keys]

    @property
    def people(self) -> list[str]:
        """Names without the paper key, sorted."""
        return sorted(name for name in self.keys if name != PAPER)

    @property
    def readers(self) -> list[str]:
        """All age recipients, sorted."""
        return sorted({reader for keys in self.keys.values() for reader in keys.readers})

    @property
    def readers_id(self) -> str:
        """A short name of this set of recipients, kept beside each secret."""
        return hashlib.sha256("\n".join(self.readers).encode()).hexdigest()[:16]

    def signer(self, line: str) -> str | None:
        """Whose signing key this is."""
        return next((name for name, keys in sorted(self.keys.items()) if line in keys.signers), None)

    def lines(self) -> list[str]:
        """As they stand in the file, sorted."""
        return sorted(
            f"{kind} {name} {key}"
            for name, keys in self.keys.items()
            for kind, some in (("reader", keys.readers), ("signer", keys.signers))
            for key in some
        )


@dataclass(frozen=True)
class Link:
    """One list of the chain.

    :param previous: SHA-256 of the list before, ``-`` for the first.
    """

    number: int
    previous: str
    admins: Admins

    @cached_property
    def data(self) -> bytes:
        """The bytes of the file."""
        head = [_HEAD, f"number {self.number}", f"previous {self.previous}"]
        return "\n".join([*head, *self.admins.lines(), ""]).encode()

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    @property
    def file(self) -> str:
        """Name inside the vault."""
        return f"admins/{self.number:04d}"


def recipient(line: str) -> pyrage.x25519.Recipient | pyrage.ssh.Recipient:
    """The age recipient of an ``age1...`` or ``ssh-ed25519 ...`` line.

    :raises ValueError: it is neither.
    """
    try:
        if line.startswith("age1"):
            return pyrage.x25519.Recipient.from_str(line)
        sshsig.public_key(line)
        return pyrage.ssh.Recipient.from_str(line)
    except pyrage.RecipientError as error:
        raise ValueError(str(error)) from None


def keys_from(lines: Iterable[str], *, file: Path | str | None, name: str) -> tuple[Keys, list[str]]:
    """Sorts what an admin hands over: SSH public keys, and the lines of a houblon identity's ``.pub`` file.

    :returns: his vault keys, and the SSH public keys that let him log in.
    :raises BadInput: a private key, a malformed line, options before a key.
    """
    readers, signers, logins = set(), set(), []
    for number, raw in enumerate(lines, 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        if "PRIVATE KEY" in line or line.upper().startswith("AGE-SECRET-KEY"):
            raise BadInput(
                "this is a private key, which must never leave its owner's machine",
                file=file,
                line=number,
                cure="Give the public half: the file whose name ends in .pub.",
            )
        word, _, rest = line.partition(" ")
        try:
            if word == "reader" or word.startswith("age1"):
                key = rest.strip() if word == "reader" else line
                recipient(key)
                readers.add(key)
            elif word == "signer":
                signers.add(sshsig.key_line(sshsig.public_key(rest)))
            elif word == "ssh-ed25519":
                key = sshsig.key_line(sshsig.public_key(line))
                readers.add(key)
                signers.add(key)
                logins.append(line)
            elif re.fullmatch(r"(sk-)?(ssh|ecdsa)-[a-z0-9@.-]+", word) and len(rest.split()) >= 1:
                logins.append(line)
            else:
                raise ValueError("no kind of key that houblon knows")
        except ValueError as error:
            raise BadInput(
                f"this key of {name} is not valid: {error}",
                file=file,
                line=number,
                cure="One SSH public key per line, as in ~/.ssh/id_ed25519.pub, without options before it.",
            ) from None
    return Keys(tuple(sorted(readers)), tuple(sorted(signers))), logins


def require(keys: Keys, name: str, *, file: Path | str | None = None) -> Keys:
    """:raises BadInput: these keys cannot both open and sign the vault."""
    if keys.readers and keys.signers:
        return keys
    raise BadInput(
        f"{name} has no key that opens the vault: age reads with SSH keys of type ed25519 only, not with "
        "RSA, ECDSA or security keys (ssh-ed25519 yes, sk-ssh-ed25519 no)",
        file=file,
        cure=f"{name} runs `houblon admin identity` and sends the .pub file that it names: one more --key.",
    )


def _parse(data: bytes, number: int, path: Path) -> Link:
    try:
        lines = data.decode("utf-8").split("\n")
        previous = lines[2].removeprefix("previous ")
        keys: dict[str, tuple[set[str], set[str]]] = {}
        for line in lines[3:-1]:
            kind, name, key = line.split(" ", 2)
            if not ADMIN.fullmatch(name):
                raise ValueError(line)
            entry = keys.setdefault(name, (set(), set()))
            if kind == "reader":
                recipient(key)
            else:
                sshsig.public_key(key)
            entry[0 if kind == "reader" else 1].add(key)
        link = Link(
            number,
            previous,
            Admins({n: Keys(tuple(sorted(r)), tuple(sorted(s))) for n, (r, s) in keys.items()}),
        )
        # Whatever is not written exactly as houblon writes it was written by something else.
        if link.data != data or not link.admins.people:
            raise ValueError("not in the form that houblon writes")
    except (ValueError, IndexError):
        raise BadInput(
            "this list of admins is damaged", file=path, cure="Bring it back: `git checkout -- vault`."
        ) from None
    return link


def read_chain(root: Path) -> list[Link]:
    """All lists, oldest first, each one verified against the one before.

    :raises BadInput: one is missing, damaged, or signed by nobody who could.
    """
    chain: list[Link] = []
    while not chain or (root / f"admins/{len(chain) + 1:04d}").exists():
        number = len(chain) + 1
        name = f"admins/{number:04d}"
        link = _parse(files.read(root, name), number, root / name)
        if link.previous != (chain[-1].sha256 if chain else "-"):
            raise BadInput(
                "this list of admins does not follow the one before it: damaged, or two admins changed the "
                "list at the same time",
                file=root / name,
                cure="Keep one side whole (`git checkout --ours vault`, or --theirs), redo the other.",
            )
        allowed = chain[-1].admins if chain else link.admins
        try:
            line = sshsig.verify(files.read(root, name + ".sig"), link.data, NAMESPACE)
        except sshsig.BadSignature as error:
            raise BadInput(
                f"the signature of this list of admins is not valid: {error}",
                file=root / f"{name}.sig",
                cure="Bring both back: `git checkout -- vault`; if git holds them so, ask who pushed it.",
            ) from None
        if allowed.signer(line) is None:
            raise BadInput(
                f"this list of admins is signed by a key of nobody in the list before "
                f"({sshsig.fingerprint(line)})",
                file=root / name,
                cure="Do not use this vault; bring back a good one with git, and ask who pushed this.",
            )
        chain.append(link)
    return chain


def describe(admins: Admins) -> str:
    """One phrase that says whose keys open a vault."""

    def short(reader: str) -> str:
        return reader if reader.startswith("age1") else f"SSH key {sshsig.fingerprint(reader)}"

    shown: Sequence[str] = [
        f"{name} ({', '.join(short(reader) for reader in admins.keys[name].readers)})"
        for name in sorted(admins.keys)
    ]
    return "; ".join(shown)
