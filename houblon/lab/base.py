"""Cached root file systems: a minimal Debian, and over it the packages of the services host."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from houblon.errors import OperationFailed
from houblon.lab import machine
from houblon.lab.state import cache_dir, locked

Progress = Callable[[str], None]

INCLUDE = "systemd,systemd-sysv,dbus,openssh-server,python3,sudo,iproute2,ca-certificates"
SERVICES = ("knot", "knot-dnsutils", "unbound", "pebble")
SERVICES_RELEASE = "trixie"
RECIPE = 1  # raise it when what is built here changes: older caches are then not taken
# The kernel kills the whole build, and drops its mounts, when this process dies.
TIED = [
    "setpriv",
    "--pdeathsig",
    "KILL",
    "unshare",
    "--mount",
    "--pid",
    "--fork",
    "--kill-child=KILL",
    "--mount-proc",
]


def base(release: str, progress: Progress) -> Path:
    """The directory of a minimal Debian, read-only for its users. Built once (half a minute).

    :raises OperationFailed: mmdebstrap fails; names its last lines.
    """
    sources = machine.debian_sources()
    text = machine.sources_for(release, sources)
    architecture = machine.architecture()

    def build(directory: Path) -> None:
        root = directory / "root"
        options = machine.apt_options()
        lines = [f"deb {s.uri} {release}{s.suffix} {' '.join(s.components)}" for s in sources]
        _run(
            [
                *TIED, "mmdebstrap", "--variant=minbase", f"--include={INCLUDE}",
                f"--architectures={architecture}",
                *(f'--aptopt={key} "{value}"' for key, value in options.items()),
                release, str(root), *lines,
            ],
            progress,
        )  # fmt: skip
        for name in (
            "etc/apt/sources.list",
            "etc/apt/apt.conf.d/99mmdebstrap",
            "etc/hostname",
            "etc/resolv.conf",
        ):
            (root / name).unlink(missing_ok=True)
        for key in (root / "etc/ssh").glob("ssh_host_*"):
            key.unlink()
        (root / "etc/apt/sources.list.d/debian.sources").write_text(text)
        bundle = root / "etc/ssl/certs/ca-certificates.crt"
        for number, pem in enumerate(machine.own_cas(bundle.read_text())):
            (root / f"usr/local/share/ca-certificates/operator-{number}.crt").write_text(pem)
        # Package lists belong to the base: they are the slow half of every host's first `apt-get update`.
        _chroot(directory, root, "update-ca-certificates >/dev/null\napt-get -q update", progress)

    return _cached(f"base-{release}", f"{architecture}{text}{INCLUDE}", build, progress)


def services(progress: Progress) -> list[Path]:
    """The layers of the services host, topmost first."""
    below = base(SERVICES_RELEASE, progress)

    def build(directory: Path) -> None:
        (directory / "root").mkdir()
        (directory / "root").chmod(0o755)
        for name in ("work", "mnt"):
            (directory / name).mkdir()
        root = directory / "mnt"
        layers = f"lowerdir={below},upperdir={directory}/root,workdir={directory}/work"
        script = "apt-get -q update\napt-get -q install -y --no-install-recommends " + " ".join(SERVICES)
        _chroot(
            directory,
            root,
            script + "\napt-get clean",
            progress,
            before=f"mount -t overlay overlay -o {layers} {root}",
        )
        shutil.rmtree(directory / "work")
        root.rmdir()

    return [_cached("services", f"{below.parent.name}{SERVICES}", build, progress), below]


def _cached(kind: str, inputs: str, build: Callable[[Path], None], progress: Progress) -> Path:
    """``CACHE/KIND-HASH/root``, built if it is not there. It comes by rename, hence whole."""
    cache = cache_dir()
    digest = hashlib.sha256(f"{RECIPE}{inputs}".encode()).hexdigest()[:10]
    final = cache / f"{kind}-{digest}"
    if final.is_dir():
        return final / "root"
    with locked(cache / ".lock"):
        if final.is_dir():
            return final / "root"
        for half in cache.glob(".building-*"):
            shutil.rmtree(half)
        directory = Path(tempfile.mkdtemp(prefix=".building-", dir=cache))
        directory.chmod(0o755)
        progress(f"building {final.name} (once)")
        try:
            build(directory)
        except BaseException:
            shutil.rmtree(directory, ignore_errors=True)
            raise
        directory.rename(final)
    return final / "root"


def _chroot(directory: Path, root: Path, script: str, progress: Progress, before: str = "") -> None:
    """Run a script in a root file system, with this machine's network and no daemon started."""
    options = machine.apt_options_text(machine.apt_options())
    (directory / "apt.conf").write_text(options)
    (directory / "script").write_text(f"set -e\nexport DEBIAN_FRONTEND=noninteractive LC_ALL=C\n{script}\n")
    outer = f"""set -e
        {before}
        mount -t proc proc {root}/proc
        mount --rbind /dev {root}/dev
        cat /etc/resolv.conf > {root}/etc/resolv.conf
        cp {directory}/apt.conf {root}/etc/apt/apt.conf.d/90operator
        printf '#!/bin/sh\\nexit 101\\n' > {root}/usr/sbin/policy-rc.d
        chmod 755 {root}/usr/sbin/policy-rc.d
        chroot {root} sh -s < {directory}/script
        rm {root}/etc/resolv.conf {root}/etc/apt/apt.conf.d/90operator {root}/usr/sbin/policy-rc.d"""
    _run([*TIED, "sh", "-c", outer], progress)
    for name in ("apt.conf", "script"):
        (directory / name).unlink()


def _run(command: list[str], progress: Progress) -> None:
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        last: list[str] = []
        try:
            for line in process.stdout or ():
                last = [*last, line.rstrip()][-15:]
                progress(line.rstrip().removeprefix("I: "))
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        raise OperationFailed(
            "building the lab's file system failed:\n" + "\n".join(last),
            cure="Check that this machine reaches its Debian archive (apt update), then try again.",
        )
