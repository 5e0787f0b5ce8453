"""Alarms: every cause is really caused, and arrives once by mail and by webhook; its end is told, too.

Not measurable on a lab host: a clock that nobody sets (a container has its machine's), a kill for want of memory (the
kernel's messages do not reach a container), the end of Debian's release. Their looks are in tests/unit/test_alerts.py.
Short memory is shown to the host by a meminfo in place of the kernel's; time passes by writing it into the book.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from houblon.errors import HoublonError
from tests.host.people import People
from tests.host.sinks import HttpSink, Mail, Post, SmtpSink
from tests.host.sites import environment, wait_until

pytestmark = pytest.mark.host
soon = partial(wait_until, seconds=30)

BASE = "/var/lib/houblon-alerts"
ALERT = "/usr/local/lib/houblon/alert"
PUBLIC = "/srv/houblon/health"
# The book's lock is the programs' own (flock(1)), so that no look comes in between.
CALM_SECONDS = 6 * 3600
"""What came and went several times is over after so long at the most (`CALM` of the book)."""
EDIT = f"""flock {BASE}/.book.json.lock python3 - <<'END'
import json
path = "{BASE}/book.json"
book = json.load(open(path))
%s
json.dump(book, open(path, "w"))
END"""


@pytest.fixture(autouse=True)
def calm(people: People) -> Iterator[None]:
    """Nothing told so far, and no look but those that a test takes."""
    people.sh(f"""systemctl stop houblon-health.timer houblon-health.service houblon-deliver.service
        rm -f {BASE}/*.json {BASE}/outbox/*.json {BASE}/delivery/state.json; postsuper -d ALL 2>/dev/null
        systemctl reset-failed; rm -f /run/reboot-required*""")
    relay(people).all.clear()
    hooks(people).all.clear()
    yield
    relay(people).refuse = ""
    people.sh(f"rm -f {BASE}/*.json {BASE}/outbox/*.json; systemctl start houblon-health.timer")


def relay(people: People) -> SmtpSink:
    assert people.relay is not None
    return people.relay


def hooks(people: People) -> HttpSink:
    assert people.hooks is not None
    return people.hooks


def look(people: People, *names: str) -> None:
    """Look at the host as the timer has it done: what is looked at each minute, and these."""
    people.sh(f"""python3 - <<'END'
import json, os, time
path = "{BASE}/looks.json"
memory = json.load(open(path)) if os.path.exists(path) else {{}}
rest = {{"reboot", "logins", "certificates", "clock", "commands", "updates", "software"}} - {set(names) or {""}}
memory["last"] = dict.fromkeys(rest, int(time.time()))
json.dump(memory, open(path, "w"))
END
systemctl start houblon-health.service""")


def age(people: People, key: str, seconds: int) -> None:
    """What is known of a cause is older by so much."""
    people.sh(EDIT % f"""
alarm = book["alarms"]["{key}"]
for name in ("since", "told", "good", "closed"):
    if alarm.get(name):
        alarm[name] -= {seconds}
""")


def keys_of(mail: Mail) -> set[str]:
    return set(str(mail.message["X-Houblon-Keys"] or "").split())


def told(people: People, key: str, kind: str = "alarm") -> Post:
    """The message about a cause, when it has come both by mail and by webhook."""

    def about(post: Post) -> bool:
        return key in post.json["keys"] and post.json["kind"] in (kind, "summary")

    post = hooks(people).wait_for(about)
    name = str(post.json["title"])
    relay(people).wait_for(lambda mail: key in keys_of(mail) and mail.subject.endswith(name))
    return post


def over(people: People, key: str, *names: str) -> None:
    """The end of a cause is told after a while, not at the first good look."""
    look(people, *names)
    assert not hooks(people).matching(lambda post: key in post.json["keys"] and post.json["kind"] == "recovery")
    age(people, key, CALM_SECONDS)
    look(people, *names)
    post = told(people, key, "recovery")
    assert "Terminé" in post.json["title"]


def open_keys(people: People) -> set[str]:
    return {alarm["key"] for alarm in json.loads(people.sh(f"{ALERT} list"))["alarms"]}


def alerts(people: People, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "houblon", "alerts", command, str(people.site_folder), *arguments],
        capture_output=True, text=True, timeout=300, check=False, env=environment(), stdin=subprocess.DEVNULL,
    )  # fmt: skip


def console(people: People, script: str) -> str:
    """What it prints, if it can be run at all: the host may be booting."""
    try:
        return people.sh(script, check=False)
    except HoublonError:
        return ""


# --- the way out ------------------------------------------------------------------------------------------


def test_a_test_alarm_travels_through_every_channel(people: People) -> None:
    done = alerts(people, "test")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "✓ mail" in done.stdout and "2.0.0 taken as" in done.stdout, "the relay's own answer"
    assert "✓ webhook: HTTP 200" in done.stdout
    [mail] = relay(people).all
    assert mail.encrypted and mail.user == "houblon"
    assert mail.recipients == (f"alice@{people.lab.domain}",)
    assert mail.sender == f"houblon@{people.lab.domain}"
    assert mail.message["From"] == f"Les Houblons <houblon@{people.lab.domain}>"
    assert "alarmes vous parviennent" in mail.text
    [post] = hooks(people).all
    assert post.json["kind"] == "test"


def test_a_channel_that_refuses_is_named(people: People) -> None:
    relay(people).refuse = "550 5.7.1 We do not know you"
    hooks(people).status = 403
    try:
        done = alerts(people, "test", "--json")
    finally:
        hooks(people).status = 200
    assert done.returncode == 6
    answer = json.loads(done.stdout)
    assert not answer["mail"]["ok"] and "550 5.7.1 We do not know you" in answer["mail"]["answer"]
    assert not answer["webhook"]["ok"] and "403" in answer["webhook"]["answer"]
    assert not hooks(people).all


def test_nothing_is_lost_while_everything_is_down_and_each_comes_once(people: People) -> None:
    relay(people).stop()
    hooks(people).stop()
    try:
        for name in ("un", "deux", "trois"):
            people.sh(f"printf 'Panne {name}\\nVoyez.' | {ALERT} raise test:{name}")
        people.sh("systemctl start houblon-deliver.service")
        assert people.sh(f"ls {BASE}/outbox").count(".json") == 3
        assert len(json.loads(alerts(people, "list", "--json").stdout)["alarms"]) == 3
        # The hook has been silent for an hour: mail is told of it, the mail's own queue is looked at by its role.
        people.sh(EDIT % "for message in book['queue']: message['at'] -= 3700")
        relay(people).start()
        look(people)
        people.sh("postqueue -f")
        relay(people).wait_for(lambda mail: "channel:webhook" in keys_of(mail))
        people.host.kill()
        people.host.start()
        soon(lambda: console(people, "systemctl is-system-running").strip() in ("running", "degraded"), seconds=60)
        assert people.sh(f"ls {BASE}/outbox").count(".json") >= 3, "kept over a power cut"
    finally:
        relay(people).stop()
        relay(people).start()
        hooks(people).start()
    people.sh("systemctl stop houblon-health.timer; postqueue -f")
    assert alerts(people, "test").returncode == 0, "a test does not wait for its turn, nor do those before it"
    soon(lambda: not people.sh(f"systemctl start houblon-health.service; ls {BASE}/outbox").strip())
    for name in ("un", "deux", "trois"):
        key = f"said:test:{name}"
        assert len(hooks(people).matching(lambda post, key=key: key in post.json["keys"])) == 1, key
        assert len(relay(people).matching(lambda mail, key=key: key in keys_of(mail))) == 1, key
        people.sh(f"{ALERT} clear test:{name}")


def test_a_storm_becomes_a_summary(people: People) -> None:
    for number in range(14):
        people.sh(f"echo Panne {number} | {ALERT} raise storm:{number}")
    people.sh("systemctl start houblon-deliver.service")
    hooks(people).wait_for(lambda post: "said:storm:9" in post.json["keys"])
    assert len(hooks(people).all) == 10
    people.sh(EDIT % "book['sent'] = [at - 1000 for at in book['sent']]")
    look(people)
    post = hooks(people).wait_for(lambda post: post.json["kind"] == "summary")
    assert {"said:storm:10", "said:storm:13"} <= set(post.json["keys"])


# --- services ---------------------------------------------------------------------------------------------


def test_a_foreign_unit_that_fails_is_told_at_once(people: People) -> None:
    people.sh("systemd-run -q --unit=foreign sh -c 'echo the printer is on fire; exit 3'")
    post = told(people, "unit:foreign.service")
    assert "foreign.service a échoué (exit-code)" in post.json["title"]
    assert "the printer is on fire" in post.json["text"], "its last words"
    people.sh("systemctl reset-failed foreign.service")
    over(people, "unit:foreign.service")


def test_a_daemon_that_is_killed(people: People) -> None:
    people.sh("systemctl kill -s KILL --kill-whom=all nginx.service")
    told(people, "unit:nginx.service")
    soon(lambda: people.sh("systemctl is-active nginx.service || :").strip() == "active")
    over(people, "unit:nginx.service")


def test_a_site_that_is_down(people: People) -> None:
    people.sh("systemctl stop nginx.service")
    try:
        look(people)
        assert 'class="health down"' in people.sh(f"cat {PUBLIC}/portal.fr.html")
        age(people, f"site:{people.lab.domain}", 90)
        look(people)
        told(people, f"site:{people.lab.domain}")
        assert json.loads(people.sh(f"cat {PUBLIC}/public/.well-known/houblon/health.json"))["state"] == "ill"
        listed = alerts(people, "list")
        assert listed.returncode == 6 and "ne marche pas" in listed.stdout
    finally:
        people.sh("systemctl start nginx.service")
    over(people, f"site:{people.lab.domain}")
    assert 'class="health up">en service<' in people.sh(f"cat {PUBLIC}/portal.fr.html")
    assert json.loads(people.sh(f"cat {PUBLIC}/public/.well-known/houblon/health.json"))["state"] == "ok"


def test_a_claimed_unit_that_somebody_stopped(people: People) -> None:
    people.sh("systemctl stop fail2ban.service")
    try:
        look(people)
        assert "unit:fail2ban.service" not in open_keys(people), "it may be restarting"
        age(people, "unit:fail2ban.service", 90)
        look(people)
        assert "fail2ban.service ne tourne pas" in told(people, "unit:fail2ban.service").json["title"]
    finally:
        people.sh("systemctl start fail2ban.service")
    over(people, "unit:fail2ban.service")


def test_a_service_that_dies_again_and_again(people: People) -> None:
    people.sh("systemd-run -q --unit=loop -p Restart=always -p RestartSec=100ms -p StartLimitIntervalSec=0 sleep 0.3")
    look(people)
    try:
        # It is not claimed: only units of the site are counted, others may restart as they like.
        assert "loop:loop.service" not in open_keys(people)
    finally:
        people.sh("systemctl stop loop.service")
    people.sh("systemctl start houblon-health.service")
    for _ in range(4):
        before = people.sh("systemctl show -P NRestarts fail2ban.service")
        people.sh("systemctl kill -s KILL fail2ban.service")
        soon(lambda before=before: people.sh("systemctl show -P NRestarts fail2ban.service") != before)
    people.sh("systemctl start houblon-health.service")
    told(people, "loop:fail2ban.service")
    people.sh("systemctl reset-failed fail2ban.service; systemctl restart fail2ban.service")


def test_a_check_of_a_role_fails(people: People) -> None:
    """The mail role's own: the relay refused a mail for good."""
    relay(people).refuse = "550 5.1.1 No such user"
    people.sh("printf 'Subject: x\\n\\nx\\n' | sendmail nobody@elsewhere.test")
    soon(lambda: "status=bounced" in people.sh("journalctl -u postfix --since=-1min -o cat"))
    relay(people).refuse = ""
    look(people, "commands")
    post = told(people, "check:mailer:bounced")
    assert "le relais refuse du courriel" in post.json["title"]
    assert "No such user" in post.json["text"]


def test_a_certificate_near_its_end(people: People) -> None:
    name = people.lab.domain
    live = f"/etc/houblon/tls/{name}/fullchain.pem"
    now = int(time.time())
    start, end = (time.strftime("%Y%m%d%H%M%SZ", time.gmtime(now + hours * 3600)) for hours in (-100, 19.5))
    people.sh(f"""openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN={name} \
        -keyout /run/short.key -out /run/short.pem -not_before {start} -not_after {end} 2>/dev/null
        mount --bind /run/short.pem $(readlink -f {live})""")
    try:
        look(people, "certificates")
        post = told(people, f"certificate:{name}")
        assert f"le certificat de {name} expire dans 19 heures" in post.json["title"]
        assert "16%" in post.json["text"] or "17%" in post.json["text"]
    finally:
        people.sh(f"umount $(readlink -f {live})")
    over(people, f"certificate:{name}", "certificates")


def test_failed_logins_en_masse(people: People) -> None:
    people.edit("alerts:\n", "alerts:\n  failed_logins: 4\n")
    other = people.lab.hosts[1]
    try:
        people.cli("apply", "--yes", "--only", "alerts")
        people.sh("systemctl stop houblon-health.timer; systemctl reset-failed ssh; systemctl restart ssh")
        for number in range(5):
            knock = f"timeout 8 ssh -o BatchMode=yes -o ConnectTimeout=3 -o StrictHostKeyChecking=no guess{number}"
            other.console(["sh", "-c", f"{knock}@{people.host.address} true"], check=False)
        soon(lambda: other.address in people.sh("fail2ban-client banned"))
        look(people, "logins")
        post = told(people, "logins")
        assert "connexions ratées en une heure (" in post.json["title"] and "sshd" in post.json["title"]
    finally:
        people.sh("fail2ban-client unban --all; systemctl reset-failed ssh; systemctl restart ssh")
        people.edit("alerts:\n  failed_logins: 4\n", "alerts:\n")
        people.cli("apply", "--yes", "--only", "alerts")


# --- the machine ------------------------------------------------------------------------------------------


@contextmanager
def small_disk(people: People, folder: Path, inodes: int = 256) -> Iterator[str]:
    """An ext4 of 24 MB at /srv/small on the host, by a loop device of this machine."""
    image = folder / "small.img"
    image.write_bytes(b"")
    with image.open("r+b") as file:
        file.truncate(24 * 2**20)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", "-N", str(inodes), image], check=True)
    device = subprocess.run(
        ["losetup", "-f", "--show", image], check=True, capture_output=True, text=True
    ).stdout.strip()
    number = device.removeprefix("/dev/loop")
    try:
        people.sh(f"mkdir -p /srv/small; mknod /root/small b 7 {number}; mount /root/small /srv/small")
        yield "/srv/small"
    finally:
        people.sh("umount /srv/small; rm -f /root/small; rmdir /srv/small", check=False)
        subprocess.run(["losetup", "-d", device], check=True)


def test_a_disk_that_fills_up_in_two_steps(people: People, tmp_path: Path) -> None:
    with small_disk(people, tmp_path) as disk:
        people.sh(f"fallocate -l 20M {disk}/much")
        look(people)
        post = told(people, f"disk:{disk}")
        assert post.json["title"].startswith("Attention")
        people.sh(f"dd if=/dev/zero of={disk}/rest bs=64k 2>/dev/null; :")
        look(people)
        post = told(people, f"disk:{disk}", "worse")
        assert f"le disque {disk} est plein" in post.json["title"] and "100 %" in post.json["text"]
        look(people)
        people.sh(f"rm {disk}/much {disk}/rest")
        over(people, f"disk:{disk}")
    assert len(hooks(people).matching(lambda post: f"disk:{disk}" in post.json["keys"])) == 3, "one for each news"


def test_a_disk_without_inodes_and_one_that_becomes_read_only(people: People, tmp_path: Path) -> None:
    with small_disk(people, tmp_path, inodes=64) as disk:
        people.sh(f"i=0; while touch {disk}/f$i; do i=$((i+1)); done 2>/dev/null; :")
        look(people)
        assert "trop de fichiers" in told(people, f"inodes:{disk}").json["title"]
        people.sh(f"mount -o remount,ro {disk}")
        look(people)
        assert "plus rien ne peut être écrit" in told(people, f"readonly:{disk}").json["title"]


def test_memory_runs_out(people: People) -> None:
    people.sh("""sed 's/^MemAvailable:.*/MemAvailable:      40000 kB/; s/^MemTotal:.*/MemTotal:      2000000 kB/' \
        /proc/meminfo >/run/meminfo; mount --bind /run/meminfo /proc/meminfo""")
    try:
        look(people)
        assert "memory" not in open_keys(people), "a moment is no trouble"
        age(people, "memory", 300)
        look(people)
        assert "39 Mo sur 1953" in told(people, "memory").json["text"]
    finally:
        people.sh("umount /proc/meminfo")
    over(people, "memory")


