"""Roles: found, placed, ordered, and refused when their claims contradict each other."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from toysite import make_role, make_site

from houblon import claims
from houblon.claims import Certificate, Claim, Database, DnsRecord, HostName, Needs, Port, Text, Vhost
from houblon.errors import BadInput
from houblon.registry import claim_from_json, claim_to_json, discover
from houblon.site import load

ROLE_FILE = Path("roles/toy/__init__.py")


def refused(folder: Path) -> BadInput:
    with pytest.raises(BadInput) as caught:
        load(folder)
    assert caught.value.cure
    return caught.value


def names(folder: Path) -> list[str]:
    return [role.name for role in load(folder).roles]


# --- adding a service touches one folder -----------------------------------------------------------------


def test_a_toy_role_gets_all_it_claims(tmp_path: Path) -> None:
    """The role's folder and its line in the site file are all there is."""
    make_site(tmp_path, services="toy: {}")
    make_role(
        tmp_path, "toy", "Package('toy')", "Vhost(f'toy.{self.site.domain}', upstream='127.0.0.1:9999')",
        "Listen(9999)", "Port(4242)", "Jail('toy', 'toy', '_SYSTEMD_UNIT=toy.service', (4242,))",
    )  # fmt: skip
    site = load(tmp_path)
    placed = [role.name for role in site.roles]
    assert {"base", "ssh", "firewall", "nginx", "tls", "fail2ban", "toy"} <= set(placed)
    assert placed.index("nginx") < placed.index("toy")
    assert [c.names for c in site.claims(Certificate)] == [("toy.famille.test",)]
    assert [c.fqdn for c in site.claims(HostName)] == ["toy.famille.test"]
    assert {c.name for c in site.claims(DnsRecord) if c.type == "A"} == {"toy.famille.test"}
    assert {c.role for c in site.claims(Port) if c.number == 4242} == {"toy"}
    assert all(claim.role for claim in site.claims(Claim))
    assert not list((tmp_path / "roles").rglob("__pycache__")), "a site is somebody's git repository"


def test_roles_of_two_sites_do_not_meet(tmp_path: Path) -> None:
    for site, port in (("one", 1111), ("two", 2222)):
        make_site(tmp_path / site, services="toy:")
        make_role(tmp_path / site, "toy", f"Port({port})")
    for site, port in (("one", 1111), ("two", 2222)):
        assert port in [claim.number for claim in load(tmp_path / site).claims(Port)]


def test_a_role_may_have_several_files(tmp_path: Path) -> None:
    make_site(tmp_path, services="toy:")
    folder = make_role(tmp_path, "toy", source="""
        from houblon.contract import *
        from .numbers import PORT
        class Toy(Role[Config]):
            metadata = Metadata("Toy", tr(en="a", fr="b"), "toys", "CC0-1.0", "https://toy.example")
            def claims(self):
                yield Port(PORT)
    """)  # fmt: skip
    (folder / "numbers.py").write_text("PORT = 7777\n")
    assert 7777 in [claim.number for claim in load(tmp_path).claims(Port)]


def test_asking_imports_no_pyinfra() -> None:
    """In a fresh interpreter, since other tests may have imported it."""
    import subprocess

    code = (
        "import sys; from pathlib import Path; from houblon.site import load; "
        "load(Path('inventories/home')); sys.exit('pyinfra' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=True)


# --- roles that are no roles -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "line", "says"),
    [
        ("\nimport nothing_of_that_name\n", 2, "nothing_of_that_name"),
        ("x = 1\ny = (\n", 2, "SyntaxError"),
        ("raise SystemExit(3)\n", 1, "SystemExit"),
        ("def f():\n    return 1 / 0\nf()\n", 2, "division"),
        ("x = 1\n", None, "no subclasses"),
        ("from houblon.contract import *\nclass A(Role[Config]): pass\n", None, "no metadata"),
        ("from houblon.contract import *\nclass A(Role[Config]): pass\nclass B(A): pass\n", None, "2 subclasses"),
    ],
)
def test_broken_roles(tmp_path: Path, source: str, line: int | None, says: str) -> None:
    make_role(make_site(tmp_path), "toy", source=source)
    error = refused(tmp_path)
    assert says in error.what
    assert (error.file, error.line) == (tmp_path / ROLE_FILE, line)


