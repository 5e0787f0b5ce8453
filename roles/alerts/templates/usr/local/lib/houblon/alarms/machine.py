"""Causes in the machine itself: disks, memory, clock, updates, software past its end of life."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from .book import DAY, HOUR, MINUTE, Finding
from .run import Unknown, output
from .words import Say, span

FULL_WARN, FULL_ALARM = 85, 95
"""Percent of a disk, or of its inodes, in use; the same as `houblon status`."""
REAL = {"ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "bcachefs", "zfs", "vfat", "nfs", "nfs4", "overlay"}
"""Kinds of file systems that fill up and that matter."""
REMOUNTED = {"ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "bcachefs"}
"""Kinds that the kernel makes read-only when the disk fails."""
MEMORY_PERCENT, MEMORY_PATIENCE = 5, 5 * MINUTE
REBOOT_PATIENCE = 7 * DAY
SECURITY_PATIENCE = 2 * DAY
LISTS_DAYS = 4
"""Package lists are read daily; `unattended-upgrades` sees nothing new without them."""
CLOCK_PATIENCE = HOUR
STAMPS = [Path("/var/lib/apt/periodic") / name for name in ("update-success-stamp", "update-stamp")]
"""What a successful daily update touches; apt's cache is written by mere looks, too."""
LISTS = Path("/var/lib/apt/lists")
"""Stands in until the first daily update; tries that fail touch it as well."""
EOL_WARN = 90 * DAY
MOUNTS = Path("/proc/1/mountinfo")
MEMINFO = Path("/proc/meminfo")
REBOOT = Path("/run/reboot-required")
DEBIAN = Path("/usr/share/distro-info/debian.csv")
Config = Mapping[str, Any]
Memory = dict[str, Any]

# --- file systems -----------------------------------------------------------------------------------------


def mounts(text: str) -> dict[str, tuple[str, bool]]:
    """Kind of each file system by its first mount point, and whether it is read-only (proc(5), mountinfo).

    Read-only for the file system itself: a mount may be so for good reasons.
    """
    found: dict[str, tuple[str, str, bool]] = {}
    for line in text.splitlines():
        left, _, right = line.partition(" - ")
        fields, (kind, *_, options) = left.split(), right.split()
        point = re.sub(r"\\(\d{3})", lambda code: chr(int(code[1], 8)), fields[4])
        if kind in REAL and not point.startswith(("/run/", "/proc/", "/sys/")):
            found.setdefault(fields[2], (point, kind, "ro" in options.split(",")))
    return {point: (kind, ro) for point, kind, ro in found.values()}


def disks(config: Config, memory: Memory, now: int, say: Say) -> Iterator[Finding]:
    """File systems that are full, or that will be within a day, and those that have become read-only."""
    history: dict[str, list[list[int]]] = memory.setdefault("disks", {})
    found = mounts(MOUNTS.read_text())
    for point, (kind, read_only) in sorted(found.items()):
        if read_only and kind in REMOUNTED:
            yield from _read_only(point, say)
        try:
            stat = os.statvfs(point)
        except OSError as error:
            title = say(en=f"{point} cannot be looked at", fr=f"{point} est illisible")
            yield Finding(f"disk:{point}", title, str(error))
            continue
        if not stat.f_blocks or read_only:
            continue
        used = percent(stat.f_blocks - stat.f_bfree, stat.f_bavail)
        free_mb = stat.f_bavail * stat.f_frsize // 2**20
        if used >= FULL_WARN:
            yield Finding(
                f"disk:{point}",
                say(en=f"the disk {point} is full", fr=f"le disque {point} est plein") if used >= FULL_ALARM
                else say(en=f"the disk {point} fills up", fr=f"le disque {point} se remplit"),
                say(en=f"{used} % of it is in use, {free_mb} MB are free. ",
                    fr=f"Il est utilisé à {used} %, il reste {free_mb} Mo. ") + _make_room(point, say),
                grave=used >= FULL_ALARM,
            )  # fmt: skip
        inodes = percent(stat.f_files - stat.f_ffree, stat.f_favail) if stat.f_files else 0
        if inodes >= FULL_WARN:
            yield Finding(
                f"inodes:{point}",
                say(en=f"the disk {point} has too many files", fr=f"le disque {point} a trop de fichiers"),
                say(en=f"{inodes} % of its inodes are in use: there is room, but soon no new file can be made. "
                    f"`du --inodes -x {point} | sort -n | tail` shows where they are.",
                    fr=f"{inodes} % de ses inodes sont utilisés : il y a de la place, mais bientôt plus aucun fichier "
                    f"ne pourra être créé. `du --inodes -x {point} | sort -n | tail` montre où ils sont."),
                grave=inodes >= FULL_ALARM,
            )  # fmt: skip
        free = stat.f_bavail * stat.f_frsize // 2**20
        samples = [s for s in history.get(point, ()) if now - s[0] <= 6 * HOUR]
        if not samples or now - samples[-1][0] >= 10 * MINUTE:
            samples.append([now, free])
        history[point] = samples
        hours = hours_left(samples, now, free)
        if hours is not None and used < FULL_WARN:
            yield Finding(
                f"growth:{point}",
                say(en=f"the disk {point} will be full in about {hours} h", fr=f"le disque {point} sera plein dans "
                    f"environ {hours} h"),
                say(en=f"{samples[0][1] - free} MB were written within {span(now - samples[0][0], 'en')}. ",
                    fr=f"{samples[0][1] - free} Mo ont été écrits en {span(now - samples[0][0], 'fr')}. ")
                + _make_room(point, say),
            )  # fmt: skip
    for point in set(history) - set(found):
        del history[point]


