"""Guarded commands: run when a read-only check fails."""

from __future__ import annotations

from collections.abc import Sequence

from houblon.errors import OperationFailed
from houblon.facts.snapshot import Seen
from houblon.operations.run import Change, Run, StepFailed
from houblon.resources import Batch, Ensure


def diff(batch: Batch, seen: Seen, run: Run) -> list[Change]:
    """The steps of a batch whose check fails, or may fail once this run has changed what it looks at."""
    changes = []
    touched = run.touched[batch.role]
    for item in batch.items:
        assert isinstance(item, Ensure)
        if not seen.guards.get(item.name, False):
            changes.append(Change(batch.role, batch.stage, "step", item.name, "run"))
        elif not run.executing and any(path in item.reads or path in item.check for path in touched):
            changes.append(
                Change(batch.role, batch.stage, "step", item.name, "check", "again, and run if it asks for it")
            )
    return changes


def perform(batch: Batch, changes: Sequence[Change], run: Run) -> None:
    """Run them in order; a soft one that fails is remembered and does not stop the others."""
    for change in changes:
        item = next(i for i in batch.items if isinstance(i, Ensure) and i.name == change.subject)
        try:
            run.shell(item.run, item.stdin, item.timeout_seconds, step=item.name)
        except StepFailed as failure:
            if not item.soft:
                raise
            run.soft_failures.append(f"{batch.role}: {item.name}\n{failure.output}")
        except OperationFailed as late:
            # It goes on alone; the next command waits for it (`Run.shell`).
            if not item.soft:
                raise
            run.soft_failures.append(f"{batch.role}: {item.name}\n{late.what}")
