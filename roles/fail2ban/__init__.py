"""fail2ban: who fails too often at a door of the site is kept out of it for a while."""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Iterator
from typing import Annotated

from pydantic import AfterValidator

from houblon.contract import (
    Claim,
    Config,
    ConfigTest,
    Jail,
    Metadata,
    NoBackup,
    Package,
    PersonalData,
    Resource,
    Role,
    Unit,
    tr,
)
from houblon.kit import Kit


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text))
    except ValueError:
        raise ValueError("this is no address or network; write it like 192.0.2.7 or 192.0.2.0/24") from None


class Fail2banConfig(Config):
    """Section `fail2ban:` of the site file."""

    never_ban: tuple[Annotated[str, AfterValidator(_network)], ...] = ()
    """Addresses or networks (such as 192.0.2.0/24) that are never banned."""


class Fail2ban(Role[Fail2banConfig]):
    metadata = Metadata(
        title="fail2ban",
        summary=tr(
            en="Bans addresses that fail to log in too often.",
            fr="Bannit les adresses qui échouent trop souvent à se connecter.",
        ),
        category="system", licence="GPL-2.0-or-later", homepage="https://www.fail2ban.org",
        source="https://github.com/fail2ban/fail2ban",
    )  # fmt: skip
    consumes = (Jail,)

    @property
    def ignored(self) -> tuple[str, ...]:
        """Never banned: loopback, the host itself, and who the site says. fail2ban finds more of the host's
        own addresses by itself (``ignoreself``), but not the public one of a host behind NAT."""
        own: list[str] = []
        with contextlib.suppress(ValueError):
            own.append(str(ipaddress.ip_address(self.site.host.address)))
        return ("127.0.0.0/8", "::1", *own, *self.config.never_ban)

    def claims(self) -> Iterator[Claim]:
        yield Package("fail2ban", "python3-systemd", "nftables")
        yield Unit("fail2ban.service", sandbox=3.0)
        yield ConfigTest("fail2ban-client -t")
        yield Resource(memory_mb=25, disk_mb=20)
        yield NoBackup(
            tr(en="Bans are short and come back.", fr="Les bannissements sont courts et se refont.")
        )
        yield PersonalData(
            tr(en="Addresses that failed to log in", fr="Adresses qui ont échoué à se connecter"),
            where="/var/lib/fail2ban",
            retention_days=1,
        )

    def configure(self, kit: Kit) -> None:
        jails = sorted(self.site.claims(Jail), key=lambda jail: jail.name)
        kit.tree(
            "/etc/fail2ban/fail2ban.d/houblon.conf",
            "/etc/fail2ban/jail.d/houblon.conf",
            "/etc/systemd/system/fail2ban.service.d/houblon.conf",
            jails=jails,
        )
        for name, text in sorted({j.filter: j.filter_text for j in jails if j.filter_text}.items()):
            header = "# Written by houblon (role fail2ban), from a role's jail.\n"
            kit.file(f"/etc/fail2ban/filter.d/houblon-{name}.conf", header + text)

    def activate(self, kit: Kit) -> None:
        kit.unit("fail2ban.service", test="fail2ban-client -t", ready="fail2ban-client ping")
