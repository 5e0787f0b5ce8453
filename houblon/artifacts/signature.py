"""Detached OpenPGP signatures, judged by Debian's gpgv (gpgv(1)).

A signature says that upstream made the archive; the sum says that it is the one that was pinned. gpgv takes the key it
is given and no other: no keyring of the operator's, no trust, no network.
"""

from __future__ import annotations

import base64
import binascii
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from houblon.errors import Refused

_ARMOR = re.compile(
    rb"-----BEGIN PGP PUBLIC KEY BLOCK-----\s*?\n(?:[A-Za-z]+: .*\n)*\s*?\n(.*?)\n=?[A-Za-z0-9+/]{0,4}\s*"
    rb"-----END PGP PUBLIC KEY BLOCK-----", re.DOTALL,
)  # fmt: skip


class Forged(Exception):
    """The signature was not made over this archive by this key."""


def check(archive: Path, signature: bytes, key: Path) -> None:
    """Judge a signature.

    :param key: file with the public key (or keys) that may have made it, armored or not.
    :raises Forged: it is not good; the text says what gpgv says.
    :raises Refused: it cannot be judged here.
    """
    gpgv = program()
    with tempfile.TemporaryDirectory(prefix="houblon-") as folder:
        ring, detached = Path(folder, "key"), Path(folder, "signature")
        ring.write_bytes(dearmored(key))
        detached.write_bytes(signature)
        done = subprocess.run(
            [gpgv, "--homedir", folder, "--keyring", str(ring), "--weak-digest", "SHA1", "--status-fd", "1",
             str(detached), str(archive)],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False,
            env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"},
        )  # fmt: skip
    if done.returncode != 0 or "[GNUPG:] VALIDSIG " not in done.stdout:
        said = [line.removeprefix("gpgv: ") for line in done.stderr.splitlines() if line.startswith("gpgv: ")]
        raise Forged(said[-1] if said else f"gpgv ended with status {done.returncode}")


def program() -> str:
    """Where gpgv is.

    :raises Refused: it is not installed.
    """
    found = shutil.which("gpgv")
    if found is None:
        raise Refused("signatures cannot be checked here: there is no gpgv", cure="apt install gpgv")
    return found


def dearmored(key: Path) -> bytes:
    """A key file's packets, without their ASCII armor, which gpgv of Debian 12 does not read (RFC 9580, 6.2).

    :raises Refused: it holds no key.
    """
    try:
        data = key.read_bytes()
        blocks = _ARMOR.findall(data.replace(b"\r\n", b"\n"))
        packets = b"".join(base64.b64decode(b"".join(block.split()), validate=True) for block in blocks)
    except (OSError, binascii.Error) as error:
        raise Refused(f"this key cannot be read: {error}", cure="Export it again (gpg --export).", file=key) from None
    if not blocks and data.startswith(b"-----"):
        raise Refused("this is no OpenPGP public key", cure="Export it with gpg --export --armor.", file=key)
    return packets or data
