"""One SSH connection to a host, on which scripts run as root.

Scripts and their input travel on standard input, never in argv: argv is world-readable on the host and sudo
logs it. A line that stalls or drops ends in `CannotConnect`; an answer without an exit status (RFC 4254,
section 6.10) is never taken for one.
"""

from __future__ import annotations

import secrets
import socket
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field

import gevent
import paramiko

from houblon.errors import CannotConnect, OperationFailed

KEEPALIVE_SECONDS = 10
STALL_SECONDS = 30
"""How long a probe may stay unanswered before the line counts as dead."""

_PREAMBLE = "export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin; umask 022\n"
_READY = "\x01houblon-ready\n"


@dataclass(frozen=True)
class Result:
    """What a script on the host gave back; output is decoded as UTF-8, undecodable bytes replaced."""

    exit_status: int
    stdout: str = field(repr=False)
    stderr: str = field(repr=False)


@dataclass
class Connection:
    """An authenticated SSH client plus the way to become root on its host.

    :param become: ``none`` when logged in as root, ``sudo`` else.
    :param sudo_passwords: those to try, asked for lazily and only if sudo wants one.
    """

    client: paramiko.SSHClient
    user: str
    address: str
    become: str = "none"
    sudo_passwords: Callable[[], Iterable[str]] = tuple
    _password: str | None = field(default=None, repr=False)
    _heartbeat: gevent.Greenlet | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        transport = self._transport()
        # A command is a few small packets; Nagle plus delayed ACK would cost 40 ms each.
        with suppress(OSError, AttributeError):
            transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._heartbeat = gevent.spawn(self._watch)

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._heartbeat is not None:
            self._heartbeat.kill(block=False)
        self.client.close()

    @property
    def alive(self) -> bool:
        transport = self.client.get_transport()
        return transport is not None and transport.is_active()

    def become_root(self) -> None:
        """Prove that scripts run as root, asking for a sudo password if sudo wants one.

        :raises CannotConnect: when this account cannot become root.
        """
        if self.user == "root":
            return
        self.become = "sudo"
        if self._is_root():
            return
        for password in self.sudo_passwords():
            self._password = password
            if self._is_root():
                return
        raise CannotConnect(
            f"{self.user} cannot become root on {self.address}"
            + (": sudo refused the password" if self._password else ": sudo wants a password and none was given"),
            cure="Check the account's sudo rights, or the password (`houblon secret show base sudo-NAME`).",
        )

    def _is_root(self) -> bool:
        result = self._execute("id -u", b"", 60)
        return result is not None and result.stdout.strip() == "0"

    def run(self, script: str, stdin: bytes = b"", timeout: float | None = None) -> Result:
        """Run a POSIX shell script as root and wait for its end.

        :param timeout: seconds until the script counts as failed; None waits as long as the line lives.
        :raises CannotConnect: when the line is lost before the exit status arrives; the script may then have
            run or not.
        :raises OperationFailed: on timeout.
        """
        result = self._execute(script, stdin, timeout)
        if result is None:
            raise CannotConnect(f"sudo on {self.address} no longer lets {self.user} become root")
        return result

    def open_channel(self, script: str) -> paramiko.Channel:
        """Start a script as root and return its channel, for what must live as long as the connection."""
        channel = self._start(script, None)
        return channel

    # --- inside ------------------------------------------------------------------------------------------

    def _transport(self) -> paramiko.Transport:
        transport = self.client.get_transport()
        if transport is None or not transport.is_active():
            raise CannotConnect(
                f"the line to {self.address} was lost",
                cure="Run the command again: a run that was cut off is healed by the next.",
            )
        return transport

    def _watch(self) -> None:
        while True:
            gevent.sleep(KEEPALIVE_SECONDS)
            transport = self.client.get_transport()
            if transport is None or not transport.is_active():
                return
            answered = False
            with gevent.Timeout(STALL_SECONDS, False):
                transport.global_request("keepalive@houblon", wait=True)
                answered = True
            if not answered:
                transport.close()
                return

    def _start(self, script: str, timeout: float | None) -> paramiko.Channel:
        data = (_PREAMBLE + script).encode()
        inner = f"printf '\\001houblon-ready\\n' >&2; s=$(head -c {len(data)}); eval \"$s\""
        head = b""
        if self.become == "none":
            command = f"exec sh -c {_quote(inner)}"
        elif self._password is None:
            command = f"exec sudo -n -- sh -c {_quote(inner)}"
        else:
            # With NOPASSWD sudo leaves the password line unread, so the script skips to a marker.
            marker = secrets.token_hex(8)
            skip = f'while IFS= read -r l; do [ "$l" = {marker} ] && break; done; '
            command = f"exec sudo -k -S -p '' -- sh -c {_quote(skip + inner)}"
            head = f"{self._password}\n{marker}\n".encode()
        try:
            channel = self._transport().open_session(timeout=STALL_SECONDS)
            channel.settimeout(timeout)
            channel.exec_command(f"sh -c {_quote(command)}")
            channel.sendall(head + data)
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise self._lost(error) from None
        return channel

    def _execute(self, script: str, stdin: bytes, timeout: float | None) -> Result | None:
        """Run; None when sudo refused."""
        started = time.monotonic()
        channel = self._start(script, timeout)
        out: list[bytes] = []
        err: list[bytes] = []

        def read(receive: Callable[[int], bytes], into: list[bytes]) -> None:
            while chunk := receive(65536):
                into.append(chunk)

        def feed() -> None:
            # A script may end without reading all of its input.
            with suppress(OSError):
                if stdin:
                    channel.sendall(stdin)
                channel.shutdown_write()

        jobs = [gevent.spawn(feed), gevent.spawn(read, channel.recv, out), gevent.spawn(read, channel.recv_stderr, err)]
        try:
            gevent.joinall(jobs, raise_error=True, timeout=timeout)
            remaining = None if timeout is None else max(0.1, timeout - (time.monotonic() - started))
            with gevent.Timeout(remaining, TimeoutError()):
                status = channel.recv_exit_status()
        except TimeoutError:
            raise OperationFailed(
                f"a command on {self.address} did not end within {timeout:.0f} s"
            ) from None
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise self._lost(error) from None
        finally:
            gevent.killall(jobs, block=False)
            channel.close()
        if status == -1:
            raise self._lost(None)
        stderr = b"".join(err).decode(errors="replace")
        before, ready, after = stderr.partition(_READY)
        if not ready:
            return None if self.become == "sudo" else Result(status, "", before)
        return Result(status, b"".join(out).decode(errors="replace"), after)

    def _lost(self, error: BaseException | None) -> CannotConnect:
        why = f" ({error})" if error and str(error) else ""
        return CannotConnect(
            f"the line to {self.address} was lost while a command was running{why}",
            cure="Run the command again: a run that was cut off is healed by the next.",
        )


def _quote(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
