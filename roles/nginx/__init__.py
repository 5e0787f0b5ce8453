"""nginx: one server block for each `Vhost` claim, HTTPS only, nothing for names nobody asked for."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from pydantic import Field

from houblon.claims import Certificate, Provides
from houblon.contract import (
    Claim,
    Config,
    ConfigTest,
    DnsRecord,
    HostName,
    Jail,
    Location,
    Metadata,
    NoBackup,
    Package,
    PersonalData,
    Port,
    RateLimit,
    Resource,
    Role,
    Unit,
    Vhost,
    tr,
)
from houblon.errors import BadInput
from houblon.kit import Kit

BASE = "/etc/nginx/houblon"
LOGS = "/var/log/nginx"
TEST = "/usr/sbin/nginx -t -q"
HOST_SCRIPT = "/usr/local/lib/houblon/nginx-host"

LIMIT_FILTER = r"""[INCLUDES]
before = common.conf

# Anchored on both sides of the address: the request that ends the line is the visitor's own words, and could
# otherwise name somebody else's address.
[Definition]
_daemon = nginx
_line = \S+ \S+ \[error\] \d+#\d+: \*\d+
failregex = ^%(__prefix_line)s%(_line)s limiting [a-z]+(?:, excess: [\d.]+)? by zone "[^"]*", client: <HOST>,
"""


class NginxConfig(Config):
    """Section `nginx:` of the site file. Directives of your own go into `overrides/nginx/`."""

    log_days: int = Field(default=14, ge=1, le=365)
    """Days after which access logs (client addresses) are deleted; a role may ask for fewer."""


class Nginx(Role[NginxConfig]):
    metadata = Metadata(
        title="nginx",
        summary=tr(en="Web server in front of every service.", fr="Serveur web devant tous les services."),
        category="system",
        licence="BSD-2-Clause",
        homepage="https://nginx.org",
        source="https://github.com/nginx/nginx",
    )
    consumes = (Vhost, RateLimit, Location)
    provides = ("http-01",)

    def claims(self) -> Iterator[Claim]:
        yield Provides("http-01")
        yield Package("nginx", "libnginx-mod-http-headers-more-filter", "logrotate")
        yield Port(80, why="redirects to HTTPS, answers ACME challenges")
        yield Port(443, why="HTTPS")
        yield Unit("nginx.service", sandbox=3.0)
        yield Unit("logrotate.timer", sandbox=None)
        yield ConfigTest(TEST)
        yield Resource(memory_mb=20, disk_mb=50)
        # 100 refusals in a minute: a whole association behind one address stays below, a script does not.
        yield Jail(
            "nginx-limit-req",
            filter="nginx-limit-req",
            journal="_SYSTEMD_UNIT=nginx.service",
            ports=(80, 443),
            retries=100,
            find_seconds=60,
            filter_text=LIMIT_FILTER,
        )
        yield PersonalData(
            tr(
                en="Access logs: client address, time, name, path, size",
                fr="Journaux d'accès : adresse du client, heure, nom, chemin, taille",
            ),
            where=LOGS,
            retention_days=self.config.log_days,
        )
        yield NoBackup(
            tr(
                en="The configuration is made from the site file.",
                fr="La configuration est produite à partir du fichier du site.",
            )
        )

    def derive(self) -> Iterator[Claim]:
        only_v6 = _is_v6(self.site.host.address)
        for vhost in self.site.claims(Vhost):
            # Not `reload`, which fails while nginx is not there yet.
            yield Certificate((vhost.fqdn,), reload="systemctl try-reload-or-restart nginx.service")
            yield HostName(vhost.fqdn)
            yield DnsRecord(vhost.fqdn, "A", "@host4", required=not only_v6)
            yield DnsRecord(vhost.fqdn, "AAAA", "@host6", required=only_v6)

    def install(self, kit: Kit) -> None:
        # Debian's postinst makes this link; its "default_server" would clash with ours.
        kit.absent("/etc/nginx/sites-enabled/default", comes_with="nginx-common")
        kit.tree(HOST_SCRIPT, mode=0o755)
        kit.ensure(
            "nginx listens on what this host has",
            check=f"{HOST_SCRIPT} check 2>/dev/null",
            # No file of the model changes here, so nothing else would have nginx read it.
            run=f"{HOST_SCRIPT} write && systemctl try-reload-or-restart nginx.service",
        )

    def configure(self, kit: Kit) -> None:
        vhosts = sorted(self.site.claims(Vhost), key=lambda vhost: vhost.fqdn)
        zones = sorted(self.site.claims(RateLimit), key=lambda zone: zone.zone)
        self._overrides_are_used(vhosts)
        kit.tree("/etc/logrotate.d/nginx", days=self.log_days())
        # One batch: checked together, and put back together when an override breaks it.
        kit.tree(f"{BASE}/acme.conf", f"{BASE}/proxy.conf", validate=TEST)
        for name in ["http", *(vhost.fqdn for vhost in vhosts)]:
            if text := kit.override(f"{name}.conf"):
                kit.file(f"{BASE}/overrides/{name}.conf", text, validate=TEST)
        for vhost in vhosts:
            kit.template(
                "nginx/vhost.conf",
                to=f"{BASE}/vhosts/{vhost.fqdn}.conf",
                validate=TEST,
                vhost=vhost,
                locations=[one for one in self.site.claims(Location) if one.fqdn == vhost.fqdn],
                hsts=self.certificates_are_trusted(),
                burst=next((zone.burst for zone in zones if zone.zone == vhost.rate_zone), 0),
                override=kit.override(f"{vhost.fqdn}.conf"),
            )
        kit.tree(
            "/etc/nginx/nginx.conf",
            validate=TEST,
            vhosts=vhosts,
            zones=zones,
            challenge_names=self.challenge_names(),
            http_override=kit.override("http.conf"),
        )

    def activate(self, kit: Kit) -> None:
        kit.tree("/etc/systemd/system/nginx.service.d/houblon.conf")
        kit.unit("nginx.service", reload=True, test=TEST, ready=self._ready())
        kit.unit("logrotate.timer")

    def remove(self, kit: Kit) -> None:
        kit.absent(f"{BASE}/host")

    def log_days(self) -> int:
        """The shortest retention anybody promised for nginx's own logs; a directory below has one of its role's."""
        ours = (LOGS, f"{LOGS}/access.log")
        promised = [c.retention_days for c in self.site.claims(PersonalData) if c.where in ours]
        return min([days for days in promised if days is not None] or [self.config.log_days])

    def certificates_are_trusted(self) -> bool:
        """Whether browsers may be told to insist on HTTPS (RFC 6797); never with self-signed certificates."""
        return any(c.capability == "trusted-certificates" for c in self.site.claims(Provides))

    def challenge_names(self) -> list[str]:
        """Names that need a certificate but have no site: only their ACME challenges are answered."""
        served = {vhost.fqdn for vhost in self.site.claims(Vhost)}
        wanted = {name for claim in self.site.claims(Certificate) for name in claim.names}
        return sorted(name for name in wanted - served if not name.startswith("*"))

    def _ready(self) -> str:
        """A request spoken to port 80: a minimal host has no curl."""
        names = sorted(vhost.fqdn for vhost in self.site.claims(Vhost))
        if not names:
            return "bash -c 'exec 3<>/dev/tcp/127.0.0.1/80'"
        request = f"HEAD / HTTP/1.0\\r\\nHost: {names[0]}\\r\\n\\r\\n"
        return (
            f"timeout 5 bash -c 'exec 3<>/dev/tcp/127.0.0.1/80; printf \"{request}\" >&3;"
            " read -r line <&3; [[ $line == *\" 301 \"* ]]'"
        )

    def _overrides_are_used(self, vhosts: list[Vhost]) -> None:
        known = {"http.conf", *(f"{vhost.fqdn}.conf" for vhost in vhosts)}
        folder = self.site.folder / "overrides" / self.name
        for path in sorted(folder.glob("*")):
            if path.name not in known and not path.name.startswith("."):
                raise BadInput(
                    "no name of this site uses this override",
                    cure=f"Name it after one of: {', '.join(sorted(known))}.",
                    file=path,
                )


def _is_v6(address: str) -> bool:
    try:
        return ipaddress.ip_address(address.strip("[]")).version == 6
    except ValueError:
        return False
