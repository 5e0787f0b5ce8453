"""The book of alarms, what the looks read, and the deliverer: the parts of the host's program that need no host."""

from __future__ import annotations

import json
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

LIB = Path(__file__).parents[2] / "roles/alerts/templates/usr/local/lib/houblon"
sys.path.insert(0, str(LIB))

from alarms import channels, files, machine, main, services, state, words  # noqa: E402
from alarms.book import CALM, DAY, HOUR, LIMIT, MINUTE, QUEUE, SUMMARY, Book, Finding  # noqa: E402

from houblon.cli import alerts as view  # noqa: E402
from houblon.cli.app import run as houblon  # noqa: E402
from tests.host.sinks import HttpSink  # noqa: E402

NOW = 1_800_000_000


def book(data: Mapping[str, Any] | None = None) -> Book:
    return Book(data or {}, words.letters("Les Houblons", "fr"))


def kinds(one: Book) -> list[str]:
    return [message["kind"] for message in one.queue]


DISK = Finding("disk:/", "le disque / est plein", "96 %")


def test_an_alarm_is_told_once_while_it_lasts() -> None:
    one = book()
    for minute in range(23 * 60):
        one.observe("disks", [DISK], NOW + minute * MINUTE)
        one.tell(NOW + minute * MINUTE)
    assert kinds(one) == ["alarm"]
    assert one.queue[0]["title"] == "Alarme : le disque / est plein"
    assert list(one.open()) == ["disk:/"]


def test_a_reminder_each_day_and_the_end() -> None:
    one = book()
    for hour in range(50):
        one.observe("disks", [DISK], NOW + hour * HOUR)
        one.tell(NOW + hour * HOUR)
    assert kinds(one) == ["alarm", "reminder", "reminder"]
    assert "Depuis 2 jours" in one.queue[-1]["text"]
    end = NOW + 50 * HOUR
    one.observe("disks", [], end)
    one.tell(end)
    assert kinds(one)[-1] == "reminder", "one good look may be chance"
    one.observe("disks", [], end + CALM[0])
    one.tell(end + CALM[0])
    assert kinds(one)[-1] == "recovery"
    assert not one.open()
    one.tell(end + CALM[0] + 2 * DAY)
    assert one.alarms == {}


def test_patience() -> None:
    slow = Finding("reboot", "redémarrage", "noyau", patience=DAY)
    one = book()
    one.observe("reboot", [slow], NOW)
    one.tell(NOW)
    assert not one.queue
    one.observe("reboot", [], NOW + HOUR)
    one.tell(NOW + HOUR)
    assert one.alarms == {}, "what nobody was told of ends in silence"
    one.observe("reboot", [Finding("reboot", "redémarrage", "noyau", patience=DAY, since=NOW - DAY)], NOW)
    one.tell(NOW)
    assert kinds(one) == ["alarm"], "it is known to be older than this look"


def test_a_warning_that_becomes_an_alarm_is_told_again() -> None:
    one = book()
    for grave in (False, True, False, True):
        one.observe("disks", [Finding("disk:/", "plein", "x", grave)], NOW)
        one.tell(NOW)
    assert kinds(one) == ["alarm", "worse"]
    assert [message["grave"] for message in one.queue] == [False, True]


def test_what_comes_and_goes_does_not_flood() -> None:
    one = book()
    for minute in range(24 * 60):
        one.observe("units", [DISK] if minute % 3 == 0 else [], NOW + minute * MINUTE)
        one.tell(NOW + minute * MINUTE)
    assert len(one.queue) <= 2 * len(CALM) + 2, kinds(one)


def test_one_look_says_nothing_about_another() -> None:
    one = book()
    one.observe("disks", [DISK], NOW)
    one.tell(NOW)
    one.observe("units", [], NOW + HOUR)
    one.tell(NOW + HOUR)
    assert list(one.open()) == ["disk:/"]


def test_said_and_cleared_by_a_program() -> None:
    one = book()
    one.add("said", Finding("said:backup", "la sauvegarde a échoué", ""), NOW)
    one.tell(NOW)
    one.add("said", Finding("said:backup", "la sauvegarde a échoué", ""), NOW + MINUTE)
    one.clear("said:backup", NOW + HOUR)
    one.clear("said:never", NOW + HOUR)
    one.tell(NOW + HOUR + CALM[0])
    assert kinds(one) == ["alarm", "recovery"]


