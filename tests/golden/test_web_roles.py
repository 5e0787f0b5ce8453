"""What the web roles write for real sites: compared with golden files, and judged by nginx itself.

`UPDATE_GOLDEN=1 pytest tests/golden` writes the expected files anew; read the diff before you commit it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from houblon import site as sites
from houblon.claims import Certificate, PersonalData, Provides, Vhost
from houblon.errors import BadInput
from houblon.kit import Kit
from houblon.resources import Ensure, File
from houblon.roles.nginx import LIMIT_FILTER
from houblon.site import Site
from houblon.vault.secret import Secret

EXPECTED = Path(__file__).parent / "expected" / "web"
NGINX = shutil.which("nginx") or "/usr/sbin/nginx"
needs_nginx = pytest.mark.skipif(not Path(NGINX).exists(), reason="nginx is not installed")
HEADERS_MORE = Path("/usr/lib/nginx/modules/ngx_http_headers_more_filter_module.so")

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAGO0mVw//Z+kyMPzpu+tEDWXWkNUzdJLsrIPJa4IWh9 camille@salon"
SITE = f"""\
version: 1
name: "L'été <b>&"
domain: ete.test
languages: [fr, en]
admins:
  - {{name: camille, email: camille@ete.test, keys: ["{KEY}"]}}
host: {{address: 192.0.2.10, user: root}}
"""
TOY = '''\
"""A pad, for tests."""
from houblon.contract import Config, Metadata, PersonalData, RateLimit, Role, Vhost, tr


class Toy(Role[Config]):
    metadata = Metadata(title="Pad & co", summary=tr(en="Write <together>.", fr="Écrire à plusieurs."),
                        category="writing", licence="AGPL-3.0-or-later", homepage="https://pad.test")

    def claims(self):
        yield Vhost(f"pad.{self.site.domain}", upstream="127.0.0.1:9001", websocket=True, deny=("/admin",),
                    csp=None, rate_zone="pad", max_body_mb=64)
        yield Vhost(f"files.{self.site.domain}", upstream="unix:/run/toy.sock",
                    snippet="location /static/ {\\n    alias /srv/toy/;\\n}")
        yield RateLimit("pad", per_minute=60, burst=30)
        yield PersonalData(tr(en="Pads", fr="Pads"), where="/var/log/nginx/access.log", retention_days=7)
'''


class TestVault:
    """Hands out one known secret; what a vault is, is tested elsewhere."""

    __test__ = False

    def get(self, role: str, name: str) -> Secret:
        return Secret(f"secret-of-{role}-{name}".encode())


def load(folder: Path, more: str = "", services: tuple[str, ...] = ("portal", "toy")) -> Site:
    (folder / "roles" / "toy").mkdir(parents=True, exist_ok=True)
    (folder / "roles" / "toy" / "__init__.py").write_text(TOY)
    chosen = "".join(f"  {name}:\n" for name in services)
    (folder / "site.yaml").write_text(f"{SITE}services:\n{chosen}{more}")
    return sites.load(folder)


def record(site: Site, *names: str) -> Kit:
    """One kit with everything the stages of these roles ask for."""
    vault: Any = TestVault()
    batches = []
    for name in names:
        role = site.role(name)
        kit = Kit(site, role, vault)
        for stage in ("install", "configure", "activate"):
            kit.stage = stage
            getattr(role, stage)(kit)
        batches += kit.batches
    kit.batches = batches
    return kit


def files(kit: Kit) -> dict[str, File]:
    return {item.path: item for batch in kit.batches for item in batch.items if isinstance(item, File)}


def ensures(kit: Kit) -> dict[str, Ensure]:
    return {item.name: item for batch in kit.batches for item in batch.items if isinstance(item, Ensure)}


def text(kit: Kit, path: str) -> str:
    return files(kit)[path].content.decode()


# --- golden files -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("case", "more"),
    [
        ("acme", ""),
        ("self-signed", "tls: self-signed\n"),
        (
            "dns",
            "tls:\n  directory: https://ca.ete.test/dir\n  ca_bundle: ca.pem\n  challenge: dns-01\n"
            "  wildcard: true\n  dns: {provider: rfc2136, server: 192.0.2.53, key_name: acme}\n",
        ),
    ],
)
def test_files_are_the_expected_ones(tmp_path: Path, case: str, more: str) -> None:
    (tmp_path / "ca.pem").write_text("not read here\n")
    found = files(record(load(tmp_path, more), "tls", "nginx", "portal"))
    folder = EXPECTED / case
    if os.environ.get("UPDATE_GOLDEN"):
        shutil.rmtree(folder, ignore_errors=True)
        for path, file in found.items():
            target = folder / path.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.content)
    assert {f"/{p.relative_to(folder)}" for p in folder.rglob("*") if p.is_file()} == set(found)
    for path, file in found.items():
        assert file.content.decode() == (folder / path.lstrip("/")).read_text(), path


# --- nginx judges -----------------------------------------------------------------------------------------


def nginx_prefix(kit: Kit, site: Site, root: Path) -> Path:
    """The rendered configuration below a folder of its own, with certificates and this host's own listens."""
    keep = re.compile(r"(?<=[\s\"'=])/(?=etc/nginx/houblon|etc/houblon|var/log/nginx|run/nginx|var/lib/houblon)")
    for path, file in files(kit).items():
        target = root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        content = keep.sub(f"{root}/", file.content.decode())
        if path == "/etc/nginx/nginx.conf":
            module = f"load_module {HEADERS_MORE};"
            content = content.replace("include /etc/nginx/modules-enabled/*.conf;", module)
            content = re.sub(r"include /etc/nginx/(conf\.d|sites-enabled)/.*", "", content)
        if path.endswith("/nginx-host"):
            content = content.replace("directory=/etc", f"directory={root}/etc")
            target.write_text(content)
            subprocess.run(["sh", str(target), "write"], check=True)
        target.write_text(content)
    for folder in ("var/log/nginx", "run"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    certificates(root, site)
    return root / "etc/nginx/nginx.conf"


def certificates(root: Path, site: Site) -> None:
    for claim in site.claims(Certificate):
        folder = root / "etc/houblon/tls" / claim.names[0]
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
             "-days", "1", "-subj", f"/CN={claim.names[0]}", "-keyout", folder / "privkey.pem",
             "-out", folder / "fullchain.pem"],
            check=True, capture_output=True,
        )  # fmt: skip


