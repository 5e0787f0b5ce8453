"""What claims cannot express: who gets in, and how far."""

from __future__ import annotations

from typing import Any

import pytest

from houblon.roles.redis import SCRIPT
from houblon.software import REDIS


@pytest.mark.root
def test_it_answers(host: Any) -> None:
    """Redis answers over its socket."""
    assert host.run(f"{SCRIPT} ping").rc == 0


@pytest.mark.root
def test_nobody_gets_in_without_a_password(host: Any) -> None:
    """Who names no user and no password is refused."""
    answer = host.run(f"redis-cli -s {REDIS} PING").stdout
    assert "NOAUTH" in answer, answer
