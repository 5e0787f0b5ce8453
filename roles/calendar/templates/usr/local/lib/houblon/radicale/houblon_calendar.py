"""Radicale's people, rights and shared collections, from the directory of accounts.

Written by houblon (role calendar). Radicale 3.5 has all three, and none can be used here (its role's README has
the proofs): groups of the last login count for everybody's requests, and its memory of logins mixes people up and
outlives a changed password. It offers these three classes as the place for one's own (its documentation, "Plugins").
"""

# mypy: ignore-errors
# Radicale and python-ldap are Debian packages of the host; nothing here is imported anywhere else.
import base64
import binascii
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ldap
import ldap.filter
from houblon_people import NOBODY, Memory, Person, Settings, Shared, group_of, name_of, read, rights, version_of
from radicale import auth, pathutils
from radicale import rights as radicale_rights
from radicale.storage import multifilesystem

WAIT_SECONDS = 5
KIND = {"VCALENDAR": "calendar", "VADDRESSBOOK": "addressbook"}

groups_now: dict[str, frozenset[str]] = {}
"""Groups of each person, as of their latest request. By name: requests are served side by side."""


def settings(configuration: Any) -> Settings:
    return read(configuration.get("rights", "file"))


class Directory:
    """The directory of accounts, through the bind of this role."""

    def __init__(self, configuration: Any) -> None:
        def option(name: str) -> str:
            return str(configuration.get("auth", name))

        self._uri, self._base, self._filter = option("ldap_uri"), option("ldap_base"), option("ldap_filter")
        self._dn = option("ldap_reader_dn")
        self._password = Path(option("ldap_secret_file")).read_text(encoding="utf-8").rstrip("\n")
        self._reader: Any = None
        self._lock = threading.Lock()

    def find(self, name: str) -> Person | None:
        """A person who may use the calendar now; None for anybody else.

        :raises ldap.LDAPError: the directory does not answer, which is nobody's wrong password (status 500).
        """
        query = self._filter.format(ldap.filter.escape_filter_chars(name))
        wanted = ["uid", "memberOf", "pwdChangedTime", "entryCSN", "pwdAccountLockedTime"]
        with self._lock:
            try:
                found = self._search(query, wanted)
            except ldap.LDAPError:
                # slapd was restarted, or closed a line that was idle.
                self._reader = None
                found = self._search(query, wanted)
        people = [(dn, attributes) for dn, attributes in found if dn]
        if len(people) != 1:
            return None
        dn, attributes = people[0]
        values: dict[str, list[str]] = {
            key.lower(): [value.decode("utf-8", "replace") for value in some] for key, some in attributes.items()
        }
        if name not in values.get("uid", []):
            return None
        groups = frozenset(group for group in map(group_of, values.get("memberof", [])) if group)
        changed, csn = (values.get(key, [""])[0] for key in ("pwdchangedtime", "entrycsn"))
        version, touchy = version_of(changed, csn, time.time())
        return Person(name, dn, version, groups, "pwdaccountlockedtime" in values, touchy)

    def proves(self, dn: str, password: str) -> bool:
        """Whether this is their password. An empty one would be no login at all (RFC 4513, 5.1.2) and succeed."""
        if not password:
            return False
        line = self._open()
        try:
            line.simple_bind_s(dn, password)
            return True
        except (ldap.INVALID_CREDENTIALS, ldap.INAPPROPRIATE_AUTH, ldap.UNWILLING_TO_PERFORM):
            return False
        finally:
            line.unbind_s()

    def _search(self, query: str, wanted: list[str]) -> Any:
        if self._reader is None:
            reader = self._open()
            reader.simple_bind_s(self._dn, self._password)
            self._reader = reader
        return self._reader.search_s(self._base, ldap.SCOPE_ONELEVEL, query, wanted)

    def _open(self) -> Any:
        line = ldap.initialize(self._uri)
        line.set_option(ldap.OPT_NETWORK_TIMEOUT, WAIT_SECONDS)
        line.set_option(ldap.OPT_TIMEOUT, WAIT_SECONDS)
        line.set_option(ldap.OPT_REFERRALS, 0)
        return line


