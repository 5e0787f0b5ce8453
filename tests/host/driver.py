"""Runs houblon's connection in a process of its own, where gevent may patch the standard library.

`python -m tests.host.driver SITE MODULE.NAME=VALUE... ` reads one JSON request a line and answers each with one.
"""

from __future__ import annotations

import gevent.monkey

gevent.monkey.patch_all()

import importlib  # noqa: E402
import json  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

from houblon.cli.ask import at_the_terminal  # noqa: E402
from houblon.connect import Door  # noqa: E402
from houblon.errors import HoublonError  # noqa: E402
from houblon.lease import Lease  # noqa: E402
from houblon.operations.run import Run, StepFailed  # noqa: E402
from houblon.site import load  # noqa: E402
from houblon.vault import Vault  # noqa: E402


def main() -> None:
    for setting in sys.argv[2:]:
        name, _, value = setting.partition("=")
        module, _, attribute = name.rpartition(".")
        setattr(importlib.import_module(f"houblon.{module}"), attribute, int(value))
    site = load(Path(sys.argv[1]))
    connection = Door(site, Vault(site.folder), at_the_terminal(accept_new=True)).open()
    run = Run(connection)
    while True:
        # readline would block the heartbeat and the lease's renewal.
        gevent.select.select([sys.stdin], [], [])
        if not (line := sys.stdin.readline()):
            return
        request = json.loads(line)
        answer: dict[str, Any] = {}
        try:
            if "lease" in request:
                run.token = Lease(connection, request["lease"]).token
            elif "run" in request:
                result = connection.run(request["run"], timeout=request.get("timeout"))
                answer = {"status": result.exit_status, "out": result.stdout, "err": result.stderr}
            elif "change" in request:
                answer = {"out": run.shell(request["change"]).stdout}
        except HoublonError as error:
            answer = {"error": type(error).__name__, "what": str(error)}
        except StepFailed as failure:
            answer = {"error": "StepFailed", "what": failure.output}
        print(json.dumps(answer), flush=True)


main()