def nginx_says(configuration: Path) -> str:
    done = subprocess.run(
        [NGINX, "-t", "-q", "-c", str(configuration)], capture_output=True, text=True, check=False
    )
    # Warnings about the test's own user; on the host nginx is started by root.
    lines = [line for line in done.stderr.splitlines() if '"user" directive' not in line]
    return "\n".join(lines) + ("" if done.returncode == 0 else f"\nexit {done.returncode}")


@needs_nginx
@pytest.mark.skipif(not HEADERS_MORE.exists(), reason="libnginx-mod-http-headers-more-filter is not installed")
@pytest.mark.parametrize("more", ["", "tls: self-signed\n"])
def test_nginx_takes_the_configuration(tmp_path: Path, more: str) -> None:
    (tmp_path / "site").mkdir()
    site = load(tmp_path / "site", more)
    assert nginx_says(nginx_prefix(record(site, "tls", "nginx"), site, tmp_path / "root")).strip() == ""


@needs_nginx
@pytest.mark.skipif(not HEADERS_MORE.exists(), reason="libnginx-mod-http-headers-more-filter is not installed")
def test_nginx_refuses_a_broken_override_and_names_it(tmp_path: Path) -> None:
    folder = tmp_path / "site" / "overrides" / "nginx"
    folder.mkdir(parents=True)
    (folder / "pad.ete.test.conf").write_text("client_max_bodysize 3m;\n")
    site = load(tmp_path / "site")
    said = nginx_says(nginx_prefix(record(site, "tls", "nginx"), site, tmp_path / "root"))
    assert "overrides/pad.ete.test.conf:1" in said
    assert 'unknown directive "client_max_bodysize"' in said


# --- nginx ------------------------------------------------------------------------------------------------


def test_nginx_files_are_checked_and_put_back_together(tmp_path: Path) -> None:
    kit = record(load(tmp_path), "nginx")
    checked = [batch for batch in kit.batches if batch.validate]
    assert len(checked) == 1
    assert checked[0].validate == "/usr/sbin/nginx -t -q"
    paths = {item.path for item in checked[0].items if isinstance(item, File)}
    assert {"/etc/nginx/nginx.conf", "/etc/nginx/houblon/vhosts/pad.ete.test.conf"} <= paths


def test_an_override_that_no_name_uses_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "overrides" / "nginx"
    folder.mkdir(parents=True)
    (folder / "pda.ete.test.conf").write_text("gzip off;\n")
    with pytest.raises(BadInput) as caught:
        record(load(tmp_path), "nginx")
    assert "pda.ete.test.conf" in str(caught.value)
    assert "pad.ete.test.conf" in str(caught.value)


def test_only_trusted_certificates_bring_hsts(tmp_path: Path) -> None:
    trusted, alone = load(tmp_path / "a"), load(tmp_path / "b", "tls: self-signed\n")
    path = "/etc/nginx/houblon/vhosts/ete.test.conf"
    assert "Strict-Transport-Security" in text(record(trusted, "nginx"), path)
    assert "Strict-Transport-Security" not in text(record(alone, "nginx"), path)
    assert not [c for c in alone.claims(Provides) if c.capability == "trusted-certificates"]


def test_logs_go_when_the_shortest_promise_ends(tmp_path: Path) -> None:
    site = load(tmp_path)
    assert min(c.retention_days or 99 for c in site.claims(PersonalData) if "nginx" in c.where) == 7
    rotation = text(record(site, "nginx"), "/etc/logrotate.d/nginx")
    assert "rotate 6\n" in rotation
    assert "maxage 7\n" in rotation


