"""All that the host has of one person, streamed into a file on this machine and proved to be whole."""

from __future__ import annotations

import gzip
import hashlib
import os
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import gevent
import paramiko

from houblon.errors import BadInput, CannotConnect, OperationFailed

if TYPE_CHECKING:
    from houblon.connection import Connection

SUMS = "SHA256SUMS"
_BLOCK = 256 * 1024


def export(connection: Connection, script: str, name: str, path: Path) -> int:
    """Run an export script (`houblon.people.services.Services.export_script`) into a new ``tar.gz``, mode 0600.

    :return: the number of files in it.
    :raises BadInput: the file cannot be made.
    :raises OperationFailed: the export failed, or is not whole; then there is no file.
    :raises CannotConnect: the line was lost; likewise.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with (
            os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as raw,
            gzip.GzipFile(filename="", fileobj=raw, mode="wb", compresslevel=6) as packed,
        ):
            stream(connection, script, f"{name}\n".encode(), packed.write)
        with part.open("rb+") as written:
            os.fsync(written.fileno())
        count = proved(part)
        path.hardlink_to(part)
    except OSError as error:
        raise BadInput(
            f"the export cannot be written: {error.strerror}", file=path, cure="Nothing was deleted."
        ) from None
    finally:
        part.unlink(missing_ok=True)
    return count


def stream(connection: Connection, script: str, stdin: bytes, write: Callable[[bytes], object]) -> None:
    """Run a script as root and pass on its standard output as it comes, however much it is.

    :raises OperationFailed: the script failed.
    :raises CannotConnect: the line was lost before its end was known.
    """
    channel = connection.open_channel(script)
    said = bytearray()

    def listen() -> None:
        while chunk := channel.recv_stderr(65536):
            said.extend(chunk[: 10_000 - len(said)])

    listener = gevent.spawn(listen)
    try:
        channel.sendall(stdin)
        channel.shutdown_write()
        while chunk := channel.recv(_BLOCK):
            write(chunk)
        listener.join()
        status = channel.recv_exit_status()
    except (EOFError, TimeoutError, paramiko.SSHException):
        status = -1
    finally:
        listener.kill()
        channel.close()
    if status == -1:
        raise CannotConnect("the line was lost during the export", cure="Nothing was deleted; run the command again.")
    if status != 0:
        text = " ".join(bytes(said).decode(errors="replace").split())[-400:]
        raise OperationFailed(f"the export failed: {text or f'status {status}'}", cure="Nothing was deleted.")


def proved(path: Path) -> int:
    """Read an export to its end and compare every file with its checksum.

    :return: the number of files.
    :raises OperationFailed: when something is missing or differs.
    """
    found: dict[str, str] = {}
    sums: bytes | None = None
    try:
        with gzip.open(path) as packed, tarfile.open(fileobj=packed, mode="r:") as tar:
            for member in tar:
                if not member.isreg() and not member.islnk():
                    continue
                file = tar.extractfile(member)
                assert file is not None
                if member.name == SUMS:
                    sums = file.read()
                    continue
                digest = hashlib.sha256()
                while block := file.read(_BLOCK):
                    digest.update(block)
                    # The connection's heartbeat must go on meanwhile.
                    gevent.sleep(0)
                found[member.name] = digest.hexdigest()
            # tar stops at its own end; the checksum of gzip comes after it.
            while packed.read(_BLOCK):
                gevent.sleep(0)
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise _not_whole(str(error)) from None
    if sums is None:
        raise _not_whole("its list of checksums is missing")
    wanted = dict(line.split("  ", 1)[::-1] for line in sums.decode(errors="surrogateescape").split("\0") if line)
    listed = {os.path.normpath(name): digest for name, digest in wanted.items()}
    have = {os.path.normpath(name): digest for name, digest in found.items()}
    if bad := sorted(name for name in listed.keys() | have.keys() if listed.get(name) != have.get(name)):
        raise _not_whole(f"{bad[0]} is not what the host had" + (f", and {len(bad) - 1} more" if bad[1:] else ""))
    return len(have)


def _not_whole(why: str) -> OperationFailed:
    return OperationFailed(f"the export is not whole: {why}", cure="Nothing was deleted. Run the command again.")
