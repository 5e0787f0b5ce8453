"""What a volunteer does with people, step by step: the layer between the commands and the directory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from houblon import directory
from houblon.claims import Accounts
from houblon.connect import Asking, Door
from houblon.errors import BadInput, HoublonError, OperationFailed, Refused
from houblon.people import invitations, ldif, model, names, remote
from houblon.people.export import export
from houblon.people.importing import Plan
from houblon.people.invitations import Invitation
from houblon.people.model import People, Person
from houblon.people.remote import Rejected, Remote
from houblon.people.services import Services
from houblon.settings import Wrong
from houblon.translate import nearest
from houblon.vault.make import weakness

if TYPE_CHECKING:
    from houblon.connection import Connection
    from houblon.site import Site
    from houblon.vault import Vault

UNINVITED = "uninvited"
"""File in the site's `.local/`: people whom a cut-off import added without inviting them."""


class Desk:
    """One site's people, over one connection.

    :raises BadInput: the site has no accounts.
    """

    def __init__(self, site: Site, vault: Vault, asking: Asking) -> None:
        if not any("accounts" in role.provides for role in site.roles):
            able = [name for name, cls in site.registry.roles.items() if "accounts" in cls.provides]
            raise BadInput(
                "this site has no accounts for people", file=site.file,
                cure=f"Write `{able[0]}:` at the top level of it, then `houblon apply`." if able else "",
            )
        self.site = site
        self.taken = frozenset(site.registry.roles)
        """Names that programs on the host may have."""
        self._door = Door(site, vault, asking)

    def __enter__(self) -> Desk:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if "connection" in self.__dict__:
            self.connection.close()
        self._door.close()

    @cached_property
    def connection(self) -> Connection:
        """Opened when something is first asked of the host."""
        return self._door.open()

    @cached_property
    def remote(self) -> Remote:
        return Remote(self.connection)

    @cached_property
    def services(self) -> Services:
        return Services(self.site, self.connection)

    # --- reading -----------------------------------------------------------------------------------------

    def find(self, name: str) -> Person:
        """A person who is there.

        :raises BadInput: when there is none of that name.
        """
        if directory.NAME.fullmatch(name) and (found := self.remote.of(name).people.get(name)):
            return found
        near = nearest(name, self.remote.everything().people)
        raise BadInput(
            f"there is no person called {_short(name)} here",
            cure=f"Did you mean `{near}`?" if near else "`houblon user list` shows who is there.",
        )

    @property
    def accounts(self) -> tuple[Accounts, ...]:
        """What the site's roles want of the directory."""
        return self.site.claims(Accounts)

    # --- one person --------------------------------------------------------------------------------------

    def add(self, person: Person, password: str = "") -> list[str]:
        """Add a person, and make the groups that are not there yet.

        :return: the groups made.
        :raises Refused: the name or an address has an owner.
        """
        there = self.remote.of(person.name, person.groups)
        if known := there.people.get(person.name):
            raise _there(known.name, known.full_name)
        self._refuse_owned(person)
        if password:
            self.judge_password(password)
        made = sorted(person.groups - set(there.groups))
        records = [model.added(person)]
        records += [model.joined(group, [person.name], new=group in made) for group in sorted(person.groups)]
        records += [invitations.password_set(person.name, password)] if password else []
        try:
            self.remote.apply("".join(records))
        except Rejected as error:
            if error.code == remote.EXISTS and error.dn == directory.person_dn(person.name):
                raise _there(person.name) from None
            if error.code == remote.EXISTS:
                # Somebody made the group in the meantime; the person is there, the rest is like an edit.
                self.join(sorted(person.groups), [person.name])
                return made
            if error.code == remote.CONSTRAINT:
                raise Refused(f"{person.name} was not added: an address of theirs has another owner") from None
            raise
        return made

    def edit(self, before: Person, after: Person) -> bool:
        """Change a person's attributes; groups are not touched. False: there was nothing to change."""
        records = model.changed(before, after)
        if records:
            self._refuse_owned(after)
            self.remote.apply(records)
        return bool(records)

    def set_password(self, name: str, password: str) -> None:
        """Give a person a password that was chosen here.

        :raises BadInput: when it is weak.
        """
        self.judge_password(password)
        self.remote.apply(invitations.password_set(name, password))
        self._end_sessions([name])

    def judge_password(self, password: str) -> None:
        """:raises BadInput: the password is weak, or shorter than the directory's policy wants."""
        # slapd does not judge what root sets.
        policies = self.remote.search(["objectClass=pwdPolicy"], ["pwdMinLength"])
        least = max((int(policy.one("pwdMinLength") or 0) for policy in policies), default=0)
        reason = f"it has fewer than {least} characters" if len(password) < least else weakness(password)
        if reason:
            raise BadInput(f"this password is refused: {reason}", cure="Take five random words, for example.")

    def invite(self, people: Sequence[Person], hours: int) -> list[Invitation]:
        """A one-time link for each or, where no role makes links, a first password."""
        if self.services.invites is None:
            return invitations.passwords(self.remote, people)
        return invitations.links(self.connection, self.services.invites, people, hours)

    def disable(self, name: str) -> list[str]:
        """Shut a person out: no bind, no reader sees them any more, and their sessions end.

        :return: what could not be ended, a sentence for each service.
        """
        services = self.services
        self.remote.apply(model.disabled(name))
        return services.shut_out(name)

    def enable(self, person: Person) -> None:
        """Let a person in again; their password is what it was."""
        self.remote.apply(model.enabled(person))

    # --- the way out -------------------------------------------------------------------------------------

    def export(self, name: str, path: Path) -> int:
        """All that the services have of a person, into a new file; gives the number of files in it."""
        return export(self.connection, self.services.export_script(), name, path)

    def delete(self, name: str) -> list[str]:
        """Delete a person everywhere, the directory last.

        :return: the roles that did.
        :raises OperationFailed: one of them did not; those before it did, those after it were not asked.
        """
        done: list[str] = []
        for claim in self.services.persons:
            try:
                self.services.delete(claim, name)
            except OperationFailed as error:
                before = f"Done before: {', '.join(done)}. " if done else "Nothing was deleted yet. "
                raise OperationFailed(error.what, cure=f"{before}{error.cure}") from None
            if claim.delete:
                done.append(claim.role)
        return done

    # --- groups ------------------------------------------------------------------------------------------

    def join(self, groups: Iterable[str], people: Sequence[str]) -> list[str]:
        """Take people into groups, which are made when they are not there.

        :return: the groups made.
        """
        wanted = list(groups)
        there = self._named(people, wanted)
        made = [group for group in wanted if group not in there.groups]
        self._group_change("".join(
            model.joined(group, [n for n in people if n not in there.groups.get(group, ())], new=group in made)
            for group in wanted
        ))  # fmt: skip
        return made

    def leave(self, group: str, people: Sequence[str]) -> list[str]:
        """Take people out of a group; gives those who were in it."""
        there = self.group(group)
        gone = [name for name in people if name in there]
        self._group_change(model.left(group, gone))
        self._end_sessions(gone)
        return gone

    def group(self, name: str) -> frozenset[str]:
        """A group's members.

        :raises BadInput: there is no such group.
        """
        groups = self.remote.everything().groups
        if name not in groups:
            near = nearest(name, groups)
            raise BadInput(
                f"there is no group called {_short(name)} here",
                cure=f"Did you mean `{near}`?" if near else "`houblon user group list` shows what is there.",
            )
        return groups[name]

    def delete_group(self, name: str) -> None:
        """Delete a group; its members stay."""
        members = sorted(self.remote.everything().groups.get(name, ()))
        self._group_change(ldif.delete(directory.group_dn(name)))
        self._end_sessions(members)

    # --- many people -------------------------------------------------------------------------------------

    def carry_out(self, plan: Plan, there: People, invite: bool) -> None:
        """Do what an import planned, in one batch; people first.

        :param invite: they are to be invited afterwards. They are remembered until all is done that is to be done.
        """
        self._remember({*self.uninvited, *(person.name for person in plan.new)})
        records = [model.added(person) for person in plan.new]
        records += [
            model.joined(group, people, new=group not in there.groups) for group, people in sorted(plan.joins.items())
        ]
        try:
            self.remote.apply("".join(records))
        except Rejected as error:
            done = f"{min(error.done, len(plan.new))} of {len(plan.new)} people were added before."
            raise OperationFailed(error.what, cure=f"{done} The same import, run again, goes on from there.") from None
        if not invite:
            self.invited(plan.new)

    @property
    def uninvited(self) -> frozenset[str]:
        """People whom an earlier import on this machine added and did not come to invite."""
        with suppress(OSError):
            return frozenset(self._memory.read_text().split())
        return frozenset()

    def invited(self, people: Iterable[Person]) -> None:
        """These have their invitation now."""
        self._remember(self.uninvited - {person.name for person in people})

    def forget(self, name: str) -> None:
        """Nothing is left to do for this person."""
        self._remember(self.uninvited - {name})

    @property
    def _memory(self) -> Path:
        return self.site.folder / ".local" / UNINVITED

    def _remember(self, people: Iterable[str]) -> None:
        lines = "".join(f"{name}\n" for name in sorted(people))
        with suppress(OSError):
            if lines:
                self._memory.parent.mkdir(mode=0o700, exist_ok=True)
                self._memory.write_text(lines)
                self._memory.chmod(0o600)
            else:
                self._memory.unlink(missing_ok=True)

    # --- inside ------------------------------------------------------------------------------------------

    def _end_sessions(self, people: Iterable[str]) -> None:
        """A session knows the groups of the moment it began, and outlives a password.

        :raises OperationFailed: some may go on.
        """
        known = self.remote.everything().people
        # Who never chose a password has no session, but perhaps a sheet whose link this would end.
        entered = [name for name in people if name in known and known[name].has_password]
        failed = [what for name in entered for what in self.services.shut_out(name)]
        if failed:
            raise OperationFailed(
                "that is done, but open sessions may go on: " + "; ".join(dict.fromkeys(failed)),
                cure="Run `houblon user disable NAME` and `enable NAME` for each, which ends them.",
            )

    def _named(self, people: Iterable[str], groups: Iterable[str]) -> People:
        there = self.remote.everything()
        for name in people:
            if name not in there.people:
                self.find(name)
        for name in groups:
            if name not in there.groups:
                try:
                    names.group(name)
                except Wrong as error:
                    raise BadInput(f"{_short(name)}: {error.what}", cure=error.cure) from None
        return there

    def _group_change(self, records: str) -> None:
        try:
            self.remote.apply(records)
        except Rejected as error:
            if error.code in (remote.EXISTS, remote.VALUE_EXISTS, remote.NO_SUCH_VALUE, remote.NO_SUCH_ENTRY):
                raise Refused(
                    "somebody changed the same group or person just now", cure="Run the command again."
                ) from None
            raise

    def _refuse_owned(self, person: Person) -> None:
        for address, owner in self.remote.owners(person.addresses).items():
            if owner != person.name:
                raise Refused(f"the address {address} is that of {owner} already", cure="Each address has one owner.")


def _there(name: str, full_name: str = "") -> HoublonError:
    whose = f", that of “{full_name}”" if full_name else ": somebody has just added it"
    return Refused(
        f"the account {name} is there already{whose}",
        cure=f"Take another name; or, if it is them, `houblon user show {name}`.",
    )


def _short(text: str) -> str:
    return "".join(char if char.isprintable() else "\ufffd" for char in text[:40])
