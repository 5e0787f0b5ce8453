"""Claim checks, one by one, on snapshots of hosts that are well or ill."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from houblon import claims as c
from houblon.site import Site
from houblon.verify import Broken, NotMeasurable
from houblon.verify.claim_checks import from_claims
from houblon.verify.context import Context
from houblon.verify.host_checks import from_host
from houblon.verify.probe import Frame

NOW = 1_795_320_161


class FakeRole:
    def __init__(self, name: str, *consumes: type[c.Claim]) -> None:
        self.name, self.consumes, self.config = name, consumes, SimpleNamespace()
        self.metadata = SimpleNamespace(category="system")


def context(*claims: c.Claim, **frames: str | Frame) -> Context:
    roles = [FakeRole("base"), FakeRole("toy"), FakeRole("jailer", c.Jail)]
    site = SimpleNamespace(
        roles=roles, host=SimpleNamespace(address="127.0.0.1", port=22), folder=Path(),
        claims=lambda kind: tuple(claim for claim in claims if isinstance(claim, kind)),
    )  # fmt: skip
    made = Context(cast(Site, site), cast(Any, None), None)
    made.frames = {"now": Frame(0, str(NOW)), "record": Frame(0, ""), "virt": Frame(0, "none")}
    made.frames |= {name: Frame(0, f) if isinstance(f, str) else f for name, f in frames.items()}
    return made


def outcome(x: Context, identifier: str) -> str:
    """``ok``, ``unmeasurable``, or what was seen."""
    found = {f"{check.role}::{check.name}": check for check in from_claims(x)}
    try:
        found[identifier].run(x)
    except Broken as broken:
        return broken.seen.en
    except NotMeasurable:
        return "unmeasurable"
    return "ok"


def unit(name: str = "toy.service", **values: object) -> str:
    about = {"Id": name, "Names": name, "LoadState": "loaded", "ActiveState": "active", "SubState": "running",
             "UnitFileState": "enabled", "Result": "success", "Type": "simple", "NRestarts": 0,
             "StateChangeTimestamp": f"@{NOW - 9999}"} | values  # fmt: skip
    return "\n".join(f"{key}={value}" for key, value in about.items()) + "\n"


UNIT = c.Unit("toy.service", sandbox=3.0, role="toy")
EXPOSURE = "toy.service    2.9 OK :-)\n"


@pytest.mark.parametrize(
    ("check", "values", "seen"),
    [
        ("active", {}, "ok"),
        ("active", {"ActiveState": "failed", "SubState": "failed", "Result": "exit-code"},
         "it is failed (failed), exit-code"),
        ("active", {"ActiveState": "inactive", "SubState": "dead", "Type": "oneshot"}, "it is inactive (dead)"),
        ("active", {"ActiveState": "activating", "SubState": "auto-restart"}, "it is activating (auto-restart)"),
        ("active", {"LoadState": "not-found"}, "systemd does not know it"),
        ("enabled", {}, "ok"),
        ("enabled", {"UnitFileState": "static"}, "ok"),
        ("enabled", {"UnitFileState": "disabled"}, "it is disabled"),
        ("enabled", {"UnitFileState": "masked"}, "it is masked"),
        ("steady", {"NRestarts": 5}, "ok"),
        ("steady", {"NRestarts": 5, "StateChangeTimestamp": f"@{NOW - 7}"},
         "systemd restarted it 5 times, last 7 s ago"),
        ("steady", {"StateChangeTimestamp": f"@{NOW - 7}"}, "ok"),
        ("sandbox", {}, "ok"),
        ("sandbox", {"ActiveState": "inactive"}, "unmeasurable"),
    ],
)  # fmt: skip
def test_units(check: str, values: dict[str, object], seen: str) -> None:
    assert outcome(context(UNIT, units=unit(**values), exposure=EXPOSURE), f"toy::{check}") == seen


def test_sandboxes() -> None:
    assert outcome(context(UNIT, units=unit(), exposure="toy.service 9.6 UNSAFE\n"), "toy::sandbox") == (
        "its exposure is 9.6"
    )
    assert "does not list it" in outcome(context(UNIT, units=unit(), exposure=""), "toy::sandbox")
    assert not any(check.name == "sandbox" for check in from_claims(context(c.Unit("a.timer", None, role="toy"))))


def test_what_systemd_does_not_answer_is_red() -> None:
    x = context(UNIT, units=Frame(1, "Failed to connect to bus"), exposure=EXPOSURE)
    assert outcome(x, "toy::active") == "Failed to connect to bus"


def listening(*addresses: str, port: int = 8000) -> str:
    return "".join(f'tcp LISTEN 0 1 {a}:{port} 0.0.0.0:* users:(("toy",pid=1,fd=1))\n' for a in addresses)


@pytest.mark.parametrize(
    ("addresses", "seen"),
    [
        (("127.0.0.1",), "ok"),
        (("127.0.0.1", "[::1]"), "ok"),
        ((), "nothing listens there"),
        (("0.0.0.0",), "it listens on 0.0.0.0"),  # noqa: S104
        (("127.0.0.1", "192.0.2.1"), "it also listens on 192.0.2.1 (toy)"),
        (("127.0.0.1", "*"), "it also listens on * (toy)"),
    ],
)
def test_listeners(addresses: tuple[str, ...], seen: str) -> None:
    claim = c.Listen(8000, role="toy")
    assert outcome(context(claim, listen=listening(*addresses)), "toy::listens") == seen


def test_unknown_listeners_are_red() -> None:
    x = context(c.Listen(8000, role="toy"), listen=Frame(127, "ss: not found"))
    assert outcome(x, "toy::listens") == "ss: not found"


def test_udp_ports() -> None:
    claim = c.Port(51820, "udp", role="toy")
    assert outcome(context(claim, listen="udp UNCONN 0 0 0.0.0.0:51820 0.0.0.0:*\n"), "toy::port") == "ok"
    assert outcome(context(claim, listen="udp UNCONN 0 0 127.0.0.1:51820 0.0.0.0:*\n"), "toy::port") == (
        "nothing listens there"
    )


def test_configuration() -> None:
    claim = c.ConfigTest("toy -t", role="toy")
    assert outcome(context(claim, **{"config 0": Frame(0, "fine")}), "toy::configuration") == "ok"
    x = context(claim, **{"config 0": Frame(1, "a\nb: bad\nfailed\n")})
    assert outcome(x, "toy::configuration") == "it says: b: bad / failed"


def test_names_are_booked_to_base_and_jails_to_their_keeper() -> None:
    name = c.HostName("a.test", role="toy")
    assert outcome(context(name, names="a.test 127.0.0.1 ::1\n"), "base::resolves") == "ok"
    assert outcome(context(name, names="a.test 127.0.0.1 192.0.2.1\n"), "base::resolves") == "127.0.0.1, 192.0.2.1"
    assert outcome(context(name, names="a.test\n"), "base::resolves") == "it does not resolve it"
    jail = c.Jail("toy", "toy", "", (80,), role="toy")
    listed = "Status\n|- Number of jail:\t2\n`- Jail list:\tnginx-toy, toy\n"
    assert outcome(context(jail, jails=listed), "jailer::jail") == "ok"
    assert outcome(context(jail, jails=listed.replace(", toy", "")), "jailer::jail") == "it has no such jail"
    assert "refused" in outcome(context(jail, jails=Frame(255, "connection refused")), "jailer::jail")


def test_packages() -> None:
    claim = c.Package("a", "b", role="toy")
    assert outcome(context(claim, packages="a\tii \nb\thi \n"), "toy::packages") == "ok"
    assert outcome(context(claim, packages="a\tiF \n"), "toy::packages") == "missing or half installed: a, b"


def test_failed_units_besides_ours() -> None:
    failed = "● broken.service loaded failed failed Broken\ntoy.service loaded failed failed Toy\n"
    x = context(UNIT, failed=failed)
    check = next(check for check in from_host(x) if check.name == "failed units")
    with pytest.raises(Broken) as caught:
        check.run(x)
    assert caught.value.seen.fr == "broken.service" and check.role == "base"
    x.frames["failed"] = Frame(0, "toy.service loaded failed failed Toy\n")
    check.run(x)


def test_claims_of_roles_that_are_not_placed_promise_nothing() -> None:
    assert list(from_claims(context(c.Unit("gone.service", role="gone")))) == []


def test_ports_of_roles_left_on_the_host_are_no_surprise() -> None:
    record = '{"roles": {"gone": {"claims": [{"claim": "Port", "number": 8448, "role": "gone"}, {"claim": "Later"}]}}}'
    x = context(c.Port(443, role="toy"), c.Port(8080, exposure="lan", role="toy"), record=record)
    assert sorted(x.ports()) == [443, 8080, 8448]
    x = context(c.Port(443, role="toy"), record="{")
    assert sorted(x.ports()) == [443]
