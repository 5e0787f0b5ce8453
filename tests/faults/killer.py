"""Runs `houblon apply` in this process and kills it at a chosen command on the host.

Started by test_kills.py as a child: ``python -m tests.faults.killer POINT MOMENT SITE``. POINT counts the changing
commands of the run from 0. MOMENT says when the process dies with SIGKILL:

``before``  as the command is about to be sent (an operation boundary);
``during``  right after it was sent, while the host is at work on it;
``torn``    like during, and everything the run started on the host is killed too, as by a power cut;
``after``   when its result has arrived (between a file and the restart of its reader, for one).
"""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import os  # noqa: E402
import signal  # noqa: E402
import sys  # noqa: E402
from typing import Any  # noqa: E402

import gevent  # noqa: E402

from houblon.cli.app import run as command  # noqa: E402
from houblon.operations.run import Run  # noqa: E402

POINT, MOMENT, SITE = int(sys.argv[1]), sys.argv[2], sys.argv[3]
shell = Run.shell
count = 0


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def wrapped(self: Run, script: str, stdin: bytes = b"", timeout: float | None = None, step: str = "") -> Any:
    global count
    here, count = count == POINT, count + 1
    if not here:
        return shell(self, script, stdin, timeout, step)
    print(f"killed {MOMENT}: {step}", flush=True)
    if MOMENT == "before":
        die()
    if MOMENT == "after":
        shell(self, script, stdin, timeout, step)
        die()
    gevent.spawn_later(0.05, die)
    shell(self, script, stdin, timeout, step)
    die()
    return None


Run.shell = wrapped  # type: ignore[method-assign]
status = command(["apply", SITE, "--yes"])
print(f"ended with {status} after {count} commands", flush=True)
sys.exit(status)
