"""What Nextcloud has of one person: shown, exported, deleted; and how they are shut out."""

from __future__ import annotations

from collections.abc import Iterator

from houblon.contract import Claim, Person, tr
from houblon.kit import Kit
from houblon.roles.nextcloud import paths
from houblon.software import POSTGRESQL_DIRECTORY

SCRIPT = "/usr/local/lib/houblon/nextcloud-person"


def claims() -> Iterator[Claim]:
    """The claim; its commands are those of `SCRIPT`."""
    yield Person(
        tr(
            en="Their files, the trash and earlier versions included, shares, calendars, contacts and settings",
            fr="Ses fichiers, corbeille et versions antérieures comprises, partages, agendas, contacts et réglages",
        ),
        show=f"{SCRIPT} show",
        export=f"{SCRIPT} export",
        delete=f"{SCRIPT} delete",
        # A session and an app's password are not asked of the directory again for five minutes.
        shut_out=f"{SCRIPT} shut-out",
        forget_factor=f"{SCRIPT} forget-factor",
    )


def install(kit: Kit) -> None:
    """Put the script in place."""
    kit.tree(SCRIPT, mode=0o755, paths=paths, database=POSTGRESQL_DIRECTORY)
