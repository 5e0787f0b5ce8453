"""A spreadsheet of people: how it is read, and what follows from it."""

from __future__ import annotations

import csv
import io
import unicodedata
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from houblon.errors import BadInput
from houblon.people import importing, table
from houblon.people.importing import Plan
from houblon.people.model import People, Person
from houblon.people.table import Row, Table, decode, read, undecodable

FULL = "name,full name,recovery,groups\n"


def rows(text: str) -> list[Row]:
    found = read(text)
    assert found.mistakes == []
    return found.rows


def wrong(text: str) -> list[tuple[int | None, str]]:
    """Line and column of each mistake; no row counts then."""
    return [(one.line, one.column) for one in read(text).mistakes]


# --- encodings -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings_that_are_told_for_sure(encoding: str) -> None:
    assert decode("nom complet\nÉloïse\n".encode(encoding)) == "nom complet\nÉloïse\n"
    assert decode(b"\xfe\xff" + "Éloïse".encode("utf-16-be")) == "Éloïse"


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1", "iso-8859-15"])
def test_no_other_encoding_is_guessed(encoding: str) -> None:
    data = "full name\nAda\nÉloïse\n".encode(encoding)
    with pytest.raises(BadInput, match=r"people\.csv:3: this text is not UTF-8\n.*--encoding cp1252") as caught:
        decode(data, file="people.csv")
    assert caught.value.line == 3
    assert decode(data, encoding) == "full name\nAda\nÉloïse\n"
    assert undecodable(data, "cp1252") == "Éloïse"


def test_utf_16_without_its_mark_and_utf_32() -> None:
    with pytest.raises(BadInput, match="zero bytes"):
        decode("full name\nAda\n".encode("utf-16-le"))
    assert decode("full name\nAda\n".encode("utf-16-le"), "utf-16-le") == "full name\nAda\n"
    with pytest.raises(BadInput, match="UTF-32"):
        decode("Ada".encode("utf-32"))
    with pytest.raises(BadInput, match="not known here"):
        decode(b"", "ebcdic")
    with pytest.raises(BadInput, match="larger than"):
        decode(b"x" * (table.MAX_BYTES + 1))


# --- separators, headers, cells --------------------------------------------------------------------------


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_separators_and_line_ends(separator: str, end: str) -> None:
    lines = [separator.join(["name", "full name"]), separator.join(["ada", '"Lovelace, Ada; ""x"""']), ""]
    assert rows(end.join(lines)) == [Row(2, 'Lovelace, Ada; "x"', "ada")]


def test_a_declared_separator() -> None:
    assert rows("sep=;\nname;full name\nada;Ada L\n") == [Row(3, "Ada L", "ada")]


@pytest.mark.parametrize("header", [
    "identifiant;prénom;nom;courriel;courriel de secours;groupes;langue;quota",
    "IDENTIFIANT;Prenom;NOM;Courriel;Courriel_de_secours;Groupe;Langue;Quota",
    "name;first name;last name;e-mail;recovery;groups;language;quota",
])  # fmt: skip
def test_headers_in_two_languages(header: str) -> None:
    assert rows(f"{header}\nada;Ada;Lovelace;ada@x.fr;a@y.fr;bureau, ca;anglais;1 Go\n") == [
        Row(2, "Ada Lovelace", "ada", "Ada", "Lovelace", "ada@x.fr", "a@y.fr", (), ("bureau", "ca"), "en", 1024)
    ]


@pytest.mark.parametrize(("text", "what"), [
    ("", "must name the columns"), ("\n\n", "must name the columns"),
    ("name,mail\nada,a@x.fr\n", "no column tells the names"),
    ("full name,grupes\nA,b\n", "no column “grupes”"), ("full name,nom complet\nA,A\n", "there twice"),
    ("full name\n", "nobody in this file"), ("full name\n\n ,,\n", "nobody in this file"),
    ("full name,phone\nA,1\n", "no column “phone”"),
])  # fmt: skip
def test_headers_that_are_refused(text: str, what: str) -> None:
    found = read(text)
    assert found.rows == []
    assert [what in one.what for one in found.mistakes] == [True]


