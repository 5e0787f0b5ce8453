"""One SSH connection to a host, on which scripts run as root.

Scripts and their input travel on standard input, never in argv: argv is world-readable on the host and sudo
logs it. A line that stalls or drops ends in `CannotConnect`; an answer without an exit status (RFC 4254,
section 6.10) is never taken for one.
"""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field

import gevent
import paramiko

from houblon.errors import CannotConnect, OperationFailed

KEEPALIVE_SECONDS = 10
STALL_SECONDS = 20
"""How long a probe may stay unanswered before the line counts as dead."""
SUDO_SECONDS = 60
"""How long sudo may take to let us in: directory services behind PAM can be slow."""

_PREAMBLE = "export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin; umask 022\n"
_READY = b"\x01houblon-ready\n"
_ASKS = b"\x01houblon-password\n"

Credential = str | None
"""What sudo gets: a password, or None for an account that needs none."""


@dataclass(frozen=True)
class Result:
    """What a script on the host gave back; output is decoded as UTF-8, undecodable bytes replaced.

    :param exit_status: that of the script; 128 + N when signal N ended it.
    """

    exit_status: int
    stdout: str = field(repr=False)
    stderr: str = field(repr=False)

    def lines(self) -> list[str]:
        """Standard output by line. Not `str.splitlines`, which also splits at U+2028 and the like."""
        return self.stdout.removesuffix("\n").split("\n") if self.stdout else []


