"""Jails that are listed prove little: they must read the right journal, and a ban must reach the kernel."""

from __future__ import annotations

from typing import Any

import pytest

from houblon.contract import Jail

STRANGER = "192.0.2.66"
"""An address nobody has (RFC 5737), so that banning it for a moment hurts nobody."""


def test_jails_read_the_journal(host: Any, site: Any) -> None:
    """Each jail reads the journal entries its service writes, and never bans the host itself."""
    for jail in site.claims(Jail):
        matches = host.check_output("fail2ban-client get %s journalmatch", jail.name)
        assert jail.journal in matches, f"{jail.name}: {matches}"
        ignored = host.check_output("fail2ban-client get %s ignoreip", jail.name)
        assert "127.0.0.0/8" in ignored and "::1" in ignored, jail.name
        assert "True" in host.check_output("fail2ban-client get %s ignoreself", jail.name), jail.name


def test_jails_have_the_claimed_limits(host: Any, site: Any) -> None:
    """Each jail bans after as many failures, and for as long, as its service asked for."""
    for jail in site.claims(Jail):
        for setting, want in (
            ("maxretry", jail.retries), ("findtime", jail.find_seconds), ("bantime", jail.ban_seconds)
        ):  # fmt: skip
            seen = host.check_output("fail2ban-client get %s %s", jail.name, setting)
            assert seen == str(want), f"{jail.name}: {setting} is {seen}, not {want}"


def test_operator_is_not_banned(host: Any) -> None:
    """The address that this check comes from is in no jail."""
    address = host.run("echo ${SSH_CLIENT%% *}").stdout.strip()
    if address:
        assert address not in host.check_output("fail2ban-client banned")


@pytest.mark.deep
def test_a_ban_reaches_the_kernel(host: Any, site: Any) -> None:
    """Banning an address puts it into the kernel's set, and unbanning takes it out again."""
    for jail in site.claims(Jail):
        look = f"nft get element inet f2b-table addr-set-{jail.name} '{{ {STRANGER} }}' >/dev/null 2>&1"
        wait = f"n=0; until {{}}{look}; do n=$((n+1)); [ $n -lt 20 ] || exit 1; sleep 0.2; done"
        try:
            assert host.run("fail2ban-client set %s banip %s", jail.name, STRANGER).rc == 0, jail.name
            assert host.run(wait.format("")).rc == 0, f"{jail.name}: the ban never reached the kernel"
        finally:
            host.run("fail2ban-client set %s unbanip %s", jail.name, STRANGER)
        assert host.run(wait.format("! ")).rc == 0, f"{jail.name}: the ban was never lifted"
