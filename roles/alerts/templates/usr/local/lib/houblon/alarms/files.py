"""Files that are whole or not there, whatever moment the power goes."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CONFIG = Path("/etc/houblon/alerts.json")
CHANNELS = Path("/etc/houblon/alerts-channels.json")
BASE = Path("/var/lib/houblon-alerts")
BOOK = BASE / "book.json"
LOOKS = BASE / "looks.json"
OUTBOX = BASE / "outbox"
DELIVERY = BASE / "delivery" / "state.json"
SPARE = Path("/run/houblon-alerts/state.json")
"""Where the deliverer keeps its account while the disk is full: it is not root, and gets none of the reserve."""
PUBLIC = Path("/srv/houblon/health")
HEARTBEAT = "public/.well-known/houblon/health.json"
"""Below PUBLIC."""


def write(path: Path, text: str, mode: int = 0o600, *, keep: bool = True) -> None:
    """Replace a file's content at once; ``keep``: it must survive a power cut, too."""
    new = path.with_name(f".{path.name}.new")
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), mode)
        file.write(text)
        file.flush()
        if keep:
            os.fsync(file.fileno())
    new.rename(path)


def write_json(path: Path, data: Any, mode: int = 0o600, *, keep: bool = True) -> None:
    """`write` of a JSON document."""
    write(path, json.dumps(data, ensure_ascii=False, indent=1) + "\n", mode, keep=keep)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object; empty when the file is not there, or holds none.

    A state that cannot be read is begun anew: whatever is still wrong is then told again.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        with os.fdopen(handle, encoding="utf-8") as file:
            data = json.load(file)
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Alone with a file, by a lock beside it that ends with the process (flock(2))."""
    handle = os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def account() -> dict[str, Any]:
    """What the deliverer knows was taken by whom, and how its channels do."""
    places = [path for path in (DELIVERY, SPARE) if path.exists()]
    return read_json(max(places, key=lambda path: path.stat().st_mtime_ns)) if places else {}


def keep_account(data: dict[str, Any]) -> None:
    """Write it down, in memory if need be: a message that arrived and is forgotten would be sent each minute."""
    try:
        write_json(DELIVERY, data, 0o644)
        SPARE.unlink(missing_ok=True)
    except OSError:
        write_json(SPARE, data, 0o644, keep=False)
