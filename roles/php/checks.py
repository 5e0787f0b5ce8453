"""What claims cannot express: each pool is its own user's, behind a socket for nginx alone, with what it asked for."""

from __future__ import annotations

from typing import Any

from houblon.roles.php import ETC, Php, data, ini, unit


def test_only_nginx_opens_the_sockets(host: Any, role: Php) -> None:
    """nobody but nginx can speak to the PHP programs of a service"""
    for pool in role.pools:
        found = host.run("stat -c '%%a %%U %%G %%F' %s", pool.socket).stdout.strip()
        assert found == "660 www-data www-data socket", f"{pool.socket}: {found}"


def test_each_pool_runs_as_its_own_user(host: Any, role: Php) -> None:
    """the PHP programs of each service run as its own user, and never as root"""
    for pool in role.pools:
        group = host.run("systemctl show -p ControlGroup --value %s.service", unit(pool)).stdout.strip()
        found = host.run(f"ps -o user:64= -p $(paste -sd, /sys/fs/cgroup{group}/cgroup.procs)").stdout.split()
        assert found and set(found) == {pool.name}, f"{unit(pool)}: {sorted(set(found))}"


def test_sessions_are_closed_to_others(host: Any, role: Php) -> None:
    """sessions and uploads can be read by their own service only"""
    for pool in role.pools:
        for name in ("tmp", "sessions"):
            found = host.run("stat -c '%%a %%U' %s", f"{data(pool)}/{name}").stdout.strip()
            assert found == f"700 {pool.name}", f"{data(pool)}/{name}: {found}"


def test_pools_load_what_they_asked_for(host: Any, role: Php) -> None:
    """each pool has the extensions that its service asked for, and no others"""
    for pool in role.pools:
        command = f"PHP_INI_SCAN_DIR= /usr/sbin/php-fpm{role.version}"
        loaded = _modules(host.run(f"{command} -c {ETC}/{pool.name}/php.ini -m").stdout)
        built_in = _modules(host.run(f"{command} -n -m").stdout)
        assert loaded - built_in == {*ini.modules(pool), "zend opcache"}, f"{pool.name}: {sorted(loaded - built_in)}"


def _modules(text: str) -> set[str]:
    return {line.strip().lower() for line in text.splitlines() if line.strip() and not line.startswith("[")}
