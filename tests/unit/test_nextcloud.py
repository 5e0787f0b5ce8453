"""What the role `nextcloud` declares and renders, what it refuses, and how its installer judges versions."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
from pathlib import Path
from typing import Any, cast

import pytest
from toysite import make_role, make_site

from houblon import directory
from houblon.claims import Accounts, Jail, Outbound, PersonalData, PhpPool, RedisUser, Vhost
from houblon.errors import BadInput, HoublonError
from houblon.kit import Kit
from houblon.resources import File, Link
from houblon.roles.nextcloud import ENFORCED, INSTALL, WANTED, Nextcloud, paths, settings, web
from houblon.site import Site, load
from houblon.vault.secret import Secret

PASSWORD = "pa'ss\\word"


class Vault:
    """One secret for all."""

    def get(self, role: str, name: str) -> Secret:
        return Secret(PASSWORD.encode())


def site(folder: Path, options: str = "", more: str = "") -> Site:
    return load(make_site(folder, services=f"nextcloud: {{{options}}}\n{more}"))


def role(site: Site) -> Nextcloud:
    (found,) = [one for one in site.roles if isinstance(one, Nextcloud)]
    return found


def recorded(site: Site) -> Kit:
    kit = Kit(site, role(site), cast(Any, Vault()))
    kit.role.install(kit)
    kit.role.configure(kit)
    kit.role.activate(kit)
    return kit


def files(site: Site) -> dict[str, File]:
    return {item.path: item for batch in recorded(site).batches for item in batch.items if isinstance(item, File)}


def enforced(site: Site) -> str:
    return files(site)[ENFORCED].content.decode()


def wanted(site: Site) -> dict[str, Any]:
    return cast(dict[str, Any], json.loads(files(site)[WANTED].content))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"), (True, "true"), (False, "false"), (3, "3"), (1.5, "1.5"), ("", "''"), ([], "[]"), ({}, "[]"),
        ("it's \\n", "'it\\'s \\\\n'"),
        ("$_ENV ${x} \"q\"\n<?php", "'$_ENV ${x} \"q\"\n<?php'"),
        (["a", 1], "[\n    'a',\n    1,\n]"),
        ({"a": {"b": ()}}, "[\n    'a' => [\n        'b' => [],\n    ],\n]"),
    ],
)  # fmt: skip
def test_php_literals(value: object, text: str) -> None:
    assert settings.php(value) == text


def test_what_is_no_data_has_no_literal() -> None:
    with pytest.raises(TypeError, match="bytes"):
        settings.php({"a": b"x"})


def test_its_own_name_alone_is_trusted_and_nothing_in_between(tmp_path: Path) -> None:
    text = enforced(site(tmp_path, "subdomain: nuage"))
    assert "'trusted_domains' => [\n        'nuage.famille.test',\n    ]," in text
    assert "'trusted_proxies' => [],\n" in text
    assert "'overwrite.cli.url' => 'https://nuage.famille.test',\n" in text
    for line in ("'appstoreenabled' => false", "'updatechecker' => false", "'upgrade.disable-web' => true"):
        assert f"    {line},\n" in text


def test_secrets_are_in_files_that_only_it_may_read(tmp_path: Path) -> None:
    found = files(site(tmp_path))
    for path, file in found.items():
        told = any(form.encode() in file.content for form in (PASSWORD, settings.php(PASSWORD), _base64(PASSWORD)))
        assert told == (path in (ENFORCED, WANTED)), path
        if told:
            assert (file.mode, file.owner, file.group, file.secret) == (0o640, "root", paths.USER, True)


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def test_french_by_default_on_french_sites(tmp_path: Path) -> None:
    french = enforced(site(tmp_path / "a"))
    for key, value in {"language": "fr", "locale": "fr_FR", "phone_region": "FR", "timezone": "Europe/Paris"}.items():
        assert f"    'default_{key}' => '{value}',\n" in french
    text = (tmp_path / "a" / "site.yaml").read_text().replace("admins:", "languages: [en]\nadmins:", 1)
    english = load(make_site(tmp_path / "b", text.replace("nextcloud: {}", "nextcloud: {phone_region: IE}")))
    for key, value in {"language": "en", "locale": "en_GB", "phone_region": "IE"}.items():
        assert f"    'default_{key}' => '{value}',\n" in enforced(english)


def test_mail_goes_out_only_where_the_host_can_send_it(tmp_path: Path) -> None:
    assert "'mail_smtpmode' => 'null'" in enforced(site(tmp_path / "a"))
    assert "emailTestSuccessful" not in wanted(site(tmp_path / "b"))["apps"]["core"]
    folder = make_site(tmp_path / "c", services="nextcloud:\npost:")
    make_role(folder, "post", attributes='provides = ("mailer",)')
    text = enforced(load(folder))
    assert "'mail_smtphost' => '127.0.0.1'" in text
    assert "'mail_domain' => 'famille.test'" in text


def test_what_is_promised_to_people_is_what_it_is_told(tmp_path: Path) -> None:
    made = site(tmp_path, "trash_days: 7, version_days: 14")
    text = enforced(made)
    assert "'trashbin_retention_obligation' => 'auto, 7'" in text
    assert "'versions_retention_obligation' => 'auto, 14'" in text
    kept = {claim.where: claim.retention_days for claim in role(made).claims() if isinstance(claim, PersonalData)}
    assert kept[f"{paths.DATA}/*/files_trashbin"] == 7
    assert kept[f"{paths.DATA}/*/files_versions"] == 14


def test_a_second_factor_for_groups(tmp_path: Path) -> None:
    text = enforced(site(tmp_path, "second_factor: [board, desk]"))
    assert "'twofactor_enforced' => 'true'" in text
    assert "'twofactor_enforced_groups' => [\n        'board',\n        'desk',\n    ]" in text
    assert "'twofactor_enforced' => 'false'" in enforced(site(tmp_path / "b"))


def test_a_second_factor_for_a_group_it_cannot_see_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HoublonError, match="second_factor names desk, which groups does not let in"):
        site(tmp_path, "groups: [board], second_factor: [board, desk]")


def test_everybody_may_use_it_unless_groups_are_named(tmp_path: Path) -> None:
    found = wanted(site(tmp_path / "a"))["apps"]["user_ldap"]
    assert found["s01ldap_userlist_filter"] == "(&(objectClass=houblonPerson)(houblonState=active))"
    assert found["s01ldap_group_filter"] == "(objectClass=houblonGroup)"
    made = site(tmp_path / "b", "groups: [members], admins: board")
    found = wanted(made)["apps"]["user_ldap"]
    both = "(|(memberOf=cn=members,ou=groups,o=houblon)(memberOf=cn=board,ou=groups,o=houblon))"
    assert found["s01ldap_userlist_filter"] == f"(&(objectClass=houblonPerson)(houblonState=active){both})"
    assert found["s01ldap_login_filter"].endswith(f"{both}(|(uid=%uid)(mail=%uid)))")
    assert found["s01ldap_group_filter"] == "(&(objectClass=houblonGroup)(|(cn=members)(cn=board)))"
    assert found["s01ldap_admin_group"] == "board"
    # What slapd lets it see is the same.
    (claim,) = [claim for claim in role(made).claims() if isinstance(claim, Accounts)]
    assert claim.groups == ("members", "board")


def test_people_are_called_here_as_they_are_there(tmp_path: Path) -> None:
    found = wanted(site(tmp_path))["apps"]["user_ldap"]
    assert {found[f"s01ldap_expert_{key}"] for key in ("username_attr", "uuid_user_attr")} == {"uid"}
    assert found["s01ldap_expert_uuid_group_attr"] == "cn"
    assert found["s01ldap_agent_password"] == _base64(PASSWORD)
    assert json.loads(found["configuration_prefixes"]) == ["s01"]


def test_its_own_account_can_be_nobodys(tmp_path: Path) -> None:
    assert not directory.NAME.fullmatch(paths.ADMIN)
    assert wanted(site(tmp_path))["account"] == hashlib.sha256(PASSWORD.encode()).hexdigest()


def test_apps_are_chosen(tmp_path: Path) -> None:
    found = wanted(site(tmp_path, "apps: {files_external: true, photos: false, survey_client: true}"))
    assert set(found["on"]) == {"user_ldap", "files_external", "survey_client"}
    assert set(found["off"]) == {*settings.OFF, "photos"} - {"survey_client"}


def test_quota(tmp_path: Path) -> None:
    assert wanted(site(tmp_path / "a"))["apps"]["files"]["default_quota"] == "10 GB"
    assert wanted(site(tmp_path / "b", "quota_gb: null"))["apps"]["files"]["default_quota"] == "none"


def test_the_sites_own_settings_come_last(tmp_path: Path) -> None:
    made = site(tmp_path)
    folder = tmp_path / "overrides" / "nextcloud"
    folder.mkdir(parents=True)
    (folder / "a.json").write_text('{"system": {"loglevel": 1, "x": [1]}, "apps": {"theming": {"name": "A", "n": 1}}}')
    (folder / "b.json").write_text('{"system": {"loglevel": 0}, "apps": {"theming": {"name": null}}}')
    text = enforced(made)
    assert "    'loglevel' => 0,\n" in text and text.count("'loglevel'") == 1
    assert "    'x' => [\n        1,\n    ],\n" in text
    theming = wanted(made)["apps"]["theming"]
    assert (theming["name"], theming["n"], theming["url"]) == (None, "1", "https://famille.test/")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "cannot be read as JSON"),
        ("[]", "something else than system and apps"),
        ('{"theming": {}}', "something else than system and apps"),
        ('{"apps": []}', "something else than system and apps"),
        ('{"apps": {"theming": {"a": true}}}', "must be text, a whole number"),
        ('{"apps": {"theming": ["a"]}}', "must be text, a whole number"),
        ('{"apps": {"theming": {"a": 1.5}}}', "must be text, a whole number"),
    ],
)
def test_settings_that_it_would_not_take_are_refused(tmp_path: Path, text: str, said: str) -> None:
    made = site(tmp_path)
    folder = tmp_path / "overrides" / "nextcloud"
    folder.mkdir(parents=True)
    (folder / "ours.json").write_text(text)
    with pytest.raises(BadInput, match=said) as caught:
        enforced(made)
    assert str(caught.value.file).endswith("overrides/nextcloud/ours.json")


def test_nginx_serves_nothing_before_it_is_installed_and_never_what_is_no_page(tmp_path: Path) -> None:
    made = site(tmp_path)
    (vhost,) = [claim for claim in made.claims(Vhost) if claim.role == "nextcloud"]
    (pool,) = [claim for claim in made.claims(PhpPool) if claim.role == "nextcloud"]
    assert f"if (!-e {paths.INSTALLED}) {{\n    return 503;" in vhost.snippet
    assert f"fastcgi_pass unix:{pool.socket};" in vhost.snippet
    (closed,) = re.findall(r"rewrite \^/\(\?!([^ ]+)\)", vhost.snippet)
    assert not {"cron", "updater", "core"} & set(re.findall(r"\w+", closed))
    assert dict(pool.environment) == {"NEXTCLOUD_CONFIG_DIR": paths.CONFIG}
    assert "apps-extra" not in vhost.snippet


def test_it_sees_its_own_keys_of_redis_alone(tmp_path: Path) -> None:
    made = site(tmp_path)
    (user,) = [claim for claim in made.claims(RedisUser) if claim.role == "nextcloud"]
    text = enforced(made)
    assert f"'memcache_customprefix' => '{user.name}:'" in text
    assert f"'user' => '{user.name}'" in text


def test_apps_of_others(tmp_path: Path) -> None:
    folder = make_site(tmp_path, services="nextcloud:\npolls:")
    make_role(
        folder, "polls", 'Plugin("nextcloud", "polls", artifact="nextcloud-polls")', 'Plugin("nextcloud", "text")',
        'Plugin("other", "elsewhere", artifact="x")',
    )  # fmt: skip
    made = load(folder)
    assert {"polls", "text"} <= set(wanted(made)["on"])
    assert "elsewhere" not in wanted(made)["on"]
    links = [item for batch in recorded(made).batches for item in batch.items if isinstance(item, Link)]
    (link,) = [link for link in links if link.path.startswith(paths.APPS)]
    assert (link.path, link.target) == (f"{paths.APPS}/polls", "/opt/nextcloud-polls/current")
    (vhost,) = [claim for claim in made.claims(Vhost) if claim.role == "nextcloud"]
    assert "location ~ ^/apps-extra/" in vhost.snippet


def test_it_says_whom_it_talks_to(tmp_path: Path) -> None:
    assert [claim for claim in role(site(tmp_path)).claims() if isinstance(claim, Outbound)]


LINE = (
    '{"reqId":"a1","level":2,"time":"2026-11-22T10:14:13+00:00","remoteAddr":"198.51.100.7","user":"--","app":"core",'
    '"method":"GET","url":"%s","scriptName":"/remote.php","message":"%s","userAgent":"x","version":"34.0.1.2"}'
)


@pytest.mark.parametrize(
    ("url", "message", "address"),
    [
        ("/remote.php/dav", "Login failed: 'marie' (Remote IP: '198.51.100.7')", "198.51.100.7"),
        ("/login/challenge/totp", "Two-factor challenge failed: x", "198.51.100.7"),
        ("/remote.php/dav", "Bind failed: 49: Invalid credentials", None),
        # The visitor's own words say that somebody else failed.
        (r"/\",\"remoteAddr\":\"192.0.2.1\",\"message\":\"Login failed:", "Login failed: x", "198.51.100.7"),
        (r"/\",\"scriptName\":\"/x\",\"message\":\"Login failed: ", "nothing", None),
        ("/x", r"Trusted domain error. \"192.0.2.1\" \"message\":\"Login failed: ", None),
    ],
)
def test_failed_logins_are_counted_for_whom_nginx_saw(url: str, message: str, address: str | None) -> None:
    """The filter's own expression, with fail2ban's words replaced by what they stand for."""
    lines = dict(line.split(" = ", 1) for line in web.FILTER.splitlines() if " = " in line)
    text = lines["failregex"]
    for _ in range(3):
        text = re.sub(r"%\((\w+)\)s", lambda found: lines.get(found[1], ""), text)
    found = re.match(text.replace("<HOST>", r"(?P<host>[\d.]+)"), LINE % (url, message))
    assert (found and found["host"]) == address


def test_a_jail_for_it(tmp_path: Path) -> None:
    (jail,) = [claim for claim in role(site(tmp_path)).claims() if isinstance(claim, Jail)]
    assert jail.filter_text == web.FILTER
    assert f"'syslog_tag' => '{jail.journal.removeprefix('SYSLOG_IDENTIFIER=')}'" in enforced(site(tmp_path / "b"))


@pytest.mark.parametrize(
    ("data", "code", "said"),
    [
        ("34.0.1.2", "34.0.1", ""),
        ("34.0.1.2", "34.0.4", ""),
        ("34.0.4.1", "35.0.0", ""),
        ("34.0.4.1", "36.0.0", "cannot skip a major version: it is at 34.0.4.1, and goes to 36.0.0 by way of"),
        ("34.0.4.1", "34.0.3", "cannot go back from 34.0.4.1 to 34.0.3"),
        ("34.0.10.1", "34.0.9", "cannot go back from 34.0.10.1 to 34.0.9"),
        ("34.0.4.1", "33.0.9", "cannot go back"),
        ("", "34.0.4", "does not say which version the data is of"),
    ],
)
def test_upgrades_go_one_step_and_never_back(tmp_path: Path, data: str, code: str, said: str) -> None:
    """The installer itself, with its paths moved below a temporary directory."""
    config, installed = tmp_path / "config.php", tmp_path / "installed"
    line = f"  'version' => '{data}',\n" if data else ""
    config.write_text(f"<?php\n$CONFIG = array (\n{line}  'note' => 'version',\n);\n")
    script = files(site(tmp_path / "site"))[INSTALL].content.decode()
    script = script.replace(f"{paths.CONFIG}/config.php", str(config)).replace(paths.INSTALLED, str(installed))

    def may() -> subprocess.CompletedProcess[str]:
        return subprocess.run(["sh", "-c", script, "sh", "may", code], capture_output=True, text=True, check=False)

    assert may().returncode == 0, "nothing was ever installed"
    installed.touch()
    done = may()
    assert (done.returncode == 0) == (said == ""), done
    assert said in done.stderr
