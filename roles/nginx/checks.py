"""What claims cannot express: what strangers get, what every answer carries, what the logs keep."""

from __future__ import annotations

import http.client
import socket
import ssl
import warnings
from typing import Any

import pytest

from houblon.claims import PersonalData, Vhost
from houblon.roles.nginx import LOGS, Nginx
from houblon.site import Site
from houblon.verify import Broken
from houblon.verify.wire import Wire

STRANGER = "stranger.invalid"


def _names(site: Site) -> list[str]:
    return sorted({vhost.fqdn for vhost in site.claims(Vhost)})


def test_unknown_names_get_nothing_over_http(wire: Wire) -> None:
    """a name nobody asked for is served nothing on port 80"""
    with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
        wire.get(f"http://{STRANGER}/")


def test_unknown_names_get_no_certificate(wire: Wire) -> None:
    """a name nobody asked for is shown no certificate on port 443"""
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        wire.handshake(STRANGER)


def test_a_known_name_does_not_open_another(wire: Wire, site: Site) -> None:
    """a connection for one name serves no unknown one"""
    answer = None
    try:
        answer = wire.get(f"https://{_names(site)[0]}/", headers={"Host": STRANGER})
    except (http.client.RemoteDisconnected, ConnectionResetError):
        return
    assert answer.status == 421, f"status {answer.status}"


def test_old_tls_is_refused(wire: Wire, site: Site) -> None:
    """TLS 1.1 and older are refused"""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    # Without these our own OpenSSL would refuse, and the server would never be asked.
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    name = _names(site)[0]
    with socket.create_connection((wire.address, 443), timeout=wire.wait) as line:
        try:
            with context.wrap_socket(line, server_hostname=name) as old:
                pytest.fail(f"{old.version()} was agreed upon")
        except ssl.SSLError as error:
            assert "ALERT_PROTOCOL_VERSION" in str(error), str(error)
        except ConnectionResetError:
            pass


def test_answers_carry_security_headers(wire: Wire, site: Site, role: Nginx) -> None:
    """every site sends its security headers, with errors too"""
    for vhost in site.claims(Vhost):
        for path in ("/", "/houblon-verify-no-such-page"):
            headers = wire.get(f"https://{vhost.fqdn}{path}").headers
            wanted = {"x-content-type-options", "referrer-policy", "permissions-policy", "x-frame-options"}
            if vhost.csp is not None:
                wanted.add("content-security-policy")
            if role.certificates_are_trusted():
                wanted.add("strict-transport-security")
            missing = sorted(wanted - set(headers))
            assert not missing, f"https://{vhost.fqdn}{path} lacks {', '.join(missing)}"
            assert headers.get("server", "nginx") == "nginx", f"it tells its version: {headers['server']}"


def test_http2_is_spoken(wire: Wire, site: Site) -> None:
    """HTTP/2 is offered to every name"""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2", "http/1.1"])
    for name in _names(site):
        with (
            socket.create_connection((wire.address, 443), timeout=wire.wait) as line,
            context.wrap_socket(line, server_hostname=name) as agreed,
        ):
            assert agreed.selected_alpn_protocol() == "h2", f"{name}: {agreed.selected_alpn_protocol()}"


def test_keys_stay_with_root(host: Any) -> None:
    """nobody but root and declared readers can read a private key"""
    found = host.run(
        "find -L /etc/houblon/tls /etc/houblon/tls-selfsigned /etc/letsencrypt -name 'privkey*.pem'"
        " \\( -perm /o+rwx -o -not -user root \\) 2>/dev/null"
    )
    assert found.stdout.strip() == "", found.stdout.strip()


def test_logs_end_when_promised(host: Any, site: Site, role: Nginx) -> None:
    """no access log is older than its promised retention"""
    days = role.log_days()
    assert any(c.where == LOGS for c in site.claims(PersonalData))
    # One day for the rotation of tonight, as logrotate runs once a day.
    old = host.run(f"find {LOGS} -maxdepth 1 -type f -mtime +{days + 1}").stdout.split()
    if old:
        raise Broken(f"logs in {LOGS} are at most {days} days old", f"older: {', '.join(sorted(old)[:5])}")


def test_logs_hold_no_query_strings(host: Any, wire: Wire, site: Site) -> None:
    """what visitors type into a form's address does not reach the logs"""
    mark = "houblon-verify-query"
    wire.get(f"https://{_names(site)[0]}/?{mark}=1")
    assert host.run(f"grep -c {mark} {LOGS}/access.log").stdout.strip() == "0"