def percent(used: int, available: int) -> int:
    """Share in use as df(1) counts: of what users other than root can have, rounded up."""
    whole = used + available
    return -(-100 * used // whole) if whole > 0 else 0


def hours_left(samples: list[list[int]], now: int, free_mb: int) -> int | None:
    """Hours until a disk that goes on like this is full; None when that is a day or more, or unknown.

    :param samples: time and free megabytes, oldest first. An hour of them is needed: a backup or an upgrade
        writes much for some minutes and then stops.
    """
    if not samples or now - samples[0][0] < HOUR:
        return None
    rate = (samples[0][1] - free_mb) / (now - samples[0][0])
    recent = [s for s in samples if now - s[0] >= 20 * MINUTE]
    still = recent and recent[-1][1] > free_mb
    if rate <= 0 or not still or free_mb / rate >= DAY:
        return None
    return max(1, int(free_mb / rate / HOUR))


def _read_only(point: str, say: Say) -> Iterator[Finding]:
    wanted = False
    if (table := Path("/etc/fstab")).exists():
        rows = [line.split() for line in table.read_text(errors="replace").splitlines() if not line.startswith("#")]
        wanted = any(len(row) > 3 and row[1] == point and "ro" in row[3].split(",") for row in rows)
    if not wanted:
        yield Finding(
            f"readonly:{point}",
            say(en=f"nothing can be written to {point}", fr=f"plus rien ne peut être écrit dans {point}"),
            say(en="The kernel makes a file system read-only when its disk fails. Save what you can, look at `dmesg`, "
                "and ask your provider to replace the disk.",
                fr="Le noyau passe un système de fichiers en lecture seule quand son disque lâche. Sauvez ce qui peut "
                "l’être, regardez `dmesg`, et faites remplacer le disque par votre hébergeur."),
        )  # fmt: skip


def _make_room(point: str, say: Say) -> str:
    return say(
        en=f"On the host, `du -xh --max-depth=2 {point} | sort -h | tail` shows what takes the room; "
        "`apt clean` and `journalctl --vacuum-size=500M` give some back.",
        fr=f"Sur l’hôte, `du -xh --max-depth=2 {point} | sort -h | tail` montre ce qui prend la place ; "
        "`apt clean` et `journalctl --vacuum-size=500M` en rendent un peu.",
    )


# --- memory -----------------------------------------------------------------------------------------------


def memory(config: Config, memory: Memory, now: int, say: Say) -> Iterator[Finding]:
    """Memory that runs out, and processes that the kernel has killed for it."""
    values = {k: int(v) for k, v in re.findall(r"^(\w+):\s+(\d+)", MEMINFO.read_text(), re.M)}
    total, available = values.get("MemTotal", 0), values.get("MemAvailable", 0)
    if not total:
        raise Unknown("/proc/meminfo shows no MemTotal")
    if available * 100 < total * MEMORY_PERCENT:
        yield Finding(
            "memory",
            say(en="the host runs out of memory", fr="l’hôte n’a presque plus de mémoire"),
            say(en=f"{available // 1024} of {total // 1024} MB are available. ",
                fr=f"Il reste {available // 1024} Mo sur {total // 1024}. ") + _memory_advice(say),
            patience=MEMORY_PATIENCE,
        )  # fmt: skip
    killed = killed_for_memory(output([
        "journalctl", "-q", "--no-pager", "-o", "cat", "--since", "-1h", "_TRANSPORT=kernel", "+", "_PID=1", "-g",
        "Out of memory: Killed process|emory cgroup out of memory: Killed process|killed by the OOM killer",
    ], fine=(0, 1)))  # fmt: skip
    if killed:
        names = ", ".join(killed)
        yield Finding(
            "oom",
            say(en=f"the kernel killed {names} for want of memory", fr=f"le noyau a tué {names}, faute de mémoire"),
            _memory_advice(say),
        )  # fmt: skip


def killed_for_memory(text: str) -> list[str]:
    """Programs and units in the kernel's and systemd's lines about want of memory."""
    found = re.findall(r"Killed process \d+ \(([^)]+)\)", text)
    found += re.findall(r"^(\S+): A process of this unit has been killed by the OOM killer", text, re.M)
    return sorted(set(found))


def _memory_advice(say: Say) -> str:
    return say(
        en="On the host, `systemd-cgtop -m` shows who takes it. Restart that service, take one away, or rent more "
        "memory.",
        fr="Sur l’hôte, `systemd-cgtop -m` montre qui la prend. Redémarrez ce service, retirez-en un, ou louez plus de "
        "mémoire.",
    )


# --- clock ------------------------------------------------------------------------------------------------


def clock(config: Config, memory: Memory, now: int, say: Say) -> Iterator[Finding]:
    """A clock that nobody sets right. A container has its machine's clock, and nothing to say about it."""
    if contained():
        return
    if output(["timedatectl", "show", "-P", "NTPSynchronized"]).strip() != "yes":
        yield Finding(
            "clock",
            say(en="the clock is not synchronised", fr="l’horloge n’est pas synchronisée"),
            say(en="Certificates and one-time passwords need the right time. `timedatectl timesync-status` on the host "
                "says which server it asks; UDP port 123 must be open towards it.",
                fr="Les certificats et les codes à usage unique ont besoin de l’heure juste. `timedatectl "
                "timesync-status` sur l’hôte dit quel serveur est interrogé ; le port UDP 123 doit être ouvert vers "
                "lui."),
            grave=False, patience=CLOCK_PATIENCE,
        )  # fmt: skip


def contained() -> bool:
    """Whether this is a container."""
    try:
        return bool(output(["systemd-detect-virt", "-c"]))
    except Unknown:
        return False


# --- updates ----------------------------------------------------------------------------------------------


def reboot(config: Config, memory: Memory, now: int, say: Say) -> Iterator[Finding]:
    """A reboot that updates have been waiting for."""
    if not REBOOT.exists():
        return
    names = Path(f"{REBOOT}.pkgs")
    wanted = sorted(set(names.read_text(errors="replace").split())) if names.exists() else []
    because = f" ({', '.join(wanted[:5])})" if wanted else ""
    yield Finding(
        "reboot",
        say(en=f"the host waits for a reboot{because}", fr=f"l’hôte attend un redémarrage{because}"),
        say(en="Until then it runs the old, vulnerable version. Choose a quiet hour, tell people with `houblon "
            "announce`, then `systemctl reboot`; or let it choose: `base: reboot_at: \"04:00\"` in the site file.",
            fr="D’ici là, l’ancienne version, vulnérable, continue de tourner. Choisissez une heure calme, prévenez "
            "avec `houblon announce`, puis `systemctl reboot` ; ou laissez faire : `base: reboot_at: \"04:00\"` dans "
            "le fichier du site."),
        grave=False, patience=REBOOT_PATIENCE, since=int(REBOOT.stat().st_mtime),
    )  # fmt: skip


def updates(config: Config, memory: Memory, now: int, say: Say) -> Iterator[Finding]:
    """Security updates that nobody installs, and package lists that nobody reads."""
    known = [path for path in STAMPS if path.exists()] or [path for path in (LISTS,) if path.exists()]
    newest = max((int(path.stat().st_mtime) for path in known), default=0)
    if now - newest > LISTS_DAYS * DAY:
        days = (now - newest) // DAY
        yield Finding(
            "lists",
            say(en=f"the host has not heard of updates for {days} days", fr=f"l’hôte n’a pas eu vent des mises à jour "
                f"depuis {days} jours"),
            say(en="`apt update` on the host says why; `journalctl -u apt-daily` shows earlier tries.",
                fr="`apt update` sur l’hôte dit pourquoi ; `journalctl -u apt-daily` montre les essais précédents."),
        )  # fmt: skip
    names = waiting_for_security(output(["apt", "list", "--upgradable"], seconds=60))
    if names:
        yield Finding(
            "security",
            say(en=f"{len(names)} security updates are not installed", fr=f"{len(names)} mises à jour de sécurité ne "
                "sont pas installées"),
            say(en=f"They are for {', '.join(names[:10])}. `unattended-upgrade -v` on the host installs them, or says "
                "what is in the way.",
                fr=f"Elles concernent {', '.join(names[:10])}. `unattended-upgrade -v` sur l’hôte les installe, ou dit "
                "ce qui l’empêche."),
            patience=SECURITY_PATIENCE,
        )  # fmt: skip


def waiting_for_security(text: str) -> list[str]:
    """Packages in `apt list --upgradable` that a security suite has newer."""
    found = re.findall(r"^([^\s/]+)/(\S+) .*\[upgradable from: ", text, re.M)
    return [name for name, suites in found if "-security" in suites]


# --- ends of life -----------------------------------------------------------------------------------------


def software(config: Config, memory: Memory, now: int, say: Say) -> Iterator[Finding]:
    """Software that nobody mends any more: Debian's release, and what roles know of their upstream.

    Pinned releases will come in ``config["software"]`` with a date in ``ends``, as soon as roles pin any.
    """
    codename = os_codename(Path("/etc/os-release").read_text())
    end = debian_end(DEBIAN.read_text(), codename) if DEBIAN.exists() else None
    if end is None:
        raise Unknown(f"{DEBIAN} does not know {codename}")
    for one in [{"key": "debian", "title": f"Debian {codename}", "upstream": "", "ends": end}, *config["software"]]:
        title, ends = one["title"], one.get("ends")
        over = one["upstream"] == "end of life" or bool(ends and now >= ends)
        if over or one["upstream"] == "unmaintained":
            yield Finding(
                f"life:{one['key']}",
                say(en=f"{title} is mended by nobody any more", fr=f"{title} n’est plus corrigé par personne"),
                say(en="New holes in it stay open. Move to a newer release or to other software.",
                    fr="Ses nouvelles failles resteront ouvertes. Passez à une version plus récente ou à un autre "
                    "logiciel."),
                grave=over,
            )  # fmt: skip
        elif ends and ends - now <= EOL_WARN:
            day = datetime.fromtimestamp(ends, UTC).date().isoformat()
            yield Finding(
                f"life:{one['key']}",
                say(en=f"{title} will be mended until {day} only", fr=f"{title} ne sera corrigé que jusqu’au {day}"),
                say(en="Plan the move to the next release.", fr="Prévoyez le passage à la version suivante."),
                grave=False,
            )  # fmt: skip


def os_codename(text: str) -> str:
    """``VERSION_CODENAME`` of os-release(5)."""
    found = re.search(r"^VERSION_CODENAME=\"?(\w+)", text, re.M)
    if not found:
        raise Unknown("/etc/os-release names no release")
    return found[1]


def debian_end(text: str, codename: str) -> int | None:
    """When a release's regular security support ends (distro-info-data's ``eol``); None for one it does not know."""
    for row in csv.DictReader(text.splitlines()):
        if row.get("series") == codename and row.get("eol"):
            day = date.fromisoformat(str(row["eol"]))
            return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())
    return None
