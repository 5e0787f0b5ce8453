"""The calendar as its members use it: vdirsyncer's devices, shared collections, and who is kept out."""

from __future__ import annotations

import json
import shlex
import socket
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from houblon import directory
from houblon.claims import BackupSet, Person
from houblon.site import load
from houblon.verify.wire import Wire
from tests.host.browser import chromium
from tests.host.dav import HOME, Dav, Device, event
from tests.host.people import People
from tests.host.sites import Applied, wait_until

pytestmark = pytest.mark.host
soon = partial(wait_until, seconds=20)

SHARED = """\
  calendar:
    groups: [calmembers]
    shared:
      choir: {title: "La chorale & amis", group: calchoir}
      agenda: {title: Agenda, writers: caloffice}
      people: {title: Annuaire, kind: addressbook, group: calchoir}
"""
PRINCIPAL = '<propfind xmlns="DAV:"><prop><current-user-principal/></prop></propfind>'
PASSWORD = "une phrase à pédale, {name}"


def ldap(site: Applied, dn: str, *lines: str) -> None:
    """Change one entry as root on the host."""
    text = "\n".join((f"dn: {dn}", "changetype: modify", *lines, ""))
    site.sh(f"printf %s {shlex.quote(text)} | ldapmodify -Q -Y EXTERNAL -H {directory.LDAPI}")


def set_password(site: Applied, name: str, password: str) -> None:
    ldap(site, directory.person_dn(name), "replace: userPassword", f"userPassword: {password}")


def add(site: People, name: str, *groups: str) -> Dav:
    """A person, by the command an association uses."""
    password = PASSWORD.format(name=name)
    more = [f"--group={group}" for group in groups]
    mail = f"--mail={name}@{site.lab.domain}"
    site.user("add", name, "--name", name.title(), mail, "--password", *more, input=f"{password}\n")
    return Dav(site, name, password)


def forget(site: People, name: str) -> None:
    """Nothing of them is left, whatever else failed."""
    site.sh(f"HOUBLON_PERSON={name} /usr/local/lib/houblon/calendar person-delete")
    site.sh(f"ldapdelete -Q -Y EXTERNAL -H {directory.LDAPI} {directory.person_dn(name)}", check=False)


def up(site: Applied) -> None:
    soon(lambda: Dav(site, "", "")("GET", "/.web/").status == 200)


@pytest.fixture(scope="module")
def calendar(people: People) -> Iterator[People]:
    """The site with shared collections of this module's groups; as it was afterwards."""
    file = people.site_folder / "site.yaml"
    before = file.read_text()
    lines = before.splitlines(keepends=True)
    at = lines.index("  calendar:\n")
    end = next((n for n in range(at + 1, len(lines)) if not lines[n].startswith("    ")), len(lines))
    file.write_text("".join((*lines[:at], SHARED, *lines[end:])))
    people.cli("apply", "--yes")
    yield people
    file.write_text(before)
    people.cli("apply", "--yes")
    people.sh("cd /var/lib/radicale/collections/shared && rm -rf calendar/choir calendar/agenda addressbook/people")


