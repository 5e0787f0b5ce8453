"""Changes that could lock the operator out: switched, proven over a fresh connection, undone by a timer."""

from __future__ import annotations

import io
import shlex
import tarfile
import time
from collections.abc import Sequence

from houblon.connection import Result
from houblon.errors import CannotConnect
from houblon.facts.snapshot import STAMPS, Seen
from houblon.operations.files import REPLACED, add_member
from houblon.operations.run import Change, Run, StepFailed
from houblon.resources import Batch, Door

PLACE = "/var/lib/houblon/door"
PATIENCE = 10.0


def diff(batch: Batch, seen: Seen, run: Run) -> list[Change]:
    """Whether the door's files, or what runs from them, differ."""
    (door,) = batch.items
    assert isinstance(door, Door)
    parts = []
    for file in door.files:
        entry = seen.paths.get(file.path)
        if entry is None or seen.sums.get(file.path) != file.sha256:
            parts.append(file.path)
        elif (entry.mode, entry.owner, entry.group) != (file.mode, file.owner, file.group):
            parts.append(f"{file.path} (owner or mode)")
    stamp, _, live = seen.stamps.get(f"door-{door.name}", "").partition(" ")
    if not parts and stamp != door.stamp:
        parts.append("not activated yet")
    elif not parts and live != seen.live.get(door.name):
        parts.append("the running state was changed by something else")
    if not parts:
        return []
    return [Change(batch.role, batch.stage, "door", door.name, "switch", ", ".join(parts), text=True)]


def perform(batch: Batch, changes: Sequence[Change], run: Run) -> None:
    """Switch, come in again, confirm.

    :raises StepFailed: when validation fails (nothing was activated), or when no fresh connection came in
        (the host goes back by itself).
    """
    (door,) = batch.items
    assert isinstance(door, Door)
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for number, file in enumerate(door.files):
            add_member(tar, str(number), file.content)
    run.shell(_switch(door, run), archive.getvalue(), step=f"switch {door.name}")
    confirm = _confirm(door)
    try:
        result = _through(run, confirm)
    except CannotConnect as error:
        try:
            run.shell(f"sh {PLACE}/{door.name}/undo.sh", step=f"undo {door.name}")
            state = "the host is back to the old one"
        except (StepFailed, CannotConnect):
            state = f"the host goes back to the old one within {door.undo_seconds} s by itself"
        raise StepFailed(
            f"{error}\nNo second connection came in through the new {door.name}: {state}.", f"prove {door.name}"
        ) from None
    if result.exit_status != 0:
        raise StepFailed(result.stdout + result.stderr, f"confirm {door.name}")


def _through(run: Run, script: str) -> Result:
    """Run a script over a fresh connection.

    Tried for `PATIENCE` seconds: sshd closes its port for a moment when it is reloaded.

    :raises CannotConnect: nobody came in.
    """
    assert run.way_in is not None
    me = run.way_in.require_operator()
    until = time.monotonic() + PATIENCE
    while True:
        try:
            with run.way_in.as_admin(me.name) as fresh:
                return fresh.run(script, timeout=60)
        except CannotConnect:
            if time.monotonic() > until:
                raise
            time.sleep(0.3)


def _switch(door: Door, run: Run) -> str:
    place = f"{PLACE}/{door.name}"
    timer = f"houblon-undo-{door.name}"
    undo, put, save = [], [], []
    for number, file in enumerate(door.files):
        path = shlex.quote(file.path)
        save.append(f"[ ! -e {path} ] || cp -a -- {path} {place}/old/{number}")
        if file.path not in run.known:
            kept = shlex.quote(REPLACED + file.path)
            save.append(
                f'[ ! -e {path} ] || [ -e {kept} ] || {{ mkdir -p "$(dirname {kept})"; cp -a -- {path} {kept}; }}'
            )
        undo.append(
            f"if [ -e {place}/old/{number} ]; then cp -a {place}/old/{number} {path}.houblon-old && "
            f"mv -fT {path}.houblon-old {path}; else rm -f {path}; fi"
        )
        put.append(
            f"mkdir -p -- \"$(dirname {path})\"; cat {place}/new/{number} >{path}.houblon-new; "
            f"chown {file.owner}:{file.group} {path}.houblon-new; chmod {file.mode:o} {path}.houblon-new; "
            f"mv -fT {path}.houblon-new {path}"
        )
    first = shlex.quote(door.files[0].path)
    validate = f"( {door.validate} ) 2>&1 || {{ sh {place}/undo.sh quiet; exit 65; }}" if door.validate else ":"
    # An earlier run may have been killed before its change was confirmed: go back first, so that what is
    # saved as "old" is really the last state that was proven.
    return f"""set -eu
mkdir -p {STAMPS}
if systemctl is-active --quiet {timer}.timer && [ -f {place}/undo.sh ]; then sh {place}/undo.sh; fi
systemctl stop {timer}.timer 2>/dev/null || :
systemctl reset-failed {timer}.service 2>/dev/null || :
rm -rf {place}; mkdir -p -m 700 {PLACE} {place} {place}/old {place}/new; tar -xf - -C {place}/new
{chr(10).join(save)}
cat >{place}/undo.sh <<'UNDO'
: >{place}/undone
{chr(10).join(undo)}
if [ "${{1-}}" != quiet ]; then
  if [ -e {first} ]; then {door.activate}; else {door.undo_extra or ":"}; fi
fi
rm -f {STAMPS}/door-{door.name}
systemctl stop {timer}.timer 2>/dev/null || :
UNDO
rm -f {STAMPS}/door-{door.name}
systemd-run --quiet --collect --unit={timer} --on-active={door.undo_seconds} --timer-property=AccuracySec=1s \
  /bin/sh {place}/undo.sh
{chr(10).join(put)}
{validate}
( {door.activate} ) 2>&1 || {{ sh {place}/undo.sh; exit 66; }}
"""


def _confirm(door: Door) -> str:
    place = f"{PLACE}/{door.name}"
    return f"""set -eu
systemctl stop houblon-undo-{door.name}.timer
if [ -e {place}/undone ]; then echo 'the timer had already undone the change'; exit 1; fi
live=$( ( {door.live or ":"} ) 2>/dev/null </dev/null | sha256sum )
printf '%s %s' {door.stamp} "${{live%% *}}" >{STAMPS}/.new; mv -f {STAMPS}/.new {STAMPS}/door-{door.name}
rm -rf {place}
"""
