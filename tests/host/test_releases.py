"""Upstream releases on a host: pushed, unpacked, kept whole, moved and removed, whatever happens in between."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import json
import re
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest

from houblon.artifacts import cache
from houblon.artifacts.pins import LOCK, TEST_PINS
from houblon.claims import Artifact
from houblon.errors import Exit
from houblon.lab import Lab
from tests.host.sites import Applied, environment, make_site, wait_until

pytestmark = pytest.mark.host

ROLE = '''
"""A toy that runs from a pinned release."""

from collections.abc import Iterator

from houblon.contract import Claim, Config, Metadata, NoBackup, Role, Unit, tr
from houblon.kit import Kit


class ToyConfig(Config):
    """Section `toy:`."""


class Toy(Role[ToyConfig]):
    metadata = Metadata(
        title="Toy", category="toys", licence="CC0-1.0", homepage="", summary=tr(en="A toy.", fr="Un jouet.")
    )

    def claims(self) -> Iterator[Claim]:
        yield from self.artifacts()
        yield NoBackup(tr(en="It keeps nothing.", fr="Il ne garde rien."))
        yield Unit("toyd.service", sandbox=None)

    def install(self, kit: Kit) -> None:
        self.current = kit.release("toy")

    def configure(self, kit: Kit) -> None:
        kit.file("/etc/systemd/system/toyd.service", f"""[Service]
RuntimeDirectory=toyd
ExecStart={self.current}/bin/toyd
[Install]
WantedBy=multi-user.target
""")

    def activate(self, kit: Kit) -> None:
        kit.unit("toyd.service", ready="test -s /run/toyd/version")
        kit.ensure("no hops", check="test ! -e /root/hops", run="echo hops >&2; false", soft=True)
'''
TREE = """cd -P /opt/toy/current; find . -printf '%p %y %m %U:%G %l\\n' | sort
find . -type f -print0 | sort -z | xargs -0 sha256sum
"""
LISTS = "cd /var/lib/houblon/releases; ls -l --time-style=full-iso; sha256sum *; ls -lA /var/cache/houblon"


@dataclass
class Toys:
    """The site with the toy, and the releases its upstream has made so far.

    :param cache: the operator's cache of archives.
    """

    site: Applied
    cache: Path
    archives: dict[str, Artifact] = field(default_factory=dict)

    def publish(self, version: str, size: int = 1_000_000, *, hard: bool = False, zeros: int = 0) -> Artifact:
        """Make a release, have it in the cache, and pin it.

        :param size: of its archive, in bytes, about; ``hard`` makes it slow to unpack.
        :param zeros: bytes that take no room in the archive.
        """
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
            def add(name: str, data: bytes = b"", mode: int = 0o644, kind: bytes = tarfile.REGTYPE) -> None:
                info = tarfile.TarInfo(f"toy-{version}/{name}".rstrip("/"))
                info.size, info.mode, info.uid, info.gid, info.type = len(data), mode, 1000, 1000, kind
                info.linkname = "VERSION" if kind == tarfile.SYMTYPE else ""
                tar.addfile(info, io.BytesIO(data))

            add("", mode=0o2777, kind=tarfile.DIRTYPE)
            add("bin/toyd", f"#!/bin/sh\necho {version} >/run/toyd/version\nexec sleep infinity\n".encode(), 0o755)
            add("VERSION", version.encode(), 0o666)
            add("a name with blanks\u2028", b"odd")
            add("link", kind=tarfile.SYMTYPE)
            for number in range(200):
                add(f"lib/{number:03}", str(number).encode())
            add("lib/blob", Random(version).randbytes(size) + bytes(zeros))  # noqa: S311 - no secret
        data = bz2.compress(stream.getvalue(), 9) if hard else gzip.compress(stream.getvalue(), 1)
        made = Artifact(
            name="toy", version=version, urls=(f"https://toys.test/toy-{version}.tar",), top=f"toy-{version}",
            sha256=hashlib.sha256(data).hexdigest(), role="toy",
        )  # fmt: skip
        source = self.site.site_folder / "download"
        source.write_bytes(data)
        cache.take(made, source, None)
        source.unlink()
        self.pin(made)
        return made

    def pin(self, made: Artifact) -> None:
        """Have the role pin this release, and the site take it."""
        lock = self.site.site_folder / LOCK
        lock.unlink(missing_ok=True)
        (self.site.site_folder / "roles/toy/artifacts.toml").write_text(
            f'[toy]\nversion = "{made.version}"\nurls = ["{made.urls[0]}"]\nsha256 = "{made.sha256}"\n'
            f'top = "{made.top}"\n'
        )

    def releases(self) -> list[dict[str, str]]:
        """The changes of releases that the plan names."""
        return [change for change in self.site.plan()["changes"] if change["kind"] == "release"]

    def converge(self) -> None:
        """Apply; a second plan finds nothing, and the toy runs what the disk says."""
        self.site.cli("apply", "--yes")
        assert self.site.plan()["changes"] == []
        assert self.runs() == self.site.sh("cat /opt/toy/current/VERSION")

    def runs(self) -> str:
        """The version of the toy that runs; empty when none does."""
        return self.site.sh("systemctl is-active --quiet toyd && cat /run/toyd/version", check=False).strip()

    def on_disk(self) -> list[str]:
        return self.site.sh("ls -A /opt/toy").split()

    def sent(self, made: Artifact) -> int:
        """Bytes of an archive that the host has so far."""
        return int(self.site.sh(f"stat -c %s /var/cache/houblon/{made.sha256}.part 2>/dev/null || echo 0"))

    @contextmanager
    def applying(self) -> Iterator[subprocess.Popen[str]]:
        """An apply under way, in a process of its own."""
        process = subprocess.Popen(
            [sys.executable, "-m", "houblon", "apply", str(self.site.site_folder), "--yes"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True, env=environment(),
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def torn(self) -> None:
        """End everything the operator's session has started on the host, as a power cut would."""
        self.site.sh("pkill -KILL -f '[h]oublon-ready'; pkill -KILL -u alice; pkill -KILL -x tar; :")


