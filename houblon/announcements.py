"""Incidents and planned maintenance: one YAML file each in the site folder's ``announcements/``.

One file each, named after its day and first words, so that two people who announce at once meet no conflict when
git merges what they wrote. Times stand there as people say them, in the site's time zone.
"""

from __future__ import annotations

import re
import unicodedata
import zoneinfo
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict

from houblon import translate, yamlfile
from houblon.errors import BadInput
from houblon.settings import Wrong

if TYPE_CHECKING:
    from houblon.site import Site

FOLDER = "announcements"
MAX_TEXT = 5000
"""Characters: more than a screen of a phone is read by nobody."""
SHAPE = "%Y-%m-%d %H:%M"
ID = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(-[a-z0-9]+)+")

# Unicode general categories that no text of a page holds: controls, surrogates, unassigned, private use, line ends.
_UNFIT = frozenset({"Cc", "Cs", "Cn", "Co", "Zl", "Zp"})
_BIDI = re.compile("[\u202a-\u202e\u2066-\u2069]")


def moment(text: str) -> str:
    """A local time such as ``2026-12-01 22:00``, in that form."""
    shaped = text.strip().replace("T", " ", 1)
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2} \d{2}:\d{2}", shaped):
        raise Wrong("this is not a date with a time of day", "Write it like 2026-12-01 22:00.")
    try:
        when = datetime.strptime(shaped, SHAPE)
    except ValueError:
        raise Wrong("there is no such day or time of day", "Write it like 2026-12-01 22:00.") from None
    if not 2000 <= when.year <= 2100:
        raise Wrong(f"the year {when.year} is not meant, surely", "Write it like 2026-12-01 22:00.")
    return shaped


def words(text: str) -> str:
    """A text for people: paragraphs, no control characters, at most MAX_TEXT characters."""
    lines = [" ".join(re.split(r"[ \t]+", line)).strip() for line in text.strip().splitlines()]
    clean = re.sub(r"\n{3,}", "\n\n", "\n".join(lines))
    if not clean:
        raise Wrong("this text is empty", "Say in a sentence what happens.")
    if len(clean) > MAX_TEXT:
        raise Wrong(f"this text has {len(clean)} characters", f"Say it in {MAX_TEXT}, better in three sentences.")
    if _BIDI.search(clean) or any(unicodedata.category(char) in _UNFIT for char in clean.replace("\n", "")):
        raise Wrong("this text holds control characters", "Type it again, by hand.")
    return clean


Moment = Annotated[str, AfterValidator(moment)]
Words = Annotated[str, AfterValidator(words)]


class _Model(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True, validate_default=True
    )


class Said(_Model):
    """A text in one language or both."""

    fr: Words | None = None
    """In French."""
    en: Words | None = None
    """In English."""

    def __call__(self, language: str) -> tuple[str, str]:
        """The text and the language it is in: the wanted one if it was written in it."""
        first = (self.fr, "fr") if language == "fr" else (self.en, "en")
        other = (self.en, "en") if language == "fr" else (self.fr, "fr")
        text, really = first if first[0] is not None else other
        return text or "", really


class Update(_Model):
    """What was said later on."""

    at: Moment
    """When, such as 2026-12-01 22:30."""
    text: Said
    """What there is to say: `fr:`, `en:` or both."""


class Announcement(_Model):
    """One file of the folder."""

    kind: Literal["incident", "maintenance"]
    """incident or maintenance."""
    text: Said
    """What happens: `fr:`, `en:` or both."""
    service: str | None = None
    """The service it is about; none: the whole site."""
    published: Moment
    """When it was announced, such as 2026-11-28 18:00."""
    begins: Moment
    """When it begins, such as 2026-12-01 22:00."""
    ends: Moment | None = None
    """When it is expected to end."""
    updates: tuple[Update, ...] = ()
    """What was said later on, oldest first."""
    closed: Moment | None = None
    """When it was over. A maintenance closed before it began was called off."""


@dataclass(frozen=True)
class Known:
    """An announcement, its name, and its times with their zone."""

    id: str
    file: Path
    said: Announcement
    zone: zoneinfo.ZoneInfo

    def at(self, text: str) -> datetime:
        """A moment of this announcement with the site's time zone."""
        return aware(text, self.zone)

    @property
    def is_open(self) -> bool:
        return self.said.closed is None

    @property
    def called_off(self) -> bool:
        """Closed before it began."""
        return self.said.closed is not None and self.said.closed < self.said.begins

    @property
    def changed(self) -> datetime:
        """When something was last said about it (``atom:updated``, RFC 4287 section 4.2.15)."""
        times = [self.said.published, self.said.closed, *(update.at for update in self.said.updates)]
        return max(self.at(text) for text in times if text is not None)

    @property
    def line(self) -> str:
        """A line for a list on a terminal."""
        state = "open" if self.is_open else f"closed {self.said.closed}"
        end = f" to {self.said.ends}" if self.said.ends else ""
        about = self.said.service or "the whole site"
        return f"{self.id}  {self.said.kind}, {about}, from {self.said.begins}{end} ({state})"