def test_a_role_that_fails_while_it_declares(tmp_path: Path) -> None:
    make_role(make_site(tmp_path, services="toy:"), "toy", "Port(1 // 0)")
    error = refused(tmp_path)
    assert "division" in error.what
    assert error.file == tmp_path / ROLE_FILE
    assert error.line and "yield Port(1 // 0)" in (tmp_path / ROLE_FILE).read_text().splitlines()[error.line - 1]


def test_names_of_roles(tmp_path: Path) -> None:
    make_role(make_site(tmp_path / "ours"), "nginx")
    assert "name of one of houblon's own" in refused(tmp_path / "ours").what
    make_role(make_site(tmp_path / "bad"), "My-Role")
    assert "cannot be the name" in refused(tmp_path / "bad").what
    make_site(tmp_path / "none")
    (tmp_path / "none/roles/empty").mkdir(parents=True)
    (tmp_path / "none/roles/.git").mkdir()
    load(tmp_path / "none")
    (tmp_path / "none/roles/empty/notes.txt").touch()
    assert "no __init__.py" in refused(tmp_path / "none").what


# --- placement and order ---------------------------------------------------------------------------------


def test_needs_place_their_provider_and_order_it(tmp_path: Path) -> None:
    make_site(tmp_path, services="a_toy:")
    make_role(tmp_path, "a_toy", "Needs('cache')")
    make_role(tmp_path, "z_cache", "Needs('disk')", attributes="provides = ('cache',)", category="system")
    make_role(tmp_path, "y_disk", "Provides('fast-disk')", attributes="provides = ('disk',)", category="system")
    make_role(tmp_path, "unused", category="system")
    placed = names(tmp_path)
    assert placed.index("y_disk") < placed.index("z_cache") < placed.index("a_toy")
    assert "unused" not in placed


def test_a_need_that_settings_meet(tmp_path: Path) -> None:
    make_site(tmp_path, services="a_toy:\nz_toy:")
    make_role(tmp_path, "a_toy", "Needs('pudding')")
    make_role(tmp_path, "z_toy", "Provides('pudding')")
    placed = names(tmp_path)
    assert placed.index("z_toy") < placed.index("a_toy")


def test_a_claim_places_its_consumer_but_never_a_service(tmp_path: Path) -> None:
    make_site(tmp_path, services="toy:")
    make_role(tmp_path, "toy", "Database('postgresql', 'toy')")
    make_role(tmp_path, "databases", category="system", attributes="consumes = (Database,)")
    make_role(tmp_path, "looker", attributes="consumes = (Database,)")
    placed = names(tmp_path)
    assert placed.index("databases") < placed.index("toy")
    assert "looker" not in placed


def test_claims_recorded_on_the_host_place_their_providers(tmp_path: Path) -> None:
    make_site(tmp_path)
    make_role(tmp_path, "databases", category="system", attributes="consumes = (Database,)")
    assert "databases" not in names(tmp_path)
    site = load(tmp_path, [Database("postgresql", "wiki", role="wiki")])
    assert "databases" in [role.name for role in site.roles]
    assert "wiki" not in [role.name for role in site.roles]
    assert site.claims(Database) == (Database("postgresql", "wiki", role="wiki"),)


def test_a_role_that_is_placed_speaks_for_itself(tmp_path: Path) -> None:
    make_role(make_site(tmp_path, services="toy:"), "toy", "Port(5555)")
    site = load(tmp_path, [Port(4444, role="toy")])
    assert [port.number for port in site.claims(Port) if port.role == "toy"] == [5555]


SECTIONED = """\
from houblon.contract import *

class RelayConfig(Config):
    server: str
    \"\"\"Where to.\"\"\"

class Relay(Role[RelayConfig]):
    metadata = Metadata(title="Relay", summary=tr(en="R", fr="r"), category="system", licence="CC0-1.0", homepage="")
    provides = ("relay",)
    by_section = True
"""


