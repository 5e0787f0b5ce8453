"""The commands: `health` (looks, every minute), `alert` (for other programs), `deliver` (takes messages out)."""

from __future__ import annotations

import argparse
import json
import os
import pwd
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from . import files, machine, services, state, words
from .book import HOUR, MINUTE, Book, Finding
from .run import Unknown

Look = Callable[..., Iterator[Finding]]
LOOKS: dict[str, tuple[int, Look]] = {
    "units": (0, services.units),
    "sites": (0, services.sites),
    "disks": (0, machine.disks),
    "memory": (0, machine.memory),
    "reboot": (5 * MINUTE, machine.reboot),
    "logins": (5 * MINUTE, services.logins),
    "certificates": (10 * MINUTE, services.certificates),
    "clock": (10 * MINUTE, machine.clock),
    "commands": (4 * MINUTE, services.commands),
    "updates": (HOUR, machine.updates),
    "software": (12 * HOUR, machine.software),
}
"""Each look, and after how many seconds it is worth taking again. Those that may be slow come last."""
AFTER_STATE = ("commands", "updates", "software")
UNDELIVERED = HOUR
TEST_SECONDS = 60
TRACE = Path("/usr/local/lib/houblon/mail-trace")
"""What the role that provides mail may put there: follows a message that it took to its end."""


class Desk:
    """The book, opened for one piece of work and written when it is done; nobody else has it meanwhile."""

    def __init__(self) -> None:
        self.config = files.read_json(files.CONFIG)
        if not self.config:
            raise SystemExit(f"{files.CONFIG} cannot be read; run `houblon apply`")
        self.language = "fr" if self.config["language"] == "fr" else "en"
        self.say = words.sayer(self.language)
        self.now = int(time.time())

    def __enter__(self) -> Desk:
        self._lock = files.locked(files.BOOK)
        self._lock.__enter__()
        letters = words.letters(self.config["site"], self.language)
        self.book = Book(files.read_json(files.BOOK), letters)
        self.before = json.dumps(self.book.data())
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        try:
            if kind is None:
                self._write()
        finally:
            self._lock.__exit__(None, None, None)

    def _write(self) -> None:
        """First the book, then the outbox that follows from it: what is cut off in between is made up for."""
        told = {message["id"] for message in json.loads(self.before)["queue"]}
        for message in self.book.queue:
            if message["id"] not in told:
                level = 2 if message["grave"] else 5
                print(f"<{level}>{message['title']}", file=sys.stderr, flush=True)
        if not self.config["channels"]:
            self.book.queue = []
        data = self.book.data()
        if json.dumps(data) != self.before:
            files.write_json(files.BOOK, data)
        wanted = {f"{message['id']}.json": message for message in self.book.queue}
        present = {path.name for path in files.OUTBOX.glob("*.json")}
        for name in sorted(set(wanted) - present):
            files.write_json(files.OUTBOX / name, wanted[name], 0o640)
            os.chown(files.OUTBOX / name, 0, files.OUTBOX.stat().st_gid)
        for name in present - set(wanted):
            (files.OUTBOX / name).unlink()

    def settle(self) -> dict[str, Any]:
        """Take note of what was delivered; gives the deliverer's own account."""
        account = files.account()
        done = account.get("done")
        if isinstance(done, dict):
            self.book.settle({name: taken for name, taken in done.items() if isinstance(taken, dict)},
                             self.config["channels"])  # fmt: skip
        return account


def health(everything: bool) -> None:
    """Look at the host, tell what has changed, and write what members and watchers see."""
    with files.locked(files.LOOKS):
        desk = Desk()
        memory = files.read_json(files.LOOKS)
        due = [name for name, (every, _) in LOOKS.items()
               if everything or desk.now - memory.get("last", {}).get(name, 0) >= every]  # fmt: skip
        first = [name for name in due if name not in AFTER_STATE]
        found = {name: look(name, desk, memory) for name in first}
        with desk:
            account = desk.settle()
            found["delivery"] = list(stuck(desk, account))
            for name, findings in found.items():
                desk.book.observe(name, findings, desk.now)
            desk.book.tell(desk.now)
            ill = any(alarm["grave"] for alarm in desk.book.open().values())
        state.publish(desk.config, down(desk, found), ill, desk.now)
        found = {name: look(name, desk, memory) for name in due if name in AFTER_STATE}
        if found:
            with desk:
                for name, findings in found.items():
                    desk.book.observe(name, findings, desk.now)
                desk.book.tell(desk.now)
        files.write_json(files.LOOKS, memory, keep=False)
        if desk.book.queue:
            start_delivery()


