"""What claims cannot express: the door is shut without a password, and behind it calendars are spoken."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from houblon.roles.calendar import PORT, SETTINGS, Calendar
from houblon.verify.wire import Wire

PROPFIND = (
    b'<?xml version="1.0"?><propfind xmlns="DAV:"><prop><current-user-principal/><resourcetype/></prop></propfind>'
)


def test_nobody_sees_anything_without_a_password(wire: Wire, role: Calendar) -> None:
    """a stranger is asked for a password, whatever they ask for"""
    for path in ("/", "/someone/", "/someone/calendar/"):
        for method in ("PROPFIND", "REPORT", "PUT", "DELETE", "MKCALENDAR"):
            answer = wire.request(method, f"https://{role.fqdn}{path}", body=PROPFIND, headers={"Depth": "0"})
            assert answer.status == 401, f"{method} {path}: status {answer.status}"
            assert answer.headers.get("www-authenticate", "").startswith("Basic "), f"{method} {path}"


def test_calendars_and_contacts_are_spoken(wire: Wire, role: Calendar) -> None:
    """it says that it speaks CalDAV and CardDAV"""
    spoken = wire.request("OPTIONS", f"https://{role.fqdn}/").headers.get("dav", "")
    for word in ("calendar-access", "addressbook"):
        assert word in spoken, f"DAV: {spoken}"


def test_a_broken_header_is_no_error(wire: Wire, role: Calendar) -> None:
    """a request with a broken Authorization header is asked for a password too"""
    for header in ("Basic", "Basic !", "Basic " + base64.b64encode(b"no colon").decode(), "Bearer x"):
        answer = wire.request(
            "PROPFIND", f"https://{role.fqdn}/", body=PROPFIND, headers={"Depth": "0", "Authorization": header}
        )
        assert answer.status == 401, f"{header}: status {answer.status}"


def test_it_reads_the_directory(host: Any) -> None:
    """its password opens the directory of accounts"""
    found = host.run(
        "python3 -c %s",
        "import sys; sys.path.insert(0, '/usr/local/lib/houblon/radicale'); sys.dont_write_bytecode = True\n"
        "from houblon_calendar import Directory; from radicale import config\n"
        "print(Directory(config.load([('/etc/radicale/config', False)])).find('houblon-nobody'))",
    )
    assert found.stdout.strip() == "None", (found.stdout + found.stderr).strip().splitlines()[-1:]


def test_it_listens_on_loopback_with_the_site_s_settings(host: Any, role: Calendar) -> None:
    """what its plugins were told is what the site file says"""
    assert json.loads(host.file(SETTINGS).content_string) == json.loads(role.settings())
    assert host.run("ss -Hltn 'sport = :%s'", str(PORT)).stdout.split()[3] == f"127.0.0.1:{PORT}"


@pytest.mark.deep
def test_a_wrong_password_is_refused(wire: Wire, role: Calendar) -> None:
    """a name that nobody has is refused, in the time that a wrong password takes"""
    header = "Basic " + base64.b64encode(b"houblon-nobody:houblon-verify").decode()
    answer = wire.request(
        "PROPFIND", f"https://{role.fqdn}/", body=PROPFIND, headers={"Depth": "0", "Authorization": header}
    )
    assert answer.status == 401, f"status {answer.status}"