@pytest.fixture(autouse=True)
def welcome(calendar: People) -> None:
    """What these tests do wrong on purpose must not shut this machine out; an apply makes fail2ban forget."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
        line.connect((calendar.host.address, 443))
        calendar.sh(f"fail2ban-client set radicale addignoreip {line.getsockname()[0]}")


@pytest.fixture(scope="module")
def members(calendar: People) -> Iterator[dict[str, Dav]]:
    """anna: choir and office; bruno: choir; claire: may use the calendar, no more."""
    groups = {"anna": ("calchoir", "caloffice"), "bruno": ("calchoir",), "claire": ()}
    yield {who: add(calendar, f"cal{who}", "calmembers", *more) for who, more in groups.items()}
    for who in groups:
        forget(calendar, f"cal{who}")


@pytest.fixture
def anna(members: dict[str, Dav]) -> Dav:
    return members["anna"]


@pytest.fixture
def bruno(members: dict[str, Dav]) -> Dav:
    return members["bruno"]


@pytest.fixture
def claire(members: dict[str, Dav]) -> Dav:
    return members["claire"]


# --- devices ----------------------------------------------------------------------------------------------


def test_two_devices_of_one_person_have_the_same_fifty_events(claire: Dav, tmp_path: Path) -> None:
    phone = Device(tmp_path / "phone", claire, "caldav", ["calendar"])
    laptop = Device(tmp_path / "laptop", claire, "caldav", ["calendar"], conflict='"a wins"')
    for device in (phone, laptop):
        device.run("discover", answers="y\n" * 4)
    for number in range(50):
        phone.write("calendar", f"phone{number}")
        laptop.write("calendar", f"laptop{number}")
    phone.sync(), laptop.sync(), phone.sync()
    assert len(phone.read("calendar")) == 100
    assert phone.read("calendar") == laptop.read("calendar")

    phone.path("calendar", "phone7").unlink()
    laptop.write("calendar", "laptop7", "moved to Friday")
    laptop.sync(), phone.sync(), laptop.sync()
    assert phone.read("calendar") == laptop.read("calendar")
    assert "phone7" not in phone.read("calendar") and phone.read("calendar")["laptop7"] == "moved to Friday"


def test_a_conflict_is_reported_and_nothing_is_lost(claire: Dav, tmp_path: Path) -> None:
    phone = Device(tmp_path / "phone", claire, "caldav", ["calendar"])
    laptop = Device(tmp_path / "laptop", claire, "caldav", ["calendar"])
    for device in (phone, laptop):
        device.run("discover", answers="y\n" * 4)
    phone.write("calendar", "conflict")
    phone.sync(), laptop.sync()
    laptop_file = next(f for f in laptop.path("calendar", "x").parent.iterdir() if "UID:conflict" in f.read_text())
    phone.write("calendar", "conflict", "at the phone")
    laptop_file.write_text(event("conflict", "at the laptop"), newline="")
    phone.sync()
    refused = laptop.run("sync", check=False)
    assert refused.returncode != 0 and "conflict" in refused.stdout + refused.stderr
    assert laptop.read("calendar")["conflict"] == "at the laptop"
    assert claire("GET", "/calclaire/calendar/conflict.ics").text.count("SUMMARY:at the phone") == 1
    # A client that sends what it knew of before is told so, and overwrites nothing (RFC 9110, 13.1.1).
    old = claire("PUT", "/calclaire/calendar/conflict.ics", event("conflict", "older"), If_Match='"other"')
    assert old.status == 412


def test_contacts_are_synchronized_too(claire: Dav, tmp_path: Path) -> None:
    phone = Device(tmp_path / "phone", claire, "carddav", ["contacts"])
    laptop = Device(tmp_path / "laptop", claire, "carddav", ["contacts"])
    for device in (phone, laptop):
        device.run("discover", answers="y\n" * 4)
    for number in range(10):
        phone.write("contacts", f"card{number}", f"Élodie d'Hérouville {number}")
    phone.sync(), laptop.sync()
    assert laptop.read("contacts") == phone.read("contacts")
    assert laptop.read("contacts")["card3"] == "Élodie d'Hérouville 3"


def test_a_synchronization_costs_few_password_hashes(claire: Dav) -> None:
    """In slapd's own CPU time: a hundred requests stay far below the cost of a hundred hashes."""
    site = claire.site

    def spent() -> int:
        return int(site.sh("systemctl show -p CPUUsageNSec --value slapd.service"))

    start = spent()
    for number in range(5):
        assert replace(claire, password=f"never seen before {number}").status() == 401
    hash_cost = (spent() - start) / 5
    assert claire.status() == 207
    start = spent()
    for number in range(100):
        assert claire.put(f"/calclaire/calendar/cost{number}.ics", f"cost{number}") == 201
    assert spent() - start < 30 * hash_cost


# --- shared -----------------------------------------------------------------------------------------------


def test_members_of_a_group_find_its_collections_among_their_own(anna: Dav, bruno: Dav, claire: Dav) -> None:
    def shared(person: Dav) -> dict[str, tuple[str, bool]]:
        start = f"/{person.name}/shared-"
        return {path.removeprefix(start): seen for path, seen in person.home().items() if path.startswith(start)}

    choir = {"choir/": ("La chorale &amp; amis", True), "people/": ("Annuaire", True)}
    assert shared(anna) == choir | {"agenda/": ("Agenda", True)}
    assert shared(bruno) == choir | {"agenda/": ("Agenda", False)}
    assert shared(claire) == {"agenda/": ("Agenda", False)}


