"""The claims a role may make: plain facts about what it needs and what it promises.

A claim is data. The role that makes it never acts on it; a provider consumes all claims of a kind
(nginx every `Vhost`, the firewall every `Port`) and never names a service. `role` and `host` are filled
in by the collector, so a claim can always be traced to who made it and where it applies.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Text:
    """A short text in both languages of the project."""

    en: str
    fr: str

    def __call__(self, language: str) -> str:
        return self.fr if language == "fr" else self.en


def tr(*, en: str, fr: str) -> Text:
    """Make a bilingual text; both languages are required, so that none is forgotten."""
    return Text(en, fr)


@dataclass(frozen=True, kw_only=True)
class Claim:
    """Base of all claims."""

    role: str = ""
    """Name of the role that made the claim; set by the collector."""
    host: str = "main"
    """Host the claim applies to; set by the collector."""


@dataclass(frozen=True)
class Needs(Claim):
    """Another role must provide this capability; it is placed on the host automatically."""

    capability: str


@dataclass(frozen=True)
class Provides(Claim):
    """This role provides a capability."""

    capability: str


@dataclass(frozen=True)
class Package(Claim):
    """Debian packages, installed for all roles in one apt transaction, without recommends."""

    names: tuple[str, ...]

    def __init__(self, *names: str, role: str = "", host: str = "main") -> None:
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "role", role)
        object.__setattr__(self, "host", host)


@dataclass(frozen=True)
class Port(Claim):
    """A port of this role that the firewall opens.

    :param exposure: ``public`` to everyone, ``lan`` to private networks (RFC 1918, RFC 4193) only.
    """

    number: int
    proto: Literal["tcp", "udp"] = "tcp"
    exposure: Literal["public", "lan"] = "public"
    why: str = ""


@dataclass(frozen=True)
class Outbound(Claim):
    """What the role must reach outside, in words an administrator understands."""

    what: str


@dataclass(frozen=True)
class RateLimit(Claim):
    """An nginx request-rate zone, keyed by client address.

    :param per_minute: requests per minute that are allowed on average.
    :param burst: requests above the rate that are served at once.
    """

    zone: str
    per_minute: int
    burst: int = 20


@dataclass(frozen=True)
class Jail(Claim):
    """A fail2ban jail fed from the journal.

    :param filter: name of a fail2ban filter (Debian's, or one the role ships in ``filter_text``).
    :param journal: journal match, such as ``_SYSTEMD_UNIT=ssh.service``.
    :param ports: TCP ports from which an offender is banned.
    :param find_seconds: the window in which ``retries`` failures lead to a ban of ``ban_seconds``.
    """

    name: str
    filter: str
    journal: str
    ports: tuple[int, ...]
    retries: int = 5
    find_seconds: int = 600
    ban_seconds: int = 900
    filter_text: str = ""


@dataclass(frozen=True)
class Vhost(Claim):
    """A name served over HTTPS. Port 80 only redirects and answers ACME challenges.

    :param root: directory of static files, or
    :param upstream: ``host:port`` or ``unix:/path`` that requests are proxied to.
    :param snippet: nginx directives for inside the server block, from the role's own template.
    :param websocket: pass Upgrade headers to the upstream.
    :param deny: path prefixes that answer 404 to everyone.
    :param csp: Content-Security-Policy of the answers; None leaves it to the application.
    :param rate_zone: name of a `RateLimit` zone that applies to the whole vhost.
    :param public: listed for members on the portal when the role is a service.
    """

    fqdn: str
    root: str | None = None
    upstream: str | None = None
    snippet: str = ""
    websocket: bool = False
    deny: tuple[str, ...] = ()
    csp: str | None = "default-src 'none'; frame-ancestors 'none'"
    rate_zone: str | None = None
    max_body_mb: int = 1


@dataclass(frozen=True)
class Certificate(Claim):
    """A certificate for these names, the first one names it.

    Readers use ``/etc/houblon/tls/<first name>/{fullchain,privkey}.pem``: a stable path that exists from the
    first run on (self-signed until one is issued).

    :param reload: command that makes the reader use a new certificate.
    :param readers: system groups that may read the private key besides root.
    """

    names: tuple[str, ...]
    reload: str = ""
    readers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Database(Claim):
    """A database with a role of the same name, reached by peer authentication."""

    engine: Literal["postgresql", "mariadb"]
    name: str


@dataclass(frozen=True)
class RedisUser(Claim):
    """A user of Redis, reached by its unix socket `houblon.software.REDIS`, who sees only keys of its own.

    The role also claims ``Secret("redis")``: the user's password, which the provider reads.

    :param name: of the user; its keys begin with ``<name>:``.
    :param lists_keys: may use KEYS, which also tells the names of everybody else's keys (never what is in them).
    """

    name: str
    lists_keys: bool = False


@dataclass(frozen=True)
class PhpPool(Claim):
    """PHP programs of the role, run in a pool of their own that nginx reaches at `socket`.

    :param name: of the pool, and of the system user it runs as, which the role makes.
    :param extensions: that the programs need, as Debian names their packages without ``php8.4-``; ``cli`` gives
        ``/usr/bin/php8.4``.
    :param paths: directories besides the temporary one that may be opened (``open_basedir``).
    :param settings: further php.ini settings, enforced.
    :param environment: variables the programs see.
    :param worker_mb: memory of one busy worker, in mebibytes; the provider decides how many there are.
    :param request_seconds: longest time that one request may take.
    """

    name: str
    extensions: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    settings: tuple[tuple[str, str], ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    worker_mb: int = 64
    request_seconds: int = 3600

    @property
    def socket(self) -> str:
        """Path of the unix socket, which only nginx may open."""
        return f"/run/php/houblon-{self.name}.sock"


@dataclass(frozen=True)
class Artifact(Claim):
    """An upstream release, pinned; on the host its tree lies in ``/opt/<name>/<version>``, read-only.

    Roles do not make it by hand: `Role.artifacts` reads them from the role's ``artifacts.toml``.

    :param urls: where it is downloaded from, tried in order.
    :param sha256: of the archive.
    :param top: the one directory in the archive that is unpacked; everything lies below it.
    :param architecture: as Debian names it, ``all`` for what runs everywhere.
    :param signature: address of a detached OpenPGP signature, and the file in the role's folder with the public
        key (or certificate) that must have made it; both empty where upstream does not sign.
    :param limit_mb: largest size of the unpacked tree, in mebibytes.
    :param unverified: the pin is a test manifest's, not upstream's.
    """

    name: str
    version: str
    urls: tuple[str, ...]
    sha256: str
    top: str
    architecture: str = "all"
    signature: str = ""
    key: str = ""
    limit_mb: int = 1024
    unverified: bool = False


@dataclass(frozen=True)
class Plugin(Claim):
    """The role adds something to another one, found by what that one provides: an app to Nextcloud, say.

    :param capability: which the role plugged into provides.
    :param name: of the plugin as that role knows it.
    :param artifact: name of the `Artifact` claim with its code; empty when that role ships it.
    """

    capability: str
    name: str
    artifact: str = ""


@dataclass(frozen=True)
class Accounts(Claim):
    """The role knows people from the one directory of accounts (`houblon.directory`), by a bind of its own.

    It also claims ``Secret("directory")``: the password of that bind, which the provider reads.

    :param groups: whose members may use the role; empty: everyone with an account.
    :param needs: attributes it may read of the people it sees, besides `houblon.directory.ALWAYS`.
    :param writes: attributes it may write on behalf of people (a page where they choose their password).
    """

    groups: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()


@dataclass(frozen=True)
class OidcClient(Claim):
    """The role signs people in by OpenID Connect (authorization code flow, PKCE).

    Its client id is the role's name; it also claims ``Secret("oidc")``, which the provider reads.

    :param redirect: addresses people may be sent back to, exactly.
    :param groups: whose members may sign in; empty: everyone with an account.
    """

    redirect: tuple[str, ...]
    logout: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()


@dataclass(frozen=True)
class Person(Claim):
    """What a role knows of one person, for a removal and for article 15 to 20 of the GDPR.

    Each is a shell command, run as root on the host with the person's name in ``$HOUBLON_PERSON``; empty when there
    is nothing to do. All must succeed, and do nothing, for a name the role does not know.

    :param show: prints a line for each thing that `delete` would delete.
    :param export: writes that into the directory ``$HOUBLON_EXPORT``.
    :param delete: deletes it.
    :param shut_out: ends the person's sessions and tokens at once.
    :param forget_factor: removes the second factor of somebody who lost it.
    """

    what: Text
    show: str = ""
    export: str = ""
    delete: str = ""
    shut_out: str = ""
    forget_factor: str = ""


@dataclass(frozen=True)
class Invites(Claim):
    """The role makes one-time links by which people choose their password.

    :param command: shell command, run as root on the host. Standard input: a JSON object on each line,
        ``{"name": "alice", "hours": 72, "language": "fr"}``; standard output: in the same order, on each line
        ``{"name": "alice", "url": "https://...", "expires": EPOCH_SECONDS}``. Making one again ends the earlier.
    """

    command: str


@dataclass(frozen=True)
class Console(Claim):
    """A program of the role that the operator may run by hand, as `houblon occ` does.

    :param name: what the operator calls it.
    :param command: path of a program on the host, run as root with the operator's arguments; it steps down itself.
    """

    name: str
    command: str


@dataclass(frozen=True)
class Location(Claim):
    """A path on a name that another role serves, such as one under ``/.well-known/`` (RFC 8615).

    :param path: a prefix when it ends in ``/``, exact otherwise.
    :param root: directory of static files, or
    :param redirect: address that answers with status 301.
    """

    fqdn: str
    path: str
    root: str = ""
    redirect: str = ""


@dataclass(frozen=True)
class Alert(Claim):
    """Something to raise the alarm for.

    :param name: of the cause, unique within the role.
    :param command: run as root every few minutes; a status other than 0 raises the alarm, with what it printed.
    :param after: consecutive failures before anybody is told.
    """

    name: str
    what: Text
    command: str
    after: int = 1


@dataclass(frozen=True)
class BackupSet(Claim):
    """What must be in a backup of this role for a restore to be complete.

    :param paths: directories and files to save.
    :param exclude: patterns below them that are not worth saving.
    :param dumps: ``engine:name`` of databases to dump.
    :param quiesce: commands (before, after) that make the data stand still meanwhile.
    :param dump: a command whose standard output is saved, for what is no database of those engines.
    :param restore: a command that puts the state back: run once the paths are there again, the dump on its standard
        input. It stops what must not run meanwhile and starts it again.
    :param compare: a command whose output must be the same before a backup and after its restore.
    """

    paths: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    dumps: tuple[str, ...] = ()
    quiesce: tuple[str, str] | None = None
    dump: str = ""
    restore: str = ""
    compare: str = ""


@dataclass(frozen=True)
class NoBackup(Claim):
    """The role keeps no state of its own; the reason is printed wherever backups are listed."""

    reason: Text


@dataclass(frozen=True)
class DnsRecord(Claim):
    """A DNS record the role wants to exist.

    ``value`` may be ``@host4``, ``@host6`` for the public addresses of the host.
    """

    name: str
    type: Literal["A", "AAAA", "CNAME", "TXT", "MX", "SRV", "TLSA", "CAA"]
    value: str
    required: bool = True


@dataclass(frozen=True)
class Unit(Claim):
    """A systemd unit that must be active (or, for a timer, waiting).

    :param sandbox: highest acceptable ``systemd-analyze security`` exposure (0 to 10);
        None for units that run no long-lived process of ours.
    """

    name: str
    sandbox: float | None = 5.0


@dataclass(frozen=True)
class Listen(Claim):
    """A local listener of the role that is not open to the outside."""

    port: int
    address: str = "127.0.0.1"
    proto: Literal["tcp", "udp"] = "tcp"


@dataclass(frozen=True)
class HttpCheck(Claim):
    """An HTTPS request that must give this status, and this text in its body."""

    url: str
    status: int = 200
    contains: str = ""


@dataclass(frozen=True)
class ConfigTest(Claim):
    """The program's own check of its configuration; exit status 0 means good."""

    command: str


@dataclass(frozen=True)
class Secret(Claim):
    """A secret the role uses; made once, on the operator's machine, kept in the vault.

    :param kind: ``password`` (readable characters), ``token`` (hex), ``ed25519-ssh``, ``rsa-2048`` ...
    :param length: characters, for passwords and tokens.
    """

    name: str
    kind: str = "password"
    length: int = 32
    description: str = ""


@dataclass(frozen=True)
class Resource(Claim):
    """What the role takes of the host at rest, in mebibytes; summed up and refused with numbers."""

    memory_mb: int = 0
    disk_mb: int = 0


@dataclass(frozen=True)
class PersonalData(Claim):
    """Data about people that the role keeps, where, and for how long (None: as long as the account)."""

    what: Text
    where: str
    retention_days: int | None


@dataclass(frozen=True)
class DataPath(Claim):
    """A directory with people's data: kept by `remove`, deleted only by `remove --purge`."""

    path: str


@dataclass(frozen=True)
class HostName(Claim):
    """A name of the site that the host itself resolves to its loopback address."""

    fqdn: str


ALL: tuple[type[Claim], ...] = tuple(
    value for value in list(globals().values()) if isinstance(value, type) and issubclass(value, Claim)
)
"""Every claim kind, for the registry and the generated reference."""

