"""What claims cannot express: who gets into which database, asked as the users of the services."""

from __future__ import annotations

from typing import Any

import pytest

from houblon.roles.postgresql import Postgresql
from houblon.software import POSTGRESQL_DIRECTORY


@pytest.mark.root
def test_each_service_enters_its_own_database(host: Any, role: Postgresql) -> None:
    """Each service gets into its own database."""
    for name in role.databases():
        done = host.run(f"cd / && runuser -u {name} -- psql -XAtq -h {POSTGRESQL_DIRECTORY} -d {name} -c 'SELECT 1'")
        assert done.stdout.strip() == "1", f"{name}: {done.stderr.strip()}"
