"""What is noticed: damage, replacement, rollback, strangers' signatures; and how merges are signed."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from vaultkit import SPECS, KeyMaker, Site, never, public

from houblon.errors import BadInput
from houblon.vault import SecretSpec, Vault, changes, trust
from houblon.vault.admins import Keys
from houblon.vault.files import COMMIT, STAGING

SECRET = "secrets/nextcloud/admin.age"


def files_of(vault: Path) -> list[Path]:
    return sorted(path for path in vault.rglob("*") if path.is_file())


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_flipped_byte_is_noticed(site: Site, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(files_of(site.vault)), label="file")
    good = path.read_bytes()
    where = data.draw(st.integers(0, len(good) - 1), label="byte")
    flip = data.draw(st.integers(1, 255), label="flip")
    bad = bytearray(good)
    bad[where] ^= flip
    path.write_bytes(bad)
    try:
        with pytest.raises(BadInput) as error:
            site.open().check()
        assert error.value.cure and error.value.file
    finally:
        path.write_bytes(good)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_cut_or_longer_file_is_noticed(site: Site, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(files_of(site.vault)), label="file")
    good = path.read_bytes()
    path.write_bytes(
        good[: data.draw(st.integers(0, len(good) - 1))] if data.draw(st.booleans()) else good + b"\n"
    )
    try:
        with pytest.raises(BadInput):
            site.open().check()
    finally:
        path.write_bytes(good)


def _replace(path: Path, data: bytes) -> None:
    path.unlink()
    path.write_bytes(data)


def _age_to_stranger(path: Path) -> None:
    stranger = subprocess.run(["age-keygen"], capture_output=True, text=True, check=True).stdout
    line = next(part for part in stranger.split() if part.startswith("age1"))
    data = subprocess.run(["age", "-r", line], input=b"planted", capture_output=True, check=True).stdout
    _replace(path, data)


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        (SECRET, lambda p: _replace(p, b""), "it is empty"),
        (SECRET, lambda p: _replace(p, os.urandom(300)), "it is no age file"),
        (SECRET, lambda p: _replace(p, (p.parents[1] / "polls/session.age").read_bytes()), "than the one that alice"),
        (SECRET, _age_to_stranger, "damaged or was replaced"),
        (SECRET, lambda p: _replace(p, b"x" * 1_100_000), "no file of a vault is larger"),
        (SECRET, lambda p: p.unlink(), "is missing"),
        (SECRET, lambda p: (p.unlink(), p.symlink_to("/etc/hostname")), "symbolic link"),
        (SECRET, lambda p: (p.unlink(), p.mkdir()), "not a plain file"),
        (SECRET, lambda p: (p.unlink(), os.mkfifo(p)), "not a plain file"),
        ("secrets/nextcloud", lambda p: (p.rename(p.with_name("moved")), p.symlink_to("moved")), "symbolic link"),
        ("secrets/nextcloud", lambda p: (shutil.rmtree(p), p.write_text("x")), "this file has no place|missing"),
        ("manifest", lambda p: p.unlink(), "is missing"),
        ("manifest.sig", lambda p: p.unlink(), "is missing"),
        ("manifest", lambda p: _replace(p, b"<<<<<<< HEAD\na\n=======\nb\n>>>>>>> x\n"), "merge conflict"),
        ("manifest", lambda p: _replace(p, b"\xff\xfe"), "list is damaged"),
        ("admins/0001", lambda p: p.unlink(), "is missing"),
        ("admins/0002", lambda p: p.write_text("x"), "list of admins is damaged"),
        ("admins/0007", lambda p: p.write_text("x"), "no place in a vault"),
        ("secrets/nextcloud/new.age", lambda p: p.write_text("x"), "nobody signed for it"),
        ("notes.txt", lambda p: p.write_text("x"), "no place in a vault"),
        ("", lambda p: (p.rename(p.with_name("v")), p.symlink_to("v")), "not a folder"),
        ("", lambda p: (shutil.rmtree(p), p.write_text("x")), "not a folder"),
        ("", shutil.rmtree, "has no vault"),
    ],
)  # fmt: skip
def test_damage_is_named_with_its_file_and_cure(
    site: Site, name: str, change: Callable[[Path], object], words: str
) -> None:
    path = site.vault / name
    change(path)
    with pytest.raises(BadInput, match=words) as error:
        site.open().check()
    assert error.value.exit_code == 2 and error.value.cure
    assert name.split("/")[-1] in str(error.value.file)
    assert "planted" not in str(error.value)


def test_get_reads_only_what_was_signed(site: Site) -> None:
    vault = site.open()
    vault.check()
    _age_to_stranger(site.vault / SECRET)
    with pytest.raises(BadInput, match="damaged or was replaced"):
        vault.get("nextcloud", "admin")


def forge(site: Site, key: Path, *, chain: bool) -> None:
    """Signs the folder as somebody who may write to the repository, with a key of his own."""

    def sign(name: str, space: str) -> None:
        (site.vault / f"{name}.sig").unlink(missing_ok=True)
        subprocess.run(
            ["ssh-keygen", "-q", "-Y", "sign", "-n", space, "-f", key, site.vault / name],
            check=True,
            capture_output=True,
        )

    if chain:
        sign("admins/0001", "houblon-vault-admins")
    sign("manifest", "houblon-vault")


def test_a_strangers_signature_is_refused(site: Site, ssh_key: KeyMaker) -> None:
    forge(site, ssh_key("mallory"), chain=False)
    with pytest.raises(BadInput, match=r"signed by a key of none of its admins .SHA256:"):
        site.open().check()
    forge(site, site.alice, chain=False)
    site.open().check()


def test_a_stranger_cannot_add_himself_to_the_admins(site: Site, ssh_key: KeyMaker) -> None:
    mallory = ssh_key("mallory")
    line = " ".join(public(mallory).split()[:2])
    last = (site.vault / "admins/0001").read_text()
    head = f"houblon-vault-admins 1\nnumber 2\nprevious {site.open().state().chain[0].sha256}\n"
    lines = sorted([*last.splitlines()[3:], f"reader mallory {line}", f"signer mallory {line}"])
    (site.vault / "admins/0002").write_text(head + "\n".join(lines) + "\n")
    subprocess.run(
        ["ssh-keygen", "-q", "-Y", "sign", "-n", "houblon-vault-admins", "-f", mallory, site.vault / "admins/0002"],
        check=True, capture_output=True,
    )  # fmt: skip
    with pytest.raises(BadInput, match="signed by a key of nobody in the list before"):
        site.open().check()
    with pytest.raises(BadInput, match="signed by a key of nobody in the list before"):
        changes.review(site.open())


def test_a_vault_replaced_as_a_whole_is_noticed_where_it_was_known(site: Site, ssh_key: KeyMaker) -> None:
    mallory = ssh_key("mallory")
    shutil.rmtree(site.vault)
    site.on("mallory", mallory)
    Vault.init(
        site.folder, {"alice": [public(site.alice)], "mallory": [public(mallory)]}, "mallory", "ssh", None
    )
    Vault(site.folder, ask=never).ensure(SPECS)
    site.on("alice", site.alice)
    for call in (lambda: site.open().check(), lambda: site.open().get("nextcloud", "admin"),
                 lambda: site.open().ensure([SecretSpec("a", "b")]), lambda: site.open().public("a", "b")):  # fmt: skip
        with pytest.raises(BadInput, match="another vault than the one that was here"):
            call()
    changes.accept(site.open())
    site.open().check()


def test_the_first_sight_of_a_vault_is_said(site: Site, ssh_key: KeyMaker) -> None:
    site.on("bob", site.bob)
    vault = site.open()
    vault.check()
    assert site.made.name in vault.notices[0] and "alice, bob" in vault.notices[0]
    again = site.open()
    again.check()
    assert again.notices == []


def test_a_rollback_is_noticed(site: Site, tmp_path: Path) -> None:
    shutil.copytree(site.vault, tmp_path / "old")
    site.open().rotate([("nextcloud", "admin")])
    shutil.rmtree(site.vault)
    shutil.copytree(tmp_path / "old", site.vault)
    with pytest.raises(BadInput, match=r"older than the last one seen here .serial 2, seen 3"):
        site.open().check()
    with pytest.raises(BadInput, match="older than the last one seen here"):
        changes.review(site.open())
    changes.accept(site.open())
    site.open().check()


def test_a_chain_set_back_is_noticed(site: Site, tmp_path: Path, ssh_key: KeyMaker) -> None:
    shutil.copytree(site.vault, tmp_path / "old")
    carol = public(ssh_key("carol"))
    line = " ".join(carol.split()[:2])
    changes.add_keys(site.open(), "carol", Keys((line,), (line,)))
    shutil.rmtree(site.vault)
    shutil.copytree(tmp_path / "old", site.vault)
    for call in (lambda: site.open().check(), lambda: changes.review(site.open())):
        with pytest.raises(BadInput, match="list of admins was set back or replaced"):
            call()


def test_changes_by_admins_added_since_are_followed(site: Site, ssh_key: KeyMaker) -> None:
    """Bob sees lists 1 and then 3: each step was signed by the set before it."""
    site.on("bob", site.bob).open().check()
    carol = ssh_key("carol")
    line = " ".join(public(carol).split()[:2])
    changes.add_keys(site.on("alice", site.alice).open(), "carol", Keys((line,), (line,)))
    changes.remove(site.on("carol", carol).open(), "alice")
    vault = site.on("bob", site.bob).open()
    vault.check()
    assert (vault.state().signed_by, vault.state().chain[-1].number) == ("carol", 3)
    with pytest.raises(BadInput, match="no key here opens"):
        site.on("alice", site.alice).open().get("nextcloud", "admin")


def test_an_unreadable_memory_is_an_error_and_an_unwritable_one_is_said(site: Site) -> None:
    pin = next((trust.config_folder() / "sites").glob("*.trust"))
    pin.write_text("{")
    with pytest.raises(BadInput, match="what this machine remembers"):
        site.open().check()
    pin.unlink()
    shutil.rmtree(trust.config_folder())
    trust.config_folder().write_text("no folder")
    vault = site.open()
    vault.check()
    assert any("cannot remember" in notice for notice in vault.notices)


# --- merges ---------------------------------------------------------------------------------------------------


def git(folder: Path, *args: str, check: bool = True) -> str:
    run = subprocess.run(
        ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-C", folder, *args],
        capture_output=True,
        text=True,
        check=check,
    )
    return run.stdout + run.stderr


@pytest.fixture
def two(site: Site, tmp_path: Path) -> tuple[Site, Site]:
    """Alice's and bob's clones of the same site."""
    git(site.folder, "init", "-q", "-b", "main")
    git(site.folder, "add", ".")
    git(site.folder, "commit", "-qm", "start")
    other = tmp_path / "bob-clone"
    git(tmp_path, "clone", "-q", str(site.folder), str(other))
    return site, Site(other, site.alice, site.bob, site.made, site.monkeypatch)


def commit(site: Site, message: str) -> None:
    git(site.folder, "add", ".")
    git(site.folder, "commit", "-qm", message)


def test_two_admins_secrets_merge_after_one_signature(two: tuple[Site, Site]) -> None:
    alice, bob = two
    bob.on("bob", bob.bob).open().ensure([SecretSpec("polls", "mail")])
    commit(bob, "bob adds")
    alice.on("alice", alice.alice).open().ensure([SecretSpec("etherpad", "admin")])
    commit(alice, "alice adds")
    assert "CONFLICT" in git(alice.folder, "pull", "-q", "--no-rebase", str(bob.folder), "main", check=False)
    with pytest.raises(BadInput, match=r"nobody signed for it") as error:
        alice.open().check()
    assert "houblon secret resign" in error.value.cure
    seen = changes.review(alice.open())
    assert seen.trusted == {"about/polls/mail": "bob (serial 3)", "secrets/polls/mail.age": "bob (serial 3)"}
    assert seen.unsigned == [] and seen.gone == {}
    assert changes.resign(alice.open(), seen) == []
    commit(alice, "merged")
    alice.open().check()
    assert alice.open().missing([SecretSpec("polls", "mail"), SecretSpec("etherpad", "admin")]) == []
    assert alice.open().state().manifest.serial == 4
    git(bob.folder, "pull", "-q", str(alice.folder), "main")
    bob.on("bob", bob.bob).open().check()


def test_a_secret_made_while_an_admin_was_added_is_encrypted_to_her(
    two: tuple[Site, Site], ssh_key: KeyMaker
) -> None:
    alice, bob = two
    bob.on("bob", bob.bob).open().ensure([SecretSpec("polls", "mail")])
    commit(bob, "bob adds a secret")
    carol = ssh_key("carol")
    line = " ".join(public(carol).split()[:2])
    changes.add_keys(alice.on("alice", alice.alice).open(), "carol", Keys((line,), (line,)))
    commit(alice, "alice adds carol")
    git(alice.folder, "pull", "-q", "--no-rebase", str(bob.folder), "main", check=False)
    with pytest.raises(BadInput):
        alice.open().check()
    assert changes.resign(alice.open(), changes.review(alice.open())) == ["polls/mail"]
    alice.open().check()
    assert alice.on("carol", carol).open().get("polls", "mail").reveal()


def test_resign_names_what_nobody_signed_and_refuses_what_does_not_open(site: Site) -> None:
    good = (site.vault / SECRET).read_bytes()
    _age_to_stranger(site.vault / SECRET)
    seen = changes.review(site.open())
    assert seen.unsigned == [SECRET] and seen.trusted == {}
    with pytest.raises(BadInput, match="does not open with"):
        changes.resign(site.open(), seen)
    (site.vault / SECRET).write_bytes(good)
    with pytest.raises(BadInput, match="changed while you were looking"):
        changes.resign(site.open(), seen)
    site.open().check()


def test_resign_helps_when_the_signed_list_is_lost(site: Site) -> None:
    (site.vault / "manifest").unlink()
    seen = changes.review(site.open())
    assert SECRET in seen.unsigned and seen.serial == 3
    changes.resign(site.open(), seen)
    site.open().check()


def test_leftovers_of_a_cut_off_change_do_not_disturb(site: Site) -> None:
    (site.vault / STAGING / "secrets").mkdir(parents=True)
    (site.vault / STAGING / "secrets/x").write_text("half")
    site.open().check()
    site.open().ensure([SecretSpec("a", "b")])
    assert not (site.vault / STAGING).exists()
    (site.vault / COMMIT).mkdir()
    (site.vault / COMMIT / "evil").write_text("x")
    with pytest.raises(BadInput, match="cut off"):
        site.open().check()
    with pytest.raises(BadInput, match="not what houblon puts there"):
        changes.review(site.open())
    assert not (site.vault / "evil").exists()


def test_two_writers_wait_for_each_other(site: Site) -> None:
    import threading

    errors: list[BaseException] = []

    def add(number: int) -> None:
        try:
            site.open().ensure([SecretSpec("a", f"n{number}")])
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=add, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    site.open().check()
    assert errors == [] and site.open().missing([SecretSpec("a", f"n{n}") for n in range(6)]) == []


def test_a_writer_that_never_ends_is_not_waited_for(site: Site) -> None:
    from houblon.errors import Refused
    from houblon.vault import files

    with (
        files.locked(site.vault),
        pytest.raises(Refused, match="another houblon is changing"),
        files.locked(site.vault, seconds=0.1),
    ):
        pass
