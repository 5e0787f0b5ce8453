"""The `houblon` command: thin, it calls the rest."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Entry point of the `houblon` command; ends with one of `houblon.errors.Exit`."""
    _quicken()
    # pyinfra is built on gevent, which must patch the standard library before anything else uses it.
    from gevent import monkey

    monkey.patch_all()
    from houblon.cli.app import run

    sys.exit(run(sys.argv[1:]))


def _quicken() -> None:
    """Leave out what libraries do at import and houblon does not need: half a second of each command.

    gevent and pydantic look through every installed package for plug-ins, gevent once for each module it
    patches; paramiko loads a task runner for `Match exec` in ssh_config, which houblon does not read.
    """
    from gevent import events

    events.notify_and_call_entry_points = events.notify
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    sys.modules.setdefault("invoke", None)  # type: ignore[arg-type]
