"""PHP pools as their programs, their neighbours and administrators meet them; no release is needed."""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Callable
from typing import Any

import pytest

from houblon.lab import Lab
from houblon.verify.wire import Wire
from tests.host.phptoy import add_toy
from tests.host.sites import Applied, make_site, wait_until

pytestmark = pytest.mark.host


@pytest.fixture(scope="module")
def toys(fresh_lab: Callable[..., Lab], tmp_path_factory: pytest.TempPathFactory) -> Applied:
    """A host with the two programs, applied once; idle workers of the first leave after two seconds."""
    lab = fresh_lab()
    site = make_site(lab, tmp_path_factory.mktemp("sites") / "php", services="  portal:\n  toy:\n")
    add_toy(site.site_folder)
    override = site.site_folder / "overrides" / "php" / "toya.conf"
    override.parent.mkdir(parents=True)
    override.write_text("pm.process_idle_timeout = 2s\n")
    lab.set_records([(name, "A", site.host.address) for name in ("@", "toya", "toyb")])
    site.cli("apply", "--yes", "--accept-new", timeout=900)
    return site


def send(site: Applied, name: str, code: str) -> Any:
    """The answer of a program that runs this."""
    body = urllib.parse.urlencode({"code": code}).encode()
    return Wire(site.host.address).request(
        "POST", f"https://{name}.{site.lab.domain}/do.php", body=body,
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )  # fmt: skip


def run(site: Applied, name: str, code: str) -> Any:
    """What the code returns."""
    answer = send(site, name, code)
    assert answer.status == 200, answer
    return json.loads(answer.text)["answer"]


def refused(site: Applied, name: str, code: str) -> str:
    """Why the code returns false, or which error it ends with."""
    told = json.loads(send(site, name, code).text)
    assert told["answer"] is False or str(told["answer"]).startswith("Error: "), told
    return str(told["answer"]) + str(told["error"])


def workers(site: Applied, name: str) -> int:
    group = f"/sys/fs/cgroup/system.slice/houblon-php-{name}.service/cgroup.procs"
    return len(site.sh(f"cat {group}").split()) - 1


def test_each_program_runs_as_its_own_user_with_what_it_asked_for(toys: Applied) -> None:
    for name in ("toya", "toyb"):
        assert run(toys, name, "return posix_getpwuid(posix_geteuid())['name'];") == name
        assert run(toys, name, "return getenv('TOY');") == f"it is {name}"
    assert run(toys, "toya", "return extension_loaded('mbstring');") is True
    assert run(toys, "toyb", "return extension_loaded('mbstring');") is False
    for module in ("ffi", "sockets", "phar"):
        assert run(toys, "toya", f"return extension_loaded('{module}');") is False
    assert run(toys, "toya", "ini_set('upload_max_filesize', '1G'); return ini_get('upload_max_filesize');") == "3M"


def test_a_program_sees_nothing_of_its_neighbour_or_the_host(toys: Applied) -> None:
    assert run(toys, "toya", "apcu_store('x', 'mine'); return apcu_fetch('x');") == "mine"
    assert run(toys, "toyb", "return apcu_fetch('x');") is False
    for file in ("/etc/passwd", "/srv/toya/do.php", "/var/lib/php/houblon/toya/sessions", "/proc/self/mem"):
        assert "Operation not permitted" in refused(toys, "toyb", f"return file_get_contents('{file}');")
    assert "Permission denied" in refused(
        toys, "toyb", "return stream_socket_client('unix:///run/php/houblon-toya.sock');"
    )
    for code in ("return file_put_contents('/opt/x', 'x');", "return mkdir('/srv/toya/x');"):
        refused(toys, "toyb", code)
    assert run(toys, "toyb", "return file_put_contents('/srv/toyb/own/x', 'x');") == 1


