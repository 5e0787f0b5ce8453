"""Sites on lab hosts, driven through the real command in processes of its own."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from houblon.artifacts.pins import TEST_PINS
from houblon.lab import Lab, LabHost
from houblon.vault import Vault

HASHES = """
cd /; {
  find etc srv/houblon usr/local/lib usr/local/sbin -xdev \\( -type f -o -type l \\) -print0 | sort -z |
    grep -zvE '^etc/(letsencrypt/(accounts|csr|keys|archive|live|renewal)|mtab$|ld.so.cache$)|^srv/houblon/health/' |
    xargs -0 stat --printf '%n %f %U %G '
  find etc srv/houblon usr/local/lib usr/local/sbin -xdev -type f -not -path 'srv/houblon/health/*' -print0 | sort -z |
    xargs -0 sha256sum
  systemctl list-unit-files --no-legend --no-pager
  systemctl show '*' -p Id,ActiveState,ExecMainStartTimestampMonotonic --type=service --state=running
  nft -s list table inet houblon
  getent passwd; getent group; getent shadow | cut -d: -f1,2,8 | sha256sum
  cat /var/lib/houblon/state.json; ls -la --time-style=full-iso /var/lib/houblon /var/lib/houblon/stamps
} 2>&1 || :
"""


@dataclass
class Applied:
    """A site, the lab it lives in, and the way to run houblon on it."""

    site_folder: Path
    lab: Lab
    host: LabHost
    first_seconds: float = 0.0

    def cli(self, *arguments: str, check: bool = True, timeout: float = 600) -> subprocess.CompletedProcess[str]:
        """`houblon COMMAND SITE ...` in a process of its own; both outputs are shown when it fails."""
        command, *rest = arguments
        done = subprocess.run(
            [sys.executable, "-m", "houblon", command, str(self.site_folder), *rest],
            capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=timeout, env=environment(),
            check=False,
        )
        if check and done.returncode != 0:
            tail = "\n".join(done.stdout.splitlines()[-15:])
            raise AssertionError(f"houblon {command} ended with {done.returncode}\n{tail}\n{done.stderr}")
        return done

    def plan(self) -> dict[str, Any]:
        """The plan as JSON; exit status 0 or 10 must agree with it."""
        done = self.cli("plan", "--json", check=False)
        assert done.returncode in (0, 10), done.stdout + done.stderr
        result: dict[str, Any] = json.loads(done.stdout)
        assert bool(result["changes"]) == (done.returncode == 10)
        return result

    def sh(self, script: str, check: bool = True) -> str:
        """A shell script on the host, as root, past ssh and firewall."""
        return self.host.console(["sh", "-c", script], check=check).stdout.decode()

    def state(self) -> str:
        """Everything a second run must leave untouched, as text that can be compared."""
        return self.sh(HASHES)

    def edit(self, old: str, new: str) -> None:
        """Replace text in site.yaml; it must be there."""
        file = self.site_folder / "site.yaml"
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))


def environment() -> dict[str, str]:
    """The environment of a user without any houblon settings of their own, but for what the tests were given."""
    kept = ("HOUBLON_LAB_DIR", TEST_PINS)
    return {k: v for k, v in os.environ.items() if not k.startswith("HOUBLON_") or k in kept} | {"COLUMNS": "200"}


def make_site(lab: Lab, folder: Path, *, host: int = 0, services: str = "  portal:\n", extra: str = "") -> Applied:
    """A site for one host of a lab, with a vault and certificates from the lab's CA."""
    target = lab.hosts[host]
    folder.mkdir(parents=True)
    local = folder / ".local"
    local.mkdir(mode=0o700)
    key = local / "id_ed25519"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "alice", "-f", key], check=True)
    public = key.with_suffix(".pub").read_text().strip()
    target.exec(["sh", "-c", "cat >>/root/.ssh/authorized_keys"], input=f"{public}\n".encode())
    shutil.copy(lab.acme_ca_bundle, folder / "acme-ca.pem")
    (folder / "acme-roots.pem").write_text(lab.issuing_roots())
    (folder / "site.yaml").write_text(f"""version: 1
name: Les Houblons
domain: {lab.domain}
languages: [fr, en]
admins:
  - name: alice
    email: alice@{lab.domain}
    keys:
      - {public}
host:
  address: {target.address}
tls:
  directory: {lab.acme_directory}
  ca_bundle: acme-ca.pem
  roots: acme-roots.pem
{extra}services:
{services}""")
    before = os.environ.get("HOUBLON_IDENTITY")
    os.environ["HOUBLON_IDENTITY"] = str(key)
    try:
        Vault.init(folder, {"alice": [public]}, "alice", "ssh", None)
    finally:
        if before is None:
            del os.environ["HOUBLON_IDENTITY"]
        else:
            os.environ["HOUBLON_IDENTITY"] = before
    return Applied(folder, lab, target)


def changes(output: str) -> int:
    """The number of changes a run printed; -1 when it printed none."""
    found = re.search(r"^(\d+) changes?\.|^(No changes)\.", output, re.MULTILINE)
    return -1 if found is None else int(found.group(1) or 0)


def wait_until(true: Callable[[], object], seconds: float) -> None:
    """Ask until the answer is yes.

    :raises AssertionError: it is not yes in time.
    """
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.3)
