"""The pyinfra operation behind everything houblon does to a host."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from pyinfra.api import FunctionCommand, operation

from houblon.errors import OperationFailed
from houblon.facts import HostState, script_for
from houblon.operations import doors, ensure, files, packages, proof, releases, units, users
from houblon.operations.run import Change, Run, StepFailed
from houblon.resources import Batch

_MODULES = {
    "File": files,
    "Directory": files,
    "Link": files,
    "Absent": files,
    "UnitState": units,
    "User": users,
    "Packages": packages,
    "Ensure": ensure,
    "Door": doors,
    "Proof": proof,
    "Release": releases,
    "OldRelease": releases,
}


@operation()
def converge(batch: Batch, number: int, run: Run) -> Generator[Any, None, None]:
    """Bring one batch to its desired state.

    While preparing it compares with what the run has seen and names the changes. While executing it reads
    the state afresh, and does what the plan named and nothing else.

    :param number: position of the batch in the run; what the plan named is kept under it.
    """
    module = _MODULES[batch.kind]
    if not run.executing:
        changes = module.diff(batch, run.seen, run)
        run.changes += changes
        run.planned[number] = {change.key for change in changes}
    if run.planned[number]:
        yield FunctionCommand(_perform, (batch, number, run), {})


def _perform(state: Any, host: Any, batch: Batch, number: int, run: Run) -> bool:
    # pyinfra passes state and host only to a function whose parameters have exactly these names.
    module = _MODULES[batch.kind]
    run.progress(f"{batch.role}: {describe(batch)}")
    try:
        run.seen = host.get_fact(HostState, script=script_for(batch.items))
        if run.seen is None:
            raise StepFailed("the host's state could not be read", "read state")
        changes = [c for c in module.diff(batch, run.seen, run) if c.key in run.planned[number]]
        if changes:
            module.perform(batch, changes, run)
            run.done += changes
    except StepFailed as failure:
        run.failure = OperationFailed(
            f"{batch.role}, {batch.stage}, {describe(batch)}: {failure.step} failed\n"
            + "\n".join(f"    {line}" for line in failure.output.splitlines()),
            cure="Cure the cause and run the same command again: it goes on where it stopped.",
        )
    except Exception as error:
        # pyinfra would print a traceback of its own and go on with "No hosts remaining!".
        run.failure = error
    return run.failure is None


def describe(batch: Batch) -> str:
    """A batch in a few words, for progress and errors; names only, never contents."""
    first = batch.items[0]
    name = getattr(first, "path", None) or getattr(first, "name", "")
    kinds = {
        "File": "files", "Directory": "directories", "Link": "links", "Absent": "leftovers", "User": "accounts",
        "UnitState": "units", "Ensure": "steps", "Door": "switch", "Packages": "packages", "Proof": "proof",
        "Release": "release", "OldRelease": "old release",
    }
    more = f" and {len(batch.items) - 1} more" if len(batch.items) > 1 else ""
    return f"{kinds[batch.kind]} {name}{more}".strip()


__all__ = ["Change", "converge", "describe"]
