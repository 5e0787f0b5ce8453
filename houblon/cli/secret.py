"""``houblon secret``: the site's secrets."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from houblon.cli.common import find_site, use_own_key
from houblon.errors import BadInput, Refused
from houblon.vault import Vault, changes
from houblon.vault.identity import ask_on_terminal
from houblon.vault.spec import DRAWN

# Locals in a traceback would show what a secret was.
app = typer.Typer(
    help="The site's secrets: list, show, set, rotate.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)
Site = Annotated[
    str | None,
    typer.Option("--site", "-s", help="Name or path of the site. Default: $HOUBLON_SITE, the only one here."),
]
Name = Annotated[str, typer.Argument(metavar="ROLE/NAME")]
_MAX_INPUT = 64 * 1024


def open_vault(site: str | None) -> Vault:
    """The vault of the site that the option names."""
    folder = find_site(site)
    use_own_key(folder)
    return Vault(folder)


def notify(vault: Vault) -> None:
    """Prints what the vault has to tell besides, on standard error."""
    for notice in dict.fromkeys(vault.notices):
        typer.echo(f"note: {notice}", err=True)
    vault.notices.clear()


def _split(text: str) -> tuple[str, str]:
    role, slash, name = text.partition("/")
    if not (role and slash and name) or "/" in name:
        # The text is not repeated: somebody may have typed the secret itself here.
        raise BadInput(
            "that is not the name of a secret", cure="Write ROLE/NAME, as `houblon secret list` does."
        )
    return role, name


@app.command("list")
def list_(site: Site = None) -> None:
    """List the secrets, without their values. Needs no key."""
    vault = open_vault(site)
    vault.check()
    table = Table("secret", "kind", "origin", "since", "remark", box=None, pad_edge=False)
    for entry in vault.entries():
        about = entry.about
        remark = f"to be changed: known to {about.exposed}" if about.exposed else about.description
        table.add_row(entry.id, about.kind, about.origin, about.made, escape(remark))
    Console().print(table)
    notify(vault)


@app.command()
def show(
    name: Name,
    site: Site = None,
    stdout: Annotated[bool, typer.Option("--stdout", help="Print it even where no terminal is.")] = False,
    public: Annotated[
        bool, typer.Option("--public", help="Print the public half instead. Needs no key.")
    ] = False,
) -> None:
    """Show one secret, on a terminal only."""
    role, secret = _split(name)
    vault = open_vault(site)
    if public:
        typer.echo(vault.public(role, secret))
        return
    if not stdout and not sys.stdout.isatty():
        raise Refused(
            "standard output is no terminal: the secret could end up in a file or a log",
            cure="Add --stdout if that is what you want.",
        )
    value = vault.get(role, secret)
    notify(vault)
    typer.echo(value.reveal(), nl=not value.reveal().endswith("\n"))


@app.command("set")
def set_(
    name: Name,
    site: Site = None,
    about: Annotated[str, typer.Option("--about", help="One line that says what it is for.")] = "",
) -> None:
    """Store a value of your own: asked for twice, or read from standard input. Never an argument."""
    role, secret = _split(name)
    vault = open_vault(site)
    vault.check()
    if "\n" in about or len(about) > 200:
        raise BadInput("--about takes one short line", cure="Shorten it.")
    if sys.stdin.isatty():
        value = ask_on_terminal(f"New value of {name}: ")
        if ask_on_terminal("The same again: ") != value:
            raise BadInput("the two values differ; nothing was changed", cure="Run the command again.")
    else:
        value = _from_input()
    kind, what = _claimed(vault.root.parent, name)
    vault.set(role, secret, value, description=about or what, kind=kind)
    notify(vault)
    typer.echo(f"{name} is set. `houblon apply` puts it on the host.")


def _claimed(folder: Path, name: str) -> tuple[str, str]:
    """Kind and description of a secret as the site's roles claim it; a password when none does."""
    from houblon.model import secret_specs
    from houblon.site import load

    try:
        specs = [spec for spec in secret_specs(load(folder)) if spec.id == name]
    except BadInput:
        specs = []  # a site file with a mistake is no reason to refuse a secret
    return (specs[0].kind, specs[0].description) if specs else ("password", "")


def _from_input() -> str:
    data = sys.stdin.buffer.read(_MAX_INPUT + 1)
    if len(data) > _MAX_INPUT:
        raise BadInput("more than 64 KiB on standard input: that is no secret", cure="Give the value alone.")
    try:
        value = data.decode()
    except UnicodeDecodeError:
        raise BadInput("standard input is not UTF-8 text", cure="Give the value as text.") from None
    # `echo`, `pass show` and editors end a line; keys in PEM keep theirs.
    return value if "PRIVATE KEY-----" in value else value.removesuffix("\n").removesuffix("\r")


@app.command()
def rotate(
    names: Annotated[list[str], typer.Argument(metavar="ROLE/NAME...")],
    site: Site = None,
) -> None:
    """Make new values. The old ones are kept as `previous` until the next change."""
    ids = [_split(name) for name in names]
    vault = open_vault(site)
    vault.check()
    done = vault.rotate(ids)
    notify(vault)
    typer.echo(f"New: {', '.join(done)}. The host still has the old: run `houblon apply` now.")
    for role, name in ids:
        entry = vault.entry(role, name)
        if entry.about.kind not in DRAWN:
            typer.echo(f"{entry.id}, public half: {vault.public(role, name)}")


@app.command()
def resign(
    site: Site = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Sign without asking, if an admin signed each change.")
    ] = False,
) -> None:
    """After a merge or a cut-off change: show what changed since each signed state, and sign it."""
    vault = open_vault(site)
    seen = changes.review(vault)
    try:
        vault.check()
    except BadInput as error:
        typer.echo(f"As it is: {error.what}.")
    else:
        typer.echo("The vault is in order; there is nothing to sign.")
        notify(vault)
        return
    for line in seen.known:
        typer.echo(f"Signed state found: {line}")
    for file, who in sorted(seen.trusted.items()):
        typer.echo(f"  {file}: as signed by {who}")
    for file, who in sorted(seen.gone.items()):
        typer.echo(f"  {file}: GONE, was signed by {who}")
    for file in seen.unsigned:
        typer.echo(f"  {file}: CHANGED, SIGNED BY NOBODY")
    risky = seen.unsigned or seen.gone
    if risky:
        typer.echo("Sign only what you changed yourself, or what the admin who changed it confirms.")
    if yes and risky:
        raise Refused("some changes are signed by nobody", cure="Run it without --yes and look at each.")
    if not yes and not typer.confirm("Sign all this?"):
        raise Refused(
            "not signed; nothing was changed", cure="`git checkout -- vault` brings the last commit back."
        )
    again = changes.resign(vault, seen)
    notify(vault)
    typer.echo("Signed." + (f" Encrypted anew: {', '.join(again)}." if again else ""))
