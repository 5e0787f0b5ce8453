"""A site as a pyinfra inventory, for `inventory.py` in a site folder (three lines).

For development on one host: ``pyinfra inventories/association/inventory.py deploys/site.py``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from houblon.site import load


def hosts_of(folder: Path) -> list[tuple[str, dict[str, Any]]]:
    """The hosts of a site and their data, as pyinfra wants them.

    :raises BadInput: when the site file is wrong.
    """
    site = load(folder)
    data: dict[str, Any] = {
        "houblon_site": str(folder.resolve()),
        "ssh_hostname": site.host.address,
        "ssh_port": site.host.port,
        "ssh_user": site.host.user,
    }
    if site.host.jump:
        data["houblon_jump"] = site.host.jump
    return [(f"@houblon/{site.host.address}", data)]
