"""What several commands share: finding the site that is meant."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from houblon.errors import BadInput
from houblon.site import FILE
from houblon.translate import suggestion

if TYPE_CHECKING:
    from houblon.connection import Connection
    from houblon.site import Site
    from houblon.vault import Vault

VARIABLE = "HOUBLON_SITE"


def find_site(given: str | None) -> Path:
    """The folder of the site that is meant: by path or name, else $HOUBLON_SITE, else the only one here.

    A name is looked for here, in ``inventories/`` here, and in the folder where `houblon lab` and `make demo`
    keep theirs.

    :raises BadInput: when there is none, or it is not clear which.
    """
    wanted = given or os.environ.get(VARIABLE) or ""
    if wanted:
        return _named(wanted, "" if given else f"${VARIABLE} says: ")
    here = Path()
    for folder in (here.resolve(), *here.resolve().parents):
        if (folder / FILE).is_file():
            return folder
    sites = sorted(_sites(here))
    if len(sites) == 1:
        return sites[0]
    if not sites:
        raise BadInput(
            "there is no site here",
            cure=f"Name one, set ${VARIABLE}, or make one with `houblon init FOLDER`.",
        )
    raise BadInput(
        "there are several sites here: " + ", ".join(site.name for site in sites),
        cure=f"Say which: `houblon plan {sites[0].name}`.",
    )


def open_site(given: str | None) -> tuple[Site, Vault]:
    """The site that is meant, judged, with its vault, checked; secrets are masked from here on.

    :raises BadInput: naming file, line, key and cure of the first mistake in either.
    """
    from houblon.cli.out import out
    from houblon.site import load
    from houblon.vault import Vault

    site = load(find_site(given))
    use_own_key(site.folder)
    vault = out.watch(Vault(site.folder))
    vault.check([admin.name for admin in site.admins])
    for notice in dict.fromkeys(vault.notices):
        out.note(notice)
    return site, vault


@contextmanager
def on_host(site: Site, vault: Vault) -> Iterator[Connection]:
    """A connection to the site's host, as whoever sits at the terminal; closed at the end.

    :raises CannotConnect: the host does not answer, or lets nobody in.
    """
    # Paramiko takes half a second to import, which commands that stay offline need not wait for.
    from houblon.cli.ask import at_the_terminal
    from houblon.connect import Door

    way_in = Door(site, vault, at_the_terminal())
    try:
        with way_in.open() as connection:
            yield connection
    finally:
        way_in.close()


def use_own_key(folder: Path) -> None:
    """Sites that houblon made for itself (demo, lab) carry their key in `.local/`, which git ignores."""
    own = folder / ".local" / "id_ed25519"
    if own.exists():
        os.environ.setdefault("HOUBLON_IDENTITY", str(own))


def data_home() -> Path:
    """Where houblon keeps sites that it made itself (XDG base directory specification)."""
    base = os.environ.get("XDG_DATA_HOME") or ""
    return (Path(base) if base.startswith("/") else Path.home() / ".local/share") / "houblon"


def _named(wanted: str, prefix: str) -> Path:
    path = Path(wanted).expanduser()
    if path.name == FILE and path.is_file():
        return path.parent
    if (path / FILE).is_file():
        return path
    if path.name == wanted:
        for base in (Path("inventories"), data_home() / "sites"):
            if (base / wanted / FILE).is_file():
                return base / wanted
    if path.is_dir():
        raise BadInput(
            f"{prefix}this is not a site: there is no {FILE} in it",
            cure="Give the folder that holds it, or make a new site with `houblon init`.", file=path,
        )  # fmt: skip
    names = [site.name for site in _sites(Path())]
    raise BadInput(
        f"{prefix}there is no site `{wanted}`",
        cure=suggestion(wanted, names) if names else f"Make it with `houblon init {wanted}`.",
    )


def _sites(here: Path) -> Iterator[Path]:
    for base in (here, here / "inventories"):
        if base.is_dir():
            yield from (f.parent for f in base.glob(f"*/{FILE}") if f.is_file())
