"""Plans and applies a site, through pyinfra's API.

The order of an apply: connect, take the lease, look at everything once, refuse what could do harm, name the
changes, write down what will exist, change it, look at everything again, and only then say that it is done.
"""

from __future__ import annotations

import difflib
import json
import logging
import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pyinfra.api import Config, Inventory, State
from pyinfra.api.connect import connect_all
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.operation import add_op
from pyinfra.api.operations import run_ops
from pyinfra.api.state import StateStage

from houblon import contact
from houblon import record as records
from houblon import site as sites
from houblon.claims import Package
from houblon.connect import Asking
from houblon.connect import Door as WayIn
from houblon.connection import Connection
from houblon.errors import CannotConnect, HoublonError, OperationFailed, Refused
from houblon.facts import Seen, parse, script_for
from houblon.facts.snapshot import contents_script, parse_contents
from houblon.lease import Lease
from houblon.model import Model, build, removal, secret_specs
from houblon.operations import converge
from houblon.operations.run import Change, Run, StepFailed
from houblon.record import Record
from houblon.resources import Batch, Door, File, Packages
from houblon.vault import Secret

if TYPE_CHECKING:
    from houblon.site import Site
    from houblon.vault import SecretSpec, Vault

# pyinfra logs tracebacks and command output on its own; houblon reports through its errors, masked.
logging.getLogger("pyinfra").setLevel(logging.CRITICAL + 1)


@dataclass
class Plan:
    """What an apply would do.

    :param diffs: unified diffs of file contents by path; never of secrets.
    :param unmanaged: roles on the host that the site no longer names.
    :param replaced: files that were never ours and are replaced whole; a copy of each is kept.
    :param adopted: foreign paths and ports that ``--adopt`` takes over.
    """

    changes: list[Change]
    diffs: dict[str, str] = field(default_factory=dict)
    unmanaged: list[str] = field(default_factory=list)
    new_secrets: list[str] = field(default_factory=list)
    adopted: list[str] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return {
            "changes": [{**c.__dict__, "diff": self.diffs.get(c.subject, "")} for c in self.changes],
            "unmanaged": self.unmanaged,
            "new_secrets": self.new_secrets,
            "adopted": self.adopted,
            "replaced": self.replaced,
        }


@dataclass(frozen=True)
class Options:
    """How to plan or apply; see `houblon apply --help`."""

    only: str | None = None
    adopt: bool = False
    allow_older: bool = False


