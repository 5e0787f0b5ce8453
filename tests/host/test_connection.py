"""Getting in, staying in, and what happens when the line, the key, the password or another run is in the way."""

from __future__ import annotations

import ipaddress
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from houblon.lab import Lab
from tests.host.line import Line
from tests.host.sites import Applied, environment, make_site

pytestmark = pytest.mark.host

PASSWORD = "Vwx-known-sudo-word-4711"
"""A password that is found wherever it leaks to."""
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def pair(fresh_lab: Callable[..., Lab]) -> Lab:
    """Two bare hosts; the first has a sudo user without a password (debian) and one with (pat)."""
    lab = fresh_lab(hosts=2)
    lab.hosts[0].console(["sh", "-c", f"""set -e
for n in debian pat; do useradd --create-home --shell /bin/bash --groups sudo $n; done
echo 'debian ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/debian
echo 'pat:{PASSWORD}' | chpasswd"""])
    return lab


@pytest.fixture
def site(pair: Lab, tmp_path: Path) -> Applied:
    """A new site for the first of the two hosts; its key opens root, debian and pat, and root on the second."""
    made = make_site(pair, tmp_path / "site")
    public = (made.site_folder / ".local" / "id_ed25519.pub").read_bytes()
    made.host.console(["sh", "-c", """cat >/tmp/key
for n in debian pat; do
  install -d -m 700 -o $n -g $n /home/$n/.ssh
  cat /tmp/key >>/home/$n/.ssh/authorized_keys
done"""], input=public)
    pair.hosts[1].console(["sh", "-c", "cat >>/root/.ssh/authorized_keys"], input=public)
    return made


def houblon(*arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "houblon", *map(str, arguments)], capture_output=True, text=True, cwd=ROOT,
        stdin=subprocess.DEVNULL, timeout=300, env=environment() | variables, check=False,
    )


def logged(site: Applied, word: str) -> int:
    """How many lines of the host's logs, and of what houblon keeps there, hold a word."""
    script = """cat >/root/word
{ journalctl -q -o export; cat /var/lib/houblon/*.json*; find /var/log -name '*.log' -exec cat {} +; } 2>/dev/null |
  grep -acF -f /root/word
rm /root/word"""
    return int(site.host.console(["sh", "-c", script], input=word.encode()).stdout)


def contact_as(site: Applied, user: str) -> None:
    file = site.site_folder / "site.yaml"
    text = re.sub(r"\n  user: .*", "", file.read_text())
    file.write_text(text.replace(f"  address: {site.host.address}", f"  address: {site.host.address}\n  user: {user}"))


def through(site: Applied, line: Line) -> None:
    site.edit(f"  address: {site.host.address}", f"  address: 127.0.0.1\n  port: {line.port}")


class Driver:
    """`tests.host.driver` in a process that can be killed."""

    def __init__(self, site: Applied, *settings: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.host.driver", str(site.site_folder), *settings], cwd=ROOT, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment(),
        )

    def send(self, **request: Any) -> None:
        assert self.process.stdin
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        assert self.process.stdout
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def ask(self, **request: Any) -> dict[str, Any]:
        self.send(**request)
        return self.answer()


@pytest.fixture
def drive() -> Iterator[Callable[..., Driver]]:
    drivers: list[Driver] = []

    def make(site: Applied, *settings: str) -> Driver:
        drivers.append(Driver(site, *settings))
        return drivers[-1]

    yield make
    for driver in drivers:
        driver.process.kill()
        driver.process.communicate()


# --- host keys ---------------------------------------------------------------------------------------------


def test_an_unknown_host_key_is_refused_in_scripts_then_pinned_then_guarded(site: Applied) -> None:
    known = site.site_folder / "known_hosts"
    refused = houblon("plan", site.site_folder)
    assert refused.returncode == 3 and "--accept-new" in refused.stderr
    assert not known.exists()

    accepted = houblon("plan", site.site_folder, "--accept-new")
    assert accepted.returncode == 10, accepted.stderr
    assert known.read_text().startswith(f"{site.host.address} ssh-ed25519 ")
    assert houblon("plan", site.site_folder).returncode == 10

    entered = site.sh("journalctl -q -o cat | grep -c 'Accepted publickey' || :")
    own = (site.site_folder / ".local" / "id_ed25519.pub").read_text().split()[1]
    known.write_text(f"{site.host.address} ssh-ed25519 {own}\n")
    for option in ([], ["--accept-new"]):
        changed = houblon("apply", site.site_folder, "--yes", *option)
        assert changed.returncode == 3
        assert "another host key" in changed.stderr and str(known) in changed.stderr
    assert site.sh("journalctl -q -o cat | grep -c 'Accepted publickey' || :") == entered

    known.write_text("\x00\xff not a key\n" * 2)
    assert houblon("plan", site.site_folder).returncode in (2, 3)