def test_what_one_member_writes_the_other_sees(anna: Dav, bruno: Dav, tmp_path: Path) -> None:
    hers = Device(tmp_path / "hers", anna, "caldav", ["shared-choir"])
    his = Device(tmp_path / "his", bruno, "caldav", ["shared-choir"])
    for device in (hers, his):
        device.run("discover", answers="y\n" * 4)
    hers.write("shared-choir", "rehearsal", "Répétition")
    hers.sync(), his.sync()
    assert his.read("shared-choir")["rehearsal"] == "Répétition"
    his.write("shared-choir", "concert", "Concert")
    his.sync(), hers.sync()
    assert hers.read("shared-choir") == his.read("shared-choir")
    # On disk there is one of it, and nothing in their homes.
    found = anna.site.sh("find /var/lib/radicale/collections -name '*.ics' -exec grep -l UID:rehearsal {} +").split()
    assert len([file for file in found if ".Radicale" not in file]) == 1


def test_a_stranger_to_the_group_neither_sees_nor_writes(anna: Dav, claire: Dav) -> None:
    assert anna.put("/calanna/shared-choir/secret.ics", "secret") == 201
    for path in ("/calclaire/shared-choir/", "/calanna/shared-choir/", "/shared/calendar/choir/", "/calanna/calendar/"):
        for method in ("GET", "PROPFIND", "REPORT", "DELETE", "PROPPATCH", "MKCALENDAR"):
            answer = claire(method, path, HOME, Depth="1")
            assert answer.status in (403, 404, 405, 409), f"{method} {path}: {answer.status}"
            assert "secret" not in answer.text and "chorale" not in answer.text
        assert claire.put(f"{path}secret.ics", "mine") == 403
        assert claire("GET", f"{path}secret.ics").status in (403, 404)
    claire.put("/calclaire/calendar/mine.ics", "mine")
    target = f"https://{claire.fqdn}/calclaire/shared-choir/mine.ics"
    assert claire("MOVE", "/calclaire/calendar/mine.ics", Destination=target).status == 403
    assert "secret" in anna("GET", "/calanna/shared-choir/").text


def test_who_may_only_read_cannot_write(anna: Dav, bruno: Dav) -> None:
    assert anna.put("/calanna/shared-agenda/ag.ics", "assembly") == 201
    assert "assembly" in bruno("GET", "/calbruno/shared-agenda/ag.ics").text
    assert bruno.put("/calbruno/shared-agenda/more.ics", "more") == 403
    assert bruno.put("/calbruno/shared-agenda/ag.ics", "assembly") == 403
    assert bruno("DELETE", "/calbruno/shared-agenda/ag.ics").status == 403
    patch = '<propertyupdate xmlns="DAV:"><set><prop><displayname>mine</displayname></prop></set></propertyupdate>'
    assert bruno("PROPPATCH", "/calbruno/shared-agenda/", patch).status == 403


def test_no_member_can_delete_rename_or_replace_the_whole(anna: Dav) -> None:
    for path in ("/calanna/shared-choir/", "/calanna/"):
        assert anna("DELETE", path).status == 403
    assert anna.put("/calanna/shared-choir/", "replaced") == 403
    assert anna("MKCALENDAR", "/calanna/shared-mine/").status == 403
    patch = '<propertyupdate xmlns="DAV:"><set><prop><displayname>mine</displayname></prop></set></propertyupdate>'
    anna("PROPPATCH", "/calanna/shared-choir/", patch)
    assert anna.home()["/calanna/shared-choir/"] == ("La chorale &amp; amis", True)


def test_an_event_can_be_moved_between_calendars(anna: Dav, bruno: Dav) -> None:
    assert anna.put("/calanna/calendar/moved.ics", "moved") == 201
    target = f"https://{anna.fqdn}/calanna/shared-choir/moved.ics"
    assert anna("MOVE", "/calanna/calendar/moved.ics", Destination=target).status == 201
    assert "moved" in bruno("GET", "/calbruno/shared-choir/moved.ics").text
    assert anna("GET", "/calanna/calendar/moved.ics").status == 404


