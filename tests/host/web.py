"""A site with several names, for the tests of nginx and tls, and ways to see what they serve."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from houblon.lab import Lab
from houblon.verify.wire import Answer, Wire
from tests.host.sites import Applied, environment, make_site

ROLE = '''\
"""Pages and an application that tells what it is told, for tests."""

from houblon.contract import Config, Metadata, NoBackup, RateLimit, Role, Vhost, tr

NAMES = ("one", "two")
"""Names of static pages; tests change this line."""


class Pages(Role[Config]):
    metadata = Metadata(title="Pages", summary=tr(en="Pages.", fr="Des pages."), category="test",
                        licence="CC0-1.0", homepage="https://pages.test")

    def claims(self):
        for name in NAMES:
            yield Vhost(name if "." in name else f"{name}.{self.site.domain}", root="/srv/pages")
        yield Vhost(f"app.{self.site.domain}", upstream="127.0.0.1:9001", websocket=True, csp=None,
                    deny=("/admin",), rate_zone="app")
        yield RateLimit("app", per_minute=6, burst=20)
        yield NoBackup(tr(en="Nothing is kept.", fr="Rien n'est gardé."))

    def configure(self, kit):
        kit.file("/srv/pages/index.html", "<!doctype html><title>pages</title>\\n")
        kit.file("/srv/pages/.hidden", "nobody should read this\\n")
        kit.file("/usr/local/lib/pages.py", APP, mode=0o755)
        kit.file("/etc/systemd/system/pages.service",
                 "[Service]\\nDynamicUser=yes\\nExecStart=/usr/bin/python3 /usr/local/lib/pages.py\\n"
                 "[Install]\\nWantedBy=multi-user.target\\n")

    def activate(self, kit):
        kit.unit("pages.service", ready="bash -c 'exec 3<>/dev/tcp/127.0.0.1/9001'")


APP = """#!/usr/bin/python3
import http.server, json

class Echo(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({"path": self.path, **{k.lower(): v for k, v in self.headers.items()}}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

http.server.ThreadingHTTPServer(("127.0.0.1", 9001), Echo).serve_forever()
"""
'''


def make_web_site(lab: Lab, folder: Path) -> Applied:
    """A site with the portal and the role above, applied once."""
    site = make_site(lab, folder, services="  portal:\n  pages:\n")
    (folder / "roles" / "pages").mkdir(parents=True)
    (folder / "roles" / "pages" / "__init__.py").write_text(ROLE)
    lab.set_records(
        [(name, "A", site.host.address) for name in ("@", "one", "two", "app", "three", "late")]
    )
    site.cli("apply", "--yes", "--accept-new", timeout=900)
    return site


def names(site: Applied, *wanted: str) -> None:
    """Change the names of the role's static pages."""
    file = site.site_folder / "roles" / "pages" / "__init__.py"
    lines = [
        f"NAMES = {wanted!r}" if line.startswith("NAMES = ") else line for line in file.read_text().splitlines()
    ]
    file.write_text("\n".join(lines) + "\n")


def get(site: Applied, url: str, **headers: str) -> Answer:
    """GET from this machine, with the name in the URL and the host's address."""
    return Wire(site.host.address).get(url, headers={k.replace("_", "-"): v for k, v in headers.items()})


def served(site: Applied, name: str) -> x509.Certificate:
    """The certificate shown to visitors of a name."""
    return x509.load_der_x509_certificate(Wire(site.host.address).handshake(name).chain[0])


def covers(certificate: x509.Certificate) -> set[str]:
    """The DNS names of a certificate."""
    extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return set(extension.value.get_values_for_type(x509.DNSName))


def key_of(certificate: x509.Certificate) -> str:
    """A fingerprint of its public key."""
    return hashlib.sha256(
        certificate.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    ).hexdigest()


def issued(certificate: x509.Certificate) -> bool:
    """Whether an authority signed it."""
    return certificate.issuer != certificate.subject and "Pebble" in certificate.issuer.rfc4514_string()


def set_secret(site: Applied, name: str, value: str) -> None:
    """`houblon secret set`, the value on standard input."""
    subprocess.run(
        [sys.executable, "-m", "houblon", "secret", "set", name, "--site", str(site.site_folder)],
        input=value, text=True, capture_output=True, check=True, env=environment(),
    )  # fmt: skip
