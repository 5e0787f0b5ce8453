"""A TCP line of our own between houblon and a host: it can be cut, or stall and come back."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType


class Line:
    """Forwards 127.0.0.1:``port`` to a host, in threads.

    :param trouble_after: bytes from the host to the client after which ``trouble`` is called, once.
    """

    def __init__(self, address: str, port: int = 22) -> None:
        self._target = (address, port)
        self._flows = threading.Event()
        self._flows.set()
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.received = 0
        self.trouble_after = -1
        self.trouble: Callable[[], None] = self.cut
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Line:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()
        self.resume()
        self.cut()

    def stall(self) -> None:
        """Stop forwarding; both ends stay connected and hear nothing."""
        self._flows.clear()

    def resume(self) -> None:
        self._flows.set()

    def cut(self) -> None:
        """Close every connection at once."""
        for each in self._sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        self._sockets.clear()

    def trouble_in(self, count: int, trouble: Callable[[], None]) -> None:
        """Make trouble once this many more bytes have come from the host."""
        self.trouble_after, self.trouble = self.received + count, trouble

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                host = socket.create_connection(self._target, timeout=10)
                host.settimeout(None)
                for each in (client, host):
                    each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._sockets += [client, host]
                threading.Thread(target=self._pump, args=(client, host, False), daemon=True).start()
                threading.Thread(target=self._pump, args=(host, client, True), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, from_host: bool) -> None:
        with suppress(OSError):
            while data := source.recv(4096):
                self._flows.wait()
                if from_host:
                    self.received += len(data)
                    if 0 <= self.trouble_after < self.received:
                        self.trouble_after = -1
                        self.trouble()
                        self._flows.wait()
                sink.sendall(data)
        for each in (source, sink):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
