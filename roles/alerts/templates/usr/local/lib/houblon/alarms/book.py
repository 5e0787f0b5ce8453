"""What is wrong, since when, and what people have been told of it.

Pure: findings and the time come in, messages come out. An alarm is told once for each cause, again when it gets
worse, once a day while it lasts, and once when it is over. What comes and goes must stay away longer each time
before it counts as over, so it cannot flood anybody.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

MINUTE, HOUR, DAY = 60, 3600, 86400
CALM = (MINUTE, 10 * MINUTE, HOUR, 6 * HOUR)
"""How long a cause must stay away to be over, by how often it came back within `DAY`."""
LIMIT = 10
"""Messages within an hour; what else happens waits for a summary, which goes out every `SUMMARY` seconds."""
SUMMARY = 15 * MINUTE
AT_ONCE = 3
"""More news than this in one look become one message."""
QUEUE = 200
"""Undelivered messages that are kept one by one; older ones are joined."""


@dataclass(frozen=True)
class Finding:
    """Something that is wrong now.

    :param key: of the cause; the same cause has the same key for as long as it lasts.
    :param title: one line, what is wrong.
    :param text: more of it, and what to do.
    :param grave: an alarm; otherwise a warning.
    :param patience: seconds it must last before anybody is told.
    :param since: seconds since the epoch, when it is known to be older than this look.
    """

    key: str
    title: str
    text: str
    grave: bool = True
    patience: int = 0
    since: int = 0


@dataclass(frozen=True)
class Notice:
    """One piece of news about one cause. ``kind``: alarm, worse, reminder, recovery."""

    kind: str
    key: str
    title: str
    text: str
    grave: bool
    since: int


Words = Callable[[list[Notice], int], tuple[str, str]]
"""Makes the title and the text of a message about one piece of news, or several."""


class Book:
    """The alarms, and the messages about them that are still under way.

    :param data: what `data` gave the last time; anything else is begun anew.
    """

    def __init__(self, data: Mapping[str, Any], words: Words) -> None:
        self.words = words
        self.alarms: dict[str, dict[str, Any]] = dict(data.get("alarms") or {})
        self.queue: list[dict[str, Any]] = list(data.get("queue") or [])
        self.held: list[dict[str, Any]] = list(data.get("held") or [])
        self.sent: list[int] = list(data.get("sent") or [])
        self.number = int(data.get("number") or 0)

    def data(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {
            "alarms": self.alarms, "queue": self.queue, "held": self.held, "sent": self.sent, "number": self.number,
        }  # fmt: skip

    # --- what is seen --------------------------------------------------------------------------------------

    def observe(self, look: str, findings: Iterable[Finding], now: int) -> None:
        """All that one look found. Its alarms that it no longer finds begin to be over."""
        seen = {finding.key: finding for finding in findings}
        for key, alarm in self.alarms.items():
            if alarm["look"] == look and key not in seen:
                self._good(alarm, now)
        for finding in seen.values():
            self.add(look, finding, now)

    def add(self, look: str, finding: Finding, now: int) -> None:
        """One thing that is wrong; the look's other alarms stay as they are."""
        since = min(now, finding.since or now)
        alarm = self.alarms.setdefault(finding.key, {"since": since, "told": 0, "spells": []})
        if alarm.get("closed"):
            alarm.update(since=since, told=0, closed=0)
            alarm["spells"] = [*(t for t in alarm["spells"] if now - t < DAY), now]
        elif alarm.get("good") and alarm["told"]:
            alarm["spells"] = [*(t for t in alarm["spells"] if now - t < DAY), now]
        alarm.update(
            look=look, good=0, closed=0, title=finding.title, text=finding.text, grave=finding.grave,
            patience=finding.patience,
        )  # fmt: skip

    def clear(self, key: str, now: int) -> None:
        """This cause is gone."""
        if key in self.alarms:
            self._good(self.alarms[key], now)

    @staticmethod
    def _good(alarm: dict[str, Any], now: int) -> None:
        if not alarm.get("good") and not alarm.get("closed"):
            alarm["good"] = now

    # --- what is told --------------------------------------------------------------------------------------

    def open(self) -> dict[str, dict[str, Any]]:
        """The alarms that people have been told of and that are not over."""
        return {key: alarm for key, alarm in sorted(self.alarms.items()) if alarm["told"] and not alarm["closed"]}

    def tell(self, now: int) -> None:
        """Turn what has changed into messages."""
        news = [notice for key in sorted(self.alarms) if (notice := self._news(key, self.alarms[key], now))]
        self.alarms = {
            key: alarm for key, alarm in self.alarms.items()
            if not (alarm["closed"] and now - alarm["closed"] > DAY) and not (alarm["good"] and not alarm["told"])
        }  # fmt: skip
        self.held += [vars(notice) for notice in news]
        self._post(now)

    def _news(self, key: str, alarm: dict[str, Any], now: int) -> Notice | None:
        def notice(kind: str) -> Notice:
            return Notice(kind, key, alarm["title"], alarm["text"], alarm["grave"], alarm["since"])

        if alarm["closed"]:
            return None
        if alarm["good"]:
            calm = CALM[min(len(alarm["spells"]), len(CALM) - 1)]
            if not alarm["told"] or now - alarm["good"] < calm:
                return None
            alarm["closed"] = now
            return notice("recovery")
        if not alarm["told"]:
            if now - alarm["since"] < alarm["patience"]:
                return None
            alarm.update(told=now, told_grave=alarm["grave"])
            return notice("alarm")
        if alarm["grave"] and not alarm["told_grave"]:
            alarm.update(told=now, told_grave=True)
            return notice("worse")
        if now - alarm["told"] >= DAY:
            alarm.update(told=now)
            return notice("reminder")
        return None

    def _post(self, now: int) -> None:
        self.sent = [at for at in self.sent if 0 <= now - at < HOUR]
        if not self.held:
            return
        room = LIMIT - len(self.sent)
        if room <= 0 and now - max(self.sent) < SUMMARY:
            return
        notices = [Notice(**one) for one in self.held]
        self.held = []
        groups = [[one] for one in notices] if len(notices) <= min(room, AT_ONCE) else [notices]
        for group in groups:
            title, text = self.words(group, now)
            kind = group[0].kind if len(group) == 1 else "summary"
            grave = any(one.grave and one.kind != "recovery" for one in group)
            self.post(kind, title, text, now, grave=grave, keys=[one.key for one in group])
            self.sent.append(now)
        if len(self.queue) > QUEUE:
            old, self.queue = self.queue[: -QUEUE // 2], self.queue[-QUEUE // 2 :]
            joined = "\n\n".join(f"{one['title']}\n{one['text']}" for one in old)
            keys = sorted({key for one in old for key in one["keys"]})
            self.post("summary", old[-1]["title"], joined[-20000:], now, grave=True, keys=keys)

    def post(self, kind: str, title: str, text: str, now: int, *, grave: bool, keys: list[str]) -> str:
        """Put a message into the queue; gives its name."""
        self.number += 1
        name = f"{now:010d}-{self.number}"
        self.queue.append(
            {"id": name, "at": now, "kind": kind, "grave": grave, "title": title, "text": text, "keys": keys}
        )
        return name

    def settle(self, done: Mapping[str, Collection[str]], channels: Collection[str]) -> None:
        """Forget the messages that every channel has accepted.

        :param done: for each message the channels that took it.
        """
        self.queue = [one for one in self.queue if not set(channels) <= set(done.get(one["id"], ()))]
