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

from houblon.connection import Connection
from houblon.errors import Refused
from houblon.operations.run import LEASE

RENEW_SECONDS = 10
SILENCE_SECONDS = 40


class Lease:
    """Held from construction to `release`.

    :raises Refused: when another run holds it; the message says who and since when.
    """

    def __init__(self, connection: Connection, who: str) -> None:
        self.token = secrets.token_hex(16)
        holder = shlex.quote(who)
        self._channel = connection.open_channel(
            f"""mkdir -p -m 755 /run/houblon
exec bash -c '
exec 9>/run/houblon/lock
if ! flock -n 9; then echo "busy $(cat /run/houblon/holder 2>/dev/null)"; exit 75; fi
printf "%s, since %s" "$1" "$(date "+%H:%M:%S")" >/run/houblon/holder
printf %s "$2" >{LEASE}
echo held
while read -r -t {SILENCE_SECONDS} _; do :; done
rm -f {LEASE} /run/houblon/holder
' lease {holder} {self.token}"""
        )
        answer = _first_line(self._channel)
        if answer != "held":
            self._channel.close()
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
            except (OSError, paramiko.SSHException):
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
        self._channel.close()


def _first_line(channel: paramiko.Channel) -> str:
    channel.settimeout(30)
    data = b""
    while not data.endswith(b"\n"):
        chunk = channel.recv(256)
        if not chunk:
            break
        data += chunk
    return data.decode(errors="replace").strip()
