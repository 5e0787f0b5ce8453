"""What claims cannot express: who sees what over the real protocol."""

from __future__ import annotations

from typing import Any

from houblon import directory


def test_strangers_see_nobody(host: Any) -> None:
    """Who has not logged in to the directory sees nobody."""
    found = host.run(f"ldapsearch -x -LLL -H {directory.LDAPI} -b {directory.SUFFIX}")
    assert found.rc != 0 and not found.stdout.strip(), found.stdout[:200]
