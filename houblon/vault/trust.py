"""What this machine remembers of a vault, so that a replaced or older one is noticed.

One small file per vault in ``~/.config/houblon/sites/`` (``$XDG_CONFIG_HOME``), outside the site's
repository: who can write to the repository cannot write here.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from houblon.errors import BadInput, HoublonError
from houblon.vault import files
from houblon.vault.admins import Link
from houblon.vault.manifest import Manifest, sha256


def config_folder() -> Path:
    """``$XDG_CONFIG_HOME/houblon``, by default ``~/.config/houblon``."""
    base = os.environ.get("XDG_CONFIG_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".config") / "houblon"


@dataclass(frozen=True)
class Pin:
    """The last state of a vault that this machine accepted."""

    vault: str
    link: int
    link_sha256: str
    serial: int
    manifest_sha256: str
    paths: list[str]

    @property
    def file(self) -> Path:
        return config_folder() / "sites" / f"{self.vault[:32]}.trust"


def short(vault: str) -> str:
    """The vault's name as people compare it: 32 hexadecimal digits in groups of four."""
    return " ".join(vault[i : i + 4] for i in range(0, 32, 4))


def _load(path: Path) -> Pin:
    try:
        return Pin(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        raise BadInput(
            "what this machine remembers of a vault cannot be read",
            file=path,
            cure="Remove that file, then compare the vault's name with another admin: `houblon admin trust`.",
        ) from None


def pinned(vault: str) -> Pin | None:
    """What is remembered of this vault, or None."""
    path = Pin(vault, 0, "", 0, "", []).file
    return _load(path) if path.exists() else None


def state(chain: list[Link], manifest: Manifest, root: Path) -> Pin:
    """What would be remembered of this state."""
    vault, last = chain[0].sha256, chain[-1]
    known = pinned(vault)
    here = str(root.resolve())
    paths = sorted({here, *(known.paths if known else [])})
    return Pin(vault, last.number, last.sha256, manifest.serial, sha256(manifest.data), paths)


def remember(pin: Pin) -> str:
    """Keeps it; forgets other vaults at the same paths. Returns a notice for the user if that fails."""
    try:
        if pin.file.exists() and _load(pin.file) == pin:
            return ""
        pin.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        for other in _all():
            if other.vault != pin.vault and set(other.paths) & set(pin.paths):
                left = replace(other, paths=sorted(set(other.paths) - set(pin.paths)))
                files.replace_synced(other.file, json.dumps(asdict(left), indent=1).encode(), 0o600)
        files.replace_synced(pin.file, json.dumps(asdict(pin), indent=1).encode(), 0o600)
    except OSError as error:
        return (
            f"cannot remember this vault in {pin.file}: {error.strerror}; a replaced one would not be noticed"
        )
    return ""


def _all() -> list[Pin]:
    folder = config_folder() / "sites"
    found = []
    for path in sorted(folder.glob("*.trust")) if folder.is_dir() else []:
        try:
            found.append(_load(path))
        except HoublonError:
            continue
    return found


def judge(chain: list[Link], manifest: Manifest, root: Path, *, serial: bool = True) -> bool:
    """Compares a verified state with what is remembered.

    :param serial: also refuse an older or a parallel signed list (``resign`` may set that right).
    :returns: True if this vault is seen here for the first time.
    :raises BadInput: the vault was replaced, set back, or went another way than the one known.
    """
    vault, cure = chain[0].sha256, "If this is right, after asking the other admins: `houblon admin trust`."
    pin = pinned(vault)
    if pin is None:
        here = str(root.resolve())
        for other in _all():
            if here in other.paths:
                raise BadInput(
                    f"this is another vault than the one that was here: its name is {short(vault)}, "
                    f"it was {short(other.vault)}",
                    file=root,
                    cure=f"Somebody replaced it as a whole. {cure}",
                )
        return True
    if pin.link > len(chain) or chain[pin.link - 1].sha256 != pin.link_sha256:
        raise BadInput(
            f"the list of admins was set back or replaced: list {pin.link}, known here, is not in it",
            file=root / "admins",
            cure=f"`git pull` brings the newer one. {cure}",
        )
    if serial and manifest.serial < pin.serial:
        raise BadInput(
            f"this vault is older than the last one seen here (serial {manifest.serial}, seen {pin.serial}): "
            "a password that was changed since would come back",
            file=root / files.MANIFEST,
            cure=f"`git pull` brings the newer one. {cure}",
        )
    if serial and manifest.serial == pin.serial and sha256(manifest.data) != pin.manifest_sha256:
        raise BadInput(
            f"two admins changed the vault at the same time (both as serial {pin.serial}), and this is not "
            "the state seen here before",
            file=root / files.MANIFEST,
            cure=f"Merge both with git, then `houblon secret resign`. {cure}",
        )
    return False


def forget(pin: Pin) -> None:
    """Forgets this vault, and that others were at its paths."""
    pin.file.unlink(missing_ok=True)
    for other in _all():
        if set(other.paths) & set(pin.paths):
            left = replace(other, paths=sorted(set(other.paths) - set(pin.paths)))
            files.replace_synced(other.file, json.dumps(asdict(left), indent=1).encode(), 0o600)
