"""What claims cannot express: who gets into which database, asked as the users of the services."""

from __future__ import annotations

from typing import Any

import pytest

from houblon.contract import tr
from houblon.roles.postgresql import SCRIPT, Postgresql
from houblon.software import POSTGRESQL_DIRECTORY
from houblon.verify import Broken, LeftOut

REFUSED = 2
"""psql's exit status when the server does not let it in (psql(1))."""


def ask(host: Any, user: str, database: str, query: str, login: str = "") -> Any:
    """A query as a system user, in a database; ``login`` is the role asked for, the user's own by default."""
    as_role = f" -U {login}" if login else ""
    return host.run(
        f"cd / && runuser -u {user} -- psql -XAtq -h {POSTGRESQL_DIRECTORY} -d {database}{as_role} -c \"{query}\""
    )


@pytest.mark.root
def test_it_is_the_version_we_know(host: Any, role: Postgresql) -> None:
    """The server answers root, and is the version that this Debian has."""
    done = ask(host, "postgres", "postgres", "SHOW server_version_num")
    assert done.rc == 0, done.stderr.strip()
    assert int(done.stdout) // 10000 == role.version, done.stdout.strip()


@pytest.mark.root
def test_it_listens_to_its_socket_alone(host: Any) -> None:
    """No port leads to the database."""
    assert ask(host, "postgres", "postgres", "SHOW listen_addresses").stdout.strip() == ""
    assert "5432" not in host.run("ss -Hltn 'sport = :5432'").stdout


@pytest.mark.root
def test_each_service_owns_its_database(host: Any, role: Postgresql) -> None:
    """Each service gets into its own database, by its system user alone, and may do there what it likes."""
    for name in role.databases():
        done = ask(host, name, name, "SELECT current_user, has_database_privilege(current_database(), 'CREATE')")
        assert done.stdout.strip() == f"{name}|t", f"{name}: {done.stderr.strip() or done.stdout.strip()}"


@pytest.mark.root
def test_no_service_enters_another_database(host: Any, role: Postgresql) -> None:
    """No service gets into a database that is not its own, or in as another service; nor does a stranger."""
    names = role.databases()
    for number, name in enumerate(names):
        other = names[(number + 1) % len(names)]
        doors = [("postgres", ""), ("template1", ""), ("postgres", "postgres")]
        doors += [(other, ""), (other, other)] if other != name else []
        for database, login in doors:
            done = ask(host, name, database, "SELECT 1", login)
            assert done.rc == REFUSED, f"{name} gets into {database} as {login or name}"
        for login in ("", name):
            assert ask(host, "nobody", name, "SELECT 1", login).rc == REFUSED, f"a stranger gets into {name}"


@pytest.mark.root
def test_rights_are_the_wanted_ones(host: Any) -> None:
    """Databases, their owners and who may enter them are as the site file has them."""
    done = host.run(f"{SCRIPT} differences")
    if done.rc != 0 or done.stdout.strip():
        raise Broken(
            tr(en="nobody has more rights in the database than the site file gives",
               fr="personne n'a plus de droits dans la base que le fichier du site n'en donne"),
            "; ".join(done.stdout.split("\n")).strip("; ") or done.stderr.strip(),
            tr(en="Run `houblon apply`.", fr="Lancez `houblon apply`."),
        )  # fmt: skip


@pytest.mark.root
def test_damage_is_noticed(host: Any) -> None:
    """Pages carry checksums, and none was ever found wrong."""
    assert ask(host, "postgres", "postgres", "SHOW data_checksums").stdout.strip() == "on"
    done = host.run(f"{SCRIPT} alarm damaged")
    assert done.rc == 0, done.stdout.strip() or done.stderr.strip()


@pytest.mark.root
def test_text_is_unicode(host: Any, role: Postgresql) -> None:
    """Every database of a service keeps its text as UTF-8."""
    if not role.databases():
        raise LeftOut(tr(en="no service has a database", fr="aucun service n'a de base"))
    done = ask(host, "postgres", "postgres",
               "SELECT datname FROM pg_database WHERE pg_encoding_to_char(encoding) = 'UTF8'")  # fmt: skip
    missing = set(role.databases()) - set(done.stdout.split())
    assert not missing, ", ".join(sorted(missing))