# --- accounts and passwords ----------------------------------------------------------------------------------


def test_first_contact_as_a_sudo_user_without_password(site: Applied) -> None:
    contact_as(site, "debian")
    done = houblon("plan", site.site_folder, "--accept-new")
    assert done.returncode == 10, done.stderr


def test_first_contact_as_a_sudo_user_with_a_password_that_nobody_sees(site: Applied, tmp_path: Path) -> None:
    contact_as(site, "pat")
    without = houblon("plan", site.site_folder, "--accept-new")
    assert without.returncode == 3 and "sudo wants a password and none was given" in without.stderr

    word = tmp_path / "word"
    word.write_text(PASSWORD + "\n")
    word.chmod(0o644)
    open_to_all = houblon("plan", site.site_folder, HOUBLON_SUDO_PASSWORD_FILE=str(word))
    assert open_to_all.returncode == 2 and "chmod 600" in open_to_all.stderr
    word.chmod(0o600)
    with watched(site, PASSWORD) as seen:
        done = houblon("-vv", "plan", site.site_folder, HOUBLON_SUDO_PASSWORD_FILE=str(word))
    assert done.returncode == 10, done.stderr
    assert seen["polls"] > 5 and seen["control"], "the watch must see what it looks for when it is there"
    assert seen["found"] == []
    assert PASSWORD not in done.stdout + done.stderr
    assert logged(site, "COMMAND=") > 0 and logged(site, PASSWORD) == 0


def test_a_wrong_sudo_password_is_one_clear_error_and_one_failed_try(site: Applied, tmp_path: Path) -> None:
    contact_as(site, "pat")
    word = tmp_path / "word"
    word.write_text("not-" + PASSWORD)
    word.chmod(0o600)
    tries = "journalctl -q -o cat _COMM=sudo | grep -c 'authentication failure' || :"
    before = int(site.sh(tries))
    wrong = houblon("plan", site.site_folder, "--accept-new", HOUBLON_SUDO_PASSWORD_FILE=str(word))
    assert wrong.returncode == 3
    assert wrong.stderr.count("houblon:") == 1
    assert f"pat cannot become root on {site.host.address}: sudo refused the password" in wrong.stderr
    assert int(site.sh(tries)) == before + 1, "more lines than the password were taken for passwords"


@contextmanager
def watched(site: Applied, word: str) -> Iterator[dict[str, Any]]:
    """Look for a word in every command line and environment on the host, again and again."""
    seen: dict[str, Any] = {}
    site.host.console(["sh", "-c", "cat >/root/word; rm -f /root/stop"], input=word.encode())
    script = """polls=0
# A control: this one process does have the word in its environment, for a moment.
env "W=$(cat /root/word)" sleep 1 &
until [ -e /root/stop ]; do
  grep -laF -f /root/word /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null |
    while read -r f; do echo "$f $(cat "${f%/*}/comm" 2>/dev/null)"; done
  polls=$((polls + 1))
done
echo "polls $polls"
rm -f /root/word /root/stop"""

    def watch() -> None:
        lines = site.host.console(["sh", "-c", script]).stdout.decode().splitlines()
        seen["polls"] = int(lines[-1].split()[1])
        seen["control"] = any(line.endswith("sleep") for line in lines)
        # A process that ended between the two reads has no name any more: only the control does that.
        seen["found"] = sorted({x for x in lines[:-1] if x.split()[-1] not in ("sleep", "env")} - {*_gone(lines)})

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield seen
    finally:
        site.sh("touch /root/stop")
        watcher.join(30)


def _gone(lines: list[str]) -> set[str]:
    control = {line.split("/")[2] for line in lines if line.endswith((" sleep", " env"))}
    return {line for line in lines if line.startswith("/proc/") and line.split("/")[2] in control}


# --- jump hosts ----------------------------------------------------------------------------------------------


