"""A host with Nextcloud and two people, and ways to be one of them: files over WebDAV, shares, calendars."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import quote, urlencode

from houblon.lab import Lab
from houblon.verify.wire import Answer, Wire
from tests.host.dav import Dav
from tests.host.people import RELAY_PASSWORD, People, secret
from tests.host.sinks import SmtpSink, self_signed
from tests.host.sites import make_site

SERVICES = """\
  portal:
  nextcloud:
"""
OVERRIDE: dict[str, Any] = {"system": {"simpleSignUpLink.shown": False}, "apps": {"files": {"default_quota": "7 GB"}}}
"""The site's own settings, beside houblon's."""
PASSWORD = "sept houblons pour {name}"
ENFORCED = "/srv/nextcloud/config/houblon.config.php"
COMPLETE = "/opt/nextcloud/current/dist/core-common.js"
"""What the web interface needs, and trees made from public repositories lack."""


@dataclass
class Cloud(People):
    """The host, and the sink that its mail ends in."""

    @property
    def fqdn(self) -> str:
        return f"cloud.{self.lab.domain}"

    def occ(self, arguments: str, check: bool = True) -> str:
        """Nextcloud's own command, on the host; arguments are words of a shell."""
        return self.sh(f"/usr/local/lib/houblon/occ {arguments} </dev/null", check=check)

    def query(self, sql: str) -> str:
        """The answer of its database."""
        return self.sh(f"cd /; runuser -u nextcloud -- psql -d nextcloud -XAtqc {shell(sql)}").strip()

    def person(self, name: str, *more: str) -> Files:
        """Make somebody with an account of the directory, known to Nextcloud."""
        password = PASSWORD.format(name=name)
        self.user(
            "add", name, "--name", f"{name.title()} Orge", "--mail", f"{name}@{self.lab.domain}", "--password", *more,
            input=f"{password}\n",
        )  # fmt: skip
        files = Files(self, name, password)
        # A tree without its fonts fails once for each person, when it draws their first letter.
        files.login()
        return files

    def get(self, path: str, pair: tuple[str, str] | None = None) -> Answer:
        """What a stranger gets, or who has a name and a password."""
        return self.ask("GET", path, pair=pair)

    def ask(
        self, method: str, path: str, body: bytes = b"", *, pair: tuple[str, str] | None = None, **headers: str
    ) -> Answer:
        """One request; ``Content_Type`` among the headers becomes ``Content-Type``."""
        more = {name.replace("_", "-"): value for name, value in headers.items()}
        if pair is not None:
            more["Authorization"] = "Basic " + base64.b64encode(":".join(pair).encode()).decode()
        wire = Wire(self.host.address, wait=120)
        return wire.request(method, f"https://{self.fqdn}{path}", body=body or None, headers=more)


@dataclass
class Files:
    """One person at Nextcloud's door."""

    site: Cloud
    name: str
    password: str

    def __call__(self, method: str, path: str = "", body: bytes = b"", /, **headers: str) -> Answer:
        """A request about one of their files."""
        return self.dav(method, f"/files/{self.name}/{quote(path)}", body, **headers)

    def dav(self, method: str, path: str, body: bytes = b"", /, **headers: str) -> Answer:
        return self.site.ask(method, f"/remote.php/dav{path}", body, pair=(self.name, self.password), **headers)

    def url(self, path: str) -> str:
        return f"https://{self.site.fqdn}/remote.php/dav/files/{self.name}/{quote(path)}"

    def login(self) -> int:
        """What becomes of a login: 207, or 401."""
        return self("PROPFIND", "", Depth="0").status

    def put(self, path: str, body: bytes) -> int:
        return self("PUT", path, body).status

    def get(self, path: str) -> bytes:
        answer = self("GET", path)
        assert answer.status == 200, f"{path}: {answer.status} {answer.text[:300]}"
        return answer.body

    def listing(self, path: str = "") -> set[str]:
        """Names in one of their folders."""
        answer = self("PROPFIND", path, Depth="1")
        assert answer.status == 207, answer.text[:300]
        base = f"/remote.php/dav/files/{self.name}/{quote(path)}"
        return {one.removeprefix(base).strip("/") for one in re.findall(r"<d:href>(.*?)</d:href>", answer.text)} - {""}

    def share(self, path: str, **form: str) -> dict[str, Any]:
        """Share something of theirs (OCS Share API).

        :raises AssertionError: Nextcloud does not.
        """
        answer = self.ocs("POST", "/apps/files_sharing/api/v1/shares", {"path": f"/{path}", **form})
        assert answer["meta"]["statuscode"] == 200, answer["meta"]
        data: dict[str, Any] = answer["data"]
        return data

    def ocs(self, method: str, path: str, form: Mapping[str, str] = MappingProxyType({})) -> dict[str, Any]:
        answer = self.site.ask(
            method, f"/ocs/v2.php{path}?format=json", urlencode(form).encode(), pair=(self.name, self.password),
            OCS_APIRequest="true", Content_Type="application/x-www-form-urlencoded",
        )  # fmt: skip
        data: dict[str, Any] = json.loads(answer.text)["ocs"]
        return data

    def app(self, name: str = "phone") -> Files:
        """The same person with a password of an app, as their devices use."""
        said = self.site.sh(
            f"OC_PASS={shell(self.password)} /usr/local/lib/houblon/occ user:auth-tokens:add --password-from-env"
            f" --name {name} {self.name} </dev/null"
        )
        return Files(self.site, self.name, said.split()[-1])

    @property
    def device(self) -> CloudDav:
        """For a `tests.host.dav.Device`."""
        return CloudDav(self.site, self.name, self.password)


@dataclass(frozen=True)
class CloudDav(Dav):
    """One person at Nextcloud's calendars and address books."""

    @property
    def fqdn(self) -> str:
        return f"cloud.{self.site.lab.domain}"


def make_cloud(lab: Lab, folder: Path) -> Cloud:
    """Apply such a site from scratch to a lab's first host; the sink listens here until the caller stops it."""
    here = str(ip_network(lab.subnet4)[1])
    name = f"relay.{lab.domain}"
    lab.set_records([("relay", "A", here)])
    certificate, trusted = self_signed(folder.parent, here, name)
    relay = SmtpSink(here, 587, "houblon", RELAY_PASSWORD, certificate).start()
    extra = (
        f"mailer:\n  relay: {name}\n  port: 587\n  user: houblon\n  sender: houblon@{lab.domain}\n"
        f"  ca_bundle: sink-ca.pem\n"
    )
    made = make_site(lab, folder, services=SERVICES, extra=extra)
    (folder / "sink-ca.pem").write_bytes(trusted.read_bytes())
    (folder / "overrides" / "nextcloud").mkdir(parents=True)
    (folder / "overrides" / "nextcloud" / "ours.json").write_text(json.dumps(OVERRIDE))
    cloud = Cloud(made.site_folder, lab, made.host, relay=relay)
    secret(cloud, "mailer/relay", RELAY_PASSWORD)
    started = time.monotonic()
    cloud.cli("apply", "--yes", "--accept-new", timeout=1500)
    cloud.first_seconds = time.monotonic() - started
    return cloud


def shell(text: str) -> str:
    """A word of a shell."""
    return "'" + text.replace("'", "'\\''") + "'"
