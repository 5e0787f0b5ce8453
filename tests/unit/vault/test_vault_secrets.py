"""Making, reading, changing secrets; and what Debian's own age and ssh-keygen think of the files."""

from __future__ import annotations

import base64
import os
import pickle
import stat
import subprocess
import traceback
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from vaultkit import SPECS, Site, never

from houblon.errors import BadInput
from houblon.vault import Secret, SecretSpec, Vault, make, sshsig
from houblon.vault.spec import KINDS


def test_ensure_makes_each_once_and_missing_writes_nothing(site: Site) -> None:
    vault = site.open()
    more = SecretSpec("nextcloud", "database")
    before = {p: p.read_bytes() for p in site.vault.rglob("*") if p.is_file()}
    assert vault.missing([*SPECS, more, more]) == ["nextcloud/database"]
    assert before == {p: p.read_bytes() for p in site.vault.rglob("*") if p.is_file()}
    old = vault.get("nextcloud", "admin").reveal()
    assert vault.ensure([*SPECS, more, more]) == ["nextcloud/database"]
    assert vault.ensure([*SPECS, more]) == []
    assert site.open().get("nextcloud", "admin").reveal() == old
    assert len(site.open().get("nextcloud", "database").reveal()) == 32
    site.open().check()
    assert stat.S_IMODE((site.vault / "secrets/nextcloud/admin.age").stat().st_mode) == 0o600


def test_planning_and_public_halves_need_no_key(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOUBLON_IDENTITY", "/nonexistent")
    vault = Vault(site.folder, ask=never)
    vault.check()
    assert vault.missing(SPECS) == []
    assert len(base64.b64decode(vault.public("mail", "dkim-example.org"))) == 32
    with pytest.raises(BadInput, match="no public half"):
        vault.public("nextcloud", "admin")
    with pytest.raises(BadInput, match="holds no secret nextcloud/other; it holds nextcloud/admin"):
        vault.public("nextcloud", "other")


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "given"])
def test_every_kind_gives_a_key_and_its_public_half(kind: str) -> None:
    value, planted = make.make(kind, 20, "houblon"), os.urandom(16).hex()
    public = make.public_half(kind, value, "houblon")
    if kind in ("password", "token"):
        assert len(value) == 20 and public is None
    else:
        assert public and "\n" not in public
        with pytest.raises(BadInput, match="not a private key") as error:
            make.public_half(kind, planted.encode(), "x")
        assert planted not in "".join(traceback.format_exception(error.value))


def test_what_only_a_person_can_give_is_never_made(site: Site) -> None:
    vault = site.open()
    spec = SecretSpec("mailer", "relay", "given", description="password of the relay")
    assert vault.missing([spec]) == ["mailer/relay"]
    with pytest.raises(BadInput, match=r"lacks .*mailer/relay \(password of the relay\)") as error:
        vault.ensure([spec, SecretSpec("a", "b")])
    assert "houblon secret set mailer/relay" in error.value.cure
    assert "a/b" not in [entry.id for entry in vault.entries()], "nothing is made by halves"
    for value in ("", " x", "two\nlines"):
        with pytest.raises(BadInput, match="is refused"):
            vault.set("mailer", "relay", value, kind="given")
    vault.set("mailer", "relay", "hop", kind="given")
    assert vault.ensure([spec]) == [] and vault.get("mailer", "relay").reveal() == "hop", "weak, and not ours to judge"
    vault.set("mailer", "relay", "hops")
    assert vault.entry("mailer", "relay").about.kind == "given"


def test_the_programs_that_will_read_the_keys_agree(tmp_path: Path) -> None:
    ssh = make.make("ed25519-ssh", 0, "me")
    (tmp_path / "key").write_bytes(ssh)
    (tmp_path / "key").chmod(0o600)
    shown = subprocess.run(
        ["ssh-keygen", "-y", "-f", tmp_path / "key"], capture_output=True, text=True, check=True
    ).stdout
    assert make.public_half("ed25519-ssh", ssh, "me").split()[:2] == shown.split()[:2]  # type: ignore[union-attr]
    for kind in ("rsa-2048", "ecdsa-p256"):
        value = make.make(kind, 0, "")
        der = subprocess.run(
            ["openssl", "pkey", "-pubout", "-outform", "DER"], input=value, capture_output=True, check=True
        ).stdout
        assert base64.b64encode(der).decode() == make.public_half(kind, value, "")
        assert load_pem_private_key(value, None)


