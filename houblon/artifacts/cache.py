"""The operator's cache of verified archives.

A file that has its final name there was verified: its sum, its signature where upstream signs, and its contents. It
gets that name by one rename, from ``<name>.part``, which one process at a time holds locked and which is resumed by the
next. Beside it lies ``<name>.json`` with what was found, so that a large archive is unpacked once. Disks lose bytes,
too: what is about to be handed on is summed again (`damaged`).
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from io import FileIO
from pathlib import Path
from urllib.parse import urlsplit

from houblon.artifacts import archive, signature
from houblon.artifacts.download import Client, DiskFull, Progress, TooLarge, Unavailable, full, write
from houblon.claims import Artifact
from houblon.errors import BadInput, CannotConnect, HoublonError, OperationFailed, Refused

_NAMED = re.compile(r".+-([0-9a-f]{16})")
_CHUNK = 1024 * 1024
_NOTE_BYTES = 64 * 1024


@dataclass(frozen=True)
class Verdict:
    """What is known of a verified archive.

    :param sha256: of the archive.
    :param size: of the archive, in bytes.
    :param unpacked: bytes of its files, unpacked.
    :param members: files, directories and links in it.
    :param listing: what its tree is once unpacked (`archive.Contents`).
    :param signed: upstream's signature of it was checked.
    :param rules: those it was judged by (`archive.RULES`).
    """

    sha256: str
    size: int
    unpacked: int
    members: int
    listing: str
    signed: bool = False
    rules: int = archive.RULES


class Mismatch(Exception):
    """What came is not what was pinned; the text says how it differs."""


def home() -> Path:
    """The cache's directory (XDG base directory specification)."""
    base = os.environ.get("XDG_CACHE_HOME") or ""
    return (Path(base) if base.startswith("/") else Path.home() / ".cache") / "houblon/artifacts"


def place(artifact: Artifact) -> Path:
    """Where an artifact's archive is kept once it is verified."""
    return home() / f"{artifact.name}-{artifact.version}-{artifact.architecture}-{artifact.sha256[:16]}"


def cached(artifact: Artifact) -> Path | None:
    """The verified archive, or None when the cache does not have it. Does not read it.

    One that came when its pin had no signature is not there once it has.
    """
    path = place(artifact)
    if not path.is_file() or (artifact.signature and not _signed(path)):
        return None
    return path


def verdict(artifact: Artifact) -> Verdict:
    """What is known of a cached archive; found out anew when it was never written down for this pin and these rules.

    :raises Refused: it is not in the cache, or not what was pinned; in the latter case it is deleted.
    :raises OperationFailed: it was to be deleted, and cannot be.
    """
    path = place(artifact)
    if cached(artifact) is None:
        raise Refused(
            f"{_called(artifact)} is not in the cache", cure="Get it with `houblon artifacts fetch`.", file=path
        )
    known = _known(path)
    if known and known.sha256 == artifact.sha256 and known.unpacked <= artifact.limit_mb * 1024 * 1024:
        return known
    signed = _signed(path)
    try:
        found = replace(_judged(path, artifact), signed=signed)
    except Mismatch as error:
        _forget(path)
        raise Refused(f"{_called(artifact)} is refused: {error}", cure=_DELETED, file=path) from None
    # Without a note it is found out once more the next time.
    with contextlib.suppress(DiskFull, OSError):
        _note(path, found)
    return found


def damaged(artifacts: Iterable[Artifact]) -> list[Artifact]:
    """Those whose cached archives no longer have the sum that they were verified with; these are deleted.

    Reads them whole: some 200 MB a second. Afterwards they are `missing`, and `refusal` says how to get them.

    :raises OperationFailed: one is damaged and cannot be deleted.
    :raises BadInput: one cannot be read.
    """
    found = []
    for artifact in artifacts:
        path = cached(artifact)
        if path and sha256(path) != artifact.sha256:
            _forget(path)
            found.append(artifact)
    return found


