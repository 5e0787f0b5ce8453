"""The signed list of a vault's files, and the few public lines kept about each secret."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from houblon.errors import BadInput
from houblon.vault import files
from houblon.vault.spec import KINDS

NAMESPACE = "houblon-vault"
_HEAD = "houblon-vault 1"
_HEX = re.compile(r"[0-9a-f]{64}")


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass(frozen=True)
class Manifest:
    """What one admin signed.

    :param serial: grows by one with each change; an older one is a rollback.
    :param admins: SHA-256 of the list of admins in force.
    :param date: day of the change, ISO 8601, as the signer's clock had it.
    :param sums: SHA-256 of each file, by name.
    """

    serial: int
    admins: str
    date: str
    sums: dict[str, str]

    @property
    def data(self) -> bytes:
        """The bytes of the file."""
        head = [_HEAD, f"serial {self.serial}", f"admins {self.admins}", f"date {self.date}"]
        return "\n".join([*head, *(f"{self.sums[n]}  {n}" for n in sorted(self.sums)), ""]).encode()

    @classmethod
    def parse(cls, data: bytes) -> Manifest:
        """:raises ValueError: not exactly what houblon writes."""
        lines = data.decode("utf-8").split("\n")
        if len(lines) < 5 or not re.fullmatch(r"serial [1-9][0-9]{0,8}", lines[1]):
            raise ValueError("damaged")
        sums = {}
        for line in lines[4:-1]:
            digest, _, name = line.partition("  ")
            if not _HEX.fullmatch(digest) or not files.LAYOUT.fullmatch(name):
                raise ValueError("damaged")
            sums[name] = digest
        serial, admins, date = (line.partition(" ")[2] for line in lines[1:4])
        parsed = cls(int(serial), admins, date, sums)
        if parsed.data != data:
            raise ValueError("not in the form that houblon writes")
        return parsed


@dataclass(frozen=True)
class About:
    """What is public about one secret.

    :param origin: ``made`` by houblon, or set by ``hand``.
    :param made: day of its last change.
    :param readers: :attr:`~houblon.vault.admins.Admins.readers_id` of those it is encrypted to.
    :param exposed: empty, or who left knowing this value, and when: it must be changed by hand.
    """

    kind: str
    length: int
    origin: str
    made: str
    readers: str
    exposed: str = ""
    description: str = ""

    @property
    def data(self) -> bytes:
        """The bytes of the file."""
        pairs = [(key, str(value)) for key, value in vars(self).items()]
        return "".join(f"{key}: {value}\n" for key, value in pairs if value).encode()

    @classmethod
    def parse(cls, data: bytes, path: Path) -> About:
        """:raises BadInput: not exactly what houblon writes."""
        try:
            pairs = dict(line.split(": ", 1) for line in data.decode("utf-8").splitlines())
            about = cls(
                kind=pairs.pop("kind"),
                length=int(pairs.pop("length")),
                origin=pairs.pop("origin"),
                made=pairs.pop("made"),
                readers=pairs.pop("readers"),
                exposed=pairs.pop("exposed", ""),
                description=pairs.pop("description", ""),
            )
            if pairs or about.data != data or about.kind not in KINDS or about.origin not in ("made", "hand"):
                raise ValueError
        except (ValueError, KeyError, TypeError):
            raise BadInput(
                "what is kept about this secret is damaged", file=path, cure="`git checkout -- vault`."
            ) from None
        return about