def test_leaving_a_group_counts_at_once(bruno: Dav) -> None:
    group, member = directory.group_dn("calchoir"), f"member: {directory.person_dn('calbruno')}"
    assert bruno("GET", "/calbruno/shared-choir/").status == 200
    ldap(bruno.site, group, "delete: member", member)
    try:
        assert bruno("GET", "/calbruno/shared-choir/").status == 403
        assert "/calbruno/shared-choir/" not in bruno.home()
    finally:
        ldap(bruno.site, group, "add: member", member)
    assert bruno("GET", "/calbruno/shared-choir/").status == 200


# --- who comes in -----------------------------------------------------------------------------------------


def test_names_are_understood_as_people_type_them(claire: Dav) -> None:
    domain = claire.site.lab.domain
    for typed in ("calclaire", "CalClaire", f"calclaire@{domain}", f"Calclaire@{domain.upper()}", " calclaire "):
        answer = replace(claire, name=typed)("PROPFIND", "/", PRINCIPAL)
        assert answer.status == 207 and "<href>/calclaire/</href>" in answer.text, typed
    assert replace(claire, name="calclaire@elsewhere.test").status() == 401


@pytest.mark.parametrize(
    "name",
    ["*", "calc*", "calclaire)(uid=*", "*)(uid=*))(|(uid=*", "\\2a", "calclaire\\00", "calclaire\0", "calclaire\0x",
     "../calclaire", "calclaire/", "/", ".web", "uid=calclaire", directory.person_dn("calclaire"), "calclaire@", "@",
     "cal claire", "ｃalclaire", "calclaire\r\nX: y", "é" * 40, "x" * 1000, "stranger"],
)  # fmt: skip
def test_no_name_but_ones_own_opens_the_door(claire: Dav, name: str) -> None:
    """With the right password of somebody: a filter that lets itself be widened would find them."""
    assert replace(claire, name=name).status() == 401


def test_a_name_longer_than_any_header_is_refused_by_nginx(claire: Dav) -> None:
    assert replace(claire, name="a" * 10_000).status() == 400


@pytest.mark.parametrize("password", ["", " ", "*", "\0", "wrong"])
def test_no_other_password_opens_the_door(claire: Dav, password: str) -> None:
    assert replace(claire, password=password).status() == 401


def test_a_new_password_works_at_once_and_the_old_one_not(calendar: People, claire: Dav) -> None:
    assert claire.status() == 207
    changed = replace(claire, password="ma nouvelle phrase de passe")
    assert changed.status() == 401
    set_password(calendar, claire.name, changed.password)
    try:
        assert changed.status() == 207
        assert claire.status() == 401
    finally:
        set_password(calendar, claire.name, claire.password)
    assert claire.status() == 207 and changed.status() == 401


def test_who_is_disabled_is_out_at_once(calendar: People, claire: Dav) -> None:
    assert claire.status() == 207
    ldap(
        calendar, directory.person_dn(claire.name), f"replace: {directory.STATE}", f"{directory.STATE}: disabled", "-",
        "replace: pwdAccountLockedTime", "pwdAccountLockedTime: 000001010000Z",
    )  # fmt: skip
    try:
        assert claire.status() == 401
    finally:
        ldap(
            calendar, directory.person_dn(claire.name), f"replace: {directory.STATE}", f"{directory.STATE}: active",
            "-", "delete: pwdAccountLockedTime",
        )  # fmt: skip
    assert claire.status() == 207


def test_only_members_of_its_groups_may_use_it(calendar: People) -> None:
    """erik has an account, and writes the agenda of those who may use the calendar: he may not."""
    erik = add(calendar, "calerik", "caloffice")
    try:
        assert erik.status() == 401
        ldap(calendar, directory.group_dn("calmembers"), "add: member", f"member: {directory.person_dn('calerik')}")
        assert erik.status() == 207
        assert erik.home()["/calerik/shared-agenda/"] == ("Agenda", True)
    finally:
        forget(calendar, "calerik")
    assert erik.status() == 401, "nor does an account that is no more"


