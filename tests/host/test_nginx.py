"""nginx as visitors and administrators meet it."""

from __future__ import annotations

import json

import pytest

from houblon.verify.wire import Wire
from tests.host.sites import Applied
from tests.host.web import get

pytestmark = pytest.mark.host


def test_an_application_is_told_the_truth_about_its_visitor(web: Applied) -> None:
    answer = get(web, f"https://app.{web.lab.domain}/x?y=1", X_Forwarded_For="192.0.2.66", X_Real_IP="192.0.2.66")
    told = json.loads(answer.text)
    assert told["path"] == "/x?y=1"
    assert told["host"] == f"app.{web.lab.domain}"
    assert told["x-forwarded-proto"] == "https"
    assert told["x-forwarded-for"] == told["x-real-ip"] != "192.0.2.66"
    upgrade = get(web, f"https://app.{web.lab.domain}/", Connection="Upgrade", Upgrade="websocket")
    assert json.loads(upgrade.text)["upgrade"] == "websocket"


def test_denied_paths_and_hidden_files_are_not_found(web: Applied) -> None:
    assert get(web, f"https://app.{web.lab.domain}/admin/users").status == 404
    assert get(web, f"https://one.{web.lab.domain}/.hidden").status == 404
    assert get(web, f"https://one.{web.lab.domain}/index.html").status == 200


def test_too_many_requests_are_turned_away_and_the_others_served(web: Applied) -> None:
    url = f"https://app.{web.lab.domain}/"
    statuses = [get(web, url).status for _ in range(40)]
    assert statuses[0] == 200
    assert 429 in statuses
    assert get(web, f"https://one.{web.lab.domain}/").status == 200
    assert "limiting requests" in web.sh("journalctl -u nginx --since -2min --no-pager")


def test_an_override_works_and_keeps_the_headers(web: Applied) -> None:
    name = f"one.{web.lab.domain}"
    file = web.site_folder / "overrides" / "nginx" / f"{name}.conf"
    file.parent.mkdir(parents=True)
    file.write_text('location = /hello { add_header X-Own 1; return 200 "hello\\n"; }\n')
    try:
        web.cli("apply", "--yes")
        answer = get(web, f"https://{name}/hello")
        assert (answer.status, answer.text, answer.headers["x-own"]) == (200, "hello\n", "1")
        assert "content-security-policy" in answer.headers
        assert "strict-transport-security" in answer.headers
        file.write_text("location = /hello { retrun 200; }\n")
        done = web.cli("apply", "--yes", check=False)
        assert done.returncode == 5
        assert f"overrides/{name}.conf:1" in done.stderr
        assert 'unknown directive "retrun"' in done.stderr
        assert get(web, f"https://{name}/hello").text == "hello\n"
        web.sh("systemctl restart nginx")
        assert get(web, f"https://{name}/hello").text == "hello\n"
        file.rename(file.with_name(f"oen.{web.lab.domain}.conf"))
        done = web.cli("plan", check=False)
        assert done.returncode == 2
        assert f"oen.{web.lab.domain}.conf" in done.stderr
        file.with_name(f"oen.{web.lab.domain}.conf").unlink()
    finally:
        file.unlink(missing_ok=True)
        file.parent.rmdir()
        web.cli("apply", "--yes")
    assert get(web, f"https://{name}/hello").status == 404
    assert web.plan()["changes"] == []


def test_a_foreign_site_stays_served(web: Applied) -> None:
    web.sh(
        "printf 'server { listen 80; server_name foreign.test; return 200 foreign; }\\n'"
        " >/etc/nginx/sites-enabled/foreign && systemctl reload nginx"
    )
    try:
        web.cli("apply", "--yes")
        assert get(web, "http://foreign.test/").text == "foreign"
    finally:
        web.sh("rm /etc/nginx/sites-enabled/foreign && systemctl reload nginx")


def test_logs_rotate_under_the_sandbox(web: Applied) -> None:
    def visit(path: str) -> None:
        assert get(web, f"https://one.{web.lab.domain}/{path}?secret=1").status == 404

    visit("before")
    web.sh("logrotate -f /etc/logrotate.d/nginx")
    # Workers reopen on a signal; until then they write into the old file.
    for _ in range(50):
        visit("after")
        if "/after" in web.sh("cat /var/log/nginx/access.log"):
            break
    log, old = web.sh("cat /var/log/nginx/access.log"), web.sh("cat /var/log/nginx/access.log.1")
    assert "/after" in log
    assert "/before" in old
    assert "secret" not in log + old
    assert web.sh("stat -c %a:%U:%G /var/log/nginx/access.log").strip() == "640:www-data:adm"


def test_the_sandbox_holds_and_nginx_works_in_it(web: Applied) -> None:
    last = web.sh("systemd-analyze security nginx.service --no-pager | tail -n 1")
    assert float(last.split(":")[1].split()[0]) <= 3.0
    web.sh("systemctl restart nginx && systemctl reload nginx")
    assert get(web, f"https://{web.lab.domain}/").status == 200
    journal = web.sh("journalctl -u nginx --since -1min --no-pager")
    assert "denied" not in journal.lower()
    assert "not permitted" not in journal.lower()


def test_key_exchange_is_post_quantum(web: Applied) -> None:
    # The host's own client: this machine's OpenSSL may be too old for it.
    said = web.sh(
        f"openssl s_client -connect 127.0.0.1:443 -servername {web.lab.domain} </dev/null 2>&1 | grep -i group"
    )
    assert "X25519MLKEM768" in said


def test_ipv6_serves_the_same(web: Applied) -> None:
    wire = Wire(web.host.address6)
    assert wire.get(f"https://one.{web.lab.domain}/").status == 200
    assert wire.get(f"http://one.{web.lab.domain}/").status == 301
