"""Nextcloud on a host: what people do with it, what nobody else can, and what is put back."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest

from tests.host import saved
from tests.host.browser import chromium
from tests.host.cloud import COMPLETE, ENFORCED, OVERRIDE, Cloud, Files
from tests.host.dav import Device
from tests.host.sites import changes, environment, wait_until

pytestmark = pytest.mark.host

CHUNK = 100 * 1024 * 1024
CHUNKS = 10
WATCH_MEMORY = """cat >/run/watch-memory <<'END'
while :; do ps -o rss= -u nextcloud | awk '{sum += $1} END {print sum + 0}' >>/run/memory-seen; sleep 0.3; done
END
systemd-run -q --unit=watch-memory --collect sh /run/watch-memory"""
WORKER_KB = 300 * 1024
"""What all of its processes together may take while a large file goes up: it is not kept in memory."""


@pytest.fixture(scope="module")
def anna(cloud: Cloud) -> Files:
    return cloud.person("anna")


@pytest.fixture(scope="module")
def bruno(cloud: Cloud) -> Files:
    return cloud.person("bruno", "--group", "members")


# --- it runs ------------------------------------------------------------------------------------------------------


def test_a_second_apply_changes_nothing(cloud: Cloud) -> None:
    before = cloud.state()
    assert changes(cloud.cli("apply", "--yes").stdout) == 0
    assert cloud.state() == before
    assert cloud.plan()["changes"] == []


def test_files_of_an_account_of_the_directory(anna: Files) -> None:
    assert anna.login() == 207
    assert Files(anna.site, "anna", "wrong").login() == 401
    assert Files(anna.site, "nobody", anna.password).login() == 401
    text = "Levée de rideau à 20 h.\n".encode()
    assert anna.put("théâtre.txt", text) == 201
    assert anna.get("théâtre.txt") == text
    assert anna("MOVE", "théâtre.txt", Destination=anna.url("scène.txt")).status == 201
    assert anna.get("scène.txt") == text
    assert anna("GET", "théâtre.txt").status == 404
    assert anna("DELETE", "scène.txt").status == 204
    assert "scène.txt" not in anna.listing()


def test_a_share_opens_with_its_password_alone(cloud: Cloud, anna: Files) -> None:
    anna.put("partage.txt", b"pour qui a le mot de passe\n")
    share = anna.share("partage.txt", shareType="3", password="un mot pour les invités")
    public = f"/public.php/dav/files/{share['token']}"
    assert cloud.get(public).status == 401
    assert cloud.ask("GET", public, pair=("anonymous", "un autre mot")).status == 401
    opened = cloud.ask("GET", public, pair=("anonymous", "un mot pour les invités"))
    assert (opened.status, opened.body) == (200, b"pour qui a le mot de passe\n")
    asked = cloud.get(f"/s/{share['token']}")
    assert asked.status == 303 and asked.headers["location"].endswith("/authenticate/showshare")
    page = cloud.get(f"/s/{share['token']}/download")
    assert page.status == 303 and b"pour qui" not in page.body


def test_a_share_by_mail_arrives(cloud: Cloud, anna: Files) -> None:
    anna.put("invitation.txt", b"venez\n")
    anna.share("invitation.txt", shareType="4", shareWith="awa@elsewhere.test")
    assert cloud.relay is not None
    mail = cloud.relay.wait_for(lambda one: "awa@elsewhere.test" in one.recipients)
    assert "invitation.txt" in mail.subject + mail.text
    assert f"https://{cloud.fqdn}/" in mail.text


def test_a_gigabyte_in_pieces_without_the_memory_for_it(cloud: Cloud, anna: Files) -> None:
    block = os.urandom(1024 * 1024)
    total = hashlib.sha256()
    folder = f"/uploads/anna/houblon-{os.getpid()}"
    target = {"Destination": anna.url("grand.bin"), "OC_Total_Length": str(CHUNKS * CHUNK)}
    cloud.sh(WATCH_MEMORY)
    try:
        assert anna.dav("MKCOL", folder, **target).status == 201
        for number in range(1, CHUNKS + 1):
            piece = number.to_bytes(4, "big") + block[4:] + block * (CHUNK // len(block) - 1)
            total.update(piece)
            assert anna.dav("PUT", f"{folder}/{number:05}", piece, **target).status == 201
        assert anna.dav("MOVE", f"{folder}/.file", **target).status in (201, 204)
    finally:
        cloud.sh("systemctl stop watch-memory.service")
    on_disk = cloud.sh("sha256sum /srv/nextcloud/data/anna/files/grand.bin").split()[0]
    assert on_disk == total.hexdigest()
    assert "grand.bin" in anna.listing()
    most = max(map(int, cloud.sh("cat /run/memory-seen").split()))
    assert 0 < most < WORKER_KB, f"{most // 1024} MB"
    assert anna("DELETE", "grand.bin", X_NC_Skip_Trashbin="true").status == 204
    assert cloud.sh("find /srv/nextcloud/data/anna /srv/nextcloud/work -size +50M").strip() == ""


@pytest.mark.parametrize(("kind", "collection"), [("caldav", "personal"), ("carddav", "contacts")])
def test_calendars_and_contacts_go_round(anna: Files, tmp_path: Path, kind: str, collection: str) -> None:
    phone, tablet = (Device(tmp_path / name, anna.device, kind, ["from a", "from b"]) for name in ("phone", "tablet"))
    for device in (phone, tablet):
        device.run("discover", answers="y\n" * 9)
    phone.write(collection, "e1", "Répétition")
    phone.sync()
    tablet.sync()
    assert tablet.read(collection)["e1"] == "Répétition"
    tablet.write(collection, "e1", "Générale")
    tablet.sync()
    phone.sync()
    assert phone.read(collection)["e1"] == "Générale"
    phone.path(collection, "e1").unlink()
    phone.sync()
    tablet.sync()
    assert "e1" not in tablet.read(collection)


def test_background_jobs_run_by_themselves(cloud: Cloud) -> None:
    shown = cloud.sh("date +%s -d \"$(systemctl show nextcloud-cron.timer -p NextElapseUSecRealtime --value)\"")
    assert -60 < int(shown) - time.time() < 600
    cloud.sh("systemctl start nextcloud-cron.service")
    last = cloud.query("SELECT configvalue FROM oc_appconfig WHERE appid = 'core' AND configkey = 'lastcron'")
    assert abs(int(last) - time.time()) < 60


# --- who may ------------------------------------------------------------------------------------------------------


def test_the_quota_of_the_directory_applies(cloud: Cloud) -> None:
    petit = cloud.person("petit", "--quota", "5M")
    cloud.sh("systemctl start nextcloud-directory.service")
    assert petit.put("cinq.bin", b"x" * 4_000_000) == 201
    assert petit.put("six.bin", b"x" * 6_000_000) == 507
    cloud.user("edit", "petit", "--quota", "50M")
    cloud.sh("systemctl start nextcloud-directory.service")
    assert petit.put("six.bin", b"x" * 6_000_000) == 201


def test_who_is_shut_out_is_out_with_every_device(cloud: Cloud) -> None:
    carl = cloud.person("carl")
    phone = carl.app()
    session = carl("PROPFIND", "", Depth="0")
    cookies = "; ".join(cookie.split(";")[0] for cookie in session.cookies)
    path = f"/files/{carl.name}/"

    def by_session() -> int:
        return cloud.ask("PROPFIND", f"/remote.php/dav{path}", Cookie=cookies, Depth="0").status

    assert (carl.login(), phone.login()) == (207, 207)
    cloud.user("disable", "carl")
    assert (carl.login(), phone.login(), by_session()) == (401, 401, 401)
    cloud.user("enable", "carl")
    cloud.sh("systemctl start nextcloud-directory.service")
    wait_until(lambda: carl.login() == 207, 90)
    cloud.user("invite", "carl", "--password", input=f"{carl.password}\n")
    assert carl.login() == 207, "who gets a new password is not shut out"
    assert phone.login() == 401, "a password of an app that was ended is open again"


def test_a_lost_second_factor_is_forgotten(cloud: Cloud) -> None:
    dora = cloud.person("dora")
    assert dora.login() == 207
    cloud.query("INSERT INTO oc_twofactor_totp_secrets (user_id, secret, state) VALUES ('dora', 'lost', 2)")
    cloud.query("UPDATE oc_twofactor_providers SET enabled = 1 WHERE provider_id = 'totp' AND uid = 'dora'")
    assert dora.login() == 401, "the password alone opens what a second factor closes"
    cloud.user("forget-factor", "dora")
    assert dora.login() == 207
    assert cloud.query("SELECT count(*) FROM oc_twofactor_totp_secrets WHERE user_id = 'dora'").strip() == "0"


def test_one_person_gets_nothing_of_another(cloud: Cloud, anna: Files, bruno: Files) -> None:
    anna.put("journal.txt", b"rien que pour moi\n")
    path = "/files/anna/journal.txt"
    for method in ("GET", "PROPFIND", "DELETE"):
        assert bruno.dav(method, path).status in (403, 404), method
    assert bruno.dav("PUT", "/files/anna/x.txt", b"x").status in (403, 404)
    assert bruno.dav("COPY", path, Destination=bruno.url("vu.txt")).status in (403, 404)
    assert bruno.dav("PROPFIND", "/calendars/anna/personal/", Depth="1").status in (403, 404)
    assert bruno.dav("PROPFIND", "/addressbooks/users/anna/contacts/", Depth="1").status in (403, 404)
    assert bruno.ocs("GET", "/apps/files_sharing/api/v1/shares")["data"] == []
    assert anna.get("journal.txt") == b"rien que pour moi\n"


def test_no_other_user_of_the_host_gets_anything(cloud: Cloud, anna: Files) -> None:
    anna.put("journal.txt", b"rien que pour moi\n")
    file = "/srv/nextcloud/data/anna/files/journal.txt"
    assert cloud.sh(f"cat {file}") == "rien que pour moi\n"
    # The directory's own user, the web server's, an admin's and nobody's.
    for user in ("openldap", "www-data", "alice", "nobody"):
        cloud.sh(f"id {user}")
        for command in (
            f"cat {file}", "ls /srv/nextcloud/data", "cat /srv/nextcloud/config/config.php",
            "cat /srv/nextcloud/config/houblon.config.php", "cat /etc/houblon/nextcloud.json",
            "psql -X -h /run/postgresql -d nextcloud -c 'SELECT 1'",
            "psql -X -h /run/postgresql -d nextcloud -U nextcloud -c 'SELECT 1'",
            "redis-cli -e -s /run/redis/redis-server.sock PING",
        ):  # fmt: skip
            done = cloud.sh(f"cd /; runuser -u {user} -- {command} >/dev/null 2>&1; echo $?").strip()
            assert done != "0", f"{user} may: {command}"
    other = "cd /; runuser -u nextcloud -- redis-cli -e -s /run/redis/redis-server.sock"
    assert "NOAUTH" in cloud.sh(f"{other} KEYS '*' 2>&1 || :"), "without its password its user sees keys"


# --- the operator -------------------------------------------------------------------------------------------------


def test_occ_from_the_operators_machine(cloud: Cloud) -> None:
    said = json.loads(cloud.cli("occ", "--", "status", "--output=json").stdout)
    assert said["installed"] and not said["maintenance"]
    assert cloud.cli("occ", "--", "no:such-command", check=False).returncode == 1
    odd = "deux  mots; 'et' \"plus\" $HOME\n*"
    cloud.cli("occ", "--", "config:app:set", "houblon_test", "odd", f"--value={odd}")
    assert cloud.query("SELECT configvalue FROM oc_appconfig WHERE appid = 'houblon_test'") == odd
    cloud.cli("occ", "config:app:delete", "houblon_test", "odd")
    assert cloud.query("SELECT count(*) FROM oc_appconfig WHERE appid = 'houblon_test'") == "0"
    settings = json.dumps({"apps": {"houblon_test": {"given": "by standard input"}}})
    assert occ_with(cloud, settings, "config:import") == 0
    assert cloud.occ("config:app:get houblon_test given").strip() == "by standard input"
    cloud.occ("config:app:delete houblon_test given")


def occ_with(cloud: Cloud, text: str, *arguments: str) -> int:
    """`houblon occ` with something on standard input; its status."""
    return subprocess.run(
        [sys.executable, "-m", "houblon", "occ", str(cloud.site_folder), "--", *arguments],
        input=text, text=True, timeout=120, check=False, env=environment(),
    ).returncode  # fmt: skip


def test_what_was_changed_by_hand_is_seen_and_put_back(cloud: Cloud) -> None:
    cloud.occ("app:enable survey_client")
    cloud.occ("app:disable files_versions", check=False)
    cloud.occ("config:app:set files default_quota --value='1 B'")
    pool = "/etc/houblon/php/nextcloud/fpm.conf"
    cloud.sh(f"echo '; by hand' >>{pool}; sed -i 's/default_language/default_langue/' {ENFORCED}")
    cloud.sh("cd /; runuser -u postgres -- psql -qc 'GRANT CONNECT ON DATABASE nextcloud TO PUBLIC'")
    seen = json.dumps(cloud.plan()["changes"])
    for what in (pool, ENFORCED, "databases, their owners", "settings and apps"):
        assert what in seen, f"plan does not see {what}: {seen}"
    cloud.cli("apply", "--yes")
    assert cloud.plan()["changes"] == []
    assert "survey_client" not in json.loads(cloud.occ("app:list --output=json"))["enabled"]
    assert "files_versions" in json.loads(cloud.occ("app:list --output=json"))["enabled"]
    assert cloud.occ("config:app:get files default_quota").strip() == OVERRIDE["apps"]["files"]["default_quota"]
    assert cloud.occ("config:system:get default_language").strip() == "fr"
    let_in = "cd /; runuser -u nobody -- psql -d nextcloud -c 'SELECT 1' >/dev/null 2>&1 && echo yes || echo no"
    assert cloud.sh(let_in).strip() == "no"


def test_overrides_hold_and_go(cloud: Cloud) -> None:
    assert cloud.occ("config:system:get simpleSignUpLink.shown").strip() == "false"
    assert cloud.occ("config:app:get files default_quota").strip() == "7 GB"
    file = cloud.site_folder / "overrides" / "nextcloud" / "more.json"
    file.write_text(json.dumps({"system": {"hide_login_form": False}, "apps": {"files": {"houblon_more": "1"}}}))
    cloud.cli("apply", "--yes")
    assert cloud.occ("config:app:get files houblon_more").strip() == "1"
    file.unlink()
    cloud.cli("apply", "--yes")
    assert cloud.occ("config:app:get files houblon_more", check=False).strip() == ""
    assert cloud.occ("config:system:get hide_login_form", check=False).strip() == ""
    assert cloud.occ("config:app:get files default_quota").strip() == "7 GB"


def test_one_person_is_exported_and_removed(cloud: Cloud, bruno: Files, tmp_path: Path) -> None:
    dora = cloud.person("dora")
    dora.put("lettre.txt", b"ma lettre\n")
    dora("MKCOL", "photos")
    dora.put("photos/a.txt", b"a\n")
    dora.share("photos", shareType="0", shareWith="bruno")
    phone = Device(tmp_path / "phone", dora.device, "caldav", ["from a", "from b"])
    phone.run("discover", answers="y\n" * 9)
    phone.write("personal", "e1", "Rendez-vous")
    phone.sync()
    path = tmp_path / "dora.tar.gz"
    said = cloud.user("remove", "dora", "--yes", "--to", str(path)).stdout
    assert "dora is removed" in said
    with tarfile.open(path) as archive:
        names = {name.removeprefix("./"): name for name in archive.getnames()}
        letter = archive.extractfile(names["nextcloud/files/lettre.txt"])
        assert letter is not None and letter.read() == b"ma lettre\n"
        assert {"nextcloud/files/photos/a.txt", "nextcloud/shares.csv", "nextcloud/profile.json"} <= set(names)
        events = [archive.extractfile(names[name]) for name in names if name.endswith(".ics")]
        assert any(event is not None and b"SUMMARY:Rendez-vous" in event.read() for event in events)
    assert cloud.sh("ls /srv/nextcloud/data | grep -x dora || :") == ""
    for table, column in (("oc_ldap_user_mapping", "owncloud_name"), ("oc_share", "uid_owner"),
                          ("oc_preferences", "userid"), ("oc_authtoken", "uid"), ("oc_accounts", "uid")):  # fmt: skip
        assert cloud.query(f"SELECT count(*) FROM {table} WHERE {column} = 'dora'") == "0", table  # noqa: S608
    assert cloud.query("SELECT count(*) FROM oc_calendars WHERE principaluri = 'principals/users/dora'") == "0"
    assert dora.login() == 401
    assert "photos" not in bruno.listing()
    again = cloud.person("dora")
    assert cloud.query("SELECT owncloud_name FROM oc_ldap_user_mapping WHERE ldap_dn LIKE 'uid=dora,%'") == "dora"
    assert again.listing() == set()
    cloud.user("remove", "dora", "--yes", "--to", str(tmp_path / "again.tar.gz"))
    for command in ("show", "export", "delete", "shut-out"):
        nobody = f"HOUBLON_EXPORT=$(mktemp -d) HOUBLON_PERSON=dora /usr/local/lib/houblon/nextcloud-person {command}"
        assert cloud.sh(nobody) == ""


def test_what_was_lost_comes_back(cloud: Cloud, anna: Files) -> None:
    anna.put("précieux.txt", b"ne pas perdre\n")
    token = anna.share("précieux.txt", shareType="3", password="un mot pour les invités")["token"]
    kept = saved.save(cloud)
    assert {"nextcloud", "accounts"} <= set(kept)
    cloud.occ("status --output=json")
    assert cloud.get("/status.php").text.count('"maintenance":false') == 1, "the maintenance of the backup goes on"
    saved.wipe(cloud, kept)
    cloud.cli("apply", "--yes", timeout=900)
    assert anna.login() == 401
    saved.restore(cloud, kept)
    for role, one in kept.items():
        assert saved.compare(cloud, role, one.claim) == one.compare, f"{role} is not what it was"
    assert cloud.plan()["changes"] == []
    assert anna.get("précieux.txt") == b"ne pas perdre\n"
    opened = cloud.ask("GET", f"/public.php/dav/files/{token}", pair=("anonymous", "un mot pour les invités"))
    assert opened.body == b"ne pas perdre\n"


# --- at the end ---------------------------------------------------------------------------------------------------


def test_verify_is_green(cloud: Cloud, anna: Files) -> None:
    result = cloud.cli("verify", "--deep", "--only", "nextcloud", check=False)
    assert result.returncode == 0, result.stdout[-3000:]
    assert cloud.cli("verify", check=False).returncode == 0


@pytest.fixture
def complete(cloud: Cloud) -> None:
    if cloud.sh(f"[ -e {COMPLETE} ] && echo there || :").strip() != "there":
        pytest.skip("this tree lacks dist/core-common.js, without which the web interface does not start")


def test_in_a_browser(complete: None, cloud: Cloud, anna: Files) -> None:
    anna.put("vu.txt", b"dans un navigateur\n")
    with chromium(cloud) as browser:
        context = browser.new_context(ignore_https_errors=True, locale="fr-FR")
        page = context.new_page()
        broken: list[str] = []
        page.on("pageerror", lambda error: broken.append(str(error)))
        page.goto(f"https://{cloud.fqdn}/")
        page.fill("#user", "anna")
        page.fill("#password", anna.password)
        page.click("button[type=submit]")
        page.wait_for_url("**/apps/**")
        page.goto(f"https://{cloud.fqdn}/apps/files/files")
        page.locator('[data-cy-files-list-row-name="vu.txt"]').wait_for()
        assert page.locator("html").get_attribute("lang") == "fr"
        assert broken == []