def test_a_silent_directory_is_nobodys_wrong_password(calendar: People, claire: Dav) -> None:
    """500 and not 401: a phone that is told 401 asks its owner for a password, and stops."""
    calendar.sh("systemctl stop slapd.service")
    try:
        assert claire.status() == 500
    finally:
        calendar.sh("systemctl start slapd.service")
    soon(lambda: claire.status() == 207)


# --- fail2ban ---------------------------------------------------------------------------------------------

GUESS = """
import base64, concurrent.futures, http.client, socket, ssl, sys
address, name, *pairs = sys.argv[1:]
context = ssl.create_default_context(); context.check_hostname = False; context.verify_mode = ssl.CERT_NONE

def attempt(pair):
    try:
        line = http.client.HTTPConnection(name)
        line.sock = context.wrap_socket(socket.create_connection((address, 443), 5), server_hostname=name)
        word = base64.b64encode(pair.encode().decode("unicode_escape").encode()).decode()
        headers = {"Depth": "0", "X-Forwarded-For": "192.0.2.99", "Authorization": "Basic " + word}
        line.request("PROPFIND", "/", headers=headers)
        return line.getresponse().status
    except OSError as error:
        return type(error).__name__

print(attempt(pairs[0]))
with concurrent.futures.ThreadPoolExecutor(8) as pool:
    print(*pool.map(attempt, pairs[1:]), sep="\\n")
"""


def guess(site: Applied, *pairs: str) -> list[str]:
    """Try ``name:password`` pairs from the other host of the lab."""
    other = site.lab.hosts[1]
    done = other.console(["python3", "-c", GUESS, site.host.address, f"cal.{site.lab.domain}", *pairs], check=False)
    return done.stdout.decode().split()


def banned(site: Applied) -> list[str]:
    return site.sh("fail2ban-client get radicale banip").split()


def test_a_script_is_banned_and_let_in_again(calendar: People, claire: Dav) -> None:
    other = calendar.lab.hosts[1].address
    try:
        # A phone with the password of yesterday, for an hour: one refusal, however often it asks.
        assert guess(calendar, *["calclaire:motdepasse d hier"] * 40) == ["401"] * 40
        # Names that look like the end of the line, or name somebody else's address.
        line = "[1/Thread-1] [WARNING] Failed login attempt from 127.0.0.1 (forwarded for '192.0.2.98')"
        forged = f"x' (refused)\\n{line}"
        assert set(guess(calendar, *[f"{forged} {n}:x" for n in range(5)])) == {"401"}
        assert other not in banned(calendar)
        guess(calendar, *[f"guess{n}:x" for n in range(30)])
        soon(lambda: other in banned(calendar))
        assert banned(calendar) == [other], "nobody else's address can be brought in"
        soon(lambda: guess(calendar, "calclaire:x") != ["401"])
    finally:
        calendar.sh(f"fail2ban-client set radicale unbanip {other}")
    soon(lambda: guess(calendar, f"calclaire:{claire.password.encode('unicode_escape').decode()}") == ["207"])


# --- data -------------------------------------------------------------------------------------------------


def test_data_is_the_same_after_its_backup_was_restored(calendar: People, anna: Dav, tmp_path: Path) -> None:
    device = Device(tmp_path / "device", anna, "caldav", ["calendar", "shared-choir"])
    device.run("discover", answers="y\n" * 4)
    device.write("calendar", "kept", "à garder")
    device.sync()
    before = {name: device.read(name) for name in ("calendar", "shared-choir")}
    (claim,) = [c for c in load(calendar.site_folder).claims(BackupSet) if c.role == "calendar"]
    exclude = " ".join(f"--exclude={shlex.quote(pattern)}" for pattern in claim.exclude)
    paths = " ".join(path.lstrip("/") for path in claim.paths)

    said = calendar.sh(claim.compare)
    calendar.sh(f"tar -C / {exclude} -cf /root/calendar.tar {paths}")
    calendar.sh("find /var/lib/radicale -name '*.ics' -delete; rm -rf /var/lib/radicale/collections/*")
    assert calendar.sh(claim.compare) != said
    # As on a new host, where its user has another number.
    calendar.sh(f"tar -C / -xf /root/calendar.tar && chown -R 12345:12345 {claim.paths[0]} && rm /root/calendar.tar")
    calendar.sh(claim.restore)
    up(calendar)
    assert calendar.sh(claim.compare) == said
    device.sync()
    assert {name: device.read(name) for name in before} == before
    assert anna.put("/calanna/calendar/after.ics", "after") == 201


