"""Keeps secret values out of everything that is printed."""

from __future__ import annotations

from collections.abc import Callable, Iterable

DOTS = "•••"
_MIN_BYTES = 6
"""Shorter values would mask innocent words; the vault refuses secrets that short."""


class Masker:
    """Replaces every known secret in a text, the longest first.

    :param values: called each time, since secrets become known as the run goes on.
    """

    def __init__(self, values: Callable[[], Iterable[bytes]] = lambda: ()) -> None:
        self._values = values

    def __call__(self, text: str) -> str:
        known = {v.decode(errors="ignore").strip() for v in self._values()}
        known |= {line for value in known for line in value.splitlines() if len(line) > 20}
        for value in sorted(known, key=len, reverse=True):
            if len(value) >= _MIN_BYTES:
                text = text.replace(value, DOTS)
        return text
