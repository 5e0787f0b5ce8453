"""PrivateBin: leave a text for somebody at https://paste.<domain>/, encrypted before it leaves the browser.

Its code is upstream's release, read-only; its texts are in PostgreSQL, so the dump is the backup. Nobody needs an
account.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Literal, Self

from markupsafe import escape
from pydantic import Field, model_validator

from houblon.contract import (
    BackupSet,
    Claim,
    Config,
    Database,
    HttpCheck,
    Metadata,
    PersonalData,
    PhpPool,
    RateLimit,
    Resource,
    Role,
    Unit,
    Vhost,
    tr,
)
from houblon.kit import Kit
from houblon.settings import Subdomain
from houblon.software import PHP, POSTGRESQL_DIRECTORY

USER = "privatebin"
"""System user, PHP pool, PostgreSQL role and database."""
CODE = "/opt/privatebin/current"
ETC = "/etc/privatebin"
SCRIPT = "/usr/local/lib/houblon/privatebin"
PURGE = "houblon-privatebin-purge"
LOGS = "/var/log/nginx/privatebin"
BURST = 60
"""Requests of one address that are answered at once: an office that opens the same link."""
WAIT_SECONDS = 10
"""Between two texts from the same address."""
SECONDS = {
    "5min": 300, "10min": 600, "1hour": 3600, "1day": 86400, "1week": 604800, "1month": 2592000, "1year": 31536000,
}  # fmt: skip
"""Lives of a text that may be offered, as upstream names them; none is kept for ever."""
CLOSED = ("/bin", "/cfg", "/data", "/doc", "/lib", "/tpl", "/tst", "/vendor")
"""Parts of the release that are no web pages. They are closed twice: only what is named is served at all."""

Expiry = Literal["5min", "10min", "1hour", "1day", "1week", "1month", "1year"]


class PrivatebinConfig(Config):
    """Section `privatebin:` of the services."""

    subdomain: Subdomain = "paste"
    """The service is at https://<subdomain>.<domain>/."""
    expiry: Expiry = "1week"
    """How long a text is kept when its author chooses nothing."""
    longest: Expiry = "1year"
    """The longest time an author may choose."""
    max_mb: int = Field(default=2, ge=1, le=20)
    """Largest size of a text, encrypted and compressed, in megabytes."""
    address_days: int | None = Field(default=None, ge=0, le=400)
    """Days for which it is kept from which address a text was sent; 0: it is not. Unset means 0, and `houblon check`
    reminds you to decide: in France, hosts of what others publish are asked to keep it for a year (decree 2021-1362).
    Who reads is not recorded; who asks by plain HTTP is in nginx's log before being sent on to HTTPS."""

    @model_validator(mode="after")
    def _longest_is_longest(self) -> Self:
        if SECONDS[self.expiry] > SECONDS[self.longest]:
            raise ValueError(f"`expiry: {self.expiry}` is longer than `longest: {self.longest}`")
        return self


