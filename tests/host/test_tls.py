"""Certificates from a real ACME authority: issued, renewed, missing, by DNS, and not at all."""

from __future__ import annotations

import pytest

from tests.host.sites import Applied
from tests.host.web import covers, get, issued, key_of, names, served, set_secret

pytestmark = pytest.mark.host


def test_every_name_has_a_certificate_of_its_own(web: Applied) -> None:
    domain = web.lab.domain
    found = {name: served(web, name) for name in (domain, f"one.{domain}", f"two.{domain}", f"app.{domain}")}
    assert all(covers(certificate) == {name} for name, certificate in found.items())
    assert all(issued(certificate) for certificate in found.values())
    assert web.plan()["changes"] == []


def test_a_renewal_in_the_background_is_served_at_once_with_the_same_key(web: Applied) -> None:
    name = f"one.{web.lab.domain}"
    other = served(web, f"two.{web.lab.domain}").serial_number
    before = served(web, name)
    conf = f"/etc/letsencrypt/renewal/{name}.conf"
    web.sh(f"sed -i '1s/.*/renew_before_expiry = 9000 days/' {conf}")
    web.sh("systemctl start certbot.service")
    web.sh(f"sed -i '/^renew_before_expiry/d' {conf}")
    after = served(web, name)
    assert issued(after)
    assert after.serial_number != before.serial_number
    assert key_of(after) == key_of(before)
    assert served(web, f"two.{web.lab.domain}").serial_number == other
    assert web.plan()["changes"] == []


def test_another_directory_means_another_certificate(web: Applied) -> None:
    name = f"two.{web.lab.domain}"
    before = served(web, name).serial_number
    web.sh(f"sed -i 's|^server = .*|server = https://old.test/dir|' /etc/letsencrypt/renewal/{name}.conf")
    assert [change["subject"] for change in web.plan()["changes"]] == [f"certificate {name}"]
    web.cli("apply", "--yes")
    assert served(web, name).serial_number != before
    assert issued(served(web, name))


def test_without_the_authority_everything_is_served_and_the_run_says_so(web: Applied) -> None:
    domain = web.lab.domain
    old = served(web, f"one.{domain}").serial_number
    # pebble keeps everything in memory: stopping it also loses our account there.
    web.lab.services.console(["systemctl", "stop", "pebble"])
    try:
        names(web, "one", "two", "late")
        done = web.cli("apply", "--yes", check=False)
        assert done.returncode == 5
        assert f"certificate late.{domain}" in done.stderr
        assert "Connection refused" in done.stderr
        assert not issued(served(web, f"late.{domain}"))
        assert get(web, f"https://late.{domain}/").status == 200
        assert served(web, f"one.{domain}").serial_number == old
    finally:
        web.lab.services.console(["systemctl", "start", "pebble"])
    # One name that leads nowhere does not keep the other from its certificate.
    names(web, "one", "two", "late", "nowhere.invalid")
    done = web.cli("apply", "--yes", check=False)
    assert done.returncode == 5
    assert "nowhere.invalid" in done.stderr
    assert "Detail:" in done.stderr
    assert issued(served(web, f"late.{domain}"))
    assert not issued(served(web, "nowhere.invalid"))
    names(web, "one", "two")
    web.cli("apply", "--yes")
    assert web.sh("ls /etc/houblon/tls").split() == sorted([domain, *(f"{n}.{domain}" for n in ("app", "one", "two"))])
    assert "autorenew = False" in web.sh(f"cat /etc/letsencrypt/renewal/late.{domain}.conf")
    assert web.plan()["changes"] == []


def test_dns_proves_a_wildcard_and_follows_cnames(web: Applied) -> None:
    domain, lab = web.lab.domain, web.lab
    key, algorithm, value = lab.tsig
    before = f"  directory: {lab.acme_directory}\n"
    block = (
        f"{before}  challenge: dns-01\n  wildcard: true\n  dns:\n    provider: rfc2136\n"
        f"    server: {lab.dns_authority}\n    key_name: {key}\n    algorithm: {algorithm.upper()}\n"
        "    propagation_seconds: 0\n"
    )
    lab.set_records([("_acme-challenge.three", "CNAME", f"_acme-challenge.elsewhere.{domain}.")])
    web.edit(before, block)
    try:
        set_secret(web, "tls/dns-key", value)
        web.cli("apply", "--yes")
        found = served(web, f"one.{domain}")
        assert covers(found) == {domain, f"*.{domain}"}
        assert issued(found)
        assert served(web, domain).serial_number == found.serial_number
        assert value not in web.sh("cat /var/log/letsencrypt/*.log")
        assert web.plan()["changes"] == []
        names(web, "one", "two", "three")
        web.edit("  wildcard: true\n", "")
        web.cli("apply", "--yes")
        assert covers(served(web, f"three.{domain}")) == {f"three.{domain}"}
        assert issued(served(web, f"three.{domain}"))
    finally:
        names(web, "one", "two")
        file = web.site_folder / "site.yaml"
        text = file.read_text()
        start = text.index("  challenge: dns-01")
        file.write_text(text[:start] + text[text.index("    propagation_seconds: 0\n") + 27 :])
        web.cli("apply", "--yes")
    assert covers(served(web, f"one.{domain}")) == {f"one.{domain}"}
    assert web.plan()["changes"] == []


def test_self_signed_and_back(web: Applied) -> None:
    domain = web.lab.domain
    before = served(web, domain).serial_number
    web.edit("tls:\n", "tls:\n  mode: self-signed\n")
    try:
        web.cli("apply", "--yes")
        alone = served(web, domain)
        assert alone.issuer == alone.subject
        assert covers(alone) == {domain}
        assert "strict-transport-security" not in get(web, f"https://{domain}/").headers
        assert web.plan()["changes"] == []
    finally:
        web.edit("tls:\n  mode: self-signed\n", "tls:\n")
        web.cli("apply", "--yes")
    assert served(web, domain).serial_number == before
    assert "strict-transport-security" in get(web, f"https://{domain}/").headers
