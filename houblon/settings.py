"""What may stand in the fixed part of a site file, and how each value is judged.

The same functions judge the answers given to `houblon init`, so that both say the same.
"""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from houblon import sshkey
from houblon.software import Debian

FORMAT = 1
"""Version of the site file's format that this houblon writes."""

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_USER = re.compile(r"[a-z][a-z0-9_-]{0,30}")
_EMAIL_LOCAL = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}")

SYSTEM_USERS = frozenset({
    "root", "daemon", "bin", "sys", "sync", "games", "man", "lp", "mail", "news", "uucp", "proxy",
    "www-data", "backup", "list", "irc", "gnats", "nobody", "_apt", "systemd-network", "systemd-resolve",
    "systemd-timesync", "systemd-coredump", "messagebus", "sshd", "ntp", "chrony", "postfix", "opendkim",
    "dovecot", "dovenull", "vmail", "redis", "postgres", "mysql", "rspamd", "nginx", "certbot",
    "fail2ban", "unbound", "knot", "houblon", "paper", "debian-tor", "nextcloud", "etherpad", "privatebin",
    "portal", "admin", "adm", "sudo", "users", "operator", "staff", "shadow", "ssl-cert", "tty", "disk",
    "kmem", "dialout", "fax", "voice", "cdrom", "floppy", "tape", "audio", "dip", "src", "utmp", "video",
    "sasl", "plugdev", "crontab", "input", "sgx", "kvm", "render", "netdev", "wheel", "ssh", "_ssh",
    "polkitd", "uuidd", "tss", "postdrop", "systemd-journal",
})
"""Names of Debian's own accounts and groups, and of those our roles make: an admin has a group of the same
name (Debian base-passwd; `admin` and `wheel` are groups with rights in some sudo configurations). "paper" is
what the vault calls the key on paper."""


class Wrong(ValueError):
    """A value that is refused: what is wrong, in a few words, and the cure. Never holds a secret."""

    def __init__(self, what: str, cure: str) -> None:
        super().__init__(what)
        self.what, self.cure = what, cure


# --- judges: text in, normal form out, or Wrong ----------------------------------------------------------


def hostname(text: str) -> str:
    """A host name of one label or more, in lower case and ASCII (RFC 1123 section 2.1, RFC 3490 for IDNA)."""
    name = text.strip().lower()
    if "://" in name or "/" in name:
        raise Wrong("this is an address of a page, not a name", "Write the name alone, such as example.org.")
    if name.endswith("."):
        raise Wrong("a name is written without its final dot", "Leave out the dot at the end.")
    if not name.isascii():
        try:
            name = name.encode("idna").decode("ascii")
        except UnicodeError:
            raise Wrong("this is not a valid name", "Use letters, digits, hyphens and dots.") from None
    if "_" in name:
        raise Wrong("a name cannot contain an underscore", "Use a hyphen instead.")
    labels = name.split(".")
    bad = [label for label in labels if not _LABEL.fullmatch(label)]
    if bad or len(name) > 253:
        raise Wrong(
            "this is not a valid name",
            "Use letters, digits and hyphens, parted by single dots; at most 63 characters between dots.",
        )
    if labels[-1].isdigit():
        raise Wrong("a name does not end in a number", "Write a name, not an IP address.")
    return name


def domain(text: str) -> str:
    """A name with at least one dot, as certificates and mail need it."""
    name = hostname(text)
    if "." not in name:
        raise Wrong(
            "a domain has at least one dot", "On a LAN without a domain, use one such as maison.home.arpa."
        )
    if name.endswith(".localhost"):
        raise Wrong("names under localhost never leave a machine", "Use a name such as maison.home.arpa.")
    return name


def address(text: str) -> str:
    """An IPv4 or IPv6 address, or a host name."""
    bare = text.strip()
    try:
        return str(ipaddress.ip_address(bare))
    except ValueError:
        pass
    if bare.startswith("["):
        raise Wrong("an address has no brackets here", "Remove them; a port goes to `port`.")
    if "@" in bare:
        raise Wrong("a user does not belong here", "Write the user under `user`, the address alone here.")
    if re.fullmatch(r"[^:]+:\d+", bare):
        raise Wrong("a port does not belong here", "Write the port under `port`, the address alone here.")
    if re.fullmatch(r"[\d.]+", bare) or ":" in bare:
        raise Wrong("this is not a valid IP address", "Write it like 192.0.2.10 or 2001:db8::10, or a name.")
    return hostname(bare)


def user_name(text: str) -> str:
    """A Linux user name that Debian's adduser takes without protest (adduser.conf, NAME_REGEX)."""
    if not _USER.fullmatch(text):
        raise Wrong(
            "this is not a valid user name",
            "Use at most 31 small letters, digits, - and _, beginning with a letter: marie, j-dupont.",
        )
    return text


def admin_name(text: str) -> str:
    """A user name for a person: none that Debian or houblon uses itself."""
    name = user_name(text)
    if name in SYSTEM_USERS or name.startswith(("systemd-", "houblon")):
        raise Wrong("this name belongs to the system", "Use the person's own name, such as marie.")
    return name


def email(text: str) -> str:
    """An e-mail address of the everyday kind (RFC 5321 section 4.1.2, without quoted local parts)."""
    local, at, host = text.strip().rpartition("@")
    dots = local.startswith(".") or local.endswith(".") or ".." in local
    if not at or dots or not _EMAIL_LOCAL.fullmatch(local):
        raise Wrong("this is not an e-mail address", "Write it like marie@example.org.")
    try:
        return f"{local}@{domain(host)}"
    except Wrong:
        raise Wrong("the part after @ is not a domain", "Write it like marie@example.org.") from None


