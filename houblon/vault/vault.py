"""The vault of a site: opening, reading, making and checking secrets. Offline, lazy, no pyinfra."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyrage

from houblon.errors import BadInput
from houblon.vault import admins as adm
from houblon.vault import files, identity, make, trust
from houblon.vault import manifest as man
from houblon.vault import sshsig as sig
from houblon.vault.reader import Entry, Reader, State, today
from houblon.vault.secret import Secret
from houblon.vault.spec import DRAWN, NAME, ROLE, SecretSpec

GENERATIONS = 5
"""How many earlier values of a password are kept."""


@dataclass(frozen=True)
class InitResult:
    """What :meth:`Vault.init` made.

    :param paper_key: to be shown once, written down, and kept nowhere else.
    :param identity_path: the operator's own key.
    :param name: the vault's name, which other admins compare.
    """

    paper_key: Secret
    identity_path: Path
    name: str


class Vault(Reader):
    """The encrypted secrets of one site folder.

    Nothing is read before something is asked for, and no passphrase is asked for before a secret is needed
    in clear or a change must be signed; then it is asked for once.

    :param site_folder: the folder that holds ``site.yaml`` and ``vault/``.
    :param ask: asks a person for a passphrase, given a prompt.
    """

    def __init__(self, site_folder: Path, *, ask: Callable[[str], str] = identity.ask_on_terminal) -> None:
        super().__init__(site_folder)
        self._ask = ask
        self._opened: identity.Opened | None = None
        self._clear: dict[str, bytes] = {}

    # --- making a vault -------------------------------------------------------------------------------

    @classmethod
    def init(
        cls,
        folder: Path,
        admins: Mapping[str, Sequence[str]],
        me: str,
        identity: str,
        passphrase: str | None,
        *,
        ask: Callable[[str], str] | None = None,
    ) -> InitResult:
        """Makes the vault of a site, with a new paper key; see :func:`houblon.vault.init.init_vault`."""
        from houblon.vault.init import init_vault

        return init_vault(folder, admins, me, identity, passphrase, ask)

    def check(self, admins: Iterable[str] | None = None) -> None:
        """Verifies everything that can be verified without a key.

        What is not wrong but should be known is added to :attr:`notices`.

        :param admins: the names in the site file; where the vault's differ, that is a notice.
        :raises BadInput: naming the file at fault and the cure.
        """
        from houblon.vault.changes import check, compare_admins

        self.state()
        with self.lock(shared=True):
            self._known.clear()
            check(self)
            if admins is not None:
                compare_admins(self, admins)

    # --- what needs a key -------------------------------------------------------------------------------

    def open(self) -> identity.Opened:
        """The operator's key, asked for at most once.

        :raises BadInput: no key here opens this vault.
        """
        if self._opened is None:
            admins = self.state().admins
            candidate = identity.find(admins, self.root)
            opened = candidate.open(self._ask)
            if not set(opened.keys.readers) & set(admins.readers):
                raise identity.none_opens(admins, self.root, [candidate])
            self._opened = opened
        return self._opened

    def decrypt(self, name: str) -> bytes:
        """One ``.age`` file, in clear."""
        if name not in self._clear:
            data = self.read(name)
            try:
                self._clear[name] = pyrage.decrypt(data, [self.open().opener])
            except pyrage.DecryptError as error:
                raise BadInput(
                    f"this file does not open with {self.open().file}, though the vault says that it should "
                    f"({error}): it is encrypted for somebody else, or damaged",
                    file=self.root / name,
                    cure="Take it from an older commit that opens, or set the secret again.",
                ) from None
        return self._clear[name]

    def get(self, role: str, name: str) -> Secret:
        """A secret's value.

        :raises BadInput: no such secret, no key, a damaged or replaced file.
        """
        self.entry(role, name)
        return Secret(self.decrypt(f"secrets/{role}/{name}.age"))

    def previous(self, role: str, name: str) -> Secret | None:
        """The value before the last change (it may still open a backup repository, say), or None."""
        return next(iter(self.earlier(role, name)), None)

    def earlier(self, role: str, name: str) -> list[Secret]:
        """The values before, latest first: one of a key, up to `GENERATIONS` of a password.

        A password may be rotated more than once before an apply takes the new one to the host.
        """
        entry = self.entry(role, name)
        file = f"previous/{role}/{name}.age"
        if file not in self.state().manifest.sums:
            return []
        data = self.decrypt(file)
        return [Secret(value) for value in (data.split(b"\n") if entry.about.kind in DRAWN else [data])]

    def known_values(self) -> list[bytes]:
        """All values decrypted or made so far, and each line of those with several: what a masker hides."""
        values = set(self._clear.values())
        for value in list(values):
            lines = [line.strip() for line in value.splitlines()]
            values |= {line for line in lines if len(line) >= 12 and not line.startswith(b"-----")}
        return sorted((value for value in values if value), key=len, reverse=True)

    # --- changing ----------------------------------------------------------------------------------------

    def ensure(self, specs: Iterable[SecretSpec]) -> list[str]:
        """Makes the secrets that are missing, signs once, returns their ``role/name``."""
        specs = list(specs)
        if not self._missing(specs):
            return []
        with self.changing() as state:
            new: dict[str, bytes] = {}
            made = self._missing(specs)
            refuse_given(made)
            for spec in made:
                value = make.make(spec.kind, spec.length, f"houblon-{spec.id}")
                about = man.About(
                    spec.kind, spec.length, "made", today(), state.admins.readers_id, "", spec.description
                )
                new |= self.files_of(spec.role, spec.name, value, about, state.admins)
            self.write(new, state.chain)
        return [spec.id for spec in made]

    def rotate(self, ids: Iterable[tuple[str, str]]) -> list[str]:
        """Makes new values for secrets that houblon made; the old ones become ``previous``.

        :raises BadInput: one was set by hand, so that only its origin can change it.
        """
        with self.changing() as state:
            new: dict[str, bytes] = {}
            done = []
            for role, name in dict.fromkeys(ids):
                entry = self.entry(role, name)
                if entry.about.origin == "hand":
                    raise BadInput(
                        f"secret {entry.id} was set by hand: houblon cannot make a new one",
                        file=self.root,
                        cure=f"Change it where it comes from, then `houblon secret set {entry.id}`.",
                    )
                new |= self.rotated(entry, state.admins)
                done.append(entry.id)
            self.write(new, state.chain)
        return done

    def set(self, role: str, name: str, value: str, *, description: str = "", kind: str = "password") -> None:
        """Stores a value that a person chose or another service gave.

        :param kind: of a secret that is not there yet. Whether one that was ``given`` is weak was not ours to say.

        :raises BadInput: a name that cannot be, a weak password, a malformed key.
        """
        if not ROLE.fullmatch(role) or not NAME.fullmatch(name):
            raise BadInput(
                f"{role}/{name} cannot be a secret's name", cure="Write ROLE/NAME: a-z, 0-9, - _ ."
            )
        data = value.encode(errors="surrogateescape")
        known = f"about/{role}/{name}" in self.state().manifest.sums
        kind = self.entry(role, name).about.kind if known else kind
        if kind == "given":
            make.refuse_unfit(value, f"the value for {role}/{name}")
        elif kind in DRAWN:
            make.refuse_weak(value, f"the value for {role}/{name}")
        make.public_half(kind, data, "")
        with self.changing() as state:
            old = self.entry(role, name).about if known else None
            about = man.About(kind, len(value), "hand", today(), state.admins.readers_id, "",
                              description or (old.description if old else ""))  # fmt: skip
            self.write(self.files_of(role, name, data, about, state.admins, keep=known), state.chain)

    def rotated(self, entry: Entry, admins: adm.Admins) -> dict[str, bytes]:
        """The files of a secret with a new value of the same kind."""
        value = make.make(entry.about.kind, entry.about.length, f"houblon-{entry.id}")
        about = man.About(entry.about.kind, entry.about.length, "made", today(), admins.readers_id, "",
                          entry.about.description)  # fmt: skip
        return self.files_of(entry.role, entry.name, value, about, admins, keep=True)

    def files_of(
        self, role: str, name: str, value: bytes, about: man.About, admins: adm.Admins, *, keep: bool = False
    ) -> dict[str, bytes]:
        """All files of a secret, encrypted to these admins; ``keep``: its value so far as ``previous``."""
        secret = f"secrets/{role}/{name}.age"
        result = {f"about/{role}/{name}": about.data}
        if keep and self.decrypt(secret) != value:
            values = [self.decrypt(secret)]
            if about.kind in DRAWN:
                values += [old.reveal_bytes() for old in self.earlier(role, name)][: GENERATIONS - 1]
            result[f"previous/{role}/{name}.age"] = encrypt(b"\n".join(values), admins)
        result[secret] = encrypt(value, admins)
        public = make.public_half(about.kind, value, f"houblon-{role}-{name}")
        if public is not None:
            result[f"public/{role}/{name}.pub"] = f"{public}\n".encode()
        self._clear[f"new:{secret}:{len(self._clear)}"] = value
        return result

    @contextmanager
    def changing(self) -> Iterator[State]:
        """One change: the key first (a person may be asked), then the lock, then the state afresh."""
        self.state()
        self.open()
        with self.lock():
            self.forget()
            yield self.state()

    def forget(self) -> None:
        """Forgets what was read, so that the disk is read again. Clear values stay, for the masker."""
        self._known.clear()
        self._clear = {f"old:{i}": value for i, value in enumerate(dict.fromkeys(self._clear.values()))}

    def write(
        self,
        new: Mapping[str, bytes],
        chain: list[adm.Link],
        sums: Mapping[str, str] | None = None,
        serial: int = 0,
    ) -> None:
        """Signs and puts in place. Call it inside :meth:`changing`.

        :param chain: with its new last list, if that changes (the caller puts its file among ``new``).
        :param sums: of the files that stay, by default those of the state so far.
        """
        known = self._known.get("now")
        if sums is None or not serial:
            assert known is not None
            sums = known.manifest.sums if sums is None else sums
            serial = serial or known.manifest.serial + 1
        listed = {name: man.sha256(data) for name, data in new.items() if not name.startswith("admins/")}
        manifest = man.Manifest(serial, chain[-1].sha256, today(), {**sums, **listed})
        signature = sig.sign(self.open().signing, manifest.data, man.NAMESPACE)
        files.write(self.root, {**new, files.MANIFEST: manifest.data, files.SIGNATURE: signature})
        self.forget()
        trust.remember(trust.state(chain, manifest, self.root))


def encrypt(value: bytes, admins: adm.Admins) -> bytes:
    """An age file that each of these admins opens."""
    sealed: bytes = pyrage.encrypt(value, [adm.recipient(reader) for reader in admins.readers])
    return sealed


def refuse_given(missing: Sequence[SecretSpec]) -> None:
    """:raises BadInput: naming the secrets among these that only a person can give."""
    wanted = [spec for spec in missing if spec.kind == "given"]
    if wanted:
        raise BadInput(
            "the vault lacks what only you can give it: "
            + ", ".join(f"{spec.id} ({spec.description})" for spec in wanted),
            cure=f"Run `houblon secret set {wanted[0].id}`; it asks for the value.",
        )
