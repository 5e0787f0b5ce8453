"""A value that does not show itself."""

from __future__ import annotations

import hmac
from typing import NoReturn


class Secret:
    """A decrypted value. ``repr``, ``str`` and formatting give dots; only :meth:`reveal` gives it away.

    Dots in a rendered file are a bug that shows; a password in a log is one that does not. Pickling is
    refused, because a pickle is a copy on disk or in another process's memory.
    """

    __slots__ = ("_value",)

    def __init__(self, value: bytes) -> None:
        self._value = value

    def reveal(self) -> str:
        """The value as text (UTF-8, as every value in the vault is)."""
        return self._value.decode()

    def reveal_bytes(self) -> bytes:
        """The value as it was encrypted."""
        return self._value

    def __repr__(self) -> str:
        return "•••"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return "•••"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._value, other._value)

    __hash__ = None  # type: ignore[assignment]

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a Secret is not pickled")
