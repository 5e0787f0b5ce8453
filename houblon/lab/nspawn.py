"""Lab hosts as systemd-nspawn containers on overlayfs: two seconds from nothing to a login."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from houblon.errors import OperationFailed, Refused
from houblon.lab.driver import Seed
from houblon.lab.state import HostState, LabState, cache_dir

# A machine may still mount cgroup v1; a container of its own mount namespace gets cgroup2 all the same.
CGROUP2 = """
if [ "$(stat -fc %T /sys/fs/cgroup)" != cgroup2fs ]; then
  umount -R /sys/fs/cgroup
  mount -t cgroup2 cgroup2 /sys/fs/cgroup
fi
"""
# A cgroup for each container: in the caller's, two of them would share their units' and kill each other's.
BOOT = f"""set -e
{CGROUP2}
top=/sys/fs/cgroup/houblon-lab
mkdir -p "$top/$GROUP"
for dir in "$top" "$top/${{GROUP%/*}}"; do
  for controller in cpu memory pids io; do
    echo "+$controller" 2>/dev/null > "$dir/cgroup.subtree_control" || true
  done
done
echo $$ > "$top/$GROUP/cgroup.procs"
mount -t overlay overlay -o "lowerdir=$LOWERS,upperdir=$DISK/upper,workdir=$DISK/work" "$DISK/root"
stat -c 'inode-%d:%i' "$DISK/root" > "$DISK/lock"  # nspawn's name for its lock file
echo $$ > "$DISK/pid.new" && mv "$DISK/pid.new" "$DISK/pid"
exec systemd-nspawn -q --register=no --keep-unit -M "$MACHINE" --hostname="$HOST" -D "$DISK/root" \\
  --network-bridge="$BRIDGE" --resolv-conf=off --timezone=off --link-journal=no -b \\
  --capability=CAP_NET_ADMIN --system-call-filter='@keyring bpf'
"""
KILL = f"""
{CGROUP2}
group="/sys/fs/cgroup/houblon-lab/$GROUP"
[ -d "$group" ] || exit 0
echo 1 > "$group/cgroup.kill"
for try in $(seq 200); do grep -q 'populated 0' "$group/cgroup.events" && break; sleep 0.05; done
find "$group" -depth -type d -exec rmdir {{}} \\;
rmdir --ignore-fail-on-non-empty "${{group%/*}}" /sys/fs/cgroup/houblon-lab 2>/dev/null
[ ! -d "$group" ]
"""
# What makes a host that host, or only takes room; a layer must not have it.
IDENTITY = (
    "etc/hostname", "etc/hosts", "etc/machine-id", "etc/resolv.conf", "etc/systemd/network",
    "etc/ssh/ssh_host_*", "etc/apt/apt.conf.d/90operator", "root/.ssh", "var/cache/apt/archives",
    "var/lib/dbus/machine-id", "var/lib/systemd/random-seed", "var/log/journal", "var/tmp", "tmp", "run",
)  # fmt: skip


class Nspawn:
    """Needs root and Linux 5.14 (cgroup.kill)."""

    def prepare(self, lab: LabState, host: HostState, seeds: list[Seed]) -> None:
        disk = _disk(lab, host)
        for name in ("upper", "work", "root"):
            (disk / name).mkdir(parents=True, exist_ok=True)
        # The root directory of the host has this mode, whatever the caller's umask.
        (disk / "upper").chmod(0o755)
        for seed in seeds:
            path = disk / "upper" / seed.path
            _make_parents(disk / "upper", seed.path, [Path(lower) for lower in host.lowers])
            path.unlink(missing_ok=True)
            if seed.link:
                path.symlink_to(seed.link)
            else:
                path.write_text(seed.content)
                path.chmod(seed.mode)
        _lend_packages(lab, host)

    def boot(self, lab: LabState, host: HostState) -> None:
        disk = _disk(lab, host)
        if self.running(lab, host):
            raise Refused(f"{host.name} is running already", cure="Power it off first.")
        # A veth disappears a moment after the container that held its other end.
        _wait(lambda: not Path(f"/sys/class/net/vb-{host.machine}").exists(), 10)
        (disk / "pid").unlink(missing_ok=True)
        environment = {
            "PATH": os.environ["PATH"],
            "GROUP": f"{lab.id}/{host.name}",
            "LOWERS": ":".join(host.lowers),
            "DISK": str(disk),
            "MACHINE": host.machine,
            "HOST": host.name,
            "BRIDGE": lab.bridge,
            "LC_ALL": "C",
        }
        with (disk / "log").open("ab") as log:
            # --fork: the container is nobody's child, so it never becomes a zombie of a long-lived caller.
            subprocess.run(
                ["setsid", "--fork", "unshare", "--mount", "sh", "-c", BOOT],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, cwd="/", check=True,
            )  # fmt: skip
        if not _wait(lambda: self.running(lab, host), 10):
            raise OperationFailed(f"{host.name} did not start:\n{self.log(lab, host)}", cure="See the log above.")

    def running(self, lab: LabState, host: HostState) -> bool:
        return _pid(lab, host) is not None

    def log(self, lab: LabState, host: HostState) -> str:
        try:
            return (_disk(lab, host) / "log").read_text(errors="replace")[-2000:]
        except FileNotFoundError:
            return ""

    def power_off(self, lab: LabState, host: HostState) -> None:
        if (pid := _pid(lab, host)) is None:
            return
        os.kill(pid, signal.SIGTERM)  # nspawn passes it on as "power off"
        if not _wait(lambda: _pid(lab, host) is None, 100):
            raise OperationFailed(f"{host.name} did not shut down in 100 s:\n{self.log(lab, host)}", cure="Kill it.")
        self.kill(lab, host)

    def kill(self, lab: LabState, host: HostState) -> None:
        environment = {"PATH": os.environ["PATH"], "GROUP": f"{lab.id}/{host.name}"}
        result = subprocess.run(
            ["unshare", "--mount", "sh", "-c", KILL],
            capture_output=True,
            text=True,
            env=environment,
            check=False,
        )
        if result.returncode:
            raise OperationFailed(f"{host.name} cannot be killed: {result.stderr}", cure="See what holds it.")
        disk = _disk(lab, host)
        (disk / "pid").unlink(missing_ok=True)
        # A killed nspawn leaves its lock file.
        if (disk / "lock").exists() and (name := (disk / "lock").read_text().strip()):
            (Path("/run/systemd/nspawn/locks") / name).unlink(missing_ok=True)
            (disk / "lock").unlink()
        _keep_packages(lab, host)

    def console(self, lab: LabState, host: HostState, argv: list[str]) -> list[str]:
        path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        enter = [
            "nsenter",
            "--target",
            _init(lab, host),
            "--mount",
            "--uts",
            "--ipc",
            "--net",
            "--pid",
            "--root",
            "--wd",
        ]
        return [*enter, "env", "-i", path, "HOME=/root", "USER=root", "LC_ALL=C.UTF-8", *argv]

    def beside(self, lab: LabState, host: HostState, argv: list[str]) -> list[str]:
        return ["nsenter", f"--net=/proc/{_init(lab, host)}/ns/net", *argv]

    def freeze(self, lab: LabState, host: HostState, destination: Path) -> None:
        if self.running(lab, host):
            raise Refused(f"{host.name} is running", cure="Power it off before its disk is frozen.")
        disk = _disk(lab, host)
        _keep_packages(lab, host)
        remove_files([path for name in IDENTITY for path in (disk / "upper").glob(name)])
        shutil.move(disk / "upper", destination)
        remove_files([disk / "work"])

    def destroy(self, lab: LabState, host: HostState) -> None:
        self.kill(lab, host)
        for path in Path("/run/systemd/nspawn").glob(f"*/{host.machine}"):
            shutil.rmtree(path, ignore_errors=True)
        _wait(lambda: not Path(f"/sys/class/net/vb-{host.machine}").exists(), 10)


def _disk(lab: LabState, host: HostState) -> Path:
    return lab.directory / "hosts" / host.name


def _init(lab: LabState, host: HostState) -> str:
    """The host's first process, as this machine numbers it."""
    pid = _pid(lab, host)
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split() if pid else []
    if not children:
        raise Refused(f"{host.name} is not running", cure="Boot it first.")
    return children[0]


