"""Releases: what differs is read by a real shell, what is sent goes on where it stopped, what is judged has numbers."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from toyrelease import artifact, toy
from toysite import make_role, make_site

from houblon import releases
from houblon.artifacts import cache
from houblon.claims import Artifact
from houblon.connection import Connection, Result
from houblon.errors import BadInput, Refused
from houblon.facts.releases import FUNCTIONS, ReleaseSeen, Room, deeply, look, read
from houblon.facts.snapshot import Entry, Seen, UnitSeen
from houblon.kit import Kit
from houblon.model import Model, _old_releases, removal, unneeded
from houblon.operations import files, units
from houblon.operations import releases as operation
from houblon.operations.run import LEASE, NOTHING, Change, Run, StepFailed
from houblon.record import Record, RoleRecord, _moved, desired, union
from houblon.resources import Absent, Batch, Directory, Link, OldRelease, Release, UnitState
from houblon.site import Site, load

DATA = toy()
TOY = artifact(DATA, "https://toys.test/toy.tar.gz")
RELEASE = Release(TOY)


class Prefix:
    """This machine with the folders of releases moved to a prefix; also a connection to it, as far as is needed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("opt/toy", "var/lib/houblon/releases", "var/lib/houblon/stamps", "run/houblon", "var/cache"):
            (folder / name).mkdir(parents=True)
        (folder / LEASE.lstrip("/")).write_text("ours")
        self.tree = folder / "opt/toy/1.0"
        self.scripts: list[str] = []
        self.lose: Callable[[bytes], bytes] = lambda data: data

    def run(self, script: str, stdin: bytes = b"", timeout: float | None = None) -> Result:
        self.scripts.append(script)
        for name in ("/opt", "/var/lib/houblon", "/var/cache/houblon", "/run/houblon"):
            script = script.replace(name, f"{self.folder}{name}")
        done = subprocess.run(
            ["sh", "-c", f"export LC_ALL=C.UTF-8; umask 022\n{script}"], input=self.lose(stdin), capture_output=True,
            check=False,
        )
        return Result(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode())

    def install(self) -> None:
        """A finished release, as `houblon.operations.releases` leaves it."""
        (self.tree / "lib").mkdir(parents=True)
        (self.tree / "VERSION").write_text("1.0")
        (self.tree / "lib/a b").write_text("ab")
        (self.tree / "lib/back\\slash").write_text("odd")
        (self.tree / "lib/#end").write_text("no section")
        (self.tree / "to").symlink_to("VERSION")
        self.run(f"""{FUNCTIONS}
            l=/var/lib/houblon/releases/toy@1.0; t=/opt/toy/1.0
            sums $t >$l.sha256; names $t >$l.tree; printf '%s %s' {TOY.sha256} "$(witness $t)" >$l.stamp""")

    def seen(self) -> ReleaseSeen:
        """What the bulk fact says of the release."""
        answer = self.run(look([RELEASE]))
        assert answer.stderr == ""
        return read(answer.stdout).trees[RELEASE.key]

    def start(self) -> Run:
        return Run(cast(Connection, self), token="ours")


@pytest.fixture
def host(tmp_path: Path) -> Prefix:
    return Prefix(tmp_path / "host")


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The toy's archive in a cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    source = tmp_path / "download"
    source.write_bytes(DATA)
    return cache.take(TOY, source, None)


# --- what is on the host -------------------------------------------------------------------------------------


def test_states_of_a_release(host: Prefix) -> None:
    assert host.seen() == ReleaseSeen("missing")
    host.install()
    assert host.seen() == ReleaseSeen("good")
    other = Release(replace(TOY, sha256="0" * 64))
    assert read(host.run(look([other])).stdout).state(other) == "other"
    (host.folder / "var/lib/houblon/releases/toy@1.0.stamp").unlink()
    assert host.seen() == ReleaseSeen("unknown")