class Privatebin(Role[PrivatebinConfig]):
    metadata = Metadata(
        title="PrivateBin",
        called=tr(en="Encrypted paste", fr="Paste chiffré"),
        summary=tr(
            en="Hand somebody a text, encrypted in your browser, that is gone once read or after a time.",
            fr="Transmettre un texte, chiffré dans votre navigateur, qui disparaît une fois lu ou après un délai.",
        ),
        category="sharing",
        licence="Zlib",
        homepage="https://privatebin.info",
        source="https://github.com/PrivateBin/PrivateBin",
    )

    @property
    def fqdn(self) -> str:
        return f"{self.config.subdomain}.{self.site.domain}"

    @property
    def pool(self) -> PhpPool:
        limit = f"{self.config.max_mb + 1}M"
        return PhpPool(
            USER,
            extensions=("cli", "pgsql"),
            paths=(ETC,),
            settings=(("post_max_size", limit), ("file_uploads", "0")),
            environment=(("CONFIG_PATH", ETC),),
            worker_mb=32,
        )

    @property
    def lives(self) -> dict[str, int]:
        """What an author may choose, in seconds."""
        return {name: value for name, value in SECONDS.items() if value <= SECONDS[self.config.longest]}

    def claims(self) -> Iterator[Claim]:
        yield from self.artifacts()
        yield self.pool
        yield Database("postgresql", USER)
        yield Resource(memory_mb=10, disk_mb=20)
        yield RateLimit("privatebin", per_minute=120, burst=BURST)
        yield Vhost(self.fqdn, csp=None, deny=CLOSED, max_body_mb=self.config.max_mb + 1, snippet=self.snippet)
        yield HttpCheck(f"https://{self.fqdn}/", contains="js/privatebin.js")
        yield Unit(f"{PURGE}.timer", sandbox=None)
        yield BackupSet(dumps=(f"postgresql:{USER}",), compare=f"{SCRIPT} compare")
        yield from self._personal_data()

    def _personal_data(self) -> Iterator[Claim]:
        yield PersonalData(
            tr(
                en="Texts, encrypted by their authors' browsers; the server has no key",
                fr="Textes, chiffrés par le navigateur de leur auteur ; le serveur n'a pas la clé",
            ),
            where=f"PostgreSQL ({USER})",
            retention_days=max(1, SECONDS[self.config.longest] // 86400),
        )
        yield PersonalData(
            tr(
                en=f"Keyed hash of the address of who sent a text, so that {WAIT_SECONDS} seconds pass before the next",
                fr="Empreinte à clé de l'adresse de qui envoie un texte, pour espacer les envois de "
                f"{WAIT_SECONDS} secondes",
            ),
            where=f"PostgreSQL ({USER})",
            retention_days=1,
        )
        if self.config.address_days:
            yield PersonalData(
                tr(
                    en="Address of who sent a text, with the time",
                    fr="Adresse de qui a envoyé un texte, avec l'heure",
                ),
                where=LOGS,
                retention_days=self.config.address_days,
            )

    def notes(self) -> Iterator[str]:
        if self.config.address_days is None:
            yield (
                "privatebin: no addresses are kept. In France, hosts of what others publish are asked to keep the "
                "authors' for a year (decree 2021-1362): decide, and write `address_days: 365` or `address_days: 0`."
            )

    @property
    def snippet(self) -> str:
        """nginx's side: one program, the files it shows, nothing else of the release."""
        log = "access_log off;"
        if self.config.address_days:
            log = (
                'set $houblon_sent "";\nif ($request_method = POST) {\n    set $houblon_sent 1;\n}\n'
                f"access_log {LOGS}/sent.log houblon if=$houblon_sent;"
            )
        words = {"LOG": log, "CODE": CODE, "SOCKET": self.pool.socket, "BURST": str(BURST)}
        return re.sub("|".join(words), lambda found: words[found[0]], SNIPPET)

    def install(self, kit: Kit) -> None:
        kit.system_user(USER, home="/nonexistent")
        kit.release("privatebin")
        kit.tree(SCRIPT, mode=0o755, php=f"/usr/bin/php{PHP[self.site.host.debian]}", database=POSTGRESQL_DIRECTORY)
        if self.config.address_days:
            # Before nginx is told to write there.
            kit.directory(LOGS, mode=0o750, group="www-data")

    def configure(self, kit: Kit) -> None:
        kit.directory(ETC, mode=0o750, group=USER)
        kit.tree(f"{ETC}/conf.php", mode=0o640, group=USER, **self._values)
        if self.config.address_days:
            kit.tree("/etc/logrotate.d/houblon-privatebin", days=self.config.address_days, logs=LOGS)

    def activate(self, kit: Kit) -> None:
        # PrivateBin makes them with the first text; a backup and its comparison may come before.
        kit.ensure(
            "the tables of PrivateBin exist",
            check=f"{SCRIPT} tables",
            run=f"cd / && runuser -u {USER} -- env CONFIG_PATH={ETC} {SCRIPT} purge",
            reads=(SCRIPT,),
        )
        kit.tree(f"/etc/systemd/system/{PURGE}.service", f"/etc/systemd/system/{PURGE}.timer")
        kit.unit(f"{PURGE}.timer")
        if not self.config.address_days:
            # Not before nginx has been told to write there no more.
            kit.absent(LOGS)

    def remove(self, kit: Kit) -> None:
        kit.absent(ETC, LOGS)

    @property
    def _values(self) -> dict[str, Any]:
        return {
            "name": self.metadata.name(self.language), "info": self.info, "wait": WAIT_SECONDS, "user": USER,
            "database": POSTGRESQL_DIRECTORY,
        }  # fmt: skip

    @property
    def language(self) -> str:
        """The site's first language, for whoever has not chosen another."""
        return self.site.languages[0]

    @property
    def info(self) -> str:
        """A line of HTML at the foot of the page. Upstream turns ' into ", and reads % and $ as more than signs."""
        name = str(escape(self.site.name))
        for sign in "%$\\{}":
            name = name.replace(sign, f"&#{ord(sign)};")
        return f"<a href='https://{self.site.domain}/'>{name}</a> · <a href='https://privatebin.info/'>PrivateBin</a>"


SNIPPET = """\
root CODE;
LOG
location = / {
    rewrite ^ /index.php last;
}
location = /index.php {
    limit_req zone=privatebin burst=BURST nodelay;
    try_files $uri =404;
    include /etc/nginx/houblon/php.conf;
    fastcgi_pass unix:SOCKET;
}
location ~ ^/(?:css|i18n|img|js)/ {
    try_files $uri =404;
    gzip on;
    expires 1d;
}
location ~ ^/(?:browserconfig\\.xml|manifest\\.json|robots\\.txt)$ {
    try_files $uri =404;
}
location / {
    return 404;
}"""
