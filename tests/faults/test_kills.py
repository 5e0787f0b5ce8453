"""An apply killed anywhere is healed by the next, and the daemons then run what the disk says."""

from __future__ import annotations

import random
import subprocess
import sys
import time

import pytest

from houblon.errors import HoublonError
from tests.host.sites import Applied, environment

MOMENTS = ("before", "during", "torn", "after")
SEED = 20261122


def _points() -> list[tuple[int, float, str]]:
    """Twenty points, each moment five times, spread over the whole run (0 to 1) by a fixed seed."""
    draw = random.Random(SEED)  # noqa: S311 - repeatable on purpose
    return [(number, (number + draw.random()) / 20, MOMENTS[number % 4]) for number in range(20)]


@pytest.fixture(scope="module")
def commands(applied: Applied) -> int:
    """How many changing commands the run that `_change` brings about has, record and history included."""
    _change(applied, 99)
    done = _killer(applied, -1, "before")
    assert done.returncode == 0, done.stdout + done.stderr
    return int(done.stdout.rsplit("after ", 1)[1].split()[0])


def _change(site: Applied, number: int) -> None:
    """Touch a door, a file behind a reload, a drop-in behind a restart, and plain files."""
    text = (site.site_folder / "site.yaml").read_text()
    lines = [line for line in text.splitlines() if not line.startswith(("firewall:", "  open:", "    - {port: 2"))]
    lines = [f"name: Houblon {number}" if line.startswith("name: ") else line for line in lines]
    where = lines.index("services:")
    lines[where:where] = ["firewall:", "  open:", f"    - {{port: {20000 + number}, why: a test}}"]
    (site.site_folder / "site.yaml").write_text("\n".join(lines) + "\n")
    override = site.site_folder / "overrides" / "nginx" / f"{site.lab.domain}.conf"
    override.parent.mkdir(parents=True, exist_ok=True)
    override.write_text(f"location = /number {{ return 200 'number {number}'; }}\n")


def _runs_what_the_disk_says(site: Applied, number: int) -> None:
    domain = site.lab.domain
    answer = site.sh(
        f"printf 'GET /number HTTP/1.1\\r\\nHost: {domain}\\r\\nConnection: close\\r\\n\\r\\n' | "
        f"openssl s_client -quiet -connect 127.0.0.1:443 -servername {domain} 2>/dev/null"
    )
    assert f"number {number}" in answer
    assert f"tcp dport {20000 + number} accept" in site.sh("nft list table inet houblon")
    assert f"Houblon {number}" in site.sh("cat /srv/houblon/portal/fr/index.html")
    late = site.sh(
        "for u in nginx fail2ban; do "
        "[ \"$(systemctl show -p NeedDaemonReload --value $u)\" = no ] || echo $u needs daemon-reload; "
        "systemctl is-active --quiet $u || echo $u is down; done; ls /var/lib/houblon/door 2>/dev/null"
    )
    assert late == ""


def _killer(site: Applied, point: int, moment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.faults.killer", str(point), moment, str(site.site_folder)],
        capture_output=True, text=True, stdin=subprocess.DEVNULL, env=environment(), timeout=900, check=False,
    )


def _kill(site: Applied, point: int, moment: str) -> str:
    done = _killer(site, point, moment)
    if moment == "torn":
        site.sh("pkill -KILL -u alice; pkill -KILL -f houblon-ready", check=False)
    assert done.returncode == -9, f"the run was not killed at {point}: {done.stdout[-500:]}{done.stderr[-500:]}"
    return done.stdout


def _heal(site: Applied) -> None:
    # A command the dead run had sent may still be at work; its lease ends with it.
    site.cli("apply", "--yes", timeout=900)
    assert site.plan()["changes"] == []


@pytest.mark.host
@pytest.mark.parametrize(("number", "part", "moment"), [(100, 0.25, "torn"), (101, 0.5, "after")])
def test_a_killed_apply_is_healed(applied: Applied, commands: int, number: int, part: float, moment: str) -> None:
    _change(applied, number)
    _kill(applied, int(part * commands), moment)
    _heal(applied)
    _runs_what_the_disk_says(applied, number)


@pytest.mark.host
@pytest.mark.faults
@pytest.mark.parametrize(("number", "part", "moment"), _points())
def test_twenty_kills_are_healed(applied: Applied, commands: int, number: int, part: float, moment: str) -> None:
    _change(applied, number)
    _kill(applied, int(part * commands), moment)
    _heal(applied)
    _runs_what_the_disk_says(applied, number)


@pytest.mark.host
@pytest.mark.faults
@pytest.mark.parametrize(("point", "moment"), [(2, "torn"), (9, "during"), (17, "torn"), (26, "after")])
def test_a_first_apply_that_is_killed_is_healed(bare: Applied, point: int, moment: str) -> None:
    """Point 2 is the apt transaction: dpkg is left in the middle, policy-rc.d in place."""
    bare.cli("plan", "--accept-new", check=False)
    _kill(bare, point, moment)
    _heal(bare)
    assert bare.sh("ls /usr/sbin/policy-rc.d 2>/dev/null", check=False) == ""
    assert bare.sh("systemctl is-active nginx fail2ban houblon-firewall ssh").split() == ["active"] * 4


@pytest.mark.host
def test_power_lost_before_the_second_connection_undoes_the_switch(applied: Applied) -> None:
    """The undo timer dies with the power; the boot must do its work."""
    _change(applied, 400)
    assert "switch firewall" in _kill(applied, 2, "after")
    assert "tcp dport 20400 accept" in applied.sh("nft list table inet houblon")
    applied.host.kill()
    _boot(applied)
    rules = applied.sh("nft list table inet houblon")
    assert "20400" not in rules and "tcp dport 22 accept" in rules
    _heal(applied)
    _runs_what_the_disk_says(applied, 400)


def _boot(site: Applied) -> None:
    site.host.start()
    end = time.monotonic() + 60
    while True:
        try:
            if site.sh("systemctl is-active ssh", check=False).strip() == "active":
                return
        except HoublonError:
            assert time.monotonic() < end, "the host does not boot"
        time.sleep(0.1)


@pytest.mark.host
@pytest.mark.faults
def test_the_host_losing_power_in_mid_apply(applied: Applied) -> None:
    """The whole host is killed, not only the run; after its boot the next apply heals it."""
    _change(applied, 300)
    child = subprocess.Popen(
        [sys.executable, "-m", "houblon", "apply", str(applied.site_folder), "--yes"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(),
    )
    applied.sh("n=0; until [ -e /run/houblon/lease ] || [ $n -ge 300 ]; do n=$((n+1)); sleep 0.1; done")
    applied.host.kill()
    _, errors = child.communicate(timeout=120)
    assert child.returncode in (3, 5), errors.decode()
    _boot(applied)
    _heal(applied)
    _runs_what_the_disk_says(applied, 300)