def test_a_reboot_that_has_waited_for_a_week(people: People) -> None:
    people.sh("echo libc6 >/run/reboot-required.pkgs; touch -d '6 days ago' /run/reboot-required")
    look(people, "reboot")
    assert "reboot" not in open_keys(people)
    people.sh("touch -d '8 days ago' /run/reboot-required")
    people.sh(EDIT % "book['alarms'].clear()")
    look(people, "reboot")
    assert "redémarrage (libc6)" in told(people, "reboot").json["title"]
    people.sh("rm /run/reboot-required*")
    over(people, "reboot", "reboot")


def test_security_updates_that_nobody_installs(people: People) -> None:
    people.sh("""set -e; mkdir -p /srv/repo/pkg/DEBIAN /srv/repo/dists/trixie-security/main/binary-all
        cd /srv/repo; for v in 1 2; do
        printf 'Package: houblon-hole\\nVersion: '$v'\\nArchitecture: all\\nMaintainer: x <x@x.test>\\n' \
            >pkg/DEBIAN/control; echo Description: x >>pkg/DEBIAN/control; dpkg-deb -b pkg hole$v.deb >/dev/null; done
        dpkg -i hole1.deb >/dev/null
        { dpkg-deb -f hole2.deb; printf 'Filename: hole2.deb\\nSize: '$(stat -c %s hole2.deb)'\\nSHA256: '
          sha256sum hole2.deb | cut -d' ' -f1; } >dists/trixie-security/main/binary-all/Packages
        printf 'Architectures: all\\nSuite: trixie-security\\nComponents: main\\nSHA256:\\n ' \
            >dists/trixie-security/Release
        sha256sum dists/trixie-security/main/binary-all/Packages | cut -d' ' -f1 | tr '\\n' ' ' \
            >>dists/trixie-security/Release
        echo $(stat -c %s dists/trixie-security/main/binary-all/Packages) main/binary-all/Packages \
            >>dists/trixie-security/Release
        echo 'deb [trusted=yes] file:/srv/repo trixie-security main' >/etc/apt/sources.list.d/hole.list
        apt-get update -qq -o Dir::Etc::sourcelist=sources.list.d/hole.list -o Dir::Etc::sourceparts=- \
            -o APT::Get::List-Cleanup=0 2>&1""")
    try:
        look(people, "updates")
        assert "security" not in open_keys(people), "they have two days"
        age(people, "security", 2 * 86400)
        look(people, "updates")
        assert "houblon-hole" in told(people, "security").json["text"]
    finally:
        people.sh("dpkg -P houblon-hole >/dev/null; rm -rf /srv/repo /etc/apt/sources.list.d/hole.list "
                  "/var/lib/apt/lists/*_srv_repo_*")  # fmt: skip
    over(people, "security", "updates")


