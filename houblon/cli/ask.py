"""Questions to the person at the keyboard; in scripts, refusals that say what to pass instead."""

from __future__ import annotations

import getpass
import os
import stat
import sys
from pathlib import Path

import gevent.select

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
        return _answer("[y/N] ")

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
        password = path.read_text().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(
            f"cannot read the password: {getattr(error, 'strerror', '') or 'it is no text'}", file=path,
            cure=f"${SUDO_FILE} names a file that holds the sudo password and nothing else.",
        ) from None
    if not password or "\n" in password:
        raise BadInput(
            "this file must hold the sudo password, on one line", file=path, cure=f"${SUDO_FILE} names this file."
        )
    return password


def yes_or_no(question: str) -> bool:
    """A question on the terminal; no terminal means no."""
    if not sys.stdin.isatty():
        return False
    return _answer(f"{question} [y/N] ")


def _answer(prompt: str) -> bool:
    """Yes or no. While a person thinks, the lease must be renewed: `input` alone would stop everything."""
    print(prompt, file=sys.stderr, end="", flush=True)
    # A terminal gives whole lines only, so that what is ready can be read without waiting.
    gevent.select.select([sys.stdin], [], [])
    return sys.stdin.readline().strip().lower() in ("y", "yes", "o", "oui")
