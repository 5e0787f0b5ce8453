"""What the role `redis` declares, writes and refuses, and the sizes that its script gives a host."""

from __future__ import annotations

import hashlib
import re
import subprocess
from pathlib import Path
from typing import Any, cast

import pytest
from toysite import make_role, make_site

from houblon.claims import RedisUser
from houblon.errors import BadInput
from houblon.kit import Kit
from houblon.resources import Ensure, File, UnitState, digest
from houblon.roles.redis import CONF, HOST_SCRIPT, PASSWORD, SCRIPT, USERS, Redis
from houblon.site import Site, load
from houblon.software import REDIS, REDIS_FORGET
from houblon.vault.secret import Secret


class FixedVault:
    """Gives a password that follows from its name."""

    def get(self, role: str, name: str) -> Secret:
        return Secret(digest(role, name)[:24].encode())


def password(role: str, name: str) -> str:
    return FixedVault().get(role, name).reveal()


def kit_of(site: Site) -> Kit:
    role = site.role("redis")
    kit = Kit(site, role, cast(Any, FixedVault()))
    for stage in (role.install, role.configure, role.activate):
        stage(kit)
    return kit


def files(site: Site) -> dict[str, File]:
    return {item.path: item for batch in kit_of(site).batches for item in batch.items if isinstance(item, File)}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    make_site(tmp_path, services="wiki:\npad:")
    make_role(tmp_path, "wiki", "RedisUser('wiki', lists_keys=True)", "Secret('redis', description='x')")
    make_role(tmp_path, "pad", "RedisUser('etherpad')", "Secret('redis', description='x')")
    return load(tmp_path)


def users(site: Site) -> dict[str, list[str]]:
    lines = [line.split() for line in files(site)[USERS].content.decode().splitlines()]
    assert all(line[0] == "user" for line in lines)
    return {line[1]: line[2:] for line in lines}


# --- users --------------------------------------------------------------------------------------------------


def test_nobody_is_let_in_by_default(site: Site) -> None:
    assert users(site)["default"] == ["reset", "off"]
    assert set(users(site)) == {"default", "houblon", "wiki", "etherpad"}


def test_a_user_sees_keys_and_channels_of_its_own(site: Site) -> None:
    rules = users(site)["etherpad"]
    assert [rule for rule in rules if rule[0] in "~&%"] == ["~etherpad:*", "&etherpad:*"]
    assert {"-@dangerous", "-@admin", "-scan", "-randomkey", "-function"} < set(rules)
    assert "+keys" not in rules and "+keys" in users(site)["wiki"]
    assert rules.index("+@all") < rules.index("-@dangerous"), "they count in their order"


def test_passwords_are_hashes_that_fit(site: Site) -> None:
    for user, role, name in (("wiki", "wiki", "redis"), ("etherpad", "pad", "redis"), ("houblon", "redis", "admin")):
        value = password(role, name)
        assert f"#{hashlib.sha256(value.encode()).hexdigest()}" in users(site)[user]
        assert value not in files(site)[USERS].content.decode()


def test_the_admin_reads_no_value(site: Site) -> None:
    rules = users(site)["houblon"]
    assert rules[rules.index("-@all") :] == ["-@all", "+acl|list", "+acl|load", "+ping", "+info", "+scan", "+unlink"]


def test_clients_cannot_read_its_files(site: Site) -> None:
    """Their group is the daemon's, so nothing secret may be the group's."""
    written = files(site)
    for path, owner in ((USERS, "redis"), (PASSWORD, "root")):
        assert written[path].secret and written[path].mode & 0o077 == 0 and written[path].owner == owner
    secrets = [password("wiki", "redis"), password("pad", "redis"), password("redis", "admin")]
    for path, file in written.items():
        assert path == PASSWORD or not any(secret.encode() in file.content for secret in secrets), path


def test_new_users_restart_it(site: Site, tmp_path: Path) -> None:
    def stamp(of: Site) -> str:
        units = [item for batch in kit_of(of).batches for item in batch.items if isinstance(item, UnitState)]
        return units[0].restart_on

    before = stamp(site)
    assert before == stamp(load(tmp_path))
    make_role(tmp_path, "more", "RedisUser('more')", "Secret('redis', description='x')")
    file = tmp_path / "site.yaml"
    file.write_text(file.read_text().replace("  wiki:", "  more:\n  wiki:"))
    assert stamp(load(tmp_path)) != before


@pytest.mark.parametrize("name", ["default", "houblon", "Wiki", "w iki", "wiki\\nuser x", "~*", "", "a" * 32])
def test_names_that_cannot_be(tmp_path: Path, name: str) -> None:
    make_site(tmp_path, services="wiki:")
    make_role(tmp_path, "wiki", f"RedisUser('{name}')", "Secret('redis', description='x')")
    with pytest.raises(BadInput, match="a name that cannot be"):
        load(tmp_path)


def test_two_roles_do_not_share_a_user(tmp_path: Path) -> None:
    make_site(tmp_path, services="wiki:\npad:")
    for role in ("wiki", "pad"):
        make_role(tmp_path, role, "RedisUser('same')", "Secret('redis', description='x')")
    with pytest.raises(BadInput, match="the roles pad and wiki want the same user `same`"):
        load(tmp_path)


# --- configuration ------------------------------------------------------------------------------------------


def test_only_the_socket(site: Site) -> None:
    conf = files(site)[CONF].content.decode().splitlines()
    assert "port 0" in conf and f"unixsocket {REDIS}" in conf and "unixsocketperm 770" in conf
    assert "maxmemory-policy volatile-lru" in conf
    assert not [line for line in conf if line.startswith(("bind", "requirepass", "tls"))]


def test_an_override_has_the_last_word(site: Site, tmp_path: Path) -> None:
    override = tmp_path / "overrides" / "redis" / "redis.conf"
    override.parent.mkdir(parents=True)
    override.write_text("maxmemory 1gb\n")
    assert files(load(tmp_path))[CONF].content.decode().splitlines()[-1] == "maxmemory 1gb"


@pytest.mark.parametrize(("memory", "most"), [(512, 32), (2048, 64), (4096, 128), (262144, 1024)])
def test_memory(site: Site, tmp_path: Path, memory: int, most: int) -> None:
    script = tmp_path / "script"
    script.write_bytes(files(site)[HOST_SCRIPT].content)
    done = subprocess.run(["sh", script, "show", str(memory)], capture_output=True, text=True, check=True)
    assert re.search(r"^maxmemory (\d+)mb$", done.stdout, re.MULTILINE)
    assert done.stdout.splitlines()[-1] == f"maxmemory {most}mb"


def test_scripts_are_shell(site: Site) -> None:
    written = files(site)
    for path, shell in ((SCRIPT, "bash"), (HOST_SCRIPT, "sh")):
        assert subprocess.run([shell, "-n"], input=written[path].content, check=False).returncode == 0


def test_a_removal_with_its_data_deletes_keys(site: Site) -> None:
    role = cast(Redis, site.role("redis"))
    kit = Kit(site, role, cast(Any, FixedVault()))
    role.purge(kit, [RedisUser("wiki"), RedisUser("*")])
    ((drop,),) = [batch.items for batch in kit.batches]
    assert isinstance(drop, Ensure) and drop.run == f"{SCRIPT} drop wiki" == f"{REDIS_FORGET} wiki"
