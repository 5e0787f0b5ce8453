"""CalDAV and CardDAV from this machine: single requests, and vdirsyncer with a folder for each device."""

from __future__ import annotations

import base64
import os
import re
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from houblon.verify.wire import Answer, Wire
from tests.host.sites import Applied, environment

EVENT = """\
BEGIN:VCALENDAR
VERSION:2.0
PRODID:-//houblon//tests//
BEGIN:VEVENT
UID:{uid}
DTSTAMP:20261122T120000Z
DTSTART:20261201T120000Z
DTEND:20261201T130000Z
SUMMARY:{summary}
END:VEVENT
END:VCALENDAR
"""
CARD = "BEGIN:VCARD\nVERSION:3.0\nUID:{uid}\nFN:{summary}\nN:{summary};;;;\nEND:VCARD\n"
HOME = (
    b'<propfind xmlns="DAV:"><prop><resourcetype/><displayname/><current-user-privilege-set/></prop></propfind>'
)


def event(uid: str, summary: str = "") -> str:
    return EVENT.format(uid=uid, summary=summary or uid).replace("\n", "\r\n")


def card(uid: str, summary: str = "") -> str:
    return CARD.format(uid=uid, summary=summary or uid).replace("\n", "\r\n")


@dataclass(frozen=True)
class Dav:
    """One person at the calendar's door.

    :param name: what they type as their name.
    """

    site: Applied
    name: str
    password: str

    @property
    def fqdn(self) -> str:
        return f"cal.{self.site.lab.domain}"

    def __call__(self, method: str, path: str, body: str | bytes = b"", **headers: str) -> Answer:
        """One request; ``Content_Type`` among the headers becomes ``Content-Type``."""
        pair = base64.b64encode(f"{self.name}:{self.password}".encode()).decode()
        more = {name.replace("_", "-"): value for name, value in headers.items()}
        data = body.encode() if isinstance(body, str) else body
        return Wire(self.site.host.address).request(
            method, f"https://{self.fqdn}{path}", body=data or None,
            headers={"Authorization": f"Basic {pair}", **more},
        )  # fmt: skip

    def status(self) -> int:
        """What becomes of a login: 207, or 401."""
        return self("PROPFIND", "/", HOME, Depth="0").status

    def put(self, path: str, uid: str) -> int:
        return self("PUT", path, event(uid), Content_Type="text/calendar; charset=utf-8").status

    def home(self) -> dict[str, tuple[str, bool]]:
        """What a client finds at home: for each path, its title and whether it may be written."""
        answer = self("PROPFIND", f"/{self.name}/", HOME, Depth="1")
        assert answer.status == 207, answer.text
        found = {}
        for part in re.findall(r"<response>.*?</response>", answer.text, re.S):
            path = unquote(re.findall(r"<href>(.*?)</href>", part)[0])
            title = re.findall(r"<displayname>(.*?)</displayname>", part)
            found[path] = (title[0] if title else "", "<write />" in part)
        return found


class Device:
    """A folder of vdirsyncer's, paired with the calendars or address books of a person.

    :param kind: ``caldav`` or ``carddav``.
    :param conflict: vdirsyncer's ``conflict_resolution``, as it stands in its configuration.
    """

    def __init__(
        self, folder: Path, person: Dav, kind: str, collections: Iterable[str], *, conflict: str = "null"
    ) -> None:
        folder.mkdir(parents=True)
        self.folder, self.suffix = folder, ".ics" if kind == "caldav" else ".vcf"
        site = person.site
        names = ", ".join(f'"{name}"' for name in collections)
        (folder / "hosts").write_text(
            f"127.0.0.1 localhost\n{site.host.address} {site.lab.domain} {person.fqdn}\n"
        )
        (folder / "config").write_text(f"""\
[general]
status_path = "{folder}/status/"
[pair p]
a = "here"
b = "there"
collections = [{names}]
conflict_resolution = {conflict}
[storage here]
type = "filesystem"
path = "{folder}/data/"
fileext = "{self.suffix}"
[storage there]
type = "{kind}"
url = "https://{person.fqdn}/"
username = "{person.name}"
password = "{person.password}"
verify = "{site.site_folder / 'acme-roots.pem'}"
""")

    def run(self, *arguments: str, check: bool = True, answers: str = "") -> subprocess.CompletedProcess[str]:
        """vdirsyncer, with the site's names known to it alone."""
        program = Path(sys.executable).with_name("vdirsyncer")
        script = 'mount --bind "$0/hosts" /etc/hosts && exec "$@"'
        command = [str(program), "-c", f"{self.folder}/config", *arguments]
        done = subprocess.run(
            ["unshare", "--mount", "sh", "-c", script, str(self.folder), *command],
            input=answers, capture_output=True, text=True, timeout=300, check=False,
            env=environment() | {"HOME": str(self.folder), "LC_ALL": "C.UTF-8", "PATH": os.environ["PATH"]},
        )  # fmt: skip
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def sync(self) -> None:
        self.run("sync")

    def path(self, collection: str, uid: str) -> Path:
        return self.folder / "data" / collection / f"{uid}{self.suffix}"

    def write(self, collection: str, uid: str, summary: str = "") -> None:
        text = event(uid, summary) if self.suffix == ".ics" else card(uid, summary)
        path = self.path(collection, uid)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, newline="")

    def read(self, collection: str) -> dict[str, str]:
        """The title of each entry, by its UID."""
        found = {}
        for file in (self.folder / "data" / collection).glob(f"*{self.suffix}"):
            text = file.read_text()
            title = re.findall(r"^(?:SUMMARY|FN):(.*?)\r?$", text, re.M)[0]
            found[re.findall(r"^UID:(.*?)\r?$", text, re.M)[0]] = title
        return found
