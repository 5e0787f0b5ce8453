"""Single sign-on and the page where people look after their own account: LemonLDAP::NG behind nginx.

Only its portal is served, by its FastCGI server on a socket. The configuration is one file written here; what changes
at run time are sessions and second factors, as files below `DATA`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from houblon import directory
from houblon.contract import (
    Accounts,
    Alert,
    BackupSet,
    Claim,
    Config,
    DataPath,
    HttpCheck,
    Invites,
    Jail,
    Metadata,
    Needs,
    OidcClient,
    Package,
    Person,
    PersonalData,
    Provides,
    RateLimit,
    Resource,
    Role,
    Secret,
    Unit,
    Vhost,
    tr,
)
from houblon.kit import Kit
from houblon.roles.sso import conf
from houblon.roles.sso.words import WORDS, messages
from houblon.settings import Subdomain

UNIT = "lemonldap-ng-fastcgi-server.service"
USER = "houblon-sso"
ETC = "/etc/houblon/sso"
INI = f"{ETC}/lemonldap-ng.ini"
STORE = f"{ETC}/conf"
PERL = "/usr/local/lib/houblon/perl"
SHARE = "/usr/local/share/houblon/sso"
SKIN = f"{SHARE}/skin"
SOCKET = "/run/houblon-sso/llng.sock"
LINK = "/usr/local/lib/houblon/sso-link"
PERSON = "/usr/local/lib/houblon/sso-person"
READY = "/usr/local/lib/houblon/sso-ready"
PURGE = "houblon-sso-purge"
BURST = 150

# Anchored at both ends. A name that was typed reaches the journal only if it is made of letters, digits and ._@+-
# (`conf.LOGIN`), so nobody can write an address of their choice into these lines.
FAILURES = r"""[INCLUDES]
before = common.conf

