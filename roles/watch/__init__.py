"""The outside eye on a host: it looks at other sites every two minutes, and raises the alarm for a silent one.

What looks and remembers is `houblon.watch`, standard library only, put on the host as it is; it runs as a user of
its own with nothing but the network. The alarm itself is a claim that asks for the eye's verdict on each name.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Annotated

from pydantic import AfterValidator, Field

from houblon.contract import (
    Alert,
    Claim,
    Config,
    Metadata,
    Needs,
    NoBackup,
    Outbound,
    Resource,
    Role,
    Unit,
    Vhost,
    tr,
)
from houblon.errors import BadInput
from houblon.kit import Kit
from houblon.settings import Domain, unique
from houblon.watch import PARTS, eye

CODE = "/usr/local/lib/houblon/python/houblon/watch"
COMMAND = "/usr/local/lib/houblon/watch"
CONFIG = "/etc/houblon/watch.json"
ROOTS = "/etc/houblon/watch-roots.pem"
STATE = "/var/lib/houblon-watch/state.json"
Names = Annotated[tuple[Domain, ...], AfterValidator(unique("name"))]


class WatchConfig(Config):
    """Section `watch:` of the site file; `houblon watch add` writes it."""

    names: Annotated[Names, Field(max_length=50)] = ()
    """Domains of the sites to look at; each must be a site of houblon, with its heartbeat."""
    roots: str | None = None
    """PEM file in the site folder with authorities to trust besides the public ones (sites on a LAN)."""
    control: Annotated[Names, Field(min_length=1, max_length=10)] = eye.CONTROL
    """Names on other networks with a valid certificate, asked only when a watched name is in trouble: one that answers
    proves that this host is online itself."""


class Watch(Role[WatchConfig]):
    metadata = Metadata(
        title="Watch",
        summary=tr(
            en="Looks at other sites from here, and tells when one is down.",
            fr="Regarde d'autres sites depuis ici, et prévient quand l'un ne répond plus.",
        ),
        category="system",
        licence="AGPL-3.0-or-later",
        homepage="",
    )
    by_section = True

    def claims(self) -> Iterator[Claim]:
        yield NoBackup(
            tr(
                en="What it has seen is minutes old, and seen again.",
                fr="Ce qu'il a vu date de quelques minutes, et se revoit.",
            )
        )
        self._roots_exist()
        if not self.config.names:
            return
        yield Needs("alerts")
        yield Resource(memory_mb=0, disk_mb=1)
        yield Outbound("the watched names on port 443, and the control names when one of those does not answer")
        yield Unit("houblon-watch.timer", sandbox=None)
        for name in self.config.names:
            yield Alert(
                name,
                tr(en=f"something is wrong with {name}", fr=f"{name} ne va pas bien"),
                f"{COMMAND} verdict {CONFIG} {name}",
            )
        yield Alert(
            "eye",
            tr(en="other sites are not looked at", fr="les autres sites ne sont plus regardés"),
            f"{COMMAND} verdict {CONFIG}",
        )

    def derive(self) -> Iterator[Claim]:
        """Nothing further, but only now are all names of this site known.

        :raises BadInput: an eye on its own host, which dies with it.
        """
        own = {self.site.domain, *(vhost.fqdn for vhost in self.site.claims(Vhost))}
        for name in self.config.names:
            if name in own:
                raise BadInput(
                    f"{name} is this site itself, and a dead host cannot tell of its own death",
                    cure="Watch it from another site, or from your own machine: `houblon watch install`.",
                    key="watch.names",
                )
        return iter(())

    def notes(self) -> Iterator[str]:
        if not self.config.names:
            yield "watch: no name to look at; `houblon watch add NAME` adds one."

    def configure(self, kit: Kit) -> None:
        if not self.config.names:
            kit.absent("/var/lib/private/houblon-watch", "/var/lib/houblon-watch")
            return
        for part in PARTS:
            kit.file(f"{CODE}/{part}", Path(eye.__file__).with_name(part).read_bytes())
        kit.tree(COMMAND, mode=0o755)
        if self.config.roots:
            kit.file(ROOTS, (self.site.folder / self.config.roots).read_bytes())
        kit.file(CONFIG, json.dumps(self._told(), indent=1) + "\n")
        kit.tree("/etc/systemd/system/houblon-watch.service", "/etc/systemd/system/houblon-watch.timer")

    def activate(self, kit: Kit) -> None:
        if self.config.names:
            kit.unit("houblon-watch.timer")

    def remove(self, kit: Kit) -> None:
        kit.absent("/var/lib/private/houblon-watch", "/var/lib/houblon-watch")

    def _told(self) -> dict[str, object]:
        """What the eye is told; see `houblon.watch.memory`."""
        return {
            "names": self.config.names,
            "control": self.config.control,
            "roots": ROOTS if self.config.roots else "",
            "language": self.site.languages[0],
            "state": STATE,
        }

    def _roots_exist(self) -> None:
        roots = self.config.roots
        if roots and not (self.site.folder / PurePosixPath(roots)).is_file():
            raise BadInput(
                f"there is no file {roots} in the site folder",
                cure="Put the PEM file there, or take the line out.", key="watch.roots",
            )  # fmt: skip