def test_a_typo_in_a_header_is_understood() -> None:
    assert "Did you mean “groupes”?" in read("full name,grupes\nA,b\n").mistakes[0].cure


def test_all_mistakes_are_told_with_line_and_column() -> None:
    text = (
        "name,full name,mail,recovery,groups,language,quota\n"
        "Ada,,a@x,y,Büro,klingon,lots\n"
        "\n"
        "ok,Fine,,,,,\n"
        'bob,"two\nlines",,,,,\n'
        "root,Root,,,,,\n"
        "eve,Eve,,,,,,more\n"
        f"zoe,{'x' * 5000},,,,,\n"
        "kim,K\x07im,,,,,\n"
    )
    assert wrong(text) == [
        (2, "name"), (2, "mail"), (2, "recovery"), (2, "groups"), (2, "language"), (2, "quota"),
        (5, "full name"), (7, "name"), (8, ""), (9, "full name"), (10, "full name"),
    ]  # fmt: skip
    assert all("\n" not in one.shown(Path("p.csv")) for one in read(text).mistakes)


@pytest.mark.parametrize("text", [
    'full name\n"open\n', 'full name\na"b"c"\n"x"y\n', "full name\n" + '"' + "x" * 200_000 + '"\n',
])  # fmt: skip
def test_broken_quotes_end_in_one_mistake(text: str) -> None:
    found = read(text)
    assert len(found.mistakes) == 1
    assert found.mistakes[0].line in (2, 3)


@given(st.text(max_size=300))
def test_any_text_ends_in_rows_or_mistakes(text: str) -> None:
    found = read("full name,name\n" + text)
    assert found.rows or found.mistakes


@given(st.lists(st.lists(st.text(max_size=30), min_size=3, max_size=3), min_size=1, max_size=8))
def test_no_cell_spills_into_another(cells: list[list[str]]) -> None:
    stream = io.StringIO()
    csv.writer(stream).writerows([["full name", "recovery", "groups"], *cells])
    found = read(stream.getvalue())
    given_names = {" ".join(cell[0].split()) for cell in cells}
    for row in found.rows:
        assert any(row.full_name in (name, unicodedata.normalize("NFC", name)) for name in given_names)
        assert row.name == row.mail == row.language == ""


# --- what follows from it --------------------------------------------------------------------------------


def planned(text: str, people: list[Person] | None = None, groups: dict[str, frozenset[str]] | None = None) -> Plan:
    there = People({person.name: person for person in people or []}, groups or {})
    return importing.plan(read(text), there, "fr", frozenset({"etherpad"}))


def carried_out(there: People, plan: Plan) -> People:
    """What the directory holds after a plan, or a part of one."""
    groups = {name: set(members) for name, members in there.groups.items()}
    for group, names in plan.joins.items():
        groups.setdefault(group, set()).update(names)
    people = {**there.people, **{person.name: person for person in plan.new}}
    return People(
        {n: replace(p, groups=frozenset(g for g, m in groups.items() if n in m)) for n, p in people.items()},
        {name: frozenset(members) for name, members in groups.items()},
    )


LIST = (
    "full name,recovery,groups\nÉloïse d'Aubigné,e@x.fr,bureau\nMarie Martin,m@x.fr,ca bureau\n"
    "Marie Martin,other@x.fr,\nBob,,ca\n"
)


def test_names_are_proposed_and_namesakes_numbered() -> None:
    plan = planned(LIST)
    assert plan.mistakes == []
    assert [person.name for person in plan.new] == ["eloise.daubigne", "marie.martin", "marie.martin2", "bob"]
    assert plan.joins == {"bureau": ["eloise.daubigne", "marie.martin"], "ca": ["marie.martin", "bob"]}
    assert plan.new_groups == ["bureau", "ca"]
    assert {person.language for person in plan.new} == {"fr"}


