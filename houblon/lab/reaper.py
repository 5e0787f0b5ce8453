"""A detached process that takes a lab down when its owner dies, kill -9 included."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
from pathlib import Path

from houblon.lab.state import LabState, Process


def start(state: LabState) -> None:
    """Start the reaper of a lab that has an owner. It finds the lab through the same ``$HOUBLON_LAB_DIR``."""
    package_root = Path(__file__).parents[2]
    # Relative to our directory, which is not the reaper's.
    given = os.environ.get("HOUBLON_LAB_DIR")
    lab_dir = {"HOUBLON_LAB_DIR": str(Path(given).absolute())} if given else {}
    paths = [str(package_root), *filter(None, [os.environ.get("PYTHONPATH")])]
    subprocess.run(
        ["setsid", "--fork", sys.executable, "-m", "houblon.lab.reaper", state.name, state.id],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        cwd="/", env={**os.environ, **lab_dir, "PYTHONPATH": ":".join(paths)}, check=True,
    )  # fmt: skip


def stop(state: LabState) -> None:
    """End the reaper of a lab that goes away in order."""
    with contextlib.suppress(FileNotFoundError, ValueError, ProcessLookupError):
        pid, started = map(int, (state.directory / "reaper").read_text().split())
        if pid != os.getpid() and Process(pid, started).alive():
            os.kill(pid, 15)


def main(name: str, identity: str) -> None:
    """Wait for the owner's end, or the lab's."""
    from houblon.lab.teardown import take_down

    state = LabState.load(name)
    if state is None or state.owner is None or state.id != identity:
        return
    me = Process.of(os.getpid())
    (state.directory / "reaper").write_text(f"{me.pid} {me.start}")
    with contextlib.suppress(ProcessLookupError):
        owner = os.pidfd_open(state.owner.pid)
        # Opened first, asked second: a pid recycled in between is noticed.
        while state.owner.alive():
            if select.select([owner], [], [], 2)[0]:
                break
            current = LabState.load(name)
            if current is None or current.id != identity:
                return
    take_down(name, identity)


if __name__ == "__main__":
    main(*sys.argv[1:])
