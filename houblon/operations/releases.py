"""Upstream releases: pushed from the operator's cache in pieces, unpacked aside, and put in place with one rename.

The stamp is written last. A run that is killed anywhere leaves either the archive's first bytes, a tree aside, or a
tree without a stamp; the next one goes on from there.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from houblon.artifacts import LISTING_SHELL, Verdict, cached, verdict
from houblon.facts.releases import CACHE, FUNCTIONS, LISTS, part
from houblon.facts.snapshot import STAMPS, Seen
from houblon.operations.files import REPLACED
from houblon.operations.run import Change, Run, StepFailed
from houblon.resources import Batch, OldRelease, Release

PIECE_SECONDS = 5
"""A piece is sent under the lease as one command: short enough that a run which lost the host stops soon."""
SMALLEST, LARGEST = 1 << 18, 1 << 23
PIECE_LIMIT_SECONDS = 120
"""A line that vanished must not keep the host's end of a piece waiting, and the next run with it."""
UNPACK_SECONDS = 1800
NAMED = 3
PART_DAYS = 7
"""After this nobody comes back for the first bytes of an archive."""


def diff(batch: Batch, seen: Seen, run: Run) -> list[Change]:
    """Which releases are to be installed, put back or deleted."""
    changes = []
    for item in batch.items:
        assert isinstance(item, Release | OldRelease)
        subject = f"{item.name} {item.version}"
        if isinstance(item, OldRelease):
            if item.path in seen.paths:
                changes.append(Change(batch.role, batch.stage, "release", subject, "delete"))
            continue
        now = seen.releases.trees.get(item.key)
        if now is not None and now.state == "good":
            continue
        run.touched[batch.role] += [item.path, item.link]
        archive = cached(item.artifact)
        if now is None or now.state == "missing":
            changes.append(Change(batch.role, batch.stage, "release", subject, "install", _cost(item, archive, seen)))
            continue
        why = {"other": "made from another archive", "unknown": "not made by houblon, or not finished"}.get(now.state)
        if why is None:
            more = len(now.changed) - NAMED
            why = ", ".join(now.changed[:NAMED]) + (f" and {more} more" if more > 0 else "") + " changed on the host"
        changes.append(
            Change(batch.role, batch.stage, "release", subject, "restore", f"{why}; {_cost(item, archive, seen)}")
        )
    return changes


def perform(batch: Batch, changes: Sequence[Change], run: Run) -> None:
    """Install or delete them.

    :raises StepFailed: when the archive is missing here or damaged there, or the disk is full.
    """
    wanted = {change.subject for change in changes}
    for item in batch.items:
        assert isinstance(item, Release | OldRelease)
        if f"{item.name} {item.version}" not in wanted:
            continue
        if isinstance(item, OldRelease):
            run.shell(_delete(item), step=f"delete release {item.name} {item.version}")
            continue
        archive = cached(item.artifact)
        if archive is None:
            raise StepFailed("its archive is not in the cache", f"release {item.name} {item.version}")
        about = verdict(item.artifact)
        push(item, archive, run)
        run.detail(f"{item.name} {item.version}: unpacking")
        stale = run.stamps_read_from([item.path])
        run.shell(_unpack(item, about, stale), timeout=UNPACK_SECONDS, step=f"unpack {item.name} {item.version}")


def push(item: Release, archive: Path, run: Run) -> None:
    """Send what the host lacks of an archive, and have the host check all of it.

    :raises StepFailed: when it arrives damaged twice, or the host has no room for it.
    """
    step = f"send {item.name} {item.version}"
    for last in (False, True):
        _send(item, archive, run, step)
        answer = run.shell(
            f"p={part(item.sha256)}; s=$(sha256sum <\"$p\"); [ \"${{s%% *}}\" = {item.sha256} ] && echo good || "
            "{ rm -f -- \"$p\"; echo damaged; }",
            timeout=UNPACK_SECONDS, step=step,
        )  # fmt: skip
        if answer.stdout.strip() == "good":
            return
        if last:
            raise StepFailed("the archive arrives damaged: the sum on the host is not the pinned one", step)


def refresh(items: Iterable[Release], run: Run) -> None:
    """Have trees that are good by content, as after a restore, looked at without hashing them from now on.

    :raises StepFailed: when this run no longer holds the host.
    """
    for item in items:
        if run.seen.releases.trees[item.key].hashed:
            run.shell(_refresh(item), timeout=UNPACK_SECONDS, step=f"look at release {item.name} {item.version}")


def size(count: float) -> str:
    """Bytes for people, decimal as downloads are told."""
    return f"{count / 1e6:.0f} MB" if count >= 1e6 else f"{max(1, count / 1e3):.0f} kB"


# --- inside ----------------------------------------------------------------------------------------------


def _cost(item: Release, archive: Path | None, seen: Seen) -> str:
    if archive is None:
        return "its archive is not in the cache"
    about = verdict(item.artifact)
    left = about.size - seen.releases.archives.get(item.sha256, 0)
    return f"{size(left) if left > 0 else 'nothing'} to send, {size(about.unpacked)} unpacked"


