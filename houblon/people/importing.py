"""From a table of people and what the directory holds to what must be done, or to all that is wrong. Pure.

An import adds; it changes nobody who is there. Whoever is in the file and in the directory already is left as they
are, so that the same file can be imported again: after a cut line, that finishes it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace

from houblon.people import names
from houblon.people.model import People, Person
from houblon.people.table import Mistake, Row, Table
from houblon.settings import Wrong


@dataclass
class Plan:
    """What an import would do; ``mistakes`` not empty: nothing.

    :param joins: by group, who is to become a member.
    :param same: names of people in the file who are there already.
    :param notes: where the file and the directory differ about somebody; the directory stands.
    """

    new: list[Person] = field(default_factory=list)
    joins: dict[str, list[str]] = field(default_factory=dict)
    same: list[str] = field(default_factory=list)
    new_groups: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    mistakes: list[Mistake] = field(default_factory=list)

    @property
    def empty(self) -> bool:
        return not self.new and not self.joins


def plan(
    table: Table, there: People, language: str, taken: Collection[str] = (), unfinished: Collection[str] = ()
) -> Plan:
    """Compare.

    :param unfinished: people whom an import cut short has added: their groups are still to come. Of others, who may
        have been put out of a group since the file was written, it is only told.

    :param language: of people for whom the file names none.
    :param taken: as in `houblon.people.names.account`.
    """
    result = Plan(mistakes=list(table.mistakes))
    seen: dict[str, Row] = {}
    owners = {names.key(address): person.name for person in there.people.values() for address in person.addresses}
    explicit = {row.name for row in table.rows if row.name}
    by_full_name: dict[str, list[Row]] = {}
    for row in table.rows:
        name = _name(row, table, there, seen, by_full_name, explicit, taken, result)
        if not name:
            continue
        seen[name] = row
        by_full_name.setdefault(row.full_name, []).append(row)
        known = there.people.get(name)
        person = replace(_person(row, name, language), groups=known.groups if known else frozenset())
        for address in person.addresses:
            owner = owners.setdefault(names.key(address), name)
            if owner != name:
                column = table.headers["mail" if address == person.mail else "aliases"]
                result.mistakes.append(Mistake(
                    f"the address {address} is that of {owner} already", "Each address has one owner.", row.line,
                    column,
                ))  # fmt: skip
        if known:
            result.same.append(name)
            result.notes += _differences(row, known)
        else:
            result.new.append(person)
        for group in row.groups:
            if name in there.groups.get(group, ()):
                continue
            if known and name not in unfinished:
                result.notes.append(
                    f"{name} is there already, and not in {group}; left as it is. "
                    f"`houblon user group add {group} {name}` changes it."
                )
            else:
                result.joins.setdefault(group, []).append(name)
    result.new_groups = sorted(set(result.joins) - set(there.groups))
    result.mistakes.sort(key=lambda mistake: mistake.line or 0)
    return result


def _name(
    row: Row, table: Table, there: People, seen: dict[str, Row], by_full_name: dict[str, list[Row]],
    explicit: Collection[str], taken: Collection[str], result: Plan,
) -> str:
    """The account name of a row, its own or one made for it; empty after a mistake."""
    def wrong(what: str, cure: str) -> str:
        column = table.headers.get("name") or table.headers.get("full_name") or table.headers["family"]
        result.mistakes.append(Mistake(what, cure, row.line, column))
        return ""

    if row.name:
        if row.name in seen:
            return wrong(f"the name {row.name} is in line {seen[row.name].line} already", "Give each their own.")
        known = there.people.get(row.name)
        if known and known.full_name != row.full_name:
            return wrong(
                f"the account {row.name} is there already, that of “{known.full_name}”",
                "Give this person another name; or, if it is them, change the line.",
            )
        return row.name
    for other in by_full_name.get(row.full_name, ()):
        if not (_addresses(row) and _addresses(other) and _addresses(row).isdisjoint(_addresses(other))):
            return wrong(
                f"“{row.full_name}” is in line {other.line} already",
                "If these are two people, add a column “name” and give each an account name.",
            )
    base = names.propose(row.full_name)
    for number in range(1, 100):
        name = base if number == 1 else f"{base[:28]}{number}"
        try:
            names.account(name, taken)
        except Wrong:
            return wrong(
                f"no account name can be made of “{row.full_name}”", "Add a column “name” and write one for them."
            )
        known = there.people.get(name)
        if known and known.full_name == row.full_name:
            if name in seen:
                continue
            if all(not mine or not theirs or names.key(mine) == names.key(theirs)
                   for mine, theirs in ((row.mail, known.mail), (row.recovery, known.recovery))):  # fmt: skip
                return name
            if sum(other.full_name == row.full_name for other in table.rows) == 1:
                return wrong(
                    f"there is a “{row.full_name}” already, {name}, with another address",
                    "If this is somebody else, add a column “name” and give them another account name; if it is "
                    "them, correct the line.",
                )
            continue
        if not known and name not in seen and name not in explicit:
            return name
    return wrong(f"too many people are called {base}", "Add a column “name”.")


def _addresses(row: Row) -> set[str]:
    return {names.key(address) for address in (row.mail, row.recovery) if address}


def _person(row: Row, name: str, language: str) -> Person:
    return Person(
        name=name, full_name=row.full_name, given=row.given, family=row.family, mail=row.mail, aliases=row.aliases,
        recovery=row.recovery, language=row.language or language, mail_quota=row.mail_quota, file_quota=row.quota,
    )


def _differences(row: Row, known: Person) -> list[str]:
    pairs = {
        "mail": (row.mail, known.mail), "recovery": (row.recovery, known.recovery),
        "language": (row.language, known.language), "aliases": (tuple(sorted(row.aliases)), known.aliases),
        "quota": (row.quota, known.file_quota), "mail quota": (row.mail_quota, known.mail_quota),
    }  # fmt: skip
    other = [what for what, (mine, theirs) in pairs.items() if mine and mine != theirs]
    if not other:
        return []
    return [
        f"{known.name} is there already, with other values ({', '.join(other)}); left as it is. "
        f"`houblon user edit {known.name}` changes it."
    ]