def fetch(artifact: Artifact, key: Path | None, progress: Progress, client: Client | None = None) -> Path:
    """Have an archive in the cache: download it, from one of its addresses, unless it is there.

    :param key: file of the key that must have made its signature, where there is one.
    :raises CannotConnect: no address gives it.
    :raises Refused: what comes is not what was pinned; nothing of it is kept.
    :raises OperationFailed: it cannot be stored.
    """
    used = client or Client()
    if artifact.signature:
        signature.program()
    with _part(artifact) as part:
        if part is None:
            return place(artifact)
        reasons: list[str] = []
        refused = False
        for url in artifact.urls:
            where = urlsplit(url).hostname
            try:
                _from(url, artifact, part, key, progress, used)
                return place(artifact)
            except Unavailable as error:
                reasons.append(f"{where}: {error}")
            except Mismatch as error:
                reasons.append(f"{where}: {error}")
                refused = True
        said = "; ".join(reasons) or "nobody publishes it"
        if refused:
            raise Refused(f"{_called(artifact)} is refused ({said})", cure=_DELETED)
        raise CannotConnect(
            f"{_called(artifact)} cannot be downloaded ({said})", cure=f"Try again, or {by_hand(artifact)}"
        )


def take(artifact: Artifact, source: Path, key: Path | None, signed: bytes = b"") -> Path:
    """Have an archive in the cache that was downloaded by other means.

    :param signed: its detached signature, where upstream signs.
    :raises Refused: it is not what was pinned.
    :raises BadInput: it cannot be read.
    :raises OperationFailed: it cannot be stored.
    """
    with _part(artifact) as part:
        if part is None:
            return place(artifact)
        part.truncate(0)
        _memory(artifact).unlink(missing_ok=True)
        try:
            with source.open("rb") as stream:
                while chunk := _read(stream, source):
                    write(part, chunk)
            _keep(artifact, part, key, lambda: signed)
        except Mismatch as error:
            raise Refused(f"this is not {_called(artifact)}: {error}", file=source, cure="Nothing was kept.") from None
        except FileNotFoundError:
            raise BadInput("there is no such file", file=source) from None
        return place(artifact)


def sha256(path: Path) -> str:
    """The sum of a file.

    :raises BadInput: it cannot be read.
    """
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise BadInput(f"this file cannot be read: {error.strerror}", cure="Check it with ls -l.", file=path) from None


def stored() -> Iterator[Path]:
    """The archives in the cache."""
    base = home()
    for path in sorted(base.iterdir()) if base.is_dir() else ():
        if _NAMED.fullmatch(path.name) and path.is_file():
            yield path


def intact(path: Path) -> bool:
    """Compute the sum of a cached archive again; what does not match is deleted.

    :raises BadInput: it cannot be read.
    """
    match = _NAMED.fullmatch(path.name)
    if match and (found := sha256(path)).startswith(match[1]) and _noted(path).get("sha256") in (None, found):
        return True
    _forget(path)
    return False


def by_hand(artifact: Artifact) -> str:
    """How to get an archive without this machine's network; the end of a sentence."""
    if not artifact.urls:
        return "say where its archive is: `houblon artifacts import FILE`."
    return f"download {artifact.urls[0]} elsewhere, then `houblon artifacts import FILE`."


# --- inside ----------------------------------------------------------------------------------------------

_DELETED = "It was deleted. Try again later; if it is refused again, tell houblon's and its publisher's people."


def _from(
    url: str, artifact: Artifact, part: FileIO, key: Path | None, progress: Progress, client: Client
) -> None:  # fmt: skip
    limit = artifact.limit_mb * 1024 * 1024
    for _ in range(2):
        resumed = False
        try:
            resumed = client.file(url, part, _memory(artifact), limit, progress)
            return _keep(artifact, part, key, lambda: client.text(artifact.signature))
        except (Mismatch, TooLarge) as error:
            part.truncate(0)
            _memory(artifact).unlink(missing_ok=True)
            # What an earlier run left may be to blame: once more, from the beginning.
            if not resumed:
                raise Mismatch(str(error)) from None
    raise AssertionError


def _keep(artifact: Artifact, part: FileIO, key: Path | None, signed: Callable[[], bytes]) -> None:
    """Judge what came, and give it its name.

    :raises Mismatch: it is not what was pinned.
    """
    path = Path(str(part.name))
    found = _judged(path, artifact)
    if artifact.signature:
        if key is None:
            raise Refused(f"the key for the signature of {_called(artifact)} is missing", key=artifact.key)
        try:
            signature.check(path, signed(), key)
        except signature.Forged as error:
            raise Mismatch(f"its signature is not good ({error})") from None
    os.fsync(part.fileno())
    _note(place(artifact), replace(found, signed=bool(artifact.signature)))
    path.replace(place(artifact))
    _memory(artifact).unlink(missing_ok=True)


