"""Two sites that look at each other: powered off, cut off, and half dead, for real; and an operator's own timer."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from houblon.lab import Lab
from houblon.watch import PARTS, eye
from tests.host.sinks import HttpSink
from tests.host.sites import Applied, environment, make_site, wait_until

pytestmark = pytest.mark.host
soon = partial(wait_until, seconds=60)
ROOT = Path(eye.__file__).parents[1]
STATE = "/var/lib/houblon-watch/state.json"


@dataclass
class Two:
    """Site ``a`` looks at site ``b``, and the other way round; ``alarms`` is where the admins of ``a`` hear."""

    a: Applied
    b: Applied
    b_name: str
    alarms: HttpSink

    def look(self, times: int = 1) -> dict[str, Any]:
        """Looks by a's own service, besides those that its timer takes; what it then knows of b."""
        self.a.sh(f"for i in $(seq {times}); do systemctl start houblon-watch; done")
        entry: dict[str, Any] = json.loads(self.a.sh(f"cat {STATE}"))["names"][self.b_name]
        return entry

    def verdict(self) -> str:
        """What the alerts of a hear when they ask about b."""
        return self.a.sh(f"/usr/local/lib/houblon/watch verdict /etc/houblon/watch.json {self.b_name}", check=False)


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    """`houblon ARGUMENTS`."""
    return subprocess.run(
        [sys.executable, "-m", "houblon", *arguments], capture_output=True, text=True, stdin=subprocess.DEVNULL,
        timeout=600, check=False, env=environment(),
    )  # fmt: skip


@pytest.fixture(scope="module")
def two(fresh_lab: Callable[..., Lab], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    """Both applied from scratch; nobody looks at anybody yet."""
    lab = fresh_lab(hosts=2)
    base = tmp_path_factory.mktemp("two")
    alarms = HttpSink(str(ip_network(lab.subnet4)[1]), 2581).start()
    # The lab's CA stands for public ones, its own ACME server for the sites that prove that a host is online.
    control = urlsplit(lab.acme_directory).hostname
    extra = f"watch:\n  control: [{control}]  # in the lab\n  roots: watch-roots.pem\nalerts:\n  webhook: {alarms.url}/"
    sites = [make_site(lab, base / "ab"[i], host=i, extra=f"{extra}{'ab'[i]}\n") for i in range(2)]
    sites[1].edit(f"domain: {lab.domain}", f"domain: b.{lab.domain}")
    lab.set_records(
        [(name, kind, value) for name, host in (("@", lab.hosts[0]), ("b", lab.hosts[1]))
         for kind, value in (("A", host.address), ("AAAA", host.address6))]
    )  # fmt: skip
    for site in sites:
        roots = (site.site_folder / "acme-roots.pem").read_text() + (site.site_folder / "acme-ca.pem").read_text()
        (site.site_folder / "watch-roots.pem").write_text(roots)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda site: site.cli("apply", "--yes", "--accept-new", timeout=900), sites))
    yield Two(sites[0], sites[1], f"b.{lab.domain}", alarms)
    alarms.stop()


def test_two_commands(two: Two) -> None:
    lab = two.a.lab
    for site, name in ((two.a, two.b_name), (two.b, lab.domain)):
        done = command("watch", "add", name, str(site.site_folder), "--yes")
        assert done.returncode == 0, done.stdout + done.stderr
        assert site.plan()["changes"] == []
        assert "# in the lab" in (site.site_folder / "site.yaml").read_text()
    again = command("watch", "add", two.b_name, str(two.a.site_folder), "--yes")
    assert again.returncode == 0 and "No changes" in again.stdout
    two.b.sh("systemctl start houblon-watch.service")
    seen = two.look()
    assert seen["state"] == "up" and seen["heartbeat_age"] < 120, seen
    for site, name in ((two.a, two.b_name), (two.b, lab.domain)):
        listed = json.loads(command("watch", "list", str(site.site_folder), "--json").stdout)
        assert [(row["name"], row["state"]) for row in listed if row["from"] != "here"] == [(name, "up")]
    itself = command("watch", "add", lab.domain, str(two.a.site_folder), "--yes")
    assert itself.returncode == 2 and "cannot tell of its own death" in itself.stderr
    assert two.a.plan()["changes"] == []
    verified = two.a.cli("verify", "--only", "watch", check=False)
    assert verified.returncode == 0, verified.stdout


def test_a_dead_host_is_spoken_for(two: Two) -> None:
    two.b.host.power_off()
    seen = two.look(3)
    assert (seen["state"], seen["alarm"]) == ("silent", "silent"), seen
    two.a.sh("/usr/local/lib/houblon/health --all")
    post = two.alarms.wait_for(lambda post: post.path == "/a" and two.b_name in post.json["title"])
    assert post.json["kind"] == "alarm" and "ne répond plus" in post.json["text"]
    two.b.host.start()
    soon(lambda: two.look()["state"] == "up", seconds=90)
    assert two.look(2)["alarm"] == "" and two.verdict() == ""
    two.a.sh("/usr/local/lib/houblon/health --all")


