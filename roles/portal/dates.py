"""Dates in words, and a clock that works while pages are served, not while they are planned."""

from __future__ import annotations

from datetime import UTC, datetime

DAYS = {
    "fr": ("lundi", "mardi", "mercredi", "jeudi", "vendredi", "samedi", "dimanche"),
    "en": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
}
MONTHS = {
    "fr": ("janvier", "février", "mars", "avril", "mai", "juin", "juillet", "août", "septembre", "octobre",
           "novembre", "décembre"),
    "en": ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
           "November", "December"),
}  # fmt: skip


def day(when: datetime, language: str) -> str:
    """``mardi 1er décembre 2026``, ``Tuesday 1 December 2026``."""
    number = "1er" if language == "fr" and when.day == 1 else str(when.day)
    return f"{DAYS[language][when.weekday()]} {number} {MONTHS[language][when.month - 1]} {when.year}"


def hour(when: datetime, language: str) -> str:
    """``22 h 05``, ``22:05``."""
    return f"{when.hour}\u00a0h\u00a0{when.minute:02d}" if language == "fr" else f"{when.hour:02d}:{when.minute:02d}"


def full(when: datetime, language: str) -> str:
    """Day and time of day."""
    join = " à\u00a0" if language == "fr" else " at\u00a0"
    return f"{day(when, language)}{join}{hour(when, language)}"


def retention(days: int | None, language: str) -> str:
    """How long something is kept; None: as long as the account."""
    french = language == "fr"
    if days is None:
        return "aussi longtemps que le compte" if french else "as long as the account"
    if days % 365 == 0:
        years = days // 365
        if french:
            return "un an" if years == 1 else f"{years} ans"
        return "one year" if years == 1 else f"{years} years"
    if days == 1:
        return "un jour" if french else "one day"
    return f"{days} jours" if french else f"{days} days"


STAMP = "%Y%m%d%H%M"
"""What nginx's SSI writes its clock as (``config timefmt``), in UTC."""


def since(when: datetime) -> str:
    """A regular expression for every `STAMP` of this minute or later.

    SSI compares by pattern only, so "later" is spelt out: the same digits up to one that is greater. With it a
    page says "planned", "under way" and nothing at all, each in its time, though it is written only once.
    """
    digits = when.astimezone(UTC).strftime(STAMP)
    later = [f"{digits[:i]}[{int(digit) + 1}-9]" for i, digit in enumerate(digits) if digit != "9"]
    return f"^(?:{'|'.join([*later, digits])})"
