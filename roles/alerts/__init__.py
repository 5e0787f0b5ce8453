"""Alerts: looks at the host every minute, and tells its admins what is wrong: by mail, webhook or ntfy."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterator
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from houblon import settings
from houblon.contract import (
    Alert,
    Certificate,
    Claim,
    Config,
    HttpCheck,
    Jail,
    Location,
    Metadata,
    Needs,
    NoBackup,
    Outbound,
    Package,
    PersonalData,
    Resource,
    Role,
    Secret,
    Unit,
    Vhost,
    tr,
)
from houblon.kit import Kit

LIB = "/usr/local/lib/houblon"
MODULES = ("__init__", "book", "channels", "files", "machine", "main", "run", "services", "state", "words")
BASE = "/var/lib/houblon-alerts"
PUBLIC = "/srv/houblon/health"
USER = "houblon-alerts"
LOGIN_RETRIES = 50
"""A jail that takes more than this is no door with a password, but a limit on requests."""
PLACEHOLDER = "{secret}"


def _url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("https", "http") or not parts.hostname or any(c.isspace() for c in text):
        raise ValueError("this is no address of a page; write it like https://ntfy.example.org/our-topic")
    if parts.username or parts.password:
        raise ValueError("a password does not belong here; write {secret} in its place, and give it to the vault")
    if parts.scheme == "http" and not _near(parts.hostname):
        raise ValueError("over http everybody on the way reads along; write https")
    return text


def _near(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_private
    except ValueError:
        return False


Url = Annotated[str, AfterValidator(_url)]


class AlertsConfig(Config):
    """Section `alerts:` of the site file: who hears when the host is ill."""

    mail: tuple[Annotated[str, AfterValidator(settings.email)], ...] = ()
    """Addresses that alarms are mailed to. Needs a mail relay, such as the section `mailer:`."""
    webhook: Url | None = None
    """Address that gets each alarm as JSON, by POST. `{secret}` in it stands for the secret alerts/webhook."""
    ntfy: Url | None = None
    """Topic of an ntfy server, such as https://ntfy.sh/a-name-nobody-guesses."""
    ntfy_token: bool = False
    """The ntfy server wants an access token: the secret alerts/ntfy."""
    failed_logins: Annotated[int, Field(ge=1, le=1_000_000)] = 200
    """Failed logins within an hour, over all services, that are worth a message."""


