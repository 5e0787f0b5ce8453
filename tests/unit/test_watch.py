"""The outside eye against a real HTTPS server that misbehaves in every way, its memory, and its set-up."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import ssl
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from random import Random
from typing import Any

import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st
from test_verify_wire import Pair, make, pem, write
from toysite import SITE, make_site

from houblon import yamlfile
from houblon.claims import Alert
from houblon.cli.app import run as houblon
from houblon.errors import BadInput
from houblon.site import load
from houblon.verify.certificates import LIFETIME_LEFT
from houblon.watch import PARTS, edit, eye, memory
from houblon.watch.desk import Desk, channel_address, units
from houblon.watch.eye import Eye, Look

V4, V6 = socket.AF_INET, socket.AF_INET6
HERE, CONTROL, NOBODY = "127.0.0.1", "127.0.0.3", "127.0.0.9"
DRIP = "drip"
"""In an answer: from here on a byte every now and then, for ever."""


def answer(status: str = "200 OK", body: str = "", **headers: str) -> str:
    fields = "".join(f"{key.replace('_', '-')}: {value}\r\n" for key, value in headers.items())
    return f"HTTP/1.1 {status}\r\n{fields}\r\n{body}"


def beat(age: float = 5, state: str = "ok", clock: float = 0) -> str:
    """A heartbeat of this age, by a host whose clock is off by ``clock`` seconds."""
    now = time.time() + clock
    return answer(body=json.dumps({"at": now - age, "state": state}), Date=formatdate(now, usegmt=True))


class Street:
    """A server for many names, each with its certificate and its answers, on a few addresses of this machine."""

    def __init__(self, folder: Path, ca: Pair) -> None:
        self.folder, self.ca = folder, ca
        self.roots = pem(ca[0])
        self.pages: dict[str, dict[str, str]] = {}
        self.addresses: dict[str, list[tuple[int, str]]] = {}
        self.asked: list[str] = []
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._base = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._base.sni_callback = self._choose
        self._open = True
        with socket.create_server((HERE, 0)) as probe:
            self.port = probe.getsockname()[1]
        self._listeners = [socket.create_server((address, self.port)) for address in (HERE, CONTROL)]
        with contextlib.suppress(OSError):
            self._listeners.append(socket.create_server(("::1", self.port), family=V6))
        for listener in self._listeners:
            threading.Thread(target=self._serve, args=(listener,), daemon=True).start()

    def house(self, name: str, page: str = answer(), heartbeat: str | None = None, *, at: str = HERE,
              certificate: Pair | None = None, more: tuple[tuple[int, str], ...] = ()) -> None:
        self.addresses[name] = [(V4, at), *more]
        self.pages[name] = {"/": page, eye.HEARTBEAT: beat() if heartbeat is None else heartbeat}
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*write(self.folder, name, certificate or make(name, self.ca)))
        self._contexts[name] = context

    def eye(self, *control: str, **options: Any) -> Eye:
        control = control or ("control.test",)
        return Eye(roots=self.roots, control=control, port=self.port, resolve=self.resolve, **options)

    def look(self, name: str, *control: str) -> Look:
        return self.eye(*control).look([name])[0]

    def resolve(self, name: str, port: int) -> list[tuple[int, str]]:
        self.asked.append(name)
        if name not in self.addresses:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return self.addresses[name]

    def close(self) -> None:
        self._open = False
        for listener in self._listeners:
            listener.close()

    def _choose(self, line: ssl.SSLObject | ssl.SSLSocket, name: str | None, base: ssl.SSLContext) -> int | None:
        if name not in self._contexts:
            return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
        line.context = self._contexts[name]
        line.house = name  # type: ignore[union-attr]
        return None

    def _serve(self, listener: socket.socket) -> None:
        while True:
            try:
                line, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(line,), daemon=True).start()

    def _talk(self, plain: socket.socket) -> None:
        with contextlib.suppress(OSError), self._base.wrap_socket(plain, server_side=True) as line:
            request = b""
            while b"\r\n\r\n" not in request:
                if not (more := line.recv(4096)):
                    return
                request += more
            path = request.split()[1].decode()
            text, drips, _ = self.pages[line.house][path].partition(DRIP)  # type: ignore[attr-defined]
            line.sendall(text.encode())
            while drips and self._open:
                line.sendall(b"x")
                time.sleep(0.05)


@pytest.fixture(scope="module")
def ca() -> Pair:
    return make("Toy Root", authority=True)


@pytest.fixture
def street(tmp_path: Path, ca: Pair, monkeypatch: pytest.MonkeyPatch) -> Iterator[Street]:
    """A street with one good house, and one on another network that proves we are online."""
    monkeypatch.setattr(eye, "VISIT_SECONDS", 1.5)
    monkeypatch.setattr(eye, "NAME_SECONDS", 6.0)
    there = Street(tmp_path, ca)
    there.house("good.test")
    there.house("control.test", at=CONTROL)
    yield there
    there.close()


# --- what is seen ----------------------------------------------------------------------------------------


def test_a_site_that_is_well(street: Street) -> None:
    look = street.look("good.test")
    assert (look.state, look.why) == ("up", [])
    assert look.days_left == 88 and look.heartbeat_age in range(4, 8)
    assert "control.test" not in street.asked, "nobody else is bothered while all is well"


@pytest.mark.parametrize(
    ("end", "subject", "trusted", "says"),
    [
        (timedelta(hours=-1), "x.test", True, "has expired"),
        (timedelta(days=89), "other.test", True, "another name"),
        (timedelta(days=89), "x.test", False, "nobody vouches"),
    ],
)
def test_a_bad_certificate(street: Street, ca: Pair, end: timedelta, subject: str, trusted: bool, says: str) -> None:
    street.house("x.test", certificate=make(subject, ca if trusted else None, start=timedelta(days=-90), end=end))
    look = street.look("x.test")
    assert look.state == "ill" and says in look.why[0]
    street.addresses["control.test"] = [(V4, NOBODY)]
    assert street.look("x.test").state == "unknown", "the portal of a café, or our clock, looks the same"


def test_a_certificate_that_nobody_renews(street: Street, ca: Pair) -> None:
    street.house("x.test", certificate=make("x.test", ca, start=timedelta(days=-70), end=timedelta(days=20)))
    look = street.look("x.test")
    assert look.state == "ill" and "19 days" in look.why[0]
    assert eye.LIFETIME_LEFT == LIFETIME_LEFT, "verify and watch judge alike"


@pytest.mark.parametrize(
    ("page", "state", "says"),
    [
        (answer("301 Moved Permanently", Location="https://x.test/fr/"), "up", ""),
        (answer("204 No Content"), "up", ""),
        (answer(body="x" * 3_000_000), "up", ""),
        (answer(body=DRIP), "up", ""),
        (answer("502 Bad Gateway", body="<h1>502</h1>"), "ill", "answers 502"),
        (answer("404 Not Found"), "ill", "answers 404"),
        ("SSH-2.0-OpenSSH_9.2\r\n\r\n", "ill", "does not come"),
        ("", "ill", "does not come"),
        ("HTTP/1.1 200 OK\r\nX: " + DRIP, "ill", "no answer in time"),
        ("HTTP/1.1 200 OK\r\n" + "X: y\r\n" * 20_000, "ill", "endless head"),
        ("HTTP/1.1 999999 \xff\r\n\r\n", "ill", "does not come"),
    ],
)  # fmt: skip
def test_front_pages(street: Street, page: str, state: str, says: str) -> None:
    street.house("x.test", page)
    look = street.look("x.test")
    assert look.state == state and says in "; ".join(look.why)
    assert not look.own


@pytest.mark.parametrize(
    ("heartbeat", "state", "says"),
    [
        (lambda: beat(560), "up", ""),
        (lambda: beat(661), "ill", "for 11 minutes"),
        (lambda: beat(-3600), "ill", "from the future"),
        (lambda: beat(5, clock=-40 * 86400), "up", ""),
        (lambda: beat(3630, clock=86400), "ill", "for 60 minutes"),
        (lambda: beat(5, "mute"), "ill", "says of itself: mute"),
        (lambda: answer("404 Not Found"), "ill", "no heartbeat: 404"),
        (lambda: answer("302 Found", Location="/"), "ill", "no heartbeat: 302"),
        (lambda: answer(body="<html>"), "ill", "nobody can read it"),
        (lambda: answer(body="[]"), "ill", "nobody can read it"),
        (lambda: answer(body='{"at": "yesterday", "state": "ok"}'), "ill", "nobody can read it"),
        (lambda: answer(body='{"at": NaN, "state": "ok"}'), "ill", "nobody can read it"),
        (lambda: answer(body='{"at": 1e999, "state": "ok"}'), "ill", "nobody can read it"),
        (lambda: answer(body="[" * 4000), "ill", "nobody can read it"),
        (lambda: answer(body="x" * 3_000_000), "ill", "nobody can read it"),
        (lambda: answer(body='{"at": ', Content_Length="900"), "ill", "no heartbeat"),
        (lambda: answer(body='{"at": 1' + DRIP), "ill", "no answer in time"),
        (lambda: "", "ill", "no heartbeat"),
    ],
)  # fmt: skip
def test_heartbeats(street: Street, heartbeat: Callable[[], str], state: str, says: str) -> None:
    street.house("x.test", heartbeat=heartbeat())
    look = street.look("x.test")
    assert look.state == state and says in "; ".join(look.why)
    assert not look.own


def test_a_heartbeat_in_chunks(street: Street) -> None:
    text = json.dumps({"at": int(time.time()), "state": "ok"})
    chunks = f"{5:x}\r\n{text[:5]}\r\n{len(text) - 5:x}\r\n{text[5:]}\r\n0\r\n\r\n"
    street.house("x.test", heartbeat=answer(body=chunks, Transfer_Encoding="chunked"))
    assert street.look("x.test").state == "up"


def test_ill_by_its_own_account(street: Street) -> None:
    street.house("x.test", heartbeat=beat(state="ill"))
    look = street.look("x.test")
    assert look.state == "ill" and look.own
    street.house("x.test", answer("502 Bad Gateway"), beat(state="ill"))
    assert not street.look("x.test").own, "the 502 is for us to tell"


def test_silence_and_not_being_able_to_tell(street: Street) -> None:
    street.addresses["x.test"] = [(V4, NOBODY)]
    look = street.look("x.test")
    assert look.state == "silent" and f"{NOBODY} does not answer: connection refused" in look.why
    assert street.look("gone.test").state == "silent", "its name leads nowhere, and name service works"
    street.addresses["control.test"] = [(V4, NOBODY)]
    assert street.look("x.test").state == "unknown"
    assert street.look("gone.test").state == "unknown"
    assert street.look("x.test", "nowhere.test").state == "unknown"
    assert street.look("good.test").state == "up"


def test_another_watched_name_proves_that_we_are_online(street: Street) -> None:
    street.house("far.test", at=CONTROL)
    street.addresses["x.test"] = [(V4, NOBODY)]
    del street.addresses["control.test"]
    street.asked.clear()
    states = [look.state for look in street.eye().look(["x.test", "far.test"])]
    assert states == ["silent", "up"] and "control.test" not in street.asked
    street.house("x.test", certificate=make("x.test"))
    street.house("beside.test")
    states = [look.state for look in street.eye().look(["x.test", "beside.test"])]
    assert states == ["unknown", "up"], "the same address proves nothing of another one"


def test_a_family_that_this_machine_does_not_have(street: Street) -> None:
    if len(street._listeners) < 3:
        pytest.skip("this machine has no ::1")
    street.house("x.test", more=((V6, "::1"),))
    assert street.look("x.test").state == "up"
    street.addresses["x.test"] = [(V4, HERE), (V6, "::2")]
    assert street.look("x.test").state == "up", "nobody answers over IPv6: that is about us"
    street.addresses["control.test"] = [(V4, CONTROL), (V6, "::1")]
    street.addresses["x.test"] = [(V4, NOBODY), (V6, "::1")]
    look = street.look("x.test")
    assert look.state == "ill" and look.why == [f"{NOBODY} does not answer: connection refused"]


def test_a_name_service_that_never_answers(street: Street, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(eye, "NAME_SECONDS", -9.0)
    never = threading.Event()

    def stuck(name: str, port: int) -> list[tuple[int, str]]:
        never.wait()
        return []

    looks = Eye(roots=street.roots, control=["c.test"], port=street.port, resolve=stuck).look(["a.test", "b.test"])
    never.set()
    assert [look.state for look in looks] == ["unknown", "unknown"]


def test_both_languages_say_everything() -> None:
    for key, (en, fr) in eye.say.__globals__["TEXTS"].items():
        assert en != fr and en.count("{") == fr.count("{"), key


def test_what_goes_to_hosts_needs_nothing_else() -> None:
    folder = Path(eye.__file__).parent
    for part in PARTS:
        lines = (folder / part).read_text().splitlines()
        imported = [line for line in lines if line.startswith(("from houblon", "import houblon"))]
        assert all(line.startswith("from houblon.watch.") for line in imported), part


# --- what is remembered ----------------------------------------------------------------------------------


def remember(*states: str, entry: dict[str, Any] | None = None, every: int = 120, start: float = 1e9) -> dict[str, Any]:
    entry = entry or {}
    for number, state in enumerate(states):
        look = Look("x.test", state, ["because"] if state != "up" else [])
        entry = memory.step(entry, look, start + number * every)
    return entry


def test_three_bad_looks_raise_and_two_good_ones_end() -> None:
    assert remember("silent", "ill")["alarm"] == ""
    assert remember("silent", "up", "silent", "silent")["alarm"] == ""
    raised = remember("up", "silent", "silent", "silent")
    assert raised["alarm"] == "silent" and raised["bad_since"] == 1e9 + 120
    assert remember("up", entry=raised)["alarm"] == "silent"
    assert remember("up", "up", entry=raised)["alarm"] == ""


def test_what_cannot_be_told_raises_nothing_and_ends_nothing() -> None:
    assert remember(*["unknown"] * 50)["alarm"] == ""
    assert remember("ill", "unknown", "ill", "unknown", "unknown", "ill")["alarm"] == "ill"
    raised = remember("silent", "silent", "silent")
    assert remember(*["unknown"] * 50, "up", entry=raised)["alarm"] == "silent"


def test_an_ill_site_that_falls_silent_is_worse() -> None:
    raised = remember("ill", "ill", "ill", "silent", "silent")
    assert raised["alarm"] == "ill"
    assert remember("silent", entry=raised)["alarm"] == "silent"


def test_two_sites_do_not_keep_each_other_ill() -> None:
    entry: dict[str, Any] = remember("silent", "silent", "silent")
    for _ in range(2):
        entry = memory.step(entry, Look("x.test", "ill", ["it says of itself that it is ill"], own=True), 2e9)
    assert entry["alarm"] == "" and entry["state"] == "ill"


@given(st.randoms(use_true_random=False), st.sampled_from([2, 3, 10]))
@settings(max_examples=25, deadline=None)
def test_never_a_flood(chance: Random, calm: int) -> None:
    """A day of looks in any order: the number of alarms stays small, and an alarm has three bad looks before it."""
    states = chance.choices(["up", "ill", "silent", "unknown"], [calm, 2, 2, 1], k=720)
    entry: dict[str, Any] = {}
    told = 0
    for number, state in enumerate(states):
        before = entry.get("alarm", "")
        entry = memory.step(entry, Look("x.test", state, ["because"]), 1e9 + number * 120)
        if not before and entry["alarm"]:
            told += 1
            assert entry["bad"] >= memory.BAD_LOOKS and state in ("ill", "silent")
    assert told <= 24
    json.dumps(entry)


def test_the_worst_flapping_is_told_of_a_few_times() -> None:
    entry: dict[str, Any] = {}
    told = 0
    for number in range(720):
        before = entry.get("alarm", "")
        bad = entry.get("good", 0) >= 2 ** len(entry.get("alarms", [1])) or not before
        entry = memory.step(entry, Look("x.test", "silent" if bad else "up"), 1e9 + number * 120)
        told += bool(entry["alarm"]) and not before
    assert 5 <= told <= 24


# --- what is told ----------------------------------------------------------------------------------------


class Sink(HTTPServer):
    """Takes messages over HTTP, or refuses them."""

    def __init__(self) -> None:
        self.status, self.got = 200, list[tuple[str, str, str]]()
        sink = self

        class Take(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                if sink.status == 200:
                    sink.got.append((self.path, self.headers.get("Priority", ""), body))
                self.send_response(sink.status)
                self.end_headers()

            def log_message(self, *args: object) -> None:
                pass

        super().__init__((HERE, 0), Take)
        threading.Thread(target=self.serve_forever, daemon=True).start()
        self.url = f"http://{HERE}:{self.server_port}"


@pytest.fixture
def sink() -> Iterator[Sink]:
    there = Sink()
    yield there
    there.shutdown()
    there.server_close()


def test_alarms_are_told_once_and_again_when_nobody_took_them(
    street: Street, sink: Sink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = {
        "names": ["good.test", "x.test"], "state": str(tmp_path / "state" / "s.json"), "control": ["control.test"],
        "ntfy": f"{sink.url}/topic-nobody-guesses", "webhook": f"{sink.url}/hook", "language": "fr",
    }  # fmt: skip
    monkeypatch.setattr(memory, "Eye", lambda **options: street.eye(*options["control"], language=options["language"]))
    street.addresses["x.test"] = [(V4, NOBODY)]
    sink.status = 503
    for _ in range(4):
        memory.look(config)
    assert sink.got == []
    assert "topic-nobody-guesses" not in "".join(capsys.readouterr()), "who knows the address may write there"
    sink.status = 200
    for _ in range(3):
        state = memory.look(config)
    assert state["names"]["x.test"]["alarm"] == "silent"
    (path, priority, text), (_, _, hook) = sink.got
    assert (path, priority) == ("/topic-nobody-guesses", "high")
    assert "x.test ne répond plus" in text and "connexion refusée" in text
    assert json.loads(hook)["state"] == "silent" and json.loads(hook)["text"] == text
    street.house("x.test")
    for _ in range(3):
        memory.look(config)
    assert next(text for _, _, text in sink.got[2:]) == "x.test va de nouveau bien."
    assert len(sink.got) == 4


def test_the_verdict_for_the_alerts_of_a_host(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state, config = tmp_path / "state.json", tmp_path / "watch.json"
    config.write_text(json.dumps({"names": ["x.test"], "state": str(state)}))
    old = time.time() - 3600

    def verdict(*name: str) -> tuple[int, str]:
        return memory.main(["verdict", str(config), *name]), capsys.readouterr().out

    assert verdict() == (0, "") and verdict("x.test") == (0, ""), "it was installed just now"
    settings = json.loads(config.read_text())
    assert "yet" in memory.verdict(settings, None, old), "nobody has looked since it was installed, an hour ago"
    entry = remember("silent", "silent", "silent", start=time.time() - 400)
    state.write_text(json.dumps({"at": time.time(), "offline_since": None, "names": {"x.test": entry}}))
    assert verdict() == (0, "")
    status, text = verdict("x.test")
    assert status == 1 and text.startswith("x.test is silent since 20") and text.endswith(": because.\n")
    state.write_text(json.dumps({"at": old, "names": {}}))
    assert "nobody has looked at other sites since 20" in memory.verdict(settings, None, old)
    state.write_text(json.dumps({"at": time.time(), "offline_since": old - 60, "names": {}}))
    assert verdict()[0] == 1
    for damage in (b"", b"{", b"[]", b"\xff\xfe", b"[" * 5000):
        state.write_bytes(damage)
        assert verdict("x.test") == (0, "") and "yet" in memory.verdict(settings, None, old)
    state.unlink()
    state.symlink_to(config)
    assert memory.read(str(state)) == {}, "root follows no link of the eye's own user"
    assert memory.main(["verdict", str(tmp_path / "none.json")]) == 2


def test_a_name_that_this_host_never_sees_is_told_of(
    street: Street, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as one that has IPv6 only, seen from a host that has none."""
    config = {"names": ["good.test", "far.test"], "state": str(tmp_path / "s.json"), "control": ["control.test"]}
    monkeypatch.setattr(memory, "Eye", lambda **options: street.eye(*options["control"]))
    street.addresses["far.test"] = [(V6, "::2")]
    now = [time.time()]
    monkeypatch.setattr(memory.time, "time", lambda: now[0])

    def after(seconds: float) -> str:
        now[0] += seconds
        assert memory.look(config)["names"]["far.test"]["state"] == "unknown"
        return memory.verdict(config, None, 0)

    good = street.addresses["good.test"], street.addresses["control.test"]
    street.addresses |= {"good.test": [(V4, NOBODY)], "control.test": [(V4, NOBODY)]}
    assert after(0) == "" and "offline" in after(memory.OFFLINE_SECONDS + 1)
    street.addresses["good.test"], street.addresses["control.test"] = good
    assert after(120) == "", "until now this host was offline itself"
    assert after(memory.OFFLINE_SECONDS - 1) == ""
    said = after(120)
    assert "far.test" in said and "good.test" not in said
    assert "far.test" in memory.verdict(config | {"language": "fr"}, None, 0)
    assert memory.verdict(config | {"names": ["good.test"]}, None, 0) == "", "it is watched no more"
    street.house("far.test")
    assert memory.look(config)["names"]["far.test"]["state"] == "up" and memory.verdict(config, None, 0) == ""


