"""One look at a host: what a site wants of it, what is there, and the plan that follows."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pyinfra.api import Config, Inventory, State
from pyinfra.api.connect import connect_all
from pyinfra.api.operation import add_op
from pyinfra.api.state import StateStage

from houblon import contact, releases
from houblon import site as sites
from houblon.artifacts import cached
from houblon.connect import Asking
from houblon.connect import Door as WayIn
from houblon.connection import Connection
from houblon.errors import CannotConnect
from houblon.facts import Seen, parse, script_for
from houblon.facts.snapshot import contents_script, parse_contents
from houblon.model import Model, build, package_names, secret_specs
from houblon.operations import converge
from houblon.operations.run import Change, Run
from houblon.record import Record
from houblon.resources import Batch, Door, File, Packages, Release
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
    :param unverified: releases whose pin a test manifest has replaced.
    :param lacking: releases that must be got before an apply: neither the cache nor the host has them.
    :param new_pins: whether the apply has changed the site's ``pins.lock``.
    """

    changes: list[Change]
    diffs: dict[str, str] = field(default_factory=dict)
    unmanaged: list[str] = field(default_factory=list)
    new_secrets: list[str] = field(default_factory=list)
    adopted: list[str] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)
    unverified: list[str] = field(default_factory=list)
    lacking: list[str] = field(default_factory=list)
    new_pins: bool = False

    def to_json(self) -> dict[str, Any]:
        return {
            "changes": [{**c.__dict__, "diff": self.diffs.get(c.subject, "")} for c in self.changes],
            "unmanaged": self.unmanaged,
            "new_secrets": self.new_secrets,
            "adopted": self.adopted,
            "replaced": self.replaced,
            "unverified": self.unverified,
            "lacking": self.lacking,
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
        self.seen = self.see(self.model)
        self.record = Record.read(self.seen.record)
        contact.check_system(self.site, self.seen)
        contact.check_age(self.site, self.record, self.options.allow_older)
        contact.check_size(self.site, self.seen)
        releases.check_pins(self.site, self.seen)
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
            self.seen = self.see(self.model)

    def glance(self) -> None:
        """Refuse what can be refused without a lease: releases that nobody can install here.

        :raises Refused: see `houblon.releases`.
        """
        wanted = releases.wanted(self.site, self.options.only)
        if all(cached(r.artifact) for r in wanted) and not releases.unverified(self.site):
            return
        model = Model(self.site, [Batch("base", "install", tuple(wanted))])
        seen = self.see(model)
        releases.check_pins(self.site, seen)
        releases.check_there(self.site, wanted, seen)

    def see(self, model: Model) -> Seen:
        """Read the state of everything in a model, in one round trip.

        :raises CannotConnect: when the answer is not whole.
        """
        script = script_for([item for _, item in model.items()])
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
        state = pyinfra_state(self.connection, self.site.host.address)
        prepare(state, self.batches(), run)
        if run.changes:
            contact.check_preflight(self.site, self.connection)
        adopted = contact.foreign(self.model, self.record, self.seen, self.connection) if run.changes else []
        plan = Plan(
            run.changes, self._diffs(run), self.unmanaged, self.vault.missing(secret_specs(self.site)), adopted,
        )
        plan.unverified = releases.unverified(self.site)
        plan.lacking = [f"{a.name} {a.version}" for a in releases.lacking(self.releases(), self.seen)]
        plan.replaced = sorted(path for path in plan.diffs if path in self.seen.paths and path not in run.known)
        return plan, run, state

    def releases(self) -> list[Release]:
        """The releases that the model, or the one role that the options ask for, wants."""
        return [item for batch in self.batches() for item in batch.items if isinstance(item, Release)]

    def batches(self) -> list[Batch]:
        """The model's batches, or those of the one role that the options ask for."""
        only = self.options.only
        if only is None:
            return self.model.batches
        names = package_names(self.site, only)
        packages = [Batch("base", "install", (Packages(names),))] if names else []
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


class Unmade:
    """A vault for planning: secrets that an apply would make first stand in as dots. Writes nothing."""

    def __init__(self, vault: Vault, missing: frozenset[str]) -> None:
        self._vault, self._missing = vault, missing

    def get(self, role: str, name: str) -> Secret:
        return Secret(b"(not made yet)") if f"{role}/{name}" in self._missing else self._vault.get(role, name)

    def public(self, role: str, name: str) -> str:
        return "(not made yet)" if f"{role}/{name}" in self._missing else self._vault.public(role, name)

    def earlier(self, role: str, name: str) -> list[Secret]:
        return [] if f"{role}/{name}" in self._missing else self._vault.earlier(role, name)

    def missing(self, specs: Iterable[SecretSpec]) -> list[str]:
        return self._vault.missing(specs)


def pyinfra_state(connection: Connection, address: str) -> State:
    """A pyinfra state with one host, reached through an open connection."""
    inventory = Inventory(([(f"@houblon/{address}", {"houblon_connection": connection})], {}))  # type: ignore[no-untyped-call]
    state = State(inventory, Config(), check_for_changes=True)  # type: ignore[no-untyped-call]
    connect_all(state)
    return state


def prepare(state: State, batches: Sequence[Batch], run: Run) -> None:
    """Add the operations, one for each batch; this names the changes in ``run``."""
    state.set_stage(StateStage.Prepare)
    for number, batch in enumerate(batches):
        # Unnamed operations print their arguments.
        add_op(state, converge, batch, number, run, name=f"{batch.role} {batch.stage} {number}")


def _unified(path: str, old: bytes, new: bytes) -> str:
    try:
        before, after = old.decode(), new.decode()
    except UnicodeDecodeError:
        return f"binary file, {len(old)} → {len(new)} bytes\n"
    lines = difflib.unified_diff(
        before.splitlines(keepends=True), after.splitlines(keepends=True), f"host:{path}", f"site:{path}", n=2
    )
    return "".join(line if line.endswith("\n") else f"{line}\n\\ no newline at end of file\n" for line in lines)
