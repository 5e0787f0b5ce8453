"""Jails that are listed prove little: they must read the right journal, and a ban must reach the kernel."""

from __future__ import annotations

import re
from typing import Any

import pytest

from houblon.contract import Jail, tr
from houblon.verify import Broken

STRANGER = "192.0.2.66"
"""An address nobody has (RFC 5737), so that banning it for a moment hurts nobody."""


def ask(host: Any, *commands: str) -> list[str]:
    """fail2ban's answers, through one client: each takes as long to start as everything else here."""
    done = host.run("fail2ban-client -i 2>/dev/null", stdin="".join(f"{c}\n" for c in commands).encode())
    answers: list[str] = done.stdout.split("fail2ban> ")[1:]
    assert len(answers) > len(commands), "fail2ban does not answer"
    return [answer.strip() for answer in answers[: len(commands)]]


def test_jails_read_the_journal(host: Any, site: Any) -> None:
    """Each jail reads the journal entries its service writes, and never bans the host itself."""
    jails = site.claims(Jail)
    settings = ("journalmatch", "ignoreip", "ignoreself")
    answers = iter(ask(host, *(f"get {jail.name} {setting}" for jail in jails for setting in settings)))
    for jail in jails:
        matches, ignored, own = next(answers), next(answers), next(answers)
        assert jail.journal in matches, f"{jail.name}: {matches}"
        assert "127.0.0.0/8" in ignored and "::1" in ignored, f"{jail.name}: {ignored}"
        assert "True" in own, f"{jail.name}: {own}"


def test_jails_have_the_claimed_limits(host: Any, site: Any) -> None:
    """Each jail bans after as many failures, and for as long, as its service asked for."""
    jails = site.claims(Jail)
    settings = ("maxretry", "findtime", "bantime")
    answers = iter(ask(host, *(f"get {jail.name} {setting}" for jail in jails for setting in settings)))
    for jail in jails:
        wanted = (jail.retries, jail.find_seconds, jail.ban_seconds)
        for setting, want, seen in zip(settings, wanted, answers, strict=False):
            assert seen == str(want), f"{jail.name}: {setting} is {seen}, not {want}"


def test_operator_is_not_banned(host: Any) -> None:
    """The address that this check comes from is in no jail."""
    address = host.run("echo ${SSH_CLIENT%% *}").stdout.strip()
    if address:
        assert address not in host.check_output("fail2ban-client banned")


def test_bans_are_in_force(host: Any) -> None:
    """Who is banned is in the kernel's sets: somebody's `nft flush ruleset` would have let them in again."""
    banned = set(re.findall(r"'([0-9a-fA-F.:]+)'", host.check_output("fail2ban-client banned")))
    if not banned:
        return
    kernel = host.run("nft list table inet f2b-table").stdout
    lost = {address for address in banned if address not in kernel}
    # Bans that end while we look are in neither.
    lost &= set(re.findall(r"'([0-9a-fA-F.:]+)'", host.check_output("fail2ban-client banned")))
    if lost:
        raise Broken(
            tr(en="who is banned is kept out", fr="qui est banni reste dehors"),
            tr(en=f"{', '.join(sorted(lost))} can come in", fr=f"{', '.join(sorted(lost))} peut entrer"),
            tr(en="Run: systemctl restart fail2ban", fr="Lancez : systemctl restart fail2ban"),
        )


@pytest.mark.deep
def test_a_ban_reaches_the_kernel(host: Any, site: Any) -> None:
    """Banning an address puts it into the kernel's set, and unbanning takes it out again."""
    for jail in site.claims(Jail):
        look = f"nft get element inet f2b-table addr-set-{jail.name} '{{ {STRANGER} }}' >/dev/null 2>&1"
        wait = "n=0; until %s; do n=$((n+1)); [ $n -lt 20 ] || exit 1; sleep 0.2; done"
        try:
            assert host.run("fail2ban-client set %s banip %s", jail.name, STRANGER).rc == 0, jail.name
            assert host.run(wait % look).rc == 0, f"{jail.name}: the ban never reached the kernel"
        finally:
            host.run("fail2ban-client set %s unbanip %s", jail.name, STRANGER)
        assert host.run(wait % f"! {look}").rc == 0, f"{jail.name}: the ban was never lifted"
