"""The truths of convergence, on a real host."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.host.sites import Applied, changes

pytestmark = pytest.mark.host


def test_the_second_run_changes_nothing_and_the_hashes_prove_it(applied: Applied) -> None:
    before = applied.state()
    assert applied.plan()["changes"] == []
    again = applied.cli("apply", "--yes")
    assert changes(again.stdout) == 0
    assert applied.state() == before


def test_plan_changes_nothing_on_either_side(applied: Applied) -> None:
    before = applied.state()
    folder = _tree(applied)
    applied.edit("name: Les Houblons", "name: Le Houblon")
    try:
        done = applied.cli("plan", check=False)
        assert done.returncode == 10
        assert "/srv/houblon/portal/index.html" in done.stdout
        assert "+" in done.stdout and "Le Houblon" in done.stdout
    finally:
        applied.edit("name: Le Houblon", "name: Les Houblons")
    assert applied.state() == before
    assert _tree(applied) == folder


def test_apply_does_what_plan_named_and_nothing_else(applied: Applied) -> None:
    applied.edit("name: Les Houblons", "name: La Houblonnière")
    try:
        named = applied.plan()["changes"]
        done = json.loads(applied.cli("apply", "--yes", "--json").stdout)["changes"]
        assert [(c["kind"], c["subject"], c["action"]) for c in done] == [
            (c["kind"], c["subject"], c["action"]) for c in named
        ]
        assert {c["role"] for c in named} == {"portal", "alerts"}, "pages and alarms carry the name"
        assert "La Houblonnière" in applied.sh("cat /srv/houblon/portal/fr/index.html")
    finally:
        applied.edit("name: La Houblonnière", "name: Les Houblons")
        applied.cli("apply", "--yes")
    assert applied.plan()["changes"] == []


@pytest.mark.parametrize(
    ("drift", "subject"),
    [
        ("echo '# by hand' >>/etc/nginx/nginx.conf", "/etc/nginx/nginx.conf"),
        ("chmod 666 /etc/nginx/nginx.conf", "/etc/nginx/nginx.conf"),
        ("systemctl stop fail2ban", "fail2ban.service"),
        ("systemctl disable --quiet nginx", "nginx.service"),
        ("rm /srv/houblon/portal/style.css", "/srv/houblon/portal/style.css"),
        ("nft add rule inet houblon input tcp dport 9999 accept", "firewall"),
        ("echo 'PermitRootLogin yes' >/etc/ssh/sshd_config", "SSH"),
    ],
)
def test_drift_is_seen_and_repaired(applied: Applied, drift: str, subject: str) -> None:
    before = applied.state().splitlines()
    applied.sh(drift)
    plan = applied.plan()["changes"]
    assert subject in {c["subject"] for c in plan}
    applied.cli("apply", "--yes")
    assert applied.plan()["changes"] == []
    after = applied.state().splitlines()
    assert _files(after) == _files(before)


def test_a_failing_operation_names_role_operation_and_output(applied: Applied) -> None:
    override = applied.site_folder / "overrides" / "nginx" / f"{applied.lab.domain}.conf"
    override.parent.mkdir(parents=True)
    override.write_text("this_is_no_directive on;\n")
    try:
        done = applied.cli("apply", "--yes", check=False)
        assert done.returncode == 5
        assert "nginx" in done.stderr and "this_is_no_directive" in done.stderr
        assert "this_is_no_directive" not in applied.sh("cat /etc/nginx/houblon/vhosts/*")
        assert applied.sh("nginx -t -q 2>&1; systemctl is-active nginx").strip() == "active"
        history = json.loads(applied.cli("history", "--json").stdout)
        assert history[-1]["result"] == "failed" and "nginx" in history[-1]["failure"]
    finally:
        override.unlink()
        override.parent.rmdir()
    applied.cli("apply", "--yes")
    assert applied.plan()["changes"] == []


def test_an_older_checkout_is_refused(applied: Applied) -> None:
    def git(*arguments: str) -> None:
        subprocess.run(
            ["git", "-c", "user.name=t", "-c", "user.email=t@t.test", "-C", applied.site_folder, *arguments],
            check=True, capture_output=True,
        )

    (applied.site_folder / ".gitignore").write_text(".local/\n")
    git("init", "-q")
    try:
        git("add", "-A")
        git("commit", "-qm", "one")
        applied.edit("name: Les Houblons", "name: Deux")
        git("commit", "-qam", "two")
        applied.cli("apply", "--yes")
        git("checkout", "-q", "HEAD~1")
        done = applied.cli("apply", "--yes", check=False)
        assert done.returncode == 4 and "git pull" in done.stderr
        assert applied.cli("plan", check=False).returncode == 4
        applied.cli("apply", "--yes", "--allow-older")
    finally:
        subprocess.run(["rm", "-rf", applied.site_folder / ".git"], check=True)
        applied.cli("apply", "--yes", "--allow-older")
    assert "Les Houblons" in applied.sh("cat /srv/houblon/portal/fr/index.html")


def _files(lines: list[str]) -> list[str]:
    return [line for line in lines if line.startswith("etc/") or "  etc/" in line]


def _tree(site: Applied) -> list[tuple[str, bytes]]:
    return sorted((str(p), p.read_bytes()) for p in site.site_folder.rglob("*") if p.is_file())
