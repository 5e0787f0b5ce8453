"""What Nextcloud is told: enforced settings as PHP, and what its database must hold. Pure.

Meanings: https://docs.nextcloud.com/server/stable/admin_manual/configuration_server/config_sample_php_parameters.html
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from houblon import directory
from houblon.errors import BadInput
from houblon.roles.nextcloud.paths import CODE, DATA, HOME, USER, WORK
from houblon.software import POSTGRESQL_DIRECTORY, REDIS

OFF = (
    "app_api", "firstrunwizard", "logreader", "nextcloud_announcements", "support", "survey_client",
    "updatenotification", "weather_status", "webhook_listeners",
)  # fmt: skip
"""Apps of the release that are kept off: they fetch from upstream, speak for it, or read a log file nobody writes."""
ON = ("user_ldap",)
"""Apps of the release that are off by default, and needed."""
ACTIVITY_DAYS = 90
CHUNK_MB = 100
"""Largest piece of an upload: what a proxy in between may have to keep, and what a broken line loses."""

Values = Mapping[str, Any]


def php(value: Any, depth: int = 1) -> str:
    """A value as a PHP literal, readable in a diff.

    :raises TypeError: for what JSON does not know either.
    """
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, str):
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    if isinstance(value, (list, tuple)):
        pairs = [php(one, depth + 1) for one in value]
    elif isinstance(value, Mapping):
        pairs = [f"{php(key)} => {php(one, depth + 1)}" for key, one in value.items()]
    else:
        raise TypeError(f"{type(value).__name__} has no PHP literal")
    if not pairs:
        return "[]"
    pad = "    " * depth
    return "[\n" + "".join(f"{pad}{pair},\n" for pair in pairs) + "    " * (depth - 1) + "]"


def enforced(
    *, fqdn: str, domain: str, language: str, locale: str, region: str, timezone: str, mailer: bool,
    lost_password: str, trash_days: int, version_days: int, second_factor: tuple[str, ...], redis_password: str,
) -> dict[str, Any]:
    """System settings that nobody changes on the host."""
    return {
        "dbtype": "pgsql",
        "dbhost": POSTGRESQL_DIRECTORY,
        "dbname": USER,
        "dbuser": USER,
        "dbpassword": "",
        "dbtableprefix": "oc_",
        "datadirectory": DATA,
        "tempdirectory": WORK,
        "memcache.local": "\\OC\\Memcache\\APCu",
        "memcache.distributed": "\\OC\\Memcache\\Redis",
        "memcache.locking": "\\OC\\Memcache\\Redis",
        "memcache_customprefix": f"{USER}:",
        "redis": {"host": REDIS, "port": 0, "user": USER, "password": redis_password, "timeout": 3},
        "trusted_domains": [fqdn],
        # nginx is on the same host and speaks FastCGI, so the visitor's address needs nobody's word.
        "trusted_proxies": [],
        "overwrite.cli.url": f"https://{fqdn}",
        "overwriteprotocol": "https",
        "htaccess.IgnoreFrontController": True,
        "appstoreenabled": False,
        "updatechecker": False,
        "upgrade.disable-web": True,
        # Nobody outside is told who has an account here.
        "lookup_server": "",
        "skeletondirectory": "",
        "templatedirectory": "",
        "default_language": language,
        "default_locale": locale,
        "default_phone_region": region,
        "default_timezone": timezone,
        "knowledgebaseenabled": False,
        "allow_user_to_change_display_name": False,
        "lost_password_link": lost_password,
        # Hours of UTC: from one o'clock on, heavy jobs may run for four hours.
        "maintenance_window_start": 1,
        "trashbin_retention_obligation": f"auto, {trash_days}",
        "versions_retention_obligation": f"auto, {version_days}",
        "activity_expire_days": ACTIVITY_DAYS,
        "auth.bruteforce.protection.enabled": True,
        "ratelimit.protection.enabled": True,
        # Text, as Nextcloud's own command writes it.
        "twofactor_enforced": "true" if second_factor else "false",
        "twofactor_enforced_groups": list(second_factor),
        "twofactor_enforced_excluded_groups": [],
        "debug": False,
        "log_type": "syslog",
        "syslog_tag": USER,
        "loglevel": 2,
        "filelocking.enabled": True,
        "files.chunked_upload.max_size": CHUNK_MB * 1024 * 1024,
        "serverid": 1,
        **(_mail(domain) if mailer else {"mail_smtpmode": "null"}),
    }  # fmt: skip


def _mail(domain: str) -> dict[str, Any]:
    return {
        "mail_smtpmode": "smtp",
        "mail_smtphost": "127.0.0.1",
        "mail_smtpport": 25,
        "mail_smtpauth": False,
        "mail_smtpsecure": "",
        "mail_from_address": "cloud",
        "mail_domain": domain,
        # The host speaks to itself; its certificate is for another name.
        "mail_smtpstreamoptions": {"ssl": {"verify_peer": False, "verify_peer_name": False}},
    }


def config_file(values: Values) -> str:
    """``houblon.config.php``, which Nextcloud lays over its own config.php."""
    apps = (
        "[\n"
        "        ['path' => realpath('" + CODE + "') . '/apps', 'url' => '/apps', 'writable' => false],\n"
        "        ['path' => '" + f"{HOME}/apps" + "', 'url' => '/apps-extra', 'writable' => false],\n"
        "    ]"
    )
    lines = [f"    {php(key)} => {php(value, 2)},\n" for key, value in values.items()]
    return (
        "<?php\n// Written by houblon. Settings of your own go into overrides/nextcloud/*.json of the site folder.\n"
        f"$CONFIG = [\n    'apps_paths' => {apps},\n{''.join(lines)}];\n"
    )


def app_settings(
    *, name: str, domain: str, quota_gb: int | None, mailer: bool
) -> dict[str, dict[str, str | None]]:
    """Settings of apps, by app, as text, the way Nextcloud's database holds them."""
    return {
        "core": {
            "backgroundjobs_mode": "cron",
            **({"emailTestSuccessful": "1"} if mailer else {}),
        },
        # Or the links of somebody who was shut out would stay open.
        "files_sharing": {"hide_disabled_user_shares": "yes"},
        "files": {"default_quota": "none" if quota_gb is None else f"{quota_gb} GB"},
        "theming": {"name": name, "url": f"https://{domain}/"},
        # Asking a foreign server about each password that is chosen here is no business of a default.
        "password_policy": {"minLength": "10", "enforceHaveIBeenPwned": "0"},
    }