class Auth(auth.BaseAuth):
    """Asks the directory who somebody is with each request, and for their password when it must."""

    def __init__(self, configuration: Any) -> None:
        super().__init__(configuration)
        self._domain = settings(configuration).domain
        self._directory = Directory(configuration)
        self._memory = Memory()

    def get_external_login(self, environ: dict[str, Any]) -> tuple[()]:
        """Drop a header that is no Basic authentication (RFC 7617): Radicale would end with status 500."""
        scheme, _, rest = environ.get("HTTP_AUTHORIZATION", "").strip().partition(" ")
        header = ""
        try:
            if scheme.lower() == "basic" and b":" in base64.b64decode(rest.strip().encode("ascii"), validate=True):
                header = f"Basic {rest.strip()}"
        except (binascii.Error, UnicodeEncodeError):
            pass
        environ["HTTP_AUTHORIZATION"] = header
        return ()

    def login(self, login: str, password: str) -> tuple[str, str]:  # type: ignore[misc]
        """The person's name, or an empty one; and a word for the log.

        fail2ban counts ``refused``. ``refused again`` is a device that repeats a password of yesterday: it is kept
        out, costs the directory nothing, and locks neither its owner nor everybody behind their address out.
        """
        name = name_of(login, self._domain)
        person = self._directory.find(name) if name else None
        version, locked = (person.version, person.locked) if person else (NOBODY, False)
        who = name or login
        right = self._memory.recall(who, password, version, locked)
        again = right is not None
        if right is None:
            right = person is not None and self._directory.proves(person.dn, password)
            if person and not right and person.touchy:
                person = self._directory.find(name)
                version = person.version if person else NOBODY
            # A locked account refuses its right password too, which is no wrong one for that.
            if version and (right or not locked):
                self._memory.keep(who, password, version, right)
        if not right or not person:
            return "", "refused again" if again else "refused"
        groups_now[name] = person.groups
        return name, "known" if again else "asked"


class Rights(radicale_rights.BaseRights):
    """One's own collections, and those of one's groups."""

    def __init__(self, configuration: Any) -> None:
        super().__init__(configuration)
        self._shared = settings(configuration).shared

    def authorization(self, user: str, path: str) -> str:
        """Radicale's letters for what a person may do to a path."""
        return rights(user, groups_now.get(user, frozenset()), pathutils.strip_path(path), self._shared)


class SharedCollection(multifilesystem.Collection):
    """One collection on disk that stands in the home of each of its members.

    In their homes, because phones look nowhere else. Kind and title are the site file's.
    """

    def __init__(self, storage: Any, path: str, shared: Shared, folder: str) -> None:
        super().__init__(storage, path, filesystem_path=folder)
        self._fixed = {"tag": shared.tag, "D:displayname": shared.title}

    def get_meta(self, key: str | None = None) -> Any:
        """Its properties: colour and such are kept, kind and title are given."""
        meta = {**super().get_meta(), **self._fixed}
        return meta if key is None else meta.get(key)

    def delete(self, href: str | None = None) -> None:
        """Delete an item; never the whole."""
        if href is None:
            raise ValueError("a shared collection is deleted by the site file only")
        super().delete(href)


class Storage(multifilesystem.Storage):
    """Radicale's own storage, with shared collections in everyone's home; `Rights` tells who sees which."""

    def __init__(self, configuration: Any) -> None:
        super().__init__(configuration)
        self._shared = settings(configuration).shared
        for shared in self._shared.values():
            self._makedirs_synced(self._folder(shared))

    def discover(
        self, path: str, depth: str = "0", child_context_manager: Any = None, user_groups: Any = frozenset()
    ) -> Iterator[Any]:
        """Collections and items at a path; ``user_groups`` are those of the last login and not looked at."""
        home, *rest = pathutils.strip_path(path).split("/")
        if rest and rest[0] in self._shared:
            collection = self._in_home(home, rest[0])
            if len(rest) == 1:
                yield collection
                if depth != "0":
                    yield from collection.get_all()
            elif len(rest) == 2:
                item = collection._get(rest[1])
                if item is not None:
                    yield item
            return
        there = False
        for item in super().discover(path, depth, child_context_manager):
            there = True
            yield item
        if there and home and not rest and depth != "0":
            for name in self._shared:
                yield self._in_home(home, name)

    def create_collection(self, href: str, items: Any = None, props: Any = None) -> Any:
        """Make or replace a collection, which a shared one is not for."""
        _, *rest = pathutils.strip_path(href).split("/")
        if rest and rest[0] in self._shared:
            raise ValueError("a shared collection is made by the site file only")
        return super().create_collection(href, items, props)

    def _in_home(self, home: str, name: str) -> SharedCollection:
        shared = self._shared[name]
        return SharedCollection(self, f"/{home}/{name}/", shared, self._folder(shared))

    def _folder(self, shared: Shared) -> str:
        # Beside the homes: nobody's name can be in the way. By kind: another kind is another collection.
        return str(Path(self._filesystem_folder) / "shared" / KIND[shared.tag] / shared.name)
