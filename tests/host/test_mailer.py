"""The host's mail leaves through the relay account, by nobody but the host, and waits while the relay is down."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator

import pytest

from tests.host.people import People
from tests.host.sinks import Mail, SmtpSink

pytestmark = pytest.mark.host

SEND = """python3 - <<'END'
import smtplib
from email.message import EmailMessage
letter = EmailMessage()
letter["From"], letter["To"], letter["Subject"] = %r, "awa@elsewhere.test", %r
letter["Reply-To"] = "bureau@elsewhere.test"
letter.set_content("x" * %d)
smtplib.SMTP(%r, 25, timeout=10).send_message(letter)
END"""
TALK = "python3 -c \"import smtplib; s = smtplib.SMTP('127.0.0.1', 25, timeout=10); s.ehlo(); print(%s)\""


@pytest.fixture
def relay(people: People) -> Iterator[SmtpSink]:
    sink = people.relay
    assert sink is not None
    people.sh("postsuper -d ALL 2>/dev/null; :")
    yield sink
    sink.refuse = ""


def about(subject: str) -> Callable[[Mail], bool]:
    return lambda mail: mail.subject == subject


@pytest.mark.parametrize(
    ("sender", "shown"),
    [
        ("Réservations <salle@houblons.test>", "Réservations"),
        ('"Dupont, Marie" <marie@elsewhere.test>', '"Dupont, Marie"'),
        ("app@localhost", "Les Houblons"),
    ],
)
def test_the_relay_sees_its_own_address_and_people_see_a_name(
    people: People, relay: SmtpSink, sender: str, shown: str
) -> None:
    subject = f"from {sender.split()[0].strip(',')}"
    people.sh(SEND % (sender, subject, 10, "127.0.0.1"))
    mail = relay.wait_for(about(subject))
    own = f"houblon@{people.lab.domain}"
    assert (mail.sender, mail.recipients) == (own, ("awa@elsewhere.test",))
    assert mail.encrypted and mail.user == "houblon"
    assert mail.message["From"] == f"{shown} <{own}>"
    assert mail.message["Reply-To"] == "bureau@elsewhere.test"


def test_what_the_host_writes_to_itself_goes_to_the_admins(people: People, relay: SmtpSink) -> None:
    for name in ("root", "www-data", f"root@{people.lab.domain}"):
        people.sh(f"printf 'Subject: cron for {name}\\n\\nx\\n' | sendmail {name}")
        mail = relay.wait_for(about(f"cron for {name}"))
        assert mail.recipients == (f"alice@{people.lab.domain}",)
    assert people.sh("find /var/mail /var/spool/mail/ -type f").strip() == "", "no mailbox is ever written"


def test_over_ipv6_and_not_too_big(people: People, relay: SmtpSink) -> None:
    people.sh(SEND % ("app@localhost", "by IPv6", 10, "::1"))
    relay.wait_for(about("by IPv6"))
    assert "exceeds" in people.sh(TALK % "s.docmd('MAIL FROM:<a@b.test> SIZE=99999999')")


def test_nobody_else_may_send(people: People) -> None:
    other = people.lab.hosts[1]
    for address in (people.host.address, people.host.address6):
        script = f"timeout 4 bash -c 'exec 3<>/dev/tcp/{address}/25; read -r line <&3; echo $line' 2>&1; :"
        assert "220" not in other.console(["sh", "-c", script]).stdout.decode()
        with pytest.raises(OSError):
            socket.create_connection((address, 25), timeout=3)


def test_mail_waits_for_a_relay_that_is_down(people: People, relay: SmtpSink) -> None:
    relay.stop()
    try:
        people.sh(SEND % ("app@localhost", "patience", 10, "127.0.0.1"))
        end = time.monotonic() + 30
        while "Connection refused" not in people.sh("postqueue -j"):
            assert time.monotonic() < end, people.sh("postqueue -j")
            time.sleep(0.3)
        assert people.sh("/usr/local/lib/houblon/mail-queue 3600; echo $?").strip() == "0", "an hour is no trouble"
        assert "Connection refused" in people.sh("/usr/local/lib/houblon/mail-queue -1", check=False)
    finally:
        relay.start()
    people.sh("systemctl restart postfix.service; postqueue -f")
    relay.wait_for(about("patience"))
    assert len(relay.matching(about("patience"))) == 1


def test_a_relay_with_another_name_gets_no_password(people: People, relay: SmtpSink) -> None:
    """Whoever answers in the relay's place has no certificate for its name."""
    before = len(relay.all)
    people.lab.set_records([("impostor", "A", relay.address)])
    name = f"impostor.{people.lab.domain}"
    people.sh(f"postconf -e 'relayhost = [{name}]:587'; echo '[{name}]:587 houblon:x' >>/etc/postfix/relay; "
              "systemctl reload postfix")  # fmt: skip
    try:
        people.sh(SEND % ("app@localhost", "impostor", 10, "127.0.0.1"))
        end = time.monotonic() + 30
        while "Server certificate not verified" not in people.sh("postqueue -j"):
            assert time.monotonic() < end, people.sh("postqueue -j")
            time.sleep(0.3)
        assert len(relay.all) == before and relay.failed_logins == 0
    finally:
        people.sh("postsuper -d ALL 2>/dev/null; :")
        people.cli("apply", "--yes", "--only", "mailer")
    assert people.plan()["changes"] == []


def test_smtp_answers_as_it_should(people: People) -> None:
    """No VRFY, and no word about the program."""
    assert "502" in people.sh(TALK % "s.docmd('VRFY root')")
    assert "Postfix" not in people.sh(TALK % "s.ehlo_resp, s.docmd('NOOP')")


def test_what_the_relay_refuses_comes_back_once(people: People, relay: SmtpSink) -> None:
    """The notice of a bounce has no sender (RFC 5321, section 4.5.5), so that nobody answers it for ever."""
    relay.refuse = "550 5.7.1 Not from you"
    since = people.sh("date '+%Y-%m-%d %H:%M:%S'").strip()
    people.sh(SEND % ("app@localhost", "unwanted", 10, "127.0.0.1"))
    log = f"journalctl -u postfix --since='{since}' -o cat"
    deadline = time.monotonic() + 60
    while people.sh(f"{log} | grep -c status=bounced || :").strip() != "2" or "empty" not in people.sh("postqueue -p"):
        assert time.monotonic() < deadline, people.sh(log)
        time.sleep(0.3)
    assert people.sh(f"{log} | grep -c 'from=<>'").strip() == "1"
