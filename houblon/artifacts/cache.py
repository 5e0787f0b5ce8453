"""The operator's cache of verified archives."""

from __future__ import annotations

import os
from pathlib import Path

from houblon.claims import Artifact


def home() -> Path:
    """The cache's directory (XDG base directory specification)."""
    base = os.environ.get("XDG_CACHE_HOME") or ""
    return (Path(base) if base.startswith("/") else Path.home() / ".cache") / "houblon/artifacts"


def place(artifact: Artifact) -> Path:
    """Where an artifact's archive is kept once it is verified."""
    return home() / f"{artifact.name}-{artifact.version}-{artifact.architecture}-{artifact.sha256[:16]}"


def cached(artifact: Artifact) -> Path | None:
    """The verified archive, or None when the cache does not have it."""
    path = place(artifact)
    return path if path.is_file() else None
