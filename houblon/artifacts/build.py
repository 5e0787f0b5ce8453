"""Trees that upstream does not publish ready to run: built in a throwaway host, kept by the hash of their inputs.

Nothing of the operator's machine is an input, and nothing stays behind. What comes out is an archive like any other: it
is packed so that equal trees give equal bytes, looked into, and kept in the same cache under its own sum.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shlex
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from houblon.artifacts import cache
from houblon.claims import Artifact
from houblon.errors import BadInput, CannotConnect, OperationFailed, Refused

if TYPE_CHECKING:
    from houblon.lab import LabHost

_FORMAT = 1
"""Counted up when the same inputs would be built or packed otherwise."""
_EPOCH = 315532800
"""1980-01-01, the earliest time that every archive format knows (https://reproducible-builds.org)."""
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Recipe:
    """How a tree is built; all of it is its identity.

    :param script: for sh, run without root in an empty directory. ``$IN`` has the files and the artifacts' archives
        (named as the artifacts); the tree goes to ``$OUT/<name>-<version>``. It may use the network, and must then pin
        what that gives.
    :param files: names and contents.
    :param artifacts: pinned releases, in the cache.
    :param packages: of Debian, installed before the script runs.
    :param release: of Debian that it is built on.
    """

    name: str
    version: str
    script: str
    files: tuple[tuple[str, bytes], ...] = ()
    artifacts: tuple[Artifact, ...] = ()
    packages: tuple[str, ...] = ()
    architecture: str = "all"
    release: str = "trixie"
    limit_mb: int = 1024

    @property
    def top(self) -> str:
        """The one directory in the archive."""
        return f"{self.name}-{self.version}"

    @property
    def inputs(self) -> str:
        """SHA-256 of all that goes in."""
        said = {
            "format": _FORMAT, "name": self.name, "version": self.version, "script": self.script,
            "files": {name: hashlib.sha256(data).hexdigest() for name, data in self.files},
            "artifacts": {artifact.name: artifact.sha256 for artifact in self.artifacts},
            "packages": sorted(self.packages), "architecture": self.architecture, "release": self.release,
            "limit_mb": self.limit_mb,
        }  # fmt: skip
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def built(recipe: Recipe) -> Artifact | None:
    """The tree of these inputs, when the cache has it."""
    try:
        known = json.loads(_index(recipe).read_text("utf-8"))
        if known["inputs"] != recipe.inputs:
            return None
        found = _artifact(recipe, str(known["sha256"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if cache.cached(found) else None


Hosts = Callable[[Recipe, Progress], AbstractContextManager["LabHost"]]


@contextlib.contextmanager
def throwaway(recipe: Recipe, progress: Progress) -> Iterator[LabHost]:
    """A bare host of the wanted release, gone afterwards, or when this process dies.

    :raises HoublonError: no lab can be brought up here.
    """
    from houblon.lab import Lab

    pid = os.getpid()
    lab = Lab.up(f"build{pid}", release=recipe.release, owner_pid=pid, progress=progress)
    try:
        yield lab.hosts[0]
    finally:
        lab.down()


def build(
    recipe: Recipe, progress: Progress = lambda line: None, hosts: Hosts = throwaway, *, seconds: float = 3600
) -> Artifact:  # fmt: skip
    """Have the tree in the cache; builds it unless it is there.

    :param seconds: most that the script may take.
    :raises Refused: an input is missing, the host is of another architecture, or nobody should unpack what was built.
    :raises OperationFailed: the script fails or takes too long; nothing is kept.
    """
    if found := built(recipe):
        return found
    if lacking := [artifact.name for artifact in recipe.artifacts if cache.cached(artifact) is None]:
        raise Refused(
            f"{recipe.top} is built from what is not in the cache: {', '.join(lacking)}",
            cure="Run `houblon artifacts fetch`.",
        )
    _judge(recipe)
    cache.home().mkdir(parents=True, exist_ok=True, mode=0o700)
    path = _index(recipe).with_suffix(".part")
    with cache.locked(path) as part:
        try:
            # Whoever had the lock may have built it.
            if found := built(recipe):
                return found
            part.truncate(0)
            with hosts(recipe, progress) as host:
                _prepare(recipe, host, progress)
                progress(f"building {recipe.top}")
                _said(host, ["sh", "-c", _RUN.format(epoch=_EPOCH)], seconds, f"building {recipe.top} failed")
                progress(f"packing {recipe.top}")
                _receive(recipe, host, path)
            artifact = _artifact(recipe, cache.sha256(path))
            cache.take(artifact, path, None)
            _index(recipe).write_text(json.dumps({"inputs": recipe.inputs, "sha256": artifact.sha256}) + "\n")
        finally:
            path.unlink(missing_ok=True)
    return artifact


# --- inside ----------------------------------------------------------------------------------------------

_PREPARE = """\
useradd --system --create-home --home-dir /build --shell /usr/sbin/nologin builder
install -d -m 0755 /build/in
install -d -m 0755 -o builder -g builder /build/work /build/out
"""
_RUN = """\
cd /build/work && exec runuser -u builder -- env -i PATH=/usr/local/bin:/usr/bin:/bin HOME=/build IN=/build/in \
    OUT=/build/out LC_ALL=C.UTF-8 TZ=UTC SOURCE_DATE_EPOCH={epoch} sh -e /build/in/.script
"""
_PACK = """\
set -o pipefail
tar -C /build/out --sort=name --format=gnu --mtime=@{epoch} --owner=0 --group=0 --numeric-owner \
    --mode=u+rwX,go+rX,go-w,a-s -c {top} | gzip -n
"""


def _prepare(recipe: Recipe, host: LabHost, progress: Progress) -> None:
    here = host.exec(["dpkg", "--print-architecture"]).stdout.decode().strip()
    if recipe.architecture not in ("all", here):
        raise Refused(f"{recipe.top} cannot be built for {recipe.architecture} on {here}", cure="Use such a machine.")
    if recipe.packages:
        progress(f"installing {', '.join(recipe.packages)}")
        install = "apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends -- "
        _said(host, ["sh", "-c", install + shlex.join(recipe.packages)], 1800, "its packages cannot be installed")
    host.exec(["sh", "-ec", _PREPARE])
    put = "cat > /build/in/"
    for name, data in ((".script", recipe.script.encode()), *recipe.files):
        host.exec(["sh", "-c", put + shlex.quote(name)], input=data)
    for artifact in recipe.artifacts:
        with cache.place(artifact).open("rb") as stream:
            sent = host.ssh_command(["sh", "-c", put + shlex.quote(artifact.name)], "-o", "BatchMode=yes")
            done = subprocess.run(sent, stdin=stream, capture_output=True, check=False)
        if done.returncode:
            raise CannotConnect(f"{artifact.name} cannot be sent to {host.name}", cure=_last(done.stderr))


def _receive(recipe: Recipe, host: LabHost, path: Path) -> None:
    command = ["bash", "-c", _PACK.format(epoch=_EPOCH, top=shlex.quote(recipe.top))]
    with path.open("wb") as stream:
        done = subprocess.run(
            host.ssh_command(command, "-o", "BatchMode=yes"), stdin=subprocess.DEVNULL, stdout=stream,
            stderr=subprocess.PIPE, check=False,
        )  # fmt: skip
    if done.returncode:
        raise OperationFailed(
            f"what was built cannot be packed: {_last(done.stderr)}", cure=f"The script must make $OUT/{recipe.top}."
        )


def _said(host: LabHost, argv: list[str], seconds: float, what: str) -> None:
    """Run a command on the host; its last lines are the error."""
    try:
        done = host.exec(argv, check=False, timeout=seconds)
    except subprocess.TimeoutExpired:
        raise OperationFailed(f"{what}: it takes more than {seconds:.0f} seconds") from None
    if done.returncode:
        raise OperationFailed(
            f"{what} (status {done.returncode})", cure=_last(done.stdout + done.stderr, 20) or "It said nothing."
        )


def _judge(recipe: Recipe) -> None:
    names = [*(name for name, _ in recipe.files), *(artifact.name for artifact in recipe.artifacts)]
    good = all(name and "/" not in name and not name.startswith(".") for name in (recipe.name, recipe.version, *names))
    if not good or len(set(names)) != len(names):
        raise BadInput(
            f"{recipe.top} cannot be built: its inputs must have plain names, each its own",
            cure="This is a mistake in the role, not in your site file; please report it.",
        )


def _artifact(recipe: Recipe, found: str) -> Artifact:
    return Artifact(
        name=recipe.name, version=recipe.version, urls=(), sha256=found, top=recipe.top,
        architecture=recipe.architecture, limit_mb=recipe.limit_mb,
    )  # fmt: skip


def _index(recipe: Recipe) -> Path:
    # Not with_suffix: versions have dots.
    return cache.home() / f"{recipe.top}-{recipe.architecture}-{recipe.inputs[:16]}.build"


def _last(output: bytes, lines: int = 1) -> str:
    return "\n".join(output.decode(errors="replace").strip().splitlines()[-lines:])
