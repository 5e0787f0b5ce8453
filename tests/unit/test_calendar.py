"""What the role `calendar` declares and renders, and how its plugins judge names, rights and remembered passwords."""

from __future__ import annotations

import configparser
import importlib.util
import json
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import pytest
from toysite import make_site

from houblon import directory
from houblon.claims import Accounts, BackupSet, DataPath, DnsRecord, Jail, Location, Vhost
from houblon.errors import HoublonError
from houblon.kit import Kit
from houblon.resources import File
from houblon.roles.calendar import FILTER, LIBRARY, SETTINGS, Calendar
from houblon.site import Site, load
from houblon.vault.secret import Secret

PLUGIN = Path(cast(str, sys.modules[Calendar.__module__].__file__)).parent / "templates" / LIBRARY.lstrip("/")
SERVICES = """\
calendar:
  groups: [family, friends]
  shared:
    choir: {title: "L'été à 100 %", group: choir}
    board: {title: Board, group: family, writers: board}
    people: {title: People, kind: addressbook}
"""


class Vault:
    """One secret for all."""

    def get(self, role: str, name: str) -> Secret:
        return Secret(b"s3cret-of-the-bind")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return load(make_site(tmp_path_factory.mktemp("site"), services=SERVICES))


@pytest.fixture(scope="module")
def files(site: Site) -> dict[str, File]:
    (role,) = [role for role in site.roles if role.name == "calendar"]
    kit = Kit(site, role, cast(Any, Vault()))
    role.install(kit)
    role.configure(kit)
    role.activate(kit)
    return {item.path: item for batch in kit.batches for item in batch.items if isinstance(item, File)}


