"""What claims cannot express: that the host was looked at just now, and that somebody would hear."""

from __future__ import annotations

import json
from typing import Any

import pytest

from houblon.contract import tr
from houblon.roles.alerts import BASE, LIB, PUBLIC, Alerts
from houblon.verify import Broken

FRESH_SECONDS = 300


def test_the_host_was_looked_at(host: Any) -> None:
    """the heartbeat is fresh"""
    beat = json.loads(host.check_output(f"cat {PUBLIC}/public/.well-known/houblon/health.json"))
    age = int(host.check_output("date +%s")) - beat["at"]
    if age > FRESH_SECONDS:
        raise Broken(
            tr(en="the host was looked at in the last minutes", fr="l'hôte a été examiné il y a peu"),
            tr(en=f"the last look was {age} s ago", fr=f"le dernier examen date d'il y a {age} s"),
            tr(en="See `journalctl -u houblon-health` on the host.",
               fr="Voyez `journalctl -u houblon-health` sur l'hôte."),
        )  # fmt: skip


def test_the_book_can_be_read(host: Any) -> None:
    """the host's own list of alarms answers; what is on it is for `houblon alerts list` to tell"""
    assert "alarms" in json.loads(host.check_output(f"{LIB}/alert list"))


def test_every_service_tells_of_its_failure(host: Any) -> None:
    """OnFailure is in force for services of every origin, and does not tell of itself"""
    for unit in ("ssh.service", "systemd-journald.service", "houblon-health.service"):
        assert "houblon-alert@" in host.check_output("systemctl show -P OnFailure %s", unit), unit
    for unit in ("houblon-alert@x.service", "houblon-deliver.service"):
        assert host.check_output("systemctl show -P OnFailure %s", unit) == "", unit


def test_secrets_of_channels_are_kept(host: Any) -> None:
    """addresses and tokens are read by root and the deliverer only"""
    file = host.file("/etc/houblon/alerts-channels.json")
    assert (file.mode, file.user, file.group) == (0o640, "root", "houblon-alerts")


def test_messages_leave(host: Any, role: Alerts) -> None:
    """no message has been waiting for an hour"""
    if not role.channels:
        pytest.skip("no channel: alarms stay in the journal")
    waiting = host.check_output(f"find {BASE}/outbox -name '*.json' -mmin +60")
    assert waiting == "", f"undelivered: {waiting}"