class Session:
    """A site, its host, and one open connection between them."""

    def __init__(self, site: Site, vault: Vault, asking: Asking, options: Options) -> None:
        self.site, self.vault, self.options = site, vault, options
        self.way_in = WayIn(site, vault, asking)
        self.connection: Connection = self.way_in.open()
        self.seen = Seen()
        self.record: Record | None = None
        self.unmanaged: list[str] = []
        self.model = Model(site)

    def close(self) -> None:
        self.connection.close()
        self.way_in.close()

    def look(self) -> None:
        """Read the host once; bring in what it records; refuse a host we must not touch.

        :raises Refused: see `houblon.contact`.
        """
        self.model = build(self.site, self.vault)
        self.seen = self._see(self.model, ())
        self.record = Record.read(self.seen.record)
        contact.check_system(self.seen)
        contact.check_age(self.site, self.record, self.options.allow_older)
        contact.check_size(self.site, self.seen)
        if self.record is None:
            return
        self.unmanaged = sorted(set(self.record.roles) - {role.name for role in self.site.roles})
        if self.unmanaged:
            # Their claims stand until they are removed: nginx must not drop a vhost that nobody removed.
            self.site = sites.load(self.site.folder, self.record.claims_of(set(self.unmanaged)))
            self.unmanaged = sorted(set(self.record.roles) - {role.name for role in self.site.roles})
        before = script_for([i for _, i in self.model.items()])
        self.model = build(self.site, self.vault, self.record, self.model)
        if script_for([i for _, i in self.model.items()]) != before:
            self.seen = self._see(self.model, ())

    def _see(self, model: Model, paths: Sequence[str]) -> Seen:
        script = script_for([item for _, item in model.items()], paths)
        result = self.connection.run(script, timeout=120)
        try:
            return parse(result.lines())
        except ValueError as error:
            raise CannotConnect(
                f"the host's answer could not be understood: {error}: {result.stderr.strip()[-500:]}",
                cure="Run the command again; if it persists, please report it.",
            ) from None

    def plan(self) -> tuple[Plan, Run, State]:
        """Compare and name the changes; nothing is written anywhere."""
        run = Run(
            self.connection, self.way_in, seen=self.seen, units=self.model.units(),
            known=self.record.ours() if self.record else frozenset(),
        )
        state = _state(self.connection, self.site.host.address)
        _prepare(state, self.batches(), run)
        if run.changes:
            contact.check_preflight(self.site, self.connection)
        adopted = contact.foreign(self.model, self.record, self.seen, self.connection) if run.changes else []
        plan = Plan(
            run.changes, self._diffs(run), self.unmanaged, self.vault.missing(secret_specs(self.site)), adopted,
        )
        plan.replaced = sorted(path for path in plan.diffs if path in self.seen.paths and path not in run.known)
        return plan, run, state

    def batches(self) -> list[Batch]:
        """The model's batches, or those of the one role that the options ask for."""
        only = self.options.only
        if only is None:
            return self.model.batches
        names = sorted({n for c in self.site.claims(Package) if c.role == only for n in c.names})
        packages = [Batch("base", "install", (Packages(tuple(names)),))] if names else []
        return packages + [b for b in self.model.batches if b.role == only and b.kind != "Packages"]

    def _diffs(self, run: Run) -> dict[str, str]:
        wanted: dict[str, bytes] = {}
        for change in run.changes:
            if not change.text:
                continue
            for role, item in self.model.items():
                if role != change.role:
                    continue
                if isinstance(item, File) and item.path == change.subject:
                    wanted[item.path] = item.content
                elif isinstance(item, Door) and item.name == change.subject:
                    wanted.update({f.path: f.content for f in item.files if self.seen.sums.get(f.path) != f.sha256})
        old = [path for path in wanted if path in self.seen.paths]
        now = parse_contents(self.connection.run(contents_script(old)).stdout) if old else {}
        return {path: _unified(path, now.get(path, b""), content) for path, content in wanted.items()}


def plan(site: Site, vault: Vault, asking: Asking, options: Options) -> Plan:
    """What `apply` would change now.

    :raises HoublonError: as in the modules used.
    """
    planning: Any = Unmade(vault, frozenset(vault.missing(secret_specs(site))))
    with _session(site, planning, asking, options) as session:
        session.look()
        result, _, _ = session.plan()
        return result


def apply(
    site: Site, vault: Vault, asking: Asking, options: Options, *,
    agree: Callable[[Plan], bool], progress: Callable[[str, int, int], None] = lambda *_: None,
) -> Plan:
    """Bring the host to the site's state.

    :param agree: is shown the plan; False ends the run before anything was changed.
    :param progress: is told what is being done, its number, and how many steps there are.
    :return: the plan, all of which was done.
    :raises Refused: the host is not ours to change, another run holds it, or ``agree`` said no.
    :raises OperationFailed: an operation failed, or the host is not as it should be after all of them.
    """
    with _session(site, vault, asking, options) as session:
        me = session.way_in.require_operator()
        lease = Lease(session.connection, me.name)
        try:
            session.look()
            result, run, state = session.plan()
            if not result.changes:
                return result
            if result.adopted and not options.adopt:
                raise Refused(
                    "this host is not bare:\n" + "\n".join(f"    {line}" for line in result.adopted),
                    cure="Use a bare Debian, or say --adopt: a copy of every replaced file is kept "
                    "under /var/lib/houblon/replaced.",
                )
            if not agree(result):
                raise Refused("nothing was changed, as you asked")
            run.token = lease.token
            _carry_out(session, run, state, me.name, progress)
        finally:
            lease.release()
        return result


