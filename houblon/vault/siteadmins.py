"""Editing the ``admins`` list of ``site.yaml`` line by line, so that comments and layout stay as they are."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from houblon.errors import BadInput
from houblon.vault import files


def _load(text: str, path: Path) -> Any:
    try:
        return YAML(typ="rt").load(StringIO(text))
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        raise BadInput(f"not YAML: {error.problem}", file=path, line=line, cure="`houblon check`.") from None
    except YAMLError:
        raise BadInput("not YAML", file=path, cure="`houblon check`.") from None


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > files.MAX_SIZE:
            raise BadInput("larger than 1 MiB", file=path, cure="`houblon check`.")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise BadInput("the site file cannot be read", file=path, cure="`houblon check`.") from None


def _admins(text: str, path: Path) -> CommentedSeq:
    data = _load(text, path)
    admins = data.get("admins") if isinstance(data, dict) else None
    if (
        not isinstance(admins, CommentedSeq)
        or not admins
        or admins.fa.flow_style()
        or not all(isinstance(admin, dict) and "name" in admin for admin in admins)
    ):
        raise BadInput(
            "admins is not a list with one `- name: ...` per admin",
            file=path,
            key="admins",
            cure="Write it so, as in the example sites.",
        )
    return admins


def names(path: Path) -> list[str]:
    """Names of the admins, as written in the site file."""
    return [str(admin["name"]) for admin in _admins(_read(path), path)]


def _span(lines: list[str], start: int) -> tuple[int, int, int]:
    """First line, line after the last, and column of the dash, of the list item around line ``start``."""
    while not lines[start].lstrip().startswith("-"):
        start -= 1
    column = len(lines[start]) - len(lines[start].lstrip())
    end = start + 1
    for number in range(start + 1, len(lines)):
        body = lines[number].lstrip()
        if not body.strip():
            continue
        if len(lines[number]) - len(body) <= column:
            break
        end = number + 1
    return start, end, column


def _store(path: Path, text: str, wanted: list[str]) -> None:
    if [str(admin["name"]) for admin in _admins(text, path)] != wanted:
        raise BadInput(
            "the admins are laid out in a way that cannot be edited safely",
            file=path,
            key="admins",
            cure="Edit them by hand, then `houblon check`.",
        )
    real = Path(os.path.realpath(path))
    files.replace_synced(real, text.encode(), stat.S_IMODE(real.stat().st_mode))


def add(path: Path, name: str, email: str, keys: Sequence[str]) -> bool:
    """Adds an admin after the last one; False if there is one of that name."""
    text = _read(path)
    admins = _admins(text, path)
    before = [str(admin["name"]) for admin in admins]
    if name in before:
        return False
    lines = text.splitlines(keepends=True)
    _, end, column = _span(lines, admins[-1].lc.line)
    if not lines[end - 1].endswith("\n"):
        lines[end - 1] += "\n"
    indent = " " * column
    quoted = [json.dumps(key, ensure_ascii=False) for key in keys]
    item = [f"{indent}- name: {name}\n", f"{indent}  email: {json.dumps(email)}\n", f"{indent}  keys:\n"]
    item += [f"{indent}    - {key}\n" for key in quoted]
    _store(path, "".join([*lines[:end], *item, *lines[end:]]), [*before, name])
    return True


def remove(path: Path, name: str) -> bool:
    """Takes an admin out; False if there is none of that name. Comments at the list's own depth stay."""
    text = _read(path)
    admins = _admins(text, path)
    before = [str(admin["name"]) for admin in admins]
    if name not in before:
        return False
    lines = text.splitlines(keepends=True)
    start, end, _ = _span(lines, admins[before.index(name)].lc.line)
    _store(path, "".join([*lines[:start], *lines[end:]]), [other for other in before if other != name])
    return True
