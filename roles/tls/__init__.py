"""Certificates: one for each claim, issued by an ACME authority, self-signed until then.

Every reader of a certificate uses ``/etc/houblon/tls/<first name>/``, a link that points to a self-signed
pair first and to certbot's lineage once there is one, so nothing waits for the authority to start.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from houblon.claims import Certificate, Provides
from houblon.contract import (
    BackupSet,
    Claim,
    DataPath,
    DnsRecord,
    Metadata,
    Needs,
    NoBackup,
    Outbound,
    Package,
    Role,
    Secret,
    Unit,
    tr,
)
from houblon.errors import BadInput
from houblon.kit import Kit
from houblon.roles.tls.settings import HOOK, LETS_ENCRYPT, PROVIDERS, DnsConfig, TlsConfig

__all__ = ["DnsConfig", "Lineage", "Tls", "TlsConfig"]

SCRIPT = "/usr/local/lib/houblon/certificates"
TABLE = "/etc/houblon/certificates.tsv"
CA_BUNDLE = "/etc/houblon/acme-ca.pem"
CREDENTIALS = "/etc/houblon/acme-dns.conf"
WEBROOT = "/var/lib/houblon/acme"


@dataclass(frozen=True)
class Lineage:
    """One certificate as certbot keeps it, and the links that readers use for it.

    :param name: certbot's ``--cert-name``.
    :param names: what the certificate must cover, exactly.
    :param links: first names of the claims it serves, each with the groups that read its key.
    """

    name: str
    names: tuple[str, ...]
    links: tuple[tuple[str, tuple[str, ...]], ...]


class Tls(Role[TlsConfig]):
    metadata = Metadata(
        title="TLS",
        summary=tr(en="Certificates for every name.", fr="Des certificats pour chaque nom."),
        category="system",
        licence="Apache-2.0",
        homepage="https://certbot.eff.org",
        source="https://github.com/certbot/certbot",
    )
    consumes = (Certificate,)

    def claims(self) -> Iterator[Claim]:
        self._files_exist()
        yield Package("openssl")
        if self.config.mode == "self-signed":
            yield NoBackup(
                tr(
                    en="Self-signed certificates are made again on the new host.",
                    fr="Les certificats auto-signés sont refaits sur le nouvel hôte.",
                )
            )
            return
        yield Provides("trusted-certificates")
        yield Package("certbot")
        yield Unit("certbot.timer", sandbox=None)
        yield Outbound(f"the ACME directory {self.config.directory}")
        yield BackupSet(
            paths=("/etc/letsencrypt",),
            restore='for one in /etc/letsencrypt/live/*/; do [ ! -d "$one" ] || '
            f'{SCRIPT} deploy "$(basename "$one")"; done',
            compare="cd /etc/letsencrypt && "
            "find accounts archive live renewal ! -type d -exec sha256sum {} + | sort -k 2",
        )
        yield DataPath("/etc/letsencrypt")
        if self.config.dns is None:
            yield Needs("http-01")
        else:
            provider = PROVIDERS[self.config.dns.provider]
            yield Package(provider.package)
            yield Secret("dns-key", length=64, description=provider.description)
        if self.config.directory == LETS_ENCRYPT:
            yield DnsRecord(self.site.domain, "CAA", '0 issue "letsencrypt.org"', required=False)

    def derive(self) -> Iterator[Claim]:
        if any(claim.readers for claim in self.site.claims(Certificate)):
            yield Package("acl")

    def install(self, kit: Kit) -> None:
        kit.directory("/etc/houblon/tls", "/etc/houblon/tls-selfsigned")
        kit.tree(SCRIPT, mode=0o755)
        kit.file(TABLE, self._table())
        for lineage in self.lineages():
            for link, groups in lineage.links:
                kit.ensure(
                    f"self-signed certificate for {link}",
                    check=self.selfsigned_check(lineage, link, groups),
                    run=f"{SCRIPT} selfsigned {link}",
                )

    def configure(self, kit: Kit) -> None:
        if self.config.mode == "self-signed":
            return
        if self.config.ca_bundle:
            kit.file(CA_BUNDLE, (self.site.folder / self.config.ca_bundle).read_bytes())
        if self.config.dns is None:
            kit.directory(WEBROOT)
        else:
            kit.template("credentials.conf", to=CREDENTIALS, mode=0o600, dns=self.config.dns)
            if self.config.dns.provider == "rfc2136":
                kit.tree(HOOK, mode=0o755)
        kit.tree("/etc/houblon/acme.env", "/etc/houblon/certbot.ini")
        kit.tree("/etc/systemd/system/certbot.service.d/houblon.conf")
        kit.tree("/etc/letsencrypt/renewal-hooks/deploy/houblon", mode=0o755)

    def activate(self, kit: Kit) -> None:
        if self.config.mode == "self-signed":
            return
        for lineage in self.lineages():
            kit.ensure(
                f"certificate {lineage.name}",
                check=self.issued_check(lineage),
                run=f"{SCRIPT} issue {lineage.name}",
                soft=True,
            )
        lineages = ",".join(lineage.name for lineage in self.lineages())
        links = ",".join(link for lineage in self.lineages() for link, _ in lineage.links)
        kit.ensure(
            "certificates that nothing needs any more are not renewed",
            check=f"[ ! -e {SCRIPT} ] || {SCRIPT} unneeded-ok '{lineages}' '{links}'",
            run=f"{SCRIPT} unneeded '{lineages}' '{links}'",
        )
        kit.unit("certbot.timer")

    def remove(self, kit: Kit) -> None:
        kit.absent("/etc/houblon/tls", "/etc/houblon/tls-selfsigned")

    def lineages(self) -> tuple[Lineage, ...]:
        """What to issue: one lineage for each claim, or one wildcard for all names it can cover."""
        claims: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {}
        for claim in self.site.claims(Certificate):
            names, readers = claims.get(claim.names[0], ((), ()))
            claims[claim.names[0]] = _union(names, claim.names), _union(readers, claim.readers)
        wild = {first for first, (names, _) in claims.items() if self._wildcard_covers(names)}
        found = [
            Lineage(first, names, ((first, readers),))
            for first, (names, readers) in claims.items()
            if first not in wild
        ]
        if wild:
            domain = self.site.domain
            links = tuple((first, claims[first][1]) for first in claims if first in wild)
            found.append(Lineage(f"wildcard.{domain}", (domain, f"*.{domain}"), links))
        return tuple(sorted(found, key=lambda lineage: lineage.name))

    def selfsigned_check(self, lineage: Lineage, link: str, groups: tuple[str, ...]) -> str:
        """Shell that succeeds when a link has what it must have before anybody is asked for a certificate."""
        if self.config.mode == "acme":
            return f"{SCRIPT} bootstrap-ok {link}"
        return f"{SCRIPT} selfsigned-ok {link} '{','.join(lineage.names)}' '{','.join(groups)}'"

    def issued_check(self, lineage: Lineage) -> str:
        """Shell that succeeds when a lineage is the wanted one, fresh, and what its readers use."""
        links = " ".join(f"{link}:{','.join(groups)}" for link, groups in lineage.links)
        return (
            f"{SCRIPT} issued-ok {lineage.name} '{self.config.directory}' {self.authenticator()}"
            f" '{','.join(lineage.names)}' {links}"
        )

    def email(self) -> str:
        """The address the authority may write to."""
        return self.config.email or self.site.admins[0].email

    def reloads(self, lineage: Lineage) -> tuple[str, ...]:
        """Commands that make every reader of this lineage use a new certificate."""
        links = {link for link, _ in lineage.links}
        claims = [c for c in self.site.claims(Certificate) if c.names[0] in links and c.reload]
        return tuple(sorted({claim.reload for claim in claims}))

    def challenge_settings(self) -> tuple[str, ...]:
        """Lines of certbot's configuration: how it proves that a name is ours."""
        if self.config.dns is None:
            return (f"webroot-path = {WEBROOT}",)
        provider = PROVIDERS[self.config.dns.provider]
        return provider.settings(CREDENTIALS, self.config.dns.propagation_seconds)

    def authenticator(self) -> str:
        """Certbot's name for that way, as it stands in a lineage's renewal file."""
        return PROVIDERS[self.config.dns.provider].plugin or "manual" if self.config.dns else "webroot"

    def provider_token(self) -> str:
        """Key of the DNS plugin's credentials file that takes the token."""
        return PROVIDERS[self.config.dns.provider].token if self.config.dns else ""

    def _table(self) -> str:
        """One line for each link: link, lineage, names, groups, and the reload commands joined by ``;``."""
        lines = [
            "\t".join(
                (link, lineage.name, ",".join(lineage.names), ",".join(groups), "; ".join(self.reloads(lineage)))
            )
            for lineage in self.lineages()
            for link, groups in lineage.links
        ]
        return "".join(f"{line}\n" for line in sorted(lines))

    def _wildcard_covers(self, names: tuple[str, ...]) -> bool:
        suffix = f".{self.site.domain}"
        return self.config.wildcard and all(
            name == self.site.domain or (name.endswith(suffix) and "." not in name.removesuffix(suffix))
            for name in names
        )

    def _files_exist(self) -> None:
        for key in ("ca_bundle", "roots"):
            path = getattr(self.config, key)
            if path and not (self.site.folder / PurePosixPath(path)).is_file():
                raise BadInput(
                    f"there is no file {path} in the site folder",
                    cure="Put the PEM file there, or take the line out.",
                    key=f"tls.{key}",
                )


def _union(left: tuple[str, ...], right: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(left + right))
