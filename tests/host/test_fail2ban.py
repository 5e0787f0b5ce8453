"""Real bans and unbans: a neighbour fails at the door of a converged host, over IPv4 and over IPv6."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest

from houblon.lab import LabHost
from tests.host.sites import Applied, wait_until

pytestmark = pytest.mark.host
soon = partial(wait_until, seconds=15)

SSH = (
    "timeout 8 ssh -o BatchMode=yes -o ConnectTimeout=3 -o StrictHostKeyChecking=no -o LogLevel=ERROR "
    "-o UserKnownHostsFile=/dev/null"
)


@pytest.fixture
def neighbour(applied: Applied) -> Iterator[LabHost]:
    """The other host of the lab, on good terms again afterwards."""
    other = applied.lab.hosts[1]
    forget(applied)
    yield other
    forget(applied)
    for address in (other.address, other.address6):
        applied.sh(f"fail2ban-client set sshd unbanip {address}", check=False)


def forget(applied: Applied) -> None:
    """Have sshd forget its own penalties (sshd_config(5), PerSourcePenalties), which are not under test."""
    # systemd counts the starts, and would give up after five in ten seconds.
    applied.sh("systemctl reset-failed ssh.service; systemctl restart ssh.service")


def knock(neighbour: LabHost, address: str, user: str) -> str:
    """Try to log in from the neighbour, which has no key; gives the last line of what ssh says."""
    done = neighbour.console(["sh", "-c", f"{SSH} {user}@{address} true 2>&1 | tail -n 1"], check=False)
    return done.stdout.decode()


@pytest.mark.parametrize("family", ["IPv4", "IPv6"])
def test_who_fails_too_often_is_kept_out_and_let_in_again(
    applied: Applied, neighbour: LabHost, family: str
) -> None:
    door = applied.host.address if family == "IPv4" else applied.host.address6
    offender = neighbour.address if family == "IPv4" else neighbour.address6

    def banned() -> bool:
        return offender in applied.sh("fail2ban-client get sshd banip").split()

    assert "Permission denied" in knock(neighbour, door, "root")
    assert not banned(), "one failure is a typing error"
    for number in range(4):
        knock(neighbour, door, f"guess{number}")
    soon(banned)
    forget(applied)
    assert "Permission denied" not in knock(neighbour, door, "root"), "the ban must reach the kernel"
    assert offender in applied.sh("nft list table inet f2b-table")

    applied.sh("systemctl restart fail2ban")
    soon(lambda: "pong" in applied.sh("fail2ban-client ping", check=False))
    soon(banned)
    soon(lambda: offender in applied.sh("nft list table inet f2b-table", check=False))

    applied.sh(f"fail2ban-client set sshd unbanip {offender}")
    soon(lambda: "Permission denied" in knock(neighbour, door, "root"))


def test_a_key_that_does_not_fit_is_no_attack(applied: Applied, neighbour: LabHost) -> None:
    """An admin whose agent offers other keys first must not be banned for it."""
    neighbour.console(["sh", "-c", "[ -e /root/.ssh/wrong ] || ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/wrong"])
    for _ in range(6):
        forget(applied)
        done = neighbour.console(
            ["sh", "-c", f"{SSH} -i /root/.ssh/wrong alice@{applied.host.address} true 2>&1"], check=False
        )
        assert b"Permission denied" in done.stdout
    seen = applied.sh("journalctl -u ssh -q --no-pager -o cat -n 300 | grep -c 'Failed publickey for alice'")
    assert int(seen) >= 6, "the failures must have been there to be counted"
    assert neighbour.address not in applied.sh("fail2ban-client get sshd banip").split()


def test_bans_leave_the_firewall_alone(applied: Applied, neighbour: LabHost) -> None:
    before = applied.sh("nft -s list table inet houblon")
    applied.sh(f"fail2ban-client set sshd banip {neighbour.address}")
    soon(lambda: neighbour.address in applied.sh("nft list table inet f2b-table", check=False))
    assert applied.sh("nft -s list table inet houblon") == before
    assert applied.plan()["changes"] == [], "a ban is no drift"
