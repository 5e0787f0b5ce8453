"""Nextcloud: files on every device, shared with whom one likes, at https://cloud.<domain>/.

People come from the directory of accounts. The code is upstream's release, read-only; what changes is below `HOME`
and in PostgreSQL. Settings are enforced from the site file: what is changed by hand on the host is put back.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import Field, model_validator

from houblon import directory
from houblon.contract import (
    Accounts,
    Alert,
    Claim,
    Config,
    Console,
    Database,
    DataPath,
    HttpCheck,
    Jail,
    Metadata,
    Needs,
    Outbound,
    Package,
    PersonalData,
    PhpPool,
    Plugin,
    Provides,
    RateLimit,
    RedisUser,
    Resource,
    Role,
    Secret,
    Unit,
    Vhost,
    tr,
)
from houblon.kit import Kit
from houblon.roles.nextcloud import backup, paths, people, settings, web
from houblon.settings import Subdomain
from houblon.software import PHP, POSTGRESQL_DIRECTORY, REDIS

WANTED = "/etc/houblon/nextcloud.json"
ENFORCED = f"{paths.CONFIG}/houblon.config.php"
LIB = "/usr/local/lib/houblon"
STATE = f"{LIB}/nextcloud-state"
INSTALL = f"{LIB}/nextcloud-install"
HOST = f"{LIB}/nextcloud-host"
CRON = "nextcloud-cron"
DIRECTORY = "nextcloud-directory"
UPLOAD_GB = 16
"""Largest file in one piece; in pieces, as its own programs send them, there is no limit."""

Name = Annotated[str, Field(pattern=rf"^{directory.NAME.pattern}$")]
Group = Annotated[str, Field(pattern=rf"^({directory.NAME.pattern})?$")]
App = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{1,62}$")]


class NextcloudConfig(Config):
    """Section `nextcloud:` of the services. Any other setting of Nextcloud goes into `overrides/nextcloud/*.json`."""

    subdomain: Subdomain = "cloud"
    """The service is at https://<subdomain>.<domain>/."""
    groups: tuple[Name, ...] = ()
    """Groups whose members may use it; unset: everyone with an account."""
    admins: Group = ""
    """Group whose members administer it in the browser; unset: nobody but `houblon occ`."""
    second_factor: tuple[Name, ...] = ()
    """Groups whose members must sign in with a second factor; everybody may."""
    quota_gb: Annotated[int, Field(ge=1, le=100_000)] | None = 10
    """Space of each person who has no quota of their own in the directory; `null`: as much as there is."""
    trash_days: Annotated[int, Field(ge=1, le=3650)] = 30
    """Days after which deleted files are gone for good; earlier when space runs out."""
    version_days: Annotated[int, Field(ge=1, le=3650)] = 90
    """Days for which earlier versions of a file are kept; fewer when space runs out."""
    phone_region: Annotated[str, Field(pattern=r"^([A-Z]{2})?$")] = ""
    """Country of phone numbers without a prefix, such as `BE`; unset: `FR` on French sites, else `GB`."""
    apps: dict[App, bool] = Field(default_factory=dict)
    """Apps of the release to turn on or off, such as `files_external: true`."""

    @model_validator(mode="after")
    def _known_groups(self) -> NextcloudConfig:
        if "admin" in {*self.groups, self.admins, *self.second_factor}:
            # Nextcloud would see the directory's as `admin_2`, make nobody an admin, and ask nobody for anything.
            raise ValueError("Nextcloud has a group `admin` of its own; give the directory's group another name")
        hidden = sorted({*self.second_factor} - {*self.groups}) if self.groups else []
        if hidden:
            # Nextcloud does not see such a group, and would silently ask its members for nothing.
            raise ValueError(f"second_factor names {', '.join(hidden)}, which groups does not let in")
        return self


