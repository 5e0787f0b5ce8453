"""Admins come and go: who reads what afterwards, what is rotated, and what a kill at any point leaves."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vaultkit import SPECS, KeyMaker, Site, public

from houblon.errors import BadInput, Refused
from houblon.vault import SecretSpec, Vault, changes, files, siteadmins
from houblon.vault.admins import Keys, keys_from
from houblon.vault.files import COMMIT


def keys_of(key: Path) -> Keys:
    return keys_from([public(key)], file=None, name=key.name)[0]


def opens(key: Path, file: Path) -> bool:
    """Asked of Debian's age, which knows nothing of our signed lists."""
    return subprocess.run(["age", "-d", "-i", key, file], capture_output=True, check=False).returncode == 0


def test_an_added_admin_reads_everything_and_no_value_changes(site: Site, ssh_key: KeyMaker) -> None:
    carol = ssh_key("carol")
    site.open().rotate([("polls", "session")])
    before = {s.id: site.open().get(s.role, s.name) for s in SPECS}
    assert not opens(carol, site.vault / "secrets/nextcloud/admin.age")
    change = changes.add_keys(site.open(), "carol", keys_of(carol))
    assert (change.encrypted, change.rotated, change.by_hand) == (3, [], [])
    for path in site.vault.rglob("*.age"):
        assert opens(carol, path) and opens(site.bob, path)
    vault = site.on("carol", carol).open()
    vault.check()
    assert {s.id: vault.get(s.role, s.name) for s in SPECS} == before
    assert changes.add_keys(vault, "carol", keys_of(carol)).encrypted == 0


def test_removing_an_admin_rotates_what_he_could_read(site: Site) -> None:
    site.open().set("tls", "dns-api", "x7-Kq9.pLm2-Vb4z")
    vault = site.open()
    before = {e.id: vault.get(e.role, e.name) for e in vault.entries()}
    change = changes.remove(vault, "bob")
    assert change.rotated == ["mail/dkim-example.org", "nextcloud/admin", "polls/session"]
    assert change.by_hand == ["tls/dns-api"] and change.encrypted == 4
    vault = site.open()
    vault.check(["alice", "bob"])
    assert "bob is in the site file, and cannot open the vault: `houblon admin add bob`" in vault.notices
    assert any("tls/dns-api is known to someone who left (bob, " in notice for notice in vault.notices)
    for entry in vault.entries():
        same = vault.get(entry.role, entry.name) == before[entry.id]
        assert same == (entry.id == "tls/dns-api")
    assert vault.previous("nextcloud", "admin") == before["nextcloud/admin"]
    for path in site.vault.rglob("*.age"):
        assert opens(site.alice, path) and not opens(site.bob, path)
    vault.set("tls", "dns-api", "Zr5.mTq8-wNc1_Hy6")
    vault = site.open()
    vault.check()
    assert vault.notices == []
    with pytest.raises(BadInput, match="no key here opens"):
        site.on("bob", site.bob).open().get("nextcloud", "admin")


def test_who_cannot_be_removed(site: Site) -> None:
    for name, words in (
        ("alice", "you are alice"),
        ("carol", "carol is no admin"),
        ("paper", "paper is no admin"),
    ):
        with pytest.raises(BadInput, match=words):
            changes.remove(site.open(), name)
    changes.remove(site.open(), "bob")
    with pytest.raises(BadInput, match="alice is the last admin"):
        changes.remove(site.open(), "alice")


def test_a_stolen_key_is_replaced_by_another_admin_or_from_paper(
    site: Site, ssh_key: KeyMaker, tmp_path: Path
) -> None:
    new = ssh_key("new")
    with pytest.raises(BadInput, match="one of those that would be taken away"):
        changes.replace_keys(site.open(), "alice", keys_of(new))
    paper = tmp_path / "paper"
    paper.write_text(site.made.paper_key.reveal().lower())
    paper.chmod(0o600)
    change = changes.replace_keys(site.on("alice2", paper).open(), "alice", keys_of(new))
    assert len(change.rotated) == 3
    for path in site.vault.rglob("*.age"):
        assert opens(new, path) and not opens(site.alice, path)
    site.on("bob", site.bob).open().check()


def test_a_new_paper_key_replaces_the_old(site: Site, tmp_path: Path) -> None:
    key, change = changes.new_paper(site.open())
    assert len(change.rotated) == 3
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_text(site.made.paper_key.reveal())
    new.write_text(key)
    file = site.vault / "secrets/nextcloud/admin.age"
    assert opens(new, file) and not opens(old, file)
    assert key.encode() not in b"".join(p.read_bytes() for p in site.folder.rglob("*") if p.is_file())


# --- killed, and out of space ---------------------------------------------------------------------------------

KILL_BEFORE = ("replace", "rename", "fsync", "mkdir", "rmdir", "unlink", "fchmod", "write")


