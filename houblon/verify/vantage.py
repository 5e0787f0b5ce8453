"""The outside, as seen from the operator's machine."""

from __future__ import annotations

import ipaddress
import json
import socket
import subprocess
import sys
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from houblon.claims import Port, tr
from houblon.verify import Broken, not_measurable
from houblon.verify.scan import Scan, probe

SCAN_PORTS = "1-65535"
SCAN_SECONDS = 180
"""When a scan of one family has not ended by then, it is unknown."""


@dataclass(frozen=True)
class Target:
    """One address of the host and how this machine would reach it.

    :param source: address that this machine would send from; empty when it has no way there at all.
    """

    family: str
    address: str
    source: str

    @property
    def lan(self) -> bool:
        """Both ends lie in private networks, so that ports for the LAN are open to us."""
        return bool(self.source) and _private(self.source) and _private(self.address)

    def expects(self, port: Port) -> bool:
        """Whether a claimed port must be open from here."""
        return port.exposure == "public" or self.lan


class Vantage:
    """Looks at TCP ports of the host from here.

    :param host: ``site.host.address``, a name or an address.
    :param more: further addresses the host says it has, taken for a family that ``host`` does not show.
    """

    def __init__(self, host: str, more: Iterable[str] = ()) -> None:
        self.host = host
        self.targets = find_targets(host, more)
        self._scans: dict[str, subprocess.Popen[str]] = {}

    def tcp_open(self, port: int, family: str = "") -> bool:
        """Whether a SYN-ACK comes from a TCP port.

        :param family: ``IPv4`` or ``IPv6``; the first that the host has when empty.
        :raises Broken: when that cannot be known (no route, no free sockets).
        """
        target = self.target(family or self.targets[0].family)
        state = probe(target.address, port)
        if state in ("open", "closed", "silent"):
            return state == "open"
        raise Broken(
            tr(en=f"port {port} can be looked at from here", fr=f"le port {port} peut être observé d'ici"),
            tr(en=f"the connection ended in {state}", fr=f"la connexion a échoué : {state}"),
            tr(en="Check this machine's network; unknown is not closed.",
               fr="Vérifiez le réseau de cette machine ; inconnu ne veut pas dire fermé."),
        )  # fmt: skip

    def target(self, family: str) -> Target:
        """The host's address of one family.

        :raises NotMeasurable: from a machine that has no way to the host in this family.
        """
        target = next((target for target in self.targets if target.family == family), None)
        if target is None:
            not_measurable(tr(en=f"the host has no {family} address", fr=f"l'hôte n'a pas d'adresse {family}"))
        if not target.source:
            not_measurable(tr(en=f"this machine has no {family}", fr=f"cette machine n'a pas d'{family}"))
        return target

    def start_scan(self, skip: Iterable[int]) -> None:
        """Begin to scan all ports of every family in the background, one process for each."""
        for target in self.targets:
            if target.source:
                command = [sys.executable, "-m", "houblon.verify.scan", target.address, "--ports", SCAN_PORTS]
                command += ["--skip", *map(str, skip)]
                self._scans[target.family] = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
                )

    def scanned(self, family: str) -> Scan:
        """Wait for the scan of one family.

        :raises Broken: when it did not end well.
        """
        process = self._scans.pop(family)
        try:
            out, err = process.communicate(timeout=SCAN_SECONDS)
            found: dict[str, Any] = json.loads(out)
        except (subprocess.TimeoutExpired, ValueError) as error:
            process.kill()
            process.communicate()
            last = str(error) if isinstance(error, subprocess.TimeoutExpired) else err.strip()[-300:]
            raise Broken(
                tr(en="all ports can be looked at from here", fr="tous les ports peuvent être observés d'ici"),
                tr(en=f"the scanner failed: {last}", fr=f"le balayage a échoué : {last}"),
            ) from None
        found["unknown"] = {int(port): name for port, name in found["unknown"].items()}
        return Scan(**found)

    def close(self) -> None:
        """End scans that nobody waits for any more."""
        for process in self._scans.values():
            process.kill()
            process.communicate()
        self._scans.clear()


def find_targets(host: str, more: Iterable[str] = ()) -> tuple[Target, ...]:
    """One address for each family: what ``host`` resolves to, else what the host itself has.

    :raises OSError: when the name does not resolve.
    """
    found: dict[str, Target] = {}
    resolved = [str(info[4][0]) for info in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]
    for address in [*resolved, *more]:
        family = "IPv6" if ":" in address else "IPv4"
        # An IPv4 address that the host has besides the one we know may lie behind anything (NAT, a bridge).
        if family not in found and (address in resolved or family == "IPv6"):
            found[family] = Target(family, address, _source(address))
    return tuple(found[family] for family in sorted(found))


def _source(address: str) -> str:
    """The address the kernel would send from; connecting a UDP socket sends nothing."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with closing(socket.socket(family, socket.SOCK_DGRAM)) as line:
            line.connect((address, 9))
            return str(line.getsockname()[0])
    except OSError:
        return ""


def _private(address: str) -> bool:
    """RFC 1918, RFC 4193, link-local or loopback: what the firewall's ``lan`` means, and this machine itself."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    nets = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")
    return ip.is_loopback or ip.is_link_local or any(
        ip.version == (net := ipaddress.ip_network(text)).version and ip in net for text in nets
    )