class Nextcloud(Role[NextcloudConfig]):
    metadata = Metadata(
        title="Nextcloud",
        called=tr(en="Files", fr="Fichiers"),
        summary=tr(
            en="Your files on every device, shared with whom you like.",
            fr="Vos fichiers sur tous vos appareils, partagés avec qui vous voulez.",
        ),
        category="files",
        licence="AGPL-3.0-or-later",
        homepage="https://nextcloud.com",
        source="https://github.com/nextcloud/server",
    )
    provides = ("nextcloud",)

    @property
    def fqdn(self) -> str:
        return f"{self.config.subdomain}.{self.site.domain}"

    @property
    def php(self) -> str:
        """Version of PHP, as Debian names its packages."""
        return PHP[self.site.host.debian]

    def claims(self) -> Iterator[Claim]:
        yield Provides("nextcloud")
        yield Needs("accounts")
        yield from self.artifacts()
        yield Resource(memory_mb=100, disk_mb=1500)
        yield Database("postgresql", paths.USER)
        # Its caches are emptied by KEYS and DEL: without it, who left a team would go on seeing what it shares.
        yield RedisUser(paths.USER, lists_keys=True)
        yield Secret("redis", length=40, description="password of Nextcloud's user in Redis")
        yield Secret("directory", length=40, description="bind of Nextcloud to the directory of accounts")
        yield Secret("account", description=f"password of {paths.ADMIN}, Nextcloud's own account, for emergencies")
        yield Accounts(groups=self.visible_groups, needs=(directory.MAIL, directory.FILE_QUOTA, "member"))
        # Pictures in SVG: ImageMagick's own reader of them is a package that nothing draws in.
        yield Package("libmagickcore-6.q16-6-extra" if self.site.host.debian == 12 else "libmagickcore-7.q16-10-extra")
        yield Outbound("other Nextclouds that files are shared with, and the push service of Nextcloud's phone apps")
        for unit in (CRON, DIRECTORY):
            yield Unit(f"{unit}.timer", sandbox=None)
        yield Console("occ", paths.OCC)
        yield HttpCheck(f"https://{self.fqdn}/status.php", contains='"installed":true')
        # A window with many pictures asks for three hundred things at once.
        yield RateLimit("nextcloud", per_minute=3600, burst=1000)
        yield Jail(
            "nextcloud", filter="nextcloud", journal=f"SYSLOG_IDENTIFIER={paths.USER}", ports=(80, 443), retries=30,
            find_seconds=600, ban_seconds=900, filter_text=web.FILTER,
        )  # fmt: skip
        yield from self._alerts()
        yield from self._data()

    def _alerts(self) -> Iterator[Claim]:
        yield Alert(
            "cron",
            tr(
                en="Nextcloud's background jobs have not run for an hour.",
                fr="Les tâches de fond de Nextcloud n'ont pas tourné depuis une heure.",
            ),
            command=f'[ -n "$(find {paths.WORK}/cron -mmin -60)" ]',
            after=10,
        )
        yield Alert(
            "maintenance",
            tr(
                en="Nextcloud has been in maintenance for an hour: nobody can use it.",
                fr="Nextcloud est en maintenance depuis une heure : personne ne peut s'en servir.",
            ),
            command=(
                f"! grep -q \"^  'maintenance' => true\" {paths.CONFIG}/config.php"
                f' || [ -n "$(find {paths.CONFIG}/config.php -mmin -60)" ]'
            ),
        )

    def _data(self) -> Iterator[Claim]:
        for path in (paths.DATA, f"{paths.CONFIG}/config.php", paths.INSTALLED):
            yield DataPath(path)
        yield from backup.claims()
        yield from people.claims()
        yield PersonalData(
            tr(
                en="Files, calendars, contacts, comments, shares",
                fr="Fichiers, agendas, contacts, commentaires, partages",
            ),
            where=paths.DATA,
            retention_days=None,
        )
        yield PersonalData(
            tr(en="Deleted files", fr="Fichiers supprimés"), where=f"{paths.DATA}/*/files_trashbin",
            retention_days=self.config.trash_days,
        )  # fmt: skip
        yield PersonalData(
            tr(en="Earlier versions of files", fr="Versions antérieures des fichiers"),
            where=f"{paths.DATA}/*/files_versions", retention_days=self.config.version_days,
        )  # fmt: skip
        yield PersonalData(
            tr(en="Who did what with which file", fr="Qui a fait quoi avec quel fichier"), where="PostgreSQL",
            retention_days=settings.ACTIVITY_DAYS,
        )  # fmt: skip

    def derive(self) -> Iterator[Claim]:
        yield self.pool
        yield Vhost(
            self.fqdn, csp=None, rate_zone="nextcloud", max_body_mb=UPLOAD_GB * 1024,
            snippet=web.snippet(self.pool.socket, plugins=bool(self.plugins)),
        )  # fmt: skip

    @property
    def visible_groups(self) -> tuple[str, ...]:
        """Whose members it may see; none means all."""
        admins = (self.config.admins,) if self.config.admins else ()
        return tuple(dict.fromkeys((*self.config.groups, *admins))) if self.config.groups else ()

    @property
    def plugins(self) -> list[Plugin]:
        """What other roles add, by name."""
        found = (claim for claim in self.site.claims(Plugin) if claim.capability == "nextcloud")
        return sorted(found, key=lambda claim: claim.name)

    @property
    def pool(self) -> PhpPool:
        return PhpPool(
            paths.USER,
            extensions=(
                "cli", "pgsql", "gd", "curl", "mbstring", "xml", "zip", "intl", "bcmath", "gmp", "bz2", "apcu", "redis",
                "igbinary", "imagick", "ldap",
            ),
            paths=(paths.HOME,),
            settings=(
                # Needed while a picture is made smaller; other requests take a tenth.
                ("memory_limit", "512M"),
                ("max_execution_time", "3600"),
                ("max_input_time", "3600"),
                ("post_max_size", f"{UPLOAD_GB}G"),
                ("upload_max_filesize", f"{UPLOAD_GB}G"),
                ("upload_tmp_dir", paths.WORK),
                ("sys_temp_dir", paths.WORK),
                ("opcache.revalidate_freq", "60"),
                ("apc.enabled", "1"),
            ),
            environment=(("NEXTCLOUD_CONFIG_DIR", paths.CONFIG),),
            worker_mb=80,
            # A large file on a slow line: a worker is held as long as it is downloaded.
            request_seconds=24 * 3600,
        )  # fmt: skip

    def install(self, kit: Kit) -> None:
        kit.system_user(paths.USER, home=paths.HOME, groups=("redis",))
        kit.directory(paths.HOME)
        # Sticky: Nextcloud may write its config.php there, and not put another file in the place of ours.
        kit.directory(paths.CONFIG, mode=0o1770, group=paths.USER)
        kit.directory(paths.DATA, mode=0o750, owner=paths.USER, group=paths.USER)
        kit.directory(paths.WORK, mode=0o700, owner=paths.USER, group=paths.USER)
        kit.directory(paths.APPS)
        kit.tree(INSTALL, HOST, STATE, paths.OCC, mode=0o755, **self.values)
        kit.tree(f"{STATE}.php", f"{LIB}/{DIRECTORY}.php", **self.values)
        backup.install(kit, CRON)
        people.install(kit)
        version = next(self.artifacts()).version
        kit.ensure(
            f"Nextcloud's data may go to {version}",
            check=f"[ ! -e {paths.INSTALLED} ] || {INSTALL} may {version} 2>/dev/null",
            run=f"{INSTALL} may {version}",
        )
        kit.release("nextcloud")

    def configure(self, kit: Kit) -> None:
        kit.file(ENFORCED, self.enforced(kit), mode=0o640, group=paths.USER, secret=True)
        kit.file(WANTED, self.wanted(kit), mode=0o640, group=paths.USER, secret=True)
        for plugin in self.plugins:
            if plugin.artifact:
                kit.link(f"{paths.APPS}/{plugin.name}", f"/opt/{plugin.artifact}/current")
        kit.ensure(
            "Nextcloud's previews take as much of this host as there is", check=f"{HOST} check", run=f"{HOST} write"
        )

    def activate(self, kit: Kit) -> None:
        kit.ensure(
            "Nextcloud is installed",
            check=f"[ -e {paths.INSTALLED} ] && [ -s {paths.CONFIG}/config.php ]",
            run=INSTALL,
            timeout_seconds=1200,
        )
        kit.ensure(
            "Nextcloud's release, settings and apps are the wanted ones",
            check=f"{STATE} check 2>/dev/null",
            run=f"{STATE} apply",
            stdin=kit.secret("account"),
            timeout_seconds=4 * 3600,
            reads=(ENFORCED, WANTED, f"{STATE}.php", paths.CODE, *(f"{paths.APPS}/{one.name}" for one in self.plugins)),
        )
        for unit in (CRON, DIRECTORY):
            kit.tree(*(f"/etc/systemd/system/{unit}.{suffix}" for suffix in ("service", "timer")), **self.values)
            kit.unit(f"{unit}.timer")
        # The timer would wait for ten minutes, in which whoever verifies is told that none ever ran.
        kit.ensure(
            "Nextcloud's background jobs have run once",
            check=f"[ -e {paths.WORK}/cron ]",
            run=f"systemctl start {CRON}.service",
            soft=True,
            timeout_seconds=1800,
        )

    def remove(self, kit: Kit) -> None:
        # Written on the host by commands.
        kit.absent(f"{paths.CONFIG}/houblon-host.config.php", paths.WORK)

    @property
    def values(self) -> dict[str, Any]:
        """For templates."""
        return {
            "paths": paths, "php": self.php, "database": POSTGRESQL_DIRECTORY, "redis": REDIS, "admin": paths.ADMIN,
            "installed": paths.INSTALLED, "wanted": WANTED, "quota": directory.FILE_QUOTA,
        }  # fmt: skip

    def enforced(self, kit: Kit) -> str:
        """``houblon.config.php``, with its secret."""
        language = self.site.languages[0]
        own, _ = settings.overrides(self.site.folder / "overrides" / self.name)
        values = settings.enforced(
            fqdn=self.fqdn, domain=self.site.domain, language=language,
            locale={"fr": "fr_FR"}.get(language, "en_GB"),
            region=self.config.phone_region or {"fr": "FR"}.get(language, "GB"),
            timezone=self.timezone, mailer=self._given("mailer"), lost_password=self._page("sso") or "disabled",
            trash_days=self.config.trash_days, version_days=self.config.version_days,
            second_factor=self.config.second_factor, redis_password=kit.secret("redis").reveal(),
        )  # fmt: skip
        return settings.config_file(values | own)

    def wanted(self, kit: Kit) -> str:
        """What its database must hold, as JSON, with its secret."""
        _, own = settings.overrides(self.site.folder / "overrides" / self.name)
        apps = settings.app_settings(
            name=self.site.name, domain=self.site.domain, quota_gb=self.config.quota_gb, mailer=self._given("mailer")
        )
        apps["user_ldap"] = settings.ldap(
            role=self.name, visible=self.visible_groups, admins=self.config.admins,
            password=kit.secret("directory").reveal(),
        )  # fmt: skip
        for app, values in own.items():
            apps[app] = apps.get(app, {}) | values
        chosen = {app for app, is_on in self.config.apps.items() if is_on}
        refused = {app for app, is_on in self.config.apps.items() if not is_on}
        wanted = {
            "apps": apps,
            "on": sorted(({*settings.ON, *(plugin.name for plugin in self.plugins)} - refused) | chosen),
            "off": sorted(({*settings.OFF} | refused) - chosen),
            # Says that the password is another one, and nothing about it: it has 190 bits.
            "account": hashlib.sha256(kit.secret("account").reveal_bytes()).hexdigest(),
        }
        return json.dumps(wanted, indent=2, sort_keys=True, ensure_ascii=False) + "\n"

    @property
    def timezone(self) -> str:
        """The host's."""
        return str(getattr(self.site.role("base").config, "timezone", "UTC"))

    def _given(self, capability: str) -> bool:
        return any(capability in role.provides for role in self.site.roles) or any(
            claim.capability == capability for claim in self.site.claims(Provides)
        )

    def _page(self, capability: str) -> str:
        return next((self.site.page(role.name) for role in self.site.roles if capability in role.provides), "")
