"""The pyinfra connector `@houblon/ADDRESS`: one connection, scripts on standard input.

pyinfra's own SSH connector opens a channel and a sudo for each command, passes the sudo password in the
environment of a command line, which the host's process list shows, and never sets TCP_NODELAY. This one sends
everything through `houblon.connection.Connection`.
"""

from __future__ import annotations

import base64
import shlex
from collections.abc import Iterator
from io import IOBase
from pathlib import Path
from typing import Any

from pyinfra.api import StringCommand
from pyinfra.connectors.base import BaseConnector, DataMeta
from pyinfra.connectors.util import CommandOutput, OutputLine
from typing_extensions import TypedDict

from houblon.connection import Connection


class _Data(TypedDict):
    houblon_connection: Any
    houblon_site: str


class HoublonConnector(BaseConnector):
    """Runs every command of a pyinfra run over one `Connection`, as root."""

    handles_execution = True
    data_cls = _Data
    data_meta = {  # noqa: RUF012 - pyinfra's own shape
        "houblon_connection": DataMeta("An open houblon Connection (API runs)"),
        "houblon_site": DataMeta("The site folder to connect for (plain pyinfra runs)"),
    }
    connection: Connection | None = None

    @staticmethod
    def make_names_data(name: str) -> Iterator[tuple[str, dict[str, Any], list[str]]]:
        yield f"@houblon/{name}", {}, []

    def connect(self) -> None:
        self.connection = self.data["houblon_connection"] or _open(self.data["houblon_site"])

    def disconnect(self) -> None:
        if self.connection is not None and not self.data["houblon_connection"]:
            self.connection.close()

    def run_shell_command(
        self, command: StringCommand, print_output: bool = False, print_input: bool = False, **arguments: Any
    ) -> tuple[bool, CommandOutput]:
        assert self.connection is not None
        stdin = arguments.get("_stdin") or b""
        if isinstance(stdin, str):
            stdin = stdin.encode()
        script = command.get_raw_value() if isinstance(command, StringCommand) else str(command)
        # Other people's operations may ask for these; to run their command otherwise would be wrong.
        for name in ("_su_user", "_doas", "_chdir", "_env"):
            if arguments.get(name):
                raise NotImplementedError(f"@houblon runs commands as root and knows no {name}")
        if user := arguments.get("_sudo_user"):
            script = f"exec runuser -u {shlex.quote(user)} -- sh -c {shlex.quote(script)}"
        result = self.connection.run(script, stdin, arguments.get("_timeout"))
        good = arguments.get("_success_exit_codes") or [0]
        lines = [OutputLine("stdout", line) for line in result.lines()]
        lines += [OutputLine("stderr", line) for line in result.stderr.splitlines()]
        return result.exit_status in good, CommandOutput(lines)

    def put_file(
        self, filename_or_io: str | IOBase, remote_filename: str, remote_temp_filename: str | None = None,
        print_output: bool = False, print_input: bool = False, **arguments: Any,
    ) -> bool:
        """Atomic: a 0600 temporary file in the target's directory, then a rename."""
        assert self.connection is not None
        if isinstance(filename_or_io, str):
            data = Path(filename_or_io).read_bytes()
        else:
            filename_or_io.seek(0)
            raw = filename_or_io.read()
            data = raw.encode() if isinstance(raw, str) else raw
        target = shlex.quote(remote_filename)
        script = f'set -e; t=$(mktemp {target}.XXXXXX); cat >"$t"; mv -fT -- "$t" {target}'
        return self.connection.run(script, data).exit_status == 0

    def get_file(
        self, remote_filename: str, filename_or_io: str | IOBase, remote_temp_filename: str | None = None,
        print_output: bool = False, print_input: bool = False, **arguments: Any,
    ) -> bool:
        assert self.connection is not None
        result = self.connection.run(f"base64 -w0 -- {shlex.quote(remote_filename)}")
        if result.exit_status != 0:
            return False
        data = base64.b64decode(result.stdout)
        if isinstance(filename_or_io, str):
            Path(filename_or_io).write_bytes(data)
        else:
            filename_or_io.write(data)
        return True

    def rsync(self, *_: Any, **__: Any) -> bool:
        raise NotImplementedError("houblon pushes files itself")


def _open(folder: str) -> Connection:
    from houblon.cli.ask import at_the_terminal
    from houblon.connect import Door
    from houblon.site import load
    from houblon.vault import Vault

    site = load(Path(folder))
    return Door(site, Vault(site.folder), at_the_terminal()).open()
