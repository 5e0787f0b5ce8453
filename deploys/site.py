"""``pyinfra inventories/association/inventory.py deploys/site.py``; see `houblon.deploys.plain` for what it lacks."""

from houblon.deploys import plain

plain.run()