# --- the site file ---------------------------------------------------------------------------------------

BASE = SITE.format(services="portal:").replace("portal:\n", "portal:  # the page\n")


@pytest.mark.parametrize(
    "section",
    [
        "",
        "watch:\n  names:\n    - one.test\n",
        "watch:\n  names:\n  - one.test\n  # and\n  - two.test  # far away\n  control: [three.test]\n",
        "watch: # others\n  control:\n    - three.test\n  names: [one.test, two.test] # both\n",
        "watch:\n  names: []\n",
        "watch:\n",
        "watch:\n  roots: ca.pem\n",
        "watch:\n  names:\n    - 'one.test'\n\n    - \"two.test\"\n",
    ],
)
def test_names_come_and_go_and_everything_else_stays(tmp_path: Path, section: str) -> None:
    file = tmp_path / "site.yaml"
    for text in (BASE + section, BASE.replace("services:", section + "# what people use\nservices:")):
        file.write_text(text)
        before = edit.names(file)
        changed = edit.add(file, "new.test")
        assert changed is not None
        edit.store(file, changed)
        assert edit.names(file) == [*before, "new.test"]
        assert edit.add(file, "new.test") is None
        comments = [line[line.index("#") :] for line in text.splitlines() if "#" in line]
        for name in [*before, "new.test"]:
            changed = edit.drop(file, name)
            assert changed is not None
            edit.store(file, changed)
        assert edit.names(file) == [] and edit.drop(file, "new.test") is None
        kept = [c for c in comments if c != "# far away"]
        assert [line[line.index("#") :] for line in file.read_text().splitlines() if "#" in line] == kept
        rest = yamlfile.read(file).data
        assert {k: v for k, v in rest.items() if k != "watch"} == yamlfile.parse(BASE, file).data


