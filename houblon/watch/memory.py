"""Remembers what the eye saw, decides what to tell, and tells it. Standard library only, like `eye`.

    python3 -m houblon.watch.memory look CONFIG            look at all names once, remember, tell
    python3 -m houblon.watch.memory verdict CONFIG [NAME]  status 1 and a sentence when there is an alarm about NAME;
                                                           without a name, about the eye itself

CONFIG is JSON: {"names": [...], "state": PATH, "control": [...], "roots": PATH, "language": "en" or "fr",
"desktop": bool, "ntfy": URL, "webhook": URL}. All but the first two may be left out.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from houblon.watch.eye import CONTROL, DAY, Eye, Look
from houblon.watch.words import say

BAD_LOOKS = 3
"""Consecutive looks that must be bad before anybody is told."""
STALE_SECONDS, OFFLINE_SECONDS = 900, 3600
CHANNELS = ("desktop", "ntfy", "webhook")


def step(old: dict[str, Any], look: Look, now: float) -> dict[str, Any]:
    """What is known of a name after one more look. Pure.

    An alarm begins after `BAD_LOOKS` bad looks in a row, and gets worse after as many silent ones. It ends after
    good looks in a row: two, and twice as many for each further alarm within a day, so that a name which comes
    and goes is told of a few times, not a hundred. A look that could not tell counts for nothing. A host that is ill
    by its own account has told its own people.
    """
    new = {"bad": 0, "silent": 0, "good": 0, "alarm": "", "alarms": [], "trouble": "", **old}
    new |= {"at": now, "why": "; ".join(look.why), "days_left": look.days_left, "heartbeat_age": look.heartbeat_age}
    if new.get("state") != look.state:
        new |= {"state": look.state, "since": now}
    if look.state == "unknown":
        return new
    bad, silent = look.state != "up" and not look.own, look.state == "silent"
    new["bad"] = new["bad"] + 1 if bad else 0
    new["silent"] = new["silent"] + 1 if silent else 0
    new["good"] = 0 if bad else new["good"] + 1
    new["alarms"] = [at for at in new["alarms"] if now - at < DAY]
    if bad:
        new["trouble"] = new["why"]
        if new["bad"] == 1:
            new["bad_since"] = now
        if not new["alarm"] and new["bad"] >= BAD_LOOKS:
            new |= {"alarm": look.state, "alarms": [*new["alarms"], now]}
        elif new["alarm"] == "ill" and new["silent"] >= BAD_LOOKS:
            new["alarm"] = "silent"
    elif new["alarm"] and new["good"] >= min(2 ** max(len(new["alarms"]), 1), 32):
        new["alarm"] = ""
    return new


def read(path: str) -> dict[str, Any]:
    """A JSON object from a file; empty when there is none, or it is damaged: the next look writes it anew."""
    try:
        # The service's own user may write there, and root reads.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), encoding="utf-8") as file:
            return parsed(file.read())
    except (OSError, UnicodeDecodeError):
        return {}


def parsed(text: str) -> dict[str, Any]:
    """A JSON object, or an empty one."""
    with contextlib.suppress(ValueError, RecursionError):
        if isinstance(data := json.loads(text), dict):
            return data
    return {}


def write(path: str, data: dict[str, Any]) -> None:
    """Replace a file in one step, so that whoever reads it finds the old or the new."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    new = Path(f"{path}.new")
    new.write_text(text_of(data), encoding="utf-8")
    new.replace(path)


def text_of(data: dict[str, Any]) -> str:
    return json.dumps(data, indent=1, ensure_ascii=False) + "\n"


def look(config: dict[str, Any]) -> dict[str, Any]:
    """One round: look, remember, tell. Gives what is remembered.

    ``unseen`` of a name is since when nothing can be told of it, although others are seen.
    """
    roots = Path(config["roots"]).read_text(encoding="ascii") if config.get("roots") else ""
    eye = Eye(roots=roots, control=config.get("control") or CONTROL, language=config.get("language", "en"))
    looks = eye.look(config["names"])
    now = time.time()
    old = read(config["state"])
    known = old.get("names", {})
    names = {one.name: step(known.get(one.name, {}), one, now) for one in looks}
    offline = bool(looks) and all(one.state == "unknown" for one in looks)
    for entry in names.values():
        if entry["state"] != "unknown":
            entry["unseen"] = None
        elif not offline:
            entry["unseen"] = entry.get("unseen") or now
    state = {"at": now, "offline_since": (old.get("offline_since") or now) if offline else None, "names": names}
    write(config["state"], state)
    channels = [channel for channel in CHANNELS if config.get(channel)]
    for name, entry in names.items() if channels else ():
        if entry["alarm"] != entry.get("told", "") and tell(config, channels, name, entry):
            entry["told"] = entry["alarm"]
            write(config["state"], state)
    return state


