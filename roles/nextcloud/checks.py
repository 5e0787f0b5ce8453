"""What claims cannot express: files go up and down, people of the directory get in, Nextcloud finds nothing wrong."""

from __future__ import annotations

import base64
import json
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import pytest

from houblon import directory
from houblon.contract import tr
from houblon.roles.nextcloud import Nextcloud, paths
from houblon.verify import Broken
from houblon.verify.context import Context
from houblon.verify.wire import Answer, Wire

TOKEN = "houblon-verify"  # noqa: S105 - its name, not what it is
PERSON = "houblon-verify-c"
CRON_SECONDS = 900
LOG_SECONDS = 24 * 3600
SECONDS = 300.0
"""A setup check asks the host's own names, some of them several times."""

CHECKS = "OCA\\Settings\\SetupChecks"
EXPLAINED = {
    f"{CHECKS}\\TwoFactorConfiguration": "a second factor is everybody's choice, or a group's in the site file",
}
"""Setup checks that find something, by class, and why nothing is to be done about it."""
BY_COMMAND = {
    f"{CHECKS}\\BruteForceThrottler": "a command has no address of a visitor",
    f"{CHECKS}\\ForwardedForHeaders": "a command has no address of a visitor",
}
"""The same, seen by the command alone."""
LAB = {
    f"{CHECKS}\\CodeIntegrity": "its tree is made from public repositories, which lack the largest files",
    f"{CHECKS}\\InternetConnectivity": "it reaches nothing outside",
}
"""The same, on a lab host with a test manifest's release."""
ERRORS = {
    r'"app":"files_trashbin".*"/[^/"]+/files_trashbin"': "looks for the trash of people who never deleted anything",
    r'"Error while expiring trashbin for user': "the same, in the line after it",
    r"Exception.InsufficientStorage": "somebody's quota is full",
    r"Exception.ServerMaintenanceMode": "somebody came during a backup or an upgrade",
}
"""What it logs as an error and is none, and why."""
LAB_ERRORS = (r"lib/private/Avatar/Avatar\.php", r"core/js/common\.js", "internet_connection_check")
"""What such a host logs: letters need a font and pages a script that the tree lacks."""


