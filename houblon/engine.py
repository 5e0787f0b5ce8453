"""Plans and applies a site, through pyinfra's API.

The order of an apply: connect, take the lease, look at everything once, refuse what could do harm, name the
changes, write down what will exist, change it, look at everything again, and only then say that it is done.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyinfra.api import State
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.operations import run_ops
from pyinfra.api.state import StateStage

from houblon import record as records
from houblon import releases
from houblon import site as sites
from houblon.claimjson import claim_from_json
from houblon.claims import Artifact, Database
from houblon.connect import Asking
from houblon.errors import HoublonError, OperationFailed, Refused
from houblon.lease import Lease
from houblon.model import build, removal, secret_specs
from houblon.operations import releases as tree_operations
from houblon.operations.run import Run, StepFailed
from houblon.record import Record, RoleRecord
from houblon.session import Options, Plan, Session, Unmade, prepare, pyinfra_state

if TYPE_CHECKING:
    from houblon.site import Site
    from houblon.vault import Vault

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
        session.glance()
        lease = Lease(session.connection, me.name)
        try:
            session.look()
            result, run, state = session.plan()
            run.token = lease.token
            if not result.changes and not _unwritten(session.site, session.record, options):
                _refresh(session, run)
                result.new_pins = _lock(session)
                return result
            _refuse_releases(session, result)
            if not options.adopt:
                _refuse_foreign(result, "Use a bare Debian, or say --adopt: a copy of every replaced file is kept "
                                "under /var/lib/houblon/replaced.")  # fmt: skip
            if result.changes and not agree(result):
                raise Refused("nothing was changed, as you asked")
            _refresh(session, run)
            _carry_out(session, result, run, state, me.name, progress)
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
            if name in {role.name for role in site.roles}:
                raise Refused(
                    f"the site still has {name}, or something in it needs {name}",
                    file=session.site.file, line=session.site.line_of(name),
                    cure=f"Take {name} out of the site file first, then run this again.",
                )
            if session.record is None or name not in session.record.roles:
                raise Refused(f"houblon has put no {name} on this host", cure="See `houblon status`.")
            recorded = dict(session.record.roles)
            before = session.site
            session.site, session.unmanaged, idle = _without(site.folder, session.record, name)
            gone = {role: session.record.roles.pop(role) for role in (name, *idle)}
            kept = [] if purge else [*gone[name].data, *_databases(gone[name])]
            session.model = build(session.site, vault, session.record)
            # The others first: nginx must have let go of a vhost's files before they vanish.
            for role, known in gone.items():
                session.model.batches += removal(before, vault, role, known, purge and role == name, session.model)
            session.seen = session.see(session.model)
            result, run, state = session.plan()
            session.record.roles = recorded
            run.known |= frozenset(path for known in gone.values() for path in (*known.files, *known.links))
            _refuse_releases(session, result)
            _refuse_foreign(result, "Run `houblon apply --adopt` first; it keeps a copy of every replaced file.")
            if not agree(result):
                raise Refused("nothing was changed, as you asked")
            run.token = lease.token
            _carry_out(session, result, run, state, me.name, progress, without=frozenset(gone))
        finally:
            lease.release()
        return result, kept


# --- inside ----------------------------------------------------------------------------------------------


@contextmanager
def _session(site: Site, vault: Vault, asking: Asking, options: Options) -> Iterator[Session]:
    session = Session(site, vault, asking, options)
    try:
        yield session
    finally:
        session.close()


def _unwritten(site: Site, record: Record | None, options: Options) -> bool:
    """Whether a host that is as it should be has a record that does not say so.

    It was lost, or is of a run killed at its end, or names a commit that the operator has just gone back from.
    """
    if options.only is not None:
        return False
    return record is None or record.result != "ok" or (options.allow_older and record.commit != site.commit()[0])


def _refuse_foreign(plan: Plan, cure: str) -> None:
    if plan.adopted:
        raise Refused("this host is not bare:\n" + "\n".join(f"    {line}" for line in plan.adopted), cure=cure)


def _refuse_releases(session: Session, plan: Plan) -> None:
    releases.check_there(session.site, session.releases(), session.seen)
    releases.check_room(session.releases(), plan.changes, session.seen)


def _lock(session: Session) -> bool:
    return session.site.pins.write_lock(session.site.claims(Artifact), only=session.options.only)


def _without(folder: Path, record: Record, name: str) -> tuple[Site, list[str], list[str]]:
    """The site once a role has gone from its host; what stays there unmanaged; and what goes with the role.

    System roles that nothing else needs any more (nginx and tls, with the last vhost) go too: what they were
    recorded to claim would keep each of them alive for the other.
    """
    plain = sites.load(folder)
    placed = {role.name for role in plain.roles}
    services = {role for role in record.roles if role not in placed | {name} and role not in plain.registry.systems}
    site = sites.load(folder, record.claims_of(services))
    placed = {role.name for role in site.roles}
    if name in placed:
        raise Refused(f"what is still on this host needs {name}", cure=f"Remove first: {', '.join(sorted(services))}.")
    idle = sorted(set(record.roles) - placed - services - {name})
    return site, sorted(services), idle


def _databases(gone: RoleRecord) -> list[str]:
    """What providers keep of a role that goes, in words."""
    claims = [claim_from_json(data)[0] for data in gone.claims]
    return [f"the {claim.engine} database {claim.name}" for claim in claims if isinstance(claim, Database)]


def _carry_out(
    session: Session, plan: Plan, run: Run, state: State, who: str, progress: Callable[[str, int, int], None],
    without: frozenset[str] = frozenset(),
) -> None:
    connection, site = session.connection, session.site
    now = datetime.now(UTC).replace(microsecond=0).isoformat()
    new = records.desired(session.model, site, who, now, session.record)
    for name in session.unmanaged:
        if session.record and name not in without:
            new.roles[name] = session.record.roles[name]
    if session.options.only:
        new = records.of_one(session.record, new, session.options.only)
    between = records.union(session.record, new)
    between.result = "running"
    # What the record says may exist must be written down before it does.
    _put(run, records.write_script, between.to_json(), "write the record")
    _note(run, who, now, "started", len(run.changes), new)
    total = sum(1 for keys in run.planned.values() if keys)
    done = 0

    def step(text: str) -> None:
        nonlocal done
        done += 1
        progress(text, done, total)

    run.progress = step
    run.detail = lambda text: progress(text, done, total)
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
                _put(run, records.write_script, final.to_json(), "write the record")
                _note(run, who, now, final.result, len(run.done), new)
            except HoublonError:
                # The first failure is the one to tell; a lost lease or a full disk makes this one fail too.
                if not (run.failure or trouble):
                    raise
    if run.failure is not None:
        raise run.failure
    session.way_in.remember(who)
    # What failed softly stands beside releases that now run.
    plan.new_pins = _lock(session)
    if run.soft_failures:
        raise OperationFailed(
            "everything else is done, but:\n"
            + "\n".join(f"    {line}" for text in run.soft_failures for line in text.splitlines()),
            cure="Cure the cause and run `houblon apply` again; until then the old state serves.",
        )


def _prove(session: Session, run: Run) -> None:
    """Look again: an apply that does not converge must say so itself, not leave it to the next run."""
    seen = session.see(session.model)
    again = Run(run.connection, seen=seen, units=run.units, known=run.known)
    state = pyinfra_state(run.connection, session.site.host.address)
    prepare(state, session.batches(), again)
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
    _put(run, records.history_script, (json.dumps(line) + "\n").encode(), "write the history")


def _refresh(session: Session, run: Run) -> None:
    try:
        tree_operations.refresh(session.releases(), run)
    except StepFailed as failure:
        raise OperationFailed(
            f"houblon: {failure.step} failed\n    {failure.output}", cure="Run the same command again."
        ) from None


def _put(run: Run, script: Callable[[bytes], str], data: bytes, step: str) -> None:
    """A write of the engine's own.

    :raises OperationFailed: when the host cannot take it.
    """
    try:
        run.shell(script(data), data, step=step)
    except StepFailed as failure:
        lines = "\n".join(f"    {line}" for line in failure.output.splitlines())
        raise OperationFailed(
            f"houblon: {failure.step} failed\n{lines}", cure="Cure the cause and run the same command again."
        ) from None


def history(site: Site, vault: Vault, asking: Asking) -> list[dict[str, Any]]:
    """Who applied what, when, with which result; oldest first."""
    with _session(site, vault, asking, Options()) as session:
        result = session.connection.run(f"cat {shlex.quote(records.HISTORY)} 2>/dev/null || :")
        return records.read_history(result.stdout)


__all__ = ["Options", "Plan", "apply", "history", "plan", "remove"]
