"""How the names, addresses and sizes of people are judged, and names proposed. Pure.

Each judge takes text and gives its normal form, or raises `houblon.settings.Wrong`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection

from houblon import directory
from houblon.settings import SYSTEM_USERS, Wrong
from houblon.settings import email as site_email

MAX_FULL_NAME = 80
"""Characters; longer ones break the pages and programs that show them."""
MAX_EMAIL = 254
"""RFC 5321, section 4.5.3.1.3, without the angle brackets."""
MAX_QUOTA_MB = 64 * 1024 * 1024

RFC_2142 = frozenset({
    "info", "marketing", "sales", "support", "abuse", "noc", "security", "postmaster", "hostmaster", "usenet", "news",
    "webmaster", "www", "uucp", "ftp",
})  # fmt: skip
"""Mailbox names for common services, roles and functions."""

RESERVED = SYSTEM_USERS | RFC_2142 | {
    # Whoever reads their mail can have a certificate issued (CA/Browser Forum baseline requirements, 3.2.2.4.4).
    "administrator", "admin",
    # The mail system speaks as these (RFC 3834, RFC 2919).
    "mailer-daemon", "noreply", "no-reply", "nobody", "owner", "majordomo", "sympa", "listmaster",
    # Accounts that Debian packages make.
    "openldap", "slapd", "ldap", "statd", "tcpdump", "avahi", "colord", "dnsmasq", "geoclue", "git", "saned", "usbmux",
    "clamav", "debian-spamd", "radicale", "mosquitto", "prosody", "ejabberd", "tomcat", "memcache", "varnish", "bind",
    "named", "ftpuser", "vsftpd", "proftpd", "guest", "user", "test", "anonymous", "msmtp", "dkim", "opendmarc",
    "pulse", "rtkit", "lightdm", "gdm", "hplip", "libvirt", "libvirt-qemu", "lxc-dnsmasq", "unscd", "nslcd", "sssd",
    "mailman", "policyd", "cyrus", "exim", "debian-exim", "wwwrun", "php", "container", "docker", "syslog", "toor",
}  # fmt: skip
"""Names no person gets: the system's, and those whose mail is not one person's."""
RESERVED_STARTS = ("systemd-", "houblon", "debian-", "owner-", "lxc-", "libvirt-")
RESERVED_ENDS = ("-request", "-owner", "-bounces", "-bounce", "-subscribe", "-unsubscribe")
"""Addresses of mailing lists (RFC 2142, section 6)."""
GROUPS_WITH_POWER = frozenset({"root", "admin", "wheel", "sudo"})
"""Some programs give members of a group of that name everything."""

_ALLOWED = "Use 2 to 31 small letters, digits, `.`, `-` and `_`, a letter first, a letter or digit last"
_JOINERS = frozenset("\u200c\u200d")
"""Persian, Indic scripts and composed emoji need them. The other format characters (category Cf) are invisible, or
turn the direction of the text around them: the name shown would not be the name stored."""
# Letters that canonical decomposition does not part into a letter and a mark.
_FOLD = str.maketrans({
    "ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ı": "i", "ŋ": "ng", "ħ": "h",
    "ŧ": "t", "ĸ": "k",
})  # fmt: skip


def account(text: str, taken: Collection[str] = ()) -> str:
    """The name of a person's account.

    :param taken: further names that are not to be had, such as those of the site's roles.
    """
    name = text.strip()
    if not directory.NAME.fullmatch(name) or ".." in name or name[-1] in "._-":
        raise Wrong(
            "this is not a name for an account",
            f"{_ALLOWED}: marie.dupont.",
        )
    if (
        name in RESERVED or name in taken or name.startswith(RESERVED_STARTS) or name.endswith(RESERVED_ENDS)
    ):
        raise Wrong("this name belongs to the system", "Use the person's own name, such as marie.dupont.")
    return name


def group(text: str) -> str:
    """The name of a group."""
    name = text.strip()
    if not directory.NAME.fullmatch(name) or ".." in name or name[-1] in "._-":
        raise Wrong(
            "this is not a name for a group",
            f"{_ALLOWED}: bureau.",
        )
    if name in GROUPS_WITH_POWER:
        raise Wrong("some programs give such a group all rights", "Use another name, such as bureau.")
    return name


def full_name(text: str) -> str:
    """A person's name as they write it: any script, one line, normal form C (UAX #15)."""
    # Before white space is settled: line ends and tabs are white space too.
    if any(unicodedata.category(char) in ("Cc", "Zl", "Zp") for char in text.strip(" ")):
        raise Wrong("this name holds control characters", "Type it anew, on one line.")
    name = unicodedata.normalize("NFC", " ".join(text.split()))
    if not name:
        raise Wrong("a person has a name", "Write it as the person does.")
    if len(name) > MAX_FULL_NAME:
        raise Wrong(f"this name has {len(name)} characters, more than {MAX_FULL_NAME}", "Shorten it.")
    if any(not _shows(char) for char in name):
        raise Wrong("this name holds characters that cannot be seen", "Type it anew, without copying it.")
    if not any(unicodedata.category(char)[0] in "LNS" for char in name):
        raise Wrong("this name has no letter in it", "Write it as the person does.")
    return name


