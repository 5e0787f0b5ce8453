"""testinfra over the connection that houblon already has: one login, every command as root."""

from __future__ import annotations

import base64
from typing import Any, Protocol

import testinfra.host
from testinfra.backend.base import BaseBackend, CommandResult

from houblon.verify.shell import shell_of


class Answer(Protocol):
    """What a script gave back (see `houblon.connection.Result`)."""

    @property
    def exit_status(self) -> int: ...
    @property
    def stdout(self) -> str: ...
    @property
    def stderr(self) -> str: ...


class Runner(Protocol):
    """What verify and status need of a connection: run a POSIX sh script as root.

    ``run`` raises `CannotConnect` when the line is lost and `OperationFailed` when the time is up.
    """

    def run(self, script: str, stdin: bytes = b"", timeout: float | None = None) -> Answer: ...


COMMAND_SECONDS = 120.0
"""A check that takes longer has failed; a deep check passes its own ``timeout`` to ``host.run``."""


# A connection gives text; base64 keeps the bytes of a file's content. The subshell keeps the exit status,
# which a plain pipeline would lose.
_WRAP = """exec 3>&1
s=$( { { (
%s
) 3>&- 4>&-; echo $? >&4; } | base64 -w0 >&3; } 4>&1 )
exit "$s"
"""


class HoublonBackend(BaseBackend):  # type: ignore[misc]
    """Commands travel on standard input of a root shell, so what they hold never shows in a process list."""

    NAME = "houblon"

    def __init__(self, runner: Runner, hostname: str) -> None:
        super().__init__(hostname)
        self._runner = runner
        self._shell = shell_of(runner)
        # The connection decodes as UTF-8 and asks for C.UTF-8; asking the host would be one more round trip.
        self._encoding = "UTF-8"

    def run(self, command: str, *args: str, **kwargs: Any) -> CommandResult:
        """Run a command; ``stdin`` (bytes) and ``timeout`` (seconds) may be given by keyword."""
        script = self.get_command(command, *args)
        stdin: bytes = kwargs.get("stdin", b"")
        timeout: float = kwargs.get("timeout", COMMAND_SECONDS)
        if self._shell is not None and not stdin:
            status, out, err = self._shell.run(script, timeout)
            return self.result(status, script.encode(), out, err)
        answer = self._runner.run(_WRAP % script, stdin, timeout)
        output = base64.b64decode(answer.stdout)
        return self.result(answer.exit_status, script.encode(), output, answer.stderr.encode())


def testinfra_host(runner: Runner, hostname: str) -> testinfra.host.Host:
    """A testinfra host over ``runner``."""
    backend = HoublonBackend(runner, hostname)
    host = testinfra.host.Host(backend)
    backend.set_host(host)
    return host
