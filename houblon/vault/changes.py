"""Checking a whole vault, changing who opens it, and signing what a merge brought together."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import pyrage

from houblon.errors import BadInput
from houblon.vault import admins as adm
from houblon.vault import files, trust
from houblon.vault import manifest as man
from houblon.vault import sshsig as sig
from houblon.vault.reader import BACK, GIT_FILES, RESIGN, Entry, State, today
from houblon.vault.spec import DRAWN
from houblon.vault.vault import Vault, encrypt

_UNLISTED = (files.MANIFEST, files.SIGNATURE)


def _on_disk(vault: Vault, chain: list[adm.Link]) -> list[str]:
    """Names of the files that a signed list covers.

    :raises BadInput: a file that is none of houblon's.
    """
    links = {name for link in chain for name in (link.file, f"{link.file}.sig")}
    names = []
    for name in files.walk(vault.root):
        if name in links or name in _UNLISTED:
            continue
        if not files.LAYOUT.fullmatch(name) or name.startswith("admins/"):
            raise BadInput(
                "this file has no place in a vault", file=vault.root / name, cure="Move it elsewhere."
            )
        names.append(name)
    return names


def compare_admins(vault: Vault, names: Iterable[str]) -> None:
    """Notices about admins whom the site file names and the vault does not know, and the other way round."""
    in_site, in_vault = list(names), vault.state().admins.people
    vault.notices += [
        f"{name} opens the vault, and is not in the site file: `houblon admin remove {name}`"
        for name in in_vault
        if name not in in_site
    ]
    vault.notices += [
        f"{name} is in the site file, and cannot open the vault: `houblon admin add {name}`"
        for name in in_site
        if name not in in_vault
    ]


def check(vault: Vault) -> None:
    """See :meth:`houblon.vault.vault.Vault.check`."""
    state = vault.state()
    present = set(_on_disk(vault, state.chain))
    for name in sorted(present - state.manifest.sums.keys()):
        raise BadInput(
            "this file is in the vault and nobody signed for it",
            file=vault.root / name,
            cure="If a merge brought it: `houblon secret resign`. If not, remove it and ask who put it there.",
        )
    for name in state.manifest.sums:
        vault.read(name)
    _check_pairs(vault, set(state.manifest.sums), vault.entries())
    for entry in vault.entries():
        if entry.about.readers != state.admins.readers_id:
            raise BadInput(
                "this secret is not encrypted to all admins of today, or to more",
                file=vault.root / f"secrets/{entry.id}.age",
                cure="Encrypt it anew and sign: `houblon secret resign`.",
            )
        if entry.about.exposed:
            vault.notices.append(
                f"secret {entry.id} is known to someone who left ({entry.about.exposed}): "
                f"change it where it comes from, then `houblon secret set {entry.id}`"
            )


def _check_pairs(vault: Vault, names: set[str], entries: list[Entry]) -> None:
    wanted = set(GIT_FILES) & names
    for entry in entries:
        parts = [f"secrets/{entry.id}.age"]
        if entry.about.kind not in DRAWN:
            parts.append(f"public/{entry.id}.pub")
        for part in parts:
            if part not in names:
                raise BadInput("this file of the vault is missing", file=vault.root / part, cure=BACK)
        wanted |= {f"about/{entry.id}", f"previous/{entry.id}.age", *parts}
    for name in sorted(names - wanted):
        raise BadInput(
            "this file belongs to no secret of the vault",
            file=vault.root / name,
            cure=f"Remove it, or bring back the rest of its secret. {RESIGN}",
        )


# --- who opens the vault ------------------------------------------------------------------------------------


@dataclass
class Change:
    """What a change of the admins did.

    :param encrypted: how many secrets were encrypted anew.
    :param rotated: those that have a new value.
    :param by_hand: those that houblon cannot make: they must be changed where they come from.
    """

    encrypted: int = 0
    rotated: list[str] = field(default_factory=list)
    by_hand: list[str] = field(default_factory=list)


def known_to(vault: Vault) -> Change:
    """What taking somebody's keys away would rotate, and what it would leave to be changed by hand."""
    entries = vault.entries()
    return Change(
        len(entries),
        [entry.id for entry in entries if entry.about.origin == "made"],
        [entry.id for entry in entries if entry.about.origin == "hand"],
    )


def add_keys(vault: Vault, name: str, keys: adm.Keys) -> Change:
    """Lets an admin, new or known, open and sign with these keys too; encrypts all secrets anew."""
    _name(name)
    with vault.changing() as state:
        now = state.admins.keys
        if name in now and now[name] | keys == now[name]:
            return Change()
        return _to(vault, state, {**now, name: keys | now[name] if name in now else keys}, leaver="")