def test_a_person_s_data_can_be_shown_exported_and_deleted(calendar: People) -> None:
    (claim,) = [c for c in load(calendar.site_folder).claims(Person) if c.role == "calendar"]
    person = add(calendar, "caldenis", "calmembers", "calchoir")
    try:
        assert person.put("/caldenis/calendar/one.ics", "one") == 201
        assert person.put("/caldenis/shared-choir/denis.ics", "from denis") == 201
        ask = "export HOUBLON_PERSON=caldenis HOUBLON_EXPORT=/root/denis; mkdir -p /root/denis;"
        shown = calendar.sh(f"{ask} {claim.show}")
        assert sorted(shown.splitlines()) == ["address book “Contacts”: 0 entries", "calendar “Agenda”: 1 entries"]
        calendar.sh(f"{ask} {claim.export}")
        assert "SUMMARY:one" in calendar.sh("cat /root/denis/Agenda.ics")
        assert "denis" not in calendar.sh("cat /root/denis/*")
        calendar.sh(f"{ask} {claim.delete} && rm -r /root/denis")
        assert calendar.sh(f"HOUBLON_PERSON=caldenis {claim.show}") == ""
        assert "from denis" in person("GET", "/caldenis/shared-choir/").text, "what is the group's stays"
        # Somebody it does not know, and names that are paths.
        for name in ("calnobody", "../caldenis", ".", "", "*"):
            ask = f"export HOUBLON_PERSON={shlex.quote(name)} HOUBLON_EXPORT=/root;"
            assert calendar.sh(f"{ask} {claim.show} && {claim.export} && {claim.delete}") == ""
    finally:
        forget(calendar, "caldenis")


# --- the web page, and the whole --------------------------------------------------------------------------


def test_the_web_page_makes_a_calendar(calendar: People, claire: Dav) -> None:
    """In a browser, under the Content-Security-Policy it is served with."""
    with chromium(calendar) as browser:
        page = browser.new_page(ignore_https_errors=True)
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.goto(f"https://{claire.fqdn}/")
        page.fill("#loginscene [data-name=user]", claire.name)
        page.fill("#loginscene [data-name=password]", claire.password)
        page.click("#loginscene [data-name=form] button")
        page.wait_for_selector("#collectionsscene:not(.hidden) article:not(.hidden)")
        titles = page.locator("#collectionsscene article:not(.hidden) [data-name=title]").all_inner_texts()
        assert {"Agenda", "Contacts"} <= set(titles)
        page.click("#collectionsscene [data-name=new]")
        page.fill("#createcollectionscene [data-name=displayname]", "Vacances")
        page.click("#createcollectionscene [data-name=submit]")
        page.wait_for_selector("#collectionsscene:not(.hidden) >> text=Vacances")
        assert not [text for text in complaints if "Content Security Policy" in text], complaints
        browser.close()
    assert "Vacances" in [title for title, _ in claire.home().values()]


def test_well_known_addresses_lead_to_it(calendar: People) -> None:
    wire, domain = Wire(calendar.host.address), calendar.lab.domain
    for service in ("caldav", "carddav"):
        for name in (domain, f"cal.{domain}"):
            answer = wire.request("PROPFIND", f"https://{name}/.well-known/{service}")
            assert answer.status == 301, (name, service)
            assert answer.headers["location"] in ("/", f"https://cal.{domain}/"), (name, service)


def test_verify_is_content_and_a_second_plan_is_empty(calendar: People, members: dict[str, Dav]) -> None:
    checks = json.loads(calendar.cli("verify", "--only", "calendar", "--deep", "--json", check=False).stdout)["checks"]
    assert checks and not [check for check in checks if check["outcome"] == "failed"]
    assert calendar.plan()["changes"] == []
