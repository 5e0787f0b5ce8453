"""The one shell for all commands, over real pipes instead of SSH."""

from __future__ import annotations

import os
import select
import subprocess
from collections.abc import Iterator
from contextlib import suppress

import pytest

from houblon.errors import CannotConnect, OperationFailed
from houblon.verify.backend import testinfra_host as make_host
from houblon.verify.shell import Shell


class Pipes:
    """A channel to a local shell."""

    def __init__(self, script: str) -> None:
        self.process = subprocess.Popen(["sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.timeout: float | None = None

    def settimeout(self, timeout: float | None) -> None:
        self.timeout = timeout

    def sendall(self, data: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def recv(self, size: int) -> bytes:
        assert self.process.stdout is not None
        if not select.select([self.process.stdout], [], [], self.timeout)[0]:
            raise TimeoutError
        return os.read(self.process.stdout.fileno(), size)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()


class Opener:
    def __init__(self) -> None:
        self.channels: list[Pipes] = []

    def open_channel(self, script: str) -> Pipes:
        self.channels.append(Pipes(script))
        return self.channels[-1]

    def run(self, *_: object) -> None:
        raise AssertionError("this command wants a channel of its own")


@pytest.fixture
def opener() -> Iterator[Opener]:
    made = Opener()
    yield made
    for channel in made.channels:
        channel.close()


def test_status_and_both_streams_byte_by_byte(opener: Opener) -> None:
    shell = Shell(opener)
    assert shell.run("echo out; echo err >&2; exit 7", 20) == (7, b"out\n", b"err\n")
    assert shell.run("printf '\\377\\000x'", 20) == (0, b"\xff\0x", b"")
    assert shell.run("false", 20) == (1, b"", b"")
    assert shell.run("cat; echo 'é\nü'", 20) == (0, "é\nü\n".encode(), b"")
    assert shell.run("cat <<'X'\n$a\nX\n", 20) == (0, b"$a\n", b"")
    size = 3_000_000
    assert shell.run(f"head -c {size} /dev/zero; head -c {size} /dev/zero >&2", 60) == (0, bytes(size), bytes(size))
    assert shell.run("ls /proc/self/fd | tr '\\n' ' '", 20)[1].split() == [b"0", b"1", b"2", b"3"]
    assert len(opener.channels) == 1


def test_a_command_that_hangs_costs_its_shell(opener: Opener) -> None:
    shell = Shell(opener)
    with pytest.raises(OperationFailed, match="within 0 s"):
        shell.run("sleep 2", 0.2)
    assert shell.run("echo again", 20) == (0, b"again\n", b"")
    assert len(opener.channels) == 2


def test_a_lost_shell_is_a_lost_line(opener: Opener) -> None:
    shell = Shell(opener)
    with pytest.raises(CannotConnect):
        shell.run("kill -9 $$; sleep 1", 20)
    shell.run("true", 20)
    opener.channels[-1].process.kill()
    opener.channels[-1].process.wait()
    with pytest.raises(CannotConnect):
        shell.run("true", 20)


def test_testinfra_uses_it(opener: Opener) -> None:
    host = make_host(opener, "here")  # type: ignore[arg-type]
    assert host.check_output("echo %s", "a b") == "a b"
    assert host.file("/proc/version").contains("Linux")
    assert host.run("exit 3").rc == 3 and len(opener.channels) == 1
