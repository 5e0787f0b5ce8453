"""Making a vault."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pyrage

from houblon.errors import BadInput
from houblon.vault import admins as adm
from houblon.vault import files, identity, make, trust
from houblon.vault import manifest as man
from houblon.vault import sshsig as sig
from houblon.vault.reader import GIT_FILES, today
from houblon.vault.secret import Secret
from houblon.vault.vault import InitResult


def init_vault(
    folder: Path,
    admins: Mapping[str, Sequence[str]],
    me: str,
    kind: str,
    phrase: str | None,
    ask: Callable[[str], str] | None,
) -> InitResult:
    """Makes ``vault/`` in a site folder, with a new paper key, signed by ``me``.

    :param admins: SSH public keys of each admin, by name; ``me`` is one of them.
    :param kind: ``age``: houblon's own identity, made unless it is there; ``ssh``: my SSH ed25519 key.
    :param phrase: protects a new age identity (None: unprotected), or opens the key that is there.
    :param ask: asks for the passphrase of a protected key that is there, if ``phrase`` is None.
    :raises BadInput: there is a vault, ``me`` is no admin, a key is malformed or opens no vault.
    """
    root = folder / "vault"
    if os.path.lexists(root):
        raise BadInput("there is a vault already", file=root, cure="Use it, or move it away.")
    if me not in admins:
        raise BadInput(f"{me} is not among the admins ({', '.join(admins)})", cure="Name yourself among them.")
    if kind not in ("age", "ssh"):
        raise BadInput(f"no kind of identity {kind!r}", cure="Take age or ssh.")
    keys: dict[str, adm.Keys] = {}
    for name, lines in admins.items():
        if not adm.ADMIN.fullmatch(name) or name == adm.PAPER:
            raise BadInput(
                f"{name!r} cannot be an admin's name", key="admins", cure="Use a-z, 0-9, dash; not paper."
            )
        keys[name], _ = adm.keys_from(lines, file=None, name=name)
        if name != me or kind == "ssh":
            adm.require(keys[name], name)
    opened = _mine(kind, phrase, keys[me], ask or identity.ask_on_terminal)
    # With an identity of houblon's, my SSH keys are for logging in only: an unprotected one would open
    # the vault past the passphrase.
    keys[me] = opened.keys if kind == "age" else keys[me]
    paper = pyrage.x25519.Identity.generate()
    keys[adm.PAPER], _ = identity.age_keys(paper)

    link = adm.Link(1, "-", adm.Admins(keys))
    manifest = man.Manifest(1, link.sha256, today(), {n: man.sha256(d) for n, d in GIT_FILES.items()})
    content = {
        **GIT_FILES,
        link.file: link.data,
        f"{link.file}.sig": sig.sign(opened.signing, link.data, adm.NAMESPACE),
        files.MANIFEST: manifest.data,
        files.SIGNATURE: sig.sign(opened.signing, manifest.data, man.NAMESPACE),
    }
    folder.mkdir(parents=True, exist_ok=True)
    building = folder / f".vault.{os.getpid()}.new"
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(mode=0o755)
    files.write(building, content)
    building.rename(root)
    files.sync_folder(folder)
    trust.remember(trust.state([link], manifest, root))
    return InitResult(Secret(str(paper).encode()), opened.file, trust.short(link.sha256))


def _mine(kind: str, phrase: str | None, keys: adm.Keys, ask: Callable[[str], str]) -> identity.Opened:
    if kind == "ssh":
        for candidate in identity.candidates():
            if candidate.keys and set(candidate.keys.readers) & set(keys.readers):
                return candidate.open(ask, phrase)
        raise BadInput(
            "none of your SSH public keys has its private half here",
            cure="Let HOUBLON_IDENTITY name the private key, or take an age identity.",
        )
    path = Path(os.environ.get("HOUBLON_IDENTITY") or identity.default_file()).expanduser()
    if not path.exists():
        if phrase is not None:
            make.refuse_weak(phrase, "the passphrase")
        return identity.make_identity(path, phrase)
    return identity.inspect(path).open(ask, phrase)