def _send(item: Release, archive: Path, run: Run, step: str) -> None:
    total = archive.stat().st_size
    path = part(item.sha256)
    # What a run before this one sent of it; of a larger one nothing can be right.
    answer = run.shell(
        f"set -eu; mkdir -p -m 700 {CACHE}; chmod 700 {CACHE}; p={path}; [ -f \"$p\" ] || : >\"$p\"; "
        f"[ $(stat -c %s \"$p\") -le {total} ] || : >\"$p\"; stat -c %s \"$p\"",
        step=step,
    )  # fmt: skip
    have = int(answer.stdout)
    piece = SMALLEST
    with archive.open("rb") as file:
        while have < total:
            run.detail(f"{item.name} {item.version}: {size(have)} of {size(total)} sent")
            file.seek(have)
            data = file.read(piece)
            started = time.monotonic()
            answer = run.shell(
                f"p={path}\n[ $(stat -c %s \"$p\") -eq {have} ] || {{ echo 'somebody else writes it' >&2; exit 65; }}\n"
                f"timeout {PIECE_LIMIT_SECONDS} head -c {len(data)} >>\"$p\" || [ $? -eq 124 ] || "
                "{ rm -f -- \"$p\"; exit 65; }\nstat -c %s \"$p\"",
                data, step=step,
            )  # fmt: skip
            now = int(answer.stdout)
            if now <= have:
                raise StepFailed(f"nothing arrived within {PIECE_LIMIT_SECONDS} s", step)
            have = now
            if time.monotonic() - started < PIECE_SECONDS / 2:
                piece = min(piece * 2, LARGEST)
            else:
                piece = max(piece // 2, SMALLEST)


def _unpack(item: Release, about: Verdict, stale: Sequence[str]) -> str:
    home, tree, key = shlex.quote(f"/opt/{item.name}"), shlex.quote(item.path), shlex.quote(item.key)
    top = shlex.quote(item.artifact.top)
    void = " ".join(shlex.quote(f"{STAMPS}/{name}") for name in stale)
    return rf"""set -eu
umask 022
{FUNCTIONS}{LISTING_SHELL}
h={home}; t={tree}; a=$h/.houblon-{shlex.quote(item.version)}.new; o=$h/.houblon-{shlex.quote(item.version)}.old
l={LISTS}/{key}; p={part(item.sha256)}
stop() {{ printf '%s\n' "$1" >&2; exit 65; }}
trap 'rm -rf --one-file-system -- "$a"' EXIT
[ ! -L "$h" ] || stop "$h is a symbolic link, which houblon does not follow"
mkdir -p -- "$h" {LISTS}
chown root:root -- "$h"; chmod 755 -- "$h"
# Whatever a killed run left, of other versions too.
rm -rf --one-file-system -- "$h"/.houblon-*.new "$h"/.houblon-*.old
mkdir -- "$a"
plainly='--no-same-owner --no-same-permissions --no-acls --no-xattrs --no-selinux'
said=$(tar --extract --file="$p" --directory="$a" $plainly 2>&1) ||
  stop "$(printf '%s\n' "$said" | head -n 2; df -h -- "$a" | tail -n 1)"
n=$a/{top}
[ -d "$n" ] && [ ! -L "$n" ] || stop 'the archive lacks the directory '{top}
[ "$(listing "$n")" = {about.listing} ] || stop 'what tar has unpacked is not what was judged'
chmod -R a=rX,a-st -- "$n"
sums "$n" >"$l.sha256.new"
names "$n" >"$l.tree.new"
sync -f -- "$a"
rm -f -- "$l.stamp" {void}
# A tree without lists was never ours.
if [ -e "$t" ] && [ ! -e "$l.tree" ]; then
  r={REPLACED}/opt/{shlex.quote(item.name)}; mkdir -p -m 700 {REPLACED}; mkdir -p -- "$r"
  [ ! -e "$r/${{t##*/}}" ] || stop "$r/${{t##*/}} is in the way of keeping what stands at $t"
  mv -T -- "$t" "$r/${{t##*/}}"
fi
mv -f -- "$l.sha256.new" "$l.sha256"
mv -f -- "$l.tree.new" "$l.tree"
if [ -e "$t" ] || [ -L "$t" ]; then
  # Older coreutils cannot exchange: then there is a moment without the release.
  mv --exchange -T -- "$n" "$t" 2>/dev/null || {{ mv -T -- "$t" "$o"; mv -T -- "$n" "$t"; }}
else
  mv -T -- "$n" "$t"
fi
printf '%s %s' {item.sha256} "$(witness "$t")" >"$l.stamp.new"
sync -f -- "$h"; sync -f -- {LISTS}
mv -f -- "$l.stamp.new" "$l.stamp"
rm -rf --one-file-system -- "$o" "$p"
find {CACHE} -name '*.part' -mtime +{PART_DAYS} -delete
"""


def _refresh(item: Release) -> str:
    stamp, tree = shlex.quote(f"{LISTS}/{item.key}.stamp"), shlex.quote(item.path)
    # The witness first: what is changed while the files are hashed must not be vouched for.
    return f"""{FUNCTIONS}
w=$(witness {tree})
if [ -z "$(differs {shlex.quote(item.key)} {tree})" ]; then
  {{ printf '%s %s' {item.sha256} "$w" >{stamp}.new && mv -f -- {stamp}.new {stamp}; }} || rm -f -- {stamp}.new
fi
:
"""


def _delete(item: OldRelease) -> str:
    home, tree, key = shlex.quote(f"/opt/{item.name}"), shlex.quote(item.path), shlex.quote(item.key)
    return f"""set -eu
[ ! -L {home} ] || {{ echo {home}' is a symbolic link, which houblon does not follow' >&2; exit 65; }}
[ "$(readlink -f -- {home}/current)" != {tree} ] || {{ echo 'it is in use' >&2; exit 65; }}
rm -f -- {LISTS}/{key}.stamp
rm -rf --one-file-system -- {tree} {home}/.houblon-*.new {home}/.houblon-*.old
rm -f -- {LISTS}/{key}.sha256 {LISTS}/{key}.tree
[ ! -d {home} ] || rmdir --ignore-fail-on-non-empty -- {home}
"""
