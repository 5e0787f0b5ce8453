"""Calendars and address books for everyone with an account, and shared ones for groups: Radicale, from Debian.

Radicale knows people from the directory of accounts, at each request. Its own server listens on loopback; nginx
speaks for it at https://cal.<domain>/. What it keeps are plain files, so a backup is a copy.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from houblon import directory
from houblon.contract import (
    Accounts,
    BackupSet,
    Claim,
    Config,
    ConfigTest,
    DataPath,
    DnsRecord,
    HttpCheck,
    Jail,
    Listen,
    Location,
    Metadata,
    Needs,
    Package,
    Person,
    PersonalData,
    RateLimit,
    Resource,
    Role,
    Secret,
    Unit,
    Vhost,
    tr,
)
from houblon.kit import Kit
from houblon.settings import Subdomain

PORT = 5232
UNIT = "radicale.service"
DATA = "/var/lib/radicale"
SETTINGS = "/etc/radicale/houblon.json"
SECRET = "/etc/radicale/directory.password"  # noqa: S105 - where it is, not what it is
LIBRARY = "/usr/local/lib/houblon/radicale"
SCRIPT = "/usr/local/lib/houblon/calendar"
MAX_BODY_MB = 10

READY = (
    f"timeout 5 bash -c 'exec 3<>/dev/tcp/127.0.0.1/{PORT}; printf \"GET /.web/ HTTP/1.0\\r\\n\\r\\n\" >&3;"
    " read -r line <&3; [[ $line == *\" 200 \"* ]]'"
)

CSP = (
    # Its page has a style element, style attributes, and one event handler: an address is selected when it is touched.
    "default-src 'none'; style-src 'self' 'unsafe-inline'; img-src 'self'; connect-src 'self'; script-src 'self'; "
    "script-src-attr 'unsafe-hashes' 'sha256-sF5hlQfq9vyMKG5ysHOqVcZMQXi42zSQnjHwfvdfajg='; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

LOCATION = f"""location / {{
    include /etc/nginx/houblon/proxy.conf;
    proxy_set_header Connection "";
    # Radicale 3.5 looks for it whenever an item is moved, and ends with status 500 without it.
    proxy_set_header X-Forwarded-Port 443;
    # A visitor's own would end up in the addresses of the answer.
    proxy_set_header X-Script-Name "";
    proxy_read_timeout 120s;
    proxy_pass http://127.0.0.1:{PORT};
}}"""

FILTER = r"""[INCLUDES]
before = common.conf

# Anchored on both sides of what a visitor can choose, the name they log in by. Only ` (refused)` counts: a device
# that repeats a password which was refused before says ` (refused again)`.
[Definition]
_daemon = radicale
_line = \[\d+/[^\]]*\] \[WARNING\] Failed login attempt from 127\.0\.0\.1
failregex = ^%(__prefix_line)s%(_line)s \(forwarded for '<HOST>'\): .* \(refused\)$
"""

PREDEFINED = {
    "fr": {"calendar": "Agenda", "contacts": "Contacts"},
    "en": {"calendar": "Calendar", "contacts": "Contacts"},
}
"""What everyone has from their first login on, so that a phone finds something to show."""

Name = Annotated[str, Field(pattern=rf"^{directory.NAME.pattern}$")]
Group = Annotated[str, Field(pattern=rf"^({directory.NAME.pattern})?$")]


class SharedConfig(Config):
    """A calendar or an address book of a group."""

    title: Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")]
    """The name that members see."""
    kind: Literal["calendar", "addressbook"] = "calendar"
    """`calendar`, or `addressbook` for contacts."""
    group: Group = ""
    """Group whose members see it; unset: everyone who may use the calendar."""
    writers: Group = ""
    """Group whose members may write, when not all who see it may."""


class CalendarConfig(Config):
    """Section `calendar:` of the services."""

    subdomain: Subdomain = "cal"
    """The service is at https://<subdomain>.<domain>/."""
    groups: tuple[Name, ...] = ()
    """Groups whose members may use it; unset: everyone with an account."""
    shared: dict[Name, SharedConfig] = Field(default_factory=dict)
    """Calendars and address books that belong to a group, by a short name. Members find them among their own."""


