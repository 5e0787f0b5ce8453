"""A TCP connect scanner without root, exact about what it does not know.

Run as a process of its own (``python -m houblon.verify.scan``): it raises its limit of open files, keeps
thousands of connects in flight and must not share an event loop with anybody.

A port is *open* when a SYN-ACK came, *closed* when a RST came, *silent* when nothing came for longer than one
retransmission of the SYN (RFC 6298 sets the first timeout to 1 s), and *unknown* when anything else happened.
"""

from __future__ import annotations

import argparse
import errno
import json
import resource
import selectors
import socket
import struct
import sys
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

WAIT_SECONDS = 2.4
"""One SYN, and one again after 1 s, each with more than a second for an answer."""
PER_SECOND = 4500
"""SYNs sent per second at most: what a home router's connection table survives."""
SPARE_FILES = 64
MOST_IN_FLIGHT = 12_000


@dataclass
class Scan:
    """What was found; ``unknown`` names the error for each port, ``probed`` counts all ports asked."""

    address: str
    probed: int = 0
    open: list[int] = field(default_factory=list)
    closed: int = 0
    silent: int = 0
    unknown: dict[int, str] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def whole(self) -> bool:
        """Every port is known to be open, closed or silent."""
        return not self.unknown and self.probed == len(self.open) + self.closed + self.silent > 0


def scan(address: str, ports: Iterable[int], wait: float = WAIT_SECONDS, per_second: float = PER_SECOND) -> Scan:
    """Try to connect to every port of a literal address.

    :param wait: seconds until an unanswered connect counts as silent.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    limit = _files()
    todo = deque(ports)
    result = Scan(address, len(todo))
    waiting: deque[tuple[float, socket.socket, int]] = deque()
    pending: dict[int, tuple[socket.socket, int]] = {}
    started = time.monotonic()
    sent = 0
    again: dict[int, int] = {}
    with selectors.DefaultSelector() as selector:

        def settle(connection: socket.socket, port: int, code: int | None) -> None:
            match code:
                case 0 if connection.getsockname() == connection.getpeername():
                    # TCP's simultaneous open: on this very machine a connect may meet itself.
                    result.closed += 1
                case 0:
                    result.open.append(port)
                    # RST instead of FIN: nothing is left behind in TIME_WAIT here or at the other end.
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                case errno.ECONNREFUSED:
                    result.closed += 1
                case None | errno.ETIMEDOUT:
                    result.silent += 1
                case errno.EMFILE | errno.ENFILE | errno.EAGAIN | errno.EADDRNOTAVAIL | errno.ENOBUFS if (
                    again.setdefault(port, 0) < 20
                ):
                    again[port] += 1
                    todo.append(port)
                case _:
                    result.unknown[port] = errno.errorcode.get(code, str(code))
            connection.close()

        while todo or pending:
            now = time.monotonic()
            allowed = int((now - started) * per_second) + 50 - sent
            while todo and allowed > 0 and len(pending) < limit:
                port = todo.popleft()
                try:
                    connection = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
                except OSError as error:
                    if pending:
                        todo.append(port)
                        limit = max(1, len(pending))
                        break
                    result.unknown[port] = errno.errorcode.get(error.errno or 0, str(error))
                    continue
                sent += 1
                allowed -= 1
                code = connection.connect_ex((address, port))
                if code != errno.EINPROGRESS:
                    settle(connection, port, code)
                    continue
                selector.register(connection, selectors.EVENT_WRITE)
                pending[connection.fileno()] = (connection, port)
                waiting.append((now + wait, connection, port))
            for key, _ in selector.select(0.02 if todo or pending else 0):
                connection, port = pending.pop(key.fd)
                selector.unregister(connection)
                settle(connection, port, connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
            now = time.monotonic()
            while waiting and waiting[0][0] <= now:
                _, connection, port = waiting.popleft()
                if connection.fileno() >= 0 and pending.get(connection.fileno()) == (connection, port):
                    del pending[connection.fileno()]
                    selector.unregister(connection)
                    settle(connection, port, None)
    result.open.sort()
    result.seconds = round(time.monotonic() - started, 2)
    return result


def probe(address: str, port: int, wait: float = WAIT_SECONDS) -> str:
    """``open``, ``closed``, ``silent``, or the name of the error, for one port."""
    found = scan(address, [port], wait)
    if found.unknown:
        return found.unknown[port]
    return "open" if found.open else "closed" if found.closed else "silent"


def _files() -> int:
    """How many sockets may be open at once, after asking for as many as the machine allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_IN_FLIGHT + SPARE_FILES
    best = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < best:
        resource.setrlimit(resource.RLIMIT_NOFILE, (best, hard))
        soft = best
    most = wanted if soft == resource.RLIM_INFINITY else soft
    return max(1, min(MOST_IN_FLIGHT, most - SPARE_FILES))


def main() -> None:
    """``ADDRESS... [--ports FIRST-LAST] [--skip PORT...]``: JSON, one scan a line, in order."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("address", nargs="+")
    parser.add_argument("--ports", default="1-65535")
    parser.add_argument("--skip", type=int, nargs="*", default=[])
    arguments = parser.parse_args()
    first, _, last = arguments.ports.partition("-")
    ports = [port for port in range(int(first), int(last or first) + 1) if port not in arguments.skip]
    for address in arguments.address:
        found = scan(address, ports)
        json.dump({**vars(found), "unknown": {str(p): e for p, e in found.unknown.items()}}, sys.stdout)
        print(flush=True)


if __name__ == "__main__":
    main()