def test_the_fence_holds_without_php_s_own_checks(toys: Applied) -> None:
    """What somebody meets who got past open_basedir: the rights of files, and a unit that lets nothing be written."""
    toys.sh("! runuser -u toyb -- cat /srv/toya/do.php && ! runuser -u toyb -- ls /var/lib/php/houblon/toya/sessions")
    for socket_user, opens in (("www-data", True), ("toyb", False), ("nobody", False)):
        code = "import socket; socket.socket(socket.AF_UNIX).connect('/run/php/houblon-toya.sock')"
        done = toys.sh(f'runuser -u {socket_user} -- python3 -c "{code}" && echo opened', check=False)
        assert ("opened" in done) is opens, (socket_user, done)
    for name in ("toya", "toyb"):
        last = toys.sh(f"systemd-analyze security houblon-php-{name}.service --no-pager | tail -n 1")
        assert float(last.split(":")[1].split()[0]) <= 1.5


def test_programs_of_the_host_cannot_be_started(toys: Applied) -> None:
    for function in ("exec", "system", "passthru", "shell_exec", "popen", "proc_open", "mail"):
        assert "undefined function" in refused(toys, "toya", f"return {function}('id', 'r', 'x');")


def test_sessions_and_temporary_files_are_the_pool_s_own(toys: Applied) -> None:
    answer = send(toys, "toya", "session_start(); $_SESSION['x'] = 1; return tempnam('', 'x');")
    cookie = answer.headers["set-cookie"].lower()
    assert "secure" in cookie and "httponly" in cookie and "samesite=lax" in cookie
    assert json.loads(answer.text)["answer"].startswith("/var/lib/php/houblon/toya/tmp/")
    assert toys.sh("stat -c '%a %U' /var/lib/php/houblon/toya/sessions/sess_*").splitlines()[0] == "600 toya"
    toys.sh("touch -d '-9 days' /var/lib/php/houblon/toya/sessions/sess_* /var/lib/php/houblon/toya/tmp/*")
    # Times of access and of change count too; only a clock could bring those back.
    rules = toys.sh("cat /etc/tmpfiles.d/houblon-php.conf")
    assert "e /var/lib/php/houblon/toya/sessions - - - 2d" in rules
    toys.sh("systemd-tmpfiles --clean /etc/tmpfiles.d/houblon-php.conf")


def test_errors_go_to_the_pool_s_journal_and_not_to_visitors(toys: Applied) -> None:
    answer = send(toys, "toyb", "trigger_error('houblon-mark-1'); return 1;")
    assert json.loads(answer.text)["answer"] == 1
    assert "x-powered-by" not in answer.headers
    wait_until(lambda: "houblon-mark-1" in toys.sh("journalctl -u houblon-php-toyb -n 20 --no-pager"), seconds=10)
    assert "houblon-mark-1" not in toys.sh("journalctl -u nginx -n 50 --no-pager")


def test_idle_workers_leave(toys: Applied) -> None:
    assert run(toys, "toya", "return 1;") == 1
    assert workers(toys, "toya") >= 1
    wait_until(lambda: workers(toys, "toya") == 0, seconds=20)
    assert run(toys, "toya", "return 2;") == 2


def test_it_is_back_when_killed(toys: Applied) -> None:
    before = toys.sh("systemctl show -p MainPID --value houblon-php-toya").strip()
    toys.sh(f"kill -9 {before}")
    # The socket is systemd's: a request waits, and is not refused.
    assert run(toys, "toya", "return 3;") == 3
    assert toys.sh("systemctl show -p MainPID --value houblon-php-toya").strip() not in (before, "0")


def test_a_restart_refuses_nobody_and_ends_nothing(toys: Applied) -> None:
    slow = "usleep(1500000); return 'done';"
    toys.sh("(sleep 0.5; systemctl restart houblon-php-toyb.service) >/dev/null 2>&1 &")
    assert run(toys, "toyb", slow) == "done"
    assert run(toys, "toyb", "return 4;") == 4
    wait_until(lambda: toys.sh("systemctl is-active houblon-php-toyb", check=False).strip() == "active", seconds=20)


