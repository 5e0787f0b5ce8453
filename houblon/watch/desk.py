"""The eye on the operator's machine: a timer of theirs, systemd's or cron's, and what it is told.

The timer runs a copy of the eye, with the system's Python: it goes on when a checkout moves or a venv is made anew.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from houblon.errors import BadInput, OperationFailed
from houblon.watch import PARTS, eye, memory

UNIT = "houblon-watch"


@dataclass(frozen=True)
class Desk:
    """Where things are; see the XDG base directory specification and systemd.unit(5).

    :param settings: with the addresses of channels, 0600.
    :param code: the copy of the eye; ``code/look`` runs it.
    """

    settings: Path
    state: Path
    code: Path
    units: Path

    @classmethod
    def mine(cls) -> Desk:
        home = Path.home()
        config = _base("XDG_CONFIG_HOME", home / ".config")
        return cls(
            config / "houblon" / "watch.json",
            _base("XDG_STATE_HOME", home / ".local/state") / "houblon" / "watch.json",
            _base("XDG_DATA_HOME", home / ".local/share") / "houblon" / "watch",
            config / "systemd" / "user",
        )

    @property
    def command(self) -> Path:
        return self.code / "look"

    def told(self) -> dict[str, Any]:
        """What the eye is told now; empty when it is not installed."""
        return memory.read(str(self.settings))

    def seen(self) -> dict[str, Any]:
        """What it saw last; see `houblon.watch.memory`."""
        return memory.read(str(self.state))

    def asleep(self) -> str:
        """What is wrong with the installed eye, such as that it has not looked lately; empty when nothing is."""
        if not self.settings.exists():
            return ""
        said = memory.verdict(self.told() | {"language": "en"}, None, self.settings.stat().st_mtime)
        idle = time.time() - self.seen().get("at", 0) > memory.STALE_SECONDS
        return f"houblon watch, on this machine: {said}" + "; is its timer running?" * idle if said else ""

    def install(self, settings: dict[str, Any]) -> str:
        """Put the eye and its timer in place, over an earlier one.

        :param settings: for `houblon.watch.memory`; ``state`` and the path of ``roots`` are filled in.
        :return: the line for crontab(5) that does what systemd cannot do here, or nothing.
        :raises OperationFailed: systemd has a user manager here, and refuses the timer.
        """
        roots = self.settings.with_name("watch-roots.pem")
        settings = {**settings, "state": str(self.state)}
        package = self.code / "python" / "houblon" / "watch"
        package.mkdir(parents=True, exist_ok=True)
        for part in PARTS:
            (package / part).write_bytes(Path(eye.__file__).with_name(part).read_bytes())
        # The interpreter itself, not the link to it in a venv.
        python, tree = os.path.realpath(sys.executable), self.code / "python"
        arguments = shlex.join([python, "-m", "houblon.watch.memory", "look", str(self.settings)])
        self.command.write_text(
            f"#!/bin/sh\n# Written by `houblon watch install`.\nPYTHONDONTWRITEBYTECODE=1 "
            f"PYTHONPATH={shlex.quote(str(tree))} exec {arguments}\n"
        )
        self.command.chmod(0o755)
        _private(roots, settings.get("roots", ""))
        if settings.get("roots"):
            settings["roots"] = str(roots)
        _private(self.settings, memory.text_of(settings))
        if not user_manager():
            return f"*/2 * * * * {shlex.quote(str(self.command))}"
        self.units.mkdir(parents=True, exist_ok=True)
        for kind, text in units(self.command).items():
            (self.units / f"{UNIT}.{kind}").write_text(text)
        _systemctl("daemon-reload")
        _systemctl("enable", "--now", f"{UNIT}.timer")
        return ""

    def uninstall(self) -> bool:
        """Leave nothing of it; whether there was something."""
        files = [
            self.settings, self.settings.with_name("watch-roots.pem"), self.state,
            *(self.units / f"{UNIT}.{kind}" for kind in ("service", "timer")),
        ]  # fmt: skip
        there = [path for path in files if path.exists()]
        if (self.units / f"{UNIT}.timer").exists() and user_manager():
            _systemctl("disable", "--now", f"{UNIT}.timer")
        for path in there:
            path.unlink()
        was = self.code.exists()
        shutil.rmtree(self.code, ignore_errors=True)
        if user_manager():
            _systemctl("daemon-reload")
        for folder in (self.settings.parent, self.state.parent, self.code.parent, self.units / "timers.target.wants",
                       self.units):  # fmt: skip
            while folder != Path.home() and folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
                folder = folder.parent
        return bool(there) or was


def units(command: Path) -> dict[str, str]:
    """The service and its timer (systemd.timer(5))."""
    run = str(command).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    about = "Description=houblon looks at sites from here\n"
    return {
        "service": f'[Unit]\n{about}\n[Service]\nType=oneshot\nExecStart="{run}"\nTimeoutStartSec=180\n',
        "timer": f"[Unit]\n{about}\n[Timer]\nOnCalendar=*:0/2\nRandomizedDelaySec=30\nAccuracySec=5\n\n"
        "[Install]\nWantedBy=timers.target\n",
    }


def user_manager() -> bool:
    """Whether systemd runs timers for this user."""
    if not shutil.which("systemctl"):
        return False
    return _run("systemctl", "--user", "show-environment").returncode == 0


def lingers() -> bool:
    """Whether this user's timers run while nobody is logged in (loginctl(1))."""
    shown = _run("loginctl", "show-user", str(os.getuid()), "--property=Linger", "--value")
    return shown.returncode == 0 and shown.stdout.strip() == "yes"


def channel_address(text: str) -> str:
    """An address that alarms may be sent to.

    :raises BadInput: it is none, or everybody on the way could read along. The address itself is never shown.
    """
    url = urlsplit(text.strip())
    if url.scheme not in ("https", "http") or not url.hostname or not text.strip().isprintable() or " " in text.strip():
        raise BadInput("this is no address of a channel", cure="Give it whole, such as https://ntfy.sh/your-topic.")
    if url.scheme == "http" and url.hostname not in ("localhost", "127.0.0.1", "::1"):
        raise BadInput("this address sends alarms in clear", cure="Use one that begins with https://.")
    if url.username or url.password:
        raise BadInput("a name or password in the address is not sent", cure="For ntfy, use a token: ?auth=...")
    return text.strip()


def try_channels(settings: dict[str, Any]) -> None:
    """Tell by each channel that it works.

    :raises OperationFailed: naming the first that does not take it.
    """
    for channel in memory.CHANNELS:
        if settings.get(channel) and not memory.test(settings, channel):
            raise OperationFailed(
                f"the test by {channel} did not arrive; nothing was installed",
                cure="Check the address, or that this machine is online." if channel != "desktop" else
                "Is a desktop running? `--no-desktop` leaves it out.",
            )  # fmt: skip


def _private(path: Path, text: str) -> None:
    """A file that only its owner reads; none when there is no text."""
    if not text:
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    new.replace(path)


def _base(variable: str, default: Path) -> Path:
    given = os.environ.get(variable, "")
    return Path(given) if given.startswith("/") else default


def _systemctl(*arguments: str) -> None:
    done = _run("systemctl", "--user", *arguments)
    if done.returncode != 0:
        raise OperationFailed(
            f"systemctl --user {' '.join(arguments)} failed: {done.stderr.strip()[-300:]}",
            cure="`systemctl --user status` says more; `houblon watch uninstall` takes everything away again.",
        )


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(command, 127, "", str(error))
