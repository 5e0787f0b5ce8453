"""``houblon watch``: somebody else looks at a host, because a dead host does not speak."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from houblon.cli.common import find_site, on_host, open_site
from houblon.cli.out import out
from houblon.errors import BadInput, Exit, HoublonError, Refused
from houblon.site import FILE, load
from houblon.watch import edit
from houblon.watch.desk import Desk, channel_address, lingers, try_channels
from houblon.watch.eye import Eye, Look
from houblon.watch.memory import STALE_SECONDS, moment

app = typer.Typer(no_args_is_help=True, help="Look at sites from outside: from here, or from another site.")
Site = Annotated[
    str | None,
    typer.Argument(help="Name or path of the site. Default: $HOUBLON_SITE, or the only one here."),
]
Name = Annotated[str, typer.Argument(help="Domain of the other site, such as other.example.")]
Targets = Annotated[
    list[str] | None,
    typer.Argument(metavar="[NAME|SITE]...", help="Domains, or sites of yours. Default: what is watched from here."),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before changing the host.")]
AcceptNew = Annotated[bool, typer.Option("--accept-new", help="Trust and pin an unknown host key without asking.")]
STYLES = {"up": "green", "ill": "bold red", "silent": "bold red", "unknown": "yellow"}
STATE = "/var/lib/houblon-watch/state.json"


@app.command()
def run(targets: Targets = None, json: Json = False) -> None:
    """Look once, from this machine. Exit status 0: all are up, 6: one is not, 3: this machine is offline itself."""
    names, roots = _targets(targets or [])
    looks = Eye(roots=roots).look(names)
    if json:
        out.json([{key: value for key, value in asdict(look).items() if key != "visits"} for look in looks])
    else:
        _table([("", look.name, look.state, _remarks(look)) for look in looks])
    states = {look.state for look in looks}
    if states & {"ill", "silent"}:
        raise typer.Exit(Exit.VERIFICATION_FAILED)
    if "unknown" in states:
        raise typer.Exit(Exit.CANNOT_CONNECT)


@app.command()
def add(name: Name, site: Site = None, yes: Yes = False, accept_new: AcceptNew = False) -> None:
    """Have a site's host look at another site: into the site file, and onto the host."""
    wanted, folder = edit.judged(name), find_site(site)
    text = edit.add(folder / FILE, wanted)
    if text is None:
        out.note(f"{wanted} is in {folder / FILE} already.")
    loaded = _change(folder, text, yes, accept_new)
    out.say(f"{loaded.domain} looks at {wanted} every two minutes, and tells when it is down.")
    out.say(f"For the other direction, the people of {wanted} run: houblon watch add {loaded.domain}")
    _second_opinion(wanted, loaded.host.address)


@app.command()
def remove(name: Name, site: Site = None, yes: Yes = False, accept_new: AcceptNew = False) -> None:
    """Have a site's host look at another site no more."""
    gone, folder = edit.judged(name), find_site(site)
    text = edit.drop(folder / FILE, gone)
    if text is None:
        raise BadInput(
            f"{gone} is not watched from there", file=folder / FILE, key="watch.names",
            cure="Watched are: " + (", ".join(edit.names(folder / FILE)) or "none") + ".",
        )  # fmt: skip
    loaded = _change(folder, text, yes, accept_new)
    out.say(f"{loaded.domain} looks at {gone} no more.")


@app.command("list")
def list_(site: Site = None, json: Json = False) -> None:
    """Say what is watched, from where, and how it was when last looked at."""
    desk = Desk.mine()
    rows = _rows("here", desk.told().get("names", ()), desk.seen())
    try:
        folder = find_site(site)
    except HoublonError:
        if site:
            raise
    else:
        if names := edit.names(folder / FILE):
            rows += _rows(load(folder).domain, names, _seen_by(folder))
    if json:
        out.json(rows)
        return
    if not rows:
        out.say("Nothing is watched. `houblon watch add NAME` has a site do it, `houblon watch install` this machine.")
    else:
        _table([(row["from"], row["name"], row["state"], _told(row)) for row in rows], "from")


@app.command()
def install(
    targets: Targets = None,
    desktop: Annotated[
        bool | None, typer.Option("--desktop/--no-desktop", help="Notify on the desktop. Default: where it can.")
    ] = None,
    ntfy: Annotated[bool, typer.Option("--ntfy", help="Tell an ntfy topic; asks for its address.")] = False,
    webhook: Annotated[bool, typer.Option("--webhook", help="Tell a webhook; asks for its address.")] = False,
) -> None:
    """Have this machine look every two minutes: a timer of yours, under no other account. Again to change it."""
    desk = Desk.mine()
    before = desk.told()
    names, roots = _targets(targets or [])
    settings: dict[str, Any] = {"names": names, "roots": roots, "language": _language()}
    settings |= {key: before[key] for key in ("desktop", "ntfy", "webhook") if before.get(key)}
    for channel, asked in (("ntfy", ntfy), ("webhook", webhook)):
        if asked:
            settings[channel] = channel_address(_secret_line(f"Address for {channel} (it is not shown): "))
    if desktop is not None or not before:
        settings["desktop"] = bool(shutil.which("notify-send")) if desktop is None else desktop
    if not any(settings.get(channel) for channel in ("desktop", "ntfy", "webhook")):
        raise BadInput(
            "nobody would be told", cure="Say --ntfy or --webhook, or install libnotify-bin for the desktop."
        )
    try_channels(settings)
    cron = desk.install(settings)
    out.say(f"Watched from here, every two minutes: {', '.join(names)}.")
    out.say("A test message was sent. `houblon watch list` shows what was seen last.")
    if cron:
        out.say("systemd runs no timers for you here. Put this line into your crontab (`crontab -e`):")
        out.say(f"  {cron}")
    elif not lingers():
        out.note("It rests while you are logged out; `loginctl enable-linger` makes it go on.")