def test_many_at_once_are_one_message_and_nothing_is_left_out() -> None:
    one = book()
    one.observe("units", [Finding(f"unit:{n}", f"unit {n}", "x") for n in range(30)], NOW)
    one.tell(NOW)
    assert kinds(one) == ["summary"]
    assert all(f"unit {n}\n" in one.queue[0]["text"] for n in range(30))
    assert len(one.queue[0]["keys"]) == 30


def test_at_most_so_many_an_hour_then_summaries() -> None:
    one = book()
    told = set()
    for minute in range(60):
        one.add("said", Finding(f"said:{minute}", f"cause {minute}.", "x"), NOW + minute * MINUTE)
        one.tell(NOW + minute * MINUTE)
    assert len(one.queue) <= LIMIT + HOUR // SUMMARY
    one.tell(NOW + HOUR + SUMMARY)
    for message in one.queue:
        told |= set(message["keys"])
    assert told == {f"said:{minute}" for minute in range(60)}


def test_the_queue_is_bounded_and_still_tells_all() -> None:
    one = book()
    for number in range(QUEUE + 30):
        one.add("said", Finding(f"said:{number}", f"cause {number}.", "x"), NOW + number * HOUR)
        one.tell(NOW + number * HOUR)
        one.alarms.clear()
    assert len(one.queue) <= QUEUE
    assert {key for message in one.queue for key in message["keys"]} == {f"said:{n}" for n in range(QUEUE + 30)}


def test_a_message_stays_until_every_channel_has_it() -> None:
    one = book()
    name = one.post("test", "x", "y", NOW, grave=False, keys=[])
    one.settle({name: ["mail"]}, ["mail", "ntfy"])
    assert len(one.queue) == 1
    one.settle({name: ["mail", "ntfy"]}, ["mail", "ntfy"])
    assert not one.queue


@given(st.lists(st.tuples(st.sampled_from("ab"), st.booleans(), st.integers(1, 3 * HOUR)), max_size=60))
def test_whatever_happens_every_alarm_that_is_told_is_told_to_be_over(steps: list[tuple[str, bool, int]]) -> None:
    one = book()
    now = NOW
    for look, bad, seconds in steps:
        now += seconds
        one.observe(look, [Finding(f"{look}:x", look, "x")] if bad else [], now)
        one.tell(now)
        one = book(one.data())
    for _ in range(40):
        now += 4 * HOUR
        for look in "ab":
            one.observe(look, [], now)
        one.tell(now)
    assert not one.open() and not one.held
    for key in ("a:x", "b:x"):
        about = [m["kind"] for m in one.queue if m["keys"] == [key]]
        assert about.count("alarm") == about.count("recovery")


# --- what the looks read ----------------------------------------------------------------------------------

MOUNTS = """\
24 1 0:22 / / rw,relatime - overlay overlay rw,lowerdir=/x
30 24 0:26 / /run rw - tmpfs tmpfs rw
31 24 7:1 / /srv/a\\040b rw,relatime - ext4 /dev/loop1 ro,errors=remount-ro
32 24 7:2 / /mnt ro,relatime - ext4 /dev/loop2 rw
33 24 7:2 /sub /home rw,relatime shared:4 - ext4 /dev/loop2 rw
34 24 7:9 / /snap rw - squashfs /dev/loop9 ro
35 24 7:3 / /run/host/x rw - ext4 /dev/loop3 rw
"""


def test_mounts() -> None:
    assert machine.mounts(MOUNTS) == {"/": ("overlay", False), "/srv/a b": ("ext4", True), "/mnt": ("ext4", False)}


def test_percent_is_what_df_says() -> None:
    assert [machine.percent(*pair) for pair in ((0, 0), (1, 99), (950, 51), (10, 0))] == [0, 1, 95, 100]


