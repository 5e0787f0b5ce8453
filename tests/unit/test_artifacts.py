"""Pins of roles, sites and tests; what `houblon artifacts` and `houblon check` make of them."""

from __future__ import annotations

import contextlib
import json
import os
import re
import tarfile
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from toyrelease import Shop, artifact, member, packed, toy
from toysite import make_site

from houblon.artifacts import Pins, cache, manifest, missing, refusal
from houblon.artifacts.pins import LOCK, TEST_PINS
from houblon.claims import Artifact
from houblon.cli.app import run as houblon
from houblon.errors import BadInput, OperationFailed
from houblon.registry import discover
from houblon.settings import Wrong
from houblon.site import Site, load

TOY, NEWER = toy(20_000), toy(30_000)
SUM, NEW_SUM = artifact(TOY).sha256, artifact(NEWER).sha256
PIN = f"""\
[toy]
version = "1.0"
urls = ["https://localhost/toy.tar.gz"]
sha256 = "{SUM}"
top = "toy"
"""
ROLE = """\
from collections.abc import Iterator
from houblon.contract import *

class Toy(Role[Config]):
    metadata = Metadata(title="toy", summary=tr(en="A toy.", fr="Un jouet."), category="toys", licence="CC0-1.0",
                        homepage="https://toy.example")

    def claims(self) -> Iterator[Claim]:
        yield NoBackup(tr(en="Nothing is kept.", fr="Rien n'est gardé."))
        yield from self.artifacts()
"""


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "localhost")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv(TEST_PINS, raising=False)
    return tmp_path / "cache/houblon/artifacts"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A site with a service that pins a release."""
    site = make_site(tmp_path / "site", services="toyapp: {}")
    pin(site, PIN)
    return site


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    shop = Shop(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(shop.roots))
    yield shop
    shop.close()


def pin(site: Path, text: str, role: str = "toyapp") -> None:
    (site / "roles" / role).mkdir(parents=True, exist_ok=True)
    (site / "roles" / role / "__init__.py").write_text(ROLE)
    (site / "roles" / role / "artifacts.toml").write_text(text)


def pinned(site: Site) -> Artifact:
    (found,) = site.claims(Artifact)
    return found


def test_a_role_pins_a_release(folder: Path) -> None:
    assert pinned(load(folder)) == artifact(TOY, "https://localhost/toy.tar.gz")


# --- manifests -------------------------------------------------------------------------------------------

MISTAKES = {
    "a missing key": (PIN.replace('version = "1.0"\n', ""), "toy.version|toy", "`version` is missing"),
    "an unknown key": (PIN + 'sha1 = "x"\n', "toy.sha1", "unknown key `sha1`"),
    "a short sum": (PIN.replace(SUM, SUM[:-1]), "toy.sha256", "no SHA-256 sum"),
    "a sum in capitals": (PIN.replace(SUM, SUM.upper()), "toy.sha256", "no SHA-256 sum"),
    "plain http": (PIN.replace("https:", "http:"), r"toy.urls\[0\]", "no https address"),
    "a path": (PIN.replace("https://localhost", "/tmp"), r"toy.urls\[0\]", "no https address"),
    "a password": (PIN.replace("localhost", "me:pw@localhost"), r"toy.urls\[0\]", "holds no user name"),
    "a blank in an address": (PIN.replace("toy.tar", "t oy.tar"), r"toy.urls\[0\]", "has a sign in it"),
    "an impossible port": (PIN.replace("localhost", "localhost:99999"), r"toy.urls\[0\]", "no address"),
    "no address": (PIN.replace('"https://localhost/toy.tar.gz"', ""), "toy", "urls and sha256 are missing"),
    "one address without a list": (
        PIN.replace('["https://localhost/toy.tar.gz"]', '"https://localhost/t"'), "toy.urls", "must be a list"),
    "a number as version": (PIN.replace('"1.0"', "1.0"), "toy.version", "must be text, and it is a number"),
    "a date as version": (PIN.replace('"1.0"', "2026-01-01"), "toy.version", "this is a date"),
    "a version that climbs": (PIN.replace('"1.0"', '"../1"'), "toy.version", "name of a directory"),
    "a version that is a step up": (PIN.replace('"1.0"', '".."'), "toy.version", "name of a directory"),
    "a top that climbs": (PIN.replace('"toy"', '".."'), "toy.top", "name of a directory"),
    "a name that climbs": (PIN.replace("[toy]", '["../toy"]'), "../toy", "no name of a release"),
    "no table": ('toy = "1.0"\n', "toy", "must be a set of keys"),
    "no limit": (PIN + "limit_mb = 0\n", "toy.limit_mb", "out of bounds"),
    "a signature without a key": (PIN + 'signature = "https://x.example/s"\n', "toy", "a signature needs a key"),
    "a key without a signature": (PIN + 'key = "toy.asc"\n', "toy", "a signature needs a key"),
    "a key that is not there": (
        PIN + 'signature = "https://x.example/s"\nkey = "toy.asc"\n', "toy.key", "toy.asc is missing"),
    "a key somewhere else": (
        PIN + 'signature = "https://x.example/s"\nkey = "../toy.asc"\n', "toy", "no name of a file"),
    "an archive for all and for one": (
        PIN + f'[toy.arm64]\nurls = ["https://x.example"]\nsha256 = "{SUM}"\n', "toy", "one archive for all"),
    "only another architecture": (
        f'[toy]\nversion = "1"\ntop = "toy"\n[toy.arm64]\nurls = ["https://x.example"]\nsha256 = "{SUM}"\n', "toy",
        "no release of toy for amd64"),
    "an empty list for one architecture": (
        f'[toy]\nversion = "1"\ntop = "toy"\n[toy.amd64]\nurls = []\nsha256 = "{SUM}"\n', "toy.amd64.urls",
        "list is too short"),
    "no TOML": ("[toy\n", "", "not valid TOML"),
    "twice the same": (PIN + PIN, "", "not valid TOML"),
    "too deep": ("x = " + "[" * 50_000, "", "not valid TOML"),
    "too much": (PIN + "#" * 300_000, "", "too big"),
}  # fmt: skip


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_in_a_manifest_is_one_error_with_its_place(folder: Path, case: str) -> None:
    text, key, what = MISTAKES[case]
    pin(folder, text)
    with pytest.raises(BadInput, match=what) as caught:
        load(folder)
    assert caught.value.file == folder / "roles/toyapp/artifacts.toml"
    assert (caught.value.key or "") in key.replace("\\", "").split("|")
    assert caught.value.cure
    if case in ("a short sum", "no TOML"):
        assert caught.value.line == (4 if case == "a short sum" else 1)


def test_a_manifest_that_is_not_text_or_not_there_is_said_to_be_so(folder: Path) -> None:
    file = folder / "roles/toyapp/artifacts.toml"
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(BadInput, match="not UTF-8"):
        load(folder)
    file.unlink()
    with pytest.raises(BadInput, match="No such file"):
        load(folder)


def test_the_archive_of_the_hosts_architecture_is_chosen(folder: Path) -> None:
    arms = "".join(
        f'[toy.{name}]\nurls = ["https://x.example/{name}"]\nsha256 = "{found}"\n'
        for name, found in (("amd64", SUM), ("arm64", NEW_SUM))
    )
    pin(folder, '[toy]\nversion = "1.0"\ntop = "toy"\n' + arms)
    here = pinned(load(folder))
    assert (here.architecture, here.sha256) == ("amd64", SUM)
    file = folder / "site.yaml"
    file.write_text(file.read_text().replace("192.0.2.10\n", "192.0.2.10\n  architecture: arm64\n"))
    there = pinned(load(folder))
    assert (there.architecture, there.sha256, there.urls) == ("arm64", NEW_SUM, ("https://x.example/arm64",))
    assert cache.place(here) != cache.place(there)


@given(st.one_of(st.text(max_size=60), st.text(max_size=60).map(lambda rest: f"https://{rest}")))
def test_any_text_is_an_https_address_or_wrong(text: str) -> None:
    with contextlib.suppress(Wrong):
        found = manifest.https(text)
        assert re.fullmatch(r"(?i:https)://[!-~]+", found) and "@" not in urlsplit(found).netloc


@pytest.mark.parametrize("architecture", manifest.ARCHITECTURES)
def test_what_houblons_own_roles_pin_is_in_order(architecture: str) -> None:
    folders = [role.folder for role in discover().roles.values() if (role.folder / "artifacts.toml").is_file()]
    names = [found.name for folder in folders for found in manifest.read(folder / "artifacts.toml", architecture)]
    assert names and len(names) == len(set(names))


TOML = st.recursive(
    st.one_of(st.text(max_size=5), st.integers(), st.booleans(), st.just(SUM), st.just("https://a.example/b")),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(st.sampled_from(
        ["toy", "version", "urls", "sha256", "top", "key", "amd64", "signature"]), inner, max_size=6)), max_leaves=8,
)  # fmt: skip


@given(st.one_of(st.text(max_size=80), st.dictionaries(st.sampled_from(["toy", "a", "../b"]), TOML, max_size=2)))
def test_any_file_is_a_manifest_or_one_error(given_: str | dict[str, Any]) -> None:
    text = given_ if isinstance(given_, str) else "".join(
        f"{json.dumps(key)} = {inline(value)}\n" for key, value in given_.items()
    )
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "artifacts.toml"
        file.write_bytes(text.encode("utf-8", "surrogatepass"))
        for model in (manifest.Release, manifest.Locked, manifest.Test):
            with contextlib.suppress(BadInput):
                assert set(manifest.entries(file, model)) <= {"toy", "a"}


def inline(value: Any) -> str:
    """As TOML writes it on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {inline(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(inline, value)) + "]"
    return json.dumps(value)


def test_two_roles_cannot_pin_one_name(folder: Path) -> None:
    pin(folder, PIN.replace("1.0", "2.0"), role="othertoy")
    file = folder / "site.yaml"
    file.write_text(file.read_text() + "  othertoy: {}\n")
    with pytest.raises(BadInput, match="pin a release toy"):
        load(folder)


# --- the lock --------------------------------------------------------------------------------------------


def locked(folder: Path) -> Site:
    """The site after it was applied."""
    site = load(folder)
    assert site.pins.write_lock(site.claims(Artifact))
    return site


EARLIER = f'earlier = [{{version = "1.0", sha256 = "{SUM}"}}]\n'


def move_on(folder: Path) -> None:
    """What an update of houblon does."""
    newer = PIN.replace("1.0", "2.0").replace(SUM, NEW_SUM).replace("toy.tar.gz", "newer.tar.gz")
    pin(folder, newer + EARLIER)


@pytest.mark.parametrize("change", [
    lambda text: text.replace(SUM, "0" * 64), lambda text: text.replace("1.0", "0.9"),
], ids=["another sum", "another version"])  # fmt: skip
def test_a_lock_names_only_what_houblon_has_pinned(folder: Path, change: Callable[[str], str]) -> None:
    """Else whoever writes to the site's repository would choose what runs, past the role's sum and signature."""
    locked(folder)
    move_on(folder)
    assert pinned(load(folder)).version == "1.0"
    lock = folder / LOCK
    lock.write_text(change(lock.read_text()))
    with pytest.raises(BadInput, match="is none that houblon pins or has pinned") as caught:
        load(folder)
    assert (caught.value.file, caught.value.key) == (lock, "toy.sha256")
    assert "delete [toy] from it: the next apply then moves to 2.0" in caught.value.cure
    lock.unlink()
    assert pinned(load(folder)).version == "2.0"


def test_a_lock_of_a_newer_houblon_is_not_overruled_by_an_older_one(folder: Path) -> None:
    move_on(folder)
    locked(folder)
    pin(folder, PIN)
    with pytest.raises(BadInput, match=r"2\.0 with this sum"):
        load(folder)


def test_what_runs_is_written_down_for_git(folder: Path) -> None:
    locked(folder)
    text = (folder / LOCK).read_text()
    assert tomllib.loads(text) == {
        "toy": {"role": "toyapp", "version": "1.0", "sha256": SUM, "top": "toy",
                "urls": ["https://localhost/toy.tar.gz"]}
    }  # fmt: skip
    assert text.startswith("# The upstream releases that this site runs.")
    assert 'urls = [\n  "https://localhost/toy.tar.gz",\n]\n' in text
    assert (folder / LOCK).stat().st_mode & 0o444 == 0o444
    before = (folder / LOCK).stat()
    site = load(folder)
    assert not site.pins.write_lock(site.claims(Artifact))
    assert (folder / LOCK).stat() == before


def test_an_update_of_houblon_upgrades_nothing_by_itself(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = pinned(locked(folder))
    move_on(folder)
    site = load(folder)
    assert pinned(site) == before
    assert [note for note in site.notes if "toy" in note] == [
        "toy: pins.lock keeps this site at 1.0; houblon now pins 2.0. "
        "To move, delete [toy] from pins.lock, plan and apply."
    ]
    assert not site.pins.write_lock(site.claims(Artifact))
    assert houblon(["artifacts", "list", str(folder)]) == 0
    assert "kept by pins.lock, houblon pins 2.0" in capsys.readouterr().out
    (folder / LOCK).unlink()
    assert pinned(load(folder)).version == "2.0"


def test_what_the_lock_and_the_manifest_agree_on_has_the_manifests_addresses(folder: Path) -> None:
    locked(folder)
    pin(folder, PIN.replace("localhost", "moved.example"))
    site = load(folder)
    assert pinned(site).urls == ("https://moved.example/toy.tar.gz",)
    assert not [note for note in site.notes if "pins.lock" in note]
    assert site.pins.write_lock(site.claims(Artifact))


def test_the_order_in_the_lock_is_that_of_names(folder: Path) -> None:
    claims = [artifact(TOY, name=name) for name in ("zebra", "ape", "cow")]
    pins = Pins(folder)
    pins.write_lock(claims)
    text = (folder / LOCK).read_text()
    assert [line for line in text.splitlines() if line.startswith("[")] == ["[ape]", "[cow]", "[zebra]"]
    assert not Pins(folder).write_lock(reversed(claims))


def test_what_is_gone_is_dropped_and_an_empty_lock_goes(folder: Path) -> None:
    pins = Pins(folder)
    pins.write_lock([artifact(TOY, name="a"), artifact(TOY, name="b")])
    assert Pins(folder).write_lock([artifact(TOY, name="b")])
    assert list(tomllib.loads((folder / LOCK).read_text())) == ["b"]
    assert Pins(folder).write_lock([])
    assert not (folder / LOCK).exists()
    assert not Pins(folder).write_lock([])


def test_an_apply_of_one_role_records_that_role_alone(folder: Path) -> None:
    ours, other = artifact(TOY, name="a"), artifact(TOY, name="b", role="othertoy")
    Pins(folder).write_lock([ours, other])
    Pins(folder).write_lock([replace(ours, version="2.0"), replace(other, version="2.0")], only="othertoy")
    found = tomllib.loads((folder / LOCK).read_text())
    assert {name: entry["version"] for name, entry in found.items()} == {"a": "1.0", "b": "2.0"}


def test_all_that_a_claim_says_comes_back(folder: Path) -> None:
    wanted = artifact(TOY, "https://localhost/a", "https://localhost/b", architecture="arm64", limit_mb=2048)
    Pins(folder).write_lock([replace(wanted, sha256=SUM)])
    pin(folder, PIN.replace(SUM, NEW_SUM) + EARLIER)
    assert [replace(found, role="toyapp") for found in Pins(folder, "arm64").artifacts(
        "toyapp", folder / "roles/toyapp")] == [wanted]
    # On another architecture, what ran on this one is no help.
    assert [found.sha256 for found in Pins(folder).artifacts("toyapp", folder / "roles/toyapp")] == [NEW_SUM]


DAMAGE = {
    "a conflict of git": "<<<<<<< HEAD\n[toy]\n=======\n", "half of it": '[toy]\nversion = "1', "noise": "\x00",
    "a lost key": '[toy]\nversion = "1.0"\n', "a false sum": 'toy = {sha256 = "x"}\n', "a number": "toy = 1\n",
    "a foreign key": PIN + 'role = "toyapp"\nsigned = true\n',
}  # fmt: skip


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_lock_is_one_clear_error(folder: Path, case: str) -> None:
    (folder / LOCK).write_text(DAMAGE[case])
    with pytest.raises(BadInput) as caught:
        load(folder)
    assert caught.value.file == folder / LOCK
    assert "Get pins.lock back from the site's git repository." in caught.value.cure


def test_a_lock_that_cannot_be_read_is_no_missing_one(folder: Path) -> None:
    (folder / LOCK).symlink_to("nowhere")
    with pytest.raises(BadInput, match="cannot be read"):
        load(folder)


def test_a_lock_that_cannot_be_written_says_that_the_host_is_fine(folder: Path) -> None:
    site = load(folder)
    (folder / f".{LOCK}.{os.getpid()}").mkdir()
    with pytest.raises(OperationFailed, match="cannot be recorded"):
        site.pins.write_lock(site.claims(Artifact))
    assert not (folder / LOCK).exists()


# --- test manifests --------------------------------------------------------------------------------------


@pytest.fixture
def tested(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A test manifest that puts another archive in the toy's place, which lies beside it."""
    (tmp_path / "newer.tar.gz").write_bytes(NEWER)
    file = tmp_path / "test-pins.toml"
    file.write_text(
        f'[toy]\nversion = "0.9"\nurls = []\nsha256 = "{NEW_SUM}"\ntop = "toy"\nfile = "newer.tar.gz"\n'
        f'[unknown]\nversion = "1"\nsha256 = "{SUM}"\ntop = "x"\n'
    )
    monkeypatch.setenv(TEST_PINS, str(file))
    return file


def test_a_test_manifest_puts_another_in_a_pins_place_and_says_so(folder: Path, tested: Path) -> None:
    wanted = pinned(load(folder))
    assert (wanted.version, wanted.sha256, wanted.urls, wanted.unverified) == ("0.9", NEW_SUM, (), True)


def test_what_a_test_put_in_place_is_never_locked(
    folder: Path, tested: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = load(folder)
    assert not site.pins.write_lock(site.claims(Artifact))
    assert not (folder / LOCK).exists()
    monkeypatch.delenv(TEST_PINS)
    locked(folder)
    before = (folder / LOCK).read_bytes()
    monkeypatch.setenv(TEST_PINS, str(tested))
    site = load(folder)
    assert pinned(site).unverified
    site.pins.write_lock(site.claims(Artifact))
    assert (folder / LOCK).read_bytes() == before


def test_a_bad_test_manifest_is_an_error_that_names_the_variable(
    folder: Path, tested: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tested.write_text('[toy]\nversion = "1"\n')
    with pytest.raises(BadInput, match=TEST_PINS) as caught:
        load(folder)
    assert caught.value.file == tested
    monkeypatch.setenv(TEST_PINS, "/nonexistent")
    with pytest.raises(BadInput, match="cannot be read"):
        load(folder)


def test_the_archive_of_a_test_manifest_is_fetched_from_where_it_lies(
    folder: Path, tested: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert houblon(["artifacts", "fetch", str(folder)]) == 0
    assert houblon(["artifacts", "list", str(folder)]) == 0
    told = capsys.readouterr().out
    assert "toy 0.9 is verified and in the cache" in told and "UNVERIFIED" in told
    assert missing(load(folder)) == []


# --- what is missing -------------------------------------------------------------------------------------


def test_what_is_missing_is_named_with_its_cure(folder: Path, tmp_path: Path) -> None:
    site = load(folder)
    assert missing(site) == [pinned(site)]
    told = str(refusal(missing(site), site))
    assert "not in the cache: toy 1.0" in told
    assert f"Run `houblon artifacts fetch {folder}`, or download https://localhost/toy.tar.gz elsewhere" in told
    file = tmp_path / "toy.tar.gz"
    file.write_bytes(TOY)
    cache.take(pinned(site), file, None)
    assert missing(site) == []


def test_what_a_service_needs_that_the_site_no_longer_names_is_not_missing(folder: Path) -> None:
    claim = pinned(load(folder))
    file = folder / "site.yaml"
    file.write_text(file.read_text().replace("toyapp: {}", ""))
    site = load(folder, [claim])
    assert site.claims(Artifact) and missing(site) == []


# --- the command -----------------------------------------------------------------------------------------


def rows(folder: Path, capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    capsys.readouterr()
    assert houblon(["artifacts", "list", str(folder), "--json"]) == 0
    return list(json.loads(capsys.readouterr().out))


def test_list_fetch_list_verify(folder: Path, shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    address = shop.page("toy.tar.gz", TOY)
    pin(folder, PIN.replace("https://localhost/toy.tar.gz", address))
    assert rows(folder, capsys) == [{
        "name": "toy", "version": "1.0", "role": "toyapp", "architecture": "all", "sha256": SUM, "urls": [address],
        "cached": False, "size": None, "locked": False, "newer": None, "unverified": False,
    }]  # fmt: skip
    assert houblon(["artifacts", "list", str(folder)]) == 0
    told = capsys.readouterr().out
    assert "missing" in told and f"toy 1.0: {address}" in told and SUM in told
    assert houblon(["artifacts", "verify", str(folder)]) == 6
    assert houblon(["artifacts", "fetch", str(folder), "--only", "toi"]) == 2
    assert "Did you mean `toy`?" in capsys.readouterr().err
    assert houblon(["artifacts", "fetch", str(folder)]) == 0
    assert houblon(["artifacts", "fetch", str(folder), "--only", "toy"]) == 0
    assert "toy 1.0 is in the cache." in capsys.readouterr().out
    assert len(shop.asked) == 1
    assert [(row["cached"], row["size"]) for row in rows(folder, capsys)] == [(True, len(TOY))]
    assert houblon(["artifacts", "verify", str(folder)]) == 0
    assert houblon(["artifacts", "verify"]) == 0
    cache.place(pinned(load(folder))).write_bytes(TOY[:-1])
    assert houblon(["artifacts", "verify"]) == 6
    assert "damaged, and deleted from the cache: toy-1.0-all-" in capsys.readouterr().err
    assert not rows(folder, capsys)[0]["cached"]


def test_one_release_that_cannot_be_had_does_not_keep_the_others_away(
    folder: Path, shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    bad, good = shop.page("bad", NEWER), shop.page("good", TOY)
    pin(folder, PIN.replace("[toy]", "[another]").replace("https://localhost/toy.tar.gz", bad)
        + PIN.replace("https://localhost/toy.tar.gz", good))
    assert houblon(["artifacts", "fetch", str(folder)]) == 4
    told = capsys.readouterr()
    assert "another 1.0 is refused" in told.err and "toy 1.0 is verified" in told.out
    pin(folder, PIN.replace("https://localhost/toy.tar.gz", "https://localhost:1/x").replace("1.0", "1.1"))
    assert houblon(["artifacts", "fetch", str(folder)]) == 3


@pytest.mark.parametrize("damage", [TOY[:-1], TOY[:-1] + bytes([TOY[-1] ^ 1]), b""], ids=["cut", "a bit", "empty"])
def test_what_was_damaged_on_this_disk_is_fetched_anew_and_the_others_too(
    folder: Path, shop: Shop, capsys: pytest.CaptureFixture[str], damage: bytes
) -> None:
    pin(folder, PIN.replace("[toy]", "[another]").replace("https://localhost/toy.tar.gz", shop.page("a", TOY))
        + PIN.replace("https://localhost/toy.tar.gz", shop.page("b", TOY)))
    assert houblon(["artifacts", "fetch", str(folder)]) == 0
    one, other = load(folder).claims(Artifact)
    cache.place(one).write_bytes(damage)
    cache.place(other).unlink()
    capsys.readouterr()
    assert houblon(["artifacts", "fetch", str(folder)]) == 0
    told = capsys.readouterr().out
    assert f"{one.name} 1.0 was damaged on this disk." in told and "toy 1.0 is verified and in the cache." in told
    assert cache.damaged([one, other]) == [] and missing(load(folder)) == []


def test_a_verdict_that_fails_does_not_keep_the_others_away(
    folder: Path, shop: Shop, capsys: pytest.CaptureFixture[str], own_cache: Path
) -> None:
    evil = packed(member("toy/out", type=tarfile.SYMTYPE, linkname="/etc"))
    pin(folder, PIN.replace("[toy]", "[another]").replace(SUM, artifact(evil).sha256)
        + PIN.replace("https://localhost/toy.tar.gz", shop.page("b", TOY)))
    own_cache.mkdir(parents=True)
    one = next(claim for claim in load(folder).claims(Artifact) if claim.name == "another")
    cache.place(one).write_bytes(evil)
    assert houblon(["artifacts", "fetch", str(folder)]) == 4
    told = capsys.readouterr()
    assert "another 1.0 is refused: 'toy/out' is a link" in told.err and "toy 1.0 is verified" in told.out


def test_import_knows_a_file_by_its_sum(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], own_cache: Path
) -> None:
    file = tmp_path / "download (1)"
    file.write_bytes(TOY)
    assert houblon(["artifacts", "import", str(file), "--site", str(folder)]) == 0
    assert "is toy 1.0: verified and in the cache" in capsys.readouterr().out
    assert file.exists() and missing(load(folder)) == []
    file.write_bytes(NEWER)
    assert houblon(["artifacts", "import", str(file), "--site", str(folder)]) == 4
    told = capsys.readouterr().err
    assert f"its sha256 is {NEW_SUM}" in told and f"toy 1.0 is {SUM}" in told
    assert houblon(["artifacts", "import", str(tmp_path / "none"), "--site", str(folder)]) == 2
    assert houblon(["artifacts", "import", str(tmp_path), "--site", str(folder)]) == 2
    assert len(list(own_cache.iterdir())) == 2


def test_import_takes_the_locked_release_and_the_newer_one(folder: Path, tmp_path: Path) -> None:
    locked(folder)
    move_on(folder)
    for name, data in (("old", TOY), ("new", NEWER)):
        (tmp_path / name).write_bytes(data)
    assert houblon(["artifacts", "import", str(tmp_path / "new"), str(tmp_path / "old"), "--site", str(folder)]) == 0
    assert sorted(path.name.rsplit("-", 1)[0] for path in cache.stored()) == ["toy-1.0-all", "toy-2.0-all"]


def test_import_looks_into_the_archive_too(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], own_cache: Path
) -> None:
    evil = packed(member("toy/a", b"x"), member("toy/out", type=tarfile.SYMTYPE, linkname="/etc"))
    file = tmp_path / "evil"
    file.write_bytes(evil)
    pin(folder, PIN.replace(SUM, artifact(evil).sha256))
    assert houblon(["artifacts", "import", str(file), "--site", str(folder)]) == 4
    assert "out of the tree" in capsys.readouterr().err
    assert list(own_cache.iterdir()) == []


def test_import_wants_the_signature_where_upstream_signs(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pin(folder, PIN + 'signature = "https://localhost/toy.asc"\nkey = "toy.asc"\n')
    (folder / "roles/toyapp/toy.asc").write_text("no key")
    file = tmp_path / "toy.tar.gz"
    file.write_bytes(TOY)
    command = ["artifacts", "import", str(file), "--site", str(folder)]
    assert houblon(command) == 4
    assert "Put https://localhost/toy.asc beside it, as toy.tar.gz.asc" in capsys.readouterr().err
    (tmp_path / "toy.tar.gz.asc").write_text("no signature")
    assert houblon(command) == 4
    assert missing(load(folder))


def test_a_site_without_releases_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    site = make_site(tmp_path / "site")
    assert houblon(["artifacts", "list", str(site)]) == 0
    assert "needs no upstream releases" in capsys.readouterr().out
    assert houblon(["artifacts", "fetch", str(site)]) == 0
    assert rows(site, capsys) == []