def ldap(
    *, role: str, visible: tuple[str, ...], admins: str, password: str
) -> dict[str, str | None]:
    """Settings of user_ldap: one connection, ``s01``, over the directory's own socket.

    Names are what identifies people and groups there and here, so nothing is made twice and nothing is renumbered.
    """
    people = directory.person_filter(visible)
    login = directory.person_filter(visible, also=f"(|(uid=%uid)({directory.MAIL}=%uid))")
    named = "".join(f"(cn={group})" for group in visible)
    kind = f"(objectClass={directory.GROUP_CLASS})"
    values = {
        "ldap_host": directory.LDAPI,
        "ldap_port": "",
        "ldap_dn": directory.bind_dn(role),
        "ldap_agent_password": base64.b64encode(password.encode()).decode(),
        "ldap_base": directory.SUFFIX,
        "ldap_base_users": directory.PEOPLE,
        "ldap_base_groups": directory.GROUPS,
        "ldap_userlist_filter": people,
        "ldap_user_filter_mode": "1",
        "ldap_login_filter": login,
        "ldap_login_filter_mode": "1",
        "ldap_group_filter": f"(&{kind}(|{named}))" if named else kind,
        "ldap_group_filter_mode": "1",
        "ldap_display_name": "displayName",
        "ldap_group_display_name": "cn",
        "ldap_email_attr": directory.MAIL,
        "ldap_group_member_assoc_attribute": "member",
        "ldap_attributes_for_user_search": f"uid\ndisplayName\n{directory.MAIL}",
        "ldap_attributes_for_group_search": "cn\ndescription",
        "ldap_expert_username_attr": "uid",
        "ldap_expert_uuid_user_attr": "uid",
        "ldap_expert_uuid_group_attr": "cn",
        "ldap_user_avatar_rule": "none",
        "has_memberof_filter_support": "1",
        "use_memberof_to_detect_membership": "1",
        "ldap_admin_group": admins,
        "ldap_mark_remnants_as_disabled": "1",
        "ldap_cache_ttl": "60",
        "ldap_connection_timeout": "5",
        "ldap_paging_size": "500",
        "ldap_tls": "0",
        "turn_on_pwd_change": "0",
        "ldap_experienced_admin": "1",
        "ldap_configuration_active": "1",
    }
    return {
        "configuration_prefixes": '["s01"]',
        # A web server's process would know somebody who was removed for a month, and call who comes after `name_1234`.
        "use_local_mapping_cache": "no",
        **{f"s01{key}": value for key, value in values.items()},
    }


def overrides(folder: Path) -> tuple[dict[str, Any], dict[str, dict[str, str | None]]]:
    """The site's own settings, from every ``*.json`` of a folder in the order of their names.

    Each is what ``occ config:import`` takes: ``{"system": {...}, "apps": {"app": {"key": "value"}}}``.

    :raises BadInput: when one is not of that form.
    """
    system: dict[str, Any] = {}
    apps: dict[str, dict[str, str | None]] = {}
    for file in sorted(folder.glob("*.json")):
        found = _read(file)
        system |= found.get("system", {})
        for app, key, value in _app_values(found.get("apps", {}), file):
            apps.setdefault(app, {})[key] = None if value is None else str(value)
    return system, apps


def _read(file: Path) -> dict[str, Any]:
    cure = 'It must look like {"system": {"key": ...}, "apps": {"app": {"key": "text"}}}.'
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(f"this override cannot be read as JSON: {error}", cure=cure, file=file) from None
    sections = found if isinstance(found, dict) else {"": found}
    if set(sections) - {"system", "apps"} or not all(isinstance(one, dict) for one in sections.values()):
        raise BadInput("this override has something else than system and apps", cure=cure, file=file)
    return sections


def _app_values(apps: Mapping[str, Any], file: Path) -> Iterator[tuple[str, str, Any]]:
    for app, values in apps.items():
        for key, value in (values if isinstance(values, dict) else {"": values}).items():
            if isinstance(value, bool) or not (value is None or isinstance(value, (str, int))):
                raise BadInput(
                    "the setting of an app must be text, a whole number, or null to have none",
                    cure='Write yes and no as the app does, most often "1" and "0".', file=file, key=f"{app}.{key}",
                )  # fmt: skip
            yield app, key, value
