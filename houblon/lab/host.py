"""One host of a lab, as tests and people use it."""

from __future__ import annotations

import shlex
import socket
import subprocess
import time
from pathlib import Path

from houblon.errors import CannotConnect, OperationFailed
from houblon.lab.driver import Driver
from houblon.lab.state import HostState, LabState


class LabHost:
    """A Debian server that may be broken at will. ``address6`` is empty on a spare host."""

    def __init__(self, lab: LabState, host: HostState, driver: Driver, ssh_options: list[str]) -> None:
        self._lab, self._host, self._driver, self._ssh_options = lab, host, driver, ssh_options
        self.name = host.name
        self.address = host.address
        self.address6 = host.address6
        self.ssh_port = 22

    def __repr__(self) -> str:
        return f"<LabHost {self.name} {self.address}>"

    def ssh_command(self, argv: list[str], *options: str) -> list[str]:
        """The command that runs `argv` on the host as root, over ssh; without `argv`, a shell."""
        command = ["ssh", *self._ssh_options, *options, "-p", str(self.ssh_port), f"root@{self.address}"]
        return [*command, "--", shlex.join(argv)] if argv else command

    def exec(
        self, argv: list[str], input: bytes = b"", check: bool = True, timeout: float | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a command as root over ssh, as an operator would.

        :raises OperationFailed: it failed, and `check` is set.
        :raises CannotConnect: ssh itself failed, and `check` is set.
        """
        result = subprocess.run(
            self.ssh_command(argv, "-o", "BatchMode=yes"),
            input=input,
            capture_output=True,
            check=False,
            timeout=timeout,
        )
        if check and result.returncode == 255:
            text = result.stderr.decode(errors="replace")[-1000:]
            raise CannotConnect(
                f"{self.name} ({self.address}): {text}",
                cure="If the host refuses root by now, use console().",
            )
        return self._checked(argv, result, check)

    def console(
        self, argv: list[str], input: bytes = b"", check: bool = True, timeout: float | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a command as root as at the provider's console: no network, no sshd, no PAM; and faster.

        :raises OperationFailed: it failed, and `check` is set.
        """
        command = self._driver.console(self._lab, self._host, argv)
        return self._checked(
            argv,
            subprocess.run(command, input=input, capture_output=True, check=False, timeout=timeout),
            check,
        )

    def beside(self, argv: list[str]) -> list[str]:
        """The command that runs a program of this machine in the host's network, as a visitor next door."""
        return self._driver.beside(self._lab, self._host, argv)

    def _checked(
        self, argv: list[str], result: subprocess.CompletedProcess[bytes], check: bool
    ) -> subprocess.CompletedProcess[bytes]:
        if check and result.returncode:
            lines = (result.stdout + result.stderr).decode(errors="replace").splitlines()[-20:]
            raise OperationFailed(
                f"{self.name}: {shlex.join(argv)}: exit {result.returncode}\n" + "\n".join(lines),
                cure="See its last lines above.",
            )
        return result

    def boot(self) -> None:
        """Start the powered-off host over the disk it had, and return when root can log in.

        :raises CannotConnect: after a minute it cannot (a hardened host refuses root: see `start`).
        """
        self.start()
        self.wait()

    def start(self) -> None:
        """Start the host and return at once."""
        self._driver.boot(self._lab, self._host)

    def wait(self, seconds: float = 60) -> None:
        """Return when sshd answers and lets root in.

        :raises CannotConnect: it did not in time, or the host stopped.
        """
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self._banner():
                if not self.exec(["true"], check=False).returncode:
                    return
            elif not self.running():
                break
            time.sleep(0.05)
        raise CannotConnect(
            f"{self.name} ({self.address}) does not let root in by ssh",
            cure=f"The end of its console:\n{self._driver.log(self._lab, self._host)}",
        )

    def _banner(self) -> bool:
        try:
            with socket.create_connection((self.address, self.ssh_port), timeout=2) as connection:
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False

    def running(self) -> bool:
        return self._driver.running(self._lab, self._host)

    def power_off(self) -> None:
        """Shut down in order; returns when it is off. `boot` starts it again with its data."""
        self._driver.power_off(self._lab, self._host)

    def kill(self) -> None:
        """Pull the plug. What the kernel had in its page cache is not lost: it is this machine's kernel."""
        self._driver.kill(self._lab, self._host)

    def freeze_layer(self, dest: Path) -> None:
        """Turn the powered-off host's disk into a layer for ``Lab.up(layer=dest)``.

        Its identity (host name, machine id, host keys, network, root's keys) and apt's archives are dropped.
        The host goes on, with a new identity, over the layer: leave it in place as long as this lab lives.
        """
        from houblon.lab.blueprint import freeze_layer

        freeze_layer(self._lab, self._host, self._driver, Path(dest).absolute())