def test_a_section_places_a_role_that_asks_for_it(tmp_path: Path) -> None:
    folder = make_site(tmp_path)
    make_role(folder, "relay", source=SECTIONED)
    assert "relay" not in names(folder)
    file = folder / "site.yaml"
    file.write_text(file.read_text() + "relay:\n  server: mx.famille.test\n")
    assert "relay" in names(folder)


def test_a_setting_without_default_is_asked_for_when_something_needs_its_role(tmp_path: Path) -> None:
    folder = make_site(tmp_path, services="toy:")
    make_role(folder, "relay", source=SECTIONED)
    make_role(folder, "toy", 'Needs("relay")')
    error = refused(folder)
    assert error.key == "relay" and "server" in error.what and error.file == folder / "site.yaml"


def test_derived_claims_see_claims_and_place_roles(tmp_path: Path) -> None:
    make_site(tmp_path, services="toy:")
    make_role(tmp_path, "toy", "Port(4000)", derive="""
        for port in self.site.claims(Port):
            if 4000 <= port.number < 4003:
                yield Port(port.number + 1)
        yield Needs("late")
    """.strip())  # fmt: skip
    make_role(tmp_path, "late", "Port(4010)", category="system", attributes="provides = ('late',)")
    site = load(tmp_path)
    assert sorted(p.number for p in site.claims(Port) if p.number >= 4000) == [4000, 4001, 4002, 4003, 4010]


def test_claims_that_never_settle(tmp_path: Path) -> None:
    make_role(
        make_site(tmp_path, services="toy:"), "toy", derive="yield Port(len(self.site.claims(Port)) + 5000)"
    )
    load(tmp_path)
    make_role(
        make_site(tmp_path / "b", services="toy:"), "toy",
        derive="yield Port(max(p.number for p in self.site.claims(Port)) + 1)",
    )  # fmt: skip
    assert "never settle: toy" in refused(tmp_path / "b").what


def test_needs_in_a_circle(tmp_path: Path) -> None:
    make_site(tmp_path, services="a:\nb:\nc:")
    for name, need in (("a", "b"), ("b", "c"), ("c", "a")):
        make_role(tmp_path, name, f"Needs('{need}')", attributes=f"provides = ('{name}',)")
    assert "a -> b -> c -> a" in refused(tmp_path).what


def test_a_need_that_nothing_meets_names_the_service_and_its_line(tmp_path: Path) -> None:
    make_site(tmp_path, services="other:\ntoy:")
    make_role(tmp_path, "other")
    make_role(tmp_path, "toy", "Needs('helper')")
    make_role(tmp_path, "helper", "Needs('unicorn')", category="system", attributes="provides = ('helper',)")
    error = refused(tmp_path)
    assert "`helper` needs `unicorn`" in error.what
    assert (error.file, error.line) == (tmp_path / "site.yaml", 13)


def test_a_need_that_several_meet(tmp_path: Path) -> None:
    make_site(tmp_path, services="toy:")
    make_role(tmp_path, "toy", "Needs('cache')")
    make_role(tmp_path, "one", attributes="provides = ('cache',)")
    make_role(tmp_path, "two", attributes="provides = ('cache',)")
    assert "one, two" in refused(tmp_path).what
    make_site(tmp_path, services="toy:\ntwo:")
    assert "one" not in names(tmp_path)


def test_the_order_is_stable_and_first_roles_come_first(tmp_path: Path) -> None:
    make_site(tmp_path, services="b:\na:\naa_first:")
    make_role(tmp_path, "a")
    make_role(tmp_path, "b")
    make_role(tmp_path, "aa_first", attributes="first = True")
    site = load(tmp_path)
    placed = [role.name for role in site.roles]
    first = [role.name for role in site.roles if role.first]
    assert placed[: len(first)] == first and "aa_first" in first
    assert first.index("base") < first.index("ssh")
    assert placed.index("a") < placed.index("b")
    assert names(tmp_path) == placed


