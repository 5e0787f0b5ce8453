"""The lab for real: hosts boot, talk, get names and certificates, and leave nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography import x509

from houblon.errors import CannotConnect, OperationFailed, Refused
from houblon.lab import Lab, LabHost, spare
from houblon.lab.lab import collect_garbage, take_down
from houblon.lab.state import LabState, labs_dir

pytestmark = [pytest.mark.host, pytest.mark.skipif(os.geteuid() != 0, reason="a lab needs root")]
NAME = f"t{os.getpid()}"


def read(host: LabHost, *argv: str) -> str:
    return host.console(list(argv)).stdout.decode().strip()


def wait_for(condition: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.1)


def remains(state: LabState) -> list[str]:
    """Whatever a lab has left on this machine."""
    found = [str(path) for path in (state.directory, Path(f"/sys/class/net/{state.bridge}")) if path.exists()]
    found += [str(path) for host in state.machines() for path in Path("/sys/class/net").glob(f"*{host.machine}")]
    found += [str(p) for host in state.machines() for p in Path("/run/systemd/nspawn").glob(f"*/{host.machine}")]
    tables = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True).stdout
    found += [state.table] if state.table in tables else []
    for process in Path("/proc").glob("[0-9]*"):
        for name in ("cmdline", "mountinfo", "cgroup"):
            try:
                text = (process / name).read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if f"{state.directory}/" in text or f"houblon-lab/{state.id}/" in text or f" {state.name} " in text:
                found.append(f"{process / name}: {text}")
    cgroups = Path("/proc/self/mounts").read_text().splitlines()
    for mount in [line.split()[1] for line in cgroups if line.split()[2] == "cgroup2"]:
        found += [str(path) for path in Path(mount).glob(f"houblon-lab/{state.id}")]
    return found


def state_of(name: str) -> LabState:
    state = LabState.load(name)
    assert state
    return state


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    lab = Lab.up(NAME, hosts=2, owner_pid=os.getpid())
    state = state_of(NAME)
    yield lab
    lab.down()
    wait_for(lambda: not remains(state), 5)


def test_hosts_are_healthy_minimal_debian(lab: Lab) -> None:
    for host in lab.hosts:
        wait_for(lambda host=host: read(host, "systemctl", "list-jobs", "--no-legend") == "")
        assert read(host, "systemctl", "is-system-running") == "running"
        assert read(host, "systemctl", "--failed", "--no-legend") == ""
        assert read(host, "hostname", "--fqdn") == f"{host.name}.{lab.domain}"
    first, second = lab.hosts
    assert read(first, "cat", "/etc/machine-id") != read(second, "cat", "/etc/machine-id")
    listening = {line.split()[3].rpartition(":")[2] for line in read(first, "ss", "-Hltn").splitlines()}
    assert listening == {"22"}


def test_hosts_reach_each_other_and_this_machine_over_both_protocols(lab: Lab) -> None:
    first, second = lab.hosts
    for here, there in ((first, second), (second, first)):
        for address in (there.address, there.address6):
            assert read(here, "bash", "-c", f"head -c4 </dev/tcp/{address}/22") == "SSH-"
    for address in (first.address, first.address6):
        banner = subprocess.run(["bash", "-c", f"head -c4 </dev/tcp/{address}/22"], capture_output=True, check=True)
        assert banner.stdout == b"SSH-"


def test_names_of_the_lab_and_of_the_world_resolve(lab: Lab) -> None:
    first, second = lab.hosts
    for name in (lab.domain, f"anything.{lab.domain}", f"host1.{lab.domain}"):
        answer = read(second, "getent", "ahosts", name)
        assert first.address in answer and first.address6 in answer
    assert lab.domain in read(second, "getent", "hosts", first.address6)
    sources = read(second, "cat", "/etc/apt/sources.list.d/debian.sources")
    mirror = sources.split("URIs: ")[1].split("/")[2].split(":")[0]
    assert read(second, "getent", "ahostsv4", mirror)


def test_two_hosts_install_at_once(lab: Lab) -> None:
    script = "apt-get -q update && apt-get install -qy --no-install-recommends certbot openssl"
    with ThreadPoolExecutor(2) as pool:
        for result in pool.map(lambda host: host.exec(["sh", "-ec", script]), lab.hosts):
            assert b"Setting up certbot" in result.stdout


def test_a_certificate_is_issued_over_http(lab: Lab) -> None:
    host = lab.hosts[0]
    host.exec(["sh", "-c", "cat > /root/acme-ca.pem"], input=lab.acme_ca_bundle.read_bytes())
    command = [
        "certbot",
        "certonly",
        "--standalone",
        "--non-interactive",
        "--agree-tos",
        "--register-unsafely-without-email",
    ]
    command += ["-d", lab.domain, "-d", f"www.{lab.domain}", "--server", lab.acme_directory]
    host.exec(["env", "REQUESTS_CA_BUNDLE=/root/acme-ca.pem", *command])
    chain = read(host, "cat", f"/etc/letsencrypt/live/{lab.domain}/fullchain.pem")
    leaf, intermediate = x509.load_pem_x509_certificates(chain.encode())[:2]
    (root,) = x509.load_pem_x509_certificates(lab.issuing_roots().encode())
    leaf.verify_directly_issued_by(intermediate)
    intermediate.verify_directly_issued_by(root)


def test_the_dns_key_is_good_for_challenges_only(lab: Lab) -> None:
    name, algorithm, secret = lab.tsig
    mine = lab.domain

    def update(line: str) -> bool:
        script = f"server {lab.dns_authority}\nzone {mine}.\nupdate {line}\nsend\n"
        command = ["knsupdate", "-y", f"{algorithm}:{name}:{secret}"]
        return lab.services.console(command, input=script.encode(), check=False).returncode == 0

    assert update(f"add _acme-challenge.{mine}. 5 TXT one")
    assert update(f"add _acme-challenge.www.{mine}. 5 TXT two")
    assert read(lab.services, "kdig", f"@{lab.dns_server}", "+short", f"_acme-challenge.www.{mine}", "TXT") == '"two"'
    for line in (
        f"add www.{mine}. 5 TXT three",
        f"add _acme-challenge.{mine}. 5 A 192.0.2.1",
        f"delete host1.{mine}. A",
        f"add mail.{mine}. 5 A 192.0.2.1",
    ):
        assert not update(line), line


def test_records_are_set_replaced_and_deleted_at_once(lab: Lab) -> None:
    def ask(name: str, kind: str) -> list[str]:
        return sorted(read(lab.services, "kdig", f"@{lab.dns_server}", "+short", name, kind).splitlines())

    lab.set_records([("@", "MX", "10 mail"), ("@", "MX", "20 spare"), ("mail", "A", "192.0.2.7")])
    assert ask(lab.domain, "MX") == [f"10 mail.{lab.domain}.", f"20 spare.{lab.domain}."]
    lab.set_records([("@", "MX", "5 mail")])
    assert ask(lab.domain, "MX") == [f"5 mail.{lab.domain}."]
    lab.delete_records([("@", "MX"), ("mail", "A")])
    assert ask(lab.domain, "MX") == []


def test_the_console_needs_no_ssh(lab: Lab) -> None:
    host = lab.hosts[1]
    host.console(["systemctl", "stop", "ssh.socket", "ssh.service"])
    with pytest.raises(CannotConnect):
        host.exec(["true"])
    assert host.console(["cat"], input=b"still here").stdout == b"still here"
    host.console(["systemctl", "start", "ssh"])
    assert host.exec(["false"], check=False).returncode == 1
    with pytest.raises(OperationFailed, match="exit 1"):
        host.exec(["false"])


def test_data_survives_power_off_and_a_pulled_plug(lab: Lab) -> None:
    host = lab.hosts[1]
    identity = read(host, "cat", "/etc/machine-id")
    host.exec(["sh", "-c", "echo one > /srv/one"])
    host.power_off()
    assert not host.running()
    with pytest.raises(Refused):
        host.console(["true"])
    host.boot()
    assert host.exec(["cat", "/srv/one"]).stdout == b"one\n"
    host.kill()
    assert not host.running()
    host.boot()
    assert read(host, "cat", "/srv/one", "/etc/machine-id").split() == ["one", identity]


def test_a_bare_host_can_be_a_spare_and_another_cannot(lab: Lab) -> None:
    def check() -> str:
        return lab.hosts[1].exec(["sh", "-s"], input=spare.BARE.encode()).stdout.decode().strip()

    assert check() == ""
    lab.hosts[1].console(["systemd-run", "--unit=web", "python3", "-m", "http.server", "80"])
    wait_for(lambda: "80" in check(), 10)
    lab.hosts[1].console(["systemctl", "stop", "web"])


def test_a_frozen_host_is_a_layer_for_the_next_lab(lab: Lab, tmp_path: Path) -> None:
    host = lab.hosts[1]
    host.exec(["sh", "-c", "echo installed > /srv/software"])
    identity = read(host, "cat", "/etc/machine-id")
    with pytest.raises(Refused):
        host.freeze_layer(tmp_path / "running")
    host.power_off()
    host.freeze_layer(tmp_path / "layer")
    other = Lab.up(f"{NAME}-over", layer=tmp_path / "layer", owner_pid=os.getpid())
    try:
        fresh = other.hosts[0]
        assert fresh.exec(["cat", "/srv/software"]).stdout == b"installed\n"
        assert read(fresh, "cat", "/etc/machine-id") != identity
        assert read(fresh, "hostname", "--fqdn") == f"host1.{other.domain}"
        assert lab.domain not in read(fresh, "cat", "/etc/hosts")
        # Two labs at once: each has its own names and network.
        assert {each.name for each in Lab.list()} >= {lab.name, other.name}
        assert other.subnet4 != lab.subnet4
        assert read(lab.hosts[0], "systemctl", "is-system-running") == "running"
        host.boot()
        assert host.exec(["cat", "/srv/software"]).stdout == b"installed\n"
    finally:
        other.down()


def test_bookworm_boots_too() -> None:
    lab = Lab.up(f"{NAME}-twelve", release="bookworm", owner_pid=os.getpid())
    try:
        assert "bookworm" in read(lab.hosts[0], "cat", "/etc/os-release")
        assert read(lab.hosts[0], "systemctl", "--failed", "--no-legend") == ""
    finally:
        lab.down()


def script(text: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", text], stdout=subprocess.PIPE, text=True, env={**os.environ, **environment}
    )


def test_a_lab_goes_down_when_its_owner_is_killed() -> None:
    name = f"{NAME}-orphan"
    text = f"""
