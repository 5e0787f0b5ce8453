"""Which releases a site runs: what roles pin, what the site's lock holds back, what a test puts in their place."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from houblon.artifacts import manifest
from houblon.artifacts.manifest import Locked, Test
from houblon.claims import Artifact
from houblon.errors import BadInput, OperationFailed

MANIFEST = "artifacts.toml"
LOCK = "pins.lock"
TEST_PINS = "HOUBLON_TEST_PINS"
"""Environment variable: a manifest that replaces pins, on lab hosts only."""

_HEAD = """\
# The upstream releases that this site runs. Written by `houblon apply` once they run; commit it with the site.
# A newer houblon changes none of them: to move a service to what houblon pins now, delete its entry, plan and apply.
"""


@dataclass(frozen=True)
class Pin:
    """One release of a role: the one the site runs, and the one houblon's manifest has."""

    used: Artifact
    ours: Artifact
    locked: bool

    @property
    def held_back(self) -> bool:
        """The lock keeps the site at another release than the manifest's."""
        return self.locked and self.used.sha256 != self.ours.sha256


class Pins:
    """The pins of one site.

    :param architecture: of the site's host, as Debian names it.
    """

    def __init__(self, folder: Path, architecture: str = "amd64") -> None:
        self.folder = folder
        self.architecture = architecture
        self.seen: dict[str, Pin] = {}
        """By name, every release that a role has asked for."""
        self._lock: dict[str, Locked] | None = None
        self._tests: dict[str, Test] | None = None

    def artifacts(self, role: str, folder: Path) -> Iterator[Artifact]:
        """The releases of a role, in its manifest's order, at the versions this site runs.

        :raises BadInput: the manifest, the lock or the test manifest is damaged, there is none for this host, or the
            lock names a release that the role never pinned.
        """
        for ours in manifest.read(folder / MANIFEST, self.architecture):
            pin = self._pin(role, ours, folder / MANIFEST)
            self.seen[ours.name] = pin
            yield pin.used

    def notes(self) -> Iterator[str]:
        """What `houblon check` should say: releases that the lock holds back."""
        for name, pin in self.seen.items():
            if pin.held_back:
                other = "another archive of it" if pin.used.version == pin.ours.version else pin.ours.version
                yield (
                    f"{name}: {LOCK} keeps this site at {pin.used.version}; houblon now pins {other}. "
                    f"To move, delete [{name}] from {LOCK}, plan and apply."
                )

    def local_file(self, artifact: Artifact) -> Path | None:
        """Where a test manifest says an archive lies on this machine."""
        test = self._test(artifact.name)
        if test is None or not test.file or test.sha256 != artifact.sha256:
            return None
        return Path(os.environ[TEST_PINS]).parent / test.file

    def write_lock(self, claims: Iterable[Artifact], *, only: str | None = None) -> bool:
        """Record what the site runs, after a successful apply; entries of what is gone are dropped.

        :param claims: all releases of the site (``site.claims(Artifact)``).
        :param only: the one role that was applied; what others run stays as it was recorded.
        :return: whether the file changed.
        :raises OperationFailed: it cannot be written.
        :raises BadInput: the one that is there is damaged.
        """
        before, entries = self._locked(), {}
        for claim in sorted(claims, key=lambda c: c.name):
            # What a test put in its place says nothing about what the site shall run.
            if claim.unverified or only not in (None, claim.role):
                if claim.name in before:
                    entries[claim.name] = before[claim.name]
                continue
            entries[claim.name] = Locked.model_validate({
                key: getattr(claim, key)
                for key in ("role", "version", "sha256", "top", "urls", "architecture", "limit_mb")
            })
        self._lock = entries
        return _store(self.folder / LOCK, entries)

    def _pin(self, role: str, ours: Artifact, file: Path) -> Pin:
        if test := self._test(ours.name):
            used = replace(
                ours, version=test.version, urls=test.urls, sha256=test.sha256, top=test.top, signature="", key="",
                architecture="all", limit_mb=test.limit_mb or ours.limit_mb, unverified=True,
            )  # fmt: skip
            return Pin(used, ours, locked=False)
        lock = self._locked().get(ours.name)
        if lock is None or lock.role != role or lock.architecture not in ("all", self.architecture):
            return Pin(ours, ours, locked=False)
        if lock.sha256 == ours.sha256:
            return Pin(ours, ours, locked=True)
        if (lock.version, lock.sha256) not in manifest.earlier(file, ours.name):
            raise BadInput(
                f"this release, {lock.version} with this sum, is none that houblon pins or has pinned",
                cure=f"If a newer houblon wrote it, update this one. Else get {LOCK} back from git, or delete "
                f"[{ours.name}] from it: the next apply then moves to {ours.version}. A release of your own needs a "
                "role of your own.",
                file=self.folder / LOCK, key=f"{ours.name}.sha256",
            )  # fmt: skip
        # Its signature was checked when it was pinned, by a key that may be gone from the role: the sum stands for it.
        held = Artifact(
            name=ours.name, version=lock.version, urls=lock.urls, sha256=lock.sha256, top=lock.top,
            architecture=lock.architecture, limit_mb=lock.limit_mb,
        )  # fmt: skip
        return Pin(held, ours, locked=True)

    def _locked(self) -> dict[str, Locked]:
        if self._lock is None:
            file = self.folder / LOCK
            there = file.exists() or file.is_symlink()
            self._lock = manifest.entries(file, Locked, _LOCK_CURE) if there else {}
        return self._lock

    def _test(self, name: str) -> Test | None:
        if self._tests is None:
            given = os.environ.get(TEST_PINS)
            try:
                self._tests = manifest.entries(Path(given), Test) if given else {}
            except BadInput as error:
                cure = f"{error.cure} (${TEST_PINS} names this file.)".strip()
                raise BadInput(error.what, cure=cure, file=error.file, line=error.line, key=error.key) from None
        return self._tests.get(name)


_LOCK_CURE = (
    f"Get {LOCK} back from the site's git repository. Without it the next apply moves every service to houblon's pins."
)


def _store(file: Path, entries: dict[str, Locked]) -> bool:
    text = _HEAD + "".join(manifest.written(name, entry) for name, entry in entries.items()) if entries else ""
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        if text == (file.read_text("utf-8") if file.exists() else ""):
            return False
        if not text:
            file.unlink()
            return True
        with temporary.open("w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(file)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise OperationFailed(
            f"what the site runs cannot be recorded: {error.strerror}", file=file,
            cure="The host is as the site says. Make the folder writable, then run `houblon apply` again.",
        ) from None  # fmt: skip
    return True
