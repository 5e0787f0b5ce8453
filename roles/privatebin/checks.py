"""What claims cannot express: a text comes back once and is gone, the page keeps its own policy, nothing else shows."""

from __future__ import annotations

import base64
import json
import os
import time
from typing import Any

import pytest

from houblon.roles.privatebin import ETC, LOGS, USER, WAIT_SECONDS, Privatebin
from houblon.verify import Broken
from houblon.verify.wire import Wire

API = {"X-Requested-With": "JSONHttpRequest", "Content-Type": "application/json"}
CSP = (
    "default-src 'none'; base-uri 'self'; form-action 'none'; manifest-src 'self'; connect-src * blob:; "
    "script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; font-src 'self'; frame-ancestors 'none'; frame-src blob:; "
    "img-src 'self' data: blob:; media-src blob:; object-src blob:; "
    "sandbox allow-same-origin allow-scripts allow-forms allow-modals allow-downloads"
)
"""Upstream's own (lib/Configuration.php); a second one, or another, would break the page or weaken it."""

HIDDEN = (
    "cfg/conf.php", "cfg/conf.sample.php", "lib/Controller.php", "vendor/autoload.php", "bin/administration",
    "composer.json", "README.md", "tpl/bootstrap5.php", ".htaccess.disabled", "css/../cfg/conf.sample.php",
)  # fmt: skip


def test_the_page_carries_its_own_policy(wire: Wire, role: Privatebin) -> None:
    """the page comes with the security policy that its authors wrote for it"""
    headers = wire.get(f"https://{role.fqdn}/").headers
    assert headers.get("content-security-policy") == CSP
    assert "x-powered-by" not in headers


def test_it_speaks_the_site_s_language(wire: Wire, role: Privatebin) -> None:
    """whoever says no language is answered in the site's first one"""
    page = wire.get(f"https://{role.fqdn}/").text
    assert f'<html lang="{role.language}"' in page


def test_only_web_pages_are_served(wire: Wire, role: Privatebin) -> None:
    """neither its configuration nor its code can be fetched"""
    for path in HIDDEN:
        assert wire.get(f"https://{role.fqdn}/{path}").status == 404, f"/{path} is served"


def test_its_configuration_is_closed_to_others(host: Any) -> None:
    """no other service's user can read its configuration or its database"""
    assert host.run(f"stat -c '%a %U %G' {ETC}/conf.php").stdout.strip() == f"640 root {USER}"
    tried = host.run("runuser -u nobody -- psql -X -h /run/postgresql -d privatebin -c 'SELECT 1'")
    assert tried.rc != 0, "the user nobody reads the database"


def test_addresses_are_kept_as_declared(host: Any, role: Privatebin) -> None:
    """addresses of authors are kept for as long as the site says, and no longer"""
    days = role.config.address_days
    if not days:
        assert host.run(f"test -e {LOGS}").rc != 0, f"{LOGS} is there, though no addresses are to be kept"
        return
    # One day for the rotation of tonight, as logrotate runs once a day.
    old = host.run(f"find {LOGS} -type f -mtime +{days + 1}").stdout.split()
    if old:
        raise Broken(f"addresses are kept for at most {days} days", f"older: {', '.join(sorted(old)[:5])}")


@pytest.mark.deep
def test_a_text_is_read_once(wire: Wire, role: Privatebin) -> None:
    """a text that burns after reading can be read once, and then no more"""
    url = f"https://{role.fqdn}/"
    sent = _send(wire, url)
    if sent["status"] == 1:
        # Somebody at this address has just sent one: the limit works.
        time.sleep(WAIT_SECONDS + 1)
        sent = _send(wire, url)
    assert sent["status"] == 0, sent
    first = json.loads(wire.get(f"{url}?{sent['id']}", headers=API).text)
    assert first["status"] == 0 and first["ct"], first
    second = json.loads(wire.get(f"{url}?{sent['id']}", headers=API).text)
    assert second["status"] == 1, "it can be read a second time"


def _send(wire: Wire, url: str) -> dict[str, Any]:
    """A text that nobody can read, as the server sees any; it burns when read, and expires in five minutes."""
    salts = [base64.b64encode(os.urandom(size)).decode() for size in (16, 8)]
    adata = [[*salts, 100000, 256, 128, "aes", "gcm", "zlib"], "plaintext", 0, 1]
    text = base64.b64encode(os.urandom(64)).decode()
    body = json.dumps({"v": 2, "adata": adata, "ct": text, "meta": {"expire": "5min"}}).encode()
    answer: dict[str, Any] = json.loads(wire.request("POST", url, body=body, headers=API).text)
    return answer