def remove(
    site: Site, vault: Vault, asking: Asking, name: str, *, purge: bool,
    agree: Callable[[Plan], bool], progress: Callable[[str, int, int], None] = lambda *_: None,
) -> tuple[Plan, list[str]]:
    """Take a service off the host, then converge the others without it.

    :return: the plan that was carried out, and the data that was kept.
    :raises Refused: when the site file still names it, another role needs it, or the host does not have it.
    """
    with _session(site, vault, asking, Options()) as session:
        me = session.way_in.require_operator()
        lease = Lease(session.connection, me.name)
        try:
            session.look()
            if name in {role.name for role in session.site.roles}:
                raise Refused(
                    f"the site still has {name}, or something in it needs {name}",
                    file=session.site.file, line=session.site.line_of(name),
                    cure=f"Take {name} out of the site file first, then run this again.",
                )
            if session.record is None or name not in session.record.roles:
                raise Refused(f"houblon has put no {name} on this host", cure="See `houblon status`.")
            gone = session.record.roles.pop(name)
            kept = [] if purge else list(gone.data)
            batches = removal(session.site, vault, name, gone, purge)
            rest = sorted(set(session.record.roles) - {role.name for role in session.site.roles} - {name})
            session.site = sites.load(site.folder, session.record.claims_of(set(rest)))
            session.model = build(session.site, vault, session.record)
            # The others first: nginx must have let go of a vhost's files before they vanish.
            session.model.batches += batches
            session.seen = session._see(session.model, ())
            result, run, state = session.plan()
            session.record.roles[name] = gone
            run.known |= frozenset([*gone.files, *gone.links])
            if not agree(result):
                raise Refused("nothing was changed, as you asked")
            run.token = lease.token
            _carry_out(session, run, state, me.name, progress, without=name)
        finally:
            lease.release()
        return result, kept


class Unmade:
    """A vault for planning: secrets that an apply would make first stand in as dots. Writes nothing."""

    def __init__(self, vault: Vault, missing: frozenset[str]) -> None:
        self._vault, self._missing = vault, missing

    def get(self, role: str, name: str) -> Secret:
        return Secret(b"(not made yet)") if f"{role}/{name}" in self._missing else self._vault.get(role, name)

    def public(self, role: str, name: str) -> str:
        return "(not made yet)" if f"{role}/{name}" in self._missing else self._vault.public(role, name)

    def previous(self, role: str, name: str) -> Secret | None:
        return None if f"{role}/{name}" in self._missing else self._vault.previous(role, name)

    def missing(self, specs: Iterable[SecretSpec]) -> list[str]:
        return self._vault.missing(specs)


# --- inside ----------------------------------------------------------------------------------------------


@contextmanager
def _session(site: Site, vault: Vault, asking: Asking, options: Options) -> Iterator[Session]:
    session = Session(site, vault, asking, options)
    try:
        yield session
    finally:
        session.close()


def _state(connection: Connection, address: str) -> State:
    inventory = Inventory(([(f"@houblon/{address}", {"houblon_connection": connection})], {}))  # type: ignore[no-untyped-call]
    state = State(inventory, Config(), check_for_changes=True)  # type: ignore[no-untyped-call]
    connect_all(state)
    return state


def _prepare(state: State, batches: Sequence[Batch], run: Run) -> None:
    state.set_stage(StateStage.Prepare)
    for number, batch in enumerate(batches):
        # Unnamed operations print their arguments.
        add_op(state, converge, batch, number, run, name=f"{batch.role} {batch.stage} {number}")


