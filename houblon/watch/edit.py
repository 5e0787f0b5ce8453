"""Writes names into the section ``watch:`` of a site file, line by line, so that comments and layout stay.

The edited text is read again and must say exactly what was meant; otherwise nothing is written.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import Any

from houblon import settings, yamlfile
from houblon.errors import BadInput
from houblon.vault.files import replace_synced

SECTION = "watch"
TRAIL: yamlfile.Trail = (SECTION, "names")


def judged(text: str) -> str:
    """A name as the site file takes it.

    :raises BadInput: an address of a page, an IP address, or anything else that is no domain.
    """
    try:
        return settings.domain(text)
    except settings.Wrong as error:
        raise BadInput(f"{text[:80]!r}: {error.what}", cure=error.cure) from None


def names(file: Path) -> list[str]:
    """The watched names, as judged; the site file itself is judged elsewhere."""
    return [settings.domain(str(name)) for name in _names(yamlfile.read(file), file)]


def add(file: Path, name: str) -> str | None:
    """The file's text with one more name; None when the name is there already.

    :raises BadInput: the file is no site file, or laid out in a way that cannot be edited safely.
    """
    document, text = yamlfile.read(file), file.read_text("utf-8")
    before = _names(document, file)
    if name in [settings.domain(str(one)) for one in before]:
        return None
    lines = text.splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    last = document.lines.get((*TRAIL, len(before) - 1)) if before else None
    if SECTION not in document.data:
        at = next((i for i, line in enumerate(lines) if re.match(r"services\s*:", line)), len(lines))
        while 0 < at < len(lines) and lines[at - 1].startswith("#"):
            at -= 1  # comments above `services:` belong to it
        new = [*lines[:at], f"{SECTION}:\n", "  names:\n", f"    - {name}\n", "\n" * (at < len(lines)), *lines[at:]]
    elif last and (found := re.match(r"(\s*)- ", lines[last - 1])):
        new = [*lines[:last], f"{found.group(1)}- {name}\n", *lines[last:]]
    else:
        new = _in_place(lines, document, [*map(str, before), name])
    return _checked(new, document, file, [*before, name])


def drop(file: Path, name: str) -> str | None:
    """The file's text without a name; None when it is not there.

    :raises BadInput: as in `add`.
    """
    document, text = yamlfile.read(file), file.read_text("utf-8")
    before = _names(document, file)
    index = next((i for i, one in enumerate(before) if settings.domain(str(one)) == name), None)
    if index is None:
        return None
    left = [one for i, one in enumerate(before) if i != index]
    lines = text.splitlines(keepends=True)
    line = document.lines.get((*TRAIL, index)) or 0
    if line and re.match(r"\s*- ", lines[line - 1]):
        new = [*lines[: line - 1], *lines[line:]]
        if not left:
            new = _in_place(new, document, [])
    else:
        new = _in_place(lines, document, [str(one) for one in left])
    return _checked(new, document, file, left)


def store(file: Path, text: str) -> None:
    """Replace the file in one step; its mode stays, and a link stays a link."""
    real = Path(os.path.realpath(file))
    replace_synced(real, text.encode(), stat.S_IMODE(real.stat().st_mode))


def _names(document: yamlfile.Document, file: Path) -> list[Any]:
    section = document.data.get(SECTION)
    found = section.get("names") if isinstance(section, dict) else None
    if (section is not None and not isinstance(section, dict)) or not isinstance(found, list | None):
        raise _unsafe(file, document)
    try:
        for one in found or ():
            settings.domain(str(one))
    except settings.Wrong as error:
        raise BadInput(error.what, cure=error.cure, file=file, line=document.line(TRAIL), key="watch.names") from None
    return list(found or ())


def _in_place(lines: list[str], document: yamlfile.Document, wanted: list[str]) -> list[str]:
    """The key `names:` (or the bare section) on one line, rewritten; a comment at its end stays."""
    section = document.lines[(SECTION,)] - 1
    if TRAIL not in document.lines:
        return [*lines[: section + 1], "  names:\n", *(f"    - {name}\n" for name in wanted), *lines[section + 1 :]]
    at = document.lines[TRAIL] - 1
    found = re.match(r"(\s+names\s*:)[^#\n]*(#.*)?$", lines[at])
    if not found:
        return lines
    comment = f"  {found.group(2)}" if found.group(2) else ""
    indent = " " * (len(found.group(1)) - len(found.group(1).lstrip()) + 2)
    if not wanted:
        return [*lines[:at], f"{found.group(1)} []{comment}\n", *lines[at + 1 :]]
    items = [f"{indent}- {name}\n" for name in wanted]
    return [*lines[:at], f"{found.group(1)}{comment}\n", *items, *lines[at + 1 :]]


def _checked(lines: list[str], before: yamlfile.Document, file: Path, wanted: list[Any]) -> str:
    """:raises BadInput: the edited text does not say what was meant."""
    text = "".join(lines)
    section = {**(before.data.get(SECTION) or {}), "names": wanted}
    try:
        after = yamlfile.parse(text, file).data
    except BadInput:
        raise _unsafe(file, before) from None
    if after != {**before.data, SECTION: section}:
        raise _unsafe(file, before)
    return text


def _unsafe(file: Path, document: yamlfile.Document) -> BadInput:
    return BadInput(
        "this section is laid out in a way that cannot be edited safely; nothing was changed",
        cure="Write it by hand, one `- name` a line below `names:`.", file=file, line=document.line(TRAIL),
        key="watch.names",
    )  # fmt: skip