def test_through_a_jump_host(site: Applied, pair: Lab) -> None:
    gate = pair.hosts[1]
    site.edit("  address:", f"  jump: root@{gate.address}\n  address:")
    me = next(ipaddress.ip_network(pair.subnet4).hosts())
    site.sh(f"ip route add blackhole {me}/32")
    try:
        with pytest.raises(OSError):
            socket.create_connection((site.host.address, 22), timeout=1)
        done = houblon("plan", site.site_folder, "--accept-new")
        assert done.returncode == 10, done.stderr
        assert len((site.site_folder / "known_hosts").read_text().splitlines()) == 2
        site.edit(f"root@{gate.address}", f"nobody@{gate.address}")
        shut = houblon("plan", site.site_folder)
        assert shut.returncode == 3 and f"the jump host {gate.address} does not let us through" in shut.stderr
    finally:
        site.sh(f"ip route del blackhole {me}/32")


# --- lines ---------------------------------------------------------------------------------------------------


def test_a_line_that_drops_is_an_error_and_never_a_short_answer(site: Applied, drive: Callable[..., Driver]) -> None:
    whole = "".join(f"{n}\n" for n in range(1, 30001))
    with Line(site.host.address) as line:
        through(site, line)
        for cut in (0, 40, 500, 60_000, 150_000):
            driver = drive(site)
            assert driver.ask(run="seq 1 30000")["out"] == whole
            line.trouble_in(cut, line.cut)
            answer = driver.ask(run="seq 1 30000")
            assert answer.get("error") == "CannotConnect", str(answer)[:200]
            assert "was lost" in answer["what"]


