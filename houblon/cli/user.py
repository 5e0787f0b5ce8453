"""``houblon user``: the people of the services."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Annotated, Any

import typer
from rich.text import Text

from houblon.cli import userexit, usergroup, userimport
from houblon.cli.out import out
from houblon.cli.people import (
    Hours,
    Invite,
    Json,
    Name,
    Sheet,
    Site,
    answer,
    deliver,
    judged,
    open_desk,
    people_,
    read_password,
    sheet_for,
    shown,
    size,
    state,
    table,
    way,
)
from houblon.errors import BadInput, HoublonError, OperationFailed, Refused

app = typer.Typer(
    no_args_is_help=True, pretty_exceptions_show_locals=False,
    help="The people of the services: one account, one password for each. They are not the site's admins, who run the "
    "host and stand in site.yaml (`houblon admin`): an admin who uses the services has an account here as well, and "
    "may give it the same name; the two know nothing of each other. People live in the host's directory, and "
    "`houblon apply` never touches them.",
)
app.add_typer(usergroup.app, name="group")
app.command("import")(userimport.import_)
app.command()(userexit.export)
app.command()(userexit.remove)

FullName = Annotated[str | None, typer.Option("--name", help="The person's name as they write it.")]
Mail = Annotated[str | None, typer.Option("--mail", help="The address services show and write to.")]
Recovery = Annotated[
    str | None, typer.Option("--recovery", help="An address elsewhere, for invitations and forgotten passwords.")
]
Alias = Annotated[
    list[str] | None, typer.Option("--alias", help="A further address whose mail is theirs; may be given again.")
]
Language = Annotated[str | None, typer.Option("--language", metavar="fr|en", help="Of what is written to them.")]
Quota = Annotated[str | None, typer.Option("--quota", help="Room for files, such as 5G.")]
MailQuota = Annotated[str | None, typer.Option("--mail-quota", help="Room for mail, such as 500M.")]


@app.command()
def add(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="The name of the account: marie.dupont.")] = None,
    full_name: FullName = None, mail: Mail = None, recovery: Recovery = None, alias: Alias = None,
    group: Annotated[
        list[str] | None, typer.Option("--group", help="A group to be in; made if new; may be given again.")
    ] = None,
    language: Language = None, quota: Quota = None, mail_quota: MailQuota = None,
    invite: Invite = "sheet", hours: Hours = 72, sheet: Sheet = None,
    password: Annotated[
        bool, typer.Option("--password", help="No invitation: a password typed here, or one line of standard input.")
    ] = False,
    site: Site = None, json: Json = False,
) -> None:  # fmt: skip
    """Add a person, and invite them to choose their password. Asks at the terminal for what is missing."""
    from houblon.people import names
    from houblon.people.model import Person

    how = "none" if password else way(invite)
    with open_desk(site) as desk:
        asks = sys.stdin.isatty() and not json
        if full_name is None and not asks:
            raise BadInput("who is it?", cure='Say --name "Marie Dupont".')
        known = judged("--name", names.full_name, full_name) if full_name is not None else None
        known = known or answer("Full name", names.full_name)
        if name is None and not asks:
            raise BadInput("which name shall the account have?", cure=f"Such as {names.propose(known) or 'marie'}.")
        account = (
            judged("NAME", lambda text: names.account(text, desk.taken), name) if name is not None
            else answer("Account name", lambda text: names.account(text, desk.taken), names.propose(known))
        )  # fmt: skip
        if recovery is None and full_name is None:
            recovery = answer("Address elsewhere, for a forgotten password (may be empty)",
                              lambda text: names.email(text) if text else "")  # fmt: skip
        spoken = language or desk.site.languages[0]
        if language is None and full_name is None and len(desk.site.languages) > 1:
            spoken = answer("Language", names.language, desk.site.languages[0])
        person = Person(
            name=account, full_name=known, language=judged("--language", names.language, spoken),
            mail=judged("--mail", names.email, mail) if mail else "",
            recovery=judged("--recovery", names.email, recovery) if recovery else "",
            aliases=tuple(dict.fromkeys(judged("--alias", names.email, one) for one in alias or ())),
            groups=frozenset(judged("--group", names.group, one) for one in group or ()),
            file_quota=judged("--quota", names.quota, quota) if quota else None,
            mail_quota=judged("--mail-quota", names.quota, mail_quota) if mail_quota else None,
        )
        path = sheet_for(sheet, account, how)
        chosen = read_password(account) if password else ""
        if how == "link" and desk.services.invites is None:
            raise BadInput(
                "no service of this site makes links", cure="Leave --invite out for a sheet with a first password."
            )
        made = desk.add(person, chosen)
        result: dict[str, Any] = {"name": account, "groups_made": made}
        if not json:
            out.say(f"{account} ({shown(known)}) has an account.", "bold green")
            for one in made:
                out.note(f"The group {one} is new.")
            if account in {admin.name for admin in desk.site.admins}:
                out.note(
                    f"An admin of the host is called {account} too. The two accounts know nothing of each other: this "
                    "one opens the services and not the host, with a password of its own."
                )
        try:
            result |= deliver(desk, [person], how, hours, path, json)
        except HoublonError as error:
            raise OperationFailed(
                f"{account} was added, but there is no invitation yet: {error.what}",
                cure=f"When that is mended: `houblon user invite {account}`. {error.cure}".strip(),
            ) from None
        if json:
            out.json(result)


@app.command("list")
def list_(
    group: Annotated[str | None, typer.Option("--group", help="Only who is in this group.")] = None,
    site: Site = None, json: Json = False,
) -> None:
    """List the people."""
    with open_desk(site) as desk:
        there = desk.remote.everything()
        if group is not None:
            members = desk.group(group)
            there.people = {name: person for name, person in there.people.items() if name in members}
        people = [there.people[name] for name in sorted(there.people)]
        if json:
            out.json([person.to_json() for person in people])
            return
        if people and out.verbosity >= 0:
            typer.echo(out.mask(table(people)))
        waiting = sum(person.active and not person.has_password for person in people)
        out.say(people_(len(people)) + (f", {waiting} without a password yet." if waiting else "."), "dim")
        if out.verbosity >= 0 and desk.uninvited & there.people.keys():
            out.note(
                f"{len(desk.uninvited & there.people.keys())} of them were added by an import that was cut off before "
                "it invited them: run it again."
            )


@app.command()
def show(name: Name, site: Site = None, json: Json = False) -> None:
    """Show one person."""
    with open_desk(site) as desk:
        person = desk.find(name)
    if json:
        out.json(person.to_json())
        return
    out.say(f"{person.name}: {shown(person.full_name)}", "bold")
    made = person.made
    rows = [
        ("state", state(person) + (", shut out for good" if person.locked and not person.active else "")),
        ("address", person.mail or "none"), ("aliases", ", ".join(person.aliases) or "none"),
        ("recovery", person.recovery or "none"), ("groups", ", ".join(sorted(person.groups)) or "none"),
        ("language", person.language), ("files", size(person.file_quota)), ("mail", size(person.mail_quota)),
        ("added", f"{made[:4]}-{made[4:6]}-{made[6:8]}"),
    ]  # fmt: skip
    for label, value in rows:
        if out.verbosity >= 0:
            out.console.print(Text.assemble((f"  {label:<10}", "dim"), out.mask(shown(value))))


@app.command()
def disable(name: Name, site: Site = None, json: Json = False) -> None:
    """Shut a person out of every service at once; nothing of theirs is deleted."""
    with open_desk(site) as desk:
        person = desk.find(name)
        failed = desk.disable(person.name)
        if failed:
            raise OperationFailed(
                f"{name} can log in nowhere any more, but not all that is open was ended: " + "; ".join(failed),
                cure=f"Run `houblon user disable {name}` again when that is mended.",
            )
    if json:
        out.json({"name": name, "state": "disabled"})
        return
    out.say(f"{name} is shut out: no login, and no session left. `houblon user enable {name}` lets them in again.")


@app.command()
def enable(name: Name, site: Site = None, json: Json = False) -> None:
    """Let a person in again, with the password they had; also after too many wrong passwords."""
    with open_desk(site) as desk:
        desk.enable(desk.find(name))
    if json:
        out.json({"name": name, "state": "active"})
        return
    out.say(f"{name} can log in again.")


@app.command("forget-factor")
def forget_factor(name: Name, site: Site = None, json: Json = False) -> None:
    """Remove the second factor of somebody who lost it: they sign in with their password and register a new one."""
    with open_desk(site) as desk:
        failed = desk.services.forget_factor(desk.find(name).name)
    if failed:
        raise OperationFailed("; ".join(failed), cure="Run the command again when that is mended.")
    if json:
        out.json({"name": name, "second_factor": None})
        return
    out.say(f"{name} signs in with the password alone, and can register a new second factor.")
    out.note("Whoever has their password can do so, too: be sure that it was really them who asked.")


@app.command("invite")
def invite_(
    name: Name, invite: Invite = "sheet", hours: Hours = 72, sheet: Sheet = None,
    password: Annotated[
        bool, typer.Option("--password", help="Set a password here instead: asked for, or one line of standard input.")
    ] = False,
    site: Site = None, json: Json = False,
) -> None:  # fmt: skip
    """Make a new one-time link for somebody who lost theirs, or forgot their password. It ends the earlier one."""
    how = way(invite)
    if how == "none" and not password:
        raise BadInput("an invitation goes somewhere", cure="Say --invite link or --invite sheet.")
    with open_desk(site) as desk:
        person = desk.find(name)
        if not person.active:
            raise Refused(f"{name} is shut out", cure=f"`houblon user enable {name}` first, if that is right.")
        if password:
            desk.set_password(name, read_password(name))
            desk.invited([person])
            result: dict[str, Any] = {}
        else:
            if how == "link" and desk.services.invites is None:
                raise BadInput("no service of this site makes links", cure="Leave --invite out for a sheet.")
            result = deliver(desk, [person], how, hours, sheet_for(sheet, name, how), json)
    if json:
        out.json({"name": name, **result})
    elif password:
        out.say(f"{name} has a new password.")


@app.command()
def edit(
    name: Name, full_name: FullName = None, mail: Mail = None, recovery: Recovery = None, alias: Alias = None,
    language: Language = None, quota: Quota = None, mail_quota: MailQuota = None, site: Site = None, json: Json = False,
) -> None:
    """Change what is known of a person. An empty value ('') takes it away; aliases given replace those so far."""
    from houblon.people import names

    changes: dict[str, Any] = {}
    if full_name is not None:
        changes["full_name"] = judged("--name", names.full_name, full_name)
        changes["given"], changes["family"] = names.parts(changes["full_name"])
    if mail is not None:
        changes["mail"] = judged("--mail", names.email, mail) if mail else ""
    if recovery is not None:
        changes["recovery"] = judged("--recovery", names.email, recovery) if recovery else ""
    if alias is not None:
        changes["aliases"] = tuple(sorted({judged("--alias", names.email, one) for one in alias if one}))
    if language is not None:
        changes["language"] = judged("--language", names.language, language)
    if quota is not None:
        changes["file_quota"] = judged("--quota", names.quota, quota) if quota else None
    if mail_quota is not None:
        changes["mail_quota"] = judged("--mail-quota", names.quota, mail_quota) if mail_quota else None
    if not changes:
        raise BadInput("there is nothing to change", cure="`houblon user edit --help` shows what can be.")
    with open_desk(site) as desk:
        before = desk.find(name)
        changed = desk.edit(before, replace(before, **changes))
    if json:
        out.json({"name": name, "changed": changed})
        return
    out.say(f"{name} is changed." if changed else f"{name} was like that already; nothing was changed.")
