"""Complaints about a role's settings, in plain words, at the right line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, field_validator, model_validator

from houblon.contract import Config
from houblon.settings import Domain, Wrong
from houblon.translate import nearest, suggestion, validate
from houblon.yamlfile import parse


class List(Config):
    name: str
    """What the list is called."""
    owners: tuple[str, ...] = ()
    """Who runs it."""


class Toy(Config):
    level: Literal["low", "high"] = "low"
    """How much of it."""
    code: Annotated[str, Field(pattern="^[a-z]{3}$")] = "abc"
    """Three small letters."""
    count: Annotated[int, Field(ge=2, le=9)] = 2
    """How many."""
    share: float = 0.5
    """Part of it."""
    limit: int | Literal["none"] = 3
    """A number, or none."""
    lists: tuple[List, ...] = ()
    """The lists."""
    main: List | None = None
    """The first list."""
    name: Domain | None = None
    """Where it lives."""
    text: Annotated[str, Field(min_length=2, max_length=4)] = "abc"
    """Some text."""

    @field_validator("share")
    @classmethod
    def _share(cls, value: float) -> float:
        if value > 1:
            raise Wrong("this is more than all of it", "Write a number up to 1.")
        return value

    @model_validator(mode="after")
    def _both(self) -> Toy:
        if self.level == "high" and self.count == 2:
            raise ValueError("a high level needs a count of 3 or more")
        return self


def told(text: str) -> list[tuple[int | None, str | None, str]]:
    document = parse(text, Path("site.yaml"))
    data: Any = document.data["toy"]
    config, errors = validate(Toy, data, document, ("toy",))
    assert (config is None) == bool(errors)
    return [(error.line, error.key, f"{error.what} | {error.cure}") for error in errors]


@pytest.mark.parametrize(
    ("text", "line", "key", "says"),
    [
        ("level: middle", 2, "toy.level", "'low' or 'high'"),
        ("level:", 2, "toy.level", "'low' or 'high'"),
        ("code: ABCD", 2, "toy.code", "Three small letters."),
        ("count: 1", 2, "toy.count", "at least 2"),
        ("count: 10", 2, "toy.count", "at most 9"),
        ("count: 2.5", 2, "toy.count", "must be a whole number, and it is a number"),
        ("count: '3'", 2, "toy.count", "and it is text"),
        ("share: much", 2, "toy.share", "must be a number"),
        ("share: 1.5", 2, "toy.share", "more than all of it | Write a number up to 1."),
        ("limit: many", 2, "toy.limit", "none of the values it can have | A number, or none."),
        ("text: a", 2, "toy.text", "at least 2"),
        ("text: abcde", 2, "toy.text", "at most 4"),
        ("level: high", 1, "toy", "needs a count of 3"),
        ("name: a_b.test", 2, "toy.name", "underscore"),
        ("lists: all", 2, "toy.lists", "must be a list, and it is text"),
        ("lists: {a: 1}", 2, "toy.lists", "must be a list, and it is a set of keys"),
        ("lists:\n  - name: a\n  - owners: [b]", 4, "toy.lists[1]", "`name` is missing | Add `name:`. What the list"),
        ("lists:\n  - name: a\n    owner: [b]", 4, "toy.lists[0].owner", "Did you mean `owners`?"),
        ("lists:\n  - nam: a", 3, "toy.lists[0].nam", "Did you mean `name`?"),
        ("lists:\n  - name: a\n    owners:\n    - b\n    - 3", 6, "toy.lists[0].owners[1]", "must be text"),
        ("main: a", 2, "toy.main", "must be a set of keys, and it is text"),
        ("main: {name: a, colour: b}", 2, "toy.main.colour", "unknown key `colour`"),
        ("zzz: 1", 2, "toy.zzz", "Known here: code, count, level"),
    ],
)
def test_one_mistake_is_one_error(text: str, line: int, key: str, says: str) -> None:
    ((at, what_key, sentence),) = told("toy:\n" + "".join(f"  {part}\n" for part in text.splitlines()))
    assert says in sentence, sentence
    assert (at, what_key) == (line, key)


def test_all_mistakes_come_back() -> None:
    found = told("toy:\n  level: x\n  count: 1\n  zzz: 1\n")
    assert sorted(key for _, key, _ in found if key) == ["toy.count", "toy.level", "toy.zzz"]


def test_suggestions() -> None:
    known = ["portal", "nextcloud", "etherpad"]
    assert nearest("Portail", known) == "portal"
    assert nearest("zzz", known) == ""
    assert suggestion("nextclod", known) == "Did you mean `nextcloud`?"
    assert suggestion("zzz", known) == "Known here: etherpad, nextcloud, portal."
    assert "nothing can be set" in suggestion("zzz", [])