@pytest.fixture(scope="module")
def bare_toys(fresh_lab: Callable[..., Lab], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Toys]:
    """A site with the toy, for a host that nothing was applied to; the operator's cache is its own."""
    folder = tmp_path_factory.mktemp("toys")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        patch.delenv(TEST_PINS, raising=False)
        site = make_site(fresh_lab(), folder / "site", services="  toy:\n")
        (site.site_folder / "roles/toy").mkdir(parents=True)
        (site.site_folder / "roles/toy/__init__.py").write_text(ROLE)
        made = Toys(site, cache.home())
        made.publish("1.0")
        yield made


@pytest.fixture(scope="module")
def toys(bare_toys: Toys) -> Toys:
    """The same with release 1.0 running on its host."""
    bare_toys.site.sh("rm -rf /opt/toy")
    bare_toys.site.cli("apply", "--yes", "--accept-new", timeout=900)
    return bare_toys


def test_somebody_elses_folder_is_not_taken(bare_toys: Toys) -> None:
    site = bare_toys.site
    site.sh("mkdir -p /opt/toy/mine")
    done = site.cli("apply", "--yes", "--accept-new", check=False)
    assert done.returncode == Exit.REFUSED and "/opt/toy exists and is not ours" in done.stderr
    assert site.sh("ls -A /opt/toy; ls -d /var/lib/houblon/releases 2>/dev/null; :") == "mine\n"
    site.sh("mv /opt/toy /opt/elsewhere; ln -s elsewhere /opt/toy")
    done = site.cli("apply", "--yes", "--adopt", check=False)
    assert done.returncode == Exit.REFUSED and "/opt/toy on the host is a symbolic link" in done.stderr
    assert site.sh("rm /opt/toy; ls -A /opt/elsewhere; rm -r /opt/elsewhere") == "mine\n"