def remove(vault: Vault, name: str) -> Change:
    """Takes an admin's keys away, encrypts anew, rotates what he could read.

    :raises BadInput: there is no such admin, he is the last, or he is the one who asks.
    """
    with vault.changing() as state:
        if name not in state.admins.people:
            raise BadInput(
                f"{name} is no admin of this vault; its admins are {', '.join(state.admins.people)}",
                file=vault.root,
                cure="`houblon admin list`.",
            )
        if state.admins.people == [name]:
            raise BadInput(
                f"{name} is the last admin: nobody could change this site afterwards",
                file=vault.root,
                cure="Add another one first: `houblon admin add`.",
            )
        if set(vault.open().keys.signers) & set(state.admins.keys[name].signers):
            raise BadInput(
                f"you are {name}: who removes himself would make, and know, all the new secrets",
                file=vault.root,
                cure="Ask another admin to run this.",
            )
        left = {other: keys for other, keys in state.admins.keys.items() if other != name}
        return _to(vault, state, left, leaver=name)


def replace_keys(vault: Vault, name: str, keys: adm.Keys) -> Change:
    """Puts new keys in place of an admin's lost or stolen ones, encrypts anew, rotates what those read.

    :raises BadInput: there is no such admin, or the key in use is one of those taken away.
    """
    with vault.changing() as state:
        if name not in state.admins.keys:
            raise BadInput(
                f"{name} is no admin of this vault", file=vault.root, cure="Add him without --replace."
            )
        after = adm.Admins({**state.admins.keys, name: keys})
        if not any(after.signer(line) for line in vault.open().keys.signers):
            raise BadInput(
                f"the key you use now ({vault.open().file}) is one of those that would be taken away",
                cure="Let HOUBLON_IDENTITY name the new key (once added), or a file with the paper key.",
            )
        return _to(vault, state, after.keys, leaver=f"{name}'s old key")


def new_paper(vault: Vault) -> tuple[str, Change]:
    """Makes a new paper key in place of the one so far, encrypts anew, rotates what that could read."""
    from houblon.vault.identity import age_keys

    paper = pyrage.x25519.Identity.generate()
    return str(paper), replace_keys(vault, adm.PAPER, age_keys(paper)[0])


def _name(name: str) -> None:
    if not adm.ADMIN.fullmatch(name) or name == adm.PAPER:
        raise BadInput(f"{name!r} cannot be an admin's name", cure="Use a-z, 0-9, dash; not paper.")


def _to(vault: Vault, state: State, keys: Mapping[str, adm.Keys], *, leaver: str) -> Change:
    """The one change of the set of readers and signers.

    :param leaver: who could read until now and no more may: all that he could read is rotated.
    """
    last = state.chain[-1]
    link = adm.Link(last.number + 1, last.sha256, adm.Admins(dict(keys)))
    new = {
        link.file: link.data,
        f"{link.file}.sig": sig.sign(vault.open().signing, link.data, adm.NAMESPACE),
    }
    change = known_to(vault)
    for entry in vault.entries():
        if leaver and entry.about.origin == "made":
            new |= vault.rotated(entry, link.admins)
            continue
        new |= _again(vault, entry, link.admins, f"{leaver}, {today()}" if leaver else entry.about.exposed)
    vault.write(new, [*state.chain, link])
    return change if leaver else Change(change.encrypted)


def _again(vault: Vault, entry: Entry, admins: adm.Admins, exposed: str) -> dict[str, bytes]:
    """The files of a secret with the same value, encrypted to these admins."""
    about = replace(entry.about, readers=admins.readers_id, exposed=exposed)
    new = {f"about/{entry.id}": about.data}
    for name in (f"secrets/{entry.id}.age", f"previous/{entry.id}.age"):
        if name in vault.state().manifest.sums:
            new[name] = encrypt(vault.decrypt(name), admins)
    return new


# --- signing what is there ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Review:
    """What :func:`resign` would sign.

    :param trusted: changed files that an admin's own signed list covers: name -> who signed it.
    :param unsigned: files that stand in nobody's signed list as they are now.
    :param gone: files that a signed list has and the folder has not.
    :param known: the signed lists found, as phrases.
    """

    trusted: dict[str, str]
    unsigned: list[str]
    gone: dict[str, str]
    known: list[str]
    chain: list[adm.Link]
    serial: int


