"""Which releases a site runs: what roles pin, what the site's lock holds back, what a test puts in their place."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from houblon.claims import Artifact

MANIFEST = "artifacts.toml"
LOCK = "pins.lock"
TEST_PINS = "HOUBLON_TEST_PINS"
"""Environment variable: a manifest that replaces pins, on lab hosts only."""


class Pins:
    """The pins of one site."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def artifacts(self, role: str, folder: Path) -> Iterator[Artifact]:
        """The releases of a role, in its manifest's order, at the versions this site runs."""
        override = os.environ.get(TEST_PINS)
        test: dict[str, Any] = tomllib.loads(Path(override).read_text()) if override else {}
        for name, pin in tomllib.loads((folder / MANIFEST).read_text()).items():
            found = {**pin, **test.get(name, {})}
            yield Artifact(
                name=name, version=found["version"], urls=tuple(found.get("urls", ())), sha256=found["sha256"],
                top=found["top"], unverified=name in test,
            )  # fmt: skip
