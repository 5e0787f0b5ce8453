"""``houblon alerts``: what is wrong on the host, and whether anybody would hear."""

from __future__ import annotations

import json as jsons
from typing import TYPE_CHECKING, Annotated, Any

import typer

from houblon.cli.common import on_host, open_site
from houblon.cli.out import out
from houblon.cli.status import span
from houblon.errors import BadInput, Exit, OperationFailed

if TYPE_CHECKING:
    from houblon.site import Site as LoadedSite
    from houblon.vault import Vault

app = typer.Typer(no_args_is_help=True, help="Alarms of the host: list those that are open, test who hears.")
Site = Annotated[
    str | None,
    typer.Argument(help="Name or path of the site. Default: $HOUBLON_SITE, or the only one here."),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
PROGRAM = "/usr/local/lib/houblon/alert"
SECONDS = 180


@app.command("list")
def list_(site: Site = None, json: Json = False) -> None:
    """List the open alarms. Exit status 0: none is grave, 6: one is, or nobody has looked for five minutes."""
    from houblon.status import unseen

    loaded, vault = open_site(site)
    answer = ask_host(loaded, vault, "list")
    blind = unseen(answer["now"], answer.get("looked", 0))
    if json:
        out.json(answer)
    else:
        for alarm in answer["alarms"]:
            out.say(f"{'✗' if alarm['grave'] else '!'} {alarm['title']}", "bold red" if alarm["grave"] else "yellow")
            out.say(f"  since {span(answer['now'] - alarm['since'])}  ({alarm['key']})", "dim")
            for line in alarm["text"].splitlines():
                out.say(f"  {line}")
        if blind:
            out.say(f"✗ {blind}", "bold red")
        elif not answer["alarms"]:
            out.say("No alarm is open.")
        if answer["waiting"]:
            out.say(f"{answer['waiting']} messages have not been taken by every channel yet.", "yellow")
        _deaf(answer["channels"])
    if blind or any(alarm["grave"] for alarm in answer["alarms"]):
        raise typer.Exit(Exit.VERIFICATION_FAILED)


@app.command()
def test(site: Site = None, json: Json = False) -> None:
    """Send a real alarm from the host through every channel. Exit status 0: all took it, 6: one did not."""
    loaded, vault = open_site(site)
    answer = ask_host(loaded, vault, "test")["channels"]
    if json:
        out.json(answer)
    else:
        for name, result in answer.items():
            mark, style = ("✓", "green") if result["ok"] else ("✗", "bold red")
            out.say(f"{mark} {name}: {result['answer']}", style)
        _deaf(answer)
        if answer and all(result["ok"] for result in answer.values()):
            out.say("Now look whether it has arrived: a mail may lie among the junk.", "dim")
    if not answer or not all(result["ok"] for result in answer.values()):
        raise typer.Exit(Exit.VERIFICATION_FAILED)


def ask_host(site: LoadedSite, vault: Vault, command: str) -> dict[str, Any]:
    """Run the host's own `alert` program.

    :raises BadInput: the host has none yet.
    :raises OperationFailed: it fails.
    """
    with on_host(site, vault) as connection:
        done = connection.run(f"[ -x {PROGRAM} ] || exit 44; {PROGRAM} {command}", timeout=SECONDS)
    if done.exit_status == 44:
        raise BadInput("this host has no alarms yet", cure="Run `houblon apply` first.")
    try:
        answer = jsons.loads(done.stdout) if done.exit_status == 0 else None
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise OperationFailed(
            f"`alert {command}` failed on the host: {(done.stdout + done.stderr).strip()[-300:]}",
            cure="See `journalctl -u houblon-health` there; `houblon apply` mends the program.",
        )
    return answer


def _deaf(channels: Any) -> None:
    if not channels:
        out.say("Nobody hears alarms: the site file has no `alerts:` with mail, ntfy or webhook.", "bold yellow")