@pytest.mark.parametrize(
    ("touch", "changed"),
    [
        (lambda t: (t / "VERSION").write_text("1.1"), ("VERSION",)),
        (lambda t: (t / "VERSION").chmod(0o600), ("VERSION",)),
        (lambda t: (t / "lib/a b").unlink(), ("lib/a b",)),
        (lambda t: (t / "lib/door.php").write_text("<?php"), ("lib/door.php",)),
        (lambda t: (t / "lib/a\nb\x1b[2J").write_text(""), None),
        (lambda t: (t / "lib/#releases").write_text(""), ("lib/#releases",)),
        (lambda t: (t / "lib").chmod(0o777), ("lib",)),
        (lambda t: ((t / "to").unlink(), (t / "to").symlink_to("/etc/shadow")), ("to",)),
        (lambda t: ((t / "to").unlink(), (t / "to").write_text("1.0")), ("to",)),
        (lambda t: os.utime(t / "VERSION", (1, 1)), ()),
        (lambda t: ((t / "VERSION").write_text("2"), (t / "VERSION").write_text("1.0")), ()),
        (lambda t: t.chmod(0o700), (".",)),
    ],
)  # fmt: skip
def test_whatever_changes_is_named(
    host: Prefix, touch: Callable[[Path], object], changed: tuple[str, ...] | None
) -> None:
    host.install()
    touch(host.tree)
    seen = host.seen()
    if changed is None:
        assert seen.state == "changed" and "\x1b" not in "".join(seen.changed)
        return
    # Times alone are no change: the content is hashed, and the tree is good.
    assert seen == (ReleaseSeen("changed", changed) if changed else ReleaseSeen("good", hashed=True))
    assert tuple(host.run(deeply(RELEASE)).stdout.split("\n")[:-1]) == changed


def test_a_tree_that_was_restored_is_hashed_only_until_an_apply(host: Prefix) -> None:
    host.install()

    def refresh() -> None:
        run = host.start()
        run.seen = Seen(releases=read(host.run(look([RELEASE])).stdout))
        operation.refresh([RELEASE], run)

    stamp = host.folder / "var/lib/houblon/releases/toy@1.0.stamp"
    before = stamp.stat().st_mtime_ns, stamp.read_text()
    refresh()
    assert (stamp.stat().st_mtime_ns, stamp.read_text()) == before, "nothing is written where nothing was touched"
    os.utime(host.tree / "VERSION", (1, 1))
    assert host.seen() == ReleaseSeen("good", hashed=True)
    refresh()
    assert host.seen() == ReleaseSeen("good")
    (host.tree / "VERSION").write_text("1.1")
    host.run(operation._refresh(RELEASE))
    assert host.seen() == ReleaseSeen("changed", ("VERSION",)), "what is not good is not vouched for"


def test_lists_that_are_gone_are_no_proof(host: Prefix) -> None:
    host.install()
    (host.folder / "var/lib/houblon/releases/toy@1.0.sha256").unlink()
    (host.tree / "VERSION").write_text("1.1")
    assert host.seen().state == "changed"


def test_rooms_archives_and_folders_of_others(host: Prefix) -> None:
    seen = read(host.run(look([RELEASE])).stdout)
    assert seen.taken == {f"{host.folder}/opt/toy"}
    room = seen.rooms[f"{host.folder}/opt/toy"]
    assert room.device == str(host.folder.stat().st_dev) and room.free_kb > 0
    host.install()
    part = host.folder / f"var/cache/houblon/{TOY.sha256}.part"
    part.parent.mkdir()
    part.write_bytes(b"12345")
    seen = read(host.run(look([RELEASE])).stdout)
    assert seen.archives == {TOY.sha256: 5} and seen.taken == set()


# --- what is sent --------------------------------------------------------------------------------------------


def test_only_what_the_host_lacks_is_sent(host: Prefix, stored: Path) -> None:
    data = stored.read_bytes()
    part = host.folder / f"var/cache/houblon/{TOY.sha256}.part"
    part.parent.mkdir()
    part.write_bytes(data[:100_000])
    sent: list[int] = []

    def arrive(piece: bytes) -> bytes:
        sent.append(len(piece))
        return piece

    host.lose = arrive
    operation.push(RELEASE, stored, host.start())
    assert part.read_bytes() == data and sum(sent) == len(data) - 100_000
    assert part.parent.stat().st_mode & 0o777 == 0o700
    host.scripts.clear()
    operation.push(RELEASE, stored, host.start())
    assert not any("head -c" in script for script in host.scripts), "nothing is sent twice"


