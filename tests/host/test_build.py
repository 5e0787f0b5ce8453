"""Trees built for real, in a throwaway Debian host."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import stat
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from houblon.artifacts import cache, verdict
from houblon.artifacts.build import Hosts, Progress, Recipe, build, built
from houblon.claims import Artifact
from houblon.errors import OperationFailed, Refused
from houblon.lab import Lab, LabHost

pytestmark = [pytest.mark.host, pytest.mark.skipif(os.geteuid() != 0, reason="a lab needs root")]

SCRIPT = """\
tree="$OUT/toy-1.0"
mkdir -p "$tree/bin"
id -un > "$tree/who"
tar -C "$tree" --strip-components=1 -xf "$IN/source"
echo "$(cat "$IN/number") * 2" | bc > "$tree/number"
install -m 4777 "$IN/number" "$tree/bin/run"
touch "$tree/$(head -c 4 /dev/urandom | od -An -tx1 | tr -d ' \\n')" && find "$tree" -empty -delete
ln -s bin/run "$tree/run"
"""


def source() -> tuple[bytes, Artifact]:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        info = tarfile.TarInfo("source/from-upstream")
        info.size = 5
        tar.addfile(info, io.BytesIO(b"hello"))
    data = stream.getvalue()
    return data, Artifact("source", "1.0", (), hashlib.sha256(data).hexdigest(), "source")


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    data, artifact = source()
    (tmp_path / "source").write_bytes(data)
    cache.take(artifact, tmp_path / "source", None)
    return Recipe("toy", "1.0", SCRIPT, files=(("number", b"21"),), artifacts=(artifact,), packages=("bc",))


@pytest.fixture
def hosts(fresh_lab: Callable[..., Lab]) -> Hosts:
    """Bare hosts of one lab, each used once."""
    bare = iter(fresh_lab(hosts=4).hosts)

    @contextlib.contextmanager
    def next_one(recipe: Recipe, progress: Progress) -> Iterator[LabHost]:
        yield next(bare)

    return next_one


def test_builds(recipe: Recipe, hosts: Hosts) -> None:
    told: list[str] = []
    found = build(recipe, told.append, hosts)
    assert told == ["installing bc", "building toy-1.0", "packing toy-1.0"]
    path = cache.cached(found)
    assert path is not None and verdict(found).members == 7
    with tarfile.open(path) as tar:
        members = {member.name: member for member in tar}
        texts = {name: tar.extractfile(name) for name in ("toy-1.0/who", "toy-1.0/number", "toy-1.0/from-upstream")}
        read = {name.removeprefix("toy-1.0/"): file.read() for name, file in texts.items() if file}
    assert read == {"who": b"builder\n", "number": b"42\n", "from-upstream": b"hello"}
    assert {(member.uid, member.gid, member.uname, member.mtime) for member in members.values()} == {
        (0, 0, "", 315532800)
    }
    assert stat.filemode(members["toy-1.0/bin/run"].mode) == "?rwxr-xr-x"

    # The same inputs are not built again; elsewhere they give the same bytes.
    assert build(recipe, told.append, hosts) == built(recipe) == found and len(told) == 3
    path.unlink()
    assert built(recipe) is None
    assert build(recipe, hosts=hosts) == found

    before = sorted(cache.home().iterdir())
    failing = replace(recipe, script="echo to no avail >&2; exit 3", packages=())
    with pytest.raises(OperationFailed, match=r"building toy-1.0 failed \(status 3\)\n  to no avail"):
        build(failing, hosts=hosts)
    evil = replace(recipe, script='mkdir "$OUT/toy-1.0" && ln -s /etc "$OUT/toy-1.0/etc"', packages=())
    with pytest.raises(Refused, match="out of the tree"):
        build(evil, hosts=hosts)
    assert sorted(cache.home().iterdir()) == before


def test_a_build_on_its_own_host_leaves_nothing_behind(recipe: Recipe) -> None:
    endless = replace(recipe, script="sleep infinity", packages=())
    with pytest.raises(OperationFailed, match="more than 1 seconds"):
        build(endless, seconds=1)
    assert f"build{os.getpid()}" not in [lab.name for lab in Lab.list()]
