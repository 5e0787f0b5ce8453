"""What the lab asks of whatever runs its hosts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from houblon.lab.state import HostState, LabState


@dataclass(frozen=True)
class Seed:
    """A file, or a link, put on a host before its first boot. ``path`` has no leading slash."""

    path: str
    content: str = ""
    mode: int = 0o644
    link: str = ""


class Driver(Protocol):
    """Runs hosts. Every method may be called again after a kill at any point of an earlier call."""

    def prepare(self, lab: LabState, host: HostState, seeds: list[Seed]) -> None:
        """Make the host's disk. It is not running yet."""

    def boot(self, lab: LabState, host: HostState) -> None:
        """Start it and return at once."""

    def running(self, lab: LabState, host: HostState) -> bool:
        """Whether it is running."""

    def log(self, lab: LabState, host: HostState) -> str:
        """The end of its console."""

    def power_off(self, lab: LabState, host: HostState) -> None:
        """Shut it down in order, and return when it is off."""

    def kill(self, lab: LabState, host: HostState) -> None:
        """Pull the plug."""

    def console(self, lab: LabState, host: HostState, argv: list[str]) -> list[str]:
        """The command, to be run here, that runs `argv` there without network or sshd."""

    def beside(self, lab: LabState, host: HostState, argv: list[str]) -> list[str]:
        """The command, to be run here, that runs `argv` of this machine in the host's network."""

    def freeze(self, lab: LabState, host: HostState, destination: Path) -> None:
        """Make the powered-off host's disk a layer for other hosts; its own disk goes on over that layer."""

    def destroy(self, lab: LabState, host: HostState) -> None:
        """Stop it and leave nothing of it in the kernel. Its files are the caller's to remove."""
