"""Names that several must agree on: where shared software listens, which version Debian has of it, what a lab is."""

from __future__ import annotations

from typing import Literal

Debian = Literal[12, 13]
PHP = {12: "8.2", 13: "8.4"}
"""Version of PHP, by version of Debian."""
POSTGRESQL = {12: 15, 13: 17}
"""Major version of PostgreSQL, by version of Debian."""
POSTGRESQL_DIRECTORY = "/run/postgresql"
"""Directory of PostgreSQL's unix socket; peer authentication, the role is the system user."""
REDIS = "/run/redis/redis-server.sock"
"""Redis's unix socket; members of the group ``redis`` may open it."""
LAB_MARK = "/etc/houblon-lab"
"""Stands on hosts that `houblon lab` has made, and on no others."""
REDIS_FORGET = "/usr/local/lib/houblon/redis drop"
"""What root runs, with the name of a user of Redis after it, to delete all keys of that user."""