def test_a_release_is_root_s_and_read_only_and_a_second_run_changes_nothing(toys: Toys) -> None:
    site = toys.site
    assert toys.runs() == "1.0"
    assert site.sh("readlink /opt/toy/current") == "1.0\n"
    assert site.sh("find /opt/toy/1.0 ! -uid 0 -o ! -gid 0 -o -perm /7222 ! -type l") == ""
    assert site.sh("find /opt/toy/1.0 -type d ! -perm 555 -o -type f ! -perm -444") == ""
    assert site.sh("ls -A /var/cache/houblon") == "", "the archive goes once it is unpacked"
    assert 'version = "1.0"' in (site.site_folder / LOCK).read_text()
    before = site.state(), site.sh(TREE + LISTS)
    site.cli("apply", "--yes")
    assert (site.state(), site.sh(TREE + LISTS)) == before
    checks = json.loads(site.cli("verify", "--quick", "--deep", "--only", "toy", "--json").stdout)["checks"]
    assert {c["check"]: c["outcome"] for c in checks}.items() >= {
        "release": "passed", "release, file by file": "passed"
    }.items()


def test_a_push_goes_on_after_a_cut_line_and_after_a_kill(toys: Toys) -> None:
    """And then the unit runs the new release, and the one before is still there."""
    made = toys.publish("2.0", 60_000_000)
    (planned,) = toys.releases()
    assert (planned["action"], planned["subject"]) == ("install", "toy 2.0")
    assert planned["detail"].endswith("MB to send, 60 MB unpacked")
    with toys.applying() as process:
        wait_until(lambda: toys.sent(made) > 1_000_000, 60)
        toys.site.sh("pkill -KILL -u alice")
        assert process.wait(60) == Exit.CANNOT_CONNECT
    total = cache.verdict(made).size
    first = toys.sent(made)
    assert 1_000_000 < first < total
    with toys.applying() as process:
        wait_until(lambda: toys.sent(made) > first, 60)
        process.send_signal(signal.SIGKILL)
    # What the dead run had already sent still arrives.
    wait_until(lambda: toys.site.sh("flock -n /run/houblon/work true && echo free; :").strip(), 30)
    second = toys.sent(made)
    assert first < second < total
    assert toys.releases()[0]["detail"].startswith(f"{(total - second) / 1e6:.0f} MB to send")
    assert toys.runs() == "1.0"
    toys.converge()
    assert toys.runs() == "2.0" and set(toys.on_disk()) == {"1.0", "2.0", "current"}
    assert toys.sent(made) == 0


@pytest.mark.faults
def test_first_bytes_that_are_wrong_are_found_and_sent_anew(toys: Toys) -> None:
    made, running = toys.publish("2.1", 2_000_000), toys.runs()
    toys.site.sh(f"head -c 1000000 /dev/zero >/var/cache/houblon/{made.sha256}.part")
    toys.converge()
    assert toys.runs() == "2.1" and set(toys.on_disk()) == {running, "2.1", "current"}, "the one before stays, no more"


def test_killed_while_unpacking(toys: Toys) -> None:
    made, before, running = toys.publish("3.0", 12_000_000, hard=True), set(toys.on_disk()), toys.runs()
    with toys.applying() as process:
        wait_until(lambda: ".houblon-3.0.new" in toys.on_disk(), 60)
        toys.torn()
        assert process.wait(60) == Exit.CANNOT_CONNECT
    assert set(toys.on_disk()) == before | {".houblon-3.0.new"}
    assert toys.runs() == running
    assert toys.releases()[0]["detail"].startswith("nothing to send")
    toys.converge()
    assert toys.runs() == "3.0" and set(toys.on_disk()) == {running, "3.0", "current"}
    # As killed between the rename and the stamp; and beside it what is not ours, though it looks alike.
    toys.site.sh("rm /var/lib/houblon/releases/toy@3.0.stamp; mkdir /opt/toy/.mine.old; "
                 "chown 1000:1000 /opt/toy; chmod 777 /opt/toy")
    changes = {change["subject"]: change for change in toys.site.plan()["changes"]}
    assert changes["toy 3.0"]["action"] == "restore"
    assert changes["/opt/toy"]["detail"].startswith("mode 0777 → 0755, owner ")
    toys.converge()
    assert toys.site.sh("stat -c '%a %U:%G' /opt/toy; rmdir -v /opt/toy/.mine.old").startswith("755 root:root\nrmdir")
    assert toys.sent(made) == 0


