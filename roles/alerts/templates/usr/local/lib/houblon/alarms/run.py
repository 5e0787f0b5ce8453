"""Asking other programs, with a limit on everything."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence


class Unknown(Exception):
    """It could not be found out, which is never fine. The message says why."""


def output(command: Sequence[str], seconds: float = 20, fine: Sequence[int] = (0,)) -> str:
    """Standard output of a command that must succeed.

    :param fine: exit statuses that mean it did: journalctl and grep say 1 when nothing matches.

    :raises Unknown: it fails, takes too long, or is not there.
    """
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=seconds, check=False,
            stdin=subprocess.DEVNULL, env={"LC_ALL": "C.UTF-8", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unknown(f"{command[0]}: {error}") from None
    if done.returncode not in fine or (done.returncode and done.stderr.strip()):
        raise Unknown(f"{command[0]}: {(done.stderr or done.stdout).strip()[-300:] or done.returncode}")
    return done.stdout
