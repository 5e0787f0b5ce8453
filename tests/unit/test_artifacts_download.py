"""Downloads against a real HTTPS server that cuts, stalls, lies, redirects and forgets; and the cache they end in."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import subprocess
import tarfile
import time
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
from toyrelease import Page, Shop, artifact, member, packed, toy

from houblon.artifacts import archive, cache
from houblon.artifacts.download import Client, Unavailable
from houblon.claims import Artifact
from houblon.errors import BadInput, CannotConnect, OperationFailed, Refused

TOY = toy()


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "localhost")
    return tmp_path / "cache/houblon/artifacts"


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    shop = Shop(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(shop.roots))
    yield shop
    shop.close()


def get(wanted: Artifact, key: Path | None = None, **fields: Any) -> bytes:
    return cache.fetch(wanted, key, lambda have, total: None, Client(**fields)).read_bytes()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def test_a_release_is_downloaded_once_and_what_it_holds_is_written_down(shop: Shop, own_cache: Path) -> None:
    wanted = artifact(TOY, shop.page("toy.tar.gz", TOY))
    seen: list[tuple[int, int | None]] = []
    assert cache.cached(wanted) is None
    cache.fetch(wanted, None, lambda have, total: seen.append((have, total)))
    assert get(wanted) == TOY
    assert shop.asked == [("/toy.tar.gz", "")]
    assert seen[0] == (0, len(TOY)) and seen[-1] == (len(TOY), len(TOY))
    path = cache.cached(wanted)
    assert path is not None and names(own_cache) == [path.name, f"{path.name}.json"]
    assert cache.verdict(wanted) == cache.Verdict(
        wanted.sha256, len(TOY), 300_000, 2, archive.inspect(path, "toy", 1).listing, signed=False
    )  # fmt: skip


@pytest.mark.parametrize("fields", [{"chunked": True}, {"length": False}], ids=["chunked", "without a length"])
def test_a_length_need_not_be_known(shop: Shop, fields: dict[str, Any]) -> None:
    assert get(artifact(TOY, shop.page("toy.tar.gz", TOY, **fields))) == TOY


def test_a_wrong_sum_is_refused_and_nothing_is_kept(shop: Shop, own_cache: Path) -> None:
    wanted = artifact(TOY, shop.page("toy.tar.gz", toy(200_000)))
    with pytest.raises(Refused, match=f"toy 1.0 is refused .*its sha256 is .*, not {wanted.sha256}"):
        get(wanted)
    assert names(own_cache) == []


def test_a_second_address_makes_good_for_the_first(shop: Shop, own_cache: Path) -> None:
    wanted = artifact(
        TOY, "https://localhost:1/toy", shop.page("gone", status=404), shop.page("other", toy(200_000)),
        shop.page("toy", TOY),
    )  # fmt: skip
    assert get(wanted) == TOY
    assert len(names(own_cache)) == 2


def test_when_no_address_gives_it_the_error_names_each_reason_and_the_way_by_hand(shop: Shop, own_cache: Path) -> None:
    wanted = artifact(TOY, "https://localhost:1/toy", shop.page("gone", status=404))
    with pytest.raises(CannotConnect) as caught:
        get(wanted)
    assert "Connection refused" in caught.value.what and "404" in caught.value.what
    assert "download https://localhost:1/toy elsewhere, then `houblon artifacts import FILE`" in caught.value.cure
    assert names(own_cache) == []


def test_a_cut_line_is_taken_up_where_it_broke(shop: Shop) -> None:
    wanted = artifact(TOY, shop.page("toy", TOY, cuts=[100_000, 50_000]))
    assert get(wanted) == TOY
    assert shop.asked == [("/toy", ""), ("/toy", "bytes=100000-"), ("/toy", "bytes=150000-")]


def test_a_chunked_answer_that_is_cut_is_taken_up(shop: Shop) -> None:
    wanted = artifact(TOY, shop.page("toy", TOY, cuts=[100_000], chunked=True))
    assert get(wanted) == TOY
    assert shop.asked[1] == ("/toy", "bytes=100000-")


def test_what_an_earlier_run_left_is_taken_up(shop: Shop, own_cache: Path) -> None:
    wanted = artifact(TOY, shop.page("toy", TOY, cuts=[100_000, 0]))
    with pytest.raises(CannotConnect, match="ends after 100000 of"):
        get(wanted)
    assert [name.removeprefix(cache.place(wanted).name) for name in names(own_cache)] == [".part", ".part.json"]
    assert get(wanted) == TOY
    assert shop.asked[-1] == ("/toy", "bytes=100000-")
    assert len(names(own_cache)) == 2


@pytest.mark.parametrize("later", ['"2"', 'W/"1"', ""], ids=["another version", "a weak tag", "no tag"])
def test_what_is_left_of_another_version_is_not_taken_up(shop: Shop, later: str) -> None:
    """If-Range: the server sends all of it when its file is no longer the one we began with (RFC 9110, 13.1.5)."""
    page = Page(toy(200_000), tag='"1"' if later == '"2"' else later, cuts=[100_000, 0, 0, 0])
    wanted = artifact(TOY, shop.page("toy"))
    shop.pages["/toy"] = page
    with pytest.raises(CannotConnect):
        get(wanted)
    shop.pages["/toy"] = Page(TOY, tag=later)
    assert get(wanted) == TOY
    assert {asked for _, asked in shop.asked} == ({"", "bytes=100000-"} if later == '"2"' else {""})


def test_a_server_that_ignores_range_starts_anew(shop: Shop) -> None:
    wanted = artifact(TOY, shop.page("toy", TOY, cuts=[100_000, 0], ranges=False))
    with pytest.raises(CannotConnect):
        get(wanted)
    assert get(wanted) == TOY


def test_damage_in_what_an_earlier_run_left_is_healed(shop: Shop) -> None:
    wanted = artifact(TOY, shop.page("toy", TOY, cuts=[100_000, 0]))
    with pytest.raises(CannotConnect):
        get(wanted)
    part = cache.place(wanted).with_name(cache.place(wanted).name + ".part")
    part.write_bytes(b"x" * 100_000)
    assert get(wanted) == TOY


def test_more_than_there_is_was_left_by_an_earlier_run(shop: Shop) -> None:
    wanted = artifact(TOY, shop.page("toy", TOY, cuts=[100_000, 0]))
    with pytest.raises(CannotConnect):
        get(wanted)
    part = cache.place(wanted).with_name(cache.place(wanted).name + ".part")
    part.write_bytes(TOY + b"x" * 100_000)
    assert get(wanted) == TOY


@pytest.mark.parametrize("fields", [{"stall": 100_000}, {"stall": 0}, {"stall": 1000, "drip": True}],
                         ids=["in the middle", "from the start", "but for a byte now and then"])
def test_a_server_that_stalls_is_given_up(shop: Shop, fields: dict[str, Any]) -> None:
    wanted = artifact(TOY, shop.page("toy", TOY, tag="", **fields), shop.page("good", TOY))
    assert get(wanted, stall_seconds=0.3) == TOY
    alone = artifact(TOY, wanted.urls[0], version="2.0")
    with pytest.raises(CannotConnect, match=r"localhost: it stalls"):
        get(alone, stall_seconds=0.3)


def test_a_server_that_stalls_now_and_then_is_taken_up_again(shop: Shop) -> None:
    assert get(artifact(TOY, shop.page("toy", TOY, stall=200_000)), stall_seconds=0.3) == TOY
    assert shop.asked == [("/toy", ""), ("/toy", "bytes=200000-")]


@pytest.mark.parametrize("case", ["in a header", "in a signature", "between chunks"])
def test_a_server_that_drips_for_ever_is_given_up(shop: Shop, case: str) -> None:
    """It would end by itself, after seconds, so that without a limit this fails instead of hanging."""
    signature = shop.page("toy.asc", b"x" * 150, slowly="body" if case == "in a signature" else "")
    slowly = {"in a header": "header", "between chunks": "chunk"}.get(case, "")
    address = shop.page("toy", TOY, slowly=slowly, tag="")
    client = Client(0.15)
    with pytest.raises(Unavailable, match="it stalls"):
        if case == "in a signature":
            client.text(signature)
        else:
            cache.home().mkdir(parents=True)
            with cache.locked(cache.home() / "x.part") as part:
                client.file(address, part, cache.home() / "x.json", 1_000_000, lambda have, total: None)


def test_redirects_lead_to_https_only(shop: Shop) -> None:
    good = shop.page("toy", TOY)
    assert get(artifact(TOY, shop.page("moved", location=good))) == TOY
    for target in (good.replace("https:", "http:"), "ftp://localhost/toy", "file:///etc/passwd"):
        with pytest.raises(CannotConnect, match=r"not https|not allowed"):
            get(artifact(TOY, shop.page("down", location=target), version="2.0"))
    with pytest.raises(CannotConnect):
        get(artifact(TOY, shop.page("round", location="/round"), version="2.0"))


def test_plain_http_is_not_even_tried(shop: Shop) -> None:
    with pytest.raises(CannotConnect, match="unknown url type"):
        get(artifact(TOY, f"http://localhost:{shop.port}/toy"))
    assert shop.asked == []


def test_a_certificate_of_nobody_is_refused(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/dev/null")
    with pytest.raises(CannotConnect, match="certificate is not valid"):
        get(artifact(TOY, shop.page("toy", TOY)))


@pytest.mark.parametrize("length", [True, False])
def test_what_is_larger_than_its_pin_allows_is_not_downloaded(shop: Shop, own_cache: Path, length: bool) -> None:
    big = toy(1_500_000)
    with pytest.raises(Refused, match="than its pin allows"):
        get(artifact(big, shop.page("toy", big, length=length), limit_mb=1))
    assert names(own_cache) == []


def test_a_truncated_file_is_no_release_though_its_pin_says_so(shop: Shop, own_cache: Path) -> None:
    cut = TOY[:-1000]
    with pytest.raises(Refused, match="damaged or cut off"):
        get(artifact(cut, shop.page("toy", cut)))
    assert names(own_cache) == []


def test_an_evil_archive_is_deleted_though_its_sum_is_right(shop: Shop, own_cache: Path) -> None:
    evil = packed(member("toy/a", b"x"), member("toy/etc", type=tarfile.SYMTYPE, linkname="/etc"))
    with pytest.raises(Refused, match="out of the tree"):
        get(artifact(evil, shop.page("toy", evil)))
    assert names(own_cache) == []


# --- signatures ------------------------------------------------------------------------------------------


class Signer:
    """An OpenPGP key made for one test, in a home of its own."""

    def __init__(self, folder: Path, name: str) -> None:
        self.home = folder / f"gnupg-{name}"
        self.home.mkdir(mode=0o700)
        self._gpg("--quick-gen-key", "--passphrase", "", f"{name}@toy.example", "ed25519", "sign", "never")
        self.key = folder / f"{name}.asc"
        self.key.write_bytes(self._gpg("--export", "--armor"))

    def sign(self, data: bytes, *options: str) -> bytes:
        return self._gpg("--detach-sign", *options, stdin=data)

    def _gpg(self, *arguments: str, stdin: bytes = b"") -> bytes:
        return subprocess.run(
            ["gpg", "--homedir", str(self.home), "--batch", "--quiet", *arguments], input=stdin, check=True,
            capture_output=True,
        ).stdout  # fmt: skip

    def close(self) -> None:
        subprocess.run(["gpgconf", "--homedir", str(self.home), "--kill", "all"], check=False)


@pytest.fixture(scope="module")
def signers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Signer, Signer]]:
    # Short paths: gpg-agent's socket lies there.
    folder = tmp_path_factory.mktemp("pgp")
    both = Signer(folder, "good"), Signer(folder, "other")
    yield both
    for signer in both:
        signer.close()


@pytest.mark.parametrize("armor", [(), ("--armor",)], ids=["binary", "armored"])
def test_a_good_signature_is_taken(shop: Shop, signers: tuple[Signer, Signer], armor: tuple[str, ...]) -> None:
    signature = shop.page("toy.asc", signers[0].sign(TOY, *armor))
    wanted = artifact(TOY, shop.page("toy", TOY), signature=signature, key="good.asc")
    assert get(wanted, signers[0].key) == TOY


@pytest.mark.parametrize("case", ["other key", "other data", "no signature", "missing", "endless"])
def test_a_wrong_signature_is_refused(
    shop: Shop, signers: tuple[Signer, Signer], own_cache: Path, case: str
) -> None:
    good, other = signers
    page = {
        "other key": Page(other.sign(TOY)), "other data": Page(good.sign(TOY + b"x")), "no signature": Page(b"hello"),
        "missing": Page(status=404), "endless": Page(b"x" * 100_000),
    }[case]  # fmt: skip
    signature = shop.page("toy.asc")
    shop.pages["/toy.asc"] = page
    wanted = artifact(TOY, shop.page("toy", TOY), signature=signature, key="good.asc")
    with pytest.raises(CannotConnect if case in ("missing", "endless") else Refused) as caught:
        get(wanted, good.key)
    assert cache.cached(wanted) is None
    if isinstance(caught.value, Refused):
        assert names(own_cache) == []
        assert "its signature is not good" in caught.value.what


def test_what_is_no_key_is_said_to_be_none(shop: Shop, signers: tuple[Signer, Signer], tmp_path: Path) -> None:
    key = tmp_path / "key.asc"
    key.write_bytes(signers[0].key.read_bytes().replace(b"PUBLIC", b"PRIVATE"))
    signature = shop.page("toy.asc", signers[0].sign(TOY))
    with pytest.raises(Refused, match="no OpenPGP public key"):
        get(artifact(TOY, shop.page("toy", TOY), signature=signature, key="key.asc"), key)


def test_without_gpgv_nothing_is_downloaded(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(Refused, match="no gpgv"):
        get(artifact(TOY, shop.page("toy", TOY), signature="https://localhost/x", key="k"), Path("k"))
    assert shop.asked == []


# --- several at once, killed, full -----------------------------------------------------------------------

def process(wanted: Artifact) -> BaseProcess:
    """Another process that fetches; forked, as starting Python anew would cost a second each."""
    started = multiprocessing.get_context("fork").Process(target=get, args=(wanted,), daemon=True)
    started.start()
    return started


def ended(running: BaseProcess) -> bool:
    running.join(60)
    return running.exitcode == 0


def test_two_processes_that_want_the_same_download_it_once(shop: Shop) -> None:
    second: list[BaseProcess] = []

    def wait_for_the_second(page: Page) -> None:
        page.then = None
        second.append(process(wanted))
        limit = time.monotonic() + 60
        while not any(path.endswith(".part") for path in opened(second[0])) and time.monotonic() < limit:
            time.sleep(0.05)

    wanted = artifact(TOY, shop.page("toy", TOY, cuts=[100_000], then=wait_for_the_second))
    assert ended(process(wanted)) and ended(second[0])
    assert get(wanted) == TOY
    assert shop.asked == [("/toy", ""), ("/toy", "bytes=100000-")]
    assert len(names(cache.home())) == 2


def opened(running: BaseProcess) -> list[str]:
    """Files that a process has open."""
    found = []
    with contextlib.suppress(FileNotFoundError):
        for link in Path(f"/proc/{running.pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                found.append(str(link.readlink()))
    return found


def test_a_killed_download_goes_on_in_the_next_run(shop: Shop, own_cache: Path) -> None:
    wanted = artifact(TOY, shop.page("toy", TOY, stall=100_000))
    running = process(wanted)
    part = cache.place(wanted).with_name(cache.place(wanted).name + ".part")
    limit = time.monotonic() + 60
    while not (part.exists() and part.stat().st_size == 100_000):
        assert time.monotonic() < limit and running.is_alive()
        time.sleep(0.05)
    running.kill()
    running.join()
    assert cache.cached(wanted) is None
    shop.pages["/toy"].stall = None
    assert get(wanted) == TOY
    assert shop.asked[-1] == ("/toy", "bytes=100000-")
    assert len(names(own_cache)) == 2


@pytest.fixture
def small_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache of one megabyte."""
    folder = tmp_path / "small"
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("a small disk can be mounted by root only")
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True)
    if done.returncode:
        pytest.skip("nothing can be mounted here")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_one_error_and_nothing_is_left_on_it(shop: Shop, small_disk: Path, tmp_path: Path) -> None:
    big = toy(2_000_000)
    wanted = artifact(big, shop.page("toy", big))
    with pytest.raises(OperationFailed, match=r"toy 1.0 cannot be stored: the disk is full"):
        get(wanted)
    assert names(small_disk / "houblon/artifacts") == []
    file = tmp_path / "toy.tar.gz"
    file.write_bytes(big)
    with pytest.raises(OperationFailed, match="the disk is full"):
        cache.take(wanted, file, None)
    assert names(small_disk / "houblon/artifacts") == []
    assert get(artifact(TOY, shop.page("small", TOY))) == TOY