def test_a_link_that_was_turned_by_hand_is_put_back_and_what_runs_with_it(toys: Toys) -> None:
    running = toys.runs()
    (before,) = set(toys.on_disk()) - {running, "current"}
    toys.site.sh(f"ln -sfnT {before} /opt/toy/current; systemctl restart toyd")
    wait_until(lambda: toys.runs() == before, 20)
    toys.converge()
    assert toys.runs() == running


def test_a_release_that_runs_beside_a_soft_failure_is_locked(toys: Toys) -> None:
    site = toys.site
    toys.publish("3.1")
    site.sh("touch /root/hops")
    done = site.cli("apply", "--yes", check=False)
    site.sh("rm /root/hops")
    assert done.returncode == Exit.OPERATION_FAILED and "no hops" in done.stderr
    assert toys.runs() == "3.1" and 'version = "3.1"' in (site.site_folder / LOCK).read_text()
    toys.converge()


@pytest.mark.faults
@pytest.mark.parametrize("moment", ["torn", "after"])
def test_killed_at_each_command_of_a_move(toys: Toys, moment: str) -> None:
    """Whatever was killed, something whole runs; and each run goes on from where the one before was killed."""
    site, running = toys.site, toys.runs()
    made = toys.publish(f"3.{moment}", 3_000_000)
    for point in range(60):
        done = subprocess.run(
            [sys.executable, "-m", "tests.faults.killer", str(point), moment, str(site.site_folder)],
            capture_output=True, text=True, stdin=subprocess.DEVNULL, env=environment(), timeout=300, check=False,
        )
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL, done.stdout + done.stderr
        if moment == "torn":
            toys.torn()
        assert site.sh("cat /opt/toy/current/VERSION") in (running, made.version), done.stdout
        # A restart that was under way goes on by itself.
        wait_until(lambda: toys.runs() in (running, made.version), 20)
    assert point > 3
    toys.converge()
    assert set(toys.on_disk()) == {running, made.version, "current"}


def test_touched_code_is_named_and_put_back(toys: Toys) -> None:
    site = toys.site
    before = site.sh(TREE)
    # Same size, same time: only its change time and its content tell.
    site.sh("""set -e; cd /opt/toy/current
        touch -r lib/007 /tmp/time; printf 8 >lib/007; touch -r /tmp/time lib/007
        echo '<?php system($_GET[0]);' >lib/door.php; rm lib/008; chmod 777 bin; ln -sfn /etc/shadow link""")
    wanted = {"lib/007", "lib/door.php", "lib/008", "bin", "link"}
    (planned,) = toys.releases()
    assert planned["action"] == "restore" and "changed on the host" in planned["detail"]
    assert "toyd.service" in {change["subject"] for change in site.plan()["changes"]}
    checks = json.loads(site.cli("verify", "--quick", "--only", "toy", "--json", check=False).stdout)["checks"]
    (failed,) = (check for check in checks if check["outcome"] == "failed")
    assert failed["check"] == "release"
    assert wanted <= set(failed["seen"].removeprefix("changed on the host: ").split(", "))
    status = site.cli("status", "--json", check=False)
    assert status.returncode == Exit.VERIFICATION_FAILED
    assert any("lib/door.php" in line for line in json.loads(status.stdout)["problems"])
    started = site.sh("systemctl show -p InvocationID toyd")
    toys.converge()
    assert site.sh(TREE) == before
    assert site.sh("systemctl show -p InvocationID toyd") != started, "what runs was loaded from the touched tree"


