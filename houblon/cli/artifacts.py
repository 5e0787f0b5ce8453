"""``houblon artifacts``: upstream releases, downloaded and verified on the operator's machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text

from houblon.artifacts import cache, manifest
from houblon.artifacts.needs import key_of, needed
from houblon.artifacts.pins import MANIFEST
from houblon.claims import Artifact
from houblon.cli.common import find_site
from houblon.cli.out import out
from houblon.errors import BadInput, HoublonError, Refused, VerificationFailed
from houblon.registry import discover
from houblon.site import load
from houblon.translate import suggestion

if TYPE_CHECKING:
    from houblon.site import Site as Loaded

app = typer.Typer(no_args_is_help=True, help="Upstream releases: download, verify and keep them on this machine.")
Site = Annotated[
    str | None,
    typer.Argument(help="Name or path of the site. Default: $HOUBLON_SITE, or the only one here."),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Only = Annotated[str | None, typer.Option("--only", metavar="NAME", help="One release only.")]


@app.command("list")
def list_(site: Site = None, json: Json = False) -> None:
    """Say which releases a site runs, and whether they are here. Works offline."""
    loaded = load(find_site(site))
    rows = [_row(loaded, artifact) for artifact in needed(loaded)]
    if json:
        out.json(rows)
        return
    if not rows:
        out.say("This site needs no upstream releases: all of it comes from Debian.")
        return
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for row in rows:
        here = Text("in the cache", style="green") if row["cached"] else Text("missing", style="bold red")
        size = f"{row['size'] / 1e6:.1f} MB" if row["size"] else ""
        table.add_row(
            Text(row["name"]), Text(row["version"]), Text(row["role"], style="dim"), Text(size), here,
            Text(_remark(row)),
        )  # fmt: skip
    if out.verbosity >= 0:
        out.console.print(table)
    for row in rows:
        if not row["cached"]:
            where = row["urls"][0] if row["urls"] else "nobody publishes it"
            out.say(f"{row['name']} {row['version']}: {where}\n  sha256 {row['sha256']}")


@app.command()
def fetch(site: Site = None, only: Only = None) -> None:
    """Download what a site needs, verify it, keep it. Goes on where an earlier run was cut off."""
    loaded = load(find_site(site))
    wanted = [artifact for artifact in needed(loaded) if only in (None, artifact.name)]
    if only and not wanted:
        names = [artifact.name for artifact in needed(loaded)]
        raise BadInput(f"this site needs no release `{only}`", cure=suggestion(only, names), file=loaded.file)
    failures: list[HoublonError] = []
    for artifact in wanted:
        called = f"{artifact.name} {artifact.version}"
        try:
            if cache.damaged([artifact]):
                out.say(f"{called} was damaged on this disk.", "yellow")
            elif cache.cached(artifact):
                cache.verdict(artifact)
                out.say(f"{called} is in the cache.")
                continue
            with _Download(called) as progress:
                if file := loaded.pins.local_file(artifact):
                    cache.take(artifact, file, key_of(loaded, artifact))
                else:
                    cache.fetch(artifact, key_of(loaded, artifact), progress)
        except HoublonError as error:
            failures.append(error)
            continue
        out.say(f"{called} is verified and in the cache.")
    for failure in failures[1:]:
        out.error(failure)
    if failures:
        raise failures[0]


@app.command()
def verify(site: Site = None) -> None:
    """Compute the sums of what is kept here again. Exit status 6: something was damaged, and is deleted.

    Of one site's releases when a site is named, which then must all be here; else of everything in the cache.
    """
    lacking: list[str] = []
    if site:
        artifacts = needed(load(find_site(site)))
        lacking = [f"{artifact.name} {artifact.version}" for artifact in artifacts if cache.cached(artifact) is None]
        paths = [path for artifact in artifacts if (path := cache.cached(artifact))]
    else:
        paths = list(cache.stored())
    damaged = [path.name for path in paths if not cache.intact(path)]
    if damaged:
        raise VerificationFailed(
            f"damaged, and deleted from the cache: {', '.join(damaged)}",
            cure="Get it again with `houblon artifacts fetch`. If it happens again, have the disk looked at.",
        )
    if lacking:
        raise VerificationFailed(f"not in the cache: {', '.join(lacking)}", cure="Run `houblon artifacts fetch`.")
    out.say(f"{len(paths)} archive{'s' if len(paths) != 1 else ''} in {cache.home()}: all as they were pinned.")


@app.command("import")
def import_(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Archives that were downloaded elsewhere.")],
    site: Annotated[
        str | None, typer.Option("--site", help="Name or path of the site. Default: $HOUBLON_SITE, or the one here.")
    ] = None,
) -> None:
    """Keep archives that were downloaded elsewhere, once they prove to be what was pinned.

    Which release a file is, its sum tells. Where upstream signs, the signature lies beside it: FILE.asc or FILE.sig.
    """
    known = dict(_known(site))
    for file in files:
        found = cache.sha256(file)
        if found not in known:
            raise Refused(
                f"this is no release that is pinned here: its sha256 is {found}", file=file, cure=_expected(known)
            )
        artifact, key = known[found]
        cache.take(artifact, file, key, _signature_beside(file, artifact))
        out.say(f"{file} is {artifact.name} {artifact.version}: verified and in the cache.")


# --- inside ----------------------------------------------------------------------------------------------


class _Download:
    """The bar of one archive, on standard error."""

    def __init__(self, called: str) -> None:
        self._called = called
        self._bar = Bar(
            TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(),
            TimeRemainingColumn(), console=out.errors, disable=out.verbosity < 0, transient=True,
        )  # fmt: skip
        self._task = self._bar.add_task(called, total=None)

    def __enter__(self) -> _Download:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def __call__(self, have: int, total: int | None) -> None:
        doing = "looking into" if have == total else "downloading"
        self._bar.update(self._task, description=f"{doing} {self._called}", completed=have, total=total)


def _row(site: Loaded, artifact: Artifact) -> dict[str, Any]:
    pin, path = site.pins.seen[artifact.name], cache.cached(artifact)
    return {
        "name": artifact.name, "version": artifact.version, "role": artifact.role,
        "architecture": artifact.architecture, "sha256": artifact.sha256, "urls": list(artifact.urls),
        "cached": path is not None, "size": path.stat().st_size if path else None, "locked": pin.locked,
        "newer": pin.ours.version if pin.held_back else None, "unverified": artifact.unverified,
    }  # fmt: skip


def _remark(row: dict[str, Any]) -> str:
    if row["unverified"]:
        return "UNVERIFIED: of a test manifest"
    if row["newer"]:
        return f"kept by pins.lock, houblon pins {row['newer']}"
    return "in pins.lock" if row["locked"] else ""


def _known(given: str | None) -> Iterator[tuple[str, tuple[Artifact, Path | None]]]:
    """Every release that is pinned here: by any role, then by the site, if there is one."""
    folder: Path | None
    try:
        folder = find_site(given)
    except BadInput:
        if given:
            raise
        folder = None
    for role in discover(folder).roles.values():
        if not (role.folder / MANIFEST).is_file():
            continue
        for architecture in manifest.ARCHITECTURES:
            for artifact in manifest.read(role.folder / MANIFEST, architecture, lenient=True):
                yield artifact.sha256, (artifact, role.folder / artifact.key if artifact.key else None)
    if folder:
        site = load(folder)
        for artifact in needed(site):
            yield artifact.sha256, (artifact, key_of(site, artifact))


def _expected(known: dict[str, tuple[Artifact, Path | None]]) -> str:
    sums = [f"{artifact.name} {artifact.version} is {found}" for found, (artifact, _) in sorted(known.items())]
    return f"Expected: {'; '.join(sums)}." if sums else "No role pins any."


def _signature_beside(file: Path, artifact: Artifact) -> bytes:
    if not artifact.signature:
        return b""
    for suffix in (".asc", ".sig"):
        beside = file.with_name(file.name + suffix)
        if beside.is_file():
            return beside.read_bytes()
    raise Refused(
        "its signature is missing", file=file, cure=f"Put {artifact.signature} beside it, as {file.name}.asc."
    )
