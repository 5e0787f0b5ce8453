"""The end of a lab: down, and the garbage collection of labs that nobody will take down."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable

from houblon.errors import Refused
from houblon.lab import network, reaper, spare
from houblon.lab.driver import Driver
from houblon.lab.nspawn import Nspawn, remove_files
from houblon.lab.state import SCRAP, LabState, all_states, cache_dir, labs_dir, locked

DRIVERS: dict[str, Callable[[], Driver]] = {"nspawn": Nspawn, "spare": spare.Spare}


def take_down(name: str, identity: str | None = None) -> bool:
    """Remove a lab, in whatever state it is. False: there was none.

    :param identity: only if it is still that one, not a later lab of the same name.
    """
    if not labs_dir().is_dir():
        return False
    with _lock():
        state = LabState.load(name)
        if state is None or (identity is not None and state.id != identity):
            return False
        _destroy(state)
        return True


def collect_garbage() -> None:
    """Remove every lab that nobody will take down: dead builder, dead owner, machine rebooted since."""
    with _lock():
        collect_garbage_locked()


def purge_cache() -> None:
    """Remove the cached bases and packages.

    :raises Refused: a lab stands on them.
    """
    with locked(), locked(cache_dir() / ".lock", waiting="a base is being built"):
        if any(state.driver != "spare" for state in all_states()):
            raise Refused("labs stand on the cache", cure="Take them down first: houblon lab down --all.")
        remove_files([cache_dir()])


def _lock() -> contextlib.AbstractContextManager[None]:
    # Only root's labs have kernel resources, and only root writes the machine's lock.
    return locked() if os.geteuid() == 0 else locked(labs_dir() / ".lock")


def collect_garbage_locked() -> None:
    """The same, for a caller that holds the machine's lock."""
    for state in all_states():
        if state.orphaned():
            _destroy(state)
    remove_files(list(labs_dir().glob(f"{SCRAP}*")))


def _destroy(state: LabState) -> None:
    driver = DRIVERS[state.driver]()
    reaper.stop(state)
    for host in state.machines():
        driver.destroy(state, host)
    if state.driver != "spare":
        network.remove(state)
    # Renamed first: a kill in the middle of the removal leaves no lab that looks whole.
    doomed = labs_dir() / f"{SCRAP}{secrets.token_hex(4)}"
    state.directory.rename(doomed)
    remove_files([doomed])
    with contextlib.suppress(OSError):
        labs_dir().rmdir()


def refuse_taken(name: str) -> None:
    """:raises Refused: a lab has that name."""
    if LabState.load(name):
        raise Refused(f"there is a lab {name!r} already", cure=f"Take it down first: houblon lab down {name}.")