def email(text: str) -> str:
    """An e-mail address, its domain in lower case."""
    value = text.strip()
    if len(value) > MAX_EMAIL:
        raise Wrong("this is too long for an e-mail address", "Write it like marie@example.org.")
    return site_email(value)


def language(text: str) -> str:
    """``fr`` or ``en``."""
    known = {"fr": "fr", "en": "en", "français": "fr", "francais": "fr", "french": "fr", "english": "en",
             "anglais": "en", "fr-fr": "fr", "fr_fr": "fr", "en-gb": "en", "en-us": "en"}  # fmt: skip
    found = known.get(unicodedata.normalize("NFC", text.strip().lower()))
    if found is None:
        raise Wrong("this language is not known here", "Write fr or en.")
    return found


def quota(text: str) -> int:
    """A size in mebibytes: ``500M``, ``5G``, ``5 Go``, ``1.5 GiB``; a bare number is mebibytes."""
    found = re.fullmatch(r"([0-9]{1,8})(?:[.,]([0-9]{1,3}))?\s*([kmgt]?)(?:i?[bo])?", text.strip().lower())
    if not found:
        raise Wrong("this is not a size", "Write it like 500M or 5G.")
    number = float(f"{found[1]}.{found[2] or 0}")
    megabytes = round(number * {"k": 1 / 1024, "": 1, "m": 1, "g": 1024, "t": 1024 * 1024}[found[3]])
    if not 1 <= megabytes <= MAX_QUOTA_MB:
        raise Wrong("this size is out of all proportion", "Write it like 500M or 5G.")
    return megabytes


def propose(name: str) -> str:
    """A name for an account made from a person's: ``Éloïse d'Aubigné`` gives ``eloise.daubigne``.

    :return: empty when nothing of the name can be kept, as with other scripts.
    """
    plain = unicodedata.normalize("NFKD", name.lower().translate(_FOLD))
    words = re.split(r"[\s.]+", "".join(char for char in plain if not unicodedata.combining(char)))
    if any(char.isalpha() and not char.isascii() for char in plain):
        # Half a name, the Latin half, is nobody's.
        return ""
    kept = [re.sub(r"[^a-z0-9-]", "", word).strip("-") for word in words]
    return ".".join(word for word in kept if word)[:31].strip(".-_")


def parts(name: str) -> tuple[str, str]:
    """Given and family name, as far as that can be told: the last word is the family's."""
    given, _, family = name.rpartition(" ")
    return given, family


def key(address: str) -> str:
    """An e-mail address for comparison: no provider tells upper from lower case."""
    return address.casefold()


def _shows(char: str) -> bool:
    if char in _JOINERS:
        return True
    # Not `Cn`, characters without a meaning yet: this year's emoji are such for last year's Python.
    never = ord(char) & 0xFFFE == 0xFFFE or 0xFDD0 <= ord(char) <= 0xFDEF
    return not never and unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")
