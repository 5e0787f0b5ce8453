"""``houblon announce``: incidents and planned maintenance, on the site's pages and in their feed."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from houblon import announcements, announcing
from houblon.announcements import Known
from houblon.cli.ask import yes_or_no
from houblon.cli.common import find_site
from houblon.cli.out import out
from houblon.errors import BadInput
from houblon.site import Site as LoadedSite
from houblon.site import load

CAPABILITY = "announcements"
"""What a role provides that shows them."""

app = typer.Typer(no_args_is_help=True, help="Incidents and planned maintenance, told on the site's pages.")
Site = Annotated[
    str | None,
    typer.Option("--site", "-s", help="Name or path of the site. Default: $HOUBLON_SITE, the only one here."),
]
Text = Annotated[str | None, typer.Argument(help="What to say, in the site's first language.")]
French = Annotated[str | None, typer.Option("--fr", metavar="TEXT", help="The same in French.")]
English = Annotated[str | None, typer.Option("--en", metavar="TEXT", help="The same in English.")]
Service = Annotated[str | None, typer.Option(metavar="NAME", help="The service it is about. Default: all.")]
From = Annotated[str | None, typer.Option("--from", metavar="TIME", help='When it begins: "2026-12-01 22:00".')]
To = Annotated[str | None, typer.Option("--to", metavar="TIME", help="When it should be over.")]
Now = Annotated[bool, typer.Option("--now", help="Publish at once, without asking.")]
Id = Annotated[str, typer.Argument(metavar="ID", help="As `houblon announce list` shows it.")]


@app.command()
def incident(
    text: Text = None, fr: French = None, en: English = None, service: Service = None, begins: From = None,
    ends: To = None, now: Now = False, site: Site = None,
) -> None:
    """Something is broken: say so. It began now, unless --from says when."""
    _create("incident", text, fr, en, service, begins, ends, now, site)


@app.command()
def maintenance(
    text: Text = None, fr: French = None, en: English = None, service: Service = None, begins: From = None,
    ends: To = None, now: Now = False, site: Site = None,
) -> None:
    """Something will be interrupted: say when. Times are those of the host's time zone."""
    _create("maintenance", text, fr, en, service, begins, ends, now, site)


@app.command()
def update(
    id: Id, text: Text = None, fr: French = None, en: English = None, now: Now = False, site: Site = None,
) -> None:
    """Say more about an announcement."""
    loaded, known = _find(id, site)
    said = announcing.texts(loaded, text, fr, en)
    _tell(loaded, announcing.update(known, said, announcing.clock(known.zone)), now)


@app.command()
def close(
    id: Id, text: Text = None, fr: French = None, en: English = None, now: Now = False, site: Site = None,
) -> None:
    """It is over (or, before it began, called off); a text may say how it went."""
    loaded, known = _find(id, site)
    given = any(part is not None for part in (text, fr, en))
    said = announcing.texts(loaded, text, fr, en) if given else None
    _tell(loaded, announcing.close(known, said, announcing.clock(known.zone)), now)


@app.command("list")
def list_(
    site: Site = None,
    every: Annotated[bool, typer.Option("--all", help="Those that are over, too.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """List what is announced."""
    known = announcements.load(load(find_site(site)))
    shown = [one for one in known if every or one.is_open]
    if json:
        out.json([{"id": one.id, **one.said.model_dump(exclude_none=True)} for one in shown])
        return
    for one in shown:
        out.say(one.line)
    for one in announcements.stale(known, datetime.now(UTC)):
        out.note(f"{one.id} was to end {one.said.ends}: if it is over, houblon announce close {one.id}")
    if not shown:
        over = f" {len(known)} are over: --all shows them." if known else ""
        out.say(f"Nothing is announced.{over}")


def _create(
    kind: str, text: str | None, fr: str | None, en: str | None, service: str | None, begins: str | None,
    ends: str | None, now: bool, site: str | None,
) -> None:
    loaded = _open(site)
    zone = announcements.zone_of(loaded)
    known = announcing.create(
        loaded, zone, kind=kind, said=announcing.texts(loaded, text, fr, en),
        service=announcing.service_of(loaded, service), begins=announcing.time_of("--from", begins, zone),
        ends=announcing.time_of("--to", ends, zone), now=announcing.clock(zone),
    )  # fmt: skip
    _tell(loaded, known, now)


def _open(site: str | None) -> LoadedSite:
    """The site, if one of its roles shows announcements.

    :raises BadInput: when none does: nobody would read them.
    """
    loaded = load(find_site(site))
    _shown_by(loaded)
    return loaded


def _shown_by(loaded: LoadedSite) -> str:
    for role in loaded.roles:
        if CAPABILITY in role.provides:
            return role.name
    names = " or ".join(f"`{name}:`" for name in loaded.registry.providers(CAPABILITY))
    raise BadInput(
        "this site has no page that shows announcements", cure=f"Write {names} under `services:`.", file=loaded.file,
        key="services",
    )  # fmt: skip


def _find(id: str, site: str | None) -> tuple[LoadedSite, Known]:
    loaded = _open(site)
    return loaded, announcements.find(announcements.load(loaded), id)


def _tell(loaded: LoadedSite, known: Known, now: bool) -> None:
    out.say(known.line)
    # Said before the host is asked: what is written stays, whatever becomes of the connection.
    out.say(f"Written to {known.file}.")
    role = _shown_by(loaded)
    if now or (sys.stdin.isatty() and yes_or_no("Publish it now?")):
        _publish(str(loaded.folder), role)
    else:
        out.say(f"Not published yet: houblon apply {loaded.folder} --only {role}")


def _publish(folder: str, role: str) -> None:
    # houblon.cli.app imports this module.
    from houblon.cli import app

    command: Any = app.apply
    command(folder, only=role, yes=True)
