"""``houblon user import``: many people at once, from a spreadsheet."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from houblon.cli.ask import yes_or_no
from houblon.cli.out import out
from houblon.cli.people import Hours, Invite, Json, Sheet, Site, deliver, open_desk, people_, shown, way
from houblon.errors import BadInput, CannotConnect, Exit, HoublonError, OperationFailed

if TYPE_CHECKING:
    from houblon.people.importing import Plan
    from houblon.people.table import Mistake

_MANY = 30


def import_(
    file: Annotated[
        Path, typer.Argument(metavar="FILE.csv", help="One person a line; the first line names the columns.")
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be done. Exit status 0: nothing, 10: something.")
    ] = False,
    encoding: Annotated[str, typer.Option("--encoding", help="Of a file that is not UTF-8: cp1252, latin-1.")] = "",
    invite: Invite = "sheet", hours: Hours = 168, sheet: Sheet = None, site: Site = None, json: Json = False,
) -> None:  # fmt: skip
    """Add people from a CSV file, all or, if anything in it is wrong, none; one file with a sheet for each.

    Columns: name, full name (or given name, family name), mail, recovery, aliases, groups, language, quota, mail
    quota; or identifiant, nom complet (ou prénom, nom), courriel, courriel de secours, groupes, langue. People who are
    there already are left as they are, so that the same file can be imported again.
    """
    from houblon.people import importing, table
    from houblon.people.sheet import free, vacant

    how = way(invite)
    with open_desk(site) as desk:
        seen = table.read(_text(file, encoding), desk.taken)
        try:
            there = desk.remote.everything()
        except CannotConnect:
            _refuse(file, seen.mistakes, json)
            raise
        plan = importing.plan(seen, there, desk.site.languages[0], desk.taken, desk.uninvited)
        _refuse(file, plan.mistakes, json)
        waiting = [there.people[name] for name in plan.same if name in desk.uninvited and there.people[name].active
                   and not (desk.services.invites is not None and there.people[name].has_password)]
        if how == "none":
            waiting = []
        if dry_run or not json:
            _show(plan, len(waiting), json)
        if dry_run:
            raise typer.Exit(Exit.CHANGES_PENDING if not plan.empty or waiting else Exit.OK)
        result: dict[str, Any] = {
            "added": [person.name for person in plan.new], "unchanged": plan.same, "groups_made": plan.new_groups,
            "joined": plan.joins, "notes": plan.notes,
        }  # fmt: skip
        people = [*plan.new, *waiting]
        if people and how == "link" and desk.services.invites is None:
            raise BadInput("no service of this site makes links", cure="Leave --invite out for sheets.")
        path = None
        if people and how == "sheet":
            path = vacant(sheet) if sheet is not None else free(file.with_name(f"{file.stem}-invitations.html"))
            _ = desk.services
        if not plan.empty:
            desk.carry_out(plan, there, invite=how != "none")
            if not json:
                out.say(f"Done: {people_(len(plan.new))} added.", "bold green")
        try:
            result |= deliver(desk, people, how, hours, path, json)
        except HoublonError as error:
            raise OperationFailed(
                f"all accounts are there, but not the invitations: {error.what}",
                cure=f"The same import, run again, makes them. {error.cure}".strip(),
            ) from None
        if json:
            out.json(result)


def _text(file: Path, encoding: str) -> str:
    from houblon.people.table import MAX_BYTES, decode, undecodable

    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise BadInput(f"this file cannot be read: {error.strerror}", file=file, cure="Check its name.") from None
    try:
        return decode(data, encoding, file)
    except BadInput:
        sample = "" if encoding else shown(undecodable(data, "cp1252"))
        if not sample or not sys.stdin.isatty():
            raise
        out.errors.print(Text(f"{file} is not UTF-8. Read as Windows-1252, it says:\n  {sample}"))
        if not yes_or_no("Are the accents right?"):
            raise
        return decode(data, "cp1252", file)


def _refuse(file: Path, mistakes: list[Mistake], json: bool) -> None:
    """:raises BadInput: there are mistakes; all of them are shown."""
    if not mistakes:
        return
    if json:
        out.json({"mistakes": [
            {"line": one.line, "column": one.column, "what": one.what, "cure": one.cure} for one in mistakes
        ]})  # fmt: skip
    else:
        for one in mistakes:
            out.errors.print(Text(shown(one.shown(file))))
    raise BadInput(
        f"{len(mistakes)} mistakes; nobody was added" if len(mistakes) > 1 else "one mistake; nobody was added",
        file=file, cure="Mend the file and import it again.",
    )


def _show(plan: Plan, waiting: int, json: bool) -> None:
    if json:
        out.json({
            "new": [person.to_json() for person in plan.new], "unchanged": plan.same, "joins": plan.joins,
            "new_groups": plan.new_groups, "notes": plan.notes, "waiting_for_invitation": waiting,
        })  # fmt: skip
        return
    for note in plan.notes:
        out.note(shown(note))
    for person in plan.new[:_MANY]:
        out.say(f"  + {person.name:<31} {shown(person.full_name)}", "green")
    if len(plan.new) > _MANY:
        out.say(f"  + and {len(plan.new) - _MANY} more", "green")
    for group, people in sorted(plan.joins.items()):
        new = " (new)" if group in plan.new_groups else ""
        out.say(f"  ~ group {group}{new}: joined by {people_(len(people))}", "green")
    if waiting:
        out.say(f"  ~ added by an earlier run and not invited yet: {people_(waiting)}", "green")
    if plan.same:
        out.say(f"There already, and left as they are: {people_(len(plan.same))}.")
    if plan.empty and not waiting:
        out.say("Nothing to do: all of them are there.", "bold")