def run_killed(site: Site, limit: int) -> tuple[int, int]:
    """Removes bob in a child that SIGKILLs itself before its ``limit``-th change of the disk (0: never).

    :returns: the signal it died of, and how many changes it made up to there.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        count = 0

        def counted(real: Callable[..., Any]) -> Callable[..., Any]:
            def call(*args: Any, **kwargs: Any) -> Any:
                nonlocal count
                count += 1
                if count == limit:
                    os.kill(os.getpid(), signal.SIGKILL)
                return real(*args, **kwargs)

            return call

        answer = os.write
        for name in KILL_BEFORE:
            setattr(os, name, counted(getattr(os, name)))
        try:
            changes.remove(Vault(site.folder), "bob")
            answer(writer, str(count).encode())
        finally:
            os._exit(0)
    os.close(writer)
    _, status = os.waitpid(child, 0)
    with os.fdopen(reader) as pipe:
        return os.WTERMSIG(status), int(pipe.read() or limit)


@pytest.mark.parametrize("step", [29, pytest.param(1, marks=pytest.mark.faults)])
def test_killed_at_any_point_the_vault_is_old_or_new_or_says_how_to_complete_it(
    site: Site, tmp_path: Path, step: int
) -> None:
    kept, config = tmp_path / "kept", tmp_path / "kept-config"
    shutil.copytree(site.vault, kept)
    shutil.copytree(tmp_path / "config-alice", config)
    old = {s.id: site.open().get(s.role, s.name) for s in SPECS}
    died, total = run_killed(site, 0)
    assert died == 0 and total > 60
    seen = set()
    for limit in {*range(1, total + 1, step), total}:
        for good, place in ((kept, site.vault), (config, tmp_path / "config-alice")):
            shutil.rmtree(place)
            shutil.copytree(good, place)
        assert run_killed(site, limit)[0] == signal.SIGKILL
        vault = site.open()
        try:
            vault.check()
        except BadInput as error:
            assert (site.vault / COMMIT).exists(), error
            assert "cut off" in error.what and "houblon secret resign" in error.cure
            changes.review(vault)
            vault.check()
            seen.add("resumed")
        else:
            seen.add("old" if vault.get("nextcloud", "admin") == old["nextcloud/admin"] else "new")
        values = {s.id: vault.get(s.role, s.name) for s in SPECS}
        people = vault.state().admins.people
        assert people == ["alice", "bob"] if values == old else people == ["alice"]
        assert all(values[key] != old[key] for key in old) or values == old
        vault.ensure([SecretSpec("a", "b")])
        site.open().check()
    assert seen == {"old", "new", "resumed"}


def test_a_full_disk_leaves_the_old_vault(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = os.fsync, 0

    def full(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 5:
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Refused, match="cannot be written: No space left on device; it is as it was"):
        changes.remove(site.open(), "bob")
    monkeypatch.setattr(os, "fsync", real)
    vault = site.open()
    vault.check()
    assert vault.state().admins.people == ["alice", "bob"]
    assert not (site.vault / files.STAGING).exists()


# --- the site file --------------------------------------------------------------------------------------------


def test_editing_the_site_file_keeps_every_other_byte(site: Site) -> None:
    path = site.folder / "site.yaml"
    before = path.read_text()
    assert siteadmins.names(path) == ["alice", "bob"]
    assert siteadmins.add(path, "carol", "carol@example.org", ["ssh-ed25519 AAAA carol's: key"])
    added = path.read_text()
    extra = '  - name: carol\n    email: "carol@example.org"\n    keys:\n      - "ssh-ed25519 AAAA carol\'s: key"\n'
    assert added.replace(extra, "") == before and "\n# and the host\n" in added
    assert not siteadmins.add(path, "carol", "c@example.org", [])
    assert siteadmins.remove(path, "carol") and path.read_text() == before
    assert siteadmins.remove(path, "alice")
    assert path.read_text().count("# ") == 3 and "# the first of us\n  - name: bob" in path.read_text()
    assert not siteadmins.remove(path, "alice")


@settings(max_examples=8, deadline=None)
@given(
    st.lists(st.sampled_from("abcdefgh"), unique=True, min_size=1),
    st.sampled_from(["", "  ", "    "]),
    st.data(),
)
def test_any_list_of_admins_is_edited_in_place(names: list[str], indent: str, data: st.DataObject) -> None:
    comment = data.draw(st.sampled_from(["", f"{indent}# note\n", "\n", "# far left\n"]))
    items = "".join(f"{indent}- name: {n}\n{indent}  keys:\n{indent}  - k{n}\n{comment}" for n in names)
    text = f"# top\nadmins:\n{items}host: {{a: 1}} # end\n"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "site.yaml"
        path.write_text(text)
        assert siteadmins.add(path, "zoe", "z@example.org", ["k"])
        assert siteadmins.names(path) == [*names, "zoe"]
        assert siteadmins.remove(path, "zoe")
        assert path.read_text() == text
        victim = data.draw(st.sampled_from(names))
        if len(names) > 1:
            assert siteadmins.remove(path, victim)
            assert siteadmins.names(path) == [n for n in names if n != victim]
            assert path.read_text().count("#") == text.count("#")


@pytest.mark.parametrize(
    "text",
    [
        "admins: [{name: a}]\n",
        "admins:\n  a: 1\n",
        "admins: []\n",
        "other: 1\n",
        "- 1\n",
        "",
        "a: [\n",
        "a: 1\na: 2\n",
    ],
)
def test_a_site_file_that_cannot_be_edited_is_left_alone(tmp_path: Path, text: str) -> None:
    path = tmp_path / "site.yaml"
    path.write_text(text)
    with pytest.raises(BadInput) as error:
        siteadmins.add(path, "zoe", "z@example.org", ["k"])
    assert error.value.file == path and error.value.cure
    assert path.read_text() == text
