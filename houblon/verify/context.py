"""What a check may look at."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from houblon.claimjson import claim_from_json
from houblon.claims import (
    Artifact,
    Certificate,
    Claim,
    ConfigTest,
    HostName,
    Jail,
    Package,
    Port,
    Secret,
    Unit,
    Vhost,
    tr,
)
from houblon.errors import HoublonError
from houblon.facts import releases
from houblon.resources import Release
from houblon.verify import Broken
from houblon.verify import probe as ask
from houblon.verify.backend import Runner, testinfra_host
from houblon.verify.vantage import Vantage
from houblon.verify.wire import Wire

if TYPE_CHECKING:
    import testinfra.host

    from houblon.site import Site
    from houblon.vault import Vault

IPV6_QUESTION = """dev=$(ip route show default | sed -n 's/.* dev \\([^ ]*\\).*/\\1/p' | head -n1)
[ -n "$dev" ] || dev=$(ip -6 route show default | sed -n 's/.* dev \\([^ ]*\\).*/\\1/p' | head -n1)
[ -z "$dev" ] || ip -6 -o addr show dev "$dev" scope global -temporary -deprecated"""


@dataclass
class Context:
    """The host as it was when the run began, and the ways to look at it again.

    :param quick: leave the scan of all ports out.
    """

    site: Site
    runner: Runner
    vault: Vault | None
    quick: bool = False
    frames: dict[str, ask.Frame] = field(default_factory=dict)
    leaks: list[tuple[str, str, str]] | None = None

    def look(self) -> None:
        """Take the snapshot: two round trips."""
        self.frames = ask.ask(self.runner, self.questions(), ("exposure",))
        more = {"files": ask.files_question(file.path for file in self.recorded)}
        self.frames |= ask.ask(self.runner, more)

    def questions(self) -> dict[str, str]:
        """What the snapshot asks, from the claims alone."""
        site = self.site
        units = [claim.name for claim in self.claims(Unit)]
        names = [claim.fqdn for claim in self.claims(HostName)]
        packages = [name for claim in self.claims(Package) for name in claim.names]
        resolve = 'echo "$n" $(getent ahosts "$n" | cut -d" " -f1 | sort -u)'
        query = "dpkg-query -W -f '${Package}\\t${db:Status-Abbrev}\\n' --"
        files = {name: ask.quote([f"{ask.TLS}/{name}/fullchain.pem"]) for name in self.certificates}
        return {
            "now": "date +%s",
            "virt": "systemd-detect-virt --container",
            "units": ask.units_question(units),
            "exposure": "systemd-analyze security --no-pager" if self.sandboxed else ":",
            "failed": "systemctl list-units --failed --plain --no-legend --no-pager",
            "listen": ask.LISTEN_QUESTION,
            "record": f"[ ! -e {ask.RECORD} ] || cat {ask.RECORD}",
            "ipv6": IPV6_QUESTION,
            "jails": "fail2ban-client status" if self.claims(Jail) else ":",
            "names": f"for n in {ask.quote(names)}; do {resolve}; done" if names else ":",
            "packages": f"{query} {ask.quote(packages)} 2>/dev/null" if packages else ":",
            "releases": releases.look(Release(claim) for claim in self.claims(Artifact)) or ":",
            **{f"certificate {name}": f"cat {file}" for name, file in files.items()},
            **{f"config {i}": claim.command for i, claim in enumerate(site.claims(ConfigTest))},
        }  # fmt: skip

    def claims(self, kind: type[Claim]) -> tuple[Any, ...]:
        """Claims of placed roles; of a role the site no longer places, nothing is promised."""
        placed = {role.name for role in self.site.roles}
        return tuple(claim for claim in self.site.claims(kind) if claim.role in placed)

    def providers(self) -> Mapping[type[Claim], tuple[str, ...]]:
        """Placed roles by the kind of claim they provide for."""
        found: dict[type[Claim], list[str]] = {}
        for role in self.site.roles:
            for kind in role.consumes:
                # The portal also looks at vhosts; only system roles stand between others and the outside.
                if role.metadata.category == "system":
                    found.setdefault(kind, []).append(role.name)
        return {kind: tuple(names) for kind, names in found.items()}

    # --- the snapshot ------------------------------------------------------------------------------------

    def frame(self, name: str) -> ask.Frame:
        return self.frames[name]

    @cached_property
    def releases(self) -> releases.ReleasesSeen:
        """The releases that the site claims, as they are on the host."""
        return releases.read(self.frame("releases").output)

    @property
    def sandboxed(self) -> bool:
        return any(claim.sandbox is not None for claim in self.claims(Unit))

    @cached_property
    def certificates(self) -> dict[str, str]:
        """Name of the directory below /etc/houblon/tls, by each name a certificate covers on the web."""
        web = {vhost.fqdn for vhost in self.claims(Vhost)}
        found: dict[str, str] = {}
        for claim in self.claims(Certificate):
            if web & set(claim.names):
                found[claim.names[0]] = claim.names[0]
        return found

    @cached_property
    def units(self) -> dict[str, ask.UnitSeen]:
        return ask.parse_units(self.frame("units").output)

    @cached_property
    def exposure(self) -> dict[str, float]:
        return ask.parse_exposure(self.frame("exposure").output)

    @cached_property
    def listeners(self) -> list[ask.Listener]:
        frame = self.frame("listen")
        if frame.status != 0:
            raise Broken(
                tr(en="the host lists its sockets", fr="l'hôte liste ses sockets"),
                frame.output.strip()[-200:] or f"ss: {frame.status}",
            )
        return ask.parse_listeners(frame.output)

    @cached_property
    def record(self) -> dict[str, Any] | None:
        """What the last apply recorded; None when nothing was ever applied.

        :raises ValueError: a damaged record.
        """
        text = self.frame("record").output.strip()
        record: dict[str, Any] | None = json.loads(text) if text else None
        return record

    @property
    def recorded(self) -> list[ask.Recorded]:
        try:
            return ask.recorded_files(self.record)
        except (ValueError, KeyError, TypeError, AttributeError):
            # The check `record` says so; what it would list is then unknown.
            return []

    @cached_property
    def files(self) -> dict[str, ask.FileSeen]:
        return ask.parse_files(self.frame("files").output)

    @property
    def now(self) -> int:
        return int(self.frame("now").output.strip())

    @property
    def container(self) -> str:
        """Kind of container the host is (``systemd-nspawn``), empty for a machine."""
        kind = self.frame("virt").output.strip()
        return "" if kind == "none" else kind

    # --- looking again -----------------------------------------------------------------------------------

    @cached_property
    def host(self) -> testinfra.host.Host:
        return testinfra_host(self.runner, self.site.host.address)

    @cached_property
    def wire(self) -> Wire:
        roots: tuple[Path, ...] = ()
        if (config := self._tls()) is not None and getattr(config, "roots", None):
            roots = (self.site.folder / config.roots,)
        return Wire(self.site.host.address, roots)

    @property
    def self_signed(self) -> bool:
        return getattr(self._tls(), "mode", "") == "self-signed"

    @cached_property
    def vantage(self) -> Vantage:
        addresses = [line.split()[3].partition("/")[0] for line in self.frame("ipv6").lines if " inet6 " in line]
        return Vantage(self.site.host.address, addresses)

    def ports(self, proto: str = "tcp") -> dict[int, Port]:
        """Claimed ports by number; a public claim wins over one for the LAN."""
        claims = sorted([*self.claims(Port), *self._left()], key=lambda port: port.exposure == "public")
        return {claim.number: claim for claim in claims if claim.proto == proto}

    def _left(self) -> list[Port]:
        """Ports of roles that the site no longer names and that nobody removed: still open, and rightly so."""
        placed = {role.name for role in self.site.roles}
        found = []
        try:
            sections = {name: section["claims"] for name, section in (self.record or {})["roles"].items()}
        except (ValueError, KeyError, TypeError, AttributeError):
            return []
        for name in sorted(set(sections) - placed):
            claims = [claim_from_json(data)[0] for data in sections[name]]
            found += [claim for claim in claims if isinstance(claim, Port)]
        return found

    def secret_values(self) -> Iterator[tuple[str, str, bytes]]:
        """Role, name and value of each secret the site uses.

        :raises HoublonError: a vault that does not open.
        """
        if self.vault is None:
            return
        for claim in self.claims(Secret):
            yield claim.role, claim.name, self.vault.get(claim.role, claim.name).reveal_bytes()

    def known_values(self) -> list[bytes]:
        """What must not be shown, as far as the vault was read."""
        try:
            return list(self.vault.known_values()) if self.vault is not None else []
        except HoublonError:
            return []

    def close(self) -> None:
        if "vantage" in self.__dict__:
            self.vantage.close()

    def _tls(self) -> Any:
        for role in self.site.roles:
            if Certificate in role.consumes:
                return role.config
        return None
