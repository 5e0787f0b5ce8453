"""``houblon service``: what a site may offer its members."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from houblon.cli.common import find_site
from houblon.cli.out import out
from houblon.contract import Config, Role
from houblon.errors import BadInput, HoublonError
from houblon.registry import Registry, discover
from houblon.site import load
from houblon.translate import suggestion

app = typer.Typer(no_args_is_help=True, help="The services that a site may have.")
Site = Annotated[
    str | None,
    typer.Option("--site", "-s", help="Name or path of the site. Default: $HOUBLON_SITE, the only one here."),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


@app.command("list")
def list_(site: Site = None, json: Json = False) -> None:
    """List the services there are; a star marks those the site has."""
    registry, chosen = _registry(site)
    rows = [{**_describe(registry.roles[name]), "chosen": name in chosen} for name in registry.services]
    if json:
        out.json(rows)
        return
    for row in rows:
        state = "" if row["upstream"] == "maintained" else f" ({row['upstream']})"
        out.say(f"{'*' if row['chosen'] else ' '} {row['name']:<14} {row['summary']['en']}{state}")


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="The service.")], site: Site = None, json: Json = False
) -> None:
    """Say what a service is, and which options its section of the site file may hold."""
    registry, _ = _registry(site)
    if name not in registry.services:
        raise BadInput(f"there is no service `{name}`", cure=suggestion(name, registry.services))
    row = _describe(registry.roles[name])
    if json:
        out.json(row)
        return
    out.say(f"{row['title']}: {row['summary']['en']}", "bold")
    out.say(f"{row['summary']['fr']}")
    out.say(", ".join(part for part in (row["homepage"], row["licence"], row["upstream"]) if part))
    for option in row["options"]:
        default = "" if option["default"] is None else f" (default: {option['default']})"
        out.say(f"  {option['name']}: {option['help']}{default}")
    out.say(f"To have it, write `{name}:` under `services:` in site.yaml, then run `houblon plan`.", "dim")


def _registry(site: str | None) -> tuple[Registry, set[str]]:
    """The roles there are, a site's own included, and the services the site has chosen.

    :raises BadInput: when a site was named and cannot be read; without a name, no site is no mistake.
    """
    try:
        folder = find_site(site)
    except HoublonError:
        if site:
            raise
        return discover(), set()
    loaded = load(folder)
    return loaded.registry, set(loaded.services)


def _describe(role: type[Role[Any]]) -> dict[str, Any]:
    about = role.metadata
    return {
        "name": role.name, "title": about.title, "summary": {"en": about.summary.en, "fr": about.summary.fr},
        "homepage": about.homepage, "licence": about.licence, "upstream": about.upstream,
        "options": [_option(role.config_type(), name) for name in role.config_type().model_fields],
    }  # fmt: skip


def _option(config: type[Config], name: str) -> dict[str, Any]:
    field = config.model_fields[name]
    default = None if field.is_required() else field.get_default(call_default_factory=True)
    return {"name": name, "help": " ".join((field.description or "").split()), "default": _plain(default)}


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, (str, int, bool)) else str(value)