import os, time
from houblon.lab import Lab
Lab.up({name!r}, owner_pid=os.getpid())
print("up", flush=True)
time.sleep(600)
"""
    with script(text) as owner:
        assert owner.stdout and owner.stdout.readline() == "up\n"
        state = state_of(name)
        assert any("nspawn" in item or "mountinfo" in item for item in remains(state))
        owner.send_signal(signal.SIGKILL)
        owner.wait()
        wait_for(lambda: not remains(state), 15)


@pytest.mark.parametrize("moment", ["table", "host1"])
def test_a_half_built_lab_of_a_killed_builder_is_collected(moment: str) -> None:
    name = f"{NAME}-half"
    text = f"from houblon.lab import Lab\nLab.up({name!r})"
    with script(text) as builder:
        wait_for(lambda: LabState.load(name))
        state = state_of(name)
        made = state.directory / "hosts/host1/pid" if moment == "host1" else state.directory / "id_ed25519"
        wait_for(made.exists)
        builder.send_signal(signal.SIGKILL)
        builder.wait()
    assert remains(state)
    collect_garbage()
    wait_for(lambda: not remains(state), 5)
    assert not (labs_dir() / name).exists()


def test_a_killed_base_build_leaves_no_base_and_no_process(tmp_path: Path) -> None:
    text = """
from houblon.lab import base
base.base("trixie", lambda line: print(line, flush=True))
"""
    with script(text, HOUBLON_LAB_DIR=str(tmp_path)) as builder:
        assert builder.stdout
        for line in builder.stdout:
            if line.startswith("installing essential"):
                break
        builder.send_signal(signal.SIGKILL)
        builder.wait()

    def users() -> list[str]:
        commands = [p.read_bytes() for p in Path("/proc").glob("[0-9]*/cmdline") if p.parent.exists()]
        return [str(command) for command in commands if str(tmp_path).encode() in command]

    wait_for(lambda: not users(), 10)
    assert [path.name[:10] for path in (tmp_path / "cache").iterdir() if path.is_dir()] == [".building-"]
    assert str(tmp_path) not in Path("/proc/self/mounts").read_text()


def test_a_taken_name_is_refused_and_an_absent_lab_is_no_error(lab: Lab) -> None:
    with pytest.raises(Refused, match="already"):
        Lab.up(NAME)
    assert lab.hosts[0].running()
    assert not take_down(f"{NAME}-absent")