def _carry_out(
    session: Session, run: Run, state: State, who: str, progress: Callable[[str, int, int], None],
    without: str | None = None,
) -> None:
    connection, site = session.connection, session.site
    now = datetime.now(UTC).replace(microsecond=0).isoformat()
    new = records.desired(session.model, site, who, now)
    for name in session.unmanaged:
        if session.record and name != without:
            new.roles[name] = session.record.roles[name]
    if session.options.only and session.record:
        new.roles = {**session.record.roles, **{n: r for n, r in new.roles.items() if n == session.options.only}}
    between = records.union(session.record, new)
    between.result = "running"
    # What the record says may exist must be written down before it does.
    _put(run, records.write_script(), between.to_json(), "write the record")
    _note(run, who, now, "started", len(run.changes), new)
    total = sum(1 for keys in run.planned.values() if keys)
    done = 0

    def step(text: str) -> None:
        nonlocal done
        done += 1
        progress(text, done, total)

    run.progress = step
    run.executing = True
    state.set_stage(StateStage.Execute)
    trouble: BaseException | None = None
    try:
        try:
            run_ops(state)
        except PyinfraError:
            # pyinfra's own sentence is "No hosts remaining!"; ours is in run.failure.
            if run.failure is None:
                raise
        if run.failure is None:
            _prove(session, run)
    except BaseException as error:
        trouble = error
        raise
    finally:
        failed = run.failure or trouble or run.soft_failures
        if connection.alive:
            final = between if run.failure or trouble else new
            final.result = "failed" if failed else "ok"
            try:
                _put(run, records.write_script(), final.to_json(), "write the record")
                _note(run, who, now, final.result, len(run.done), new)
            except HoublonError:
                # The first failure is the one to tell; a lost lease or a full disk makes this one fail too.
                if not (run.failure or trouble):
                    raise
    if run.failure is not None:
        raise run.failure
    session.way_in.remember(who)
    if run.soft_failures:
        raise OperationFailed(
            "everything else is done, but:\n"
            + "\n".join(f"    {line}" for text in run.soft_failures for line in text.splitlines()),
            cure="Cure the cause and run `houblon apply` again; until then the old state serves.",
        )


def _prove(session: Session, run: Run) -> None:
    """Look again: an apply that does not converge must say so itself, not leave it to the next run."""
    seen = session._see(session.model, ())
    again = Run(run.connection, seen=seen, units=run.units, known=run.known)
    state = _state(run.connection, session.site.host.address)
    _prepare(state, session.batches(), again)
    excused = {text.splitlines()[0].partition(": ")[2] for text in run.soft_failures}
    if left := [c for c in again.changes if c.subject not in excused]:
        lines = "\n".join(f"    {c.role}: {c.kind} {c.subject}: {c.action} {c.detail}" for c in left)
        run.failure = OperationFailed(
            f"after all operations the host is still not as the site says:\n{lines}",
            cure="Something on the host works against houblon, or a role is wrong; `houblon plan` shows the diffs.",
        )


def _note(run: Run, who: str, started: str, result: str, changes: int, new: Record) -> None:
    line = {
        "started": started, "at": datetime.now(UTC).replace(microsecond=0).isoformat(), "by": who, "result": result,
        "changes": changes, "version": new.version, "commit": new.commit, "dirty": new.dirty,
    }
    if run.failure is not None:
        line["failure"] = str(run.failure).splitlines()[0]
    _put(run, records.history_script(), (json.dumps(line) + "\n").encode(), "write the history")


def _put(run: Run, script: str, data: bytes, step: str) -> None:
    """A write of the engine's own.

    :raises OperationFailed: when the host cannot take it.
    """
    try:
        run.shell(script, data, step=step)
    except StepFailed as failure:
        lines = "\n".join(f"    {line}" for line in failure.output.splitlines())
        raise OperationFailed(
            f"houblon: {failure.step} failed\n{lines}", cure="Cure the cause and run the same command again."
        ) from None


def history(site: Site, vault: Vault, asking: Asking) -> list[dict[str, Any]]:
    """Who applied what, when, with which result; oldest first."""
    with _session(site, vault, asking, Options()) as session:
        result = session.connection.run(f"cat {shlex.quote(records.HISTORY)} 2>/dev/null || :")
        return [json.loads(line) for line in result.stdout.splitlines() if line.strip()]


def _unified(path: str, old: bytes, new: bytes) -> str:
    try:
        before, after = old.decode(), new.decode()
    except UnicodeDecodeError:
        return f"binary file, {len(old)} → {len(new)} bytes\n"
    lines = difflib.unified_diff(
        before.splitlines(keepends=True), after.splitlines(keepends=True), f"host:{path}", f"site:{path}", n=2
    )
    return "".join(line if line.endswith("\n") else f"{line}\n\\ no newline at end of file\n" for line in lines)


__all__ = ["Options", "Plan", "apply", "history", "plan", "remove"]
