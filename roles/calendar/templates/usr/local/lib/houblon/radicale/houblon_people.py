"""Who is who at the calendar's door, and what they may touch. Pure: no Radicale, no directory.

Written by houblon (role calendar).
"""

import hashlib
import hmac
import json
import re
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

NAME = re.compile(r"[a-z][a-z0-9._-]{1,30}")
"""A name in the directory of accounts. Nothing else is ever put into a search filter, a path or a DN."""
GROUP = re.compile(r"cn=([a-z][a-z0-9._-]{1,30}),ou=groups,o=houblon", re.IGNORECASE)
KEEP_SECONDS = 3600
PREFIX = "shared-"
"""Names of collections in everyone's home that belong to a group; nobody can make one of their own."""


class Person(NamedTuple):
    """Somebody who may use the calendar, as the directory knows them now.

    :param version: is another one once their password is another one; empty while nobody can tell.
    :param locked: too many wrong passwords lately: their right one may be refused too.
    :param touchy: a wrong password changes the version too.
    """

    name: str
    dn: str
    version: str
    groups: frozenset[str] = frozenset()
    locked: bool = False
    touchy: bool = False


NOBODY = "nobody"
"""The version of who is not there, or may not come in; of others nobody can tell for a moment (`version_of`)."""


def version_of(changed: str, csn: str, now: float) -> tuple[str, bool]:
    """`Person.version` and `Person.touchy`, from ``pwdChangedTime`` and ``entryCSN``.

    The first stands in the entry once a password was changed (slapo-ppolicy(5)), not when the entry was added with
    one, and counts whole seconds: in the second of a change nobody can tell. The second changes with each wrong
    password as well.
    """
    if not changed:
        return csn, True
    at = datetime.strptime(changed[:14], "%Y%m%d%H%M%S").replace(tzinfo=UTC).timestamp()
    return (changed, False) if now - at >= 2 else ("", False)


def name_of(login: str, domain: str) -> str:
    """``alice`` of ``Alice`` or ``alice@DOMAIN``; empty for what cannot be the name of anybody here."""
    name = login.strip().lower()
    name = name[: -len(domain) - 1] if name.endswith(f"@{domain}") else name
    return name if NAME.fullmatch(name) else ""


def group_of(dn: str) -> str:
    """The name of a group from its DN; empty for another DN."""
    found = GROUP.fullmatch(dn.replace(", ", ","))
    return found.group(1).lower() if found else ""


class Memory:
    """Passwords that were found right or wrong, as digests that mean nothing outside this process.

    To ask the directory costs an Argon2 hash, and a synchronization makes hundreds of requests. An answer holds
    as long as the password is the same (`Person.version`), and for an hour at most. Whether somebody may come in at
    all, and their groups, are no matter of memory: both are read with each request.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, wrong: int = 4096) -> None:
        self._clock, self._most = clock, wrong
        self._key = secrets.token_bytes(32)
        self._lock = threading.Lock()
        self._right: dict[str, tuple[bytes, str, float]] = {}
        self._wrong: OrderedDict[bytes, tuple[str, float]] = OrderedDict()

    def recall(self, name: str, password: str, version: str, locked: bool = False) -> bool | None:
        """Whether the password is right; None when the directory must be asked.

        A right one holds on while the account is locked: whoever guesses passwords of others must not keep their
        phones out.
        """
        digest, now = self._digest(name, password), self._clock()
        with self._lock:
            known, at_version, at = self._right.get(name, (b"", "", 0.0))
            if version and version == at_version and hmac.compare_digest(known, digest):
                return True if locked or now - at < KEEP_SECONDS else None
            at_version, at = self._wrong.get(digest, ("-", 0.0))
            return False if version and version == at_version and now - at < KEEP_SECONDS else None

    def keep(self, name: str, password: str, version: str, right: bool) -> None:
        """Remember an answer of the directory; ``version`` is `NOBODY` for a name it does not know."""
        digest, now = self._digest(name, password), self._clock()
        with self._lock:
            if right:
                self._right[name] = digest, version, now
                return
            self._wrong[digest] = version, now
            self._wrong.move_to_end(digest)
            while len(self._wrong) > self._most:
                self._wrong.popitem(last=False)

    def _digest(self, name: str, password: str) -> bytes:
        text = f"{len(name)}:{name}{password}".encode("utf-8", "surrogatepass")
        return hmac.digest(self._key, text, hashlib.sha256)


class Shared(NamedTuple):
    """A calendar or address book of a group.

    :param readers: group whose members see it; empty: everyone who may use the calendar.
    :param writers: group whose members may write; empty: every reader.
    """

    name: str
    tag: str
    title: str
    readers: str
    writers: str

    def rights(self, groups: frozenset[str]) -> str:
        """Radicale's letters. ``d`` and ``o``: no member may delete or replace the whole of it."""
        if self.writers in groups or (not self.writers and self._seen(groups)):
            return "rwdo"
        return "r" if self._seen(groups) else ""

    def _seen(self, groups: frozenset[str]) -> bool:
        return not self.readers or self.readers in groups or self.writers in groups


class Settings(NamedTuple):
    """/etc/radicale/houblon.json."""

    domain: str
    shared: dict[str, Shared]
    """By the name it has in everyone's home."""


def read(path: str) -> Settings:
    """The settings of this site."""
    found = json.loads(Path(path).read_text(encoding="utf-8"))
    shared = {PREFIX + name: Shared(name, **about) for name, about in found["shared"].items()}
    return Settings(found["domain"], shared)


def rights(user: str, groups: frozenset[str], path: str, shared: dict[str, Shared]) -> str:
    """What a person may do to a path without slashes around it, in Radicale's letters.

    ``D`` on one's home: no client may delete all one has with a single request.
    """
    if not user:
        return ""
    home, *rest = path.split("/")
    if home == "":
        return "R"
    if home != user or len(rest) > 1:
        return ""
    if not rest:
        return "RWD"
    if rest[0] in shared:
        return shared[rest[0]].rights(groups)
    return "" if rest[0].startswith(PREFIX) else "rw"
