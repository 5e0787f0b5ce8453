"""The contract between houblon and a role: what a role's folder must contain.

A role *declares* (`Config`, `metadata`, `claims`, `derive`) without side effects, offline, and *acts* in the
stages `install`, `configure`, `activate` and `remove`, by telling the kit what should be there. Nothing here
imports pyinfra, so that asking a role anything is free.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar, get_args

from pydantic import BaseModel, ConfigDict

from houblon.claims import (
    Accounts,
    Alert,
    Artifact,
    BackupSet,
    Certificate,
    Claim,
    ConfigTest,
    Console,
    Database,
    DataPath,
    DnsRecord,
    HostName,
    HttpCheck,
    Invites,
    Jail,
    Listen,
    Location,
    Needs,
    NoBackup,
    OidcClient,
    Outbound,
    Package,
    Person,
    PersonalData,
    PhpPool,
    Plugin,
    Port,
    Provides,
    RateLimit,
    RedisUser,
    Resource,
    Secret,
    Text,
    Unit,
    Vhost,
    tr,
)

if TYPE_CHECKING:
    from houblon.kit import Kit
    from houblon.site import Site

__all__ = [
    "Accounts", "Alert", "Artifact", "BackupSet", "Certificate", "Claim", "Config", "ConfigTest", "Console",
    "DataPath", "Database", "DnsRecord", "HostName", "HttpCheck", "Invites", "Jail", "Listen", "Location",
    "Metadata", "Needs", "NoBackup", "OidcClient", "Outbound", "Package", "Person", "PersonalData", "PhpPool",
    "Plugin", "Port", "Provides", "RateLimit", "RedisUser", "Resource", "Role", "Secret", "Text", "Unit", "Vhost",
    "tr",
]


class Config(BaseModel):
    """A role's section of the site file: frozen, strict, no unknown keys.

    Every field has a default unless only the site's owner can know the value; field docstrings become the
    reference and the editor's hints.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True, validate_default=True
    )


@dataclass(frozen=True)
class Metadata:
    """What people are told about a role, on the portal and in the docs.

    :param category: ``system`` roles are placed when something needs them (their options stand at the top
        level of the site file); any other category is a service that the site's owner chooses.
    :param upstream: state of the software behind it.
    :param called: what members call it, where ``title`` is a program's name that tells them nothing.
    """

    title: str
    summary: Text
    category: str
    licence: str
    homepage: str
    source: str = ""
    upstream: Literal["maintained", "unmaintained", "end of life"] = "maintained"
    called: Text | None = None

    def name(self, language: str) -> str:
        """What to call it before members: ``called``, else ``title``."""
        return self.called(language) if self.called else self.title


C = TypeVar("C", bound=Config)


class Role(Generic[C]):
    """One service or system concern. Subclass it once in ``roles/<name>/__init__.py``."""

    metadata: ClassVar[Metadata]
    always: ClassVar[bool] = False
    """Placed on every host, needed by anybody or not."""
    by_section: ClassVar[bool] = False
    """A system role that is placed when its section stands in the site file, needed by anybody or not."""
    first: ClassVar[bool] = False
    """Finishes all its stages before other roles begin theirs (base, ssh, firewall)."""
    debian: ClassVar[tuple[int, ...]] = (12, 13)
    """Versions of Debian it runs on; a site for another one is refused."""
    consumes: ClassVar[tuple[type[Claim], ...]] = ()
    """Kinds of claims this role provides for; a claim of such a kind places the role."""
    provides: ClassVar[tuple[str, ...]] = ()
    """Capabilities that `Needs` may name."""

    name: ClassVar[str]
    """The folder's name; set by the registry."""
    folder: ClassVar[Path]
    """The role's folder; set by the registry."""

    def __init__(self, config: C, site: Site) -> None:
        self.config = config
        self.site = site

    @classmethod
    def config_type(cls) -> type[Config]:
        """The `Config` class of this role, read from ``Role[...]``."""
        for base in getattr(cls, "__orig_bases__", ()):
            args: tuple[Any, ...] = get_args(base)
            if args and isinstance(args[0], type) and issubclass(args[0], Config):
                return args[0]
        return Config

    def artifacts(self) -> Iterator[Artifact]:
        """The releases that the role's ``artifacts.toml`` pins, or the site's ``pins.lock`` holds back."""
        return self.site.pins.artifacts(self.name, self.folder)

    def claims(self) -> Iterator[Claim]:
        """What the role needs and promises, from its settings alone."""
        return iter(())

    def derive(self) -> Iterator[Claim]:
        """Further claims that follow from the claims of others (``self.site.claims(Kind)``)."""
        return iter(())

    def notes(self) -> Iterator[str]:
        """What `houblon check` should remark although nothing is wrong, such as a text that is still missing."""
        return iter(())

    def install(self, kit: Kit) -> None:
        """Put in place what the service consists of: users, directories, code. Starts nothing."""

    def configure(self, kit: Kit) -> None:
        """Write its configuration."""

    def activate(self, kit: Kit) -> None:
        """Start it, and wait until it really serves."""

    def remove(self, kit: Kit) -> None:
        """What must be undone besides the files, links and units houblon recorded for the role."""

    def purge(self, kit: Kit, claims: Iterable[Claim]) -> None:
        """Delete the data that this provider keeps for claims of a role that is removed with its data."""
