"""A home of its own for each test, and real keys made by ssh-keygen."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from houblon.vault import SecretSpec, Vault
from houblon.vault.vault import InitResult

KeyMaker = Callable[..., Path]
SITE = """\
# the site of a test
name: Test
admins:
  # the first of us
  - name: alice
    email: "alice@example.org"  # work
    keys:
      - "{alice}"
  - name: bob
    email: bob@example.org
    keys: ["{bob}"]

# and the host
host:
  address: 192.0.2.1
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder with nothing in it."""
    for name in [name for name in os.environ if name.startswith(("HOUBLON", "SSH_", "GIT_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home/.config"))
    (tmp_path / "home/.ssh").mkdir(parents=True, mode=0o700)
    return tmp_path / "home"


def make_key(path: Path, passphrase: str = "", kind: str = "ed25519", *options: str) -> Path:
    subprocess.run(
        ["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-C", path.name, "-f", path, *options], check=True
    )
    return path


@pytest.fixture
def ssh_key(tmp_path: Path) -> KeyMaker:
    """``ssh_key(name, passphrase="", kind="ed25519", *options)`` makes a key pair, gives the private file."""
    return lambda name, *more: make_key(tmp_path / name, *more)


def public(key: Path) -> str:
    return key.with_name(key.name + ".pub").read_text().strip()


@dataclass
class Site:
    """A site of alice and bob, seen from alice's machine; :meth:`on` changes the machine."""

    folder: Path
    alice: Path
    bob: Path
    made: InitResult
    monkeypatch: pytest.MonkeyPatch

    @property
    def vault(self) -> Path:
        return self.folder / "vault"

    def on(self, who: str, key: Path) -> Site:
        """From now on: the machine and key of this person, the folder staying the same."""
        self.monkeypatch.setenv("XDG_CONFIG_HOME", str(self.folder.parent / f"config-{who}"))
        self.monkeypatch.setenv("HOUBLON_IDENTITY", str(key))
        return self

    def open(self) -> Vault:
        return Vault(self.folder, ask=never)


def never(prompt: str) -> str:
    raise AssertionError(f"asked: {prompt}")


SPECS = [
    SecretSpec("nextcloud", "admin", description="first account"),
    SecretSpec("mail", "dkim-example.org", "ed25519-dkim"),
    SecretSpec("polls", "session", "token", 48),
]


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, InitResult]:
    """The site that each test copies: making one takes a while."""
    base = tmp_path_factory.mktemp("template")
    alice, bob = make_key(base / "alice"), make_key(base / "bob")
    folder = base / "site"
    folder.mkdir()
    (folder / "site.yaml").write_text(SITE.format(alice=public(alice), bob=public(bob)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(base / "config-alice"))
        patch.setenv("HOUBLON_IDENTITY", str(alice))
        made = Vault.init(folder, {"alice": [public(alice)], "bob": [public(bob)]}, "alice", "ssh", None)
        Vault(folder, ask=never).ensure(SPECS)
    return base, made


@pytest.fixture
def site(
    home: Path, template: tuple[Path, InitResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Site:
    """A vault of alice (SSH key, no passphrase) and bob, with three secrets."""
    base, made = template
    shutil.copytree(base, tmp_path, dirs_exist_ok=True)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config-alice"))
    monkeypatch.setenv("HOUBLON_IDENTITY", str(tmp_path / "alice"))
    copy = Site(tmp_path / "site", tmp_path / "alice", tmp_path / "bob", made, monkeypatch)
    copy.open().check()
    return copy
