"""What members see of it: a word for each service, and a heartbeat for those who watch from outside."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from . import files

WORDS = {
    "up": {"en": "running", "fr": "en service"},
    "down": {"en": "out of order", "fr": "en panne"},
    "unknown": {"en": "state unknown", "fr": "état inconnu"},
}


def fragments(config: Mapping[str, Any], down: Mapping[str, Any] | None) -> dict[str, str]:
    """File names and HTML of every service in every language.

    :param down: what is broken, by role; None when nobody could look.
    """
    found = {}
    for role in config["members"]:
        state = "unknown" if down is None else "down" if down.get(role) else "up"
        for language in config["languages"]:
            words = WORDS[state]["fr" if language == "fr" else "en"]
            found[f"{role}.{language}.html"] = f'<span class="health {state}">{escape(words)}</span>\n'
    return found


def publish(config: Mapping[str, Any], down: Mapping[str, Any] | None, ill: bool, now: int) -> None:
    """Write the fragments that have changed, and the heartbeat."""
    wanted = fragments(config, down)
    for name, text in wanted.items():
        path = files.PUBLIC / name
        if not path.exists() or path.read_text() != text:
            files.write(path, text, 0o644, keep=False)
    for path in files.PUBLIC.glob("*.*.html"):
        if path.name not in wanted:
            path.unlink()
    beat = {"at": now, "state": "ill" if ill else "ok"}
    files.write_json(files.PUBLIC / files.HEARTBEAT, beat, 0o644, keep=False)


def looked() -> int:
    """When the host was last looked at, in seconds since the epoch; 0 when that is unknown."""
    at = files.read_json(files.PUBLIC / files.HEARTBEAT).get("at")
    return at if isinstance(at, int) else 0
