"""Operations: what differs is computed from hand-made facts; what changes it runs through a real shell."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from houblon.connection import Connection
from houblon.errors import OperationFailed, Refused
from houblon.facts.snapshot import Entry, Seen, UnitSeen, UserSeen
from houblon.operations import ensure, files, packages, proof, units, users
from houblon.operations.run import NOTHING, Run, StepFailed
from houblon.resources import (
    Absent,
    Batch,
    Directory,
    Ensure,
    File,
    Item,
    Link,
    Packages,
    Proof,
    UnitState,
    User,
    digest,
)
from tests.unit.localhost import GROUP, USER, Localhost


def offline(seen: Seen | None = None, **values: object) -> Run:
    return Run(cast(Connection, None), seen=seen or Seen(), **values)  # type: ignore[arg-type]


def actions(changes: list[files.Change]) -> list[tuple[str, str, str]]:
    return [(c.action, c.subject, c.detail) for c in changes]


# --- what differs --------------------------------------------------------------------------------------------

CONF = File("/etc/x.conf", b"one\n")
ROOTS = Entry("regular file", 0o644, "root", "root")


@pytest.mark.parametrize(
    ("entry", "content", "expected"),
    [
        (None, b"", [("create", "/etc/x.conf", "")]),
        (ROOTS, b"one\n", []),
        (ROOTS, b"two\n", [("update", "/etc/x.conf", "")]),
        (Entry("regular file", 0o600, "root", "adm"), b"one\n",
         [("update", "/etc/x.conf", "mode 0600 → 0644, owner root:adm → root:root")]),
        (Entry("symbolic link", 0o777, "root", "root"), b"one\n", [("update", "/etc/x.conf", "")]),
        (Entry("fifo", 0o644, "root", "root"), b"one\n", [("update", "/etc/x.conf", "")]),
    ],
)  # fmt: skip
def test_diff_of_files(entry: Entry | None, content: bytes, expected: list[tuple[str, str, str]]) -> None:
    seen = Seen()
    if entry:
        seen.paths["/etc/x.conf"] = entry
        seen.sums["/etc/x.conf"] = hashlib.sha256(content).hexdigest()
    run = offline(seen)
    changes = files.diff(Batch("role", "configure", (CONF,)), seen, run)
    assert actions(changes) == expected
    assert run.touched["role"] == [subject for _, subject, _ in expected]


def test_a_secret_file_never_offers_a_diff() -> None:
    seen = Seen(paths={"/etc/x": ROOTS}, sums={"/etc/x": "0" * 64})
    (change,) = files.diff(Batch("r", "configure", (File("/etc/x", b"word", secret=True),)), seen, offline(seen))
    assert not change.text and change.detail == "content (secret)" and "word" not in repr(change)


@pytest.mark.parametrize("item", [CONF, Link("/etc/x.conf", "y")])
def test_a_directory_in_the_way_is_refused(item: Item) -> None:
    seen = Seen(paths={"/etc/x.conf": Entry("directory", 0o755, "root", "root")})
    with pytest.raises(Refused, match="is a directory"):
        files.diff(Batch("r", "configure", (item,)), seen, offline(seen))


def test_absent_names_what_a_package_is_about_to_bring() -> None:
    batch = Batch("nginx", "install", (Absent("/etc/nginx/sites-enabled/default", comes_with="nginx-common"),))
    assert files.diff(batch, Seen(), offline()) == []
    bringing = offline(new_packages=frozenset({"nginx"}))
    assert len(files.diff(batch, Seen(), bringing)) == 1
    there = Seen(packages={"nginx-common"})
    assert files.diff(batch, there, bringing) == []


def test_packages_to_install_and_to_repair() -> None:
    batch = Batch("base", "install", (Packages(("a", "b")),))
    run = offline()
    assert [c.subject for c in packages.diff(batch, Seen(packages={"a"}, dpkg_broken=True), run)] == ["dpkg", "b"]
    assert run.new_packages == {"b"}
    assert packages.diff(batch, Seen(packages={"a", "b"}), run) == [] and run.new_packages == frozenset()


def test_accounts_compare_hashes_of_hashes() -> None:
    user = User("alice", "/home/alice", "/bin/bash", False, ("sudo",), "$2b$hash", "houblon admin")
    batch = Batch("base", "install", (user,))
    good = hashlib.sha256(b"$2b$hash").hexdigest()
    same = Seen(users={"alice": UserSeen("/home/alice", "/bin/bash", frozenset({"alice", "sudo", "adm"}), good,
                                         "houblon admin")})  # fmt: skip
    assert users.diff(batch, same, offline()) == []
    other = Seen(users={"alice": UserSeen("/srv", "/bin/sh", frozenset(), "0", "")})
    (change,) = users.diff(batch, other, offline())
    assert change.detail == (
        "home /srv → /home/alice; shell /bin/sh → /bin/bash; groups + sudo; comment; password (secret)"
    )
    assert users.diff(batch, Seen(), offline())[0].action == "create"


READS = "/proc/houblon-cannot-write-here"
UNIT = UnitState(
    "x.service", restart_on="r1", reload_on="l1", restart_files=("/etc/systemd/system/x.service",),
    reload_files=("/etc/x.conf", READS),
)  # fmt: skip


@pytest.mark.parametrize(
    ("unit", "state", "stamps", "expected"),
    [
        (UNIT, None, {}, "start"),
        (UNIT, ("loaded", "failed", "enabled"), {}, "start"),
        (UNIT, ("loaded", "active", "enabled"), {"x.service.restart": "r1", "x.service.reload": "l1"}, None),
        (UNIT, ("loaded", "active", "enabled"), {"x.service.restart": "r0", "x.service.reload": "l1"}, "restart"),
        (UNIT, ("loaded", "active", "enabled"), {"x.service.restart": "r1", "x.service.reload": "l0"}, "reload"),
        (UNIT, ("loaded", "active", "enabled"), {}, "restart"),
        (UNIT, ("loaded", "active", "disabled"), {"x.service.restart": "r1", "x.service.reload": "l1"}, "enable"),
        (UnitState("x.service", "stopped"), ("loaded", "active", "enabled"), {}, "stop"),
        (UnitState("x.service", "stopped"), ("loaded", "inactive", "disabled"), {}, None),
        (UnitState("x.service", "stopped"), None, {}, None),
        (UnitState("x.service", "masked"), None, {}, "mask"),
        (UnitState("x.service", "masked"), ("masked", "inactive", "masked"), {}, None),
    ],
)
def test_what_a_unit_needs(
    unit: UnitState, state: tuple[str, str, str] | None, stamps: dict[str, str], expected: str | None
) -> None:
    seen = Seen(stamps=stamps)
    if state:
        seen.units["x.service"] = UnitSeen(state[0], state[1], "", state[2], False, "simple")
    changes = units.diff(Batch("r", "activate", (unit,)), seen, offline(seen))
    assert [c.action for c in changes] == ([expected] if expected else [])


def test_a_file_that_the_plan_writes_restarts_or_reloads_its_unit() -> None:
    good = {"x.service.restart": "r1", "x.service.reload": "l1"}
    seen = Seen(stamps=good, units={"x.service": UnitSeen("loaded", "active", "", "enabled", False, "")})
    for path, expected in [
        ("/etc/x.conf", ["reload"]), ("/etc/systemd/system/x.service", ["restart"]), ("/etc/other", []),
    ]:  # fmt: skip
        run = offline(seen, units={"r": (UNIT,)})
        files.diff(Batch("r", "configure", (File(path, b""),)), seen, run)
        assert [c.action for c in units.diff(Batch("r", "activate", (UNIT,)), seen, run)] == expected


def test_steps_and_proofs() -> None:
    steps = Batch("r", "activate", tuple(Ensure(name, "check", "run") for name in ("done", "todo", "unknown")))
    seen = Seen(guards={"done": True, "todo": False}, stamps={"proof": "s1"})
    assert [c.subject for c in ensure.diff(steps, seen, offline())] == ["todo", "unknown"]
    for stamp, count in [("s1", 0), ("s2", 1)]:
        assert len(proof.diff(Batch("base", "activate", (Proof("p", ("a",), stamp),)), seen, offline())) == count


def test_digest_is_unambiguous() -> None:
    assert digest("ab", "c") != digest("a", "bc") != digest("abc") and digest() == NOTHING


# --- what changes it -----------------------------------------------------------------------------------------

NAMES = st.text(
    st.characters(blacklist_characters="/\0\n\t", blacklist_categories=("Cs",)), min_size=1, max_size=30
).filter(lambda name: name not in (".", "..") and len(name.encode()) < 200)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(wanted=st.dictionaries(NAMES, st.binary(max_size=400), min_size=1, max_size=5), target=NAMES)
def test_any_name_and_content_arrives_and_then_nothing_is_left_to_do(wanted: dict[str, bytes], target: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        prefix = Path(folder)
        host = Localhost(prefix)
        items: list[Item] = [
            File(f"{prefix}/etc/{name}", content, 0o640, USER, GROUP) for name, content in wanted.items()
        ]
        batch = Batch("r", "configure", tuple(items))
        links = Batch("r", "configure", (Link(f"{prefix}/links/{target}", target),))
        for each in (batch, links):
            run = host.start()
            changes = files.diff(each, host.look(each.items), run)
            assert len(changes) == len(each.items)
            files.perform(each, changes, run)
            assert files.diff(each, host.look(each.items), run) == []
        assert {p.name: p.read_bytes() for p in (prefix / "etc").iterdir()} == wanted
        assert (prefix / "links" / target).readlink() == Path(target)
        gone = Batch("r", "configure", tuple(Absent(cast(File, i).path) for i in items))
        run = host.start()
        files.perform(gone, files.diff(gone, host.look(gone.items), run), run)
        assert not list((prefix / "etc").iterdir())


@pytest.fixture
def host(tmp_path: Path) -> Localhost:
    return Localhost(tmp_path)


def converge(host: Localhost, *items: Item, validate: str = "", known: frozenset[str] = frozenset()) -> None:
    batch = Batch("r", "configure", items, validate)
    run = host.start(known=known, units={"r": (UNIT,)})
    changes = files.diff(batch, host.look(items), run)
    assert changes
    files.perform(batch, changes, run)


def test_what_stood_there_is_kept_once_and_only_if_it_was_not_ours(host: Localhost) -> None:
    path, ours = host.prefix / "etc/a", host.prefix / "etc/b"
    path.parent.mkdir()
    path.write_text("theirs")
    ours.write_text("ours, earlier")
    for content in (b"1", b"2"):
        converge(
            host, File(str(path), content, 0o600, USER, GROUP), File(str(ours), content, 0o600, USER, GROUP),
            known=frozenset({str(ours)}),
        )  # fmt: skip
    replaced = host.prefix / "var/lib/houblon/replaced"
    assert [p.relative_to(replaced) for p in replaced.rglob("*") if p.is_file()] == [path.relative_to("/")]
    assert (replaced / path.relative_to("/")).read_text() == "theirs"


def test_when_validation_fails_everything_is_as_it_was(host: Localhost) -> None:
    etc = host.prefix / "etc"
    etc.mkdir()
    (etc / "kept").write_text("old")
    (etc / "kept").chmod(0o604)
    (etc / " link ").symlink_to("elsewhere")
    items = [File(f"{etc}/{n}", b"new", 0o600, USER, GROUP) for n in ("kept", " link ", "brand new ")]
    with pytest.raises(StepFailed) as caught:
        converge(host, *items, validate="echo line 7 is wrong; false")
    assert caught.value.output == "line 7 is wrong"
    assert sorted(p.name for p in etc.iterdir()) == [" link ", "kept"]
    assert (etc / "kept").read_text() == "old" and (etc / "kept").stat().st_mode & 0o777 == 0o604
    assert (etc / " link ").readlink() == Path("elsewhere")


def test_a_link_is_replaced_not_followed(host: Localhost) -> None:
    etc = host.prefix / "etc"
    etc.mkdir()
    (etc / "precious").write_text("precious")
    (etc / "x").symlink_to("precious")
    converge(host, File(f"{etc}/x", b"ours", 0o600, USER, GROUP))
    assert (etc / "precious").read_text() == "precious" and (etc / "x").read_text() == "ours"
    converge(host, Link(f"{etc}/x", "precious"))
    assert (etc / "x").readlink() == Path("precious")
    converge(host, Directory(f"{etc}/d/e", 0o750, USER, GROUP))
    assert (etc / "d/e").stat().st_mode & 0o777 == 0o750


def test_stamps_go_before_the_files_they_vouch_for(host: Localhost) -> None:
    """A run killed between file and restart must leave a unit that the next run restarts."""
    stamps = host.prefix / "var/lib/houblon/stamps"
    for name in ("x.service.restart", "x.service.reload", "y.service.restart"):
        (stamps / name).write_text("s")
    with pytest.raises(StepFailed):
        converge(host, File(READS, b"", 0o600, USER, GROUP))
    assert sorted(p.name for p in stamps.iterdir()) == ["x.service.restart", "y.service.restart"]


def test_a_run_that_lost_its_lease_changes_nothing(host: Localhost) -> None:
    (host.prefix / "run/houblon/lease").write_text("somebody else's")
    with pytest.raises(StepFailed) as caught:
        converge(host, File(f"{host.prefix}/x", b"", 0o600, USER, GROUP))
    assert caught.value.output == "another run took over this host"
    (host.prefix / "run/houblon/lease").unlink()
    with pytest.raises(StepFailed):
        host.start().shell(f"touch {host.prefix}/x")
    assert not (host.prefix / "x").exists()


@pytest.mark.parametrize("soft", [True, False])
def test_a_step_that_takes_too_long_stops_the_run_unless_it_is_soft(host: Localhost, soft: bool) -> None:
    step = Ensure("slow", "false", "sleep 30", soft=soft, timeout_seconds=1)
    run, batch = host.start(), Batch("r", "activate", (step,))

    def late(*_: object, **__: object) -> Any:
        raise OperationFailed("a command did not end within 1 s")

    run.shell = late  # type: ignore[method-assign]
    changes = ensure.diff(batch, host.look((step,)), run)
    if soft:
        ensure.perform(batch, changes, run)
        assert run.soft_failures == ["r: slow\na command did not end within 1 s"]
    else:
        with pytest.raises(OperationFailed):
            ensure.perform(batch, changes, run)


def test_a_soft_step_fails_softly_and_a_hard_one_stops(host: Localhost) -> None:
    steps = (
        Ensure("soft", "false", "echo sorry; false", soft=True),
        Ensure("reads", "false", f"cat >{host.prefix}/got", stdin=b"word"),
        Ensure("hard", "false", "printf 'line %s\\n' $(seq 50); false"),
        Ensure("never", "false", f"touch {host.prefix}/never"),
    )
    batch = Batch("r", "activate", steps)
    run = host.start()
    with pytest.raises(StepFailed) as caught:
        ensure.perform(batch, ensure.diff(batch, host.look(steps), run), run)
    assert caught.value.step == "hard" and caught.value.output.splitlines() == [f"line {n}" for n in range(31, 51)]
    assert run.soft_failures == ["r: soft\nsorry"]
    assert (host.prefix / "got").read_bytes() == b"word" and not (host.prefix / "never").exists()