def test_the_same_file_again_changes_nothing() -> None:
    there = carried_out(People(), planned(LIST))
    again = importing.plan(read(LIST), there, "fr")
    assert again.empty
    assert again.mistakes == []
    assert again.same == ["eloise.daubigne", "marie.martin", "marie.martin2", "bob"]
    header, *lines = LIST.splitlines()
    turned = "\n".join([header, *reversed(lines)])
    assert importing.plan(read(turned), there, "fr").empty, "the order of lines says nothing"


def test_who_was_put_out_of_a_group_is_not_let_in_again() -> None:
    there = carried_out(People(), planned(LIST))
    without = People(there.people, {**there.groups, "bureau": frozenset({"marie.martin"})})
    again = importing.plan(read(LIST), without, "fr")
    assert again.empty
    (note,) = again.notes
    assert note.startswith("eloise.daubigne is there already, and not in bureau")


@pytest.mark.parametrize("cut", range(5))
def test_a_half_done_import_is_finished_by_the_same_file(cut: int) -> None:
    whole = carried_out(People(), planned(LIST))
    first = planned(LIST)
    half = carried_out(People(), Plan(new=first.new[:cut]))
    rest = importing.plan(read(LIST), half, "fr", unfinished=[person.name for person in first.new])
    assert rest.mistakes == []
    assert [person.name for person in rest.new] == [person.name for person in first.new[cut:]]
    assert carried_out(half, rest) == whole


def test_duplicates_in_the_file() -> None:
    plan = planned(
        "name,full name,mail,aliases\nada,Ada,a@x.fr,\nada,Other,,\nbob,Bob,A@x.fr,\nzoe,Zoe,z@x.fr,b@x.fr\n"
        "kim,Kim,,B@x.fr\n"
    )
    assert [(one.line, one.column) for one in plan.mistakes] == [(3, "name"), (4, "mail"), (6, "aliases")]
    plan = planned("full name\nAda Lovelace\nAda Lovelace\n")
    assert [(one.line, one.column) for one in plan.mistakes] == [(3, "full name")]


def test_duplicates_against_the_directory() -> None:
    people = [Person("ada", "Ada", mail="a@x.fr", aliases=("al@x.fr",)), Person("bob.b", "Bob B", recovery="b@x.fr")]
    plan = planned("name,full name,mail,aliases\nada,Somebody Else,,\nzoe,Zoe,AL@x.fr,\nkim,Kim,,a@x.fr\n", people)
    assert [(one.line, one.column) for one in plan.mistakes] == [(2, "name"), (3, "mail"), (4, "aliases")]
    plan = planned("full name,recovery\nBob B,another@x.fr\n", people)
    assert [(one.line, one.column) for one in plan.mistakes] == [(2, "full name")]
    assert planned("full name,recovery\nBob B,B@x.fr\n", people).same == ["bob.b"]
    assert [p.name for p in planned("full name\nBöb B\n", people).new] == ["bob.b2"], "another person, the same letters"


def test_people_who_are_there_are_left_as_they_are() -> None:
    ada = Person("ada", "Ada", recovery="old@x.fr")
    plan = planned("name,full name,recovery,language\nada,Ada,new@x.fr,en\n", [ada])
    assert plan.mistakes == []
    assert plan.empty
    assert "recovery, language" in plan.notes[0]


@pytest.mark.parametrize("name", ["李小龙", "Root", "Postmaster", "Etherpad", "🐉"])
def test_no_name_can_be_made(name: str) -> None:
    plan = planned(f"full name\n{name}\n")
    assert plan.new == []
    assert "no account name can be made" in plan.mistakes[0].what


def test_a_proposal_does_not_take_a_name_that_the_file_gives_to_another() -> None:
    plan = planned("name,full name\n,Ada L\nada.l,Somebody\n")
    assert [person.name for person in plan.new] == ["ada.l2", "ada.l"]


def test_five_thousand_lines() -> None:
    lines = "".join(f"p{i},Person {i},p{i}@x.fr,everyone\n" for i in range(5000))
    seen = read(FULL + lines)
    plan = importing.plan(seen, People(), "fr")
    assert (len(plan.new), plan.mistakes, len(plan.joins["everyone"])) == (5000, [], 5000)
    assert importing.plan(seen, carried_out(People(), plan), "fr").empty
    assert isinstance(seen, Table)
