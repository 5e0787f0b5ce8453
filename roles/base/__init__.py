"""What every host is before it serves anything: a name, a clock, languages, updates, a journal, admins."""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
import re
import zoneinfo
from collections.abc import Iterator
from typing import Annotated

import bcrypt
from pydantic import AfterValidator, Field

from houblon.contract import (
    Claim,
    Config,
    ConfigTest,
    HostName,
    Metadata,
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
from houblon.roles.base import shell
from houblon.roles.base.sysctl import SYSCTL

LOCALES = {"fr": "fr_FR.UTF-8", "en": "en_US.UTF-8"}
JOURNAL_MB = 2048
"""Room for the journal: at 5 MB a day, compressed, a year; `checks.py` says when it is too small."""


_known_timezones = functools.cache(zoneinfo.available_timezones)
"""It opens each of some 600 files."""


def _timezone(name: str) -> str:
    known = _known_timezones()
    shaped = re.fullmatch(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+){0,2}", name)
    if not shaped or (known and name not in known):
        raise ValueError("this is not a time zone; write it like Europe/Paris or Etc/UTC")
    return name


class BaseConfig(Config):
    """Section `base:` of the site file."""

    timezone: Annotated[str, AfterValidator(_timezone)] = "Europe/Paris"
    """Time zone of the host, as the IANA database names it."""
    journal_days: Annotated[int, Field(ge=1, le=3650)] = 365
    """Days the system journal is kept. It holds who connected when: French hosters owe a year of it."""
    reboot_at: Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")] | None = None
    """Time of day (HH:MM) at which the host may reboot after an update that needs it. None: never."""


class Base(Role[BaseConfig]):
    metadata = Metadata(
        title="Base system",
        summary=tr(
            en="Names, clock, languages, security updates, journal, kernel settings, accounts of admins.",
            fr="Noms, horloge, langues, mises à jour de sécurité, journal, noyau, comptes des admins.",
        ),
        category="system", licence="AGPL-3.0-or-later", homepage="https://www.debian.org",
    )  # fmt: skip
    always = True
    first = True

    @property
    def short_name(self) -> str:
        """The host's own name: the first label of the domain, which /etc/hosts completes."""
        return self.site.domain.split(".")[0]

    @property
    def names(self) -> tuple[str, ...]:
        """Every name of the site that this host answers to, the domain first."""
        found = {v.fqdn for v in self.site.claims(Vhost)} | {h.fqdn for h in self.site.claims(HostName)}
        concrete = {name for name in found if not name.startswith("*")}
        return (self.site.domain, *sorted(concrete - {self.site.domain}))

    @property
    def locales(self) -> tuple[str, ...]:
        """Both languages always, so that adding one to the site never leaves an application without it."""
        return tuple(LOCALES.values())

    @property
    def default_locale(self) -> str:
        return LOCALES[self.site.languages[0]]

    @property
    def journal_days(self) -> int:
        """The longest retention that any role claims for what it writes to the journal."""
        claimed = [p.retention_days for p in self.site.claims(PersonalData) if p.where == "journal"]
        return max([self.config.journal_days, *(days for days in claimed if days is not None)])

    @property
    def journal_mb(self) -> int:
        return JOURNAL_MB

    @property
    def sysctl(self) -> dict[str, int]:
        return SYSCTL

    def claims(self) -> Iterator[Claim]:
        yield Package("sudo", "locales", "tzdata", "ca-certificates", "unattended-upgrades", "needrestart")
        for admin in self.site.admins:
            yield Secret(f"sudo-{admin.name}", length=24, description=f"password of {admin.name} for sudo")
        yield Unit("houblon-undo.service", sandbox=None)
        yield Unit("systemd-journald.service")
        yield Unit("unattended-upgrades.service", sandbox=None)
        yield Unit("apt-daily.timer", sandbox=None)
        yield Unit("apt-daily-upgrade.timer", sandbox=None)
        yield ConfigTest("visudo -cq")
        yield Outbound("Debian's package servers, for security updates; time servers (NTP)")
        yield Resource(memory_mb=60, disk_mb=1200 + JOURNAL_MB)
        yield NoBackup(tr(en="houblon writes all of it again.", fr="houblon réécrit tout."))
        yield PersonalData(
            tr(
                en="Journal: who connected to the host and when, and what services report",
                fr="Journal : qui s'est connecté à l'hôte et quand, et ce que disent les services",
            ),
            where="journal",
            retention_days=self.config.journal_days,
        )

    def install(self, kit: Kit) -> None:
        for admin in self.site.admins:
            password = kit.secret(f"sudo-{admin.name}").reveal()
            kit.user(  # noqa: S604 - a login shell, not a command
                admin.name, home=f"/home/{admin.name}", shell="/bin/bash", groups=("sudo",),
                password_hash=shadow_hash(admin.name, password), comment="houblon admin",
            )  # fmt: skip

    def configure(self, kit: Kit) -> None:
        # Each right after its only file, so that nothing but that file restarts it.
        kit.tree("/etc/systemd/system/houblon-undo.service")
        kit.unit("houblon-undo.service")
        kit.tree("/etc/systemd/journald.conf", system=True)
        kit.unit("systemd-journald.service")

        for admin in self.site.admins:
            home = f"/home/{admin.name}"
            kit.directory(home, f"{home}/.ssh", mode=0o700, owner=admin.name, group=admin.name)
            kit.file(
                f"{home}/.ssh/authorized_keys", "".join(f"{key}\n" for key in admin.keys),
                mode=0o600, owner=admin.name, group=admin.name, system=True,
            )  # fmt: skip
        kit.tree("/etc/sudoers.d/houblon", mode=0o440, validate="visudo -cq")

        kit.tree("/etc/hostname", "/etc/hosts", "/etc/locale.conf", "/etc/locale.gen", system=True)
        kit.tree("/etc/login.defs", "/etc/issue", "/etc/issue.net", "/etc/systemd/coredump.conf", system=True)
        kit.tree(
            "/etc/apt/apt.conf.d/52houblon-upgrades",
            "/etc/houblon/apt-daily.conf",
            "/etc/systemd/system/apt-daily.service.d/houblon.conf",
            "/etc/cloud/cloud.cfg.d/99-houblon.cfg",
            "/etc/modprobe.d/houblon.conf",
            "/etc/needrestart/conf.d/houblon.conf",
            "/etc/profile.d/houblon.sh",
            "/etc/security/limits.d/houblon.conf",
            "/etc/sysctl.d/60-houblon.conf",
            "/etc/systemd/system/swapfile.swap",
        )

    def activate(self, kit: Kit) -> None:
        basics = shell.clock_and_names(self.short_name, self.config.timezone, self.locales)
        for name, (check, run) in basics.items():
            kit.ensure(name, check=check, run=run)
        for admin in self.site.admins:
            check, run = shell.never_expires(admin.name)
            kit.ensure(f"the account of {admin.name} never expires", check=check, run=run)
        kit.ensure("cron's files are root's alone", check=shell.CRON_CHECK, run=shell.CRON_RUN)
        check, run = shell.sysctl(SYSCTL)
        kit.ensure("kernel settings", check=check, run=run)
        kit.ensure("swap on a small host", check=shell.SWAP_CHECK, run=shell.SWAP_RUN, soft=True)
        kit.ensure("clock synchronisation", check=shell.CLOCK_CHECK, run=shell.CLOCK_RUN, soft=True)
        kit.unit("unattended-upgrades.service")
        kit.unit("apt-daily.timer")
        kit.unit("apt-daily-upgrade.timer")


def shadow_hash(admin: str, password: str) -> str:
    """The crypt(5) string of an admin's sudo password: bcrypt, with a salt that follows from the password.

    A random salt would make /etc/shadow differ on each run. One derived from the password can be tried
    without bcrypt's cost by who reads /etc/shadow, which is why the password is 24 random characters.
    """
    key = f"houblon sudo salt {admin}".encode()
    raw = hmac.new(key, password.encode(), hashlib.sha256).digest()[:16]
    standard = base64.b64encode(raw).decode().rstrip("=")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    salt = standard.translate(str.maketrans(alphabet, "./" + alphabet[:-2]))
    return bcrypt.hashpw(password.encode(), f"$2b$08${salt}".encode()).decode()
