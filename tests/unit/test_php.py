"""What the role `php` declares and writes, and how many workers its script gives a host."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import pytest
from toysite import make_role, make_site

from houblon.claims import Package, PhpPool, Resource, Unit
from houblon.errors import BadInput
from houblon.kit import Kit
from houblon.resources import File
from houblon.roles.php import HOST_SCRIPT, POOLS, Php, ini
from houblon.site import Site, load

SCRIPT = Path(cast(str, sys.modules[Php.__module__].__file__)).parent / "templates" / HOST_SCRIPT.lstrip("/")
WIKI = 'PhpPool("wiki", extensions=("cli", "xml", "redis", "sockets"), paths=("/srv/wiki", "/etc/wiki"), worker_mb=48)'


def show(tmp_path: Path, pools: str, memory: int, processors: int) -> dict[str, int]:
    """The script's own answer for such a host."""
    file = tmp_path / "pools"
    file.write_text(pools)
    done = subprocess.run(
        ["sh", SCRIPT, "show", file, str(memory), str(processors)], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    return {name: int(workers) for name, workers in (line.split() for line in done.stdout.splitlines())}


def files(site: Site) -> dict[str, str]:
    role = site.role("php")
    kit = Kit(site, role, cast(Any, None))
    role.install(kit)
    role.configure(kit)
    role.activate(kit)
    items = (item for batch in kit.batches for item in batch.items)
    return {item.path: item.content.decode() for item in items if isinstance(item, File)}


@pytest.fixture
def site(tmp_path: Path) -> Path:
    folder = make_site(tmp_path / "site", services="wiki:\nblog:\n")
    make_role(folder, "wiki", WIKI, 'Outbound("other wikis")')
    make_role(folder, "blog", 'PhpPool("blog", settings=(("memory_limit", "64M"), ("opcache.enable", "0")))')
    return folder


# --- workers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("memory", "processors", "workers"),
    [
        (2048, 2, 9),  # 2048 - 512 - 500 = 1036 for 112 at a time
        (8192, 2, 20),  # more only wait for the two processors
        (8192, 8, 50),
        (1024, 2, 3),  # nothing is left: a quarter, and never fewer than three
    ],
)
def test_workers_of_all_pools_fit_into_what_is_left(
    tmp_path: Path, memory: int, processors: int, workers: int
) -> None:
    pools = "at-rest 500\nwiki 80\nblog 32\n"
    assert show(tmp_path, pools, memory, processors) == {"wiki": workers, "blog": workers}


def test_more_pools_have_fewer_workers_each(tmp_path: Path) -> None:
    few = show(tmp_path, "at-rest 100\na 64\nb 64\n", 2048, 4)
    many = show(tmp_path, "at-rest 100\na 64\nb 64\nc 64\nd 64\n", 2048, 4)
    assert few["a"] == 11 and many["a"] == 5
    assert sum(many.values()) * 64 <= 2048 - 512 - 100


def test_no_pools_are_no_error(tmp_path: Path) -> None:
    assert show(tmp_path, "at-rest 100\n", 2048, 4) == {}


def test_a_list_that_is_missing_is_nothing_to_be_content_with(tmp_path: Path) -> None:
    done = subprocess.run(["sh", SCRIPT, "check", tmp_path / "none"], capture_output=True, check=False)
    assert done.returncode == 1


# --- what it declares ---------------------------------------------------------------------------------------


def test_extensions_are_packages_and_no_others(site: Path) -> None:
    placed = load(site)
    names = {name for claim in placed.claims(Package) if claim.role == "php" for name in claim.names}
    assert names == {"php8.4-fpm", "php8.4-opcache", "php8.4-cli", "php8.4-xml", "php8.4-redis"}
    assert {claim.name for claim in placed.claims(Unit) if claim.role == "php"} == {
        f"houblon-php-{name}.{kind}" for name in ("wiki", "blog") for kind in ("service", "socket")
    }


