"""Nextcloud's first apply is killed in the middle, again and again: the next one goes on from there."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from houblon.lab import Lab
from tests.host.cached import need
from tests.host.cloud import Cloud
from tests.host.sites import Applied, changes, environment, make_site, wait_until

pytestmark = [pytest.mark.host, pytest.mark.faults]

STEPS = {
    "unpacking": ("[t]ar .*nextcloud", "0.5"),
    "installing": ("occ.* [m]aintenance:install", "4"),
    "importing": ("occ.* [c]onfig:import", "0.2"),
}
"""By name: what the command line of a process on the host looks like then, and how long it may go on, in seconds."""
KILL = """cat >/run/killer <<'END'
until pids=$(pgrep -f -- "$1"); do sleep 0.02; done
sleep "$2"
# All that houblon began by the same command: nothing goes on, nothing cleans up.
session=$(ps -o sid= -p "${pids%%%%[[:space:]]*}" | tr -d ' ')
[ "$session" -gt 1 ] && pkill -9 -s "$session"
touch /run/killed
END
rm -f /run/killed
systemd-run -q --unit=killer --collect bash /run/killer '%s' %s"""


def test_killed_while_unpacking_installing_and_importing(fresh_lab: Callable[..., Lab], tmp_path: Path) -> None:
    need("nextcloud")
    site = make_site(fresh_lab(), tmp_path / "site", services="  nextcloud:\n")
    for name, (pattern, seconds) in STEPS.items():
        kill_an_apply(site, pattern, seconds)
        assert site.sh("[ -e /run/killed ] && echo killed").strip() == "killed", name
        assert site.plan()["changes"], f"killed while {name}, and nothing is left to do"
    site.cli("apply", "--yes", timeout=1500)
    assert site.plan()["changes"] == []
    assert changes(site.cli("apply", "--yes").stdout) == 0
    assert site.sh("find /opt/nextcloud /srv/nextcloud -maxdepth 1 -name '*.new' -o -maxdepth 1 -name '.*.part'") == ""
    cloud = Cloud(site.site_folder, site.lab, site.host)
    assert cloud.person("anna").login() == 207
    said = site.cli("verify", "--only", "nextcloud", check=False)
    assert said.returncode == 0, said.stdout[-3000:]


def kill_an_apply(site: Applied, pattern: str, seconds: str) -> None:
    """Run an apply; in the middle of something, kill what it does on the host, and houblon itself."""
    site.sh(KILL % (pattern, seconds))
    with (site.site_folder / "killed.log").open("a") as log:
        run = subprocess.Popen(
            [sys.executable, "-m", "houblon", "apply", str(site.site_folder), "--yes", "--accept-new"],
            stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environment(),
        )  # fmt: skip
    try:
        wait_until(lambda: run.poll() is not None or "killed" in site.sh("ls /run"), 1200)
        assert run.poll() is None or "killed" in site.sh("ls /run"), (site.site_folder / "killed.log").read_text()
    finally:
        if run.poll() is None:
            run.send_signal(signal.SIGKILL)
        run.wait()