@pytest.mark.parametrize(
    ("samples", "free", "hours"),
    [
        ([], 100, None),
        ([[NOW - HOUR // 2, 9000]], 100, None),
        ([[NOW - 2 * HOUR, 3000], [NOW - HOUR, 2000]], 1000, 1),
        ([[NOW - 2 * HOUR, 3000], [NOW - HOUR, 1000]], 1000, None),
        ([[NOW - 2 * HOUR, 100_000], [NOW - HOUR, 99_990]], 99_980, None),
        ([[NOW - 2 * HOUR, 1000], [NOW - HOUR, 2000]], 3000, None),
    ],
    ids=["unknown", "too short", "grows", "has stopped", "slow", "shrinks"],
)
def test_growth(samples: list[list[int]], free: int, hours: int | None) -> None:
    assert machine.hours_left(samples, NOW, free) == hours


def test_killed_for_memory() -> None:
    text = (
        "Memory cgroup out of memory: Killed process 4711 (mysqld) total-vm:1kB\n"
        "Out of memory: Killed process 12 (php-fpm8.4) total-vm:1kB\n"
        "pad.service: A process of this unit has been killed by the OOM killer.\n"
    )
    assert machine.killed_for_memory(text) == ["mysqld", "pad.service", "php-fpm8.4"]


def test_security_updates_and_the_end_of_debian() -> None:
    text = (
        "Listing...\nnginx/stable-security,stable 1.26.3-3+deb13u2 amd64 [upgradable from: 1.26.3-3]\n"
        "tzdata/stable-updates 2026b all [upgradable from: 2026a]\n"
    )
    assert machine.waiting_for_security(text) == ["nginx"]
    table = "version,codename,series,created,release,eol,eol-lts\n13,Trixie,trixie,2023-06-10,2025-08-09,2028-08-09,\n"
    assert machine.debian_end(table, "trixie") == 1849392000
    assert machine.debian_end(table, "forky") is None


def test_a_clock_that_nobody_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not measurable on a lab host: a container has its machine's clock."""
    say = words.sayer("en")
    for contained, said, found in ((False, "no\n", 1), (False, "yes\n", 0), (True, "no\n", 0)):
        monkeypatch.setattr(machine, "contained", lambda contained=contained: contained)
        monkeypatch.setattr(machine, "output", lambda *_, said=said: said)
        assert len(list(machine.clock({}, {}, NOW, say))) == found


def test_software_past_its_end(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    table = tmp_path / "debian.csv"
    table.write_text(f"series,eol\n{machine.os_codename(Path('/etc/os-release').read_text())},2028-08-09\n")
    monkeypatch.setattr(machine, "DEBIAN", table)
    pins = [
        {"key": "old", "title": "Old", "upstream": "end of life", "ends": None},
        {"key": "lone", "title": "Lone", "upstream": "unmaintained", "ends": None},
        {"key": "pin", "title": "Pin 1.2", "upstream": "maintained", "ends": NOW - 1},
        {"key": "soon", "title": "Soon", "upstream": "maintained", "ends": NOW + DAY},
        {"key": "good", "title": "Good", "upstream": "maintained", "ends": NOW + 900 * DAY},
    ]
    found = {one.key: one.grave for one in machine.software({"software": pins}, {}, NOW, words.sayer("fr"))}
    assert found == {"life:old": True, "life:lone": False, "life:pin": True, "life:soon": False}
    (end,) = machine.software({"software": []}, {}, 1849392000, words.sayer("fr"))
    assert end.key == "life:debian" and end.grave


def test_who_applies_may_take_minutes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(services, "HOLDER", tmp_path / "holder")
    assert services.patience(NOW) == services.GONE_PATIENCE
    (tmp_path / "holder").touch()
    now = int((tmp_path / "holder").stat().st_mtime)
    assert services.patience(now + 60) == services.APPLY_PATIENCE
    assert services.patience(now + HOUR + 1) == services.GONE_PATIENCE, "a run that was killed left it"


def test_restarts_without_end_are_a_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    config = {"units": {"pad.service": "pad"}, "titles": {"pad": "Pad"}}
    count = {"n": 0}
    monkeypatch.setattr(services, "failed", list)
    monkeypatch.setattr(services, "journal_of", lambda name: "boom")
    monkeypatch.setattr(
        services, "show", lambda names: {"pad.service": {"ActiveState": "active", "NRestarts": str(count["n"])}}
    )
    memory: dict[str, Any] = {}
    seen = []
    for minute, restarts in enumerate((0, 1, 1, 1, 2, 3, 0, 0)):
        count["n"] = restarts
        seen.append([f.key for f in services.units(config, memory, NOW + minute * MINUTE, words.sayer("fr"))])
    assert seen == [[], [], [], [], [], ["loop:pad.service"], [], []]


# --- what members see -------------------------------------------------------------------------------------


def test_fragments_hold_a_word_and_nothing_else() -> None:
    config = {"members": ["calendar", "pad"], "languages": ["fr", "en"]}
    found = state.fragments(config, {"pad": ["pad.service"]})
    assert found["calendar.fr.html"] == '<span class="health up">en service</span>\n'
    assert found["pad.en.html"] == '<span class="health down">out of order</span>\n'
    assert 'class="health unknown"' in state.fragments(config, None)["pad.fr.html"]


@pytest.mark.parametrize(
    ("age", "status", "says"),
    [
        (60, 0, "No alarm is open."),
        (290, 0, "No alarm is open."),
        (900, 6, "nobody has looked at the host since 20"),
        (-900, 6, "nobody has looked at the host yet"),
        (None, 6, "nobody has looked at the host yet"),
    ],
    ids=["fresh", "almost old", "old", "from the future", "none"],
)
def test_that_nobody_looks_is_no_good_news(
    age: int | None, status: int, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("CONFIG", "BOOK", "DELIVERY", "OUTBOX", "PUBLIC"):
        monkeypatch.setattr(files, name, tmp_path / name)
    config = {"site": "x", "language": "en", "channels": ["mail"], "members": [], "languages": []}
    files.write_json(files.CONFIG, config)
    beat = files.PUBLIC / files.HEARTBEAT
    beat.parent.mkdir(parents=True)
    if age is None:
        beat.write_text("{")
    else:
        state.publish(config, {}, ill=False, now=int(time.time()) - age)
    main.listing()
    answer = json.loads(capsys.readouterr().out)
    monkeypatch.setattr(view, "open_site", lambda site: (None, None))
    monkeypatch.setattr(view, "ask_host", lambda *_: answer)
    assert houblon(["alerts", "list"]) == status
    shown = " ".join(capsys.readouterr().out.split())
    assert says in shown and ("No alarm" in shown) == (status == 0)
    assert houblon(["alerts", "list", "--json"]) == status
    assert answer["now"] - json.loads(capsys.readouterr().out)["looked"] >= 0 or age == -900


# --- delivery ---------------------------------------------------------------------------------------------


def message(number: int, kind: str = "alarm") -> dict[str, Any]:
    return {"id": f"m{number:03}", "at": NOW + number, "kind": kind, "grave": True, "title": f"t{number}",
            "text": "x", "keys": [f"k{number}"]}  # fmt: skip


class Line:
    """A channel that can be down."""

    def __init__(self) -> None:
        self.up, self.taken, self.tries = True, [], 0  # type: ignore[var-annotated]

    def __call__(self, settings: Mapping[str, Any], one: channels.Message) -> str:
        self.tries += 1
        if not self.up:
            raise ConnectionRefusedError("refused")
        self.taken += one["keys"]
        return "250 ok"


def test_a_channel_that_is_down_loses_nothing_and_is_asked_ever_less() -> None:
    mail, ntfy, clock, account = Line(), Line(), [NOW], {}  # type: ignore[var-annotated]
    outbox = [message(n) for n in range(3)]

    def run() -> None:
        channels.deliver(outbox, {"mail": {}, "ntfy": {}}, account, lambda: clock[0], lambda: None,
                         {"mail": mail, "ntfy": ntfy})  # fmt: skip

    ntfy.up = False
    for _ in range(60):
        run()
        clock[0] += MINUTE
    assert mail.taken == ["k0", "k1", "k2"], "each once, whatever the other does"
    assert ntfy.tries <= 8
    assert account["channels"]["ntfy"]["error"] == "refused"
    ntfy.up = True
    clock[0] += HOUR
    run()
    run()
    assert ntfy.taken == ["k0", "k1", "k2"]


def test_after_a_long_silence_they_come_as_one() -> None:
    mail, account = Line(), {}  # type: ignore[var-annotated]
    outbox = [message(n) for n in range(40)]
    channels.deliver(outbox, {"mail": {}}, account, lambda: NOW, lambda: None, {"mail": mail})
    assert mail.tries == 1
    assert mail.taken == sorted(f"k{n}" for n in range(40))
    assert all("mail" in account["done"][one["id"]] for one in outbox)


def test_a_message_that_a_channel_will_not_take_does_not_stop_those_after_it() -> None:
    clock, account, taken = [NOW], {}, []  # type: ignore[var-annotated]

    def strict(settings: Mapping[str, Any], one: channels.Message) -> str:
        if len(one["text"]) > 100:
            raise channels.Refused("HTTP 413 Content Too Large", lasting=True)
        taken.append(one["title"])
        return "HTTP 200"

    outbox = [{**message(1), "title": "The long one", "text": "x" * 1000}, message(2)]
    for _ in range(channels.GIVE_UP + 1):
        channels.deliver(outbox, {"webhook": {}}, account, lambda: clock[0], lambda: None, {"webhook": strict})
        clock[0] += HOUR
    assert taken == ["The long one", message(2)["title"]]
    assert account["channels"]["webhook"]["unfit"] == 0


def test_a_full_disk_does_not_make_messages_come_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk, memory = tmp_path / "disk" / "state.json", tmp_path / "state.json"
    monkeypatch.setattr(files, "DELIVERY", disk)  # its folder is missing: nothing can be written there
    monkeypatch.setattr(files, "SPARE", memory)
    assert files.account() == {}
    files.keep_account({"done": {"1": {}}})
    assert files.account() == {"done": {"1": {}}}
    disk.parent.mkdir()
    files.keep_account({"done": {"2": {}}})
    assert files.account() == {"done": {"2": {}}} and not memory.exists()


def test_a_test_does_not_wait_for_its_turn() -> None:
    mail, account = Line(), {}  # type: ignore[var-annotated]
    mail.up = False
    channels.deliver([message(1)], {"mail": {}}, account, lambda: NOW, lambda: None, {"mail": mail})
    mail.up = True
    channels.deliver([message(1)], {"mail": {}}, account, lambda: NOW, lambda: None, {"mail": mail})
    assert mail.taken == []
    both = [message(1), message(2, "test")]
    channels.deliver(both, {"mail": {}}, account, lambda: NOW, lambda: None, {"mail": mail})
    assert mail.taken == ["k1", "k2"]
    channels.deliver([], {}, account, lambda: NOW, lambda: None, {})
    assert account == {"done": {}, "channels": {}}, "what is gone is forgotten"


@pytest.fixture
def web() -> Iterator[HttpSink]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with HttpSink("127.0.0.1", port, token="tk_1") as sink:
        yield sink


def test_what_ntfy_and_a_webhook_get(web: HttpSink) -> None:
    common = {"name": "Les Houblons", "host": "houblons.test"}
    settings = {**common, "url": f"{web.url}/sujet", "token": "tk_1"}
    long = {**message(1), "title": "Alarme : l’été", "text": "é" * 5000}
    assert channels.ntfy(settings, long) == "HTTP 200 OK"
    assert web.all[0].title == "[Les Houblons] Alarme : l’été"
    assert web.all[0].headers["priority"] == "high"
    assert len(web.all[0].body) <= 4096 and set(web.all[0].text) == {"é"}
    with pytest.raises(channels.Refused, match="401"):
        channels.ntfy({**settings, "token": "tk_2"}, long)
    web.token = ""
    channels.webhook({**common, "url": f"{web.url}/crochet?x=1"}, message(2))
    post = web.all[1]
    assert post.path == "/crochet?x=1"
    assert (post.json["title"], post.json["level"], post.json["keys"]) == ("t2", "alarm", ["k2"])
    for status in (301, 302, 404, 500):
        web.status = status
        with pytest.raises(channels.Refused, match=str(status)):
            channels.webhook({**common, "url": f"{web.url}/crochet"}, message(3))
    assert len(web.all) == 2