@app.command()
def uninstall() -> None:
    """Take the timer of `install` off this machine, with all it has written."""
    out.say("Nothing is watched from here any more." if Desk.mine().uninstall() else "There was nothing to remove.")
    out.note("If you had put a line into your crontab, take it out.")


# --- inside ----------------------------------------------------------------------------------------------


def _targets(given: list[str]) -> tuple[list[str], str]:
    """Names to look at, each once, and the PEM text of authorities that sites of ours bring.

    :raises BadInput: something is neither a site nor a domain, or nothing is named.
    """
    if not given:
        told = Desk.mine().told()
        if told.get("names"):
            roots = told.get("roots")
            return list(told["names"]), Path(roots).read_text(encoding="ascii") if roots else ""
        given = [str(find_site(None))]
    names: dict[str, None] = {}
    roots = ""
    for text in given:
        try:
            folder = find_site(text)
        except BadInput:
            if "/" in text and "://" not in text and Path(text).exists():
                raise
            names[edit.judged(text)] = None
            continue
        site = load(folder)
        names[site.domain] = None
        for role in site.roles:
            # Whoever issues this site's certificates is trusted for it, as by `houblon verify`.
            if (own := getattr(role.config, "roots", None)) and (pem := folder / own).is_file():
                roots += pem.read_text(encoding="ascii")
    return list(names), roots


def _change(folder: Path, text: str | None, yes: bool, accept_new: bool) -> Any:
    """Write the site file and apply it; it goes back when the site is refused, or its owner says no."""
    from houblon.cli.app import apply

    file = folder / FILE
    before = file.read_text("utf-8")
    try:
        if text is not None:
            edit.store(file, text)
        loaded = load(folder)
        apply(str(folder), yes=yes, accept_new=accept_new)
    except (BadInput, Refused, typer.Abort, KeyboardInterrupt):
        if text is not None:
            _put_back(file, text, before)
        raise
    except HoublonError:
        if text is not None:
            out.note(f"{file} is changed; `houblon apply {folder.name}` brings it onto the host.")
        raise
    return loaded


def _put_back(file: Path, ours: str, before: str) -> None:
    """Take our change out again, unless somebody has edited the file meanwhile: their work is worth more."""
    try:
        untouched = file.read_bytes() == ours.encode()
    except OSError:
        untouched = False
    if untouched:
        edit.store(file, before)
    else:
        out.note(f"{file} was edited meanwhile, so our change to `watch:` stays in it. Take it out by hand.")


def _second_opinion(name: str, own_address: str) -> None:
    """How the name looks from this machine, now."""
    look = Eye().look([name])[0]
    out.note(f"Seen from this machine, {name} is {look.state}" + (f": {'; '.join(look.why)}." if look.why else "."))
    if own_address in {visit.address for visit in look.visits}:
        out.note(f"{name} leads to {own_address}, the very host that looks: it will die silently with it.")


def _seen_by(folder: Path) -> dict[str, Any]:
    """What a site's host saw last.

    :raises HoublonError: it cannot be asked.
    """
    from houblon.watch.memory import parsed

    site, vault = open_site(str(folder))
    with on_host(site, vault) as connection:
        return parsed(connection.run(f"cat {STATE} 2>/dev/null || :", timeout=30).stdout)


def _rows(where: str, names: Iterable[str], seen: dict[str, Any]) -> list[dict[str, Any]]:
    found = []
    for name in names:
        entry = seen.get("names", {}).get(name, {})
        # What was seen too long ago says nothing about now.
        stale = time.time() - seen.get("at", 0) > STALE_SECONDS
        found.append({
            "from": where, "name": name, "state": "unknown" if stale else entry.get("state", "unknown"),
            "alarm": entry.get("alarm", ""), "why": entry.get("why", ""), "at": seen.get("at"),
            "since": entry.get("since"),
        })  # fmt: skip
    return found


def _told(row: dict[str, Any]) -> str:
    if row["at"] is None:
        return "not looked at yet"
    if time.time() - row["at"] > STALE_SECONDS:
        return f"nobody has looked since {moment(row['at'])}: is the timer running?"
    since = f"since {moment(row['since'])}" if row["since"] else ""
    alarm = "alarm raised" if row["alarm"] else ""
    return "; ".join(part for part in (since, row["why"], alarm) if part)


def _remarks(look: Look) -> str:
    if look.why:
        return "; ".join(look.why)
    return f"certificate for {look.days_left} more days, heartbeat {look.heartbeat_age} s old"


def _table(rows: list[tuple[str, str, str, str]], *heading: str) -> None:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for where, name, state, remarks in rows:
        cells = [Text(name), Text(state, style=STYLES[state]), Text(out.mask(remarks))]
        table.add_row(*([Text(f"from {where}", style="dim")] if heading else []), *cells)
    if out.verbosity >= 0:
        out.console.print(table)


def _language() -> str:
    """Of alarms: the first of these that is set decides (locale(7))."""
    set_ = next((value for key in ("LC_ALL", "LC_MESSAGES", "LANG") if (value := os.environ.get(key))), "")
    return "fr" if set_.startswith("fr") else "en"


def _secret_line(prompt: str) -> str:
    if sys.stdin.isatty():
        return str(typer.prompt(prompt, hide_input=True, prompt_suffix=""))
    return sys.stdin.readline()
