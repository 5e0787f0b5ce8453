"""What claims cannot express: that Postfix really talks, to this host only, and that the relay knows us."""

from __future__ import annotations

from typing import Any

import pytest

from houblon.contract import tr
from houblon.roles.mailer import LIB, Mailer
from houblon.verify import Broken

TALK = """timeout 10 bash -c 'exec 3<>/dev/tcp/%s/25 || exit 1; read -r -t 5 line <&3; echo "$line"
printf "EHLO here\\r\\n" >&3; while read -r -t 5 line <&3; do echo "$line"; [[ $line == "250-"* ]] || break; done
printf "QUIT\\r\\n" >&3; read -r -t 5 line <&3; echo "$line"' 2>/dev/null"""


def test_it_speaks_smtp(host: Any, site: Any) -> None:
    """the banner, an EHLO and a QUIT: an smtpd that cannot start leaves its port open"""
    said = host.run(TALK % "127.0.0.1").stdout.replace("\r", "").splitlines()
    assert said and said[0].startswith(f"220 {site.domain}"), said
    assert any(line.startswith("250") for line in said) and said[-1].startswith("221"), said


def test_only_this_host_may_speak_to_it(host: Any) -> None:
    """port 25 is bound to loopback addresses"""
    lines = host.check_output("ss -Hltn 'sport = :25'").splitlines()
    assert lines, "nothing listens"
    for line in lines:
        assert line.split()[3].rpartition(":")[0] in ("127.0.0.1", "[::1]"), line


def test_the_password_is_kept(host: Any) -> None:
    """root alone reads the relay's password"""
    file = host.file("/etc/postfix/relay")
    assert (file.mode, file.user) == (0o600, "root")


def test_mail_leaves(host: Any) -> None:
    """no mail has been waiting for an hour"""
    done = host.run(f"{LIB}/mail-queue 3600")
    if done.rc != 0:
        raise Broken(
            tr(en="mail leaves the host", fr="le courriel quitte l'hôte"), done.stdout.strip(),
            tr(en="See `journalctl -u postfix` on the host; the password is the secret mailer/relay.",
               fr="Voyez `journalctl -u postfix` sur l'hôte ; le mot de passe est le secret mailer/relay."),
        )  # fmt: skip


@pytest.mark.deep
def test_the_relay_answers(host: Any, role: Mailer) -> None:
    """the relay shows a certificate for its name that the host trusts"""
    start = "" if role.config.port == 465 else "-starttls smtp"
    done = host.run(
        f"timeout 20 openssl s_client -connect {role.config.relay}:{role.config.port} {start} -verify_return_error"
        f" -verify_hostname {role.config.relay} -CAfile {role.ca_file} </dev/null 2>&1 >/dev/null"
    )
    assert done.rc == 0, done.stdout.strip()[-300:]