def test_a_secret_does_not_show_itself() -> None:
    secret = Secret("planted-välue".encode())
    for text in (repr(secret), str(secret), f"{secret:>20}", "%s" % secret, str([secret]), f"{secret!r}"):  # noqa: UP031
        assert "planted" not in text and "•••" in text
    assert secret.reveal() == "planted-välue"
    assert secret == Secret("planted-välue".encode()) != Secret(b"other")
    with pytest.raises(TypeError):
        pickle.dumps(secret)
    with pytest.raises(TypeError):
        hash(secret)
    assert not hasattr(secret, "__dict__")


def test_known_values_hold_all_that_was_seen_or_made(site: Site) -> None:
    vault = site.open()
    assert vault.known_values() == []
    value = vault.get("nextcloud", "admin").reveal_bytes()
    vault.ensure([SecretSpec("a", "b")])
    vault.rotate([("nextcloud", "admin")])
    new = vault.get("nextcloud", "admin").reveal_bytes()
    key = vault.get("mail", "dkim-example.org").reveal_bytes()
    made = site.open().get("a", "b").reveal_bytes()
    assert {value, new, key, made, key.splitlines()[1]} <= set(vault.known_values())
    assert b"-----BEGIN PRIVATE KEY-----" not in vault.known_values()


def test_rotate_keeps_the_value_before(site: Site) -> None:
    vault = site.open()
    old, public = vault.get("mail", "dkim-example.org"), vault.public("mail", "dkim-example.org")
    assert vault.previous("mail", "dkim-example.org") is None
    assert vault.rotate([("mail", "dkim-example.org")]) == ["mail/dkim-example.org"]
    assert vault.get("mail", "dkim-example.org") != old == vault.previous("mail", "dkim-example.org")
    assert vault.public("mail", "dkim-example.org") != public
    site.open().check()


def test_a_password_rotated_before_any_apply_is_still_known(site: Site) -> None:
    """The host still has the first one: losing it would lock everybody out of sudo."""
    vault = site.open()
    first = vault.get("nextcloud", "admin")
    vault.rotate([("nextcloud", "admin")])
    second = vault.get("nextcloud", "admin")
    vault.rotate([("nextcloud", "admin")])
    assert site.open().earlier("nextcloud", "admin") == [second, first]
    for _ in range(5):
        vault.rotate([("nextcloud", "admin")])
    assert len(vault.earlier("nextcloud", "admin")) == 5
    site.open().check()


def test_a_value_set_by_hand_is_not_rotated(site: Site) -> None:
    vault = site.open()
    vault.set("tls", "dns-api", "x7-Kq9.pLm2-Vb4z")
    assert site.open().get("tls", "dns-api").reveal() == "x7-Kq9.pLm2-Vb4z"
    with pytest.raises(BadInput, match="set by hand"):
        vault.rotate([("tls", "dns-api")])
    assert site.open().missing([SecretSpec("tls", "dns-api", "token")]) == []
    pem = make.make("ed25519-dkim", 0, "").decode()
    vault.set("mail", "dkim-example.org", pem)
    assert vault.public("mail", "dkim-example.org") == make.public_half("ed25519-dkim", pem.encode(), "")
    with pytest.raises(BadInput, match="not a private key of kind ed25519-dkim"):
        vault.set("mail", "dkim-example.org", "x7-Kq9.pLm2-Vb4z")
    with pytest.raises(BadInput, match="is of kind ed25519-dkim; its role now wants rsa-2048"):
        vault.ensure([SecretSpec("mail", "dkim-example.org", "rsa-2048")])
    site.open().check()