class Probe:
    """Files of Nextcloud's own account, over TLS, by a password that lives as long as the check."""

    def __init__(self, wire: Wire, fqdn: str, password: str) -> None:
        self.wire, self.fqdn = wire, fqdn
        self.header = "Basic " + base64.b64encode(f"{paths.ADMIN}:{password}".encode()).decode()

    def __call__(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        more = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.wire.request(
            method, f"https://{self.fqdn}{path}", body=body, headers={"Authorization": self.header, **more}
        )


@contextmanager
def probe(host: Any, wire: Wire, fqdn: str) -> Iterator[Probe]:
    """A `Probe`; its password is made and taken away on the host."""
    _forget(host)
    made = host.run(f"{paths.OCC} user:auth-tokens:add --no-interaction --name {TOKEN} {paths.ADMIN}")
    password = made.stdout.split()[-1] if made.rc == 0 and made.stdout.split() else ""
    assert len(password) >= 32, f"no password of an app can be made: {made.stderr.strip()[-200:]}"
    try:
        yield Probe(wire, fqdn, password)
    finally:
        _forget(host)


def _forget(host: Any) -> None:
    sql(host, f"DELETE FROM oc_authtoken WHERE uid = '{paths.ADMIN}' AND name = '{TOKEN}'")  # noqa: S608 - both ours


def sql(host: Any, query: str) -> str:
    """The answer of its database, asked as its own user."""
    done = host.run(f"cd / && runuser -u {paths.USER} -- psql -XAtq -v ON_ERROR_STOP=1 -d {paths.USER} -c %s", query)
    assert done.rc == 0, f"its database does not answer: {done.stderr.strip()[-200:]}"
    return str(done.stdout).strip()


def unverified(role: Nextcloud) -> bool:
    """Whether the release is a test manifest's."""
    return any(artifact.unverified for artifact in role.artifacts())


@pytest.mark.root
def test_it_is_ready(wire: Wire, role: Nextcloud) -> None:
    """it is installed, in no maintenance, and its data is of the release that runs"""
    answer = wire.get(f"https://{role.fqdn}/status.php")
    assert answer.status == 200, f"status {answer.status}"
    said = json.loads(answer.text)
    version = next(iter(role.artifacts())).version
    seen = {key: said.get(key) for key in ("installed", "maintenance", "needsDbUpgrade", "versionstring")}
    assert seen == {"installed": True, "maintenance": False, "needsDbUpgrade": False, "versionstring": version}, seen


def test_strangers_are_asked_for_a_password(wire: Wire, role: Nextcloud) -> None:
    """who has no password sees no files, calendars or accounts"""
    for path in ("/remote.php/dav/", "/remote.php/dav/files/someone/", "/ocs/v2.php/cloud/users"):
        answer = wire.request("PROPFIND" if "dav" in path else "GET", f"https://{role.fqdn}{path}",
                              headers={"OCS-APIRequest": "true", "Depth": "1"})  # fmt: skip
        assert answer.status == 401, f"{path}: status {answer.status}"


def test_code_and_data_are_not_served(wire: Wire, role: Nextcloud) -> None:
    """neither people's files, nor its configuration, nor its own commands can be fetched"""
    for path in ("/data/", "/config/config.php", "/.htaccess", "/occ", "/console.php", "/cron.php", "/lib/base.php",
                 "/3rdparty/README.md", "/updater/index.php", "/build/", "/db_structure.xml"):  # fmt: skip
        status = wire.get(f"https://{role.fqdn}{path}").status
        assert status in (403, 404), f"{path}: status {status}"


def test_files_go_up_and_down(host: Any, wire: Wire, role: Nextcloud) -> None:
    """a file goes up over WebDAV, comes down again, gets another name, and is deleted"""
    text = secrets.token_bytes(1024)
    base = f"/remote.php/dav/files/{paths.ADMIN}/houblon-verify-{secrets.token_hex(4)}"
    with probe(host, wire, role.fqdn) as ask:
        put = ask("PUT", base, text)
        assert put.status == 201, f"PUT: status {put.status}"
        try:
            got = ask("GET", base)
            assert got.status == 200 and got.body == text, f"GET: status {got.status}, {len(got.body)} bytes"
            moved = ask("MOVE", base, Destination=f"https://{role.fqdn}{base}-b")
            assert moved.status == 201, f"MOVE: status {moved.status}"
            assert ask("GET", base).status == 404, "it is still there under its first name"
            assert ask("GET", f"{base}-b").body == text, "it is another one under its second name"
        finally:
            # Past the trash.
            gone = [ask("DELETE", path, X_NC_Skip_Trashbin="true").status for path in (base, f"{base}-b")]
        assert sorted(gone) == [204, 404], f"DELETE: {gone}"


def test_background_jobs_run(host: Any, snapshot: Context) -> None:
    """background jobs ran in the last quarter of an hour"""
    last = sql(host, "SELECT configvalue FROM oc_appconfig WHERE appid = 'core' AND configkey = 'lastcron'")
    age = int(host.check_output("date +%s")) - int(last or 0)
    if age > CRON_SECONDS:
        raise Broken(
            tr(
                en="background jobs ran in the last quarter of an hour",
                fr="les tâches de fond ont tourné dans le dernier quart d'heure",
            ),
            tr(en=f"the last ran {age // 60} minutes ago", fr=f"la dernière a tourné il y a {age // 60} minutes")
            if last
            else tr(en="none ever ran", fr="aucune n'a jamais tourné"),
            tr(
                en="See `journalctl -u nextcloud-cron.service` on the host.",
                fr="Voyez `journalctl -u nextcloud-cron.service` sur l'hôte.",
            ),
        )


def test_it_logs_no_errors(host: Any, role: Nextcloud, snapshot: Context) -> None:
    """it logged no error since the last apply, or in a day"""
    applied = datetime.fromisoformat((snapshot.record or {})["at"]).timestamp()
    since = max(int(applied), snapshot.now - LOG_SECONDS)
    said = host.check_output(f"journalctl -q -t {paths.USER} -p err --since @{since} -o cat --no-pager")
    known = "|".join((*ERRORS, *(LAB_ERRORS if unverified(role) else ())))
    # A message that is JSON itself comes with its quotation marks and slashes escaped.
    errors = [line for line in said.splitlines() if not re.search(known, line.replace("\\", ""))]
    assert not errors, f"{len(errors)} errors, the last: {_message(errors[-1])}"


def _message(line: str) -> str:
    try:
        found = json.loads(line)
        return f"{found.get('app')}: {found.get('message')}"[:200]
    except ValueError:
        return line[:200]


def test_data_is_closed_to_others(host: Any) -> None:
    """no other user of the host gets at people's files, at its configuration or at its database"""
    assert host.run(f"stat -c '%a %U %G' {paths.DATA}").stdout.split() == ["750", paths.USER, paths.USER]
    for user in ("nobody", "www-data"):
        for command in (
            f"ls {paths.DATA}",
            f"cat {paths.CONFIG}/config.php",
            f"cat {paths.CONFIG}/houblon.config.php",
            f"psql -X -d {paths.USER} -c 'SELECT 1'",
        ):
            assert host.run(f"cd / && runuser -u {user} -- {command}").rc != 0, f"{user} may: {command}"


def test_it_writes_nowhere_else(host: Any) -> None:
    """its own user cannot change its code, nor the settings that are enforced"""
    code = host.check_output(f"find {paths.CODE}/ \\( ! -user root -o -perm /022 ! -type l \\) -print -quit")
    assert not code, f"{code.splitlines()[0]} is not root's alone to write"
    assert host.run(f"runuser -u {paths.USER} -- test -w {paths.CONFIG}/houblon.config.php").rc != 0


def test_it_reads_the_directory(host: Any) -> None:
    """its password opens the directory of accounts"""
    said = host.run(f"{paths.OCC} ldap:test-config s01").stdout.strip()
    assert "valid and the connection could be established" in said, said.splitlines()[-1:]


@pytest.mark.deep
def test_somebody_of_the_directory_gets_in(host: Any, wire: Wire, role: Nextcloud) -> None:
    """somebody with an account logs in with its password, and with no other; gone from the directory, they are out"""
    url = f"https://{role.fqdn}/remote.php/dav/files/{PERSON}/"

    def login(password: str) -> int:
        header = "Basic " + base64.b64encode(f"{PERSON}:{password}".encode()).decode()
        return wire.request("PROPFIND", url, headers={"Authorization": header, "Depth": "0"}).status

    with person(host, role) as password:
        if unverified(role):
            login(password)
        assert login(password) == 207
        assert login("wrong") == 401
    assert login(password) == 401


@contextmanager
def person(host: Any, role: Nextcloud) -> Iterator[str]:
    """Somebody for the length of a check, in the groups that may use it; gives the password."""
    dn, root = directory.person_dn(PERSON), f"-Q -Y EXTERNAL -H {directory.LDAPI}"
    password = secrets.token_urlsafe(18)
    entry = (
        f"dn: {dn}\nobjectClass: inetOrgPerson\nobjectClass: {directory.CLASS}\nuid: {PERSON}\ncn: {PERSON}\n"
        f"sn: {PERSON}\n{directory.STATE}: active\n{directory.PASSWORD}: {password}\n"
    )
    groups = role.config.groups[:1]
    member = "".join(
        f"dn: {directory.group_dn(group)}\nchangetype: modify\nadd: member\nmember: {dn}\n" for group in groups
    )

    def remove() -> None:
        if member:
            host.run(f"ldapmodify {root}", stdin=member.replace("add: member", "delete: member").encode())
        host.run(f"ldapdelete {root} {dn}")
        host.run(f"HOUBLON_PERSON={PERSON} /usr/local/lib/houblon/nextcloud-person delete")

    remove()  # left by a check that was cut off
    try:
        assert host.run(f"ldapadd {root}", stdin=entry.encode()).rc == 0
        assert not member or host.run(f"ldapmodify {root}", stdin=member.encode()).rc == 0
        yield password
    finally:
        remove()


def findings(checks: Any) -> dict[str, str]:
    """What setup checks found, by class: those that are no success."""
    return {
        name: f"{found['severity']}: {found['name']}: {found['description']}"
        for group in checks.values()
        for name, found in group.items()
        if found["severity"] != "success"
    }


def explained(role: Nextcloud) -> dict[str, str]:
    """What its setup checks may find over the web; where a second factor is enforced, that one is content."""
    lab = LAB if unverified(role) else {}
    return lab if role.config.second_factor else EXPLAINED | lab


def judge(found: dict[str, str], explained: dict[str, str]) -> None:
    """Exactly what is explained was found.

    :raises AssertionError: something else, or less: then an explanation has to go.
    """
    more = [text for name, text in found.items() if name not in explained]
    less = sorted(set(explained) - set(found))
    assert not more, f"{len(more)} found: {re.sub(chr(10), ' ', more[0])[:250]}"
    assert not less, f"no longer found, so not to be explained: {', '.join(less)}"


@pytest.mark.deep
def test_its_own_setup_checks_are_content(host: Any, role: Nextcloud) -> None:
    """Nextcloud's own checks of its setup, asked on the host, find what is explained and nothing else"""
    done = host.run(f"{paths.OCC} setupchecks --output=json", timeout=SECONDS)
    start = done.stdout.find("{")
    assert start >= 0, f"they do not run: {(done.stdout + done.stderr).strip()[-200:]}"
    judge(findings(json.loads(done.stdout[start:])), explained(role) | BY_COMMAND)


@pytest.mark.deep
def test_its_setup_checks_by_web_are_content(host: Any, wire: Wire, role: Nextcloud) -> None:
    """Nextcloud's own checks of its setup, asked over the web, find what is explained and nothing else"""
    patient = Wire(wire.address, wait=SECONDS)
    with probe(host, patient, role.fqdn) as ask:
        answer = ask("GET", "/index.php/settings/ajax/checksetup", OCS_APIRequest="true")
    assert answer.status == 200, f"status {answer.status}"
    judge(findings(json.loads(answer.text)), explained(role))


@pytest.mark.deep
def test_its_code_is_upstreams(host: Any, role: Nextcloud) -> None:
    """its code is what its authors signed"""
    done = host.run(f"{paths.OCC} integrity:check-core --output=json", timeout=SECONDS)
    start = done.stdout.find("{")
    found: dict[str, dict[str, Any]] = json.loads(done.stdout[start:]) if start >= 0 else {}
    if not unverified(role):
        assert done.rc == 0 and not found, f"{', '.join(found) or done.stderr.strip()[-200:]}"
        return
    assert set(found) <= {"FILE_MISSING"}, f"{', '.join(set(found) - {'FILE_MISSING'})}"
