"""``houblon verify``: prove that the host does what the site promises."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from houblon.cli.common import on_host, open_site
from houblon.cli.out import out
from houblon.cli.progress import Progress
from houblon.errors import BadInput

Site = Annotated[
    str | None,
    typer.Argument(help="Name or path of the site. Default: $HOUBLON_SITE, or the only one here."),
]


def verify(
    site: Site = None,
    only: Annotated[str | None, typer.Option("--only", metavar="ROLE", help="Check one role only.")] = None,
    deep: Annotated[bool, typer.Option("--deep", help="Also the slower checks.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Leave out the scan of all 65,535 ports.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
    junit: Annotated[Path | None, typer.Option("--junit", metavar="FILE", help="Write JUnit XML.")] = None,
    html: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write a report to read.")] = None,
) -> None:
    """Prove on the host that it does what the site promises. Exit status 0: all good, 6: not."""
    from houblon.verify import show
    from houblon.verify.html import to_html
    from houblon.verify.run import Options
    from houblon.verify.run import verify as run

    loaded, vault = open_site(site)
    with on_host(loaded, vault) as connection, Progress(hidden=json or out.verbosity < 0) as progress:
        report = run(loaded, connection, vault, Options(only or "", deep, quick), progress)
    # Written first: a reader of the files must not depend on a terminal that takes the table.
    if junit:
        _write(junit, show.to_junit(report).decode())
    if html:
        _write(html, to_html(report))
    if json:
        out.json(show.to_json(report))
    elif out.verbosity >= 0 or not report.ok:
        out.console.print(show.table(report, every=out.verbosity > 0))
    raise typer.Exit(report.exit_code)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(out.mask(text), encoding="utf-8")
    except OSError as error:
        raise BadInput(f"cannot write there: {error.strerror}", file=path) from None
