"""sshd: keys only, today's algorithms, the admins and nobody else."""

from __future__ import annotations

from collections.abc import Iterator

from houblon.contract import (
    Claim,
    Config,
    ConfigTest,
    Jail,
    Metadata,
    NoBackup,
    Package,
    Port,
    Resource,
    Role,
    Unit,
    tr,
)
from houblon.kit import Kit

HOST_KEY = "/etc/ssh/ssh_host_ed25519_key"


class SshConfig(Config):
    """Section `ssh:` of the site file: there is nothing to choose. The port stands under `host:`."""


class Ssh(Role[SshConfig]):
    metadata = Metadata(
        title="SSH",
        summary=tr(
            en="The admins' way in: by key only, with modern algorithms.",
            fr="L'entrée des admins : par clé seulement, avec des algorithmes modernes.",
        ),
        category="system", licence="BSD-2-Clause", homepage="https://www.openssh.com",
        source="https://anongit.mindrot.org/openssh.git",
    )  # fmt: skip
    always = True
    first = True

    def claims(self) -> Iterator[Claim]:
        yield Package("openssh-server", "iproute2")
        yield Port(self.site.host.port, why="SSH of the admins")
        # Not _COMM: since OpenSSH 9.8 the process that logs is called sshd-session.
        yield Jail("sshd", filter="sshd", journal="_SYSTEMD_UNIT=ssh.service", ports=(self.site.host.port,))
        # Its children are the admins' sessions, which must be able to do anything.
        yield Unit("ssh.service", sandbox=None)
        yield ConfigTest("/usr/sbin/sshd -t")
        yield Resource(memory_mb=10)
        yield NoBackup(
            tr(
                en="The host key of a new host is a new one; houblon asks before it trusts it.",
                fr="Un nouvel hôte a une nouvelle clé ; houblon demande avant de s'y fier.",
            )
        )

    def configure(self, kit: Kit) -> None:
        make = f"ssh-keygen -q -t ed25519 -N '' -f {HOST_KEY}"
        kit.ensure("SSH host key", check=f"[ -s {HOST_KEY} ]", run=make)

    def activate(self, kit: Kit) -> None:
        kit.door(
            "SSH",
            {"/etc/ssh/sshd_config": kit.render("etc/ssh/sshd_config", host_key=HOST_KEY)},
            mode=0o600,
            validate="install -d -m 0755 /run/sshd && /usr/sbin/sshd -t",
            activate=ACTIVATE,
            live=f"ss -Hltn 'sport = :{self.site.host.port}' | awk '{{ print $4 }}' | sort -u",
        )


ACTIVATE = """\
if systemctl is-active --quiet ssh.socket || systemctl is-enabled --quiet ssh.socket 2>/dev/null; then
    systemctl disable --now --quiet ssh.socket
fi
systemctl enable --quiet ssh.service
systemctl reload-or-restart ssh.service"""
"""With ssh.socket, which some images enable, systemd listens: sshd's Port and MaxStartups mean nothing."""
