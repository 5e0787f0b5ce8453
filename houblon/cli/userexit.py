"""``houblon user export`` and ``remove``: what the services have of one person, handed over, and deleted."""

from __future__ import annotations

import sys
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from houblon.cli.out import out
from houblon.cli.people import Json, Name, Site, Yes, files_, open_desk, shown, typed
from houblon.directory import NAME
from houblon.errors import HoublonError, OperationFailed, Refused

if TYPE_CHECKING:
    from houblon.claims import Person
    from houblon.people.desk import Desk

To = Annotated[Path | None, typer.Option("--to", metavar="FILE", help="Where the export goes. Default: here.")]
_MANY = 20


def export(name: Name, to: To = None, site: Site = None, json: Json = False) -> None:
    """Bring all that the services have of a person into one file here (GDPR, articles 15 and 20)."""
    with open_desk(site) as desk:
        desk.find(name)
        path = _place(to, name)
        count = desk.export(name, path)
    if json:
        out.json({"name": name, "export": str(path), "files": count})
        return
    out.say(f"{path}: {files_(count)}. Only you can read it; hand it over in a safe way, then delete it.")


def remove(name: Name, to: To = None, yes: Yes = False, site: Site = None, json: Json = False) -> None:
    """Remove a person for good: shows what goes, asks, shuts them out, exports all of it to this machine, deletes."""
    with open_desk(site) as desk:
        found = _known(desk, name)
        known = bool(found["person"])
        path = _place(to, name)
        if not json:
            _show(found)
        if not yes:
            if not sys.stdin.isatty():
                raise Refused(f"nobody is here to confirm that all of {name} goes", cure="Say --yes in scripts.")
            if typed(f"All of this will be exported to {path}, then deleted. Type the name of the account: ") != name:
                raise Refused("that is not the name; nothing was changed")
        # First, so that nothing is added between the export and the end of it.
        failed = desk.disable(name) if known else []
        if failed:
            raise OperationFailed(
                f"{name} is shut out, but sessions of theirs are still open: {'; '.join(failed)}",
                cure="Nothing was deleted. Run the command again when that is mended.",
            )
        try:
            count = desk.export(name, path)
        except HoublonError as error:
            cure = f"{name} is shut out now: run the command again, or `houblon user enable {name}`."
            raise type(error)(error.what, cure=f"{error.cure} {cure}" if known else error.cure) from None
        if not json:
            out.say(f"Exported: {path}, {files_(count)}, all checksums right.")
        try:
            done = desk.delete(name)
        except OperationFailed as error:
            raise OperationFailed(error.what, cure=f"{error.cure} Nothing is lost: all is in {path}.") from None
        desk.forget(name)
    if json:
        out.json({"name": name, "export": str(path), "files": count, "deleted": done, "services": found["services"]})
        return
    out.say(f"{name} is removed: {', '.join(done)}.", "bold green")
    out.say("Backups still hold it until they are that old. Delete the export when nobody needs it any more.")


def _known(desk: Desk, name: str) -> dict[str, Any]:
    """The person, and what each service has of them.

    :raises BadInput: neither the directory nor any service knows the name.
    """
    if not NAME.fullmatch(name):
        desk.find(name)
    services = desk.services.show(name)
    person = desk.remote.of(name).people.get(name)
    if person is None and not any(things for _, things in services):
        desk.find(name)
    return {"person": person, "services": [_row(claim, things) for claim, things in services]}


def _row(claim: Person, things: list[str]) -> dict[str, Any]:
    return {"role": claim.role, "what": {"en": claim.what.en, "fr": claim.what.fr}, "things": things}


def _show(found: dict[str, Any]) -> None:
    person = found["person"]
    out.say(f"{person.name}: {shown(person.full_name)}" if person else "Left over from somebody who is gone:", "bold")
    for row in found["services"]:
        out.say(f"{row['role']}: {row['what']['en']}" + ("" if row["things"] else ": nothing"))
        for thing in row["things"][:_MANY]:
            out.say(f"  - {shown(thing)}", "red")
        if len(row["things"]) > _MANY:
            out.say(f"  - and {len(row['things']) - _MANY} more", "red")


def _place(to: Path | None, name: str) -> Path:
    from houblon.people.sheet import free, vacant

    chosen = vacant(to) if to is not None else free(Path(f"{name}-{date.today().isoformat()}.tar.gz"))
    return chosen.absolute()