def _judged(path: Path, artifact: Artifact) -> Verdict:
    found = sha256(path)
    if found != artifact.sha256:
        raise Mismatch(f"its sha256 is {found}, not {artifact.sha256}")
    try:
        contents = archive.inspect(path, artifact.top, artifact.limit_mb)
    except archive.Evil as error:
        raise Mismatch(str(error)) from None
    return Verdict(found, path.stat().st_size, contents.size, contents.members, contents.listing)


@contextlib.contextmanager
def _part(artifact: Artifact) -> Iterator[FileIO | None]:
    """The file an archive grows in, locked; None when it is (or meanwhile was) completed.

    It stays behind for the next run when the line was cut, and goes when it is refused or the disk is full.
    """
    if cached(artifact):
        yield None
        return
    path = place(artifact).with_name(place(artifact).name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        part = locked(path)
    except OSError as error:
        raise OperationFailed(
            f"the cache cannot be written: {error.strerror}", file=path, cure="Make room, or set $XDG_CACHE_HOME."
        ) from None
    with part:
        try:
            if cached(artifact):
                path.unlink()
                yield None
            else:
                yield part
        except (DiskFull, OSError) as error:
            _drop(artifact, path)
            cause = full(error) if isinstance(error, OSError) else error
            reason = cause.strerror if isinstance(cause, OSError) else "the disk is full"
            raise OperationFailed(
                f"{_called(artifact)} cannot be stored: {reason}", file=path.parent,
                cure="Nothing of it was kept. Make room, or set $XDG_CACHE_HOME to a folder with more.",
            ) from None  # fmt: skip
        except HoublonError as error:
            # The line was cut: what came is worth keeping.
            if not isinstance(error, CannotConnect) or not os.fstat(part.fileno()).st_size:
                _drop(artifact, path)
            raise


def locked(path: Path) -> FileIO:
    """Open a file for writing, made if need be, that no other process has locked; waits for it."""
    while True:
        part = FileIO(str(path), "r+", opener=lambda name, flags: os.open(name, flags | os.O_CREAT, 0o600))
        while True:
            try:
                fcntl.flock(part, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(0.2)  # not LOCK_EX alone, which would hold up every greenlet of this process
        # Whoever had it may have renamed or deleted the file that we have locked.
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_ino == os.fstat(part.fileno()).st_ino:
                return part
        part.close()


def _drop(artifact: Artifact, part: Path) -> None:
    for path in (part, _memory(artifact)):
        path.unlink(missing_ok=True)


def _memory(artifact: Artifact) -> Path:
    return place(artifact).with_name(place(artifact).name + ".part.json")


def _beside(path: Path) -> Path:
    return path.with_name(path.name + ".json")


def _noted(path: Path) -> dict[str, object]:
    try:
        with _beside(path).open("rb") as stream:
            found = json.loads(stream.read(_NOTE_BYTES))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _known(path: Path) -> Verdict | None:
    try:
        found = Verdict(**_noted(path))  # type: ignore[arg-type] # a TypeError, or compared below
        whole = found.rules == archive.RULES and found.size == path.stat().st_size and isinstance(found.unpacked, int)
    except (OSError, TypeError):
        return None
    return found if whole else None


def _signed(path: Path) -> bool:
    """Whether the signature was checked, whatever the rules were for the rest."""
    return _noted(path).get("signed") is True


def _note(path: Path, found: Verdict) -> None:
    try:
        _beside(path).write_text(json.dumps(asdict(found)) + "\n", encoding="utf-8")
    except OSError as error:
        with contextlib.suppress(OSError):
            _beside(path).unlink(missing_ok=True)
        raise full(error) from None


def _forget(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
        _beside(path).unlink(missing_ok=True)
    except OSError as error:
        raise OperationFailed(
            f"this archive is damaged, and cannot be deleted: {error.strerror}", file=path, cure="Delete it by hand."
        ) from None


def _read(stream: object, source: Path) -> bytes:
    try:
        data: bytes = stream.read(_CHUNK)  # type: ignore[attr-defined]
    except OSError as error:
        raise BadInput(f"this file cannot be read: {error.strerror}", file=source) from None
    return data


def _called(artifact: Artifact) -> str:
    return f"{artifact.name} {artifact.version}"
