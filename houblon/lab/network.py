"""One bridge for each lab, on subnets that clash with nothing this machine has."""

from __future__ import annotations

import json
import secrets
import subprocess
import zlib
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any

from houblon.errors import OperationFailed, Refused
from houblon.lab.machine import resolvers
from houblon.lab.state import LOCK, LabState

Network = IPv4Network | IPv6Network
POOLS = ("10.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16")
SETTINGS = {
    Path("/proc/sys/net/ipv4/ip_forward"): 1,
    # Every systemd in a container takes a dozen; the kernel's default of 128 starves the tenth host.
    Path("/proc/sys/fs/inotify/max_user_instances"): 2048,
}
"""Kernel settings of the machine that a lab needs at least; put back when the last lab goes."""


def used_networks() -> list[Network]:
    """Every network that this machine is on, routes to, or asks for names."""
    found = [ip_network(address) for address in resolvers()]
    for family in ("-4", "-6"):
        for link in json.loads(_ip("-j", family, "addr").stdout or "[]"):
            for info in link.get("addr_info", ()):
                found.append(ip_network(f"{info['local']}/{info['prefixlen']}", strict=False))
        for route in json.loads(_ip("-j", family, "route", "show", "table", "all").stdout or "[]"):
            if route.get("dst", "default") != "default" and route.get("type", "unicast") in (
                "unicast",
                "blackhole",
            ):
                found.append(ip_network(route["dst"], strict=False))
    return [network for network in found if network.prefixlen > 0]


def choose_subnet4(name: str, used: Iterable[Network]) -> IPv4Network:
    """A free private /24. The same name gets the same one while it is free: addresses can be remembered.

    :raises Refused: all private networks are in use here.
    """
    taken = [network for network in used if network.version == 4]
    for pool in POOLS:
        for candidate in _from(IPv4Network(pool), zlib.crc32(name.encode())):
            if not any(candidate.overlaps(network) for network in taken):
                return candidate
    raise Refused("this machine uses every private IPv4 network", cure="Take a VPN or another lab down.")


def _from(pool: IPv4Network, start: int) -> Iterator[IPv4Network]:
    count = 2 ** (24 - pool.prefixlen)
    for offset in range(count):
        number = (start + offset) % count
        yield IPv4Network((int(pool.network_address) + (number << 8), 24))


def choose_subnet6(used: Iterable[Network]) -> IPv6Network:
    """A free unique local /64 (RFC 4193: 40 random bits)."""
    taken = list(used)
    while True:
        value = (0xFD << 120) | (secrets.randbits(40) << 80) | (1 << 64)
        candidate = IPv6Network((value, 64))
        if not any(network.version == 6 and candidate.overlaps(network) for network in taken):
            return candidate


def create(state: LabState) -> None:
    """Make the bridge, its addresses and the masquerading of a lab."""
    gateway4 = ip_network(state.subnet4)[1]
    gateway6 = ip_network(state.subnet6)[1]
    # A fixed address: a bridge otherwise takes over its lowest port's, and neighbours' caches go stale.
    mac = "02:" + ":".join(f"{byte:02x}" for byte in secrets.token_bytes(5))
    _ip("link", "add", state.bridge, "address", mac, "type", "bridge", check=True)
    _ip("addr", "add", f"{gateway4}/24", "dev", state.bridge, check=True)
    # Without ports the bridge has no carrier, and duplicate detection would never end.
    _ip("addr", "add", f"{gateway6}/64", "dev", state.bridge, "nodad", check=True)
    _ip("link", "set", state.bridge, "up", check=True)
    for setting, least in SETTINGS.items():
        if (now := int(setting.read_text())) < least:
            if not (saved := _saved(setting)).exists():
                saved.write_text(str(now))
            setting.write_text(str(least))
    # nft refuses "}" on the line of a rule.
    ruleset = f"""table ip {state.table} {{
  chain post {{
    type nat hook postrouting priority srcnat;
    ip saddr {state.subnet4} ip daddr != {state.subnet4} masquerade
  }}
}}
"""
    _nft(ruleset)
    _nft("".join(forward_rules(json.loads(_nft_json("chains")), state)))


def remove(state: LabState) -> None:
    """Remove what `create` made; nothing there is fine. The last lab's settings go back to what they were."""
    subprocess.run(["nft", "delete", "table", "ip", state.table], capture_output=True, check=False)
    _nft("".join(forward_rules_removal(json.loads(_nft_json("ruleset")), state)))
    _ip("link", "del", state.bridge)
    # Of the whole machine: labs may live in several directories.
    if not any(Path("/sys/class/net").glob("hlab*")):
        for setting in SETTINGS:
            if (saved := _saved(setting)).exists():
                setting.write_text(saved.read_text())
                saved.unlink()


def _saved(setting: Path) -> Path:
    """Where a setting's own value waits; gone with a reboot, as the setting is."""
    return LOCK.with_name(f"houblon-lab.{setting.name}")


def forward_rules(listing: dict[str, Any], state: LabState) -> list[str]:
    """nft commands that let the lab's traffic pass the machine's own firewalls.

    An accept in our table would not: Docker's, ufw's or firewalld's chain would still drop it.

    :param listing: ``nft -j list chains``.
    """
    rules = []
    for item in listing["nftables"]:
        chain = item.get("chain", {})
        if chain.get("hook") == "forward" and chain.get("type") == "filter" and chain["family"] in ("ip", "inet"):
            where = f"{chain['family']} {chain['table']} {chain['name']}"
            rules += [f'insert rule {where} {way} "{state.bridge}" accept comment "{state.bridge}"\n'
                      for way in ("iifname", "oifname")]  # fmt: skip
    return rules


def forward_rules_removal(listing: dict[str, Any], state: LabState) -> list[str]:
    """nft commands that delete what `forward_rules` made.

    :param listing: ``nft -j -a list ruleset``.
    """
    rules = [item["rule"] for item in listing["nftables"] if item.get("rule", {}).get("comment") == state.bridge]
    return [f"delete rule {r['family']} {r['table']} {r['chain']} handle {r['handle']}\n" for r in rules]


def _nft_json(what: str) -> str:
    return _check(subprocess.run(["nft", "-j", "-a", "list", what], capture_output=True, text=True, check=False)).stdout


def _nft(commands: str) -> None:
    if commands:
        _check(subprocess.run(["nft", "-f", "-"], input=commands, capture_output=True, text=True, check=False))


def _ip(*arguments: str, check: bool = False) -> subprocess.CompletedProcess[str]:
    result = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    return _check(result) if check else result


def _check(result: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
    if result.returncode:
        raise OperationFailed(f"{' '.join(result.args)}: {result.stderr.strip()}", cure="See the message above.")
    return result