def _pid(lab: LabState, host: HostState) -> int | None:
    """The container's nspawn process. Its cgroup proves it: a recycled pid is not in it, a zombie neither."""
    try:
        pid = int((_disk(lab, host) / "pid").read_text())
        groups = Path(f"/proc/{pid}/cgroup").read_text()
        zombie = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError, ValueError):
        return None
    return pid if f"/houblon-lab/{lab.id}/{host.name}" in groups and not zombie else None


def _wait(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _make_parents(upper: Path, path: str, lowers: list[Path]) -> None:
    """A directory in the upper replaces the lower's mode and owner: take them over."""
    for parent in reversed(Path(path).parents[:-1]):
        target = upper / parent
        if target.is_dir():
            continue
        target.mkdir()
        target.chmod(0o755)
        below = next((lower / parent for lower in lowers if (lower / parent).is_dir()), None)
        if below:
            # Not copystat: it copies overlayfs's own attributes, and "opaque" would hide the lower.
            target.chmod(below.stat().st_mode & 0o7777)
            os.chown(target, below.stat().st_uid, below.stat().st_gid)


def _archives(host: HostState) -> Path:
    release = next((Path(lower).parent.name for lower in host.lowers if "/base-" in lower), "other")
    return cache_dir() / "archives" / release


def _lend_packages(lab: LabState, host: HostState) -> None:
    """Hard links of every package that any host has fetched: no download, no lock shared between hosts.

    apt checks their hashes, and renames new ones into place, so that a host cannot spoil another's.
    """
    packages = list(_archives(host).glob("*.deb"))
    if packages:
        _make_parents(_disk(lab, host) / "upper", "var/cache/apt/archives/x", [Path(low) for low in host.lowers])
    for package in packages:
        target = _disk(lab, host) / "upper/var/cache/apt/archives" / package.name
        if not target.exists():
            os.link(package, target)


def _keep_packages(lab: LabState, host: HostState) -> None:
    """Take what a host has fetched into the cache."""
    archives = _archives(host)
    for package in (_disk(lab, host) / "upper/var/cache/apt/archives").glob("*.deb"):
        archives.mkdir(parents=True, exist_ok=True)
        if package.is_file() and not (archives / package.name).exists():
            try:
                os.link(package, archives / package.name)
            except OSError:  # another lab kept it first, or the cache is on another disk
                continue


def remove_files(paths: list[Path]) -> None:
    if not paths:
        return
    command = ["rm", "-rf", "--one-file-system", *map(str, paths)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        # Hosts may make files immutable (chattr +i), and those are ours to delete now.
        subprocess.run(["chattr", "-R", "-f", "-i", "-a", *map(str, paths)], capture_output=True, check=False)
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode:
            raise OperationFailed(f"cannot remove a lab's files: {result.stderr}", cure="See what holds them.")
