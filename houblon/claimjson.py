"""Claims as JSON, for the record that a host keeps of what was applied to it."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from functools import cache
from typing import Any

from houblon import claims
from houblon.claims import Claim, Text

_KINDS: Mapping[str, type[Claim]] = {kind.__name__: kind for kind in claims.ALL if kind is not Claim}
_NAME = "claim"  # not "kind": `Secret` has a field of that name


def claim_to_json(claim: Claim) -> dict[str, Any]:
    """``{"claim": "Port", "number": 80, ...}``; fields at their default are left out."""
    result: dict[str, Any] = {_NAME: type(claim).__name__}
    for item in dataclasses.fields(claim):
        value = getattr(claim, item.name)
        if value != item.default:
            result[item.name] = _plain(value)
    return result


def claim_from_json(data: Mapping[str, Any]) -> tuple[Claim | None, str]:
    """The claim, and a warning that is empty when all went well.

    A record may come from an older or newer houblon: a kind, field or value that this one does not know gives
    None and a sentence that says so, never an error.
    """
    name = data.get(_NAME)
    kind = _KINDS.get(name) if isinstance(name, str) else None
    if kind is None:
        return None, f"a recorded claim of the kind {name!r} is unknown to this houblon"
    hints = _hints(kind)  # type: ignore[arg-type]  # mypy takes a dataclass type for unhashable
    values: dict[str, Any] = {}
    for key, value in data.items():
        if key == _NAME:
            continue
        if key not in hints:
            return None, f"a recorded {name} claim has a field `{key}` that this houblon does not know"
        try:
            values[key] = _typed(value, hints[key])
        except (TypeError, ValueError):
            return None, f"the field `{key}` of a recorded {name} claim holds something unexpected"
    missing = [
        f.name for f in dataclasses.fields(kind) if f.default is dataclasses.MISSING and f.name not in values
    ]
    if missing:
        return None, f"a recorded {name} claim lacks its field `{missing[0]}`"
    # Not through __init__, which may take other arguments than the fields (Package does).
    claim = object.__new__(kind)
    for item in dataclasses.fields(kind):
        object.__setattr__(claim, item.name, values.get(item.name, item.default))
    return claim, ""


@cache
def _hints(kind: type[Claim]) -> dict[str, Any]:
    return typing.get_type_hints(kind, vars(claims))


def _plain(value: Any) -> Any:
    if isinstance(value, Text):
        return {"en": value.en, "fr": value.fr}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, (str, int, float, bool)) or value is None:
        return value
    raise TypeError(f"a claim cannot hold a {type(value).__name__}")


def _typed(value: Any, hint: Any) -> Any:
    """A JSON value as the type that a field wants."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Union or origin is types.UnionType:
        for arm in args:
            try:
                return _typed(value, arm)
            except (TypeError, ValueError):
                continue
        raise TypeError
    if origin is typing.Literal:
        if value not in args:
            raise ValueError
        return value
    if origin is tuple:
        if not isinstance(value, list):
            raise TypeError
        if len(args) == 2 and args[1] is Ellipsis:
            return tuple(_typed(item, args[0]) for item in value)
        return tuple(_typed(item, arm) for item, arm in zip(value, args, strict=True))
    if hint is Text:
        if not isinstance(value, dict) or set(value) != {"en", "fr"}:
            raise TypeError
        return Text(en=_typed(value["en"], str), fr=_typed(value["fr"], str))
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise TypeError
    return value
