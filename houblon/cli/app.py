"""All commands of `houblon`."""

from __future__ import annotations

import functools
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from houblon import __version__
from houblon.cli import admin, alerts, announce, artifacts, lab, secret, service, user, watch
from houblon.cli.ask import at_the_terminal, yes_or_no
from houblon.cli.common import open_site
from houblon.cli.init import init
from houblon.cli.occ import occ
from houblon.cli.out import out
from houblon.cli.progress import Progress
from houblon.cli.status import status
from houblon.cli.verify import verify
from houblon.errors import Exit, HoublonError, Refused

app = typer.Typer(
    name="houblon", no_args_is_help=True, pretty_exceptions_enable=False,
    help="Turns a bare Debian server into a small ethical hoster, and proves that it worked.",
)
app.add_typer(lab.app, name="lab")
app.add_typer(secret.app, name="secret")
app.add_typer(admin.app, name="admin")
app.add_typer(service.app, name="service")
app.add_typer(user.app, name="user")
app.add_typer(alerts.app, name="alerts")
app.add_typer(watch.app, name="watch")
app.add_typer(announce.app, name="announce")
app.add_typer(artifacts.app, name="artifacts")
app.command()(init)
app.command()(verify)
app.command()(status)
app.command(context_settings={"allow_interspersed_args": False})(occ)

Site = Annotated[
    str | None,
    typer.Argument(help="Name or path of the site. Default: $HOUBLON_SITE, or the only one here."),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Only = Annotated[str | None, typer.Option("--only", metavar="ROLE", help="Look at one role only.")]
AcceptNew = Annotated[
    bool, typer.Option("--accept-new", help="Trust and pin an unknown host key without asking.")
]
AllowOlder = Annotated[
    bool,
    typer.Option("--allow-older", help="Let an older houblon or checkout change a host that has seen a newer one."),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before changing the host.")]


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"houblon {__version__}")
        raise typer.Exit


@app.callback()
def options(
    verbose: Annotated[int, typer.Option("--verbose", "-v", count=True, help="More detail; twice: tracebacks.")] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only errors.")] = False,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_version, help="Print the version and stop.")
    ] = False,
) -> None:
    """Options of all commands stand before the command's name."""
    out.verbosity = -1 if quiet else verbose


@app.command()
def check(site: Site = None) -> None:
    """Check a site folder without connecting anywhere."""
    from houblon.model import secret_specs

    loaded, vault = open_site(site)
    given = {spec.id: spec for spec in secret_specs(loaded) if spec.kind == "given"}
    missing = [name for name in vault.missing(secret_specs(loaded)) if name not in given]
    for name in vault.missing(given.values()):
        out.note(f"{name} is missing ({given[name].description}): `houblon secret set {name}` asks for it.")
    for note in loaded.notes:
        out.note(note)
    roles = ", ".join(role.name for role in loaded.roles)
    out.say(f"{loaded.folder / 'site.yaml'} is good: {loaded.domain} with {roles}.")
    if missing:
        count = f"{len(missing)} secrets" if len(missing) > 1 else "One secret"
        out.say(f"{count} will be made by the first apply.")


@app.command()
def plan(
    site: Site = None, only: Only = None, json: Json = False, accept_new: AcceptNew = False,
    allow_older: AllowOlder = False,
) -> None:
    """Say what apply would change. Exit status 0: nothing, 10: changes."""
    from houblon import engine

    loaded, vault = open_site(site)
    options = engine.Options(only=_role(loaded, only), allow_older=allow_older)
    result = engine.plan(loaded, vault, at_the_terminal(accept_new=accept_new), options)
    if json:
        out.json(result.to_json())
    else:
        out.plan(result)
        if result.adopted:
            out.note("This host is not bare: apply will refuse it without --adopt.")
    if result.changes:
        raise typer.Exit(Exit.CHANGES_PENDING)


