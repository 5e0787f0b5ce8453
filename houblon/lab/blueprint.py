"""What a lab is made of, before it runs: addresses, what makes a base a given host, layers."""

from __future__ import annotations

import base64
import json
import secrets
import subprocess
import tempfile
from ipaddress import ip_network
from pathlib import Path

from houblon.errors import BadInput
from houblon.lab import machine, network, services
from houblon.lab.driver import Driver, Seed
from houblon.lab.state import HostState, LabState, Process, all_states, boot_id, locked
from houblon.software import LAB_MARK

FIRST_HOST = 11  # the last byte of the first host's address; below: the gateway, the services


def plan(
    name: str,
    count: int,
    release: str,
    builder: Process,
    owner: Process | None,
    lowers: list[str],
    services_lowers: list[str],
) -> LabState:
    used = network.used_networks()
    for other in all_states():
        if other.subnet4:
            used += [ip_network(other.subnet4), ip_network(other.subnet6)]
    mark = next(i for i in iter(lambda: secrets.token_hex(2), "") if not Path(f"/sys/class/net/hlab{i}").exists())
    subnet4, subnet6 = network.choose_subnet4(name, used), network.choose_subnet6(used)

    def host(host_name: str, number: int, below: list[str]) -> HostState:
        return HostState(host_name, str(subnet4[number]), str(subnet6[number]), f"h{mark}-{host_name}", below)

    tsig, tsig_admin = (base64.b64encode(secrets.token_bytes(32)).decode() for _ in range(2))
    return LabState(
        name, mark, "nspawn", release, builder, owner, "building", boot_id(), str(subnet4), str(subnet6),
        tsig, tsig_admin, host("lab", 2, services_lowers),
        [host(f"host{number + 1}", FIRST_HOST + number, lowers) for number in range(count)],
    )  # fmt: skip


def identity(state: LabState, host: HostState, public_key: str) -> list[Seed]:
    """What makes a booted base this host."""
    gateway4 = ip_network(state.subnet4)[1]
    # No IPv6 route to the outside: this machine forwards IPv4 only, and "unreachable" is better than silence.
    addresses = [f"{host.address}/24", f"{host.address6}/64"]
    if host is state.services:
        addresses.append(f"{services.authority(state)}/24")
    text = "[Match]\nName=host0\n[Network]\nIPv6AcceptRA=no\nLinkLocalAddressing=ipv6\n"
    text += f"[Route]\nGateway={gateway4}\n"
    for address in addresses:
        text += f"[Address]\nAddress={address}\nDuplicateAddressDetection=none\n"
    options = machine.apt_options_text(machine.apt_options(), gateway=str(gateway4))
    return [
        Seed("etc/hostname", f"{host.name}\n"),
        Seed(
            "etc/hosts",
            f"127.0.0.1 localhost\n127.0.1.1 {host.name}.{state.domain} {host.name}\n::1 localhost\n",
        ),
        Seed("etc/resolv.conf", f"nameserver {services.resolver(state)}\n"),
        Seed("etc/machine-id", ""),
        Seed(LAB_MARK.lstrip("/"), "Made by `houblon lab`. This host may run releases that nobody has verified.\n"),
        Seed("etc/systemd/network/10-host0.network", text),
        Seed(
            "etc/systemd/system/multi-user.target.wants/systemd-networkd.service",
            link="/usr/lib/systemd/system/systemd-networkd.service",
        ),
        Seed("root/.ssh/authorized_keys", public_key, 0o600),
        *([Seed("etc/apt/apt.conf.d/90operator", options)] if options else []),
    ]


def host_keys(state: LabState, host: HostState) -> list[Seed]:
    """Make the host's keys here, so that ours knows them before the first contact, and remember them."""
    # RSA takes a second to make, and nobody looks at the services host's.
    kinds = ("ed25519",) if host is state.services else ("ed25519", "ecdsa", "rsa")
    seeds, known = [], []
    with tempfile.TemporaryDirectory(dir=state.directory) as directory:
        for kind in kinds:
            path = Path(directory) / f"ssh_host_{kind}_key"
            ssh_keygen("-t", kind, "-C", f"root@{host.name}", "-f", str(path))
            public = path.with_suffix(".pub").read_text()
            seeds += [
                Seed(f"etc/ssh/{path.name}", path.read_text(), 0o600),
                Seed(f"etc/ssh/{path.name}.pub", public),
            ]
            known.append(f"{host.address},{host.address6} {' '.join(public.split()[:2])}\n")
    with locked(state.directory / ".known_hosts.lock"):
        path = state.directory / "known_hosts"
        old = path.read_text().splitlines(True) if path.exists() else []
        path.write_text("".join([line for line in old if not line.startswith(f"{host.address},")] + known))
    return seeds


def ssh_keygen(*arguments: str) -> None:
    """Make an ssh key without passphrase."""
    subprocess.run(["ssh-keygen", "-q", "-N", "", *arguments], check=True, capture_output=True)


def layer_lowers(layer: Path, release: str) -> list[str]:
    try:
        about = json.loads((layer / "layer.json").read_text())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise BadInput("this is no layer", file=layer, cure="Make one with LabHost.freeze_layer.") from error
    if about["release"] != release:
        raise BadInput(f"this layer is for {about['release']}, not {release}", file=layer, cure="Take another one.")
    lowers = [str(Path(layer).absolute() / "root"), *about["lowers"]]
    for lower in lowers:
        if not Path(lower).is_dir():
            raise BadInput(f"what this layer stands on is gone: {lower}", file=layer, cure="Make the layer again.")
    return lowers


def freeze_layer(state: LabState, host: HostState, driver: Driver, dest: Path) -> None:
    """See `LabHost.freeze_layer`."""
    if dest.exists():
        raise BadInput("this path is taken", file=dest, cure="Give one that does not exist.")
    dest.mkdir(parents=True)
    driver.freeze(state, host, dest / "root")
    # Last: without it the directory is no layer, so that a kill before leaves none.
    (dest / "layer.json").write_text(json.dumps({"release": state.release, "lowers": host.lowers}))
    host.lowers.insert(0, str(dest / "root"))
    state.save()
    seeds = identity(state, host, (state.directory / "id_ed25519.pub").read_text())
    driver.prepare(state, host, seeds + host_keys(state, host))