def test_pieces_that_arrive_in_part_are_gone_on_from(host: Prefix, stored: Path) -> None:
    host.lose = lambda piece: piece[: max(1, len(piece) // 2)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(operation, "SMALLEST", 100_000)
        operation.push(RELEASE, stored, host.start())
    assert (host.folder / f"var/cache/houblon/{TOY.sha256}.part").read_bytes() == stored.read_bytes()


def test_wrong_bytes_are_sent_anew_once(host: Prefix, stored: Path) -> None:
    part = host.folder / f"var/cache/houblon/{TOY.sha256}.part"
    part.parent.mkdir()
    part.write_bytes(b"x" * 1000)
    operation.push(RELEASE, stored, host.start())
    assert part.read_bytes() == stored.read_bytes()
    part.unlink()
    host.lose = lambda piece: piece.replace(piece[:1], b"y", 1)
    part.write_bytes(b"x")
    with pytest.raises(StepFailed, match=r"send toy 1\.0") as caught:
        operation.push(RELEASE, stored, host.start())
    assert "arrives damaged" in caught.value.output and not part.exists()


def test_a_line_that_brings_nothing_ends_the_push(host: Prefix, stored: Path) -> None:
    host.lose = lambda piece: b""
    with pytest.raises(StepFailed) as caught:
        operation.push(RELEASE, stored, host.start())
    assert "nothing arrived" in caught.value.output


def test_a_run_that_lost_the_host_sends_nothing_more(host: Prefix, stored: Path) -> None:
    run = host.start()
    run.token = "another"
    with pytest.raises(StepFailed) as caught:
        operation.push(RELEASE, stored, run)
    assert "another run took over" in caught.value.output
    assert not (host.folder / "var/cache/houblon").exists()


# --- what the plan says --------------------------------------------------------------------------------------


def named(seen: Seen, *items: Release | OldRelease) -> list[tuple[str, str, str]]:
    run = Run(cast(Connection, None), seen=seen)
    found = operation.diff(Batch("toyapp", "install", items or (RELEASE,)), seen, run)
    assert bool(run.touched["toyapp"]) == any(c.action != "delete" for c in found)
    return [(c.action, c.subject, c.detail) for c in found]


def state(state: str = "missing", *changed: str, sent: int = 0) -> Seen:
    seen = Seen()
    seen.releases.trees[RELEASE.key] = ReleaseSeen(state, changed)
    seen.releases.archives[TOY.sha256] = sent
    return seen


def test_the_plan_says_what_is_sent_and_why(stored: Path) -> None:
    assert named(state("good")) == []
    assert named(Seen()) == [("install", "toy 1.0", "300 kB to send, 300 kB unpacked")]
    assert named(state(sent=200_000)) == [("install", "toy 1.0", "100 kB to send, 300 kB unpacked")]
    assert named(state(sent=cache.verdict(TOY).size)) == [("install", "toy 1.0", "nothing to send, 300 kB unpacked")]
    ((action, _, detail),) = named(state("changed", "a", "b", "c", "d", "e"))
    assert (action, detail.partition(";")[0]) == ("restore", "a, b, c and 2 more changed on the host")
    assert named(state("other"))[0][2].startswith("made from another archive; ")
    assert named(state("unknown"))[0][2].startswith("not made by houblon, or not finished; ")
    stored.unlink()
    assert named(Seen()) == [("install", "toy 1.0", "its archive is not in the cache")]


def test_what_the_cache_lacks_and_the_host_has_not(stored: Path, tmp_path: Path) -> None:
    site = load(make_site(tmp_path / "site"))
    releases.check_there(site, [RELEASE], Seen())
    stored.write_bytes(DATA[:-1] + b"x")
    releases.check_there(site, [RELEASE], state("good"))
    assert stored.exists(), "what the host has needs no look at the cache"
    with pytest.raises(Refused, match=r"toy 1\.0"):
        releases.check_there(site, [RELEASE], state("changed", "a"))


@pytest.mark.parametrize(
    ("free_mb", "inodes", "apart", "refused"),
    [
        (101, None, False, ""), (100, None, False, "101 MB on the disk of /"), (5000, 1, False, "inodes"),
        (101, 10, True, ""), (100, 10, True, "101 MB on the disk of /opt/toy"),
    ],
)  # fmt: skip
def test_a_disk_that_is_too_small_is_told_with_numbers(
    stored: Path, free_mb: int, inodes: int | None, apart: bool, refused: str
) -> None:
    known = asdict(replace(cache.verdict(TOY), unpacked=1_000_000, members=3))
    stored.with_name(f"{stored.name}.json").write_text(json.dumps(known))
    seen = Seen()
    room = Room("1", free_mb * 1_000_000 // 1024 + 1, inodes)
    seen.releases.rooms = {"/opt/toy": room, "/var/cache/houblon": Room("2", 10**6, None) if apart else room}
    change = Change("toyapp", "install", "release", "toy 1.0", "install")
    if not refused:
        releases.check_room([RELEASE], [change], seen)
        releases.check_room([RELEASE], [], Seen())
        return
    with pytest.raises(Refused) as caught:
        releases.check_room([RELEASE], [change], seen)
    assert refused in caught.value.what and "toy 1.0 needs" in caught.value.what


@pytest.mark.parametrize("facts", [{}, {"lab": "yes", "container": ""}, {"container": "lxc"}])
def test_test_pins_are_for_lab_hosts(
    facts: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_site(tmp_path / "site", services="toyapp:")
    make_role(folder, "toyapp", "Artifact(name='toy', version='1', urls=(), sha256='0'*64, top='a', unverified=True)")
    site = load(folder)
    assert releases.unverified(site) == ["toy 1"]
    lab = Seen(facts={"lab": "yes", "container": "systemd-nspawn"})
    releases.check_pins(site, lab)
    with pytest.raises(Refused, match=r"toy 1 .*UNVERIFIED"):
        releases.check_pins(site, Seen(facts=facts))


# --- what is remembered --------------------------------------------------------------------------------------


def at(version: str) -> Release:
    return Release(replace(TOY, version=version))


def moved(old: dict[str, Any] | None, version: str) -> dict[str, Any]:
    """The record once an apply of this version has ended well."""
    return _moved(at(version), old)


def failed(old: dict[str, Any] | None, version: str) -> dict[str, Any]:
    """The record of an apply of this version that did not."""
    before = Record(roles={"toyapp": RoleRecord(releases={"toy": old})}) if old else None
    new = Record(roles={"toyapp": RoleRecord(releases={"toy": moved(old, version)})})
    return union(before, new).roles["toyapp"].releases["toy"]


def test_the_one_before_stays_until_the_next_has_run() -> None:
    one = moved(None, "1")
    two = moved(one, "2")
    assert (two["current"], two["before"], two["all"]) == ("2", "1", ["1", "2"])
    assert unneeded(two, "2") == set() and unneeded(two, "3") == {"1"}
    assert moved(two, "2") == two
    three = moved(two, "3")
    assert (three["before"], three["all"]) == ("2", ["2", "3"])
    back = moved(three, "2")
    assert (back["current"], back["before"]) == ("2", "3") and unneeded(three, "2") == set()


def test_what_never_ran_is_nothing_to_go_back_to() -> None:
    one = moved(None, "1")
    two = failed(one, "2")
    assert (two["current"], two["all"]) == ("1", ["1", "2"])
    three = failed(two, "3")
    assert three["current"] == "1" and unneeded(three, "4") == {"2", "3"}
    assert moved(three, "4")["before"] == "1"
    first = failed(None, "1")
    assert (first["current"], first["all"]) == ("", ["1"]) and unneeded(first, "2") == {"1"}


def on_host(site: Site, roles: dict[str, Release | None], record: Record) -> tuple[list[OldRelease], Record]:
    """What goes, and what is remembered, when roles come to ask for these releases."""
    model = Model(site)
    for role, release in roles.items():
        made = [Batch(role, "install", (release,))] if release else []
        model.recorded[role] = made
        model.batches += made
    gone = [cast(OldRelease, item) for batch in _old_releases(model, record) for item in batch.items]
    stub = cast(Any, SimpleNamespace(
        commit=lambda: ("", False), raw_settings=lambda role: {}, claims=lambda kind: [],
        roles=[SimpleNamespace(name=role) for role in roles],
    ))  # fmt: skip
    return gone, desired(model, stub, "alice", "", record)


def test_a_pin_moves_from_one_role_to_another(tmp_path: Path) -> None:
    site = load(make_site(tmp_path / "site"))
    old = Record(roles={"a": RoleRecord(releases={"toy": moved(moved(None, "1"), "2")}), "b": RoleRecord()})
    gone, same = on_host(site, {"a": None, "b": at("2")}, old)
    assert gone == [], "the role that has it now needs it"
    assert same.roles["b"].releases == old.roles["a"].releases and not same.roles["a"].releases
    # With a new version at once, and again after a run that failed.
    for record in (old, union(old, on_host(site, {"a": None, "b": at("3")}, old)[1])):
        gone, new = on_host(site, {"a": None, "b": at("3")}, record)
        assert gone == [OldRelease("toy", "1")]
        known = new.roles["b"].releases["toy"]
        assert (known["current"], known["before"], known["all"]) == ("3", "2", ["2", "3"])
    # The role that had it is gone from the site, and is removed from its host.
    rest = Model(site, [Batch("b", "install", (at("3"),))])
    known_a = replace(old.roles["a"], links={"/opt/toy/current": "2"})
    batches = removal(site, cast(Any, None), "a", known_a, False, rest)
    assert [batch.items for batch in batches] == [(OldRelease("toy", "1"),)]
    items = {item for batch in removal(site, cast(Any, None), "a", known_a, False) for item in batch.items}
    assert items == {Absent("/opt/toy/current"), OldRelease("toy", "1"), OldRelease("toy", "2")}


# --- what a role says ----------------------------------------------------------------------------------------


def test_a_role_s_release_restarts_what_runs_from_it(tmp_path: Path) -> None:
    folder = make_site(tmp_path / "site", services="toyapp:")
    make_role(folder, "toyapp")
    pins = folder / "roles/toyapp/artifacts.toml"

    def asked(version: str, sha256: str) -> tuple[Kit, UnitState]:
        pins.write_text(
            f'[toy]\nversion = "{version}"\nurls = ["https://toys.test/a"]\nsha256 = "{sha256 * 64}"\ntop = "a"\n'
        )
        site = load(folder)
        kit = Kit(site, next(role for role in site.roles if role.name == "toyapp"), cast(Any, None))
        assert kit.release("toy") == "/opt/toy/current"
        kit.unit("toyd.service")
        return kit, cast(UnitState, kit.batches[-1].items[0])

    kit, unit = asked("1.0", "a")
    kinds = [type(item) for batch in kit.batches for item in batch.items]
    assert kinds == [Directory, Release, Link, UnitState]
    assert kit.batches[0].items == (Directory("/opt/toy", 0o755, "root", "root"),)
    assert kit.batches[2].items == (Link("/opt/toy/current", "1.0"),)
    assert unit.restart_files == ("/opt/toy/1.0", "/opt/toy/current")
    assert asked("1.0", "a")[1].restart_on == unit.restart_on
    assert asked("1.0", "b")[1].restart_on != unit.restart_on
    assert asked("1.1", "a")[1].restart_on != unit.restart_on
    with pytest.raises(BadInput, match="the link to the release that runs"):
        asked("current", "a")


def test_what_runs_a_release_for_another_role_restarts_with_it(stored: Path) -> None:
    """A PHP pool, say: it would go on with what it has compiled. Also when only the link was turned."""
    pool = UnitState(
        "pool.service", restart_on="stamp", reload_on=NOTHING, restart_files=(RELEASE.path, RELEASE.link)
    )
    link = Link(RELEASE.link, RELEASE.version)
    batch = Batch("php", "activate", (pool,))
    for found, target, expected in (
        (state("good"), "1.0", []), (state("changed", "a"), "1.0", ["restart"]), (state("good"), "0.9", ["restart"])
    ):  # fmt: skip
        found.paths[link.path], found.links[link.path] = Entry("symbolic link", 0o777, "root", "root"), target
        found.units["pool.service"] = UnitSeen("loaded", "active", "running", "enabled", False, "notify")
        found.stamps["pool.service.restart"] = "stamp"
        run = Run(cast(Connection, None), seen=found, units={"php": (pool,)})
        operation.diff(Batch("toyapp", "install", (RELEASE,)), found, run)
        files.diff(Batch("toyapp", "install", (link,)), found, run)
        assert [change.action for change in units.diff(batch, found, run)] == expected
    for path in (RELEASE.path, RELEASE.link):
        assert run.stamps_read_from([path]) == ["pool.service.restart"]


def test_names_never_meet() -> None:
    """Names and versions may hold hyphens."""
    def made(name: str, version: str) -> Artifact:
        return replace(TOY, name=name, version=version)

    assert Release(made("a", "b-1")).key != Release(made("a-b", "1")).key
