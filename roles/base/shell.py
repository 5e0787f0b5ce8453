"""The few things of a base system that are no file: each a read-only check, and what makes it pass."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from shlex import quote

Pair = tuple[str, str]
"""A check and the command that brings about what it looks for."""


def clock_and_names(hostname: str, timezone: str, locales: Iterable[str]) -> dict[str, Pair]:
    """The running hostname, the time zone and the compiled locales."""
    zone = f"/usr/share/zoneinfo/{timezone}"
    # `locale -a` writes fr_FR.utf8 where locale.gen says fr_FR.UTF-8.
    wanted = [name.replace("UTF-8", "utf8") for name in locales]
    present = " && ".join(f"printf '%s\\n' \"$have\" | grep -qxF {quote(name)}" for name in wanted)
    return {
        "running hostname": (
            f'[ "$(cat /proc/sys/kernel/hostname)" = {quote(hostname)} ]',
            "hostname -F /etc/hostname",
        ),
        "time zone": (
            f'[ "$(readlink /etc/localtime)" = {quote(zone)} ]',
            f"test -e {quote(zone)} && ln -sfn {quote(zone)} /etc/localtime",
        ),
        "compiled locales": (f'have="$(locale -a 2>/dev/null)" && {present}', "locale-gen >/dev/null"),
        # Debian 13 ships this link; Debian 12 has a file of its own that PAM reads instead of ours.
        "one locale for all": (
            '[ "$(readlink /etc/default/locale)" = ../locale.conf ]',
            "ln -sfn ../locale.conf /etc/default/locale",
        ),
    }


def never_expires(user: str) -> Pair:
    """Neither the password nor the account has a last day (shadow(5): fields 3, 5, 7 and 8).

    With a key and no password typed at login, nobody sees the warnings: PAM would refuse sudo, and then SSH
    itself, on a day long after the mistake.
    """
    name = quote(user)
    check = (
        f"getent shadow {name} | "
        "awk -F: '{ exit !($3 != \"0\" && ($5 == \"\" || $5 >= 99999) && $7 == \"\" && $8 == \"\") }'"
    )
    return check, f"chage -d \"$(date +%F)\" -M 99999 -I -1 -E -1 {name}"


def sysctl(values: Mapping[str, int]) -> Pair:
    """Live kernel settings, where they can be set at all: in a container most of /proc/sys is read-only.

    `cat` and not `read`, which in dash takes one byte at a time, and /proc/sys gives only the first.
    """
    table = "".join(f"{key.replace('.', '/')} {value}\n" for key, value in sorted(values.items()))
    loop = "while read -r key want; do file=/proc/sys/$key; [ -w \"$file\" ] || continue; {}; done"
    here = f" <<'END'\n{table}END\n"
    collect = loop.format('set -- "$@" "$file"; all="$all${all:+ }$want"')
    check = f'set --; all=; {collect}{here}[ $# -eq 0 ] || [ "$(cat "$@" | xargs)" = "$all" ]\n'
    return check, loop.format('echo "$want" >"$file"') + here


_CRON = "find /etc/crontab /etc/cron.* -maxdepth 0 -perm /077"
CRON_CHECK = f'[ -z "$({_CRON} 2>/dev/null)" ]'
CRON_RUN = f"{_CRON} -exec chmod go-rwx {{}} + 2>/dev/null || :"

SWAP_CHECK = """\
systemd-detect-virt --container --quiet && exit 0
[ "$(wc -l </proc/swaps)" -gt 1 ] && exit 0
[ "$(awk '/^MemTotal/ { print $2 }' /proc/meminfo)" -ge 3000000 ] && exit 0
[ "$(df -k --output=avail / | tail -n 1)" -lt 4000000 ]
"""
"""Nothing to do in a container (swapon is refused there), with any swap, with 3 GB of RAM, on a full disk."""

SWAP_RUN = """\
set -e
size=2048
[ "$(df -k --output=avail / | tail -n 1)" -lt 16000000 ] && size=1024
if [ ! -e /swapfile ]; then
    umask 077
    case "$(stat -f -c %T /)" in btrfs) touch /swapfile.new && chattr +C /swapfile.new;; esac
    dd if=/dev/zero of=/swapfile.new bs=1M count="$size" status=none
    mkswap --quiet /swapfile.new
    mv /swapfile.new /swapfile
fi
systemctl daemon-reload
systemctl enable --now --quiet swapfile.swap
"""

_CLOCKS = "systemd-timesyncd.service chrony.service ntpsec.service openntpd.service"
CLOCK_CHECK = f"systemd-detect-virt --container --quiet || systemctl is-active --quiet {_CLOCKS}"
"""A container has its host's clock. Whatever already keeps the time is left to do so."""

CLOCK_RUN = """\
set -e
if [ ! -e /lib/systemd/system/systemd-timesyncd.service ]; then
    DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends systemd-timesyncd >/dev/null
fi
systemctl enable --now --quiet systemd-timesyncd.service
"""