# --- conflicts -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "two", "says"),
    [
        ("Vhost('x.test', root='/a')", "Vhost('X.test', root='/a')", "not valid"),
        ("Vhost('x.test', root='/a')", "Vhost('x.test', root='/a')", "https://x.test"),
        ("Location('x.test', '/a/', root='/a')", "Location('x.test', '/a/', root='/b')", "https://x.test/a/"),
        ("Port(4242)", "Port(4242)", "4242/tcp"),
        ("Port(4242)", "Listen(4242)", "4242/tcp"),
        ("Listen(4242, '0.0.0.0')", "Listen(4242, '::1')", "4242/tcp"),
        ("Listen(4242)", "Listen(4242)", "4242/tcp"),
        ("Port(443)", "Unit('toy.service')", "443/tcp"),
        ("Unit('toy.service')", "Unit('toy.service')", "toy.service"),
        ("Certificate(('x.test',))", "Certificate(('x.test', 'y.test'))", "x.test"),
        ("Database('postgresql', 'toy')", "Database('postgresql', 'toy')", "postgresql database toy"),
        ("Jail('toy', 'a', 'b', (1,))", "Jail('toy', 'a', 'b', (2,))", "jail toy"),
        ("RateLimit('toy', 60)", "RateLimit('toy', 70)", "rate limit toy"),
        ("DnsRecord('x.test', 'CNAME', 'y.test')", "DnsRecord('x.test', 'A', '@host4')", "records at x.test"),
        ("DnsRecord('x.test', 'CNAME', 'y.test')", "DnsRecord('x.test.', 'CNAME', 'z.test')", "records at x.test"),
        ("DnsRecord('x.test', 'TXT', 'v=spf1 -all')", "DnsRecord('x.test', 'TXT', 'v=spf1 mx -all')", "SPF"),
        ("Port(70000)", "Port(1)", "does not exist"),
        ("Vhost('a b.test', root='/')", "Port(1)", "not valid"),
        ("Certificate(())", "Port(1)", "no name"),
    ],
)
def test_conflicts_name_both_roles_and_the_line(tmp_path: Path, one: str, two: str, says: str) -> None:
    make_site(tmp_path, services="one:\ntwo:\nportal:")
    make_role(tmp_path, "one", one)
    make_role(tmp_path, "two", two)
    error = refused(tmp_path)
    assert says in error.what, error.what
    assert "`one`" in error.what or "`two`" in error.what
    if "both" in error.what and "443" not in error.what:
        assert "`one` and `two`" in error.what
    assert error.file == tmp_path / "site.yaml"
    assert error.line is not None and error.line >= 12


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("Listen(4242, '127.0.0.1')", "Listen(4242, '127.0.0.53')"),
        ("Port(4242)", "Port(4242, 'udp')"),
        ("DnsRecord('x.test', 'TXT', 'a')", "DnsRecord('x.test', 'TXT', 'b')"),
        ("DnsRecord('x.test', 'A', '@host4')", "DnsRecord('x.test', 'A', '@host4')"),
        ("DnsRecord('x.test', 'CNAME', 'y.test')", "DnsRecord('x.test', 'CNAME', 'y.test')"),
        ("Database('postgresql', 'toy')", "Database('postgresql', 'toys')"),
        ("Package('toy')", "Package('toy')"),
        ("Certificate(('*.x.test',))", "Certificate(('x.test',))"),
    ],
)
def test_what_is_no_conflict(tmp_path: Path, one: str, two: str) -> None:
    make_site(tmp_path, services="one:\ntwo:")
    make_role(tmp_path, "one", one, one)
    make_role(tmp_path, "two", two)
    load(tmp_path)


def test_one_role_that_contradicts_itself(tmp_path: Path) -> None:
    make_site(tmp_path, services="toy:")
    make_role(tmp_path, "toy", "Vhost('x.test', root='/a')", "Vhost('x.test', root='/b')", "Port(9)", "Listen(9)")
    assert refused(tmp_path).what == "the role `toy` would serve https://x.test twice"


def test_a_conflict_with_what_is_still_on_the_host(tmp_path: Path) -> None:
    make_role(make_site(tmp_path, services="toy:"), "toy", "Vhost('x.test', root='/a')")
    with pytest.raises(BadInput) as caught:
        load(tmp_path, [Vhost("x.test", root="/b", role="wiki")])
    assert "houblon remove wiki" in caught.value.cure
    assert caught.value.line == 12


