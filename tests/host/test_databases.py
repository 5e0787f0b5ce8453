"""PostgreSQL and Redis on a real host: two services that must not meet, drift, crashes, removals."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

import pytest

from houblon.lab import Lab
from houblon.software import POSTGRESQL_DIRECTORY, REDIS
from houblon.vault import Vault
from tests.host.sites import Applied, changes, environment, make_site, wait_until

pytestmark = pytest.mark.host
soon = partial(wait_until, seconds=60)

DATABASES = "/usr/local/lib/houblon/postgresql"
CACHE = "/usr/local/lib/houblon/redis"
UNIT = "postgresql@17-main.service"
TOY = '''\
"""A toy that keeps something in PostgreSQL and in Redis."""

from collections.abc import Iterator

from houblon.contract import Claim, Config, Database, Metadata, NoBackup, RedisUser, Role, Secret, tr
from houblon.kit import Kit


class Toy(Role[Config]):
    metadata = Metadata(title="Toy", summary=tr(en="A toy.", fr="Un jouet."), category="toys", licence="MIT",
                        homepage="https://toy.test")

    def claims(self) -> Iterator[Claim]:
        yield NoBackup(tr(en="Nothing is kept.", fr="Rien n'est gardé."))
        yield Database("postgresql", "svc-{name}")
        yield RedisUser("svc-{name}", lists_keys={lists})
        yield Secret("redis", description="Password for Redis")

    def install(self, kit: Kit) -> None:
        kit.system_user("svc-{name}", home="/nonexistent", groups=("redis",))
'''


@dataclass
class Databases(Applied):
    """The host, and questions to its databases as one of its users."""

    passwords: dict[str, str] = field(default_factory=dict)

    def sql(self, user: str, query: str, database: str = "", login: str = "") -> str:
        """What psql prints, its errors included."""
        role = f" -U {login}" if login else ""
        command = f"psql -XAtq -h {POSTGRESQL_DIRECTORY} -d {database or user}{role} -c {shlex.quote(query)}"
        return self.sh(f"cd / && runuser -u {user} -- {command} 2>&1", check=False).strip()

    def redis(self, service: str, command: str, user: str = "") -> str:
        """What redis-cli prints, run as the service's system user with its own password."""
        user = user or f"svc-{service}"
        cli = f"redis-cli -s {REDIS} --no-auth-warning --user {user} {command}"
        script = f"REDISCLI_AUTH={self.passwords[service]} runuser -u svc-{service} -- {cli} 2>&1"
        return self.sh(script, check=False).strip()


