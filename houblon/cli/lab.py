"""`houblon lab`: throwaway hosts to try a site on.

The lab is imported by the commands: every other command of houblon would load it too.
"""

from __future__ import annotations

import os
import subprocess
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from houblon.errors import BadInput

app = typer.Typer(no_args_is_help=True, help="Throwaway Debian hosts with real DNS and a real ACME CA.")
console = Console(stderr=True)

Name = Annotated[str, typer.Argument(help="The lab's name; its domain is NAME.test.")]


@app.command()
def up(
    name: Name = "lab",
    hosts: Annotated[int, typer.Option(min=1, max=200, help="How many hosts.")] = 1,
    release: Annotated[str, typer.Option(help="Debian's release: trixie or bookworm.")] = "trixie",
    address: Annotated[
        str, typer.Option(help="Take this spare, bare server as the lab: root@ADDRESS. Needs no root here.")
    ] = "",
) -> None:
    """Bring a lab up; what it prints is all that is needed to use it."""
    from houblon.lab import Lab

    if address:
        lab = Lab.adopt(name, address)
        typer.echo(f"{lab.name}: {lab.hosts[0].address}")
        return
    with console.status(f"lab {name}") as status:
        lab = Lab.up(name, hosts, release, progress=lambda line: status.update(f"lab {name}: {line[:100]}"))
    for host in lab.hosts:
        typer.echo(f"{host.name}  {host.address}  {host.address6}")
    typer.echo(f"domain          {lab.domain}")
    typer.echo(f"DNS resolver    {lab.dns_server}")
    typer.echo(f"ACME directory  {lab.acme_directory}")
    typer.echo(f"its CA          {lab.acme_ca_bundle}")
    typer.echo(f"ssh key         {lab.ssh_key}")
    typer.echo(f"log in: houblon lab ssh {name}    remove: houblon lab down {name}")


@app.command("list")
def list_() -> None:
    """List the labs that are up."""
    from houblon.lab import Lab

    table = Table("lab", "host", "IPv4", "IPv6", "release", "state", box=None)
    for lab in Lab.list():
        for host in lab.hosts:
            table.add_row(
                lab.name,
                host.name,
                host.address,
                host.address6,
                lab.release or "-",
                "up" if host.running() else "off",
            )
    Console().print(table)


@app.command(context_settings={"allow_interspersed_args": False})
def ssh(
    name: Name = "lab",
    host: Annotated[str, typer.Argument(help="A host of the lab, or `lab` for its services host.")] = "host1",
    command: Annotated[list[str] | None, typer.Argument(help="A command instead of a shell.")] = None,
) -> None:
    """Log in to a lab host as root, or run a command there; the exit code is the command's."""
    from houblon.lab import Lab
    from houblon.lab.teardown import collect_garbage

    collect_garbage()
    lab = Lab.open(name)
    known = {each.name: each for each in lab.hosts}
    if host == "lab":
        known["lab"] = lab.services
    if host not in known:
        raise BadInput(f"the lab {name!r} has no host {host!r}", cure=f"Its hosts are {', '.join(known)}.")
    raise typer.Exit(subprocess.run(known[host].ssh_command(command or []), check=False).returncode)


@app.command()
def down(
    name: Annotated[str, typer.Argument(help="The lab to remove.")] = "",
    all_: Annotated[bool, typer.Option("--all", help="Remove every lab.")] = False,
    purge: Annotated[
        bool, typer.Option("--purge-cache", help="Then remove the cached bases and packages too.")
    ] = False,
) -> None:
    """Remove a lab and everything it made on this machine."""
    from houblon.lab import Lab
    from houblon.lab.state import check_name
    from houblon.lab.teardown import collect_garbage, purge_cache, take_down

    if bool(name) == all_ and not purge:
        raise BadInput("nothing says which lab to remove", cure="Give one name, or --all.")
    for each in [lab.name for lab in Lab.list()] if all_ else [check_name(name)] if name else []:
        typer.echo(f"{each}: removed" if take_down(each) else f"{each}: there is no such lab")
    collect_garbage()
    if purge and os.geteuid() == 0:
        purge_cache()
        typer.echo("cache: removed")