[Definition]
_daemon = LLNG
failregex = ^%(__prefix_line)s\[warn\] Bad password for [\w.@+-]+ \(<HOST>\)$
            ^%(__prefix_line)s\[warn\] [\w.@+-]+ was not found in LDAP directory \(<HOST>\)$
            ^%(__prefix_line)s\[notice\] \{"code":"2FA_FAILED",[^{}]*"portal_error":"\w+","remote_addr":"<HOST>"
"""


def _group(name: str) -> str:
    if not directory.NAME.fullmatch(name):
        raise ValueError("this is not the name of a group; write it like board")
    return name


class SsoConfig(Config):
    """Section `sso:` of the services."""

    subdomain: Subdomain = "auth"
    """The page's name below the site's domain."""
    second_factor: tuple[Annotated[str, AfterValidator(_group)], ...] = ()
    """Groups whose members must sign in with a second factor; they are led to register one. Everybody may."""
    workers: Annotated[int, Field(ge=2, le=16)] = 3
    """Processes that answer: each takes 35 MB once used, and one checks about ten passwords a second."""


class Sso(Role[SsoConfig]):
    metadata = Metadata(
        title="LemonLDAP::NG",
        called=tr(en="My account", fr="Mon compte"),
        summary=tr(
            en="Your password, your second factor, and one login for all services.",
            fr="Votre mot de passe, votre second facteur, et une connexion pour tous les services.",
        ),
        category="account",
        licence="GPL-2.0-or-later",
        homepage="https://lemonldap-ng.org",
        source="https://gitlab.ow2.org/lemonldap-ng/lemonldap-ng",
    )
    debian = (13,)
    consumes = (OidcClient,)
    provides = ("sso",)

    @property
    def fqdn(self) -> str:
        return f"{self.config.subdomain}.{self.site.domain}"

    @property
    def mailer(self) -> bool:
        """Whether this host can send mail, so that people can reset their password by themselves."""
        given = {claim.capability for claim in self.site.claims(Provides)}
        return "mailer" in given.union(*(role.provides for role in self.site.roles))

    @property
    def contact(self) -> str:
        """Whom to ask when nothing else helps."""
        return self.site.admins[0].email

    def claims(self) -> Iterator[Claim]:
        yield Provides("sso")
        yield Needs("accounts")
        yield Accounts(needs=(directory.MAIL, directory.RECOVERY), writes=(directory.PASSWORD,))
        yield Package(
            "lemonldap-ng-fastcgi-server", "liblemonldap-ng-portal-perl", "libnet-ldap-perl",
            "libio-socket-timeout-perl", "libio-string-perl", "libcrypt-jwt-perl", "libauthen-webauthn-perl",
            "libconvert-base32-perl", "libconvert-pem-perl", "libmime-tools-perl", "libemail-sender-perl",
            "libemail-address-xs-perl", "libstring-random-perl", "libcookie-baker-xs-perl",
        )  # fmt: skip
        yield Secret("directory", length=40, description="bind of the sign-in page to the directory")
        yield Secret("cipher", kind="token", length=64, description="encrypts the secrets of second factors")
        yield Secret("signing", kind="rsa-2048", description="signs what services are told about who signed in")
        yield Vhost(self.fqdn, csp=None, snippet=self.snippet)
        # Ten requests a login: a class of thirty comes in within a minute, a guesser is held to three a second.
        yield RateLimit("sso", per_minute=180, burst=BURST)
        # Three calls a login, all from the host's own address: a hundred people at once, five a second after. That is
        # under half of what the workers answer.
        yield RateLimit("sso_services", per_minute=900, burst=2 * BURST)
        # A whole school behind one address may mistype; an account itself is guarded by the directory.
        yield Jail(
            "sso", filter="sso", journal=f"_SYSTEMD_UNIT={UNIT}", ports=(80, 443), retries=60, find_seconds=600,
            ban_seconds=600, filter_text=FAILURES,
        )  # fmt: skip
        yield Unit(UNIT, sandbox=2.5)
        yield Unit(f"{PURGE}.timer", sandbox=None)
        yield Resource(memory_mb=35 + 35 * self.config.workers, disk_mb=120)
        yield HttpCheck(f"https://{self.fqdn}/", status=200, contains="passwordfield")
        yield Alert(
            "silent",
            tr(
                en="The sign-in page does not answer: nobody can sign in.",
                fr="La page de connexion ne répond pas : personne ne peut se connecter.",
            ),
            command=READY,
            after=2,
        )
        yield DataPath(conf.PERSISTENT)
        yield BackupSet(
            paths=(conf.PERSISTENT,),
            restore=f"chown -R {USER}:{USER} {conf.PERSISTENT} && systemctl try-restart {UNIT}",
            compare=f"cd {conf.PERSISTENT} && find . -type f -exec sha256sum {{}} + | sort -k 2",
        )
        yield Invites(command=LINK)
        yield Person(
            tr(
                en="Second factors and open sessions of the sign-in page",
                fr="Seconds facteurs et sessions ouvertes de la page de connexion",
            ),
            show=f"{PERSON} show", export=f"{PERSON} export", delete=f"{PERSON} delete",
            shut_out=f"{PERSON} shut-out", forget_factor=f"{PERSON} forget-second-factor",
        )  # fmt: skip
        yield PersonalData(
            tr(en="Second factors", fr="Seconds facteurs"), where=conf.PERSISTENT, retention_days=None
        )
        yield PersonalData(
            tr(
                en="Open sessions: name, addresses, groups, address of the device",
                fr="Sessions ouvertes : nom, adresses, groupes, adresse de l'appareil",
            ),
            where=conf.SESSIONS,
            retention_days=1,
        )

    @property
    def snippet(self) -> str:
        """nginx's side of the portal: its static files, and the rest to the FastCGI server."""
        words = {"SOCKET": SOCKET, "SHARE": SHARE, "WIDE": str(2 * BURST), "BURST": str(BURST)}
        return re.sub("|".join(words), lambda found: words[found[0]], SNIPPET)

    def install(self, kit: Kit) -> None:
        kit.system_user(USER, home=conf.DATA)
        kit.directory(conf.DATA, mode=0o700, owner=USER, group=USER)
        for path in (conf.SESSIONS, conf.PERSISTENT):
            kit.directory(path, f"{path}-lock", mode=0o700, owner=USER, group=USER)

    def configure(self, kit: Kit) -> None:
        kit.directory(ETC, STORE, mode=0o750, group=USER)
        kit.tree(INI, languages=", ".join(self.site.languages))
        kit.file(f"{STORE}/lmConf-1.json", self.configuration(kit), mode=0o640, group=USER, secret=True)
        kit.tree(*(f"{PERL}/Houblon/{name}.pm" for name in ("SSO", "SSO/Password", "SSO/Preload")))
        kit.tree(LINK, PERSON, READY, mode=0o755)
        kit.tree(*(f"{SKIN}/bootstrap/{name}.tpl" for name in TEMPLATES), words=WORDS[self.site.languages[0]])
        for language in WORDS:
            texts = messages(language, length=self.password_length, summaries=self.summaries(language))
            kit.file(f"{SKIN}/bootstrap/{language}.json", json.dumps(texts, ensure_ascii=False, indent=1) + "\n")
        kit.tree(f"{SHARE}/static/houblon.css", f"{SHARE}/static/icon.svg")

    def activate(self, kit: Kit) -> None:
        kit.tree(f"/etc/systemd/system/{UNIT}.d/houblon.conf")
        kit.unit(UNIT, ready=READY)
        kit.tree(f"/etc/systemd/system/{PURGE}.service", f"/etc/systemd/system/{PURGE}.timer")
        kit.unit(f"{PURGE}.timer")
        # Debian's run as another user, at boot and by the hour, on directories that hold nothing here.
        for name in ("liblemonldap-ng-portal-perl", "liblemonldap-ng-handler-perl"):
            kit.unit(f"{name}.timer", state="masked")
            kit.unit(f"{name}.service", state="masked")

    def remove(self, kit: Kit) -> None:
        kit.absent(conf.SESSIONS, f"{conf.SESSIONS}-lock", f"{conf.PERSISTENT}-lock", ETC, f"{PERL}/Houblon", SHARE)

    def apps(self) -> list[conf.App]:
        """Services with a page of their own, and who may use them as far as their claims say."""
        found = []
        for role in self.site.roles:
            page = self.site.page(role.name)
            if page and role.metadata.category not in ("system", "site") and role.name != self.name:
                title = role.metadata.name(self.site.languages[0])
                found.append(conf.App(role.name, title, page, self._groups(role.name)))
        return found

    def summaries(self, language: str) -> dict[str, str]:
        """What each service in the menu is for."""
        summaries = {role.name: role.metadata.summary(language) for role in self.site.roles}
        return {app.role: summaries[app.role] for app in self.apps()}

    def configuration(self, kit: Kit) -> str:
        """The file of LemonLDAP::NG, with its secrets."""
        # A client may be a role that left the site file and is not removed yet: it goes on working.
        titles = {role.name: role.metadata.name(self.site.languages[0]) for role in self.site.roles}
        return conf.configuration(
            role=self.name,
            fqdn=self.fqdn,
            site_name=self.site.name,
            contact=self.contact,
            mailer=self.mailer,
            password_length=self.password_length,
            second_factor=self.config.second_factor,
            apps=self.apps(),
            clients=[
                conf.Client(
                    claim.role, titles.get(claim.role, claim.role),
                    kit.secret_of(claim.role, "oidc").reveal(), claim.redirect, claim.logout, claim.groups,
                )
                for claim in sorted(self.site.claims(OidcClient), key=lambda claim: claim.role)
            ],
            secrets=conf.Secrets(
                kit.secret("cipher").reveal(), kit.secret("directory").reveal(), kit.secret("signing").reveal(),
                kit.public("signing"),
            ),
        )  # fmt: skip

    @property
    def places(self) -> dict[str, str]:
        """What templates need to know of each other."""
        return {
            "user": USER, "ini": INI, "perl": PERL, "socket": SOCKET, "data": conf.DATA, "store": STORE, "skin": SKIN,
            "sessions": conf.SESSIONS, "persistent": conf.PERSISTENT, "fqdn": self.fqdn,
        }  # fmt: skip

    @property
    def password_length(self) -> int:
        """What the directory demands, so that people are told before they are refused."""
        provider: Any = next((role.config for role in self.site.roles if "accounts" in role.provides), None)
        return int(getattr(provider, "password_length", 12))

    def _groups(self, role: str) -> tuple[str, ...] | None:
        asked = [claim.groups for claim in self.site.claims(Accounts) if claim.role == role]
        asked += [claim.groups for claim in self.site.claims(OidcClient) if claim.role == role]
        if not asked or not all(asked):
            return None
        return tuple(sorted({group for groups in asked for group in groups}))


TEMPLATES = (
    "header", "menu", "mail", "standardform", "password", "customheader", "customfooter", "customLoginFooter",
)  # fmt: skip

SNIPPET = """\
# The portal's own pages carry their policy; what it does not answer itself may load nothing.
location /static/houblon/ {
    alias SHARE/static/;
}
location /static/ {
    alias /usr/share/lemonldap-ng/portal/htdocs/static/;
}
location ~ ^/javascript/((?:jquery|jquery-ui|jquery-cookie|bootstrap4|font-awesome)/.+)$ {
    alias /usr/share/javascript/$1;
}
location = /favicon.ico {
    return 301 /static/houblon/icon.svg;
}
# Services speak here to each other, and all of them come from the host itself; a stranger may not hold every worker.
location ~ ^/(?:oauth2/(?:token|userinfo|jwks)|\\.well-known/openid-configuration)$ {
    limit_req zone=sso_services burst=WIDE nodelay;
    include /etc/nginx/fastcgi_params;
    fastcgi_param PATH_INFO $uri;
    fastcgi_param SCRIPT_NAME "";
    fastcgi_param HTTP_HOST $host;
    fastcgi_param HTTPS on;
    fastcgi_param LLTYPE portal;
    fastcgi_pass unix:SOCKET;
}
# Interfaces for other LemonLDAP::NG servers; closed by its own settings too.
location ~ ^/(?:adminSessions|sessions|config|proxy|notifications?)(?:/|$) {
    return 404;
}
location / {
    limit_req zone=sso burst=BURST nodelay;
    include /etc/nginx/fastcgi_params;
    fastcgi_param PATH_INFO $uri;
    fastcgi_param SCRIPT_NAME "";
    fastcgi_param HTTP_HOST $host;
    fastcgi_param HTTPS on;
    fastcgi_param LLTYPE portal;
    fastcgi_pass unix:SOCKET;
}"""
