"""What a lab owns, on disk before it exists in the kernel, so that nothing outlives a killed builder."""

from __future__ import annotations

import fcntl
import json
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from houblon.errors import BadInput, Refused

NAME = re.compile(r"[a-z][a-z0-9-]{0,30}[a-z0-9]|[a-z]")
SCRAP = ".scrap-"  # directories not yet, or no longer, a lab
# One lock for the machine, not for a state directory: bridges and subnets belong to the machine.
LOCK = Path("/run/lock/houblon-lab.lock")


@dataclass(frozen=True)
class Process:
    """A process that a recycled pid cannot impersonate: its pid and start time (clock ticks since boot)."""

    pid: int
    start: int

    @classmethod
    def of(cls, pid: int) -> Process:
        """:raises BadInput: there is no such process."""
        start = _start_time(pid)
        if start is None:
            raise BadInput(f"no process has the id {pid}", cure="Give the id of a running process.")
        return cls(pid, start)

    def alive(self) -> bool:
        return _start_time(self.pid) == self.start


def _start_time(pid: int) -> int | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


def boot_id() -> str:
    """The kernel's identifier of this boot of the operator's machine."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


@dataclass
class HostState:
    """One host of a lab.

    :param machine: its name for systemd-nspawn; short, since the veth's name is made from it.
    :param lowers: directories under its own, topmost first.
    """

    name: str
    address: str
    address6: str = ""
    machine: str = ""
    lowers: list[str] = field(default_factory=list)


@dataclass
class LabState:
    """A lab: ``phase`` is ``building``, then ``up``. ``id`` marks its bridge, nft table and cgroup."""

    name: str
    id: str
    driver: str
    release: str
    builder: Process
    owner: Process | None = None
    phase: str = "building"
    boot_id: str = ""
    subnet4: str = ""
    subnet6: str = ""
    tsig: str = ""
    tsig_admin: str = ""
    services: HostState | None = None
    hosts: list[HostState] = field(default_factory=list)

    @property
    def domain(self) -> str:
        return f"{self.name}.test"

    @property
    def bridge(self) -> str:
        return f"hlab{self.id}"

    @property
    def table(self) -> str:
        return f"houblon_lab_{self.id}"

    @property
    def directory(self) -> Path:
        return labs_dir() / self.name

    def machines(self) -> list[HostState]:
        """All its hosts, the services host first."""
        return ([self.services] if self.services else []) + self.hosts

    def orphaned(self) -> bool:
        """Whether nobody will ever take it down: builder or owner dead, or the machine has rebooted."""
        if self.driver != "spare" and self.boot_id != boot_id():
            return True
        if self.owner is not None and not self.owner.alive():
            return True
        return self.phase == "building" and not self.builder.alive()

    def save(self) -> None:
        """Write the state file; atomic, so that a kill leaves the old one or the new one.

        The first save makes the lab's directory, in one rename.
        """
        text = json.dumps(asdict(self), indent=1)
        if self.directory.is_dir():
            temporary = self.directory / ".state.json.new"
            temporary.write_text(text)
            temporary.chmod(0o600)
            temporary.replace(self.directory / "state.json")
            return
        labs_dir().mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=SCRAP, dir=labs_dir()))
        (fresh / "state.json").write_text(text)
        fresh.rename(self.directory)

    @classmethod
    def load(cls, name: str) -> LabState | None:
        """The lab of that name, or None."""
        try:
            raw: dict[str, Any] = json.loads((labs_dir() / name / "state.json").read_text())
        except FileNotFoundError:
            return None
        raw["builder"] = Process(**raw["builder"])
        raw["owner"] = Process(**raw["owner"]) if raw["owner"] else None
        raw["services"] = HostState(**raw["services"]) if raw["services"] else None
        raw["hosts"] = [HostState(**host) for host in raw["hosts"]]
        return cls(**raw)


def check_name(name: str) -> str:
    """:raises BadInput: the name cannot be a DNS label, which makes the lab's domain."""
    if not NAME.fullmatch(name):
        raise BadInput(
            f"{name!r} cannot name a lab",
            cure="Use lower-case letters, digits and hyphens: the lab's domain is NAME.test.",
        )
    return name


def labs_dir() -> Path:
    """Where labs live: ``$HOUBLON_LAB_DIR/labs``, or ``/var/lib/houblon-lab``; in one's home without root."""
    if root := os.environ.get("HOUBLON_LAB_DIR"):
        return Path(root).absolute() / "labs"
    if os.geteuid():
        return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "houblon-lab"
    return Path("/var/lib/houblon-lab")


def cache_dir() -> Path:
    """Where bases and packages stay between labs: ``$HOUBLON_LAB_DIR/cache``, or ``/var/cache/houblon-lab``.

    Only root's labs have any.
    """
    root = os.environ.get("HOUBLON_LAB_DIR")
    return Path(root).absolute() / "cache" if root else Path("/var/cache/houblon-lab")


def all_states() -> list[LabState]:
    """Every lab on disk, by name."""
    if not labs_dir().is_dir():
        return []
    states = []
    for path in sorted(labs_dir().iterdir()):
        if not path.name.startswith(".") and (state := LabState.load(path.name)):
            states.append(state)
    return states


@contextmanager
def locked(path: Path = LOCK, waiting: str = "") -> Iterator[None]:
    """Hold an exclusive lock; the kernel frees it when the holder dies.

    :param waiting: if given, wait at most for nothing: raise `Refused` with this sentence when it is held.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # O_CLOEXEC is Python's default: a container started under the lock must not keep it.
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (fcntl.LOCK_NB if waiting else 0))
        except BlockingIOError as error:
            raise Refused(waiting, cure="Try again when it has ended.") from error
        yield