def test_what_only_the_host_remembers_is_never_a_mistake(tmp_path: Path) -> None:
    make_site(tmp_path)
    make_role(tmp_path, "one", attributes="provides = ('cache',)")
    make_role(tmp_path, "two", attributes="provides = ('cache',)")
    load(tmp_path, [
        Needs("pudding", role="wiki"), Needs("cache", role="wiki"), Port(4242, role="wiki"), Port(4242, role="pad"),
    ])  # fmt: skip


# --- claims in the host's record -------------------------------------------------------------------------

KINDS = [kind for kind in claims.ALL if kind is not Claim]
TEXT = st.text(max_size=12)
VALUES: dict[str, st.SearchStrategy[object]] = {
    "str": TEXT,
    "int": st.integers(-(2**40), 2**40),
    "bool": st.booleans(),
    "Text": st.builds(Text, TEXT, TEXT),
    "str | None": st.none() | TEXT,
    "int | None": st.none() | st.integers(0, 9999),
    "float | None": st.none() | st.floats(0, 10),
    "tuple[str, ...]": st.lists(TEXT, max_size=3).map(tuple),
    "tuple[int, ...]": st.lists(st.integers(), max_size=3).map(tuple),
    "tuple[tuple[str, str], ...]": st.lists(st.tuples(TEXT, TEXT), max_size=3).map(tuple),
    "tuple[str, str] | None": st.none() | st.tuples(TEXT, TEXT),
}


def claim(kind: type[Claim]) -> st.SearchStrategy[Claim]:
    def value(field: dataclasses.Field[object]) -> st.SearchStrategy[object]:
        hint = str(field.type)
        if hint.startswith("Literal["):
            return st.sampled_from(json.loads(hint.removeprefix("Literal").replace("'", '"')))
        return VALUES[hint]

    def build(values: dict[str, object]) -> Claim:
        made = object.__new__(kind)
        for name, item in values.items():
            object.__setattr__(made, name, item)
        return made

    return st.fixed_dictionaries({f.name: value(f) for f in dataclasses.fields(kind)}).map(build)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@given(data=st.data())
@hypothesis_settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_every_kind_of_claim_survives_the_record(kind: type[Claim], data: st.DataObject) -> None:
    made = data.draw(claim(kind))
    back, warning = claim_from_json(json.loads(json.dumps(claim_to_json(made))))
    assert (back, warning) == (made, "")
    assert type(back) is kind


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"claim": None},
        {"claim": "Claim"},
        {"claim": "Telepathy", "range": 3},
        {"claim": "Port", "number": 80, "colour": "red"},
        {"claim": "Port", "number": "80"},
        {"claim": "Port", "number": True},
        {"claim": "Port", "number": 80, "proto": "sctp"},
        {"claim": "Port"},
        {"claim": "BackupSet", "quiesce": ["one"]},
        {"claim": "NoBackup", "reason": {"en": "x"}},
        {"claim": "Package", "names": "toy"},
    ],
)
def test_records_of_another_houblon_give_a_warning(record: dict[str, object]) -> None:
    back, warning = claim_from_json(record)
    assert back is None
    assert warning


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


@given(
    kind=st.sampled_from([kind.__name__ for kind in KINDS]) | TEXT,
    fields=st.dictionaries(st.sampled_from(["names", "number", "role", "paths", "reason", "x"]), JSON),
)
@hypothesis_settings(max_examples=40, deadline=None)
def test_no_record_raises(kind: str, fields: dict[str, object]) -> None:
    back, warning = claim_from_json({"claim": kind, **fields})
    assert (back is None) == bool(warning)


def test_registry_lists(tmp_path: Path) -> None:
    registry = discover(make_site(tmp_path))
    assert "portal" in registry.services and "portal" not in registry.systems
    assert {"base", "ssh", "firewall", "nginx", "tls"} <= set(registry.systems)
    assert registry.consumers(Vhost)
