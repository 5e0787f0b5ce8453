"""The vault's files on disk: read with suspicion, written all or not at all.

A change is staged whole in ``.staging/``, synced, and renamed to ``.commit/``: from that moment it counts.
Then each file is renamed into place. Killed before the rename, the old vault stands and the leftovers are
swept by the next change; killed after it, :func:`interrupted` is true, and :func:`finish` completes the
moves. It can be killed too. No point needs a key or free disk space to finish.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from houblon.errors import BadInput, Refused

MAX_SIZE = 1024 * 1024
STAGING, COMMIT = ".staging", ".commit"
MANIFEST, SIGNATURE = "manifest", "manifest.sig"
_ROLE, _NAME = r"[a-z][a-z0-9_-]{0,63}", r"[a-z0-9](?:[a-z0-9._-]{0,98}[a-z0-9])?"
LAYOUT = re.compile(
    rf"\.gitattributes|\.gitignore|manifest|manifest\.sig|admins/\d{{4}}(?:\.sig)?"
    rf"|(?:secrets|previous)/{_ROLE}/{_NAME}\.age|about/{_ROLE}/{_NAME}|public/{_ROLE}/{_NAME}\.pub"
)
_GIT = "git checkout -- vault"


def read(root: Path, name: str) -> bytes:
    """One file of the vault.

    :raises BadInput: it is absent, a symlink or on the way through one, not a plain file, over 1 MiB.
    """
    path = root
    for part in PurePosixPath(name).parts:
        path /= part
        try:
            status = path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            raise BadInput(
                "this file of the vault is missing", file=root / name, cure=f"Bring it back: `{_GIT}`."
            ) from None
        if stat.S_ISLNK(status.st_mode):
            raise BadInput(
                "there is a symbolic link in the vault, which could lead anywhere",
                file=path,
                cure="Remove the link and put the file itself there.",
            )
    if not stat.S_ISREG(status.st_mode):
        raise BadInput("this is not a plain file", file=path, cure=f"Remove it, then `{_GIT}`.")
    if status.st_size > MAX_SIZE:
        raise BadInput(
            f"this file has {status.st_size} bytes; no file of a vault is larger than 1 MiB",
            file=path,
            cure=f"Remove it, then `{_GIT}`.",
        )
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as handle:
            return handle.read(MAX_SIZE + 1)
    except OSError as error:
        raise BadInput(
            f"cannot be read: {error.strerror}", file=path, cure="Check its owner and mode."
        ) from None


def walk(root: Path) -> list[str]:
    """Names of all files in the vault, sorted, without what a change under way keeps aside.

    :raises BadInput: a symbolic link anywhere.
    """
    found: list[str] = []
    for folder, folders, names in os.walk(root):
        for name in (*folders, *names):
            path = Path(folder) / name
            if path.is_symlink():
                raise BadInput(
                    "there is a symbolic link in the vault, which could lead anywhere",
                    file=path,
                    cure="Remove the link and put the file itself there.",
                )
        if Path(folder) == root:
            folders[:] = [f for f in folders if f not in (STAGING, COMMIT)]
        found += [(Path(folder) / name).relative_to(root).as_posix() for name in names]
    return sorted(found)


@contextmanager
def locked(root: Path, *, shared: bool = False, seconds: float = 10) -> Iterator[None]:
    """One writer at a time, or many readers, among the processes of this machine.

    :param shared: for reading: waits for a writer, not for other readers.
    :raises Refused: another one holds the vault for longer than ``seconds``.
    """
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        end = time.monotonic() + seconds
        while True:
            try:
                fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= end:
                    raise Refused(
                        "another houblon is changing this vault",
                        file=root,
                        cure="Wait until it is done, then run this again.",
                    ) from None
                time.sleep(0.05)
        yield
    finally:
        os.close(descriptor)


def interrupted(root: Path) -> bool:
    """Whether a change was cut off after it counted and before every file was in place."""
    return os.path.lexists(root / COMMIT)


def write(root: Path, files: Mapping[str, bytes]) -> None:
    """Puts all these files in place, or none. Call it under :func:`locked`.

    :raises Refused: they cannot be written (disk full, no permission); the vault is as it was.
    """
    staging = root / STAGING
    try:
        if os.path.lexists(staging):
            shutil.rmtree(staging)
        staging.mkdir(mode=0o700)
        folders = {staging}
        for name, data in files.items():
            target = staging / name
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            (root / name).parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            folders |= {target.parent, (root / name).parent}
            write_synced(target, data, 0o600 if name.endswith(".age") else 0o644)
        for folder in folders:
            sync_folder(folder)
        staging.replace(root / COMMIT)
    except OSError as error:
        shutil.rmtree(staging, ignore_errors=True)
        raise Refused(
            f"the vault cannot be written: {error.strerror}; it is as it was",
            file=root,
            cure="Free some space or fix the permissions, then run this again.",
        ) from None
    finish(root)


def finish(root: Path) -> None:
    """Moves what a change that counts still keeps aside; does nothing if there is none.

    :raises BadInput: what lies there is nothing that houblon puts there.
    """
    commit = root / COMMIT
    if not os.path.lexists(commit):
        return
    if commit.is_symlink() or not commit.is_dir():
        raise BadInput("this is not what houblon puts there", file=commit, cure="Remove it.")
    sync_folder(root)
    names = walk(commit)
    for name in names:
        if not LAYOUT.fullmatch(name):
            raise BadInput("this is not what houblon puts there", file=commit / name, cure="Remove it.")
    # The signed list last: until it is in place, every reader sees that the change is not finished.
    names.sort(key=lambda name: (name == SIGNATURE, name == MANIFEST, name))
    for name in names:
        (root / name).parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        (commit / name).replace(root / name)
    for folder in {(root / name).parent for name in names}:
        sync_folder(folder)
    shutil.rmtree(commit)
    sync_folder(root)


def write_synced(path: Path, data: bytes, mode: int) -> None:
    """Creates a file with this mode, whatever the umask, and its data on the disk."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as handle:
        os.fchmod(descriptor, mode)
        handle.write(data)
        handle.flush()
        os.fsync(descriptor)


def replace_synced(path: Path, data: bytes, mode: int) -> None:
    """Replaces one file atomically: readers see the old or the new one."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.new")
    try:
        write_synced(temporary, data, mode)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Puts the names in a folder on the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
