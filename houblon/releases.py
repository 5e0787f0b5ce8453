"""Whether the releases a site wants can be put on its host: judged before anything is changed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from houblon.artifacts import cached, damaged, refusal, verdict
from houblon.artifacts.needs import needed
from houblon.claims import Artifact
from houblon.errors import Refused
from houblon.facts.releases import CACHE, Room
from houblon.facts.snapshot import Seen
from houblon.operations.run import Change
from houblon.resources import Release

if TYPE_CHECKING:
    from houblon.site import Site

RESERVE_MB = 100
"""Kept free beside what the archive and its tree take."""
BLOCK = 4096
"""What a small file takes on disk, at most."""


def wanted(site: Site, only: str | None = None) -> list[Release]:
    """The releases of the roles that the site places, or of one of them."""
    return [Release(claim) for claim in needed(site) if only in (None, claim.role)]


def unverified(site: Site) -> list[str]:
    """Releases whose pin a test manifest has replaced, by name and version."""
    return [f"{claim.name} {claim.version}" for claim in needed(site) if claim.unverified]


def check_pins(site: Site, seen: Seen) -> None:
    """Only a host that `houblon lab` has made takes releases that nobody has verified.

    :raises Refused: any other host.
    """
    names = unverified(site)
    if names and not (seen.facts.get("lab") and seen.facts.get("container")):
        raise Refused(
            f"{', '.join(names)} would come from a test manifest, UNVERIFIED, and this is no lab host",
            cure="Unset $HOUBLON_TEST_PINS.",
        )


def lacking(releases: Iterable[Release], seen: Seen) -> list[Artifact]:
    """What neither this machine's cache nor the host has."""
    return [r.artifact for r in releases if seen.releases.state(r) != "good" and cached(r.artifact) is None]


def check_there(site: Site, releases: Iterable[Release], seen: Seen) -> None:
    """Everything that must be installed is in the cache, with the sum it had when it was judged.

    :raises Refused: naming what is not, and how to get it.
    """
    wanted = list(releases)
    damaged(release.artifact for release in wanted if seen.releases.state(release) != "good")
    if missing := lacking(wanted, seen):
        raise refusal(missing, site)


def check_room(releases: Iterable[Release], changes: Sequence[Change], seen: Seen) -> None:
    """The host's disks hold the archives and trees that a plan wants to add.

    :raises Refused: with the numbers.
    """
    planned = {change.subject for change in changes if change.kind == "release" and change.action != "delete"}
    mine = [release for release in releases if f"{release.name} {release.version}" in planned]
    needs: dict[str, Need] = {}
    for release in mine:
        about = verdict(release.artifact)
        send = max(0, about.size - seen.releases.archives.get(release.sha256, 0))
        home = f"/opt/{release.name}"
        for path, size, files in ((CACHE, send, 1), (home, about.unpacked + about.members * BLOCK, about.members)):
            need = needs.setdefault(seen.releases.rooms[path].device, Need(path, seen.releases.rooms[path]))
            need.bytes += size
            need.files += files
    names = " and ".join(f"{release.name} {release.version}" for release in mine)
    verb = "needs" if len(mine) == 1 else "need"
    for need in needs.values():
        mb, free = need.bytes // 1_000_000 + RESERVE_MB, need.room.free_kb * 1024 // 1_000_000
        if mb > free:
            raise Refused(
                f"{names} {verb} {mb} MB on the disk of {need.path} ({RESERVE_MB} MB of them stay free), "
                f"and {free} MB are free",
                cure="Free some, or give the host a larger disk. Nothing was changed.",
            )
        if need.room.inodes is not None and need.files > need.room.inodes:
            raise Refused(
                f"{names} {verb} {need.files} inodes on the disk of {need.path}, and {need.room.inodes} are free",
                cure="Delete files there, or make the file system anew with more inodes. Nothing was changed.",
            )


@dataclass
class Need:
    """What a plan puts on one file system; ``path`` is a directory on it."""

    path: str
    room: Room
    bytes: int = 0
    files: int = 0


def foreign(releases: Iterable[Release], known: frozenset[str], seen: Seen) -> list[str]:
    """Directories that our releases would go into and that somebody else made, each as a sentence.

    :param known: files and links that an earlier apply recorded or was about to make.
    """
    homes = {f"/opt/{release.name}" for release in releases if release.link not in known}
    return [f"{home} exists and is not ours" for home in sorted(homes & seen.releases.taken)]