class Calendar(Role[CalendarConfig]):
    metadata = Metadata(
        title="Radicale",
        called=tr(en="Calendar", fr="Agenda"),
        summary=tr(
            en="Calendars, tasks and contacts on your phone and computer, your own and your group's.",
            fr="Agendas, tâches et contacts sur téléphone et ordinateur, les vôtres et ceux de votre groupe.",
        ),
        category="calendar",
        licence="GPL-3.0-or-later",
        homepage="https://radicale.org",
        source="https://github.com/Kozea/Radicale",
    )
    debian = (13,)

    @property
    def fqdn(self) -> str:
        return f"{self.config.subdomain}.{self.site.domain}"

    def claims(self) -> Iterator[Claim]:
        yield Needs("accounts")
        yield Package("radicale", "python3-ldap")
        yield Resource(memory_mb=60, disk_mb=60)
        yield Secret("directory", description="Password by which the calendar reads the directory of accounts")
        # To know that a password which was found right or wrong is still the same one.
        needs = ("pwdChangedTime", "entryCSN", "pwdAccountLockedTime")
        yield Accounts(groups=self.config.groups, needs=needs)
        yield Unit(UNIT, sandbox=2.0)
        yield Listen(PORT, address="127.0.0.1")
        yield ConfigTest(f"{SCRIPT} check")
        yield from self._web()
        # Thirty different names or passwords in ten minutes: an office whose phones have yesterday's password
        # stays below, since a device that repeats itself counts once; a list of passwords does not.
        yield Jail(
            "radicale",
            filter="radicale",
            journal=f"_SYSTEMD_UNIT={UNIT}",
            ports=(80, 443),
            retries=30,
            find_seconds=600,
            ban_seconds=900,
            filter_text=FILTER,
        )
        yield from self._data()

    def _web(self) -> Iterator[Claim]:
        domain = self.site.domain
        yield Vhost(self.fqdn, snippet=LOCATION, csp=CSP, max_body_mb=MAX_BODY_MB, rate_zone="calendar")
        # A device that writes its first thousand events stays below.
        yield RateLimit("calendar", per_minute=1200, burst=400)
        yield HttpCheck(f"https://{self.fqdn}/.web/", contains="Radicale")
        for service in ("caldav", "carddav"):
            # RFC 6764: a client that knows no more than an address finds the rest by these.
            yield Location(domain, f"/.well-known/{service}", redirect=f"https://{self.fqdn}/")
            yield HttpCheck(f"https://{self.fqdn}/.well-known/{service}", status=301)
            yield DnsRecord(f"_{service}s._tcp.{domain}", "SRV", f"0 1 443 {self.fqdn}.", required=False)
            yield DnsRecord(f"_{service}s._tcp.{domain}", "TXT", "path=/", required=False)

    def _data(self) -> Iterator[Claim]:
        yield DataPath(DATA)
        # No need to stand still: each entry is one file that is renamed into place.
        yield BackupSet(
            paths=(DATA,),
            exclude=(".Radicale.cache", ".Radicale.lock", ".Radicale.tmp-*"),
            restore=f"{SCRIPT} restore",
            compare=f"{SCRIPT} compare",
        )
        yield PersonalData(
            tr(en="Calendars, tasks and contacts", fr="Agendas, tâches et contacts"),
            where=f"{DATA}/collections",
            retention_days=None,
        )
        yield Person(
            tr(
                en="Their calendars and address books (what they wrote into a group's stays the group's)",
                fr="Ses agendas et carnets d'adresses (ce qui est écrit dans ceux d'un groupe reste au groupe)",
            ),
            show=f"{SCRIPT} person-show",
            export=f"{SCRIPT} person-export",
            delete=f"{SCRIPT} person-delete",
            # Nothing to shut out: who somebody is, is asked of the directory with each request.
        )

    def install(self, kit: Kit) -> None:
        kit.tree(f"{LIBRARY}/houblon_people.py", f"{LIBRARY}/houblon_calendar.py")
        kit.tree(SCRIPT, mode=0o755)

    def configure(self, kit: Kit) -> None:
        kit.file(SECRET, f"{kit.secret('directory').reveal()}\n", mode=0o640, group="radicale", secret=True)
        kit.file(SETTINGS, self.settings())
        kit.tree(
            "/etc/radicale/config",
            port=PORT,
            max_body_mb=MAX_BODY_MB,
            ldap_uri=directory.LDAPI,
            ldap_base=directory.PEOPLE,
            ldap_dn=directory.bind_dn(self.name),
            ldap_filter=directory.person_filter(self.config.groups, also="(uid={0})"),
            secret_file=SECRET,
            settings_file=SETTINGS,
            folder=f"{DATA}/collections",
            predefined=self.predefined(),
        )

    def activate(self, kit: Kit) -> None:
        kit.tree("/etc/systemd/system/radicale.service.d/houblon.conf", library=LIBRARY)
        kit.unit(UNIT, test=f"{SCRIPT} check", ready=READY)

    def settings(self) -> str:
        """What the plugins are told, as JSON."""
        shared = {
            name: {
                "tag": "VCALENDAR" if one.kind == "calendar" else "VADDRESSBOOK",
                "title": one.title,
                "readers": one.group,
                "writers": one.writers,
            }
            for name, one in sorted(self.config.shared.items())
        }
        return json.dumps({"domain": self.site.domain, "shared": shared}, indent=2, ensure_ascii=False) + "\n"

    def predefined(self) -> str:
        """Collections that Radicale makes at somebody's first login, as JSON on one line."""
        titles = PREDEFINED[self.site.languages[0]]
        return json.dumps({
            "calendar": {
                "tag": "VCALENDAR",
                "D:displayname": titles["calendar"],
                "C:supported-calendar-component-set": "VEVENT,VTODO,VJOURNAL",
            },
            "contacts": {"tag": "VADDRESSBOOK", "D:displayname": titles["contacts"]},
        })