def test_a_line_that_stalls_ends_in_one_error_and_the_next_run_heals(site: Applied) -> None:
    """With the real time limits, and through the real command."""
    with Line(site.host.address) as line:
        through(site, line)
        assert houblon("plan", site.site_folder, "--accept-new").returncode == 10
        total = line.received
        line.trouble_in(total // 2, line.stall)
        started = time.monotonic()
        stalled = houblon("plan", site.site_folder)
        assert stalled.returncode == 3, stalled.stdout + stalled.stderr
        assert time.monotonic() - started < 60
        assert stalled.stdout == "" and stalled.stderr.count("houblon:") == 1
        line.cut()
        line.resume()
        assert houblon("plan", site.site_folder).returncode == 10


def test_odd_ends_of_a_script(site: Applied, drive: Callable[..., Driver]) -> None:
    driver = drive(site)
    assert driver.ask(run="kill -9 $$")["status"] == 137
    assert driver.ask(run="exit 75")["status"] == 75
    late = driver.ask(run="echo early; sleep 30", timeout=1)
    assert late["error"] == "OperationFailed" and "did not end within 1 s" in late["what"]
    assert driver.ask(run="printf '\\342\\200\\250\\n'")["out"] == "\u2028\n"


# --- the lease -----------------------------------------------------------------------------------------------


def test_two_runs_at_once_and_a_killed_one(site: Applied, drive: Callable[..., Driver]) -> None:
    first = drive(site)
    assert first.ask(lease="bob") == {}
    second = houblon("apply", site.site_folder, "--yes")
    assert second.returncode == 4, second.stderr
    assert re.search(r"another run is at work on this host \(bob, since \d\d:\d\d:\d\d\)", second.stderr)

    first.send(change="sleep 2; touch /root/left-behind")
    while not site.sh("pgrep -f '^sleep 2' || :"):
        pass
    first.process.send_signal(signal.SIGKILL)
    started = time.monotonic()
    third = drive(site)
    while third.ask(lease="carol") != {}:
        assert time.monotonic() - started < 60
    # What the killed run had begun goes on; nobody writes beside it.
    assert third.ask(change="ls /root/left-behind; rm /root/left-behind")["out"] == "/root/left-behind\n"


def test_a_run_that_stalled_and_came_back_cannot_write(site: Applied, drive: Callable[..., Driver]) -> None:
    direct = drive(site)
    assert direct.ask(run="id -u")["out"] == "0\n"
    with Line(site.host.address) as line:
        through(site, line)
        sleeper = drive(site, "lease.SILENCE_SECONDS=2", "lease.RENEW_SECONDS=1", "connection.STALL_SECONDS=300")
        assert sleeper.ask(lease="bob") == {}
        assert sleeper.ask(change="echo mine")["out"] == "mine\n"
        line.stall()
        while direct.ask(lease="carol") != {}:
            pass
        line.resume()
        late = sleeper.ask(change="touch /root/too-late")
        assert late == {"error": "StepFailed", "what": "another run took over this host"}
        assert site.sh("ls /root/too-late 2>/dev/null || echo none") == "none\n"
        assert direct.ask(change="echo still mine")["out"] == "still mine\n"


# --- exit codes, operators, secrets --------------------------------------------------------------------------

ROLE = '''"""A role that fails in the way its settings say."""

from collections.abc import Iterator

from houblon.contract import Claim, Config, Metadata, Role, Secret, tr
from houblon.kit import Kit


class BadConfig(Config):
    how: str = "command"


class Bad(Role[BadConfig]):
    metadata = Metadata(
        title="Bad", category="toys", licence="AGPL-3.0-or-later", homepage="https://bad.example",
        summary=tr(en="Fails.", fr="Rate."),
    )

    def claims(self) -> Iterator[Claim]:
        yield Secret("word", length=24, description="planted")

    def configure(self, kit: Kit) -> None:
        if self.config.how == "bug":
            raise RuntimeError(f"oops {kit.secret('word').reveal()}")
        kit.file("/etc/bad.conf", kit.secret("word").reveal(), mode=0o600, secret=True)
        kit.ensure("tell it", check="false", run="echo about to fail; cat; exit 7", stdin=kit.secret("word"))
'''


def test_exit_codes_and_secrets_in_errors(site: Applied) -> None:
    role = site.site_folder / "roles" / "bad"
    role.mkdir(parents=True)
    (role / "__init__.py").write_text(ROLE)
    folder, file = site.site_folder, site.site_folder / "site.yaml"
    assert houblon("plan", folder, "--accept-new").returncode == 10
    stranger = houblon("apply", folder, "--yes", HOUBLON_SSH_KEY=str(site.lab.ssh_key))
    assert stranger.returncode == 4 and "no private key on this machine belongs to an admin" in stranger.stderr
    assert site.sh("ls -d /var/lib/houblon 2>/dev/null || echo none") == "none\n"

    site.edit("  portal:\n", "  portal:\n  bad:\n")
    stored = subprocess.run(
        [sys.executable, "-m", "houblon", "secret", "set", "bad/word", "--site", str(folder)], input=PASSWORD,
        capture_output=True, text=True, env=environment(), check=False,
    )
    assert stored.returncode == 0, stored.stderr
    failed = houblon("-vv", "apply", folder, "--only", "bad", "--yes")
    assert failed.returncode == 5, failed.stdout + failed.stderr
    assert "bad, configure" in failed.stderr and "tell it failed" in failed.stderr and "about to fail" in failed.stderr
    as_json = houblon("-vv", "plan", folder, "--only", "bad", "--json")
    assert as_json.returncode == 10 and json.loads(as_json.stdout)["changes"]
    site.edit("  bad:\n", "  bad:\n    how: bug\n")
    bug = houblon("-vv", "plan", folder)
    assert bug.returncode == 1 and "RuntimeError" in bug.stderr and "Traceback" in bug.stderr
    for done in (stored, failed, as_json, bug):
        assert PASSWORD not in done.stdout + done.stderr
    assert logged(site, PASSWORD) == 0
    history = houblon("history", folder)
    assert "failed" in history.stdout and PASSWORD not in history.stdout

    file.write_text(file.read_text().replace("domain:", "domian:"))
    assert houblon("plan", folder).returncode == 2


def test_a_planted_sudo_password_shows_nowhere(applied: Applied) -> None:
    """Setting it changes the password that the very run came in with."""
    folder = applied.site_folder
    word = PASSWORD + "-alice"
    for value in (word, f"next-{word}"):
        subprocess.run(
            [sys.executable, "-m", "houblon", "secret", "set", "base/sudo-alice", "--site", str(folder)], input=value,
            text=True, capture_output=True, env=environment(), check=True,
        )
        runs = [houblon("-vv", "plan", folder), houblon("-vv", "apply", folder, "--yes")]
        assert [r.returncode for r in runs] == [10, 0], runs[-1].stderr
        assert "password (secret)" in runs[0].stdout
    again = houblon("-vv", "plan", folder, "--json")
    assert again.returncode == 0, again.stdout
    runs += [
        again, houblon("-vv", "apply", folder, "--json", "--yes"), houblon("-vv", "status", folder),
        houblon("status", folder, "--json"), houblon("-vv", "verify", folder, "--quick", "--only", "base"),
    ]
    for run in runs:
        assert word not in run.stdout + run.stderr
    assert logged(applied, word) == 0