# --- what is in the cache --------------------------------------------------------------------------------


def test_a_file_is_taken_when_it_is_what_was_pinned(tmp_path: Path, own_cache: Path) -> None:
    file = tmp_path / "download (1)"
    file.write_bytes(TOY)
    wanted = artifact(TOY)
    assert cache.take(wanted, file, None).read_bytes() == TOY
    file.write_bytes(TOY + b"x")
    with pytest.raises(Refused, match=r"this is not toy 2.0: its sha256 is"):
        cache.take(artifact(TOY, version="2.0"), file, None)
    with pytest.raises(BadInput, match="no such file"):
        cache.take(artifact(TOY, version="2.0"), tmp_path / "none", None)
    assert len(names(own_cache)) == 2


def test_an_archive_that_came_without_a_verdict_is_judged_when_asked(own_cache: Path) -> None:
    own_cache.mkdir(parents=True)
    wanted = artifact(TOY)
    cache.place(wanted).write_bytes(TOY)
    assert cache.verdict(wanted).members == 2
    assert len(names(own_cache)) == 2
    other = artifact(TOY, version="2.0")
    cache.place(other).write_bytes(TOY + b"x")
    with pytest.raises(Refused, match=r"toy 2.0 is refused"):
        cache.verdict(other)
    assert cache.cached(other) is None
    with pytest.raises(Refused, match="not in the cache"):
        cache.verdict(other)


