"""``houblon admin``: who opens the vault and gets into the host."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from houblon import settings
from houblon.cli.common import find_site
from houblon.cli.secret import Site, notify, open_vault
from houblon.errors import BadInput, Refused
from houblon.vault import admins as adm
from houblon.vault import changes, identity, make, siteadmins, sshsig, trust
from houblon.vault.files import MAX_SIZE

app = typer.Typer(
    help="The site's admins: list, add, remove.", no_args_is_help=True, pretty_exceptions_show_locals=False
)
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
_APPLY = "`houblon apply` does the same on the host; then commit and push the site folder."


@app.command("list")
def list_(site: Site = None) -> None:
    """List the admins and the keys that open the vault. Needs no key."""
    vault = open_vault(site)
    state = vault.state()
    in_site = siteadmins.names(find_site(site) / "site.yaml")
    for name in [*state.admins.people, *(n for n in in_site if n not in state.admins.keys), adm.PAPER]:
        keys = state.admins.keys.get(name, adm.Keys((), ()))
        remark = ""
        if name != adm.PAPER and name not in in_site:
            remark = "  (NOT in site.yaml: opens the vault, has no account)"
        elif not keys.readers:
            remark = "  (cannot open the vault: `houblon admin add`)"
        typer.echo(f"{name}{remark}")
        for reader in keys.readers:
            typer.echo(
                f"  {reader if reader.startswith('age1') else f'ssh-ed25519 {sshsig.fingerprint(reader)}'}"
            )
    typer.echo(f"vault {trust.short(state.chain[0].sha256)}, serial {state.manifest.serial}, "
               f"last signed by {state.signed_by} on {state.manifest.date}")  # fmt: skip
    notify(vault)


def _key_lines(files: list[Path]) -> list[tuple[Path, list[str]]]:
    result = []
    for file in files:
        try:
            if file.stat().st_size > MAX_SIZE:
                raise BadInput("larger than 1 MiB", file=file, cure="Name a file with public keys.")
            result.append((file, file.read_text().splitlines()))
        except OSError as error:
            raise BadInput(
                f"cannot be read: {error.strerror}", file=file, cure="Name a file with public keys."
            ) from None
        except UnicodeDecodeError:
            raise BadInput("this is not text", file=file, cure="Name a file with public keys.") from None
    return result


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="The admin's name, and that of the account on the host.")],
    key: Annotated[list[Path], typer.Option("--key", help="File with public keys; may be given again.")],
    email: Annotated[str, typer.Option("--email", help="Needed for an admin who is not in site.yaml.")] = "",
    replace: Annotated[
        bool,
        typer.Option("--replace", help="The keys so far are lost or stolen: take them away, rotate all."),
    ] = False,
    yes: Yes = False,
    site: Site = None,
) -> None:
    """Let an admin in: into the site file, and into the vault, which is encrypted anew."""
    file = find_site(site) / "site.yaml"
    keys = adm.Keys((), ())
    logins: list[str] = []
    for path, lines in _key_lines(key):
        some, ssh = adm.keys_from(lines, file=path, name=name)
        keys, logins = keys | some, [*logins, *ssh]
    new = name not in siteadmins.names(file)
    if new and (not logins or "@" not in email):
        raise BadInput(
            f"{name} is new: an SSH public key (to log in) and an e-mail address are needed",
            cure="Give --email, and one more --key FILE.",
        )
    if new:
        email, logins = _judged(name, email, logins)
    adm.require(keys, name, file=key[0])
    vault = open_vault(site)
    vault.check()
    if replace:
        _confirm(changes.known_to(vault), f"The keys of {name} so far", yes)
        change = changes.replace_keys(vault, name, keys)
    else:
        change = changes.add_keys(vault, name, keys)
    if new:
        siteadmins.add(file, name, email, logins)
    notify(vault)
    typer.echo(f"{name} opens the vault; {change.encrypted} secrets encrypted anew.")
    _tell(change)
    if not new:
        typer.echo(f"The keys that log in are those in {file}: edit them there if they changed.")
    typer.echo(_APPLY)


def _judged(name: str, email: str, logins: list[str]) -> tuple[str, list[str]]:
    """What will stand in the site file, by the site file's own rules: before anything is changed."""
    try:
        settings.admin_name(name)
        return settings.email(email), [settings.public_key(line) for line in logins]
    except settings.Wrong as error:
        raise BadInput(f"{name}: {error.what}", cure=error.cure) from None