def test_nobody_can_have_somebody_else_banned() -> None:
    settings = dict(line.split(" = ", 1) for line in LIMIT_FILTER.splitlines() if " = " in line)
    pattern = settings["failregex"].replace("%(__prefix_line)s", "").replace("%(_line)s", settings["_line"])
    regex = re.compile(pattern.replace("<HOST>", r"(?P<host>\S+)"))
    line = "2026/11/22 05:11:48 [error] 52#52: *117 "
    limited = 'limiting requests, excess: 20.954 by zone "app", client: 192.0.2.7, server: a.test, '
    forged = f'{line}{limited.replace("192.0.2.7", "192.0.2.99")}'
    found = regex.search(f'{line}{limited}request: "GET /{forged} HTTP/1.1"')
    assert found
    assert found["host"] == "192.0.2.7"
    assert not regex.search(f'{line}open() "/x" failed, client: 192.0.2.7, request: "GET /{forged} HTTP/1.1"')
    assert regex.search(f'{line}limiting connections by zone "houblon_connections", client: 192.0.2.7, server')


# --- tls --------------------------------------------------------------------------------------------------


def test_one_certificate_for_each_name(tmp_path: Path) -> None:
    site = load(tmp_path)
    names = {vhost.fqdn for vhost in site.claims(Vhost)}
    assert {n for n in ensures(record(site, "tls")) if n.startswith("certificate ")} == {
        f"certificate {name}" for name in names
    }
    assert all(e.soft for n, e in ensures(record(site, "tls")).items() if n.startswith("certificate "))


def test_a_wildcard_serves_all_names_one_level_below(tmp_path: Path) -> None:
    more = (
        "tls:\n  challenge: dns-01\n  wildcard: true\n"
        "  dns: {provider: rfc2136, server: 192.0.2.53, key_name: acme}\n"
    )
    kit = record(load(tmp_path, more), "tls")
    issued = [n for n in ensures(kit) if n.startswith("certificate ")]
    assert issued == ["certificate wildcard.ete.test"]
    assert text(kit, "/etc/houblon/certificates.tsv").count("\twildcard.ete.test\tete.test,*.ete.test\t") == 3
    credentials = files(kit)["/etc/houblon/acme-dns.conf"]
    assert credentials.secret
    assert credentials.mode == 0o600
    assert b"secret-of-tls-dns-key" in credentials.content


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        ("tls: selfsigned\n", "tls"),
        ("tls: {wildcard: true}\n", "dns-01"),
        ("tls: {challenge: dns-01}\n", "dns"),
        ("tls: {challenge: dns-01, dns: {provider: rfc2136}}\n", "key_name"),
        ("tls: {ca_bundle: nowhere.pem}\n", "nowhere.pem"),
        ("tls: {directory: 'http://ca.test/dir'}\n", "tls.directory"),
        ("tls: {email: \"a'; reboot #@b\"}\n", "tls.email"),
    ],
)
def test_bad_settings_are_refused(tmp_path: Path, more: str, complaint: str) -> None:
    with pytest.raises(BadInput, match=re.escape(complaint)):
        load(tmp_path, more)


# --- portal -----------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """Counts what the tests ask about, and checks that every element is closed."""

    void = frozenset({"meta", "link", "br"})

    def __init__(self, content: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.words: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[str] = []
        self.feed(content)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]
        if tag not in self.void:
            self.open.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_the_page_lists_services_in_both_languages(tmp_path: Path) -> None:
    kit = record(load(tmp_path), "portal")
    french = Page(text(kit, "/srv/houblon/portal/fr/index.html"))
    english = Page(text(kit, "/srv/houblon/portal/en/index.html"))
    assert text(kit, "/srv/houblon/portal/index.html") == text(kit, "/srv/houblon/portal/fr/index.html")
    assert "L'été <b>&" in french.words
    assert "Écrire à plusieurs." in french.words
    assert "Write <together>." in english.words
    assert "Pad & co" in english.words
    assert "b" not in french.tags
    assert "/en/" in french.links
    assert "https://pad.ete.test/" in french.links
    assert "mailto:camille@ete.test" in english.links


def test_the_pages_ask_nothing_of_third_parties_and_obey_their_own_policy(tmp_path: Path) -> None:
    kit = record(load(tmp_path), "portal")
    found = [p for p in files(kit) if p.endswith(".html")]
    assert len(found) == 4 * 2 + 1 + 3
    for path in found:
        content = text(kit, path)
        page = Page(content)
        assert not {"script", "style", "img", "iframe", "form"} & set(page.tags)
        assert not {"style", "src"} & set(page.attributes) and not [a for a in page.attributes if a.startswith("on")]
        loaded = re.findall(r'<link rel="(?:stylesheet|icon)" href="([^"]+)"', content)
        assert sorted(loaded) == ["/icon.svg", "/style.css"]
    assert "url(" not in text(kit, "/srv/houblon/portal/style.css")


def test_an_empty_site_says_so(tmp_path: Path) -> None:
    kit = record(load(tmp_path, services=("portal",)), "portal")
    assert "Rien à voir pour l’instant." in text(kit, "/srv/houblon/portal/index.html")
