"""What sshd really offers and accepts, on the wire and in its effective configuration.

From outside, only names of admins are tried: any other would count as a failure for fail2ban, and five runs
of `houblon verify` would ban the operator.
"""

from __future__ import annotations

import socket
import struct
from typing import Any

import paramiko
import pytest

from houblon.claims import tr
from houblon.verify import not_measurable

FIELDS = ("kex", "host key", "cipher", "cipher back", "mac", "mac back")
MODERN = {
    "kex": {"sntrup761x25519-sha512@openssh.com", "curve25519-sha256", "curve25519-sha256@libssh.org"},
    "host key": {"ssh-ed25519"},
    "cipher": {
        "chacha20-poly1305@openssh.com", "aes256-gcm@openssh.com", "aes128-gcm@openssh.com",
        "aes256-ctr", "aes192-ctr", "aes128-ctr",
    },
    "mac": {"hmac-sha2-512-etm@openssh.com", "hmac-sha2-256-etm@openssh.com", "umac-128-etm@openssh.com"},
}  # fmt: skip
"""What Debian 13's ssh-audit 3.3.0 passes without a word, and what the configuration asks for."""
MARKERS = ("ext-info-s", "kex-strict-s-v00@openssh.com")
"""No algorithms, but announcements in the list of key exchanges (RFC 8308, and OpenSSH's PROTOCOL 1.10)."""


def _connect(site: Any) -> socket.socket:
    if site.host.jump:
        not_measurable(
            tr(en="the host is reached through a jump host", fr="l'hôte est joint à travers une autre machine")
        )
    return socket.create_connection((site.host.address, site.host.port), timeout=10)


def offered(line: socket.socket) -> dict[str, set[str]]:
    """The name-lists of the server's first key exchange packet (RFC 4253 sections 4.2, 6 and 7.1)."""
    stream = line.makefile("rwb")
    banner = stream.readline(256)
    assert banner.startswith(b"SSH-2.0-"), banner
    stream.write(b"SSH-2.0-houblon\r\n")
    stream.flush()
    length, padding = struct.unpack(">IB", stream.read(5))
    payload = stream.read(length - 1)[: length - 1 - padding]
    assert payload[0] == 20, "the first packet is no key exchange"
    lists: dict[str, set[str]] = {}
    position = 17
    for field in FIELDS:
        (size,) = struct.unpack_from(">I", payload, position)
        lists[field] = set(payload[position + 4 : position + 4 + size].decode("ascii").split(","))
        position += 4 + size
    return lists


def test_algorithms_are_modern(site: Any) -> None:
    """On the wire: only key exchanges, host keys, ciphers and MACs that ssh-audit passes."""
    with _connect(site) as line:
        seen = offered(line)
    for field, names in seen.items():
        extra = names - MODERN[field.removesuffix(" back")] - set(MARKERS)
        assert not extra, f"{field}: {', '.join(sorted(extra))}"
    assert MARKERS[1] in seen["kex"], "no protection against CVE-2023-48795 (Terrapin)"


@pytest.mark.deep
def test_only_keys_open_the_door(site: Any) -> None:
    """On the wire: a password is not even asked for."""
    for admin in site.admins:
        with _connect(site) as line:
            transport = paramiko.Transport(line)
            try:
                transport.start_client(timeout=15)
                with pytest.raises(paramiko.BadAuthenticationType) as refused:
                    transport.auth_none(admin.name)
            finally:
                transport.close()
        assert refused.value.allowed_types == ["publickey"], admin.name


def test_root_and_strangers_stay_outside(host: Any, site: Any) -> None:
    """sshd lets in the admins with their keys, and neither root nor anybody else."""
    for user in ("root", *(admin.name for admin in site.admins)):
        text = host.check_output("/usr/sbin/sshd -T -C user=%s,host=elsewhere,addr=192.0.2.1", user)
        settings = dict(line.split(" ", 1) for line in text.splitlines() if " " in line)
        assert settings["permitrootlogin"] == "no"
        assert settings["passwordauthentication"] == "no"
        assert settings["kbdinteractiveauthentication"] == "no"
        assert settings["permitemptypasswords"] == "no"
        assert settings["authenticationmethods"] == "publickey"
        allowed = {line.split()[1] for line in text.splitlines() if line.startswith("allowusers ")}
        assert {admin.name for admin in site.admins} <= allowed
        assert "root" not in allowed


def test_host_keys_are_private(host: Any) -> None:
    """Nobody but root reads the host's private keys."""
    assert host.check_output("find /etc/ssh -name 'ssh_host_*_key' -perm /077") == ""


def test_running_sshd_read_its_configuration(host: Any) -> None:
    """sshd started or reloaded after its configuration was last written."""
    written = int(host.check_output("stat -c %Y /etc/ssh/sshd_config"))
    loaded = host.check_output('date -d "$(systemctl show -p StateChangeTimestamp --value ssh.service)" +%s')
    assert int(loaded) >= written