def test_debian_12_has_its_own_version(site: Path) -> None:
    file = site / "site.yaml"
    file.write_text(file.read_text().replace("  address: 192.0.2.10\n", "  address: 192.0.2.10\n  debian: 12\n"))
    names = {name for claim in load(site).claims(Package) if claim.role == "php" for name in claim.names}
    assert "php8.2-fpm" in names and not any("8.4" in name for name in names)


def test_two_pools_of_one_name_are_refused(site: Path) -> None:
    make_role(site, "forum", 'PhpPool("wiki")')
    file = site / "site.yaml"
    file.write_text(file.read_text() + "  forum:\n")
    with pytest.raises(BadInput, match="two roles want a PHP pool `wiki`"):
        load(site)


def test_an_override_that_no_pool_uses_is_refused(site: Path) -> None:
    folder = site / "overrides" / "php"
    folder.mkdir(parents=True)
    (folder / "wkii.conf").write_text("pm.max_children = 2\n")
    with pytest.raises(BadInput, match="no PHP pool") as refused:
        files(load(site))
    assert "wiki.conf" in str(refused.value.cure)


# --- what it writes -----------------------------------------------------------------------------------------


def test_modules_are_loaded_in_order_and_once() -> None:
    pool = PhpPool("x", extensions=("redis", "igbinary", "pgsql", "xml", "cli", "pdo"))
    loaded = ini.modules(pool)
    assert len(loaded) == len(set(loaded))
    for first, then in (("pdo", "pdo_pgsql"), ("igbinary", "redis"), ("dom", "xsl")):
        assert loaded.index(first) < loaded.index(then)
    assert "cli" not in loaded and "ffi" not in loaded


def test_a_pool_opens_what_its_claim_names_and_no_neighbour(site: Path) -> None:
    made = files(load(site))
    wiki = made["/etc/houblon/php/wiki/php.ini"].splitlines()
    assert 'open_basedir = "/opt/:/srv/wiki/:/etc/wiki/:/var/lib/php/houblon/wiki/"' in wiki
    assert "extension = sockets" in wiki and "extension = mbstring" not in wiki
    unit = made["/etc/systemd/system/houblon-php-wiki.service"]
    assert "User=wiki\n" in unit
    assert "ReadWritePaths=/var/lib/php/houblon/wiki -/srv/wiki\n" in unit, "configuration stays root's"


def test_only_who_says_so_reaches_the_outside(site: Path) -> None:
    made = files(load(site))
    assert "IPAddressDeny" not in made["/etc/systemd/system/houblon-php-wiki.service"]
    assert "IPAddressDeny=any\n" in made["/etc/systemd/system/houblon-php-blog.service"]


def test_settings_of_a_claim_are_enforced(site: Path) -> None:
    made = files(load(site))
    assert 'php_admin_value[memory_limit] = "64M"' in made["/etc/houblon/php/blog/fpm.conf"]
    # Read once, when the server starts: a pool file that has it would not start.
    assert "opcache.enable" not in made["/etc/houblon/php/blog/fpm.conf"]
    assert 'opcache.enable = "0"' in made["/etc/houblon/php/blog/php.ini"]


def test_sessions_live_as_long_as_the_claim_says() -> None:
    assert ini.session_days(PhpPool("x")) == 2
    assert ini.session_days(PhpPool("x", settings=(("session.gc_maxlifetime", "2592000"),))) == 31


def test_the_script_knows_what_services_take(site: Path) -> None:
    placed = load(site)
    at_rest = sum(claim.memory_mb for claim in placed.claims(Resource))
    assert files(placed)[POOLS] == f"at-rest {at_rest}\nblog 64\nwiki 48\n"


def test_a_value_that_php_would_read_otherwise_is_refused() -> None:
    assert ini.quoted('say "a\\b"') == '"say \\"a\\\\b\\""'
    for value in ("${HOME}", "two\nlines"):
        with pytest.raises(ValueError, match="cannot stand in an ini file"):
            ini.quoted(value)