def aware(text: str, zone: zoneinfo.ZoneInfo) -> datetime:
    """A `Moment` with its zone. In the hour that comes twice in autumn, the first one is meant (PEP 495)."""
    return datetime.strptime(text, SHAPE).replace(tzinfo=zone)


def zone_of(site: Site) -> zoneinfo.ZoneInfo:
    """The time zone of the site's host.

    :raises BadInput: when this machine does not know it.
    """
    name = site.role("base").config.timezone
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError):
        raise BadInput(
            f"this machine knows no time zone {name}", cure="Install the package tzdata.", file=site.file,
            key="base.timezone",
        ) from None  # fmt: skip


def load(site: Site) -> tuple[Known, ...]:
    """All announcements of a site, the newest beginning first.

    :raises BadInput: naming file, line, key and cure of the first mistake.
    """
    folder = site.folder / FOLDER
    if not folder.is_dir():
        return ()
    zone = zone_of(site)
    found = [read(path, zone) for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    return tuple(sorted(found, key=lambda known: (known.said.begins, known.id), reverse=True))


def read(path: Path, zone: zoneinfo.ZoneInfo) -> Known:
    """One announcement's file.

    :raises BadInput: naming file, line, key and cure.
    """
    if path.suffix != ".yaml" or not ID.fullmatch(path.stem):
        raise BadInput(
            "this is not the name of an announcement",
            cure="Name it like 2026-12-01-calendar.yaml, or move it elsewhere.", file=path,
        )  # fmt: skip
    return Known(path.stem, path, judge(yamlfile.read(path), zone), zone)


def judge(document: yamlfile.Document, zone: zoneinfo.ZoneInfo) -> Announcement:
    """What a document says.

    :raises BadInput: with the first mistake in it.
    """
    said, errors = translate.validate(Announcement, document.data, document)
    if said is None:
        raise min(errors, key=lambda error: error.line or 0)
    places: list[tuple[yamlfile.Trail, Said]] = [(("text",), said.text)]
    places += [(("updates", i, "text"), update.text) for i, update in enumerate(said.updates)]
    for trail, text in places:
        if text.fr is None and text.en is None:
            raise document.error("this says nothing", trail, "Write `fr:`, `en:` or both below it.")
    if said.ends is not None and aware(said.ends, zone) <= aware(said.begins, zone):
        raise document.error("this ends before it begins", ("ends",), f"It begins {said.begins}.")
    times: list[tuple[yamlfile.Trail, str | None]] = [
        (("published",), said.published), (("begins",), said.begins), (("ends",), said.ends),
        (("closed",), said.closed),
        *((("updates", i, "at"), update.at) for i, update in enumerate(said.updates)),
    ]  # fmt: skip
    for trail, text_of in times:
        if text_of is not None and skipped(text_of, zone):
            raise document.error(
                f"clocks in {zone.key} skip this time on that day", trail, "Add an hour."
            )
    return said


def skipped(text: str, zone: zoneinfo.ZoneInfo) -> bool:
    """Whether clocks never show this time, because they are put forward over it."""
    there_and_back = aware(text, zone).astimezone(UTC).astimezone(zone)
    return there_and_back.replace(tzinfo=None) != aware(text, zone).replace(tzinfo=None)


def find(known: Iterable[Known], wanted: str) -> Known:
    """The announcement of this name.

    :raises BadInput: when there is none.
    """
    by_id = {one.id: one for one in known}
    if wanted in by_id:
        return by_id[wanted]
    near = translate.nearest(wanted, by_id) if len(wanted) <= 200 else ""
    raise BadInput(
        f"there is no announcement `{wanted[:80]}`",
        cure=f"Did you mean `{near}`?" if near else "`houblon announce list` shows them.",
    )


def stale(known: Iterable[Known], now: datetime) -> list[Known]:
    """Open maintenance that was to end more than a day ago."""
    return [
        one for one in known
        if one.is_open and one.said.ends and one.at(one.said.ends) + timedelta(days=1) < now
    ]  # fmt: skip
