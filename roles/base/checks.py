"""What the claims of the base system cannot say: clock, language, journal, updates, kernel, admins."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest

from houblon.claims import tr
from houblon.verify import Broken, not_measurable

CONTAINER = tr(
    en="in a container the kernel, its clock and its swap belong to the machine around it",
    fr="dans un conteneur, le noyau, son horloge et son swap sont ceux de la machine qui l'entoure",
)


def test_hostname(host: Any, role: Any) -> None:
    """The running host has the name of the site."""
    assert host.check_output("cat /proc/sys/kernel/hostname") == role.short_name
    assert host.check_output("hostname -f") == role.site.domain


def test_names_lead_here(host: Any, role: Any) -> None:
    """Every name of the site leads to the host itself, over IPv4 and IPv6."""
    for name in role.names:
        found = set(host.check_output("getent ahosts %s | cut -d ' ' -f 1", name).split())
        assert found == {"127.0.0.1", "::1"}, f"{name}: {' '.join(sorted(found))}"


def test_time_zone(host: Any, role: Any) -> None:
    """The host's time is that of the site's time zone."""
    zone = role.config.timezone
    assert host.check_output("date +%z") == host.check_output("TZ=%s date +%%z", zone)


def test_clock_is_synchronised(host: Any, snapshot: Any) -> None:
    """The clock follows a time server."""
    if snapshot.container:
        not_measurable(CONTAINER)
    assert host.check_output("timedatectl show -p NTPSynchronized --value") == "yes"


def test_clock_agrees_with_ours(host: Any) -> None:
    """The clock is within a minute of the operator's."""
    before = time.time()
    theirs = int(host.check_output("date +%s"))
    assert before - 60 <= theirs <= time.time() + 60, f"the clocks are {abs(theirs - before):.0f} s apart"


def test_languages(host: Any, role: Any) -> None:
    """The locales of the site's languages work."""
    for name in role.locales:
        assert host.check_output("LC_ALL=%s locale charmap", name) == "UTF-8"


def test_journal_settings_are_in_effect(host: Any, role: Any) -> None:
    """No drop-in undoes the journal's size and retention, and it survives a reboot."""
    text = host.check_output("systemd-analyze cat-config --no-pager systemd/journald.conf")
    seen = dict(re.findall(r"^([A-Za-z]+)=(.*)$", text, flags=re.MULTILINE))
    assert seen["Storage"] == "persistent"
    assert seen["MaxRetentionSec"] == f"{role.journal_days}day"
    assert host.run("ls -d /var/log/journal/*/").rc == 0


def test_journal_has_room(host: Any, role: Any) -> None:
    """The journal keeps what it must: its size limit is not reached before its retention."""
    used = int(host.check_output("du -sm /var/log/journal").split()[0])
    if used < 0.9 * role.journal_mb:
        return
    oldest = host.check_output("journalctl --no-pager -q -o short-unix -n +1").split(".")[0]
    days = (time.time() - int(oldest)) / 86400
    if days < role.journal_days:
        raise Broken(
            tr(en=f"the journal keeps {role.journal_days} days", fr=f"le journal garde {role.journal_days} jours"),
            tr(en=f"its {role.journal_mb} MB are full after {days:.0f} days",
               fr=f"ses {role.journal_mb} Mo sont pleins au bout de {days:.0f} jours"),
            tr(en="Find out what fills it with: journalctl -o json | jq -r ._SYSTEMD_UNIT | sort | uniq -c",
               fr="Cherchez ce qui le remplit : journalctl -o json | jq -r ._SYSTEMD_UNIT | sort | uniq -c"),
        )  # fmt: skip


def test_updates_are_automatic(host: Any) -> None:
    """Security updates are looked for and installed every day."""
    text = host.check_output("apt-config dump")
    for line in (
        'APT::Periodic::Update-Package-Lists "1";',
        'APT::Periodic::Unattended-Upgrade "1";',
        'Unattended-Upgrade::Origins-Pattern:: '
        '"origin=Debian,codename=${distro_codename}-security,label=Debian-Security";',
    ):
        assert line in text, line


def test_security_archive_is_configured(host: Any, snapshot: Any) -> None:
    """apt knows Debian's security archive, without which automatic updates bring nothing."""
    if "l=Debian-Security" in host.check_output("LC_ALL=C apt-cache policy"):
        return
    if snapshot.container:
        not_measurable(
            tr(en="a lab host has the archives of the machine it runs on",
               fr="un hôte de laboratoire a les dépôts de la machine qui le porte")
        )  # fmt: skip
    raise Broken(
        tr(en="apt knows Debian's security archive", fr="apt connaît le dépôt de sécurité de Debian"),
        tr(en="there is none in /etc/apt/sources.list.d", fr="il n'y en a pas dans /etc/apt/sources.list.d"),
        tr(en="Add the line that wiki.debian.org/SourcesList shows for security.",
           fr="Ajoutez la ligne que wiki.debian.org/SourcesList donne pour la sécurité."),
    )  # fmt: skip


