"""Reading a CSV file of people: encoding, separator, header, cells (RFC 4180, and what spreadsheets make). Pure.

Nothing is guessed silently: what cannot be told for sure is a mistake with a cure. All mistakes are reported.
"""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from houblon.errors import BadInput
from houblon.people import names
from houblon.settings import Wrong
from houblon.translate import nearest

MAX_BYTES = 16 * 1024 * 1024
MAX_CELL = 2000
SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab"}
ENCODINGS = ("utf-8", "utf-16", "utf-16-le", "utf-16-be", "cp1252", "latin-1", "iso-8859-15")

COLUMNS: dict[str, tuple[str, ...]] = {
    "name": ("name", "identifiant", "account", "compte", "login", "uid", "nom de compte", "account name", "user name",
             "username"),
    "full_name": ("full name", "nom complet", "cn", "display name", "prénom et nom", "nom et prénom", "person",
                  "personne"),
    "given": ("given name", "first name", "prénom", "firstname", "givenname"),
    "family": ("family name", "last name", "nom", "nom de famille", "surname", "lastname", "sn"),
    "mail": ("mail", "courriel", "e-mail", "email", "adresse", "address", "mél"),
    "recovery": ("recovery", "courriel de secours", "recovery mail", "recovery address", "adresse de secours",
                 "secours"),
    "aliases": ("aliases", "alias", "autres adresses"),
    "groups": ("groups", "groupes", "group", "groupe"),
    "language": ("language", "langue", "lang"),
    "quota": ("quota", "file quota", "quota fichiers"),
    "mail_quota": ("mail quota", "quota courriel"),
}  # fmt: skip
"""The columns there may be, each with the headers it goes by; case, accents, `_` and `-` do not count."""
LISTS = re.compile(r"[\s,;|]+")


@dataclass(frozen=True)
class Mistake:
    """A mistake in the file: 1-based line, and the column by its header, as far as they can be told."""

    what: str
    cure: str = ""
    line: int | None = None
    column: str = ""

    def shown(self, file: Path) -> str:
        place = str(file) + (f":{self.line}" if self.line else "") + (f": {self.column}" if self.column else "")
        return f"{place}: {self.what}" + (f" {self.cure}" if self.cure else "")


@dataclass(frozen=True)
class Row:
    """A line of the file, judged; a field is empty (or None) when the file says nothing about it."""

    line: int
    full_name: str
    name: str = ""
    given: str = ""
    family: str = ""
    mail: str = ""
    recovery: str = ""
    aliases: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    language: str = ""
    quota: int | None = None
    mail_quota: int | None = None


@dataclass
class Table:
    """A whole file: its good rows, its mistakes, and the file's own word for each column."""

    rows: list[Row] = field(default_factory=list)
    mistakes: list[Mistake] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)


def decode(data: bytes, encoding: str = "", file: Path | str = "") -> str:
    """A file's text: UTF-8, or UTF-16 with its mark, or what the caller says.

    :raises BadInput: when it is neither, with the line and the cure.
    """
    if len(data) > MAX_BYTES:
        raise BadInput("this file is larger than 16 MiB", cure="Is it the right file?", file=file)
    if encoding:
        found = encoding.lower()
        if found not in ENCODINGS:
            raise BadInput(f"the encoding {encoding} is not known here", cure=f"One of {', '.join(ENCODINGS)}.")
    elif data.startswith((b"\xff\xfe\0\0", b"\0\0\xfe\xff")):
        raise BadInput("this file is UTF-32", cure="Save it as UTF-8.", file=file)
    else:
        found = "utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8"
    try:
        text = data.decode("utf-8-sig" if found == "utf-8" else found)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1 if found == "utf-8" else None
        raise BadInput(
            f"this text is not {found.upper()}", file=file, line=line,
            cure="Save the file as “CSV UTF-8” in the spreadsheet. If you cannot, add --encoding cp1252 (Windows) or "
            "--encoding latin-1, with --dry-run, and look at the accents.",
        ) from None
    if "\0" in text:
        raise BadInput(
            "this text has zero bytes in it, as UTF-16 without its mark does", file=file,
            cure="Save it as UTF-8, or add --encoding utf-16-le.",
        )
    return text.removeprefix("\ufeff")


def undecodable(data: bytes, encoding: str) -> str:
    """The first line that is not UTF-8, read in another encoding, to be judged by eye; empty when there is none."""
    try:
        data.decode()
    except UnicodeDecodeError as error:
        start = data.rfind(b"\n", 0, error.start) + 1
        end = data.find(b"\n", error.start)
        return data[start : end if end >= 0 else None].decode(encoding, errors="replace").strip()[:200]
    return ""


def read(text: str, taken: Collection[str] = ()) -> Table:
    """Judge a file's text: every line, every cell.

    :param taken: account names that are not to be had, besides `houblon.people.names.RESERVED`.
    """
    table = Table()
    # Old and mixed line ends; inside quotes a line end is refused later anyway.
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    first = 1
    declared = ""
    if found := re.match(r"sep=([,;\t])\n", lines):  # Excel's own
        declared, lines, first = found[1], lines[found.end() :], 2
    header, _, _ = lines.partition("\n")
    if not header.strip():
        table.mistakes.append(Mistake(
            "the first line must name the columns", "Such as: name,full name,recovery,groups", first,
        ))  # fmt: skip
        return table
    separator = declared or _separator(header)
    records = _records(lines, separator, first, table.mistakes)
    columns = _columns(next(records, (first, []))[1], first, table)
    if table.mistakes:
        return table
    for line, cells in records:
        if any(cell.strip() for cell in cells):
            _row(line, cells, columns, table, taken)
    if not table.rows and not table.mistakes:
        table.mistakes.append(Mistake("there is nobody in this file", "Write one person a line.", first))
    return table