@dataclass
class Connection:
    """An authenticated SSH client plus the way to become root on its host.

    :param credentials: those that sudo may accept, likeliest first; asked for only as far as needed, since
        the last ones may ask a person.
    """

    client: paramiko.SSHClient
    user: str
    address: str
    credentials: Callable[[], Iterable[Credential]] = field(default=lambda: (None,), repr=False)
    _accepted: tuple[Credential, ...] = field(default=(), repr=False)
    _heartbeat: gevent.Greenlet | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        no_delay(self._transport())
        self._heartbeat = gevent.spawn(self._watch)

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._heartbeat is not None:
            self._heartbeat.kill(block=False)
        # paramiko's reader would notice the end at its next look, a tenth of a second later.
        transport = self.client.get_transport()
        if transport is not None and isinstance(transport.sock, socket.socket):
            with suppress(OSError):
                transport.sock.shutdown(socket.SHUT_RDWR)
        self.client.close()

    @property
    def alive(self) -> bool:
        transport = self.client.get_transport()
        return transport is not None and transport.is_active()

    def become_root(self) -> None:
        """Prove that scripts run as root.

        :raises CannotConnect: when this account cannot become root.
        """
        self.run(":", timeout=SUDO_SECONDS)

    def run(self, script: str, stdin: bytes = b"", timeout: float | None = None) -> Result:
        """Run a POSIX shell script as root and wait for its end.

        :param timeout: seconds until the script counts as failed; None waits as long as the line lives.
        :raises CannotConnect: when the account cannot become root (nothing was run), or the line is lost before
            the exit status arrives (the script may have run or not).
        :raises OperationFailed: on timeout; the script may go on.
        """
        channel, said = self._begin(script)
        out: list[bytes] = []
        err = [said]

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
            with gevent.Timeout(timeout, TimeoutError()):
                gevent.joinall(jobs, raise_error=True)
                status = channel.recv_exit_status()
        except TimeoutError:
            raise OperationFailed(f"a command on {self.address} did not end within {timeout:.0f} s") from None
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise self._lost(error) from None
        finally:
            gevent.killall(jobs, block=False)
            shut(channel)
        if status == -1:
            raise self._lost()
        return Result(status, _text(out), _text(err))

    def pass_through(
        self, script: str, source: Callable[[], bytes], out: Callable[[bytes], object], err: Callable[[bytes], object]
    ) -> int:
        """Run a script as root with input and output as they come, and give its exit status.

        :param source: gives the next piece of input, nothing at its end.
        :param out, err: may raise `BrokenPipeError`; the status is then 141, as a shell says it of SIGPIPE.
        :raises CannotConnect: as `run`.
        """
        channel, said = self._begin(script)
        err(said)
        broken = False

        def give(receive: Callable[[int], bytes], to: Callable[[bytes], object]) -> None:
            nonlocal broken
            try:
                while chunk := receive(65536):
                    to(chunk)
            except BrokenPipeError:
                broken = True
                channel.close()

        def feed() -> None:
            with suppress(OSError):
                while chunk := source():
                    channel.sendall(chunk)
                channel.shutdown_write()

        feeder = gevent.spawn(feed)
        readers = [gevent.spawn(give, channel.recv, out), gevent.spawn(give, channel.recv_stderr, err)]
        try:
            # Not the feeder: a program may end while a person could still type.
            gevent.joinall(readers, raise_error=True)
            status = channel.recv_exit_status()
        except (EOFError, paramiko.SSHException) as error:
            raise self._lost(error) from None
        finally:
            gevent.killall([feeder, *readers], block=False)
            shut(channel)
        if broken:
            return 141
        if status == -1:
            raise self._lost()
        return status

    def open_channel(self, script: str) -> paramiko.Channel:
        """Start a script as root and return its channel, for what must live as long as the connection.

        :raises CannotConnect: as `run`.
        """
        return self._begin(script)[0]

    # --- inside ------------------------------------------------------------------------------------------

    def _transport(self) -> paramiko.Transport:
        transport = self.client.get_transport()
        if transport is None or not transport.is_active():
            raise self._lost()
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

    def _begin(self, script: str) -> tuple[paramiko.Channel, bytes]:
        """Start a script; returns its channel, and what it has already written to standard error."""
        data = (_PREAMBLE + script).encode()
        said = b""
        for credential in self._accepted:
            channel, said, ready = self._start(data, credential, known=True)
            if ready:
                return channel, said
        # A run may change the very password it came in with: then all are tried again.
        tried_password = False
        for credential in (None,) if self.user == "root" else self.credentials():
            tried_password |= credential is not None
            channel, said, ready = self._start(data, credential, known=False)
            if ready:
                self._accepted = (credential,)
                return channel, said
        raise self._refused(said, tried_password)

    def _start(self, data: bytes, credential: Credential, *, known: bool) -> tuple[paramiko.Channel, bytes, bool]:
        """Try one credential; returns the channel, what was said on standard error, and whether root is ours."""
        # A copy in a shell variable, so that standard input is free for the script's own use.
        take = f's=$(head -c {len(data)}); eval "$s"'
        proof = '[ "$(id -u)" = 0 ] || exit 1; printf "\\001houblon-ready\\n" >&2; '
        head = b""
        if self.user == "root":
            command = f"sh -c {_quote(proof + take)}"
        elif credential is None:
            command = f"sudo -n -- sh -c {_quote(proof + take)}"
        else:
            # With NOPASSWD sudo leaves the password line unread, so the script skips to a marker.
            marker = secrets.token_hex(8)
            skip = f'while IFS= read -r l; do [ "$l" = {marker} ] && break; done; '
            prompt = '"$(printf "\\001houblon-password")"'
            command = f"LC_ALL=C.UTF-8 sudo -k -S -p {prompt} -- sh -c {_quote(proof + skip + take)}"
            head = f"{credential}\n".encode()
            data = f"{marker}\n".encode() + data
        # The outer shell stays, so that a script that a signal ends has an exit status too.
        command = f"sh -c {_quote(command + '; exit $?')}"
        # A password that may be wrong goes alone: sudo would take the next lines for second and third tries.
        wait = credential is not None and not known
        try:
            channel = self._transport().open_session(timeout=STALL_SECONDS)
            channel.settimeout(SUDO_SECONDS)
            channel.exec_command(command)
            # sudo may be gone before it is sent all of this.
            with suppress(OSError):
                channel.sendall(head if wait else head + data)
            said, ready = _listen(channel)
            if ready:
                if wait:
                    channel.sendall(data)
                channel.settimeout(None)
            elif channel.closed or channel.eof_received:
                if channel.recv_exit_status() == -1:
                    raise self._lost()
                while chunk := channel.recv(4096):
                    said += chunk
        except TimeoutError:
            if not self.alive:
                raise self._lost() from None
            raise CannotConnect(
                f"{self.address} does not start a command for {self.user} within {SUDO_SECONDS} s",
                cure="Check that the host is not overloaded, and that its sudo waits for no directory service.",
            ) from None
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise self._lost(error) from None
        if not ready:
            channel.close()
        return channel, said, ready

    def _refused(self, said: bytes, tried_password: bool) -> CannotConnect:
        text = said.replace(_ASKS.strip(), b"\n").decode(errors="replace")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        if self.user == "root":
            # Cloud images answer root with a sentence and hang up.
            return CannotConnect(
                f"{self.address} lets root in, but runs no commands for it" + (f": {lines[-1]}" if lines else ""),
                cure="Name the image's own account (debian, admin) as host.user in site.yaml.",
            )
        if any("incorrect password" in x or "try again" in x for x in lines):
            why = "sudo refused the password"
        elif not tried_password and any("password is required" in x for x in lines):
            why = "sudo wants a password and none was given"
        else:
            why = lines[-1] if lines else "sudo refused"
        return CannotConnect(
            f"{self.user} cannot become root on {self.address}: {why}",
            cure="Give the right password (at the prompt, or in a file named by $HOUBLON_SUDO_PASSWORD_FILE), or check "
            "the account's sudo rights on the host.",
        )

    def _lost(self, error: BaseException | None = None) -> CannotConnect:
        why = f" ({error})" if error and str(error) else ""
        return CannotConnect(
            f"the line to {self.address} was lost{why}",
            cure="Run the command again: a run that was cut off is healed by the next.",
        )


def shut(channel: paramiko.Channel) -> None:
    """Close a channel, also of a line that is lost: paramiko would then raise EOFError, or what the socket says."""
    with suppress(OSError, EOFError, paramiko.SSHException):
        channel.close()


def no_delay(transport: paramiko.Transport) -> None:
    """A command is a few small packets; Nagle plus delayed ACK would cost 40 ms each."""
    # Behind a jump host the socket is a channel, which has no such option.
    with suppress(OSError, AttributeError):
        transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # type: ignore[union-attr]


def _listen(channel: paramiko.Channel) -> tuple[bytes, bool]:
    """Read standard error until the script says that it is root's, sudo asks a second time, or the end.

    :return: what came after the ready mark or, without one, all of it; and whether the mark came.
    """
    said = b""
    while chunk := channel.recv_stderr(65536):
        said += chunk
        _, ready, rest = said.partition(_READY)
        if ready:
            return rest, True
        if said.count(_ASKS.strip()) > 1:
            break
    return said, False


def _text(chunks: list[bytes]) -> str:
    return b"".join(chunks).decode(errors="replace")


def _quote(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
