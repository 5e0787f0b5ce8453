"""What a site needs of the cache, and the one sentence that says how to get it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from houblon.artifacts.cache import by_hand, cached
from houblon.claims import Artifact
from houblon.errors import Refused

if TYPE_CHECKING:
    from houblon.site import Site


def needed(site: Site) -> list[Artifact]:
    """The releases of the roles that a site places; not those of services it no longer names."""
    placed = {role.name for role in site.roles}
    found = {claim.name: claim for claim in site.claims(Artifact) if claim.role in placed}
    return sorted(found.values(), key=lambda claim: claim.name)


def missing(site: Site) -> list[Artifact]:
    """The releases a site needs and the cache does not have."""
    return [claim for claim in needed(site) if cached(claim) is None]


def refusal(lacking: Sequence[Artifact], site: Site) -> Refused:
    """What to raise before any change, for the releases that can be had neither from the cache nor from the host."""
    names = ", ".join(f"{claim.name} {claim.version}" for claim in lacking)
    how = by_hand(lacking[0]) if len(lacking) == 1 else "import by hand what `houblon artifacts list` names."
    here = shlex.quote(str(site.folder))
    return Refused(f"not in the cache: {names}", cure=f"Run `houblon artifacts fetch {here}`, or {how}", file=site.file)


def key_of(site: Site, artifact: Artifact) -> Path | None:
    """The file with the key that signs a release."""
    return site.registry.roles[artifact.role].folder / artifact.key if artifact.key else None