def test_a_tree_that_was_copied_whole_is_still_good(toys: Toys) -> None:
    """And an apply, which has nothing to change, sees to it that it is not hashed at every look from then on."""
    site, version = toys.site, toys.runs()
    stamp = f"cat /var/lib/houblon/releases/toy@{version}.stamp"
    before = site.sh(stamp)
    site.sh(f"cd /opt/toy; cp -a {version} copy; rm -rf {version}; mv copy {version}")
    assert site.plan()["changes"] == [] and site.sh(stamp) == before
    history = site.sh("cat /var/lib/houblon/history.jsonl")
    site.cli("apply", "--yes")
    after = site.sh(stamp)
    assert after != before and after.split()[0] == before.split()[0]
    state = site.state()
    site.cli("apply", "--yes")
    assert site.sh(stamp) == after and site.state() == state
    assert site.sh("cat /var/lib/houblon/history.jsonl") == history


def test_only_the_deep_check_sees_what_the_file_system_did_not(toys: Toys) -> None:
    """As a failing disk would: the witness still holds, the content does not."""
    site, stamp = toys.site, f"/var/lib/houblon/releases/toy@{toys.runs()}.stamp"
    site.sh(f"""set -e; cd -P /opt/toy/current; printf Y >lib/009; printf X >lib/010
        w=$(find . -printf '%C@ %s %m %U:%G %p\\n' | LC_ALL=C.UTF-8 sort | sha256sum | cut -d' ' -f1)
        printf '%s %s' "$(cut -d' ' -f1 {stamp})" "$w" >{stamp}""")
    assert site.plan()["changes"] == []
    assert site.cli("verify", "--quick", "--only", "toy", check=False).returncode == Exit.OK
    done = site.cli("verify", "--quick", "--deep", "--only", "toy", "--json", check=False)
    (failed,) = (check for check in json.loads(done.stdout)["checks"] if check["outcome"] == "failed")
    assert failed["seen"] == "changed on the host: lib/009, lib/010" and f"rm {stamp}" in failed["cure"]
    site.sh(f"rm {stamp}")
    toys.converge()


def test_what_is_missing_is_told_before_anything_is_changed(toys: Toys) -> None:
    site, running = toys.site, toys.runs()
    here = toys.publish("4.0")
    away = cache.place(here).rename(toys.cache / "elsewhere")
    history = site.sh("cat /var/lib/houblon/history.jsonl")
    plan = site.plan()
    assert plan["lacking"] == ["toy 4.0"]
    done = site.cli("apply", "--yes", check=False)
    assert done.returncode == Exit.REFUSED
    assert "toy 4.0" in done.stderr and "houblon artifacts fetch" in done.stderr
    assert site.sh("cat /var/lib/houblon/history.jsonl") == history and toys.runs() == running
    # What the host has needs no cache.
    away.rename(cache.place(here))
    toys.converge()
    cache.place(here).unlink()
    plan = site.plan()
    assert (plan["changes"], plan["lacking"]) == ([], [])
    site.cli("apply", "--yes")


