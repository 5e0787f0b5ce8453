"""Checks of upstream releases on the host: the code that runs is the code that was published."""

from __future__ import annotations

from collections.abc import Iterator

from houblon import claims as c
from houblon.claims import Text, tr
from houblon.facts.releases import LISTS, deeply, shown
from houblon.resources import Release
from houblon.verify import Broken
from houblon.verify.check import Check
from houblon.verify.context import Context

DEEP_SECONDS = 600
NAMED = 8


def artifact(claim: c.Artifact) -> Iterator[Check]:
    """The release is whole; with ``--deep``, every file of it is hashed, also where no change shows."""
    release = Release(claim)
    subject = f"{claim.name} {claim.version}"
    yield Check(claim.role, "release", subject, lambda x: _whole(x, release))
    yield Check(claim.role, "release, file by file", subject, lambda x: _deep(x, release), deep=True)


def _whole(x: Context, release: Release) -> None:
    now = x.releases.trees[release.key]
    if now.state == "good":
        return
    words = {
        "missing": tr(en=f"{release.path} is missing", fr=f"{release.path} est absent"),
        "unknown": tr(en=f"{release.path} was not made by houblon, or never finished",
                      fr=f"{release.path} n'a pas été fait par houblon, ou jamais achevé"),
        "other": tr(en=f"{release.path} was made from another archive", fr=f"{release.path} vient d'une autre archive"),
    }  # fmt: skip
    raise _broken(release, words.get(now.state) or _named(now.changed))


def _deep(x: Context, release: Release) -> None:
    answer = x.host.run(deeply(release), timeout=DEEP_SECONDS)
    changed = [shown(line) for line in answer.stdout.splitlines() if line]
    if answer.rc != 0 or changed:
        said = answer.stderr.strip()[-200:]
        # Not even the file system has noticed, so `apply` would see nothing to do.
        unnoticed = x.releases.trees[release.key].state == "good"
        raise _broken(release, _named(changed) if changed else Text(said, said), unnoticed)


def _broken(release: Release, seen: Text, unnoticed: bool = False) -> Broken:
    first = f"rm {LISTS}/{release.key}.stamp"
    return Broken(
        tr(en=f"{release.path} is as {release.name} {release.version} was published",
           fr=f"{release.path} est tel que {release.name} {release.version} a été publié"),
        seen,
        tr(en=f"The disk may be failing: after `{first}` on the host `houblon apply` puts it back.",
           fr=f"Le disque est peut-être en panne : après `{first}` sur l'hôte, `houblon apply` le rétablit.")
        if unnoticed else
        tr(en="Find out who changed it, since nobody should; `houblon apply` puts it back.",
           fr="Cherchez qui l'a modifié, car personne ne devrait ; `houblon apply` le rétablit."),
    )  # fmt: skip


def _named(paths: tuple[str, ...] | list[str]) -> Text:
    more = f" … +{len(paths) - NAMED}" if len(paths) > NAMED else ""
    listed = ", ".join(paths[:NAMED]) + more
    return tr(en=f"changed on the host: {listed}", fr=f"modifiés sur l'hôte : {listed}")
