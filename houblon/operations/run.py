"""What operations share during one run: the connection, what was seen, what was planned, what failed."""

from __future__ import annotations

import shlex
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from houblon.connect import Door as WayIn
from houblon.connection import Connection, Result
from houblon.facts.snapshot import Seen
from houblon.resources import UnitState, digest

LEASE = "/run/houblon/lease"
WORK = "/run/houblon/work"
WORK_SECONDS = 300
"""How long to wait for a command that a cut-off run left behind."""
NOTHING = digest()
"""The hash of no inputs at all."""


@dataclass(frozen=True)
class Change:
    """One thing that differs: what the plan names and the apply does.

    :param subject: path, unit, account or name of the step.
    :param detail: what differs, in words; never the content of a secret.
    :param text: whether a diff of contents may be shown.
    """

    role: str
    stage: str
    kind: str
    subject: str
    action: str
    detail: str = ""
    text: bool = False

    @property
    def key(self) -> tuple[str, str]:
        return (self.kind, self.subject)


class StepFailed(Exception):
    """A command of an operation ended with an error; carries the last lines of its output."""

    def __init__(self, output: str, step: str = "") -> None:
        super().__init__(step or "failed")
        self.output, self.step = output, step


@dataclass
class Run:
    """One plan or apply on one host.

    :param token: names this run in the host's lease; empty while planning.
    :param planned: keys of the changes that the plan named, by number of the batch.
    :param touched: files, links and releases that the plan writes or deletes, by role: units that read them restart.
    """

    connection: Connection
    way_in: WayIn | None = None
    token: str = ""
    seen: Seen = field(default_factory=Seen)
    executing: bool = False
    changes: list[Change] = field(default_factory=list)
    planned: dict[int, set[tuple[str, str]]] = field(default_factory=dict)
    touched: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    units: dict[str, tuple[UnitState, ...]] = field(default_factory=dict)
    known: frozenset[str] = frozenset()
    """Paths that an earlier apply recorded as ours."""
    new_packages: frozenset[str] = frozenset()
    failure: Exception | None = None
    soft_failures: list[str] = field(default_factory=list)
    done: list[Change] = field(default_factory=list)
    progress: Callable[[str], None] = lambda _: None
    detail: Callable[[str], None] = lambda _: None
    """Told how far a long step has come."""

    def shell(self, script: str, stdin: bytes = b"", timeout: float | None = None, step: str = "") -> Result:
        """Run a changing script, only while this run still holds the host's lease.

        :raises StepFailed: when its exit status is not 0.
        """
        # A command of a run whose line was cut goes on; the next run must not write beside it. It does not hand
        # descriptor 8 on, or a daemon it starts would hold the lock for ever.
        fenced = f"""exec 8>>{WORK}
flock -w {WORK_SECONDS} 8 || {{ echo 'a command of an earlier run is still at work on the host' >&2; exit 75; }}
lease=$(cat {LEASE} 2>/dev/null)
[ "$lease" = {shlex.quote(self.token)} ] || {{ echo 'another run took over this host' >&2; exit 75; }}
(
{script}
) 8>&-
"""
        result = self.connection.run(fenced, stdin, timeout)
        if result.exit_status != 0:
            output = "\n".join((result.stdout + result.stderr).strip().splitlines()[-20:])
            raise StepFailed(output or f"exit status {result.exit_status}", step)
        return result

    def stamps_read_from(self, paths: Iterable[str]) -> list[str]:
        """Stamps that no longer hold once these files are written.

        Units of all roles count: one may run code from the release of another.
        """
        written = set(paths)
        stale = []
        for unit in (unit for role in self.units.values() for unit in role):
            if written & set(unit.restart_files):
                stale.append(f"{unit.name}.restart")
            if written & set(unit.reload_files):
                stale.append(f"{unit.name}.reload")
        return stale