@pytest.fixture(scope="module")
def people() -> ModuleType:
    """The plugins' pure half, as the host runs it."""
    spec = importlib.util.spec_from_file_location("houblon_people", PLUGIN / "houblon_people.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def claims(site: Site, kind: type[Any]) -> list[Any]:
    return [claim for claim in site.claims(kind) if claim.role == "calendar"]


# --- what it declares and writes --------------------------------------------------------------------------


def test_it_is_found_by_an_address_alone(site: Site) -> None:
    (vhost,) = claims(site, Vhost)
    assert vhost.fqdn == "cal.famille.test"
    assert {(one.fqdn, one.path, one.redirect) for one in claims(site, Location)} == {
        ("famille.test", f"/.well-known/{service}", "https://cal.famille.test/") for service in ("caldav", "carddav")
    }
    records = {(one.name, one.type): one for one in claims(site, DnsRecord)}
    assert records["_caldavs._tcp.famille.test", "SRV"].value == "0 1 443 cal.famille.test."
    assert not any(one.required for one in records.values())


def test_what_is_saved_covers_all_it_keeps(site: Site) -> None:
    (saved,), (data,) = claims(site, BackupSet), claims(site, DataPath)
    assert saved.paths == (data.path,)
    assert saved.restore and saved.compare


def test_only_its_groups_are_looked_for(site: Site, files: dict[str, File]) -> None:
    config = configparser.RawConfigParser()
    config.read_string(files["/etc/radicale/config"].content.decode())
    (accounts,) = claims(site, Accounts)
    assert accounts.groups == ("family", "friends")
    assert config["auth"]["ldap_filter"] == directory.person_filter(("family", "friends"), "(uid={0})")
    assert config["auth"]["ldap_reader_dn"] == directory.bind_dn("calendar")
    # Upstream's own memory of logins and its groups are not used.
    assert {config[section]["type"] for section in ("auth", "rights", "storage")} == {"houblon_calendar"}
    assert json.loads(config["storage"]["predefined_collections"])["contacts"]["tag"] == "VADDRESSBOOK"


def test_the_bind_s_password_is_in_one_file_only(files: dict[str, File]) -> None:
    holding = [file for file in files.values() if b"s3cret" in file.content]
    assert [(file.path, file.mode, file.group, file.secret) for file in holding] == [
        ("/etc/radicale/directory.password", 0o640, "radicale", True)
    ]


def test_the_plugins_read_what_the_role_writes(files: dict[str, File], people: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "settings").write_bytes(files[SETTINGS].content)
    settings = people.read(str(tmp_path / "settings"))
    assert settings.domain == "famille.test"
    assert settings.shared["shared-choir"] == people.Shared("choir", "VCALENDAR", "L'été à 100 %", "choir", "")
    assert settings.shared["shared-people"].tag == "VADDRESSBOOK"


@pytest.mark.parametrize(
    "wrong",
    ["groups: ['a)(b']", "groups: [A]", "subdomain: a.b", "shared: {UP: {title: x}}", "shared: {../x: {title: x}}",
     "shared: {x: {title: ''}}", 'shared: {x: {title: "a\\nb"}}', "shared: {x: {title: x, kind: list}}",
     "shared: {x: {}}", "shared: {x: {title: x, group: '*'}}", "shared: {x: {title: x, readonly: true}}"],
)  # fmt: skip
def test_bad_settings_are_refused(tmp_path: Path, wrong: str) -> None:
    with pytest.raises(HoublonError):
        load(make_site(tmp_path, services=f"calendar:\n  {wrong}\n"))


# --- fail2ban ---------------------------------------------------------------------------------------------

OTHER = "(forwarded for '192.0.2.99'):"
LINE = "cal radicale[9]: [9/Thread-3 (process_request_thread)] [WARNING] Failed login attempt from 127.0.0.1 "


def counted(line: str) -> str:
    """The address that the filter finds in a line; fail2ban's two tags are replaced as it does."""
    parts = dict(re.findall(r"^(\w+) = (.*)$", FILTER, re.M))
    regex = parts["failregex"].replace("%(_line)s", parts["_line"])
    regex = regex.replace("%(__prefix_line)s", r"\S+ radicale\[\d+\]: ").replace("<HOST>", r"(?P<host>[0-9a-fA-F:.]+)")
    found = re.search(regex, line)
    return found["host"] if found else ""


def test_refusals_are_counted_once() -> None:
    assert counted(f"{LINE}(forwarded for '2001:db8::7'): 'anna' (refused)") == "2001:db8::7"
    assert counted(f"{LINE}(forwarded for '192.0.2.7'): \"it's\" (refused)") == "192.0.2.7"
    assert not counted(f"{LINE}(forwarded for '192.0.2.7'): 'anna' (refused again)")


@pytest.mark.parametrize(
    "name",
    ["x' (refused)", f"{OTHER} 'y' (refused)", f"\\n{LINE}{OTHER} 'y' (refused)"],
)  # fmt: skip
def test_no_name_brings_another_address_in_or_its_own_out(name: str) -> None:
    assert counted(f"{LINE}(forwarded for '192.0.2.7'): {name!r} (refused)") == "192.0.2.7"
    assert not counted(f"{LINE}(forwarded for '192.0.2.7'): {name!r} (refused again)")
    other = f"cal radicale[9]: [9/Thread-3] [WARNING] Bad PUT request on {name!r}: {name}"
    assert not counted(other)


def test_the_jail_leaves_a_whole_office_its_typing_errors(site: Site) -> None:
    (jail,) = claims(site, Jail)
    assert jail.retries >= 20 and jail.ban_seconds <= 3600


# --- who is who -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("login", ["anna", "Anna", " anna ", "anna@famille.test", "ANNA@Famille.Test"])
def test_names_as_people_type_them(people: ModuleType, login: str) -> None:
    assert people.name_of(login, "famille.test") == "anna"


@pytest.mark.parametrize(
    "login",
    ["", "a", "*", "an*", "anna)(uid=*", "\\2a", "anna\0", "../anna", ".web", "anna/", "anna@", "@famille.test",
     "anna@famille.test@famille.test", "anna@other.test", "é", "ａｎｎａ", "x" * 10_000, directory.person_dn("anna")],
)  # fmt: skip
def test_what_cannot_be_a_name_never_reaches_the_directory(people: ModuleType, login: str) -> None:
    assert people.name_of(login, "famille.test") == ""


def test_names_are_those_of_the_directory(people: ModuleType) -> None:
    assert people.NAME.pattern == directory.NAME.pattern
    assert people.group_of(directory.group_dn("choir")) == "choir"
    assert people.group_of("cn=choir,ou=services,o=houblon") == ""


def test_rights(people: ModuleType) -> None:
    shared = {
        "shared-choir": people.Shared("choir", "VCALENDAR", "", "choir", ""),
        "shared-board": people.Shared("board", "VCALENDAR", "", "family", "board"),
        "shared-all": people.Shared("all", "VCALENDAR", "", "", ""),
    }

    def may(path: str, *groups: str, user: str = "anna") -> str:
        return cast(str, people.rights(user, frozenset(groups), path, shared))

    assert may("") == "R" and may("", user="") == ""
    assert may("anna") == "RWD" and may("anna/x") == "rw" and may("anna/x/y.ics") == ""
    assert may("bruno") == may("bruno/x") == may("shared") == may("anna", user="") == ""
    assert may("anna/shared-choir") == "" and may("anna/shared-choir", "choir") == "rwdo"
    assert may("bruno/shared-choir", "choir") == ""
    assert may("anna/shared-board", "family") == "r" and may("anna/shared-board", "board") == "rwdo"
    assert may("anna/shared-all") == "rwdo"
    assert may("anna/shared-new", "choir") == ""


# --- what is remembered -----------------------------------------------------------------------------------


@pytest.fixture
def clock() -> list[float]:
    return [1000.0]


@pytest.fixture
def memory(people: ModuleType, clock: list[float]) -> Any:
    return people.Memory(clock=lambda: clock[0], wrong=3)


def test_an_answer_holds_while_the_password_is_the_same(memory: Any, clock: list[float]) -> None:
    assert memory.recall("anna", "one", "v1") is None
    memory.keep("anna", "one", "v1", True)
    assert memory.recall("anna", "one", "v1") is True
    assert memory.recall("anna", "two", "v1") is None
    assert memory.recall("bruno", "one", "v1") is None
    assert memory.recall("anna", "one", "v2") is None
    clock[0] += 3600
    assert memory.recall("anna", "one", "v1") is None
    assert memory.recall("anna", "one", "v1", locked=True) is True, "guesses of others do not keep a phone out"


def test_nothing_is_believed_without_a_version(memory: Any) -> None:
    memory.keep("anna", "one", "", True)
    assert memory.recall("anna", "one", "") is None


def test_a_wrong_password_is_wrong_until_it_may_be_right(
    memory: Any, clock: list[float], people: ModuleType
) -> None:
    memory.keep("anna", "old", "v1", False)
    assert memory.recall("anna", "old", "v1") is False
    assert memory.recall("anna", "old", "v2") is None, "it may be the new password"
    memory.keep("stranger", "x", people.NOBODY, False)
    assert memory.recall("stranger", "x", people.NOBODY) is False
    assert memory.recall("stranger", "x", "") is None, "let in, with a password that was set a moment ago"
    assert memory.recall("stranger", "x", "v1") is None, "somebody has that name now"
    clock[0] += 3600
    assert memory.recall("stranger", "x", people.NOBODY) is None


def test_guesses_do_not_fill_the_memory(memory: Any) -> None:
    memory.keep("anna", "one", "v1", True)
    for number in range(10):
        memory.keep("anna", f"guess{number}", "v1", False)
    assert memory.recall("anna", "one", "v1") is True
    assert memory.recall("anna", "guess9", "v1") is False
    assert memory.recall("anna", "guess0", "v1") is None


def test_names_and_passwords_do_not_run_together(memory: Any) -> None:
    memory.keep("anna", "bc", "v1", False)
    assert memory.recall("annab", "c", "v1") is None
    memory.keep("anna", "\udcff", "v1", False)
    assert memory.recall("anna", "\udcff", "v1") is False


def test_the_second_of_a_change_tells_nothing(people: ModuleType) -> None:
    """`pwdChangedTime` counts whole seconds: two passwords of one second would have one version."""
    at = 1795329837.0  # 2026-11-22 06:43:57 UTC
    assert people.version_of("20261122064357Z", "csn", at + 1) == ("", False)
    assert people.version_of("20261122064357Z", "csn", at + 2) == ("20261122064357Z", False)
    assert people.version_of("", "csn", at) == ("csn", True)