def test_a_daily_update_that_reaches_nobody_is_no_success(people: People) -> None:
    """apt-get update itself says 0 when no server answers."""
    source, stamp = "/etc/apt/sources.list.d/gone.list", "/var/lib/apt/periodic/update-stamp"
    people.sh(f"rm -f {stamp}; echo 'deb [trusted=yes] http://127.0.0.1:9/ gone main' >{source}")
    try:
        people.sh("systemctl start apt-daily.service || :")
        assert people.sh(f"ls {stamp} 2>/dev/null || :") == ""
    finally:
        people.sh(f"rm {source}; systemctl reset-failed")
    people.sh("systemctl start apt-daily.service")
    assert people.sh(f"ls {stamp}").strip() == stamp


def test_package_lists_that_nobody_reads(people: People) -> None:
    stamps = "/var/lib/apt/periodic/update-success-stamp /var/lib/apt/periodic/update-stamp /var/lib/apt/lists"
    people.sh(f"for f in {stamps}; do [ ! -e $f ] || touch -d '9 days ago' $f; done")
    try:
        look(people, "updates")
        assert "depuis 9 jours" in told(people, "lists").json["title"]
    finally:
        people.sh("touch /var/lib/apt/periodic/update-stamp")
    over(people, "lists", "updates")


# --- what members and watchers see ------------------------------------------------------------------------


def test_the_heart_beats_by_itself(people: People) -> None:
    file = f"{PUBLIC}/public/.well-known/houblon/health.json"

    def beat() -> dict[str, Any]:
        found: dict[str, Any] = json.loads(people.sh(f"cat {file}"))
        return found

    people.sh("systemctl start houblon-health.timer; systemctl start houblon-health.service")
    first = beat()["at"]
    soon(lambda: beat()["at"] > first, seconds=90)
    assert people.sh("journalctl -u houblon-health --since=-5min -o cat | grep -c Starting", check=False).strip() == "0"
    assert people.plan()["changes"] == [], "what it writes is no drift"


def test_secrets_of_channels_stay_where_they_are(people: People) -> None:
    assert people.sh("stat -c '%a %U %G' /etc/houblon/alerts-channels.json").strip() == "640 root houblon-alerts"
    assert "Permission denied" in people.sh("runuser -u nobody -- ls /var/lib/houblon-alerts 2>&1", check=False)
    exposure = people.sh("systemd-analyze security houblon-deliver.service | tail -n1")
    assert float(exposure.split("level for houblon-deliver.service: ")[1].split()[0]) < 3