def test_who_is_cut_off_accuses_nobody(two: Two) -> None:
    two.a.sh("ip link set host0 down")
    try:
        seen = two.look(4)
    finally:
        two.a.sh("ip link set host0 up")
    assert seen["state"] == "unknown" and seen["alarm"] == "", seen
    assert "hors ligne" in seen["why"] and two.verdict() == ""
    soon(lambda: two.look()["state"] == "up")


def test_half_dead(two: Two) -> None:
    """nginx is stopped; then the host answers but no longer looks after itself."""
    two.b.sh("systemctl stop nginx")
    seen = two.look()
    two.b.sh("systemctl start nginx")
    assert seen["state"] == "silent" and "connexion refusée" in seen["why"], seen
    file = "/srv/houblon/health/public/.well-known/houblon/health.json"
    two.b.sh(f"systemctl stop houblon-health.timer && sed -i 's/\"at\": [0-9]*/\"at\": '$(($(date +%s) - 700))/ {file}")
    seen = two.look()
    two.b.sh("systemctl start houblon-health.timer houblon-health.service")
    assert seen["state"] == "ill" and "depuis 11 minutes" in seen["why"], seen
    assert two.look()["state"] == "up"


def test_an_operator_s_own_timer(two: Two) -> None:
    """`houblon watch install` under a real systemd user manager, and `uninstall` that leaves nothing."""
    host = two.b.lab.hosts[0]
    home, run = "/home/camille", "/run/user/camille"
    host.console(["sh", "-c", f"useradd -m camille; install -d -o camille -m 700 {run}; systemd-run -q --uid=camille "
                  f"--setenv=XDG_RUNTIME_DIR={run} --setenv=HOME={home} -p Delegate=yes "
                  "/usr/lib/systemd/systemd --user"])  # fmt: skip

    def as_camille(script: str, data: bytes = b"") -> str:
        done = host.console(["runuser", "-u", "camille", "--", "env", f"HOME={home}", f"XDG_RUNTIME_DIR={run}",
                             "sh", "-ec", f"cd {home}\n{script}"], input=data)  # fmt: skip
        return done.stdout.decode()

    soon(lambda: b"HOME" in host.console(
        ["runuser", "-u", "camille", "--", "env", f"XDG_RUNTIME_DIR={run}", "systemctl", "--user", "show-environment"],
        check=False).stdout)  # fmt: skip
    before = as_camille("find . | sort")
    tree = io.BytesIO()
    with tarfile.open(fileobj=tree, mode="w") as archive:
        for part in ("errors.py", "watch/desk.py", *(f"watch/{part}" for part in PARTS)):
            archive.add(ROOT / part, f"houblon/{part}")
    host.console(["sh", "-c", "mkdir -p /opt/h && tar -C /opt/h -xf -"], input=tree.getvalue())
    settings = {
        "names": [two.b_name], "webhook": f"{two.alarms.url}/camille",
        "roots": (two.a.site_folder / "watch-roots.pem").read_text(),
        "control": [str(urlsplit(two.a.lab.acme_directory).hostname)],
    }  # fmt: skip
    python = "PYTHONPATH=/opt/h PYTHONDONTWRITEBYTECODE=1 python3 -c"
    as_camille(f"{python} 'import json, sys; from houblon.watch.desk import *; s = json.load(sys.stdin);"
               "try_channels(s); assert Desk.mine().install(s) == str()'", json.dumps(settings).encode())  # fmt: skip
    assert "houblon-watch.timer" in as_camille("systemctl --user list-timers --no-pager")
    two.alarms.wait_for(lambda post: post.path == "/camille" and "test" in post.json["text"])
    as_camille("systemctl --user stop houblon-watch.timer")
    two.b.sh("systemctl stop nginx")
    try:
        as_camille("for i in 1 2 3; do systemctl --user start houblon-watch.service; done")
    finally:
        two.b.sh("systemctl start nginx")
    two.alarms.wait_for(lambda post: post.path == "/camille" and post.json["state"] == "silent")
    as_camille(f"{python} 'from houblon.watch.desk import *; assert Desk.mine().uninstall()'")
    assert "houblon-watch" not in as_camille("systemctl --user list-unit-files --no-pager")
    assert as_camille("find . | sort") == before


def test_the_end_of_the_alarm_was_told_too(two: Two) -> None:
    """Alerts wait a minute before they believe it, which the tests above have passed."""
    def told() -> bool:
        two.a.sh("/usr/local/lib/houblon/health --all")
        posts = two.alarms.matching(lambda post: post.path == "/a" and two.b_name in str(post.json["text"]))
        return [post.json["kind"] for post in posts] == ["alarm", "recovery"]

    soon(told, seconds=120)


def test_nothing_is_left(two: Two) -> None:
    done = command("watch", "remove", two.b_name, str(two.a.site_folder), "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    assert two.a.plan()["changes"] == []
    left = two.a.sh("ls -d /usr/local/lib/houblon/watch /usr/local/lib/houblon/python/houblon/watch/* "
                    "/var/lib/houblon-watch /var/lib/private/houblon-watch /etc/houblon/watch* "
                    "/etc/systemd/system/houblon-watch* 2>/dev/null; :")  # fmt: skip
    assert left == ""
    assert "houblon-watch" not in two.a.sh("systemctl list-units --all --no-pager")
