"""``houblon status``: the host at a glance."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from houblon.cli.common import on_host, open_site
from houblon.cli.out import out

if TYPE_CHECKING:
    from houblon.status import Status

Site = Annotated[
    str | None,
    typer.Argument(help="Name or path of the site. Default: $HOUBLON_SITE, or the only one here."),
]


def status(
    site: Site = None,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Show the host at a glance. Exit status 0: nothing is broken, 6: something is."""
    from houblon.status import status as look
    from houblon.watch.desk import Desk

    loaded, vault = open_site(site)
    with on_host(loaded, vault) as connection:
        seen = look(loaded, connection)
    if json:
        out.json(seen.to_json())
    else:
        show(seen)
        if trouble := Desk.mine().asleep():
            out.note(trouble)
    raise typer.Exit(seen.exit_code)


def show(seen: Status) -> None:
    """The status for people: what is broken, what can wait, then the numbers."""
    out.say(f"{seen.site} ({seen.host})", "bold")
    for line in seen.problems:
        out.say(f"✗ {line}", "bold red")
    for line in seen.remarks:
        out.say(f"! {line}", "yellow")
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for label, text in rows(seen):
        table.add_row(Text(label, style="dim"), Text(out.mask(text)))
    if out.verbosity >= 0:
        out.console.print(table)


def rows(seen: Status) -> list[tuple[str, str]]:
    """Label and text of each line of the overview."""
    good = [unit for unit in seen.units if unit.ok]
    found = [("services", f"{len(good)} of {len(seen.units)} units run"), ("up", span(seen.uptime))]
    started = [unit for unit in good if unit.name.endswith(".service")]
    if newest := max(started, key=lambda unit: unit.since, default=None):
        found.append(("last start", f"{newest.name}, {span(seen.at - newest.since)} ago"))
    for line in seen.certificates:
        found.append((f"certificate {line.name}", f"{line.issuer}, {line.days} days left ({line.fraction:.0%})"))
    for disk in seen.disks:
        inodes = "" if disk.inodes is None else f", {disk.inodes} % of inodes"
        found.append((f"disk {disk.mount}", f"{disk.percent} % used{inodes}, {disk.free_mb / 1024:.1f} GB free"))
    total, available = seen.memory_mb
    found.append(("memory", f"{available} of {total} MB available"))
    if seen.updates is not None:
        found.append(("updates", f"{seen.updates} pending, {seen.security_updates} for security"))
    found.append(("reboot", seen.reboot or "not needed"))
    if applied := seen.applied:
        commit = f"commit {applied['commit'][:10]}{'+' if applied['dirty'] else ''}" if applied["commit"] else "no git"
        found.append(("last apply", f"{applied['at']} by {applied['by']}, houblon {applied['version']}, {commit}"))
        drift = ", ".join(f"{count} in {role}" for role, count in Counter(d.role for d in seen.drift).items())
        found.append(("drift", drift or "none"))
    found.append(("not ours", "; ".join(seen.foreign) or "nothing"))
    return found


def span(seconds: int) -> str:
    """A length of time in its two largest units."""
    days, rest = divmod(max(seconds, 0), 86400)
    hours, minutes = rest // 3600, rest % 3600 // 60
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