class Alerts(Role[AlertsConfig]):
    metadata = Metadata(
        title="Alerts",
        summary=tr(
            en="Looks after the host, and tells its admins when something is wrong.",
            fr="Surveille l'hôte, et prévient ses admins quand quelque chose ne va pas.",
        ),
        category="system", licence="AGPL-3.0-or-later", homepage="",
    )  # fmt: skip
    # Not Certificate, though it looks at them: who consumes a kind of claims provides what they ask for.
    consumes = (Unit, Alert)
    provides = ("alerts",)

    @property
    def channels(self) -> tuple[str, ...]:
        """The ways by which alarms leave the host."""
        return tuple(name for name in ("mail", "webhook", "ntfy") if getattr(self.config, name))

    def claims(self) -> Iterator[Claim]:
        yield Package("python3", "openssl", "distro-info-data")
        yield Unit("houblon-health.timer", sandbox=None)
        yield Resource(memory_mb=15, disk_mb=15)
        if self.config.mail:
            yield Needs("mailer")
        if self.config.webhook and PLACEHOLDER in self.config.webhook:
            yield Secret("webhook", kind="given", description="the secret part of the webhook's address")
        if self.config.ntfy_token:
            yield Secret("ntfy", kind="given", description="access token of the ntfy server")
        for name in ("webhook", "ntfy"):
            if url := getattr(self.config, name):
                yield Outbound(f"{urlsplit(url).netloc}, for alarms")
        yield NoBackup(
            tr(en="What is still wrong is found again.", fr="Ce qui ne va toujours pas est retrouvé.")
        )
        yield PersonalData(
            tr(en="Alarms, with the last words of what failed", fr="Alarmes, avec les derniers mots des pannes"),
            where=BASE,
            retention_days=2,
        )

    def derive(self) -> Iterator[Claim]:
        domain = self.site.domain
        if any(vhost.fqdn == domain for vhost in self.site.claims(Vhost)):
            yield Location(domain, "/.well-known/houblon/", root=f"{PUBLIC}/public")
            yield HttpCheck(f"https://{domain}/.well-known/houblon/health.json", contains='"state"')

    def notes(self) -> Iterator[str]:
        if not self.channels:
            yield (
                "alerts: nobody hears when this host is ill. Write `alerts:` with `mail:`, `ntfy:` or `webhook:` "
                "(docs/how-to/alerts.md), then `houblon apply` and `houblon alerts test`."
            )

    def install(self, kit: Kit) -> None:
        kit.system_user(USER, home=BASE)
        kit.directory(BASE, mode=0o711)
        kit.directory(f"{BASE}/outbox", mode=0o750, group=USER)
        kit.directory(f"{BASE}/delivery", mode=0o700, owner=USER, group=USER)
        kit.directory(PUBLIC, f"{PUBLIC}/public/.well-known/houblon")
        kit.tree(*(f"{LIB}/alarms/{name}.py" for name in MODULES))
        kit.tree(f"{LIB}/health", f"{LIB}/alert", f"{LIB}/deliver", mode=0o755)

    def configure(self, kit: Kit) -> None:
        kit.file("/etc/houblon/alerts.json", _json(self.settings()))
        kit.file(
            "/etc/houblon/alerts-channels.json", _json(self.channel_settings(kit)), mode=0o640, group=USER, secret=True
        )
        units = "/etc/systemd/system"
        kit.tree(
            f"{units}/houblon-health.service",
            f"{units}/houblon-alert@.service",
            f"{units}/houblon-deliver.service",
            f"{units}/houblon-alert@.service.d/houblon-alert.conf",
            f"{units}/houblon-deliver.service.d/houblon-alert.conf",
            f"{units}/service.d/houblon-alert.conf",
        )
        kit.tree(f"{units}/houblon-health.timer")

    def activate(self, kit: Kit) -> None:
        kit.ensure(
            "systemd tells of every service that fails",
            check="systemctl show -P OnFailure houblon-health.service | grep -q houblon-alert@"
            " && ! systemctl show -P NeedDaemonReload houblon-health.service houblon-deliver.service"
            " houblon-alert@x.service | grep -q yes",
            run="systemctl daemon-reload",
            reads=["/etc/systemd/system/service.d/houblon-alert.conf"],
        )
        kit.unit("houblon-health.timer")

    def remove(self, kit: Kit) -> None:
        kit.absent(BASE, PUBLIC)

    def settings(self) -> dict[str, Any]:
        """What the programs on the host look at, and in which words they speak."""
        roles = self.site.roles
        language = self.site.languages[0]
        service = {role.name for role in roles if role.metadata.category != "system"}
        vhosts = {vhost.fqdn: vhost.role for vhost in self.site.claims(Vhost) if "*" not in vhost.fqdn}
        return {
            "site": self.site.name,
            "host": self.site.domain,
            "language": language,
            "languages": list(self.site.languages),
            "channels": list(self.channels),
            "units": {unit.name: unit.role for unit in self.site.claims(Unit)},
            "titles": {role.name: role.metadata.name(language) for role in roles},
            "members": sorted(service),
            "vhosts": dict(sorted(vhosts.items())),
            "certificates": sorted({claim.names[0] for claim in self.site.claims(Certificate)}),
            "commands": [
                {"key": f"{one.role}:{one.name}", "role": one.role, "what": one.what(language), "command": one.command,
                 "after": one.after}
                for one in self.site.claims(Alert)
            ],
            "login_jails": sorted({j.name for j in self.site.claims(Jail) if j.retries <= LOGIN_RETRIES}),
            "failed_logins": self.config.failed_logins,
            "software": [
                {"key": role.name, "title": role.metadata.title, "upstream": role.metadata.upstream, "ends": None}
                for role in roles if role.metadata.upstream != "maintained"
            ],
        }  # fmt: skip

    def channel_settings(self, kit: Kit) -> dict[str, dict[str, Any]]:
        """Where alarms go; some of these addresses are as good as passwords."""
        common = {"name": self.site.name, "host": self.site.domain}
        found: dict[str, dict[str, Any]] = {}
        if self.config.mail:
            found["mail"] = {**common, "to": list(self.config.mail), "from": f"root@{self.site.domain}"}
        if url := self.config.webhook:
            if PLACEHOLDER in url:
                url = url.replace(PLACEHOLDER, kit.secret("webhook").reveal())
            found["webhook"] = {**common, "url": url}
        if self.config.ntfy:
            token = kit.secret("ntfy").reveal() if self.config.ntfy_token else ""
            found["ntfy"] = {**common, "url": self.config.ntfy, "token": token}
        return found


def _json(data: Any) -> str:
    return json.dumps(data, ensure_ascii=False, indent=1, sort_keys=True) + "\n"
