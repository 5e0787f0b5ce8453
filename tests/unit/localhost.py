"""A "connection" to this machine: scripts run for real, through sh, with houblon's own folders moved to a prefix."""

from __future__ import annotations

import getpass
import grp
import os
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

from houblon.connection import Connection, Result
from houblon.facts.snapshot import Seen, parse, script_for
from houblon.operations.run import LEASE, Run
from houblon.resources import Item

USER, GROUP = getpass.getuser(), grp.getgrgid(os.getgid()).gr_name


class Localhost:
    """Runs scripts as this user; nothing outside the prefix is written as long as items stay inside it."""

    def __init__(self, prefix: Path) -> None:
        self.prefix = prefix
        for folder in ("run/houblon", "var/lib/houblon/stamps"):
            (prefix / folder).mkdir(parents=True, exist_ok=True)
        (prefix / LEASE.lstrip("/")).write_text("ours")

    def moved(self, text: str) -> str:
        for folder in ("/run/houblon", "/var/lib/houblon"):
            text = text.replace(folder, f"{self.prefix}{folder}")
        return text

    def run(self, script: str, stdin: bytes = b"", timeout: float | None = None) -> Result:
        done = subprocess.run(
            ["sh", "-c", "export LC_ALL=C.UTF-8; umask 022\n" + self.moved(script)], input=stdin, capture_output=True,
            timeout=60, check=False,
        )
        return Result(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))

    def look(self, items: Iterable[Item]) -> Seen:
        result = self.run(script_for(items))
        return parse(result.lines())

    def start(self, **values: Any) -> Run:
        """A run that holds the lease."""
        return Run(cast(Connection, self), token="ours", **values)
