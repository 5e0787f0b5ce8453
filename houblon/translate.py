"""Turns pydantic's complaints about a site file into plain sentences with a line, a key and a cure."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from houblon.errors import BadInput
from houblon.settings import Wrong
from houblon.yamlfile import Document, Trail, dotted

M = TypeVar("M", bound=BaseModel)

_KINDS = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "set_type": "a list",
    "frozen_set_type": "a list",
    "dict_type": "a set of keys",
    "model_type": "a set of keys",
    "model_attributes_type": "a set of keys",
    "none_required": "empty",
}
_CURES = {
    "text": "Write text there; put it between quotes if it looks like a number, true, false or null.",
    "a whole number": "Write digits alone, without quotes.",
    "a number": "Write digits alone, without quotes.",
    "true or false": "Write true or false, without quotes.",
    "a list": "Write one item a line, each after a dash: `- item`.",
    "a set of keys": "Write `key: value` lines below it, indented by two spaces.",
    "empty": "Leave it empty.",
}


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word that looks most like this one; empty when none does."""
    return next(iter(difflib.get_close_matches(word.lower(), sorted(known), n=1, cutoff=0.6)), "")


def suggestion(word: str, known: Iterable[str]) -> str:
    """``Did you mean `x`?``, or the list of what is known when nothing is near."""
    names = sorted(known)
    if near := nearest(word, names):
        return f"Did you mean `{near}`?"
    return f"Known here: {', '.join(names)}." if names else "Remove it: nothing can be set here."


def validate(
    model: type[M], data: Any, document: Document, trail: Trail = (),
    unknown: Callable[[str], BadInput] | None = None,
) -> tuple[M | None, list[BadInput]]:  # fmt: skip
    """Check data from a document against a model; the errors come back, none is raised.

    :param unknown: makes the error for an unknown key at the top of ``data``, when more is known about it.

    Data goes through JSON, because pydantic's strict mode then takes lists for tuples and nothing else.
    """
    try:
        return model.model_validate_json(json.dumps(data)), []
    except ValidationError as error:
        found: dict[Trail, BadInput] = {}
        for detail in _roots(error.errors(include_url=False, include_input=False), model):
            loc = detail["loc"]
            if unknown and detail["type"] == "extra_forbidden" and len(loc) == 1:
                found[loc] = unknown(str(loc[0]))
                continue
            # The arms of a union each complain about the same value, under names that only pydantic knows.
            place = loc if detail["type"] == "missing" else _within(data, loc)
            if place in found:
                found[place] = document.error(
                    "this is none of the values it can have", (*trail, *place), _described(model, place)
                )
            else:
                found[place] = _plain(detail, model, data, document, trail)
        return None, list(found.values())
    except Wrong as error:
        return None, [document.error(error.what, trail, error.cure)]


def _roots(details: list[ErrorDetails], model: type[BaseModel]) -> Iterator[ErrorDetails]:
    """One complaint a mistake: not those that follow from a deeper one, nor that a key is missing when it is
    there, misspelt."""
    seen: set[tuple[str | int, ...]] = set()
    for detail in details:
        if detail["type"] == "extra_forbidden":
            *above, word = detail["loc"]
            owner = _model_at(model, tuple(above))
            if near := nearest(str(word), owner.model_fields if owner else ()):
                seen.add((*above, near))
    locations = [detail["loc"] for detail in details]
    for detail in details:
        loc = detail["loc"]
        if loc in seen or any(len(other) > len(loc) and other[: len(loc)] == loc for other in locations):
            continue
        seen.add(loc)
        yield detail


def _plain(
    detail: ErrorDetails, model: type[BaseModel], data: Any, document: Document, trail: Trail
) -> BadInput:
    kind, context = detail["type"], detail.get("ctx", {})
    loc = detail["loc"]
    within = _within(data, loc)
    here = (*trail, *within)
    if kind == "missing":
        name = str(loc[-1])
        owner = _model_at(model, loc[:-1])
        hint = owner.model_fields[name].description if owner and name in owner.model_fields else None
        return document.error(
            f"the key `{name}` is missing", here,
            f"Add `{name}:`. {(hint or '').splitlines()[0] if hint else ''}".strip(),
        )  # fmt: skip
    if kind == "extra_forbidden":
        owner = _model_at(model, loc[:-1])
        name = dotted((str(loc[-1]),))
        cure = suggestion(name, owner.model_fields if owner else ())
        return document.error(f"unknown key `{name}`", here, cure)
    if kind == "value_error":
        cause = context.get("error")
        if isinstance(cause, Wrong):
            return document.error(cause.what, here, cause.cure)
        return document.error(str(cause), here, "Change this value.")
    if kind in _KINDS:
        wanted = _KINDS[kind]
        found = _name_of(_value_at(data, within))
        return document.error(f"this must be {wanted}, and it is {found}", here, _CURES[wanted])
    what, cure = _limits(kind, context)
    return document.error(what, here, cure or _described(model, loc))


def _described(model: type[BaseModel], loc: Trail) -> str:
    """An option's docstring, for want of a better cure."""
    owner = _model_at(model, loc[:-1]) if loc else None
    field = owner.model_fields.get(str(loc[-1])) if owner else None
    return (field and field.description) or "The reference of the site file says what it can be."


def _limits(kind: str, context: Mapping[str, Any]) -> tuple[str, str]:
    match kind:
        case "literal_error" | "enum":
            return "this is none of the values it can have", f"Write one of: {context.get('expected', '')}."
        case "greater_than_equal" | "greater_than" | "less_than_equal" | "less_than":
            limit = next(iter(context.values()), "")
            side = {
                "greater_than_equal": "at least", "greater_than": "more than",
                "less_than_equal": "at most", "less_than": "less than",
            }[kind]  # fmt: skip
            return "this number is out of bounds", f"It must be {side} {limit}."
        case "too_short":
            return "this list is too short", f"It needs at least {context.get('min_length')} item(s)."
        case "too_long":
            return "this list is too long", f"It takes at most {context.get('max_length')} item(s)."
        case "string_too_short":
            return "this text is too short", f"It needs at least {context.get('min_length')} character(s)."
        case "string_too_long":
            return "this text is too long", f"It takes at most {context.get('max_length')} characters."
        case _:
            return "this value is not valid", ""


def _within(data: Any, loc: tuple[str | int, ...]) -> Trail:
    """The part of a pydantic location that is in the data; it also names arms of unions and missing keys."""
    trail: list[str | int] = []
    for step in loc:
        known = step in data if isinstance(data, dict) else isinstance(data, list) and isinstance(step, int)
        if not known:
            break
        data = data[step]
        trail.append(step)
    return tuple(trail)


def _value_at(data: Any, trail: Trail) -> Any:
    for step in trail:
        data = data[step]
    return data


def _name_of(value: Any) -> str:
    match value:
        case None:
            return "empty"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case list():
            return "a list"
        case _:
            return "a set of keys"


def _model_at(model: type[BaseModel], loc: tuple[str | int, ...]) -> type[BaseModel] | None:
    """The model that holds the key after ``loc``."""
    current: type[BaseModel] | None = model
    for step in loc:
        if current is None:
            return None
        if isinstance(step, str) and step in current.model_fields:
            current = _inner(current.model_fields[step].annotation)
    return current


def _inner(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for part in get_args(annotation):
        if found := _inner(part):
            return found
    return None
