"""The lease that keeps two operators apart.

A process on the host holds a lock for as long as the live run sends it a line now and then. When the run
dies the kernel frees the lock: at once if the connection closes, after `SILENCE_SECONDS` if it just stalls. Every
changing command first checks that the lease still carries its run's token, so a run that was stalled
and comes back cannot write into somebody else's.
"""

from __future__ import annotations

import secrets
import shlex

import gevent
import paramiko

from houblon.connection import Connection, shut
from houblon.errors import OperationFailed, Refused
from houblon.operations.run import LEASE

RENEW_SECONDS = 10
SILENCE_SECONDS = 40
ANSWER_SECONDS = 30


class Lease:
    """Held from construction to `release`.

    :raises Refused: when another run holds it; the message says who and since when.
    :raises OperationFailed: when the host cannot keep a lease (a full or read-only /run, say).
    """

    def __init__(self, connection: Connection, who: str) -> None:
        self.token = secrets.token_hex(16)
        # bash, because dash's `read` knows no timeout. Its script may stand in argv: it holds no secret.
        self._channel = connection.open_channel(
            f"""mkdir -p -m 755 /run/houblon
exec bash -c '
exec 9>>/run/houblon/lock || exit 74
if ! flock -n 9; then echo "busy $(cat /run/houblon/holder 2>/dev/null)"; exit 75; fi
set -e
printf "%s, since %s" "$1" "$(date "+%H:%M:%S")" >/run/houblon/holder
printf %s "$2" >{LEASE}
echo held
while read -r -t {SILENCE_SECONDS} _; do :; done || :
rm -f {LEASE} /run/houblon/holder
' lease {shlex.quote(who)} {self.token}"""
        )
        answer = self._answer()
        if answer != "held":
            shut(self._channel)
            if not answer.startswith("busy"):
                raise OperationFailed(
                    f"the host cannot keep houblon's lease in /run/houblon: {answer or 'no answer'}",
                    cure="Check that /run is writable and has room, and that bash and flock are there.",
                )
            who_else = answer.removeprefix("busy").strip() or "somebody"
            raise Refused(
                f"another run is at work on this host ({who_else})",
                cure=f"Wait for it. If it died, the host frees itself within {SILENCE_SECONDS} seconds.",
            )
        self._renewal = gevent.spawn(self._renew)

    def _renew(self) -> None:
        while True:
            gevent.sleep(RENEW_SECONDS)
            try:
                self._channel.sendall(b"\n")
            except (OSError, EOFError, paramiko.SSHException):
                return

    def release(self) -> None:
        """Give it back; the host is free when this returns, if the line still lives."""
        self._renewal.kill()
        try:
            self._channel.shutdown_write()
            self._channel.settimeout(5)
            while self._channel.recv(1024):
                pass
        except (OSError, EOFError, paramiko.SSHException):
            pass
        shut(self._channel)

    def _answer(self) -> str:
        """The first line of the lease's process, or what it complains about."""
        data = b""
        try:
            self._channel.settimeout(ANSWER_SECONDS)
            while not data.endswith(b"\n") and (chunk := self._channel.recv(256)):
                data += chunk
            if not data:
                data = self._channel.recv_stderr(1000)
        except (OSError, EOFError, paramiko.SSHException):
            pass
        return data.decode(errors="replace").strip()
