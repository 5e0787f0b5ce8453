"""Reads a YAML file written by a person: a small, safe part of YAML 1.2, with the line of every key.

Built from the parser's events, not from its constructors, so that no tag is ever acted on, nothing is
expanded, and every mistake is reported with its line. Scalars follow the core schema of YAML 1.2.2
(https://yaml.org/spec/1.2.2/#103-core-schema): ``no`` is the text "no" (or Norway), not false.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)
from ruamel.yaml.reader import ReaderError

from houblon.errors import BadInput

Trail = tuple[str | int, ...]
"""Where a value stands: keys and list positions from the top."""

MAX_BYTES = 256 * 1024
MAX_DEPTH = 12

_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})")
_FLOAT = re.compile(r"[-+]?[0-9]{1,18}\.[0-9]{1,18}")
_CONSTANTS: Mapping[str, Any] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029]")
PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY|AGE-SECRET-KEY-1|PuTTY-User-Key-File", re.IGNORECASE
)


@dataclass
class Document:
    """A YAML file's data and the lines it came from."""

    path: Path
    data: dict[str, Any] = field(default_factory=dict)
    lines: dict[Trail, int] = field(default_factory=dict)

    def line(self, trail: Trail) -> int | None:
        """1-based line of a value, or of the nearest thing around it that is in the file."""
        while trail and trail not in self.lines:
            trail = trail[:-1]
        return self.lines.get(trail)

    def error(self, what: str, trail: Trail, cure: str) -> BadInput:
        """An error that points at a value of this file."""
        return BadInput(what, cure=cure, file=self.path, line=self.line(trail), key=dotted(trail) or None)


def dotted(trail: Trail) -> str:
    """``admins[0].keys`` for ``("admins", 0, "keys")``; keys are shortened, they may be nonsense."""
    text = ""
    for step in trail:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += ("." if text else "") + (step if len(step) <= 60 else step[:57] + "...")
    return text


def read(path: Path) -> Document:
    """Read a YAML file whose top level is a mapping.

    :raises BadInput: naming file, line, key and cure, for everything that is not such a file.
    """
    return parse(_text(path), path)


def parse(text: str, path: Path) -> Document:
    """Read YAML text; ``path`` is what errors name."""
    document = Document(path)
    try:
        _build(text, document)
    except MarkedYAMLError as error:
        _refuse_private_key(text, path)
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else None
        raise BadInput(_syntax(error), cure=_syntax_cure(error), file=path, line=line) from None
    except ReaderError as error:
        line = text[: error.position].count("\n") + 1
        raise BadInput(
            "this text holds control characters", cure="Type this line again, by hand.", file=path, line=line
        ) from None
    except (YAMLError, ValueError, OverflowError):
        # ruamel.yaml lets a few plain ValueErrors out (numbers in %YAML and escapes).
        _refuse_private_key(text, path)
        raise BadInput("this is not YAML", cure="Compare it with the example sites.", file=path) from None
    _refuse_private_key(text, path)
    return document


def _text(path: Path) -> str:
    try:
        info = path.stat()
        if not stat.S_ISREG(info.st_mode):
            raise BadInput("this is not a regular file", cure="Put a plain text file there.", file=path)
        if info.st_size > MAX_BYTES:
            raise _too_big(info.st_size, path)
        with path.open("rb") as handle:
            data = handle.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise BadInput("there is no such file", cure="`houblon init` makes a new site.", file=path) from None
    except OSError as error:
        raise BadInput(
            f"this cannot be read: {error.strerror}", cure="Check who may read it (ls -l).", file=path
        ) from None
    if len(data) > MAX_BYTES:
        raise _too_big(len(data), path)
    if b"\0" in data:
        line = data[: data.index(b"\0")].count(b"\n") + 1
        raise BadInput("this is a binary file", cure="Write it as UTF-8 text.", file=path, line=line)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise BadInput("this is not UTF-8 text", cure="Save it as UTF-8.", file=path, line=line) from None
    if not text.strip():
        raise BadInput(
            "this file is empty", cure="Start from an example site, or run `houblon init`.", file=path, line=1
        )
    return text


def _too_big(size: int, path: Path) -> BadInput:
    return BadInput(
        f"this file is too big ({size // 1024} KiB; at most {MAX_BYTES // 1024} KiB are read)",
        cure="A site file has a few hundred lines at most; is it the right file?",
        file=path,
    )


