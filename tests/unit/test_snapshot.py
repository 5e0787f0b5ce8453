"""The bulk fact: its script runs for real, its answer is whole or refused."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from houblon.facts.snapshot import Entry, UnitSeen, contents_script, parse, parse_contents, script_for
from houblon.resources import Absent, Directory, Door, Ensure, File, Item, Link, Packages, Proof, UnitState, User
from tests.unit.localhost import GROUP, USER, Localhost

ANSWER = """#stamps
nginx.service.restart\tabc
door-SSH\tdef 123
#record
{"format":1,"roles":{}}
#facts
os=debian
version="13"
memory_kb=2000000
disk_free_kb=9000000
policy=left
#paths
regular file\t644\troot\troot\t/etc/a b
directory\t2755\troot\tadm\t/var/log/x
#sums
e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  /etc/a b
#links
/etc/l\t../target with spaces
#packages
nginx\tinstalled
sudo\tconfig-files
#units
Type=forking
Id=nginx.service
LoadState=loaded
ActiveState=active
SubState=running
UnitFileState=enabled
NeedDaemonReload=no

Id=none.service
LoadState=not-found
ActiveState=inactive
SubState=dead
UnitFileState=
NeedDaemonReload=no
#user alice
alice:x:1000:1000:houblon admin:/home/alice:/bin/bash
alice sudo
d7a8fbb307d7809469ca9abcb0082e4f8d5651e46d3cdb762d02d0bf37c9e592  -
#user nobody-here
#guard it is done
0
#guard it is not done
1
#live SSH
0123456789abcdef  -
#end
"""
LINES = ANSWER.removesuffix("\n").split("\n")


def test_a_whole_answer() -> None:
    seen = parse(LINES)
    assert seen.paths["/etc/a b"] == Entry("regular file", 0o644, "root", "root")
    assert seen.paths["/var/log/x"].mode == 0o2755
    assert seen.sums["/etc/a b"].startswith("e3b0c442") and seen.links == {"/etc/l": "../target with spaces"}
    assert seen.packages == {"nginx"}
    assert seen.units["nginx.service"] == UnitSeen("loaded", "active", "running", "enabled", False, "forking")
    assert set(seen.users) == {"alice"} and seen.users["alice"].groups == {"alice", "sudo"}
    assert seen.guards == {"it is done": True, "it is not done": False}
    assert seen.live == {"SSH": "0123456789abcdef"} and seen.stamps["door-SSH"] == "def 123"
    assert seen.record == {"format": 1, "roles": {}} and seen.policy_left and not seen.dpkg_broken


@pytest.mark.parametrize("count", range(len(LINES)))
def test_a_cut_answer_is_refused(count: int) -> None:
    """A host that was cut off in mid-sentence must never look like a host that has less."""
    with pytest.raises(ValueError):
        parse(LINES[:count])


@pytest.mark.parametrize("count", range(1, 5))
def test_an_answer_cut_within_its_last_line_is_refused(count: int) -> None:
    with pytest.raises(ValueError):
        parse(ANSWER.removesuffix("\n")[:-count].split("\n"))


def test_a_damaged_record_is_refused() -> None:
    with pytest.raises(ValueError):
        parse(ANSWER.replace('"roles":{}}', '"ro').removesuffix("\n").split("\n"))


needs_debian = pytest.mark.skipif(not shutil.which("dpkg-query"), reason="the script asks dpkg and systemd")


@needs_debian
def test_the_script_reads_awkward_things(tmp_path: Path) -> None:
    host = Localhost(tmp_path)
    names = ["plain", "with space", "dev-disk\\x2duuid.swap", "$HOME `id` '\"", "-n", "#end", "*", "été"]
    for name in names:
        (tmp_path / name).write_text(name)
        (tmp_path / name).chmod(0o640)
    (tmp_path / "link").symlink_to("to a place\\n that's not there")
    (tmp_path / "folder").mkdir(mode=0o700)
    os.mkfifo(tmp_path / "fifo")
    items: list[Item] = [File(f"{tmp_path}/{name}", name.encode()) for name in [*names, "missing", "fifo", "folder"]]
    items += [
        Link(f"{tmp_path}/link", "x"), Directory(f"{tmp_path}/folder"), Absent(f"{tmp_path}/gone", comes_with="dpkg"),
        Packages(("dpkg", "houblon-has-no-such-package")), User(USER, "/"), User("houblon-nobody", "/"),
        Proof("p", (), ""), UnitState("houblon-none.service"), UnitState("dev-disk\\x2duuid.swap"),
        Ensure("true", "echo noise; echo noise >&2; true", ""), Ensure("false", "cat; exit 3", ""),
        Ensure("back\\slash's \\n name", "true", ""),
        Door("d", (File(f"{tmp_path}/door", b""),), "true", live="echo 1"),
    ]
    seen = host.look(items)
    for item in items[: len(names)]:
        assert isinstance(item, File)
        assert seen.sums[item.path] == item.sha256
        assert seen.paths[item.path] == Entry("regular file", 0o640, USER, GROUP)
    assert seen.paths[f"{tmp_path}/fifo"].kind == "fifo" and f"{tmp_path}/fifo" not in seen.sums
    assert f"{tmp_path}/missing" not in seen.paths
    assert seen.links[f"{tmp_path}/link"] == "to a place\\n that's not there"
    assert seen.packages == {"dpkg"}
    assert set(seen.users) == {USER}
    assert seen.guards == {"true": True, "false": False, "back\\slash's \\n name": True}
    assert len(seen.live["d"]) == 64 and seen.record is None
    assert seen.facts["os"] and int(seen.facts["memory_kb"]) > 0


@needs_debian
def test_the_script_reads_stamps_and_record_and_writes_nothing(tmp_path: Path) -> None:
    host = Localhost(tmp_path)
    home = tmp_path / "var/lib/houblon"
    (home / "stamps" / "nginx.service.restart").write_text("abc")
    (home / "state.json").write_text('{"format": 1}')
    before = sorted((p, p.stat().st_mtime_ns) for p in tmp_path.rglob("*"))
    seen = host.look([Directory("/")])
    assert seen.stamps == {"nginx.service.restart": "abc"} and seen.record == {"format": 1}
    assert sorted((p, p.stat().st_mtime_ns) for p in tmp_path.rglob("*")) == before


def test_the_script_is_the_same_each_time() -> None:
    items = [File("/a", b""), User("u", "/"), Ensure("e", "true", "")]
    assert script_for(items) == script_for(list(items))


def test_contents_come_whole_or_not_at_all(tmp_path: Path) -> None:
    host = Localhost(tmp_path)
    contents = {"a b": b"\x00\xff\n\n", "été": b"", "big": b"x" * 262145}
    for name, data in contents.items():
        (tmp_path / name).write_bytes(data)
    found = parse_contents(host.run(contents_script([f"{tmp_path}/{n}" for n in [*contents, "missing"]])).stdout)
    assert found == {f"{tmp_path}/{n}": data for n, data in contents.items() if n != "big"}
