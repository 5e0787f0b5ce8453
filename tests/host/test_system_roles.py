"""base, ssh and firewall on a real host: what only a booted Debian can show."""

from __future__ import annotations

import hashlib
import os
import socket
import time
from collections.abc import Callable

import paramiko
import pytest

from houblon.vault import Vault
from tests.host.sites import Applied

pytestmark = pytest.mark.host

TABLE = "nft -s list table inet houblon"


def key(site: Applied) -> paramiko.PKey:
    return paramiko.Ed25519Key.from_private_key_file(str(site.site_folder / ".local" / "id_ed25519"))


def login(site: Applied, user: str) -> paramiko.Transport:
    """A transport logged in with the admin's key; paramiko, because houblon uses it too."""
    transport = paramiko.Transport((site.host.address, 22))
    try:
        transport.start_client(timeout=15)
        transport.auth_publickey(user, key(site))
    except BaseException:
        transport.close()
        raise
    return transport


def sudo_password(site: Applied, name: str = "alice") -> str:
    before = os.environ.get("HOUBLON_IDENTITY")
    os.environ["HOUBLON_IDENTITY"] = str(site.site_folder / ".local" / "id_ed25519")
    try:
        return Vault(site.site_folder).get("base", f"sudo-{name}").reveal()
    finally:
        if before is None:
            del os.environ["HOUBLON_IDENTITY"]
        else:
            os.environ["HOUBLON_IDENTITY"] = before


def as_root(site: Applied, command: str, data: bytes = b"") -> tuple[int, bytes]:
    """Run a command the way houblon does: an admin's session without a terminal, sudo fed on standard input."""
    transport = login(site, "alice")
    try:
        channel = transport.open_session()
        channel.settimeout(60)
        channel.exec_command(f"sudo -k -S -p '' {command}")
        channel.sendall(sudo_password(site).encode() + b"\n" + data)
        channel.shutdown_write()
        out = channel.makefile("rb").read()
        return channel.recv_exit_status(), out
    finally:
        transport.close()


def test_root_stays_outside_even_with_a_key_that_root_knows(applied: Applied) -> None:
    assert applied.sh("wc -l </root/.ssh/authorized_keys").strip() != "0"
    with pytest.raises(paramiko.AuthenticationException):
        login(applied, "root")


def test_sudo_takes_binary_data_without_a_terminal(applied: Applied) -> None:
    """`use_pty` must not get between houblon and its standard input."""
    data = os.urandom(2_000_000)
    status, out = as_root(applied, "sha256sum", data)
    assert status == 0
    assert out.split()[0].decode() == hashlib.sha256(data).hexdigest()


def test_sudo_refuses_a_wrong_password(applied: Applied) -> None:
    done = applied.sh("echo wrong | su alice -s /bin/sh -c \"sudo -k -S -p '' id -u\" 2>&1 || echo refused")
    assert "refused" in done


def test_400_days_later_every_admin_still_gets_in(applied: Applied) -> None:
    """A container has no clock of its own: moving the last password change back is the same to PAM (shadow(5))."""
    shadow = applied.sh("getent shadow alice").split(":")[2]
    applied.sh('chage -d "$(date -d "400 days ago" +%F)" alice; chage -d "$(date -d "400 days ago" +%F)" root')
    try:
        assert as_root(applied, "id -u") == (0, b"0\n")
        assert applied.plan()["changes"] == []
    finally:
        applied.sh(f"chage -d {shadow} alice; chage -d {shadow} root")


def test_an_expiry_set_by_somebody_is_lifted(applied: Applied) -> None:
    applied.sh("chage -M 30 -E 2027-01-01 alice")
    assert [c["subject"] for c in applied.plan()["changes"]] == ["the account of alice never expires"]
    applied.cli("apply", "--yes")
    fields = applied.sh("getent shadow alice").strip().split(":")
    assert fields[4] in ("", "99999") and fields[7] == ""
    assert applied.plan()["changes"] == []


@pytest.mark.parametrize(
    "damage",
    [
        "nft delete table inet houblon",
        "nft add rule inet houblon input tcp dport 4444 accept",
        "nft flush ruleset",
        "systemctl stop houblon-firewall.service",
    ],
)
def test_firewall_that_was_tampered_with_is_restored(applied: Applied, damage: str) -> None:
    before = applied.sh(TABLE)
    applied.sh(damage)
    assert "firewall" in [c["subject"] for c in applied.plan()["changes"]]
    applied.cli("apply", "--yes")
    assert applied.sh(TABLE) == before
    assert applied.plan()["changes"] == []
    # `flush ruleset` took fail2ban's table too, which fail2ban notices at its next ban only.
    applied.sh("systemctl restart fail2ban")


