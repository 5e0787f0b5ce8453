"""Writes announcements into a site folder: new ones, and what is said about them later."""

from __future__ import annotations

import os
import re
import tempfile
import unicodedata
import zoneinfo
from collections.abc import Callable
from datetime import datetime
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.scalarstring import LiteralScalarString

from houblon import yamlfile
from houblon.announcements import FOLDER, ID, SHAPE, Announcement, Known, Said, aware, judge, moment, skipped, words
from houblon.errors import BadInput
from houblon.settings import Wrong
from houblon.site import Site

MAX_FILES_A_NAME = 50


def texts(site: Site, plain: str | None, fr: str | None, en: str | None) -> Said:
    """What was typed: a plain text is in the site's first language.

    :raises BadInput: when nothing was, a language twice, or a text is refused.
    """
    said: dict[str, str] = {}
    first = site.languages[0]
    for option, language, text in (("the text", first, plain), ("--fr", "fr", fr), ("--en", "en", en)):
        if text is None:
            continue
        if language in said:
            raise BadInput(
                f"the text and --{language} are both in this site's first language, {language}",
                cure=f"Give one of them; --{'en' if language == 'fr' else 'fr'} is for the other language.",
            )
        if language not in site.languages:
            raise BadInput(
                f"{option}: this site has no pages in that language",
                cure=f"It has: {', '.join(site.languages)} (`languages` in site.yaml).",
            )
        said[language] = _judged(option, words, text)
    if not said:
        raise BadInput("there is nothing to say", cure='Give a text: houblon announce incident "What happens."')
    return Said(**said)


def service_of(site: Site, name: str | None) -> str | None:
    """A service of this site.

    :raises BadInput: when it has none of that name.
    """
    if name is None or name in site.services:
        return name
    raise BadInput(
        f"--service: this site has no service `{name[:60]}`",
        cure=f"It has: {', '.join(site.services)}." if site.services else "Leave --service out.",
    )


def time_of(option: str, text: str | None, zone: zoneinfo.ZoneInfo) -> str | None:
    """A time that was typed.

    :raises BadInput: when it is none, or no clock shows it.
    """
    if text is None:
        return None
    local = _judged(option, moment, text)
    if skipped(local, zone):
        raise BadInput(f"{option}: clocks in {zone.key} skip {local}", cure="Give an hour later.")
    return local


def clock(zone: zoneinfo.ZoneInfo) -> str:
    """Now, where the site is."""
    return datetime.now(zone).strftime(SHAPE)


def create(
    site: Site, zone: zoneinfo.ZoneInfo, *, kind: str, said: Said, service: str | None, begins: str | None,
    ends: str | None, now: str,
) -> Known:  # fmt: skip
    """Write a new announcement.

    :param begins: None: now, for an incident.
    :raises BadInput: when its times make no sense.
    """
    if begins is None and kind == "maintenance":
        raise BadInput("--from is missing", cure='Say when it begins: --from "2026-12-01 22:00".')
    begins = begins or now
    if ends is not None and aware(ends, zone) <= aware(begins, zone):
        raise BadInput(f"--to: this ends ({ends}) before it begins ({begins})", cure="Give a later time.")
    last = ends or begins
    if kind == "maintenance" and last[:10] < now[:10]:
        raise BadInput(f"this maintenance is over since {last}", cure="Is it the right day and year?")
    data: dict[str, Any] = {"kind": kind, "text": _mapping(said)}
    data |= {"service": service} if service else {}
    data |= {"published": now, "begins": begins} | ({"ends": ends} if ends else {})
    folder = site.folder / FOLDER
    folder.mkdir(exist_ok=True)
    name = f"{begins[:10]}-{_slug(service or (said.fr or said.en or ''), kind)}"
    for number in range(1, MAX_FILES_A_NAME):
        path = folder / f"{name if number == 1 else f'{name}-{number}'}.yaml"
        text, judged = _written(data, path, zone)
        try:
            with path.open("x", encoding="utf-8") as handle:
                handle.write(text)
        except FileExistsError:
            continue
        except OSError as error:
            raise _unwritable(path, error) from None
        return Known(path.stem, path, judged, zone)
    raise BadInput("there are many announcements of this name on that day", cure="Close some.", file=folder)


def update(known: Known, said: Said, now: str) -> Known:
    """Say more about an announcement, open or closed."""

    def edit(data: CommentedMap) -> None:
        data.setdefault("updates", []).append({"at": now, "text": _mapping(said)})

    return _change(known, edit)


def close(known: Known, said: Said | None, now: str) -> Known:
    """Say that it is over; or, before it began, that it is called off.

    :raises BadInput: when it was closed before.
    """
    if not known.is_open:
        raise BadInput(f"{known.id} was closed on {known.said.closed}", cure="There is nothing to do.")

    def edit(data: CommentedMap) -> None:
        data["closed"] = now
        if said is not None:
            data.setdefault("updates", []).append({"at": now, "text": _mapping(said)})

    return _change(known, edit)


# --- inside ----------------------------------------------------------------------------------------------


def _judged(option: str, judge_of: Callable[[str], str], text: str) -> str:
    try:
        return judge_of(text)
    except Wrong as error:
        raise BadInput(f"{option}: {error.what}", cure=error.cure) from None


def _mapping(said: Said) -> dict[str, str]:
    both = {"fr": said.fr, "en": said.en}
    return {
        language: LiteralScalarString(text) if "\n" in text else text
        for language, text in both.items() if text is not None
    }  # fmt: skip


def _slug(text: str, otherwise: str) -> str:
    """The first words of a text in small ASCII letters, for a file's name and a page's anchor."""
    plain = unicodedata.normalize("NFKD", text[:200]).encode("ascii", "ignore").decode().lower()
    parts = re.findall(r"[a-z0-9]+", plain)[:4]
    slug = "-".join(part[:16] for part in parts)
    return slug if slug and ID.fullmatch(f"2000-01-01-{slug}") else otherwise


def _yaml() -> YAML:
    yaml = YAML(typ="rt")
    yaml.width = 100
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.preserve_quotes = True
    return yaml


def _written(data: Any, path: Path, zone: zoneinfo.ZoneInfo) -> tuple[str, Announcement]:
    """The file's text, read again by the rules it will be read by."""
    buffer = StringIO()
    _yaml().dump(data, buffer)
    text = buffer.getvalue()
    return text, judge(yamlfile.parse(text, path), zone)


def _change(known: Known, edit: Callable[[CommentedMap], None]) -> Known:
    """Change a file and keep the comments and the order people gave it."""
    data = _yaml().load(known.file.read_text("utf-8"))
    edit(data)
    text, judged = _written(data, known.file, known.zone)
    try:
        handle, temporary = tempfile.mkstemp(dir=known.file.parent, prefix=".", suffix=".new")
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
        Path(temporary).chmod(known.file.stat().st_mode & 0o777)
        Path(temporary).replace(known.file)
    except OSError as error:
        raise _unwritable(known.file, error) from None
    return Known(known.id, known.file, judged, known.zone)


def _unwritable(path: Path, error: OSError) -> BadInput:
    return BadInput(f"this cannot be written: {error.strerror}", cure="Check it with ls -l.", file=path)