def test_what_was_judged_by_earlier_rules_is_judged_anew(own_cache: Path) -> None:
    evil = packed(member("toy/a", b"x"), member("toy/a", b"y"))
    own_cache.mkdir(parents=True)
    for data in (TOY, evil):
        wanted = artifact(data)
        cache.place(wanted).write_bytes(data)
        note = {"sha256": wanted.sha256, "size": len(data), "unpacked": 1, "members": 1}
        beside = cache.place(wanted).with_name(cache.place(wanted).name + ".json")
        beside.write_text(json.dumps(note))
        for rules in ({}, {"listing": "", "rules": archive.RULES - 1}):
            beside.write_text(json.dumps(note | rules))
            if data == TOY:
                assert cache.verdict(wanted).listing == archive.inspect(cache.place(wanted), "toy", 1).listing
    with pytest.raises(Refused, match="there twice"):
        cache.verdict(wanted)


def test_what_cannot_be_written_down_is_found_out_again(own_cache: Path) -> None:
    own_cache.mkdir(parents=True)
    wanted = artifact(TOY)
    cache.place(wanted).write_bytes(TOY)
    beside = cache.place(wanted).with_name(cache.place(wanted).name + ".json")
    beside.symlink_to("/dev/full")
    assert cache.verdict(wanted).members == 2
    beside.unlink(missing_ok=True)
    beside.mkdir()
    assert cache.verdict(wanted).members == 2