def test_firewall_survives_debians_own(applied: Applied) -> None:
    """Somebody uses nftables.service, which flushes all tables when it starts, reloads and stops."""
    before = applied.sh(TABLE)
    try:
        for action in ("start", "reload", "restart", "stop"):
            applied.sh(f"systemctl {action} nftables.service")
            assert applied.sh(f"{TABLE} 2>&1", check=False) == before, action
    finally:
        applied.sh("systemctl stop nftables.service; systemctl restart fail2ban")
    assert applied.plan()["changes"] == []


def test_reboot_comes_back_shut(applied: Applied) -> None:
    """After a reboot the rules stand, the admins get in, and nothing is left to do."""
    before = applied.sh(TABLE)
    applied.host.power_off()
    applied.host.start()
    _wait(lambda: _open(applied, 22), 60)
    assert applied.sh(TABLE) == before
    assert as_root(applied, "id -u") == (0, b"0\n")
    _wait(lambda: applied.sh("systemctl is-system-running", check=False).strip() == "running", 60)
    assert applied.plan()["changes"] == []


def test_neighbours_reach_nothing_that_was_not_claimed(applied: Applied) -> None:
    """A daemon that somebody starts by hand is not reachable, over IPv4 nor IPv6."""
    applied.sh("systemd-run --quiet --unit=stray perl -MIO::Socket::IP -e "
               "'my $s = IO::Socket::IP->new(Listen => 5, LocalHost => \"::\", LocalPort => 8099, V6Only => 0)"
               " or die $@; while (my $c = $s->accept) { close $c }'")
    try:
        _wait(lambda: ":8099" in applied.sh("ss -Hltn"))
        for address in (applied.host.address, applied.host.address6):
            done = applied.lab.hosts[1].console(
                ["bash", "-c", f"timeout 2 bash -c 'exec 3<>/dev/tcp/{address}/8099' && echo open || echo shut"]
            )
            assert done.stdout == b"shut\n", address
            done = applied.lab.hosts[1].console(
                ["bash", "-c", f"timeout 2 bash -c 'exec 3<>/dev/tcp/{address}/22' && echo open || echo shut"]
            )
            assert done.stdout == b"open\n", address
    finally:
        applied.sh("systemctl stop stray.service", check=False)


FOREIGN = {
    "another input chain": (
        "nft add table ip mine; nft 'add chain ip mine input { type filter hook input priority 0; policy drop; }';"
        " nft add rule ip mine input tcp dport 22 accept; nft add rule ip mine input ct state established accept",
        "nft delete table ip mine",
        "table ip mine",
    ),
    "ufw": (
        "mkdir -p /etc/ufw; printf '# ufw\\nENABLED=yes\\n' >/etc/ufw/ufw.conf", "rm /etc/ufw/ufw.conf", "ufw is active"
    ),
}  # fmt: skip


def test_a_host_with_another_firewall_is_refused(bare: Applied) -> None:
    """Refused at first contact, with the reason and the cure, and nothing is changed."""
    bare.sh("apt-get -qq update; apt-get -qq -y install --no-install-recommends nftables >/dev/null 2>&1")
    before = bare.state()
    for name, (make, unmake, said) in FOREIGN.items():
        bare.sh(make)
        done = bare.cli("apply", "--yes", "--accept-new", check=False)
        bare.sh(unmake)
        assert done.returncode == 4, f"{name}: {done.stdout}{done.stderr}"
        assert said.split()[-1] in done.stderr, f"{name}: {done.stderr}"
    assert bare.state() == before


def test_wireguard_server_is_refused_until_its_port_is_declared(bare: Applied) -> None:
    made = bare.host.console(["sh", "-c", "ip link add wg0 type wireguard"], check=False)
    if made.returncode != 0:
        pytest.skip("this kernel has no WireGuard")
    bare.sh("mkdir -p /etc/wireguard; printf '[Interface]\\nListenPort = 51820\\n' >/etc/wireguard/wg0.conf")
    done = bare.cli("apply", "--yes", "--accept-new", check=False)
    assert done.returncode == 4 and "51820" in done.stderr, done.stdout + done.stderr
    bare.edit("services:\n", "firewall: {open: [{port: 51820, proto: udp, why: WireGuard}]}\nservices:\n")
    assert bare.cli("plan", check=False).returncode == 10


def _open(site: Applied, port: int) -> bool:
    try:
        socket.create_connection((site.host.address, port), timeout=2).close()
    except OSError:
        return False
    return True


def _wait(true: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.3)
