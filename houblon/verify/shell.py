"""One root shell for all commands of the checks.

A command of its own costs a channel, a login of sudo and three round trips; some sixty of them are a quarter of a
minute over a slow line. Here each costs one round trip.
"""

from __future__ import annotations

import base64
from typing import Any, Protocol

from houblon.errors import CannotConnect, HoublonError, OperationFailed

# Each request is its length, a newline, and a script; each answer one line: output and errors in base64, and the
# exit status. Errors wait in a file without a name, since both on one stream would interleave. Commands run in a
# subshell, so that an `exit` ends them alone.
_LOOP = """t=$(mktemp -p /run 2>/dev/null || mktemp) && exec 5>&1 8>"$t" && rm -f "$t" || exit 1
while IFS= read -r n; do
  s=$(head -c "$n")
  : >/proc/self/fd/8
  r=$( { { ( eval "$s" ) </dev/null 2>>/proc/self/fd/8 4>&- 5>&- 8>&-; echo $? >&4; } | base64 -w0 >&5; } 4>&1 )
  printf ' '; base64 -w0 </proc/self/fd/8; printf ' %s\\n' "$r"
done
"""


class Channel(Protocol):
    """As much of `paramiko.Channel` as is used."""

    def settimeout(self, timeout: float | None) -> None: ...
    def sendall(self, data: bytes) -> None: ...
    def recv(self, size: int) -> bytes: ...
    def close(self) -> None: ...


class Opener(Protocol):
    """A connection that can start a script as root and hand over its channel."""

    def open_channel(self, script: str) -> Channel: ...


class Shell:
    """Runs scripts one after the other; starts with the first one."""

    def __init__(self, opener: Opener) -> None:
        self._opener = opener
        self._channel: Channel | None = None
        self._rest = b""

    def run(self, script: str, timeout: float) -> tuple[int, bytes, bytes]:
        """Exit status, output and errors of a script.

        :param timeout: seconds until the script counts as failed.
        :raises OperationFailed: when the time is up; the next script gets a new shell.
        :raises CannotConnect: when the line, or the shell itself, is lost.
        """
        if self._channel is None:
            self._channel = self._opener.open_channel(_LOOP)
            self._rest = b""
        self._channel.settimeout(timeout)
        data = script.encode()
        try:
            self._channel.sendall(f"{len(data)}\n".encode() + data)
            line = self._line(self._channel)
            out, err, status = line.split(b" ")
            return int(status), base64.b64decode(out, validate=True), base64.b64decode(err, validate=True)
        except TimeoutError:
            self.close()
            raise OperationFailed(f"a command did not end within {timeout:.0f} s") from None
        except HoublonError:
            raise
        # paramiko raises OSError, EOFError and its own, which has no base but Exception.
        except Exception as error:
            self.close()
            raise CannotConnect(
                f"the line was lost while a command was running ({type(error).__name__})", cure="Run it again."
            ) from None

    def close(self) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()

    def _line(self, channel: Channel) -> bytes:
        parts = [self._rest]
        while b"\n" not in parts[-1]:
            block = channel.recv(65536)
            if not block:
                raise EOFError
            parts.append(block)
        line, _, self._rest = b"".join(parts).partition(b"\n")
        return line


def shell_of(runner: Any) -> Shell | None:
    """A shell over a connection that can hand over a channel; None for one that only runs scripts."""
    return Shell(runner) if hasattr(runner, "open_channel") else None
