"""Files, directories, links and paths that must be gone."""

from __future__ import annotations

import io
import shlex
import tarfile
from collections.abc import Sequence

from houblon.errors import Refused
from houblon.facts.snapshot import STAMPS, Entry, Seen
from houblon.operations.run import Change, Run
from houblon.resources import Absent, Batch, Directory, File, Item, Link

STAGE = "/var/lib/houblon/stage"
REPLACED = "/var/lib/houblon/replaced"
_REGULAR = ("regular file", "regular empty file")


def diff(batch: Batch, seen: Seen, run: Run) -> list[Change]:
    """What differs in a batch of File, Directory, Link or Absent items.

    :raises Refused: when a directory stands where a file must go, or the other way round.
    """
    changes = []
    for item in batch.items:
        change = _diff(batch, item, seen, run)
        if change is not None:
            changes.append(change)
            if not isinstance(item, Directory):
                run.touched[batch.role].append(change.subject)
    return changes


def _diff(batch: Batch, item: Item, seen: Seen, run: Run) -> Change | None:
    match item:
        case Absent():
            if item.path in seen.paths:
                if seen.paths[item.path].kind == "directory" and not item.tree:
                    raise _in_the_way(item.path, "directory", "file (which would now be deleted)")
                return Change(batch.role, batch.stage, "path", item.path, "delete")
            if item.comes_with and item.comes_with not in seen.packages and run.new_packages:
                return Change(
                    batch.role, batch.stage, "path", item.path, "delete", f"comes with {item.comes_with}"
                )
            return None
        case Link():
            entry = seen.paths.get(item.path)
            if entry is None:
                return Change(batch.role, batch.stage, "link", item.path, "create", f"to {item.target}")
            if entry.kind == "directory":
                raise _in_the_way(item.path, "directory", "link")
            if seen.links.get(item.path) != item.target:
                now = seen.links.get(item.path, entry.kind)
                return Change(batch.role, batch.stage, "link", item.path, "update", f"{now} → {item.target}")
            return None
        case Directory():
            entry = seen.paths.get(item.path)
            if entry is None:
                return Change(batch.role, batch.stage, "directory", item.path, "create")
            if entry.kind != "directory":
                raise _in_the_way(item.path, entry.kind, "directory")
            detail = _rights(entry, item.mode, item.owner, item.group)
            return Change(batch.role, batch.stage, "directory", item.path, "update", detail) if detail else None
        case File():
            entry = seen.paths.get(item.path)
            if entry is None:
                return Change(batch.role, batch.stage, "file", item.path, "create", text=not item.secret)
            if entry.kind == "directory":
                raise _in_the_way(item.path, "directory", "file")
            if entry.kind not in _REGULAR or seen.sums.get(item.path) != item.sha256:
                detail = "content (secret)" if item.secret else ""
                return Change(
                    batch.role, batch.stage, "file", item.path, "update", detail, text=not item.secret
                )
            detail = _rights(entry, item.mode, item.owner, item.group)
            return Change(batch.role, batch.stage, "file", item.path, "update", detail) if detail else None
        case _:
            raise TypeError(type(item))


def perform(batch: Batch, changes: Sequence[Change], run: Run) -> None:
    """Bring the changed items of a batch to their state; all of them, or none when validation fails."""
    wanted = {c.subject for c in changes}
    items = [item for item in batch.items if getattr(item, "path", None) in wanted]
    archive = io.BytesIO()
    lines = [
        "set -eu",
        f"rm -rf {STAGE}; mkdir -p -m 700 {STAGE} {STAGE}/old {STAGE}/new {REPLACED}; tar -xf - -C {STAGE}/new",
        _PUT,
    ]
    # Before the first byte changes: a run killed from here on leaves a unit that the next run restarts.
    if stale := run.stamps_read_from([i.path for i in items if isinstance(i, (File, Link, Absent))]):
        lines.append("rm -f " + " ".join(shlex.quote(f"{STAMPS}/{name}") for name in stale))
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for number, item in enumerate(items):
            path = shlex.quote(getattr(item, "path", ""))
            match item:
                case File():
                    add_member(tar, str(number), item.content)
                    ours = "ours" if item.path in run.known else "theirs"
                    lines.append(f"put {number} {path} {item.mode:o} {item.owner}:{item.group} {ours}")
                case Directory():
                    lines.append(
                        f"mkdir -p -- {path}; chown {item.owner}:{item.group} -- {path}; chmod {item.mode:o} -- {path}"
                    )
                case Link():
                    target = shlex.quote(item.target)
                    lines.append(f"save {number} {path} theirs; parent {path}; ln -sfnT -- {target} {path}")
                case Absent():
                    ours = "ours" if item.path in run.known else "theirs"
                    remove = "rm -rf --one-file-system" if item.tree else "rm -f"
                    lines.append(f"save {number} {path} {ours}; {remove} -- {path}")
    if batch.validate:
        lines.append(f"if ! out=$( ( {batch.validate} ) 2>&1 ); then back; printf '%s\\n' \"$out\" >&2; exit 65; fi")
    lines.append(f"rm -rf {STAGE}")
    run.shell("\n".join(lines), archive.getvalue(), step="write files")


_PUT = f"""
parent() {{ d=${{1%/*}}; [ -d "${{d:-/}}" ] || mkdir -p -- "$d"; }}
save() {{ # NUMBER PATH OURS: keep what stood there, to go back and, if it was never ours, for good
  if [ -e "$2" ] || [ -L "$2" ]; then
    cp -a -- "$2" "{STAGE}/old/$1"
    if [ "$3" = theirs ] && [ ! -e "{REPLACED}$2" ] && [ ! -L "{REPLACED}$2" ]; then
      mkdir -p -- "{REPLACED}${{2%/*}}"; cp -a -- "$2" "{REPLACED}$2"
    fi
  fi
  printf '%s %s\\n' "$1" "$2" >>{STAGE}/list
}}
put() {{ # NUMBER PATH MODE OWNER OURS
  save "$1" "$2" "$5"; parent "$2"
  n={STAGE}/new/$1
  # A rename is atomic only within one file system.
  if [ "$(stat -c %d "$n")" != "$(stat -c %d "${{2%/*}}/")" ]; then
    t=$(mktemp "${{2%/*}}/.houblon.XXXXXX"); cat "$n" >"$t"; n=$t
  fi
  chown "$4" "$n"; chmod "$3" "$n"; mv -fT -- "$n" "$2"
}}
back() {{
  while IFS= read -r p; do
    n=${{p%% *}}; p=${{p#* }}
    rm -f -- "$p"
    if [ -e "{STAGE}/old/$n" ] || [ -L "{STAGE}/old/$n" ]; then cp -a -- "{STAGE}/old/$n" "$p"; fi
  done <{STAGE}/list
}}
"""


def add_member(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    """Add bytes to a tar stream, readable by nobody but root while they are staged."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), 0o600
    tar.addfile(info, io.BytesIO(content))


def _rights(entry: Entry, mode: int, owner: str, group: str) -> str:
    parts = []
    if entry.mode != mode:
        parts.append(f"mode {entry.mode:04o} → {mode:04o}")
    if (entry.owner, entry.group) != (owner, group):
        parts.append(f"owner {entry.owner}:{entry.group} → {owner}:{group}")
    return ", ".join(parts)


def _in_the_way(path: str, found: str, wanted: str) -> Refused:
    return Refused(
        f"{path} on the host is a {found}, where houblon must put a {wanted}",
        cure="Move it away by hand; houblon deletes nothing it did not make.",
    )