@app.command()
def apply(
    site: Site = None, only: Only = None, json: Json = False, yes: Yes = False, accept_new: AcceptNew = False,
    allow_older: AllowOlder = False,
    adopt: Annotated[
        bool, typer.Option("--adopt", help="Take over a host that is not bare; a copy of each replaced file is kept.")
    ] = False,
) -> None:
    """Bring the host to what the site file says."""
    from houblon import engine
    from houblon.model import secret_specs

    loaded, vault = open_site(site)
    options = engine.Options(_role(loaded, only), adopt, allow_older)
    for name in vault.ensure(secret_specs(loaded)):
        out.note(f"made secret {name} in the vault")
    with Progress(hidden=json or out.verbosity < 0) as progress:
        result = engine.apply(
            loaded, vault, at_the_terminal(accept_new=accept_new), options,
            agree=_agreement(yes, json), progress=progress,
        )
    if result.new_pins:
        out.note("pins.lock now records the releases that this site runs: commit it with the site.")
    if json:
        out.json(result.to_json())
    elif not result.changes:
        out.plan(result)
    else:
        out.say(f"Done: {len(result.changes)} changes, and a second look found nothing left to do.", "bold green")
        out.say(f"Next: houblon verify {loaded.folder.name}")


app.command()(verify)
app.command()(status)


@app.command()
def remove(
    service: Annotated[str, typer.Argument(help="The service to take off the host.")],
    site: Site = None, yes: Yes = False, json: Json = False,
    purge: Annotated[bool, typer.Option("--purge", help="Delete its data too; asks for the service's name.")] = False,
) -> None:
    """Stop and remove a service that the site file no longer names; its data is kept."""
    from houblon import engine

    loaded, vault = open_site(site)
    if purge and not yes:
        if not sys.stdin.isatty():
            raise Refused(f"nobody is here to confirm that all data of {service} goes", cure="Say --yes in scripts.")
        if typer.prompt(f"This deletes all data of {service}. Type its name") != service:
            raise Refused("that is not the service's name; nothing was changed")
    with Progress(hidden=json or out.verbosity < 0) as progress:
        result, kept = engine.remove(
            loaded, vault, at_the_terminal(), service, purge=purge, agree=_agreement(yes, json), progress=progress
        )
    if json:
        out.json({**result.to_json(), "kept": kept})
        return
    out.say(f"{service} is removed.", "bold green")
    for path in kept:
        out.say(f"Its data is kept in {path}; `houblon remove --purge {service}` would have deleted it.")


@app.command()
def history(site: Site = None, json: Json = False) -> None:
    """Who applied what to the host, when, with which result."""
    from houblon import engine

    loaded, vault = open_site(site)
    lines = engine.history(loaded, vault, at_the_terminal())
    if json:
        out.json(lines)
        return
    if not lines:
        out.say("houblon has changed nothing on this host yet.")
    # Of a run that ended only its end is shown; a start without one was cut off.
    for line in {line["started"]: line for line in lines}.values():
        result = "cut off" if line["result"] == "started" else line["result"]
        commit = f"{line['commit'][:10]}{'+' if line['dirty'] else ''}" if line["commit"] else "no git"
        failure = f": {line['failure']}" if "failure" in line else ""
        out.say(
            f"{line['at']}  {line['by']:<12} {result:<8} {line['changes']:>4} changes  "
            f"houblon {line['version']}  {commit}{failure}"
        )


def _role(site: Any, name: str | None) -> str | None:
    return site.role(name).name if name else None


def _agreement(yes: bool, json: bool) -> Any:
    def agree(plan: Any) -> bool:
        if not json:
            out.plan(plan)
        if yes:
            return True
        if not sys.stdin.isatty():
            raise Refused("nobody is here to agree to these changes", cure="Say --yes in scripts.")
        return yes_or_no("Change the host?")

    return agree


@functools.cache
def _commands() -> Any:
    """What typer makes of `app`; it would make it anew at each run, which tests have hundreds of."""
    return typer.main.get_command(app)


def run(arguments: Sequence[str]) -> int:
    """Run one command and turn its end into an exit status, with one masked error at most."""
    try:
        # Outside standalone mode typer gives the status of typer.Exit back instead of raising it.
        status = _commands()(list(arguments), standalone_mode=False)
        return status if isinstance(status, int) else Exit.OK
    except typer.Exit as stop:
        return int(stop.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        out.errors.print("interrupted; the next run heals what was left half done")
        return 130
    except HoublonError as error:
        out.error(error)
        _trace()
        return error.exit_code
    except Exception as error:
        if hasattr(error, "format_message") and hasattr(error, "show"):  # typer's own, wherever it keeps them
            error.show()
            return Exit.BAD_INPUT
        out.error(
            HoublonError(
                f"a mistake in houblon itself: {type(error).__name__}: {error}",
                cure="Please report it, with the output of the same command after `houblon -vv`.",
            )
        )
        _trace()
        return Exit.BUG


def _trace() -> None:
    if out.verbosity >= 2:
        out.errors.print(out.mask(traceback.format_exc()), markup=False)


