"""A site through plain pyinfra, for development on one host.

What it lacks beside `houblon apply`: no lease (two runs can meet), no record (a later houblon does not know what
this one made), no refusal of hosts that are not ours, and no proof that the host converged.
"""

from __future__ import annotations

import atexit
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pyinfra.context import host

from houblon import releases
from houblon.cli.ask import at_the_terminal
from houblon.connect import Door as WayIn
from houblon.connector import HoublonConnector
from houblon.errors import BadInput
from houblon.facts import parse, script_for
from houblon.model import Model, build
from houblon.operations import converge
from houblon.operations.converge import describe
from houblon.operations.run import Run
from houblon.record import Record
from houblon.resources import Release
from houblon.site import Site, load
from houblon.vault import Vault

Compute = Callable[[Site, Vault, Record | None], Model]


def run(compute: Compute = build) -> None:
    """Bring the host of the current pyinfra run to what ``compute`` says.

    :raises BadInput: the inventory is not a site's.
    """
    folder = host.data.get("houblon_site")
    if not folder or not isinstance(host.connector, HoublonConnector) or host.connector.connection is None:
        raise BadInput("this inventory is not a site's", cure="Use the inventory.py of a site folder.")
    site = load(Path(folder))
    vault, connection = Vault(site.folder), host.connector.connection
    # Where a lease would lie, and the lock that keeps two commands apart does.
    connection.run("mkdir -p -m 755 /run/houblon")
    record = Record.read(parse(connection.run(script_for(())).lines()).record)
    model = compute(site, vault, record)
    seen = parse(connection.run(script_for([item for _, item in model.items()])).lines())
    known = record.ours() if record else frozenset()
    trees = [item for _, item in model.items() if isinstance(item, Release)]
    releases.check_pins(site, seen)
    releases.check_there(site, trees, seen)
    way_in = WayIn(site, vault, at_the_terminal())
    ours = Run(connection, way_in, seen=seen, units=model.units(), known=known)
    operation: Any = converge
    for number, batch in enumerate(model.batches):
        # Names the changes; under `pyinfra -y` no operation looks at the host before all of them run.
        list(operation._inner(batch, number, ours))
    releases.check_room(trees, ours.changes, seen)
    ours.executing = True
    for number, batch in enumerate(model.batches):
        # Unnamed operations print their arguments.
        operation(batch, number, ours, name=f"{batch.role}, {batch.stage}: {describe(batch)} ({number})")
    atexit.register(lambda: print(f"houblon: {str(ours.failure).splitlines()[0]}") if ours.failure else None)
