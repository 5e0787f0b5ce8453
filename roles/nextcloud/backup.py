"""What must be saved of Nextcloud, and how it is put back."""

from __future__ import annotations

from collections.abc import Iterator

from houblon.contract import BackupSet, Claim
from houblon.kit import Kit
from houblon.roles.nextcloud import paths
from houblon.software import POSTGRESQL_DIRECTORY, REDIS_FORGET

SCRIPT = "/usr/local/lib/houblon/nextcloud-backup"


def claims() -> Iterator[Claim]:
    """The claim; its commands are those of `SCRIPT`."""
    yield BackupSet(
        # config.php holds the secrets that passwords in the database are hashed with; houblon.config.php is ours.
        paths=(f"{paths.CONFIG}/config.php", paths.DATA, paths.INSTALLED),
        # Of an upload that was going on.
        exclude=("*.part",),
        dumps=(f"postgresql:{paths.USER}",),
        quiesce=(f"{SCRIPT} quiesce", f"{SCRIPT} release"),
        restore=f"{SCRIPT} restore",
        compare=f"{SCRIPT} compare",
    )


def install(kit: Kit, cron: str) -> None:
    """Put the script in place.

    :param cron: name of the timer and of the service of background jobs, without a suffix.
    """
    kit.tree(SCRIPT, mode=0o755, paths=paths, database=POSTGRESQL_DIRECTORY, forget=REDIS_FORGET, cron=cron)
