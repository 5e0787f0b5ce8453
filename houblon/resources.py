"""What a role's stages ask for: desired state as plain data, computed offline.

Everything the plan shows, the host records and the drift check compares comes from these. Nothing here holds
a command that depends on what the host looks like; that is the operations' business.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Literal

from houblon.claims import Artifact


@dataclass(frozen=True)
class File:
    """A regular file with exactly this content.

    :param secret: the content must never be shown, and others must not read the file.
    :param system: a file that every Debian host has (such as /etc/hosts): taking it over on first contact is
        no foreign use; a copy of the original is kept.
    """

    path: str
    content: bytes = field(repr=False)
    mode: int = 0o644
    owner: str = "root"
    group: str = "root"
    secret: bool = False
    system: bool = False

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()


@dataclass(frozen=True)
class Directory:
    """A directory; its content is not looked at."""

    path: str
    mode: int = 0o755
    owner: str = "root"
    group: str = "root"


@dataclass(frozen=True)
class Link:
    """A symbolic link."""

    path: str
    target: str


@dataclass(frozen=True)
class Release:
    """The tree of a pinned upstream release in ``/opt/<name>/<version>``: read-only, owned by root."""

    artifact: Artifact

    @property
    def name(self) -> str:
        return self.artifact.name

    @property
    def version(self) -> str:
        return self.artifact.version

    @property
    def sha256(self) -> str:
        return self.artifact.sha256

    @property
    def key(self) -> str:
        return f"{self.name}@{self.version}"

    @property
    def path(self) -> str:
        return f"/opt/{self.name}/{self.version}"

    @property
    def home(self) -> str:
        return f"/opt/{self.name}"

    @property
    def link(self) -> str:
        return f"/opt/{self.name}/current"


@dataclass(frozen=True)
class OldRelease:
    """A release that an earlier apply installed and that must go."""

    name: str
    version: str

    @property
    def key(self) -> str:
        return f"{self.name}@{self.version}"

    @property
    def path(self) -> str:
        return f"/opt/{self.name}/{self.version}"

    @property
    def link(self) -> str:
        return f"/opt/{self.name}/current"


@dataclass(frozen=True)
class Absent:
    """A path that must not exist.

    :param comes_with: Debian package that brings it, so that the plan can tell before it is installed.
    :param tree: a directory goes too, with all that is in it. Never set for what is only known from a record.
    """

    path: str
    comes_with: str = ""
    tree: bool = False


@dataclass(frozen=True)
class User:
    """A local account.

    :param password_hash: crypt(5) string, or None for an account nobody logs in to with a password.
    :param groups: supplementary groups it must be in (others are left alone).
    """

    name: str
    home: str
    shell: str = "/usr/sbin/nologin"
    system: bool = True
    groups: tuple[str, ...] = ()
    password_hash: str | None = field(default=None, repr=False)
    comment: str = ""


@dataclass(frozen=True)
class UnitState:
    """A systemd unit in a given state.

    It is restarted when the hash of ``restart_on`` differs from the one stamped at its last successful start,
    and reloaded when only ``reload_on`` differs. Both are hashes of desired content, so a run that was killed
    between a file and its restart is healed by the next one.

    :param state: ``running``, ``stopped`` (and disabled) or ``masked``.
    :param restart_files: the files in ``restart_on``: writing one makes the stamp void. Likewise ``reload_files``.
    :param test: command that checks the configuration before the unit is touched.
    :param ready: shell command polled until it succeeds, at most ``ready_seconds``.
    """

    name: str
    state: Literal["running", "stopped", "masked"] = "running"
    restart_on: str = ""
    reload_on: str = ""
    restart_files: tuple[str, ...] = ()
    reload_files: tuple[str, ...] = ()
    test: str = ""
    ready: str = ""
    ready_seconds: int = 60


@dataclass(frozen=True)
class Ensure:
    """A command that runs when its read-only check fails.

    :param check: shell, exit status 0 when there is nothing to do. Must change nothing.
    :param run: shell that brings about what ``check`` looks for.
    :param stdin: given to ``run``; the only way for a secret to reach a command.
    :param soft: a failure is reported at the end and makes the run fail, but does not stop it.
    :param reads: files the check looks at: when the plan changes one, the check's present answer says nothing.
    """

    name: str
    check: str
    run: str
    stdin: bytes = field(default=b"", repr=False)
    soft: bool = False
    timeout_seconds: int = 300
    reads: tuple[str, ...] = ()


@dataclass(frozen=True)
class Door:
    """Files whose change could lock the operator out (sshd, firewall), switched as one.

    On the host a timer undoes the change after ``undo_seconds`` unless a second, fresh connection has come in
    through the new state and confirmed it.

    :param validate: checks the new files before anything is reloaded.
    :param activate: makes the running system follow the files; also used after an undo.
    :param live: read-only shell whose output changes when the running state is not what was activated.
    """

    name: str
    files: tuple[File, ...]
    activate: str
    validate: str = ""
    live: str = ""
    undo_extra: str = ""
    undo_seconds: int = 60

    @property
    def stamp(self) -> str:
        return digest(*(f"{f.path} {f.mode:o} {f.owner} {f.group} {f.sha256}" for f in self.files), self.activate)


@dataclass(frozen=True)
class Packages:
    """Debian packages of all roles, for one apt transaction."""

    names: tuple[str, ...]


@dataclass(frozen=True)
class Proof:
    """Every admin really gets in over SSH and becomes root; proven again when ``stamp`` changes."""

    name: str
    accounts: tuple[str, ...]
    stamp: str


Item = File | Directory | Link | Absent | User | UnitState | Ensure | Door | Packages | Proof | Release | OldRelease


@dataclass(frozen=True)
class Batch:
    """Items that one operation handles together, in the order the role asked for them.

    :param validate: command run after the files are in place; if it fails they are put back.
    """

    role: str
    stage: str
    items: tuple[Item, ...]
    validate: str = ""

    @property
    def kind(self) -> str:
        return type(self.items[0]).__name__


def digest(*parts: str) -> str:
    """SHA-256 over parts, unambiguous about where one ends."""
    total = hashlib.sha256()
    for part in parts:
        data = part.encode()
        total.update(f"{len(data)}:".encode() + data)
    return total.hexdigest()


def key(item: Item) -> str:
    """What names an item in plans and records."""
    match item:
        case File() | Directory() | Link() | Absent() | Release() | OldRelease():
            return item.path
        case User() | UnitState() | Ensure() | Door() | Proof():
            return item.name
        case Packages():
            return "packages"
