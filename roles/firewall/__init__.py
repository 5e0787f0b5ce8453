"""nftables, in a table of its own: closed, but for the ports that roles claim and the site file declares."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from houblon.contract import (
    Claim,
    Config,
    ConfigTest,
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
from houblon.roles.firewall import preflight

RULES = "/etc/houblon/firewall.nft"
UNIT = "houblon-firewall.service"


class OpenPort(Config):
    """A port that something houblon does not manage needs."""

    port: Annotated[int, Field(ge=1, le=65535)]
    """Its number."""
    proto: Literal["tcp", "udp"] = "tcp"
    """Its protocol."""
    exposure: Literal["public", "lan"] = "public"
    """To everyone (public), or to private networks only (lan)."""
    why: Annotated[str, Field(min_length=1, max_length=80, pattern=r'^[^"\\\x00-\x1f\x7f]+$')]
    """What it is for; shown with the rule."""


class FirewallConfig(Config):
    """Section `firewall:` of the site file."""

    open: tuple[OpenPort, ...] = ()
    """Ports to open besides those of the site's own services."""


class Firewall(Role[FirewallConfig]):
    metadata = Metadata(
        title="Firewall",
        summary=tr(
            en="Drops whatever no service of the site asked for, over IPv4 and IPv6.",
            fr="Rejette tout ce qu'aucun service du site n'a demandé, en IPv4 et en IPv6.",
        ),
        category="system", licence="GPL-2.0-or-later", homepage="https://netfilter.org/projects/nftables/",
        source="https://git.netfilter.org/nftables/",
    )  # fmt: skip
    always = True
    first = True
    consumes = (Port,)

    @property
    def ports(self) -> tuple[Port, ...]:
        """Claimed ports in the order of the rules, without repetitions."""
        found = {(p.number, p.proto, p.exposure): p for p in reversed(self.site.claims(Port))}
        return tuple(found[key] for key in sorted(found))

    def comment(self, port: Port) -> str:
        """What `nft list` shows with a rule: who asked for it and why, in at most 128 bytes."""
        text = f"{port.role}: {port.why}" if port.why else port.role
        return text.replace('"', "'").encode()[:120].decode(errors="ignore")

    @property
    def preflight(self) -> str:
        """Read-only shell; each line it prints is a reason to refuse the run."""
        return preflight.script({p.number for p in self.ports if p.proto == "udp"})

    def claims(self) -> Iterator[Claim]:
        yield Package("nftables")
        for entry in self.config.open:
            yield Port(entry.port, entry.proto, entry.exposure, entry.why)
        yield Unit(UNIT, sandbox=None)
        yield ConfigTest(f"nft -c -f {RULES}")
        yield Resource(memory_mb=2)
        yield NoBackup(tr(en="houblon writes the rules again.", fr="houblon réécrit les règles."))

    def activate(self, kit: Kit) -> None:
        units = (f"etc/systemd/system/{UNIT}", "etc/systemd/system/nftables.service.d/houblon.conf")
        kit.door(
            "firewall",
            {
                RULES: kit.render("etc/houblon/firewall.nft", ports=self.ports),
                **{f"/{path}": kit.render(path, rules=RULES) for path in units},
            },
            validate=f"nft -c -f {RULES}",
            activate=ACTIVATE,
            live="nft -s list table inet houblon 2>/dev/null || echo absent",
            undo_extra=UNDO,
        )


ACTIVATE = f"systemctl daemon-reload && systemctl enable --quiet {UNIT} && systemctl reload-or-restart {UNIT}"

UNDO = f"""\
nft delete table inet houblon 2>/dev/null
rm -f /etc/systemd/system/sysinit.target.wants/{UNIT}
systemctl daemon-reload
systemctl reset-failed {UNIT} 2>/dev/null
true"""
"""There was no firewall of ours before: leave none behind, nor the link that `enable` made."""
