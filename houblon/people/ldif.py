"""LDIF, the text form of directory entries and changes (RFC 2849). Pure.

A value is written as it is only when that is safe beyond doubt; anything else in base64. So no value can begin a
line of its own, whatever it holds.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

_ATTRIBUTE = re.compile(r"[A-Za-z][A-Za-z0-9-]*")
# SAFE-STRING of RFC 2849, without the control characters that it allows, and without a space at the end (note 8).
_SAFE = re.compile(r"(?![ :<])[ -~]*(?<! )")


@dataclass(frozen=True)
class Entry:
    """An entry as the directory gave it; attribute names in lower case."""

    dn: str
    attributes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def get(self, attribute: str) -> tuple[str, ...]:
        return self.attributes.get(attribute.lower(), ())

    def one(self, attribute: str) -> str:
        """Its first value; empty without one."""
        return next(iter(self.get(attribute)), "")


@dataclass(frozen=True)
class Change:
    """What `modify` does to one attribute; ``replace`` with no value takes it away."""

    how: Literal["add", "replace", "delete"]
    attribute: str
    values: tuple[str, ...] = ()


def line(attribute: str, value: str) -> str:
    """``attribute: value``, or ``attribute:: base64``."""
    if not _ATTRIBUTE.fullmatch(attribute):
        raise ValueError(f"{attribute!r} cannot be an attribute")
    if _SAFE.fullmatch(value):
        return f"{attribute}: {value}\n"
    return f"{attribute}:: {base64.b64encode(value.encode()).decode()}\n"


def add(dn: str, attributes: Mapping[str, Sequence[str]]) -> str:
    """A record that adds an entry; attributes without values are left out."""
    body = "".join(line(name, value) for name, values in attributes.items() for value in values)
    return f"{line('dn', dn)}changetype: add\n{body}\n"


def modify(dn: str, changes: Iterable[Change]) -> str:
    """A record that changes an entry, all of it or nothing; empty when there is nothing to change."""
    parts = [
        line(change.how, change.attribute) + "".join(line(change.attribute, value) for value in change.values) + "-\n"
        for change in changes
    ]
    return f"{line('dn', dn)}changetype: modify\n{''.join(parts)}\n" if parts else ""


def delete(dn: str) -> str:
    """A record that deletes an entry."""
    return f"{line('dn', dn)}changetype: delete\n\n"


def parse(text: str) -> Iterator[Entry]:
    """The entries in what `ldapsearch` prints.

    :raises ValueError: this is not LDIF.
    """
    dn, attributes = "", dict[str, tuple[str, ...]]()
    for name, value in _lines(text):
        if name == "dn":
            if dn:
                yield Entry(dn, attributes)
            dn, attributes = value, {}
        elif dn:
            attributes[name] = (*attributes.get(name, ()), value)
        elif name != "version":
            raise ValueError("an attribute before the first dn")
    if dn:
        yield Entry(dn, attributes)


def _lines(text: str) -> Iterator[tuple[str, str]]:
    logical: list[str] = []
    for physical in text.split("\n"):
        if physical.startswith(" ") and logical:
            logical[-1] += physical[1:]
        else:
            logical.append(physical)
    for one in logical:
        if not one or one.startswith("#"):
            continue
        name, colon, rest = one.partition(":")
        if not colon:
            raise ValueError(f"a line without a colon: {one[:40]!r}")
        if rest.startswith(":"):
            yield name.lower(), base64.b64decode(rest[1:].strip(), validate=True).decode(errors="replace")
        else:
            yield name.lower(), rest.removeprefix(" ")
