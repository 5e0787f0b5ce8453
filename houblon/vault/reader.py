"""What a vault tells without any key: its verified state, its secrets' names and public halves."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from houblon.errors import BadInput
from houblon.vault import admins as adm
from houblon.vault import files, trust
from houblon.vault import manifest as man
from houblon.vault import sshsig as sig
from houblon.vault.spec import DRAWN, SecretSpec

GIT_FILES = {
    # Merging signed or encrypted files line by line makes neither side's; and sums do not survive CRLF.
    ".gitattributes": b"* -text -merge\n*.age binary\n",
    ".gitignore": b"/.staging/\n/.commit/\n.*.new\n",
}
RESIGN = "Look at what changed, and sign it: `houblon secret resign`."
BACK = "Bring it back: `git checkout -- vault`. If a merge brought this state: `houblon secret resign`."


@dataclass(frozen=True)
class State:
    """A verified state of the vault: its admins, its signed list, and who signed that."""

    chain: list[adm.Link]
    manifest: man.Manifest
    signed_by: str

    @property
    def admins(self) -> adm.Admins:
        return self.chain[-1].admins


@dataclass(frozen=True)
class Entry:
    """One secret as it shows without any key."""

    role: str
    name: str
    about: man.About

    @property
    def id(self) -> str:
        """``role/name``."""
        return f"{self.role}/{self.name}"


def today() -> str:
    return datetime.now(UTC).date().isoformat()


class Reader:
    """A vault as anybody sees it who may read the folder.

    :param site_folder: the folder that holds ``site.yaml`` and ``vault/``.
    """

    def __init__(self, site_folder: Path) -> None:
        self.root = site_folder / "vault"
        #: What the user should be told, though nothing is wrong.
        self.notices: list[str] = []
        self._known: dict[str, State] = {}
        self._locked = False

    @contextmanager
    def lock(self, *, shared: bool = False) -> Iterator[None]:
        """Keeps writers away, and with ``shared=False`` readers too; does nothing inside another one."""
        if self._locked:
            yield
            return
        with files.locked(self.root, shared=shared):
            self._locked = True
            try:
                yield
            finally:
                self._locked = False

    def state(self) -> State:
        """The verified state, read once.

        :raises BadInput: no vault, an unfinished change, a signature or list that is not right, a rollback.
        """
        if "now" not in self._known:
            self._folder()
            with self.lock(shared=True):
                self._known["now"] = self._load()
        return self._known["now"]

    def exists(self) -> bool:
        """Whether there is a vault folder at all."""
        return os.path.lexists(self.root)

    def verified_chain(self) -> list[adm.Link]:
        """The lists of admins, verified among themselves, not yet against what this machine remembers."""
        self._folder()
        if files.interrupted(self.root):
            raise BadInput(
                "a change of this vault was cut off before all its files were in place; nothing is lost",
                file=self.root / files.COMMIT,
                cure="Complete it: `houblon secret resign`.",
            )
        return adm.read_chain(self.root)

    def _folder(self) -> None:
        if self.root.is_symlink() or (self.exists() and not self.root.is_dir()):
            raise BadInput("the vault is not a folder", file=self.root, cure="Put the folder itself there.")
        if not self.exists():
            raise BadInput("this site has no vault", file=self.root, cure="`houblon init` makes one.")

    def _load(self) -> State:
        chain = self.verified_chain()
        path = self.root / files.MANIFEST
        data = files.read(self.root, files.MANIFEST)
        if b"\n<<<<<<< " in b"\n" + data:
            raise BadInput("git left a merge conflict in the vault's signed list", file=path, cure=RESIGN)
        try:
            manifest = man.Manifest.parse(data)
        except ValueError:
            raise BadInput("the vault's signed list is damaged", file=path, cure=BACK) from None
        signature = files.read(self.root, files.SIGNATURE)
        try:
            line = sig.verify(signature, data, man.NAMESPACE)
        except sig.BadSignature as error:
            raise BadInput(
                f"the signature of the vault's list does not hold: {error}",
                file=self.root / files.SIGNATURE,
                cure=BACK,
            ) from None
        if manifest.admins != chain[-1].sha256:
            raise BadInput(
                f"the signed list was made for another list of admins than {chain[-1].file}",
                file=path,
                cure=BACK,
            )
        signed_by = chain[-1].admins.signer(line)
        if signed_by is None:
            raise BadInput(
                f"the vault's list is signed by a key of none of its admins ({sig.fingerprint(line)})",
                file=self.root / files.SIGNATURE,
                cure=f"Ask who pushed this. {BACK}",
            )
        if trust.judge(chain, manifest, self.root):
            self.notices.append(
                f"this vault is seen here for the first time; its name is {trust.short(chain[0].sha256)}; "
                f"its admins are {', '.join(chain[-1].admins.people)}: compare the name with one of them"
            )
        notice = trust.remember(trust.state(chain, manifest, self.root))
        if notice:
            self.notices.append(notice)
        return State(chain, manifest, signed_by)

    def read(self, name: str) -> bytes:
        """A file of the vault, as it was signed."""
        state = self.state()
        data = files.read(self.root, name)
        if man.sha256(data) == state.manifest.sums.get(name):
            return data
        if not self._locked and man.sha256(files.read(self.root, files.MANIFEST)) != man.sha256(
            state.manifest.data
        ):
            # Another process changed the vault after we had read its list.
            self._known.clear()
            return self.read(name)
        nature = f"its sum is another than the one that {state.signed_by} signed"
        if not data:
            nature = "it is empty"
        elif name.endswith(".age") and not data.startswith(b"age-encryption.org/v1\n"):
            nature = "it is no age file"
        raise BadInput(f"this file is damaged or was replaced: {nature}", file=self.root / name, cure=BACK)

    def entries(self) -> list[Entry]:
        """All secrets, sorted, without their values."""
        found = []
        for name in sorted(self.state().manifest.sums):
            if name.startswith("about/"):
                _, role, secret = name.split("/")
                found.append(Entry(role, secret, man.About.parse(self.read(name), self.root / name)))
        return found

    def entry(self, role: str, name: str) -> Entry:
        """:raises BadInput: there is no such secret."""
        key = f"about/{role}/{name}"
        if key not in self.state().manifest.sums:
            near = ", ".join(e.id for e in self.entries() if e.role == role or e.name == name)
            raise BadInput(
                f"the vault holds no secret {role}/{name}" + (f"; it holds {near}" if near else ""),
                file=self.root,
                cure="`houblon secret list` shows all; `houblon apply` makes those that roles need.",
            )
        return Entry(role, name, man.About.parse(self.read(key), self.root / key))

    def missing(self, specs: Iterable[SecretSpec]) -> list[str]:
        """``role/name`` of those that :meth:`ensure` would make. Writes nothing.

        :raises BadInput: a secret is there with another kind than the role wants.
        """
        return [spec.id for spec in self._missing(specs)]

    def _missing(self, specs: Iterable[SecretSpec]) -> list[SecretSpec]:
        wanted: dict[str, SecretSpec] = {}
        for spec in specs:
            if f"about/{spec.role}/{spec.name}" not in self.state().manifest.sums:
                wanted.setdefault(spec.id, spec)
                continue
            kind = self.entry(spec.role, spec.name).about.kind
            if kind != spec.kind and not {kind, spec.kind} <= DRAWN:
                raise BadInput(
                    f"secret {spec.id} is of kind {kind}; its role now wants {spec.kind}",
                    file=self.root / f"secrets/{spec.role}/{spec.name}.age",
                    cure=f"Remove the files {spec.id}* under vault/ and run `houblon secret resign`; "
                    "the next apply makes a new one.",
                )
        return list(wanted.values())

    def public(self, role: str, name: str) -> str:
        """The public half of a key, in clear.

        :raises BadInput: no such secret, or one without a public half.
        """
        entry = self.entry(role, name)
        if entry.about.kind in DRAWN:
            raise BadInput(
                f"secret {entry.id} is a {entry.about.kind} and has no public half", file=self.root
            )
        return self.read(f"public/{role}/{name}.pub").decode().rstrip("\n")
