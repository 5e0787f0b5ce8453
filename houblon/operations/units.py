"""systemd units, restarted when the hash of what they read differs from the stamp of their last start."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from houblon.facts.snapshot import STAMPS, Seen
from houblon.operations.run import NOTHING, Change, Run
from houblon.resources import Batch, UnitState

_ENABLED = ("enabled", "static", "alias", "indirect", "generated", "enabled-runtime", "linked")


def diff(batch: Batch, seen: Seen, run: Run) -> list[Change]:
    """What must be done to the units of a batch."""
    changes = []
    for unit in batch.items:
        assert isinstance(unit, UnitState)
        if what := _action(unit, seen, run):
            changes.append(Change(batch.role, batch.stage, "unit", unit.name, *what))
    return changes


def _action(unit: UnitState, seen: Seen, run: Run) -> tuple[str, str] | None:
    now = seen.units.get(unit.name)
    if unit.state == "masked":
        return None if now and now.load == "masked" and now.active != "active" else ("mask", "")
    if unit.state == "stopped":
        if now is None or now.load == "not-found":
            return None
        return ("stop", "") if now.active in ("active", "activating") or now.enabled == "enabled" else None
    stale = run.stamps_read_from(path for paths in run.touched.values() for path in paths)
    if now is None or now.active != "active":
        return ("start", now.active if now and now.load == "loaded" else "")
    if f"{unit.name}.restart" in stale or seen.stamps.get(f"{unit.name}.restart") != unit.restart_on:
        return ("restart", "what it runs from has changed")
    if unit.reload_on != NOTHING and (
        f"{unit.name}.reload" in stale or seen.stamps.get(f"{unit.name}.reload") != unit.reload_on
    ):
        return ("reload", "its configuration has changed")
    if now.enabled not in _ENABLED:
        return ("enable", now.enabled)
    return None


def perform(batch: Batch, changes: Sequence[Change], run: Run) -> None:
    """Do it, wait until the unit really serves, and stamp it.

    :raises StepFailed: with the unit's last journal lines when it does not come up.
    """
    for change in changes:
        unit = next(u for u in batch.items if isinstance(u, UnitState) and u.name == change.subject)
        run.shell(_script(unit, change.action), step=f"{change.action} {unit.name}")


def _script(unit: UnitState, action: str) -> str:
    name = shlex.quote(unit.name)
    if action == "mask":
        return f"systemctl mask --now --quiet {name} 2>&1"
    if action == "stop":
        return f"systemctl disable --now --quiet {name} 2>&1 && rm -f {STAMPS}/{name}.restart {STAMPS}/{name}.reload"
    lines = ["set -eu", f"mkdir -p {STAMPS}"]
    lines.append(
        f'case "$(systemctl show -p NeedDaemonReload,LoadState --value {name} | tr "\\n" " ")" in '
        '"yes "*|*not-found*|*masked*|"no  "*) systemctl daemon-reload;; esac'
    )
    lines.append(f"[ ! -L /etc/systemd/system/{name} ] || [ \"$(readlink /etc/systemd/system/{name})\" != /dev/null ] "
                 f"|| systemctl unmask --quiet {name}")
    if unit.test:
        lines.append(f"( {unit.test} ) 2>&1")
    lines.append(f"systemctl enable --quiet {name} 2>&1")
    lines.append("journal() { journalctl -u " + name + " -n 15 --no-pager -o cat 2>/dev/null; exit 1; }")
    if action in ("start", "restart", "reload"):
        lines.append(f"systemctl reset-failed {name} 2>/dev/null || :")
        lines.append(f"systemctl {action} {name} 2>&1 || journal")
    if unit.ready:
        steps = unit.ready_seconds * 5
        lines.append(
            f"n=0; until ( {unit.ready} ) >/dev/null 2>&1 </dev/null; do n=$((n+1)); "
            f'if [ $n -ge {steps} ]; then echo "not ready after {unit.ready_seconds} s"; journal; fi; sleep 0.2; done'
        )
    lines.append(f"systemctl is-active --quiet {name} || journal")
    for stamp, value in (("restart", unit.restart_on), ("reload", unit.reload_on)):
        lines.append(f"printf %s {value} >{STAMPS}/.new; mv -f {STAMPS}/.new {STAMPS}/{name}.{stamp}")
    return "\n".join(lines)