def sentence(name: str, entry: dict[str, Any], language: str) -> str:
    """What to tell about a name: an alarm, or its end."""
    if not entry["alarm"]:
        return say(language, "well again", name) + "."
    since = say(language, "since", moment(entry.get("bad_since", entry["at"])))
    return say(language, "told", say(language, f"is {entry['alarm']}", name), since, entry["trouble"])


def moment(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(at))


# --- telling ---------------------------------------------------------------------------------------------

def tell(config: dict[str, Any], channels: Iterable[str], name: str, entry: dict[str, Any]) -> bool:
    """Tell by every channel; whether one of them took it. Otherwise the next round tries again."""
    text = sentence(name, entry, config.get("language", "en"))
    taken = [send(config, channel, name, text, entry["alarm"]) for channel in channels]
    return any(taken)


def test(config: dict[str, Any], channel: str) -> bool:
    """Whether a channel takes a message."""
    return send(config, channel, "houblon", say(config.get("language", "en"), "test"), "")


def send(config: dict[str, Any], channel: str, name: str, text: str, alarm: str) -> bool:
    """One message by one channel; whether it was taken."""
    try:
        if channel == "desktop":
            urgency = "critical" if alarm else "normal"
            subprocess.run(
                ["notify-send", "-a", "houblon", "-u", urgency, name, text], check=True, timeout=15, capture_output=True
            )
        else:
            with urllib.request.urlopen(request(channel, config[channel], name, text, alarm), timeout=15) as answer:  # noqa: S310
                answer.read(1024)
    except (OSError, ValueError, subprocess.SubprocessError, http.client.HTTPException) as error:
        # Not the address: who knows it may write to the channel.
        print(f"cannot tell by {channel}: {type(error).__name__} {getattr(error, 'code', '')}", file=sys.stderr)
        return False
    return True


def request(channel: str, url: str, name: str, text: str, alarm: str) -> urllib.request.Request:
    """What a channel is sent: plain text for ntfy (docs.ntfy.sh/publish), JSON for a webhook, whose key ``text`` is
    what Mattermost, Rocket.Chat and Slack show."""
    if channel == "ntfy":
        headers = {"Content-Type": "text/plain; charset=utf-8", "Priority": "high" if alarm else "default"}
        return urllib.request.Request(url, text.encode(), headers)  # noqa: S310 - install takes no other schemes
    body = json.dumps({"text": text, "name": name, "state": alarm or "up"}).encode()
    return urllib.request.Request(url, body, {"Content-Type": "application/json"})  # noqa: S310


# --- the command -----------------------------------------------------------------------------------------


def verdict(config: dict[str, Any], name: str | None, installed: float) -> str:
    """What there is an alarm about, in words; empty when there is none.

    :param name: None asks about the eye: whether it looks at all, and whether it can tell anything of every name.
    :param installed: when the configuration was written (epoch).
    """
    language, state, now = config.get("language", "en"), read(config["state"]), time.time()
    if name is not None:
        entry = state.get("names", {}).get(name, {})
        return sentence(name, entry, language) if entry.get("alarm") else ""
    if config["names"] and now - max(state.get("at", 0), installed) > STALE_SECONDS:
        return say(language, "asleep", moment(state["at"])) if state.get("at") else say(language, "never")
    if now - (state.get("offline_since") or now) > OFFLINE_SECONDS:
        return say(language, "cut off", moment(state["offline_since"]))
    unseen = {one: state.get("names", {}).get(one, {}).get("unseen") or now for one in config["names"]}
    long = {one: at for one, at in unseen.items() if now - at > OFFLINE_SECONDS}
    return "; ".join(say(language, "unseen", one, moment(at)) for one, at in long.items())


def main(arguments: Sequence[str]) -> int:
    if len(arguments) < 2 or arguments[0] not in ("look", "verdict"):
        print(__doc__, file=sys.stderr)
        return 2
    config = read(arguments[1])
    if "names" not in config:
        print(f"{arguments[1]} cannot be read", file=sys.stderr)
        return 2
    if arguments[0] == "look":
        look(config)
        return 0
    text = verdict(config, arguments[2] if len(arguments) > 2 else None, Path(arguments[1]).stat().st_mtime)
    if text:
        print(text)
    return 1 if text else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
