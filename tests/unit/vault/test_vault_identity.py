"""Which key opens a vault, and how each one that cannot is refused."""

from __future__ import annotations

import os
import struct
import subprocess
import traceback
from base64 import b64encode
from pathlib import Path

import pytest
from vaultkit import SPECS, KeyMaker, Site, never, public

from houblon.errors import BadInput
from houblon.vault import SecretSpec, Vault, identity

PHRASE = "planted phrase of test"


class Asked:
    """Answers, and counts the questions."""

    def __init__(self, answer: str) -> None:
        self.answer, self.count = answer, 0

    def __call__(self, prompt: str) -> str:
        self.count += 1
        return self.answer


def test_the_default_identity_is_protected_and_debians_age_reads_it(home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "site"
    made = Vault.init(folder, {"alice": []}, "alice", "age", PHRASE)
    assert made.identity_path == home / ".config/houblon/identity.age"
    assert made.identity_path.stat().st_mode & 0o777 == 0o600
    assert made.identity_path.read_bytes().startswith(b"age-encryption.org/v1\n-> scrypt ")
    asked = Asked(PHRASE)
    vault = Vault(folder, ask=asked)
    vault.check()
    assert vault.missing(SPECS) and asked.count == 0
    vault.ensure(SPECS)
    value = vault.get("nextcloud", "admin").reveal()
    vault.rotate([("polls", "session")])
    assert asked.count == 1
    everything = b"".join(p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())
    assert value.encode() not in everything and b"AGE-SECRET-KEY" not in everything
    assert made.paper_key.reveal() not in repr(made)


def test_a_protected_ssh_key_is_asked_for_once_and_opened_in_memory(
    home: Path, tmp_path: Path, ssh_key: KeyMaker
) -> None:
    key = ssh_key("home/.ssh/id_ed25519", PHRASE)
    before = {p: p.read_bytes() for p in home.rglob("*") if p.is_file()}
    asked = Asked(PHRASE)
    Vault.init(tmp_path / "site", {"alice": [public(key)]}, "alice", "ssh", None, ask=asked)
    vault = Vault(tmp_path / "site", ask=asked)
    vault.ensure(SPECS)
    vault.get("nextcloud", "admin")
    assert asked.count == 2
    assert {p: p.read_bytes() for p in home.rglob("*") if p.is_file() and ".config" not in p.parts} == before
    with pytest.raises(BadInput, match="passphrase does not open this key") as error:
        Vault(tmp_path / "site", ask=Asked("planted wrong one")).get("nextcloud", "admin")
    shown = "".join(traceback.format_exception(error.value))
    assert "planted" not in shown.replace('"planted wrong one"', "")


def test_the_passphrase_file_must_be_private(site: Site, ssh_key: KeyMaker, tmp_path: Path) -> None:
    key = ssh_key("protected", PHRASE)
    Vault.init(tmp_path / "s2", {"carol": [public(key)], "alice": [public(site.alice)]}, "alice", "ssh", None)
    Vault(tmp_path / "s2", ask=never).ensure(SPECS)
    site.monkeypatch.setenv("HOUBLON_IDENTITY", str(key))
    file = tmp_path / "phrase"
    file.write_text(PHRASE + "\n")
    file.chmod(0o644)
    site.monkeypatch.setenv("HOUBLON_PASSPHRASE_FILE", str(file))
    with pytest.raises(BadInput, match=r"others may read this file .mode 0644"):
        Vault(tmp_path / "s2", ask=never).get("nextcloud", "admin")
    file.chmod(0o600)
    assert Vault(tmp_path / "s2", ask=never).get("nextcloud", "admin").reveal()
    file.write_text("\n")
    with pytest.raises(BadInput, match="passphrase file is empty"):
        Vault(tmp_path / "s2", ask=never).get("nextcloud", "admin")


def test_without_a_terminal_nothing_hangs() -> None:
    code = (
        "from houblon.vault.identity import ask_on_terminal\n"
        "from houblon.errors import BadInput\n"
        "try: ask_on_terminal('?')\n"
        "except BadInput as e: print(e)\n"
    )
    import sys

    run = subprocess.run(
        [sys.executable, "-c", code], stdin=subprocess.DEVNULL, capture_output=True, text=True, start_new_session=True,
        timeout=20, check=True,
    )  # fmt: skip
    assert "no terminal to ask on" in run.stdout and "HOUBLON_PASSPHRASE_FILE" in run.stdout


def test_a_vault_that_no_key_here_opens_says_whose_would(site: Site, ssh_key: KeyMaker) -> None:
    stranger = ssh_key("stranger")
    site.on("stranger", stranger)
    with pytest.raises(BadInput) as error:
        site.open().get("nextcloud", "admin")
    text = str(error.value)
    assert "no key here opens this vault" in text and "stranger" in text
    assert "alice (SSH key SHA256:" in text and "bob (SSH key SHA256:" in text and "paper (age1" in text
    site.monkeypatch.delenv("HOUBLON_IDENTITY")
    with pytest.raises(BadInput, match=r"found: no key at all"):
        site.open().get("nextcloud", "admin")


def test_the_key_that_needs_no_passphrase_is_taken_first(site: Site, home: Path, ssh_key: KeyMaker) -> None:
    """An identity of houblon's that is no reader here is not asked for."""
    identity.make_identity(identity.default_file(), None)
    site.monkeypatch.delenv("HOUBLON_IDENTITY")
    (home / ".ssh/id_ed25519").write_bytes(site.bob.read_bytes())
    (home / ".ssh/id_ed25519").chmod(0o600)
    assert site.open().get("nextcloud", "admin").reveal()


def security_key(path: Path) -> None:
    """A file as `ssh-keygen -t ed25519-sk` writes it; its private part is never looked at."""

    def s(data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + data

    public = s(b"sk-ssh-ed25519@openssh.com") + s(os.urandom(32)) + s(b"ssh:")
    blob = (
        b"openssh-key-v1\0"
        + s(b"none")
        + s(b"none")
        + s(b"")
        + struct.pack(">I", 1)
        + s(public)
        + s(b"\0" * 200)
    )
    body = b64encode(blob).decode()
    path.write_text(f"-----BEGIN OPENSSH PRIVATE KEY-----\n{body}\n-----END OPENSSH PRIVATE KEY-----\n")
    path.chmod(0o600)


def test_keys_that_open_nothing_are_refused_with_a_cure(
    site: Site, tmp_path: Path, ssh_key: KeyMaker
) -> None:
    security_key(tmp_path / "sk")
    ssh_key("rsa", "", "rsa", "-b", "2048")
    ssh_key("pem", "", "rsa", "-b", "2048", "-m", "PEM")
    ssh_key("ecdsa", "", "ecdsa")
    damaged = tmp_path / "damaged"
    damaged.write_text("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n")
    for name, data in (("empty", b""), ("binary", os.urandom(300)), ("huge", b"x" * 1_100_000)):
        (tmp_path / name).write_bytes(data)
    open_to_all = tmp_path / "open"
    open_to_all.write_bytes(site.alice.read_bytes())
    for path in (damaged, *(tmp_path / n for n in ("empty", "binary", "huge"))):
        path.chmod(0o600)
    open_to_all.chmod(0o644)
    for name, words in {
        "sk": "security key, which signs but cannot decrypt", "rsa": "type ssh-rsa opens no vault",
        "ecdsa": "opens no vault", "pem": "only OpenSSH's own format", "damaged": "is damaged",
        "empty": "holds no age identity", "binary": "holds no age identity", "huge": "not a plain small file",
        "open": "others may read this file", "absent": "cannot be read: No such file",
    }.items():  # fmt: skip
        site.monkeypatch.setenv("HOUBLON_IDENTITY", str(tmp_path / name))
        with pytest.raises(BadInput, match=words) as error:
            site.open().get("nextcloud", "admin")
        assert error.value.cure and name in str(error.value.file)


def test_init_refuses_what_would_lock_somebody_out(site: Site, tmp_path: Path, ssh_key: KeyMaker) -> None:
    rsa = public(ssh_key("r", "", "rsa", "-b", "2048"))
    alice = public(site.alice)
    for admins, me, words in (
        ({"alice": [alice], "carol": [rsa]}, "alice", "carol has no key that opens the vault"),
        ({"alice": [alice]}, "bob", "bob is not among the admins"),
        ({"paper": [alice]}, "paper", "cannot be an admin's name"),
        ({"alice": [site.alice.read_text().splitlines()[0]]}, "alice", "this is a private key"),
        ({"alice": ["ssh-ed25519 AAAA"]}, "alice", "is not valid"),
        ({"alice": ["command=x " + alice]}, "alice", "is not valid"),
        ({"alice": [public(site.bob)]}, "alice", "none of your SSH public keys"),
    ):
        with pytest.raises(BadInput, match=words):
            Vault.init(tmp_path / "new", admins, me, "ssh", None)
        assert not (tmp_path / "new/vault").exists()
    with pytest.raises(BadInput, match="there is a vault already"):
        Vault.init(site.folder, {"alice": [alice]}, "alice", "ssh", None)
    site.monkeypatch.delenv("HOUBLON_IDENTITY")
    with pytest.raises(BadInput, match="passphrase is refused"):
        Vault.init(tmp_path / "new", {"alice": [alice]}, "alice", "age", "short")


def test_with_an_identity_of_houblons_the_ssh_key_opens_nothing(site: Site, tmp_path: Path) -> None:
    """Or an unprotected SSH key would go past the passphrase."""
    site.monkeypatch.delenv("HOUBLON_IDENTITY")
    folder = tmp_path / "new"
    Vault.init(folder, {"alice": [public(site.alice)]}, "alice", "age", None)
    Vault(folder, ask=never).ensure([SecretSpec("a", "b")])
    site.monkeypatch.setenv("HOUBLON_IDENTITY", str(site.alice))
    with pytest.raises(BadInput, match="no key here opens"):
        Vault(folder, ask=never).get("a", "b")
