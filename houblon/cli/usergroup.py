"""``houblon user group``: who is in which group."""

from __future__ import annotations

from typing import Annotated

import typer

from houblon.cli.out import out
from houblon.cli.people import Json, Site, Yes, open_desk, people_, typed
from houblon.errors import BadInput, Refused

app = typer.Typer(
    no_args_is_help=True, pretty_exceptions_show_locals=False,
    help="Groups of people: services may be for some groups only, and share calendars and folders with them.",
)
Group = Annotated[str, typer.Argument(metavar="GROUP", help="The group's name.")]
People = Annotated[list[str], typer.Argument(metavar="NAME...", help="Names of accounts.")]


@app.command()
def add(group: Group, people: People, site: Site = None, json: Json = False) -> None:
    """Take people into a group; it is made if there is none of that name."""
    with open_desk(site) as desk:
        made = desk.join([group], list(dict.fromkeys(people)))
    if json:
        out.json({"group": group, "made": bool(made), "people": people})
        return
    out.say(f"{', '.join(people)}: in {group}" + (", which is new." if made else "."))


@app.command()
def remove(group: Group, people: People, site: Site = None, json: Json = False) -> None:
    """Take people out of a group; the group stays."""
    with open_desk(site) as desk:
        for name in people:
            desk.find(name)
        gone = desk.leave(group, list(dict.fromkeys(people)))
    if json:
        out.json({"group": group, "removed": gone})
        return
    out.say(f"{', '.join(gone)}: no more in {group}." if gone else f"None of them was in {group}; nothing was changed.")


@app.command("list")
def list_(
    group: Annotated[str | None, typer.Argument(metavar="GROUP", help="Show this one's members.")] = None,
    site: Site = None, json: Json = False,
) -> None:  # fmt: skip
    """List the groups, or the members of one."""
    with open_desk(site) as desk:
        groups = {group: desk.group(group)} if group is not None else desk.remote.everything().groups
    if json:
        out.json({name: sorted(members) for name, members in sorted(groups.items())})
        return
    for name, members in sorted(groups.items()):
        if group is None:
            out.say(f"{name:<31} {people_(len(members)):>12}")
        else:
            for member in sorted(members):
                out.say(member)
    if not groups:
        out.say("There are no groups yet: `houblon user group add GROUP NAME` makes one.")


@app.command()
def delete(group: Group, yes: Yes = False, site: Site = None, json: Json = False) -> None:
    """Delete a group. Its members stay; what the group opened to them closes."""
    with open_desk(site) as desk:
        members = desk.group(group)
        needing = sorted({
            claim.role for claim in desk.accounts if group in claim.groups
        })  # fmt: skip
        if needing:
            raise BadInput(
                f"{', '.join(needing)} is for this group; without it nobody could use it",
                file=desk.site.file, cure="Change that in the site file first, then apply.",
            )
        if not yes and typed(f"Delete {group}, with {people_(len(members))} in it? Type its name: ") != group:
            raise Refused("that is not its name; nothing was changed")
        desk.delete_group(group)
    if json:
        out.json({"group": group, "deleted": True})
        return
    out.say(f"{group} is deleted; its members ({people_(len(members))}) are still there.")