@app.command()
def remove(name: Annotated[str, typer.Argument()], yes: Yes = False, site: Site = None) -> None:
    """Take an admin out: of the site file, of the vault; rotate every secret that he could read."""
    file = find_site(site) / "site.yaml"
    vault = open_vault(site)
    vault.check()
    in_site = siteadmins.names(file)
    if in_site == [name]:
        raise BadInput(f"{name} is the last admin in the site file", file=file, cure="Add another one first.")
    if name not in vault.state().admins.people and name in in_site:
        # A run that was cut off between the vault and the site file is completed here.
        siteadmins.remove(file, name)
        typer.echo(f"{name} could not open the vault, and is now out of the site file too. {_APPLY}")
        return
    if name in vault.state().admins.people:
        _confirm(changes.known_to(vault), name, yes)
    change = changes.remove(vault, name)
    siteadmins.remove(file, name)
    notify(vault)
    typer.echo(f"{name} no more opens the vault; {change.encrypted} secrets encrypted anew.")
    _tell(change)
    typer.echo(f"If {name} may have seen the paper key: `houblon admin paper` makes a new one. {_APPLY}")


@app.command()
def paper(yes: Yes = False, site: Site = None) -> None:
    """Make a new paper key, shown once; rotate what the old one could read."""
    vault = open_vault(site)
    vault.check()
    _confirm(changes.known_to(vault), "The paper key", yes)
    key, change = changes.new_paper(vault)
    notify(vault)
    typer.echo(f"Write this down, keep it in another house, and clear the screen:\n\n  {key}\n")
    _tell(change)
    typer.echo(_APPLY)


@app.command("identity")
def identity_(
    no_passphrase: Annotated[
        bool, typer.Option("--no-passphrase", help="Leave it unprotected on this disk.")
    ] = False,
) -> None:
    """Make a key of your own on this machine, for an admin to add."""
    path = identity.default_file()
    if path.exists():
        raise BadInput("you have an identity already", file=path, cure=f"Send {path.with_suffix('.pub')} to an admin.")
    phrase = None if no_passphrase else identity.passphrase("New passphrase: ", identity.ask_on_terminal)
    if phrase is not None:
        make.refuse_weak(phrase, "the passphrase")
        if identity.passphrase("The same again: ", identity.ask_on_terminal) != phrase:
            raise BadInput("the two passphrases differ; nothing was made", cure="Run the command again.")
    identity.make_identity(path, phrase)
    pub = path.with_suffix(".pub")
    typer.echo(f"Made {path}. Send {pub} and your SSH public key to an admin, who runs")
    typer.echo(f"  houblon admin add YOU --email YOU@... --key {pub.name} --key YOUR-SSH-KEY.pub")


@app.command("trust")
def trust_(yes: Yes = False, site: Site = None) -> None:
    """Accept the vault as it is now on this machine, after comparing its name with another admin."""
    vault = open_vault(site)
    chain = vault.verified_chain()
    typer.echo(f"This vault is {trust.short(chain[0].sha256)}.\nAdmins and signing keys of its last list:")
    for name, keys in sorted(chain[-1].admins.keys.items()):
        for line in keys.signers:
            typer.echo(f"  {name} {sshsig.fingerprint(line)}")
    if not yes and not typer.confirm("Is that what another admin sees in `houblon admin list`?"):
        raise Refused("not accepted; nothing was changed", cure="Ask who pushed this vault.")
    changes.accept(vault)
    typer.echo("Accepted.")


def _confirm(known: changes.Change, who: str, yes: bool) -> None:
    typer.echo(f"{who} could read {known.encrypted} secrets.")
    if known.rotated:
        typer.echo(f"To be made anew: {', '.join(known.rotated)}")
    if known.by_hand:
        typer.echo(f"To be changed by hand, where they come from: {', '.join(known.by_hand)}")
    if not yes and not typer.confirm("Go on?"):
        raise Refused("nothing was changed", cure="Run it again with --yes, or answer y.")


def _tell(change: changes.Change) -> None:
    if change.rotated:
        typer.echo(
            f"New: {', '.join(change.rotated)}. The host has the old ones until `houblon apply` has run."
        )
    for name in change.by_hand:
        typer.echo(f"Change {name} by hand where it comes from, then `houblon secret set {name}`.")