def look(name: str, desk: Desk, memory: dict[str, Any]) -> list[Finding]:
    """What one look finds; that it could not look is a finding, too."""
    memory.setdefault("last", {})[name] = desk.now
    own = memory.setdefault("own", {}).setdefault(name, {})
    try:
        return list(LOOKS[name][1](desk.config, own, desk.now, desk.say))
    except Exception as error:
        # Whatever goes wrong in one look, the others are taken, and somebody hears of it.
        print(f"<3>look {name}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        # What it said before stays open: nobody knows that it is over.
        with desk:
            kept = [key for key, alarm in desk.book.alarms.items() if alarm["look"] == name and not alarm["closed"]]
            again = [_again(key, desk.book.alarms[key]) for key in kept if not key.startswith("look:")]
        return [*again, Finding(
            f"look:{name}",
            desk.say(en=f"the check `{name}` does not work", fr=f"le contrôle `{name}` ne marche pas"),
            f"{error}", grave=False, patience=5 * MINUTE,
        )]  # fmt: skip


def _again(key: str, alarm: dict[str, Any]) -> Finding:
    return Finding(key, alarm["title"], alarm["text"], alarm["grave"], alarm["patience"])


def stuck(desk: Desk, account: dict[str, Any]) -> Iterator[Finding]:
    """Channels that have not taken a message for an hour."""
    done = account.get("done", {})
    for channel in desk.config["channels"]:
        waiting = [m["at"] for m in desk.book.queue if channel not in done.get(m["id"], {})]
        if waiting and desk.now - min(waiting) >= UNDELIVERED:
            error = account.get("channels", {}).get(channel, {}).get("error", "") or "?"
            yield Finding(
                f"channel:{channel}",
                desk.say(en=f"alarms do not get out by {channel}", fr=f"les alarmes ne sortent plus par {channel}"),
                desk.say(en=f"It says: {error}. Nothing is lost: they wait. `houblon alerts test` tries again.",
                         fr=f"La réponse : {error}. Rien n’est perdu : elles attendent. `houblon alerts test` "
                         "réessaie."),
            )  # fmt: skip


def down(desk: Desk, found: dict[str, list[Finding]]) -> dict[str, list[str]] | None:
    """What is broken, by role; None when nobody could look."""
    keys = [finding.key for finding in found.get("sites", ())]
    if "look:sites" in keys:
        return None
    try:
        broken = services.down(desk.config)
    except Unknown:
        return None
    for key in keys:
        fqdn = key.removeprefix("site:")
        broken.setdefault(desk.config["vhosts"][fqdn], []).append(fqdn)
    return broken


def start_delivery(*, wait: bool = False) -> None:
    """Have the messages taken out, by a process that may do nothing else."""
    command = ["systemctl", "start", "houblon-deliver.service"]
    subprocess.run([*command, *([] if wait else ["--no-block"])], check=False, stdin=subprocess.DEVNULL,
                   capture_output=True, timeout=200)  # fmt: skip


# --- alert --------------------------------------------------------------------------------------------------


def failed(unit: str) -> None:
    """OnFailure of every unit: told at once, not at the next look."""
    with (desk := Desk()):
        seen = services.show([unit]).get(unit, {})
        role = desk.config["units"].get(unit)
        desk.book.add("units", services.failure(unit, seen.get("Result", ""), role, desk.config, desk.say), desk.now)
        desk.book.tell(desk.now)
    if desk.book.queue:
        start_delivery()


def said(action: str, key: str, warning: bool) -> None:
    """Another program's alarm, or that it is over."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._:@/-]{0,99}", key):
        raise SystemExit("a key is made of letters, digits and . _ : @ / - (100 at most)")
    text = sys.stdin.read(20000).strip() if action == "raise" else ""
    first, _, rest = text.partition("\n")
    title = " ".join(first.split())  # one line, whatever its ends: it becomes a header
    with (desk := Desk()):
        if action == "raise":
            finding = Finding(f"said:{key}", title[:200] or key, rest.strip() or title, not warning)
            desk.book.add("said", finding, desk.now)
        else:
            desk.book.clear(f"said:{key}", desk.now)
        desk.book.tell(desk.now)
    if desk.book.queue:
        start_delivery()


def listing() -> None:
    """The open alarms, and when anybody looked last, as JSON."""
    with (desk := Desk()):
        alarms = [
            {"key": key, **{name: alarm[name] for name in ("title", "text", "grave", "since", "told")}}
            for key, alarm in desk.book.open().items()
        ]  # fmt: skip
        waiting = len(desk.book.queue)
    about = {"now": desk.now, "looked": state.looked(), "channels": desk.config["channels"]}
    print(json.dumps({**about, "waiting": waiting, "alarms": alarms}))


def test() -> None:
    """A real message through every channel; what each answered, as JSON."""
    with (desk := Desk()):
        channels = list(desk.config["channels"])
        title = desk.say(en="A test", fr="Un essai")
        text = desk.say(en="If you read this, alarms reach you. Nothing is wrong.",
                        fr="Si vous lisez ceci, les alarmes vous parviennent. Tout va bien.")  # fmt: skip
        name = desk.book.post("test", title, text, desk.now, grave=False, keys=["test"]) if channels else ""
    results: dict[str, dict[str, Any]] = {}
    end = time.monotonic() + TEST_SECONDS
    while channels and len(results) < len(channels) and time.monotonic() < end:
        start_delivery(wait=True)
        account = files.account()
        taken = account.get("done", {}).get(name, {})
        for channel in channels:
            line = account.get("channels", {}).get(channel, {})
            if channel in taken:
                results[channel] = {"ok": True, "answer": taken[channel]["answer"]}
            elif line.get("error") and line.get("at", 0) >= desk.now:
                results[channel] = {"ok": False, "answer": line["error"]}
        time.sleep(0.2)
    for channel in channels:
        results.setdefault(channel, {"ok": False, "answer": desk.say(en="no answer", fr="pas de réponse")})
    if results.get("mail", {}).get("ok"):
        results["mail"] |= trace(results["mail"]["answer"])
    with desk:
        desk.settle()
        # A test that failed need not arrive tomorrow.
        desk.book.queue = [message for message in desk.book.queue if message["id"] != name]
    print(json.dumps({"channels": results}))


def trace(answer: str) -> dict[str, Any]:
    """How it went on with a mail that this host's own server took."""
    queued = re.search(r"queued as (\w+)", answer)
    if not queued or not TRACE.exists():
        return {}
    done = subprocess.run([TRACE, queued[1], str(TEST_SECONDS)], capture_output=True, text=True, check=False,
                          stdin=subprocess.DEVNULL, timeout=TEST_SECONDS + 30)  # fmt: skip
    return {"ok": done.returncode == 0, "answer": done.stdout.strip() or done.stderr.strip()}


# --- deliver ------------------------------------------------------------------------------------------------


def deliver() -> None:
    """Take what lies in the outbox to its channels."""
    from . import channels

    settings = files.read_json(files.CHANNELS)
    account = files.account()
    seen: set[str] | None = None
    # What is put there meanwhile must not wait for the next minute: a start of a unit that runs is none.
    while seen is None or not {path.name for path in files.OUTBOX.glob("*.json")} <= seen:
        seen = {path.name for path in files.OUTBOX.glob("*.json")}
        found = (files.read_json(files.OUTBOX / name) for name in sorted(seen))
        outbox: list[channels.Message] = [message for message in found if message]
        channels.deliver(outbox, settings, account, lambda: int(time.time()), lambda: files.keep_account(account))
    for name, line in account["channels"].items():
        if line["error"]:
            print(f"<4>{name}: {line['error']}", file=sys.stderr, flush=True)


def main(program: str, arguments: Iterable[str]) -> None:
    """Entry point of all three programs."""
    parser = argparse.ArgumentParser(prog=program)
    if program == "health":
        parser.add_argument("--all", action="store_true", help="take every look, due or not")
        health(parser.parse_args(list(arguments)).all)
        return
    if program == "deliver":
        deliver()
        return
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("raise", "clear"):
        one = commands.add_parser(name)
        one.add_argument("key")
        one.add_argument("--warning", action="store_true", help="not grave")
    commands.add_parser("failed").add_argument("unit")
    commands.add_parser("list")
    commands.add_parser("test")
    chosen = parser.parse_args(list(arguments))
    if pwd.getpwuid(os.geteuid()).pw_uid != 0:
        raise SystemExit("only root keeps the book of alarms")
    match chosen.command:
        case "failed":
            failed(chosen.unit)
        case "list":
            listing()
        case "test":
            test()
        case _:
            said(chosen.command, chosen.key, chosen.warning)