@pytest.mark.parametrize(
    "section",
    [
        "watch: {names: [one.test]}\n", "watch:\n  names: [one.test,\n    two.test]\n", "watch: 3\n",
        "watch:\n  names: one.test\n", "watch:\n  names: {a: b}\n", "watch:\n  names:\n    - https://one.test/\n",
        "watch:\n  names:\n    -\n      one.test\n",
    ],
)  # fmt: skip
def test_what_cannot_be_edited_safely_is_left_alone(tmp_path: Path, section: str) -> None:
    file = tmp_path / "site.yaml"
    file.write_text(BASE + section)
    with pytest.raises(BadInput) as error:
        edit.add(file, "new.test")
    assert error.value.cure and error.value.line
    assert file.read_text() == BASE + section


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("https://other.test/", "not a name"), ("other", "at least one dot"), ("192.0.2.1", "does not end in a number"),
        ("2001:db8::1", "not a valid name"), ("other.test:443", "not a valid name"), ("other.test.", "final dot"),
        ("a b.test", "not a valid name"), ("-x.test", "not a valid name"), ("x" * 300 + ".test", "not a valid name"),
        ("o_o.test", "underscore"), ("", "not a valid name"), ("*.test", "not a valid name"),
        ("famille.test", "this site itself"), ("x.localhost", "localhost"),
    ],
)  # fmt: skip
def test_names_that_are_refused_change_nothing(
    tmp_path: Path, name: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_site(tmp_path, BASE)
    (tmp_path / "vault").mkdir()
    assert houblon(["watch", "add", "--yes", "--", name, str(folder)]) == 2
    assert says in capsys.readouterr().err
    assert (folder / "site.yaml").read_text() == BASE
    assert houblon(["watch", "remove", "--yes", "--", "unwatched.test", str(folder)]) == 2


@pytest.mark.parametrize("edited", ["", "# a colleague was here\n"])
def test_what_somebody_edits_meanwhile_is_kept(
    tmp_path: Path, edited: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = make_site(tmp_path, BASE) / "site.yaml"
    added = edit.add(file, "new.test")
    assert added is not None

    def owner_says_no(*_: object, **__: object) -> None:
        assert file.read_text() == added
        file.write_text(added + edited)
        raise typer.Abort

    monkeypatch.setattr("houblon.cli.app.apply", owner_says_no)
    assert houblon(["watch", "add", "new.test", str(file.parent)]) != 0
    assert file.read_text() == (added + edited if edited else BASE)
    assert ("edited meanwhile" in " ".join(capsys.readouterr().err.split())) == bool(edited)


def test_idn(tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text(BASE)
    assert edit.judged("Éléphant.test") == "xn--lphant-9uab.test"


# --- the role --------------------------------------------------------------------------------------------


def role_site(folder: Path, section: str) -> Any:
    return load(make_site(folder, BASE + section))


def test_an_alarm_for_each_name_and_one_for_the_eye(tmp_path: Path) -> None:
    site = role_site(tmp_path, "watch:\n  names: [One.test, éa.test]\n")
    alerts = {claim.name: claim.command for claim in site.claims(Alert) if claim.role == "watch"}
    assert set(alerts) == {"one.test", "xn--a-9fa.test", "eye"}
    assert alerts["one.test"].endswith("verdict /etc/houblon/watch.json one.test")


@pytest.mark.parametrize(
    ("section", "says"),
    [
        ("watch:\n  names: [one.test, ONE.test]\n", "twice"),
        ("watch:\n  names: [famille.test]\n", "cannot tell of its own death"),
        ("watch:\n  names: ['https://one.test']\n", "address of a page"),
        ("watch:\n  names: [one.test]\n  roots: nope.pem\n", "there is no file nope.pem"),
        ("watch:\n  names: [one.test]\n  control: []\n", "too short"),
        ("watch: [one.test]\n", "set of keys"),
    ],
)
def test_sections_that_are_refused(tmp_path: Path, section: str, says: str) -> None:
    with pytest.raises(BadInput, match=says) as error:
        role_site(tmp_path, section)
    assert error.value.line and error.value.cure


def test_no_name_is_worth_a_remark(tmp_path: Path) -> None:
    site = role_site(tmp_path, "watch:\n")
    assert any("no name to look at" in note for note in site.notes)
    assert not [claim for claim in site.claims(Alert) if claim.role == "watch"]


# --- the operator's machine ------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own, on a machine where neither systemd nor a desktop is found."""
    for variable in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "HOUBLON_SITE"):
        monkeypatch.delenv(variable, raising=False)
    home = tmp_path / "home of camille"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("LANG", "fr_FR.UTF-8")
    monkeypatch.chdir(tmp_path)
    return home


def install(monkeypatch: pytest.MonkeyPatch, url: str, *arguments: str) -> int:
    import io

    monkeypatch.setattr("sys.stdin", io.StringIO(url))
    return houblon(["watch", "install", *arguments])


def test_install_without_systemd_and_uninstall_leaves_nothing(
    home: Path, sink: Sink, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert install(monkeypatch, f"{sink.url}/secret-topic\n", "one.test", "--ntfy", "--no-desktop") == 0
    shown = capsys.readouterr()
    assert "secret-topic" not in shown.out + shown.err
    assert [path for path, _, _ in sink.got] == ["/secret-topic"], "tested at once"
    desk = Desk.mine()
    assert stat.S_IMODE(desk.settings.stat().st_mode) == 0o600
    assert desk.told()["names"] == ["one.test"] and desk.told()["language"] == "fr"
    line = next(line.strip() for line in shown.out.splitlines() if line.strip().startswith("*/2 "))
    settings = {**desk.told(), "names": [], "ntfy": ""}
    desk.settings.write_text(json.dumps(settings))
    done = subprocess.run(["/bin/sh", "-c", line.removeprefix("*/2 * * * * ")], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert desk.seen()["names"] == {}
    assert houblon(["watch", "uninstall"]) == 0
    assert list(home.iterdir()) == []


def test_installing_again_keeps_the_channels(home: Path, sink: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
    assert install(monkeypatch, f"{sink.url}/hook\n", "one.test", "--webhook") == 0
    assert install(monkeypatch, "", "one.test", "two.test") == 0
    told = Desk.mine().told()
    assert told["names"] == ["one.test", "two.test"] and told["webhook"] == f"{sink.url}/hook"


@pytest.mark.parametrize("url", ["", "ftp://x.test/a", "http://x.test/a", "https://", "https://a b/", "https://u:p@x.test/"])
def test_channels_that_are_refused(home: Path, monkeypatch: pytest.MonkeyPatch, url: str,
                                   capsys: pytest.CaptureFixture[str]) -> None:
    assert install(monkeypatch, url + "\n", "one.test", "--ntfy") == 2
    assert len(url) < 10 or url not in capsys.readouterr().err
    assert not Desk.mine().settings.exists()
    with pytest.raises(BadInput):
        channel_address(url)


def test_a_channel_that_does_not_work_installs_nothing(
    home: Path, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink.status = 403
    assert install(monkeypatch, f"{sink.url}/topic\n", "one.test", "--ntfy") == 5
    assert install(monkeypatch, "", "one.test") == 2, "nobody would be told"
    assert [path for path in home.rglob("*") if path.is_file()] == []


def test_list_says_when_nobody_looks(home: Path, sink: Sink, monkeypatch: pytest.MonkeyPatch,
                                     capsys: pytest.CaptureFixture[str]) -> None:
    install(monkeypatch, f"{sink.url}/hook\n", "one.test", "--webhook")
    desk = Desk.mine()
    entry = remember("up", start=time.time() - 7200)
    memory.write(str(desk.state), {"at": time.time() - 7200, "names": {"one.test": entry}})
    capsys.readouterr()
    assert houblon(["watch", "list", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["state"] == "unknown", "what was seen two hours ago says nothing about now"
    assert houblon(["watch", "list"]) == 0
    assert "is the timer running?" in " ".join(capsys.readouterr().out.split())
    assert desk.asleep() == "", "it was installed just now"
    os.utime(desk.settings, (time.time() - 7200,) * 2)
    assert "nobody has looked at other sites since" in desk.asleep()


def test_units_survive_odd_paths() -> None:
    text = units(Path('/home/a b/100%/"q"/$x/look'))["service"]
    assert r'ExecStart="/home/a b/100%%/\"q\"/$$x/look"' in text


