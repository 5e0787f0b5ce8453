"""``pyinfra INVENTORY deploys/remove.py --data service=NAME``; the data of the service is kept.

See `houblon.deploys.plain` for what it lacks beside `houblon remove`.
"""

from pyinfra.context import host

from houblon.deploys import plain
from houblon.errors import Refused
from houblon.model import Model, removal
from houblon.record import Record
from houblon.site import Site
from houblon.vault import Vault


def _without(site: Site, vault: Vault, record: Record | None) -> Model:
    name = host.data.get("service") or ""
    if record is None or name not in record.roles or name in {role.name for role in site.roles}:
        raise Refused(
            f"there is no service {name!r} to remove",
            cure="Take it out of the site file, and name one that an earlier `houblon apply` put on the host.",
        )
    return Model(site, removal(site, vault, name, record.roles[name], purge=False))


plain.run(_without)