def test_what_came_unsigned_is_not_taken_for_signed(
    shop: Shop, signers: tuple[Signer, Signer], own_cache: Path, tmp_path: Path
) -> None:
    unsigned = artifact(TOY, shop.page("toy", TOY))
    get(unsigned)
    signed = replace(unsigned, signature=shop.page("toy.asc", signers[1].sign(TOY)), key="good.asc")
    assert cache.cached(signed) is None and cache.cached(unsigned) and cache.damaged([signed]) == []
    with pytest.raises(Refused, match="not in the cache"):
        cache.verdict(signed)
    with pytest.raises(Refused, match="its signature is not good"):
        get(signed, signers[0].key)
    assert cache.cached(signed) is None and cache.cached(unsigned)
    signed = replace(signed, signature=shop.page("toy.asc", signers[0].sign(TOY)))
    assert get(signed, signers[0].key) == TOY
    assert cache.verdict(signed).signed and cache.verdict(unsigned).signed
    # Other rules do not take its signature from it.
    beside = cache.place(signed).with_name(cache.place(signed).name + ".json")
    beside.write_text(json.dumps(json.loads(beside.read_text()) | {"rules": archive.RULES - 1}))
    assert cache.verdict(signed).signed and len(names(own_cache)) == 2


def test_damage_at_the_same_size_is_found_before_anything_is_handed_on(own_cache: Path, tmp_path: Path) -> None:
    file = tmp_path / "toy"
    file.write_bytes(TOY)
    one, other, absent = artifact(TOY), artifact(TOY, version="2.0"), artifact(TOY, version="3.0")
    for wanted in (one, other):
        cache.take(wanted, file, None)
    assert cache.damaged([one, other, absent]) == []
    cache.place(other).write_bytes(TOY[:-1] + bytes([TOY[-1] ^ 1]))
    assert cache.damaged([one, other, absent]) == [other]
    assert cache.cached(other) is None and cache.cached(one) and len(names(own_cache)) == 2


