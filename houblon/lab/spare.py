"""A spare server, given by its address, as a lab of one host: for machines without root or Linux."""

from __future__ import annotations

from pathlib import Path

from houblon.errors import Refused
from houblon.lab.driver import Seed
from houblon.lab.state import HostState, LabState

# Debian, and nothing that listens but sshd (and what every image has: DHCP, time, the local resolver).
BARE = r"""
. /etc/os-release
[ "$ID" = debian ] || { echo "it runs $ID"; exit 0; }
case "$VERSION_ID" in 12|13) ;; *) echo "it runs Debian $VERSION_ID"; exit 0;; esac
[ ! -e /etc/houblon ] && [ ! -e /var/lib/houblon ] || { echo "houblon has been here"; exit 0; }
ss -H -ltn | awk '{print $4}' | grep -Ev '^(127\.|\[::1\])' | sed 's/.*://' | sort -un | grep -vx 22 \
  | xargs -r echo "programs listen on TCP ports"
"""


class Spare:
    """Nothing is started or stopped: somebody else's machine."""

    def prepare(self, lab: LabState, host: HostState, seeds: list[Seed]) -> None:
        return None

    def boot(self, lab: LabState, host: HostState) -> None:
        self._refuse("boot")

    def running(self, lab: LabState, host: HostState) -> bool:
        return True

    def log(self, lab: LabState, host: HostState) -> str:
        return ""

    def power_off(self, lab: LabState, host: HostState) -> None:
        self._refuse("power off")

    def kill(self, lab: LabState, host: HostState) -> None:
        self._refuse("kill")

    def console(self, lab: LabState, host: HostState, argv: list[str]) -> list[str]:
        raise self._error("enter")

    def beside(self, lab: LabState, host: HostState, argv: list[str]) -> list[str]:
        raise self._error("enter")

    def freeze(self, lab: LabState, host: HostState, destination: Path) -> None:
        self._refuse("freeze")

    def destroy(self, lab: LabState, host: HostState) -> None:
        return None

    def _refuse(self, what: str) -> None:
        raise self._error(what)

    def _error(self, what: str) -> Refused:
        return Refused(f"a lab cannot {what} a spare host", cure="Use its provider's tools, or a lab on root Linux.")