def take_off(site: Applied, service: str, *options: str) -> str:
    """`houblon remove SERVICE SITE`."""
    done = subprocess.run(
        [sys.executable, "-m", "houblon", "remove", service, str(site.site_folder), "--yes", *options],
        capture_output=True, text=True, timeout=600, check=False, env=environment(),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def add_toy(site: Applied, name: str, *, lists: bool = False) -> None:
    folder = site.site_folder / "roles" / name
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(TOY.format(name=name, lists=lists))


@pytest.fixture(scope="module")
def site(fresh_lab: Callable[..., Lab], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Databases]:
    """A host with two services, a and b, that each have a database and a user of Redis."""
    lab = fresh_lab()
    made = make_site(lab, tmp_path_factory.mktemp("sites") / "databases", services="  a:\n  b:\n")
    site = Databases(made.site_folder, lab, made.host)
    add_toy(site, "a", lists=True)
    add_toy(site, "b")
    site.cli("apply", "--yes", "--accept-new", timeout=900)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOUBLON_IDENTITY", str(site.site_folder / ".local" / "id_ed25519"))
        vault = Vault(site.site_folder)
        site.passwords = {name: vault.get(name, "redis").reveal() for name in ("a", "b")}
    site.sql("svc-b", "CREATE TABLE letters(text text); INSERT INTO letters VALUES ('private')")
    assert site.redis("b", "SET svc-b:letter private") == "OK"
    yield site
    lab.down()


def test_the_second_run_changes_nothing(site: Databases) -> None:
    def state() -> tuple[str, str]:
        return site.state(), site.sql("postgres", "TABLE pg_roles; TABLE pg_database; TABLE pg_auth_members")

    before = state()
    assert site.plan()["changes"] == []
    assert changes(site.cli("apply", "--yes").stdout) == 0
    assert state() == before


def test_verify_is_green(site: Databases) -> None:
    site.cli("verify")


def test_a_service_has_a_database_of_its_own_and_no_other(site: Databases) -> None:
    assert site.sql("svc-a", "CREATE TABLE t(x int); INSERT INTO t VALUES (1); TABLE t; DROP TABLE t") == "1"
    doors = (("svc-b", ""), ("svc-b", "svc-b"), ("postgres", ""), ("template1", ""), ("svc-a", "postgres"))
    for database, login in doors:
        assert "FATAL" in site.sql("svc-a", "SELECT 1", database, login), f"{database} as {login}"
    assert "permission denied" in site.sql("svc-a", "CREATE ROLE mole")
    assert "permission denied" in site.sql("svc-a", "CREATE DATABASE mole")
    assert "permission denied" in site.sql("svc-a", "COPY (SELECT 1) TO PROGRAM 'id'")
    assert "permission denied" in site.sql("svc-a", "SELECT pg_read_file('/etc/passwd')")


def test_a_service_has_keys_of_its_own_and_no_others(site: Databases) -> None:
    assert site.redis("a", "SET svc-a:x 1") == "OK" and site.redis("a", "GET svc-a:x") == "1"
    lua = "\"return redis.call('GET', KEYS[1])\" 1"
    assert site.redis("a", f"EVAL {lua} svc-a:x") == "1"
    for command in (
        "GET svc-b:letter", "SET svc-b:letter x", f"EVAL {lua} svc-b:letter", "COPY svc-b:letter svc-a:letter",
        "FLUSHALL", "FLUSHDB", "SCAN 0", "RANDOMKEY", "CONFIG GET '*'", "ACL LIST", "ACL SETUSER svc-a allkeys", "INFO",
        "MONITOR", "SHUTDOWN", "SUBSCRIBE svc-b:news", "FUNCTION FLUSH", "SCRIPT FLUSH", "CLIENT LIST", "MODULE LIST",
    ):
        answer = site.redis("a", command)
        assert "NOPERM" in answer or "No permissions" in answer or "can't access" in answer, f"{command}: {answer}"
    assert "WRONGPASS" in site.redis("a", "PING", user="svc-b"), "its password opens one user"
    assert "NOPERM" in site.redis("b", "KEYS '*'"), "only who asked for it sees names of keys"
    assert "svc-a:x" in site.redis("a", "KEYS 'svc-a:*'")


def test_strangers_get_in_nowhere(site: Databases) -> None:
    for login in ("", "svc-b", "postgres"):
        assert "FATAL" in site.sql("nobody", "SELECT 1", "svc-b", login)
    assert "denied" in site.sh(f"runuser -u nobody -- redis-cli -s {REDIS} PING 2>&1", check=False)
    # The group of the clients must not be let near the daemon's files: Debian makes both the same group.
    secrets = ("/etc/redis/users.acl", "/etc/redis/houblon.password", "/var/lib/redis/dump.rdb")
    for path in (*secrets, "/var/lib/postgresql/17/main/PG_VERSION"):
        assert "enied" in site.sh(f"runuser -u svc-a -- cat {path} 2>&1", check=False), path
    assert "enied" in site.sh("runuser -u svc-a -- touch /etc/redis/x /run/redis/x /run/postgresql/x 2>&1", check=False)
    listening = site.sh("ss -Hltnup")
    assert "postgres" not in listening and "redis" not in listening


DRIFT = r"""
GRANT CONNECT ON DATABASE "svc-b" TO PUBLIC;
GRANT ALL ON DATABASE template1 TO PUBLIC;
GRANT CONNECT ON DATABASE postgres TO "svc-a";
ALTER ROLE "svc-a" SUPERUSER CREATEDB PASSWORD 'x';
GRANT "svc-b" TO "svc-a";
GRANT pg_read_all_data TO "svc-a";
ALTER DATABASE "svc-a" OWNER TO postgres;
\connect svc-b
GRANT ALL ON SCHEMA public TO PUBLIC;
"""
DIFFERENCES = """\
database svc-a
database postgres lets in "svc-a"
database svc-b lets in PUBLIC
database template1 lets in PUBLIC
role svc-a
schema public of svc-b lets in PUBLIC
svc-a is a member of pg_read_all_data
svc-a is a member of svc-b
"""
SIZED = "the database is sized for this host"
RIGHTS = "databases, their owners and who may enter them"


def test_rights_changed_by_hand_are_seen_and_put_back(site: Databases) -> None:
    script = shlex.quote(DRIFT)
    site.sh(f"cd / && printf %s {script} | runuser -u postgres -- psql -Xq -v ON_ERROR_STOP=1 -d postgres")
    found = site.sh(f"{DATABASES} differences").splitlines()
    # `svc-a` was cut off from its own when its owner changed: its rights went with it.
    assert sorted(found) == sorted(DIFFERENCES.splitlines())
    assert "no pg_hba.conf entry" in site.sql("svc-a", "SELECT 1", "svc-b"), "the second lock holds"
    assert [c["subject"] for c in site.plan()["changes"]] == [RIGHTS]
    assert site.cli("verify", check=False).returncode == 6
    site.cli("apply", "--yes")
    assert site.plan()["changes"] == []
    assert site.sh(f"{DATABASES} differences") == ""
    assert "permission denied" in site.sql("svc-a", "CREATE ROLE mole")
    assert site.sql("svc-b", "TABLE letters") == "private"


def test_files_changed_by_hand_are_seen_and_put_back(site: Databases) -> None:
    """What each edit opens is open at once; after an apply it is closed again."""
    files = {
        "/etc/postgresql/17/main/pg_hba.conf": "local all all trust",
        "/etc/postgresql/17/main/postgresql.conf": "this is no setting",
        "/var/lib/postgresql/17/main/postgresql.auto.conf": "log_statement = 'all'",
        "/etc/redis/redis.conf": "port 6379",
    }
    for path, line in files.items():
        site.sh(f"sed -i {shlex.quote(f'1i {line}')} {path}")
    site.sh("echo 'shared_buffers = 16MB' >/etc/postgresql/17/main/houblon-host.conf; rm /etc/redis/houblon-host.conf")
    site.sh("sed -i 's/~svc-a:/~/' /etc/redis/users.acl; chmod g+w /etc/redis")
    site.sh(f"REDISCLI_AUTH=$(cat /etc/redis/houblon.password) redis-cli -s {REDIS} --user houblon ACL LOAD")
    site.sh(f"systemctl reload {UNIT}")
    assert site.redis("a", "GET svc-b:letter") == "private", "the test makes a hole indeed"
    soon(lambda: site.sql("svc-a", "SELECT 1", "svc-b", "svc-b") == "1")
    named = {c["subject"] for c in site.plan()["changes"]}
    assert {*files, "/etc/redis/users.acl", "the users of Redis are the wanted ones", "Redis is sized for this host",
            "Redis's configuration is root's alone to write", SIZED} <= named  # fmt: skip
    site.cli("apply", "--yes")
    assert site.plan()["changes"] == []
    assert "NOPERM" in site.redis("a", "GET svc-b:letter")
    assert site.redis("b", "GET svc-b:letter") == "private", "a restart keeps what is in Redis"
    assert "Peer authentication failed" in site.sql("svc-a", "SELECT 1", "svc-b", "svc-b")


def test_what_was_lost_in_the_middle_is_made_again(site: Databases) -> None:
    """As after a kill between the role and its database, and a power cut before Redis was told."""
    site.sql("postgres", 'DROP DATABASE "svc-a"')
    site.sh("rm /etc/redis/houblon.seen")
    assert {c["subject"] for c in site.plan()["changes"]} == {RIGHTS, "the users of Redis are the wanted ones"}
    site.cli("apply", "--yes")
    assert site.sql("svc-a", "SELECT 1") == "1"
    assert site.plan()["changes"] == []


def test_killed_while_data_is_written(site: Databases) -> None:
    """What was said to be written is there afterwards; both come back by themselves."""
    site.sql("svc-a", "CREATE TABLE IF NOT EXISTS log(n bigint)")
    program = f"psql -XAtq -h {POSTGRESQL_DIRECTORY} -d svc-a"
    insert = "INSERT INTO log VALUES ($n) RETURNING n;"
    site.sh(
        f"cd / && rm -f /tmp/written; (seq 1000000 | while read n; do echo \"{insert}\"; done |"
        f" runuser -u svc-a -- {program} >/tmp/written) >/dev/null 2>&1 &"
    )
    soon(lambda: int(site.sh("wc -l </tmp/written")) > 200)
    before = site.sh(f"systemctl show -p MainPID --value {UNIT} redis-server.service").split()
    site.sh(f"kill -9 {' '.join(before)}")
    soon(lambda: site.sql("svc-a", "SELECT 1") == "1" and site.redis("a", "PING") == "PONG")
    after = site.sh(f"systemctl show -p MainPID --value {UNIT} redis-server.service").split()
    assert not set(before) & set(after)
    said = int(site.sh("tail -n 1 /tmp/written"))
    assert int(site.sql("svc-a", "SELECT max(n) FROM log")) in (said, said + 1)
    assert site.sql("svc-a", "SELECT max(n) - count(DISTINCT n) FROM log") == "0"
    assert site.plan()["changes"] == []
    site.sql("svc-a", "DROP TABLE log")


def test_alarms_ring(site: Databases) -> None:
    for script, unit in ((f"{DATABASES} alarm silent", UNIT), (f"{CACHE} ping", "redis-server.service")):
        site.sh(f"{script} && systemctl stop {unit}")
        try:
            assert site.sh(f"{script} >/dev/null 2>&1; echo $?").strip() != "0"
            assert site.sh(f"{DATABASES} alarm damaged; echo $?").strip() == "0", "one alarm for one cause"
        finally:
            site.sh(f"systemctl start {unit}")
        soon(partial(site.sh, f"{script} >/dev/null 2>&1 && echo it answers", check=False))
    assert site.sh(f"{DATABASES} alarm damaged; {DATABASES} alarm crowded; echo $?").strip() == "0"


def test_data_outlives_its_service_until_a_removal_says_otherwise(site: Databases) -> None:
    site.redis("a", "SET svc-a:kept 1")
    site.edit("  a:\n  b:\n", "  a:\n")
    assert "Its data is kept in the postgresql database svc-b" in take_off(site, "b")
    assert site.sql("postgres", "TABLE letters", "svc-b") == "private"
    assert "FATAL" in site.sql("svc-b", "SELECT 1"), "nobody gets in any more"
    assert "postgresql database svc-b" in site.cli("status", check=False).stdout
    assert site.plan()["changes"] == []

    site.edit("  a:\n", "  a:\n  b:\n")
    site.cli("apply", "--yes")
    assert site.sql("svc-b", "TABLE letters") == "private"
    site.redis("b", "SET svc-b:letter again")
    site.edit("  a:\n  b:\n", "  a:\n")
    take_off(site, "b", "--purge")
    assert site.sql("postgres", "SELECT count(*) FROM pg_database WHERE datname LIKE 'svc-%'") == "1"
    assert site.sql("postgres", "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'svc-%'") == "1"
    assert site.sh(f"{CACHE} gone svc-b; echo $?").strip() == "0"
    assert site.redis("a", "GET svc-a:kept") == "1"
    assert site.plan()["changes"] == []
