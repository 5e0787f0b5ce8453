"""Whether the releases a site wants can be put on its host: judged before anything is changed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from houblon.artifacts import cached, refusal, verdict
from houblon.artifacts.needs import needed
from houblon.claims import Artifact
from houblon.errors import Refused
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
    """Everything that must be installed is in the cache.

    :raises Refused: naming what is not, and how to get it.
    """
    if missing := lacking(releases, seen):
        raise refusal(missing, site)


def check_room(releases: Iterable[Release], changes: Sequence[Change], seen: Seen) -> None:
    """The host's disks hold the archives and trees that a plan wants to add.

    :raises Refused: with the numbers.
    """
    planned = {change.subject for change in changes if change.kind == "release" and change.action != "delete"}
    need: dict[str, int] = {}
    inodes: dict[str, int] = {}
    names: list[str] = []
    rooms = seen.releases.rooms
    for release in releases:
        if f"{release.name} {release.version}" not in planned:
            continue
        about = verdict(release.artifact)
        names.append(f"{release.name} {release.version}")
        send = max(0, about.size - seen.releases.archives.get(release.sha256, 0))
        for room, count in (("cache", send), ("tree", about.unpacked + about.members * BLOCK)):
            device = rooms[room].device
            need[device] = need.get(device, 0) + count
        inodes[rooms["tree"].device] = inodes.get(rooms["tree"].device, 0) + about.members
    for where, path in (("tree", "/opt"), ("cache", "/var/cache")):
        now = rooms.get(where)
        if now is None or now.device not in need:
            continue
        mb, free = need[now.device] // 1_000_000 + RESERVE_MB, now.free_kb * 1024 // 1_000_000
        if mb > free:
            raise Refused(
                f"{' and '.join(names)} need{'s' if len(names) == 1 else ''} {mb} MB on the disk of {path}, "
                f"{RESERVE_MB} MB of them to stay free, and {free} MB are free",
                cure="Free some, or give the host a larger disk. Nothing was changed.",
            )
        if now.inodes is not None and inodes.get(now.device, 0) > now.inodes:
            raise Refused(
                f"{' and '.join(names)} have {inodes[now.device]} files, and the disk of {path} has room for "
                f"{now.inodes}",
                cure="Delete files there, or make the file system anew with more inodes. Nothing was changed.",
            )


def foreign(releases: Iterable[Release], known: frozenset[str], seen: Seen) -> list[str]:
    """Directories that our releases would go into and that somebody else made, each as a sentence.

    :param known: names of the releases that an earlier apply recorded.
    """
    names = {release.name for release in releases} - known
    return [f"/opt/{name} exists and is not ours" for name in sorted(names) if f"/opt/{name}" in seen.releases.taken]
