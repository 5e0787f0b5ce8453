"""Questions to the person at the keyboard; in scripts, refusals that say what to pass instead."""

from __future__ import annotations

import getpass
import os
import stat
import sys
from pathlib import Path

from houblon.connect import Asking
from houblon.errors import BadInput

SUDO_FILE = "HOUBLON_SUDO_PASSWORD_FILE"


def at_the_terminal(*, accept_new: bool = False) -> Asking:
    """Ask on the terminal.

    :param accept_new: trust unknown host keys without asking (and pin them); changed ones are still refused.
    """

    def host_key(address: str, kind: str, fingerprint: str) -> bool:
        if accept_new:
            print(f"{address}: pinned its host key {fingerprint} ({kind})", file=sys.stderr)
            return True
        if not sys.stdin.isatty():
            return False
        print(f"First contact with {address}. Its {kind} host key is\n  {fingerprint}", file=sys.stderr)
        print("Is it the one your provider shows (or `ssh-keygen -lf` on the host)?", file=sys.stderr, end=" ")
        return input("[y/N] ").strip().lower() in ("y", "yes", "o", "oui")

    def password(prompt: str) -> str | None:
        if prompt.startswith("sudo") and (path := os.environ.get(SUDO_FILE)):
            return _private_file(Path(path))
        if not sys.stdin.isatty():
            return None
        return getpass.getpass(prompt)

    return Asking(host_key, password)


def _private_file(path: Path) -> str:
    try:
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise BadInput(
                "others may read this password file", file=path, cure=f"Run `chmod 600 {path}`."
            )
        return path.read_text().rstrip("\n")
    except OSError as error:
        raise BadInput(f"cannot read the password: {error.strerror}", file=path) from None


def yes_or_no(question: str) -> bool:
    """A question on the terminal; no terminal means no."""
    if not sys.stdin.isatty():
        return False
    return input(f"{question} [y/N] ").strip().lower() in ("y", "yes", "o", "oui")