def test_what_is_changed_by_hand_is_seen_and_put_back(toys: Applied) -> None:
    toys.sh(
        "sed -i 's/^open_basedir.*//' /etc/houblon/php/toya/php.ini;"
        " sed -i 's/ondemand/static/' /etc/houblon/php/toyb/fpm.conf;"
        " echo pm.max_children = 500 >>/etc/houblon/php/host/toyb.conf; chmod 666 /run/php/houblon-toyb.sock"
    )
    seen = {change["subject"] for change in toys.plan()["changes"]}
    assert {"/etc/houblon/php/toya/php.ini", "/etc/houblon/php/toyb/fpm.conf"} <= seen
    assert any("PHP takes as much" in one for one in seen), seen
    toys.cli("apply", "--yes")
    assert toys.plan()["changes"] == []
    assert run(toys, "toya", "return @file_get_contents('/etc/passwd');") is False
    assert "500" not in toys.sh("cat /etc/houblon/php/host/toyb.conf")
    assert toys.sh("stat -c '%a %U %G' /run/php/houblon-toyb.sock").strip() == "660 www-data www-data"


def test_configuration_that_houblon_writes_is_read_anew(toys: Applied) -> None:
    """All its files have the same time stamp, by which OPcache would not see that one is new."""
    code = "return require '/srv/toya/config.php';"
    assert run(toys, "toya", code) == 1
    role = toys.site_folder / "roles" / "toy" / "__init__.py"
    role.write_text(role.read_text().replace("<?php return 1;", "<?php return 2;"))
    started = toys.sh("systemctl show -p ExecMainStartTimestamp houblon-php-toya")
    toys.cli("apply", "--yes")
    assert toys.sh("systemctl show -p ExecMainStartTimestamp houblon-php-toya") == started
    assert run(toys, "toya", code) == 2


def test_a_broken_override_is_refused_and_the_pool_goes_on(toys: Applied) -> None:
    file = toys.site_folder / "overrides" / "php" / "toya.conf"
    before = file.read_text()
    file.write_text("pm.proces_idle_timeout = 2s\n")
    try:
        done = toys.cli("apply", "--yes", check=False)
        assert done.returncode == 5, done.stdout + done.stderr
        assert "proces_idle_timeout" in done.stdout + done.stderr
        assert run(toys, "toya", "return 5;") == 5
    finally:
        file.write_text(before)
    toys.cli("apply", "--yes")
    assert toys.plan()["changes"] == []


def test_debian_s_own_server_is_off_unless_somebody_has_a_pool_there(toys: Applied) -> None:
    pool = "/etc/php/8.4/fpm/pool.d"
    assert toys.sh(f"ls {pool}; systemctl is-enabled php8.4-fpm", check=False).strip() == "disabled"
    toys.sh(
        f"printf '[own]\\nuser=nobody\\ngroup=nogroup\\nlisten=/run/php/own.sock\\npm=ondemand\\npm.max_children=2\\n'"
        f" >{pool}/own.conf; systemctl enable --now --quiet php8.4-fpm"
    )
    try:
        assert toys.plan()["changes"] == []
    finally:
        toys.sh(f"rm {pool}/own.conf")
    assert [change["subject"] for change in toys.plan()["changes"]] != []
    toys.cli("apply", "--yes")
    assert toys.sh("systemctl is-active php8.4-fpm", check=False).strip() == "inactive"


def test_verify_finds_it_as_promised(toys: Applied) -> None:
    done = toys.cli("verify")
    assert "failed" not in done.stdout


def test_nothing_is_left_of_a_program_that_is_gone(toys: Applied) -> None:
    run(toys, "toyb", "session_start(); $_SESSION['x'] = 1; return 1;")
    role = toys.site_folder / "roles" / "toy" / "__init__.py"
    role.write_text(role.read_text().replace('("toya", "toyb")', '("toya",)'))
    toys.cli("apply", "--yes")
    places = "/var/lib/php/houblon/toyb /etc/houblon/php/*/toyb* /etc/systemd/system/houblon-php-toyb*"
    assert toys.sh(f"ls -d {places}", False).strip() == ""
    assert toys.sh("systemctl is-active houblon-php-toyb.socket houblon-php-toyb.service", False).split() == [
        "inactive", "inactive",
    ]  # fmt: skip
    assert run(toys, "toya", "return 6;") == 6
    assert toys.plan()["changes"] == []
