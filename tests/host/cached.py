"""Upstream releases for tests: in the cache of this machine's user, or the test skips by name."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from houblon.artifacts import Pins, cached
from houblon.artifacts.pins import MANIFEST
from houblon.claims import Artifact

ROLES = Path(__file__).parents[2] / "roles"
REQUIRE = "REQUIRE_ARTIFACTS"
"""Environment variable: a test that lacks its artifact fails instead of being skipped."""


def pinned(name: str) -> Artifact:
    """The release that roles pin under this name; a test manifest's, when ``HOUBLON_TEST_PINS`` names one.

    :raises LookupError: no role pins it.
    """
    pins = Pins(ROLES)
    for manifest in sorted(ROLES.glob(f"*/{MANIFEST}")):
        for artifact in pins.artifacts(manifest.parent.name, manifest.parent):
            if artifact.name == name:
                return artifact
    raise LookupError(f"no role pins {name}")


def need(*names: str) -> tuple[Artifact, ...]:
    """The releases of these names, all in the cache; else the test is skipped, or fails where they are required."""
    found = tuple(pinned(name) for name in names)
    lacking = ", ".join(f"{one.name} {one.version}" for one in found if cached(one) is None)
    if lacking:
        text = f"not in the artifact cache: {lacking} (`houblon artifacts fetch` or `import`)"
        if os.environ.get(REQUIRE):
            pytest.fail(text, pytrace=False)
        pytest.skip(text)
    return found