def public_key(text: str) -> str:
    """One line of ``authorized_keys`` that OpenSSH will really take."""
    try:
        return sshkey.parse(text).line
    except sshkey.BadKey as error:
        raise Wrong(error.what, error.cure) from None


def title(text: str) -> str:
    """A name for people: one line, at most 80 characters."""
    name = " ".join(text.split())
    if not name or len(name) > 80 or not name.isprintable():
        raise Wrong("this is not a name of 1 to 80 characters on one line", "Shorten it.")
    return name


def endpoint(text: str) -> tuple[str | None, str, int | None]:
    """User, address and port of ``[user@]address[:port]``; IPv6 stands in brackets when there is a port."""
    user, at, rest = text.strip().rpartition("@")
    if found := re.fullmatch(r"\[([^\]]+)\](?::(\d+))?", rest):
        where, digits = found.group(1), found.group(2)
    elif rest.count(":") == 1:
        where, digits = rest.split(":")
    else:
        where, digits = rest, None
    if digits is not None and not (re.fullmatch(r"[0-9]{1,5}", digits) and 1 <= int(digits) <= 65535):
        raise Wrong("the port is not a number from 1 to 65535", "Write user@address:port.")
    return user_name(user) if at else None, address(where), int(digits) if digits else None


def jump_host(text: str) -> str:
    """A host to go through, as ssh_config(5) writes it for ProxyJump."""
    user, where, port = endpoint(text)
    shown = f"[{where}]" if ":" in where and port else where
    return (f"{user}@" if user else "") + shown + (f":{port}" if port else "")


# --- the models ------------------------------------------------------------------------------------------

T = TypeVar("T")


def unique(what: str) -> Callable[[tuple[T, ...]], tuple[T, ...]]:
    """A judge that refuses a list with the same entry twice."""

    def judge(values: tuple[T, ...]) -> tuple[T, ...]:
        if any(count > 1 for count in Counter(values).values()):
            raise Wrong(f"the same {what} stands here twice", "Keep one of the two.")
        return values

    return judge


Domain = Annotated[str, AfterValidator(domain), Field(examples=["famille.example"])]
"""For a role's `Config`: a name with at least one dot."""
Subdomain = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
"""For a role's `Config`: the one label that a service has below the site's domain (RFC 1035, section 2.3.1)."""
Email = Annotated[str, AfterValidator(email), Field(examples=["marie@example.org"])]
"""For a role's `Config`: an e-mail address."""
Key = Annotated[str, AfterValidator(public_key), Field(examples=["ssh-ed25519 AAAA... marie@laptop"])]


class Settings(BaseModel):
    """Base of the site file's models: frozen, strict, no unknown keys."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True, validate_default=True
    )


class Admin(Settings):
    """Someone who runs the site: gets an account with sudo on the host, and can open the vault."""

    name: Annotated[str, AfterValidator(admin_name)]
    """Their user name on the host."""
    email: Email
    """Where certificates' authorities, cron jobs and alerts reach them."""
    keys: Annotated[tuple[Key, ...], Field(min_length=1), AfterValidator(unique("key"))]
    """Their SSH public keys: ed25519 (security keys too), ECDSA, or RSA of at least 3072 bits."""


class Host(Settings):
    """The server, and how it is reached the first time."""

    address: Annotated[str, AfterValidator(address)]
    """IPv4 or IPv6 address, or a name that resolves."""
    port: Annotated[int, Field(ge=1, le=65535)] = 22
    """TCP port of its SSH server."""
    user: Annotated[str, AfterValidator(user_name)] = "root"
    """Who to log in as before houblon has made the admins' accounts: root, or a user with sudo."""
    jump: Annotated[str, AfterValidator(jump_host)] | None = None
    """A host to go through: user@address:port."""
    debian: Debian = 13
    """Version of Debian on it. On 12, which is a host to move away from, only web services run."""
    architecture: Literal["amd64", "arm64"] = "amd64"
    """Its architecture, as `dpkg --print-architecture` names it; only for services whose programs depend on it."""


Language = Literal["fr", "en"]


def _admins(admins: tuple[Admin, ...]) -> tuple[Admin, ...]:
    names: set[str] = set()
    owners: dict[bytes, str] = {}
    for admin in admins:
        if admin.name in names:
            raise Wrong(f"two admins are called {admin.name}", "Give each their own name.")
        names.add(admin.name)
        for key in admin.keys:
            owner = owners.setdefault(sshkey.parse(key).blob, admin.name)
            if owner != admin.name:
                raise Wrong(
                    f"{owner} and {admin.name} have the same key",
                    "Give each their own key: the host tells by it who logs in.",
                )
    return admins


class Core(Settings):
    """The keys of the site file that belong to no role."""

    version: int
    """Version of this file's format."""
    name: Annotated[str, AfterValidator(title)]
    """What the site is called, for people."""
    domain: Domain
    """The site's domain; services live on names under it."""
    languages: Annotated[
        tuple[Language, ...], Field(min_length=1), AfterValidator(unique("language"))
    ] = ("fr", "en")
    """Languages of the pages people see; the first is the default."""
    admins: Annotated[tuple[Admin, ...], Field(min_length=1), AfterValidator(_admins)]
    """Who runs the site."""
    host: Host
    """The server."""
    services: dict[str, Any] = {}
    """The services, each with its few options; `{}` or nothing when the defaults do."""


MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}
"""For each older format version, what turns its data into the next version's. The file is not rewritten;
`houblon check` says that it is old."""