def test_a_verdict_for_a_larger_limit_does_not_hold_for_a_smaller_one(tmp_path: Path) -> None:
    data = packed(member("toy/zeros", bytes(3_000_000)))
    file = tmp_path / "toy"
    file.write_bytes(data)
    cache.take(artifact(data), file, None)
    with pytest.raises(Refused, match="more than 1 MB unpacked"):
        cache.verdict(artifact(data, limit_mb=1))


def test_damage_on_the_disk_is_found_and_deleted(shop: Shop, own_cache: Path) -> None:
    wanted, other = (artifact(TOY, shop.page("toy", TOY), version=version) for version in ("1.0", "2.0"))
    get(wanted)
    get(other)
    assert list(cache.stored()) == [cache.place(wanted), cache.place(other)]
    with cache.place(other).open("r+b") as stream:
        stream.seek(1000)
        stream.write(b"damage")
    assert [cache.intact(path) for path in cache.stored()] == [True, False]
    assert cache.cached(other) is None and cache.cached(wanted)
    assert len(names(own_cache)) == 2


def test_a_cache_that_cannot_be_written_is_said_to_be_so(shop: Shop, own_cache: Path) -> None:
    own_cache.parent.mkdir(parents=True)
    own_cache.write_text("a file")
    with pytest.raises(OperationFailed, match="the cache cannot be written"):
        get(artifact(TOY, shop.page("toy", TOY)))
