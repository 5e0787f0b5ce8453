"""What a lab takes from the operator's machine: tools, apt sources and proxy, CAs, resolvers."""

from __future__ import annotations

import ipaddress
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from houblon.errors import BadInput, Refused

TOOLS = {
    "mmdebstrap": "mmdebstrap",
    "systemd-nspawn": "systemd-container",
    "nft": "nftables",
    "ip": "iproute2",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "unshare": "util-linux",
    "nsenter": "util-linux",
}
CODENAMES = ("bullseye", "bookworm", "trixie", "forky", "duke", "sid")
RELEASES = ("trixie", "bookworm")
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----\n?", re.S)
APT_OPTION = re.compile(
    r'^(Acquire::(?:(?:https?)::Proxy(?:::\S+)?|Check-Valid-Until|Check-Date|ForceIPv4|Retries)) "(.*)";$',
    re.M,
)


@dataclass(frozen=True)
class Source:
    """One Debian archive: ``suffix`` is what follows the codename in the suite, such as ``-security``."""

    uri: str
    suffix: str
    components: tuple[str, ...]


def require_lab_tools() -> None:
    """:raises Refused: no root or no Linux here; :raises BadInput: tools are missing (names the packages)."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        raise Refused(
            "a lab needs root on a Linux machine",
            cure="Run it with sudo, or use a spare host: houblon lab up --address root@ADDRESS NAME.",
        )
    missing = {package for tool, package in TOOLS.items() if shutil.which(tool) is None}
    if not Path(KEYRING).exists():
        missing.add("debian-archive-keyring")
    if missing:
        packages = " ".join(sorted(missing))
        raise BadInput(f"a lab needs packages that are not installed: {packages}", cure=f"apt install {packages}")


def debian_sources(etc_apt: Path = Path("/etc/apt")) -> list[Source]:
    """The Debian archives that this machine's apt uses, in both of apt's formats.

    :raises BadInput: there is none (Ubuntu, or apt is not used here).
    """
    found: dict[Source, None] = {}
    files = [etc_apt / "sources.list", *sorted((etc_apt / "sources.list.d").glob("*"))]
    for path in files:
        if path.suffix == ".list" and path.is_file():
            entries = parse_one_line(path.read_text())
        elif path.suffix == ".sources" and path.is_file():
            entries = parse_deb822(path.read_text())
        else:
            continue
        found.update(dict.fromkeys(entries))
    sources = list(found)
    if not any(source.suffix == "" for source in sources):
        raise BadInput(
            "apt's sources on this machine name no Debian archive",
            file=etc_apt,
            cure="Add a source of Debian's main archive, or use a spare host: houblon lab up --address.",
        )
    return sources


def parse_one_line(text: str) -> Iterator[Source]:
    """Debian archives in the text of a ``sources.list``."""
    for line in text.splitlines():
        match = re.match(
            r"\s*deb\s+(?:\[(?P<options>[^]]*)\]\s*)?(?P<uri>\S+)\s+(?P<suite>\S+)\s+(?P<rest>[^#]*)", line
        )
        if match:
            signed = re.search(r"signed-by=(\S+)", match["options"] or "", re.I)
            yield from _debian([match["uri"]], [match["suite"]], match["rest"].split(), signed[1] if signed else "")


def parse_deb822(text: str) -> Iterator[Source]:
    """Debian archives in the text of a ``.sources`` file (deb822)."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    for stanza in re.split(r"\n\s*\n", "\n".join(lines)):
        fields = {
            key.lower(): " ".join(value.split())
            for key, value in re.findall(r"^([\w-]+):((?:.*)(?:\n[ \t].*)*)", stanza, re.M)
        }
        if "deb" in fields.get("types", "").split() and fields.get("enabled", "yes").lower() not in (
            "no",
            "false",
        ):
            yield from _debian(
                fields.get("uris", "").split(),
                fields.get("suites", "").split(),
                fields.get("components", "").split(),
                fields.get("signed-by", ""),
            )


def _debian(uris: Iterable[str], suites: Iterable[str], components: list[str], signed: str) -> Iterator[Source]:
    # Third parties use Debian's codenames as suites too; Debian's own archives have "main" and Debian's key.
    if "main" not in components or (signed and "debian-archive" not in signed):
        return
    for uri in map(_mirror, uris):
        for suite in suites:
            codename, dash, rest = suite.partition("-")
            if codename in CODENAMES and dash + rest in ("", "-updates", "-security") and uri.startswith("http"):
                yield Source(uri.rstrip("/"), dash + rest, tuple(components))


def _mirror(uri: str) -> str:
    """Cloud images name a list of mirrors in a file, which the lab's hosts do not have: take its first."""
    if uri.startswith("mirror+file:"):
        path = Path(re.sub("^/+", "/", uri.removeprefix("mirror+file:")))
        words = path.read_text().split() if path.is_file() else []
        return words[0] if words else ""
    return uri


def sources_for(release: str, sources: Iterable[Source]) -> str:
    """The same archives for a release, as the text of a ``.sources`` file."""
    return "\n".join(
        f"Types: deb\nURIs: {source.uri}\nSuites: {release}{source.suffix}\n"
        f"Components: {' '.join(source.components)}\nSigned-By: {KEYRING}\n"
        for source in sources
    )


def apt_options() -> dict[str, str]:
    """apt's settings of this machine that decide whether its archives can be reached: proxy, date checks."""
    dump = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=False).stdout
    options = dict(APT_OPTION.findall(dump))
    for scheme in ("http", "https"):
        if proxy := os.environ.get(f"{scheme}_proxy"):
            options.setdefault(f"Acquire::{scheme}::Proxy", proxy)
    return {key: value for key, value in options.items() if value}


def apt_options_text(options: dict[str, str], gateway: str | None = None) -> str:
    """The options as a file for ``apt.conf.d``.

    :param gateway: this machine's address for a lab host, put where the options say localhost.
    """
    if gateway:
        local = re.compile(r"//(127\.[\d.]+|localhost|\[::1\])(?=[:/]|$)")
        options = {key: local.sub(f"//{gateway}", value) for key, value in options.items()}
    return "".join(f'{key} "{value}";\n' for key, value in sorted(options.items()))


def own_cas(base_bundle: str) -> list[str]:
    """CA certificates (PEM) that this machine trusts and a fresh Debian does not."""
    known = {re.sub(r"\s", "", pem) for pem in CERTIFICATE.findall(base_bundle)}
    text = BUNDLE.read_text() if BUNDLE.exists() else ""
    return [pem.strip() + "\n" for pem in CERTIFICATE.findall(text) if re.sub(r"\s", "", pem) not in known]


def resolvers(files: Iterable[Path] | None = None) -> list[str]:
    """Addresses of this machine's resolvers that a container can reach: no loopback, no zone index.

    The second file is systemd-resolved's: behind its 127.0.0.53 stand the real ones.
    """
    for path in files or (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf")):
        if not path.is_file():
            continue
        found = re.findall(r"^\s*nameserver\s+(\S+)", path.read_text(), re.M)
        usable = [address for address in found if _reachable(address)]
        if usable:
            return usable
    return []


def _reachable(address: str) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    # Lab hosts leave by IPv4 masquerading only.
    return parsed.version == 4 and not parsed.is_loopback


def architecture() -> str:
    """Debian's name of this machine's architecture, such as ``amd64``."""
    return subprocess.run(["dpkg", "--print-architecture"], capture_output=True, text=True, check=True).stdout.strip()
