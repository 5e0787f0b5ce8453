"""``houblon occ``: the command of a service on the host, run from here as if one were logged in there."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated

import gevent
import typer

from houblon.cli.common import on_host, open_site
from houblon.errors import BadInput

if TYPE_CHECKING:
    from houblon.site import Site

NAME = "occ"
NOT_THERE = 44


def occ(
    site: Annotated[str, typer.Argument(help="Name or path of the site.")],
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="-- ARGUMENTS...", help="For occ, as they are. Default: its list.")
    ] = None,
) -> None:
    """Run Nextcloud's own `occ` on the host. Output, input and exit status are those of occ.

    There is no terminal at the other end: passwords go on standard input or not at all, since arguments are seen by
    everyone on the host. Settings that the site file decides are put back by the next apply.
    """
    loaded, vault = open_site(site)
    script = script_for(command_of(loaded), given(arguments or ()))
    with on_host(loaded, vault) as connection:
        status = connection.pass_through(script, _read, _writer(1), _writer(2))
    if status == NOT_THERE:
        raise BadInput(f"this host has no {NAME} yet", cure="Run `houblon apply` first.")
    raise typer.Exit(status)


def command_of(site: Site) -> str:
    """The program on the host.

    :raises BadInput: no service of the site has one.
    """
    from houblon.contract import Console

    found = [claim.command for claim in site.claims(Console) if claim.name == NAME]
    if not found:
        raise BadInput(
            f"no service of this site has `{NAME}`",
            cure="`houblon service list` shows the services there are; it comes with Nextcloud.",
            file=site.file,
        )
    return found[0]


def given(arguments: Sequence[str]) -> list[str]:
    """The arguments without the ``--`` before them, which click leaves there."""
    return list(arguments[1:] if arguments[:1] == ["--"] else arguments)


def script_for(command: str, arguments: Sequence[str]) -> str:
    """A shell script that becomes the program."""
    path = shlex.quote(command)
    return f"[ -x {path} ] || exit {NOT_THERE}\nexec {shlex.join([command, *arguments])}\n"


def _read() -> bytes:
    """The next piece of standard input. In a thread: a terminal or a pipe would make all others wait."""
    piece: bytes = gevent.get_hub().threadpool.apply(os.read, (0, 65536))
    return piece


def _writer(number: int) -> Callable[[bytes], None]:
    """Writes to a file descriptor, past Python's buffers: half a line may be a question."""

    def write(piece: bytes) -> None:
        while piece:
            piece = piece[os.write(number, piece) :]

    return write
