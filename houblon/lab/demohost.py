"""The half of the demo that needs root: its lab, and the way in for the key of whoever asked for it.

Run by `houblon.lab.demo` through sudo: ``python -m houblon.lab.demohost up|down [LAB-ID]``, an SSH public key
on standard input, JSON on standard output.
"""

from __future__ import annotations

import json
import sys
import time

from houblon.errors import CannotConnect, HoublonError
from houblon.lab.lab import Lab
from houblon.lab.state import LabState
from houblon.lab.teardown import collect_garbage, take_down

NAME = "demo"


def up(keep: str, public_key: str) -> dict[str, str]:
    """The demo's lab, up, with everything a site must know of it.

    :param keep: the lab that the caller's site belongs to; any other lab of the name is replaced.
    :param public_key: let in as root on a new host.
    """
    collect_garbage()
    state = LabState.load(NAME)
    if state is not None and state.id != keep:
        take_down(NAME)
        state = None
    if state is None:
        lab = Lab.up(NAME, progress=_say)
        lab.hosts[0].exec(["sh", "-c", "cat >>/root/.ssh/authorized_keys"], input=public_key.encode())
    else:
        lab = Lab.open(NAME)
        if not lab.services.running():
            lab.services.boot()
        if not lab.hosts[0].running():
            _start(lab)
    state = LabState.load(NAME)
    assert state is not None
    return {
        "id": state.id,
        "address": lab.hosts[0].address,
        "domain": lab.domain,
        "directory": lab.acme_directory,
        "ca": lab.acme_ca_bundle.read_text(),
        "roots": lab.issuing_roots(),
    }


def down() -> dict[str, str]:
    """Remove the lab, in whatever state it is."""
    collect_garbage()
    return {"removed": "yes" if take_down(NAME) else ""}


def _start(lab: Lab) -> None:
    """Boot a host that refuses root by now: `LabHost.boot` would wait for root."""
    host = lab.hosts[0]
    host.start()
    deadline = time.monotonic() + 60
    while host.console(["systemctl", "is-active", "ssh"], check=False).returncode != 0:
        if time.monotonic() > deadline:
            raise CannotConnect("the demo's host does not start again", cure="Run `make demo-down`, then `make demo`.")
        time.sleep(0.2)


def _say(line: str) -> None:
    print(f"  {line}", file=sys.stderr)


def main(arguments: list[str]) -> int:
    """Run one command; errors go to standard error as houblon shows them."""
    try:
        command, *rest = arguments
        answer = down() if command == "down" else up(rest[0] if rest else "", sys.stdin.read())
    except HoublonError as error:
        print(f"houblon: {error}", file=sys.stderr)
        return error.exit_code
    print(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
