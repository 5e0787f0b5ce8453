"""The `houblon` command: thin, it calls the rest."""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point of the `houblon` command; ends with one of `houblon.errors.Exit`."""
    # pyinfra is built on gevent, which must patch the standard library before anything else uses it.
    from gevent import monkey

    monkey.patch_all()
    from houblon.cli.app import run

    sys.exit(run(sys.argv[1:]))
