"""The words around an alarm, in French and English."""

from __future__ import annotations

from collections.abc import Callable

from .book import Notice

MARKS = {
    "en": {"alarm": "Alarm", "warning": "Warning", "worse": "Alarm, worse", "reminder": "Still", "recovery": "Over"},
    "fr": {
        "alarm": "Alarme", "warning": "Attention", "worse": "Alarme, plus grave", "reminder": "Toujours",
        "recovery": "Terminé",
    },
}  # fmt: skip

Say = Callable[..., str]


def sayer(language: str) -> Say:
    """``say(en=..., fr=...)`` in one of the two languages."""

    def say(*, en: str, fr: str) -> str:
        return fr if language == "fr" else en

    return say


def span(seconds: int, language: str) -> str:
    """A length of time in its largest unit, as people say it."""
    fr = language == "fr"
    for size, one, many in ((86400, "day", "days"), (3600, "hour", "hours"), (60, "minute", "minutes")):
        if seconds >= size:
            count = round(seconds / size)
            if fr:
                unit = {"day": "jour", "hour": "heure", "minute": "minute"}[one]
                return f"{count} {unit}{'s' if count > 1 else ''}"
            return f"{count} {one if count == 1 else many}"
    return "moins d’une minute" if fr else "less than a minute"


def letters(site: str, language: str) -> Callable[[list[Notice], int], tuple[str, str]]:
    """What makes title and text of a message.

    :param site: the site's name, which ends every message.
    """
    say = sayer(language)

    def mark(notice: Notice) -> str:
        kind = "warning" if notice.kind == "alarm" and not notice.grave else notice.kind
        return MARKS[language][kind]

    def head(notice: Notice) -> str:
        colon = " : " if language == "fr" else ": "
        return f"{mark(notice)}{colon}{notice.title}"

    def body(notice: Notice, now: int) -> str:
        lasted = span(max(now - notice.since, 0), language)
        if notice.kind == "recovery":
            return say(en=f"It is over. It lasted {lasted}.", fr=f"C’est terminé. Cela a duré {lasted}.")
        since = say(en=f"For {lasted}.", fr=f"Depuis {lasted}.")
        return f"{since}\n\n{notice.text}"

    def write(notices: list[Notice], now: int) -> tuple[str, str]:
        if len(notices) == 1:
            return head(notices[0]), body(notices[0], now)
        count = len(notices)
        title = say(en=f"{count} messages: {notices[0].title}, ...", fr=f"{count} messages : {notices[0].title}, ...")
        return title, "\n\n".join(f"{head(one)}\n{body(one, now)}" for one in notices)

    return write