@pytest.mark.deep
def test_updates_would_work(host: Any) -> None:
    """unattended-upgrades runs through, without changing anything."""
    done = host.run("unattended-upgrade --dry-run", timeout=600)
    assert done.rc == 0, (done.stderr or done.stdout).strip()[-300:]


def test_admins_can_become_root(host: Any, site: Any) -> None:
    """Each admin may use sudo, and has to say a password for it."""
    for admin in site.admins:
        assert "sudo" in host.check_output("id -nG %s", admin.name).split(), admin.name
        allowed = host.check_output("LC_ALL=C sudo -l -U %s", admin.name)
        assert "(ALL : ALL) ALL" in allowed, admin.name
        if "NOPASSWD" in allowed:
            raise Broken(
                tr(en=f"sudo asks {admin.name} for a password", fr=f"sudo demande un mot de passe à {admin.name}"),
                tr(en="a rule with NOPASSWD", fr="une règle avec NOPASSWD"),
                tr(en="Look in /etc/sudoers.d for who added it.", fr="Cherchez son auteur dans /etc/sudoers.d."),
            )


def test_admins_are_never_locked_out_by_a_date(host: Any, site: Any) -> None:
    """400 days from now, every admin still gets in and becomes root (shadow(5))."""
    future = int(time.time() / 86400) + 400
    for admin in site.admins:
        line = host.check_output("getent shadow %s", admin.name).split(":")
        changed, longest, grace, ends = line[2], line[4], line[6], line[7]
        assert changed != "0", f"{admin.name} must change the password at once"
        if changed and longest:
            last = int(changed) + int(longest)
            assert last > future, f"the password of {admin.name} expires"
        assert not grace or int(grace) < 0, f"{admin.name} has a grace period"
        assert not ends or int(ends) > future, f"the account of {admin.name} ends"
        assert line[1][:1] == "$", f"{admin.name} has no password for sudo"


def test_admins_keys_are_the_site_s(host: Any, site: Any) -> None:
    """An admin gets in with the keys of the site file, and with no others."""
    for admin in site.admins:
        listed = host.check_output("cat /home/%s/.ssh/authorized_keys", admin.name).splitlines()
        assert set(listed) == set(admin.keys), admin.name


def _kernel(host: Any, wanted: dict[str, int]) -> None:
    paths = " ".join("/proc/sys/" + key.replace(".", "/") for key in wanted)
    seen = host.check_output(f"cat {paths}").split()
    wrong = [f"{key} is {now}" for (key, want), now in zip(wanted.items(), seen, strict=True) if now != str(want)]
    assert not wrong, ", ".join(wrong)


def test_network_settings_of_the_kernel(host: Any, role: Any) -> None:
    """net.ipv4.* and net.ipv6.* settings are in effect."""
    _kernel(host, {key: want for key, want in role.sysctl.items() if key.startswith("net.ipv")})


def test_other_settings_of_the_kernel(host: Any, role: Any, snapshot: Any) -> None:
    """kernel.*, fs.*, vm.*, dev.* and net.core.* settings are in effect."""
    if snapshot.container:
        not_measurable(CONTAINER)
    _kernel(host, {key: want for key, want in role.sysctl.items() if not key.startswith("net.ipv")})


def test_small_host_has_swap(host: Any, snapshot: Any) -> None:
    """A host with less than 3 GB of memory has swap."""
    if snapshot.container:
        not_measurable(CONTAINER)
    memory = int(re.search(r"MemTotal:\s+(\d+)", host.check_output("cat /proc/meminfo"))[1])  # type: ignore[index]
    if memory < 3_000_000:
        assert len(host.check_output("cat /proc/swaps").splitlines()) > 1


@pytest.mark.deep
def test_packages_are_as_debian_made_them(host: Any) -> None:
    """No file of a Debian package was changed, configuration aside."""
    lines = host.run("LC_ALL=C dpkg --verify", timeout=900).stdout.splitlines()
    # Containers and minimal images drop documentation on purpose.
    changed = [line for line in lines if " c /" not in line and not line.startswith("missing")]
    assert not changed, "; ".join(changed[:5])
