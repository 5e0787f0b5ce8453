"""What the role `postgresql` declares, writes and refuses, and the sizes that its script gives a host."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any, cast

import pytest
from toysite import SITE, make_role, make_site

from houblon.claimjson import claim_to_json
from houblon.claims import Database, Package, Unit
from houblon.errors import BadInput
from houblon.kit import Kit
from houblon.model import removal
from houblon.record import RoleRecord
from houblon.resources import Ensure, File, Item
from houblon.roles.postgresql import HOST_SCRIPT, NAMES, SCRIPT, Postgresql, acceptable
from houblon.site import Site, load
from houblon.vault import Vault


def items(site: Site) -> list[Item]:
    role = site.role("postgresql")
    kit = Kit(site, role, cast(Any, None))
    for stage in (role.install, role.configure, role.activate):
        stage(kit)
    return [item for batch in kit.batches for item in batch.items]


def files(site: Site) -> dict[str, str]:
    return {item.path: item.content.decode() for item in items(site) if isinstance(item, File)}


def toys(folder: Path, *, debian: int = 13) -> Site:
    host = SITE.format(services="wiki:\n  pad:").replace("192.0.2.10", f"192.0.2.10\n  debian: {debian}")
    make_site(folder, host)
    make_role(folder, "wiki", "Database('postgresql', 'wiki')")
    make_role(folder, "pad", "Database('postgresql', 'etherpad')")
    return load(folder)


def sizes(tmp_path: Path, memory: int) -> dict[str, str]:
    """The script's own answer for a host with so much memory, in MB."""
    script = tmp_path / "script"
    script.write_text(files(toys(tmp_path / "site"))[HOST_SCRIPT])
    done = subprocess.run(["sh", script, "show", str(memory)], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return dict(line.split(" = ") for line in done.stdout.splitlines() if not line.startswith("#"))


def mb(text: str) -> int:
    return int(text.removesuffix("MB"))


# --- what is claimed and written ---------------------------------------------------------------------------


@pytest.mark.parametrize(("debian", "version"), [(12, 15), (13, 17)])
def test_it_is_the_version_of_the_host(tmp_path: Path, debian: int, version: int) -> None:
    site = toys(tmp_path, debian=debian)
    mine = [claim for claim in site.claims(Package) if claim.role == "postgresql"]
    assert f"postgresql-{version}" in mine[0].names
    assert f"postgresql@{version}-main.service" in {claim.name for claim in site.claims(Unit)}
    written = files(site)
    assert {f"/etc/postgresql/{version}/main/{name}" for name in ("pg_hba.conf", "postgresql.conf")} < set(written)
    # Only 17 has it: of a provider of locales, and of a setting, 15 would not start.
    assert ("builtin" in written[SCRIPT]) == (version >= 17)
    assert ("allow_alter_system" in written[f"/etc/postgresql/{version}/main/postgresql.conf"]) == (version >= 17)


def test_each_claim_is_a_database(tmp_path: Path) -> None:
    assert files(toys(tmp_path))[NAMES] == "etherpad\nwiki\n"


def test_only_the_socket_and_only_peers(tmp_path: Path) -> None:
    written = files(toys(tmp_path))
    conf = written["/etc/postgresql/17/main/postgresql.conf"].splitlines()
    assert "listen_addresses = ''" in conf and "jit = off" in conf
    rules = [line.split() for line in written["/etc/postgresql/17/main/pg_hba.conf"].splitlines() if line[0] != "#"]
    assert rules == [["local", "all", "postgres", "peer"], ["local", "sameuser", "all", "peer"]]


def test_an_override_has_the_last_word(tmp_path: Path) -> None:
    toys(tmp_path)
    override = tmp_path / "overrides" / "postgresql" / "postgresql.conf"
    override.parent.mkdir(parents=True)
    override.write_text("work_mem = 64MB\n")
    assert files(load(tmp_path))["/etc/postgresql/17/main/postgresql.conf"].splitlines()[-1] == "work_mem = 64MB"


def test_scripts_are_shell(tmp_path: Path) -> None:
    written = files(toys(tmp_path / "site"))
    for path, shell in ((SCRIPT, "bash"), (HOST_SCRIPT, "sh")):
        assert subprocess.run([shell, "-n"], input=written[path].encode(), check=False).returncode == 0


# --- what is refused ----------------------------------------------------------------------------------------


def test_a_database_of_an_engine_that_nothing_provides(tmp_path: Path) -> None:
    make_site(tmp_path, services="wiki:")
    make_role(tmp_path, "wiki", "Database('mariadb', 'wiki')")
    with pytest.raises(BadInput) as caught:
        load(tmp_path)
    assert caught.value.what == "the role `wiki` wants a mariadb database, which nothing here provides"
    assert caught.value.line == 12 and caught.value.cure
    make_role(tmp_path, "mariadb", "Provides('mariadb')", category="system", attributes="consumes = (Database,)")
    load(tmp_path)


@pytest.mark.parametrize("name", ["wiki", "nc-1", "a_b", "a" * 31])
def test_names_of_databases(name: str) -> None:
    assert acceptable(name)


@pytest.mark.parametrize("name", [
    "", "postgres", "template1", "public", "pg_monitor", "Wiki", "1wiki", "wi ki", "wiki;x", "wi'ki", "wi\"ki", "é",
    "wiki\nroot", "-d", "a" * 32,
])  # fmt: skip
def test_names_that_cannot_be(tmp_path: Path, name: str) -> None:
    assert not acceptable(name)
    make_site(tmp_path, services="wiki:")
    make_role(tmp_path, "wiki", f"Database('postgresql', {name!r})")
    with pytest.raises(BadInput, match="a name that cannot be"):
        load(tmp_path)


# --- sizes --------------------------------------------------------------------------------------------------


def test_a_host_with_2_gb(tmp_path: Path) -> None:
    assert sizes(tmp_path, 2048) == {
        "shared_buffers": "128MB", "effective_cache_size": "1024MB", "work_mem": "4MB",
        "maintenance_work_mem": "64MB", "autovacuum_work_mem": "32MB", "max_connections": "64",
        "max_parallel_workers_per_gather": "0",
    }  # fmt: skip


@pytest.mark.parametrize("memory", [512, 1024, 2048, 4096, 16384, 131072])
def test_it_leaves_room_for_the_others(tmp_path: Path, memory: int) -> None:
    """Its own cache, three cleaners and a dozen sorts at once stay below a third of the host."""
    found = sizes(tmp_path, memory)
    most = mb(found["shared_buffers"]) + 3 * mb(found["autovacuum_work_mem"]) + 12 * mb(found["work_mem"])
    assert most <= memory / 3
    assert int(found["max_connections"]) >= min(memory // 64, 300), "a worker of PHP takes 64 MB or more"


def test_nonsense_is_refused(tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        sizes(tmp_path, 1)


# --- a removal with its data --------------------------------------------------------------------------------


def test_a_removal_drops_the_database_only_when_it_is_told_to(tmp_path: Path) -> None:
    site = toys(tmp_path)
    vault = cast(Vault, None)
    record = RoleRecord(claims=[claim_to_json(Database("postgresql", "wiki", role="wiki"))])

    def steps(*, purge: bool) -> list[Item]:
        return [item for batch in removal(site, vault, "wiki", record, purge) for item in batch.items]

    assert steps(purge=False) == []
    (drop,) = steps(purge=True)
    assert isinstance(drop, Ensure) and drop.run == f"{SCRIPT} drop wiki"


def test_nothing_but_a_services_own_database_is_dropped(tmp_path: Path) -> None:
    site = toys(tmp_path)
    role = cast(Postgresql, site.role("postgresql"))
    kit = Kit(site, role, cast(Any, None))
    role.purge(kit, [Database("mariadb", "wiki"), Database("postgresql", "postgres"), Database("postgresql", "x;y")])
    assert kit.batches == []