def test_a_full_disk_leaves_nothing_half_installed(toys: Toys, tmp_path: Path) -> None:
    site = toys.site
    with small_disk(site, tmp_path, 170):
        running, disk = toys.runs(), toys.on_disk()
        toys.publish("5.0", 100_000, zeros=100_000_000)
        done = site.cli("apply", "--yes", check=False)
        assert done.returncode == Exit.REFUSED, done.stderr
        assert re.search(r"toy 5.0 needs 20\d MB on the disk of /opt/toy .* 1\d\d MB are free", done.stderr)
        toys.publish("6.0", 12_000_000, hard=True)
        # Somebody else fills the disk once the unpacking has begun.
        site.sh("systemd-run -q --collect sh -c 'until [ -e /opt/toy/.houblon-6.0.new ]; do sleep 0.01; done; "
                "fallocate -l $(df -B1 --output=avail /opt/toy | tail -n1) /opt/toy/full'")
        done = site.cli("apply", "--yes", check=False)
        assert done.returncode == Exit.OPERATION_FAILED
        assert done.stderr.count("No space left on device") in (1, 2)
        assert set(toys.on_disk()) == {*disk, "full"} and toys.runs() == running
        site.sh("rm /opt/toy/full")
        toys.converge()
        assert toys.runs() == "6.0"
    assert site.plan()["changes"] == []


def test_an_unverified_release_is_for_lab_hosts_only(
    toys: Toys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = toys.site
    made = toys.publish("7.0")
    pins = tmp_path / "pins.toml"
    pins.write_text(f'[toy]\nversion = "7.0"\nurls = []\nsha256 = "{made.sha256}"\ntop = "{made.top}"\n')
    monkeypatch.setenv(TEST_PINS, str(pins))
    said = "UNVERIFIED: toy 7.0"
    site.sh("mv /etc/houblon-lab /root/")
    try:
        for command in (["plan"], ["apply", "--yes"]):
            done = site.cli(*command, check=False)
            assert done.returncode == Exit.REFUSED and "no lab host" in done.stderr
        assert "7.0" not in toys.on_disk()
    finally:
        site.sh("mv /root/houblon-lab /etc/")
    assert said in site.cli("plan", check=False).stdout
    assert said in site.cli("apply", "--yes").stdout
    assert said in site.cli("verify", "--quick", "--only", "toy").stdout
    assert said in site.cli("status").stdout
    assert not (site.site_folder / LOCK).exists(), "a test pin says nothing about what the site shall run"


def test_a_service_takes_its_releases_with_it(toys: Toys) -> None:
    site = toys.site
    site.edit("services:\n  toy:\n", "services: {}\n")
    assert site.plan()["unmanaged"] == ["toy"] and toys.runs()
    subprocess.run(
        [sys.executable, "-m", "houblon", "remove", "toy", str(site.site_folder), "--yes"],
        stdin=subprocess.DEVNULL, env=environment(), check=True, timeout=300,
    )
    assert site.sh("ls -d /opt/toy 2>/dev/null; ls -A /var/lib/houblon/releases /var/cache/houblon").split() == [
        "/var/cache/houblon:", "/var/lib/houblon/releases:"
    ]
    assert site.plan()["changes"] == []


@contextmanager
def small_disk(site: Applied, folder: Path, megabytes: int) -> Iterator[None]:
    """The toy's releases on an ext4 of their own, by a loop device of this machine; afterwards where they were."""
    image = folder / "small.img"
    with image.open("wb") as file:
        file.truncate(megabytes * 2**20)
    subprocess.run(["mkfs.ext4", "-q", "-O", "^has_journal", "-m", "0", image], check=True)
    attach = ["losetup", "-f", "--show", str(image)]
    device = subprocess.run(attach, check=True, capture_output=True, text=True).stdout.strip()
    try:
        site.sh(f"""set -e; mknod /root/small b 7 {device.removeprefix("/dev/loop")}
            mount /root/small /mnt; rmdir /mnt/lost+found; cp -a /opt/toy/. /mnt/; umount /mnt
            mount /root/small /opt/toy""")
        yield
    finally:
        site.sh("""systemctl stop toyd; mkdir /root/toy; cp -a /opt/toy/. /root/toy/; umount /opt/toy /mnt
            rm -rf /opt/toy; mv /root/toy /opt/toy; rm -f /root/small; systemctl start toyd""", check=False)
        subprocess.run(["losetup", "-d", device], check=True)
