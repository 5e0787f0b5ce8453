"""The eye has looked lately, could tell something, and is well confined."""

from __future__ import annotations

from typing import Any

import pytest

from houblon.claims import tr
from houblon.verify import Broken

VERDICT = "/usr/local/lib/houblon/watch verdict /etc/houblon/watch.json"
SANDBOX = 2.0
"""Highest exposure that `systemd-analyze security` may find."""


def test_the_eye_looks(host: Any, role: Any) -> None:
    """Every watched name was looked at in the last quarter of an hour, by a host that was online."""
    if not role.config.names:
        return
    trouble = host.run(VERDICT)
    if trouble.rc != 0:
        raise Broken(
            tr(en="this host looks at other sites", fr="cet hôte regarde d'autres sites"),
            tr(en=trouble.stdout.strip() or trouble.stderr.strip()[-200:],
               fr=trouble.stdout.strip() or trouble.stderr.strip()[-200:]),
            tr(en="Look at `journalctl -u houblon-watch` on the host.",
               fr="Voyez `journalctl -u houblon-watch` sur l'hôte."),
        )  # fmt: skip


@pytest.mark.root
def test_the_eye_is_confined(host: Any, role: Any) -> None:
    """What talks to strangers has a user of its own, and little besides the network."""
    if not role.config.names:
        return
    shown = host.check_output("systemd-analyze security --no-pager houblon-watch.service | tail -n 1")
    exposure = float(shown.partition(":")[2].split()[0])
    assert exposure <= SANDBOX, shown


@pytest.mark.deep
def test_the_eye_sees(host: Any, role: Any) -> None:
    """A look now, as the timer would take it, ends well."""
    if not role.config.names:
        return
    done = host.run("systemctl start houblon-watch.service", timeout=200)
    assert done.rc == 0, done.stderr.strip()[-300:]
