"""`houblon verify` and `houblon status` on a real host: green when all is well, red exactly where something broke."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from houblon.vault import Vault
from tests.host.sites import Applied, environment

pytestmark = pytest.mark.host


@dataclass(frozen=True)
class Break:
    """Something that goes wrong on a host, and how to undo it.

    :param red: the one role that must turn red.
    :param check: a check that must be among its failures.
    """

    name: str
    break_: str
    mend: str
    red: str
    check: str
    full: bool = False


KEEP = "cp -a {0} {0}.kept"
BACK = "mv -f {0}.kept {0}"
PAGE, NGINX, HOSTS = "/srv/houblon/portal/index.html", "/etc/nginx/nginx.conf", "/etc/hosts"
DROPIN, SSHD, RECORD = (
    "/etc/systemd/system/nginx.service.d/houblon.conf", "/etc/ssh/sshd_config", "/var/lib/houblon/state.json",
)  # fmt: skip
OLD_CERTIFICATE = """cd /etc/houblon/tls && name=$(ls) && mkdir /etc/houblon/old && mv $name /etc/houblon/link &&
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=$name -days 2 \
  -addext subjectAltName=DNS:$name -keyout ../old/privkey.pem -out ../old/fullchain.pem 2>/dev/null &&
ln -s /etc/houblon/old $name && systemctl reload nginx"""
NEW_CERTIFICATE = """cd /etc/houblon/tls && mv -T ../link "$(ls)" && rm -rf ../old && systemctl reload nginx"""

BREAKS = [
    Break("nginx is stopped", "systemctl stop nginx", "systemctl start nginx", "nginx", "active[nginx.service]"),
    Break("nginx does not start at boot", "systemctl disable -q nginx", "systemctl enable -q nginx", "nginx",
          "enabled[nginx.service]"),
    Break("nginx crashed", "systemctl kill -s KILL --kill-whom=main nginx; systemctl start nginx",
          "systemctl restart nginx", "nginx", "steady[nginx.service]"),
    Break("nginx is not confined", f"{KEEP.format(DROPIN)}; echo '[Service]' >{DROPIN}; systemctl daemon-reload",
          f"{BACK.format(DROPIN)}; systemctl daemon-reload", "nginx", "sandbox[nginx.service]"),
    Break("its settings were edited", f"{KEEP.format(NGINX)}; echo '# me' >>{NGINX}", BACK.format(NGINX), "nginx",
          "files"),
    Break("its settings are broken", "echo nonsense >/etc/nginx/conf.d/zz.conf", "rm /etc/nginx/conf.d/zz.conf",
          "nginx", "configuration["),
    Break("a page is gone", f"mv {PAGE} {PAGE}.kept", BACK.format(PAGE), "portal", "files"),
    Break("a page cannot be read", f"chmod 700 {Path(PAGE).parent}", f"chmod 755 {Path(PAGE).parent}", "portal",
          "each language leads to the others"),
    Break("the firewall is gone", "nft delete table inet houblon", "systemctl restart houblon-firewall",
          "firewall", "live rules are those of the file"),
    Break("a hole in the firewall", "nft insert rule inet houblon input tcp dport 8099 accept; "
          "systemd-run -q --unit hole --collect python3 -m http.server 8099 --bind ::",
          "systemctl stop hole; systemctl restart houblon-firewall", "firewall", "nothing else is open[IPv4]",
          full=True),
    Break("fail2ban is stopped", "systemctl stop fail2ban",
          "systemctl start fail2ban; "
          "n=0; until fail2ban-client status >/dev/null 2>&1; do n=$((n+1)); [ $n -lt 50 ] || exit 1; sleep 0.2; done",
          "fail2ban", "active[fail2ban.service]"),
    Break("a jail is closed", "fail2ban-client stop sshd >/dev/null", "fail2ban-client reload >/dev/null", "fail2ban",
          "jail[sshd]"),
    Break("root may log in", f"{KEEP.format(SSHD)}; sed -i '1i PermitRootLogin yes' {SSHD}; systemctl reload ssh",
          f"{BACK.format(SSHD)}; systemctl reload ssh", "ssh", "root and strangers stay outside"),
    Break("names lead astray", f"{KEEP.format(HOSTS)}; sed -i '/houblon\\|127.0.1.1\\|\\.test/d' {HOSTS}",
          BACK.format(HOSTS), "base", "names lead here"),
    Break("a foreign unit failed", "systemd-run -q --unit broken false; :", "systemctl reset-failed broken", "base",
          "failed units"),
    Break("the record is damaged", f"{KEEP.format(RECORD)}; echo '{{' >{RECORD}", BACK.format(RECORD), "base",
          "record"),
    Break("certificates are not renewed", "systemctl stop certbot.timer", "systemctl start certbot.timer", "tls",
          "active[certbot.timer]"),
    Break("a certificate of nobody, about to end", OLD_CERTIFICATE, NEW_CERTIFICATE, "tls", "certificate"),
]  # fmt: skip


def checks(applied: Applied, *arguments: str) -> tuple[int, list[dict[str, Any]]]:
    """Exit status and checks of one verification."""
    done = applied.cli("verify", "--json", *arguments, check=False)
    assert done.returncode in (0, 6), done.stdout + done.stderr
    return done.returncode, json.loads(done.stdout)["checks"]


def bad(found: list[dict[str, Any]], outcome: str = "failed") -> dict[str, list[str]]:
    """Checks of one outcome, by role, without the role in their names."""
    result: dict[str, list[str]] = {}
    for check in found:
        if check["outcome"] == outcome:
            result.setdefault(check["role"], []).append(f"{check['id'].partition('::')[2]}: {check['seen']}")
    return result


def test_an_applied_host_is_green(applied: Applied, tmp_path: Path) -> None:
    html, junit = tmp_path / "report.html", tmp_path / "report.xml"
    done = applied.cli("verify", "--html", str(html), "--junit", str(junit), check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "verified" in done.stdout and "not measurable here" in done.stdout
    text = html.read_text()
    assert '<html lang="fr">' in text and "http-equiv" in text
    assert "src=" not in text and "<script" not in text and "@import" not in text and "url(" not in text
    assert 'failures="0"' in junit.read_text()
    status, found = checks(applied)
    assert status == 0
    passed = {c["id"] for c in found if c["outcome"] == "passed"}
    assert {"firewall::nothing else is open[IPv4]", "firewall::nothing else is open[IPv6]"} <= passed
    assert {f"tls::certificate[{applied.lab.domain}]", "nginx::sandbox[nginx.service]"} <= passed


@pytest.mark.parametrize("case", BREAKS, ids=lambda case: case.name.replace(" ", "-"))
def test_what_breaks_turns_red_and_nothing_else(applied: Applied, case: Break) -> None:
    applied.sh(case.break_)
    try:
        status, found = checks(applied, *([] if case.full else ["--quick"]))
    finally:
        applied.sh(case.mend)
    red = bad(found)
    assert status == 6
    assert set(red) == {case.red}, red
    assert any(line.startswith(case.check) for line in red[case.red]), red
    assert {c["blocked_by"] for c in found if c["outcome"] == "blocked"} <= {case.red}, bad(found, "blocked")


def test_a_leaked_secret_is_found_and_not_repeated(applied: Applied, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOUBLON_IDENTITY", str(applied.site_folder / ".local" / "id_ed25519"))
    value = Vault(applied.site_folder).get("base", "sudo-alice").reveal()
    applied.host.console(["sh", "-c", "cat >/srv/notes.txt; chmod 644 /srv/notes.txt"], input=value.encode())
    try:
        done = applied.cli("verify", "--json", "--quick", "--only", "base", check=False)
        table = applied.cli("verify", "--quick", "--only", "base", check=False)
    finally:
        applied.sh("rm -f /srv/notes.txt")
    assert done.returncode == 6
    found = bad(json.loads(done.stdout)["checks"])
    assert [line for line in found["base"] if "/srv/notes.txt (sudo-" in line]
    assert value not in done.stdout + done.stderr + table.stdout + table.stderr


def test_a_lost_line_is_never_green(applied: Applied) -> None:
    # What is left of an earlier test's line must not be taken for this one's.
    applied.sh("while pkill -u alice -f sshd; do sleep 0.1; done")
    run = subprocess.Popen(
        [sys.executable, "-m", "houblon", "verify", str(applied.site_folder), "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, env=environment(),
    )  # fmt: skip
    # Until it ends: a first blow may meet a process that is still on its way to being the line.
    deadline = time.monotonic() + 60
    while run.poll() is None and time.monotonic() < deadline:
        applied.sh("pkill -KILL -u alice -f sshd || :")
    out, err = run.communicate(timeout=120)
    assert run.returncode == 3, out + err
    assert "verified" not in out and '"ok"' not in out


def test_status_shows_what_matters(applied: Applied) -> None:
    applied.sh("echo '# me' >>/etc/nginx/nginx.conf; useradd -m -s /bin/bash zoe; nft add table inet strange; "
               "systemctl stop fail2ban")  # fmt: skip
    try:
        done = applied.cli("status", "--json", check=False)
        table = applied.cli("status", check=False).stdout
    finally:
        applied.sh("sed -i '$d' /etc/nginx/nginx.conf; userdel -r zoe 2>/dev/null; nft delete table inet strange; "
                   "systemctl start fail2ban")  # fmt: skip
    seen = json.loads(done.stdout)
    assert done.returncode == 6
    assert [d["path"] for d in seen["drift"]] == ["/etc/nginx/nginx.conf"]
    assert {"user zoe", "nftables table inet strange"} == set(seen["foreign"])
    assert seen["problems"] == ["fail2ban.service (fail2ban) is inactive (dead)"]
    assert seen["applied"]["by"] == "alice" and seen["applied"]["result"] == "ok"
    assert [c["name"] for c in seen["certificates"]] == [applied.lab.domain]
    assert "fail2ban.service (fail2ban) is inactive" in table