def _build(text: str, document: Document) -> None:
    events = YAML(typ="safe", pure=True).parse(text)
    documents = 0
    for event in events:
        if isinstance(event, DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise _at(document, event, (), "a second YAML document starts here", "Remove the line `---`.")
            first = next(events)
            if not isinstance(first, MappingStartEvent):
                raise _at(document, first, (), "this is not a list of keys", "Start with `version: 1`.")
            document.data = _mapping(first, events, document, ())
    if not documents:
        raise BadInput(
            "this file says nothing", cure="Start from an example site, or run `houblon init`.",
            file=document.path, line=1,
        )  # fmt: skip


def _value(event: Any, events: Iterator[Any], document: Document, trail: Trail) -> Any:
    """The value that an event begins. Recursion is bounded by MAX_DEPTH."""
    if isinstance(event, AliasEvent) or event.anchor:
        raise _at(
            document, event, trail, "anchors and aliases (& and *) are not accepted",
            "Write the value out; start text with a quote if it begins with & or *.",
        )  # fmt: skip
    if event.tag is not None and str(event.tag) != "!":
        raise _at(document, event, trail, "tags (!) are not accepted", "Put the text between quotes.")
    if len(trail) > MAX_DEPTH:
        raise _at(document, event, trail[:2], "this is nested too deeply", "Compare with the example sites.")
    if isinstance(event, MappingStartEvent):
        return _mapping(event, events, document, trail)
    if isinstance(event, SequenceStartEvent):
        values: list[Any] = []
        while not isinstance(item := next(events), SequenceEndEvent):
            here = (*trail, len(values))
            document.lines[here] = item.start_mark.line + 1
            values.append(_value(item, events, document, here))
        return values
    return _scalar(event, document, trail)


def _mapping(start: Any, events: Iterator[Any], document: Document, trail: Trail) -> dict[str, Any]:
    if start.anchor or start.tag is not None:
        raise _at(document, start, trail, "anchors and tags are not accepted", "Leave out the & or ! part.")
    values: dict[str, Any] = {}
    while not isinstance(event := next(events), MappingEndEvent):
        if not isinstance(event, ScalarEvent) or event.anchor or event.tag is not None:
            raise _at(document, event, trail, "a key must be a plain word", "Write `key: value`.")
        key = event.value
        line = event.start_mark.line + 1
        here = (*trail, key)
        if not key or _CONTROL.search(key) or "\n" in key or PRIVATE_KEY.search(key):
            raise _at(document, event, trail, "a key must be a plain word", "Write `key: value`.")
        if key in values:
            raise BadInput(
                f"the key `{dotted((key,))}` stands here a second time; the first is on line "
                f"{document.lines[here]}",
                cure="Keep one of the two.", file=document.path, line=line, key=dotted(here),
            )  # fmt: skip
        document.lines[here] = line
        values[key] = _value(next(events), events, document, here)
    return values


def _scalar(event: Any, document: Document, trail: Trail) -> Any:
    text = str(event.value)
    if PRIVATE_KEY.search(text):
        raise _private_key(document.path, event.start_mark.line + 1, dotted(trail))
    if _CONTROL.search(text):
        raise _at(document, event, trail, "this text holds control characters", "Type it again, by hand.")
    if not event.implicit[0] or event.style:
        return text
    return _plain(text)


def is_special(text: str) -> bool:
    """Whether this text, written without quotes, would be read as something else than text."""
    return not isinstance(_plain(text), str)


def _plain(text: str) -> Any:
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text


def _at(document: Document, event: Any, trail: Trail, what: str, cure: str) -> BadInput:
    line = event.start_mark.line + 1
    return BadInput(what, cure=cure, file=document.path, line=line, key=dotted(trail) or None)


def _refuse_private_key(text: str, path: Path) -> None:
    """Also where the parser does not look, such as comments: the site folder is meant to be shared."""
    if found := PRIVATE_KEY.search(text):
        raise _private_key(path, text[: found.start()].count("\n") + 1, "")


def _private_key(path: Path, line: int, key: str) -> BadInput:
    return BadInput(
        "this is a private key; it must never stand in a site file",
        cure="Put the public key there (the .pub file). If this file was ever shared, make a new key pair.",
        file=path, line=line, key=key or None,
    )  # fmt: skip


def _syntax(error: MarkedYAMLError) -> str:
    problem = str(error.problem or "")
    if "\\t" in problem or "tab" in problem:
        return "a tab is used where YAML wants spaces"
    known = {
        "could not find expected ':'": "a colon is missing after a key",
        "mapping values are not allowed here": "a colon stands where YAML expects no key",
        "expected <block end>": "this line is not indented like the lines around it",
        "expected ',' or": "a list or mapping in brackets is not closed",
        "found unexpected end of stream": "a quote is opened and never closed",
        "special characters are not allowed": "this text holds control characters",
    }
    for part, sentence in known.items():
        if part in problem:
            return sentence
    return "this line is not valid YAML"


def _syntax_cure(error: MarkedYAMLError) -> str:
    if "\\t" in str(error.problem) or "tab" in str(error.problem):
        return "Replace tabs with spaces, two for each level."
    return "Check the indentation and the quotes of this line and of the one before it."