WEAK = [
    "", "short", "elevenchars", "aaaaaaaaaaaaaaaaaaaa", "abababababababab", "abc12abc12abc12abc12", "password1234",
    "motdepasse2026!", "Azertyuiop123", "123456789012345", "qwertyuiop[]12", "with\nnewline-in-it",
    "bell\x07-in-this-one", " leading space here", "passwordpassword", "nextcloudadmin1", "abcdefghijklmnop",
    "zyxwvutsrqponm",
]  # fmt: skip


@pytest.mark.parametrize("value", WEAK)
def test_weak_values_are_refused_with_a_reason_that_does_not_quote_them(site: Site, value: str) -> None:
    with pytest.raises(BadInput, match="is refused: it ") as error:
        site.open().set("tls", "dns-api", value)
    assert len(value) < 6 or value not in str(error.value)
    assert error.value.exit_code == 2


@pytest.mark.parametrize(
    "value", ["x7-Kq9.pLm2-Vb4z", "cheval agrafe pile correcte", "été-à-Besançon-42", "a" * 3 + "Zq8!mW2#tR"]
)
def test_good_values_are_taken(value: str) -> None:
    assert make.weakness(value) is None


def test_what_houblon_draws_is_never_weak() -> None:
    for _ in range(200):
        assert make.weakness(make.make("password", 16, "").decode()) is None


@pytest.mark.parametrize(
    ("role", "name", "more"),
    [
        ("../x", "a", {}), ("a", "../b", {}), ("a", "B", {}), ("a", "x.", {}), ("a", "b", {"kind": "md5"}),
        ("a", "b", {"length": 8}), ("a", "b", {"description": "a\nb"}),
    ],
)  # fmt: skip
def test_a_spec_that_cannot_be_is_refused(role: str, name: str, more: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="secret"):
        SecretSpec(role, name, **more)


def test_debians_age_opens_what_we_wrote(site: Site, tmp_path: Path) -> None:
    file = site.vault / "secrets/nextcloud/admin.age"
    value = site.open().get("nextcloud", "admin").reveal()
    paper = tmp_path / "paper.txt"
    paper.write_text(site.made.paper_key.reveal() + "\n")
    for key in (site.alice, site.bob, paper):
        run = subprocess.run(["age", "-d", "-i", key, file], capture_output=True, text=True, check=True)
        assert run.stdout == value
    site.monkeypatch.setenv("HOUBLON_IDENTITY", str(paper))
    paper.chmod(0o600)
    assert site.open().get("nextcloud", "admin").reveal() == value
    site.open().ensure([SecretSpec("made", "with-paper")])
    site.open().check()
    assert site.open().state().signed_by == "paper"


def test_ssh_keygen_verifies_our_signatures_and_we_its(site: Site, tmp_path: Path) -> None:
    allowed = tmp_path / "allowed"
    allowed.write_text(f"alice {site.alice.with_name('alice.pub').read_text()}")
    manifest = site.vault / "manifest"
    verify = ["ssh-keygen", "-Y", "verify", "-f", allowed, "-I", "alice", "-n", "houblon-vault", "-s"]
    with manifest.open() as data:
        subprocess.run([*verify, site.vault / "manifest.sig"], stdin=data, check=True, capture_output=True)
    copy = tmp_path / "copy"
    copy.write_bytes(manifest.read_bytes())
    subprocess.run(
        ["ssh-keygen", "-q", "-Y", "sign", "-n", "houblon-vault", "-f", site.alice, copy],
        check=True,
        capture_output=True,
    )
    theirs = (tmp_path / "copy.sig").read_bytes()
    line = sshsig.verify(theirs, copy.read_bytes(), "houblon-vault")
    assert (
        sshsig.fingerprint(line)
        in subprocess.run(
            ["ssh-keygen", "-l", "-f", site.alice], capture_output=True, text=True, check=True
        ).stdout
    )
    assert theirs == (site.vault / "manifest.sig").read_bytes()
    for message, space in ((b"other", "houblon-vault"), (copy.read_bytes(), "file")):
        with pytest.raises(sshsig.BadSignature):
            sshsig.verify(theirs, message, space)