def _separator(header: str) -> str:
    """That which parts the header into the most columns that are known."""
    def known(separator: str) -> int:
        return sum(_column(cell) is not None for cell in next(csv.reader([header], delimiter=separator), []))

    return max(SEPARATORS, key=lambda separator: (known(separator), header.count(separator)))


def _records(text: str, separator: str, first: int, mistakes: list[Mistake]) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    line = first
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            mistakes.append(Mistake(
                f"this line cannot be read: {error}", 'A quotation mark inside quotes is written twice: "".', line,
            ))  # fmt: skip
            return
        yield line, cells
        line = first + reader.line_num


def _columns(cells: list[str], line: int, table: Table) -> list[str | None]:
    columns: list[str | None] = []
    for cell in cells:
        column = _column(cell)
        if column is None and cell.strip():
            shown = cell.strip()[:40]
            near = nearest(_plain(cell), {word for words in COLUMNS.values() for word in words})
            table.mistakes.append(Mistake(
                f"there is no column “{shown}”",
                f"Did you mean “{near}”?" if near else
                f"Take it out; known are {', '.join(words[0] for words in COLUMNS.values())}.", line,
            ))  # fmt: skip
        elif column in table.headers:
            table.mistakes.append(Mistake(f"the column “{cell.strip()}” is there twice", "Keep one.", line))
        elif column:
            table.headers[column] = cell.strip()
        columns.append(column)
    if "full_name" not in table.headers and "family" not in table.headers and not table.mistakes:
        table.mistakes.append(Mistake(
            "no column tells the names of the people", "Add “full name”, or “given name” and “family name” "
            "(“nom complet”, or “prénom” and “nom”).", line,
        ))  # fmt: skip
    return columns


def _column(header: str) -> str | None:
    plain = _plain(header)
    return next((name for name, words in COLUMNS.items() if plain in map(_plain, words)), None)


def _plain(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", text.strip().lower())
    bare = "".join(char for char in decomposed if not unicodedata.combining(char))
    return " ".join(re.sub(r"[_-]", " ", bare).split())


def _row(line: int, cells: list[str], columns: list[str | None], table: Table, taken: Collection[str]) -> None:
    if any(cell.strip() for cell in cells[len(columns) :]):
        table.mistakes.append(Mistake(
            f"this line has {len(cells)} cells, the first line {len(columns)}",
            "Put a text that holds the separator between quotation marks.", line,
        ))  # fmt: skip
        return
    given = {column: cell for column, cell in zip(columns, cells, strict=False) if column and cell.strip()}
    before = len(table.mistakes)

    def judged(column: str, judge: Callable[[str], object]) -> object:
        cell = given.get(column, "")
        if not cell:
            return None
        try:
            if len(cell) > MAX_CELL:
                raise Wrong(f"this cell has {len(cell)} characters", "Is there a quotation mark too many?")
            if "\n" in cell:
                raise Wrong("there is a line end in this cell", "Write it on one line.")
            return judge(cell)
        except Wrong as error:
            table.mistakes.append(Mistake(f"{error.what}: “{_short(cell)}”.", error.cure, line, table.headers[column]))
            return None

    row = {
        "name": judged("name", lambda cell: names.account(cell, taken)),
        "full_name": judged("full_name", names.full_name),
        "given": judged("given", names.full_name), "family": judged("family", names.full_name),
        "mail": judged("mail", names.email), "recovery": judged("recovery", names.email),
        "aliases": judged("aliases", _each(names.email)), "groups": judged("groups", _each(names.group)),
        "language": judged("language", names.language), "quota": judged("quota", names.quota),
        "mail_quota": judged("mail_quota", names.quota),
    }  # fmt: skip
    if not row["full_name"] and len(table.mistakes) == before:
        both = " ".join(str(row[part]) for part in ("given", "family") if row[part])
        if len(both) > names.MAX_FULL_NAME:
            table.mistakes.append(Mistake("given and family name are too long together", "Shorten them.", line))
        elif both:
            row["full_name"] = both
        else:
            column = table.headers.get("full_name") or table.headers["family"]
            table.mistakes.append(Mistake("this person has no name", "Write it.", line, column))
    if len(table.mistakes) == before:
        table.rows.append(Row(line=line, **{k: v for k, v in row.items() if v is not None}))  # type: ignore[arg-type]


def _each(judge: Callable[[str], str]) -> Callable[[str], tuple[str, ...]]:
    return lambda cell: tuple(dict.fromkeys(judge(part) for part in LISTS.split(cell) if part))


def _short(cell: str) -> str:
    shown = "".join(char if char.isprintable() else "\ufffd" for char in cell.strip())
    return shown if len(shown) <= 60 else shown[:57] + "…"
