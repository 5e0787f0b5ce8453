"""A lab from up to down."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from houblon.errors import BadInput, OperationFailed, Refused
from houblon.lab import base, blueprint, machine, network, reaper, services, spare
from houblon.lab.host import LabHost
from houblon.lab.state import HostState, LabState, Process, all_states, check_name, labs_dir, locked
from houblon.lab.teardown import (
    DRIVERS,
    collect_garbage,
    collect_garbage_locked,
    refuse_taken,
    take_down,
)


def _quiet(line: str) -> None:
    return None


class Lab:
    """Hosts on one bridge, with a domain of their own (NAME.test), its DNS and an ACME CA. `up` makes one."""

    def __init__(self, state: LabState) -> None:
        self._state = state
        self._driver = DRIVERS[state.driver]()
        self.name = state.name
        self.release = state.release
        self.domain = state.domain
        self.hosts = [self._host(host) for host in state.hosts]

    def __repr__(self) -> str:
        return f"<Lab {self.name} {self.hosts}>"

    @classmethod
    def up(
        cls,
        name: str,
        hosts: int = 1,
        release: str = "trixie",
        owner_pid: int | None = None,
        layer: Path | None = None,
        *,
        progress: base.Progress = _quiet,
    ) -> Lab:
        """Bring a lab up; returns when root can log in on every host, and DNS and ACME answer.

        :param hosts: how many hosts, 1 to 200.
        :param owner_pid: a process with whose death the lab goes down by itself.
        :param layer: a directory made by `LabHost.freeze_layer`, which the hosts start from.
        :param progress: is told what is being built, line by line.
        :raises BadInput: a wrong name or number, missing packages.
        :raises Refused: no root, or a lab of that name is there.
        :raises OperationFailed: a base cannot be built or a host does not start.
        """
        check_name(name)
        if release not in machine.RELEASES:
            raise BadInput(f"no lab host runs {release!r}", cure=f"Choose {' or '.join(machine.RELEASES)}.")
        if not 1 <= hosts <= 200:
            raise BadInput(f"a lab has 1 to 200 hosts, not {hosts}", cure="Give another number.")
        machine.require_lab_tools()
        me, owner = Process.of(os.getpid()), Process.of(owner_pid) if owner_pid else None
        lowers = blueprint.layer_lowers(layer, release) if layer else [str(base.base(release, progress))]
        services_lowers = [str(path) for path in base.services(progress)]
        with locked():
            collect_garbage_locked()
            refuse_taken(name)
            state = blueprint.plan(name, hosts, release, me, owner, lowers, services_lowers)
            state.save()
        try:
            return cls(state)._start(progress)
        except BaseException:
            take_down(name, state.id)
            raise

    def _start(self, progress: base.Progress) -> Lab:
        state = self._state
        if state.owner:
            reaper.start(state)
        network.create(state)
        certificate, key = services.make_ca(state, self.acme_ca_bundle)
        blueprint.ssh_keygen("-t", "ed25519", "-C", f"lab {state.name}", "-f", str(self.ssh_key))
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            keys = {host.name: pool.submit(blueprint.host_keys, state, host) for host in state.machines()}
            for host in state.machines():
                seeds = blueprint.identity(state, host, self.ssh_key.with_suffix(".pub").read_text())
                if host is state.services:
                    seeds += services.seeds(state, machine.resolvers(), certificate, key)
                seeds += keys[host.name].result()
                with locked():
                    if not state.directory.is_dir():
                        raise Refused(f"the lab {state.name} was taken down as it came up", cure="Bring it up again.")
                    self._driver.prepare(state, host, seeds)
                    progress(f"booting {host.name} ({host.address})")
                    self._driver.boot(state, host)
        for lab_host in [self.services, *self.hosts]:
            lab_host.wait()
        self._wait_for_services()
        state.phase = "up"
        state.save()
        return self

    @classmethod
    def adopt(cls, name: str, address: str) -> Lab:
        """Take a spare host as a lab: it must answer by ssh as root, with the operator's key, and be bare.

        :param address: ``root@ADDRESS``, or the address.
        :raises CannotConnect: it does not answer; :raises Refused: it is not bare.
        """
        check_name(name)
        bare_address = address.removeprefix("root@")
        if "@" in bare_address or not bare_address or bare_address.startswith("-"):
            raise BadInput(f"{address!r} is no root login", cure="Give it as root@ADDRESS.")
        with locked(labs_dir() / ".lock"):
            refuse_taken(name)
            me = Process.of(os.getpid())
            host = HostState("host1", bare_address)
            state = LabState(name, "", "spare", "", me, phase="up", hosts=[host])
            lab = cls(state)
            found = lab.hosts[0].exec(["sh", "-s"], input=spare.BARE.encode(), timeout=60).stdout.decode().strip()
            if found:
                raise Refused(f"{bare_address} is not bare: {found}", cure="Reinstall it, or give another host.")
            state.save()
        return lab

    @classmethod
    def open(cls, name: str) -> Lab:
        """:raises BadInput: no such lab."""
        state = LabState.load(check_name(name))
        if state is None or (state.orphaned() and state.phase != "up"):
            raise BadInput(f"there is no lab {name!r}", cure=f"Bring it up: houblon lab up {name}.")
        return cls(state)

    @classmethod
    def list(cls) -> list[Lab]:
        """Every lab that is up, by name; half-built labs of dead builders are removed on the way."""
        if not labs_dir().is_dir():
            return []
        collect_garbage()
        return [cls(state) for state in all_states() if state.phase == "up"]

    def down(self) -> None:
        """Remove the lab and all it has: processes, mounts, bridge, nft table, files."""
        take_down(self.name, self._state.id)

    @property
    def services(self) -> LabHost:
        """The host with Knot, unbound and pebble: power it off to see an outage. Pebble forgets all then."""
        if self._state.services is None:
            raise self._no_services()
        return self._host(self._state.services)

    @property
    def vantage(self) -> LabHost:
        """The second host, from which the first is looked at."""
        if len(self.hosts) < 2:
            raise BadInput("this lab has one host", cure="Bring it up with two.")
        return self.hosts[1]

    @property
    def ssh_key(self) -> Path:
        """The private key (ed25519) that root on every host accepts."""
        self._need_services()
        return self._state.directory / "id_ed25519"

    @property
    def known_hosts(self) -> Path:
        """The hosts' public keys, for ssh's UserKnownHostsFile."""
        return self._state.directory / "known_hosts"

    @property
    def acme_directory(self) -> str:
        """Pebble's directory URL; its name exists in the lab's DNS only."""
        self._need_services()
        return f"https://{services.acme_host(self._state)}/dir"

    @property
    def acme_ca_bundle(self) -> Path:
        """The CA (PEM) of that URL's certificate. Not the CA that pebble issues from: see `issuing_roots`."""
        self._need_services()
        return self._state.directory / "acme-ca.pem"

    def issuing_roots(self) -> str:
        """The root (PEM) of the certificates that pebble issues; a new one after each of its starts."""
        self._need_services()
        return services.fetch(self._state, self.acme_ca_bundle, "/roots/0")

    @property
    def dns_server(self) -> str:
        """The lab's resolver (unbound)."""
        self._need_services()
        return services.resolver(self._state)

    @property
    def dns_authority(self) -> str:
        """The lab's authoritative server (Knot), which takes RFC 2136 updates."""
        self._need_services()
        return services.authority(self._state)

    @property
    def tsig(self) -> tuple[str, str, str]:
        """(name, algorithm, secret) of a key for TXT records of ``_acme-challenge`` names, nothing else."""
        self._need_services()
        return services.TSIG_NAME, services.TSIG_ALGORITHM, self._state.tsig

    @property
    def subnet4(self) -> str:
        """The lab's IPv4 network; its first address is this machine's."""
        return self._state.subnet4

    @property
    def subnet6(self) -> str:
        """The lab's IPv6 network; its first address is this machine's."""
        return self._state.subnet6

    def set_records(self, records: Iterable[tuple[str, str, str]]) -> None:
        """Set records (name, type, value); each (name, type) is replaced whole. See `update_script`."""
        self._knsupdate(services.update_script(self._state, records))

    def delete_records(self, records: Iterable[tuple[str, str]]) -> None:
        """Delete every record of each (name, type)."""
        triples = [(name, kind, "") for name, kind in records]
        self._knsupdate(services.update_script(self._state, triples, delete=True))

    def _knsupdate(self, script: str) -> None:
        self._need_services()
        self.services.console(["knsupdate", "-k", services.ADMIN_KEY_FILE], input=script.encode())

    def _wait_for_services(self, seconds: float = 30) -> None:
        deadline = time.monotonic() + seconds
        while not services.resolves(self.dns_server, self.domain):
            if time.monotonic() > deadline:
                raise OperationFailed(f"the lab's DNS does not answer on {self.dns_server}", cure="Try again.")
            time.sleep(0.05)
        while True:
            try:
                services.fetch(self._state, self.acme_ca_bundle, "/dir", 443)
                return
            except OSError as error:
                if time.monotonic() > deadline:
                    raise OperationFailed(f"the lab's ACME CA does not answer: {error}", cure="Try again.") from error
            time.sleep(0.05)

    def _host(self, host: HostState) -> LabHost:
        directory = self._state.directory
        options = ["-o", "ConnectTimeout=10", "-o", "LogLevel=ERROR"]
        if self._state.driver != "spare":
            options += ["-F", "none", "-i", str(directory / "id_ed25519"), "-o", "IdentitiesOnly=yes"]
            options += [
                "-o",
                f"UserKnownHostsFile={directory / 'known_hosts'}",
                "-o",
                "StrictHostKeyChecking=yes",
            ]
        return LabHost(self._state, host, self._driver, options)

    def _need_services(self) -> None:
        if self._state.services is None:
            raise self._no_services()

    def _no_services(self) -> Refused:
        return Refused("a spare host has no lab DNS, ACME CA or key of its own", cure="Bring up a lab on root Linux.")
