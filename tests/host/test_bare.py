"""First contact: hosts that are bare, hosts that are not, roles of one's own, and taking services away."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from tests.host.sites import Applied, environment

pytestmark = pytest.mark.host

TOY = '''"""Toy: a service that uses every provider, to prove that adding one touches one folder."""

from collections.abc import Iterator

from houblon.contract import (
    BackupSet, Claim, Config, DataPath, DnsRecord, HttpCheck, Listen, Metadata, Package, PersonalData, Port, Resource,
    Role, Unit, Vhost, tr,
)
from houblon.kit import Kit


class ToyConfig(Config):
    greeting: str = "bonjour"


class Toy(Role[ToyConfig]):
    metadata = Metadata(
        title="Toy", category="toys", licence="AGPL-3.0-or-later", homepage="https://toy.example",
        summary=tr(en="Says hello.", fr="Dit bonjour."),
    )

    @property
    def fqdn(self) -> str:
        return f"toy.{self.site.domain}"

    def claims(self) -> Iterator[Claim]:
        yield Package("python3")
        yield Resource(memory_mb=20, disk_mb=1)
        yield Vhost(self.fqdn, upstream="127.0.0.1:7777")
        yield Port(7070, why="to see the firewall open it")
        yield Unit("toy.service", sandbox=9.9)
        yield Listen(7777)
        yield DataPath("/var/lib/toy")
        yield BackupSet(paths=("/var/lib/toy",))
        yield PersonalData(tr(en="nothing", fr="rien"), where="/var/lib/toy", retention_days=None)
        yield HttpCheck(f"https://{self.fqdn}/", contains=self.config.greeting)

    def install(self, kit: Kit) -> None:
        kit.system_user("toy", home="/var/lib/toy")
        kit.directory("/var/lib/toy", owner="toy", group="toy", mode=0o750)

    def configure(self, kit: Kit) -> None:
        kit.file("/srv/toy/index.html", self.config.greeting + "\\n")
        kit.file("/etc/systemd/system/toy.service", """[Unit]
Description=Toy
[Service]
User=toy
WorkingDirectory=/srv/toy
ExecStart=sh -c 'python3 -m http.server --bind :: 7070 & exec python3 -m http.server --bind 127.0.0.1 7777'
[Install]
WantedBy=multi-user.target
""")

    def activate(self, kit: Kit) -> None:
        kit.unit("toy.service", ready="bash -c 'exec 3<>/dev/tcp/127.0.0.1/7777'")
'''
CHECKS = '''"""checks.py of the toy."""

from typing import Any


def test_says_hello(host: Any, role: Any) -> None:
    assert role.config.greeting in host.file("/srv/toy/index.html").content_string
'''


def test_a_role_of_the_site_gets_everything_and_leaves_cleanly(applied: Applied) -> None:
    """Vhost, certificate, firewall rule, portal entry, checks; then retained, then removed with its data kept."""
    role = applied.site_folder / "roles" / "toy"
    role.mkdir(parents=True)
    (role / "__init__.py").write_text(TOY)
    (role / "checks.py").write_text(CHECKS)
    (role / "README.md").write_text("# toy\n")
    name = f"toy.{applied.lab.domain}"
    site_file = applied.site_folder / "site.yaml"
    original = site_file.read_text()
    try:
        applied.edit("  portal:\n", "  portal:\n  toy:\n    greeting: salut\n")
        applied.cli("apply", "--yes")
        assert applied.plan()["changes"] == []
        assert "tcp dport 7070 accept" in applied.sh("nft list table inet houblon")
        assert name in applied.sh("cat /srv/houblon/portal/fr/index.html")
        issuer = applied.sh(f"openssl x509 -noout -issuer -in /etc/houblon/tls/{name}/fullchain.pem")
        assert "Pebble" in issuer
        assert "salut" in _https(applied, name)
        verified = applied.cli("verify", "--only", "toy", check=False)
        assert verified.returncode == 0, verified.stdout + verified.stderr

        applied.edit("  toy:\n    greeting: salut\n", "")
        plan = applied.plan()
        assert plan["unmanaged"] == ["toy"]
        assert not [c for c in plan["changes"] if c["role"] == "toy"]
        applied.cli("apply", "--yes")
        assert "salut" in _https(applied, name), "a service whose line is gone is left alone until `remove`"

        applied.sh("echo precious >/var/lib/toy/data")
        refused = applied.cli("remove", "--yes", check=False)
        assert refused.returncode == 2
        done = _remove(applied, "toy")
        assert "/var/lib/toy" in done
        assert applied.sh("cat /var/lib/toy/data") == "precious\n"
        assert applied.sh("systemctl cat toy.service 2>&1 || echo none", check=False).strip().endswith("none")
        assert "7070" not in applied.sh("nft list table inet houblon")
        assert applied.sh(f"ls /etc/nginx/houblon/vhosts/{name}.conf 2>&1 || echo gone").strip().endswith("gone")
        assert not any(applied.plan().values()), "nothing left to do, nothing left over"

        site_file.write_text(original.replace("  portal:\n", "  portal:\n  toy:\n"))
        applied.cli("apply", "--yes")
        assert applied.sh("cat /var/lib/toy/data") == "precious\n"
        site_file.write_text(original)
        _remove(applied, "toy", "--purge")
        assert applied.sh("ls -d /var/lib/toy || echo gone", check=False).strip() == "gone"
        assert not any(applied.plan().values())
    finally:
        shutil.rmtree(role.parent)
        site_file.write_text(original)


def _remove(site: Applied, service: str, *options: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "houblon", "remove", service, str(site.site_folder), "--yes", *options],
        capture_output=True, text=True, stdin=subprocess.DEVNULL, env=environment(), check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _https(site: Applied, name: str) -> str:
    return site.sh(
        f"printf 'GET / HTTP/1.1\\r\\nHost: {name}\\r\\nConnection: close\\r\\n\\r\\n' | "
        f"openssl s_client -quiet -connect 127.0.0.1:443 -servername {name} 2>/dev/null"
    )


def test_a_host_that_is_not_bare_is_refused_then_adopted(bare: Applied) -> None:
    bare.sh("apt-get -qq update; apt-get -qq -y install --no-install-recommends nginx-light")
    bare.sh("echo '# mine' >>/etc/nginx/nginx.conf; echo 'server { listen 8088; }' >/etc/nginx/conf.d/mine.conf")
    original = bare.sh("cat /etc/nginx/nginx.conf")
    before = bare.state()
    refused = bare.cli("apply", "--yes", "--accept-new", check=False)
    assert refused.returncode == 4, refused.stdout + refused.stderr
    assert "/etc/nginx/nginx.conf was changed by hand" in refused.stderr
    assert "port 80/tcp is used by nginx" in refused.stderr and "--adopt" in refused.stderr
    assert bare.state() == before, "a refused run must leave the host as it was"

    bare.cli("apply", "--yes", "--adopt", timeout=900)
    assert bare.sh("cat /var/lib/houblon/replaced/etc/nginx/nginx.conf") == original
    assert bare.sh("cat /etc/nginx/conf.d/mine.conf") == "server { listen 8088; }\n"
    assert bare.plan()["changes"] == []
