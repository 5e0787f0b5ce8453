"""What the commands of ``houblon user`` share: options, questions, and how people and invitations are shown."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import gevent.select
import typer
from rich.cells import cell_len
from rich.text import Text

from houblon.cli.ask import at_the_terminal
from houblon.cli.common import open_site
from houblon.cli.out import out
from houblon.errors import BadInput, Refused
from houblon.settings import Wrong
from houblon.vault.identity import ask_on_terminal

if TYPE_CHECKING:
    from houblon.people.desk import Desk
    from houblon.people.invitations import Invitation
    from houblon.people.model import Person

Site = Annotated[
    str | None,
    typer.Option("--site", "-s", help="Name or path of the site. Default: $HOUBLON_SITE, the only one here."),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The name of the person's account.")]
Way = Literal["link", "sheet", "none"]
Invite = Annotated[
    str,
    typer.Option(
        "--invite", metavar="link|sheet|none",
        help="Print the one-time link, write a sheet to print (a file that you alone can read), or neither.",
    ),
]
Hours = Annotated[int, typer.Option("--hours", min=1, max=720, help="How long the link works.")]
Sheet = Annotated[Path | None, typer.Option("--sheet", metavar="FILE", help="Where the sheet goes.")]

_MAX_PASSWORD = 1024


def open_desk(site: str | None) -> Desk:
    """The people of the site that the option names; the connection is opened when something is asked of the host."""
    from houblon.people.desk import Desk

    loaded, vault = open_site(site)
    return Desk(loaded, vault, at_the_terminal())


def way(text: str) -> Way:
    """What stands after ``--invite``.

    :raises BadInput: it is none of the three.
    """
    for known in ("link", "sheet", "none"):
        if text == known:
            return known
    raise BadInput(f"--invite takes link, sheet or none, not {shown(text)}", cure="Leave it out for a sheet.")


def judged(option: str, judge: Callable[[str], Any], text: str) -> Any:
    """An option's value in its normal form.

    :raises BadInput: with the option's name.
    """
    try:
        return judge(text)
    except Wrong as error:
        raise BadInput(f"{option}: {error.what}", cure=error.cure) from None


def shown(text: str) -> str:
    """Text of others for a terminal: nothing in it moves the cursor or changes colours."""
    return "".join(char if char.isprintable() else "\ufffd" for char in text)


def typed(question: str) -> str:
    """An answer from the terminal, while the connection is kept alive.

    :raises Refused: there is no terminal.
    """
    if not sys.stdin.isatty():
        raise Refused("nobody is here to answer", cure="Say --yes in scripts.")
    print(question, file=sys.stderr, end="", flush=True)
    gevent.select.select([sys.stdin], [], [])
    line = sys.stdin.readline()
    if not line:
        raise typer.Abort
    return line.strip()


def answer(question: str, judge: Callable[[str], Any], default: str = "") -> Any:
    """A judged answer from the terminal, asked for until it is right."""
    while True:
        given = typed(f"{question}{f' [{default}]' if default else ''}: ") or default
        try:
            return judge(given)
        except Wrong as error:
            out.errors.print(Text(f"  {error.what}. {error.cure}"))


def read_password(name: str) -> str:
    """A password chosen here: asked for twice, or the one line on standard input.

    :raises BadInput: the two differ, or the input is no line.
    """
    if sys.stdin.isatty():
        value = ask_on_terminal(f"Password for {name}: ")
        if ask_on_terminal("The same again: ") != value:
            raise BadInput("the two differ; nothing was changed", cure="Run the command again.")
        return value
    data = sys.stdin.buffer.read(_MAX_PASSWORD + 1)
    try:
        value = data.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        value = ""
    if not value or "\n" in value or len(data) > _MAX_PASSWORD:
        raise BadInput("standard input must hold the password, on one line", cure="Or run it at a terminal.")
    return value


def people_(number: int) -> str:
    """How many people, in words."""
    return "1 person" if number == 1 else f"{number} people"


def files_(number: int) -> str:
    """How many files, in words."""
    return "1 file" if number == 1 else f"{number} files"


def size(megabytes: int | None) -> str:
    """A quota for people."""
    if megabytes is None:
        return "the service's default"
    return f"{megabytes / 1024:g} GiB" if megabytes % 512 == 0 else f"{megabytes} MiB"


def state(person: Person) -> str:
    """Whether a person can log in, in a word or two."""
    if not person.active:
        return "disabled"
    if not person.has_password:
        return "no password yet"
    return "active"


def table(people: Iterable[Person]) -> str:
    """People, a line each. Not a table of rich's, which takes ten seconds for 5,000 of them."""
    rows = [("name", "full name", "state", "groups", "address")]
    rows += [
        (person.name, shown(person.full_name), state(person), ", ".join(sorted(person.groups)),
         shown(person.mail or person.recovery))
        for person in people
    ]  # fmt: skip
    widths = [max(cell_len(row[column]) for row in rows) for column in range(4)]
    return "\n".join(
        "  ".join(
            cell + " " * (width - cell_len(cell)) for cell, width in zip(row, [*widths, 0], strict=True)
        ).rstrip()
        for row in rows
    )  # fmt: skip


def deliver(
    desk: Desk, people: Sequence[Person], how: Way, hours: int, sheet: Path | None, json: bool
) -> dict[str, Any]:
    """Invite people, and hand the invitations over as asked; gives what ``--json`` tells.

    :param sheet: where nothing stands yet (`houblon.people.sheet.free`).
    """
    from houblon.people.sheet import render, write

    if how == "none" or not people:
        return {}
    made = desk.invite(people, hours)
    result: dict[str, Any] = {}
    if how == "link":
        result["invitations"] = [_told(one) for one in made]
        for one in made if not json else ():
            _say(one, len(made) > 1)
    else:
        assert sheet is not None
        write(sheet, render(made, desk.site.name, desk.site.domain, desk.site.languages[0]))
        result["sheet"] = str(sheet)
        if not json:
            what = "print it, hand it over" if len(made) == 1 else "print it, hand each sheet to its person"
            out.say(f"{sheet}: {what}, then delete the file: whoever reads it can take the account.")
    desk.invited(people)
    return result


def sheet_for(sheet: Path | None, name: str, how: Way) -> Path | None:
    """Where a sheet will go; asked before anything is changed.

    :raises BadInput: nothing can be written there.
    """
    from houblon.people.sheet import free, vacant

    if how != "sheet":
        return None
    return vacant(sheet) if sheet is not None else free(Path(f"{name}-invitation.html"))


def _told(one: Invitation) -> dict[str, Any]:
    if one.url:
        return {"name": one.person.name, "url": one.url, "expires": one.expires}
    return {"name": one.person.name, "password": one.password}


def _say(one: Invitation, many: bool) -> None:
    from houblon.people.words import moment

    prefix = f"{one.person.name}: " if many else ""
    if one.url:
        # Not wrapped, not styled: it is there to be copied.
        typer.echo(f"{prefix}{one.url}")
        if not many:
            out.note(f"Works once, until {moment(one.expires, 'en')}. Send it so that nobody else reads it.")
    else:
        typer.echo(f"{prefix}{one.password}")
