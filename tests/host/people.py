"""A host with everything people meet: accounts, sign-in, calendars, the portal, alarms that arrive in sinks here."""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path

from houblon.lab import Lab
from tests.host.sinks import HttpSink, SmtpSink, self_signed
from tests.host.sites import Applied, environment, make_site

RELAY_PASSWORD = "correct-horse-battery-staple"
SERVICES = """\
  portal:
  sso:
    second_factor: [careful]
  calendar:
    groups: [members]
    shared:
      board: {title: Board, group: board, kind: calendar}
"""


@dataclass
class People(Applied):
    """The host, and the sinks that its mail and its webhook end in.

    Its groups: ``members`` may use the calendar, ``board`` shares one, ``careful`` needs a second factor.
    """

    relay: SmtpSink | None = None
    hooks: HttpSink | None = None

    def user(self, *arguments: str, input: str = "", check: bool = True) -> subprocess.CompletedProcess[str]:
        """`houblon user COMMAND ...` of this site."""
        command, *rest = arguments
        done = subprocess.run(
            [sys.executable, "-m", "houblon", "user", command, *rest, "--site", str(self.site_folder)],
            capture_output=True, text=True, input=input, timeout=300, check=False, env=environment(),
        )  # fmt: skip
        if check and done.returncode != 0:
            raise AssertionError(f"houblon user {shlex.join(arguments)}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done


def make_people(lab: Lab, folder: Path) -> People:
    """Apply such a site from scratch to a lab's first host; the sinks listen on this machine until the caller stops
    them."""
    here = str(ip_network(lab.subnet4)[1])
    base = folder.parent
    name = f"relay.{lab.domain}"
    lab.set_records([("relay", "A", here)])
    certificate, trusted = self_signed(base, here, name)
    relay = SmtpSink(here, 587, "houblon", RELAY_PASSWORD, certificate).start()
    hooks = HttpSink(here, 2580).start()
    extra = (
        f"mailer:\n  relay: {name}\n  port: 587\n  user: houblon\n  sender: houblon@{lab.domain}\n"
        f"  ca_bundle: sink-ca.pem\n"
        f"alerts:\n  mail: [alice@{lab.domain}]\n  webhook: {hooks.url}/alarm\n"
    )
    made = make_site(lab, folder, services=SERVICES, extra=extra)
    (folder / "sink-ca.pem").write_bytes(trusted.read_bytes())
    people = People(made.site_folder, lab, made.host, relay=relay, hooks=hooks)
    secret(people, "mailer/relay", RELAY_PASSWORD)
    started = time.monotonic()
    people.cli("apply", "--yes", "--accept-new", timeout=900)
    people.first_seconds = time.monotonic() - started
    return people


def secret(site: Applied, name: str, value: str) -> None:
    """`houblon secret set`, the value on standard input."""
    subprocess.run(
        [sys.executable, "-m", "houblon", "secret", "set", name, "--site", str(site.site_folder)],
        input=value, text=True, check=True, capture_output=True, env=environment(),
    )  # fmt: skip