def review(vault: Vault) -> Review:
    """Compares the folder with every signed list at hand: the one in place and git's sides of a merge.

    Completes a change that was cut off, since nothing can be compared before.

    :raises BadInput: the lists of admins are not right, or were set back: those are never signed over.
    """
    if files.interrupted(vault.root):
        with vault.lock():
            files.finish(vault.root)
        vault.forget()
    chain = vault.verified_chain()
    blank = man.Manifest(1, chain[-1].sha256, today(), {})
    trust.judge(chain, blank, vault.root, serial=False)
    lists = _signed_lists(vault, chain)
    present = {name: man.sha256(files.read(vault.root, name)) for name in _on_disk(vault, chain)}
    here = lists[0][1].sums if lists and lists[0][2] else {}
    trusted, unsigned = {}, []
    for name, digest in present.items():
        if here.get(name) == digest or (name in GIT_FILES and digest == man.sha256(GIT_FILES[name])):
            continue
        signer = next(
            (f"{who} (serial {m.serial})" for who, m, _ in lists if m.sums.get(name) == digest), None
        )
        if signer:
            trusted[name] = signer
        else:
            unsigned.append(name)
    gone = {name: who for who, m, _ in reversed(lists) for name in m.sums if name not in present}
    pin = trust.pinned(chain[0].sha256)
    newest = max((m for _, m, _ in lists), key=lambda m: m.serial, default=None)
    if pin and newest and not any(man.sha256(m.data) == pin.manifest_sha256 for _, m, _ in lists):
        # An older list would sign old passwords back in, and nothing in the folder would show it.
        trust.judge(chain, newest, vault.root)
    serial = 1 + max([m.serial for _, m, _ in lists] + [pin.serial if pin else 0])
    known = [f"{who}, serial {m.serial}, {m.date}" for who, m, _ in lists]
    return Review(trusted, unsigned, gone, known, chain, serial)


def _signed_lists(vault: Vault, chain: list[adm.Link]) -> list[tuple[str, man.Manifest, bool]]:
    """Valid signed lists: (signer, list, whether it is the one in place). Invalid ones are left out."""
    found: list[tuple[str, man.Manifest, bool]] = []
    pairs = [(None, True)] + [(rev, False) for rev in (":2:", ":3:", "MERGE_HEAD:", "REBASE_HEAD:", "HEAD:")]
    for rev, in_place in pairs:
        try:
            if rev is None:
                data, signature = (files.read(vault.root, name) for name in _UNLISTED)
            else:
                data, signature = (_git(vault, rev + "./" + name) for name in _UNLISTED)
            manifest = man.Manifest.parse(data)
            line = sig.verify(signature, data, man.NAMESPACE)
        except (BadInput, ValueError):
            continue
        link = next((link for link in chain if link.sha256 == manifest.admins), None)
        who = link.admins.signer(line) if link else None
        if who and all(manifest != other for _, other, _ in found):
            found.append((who, manifest, in_place))
    return found


def _git(vault: Vault, what: str) -> bytes:
    try:
        run = subprocess.run(
            ["git", "-C", str(vault.root), "show", what], capture_output=True, check=False, timeout=20,
            env={**os.environ, "LC_ALL": "C"},
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return b""
    return run.stdout if run.returncode == 0 and len(run.stdout) <= files.MAX_SIZE else b""


def resign(vault: Vault, seen: Review) -> list[str]:
    """Signs the folder as :func:`review` showed it; encrypts anew what today's admins cannot all read.

    :returns: the secrets encrypted anew.
    :raises BadInput: the folder changed since the review, or something in it is no good.
    """
    if vault._opened is None:
        vault._known["now"] = State(seen.chain, man.Manifest(seen.serial, "", "", {}), "")
    vault.open()
    with vault.lock():
        vault.forget()
        now = review(vault)
        if now != seen:
            raise BadInput(
                "the vault changed while you were looking at it", file=vault.root, cure="Look again."
            )
        sums = {n: man.sha256(files.read(vault.root, n)) for n in _on_disk(vault, now.chain)}
        admins = now.chain[-1].admins
        # The folder as it lies, taken as signed, so that what follows reads it with the usual suspicion.
        vault._known["now"] = State(
            now.chain, man.Manifest(now.serial, now.chain[-1].sha256, today(), sums), "you"
        )
        entries = vault.entries()
        _check_pairs(vault, set(sums), entries)
        new: dict[str, bytes] = {n: d for n, d in GIT_FILES.items() if sums.get(n) != man.sha256(d)}
        again = [entry for entry in entries if entry.about.readers != admins.readers_id]
        for entry in entries:
            vault.decrypt(f"secrets/{entry.id}.age")
        for entry in again:
            new |= _again(vault, entry, admins, entry.about.exposed)
        vault.write(new, now.chain, sums, now.serial)
    return [entry.id for entry in again]


def accept(vault: Vault) -> None:
    """Remembers the vault as it is now, whatever was remembered before. After a person compared its name.

    :raises BadInput: it is not right in itself.
    """
    chain = vault.verified_chain()
    pin = trust.pinned(chain[0].sha256)
    state = trust.state(chain, man.Manifest(1, "", "", {}), vault.root)
    trust.forget(state)
    try:
        vault.forget()
        vault.state()
    except BadInput:
        if pin:
            trust.remember(pin)
        raise
