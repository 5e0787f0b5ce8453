"""The lab's decisions, without a lab: what it reads from this machine and what it writes for its hosts."""

from __future__ import annotations

import os
import subprocess
import sys
from ipaddress import ip_network
from pathlib import Path

import pytest

from houblon.errors import BadInput, Refused
from houblon.lab import blueprint, machine, network, services, spare, state
from houblon.lab.lab import Lab
from houblon.lab.state import HostState, LabState, Process

DEB822 = """\
# Debian
Types: deb deb-src
URIs: http://mirror.example/debian/
Suites: bookworm bookworm-updates bookworm-backports
Components: main non-free-firmware
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main

Enabled: no
Types: deb
URIs: http://disabled.example/debian
Suites: bookworm
Components: main

Types: deb
URIs: https://vendor.example/apt
Suites: bookworm
Components: main
Signed-By: /usr/share/keyrings/vendor.gpg
"""
ONE_LINE = """\
deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] https://one.example/debian trixie main # here
deb-src http://one.example/debian trixie main
# deb http://commented.example/debian trixie main
deb https://vendor.example/linux/debian trixie stable
deb cdrom:[Debian]/ trixie main
deb http://one.example/debian-security trixie-security main contrib
"""


def make_state(**changes: object) -> LabState:
    values: dict[str, object] = {
        "name": "demo",
        "id": "ab12",
        "driver": "nspawn",
        "release": "trixie",
        "builder": Process.of(os.getpid()),
        "phase": "up",
        "boot_id": state.boot_id(),
        "subnet4": "10.71.3.0/24",
        "subnet6": "fd00:1:2:1::/64",
        "tsig": "c2VjcmV0",
        "tsig_admin": "YWRtaW4=",
        "services": HostState("lab", "10.71.3.2", "fd00:1:2:1::2"),
        "hosts": [HostState(f"host{n}", f"10.71.3.{n + 10}", f"fd00:1:2:1::{n + 10:x}") for n in (1, 2)],
    }
    return LabState(**{**values, **changes})  # type: ignore[arg-type]


@pytest.fixture
def lab_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOUBLON_LAB_DIR", str(tmp_path))
    return tmp_path


def test_deb822_sources_keep_debian_and_drop_vendors() -> None:
    assert list(machine.parse_deb822(DEB822)) == [
        machine.Source("http://mirror.example/debian", "", ("main", "non-free-firmware")),
        machine.Source("http://mirror.example/debian", "-updates", ("main", "non-free-firmware")),
        machine.Source("http://mirror.example/debian-security", "-security", ("main",)),
    ]


def test_one_line_sources_keep_debian_and_drop_vendors() -> None:
    assert list(machine.parse_one_line(ONE_LINE)) == [
        machine.Source("https://one.example/debian", "", ("main",)),
        machine.Source("http://one.example/debian-security", "-security", ("main", "contrib")),
    ]


def test_mirror_lists_of_cloud_images_are_read(tmp_path: Path) -> None:
    mirrors = tmp_path / "debian.list"
    mirrors.write_text("https://cloud.example/debian\nhttps://other.example/debian\n")
    (source,) = machine.parse_one_line(f"deb mirror+file://{mirrors} trixie main")
    assert source.uri == "https://cloud.example/debian"


def test_sources_are_rewritten_for_the_lab_s_release(tmp_path: Path) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list.d/debian.sources").write_text(DEB822)
    (tmp_path / "sources.list.d/off.sources.disabled").write_text(DEB822.replace("mirror.", "disabled."))
    text = machine.sources_for("trixie", machine.debian_sources(tmp_path))
    assert [line for line in text.splitlines() if line.startswith("Suites")] == [
        "Suites: trixie", "Suites: trixie-updates", "Suites: trixie-security",
    ]  # fmt: skip
    assert "bookworm" not in text
    assert "disabled" not in text


def test_a_machine_without_debian_sources_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no Debian archive"):
        machine.debian_sources(tmp_path)


def test_a_proxy_on_localhost_becomes_the_gateway_for_hosts() -> None:
    options = {"Acquire::http::Proxy": "http://127.0.0.1:3142", "Acquire::Check-Date": "false"}
    assert machine.apt_options_text(options, gateway="10.71.3.1") == (
        'Acquire::Check-Date "false";\nAcquire::http::Proxy "http://10.71.3.1:3142";\n'
    )
    assert "127.0.0.1" in machine.apt_options_text(options)


def test_resolvers_skip_loopback_and_fall_back_to_the_real_ones(tmp_path: Path) -> None:
    stub, real = tmp_path / "stub", tmp_path / "real"
    stub.write_text("nameserver 127.0.0.53\nnameserver fe80::1%eth0\n")
    real.write_text("# by resolved\nnameserver 192.0.2.53\nnameserver 2001:db8::53\n")
    assert machine.resolvers([stub, real]) == ["192.0.2.53"]
    assert machine.resolvers([stub, tmp_path / "absent"]) == []


def test_only_cas_that_debian_does_not_have_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def pem(body: str) -> str:
        return f"-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n"

    bundle = tmp_path / "bundle.crt"
    bundle.write_text("# a comment\n" + pem("QUFB") + pem("QkJC"))
    monkeypatch.setattr(machine, "BUNDLE", bundle)
    assert machine.own_cas(pem("QUFB")) == [pem("QkJC")]


def test_missing_tools_are_named_as_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(machine.shutil, "which", lambda tool: None if tool in ("nft", "systemd-nspawn") else tool)
    monkeypatch.setattr(machine, "KEYRING", "/dev/null")
    with pytest.raises(BadInput, match="nftables systemd-container") as caught:
        machine.require_lab_tools()
    assert "apt install nftables systemd-container" in str(caught.value)


def test_without_root_a_spare_host_is_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(Refused, match="--address"):
        machine.require_lab_tools()


def test_subnets_keep_clear_of_everything_in_use() -> None:
    first = network.choose_subnet4("demo", [])
    assert network.choose_subnet4("demo", []) == first
    assert network.choose_subnet4("demo", [first]) != first
    assert network.choose_subnet4("demo", [ip_network("10.0.0.0/8")]).subnet_of(ip_network("172.16.0.0/12"))  # type: ignore[arg-type]
    with pytest.raises(Refused):
        network.choose_subnet4("demo", [ip_network("0.0.0.0/0")])
    ula = network.choose_subnet6([])
    assert ula.prefixlen == 64
    assert ula.subnet_of(ip_network("fd00::/8"))  # type: ignore[arg-type]


def test_other_firewalls_let_the_lab_pass_and_get_their_rules_back() -> None:
    forward = {"family": "ip", "table": "filter", "name": "FORWARD", "hook": "forward", "type": "filter"}
    chains = [forward, {**forward, "name": "INPUT", "hook": "input"}, {**forward, "family": "ip6"}, {"name": "x"}]
    rules = network.forward_rules({"nftables": [{"metainfo": {}}, *({"chain": c} for c in chains)]}, make_state())
    assert rules == [
        'insert rule ip filter FORWARD iifname "hlabab12" accept comment "hlabab12"\n',
        'insert rule ip filter FORWARD oifname "hlabab12" accept comment "hlabab12"\n',
    ]
    rule = {"family": "ip", "table": "filter", "chain": "FORWARD", "handle": 7}
    ruleset = [{"metainfo": {}}, {"rule": rule}, {"rule": {**rule, "handle": 8, "comment": "hlabab12"}}]
    assert network.forward_rules_removal({"nftables": ruleset}, make_state()) == [
        "delete rule ip filter FORWARD handle 8\n"
    ]


@pytest.mark.parametrize("name", ["", "Lab", "a_b", "-a", "a-", "../x", ".new-x", "a" * 40, "é"])
def test_names_that_are_no_dns_label_are_refused(name: str) -> None:
    with pytest.raises(BadInput):
        state.check_name(name)


def test_state_survives_a_round_trip(lab_dir: Path) -> None:
    lab = make_state()
    lab.save()
    assert LabState.load("demo") == lab
    lab.phase = "building"
    lab.save()
    assert LabState.load("demo") == lab
    assert (lab_dir / "labs/demo/state.json").stat().st_mode & 0o077 == 0
    assert (lab_dir / "labs/demo").stat().st_mode & 0o077 == 0


def test_orphans_are_labs_whose_builder_or_owner_is_dead() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        process = Process.of(child.pid)
        assert not make_state(owner=process).orphaned()
        assert not make_state(builder=process, phase="building").orphaned()
    assert not process.alive()
    assert make_state(owner=process).orphaned()
    assert make_state(builder=process, phase="building").orphaned()
    assert not make_state(builder=process).orphaned()
    assert make_state(boot_id="another").orphaned()


def test_a_recycled_pid_is_another_process() -> None:
    me = Process.of(os.getpid())
    assert me.alive()
    assert not Process(me.pid, me.start - 1).alive()
    with pytest.raises(BadInput):
        Process.of(2**22 + 1)


def test_records_are_replaced_whole_and_zone_by_zone() -> None:
    script = services.update_script(
        make_state(),
        [("@", "MX", "10 mail"), ("@", "MX", "20 other"), ("k._domainkey", "TXT", "v=DKIM1; p=" + "A" * 300),
         ("host1.demo.test", "A", "192.0.2.1"), ("11.3.71.10.in-addr.arpa.", "PTR", "mail.demo.test.")],
    )  # fmt: skip
    lines = script.splitlines()
    assert lines[:2] == ["server 10.71.3.3", "zone demo.test."]
    assert lines.count("update delete demo.test. MX") == 1
    assert "update add demo.test. 5 MX 20 other" in lines
    assert "zone 3.71.10.in-addr.arpa." in lines
    (txt,) = [line for line in lines if "add k._domainkey.demo.test." in line]
    assert [len(part) for part in txt.split('"')[1::2]] == [255, 56]
    with pytest.raises(BadInput, match="no zone of this lab"):
        services.update_script(make_state(), [("www.example.org.", "A", "192.0.2.1")])


def test_services_get_their_files() -> None:
    files = {seed.path: seed for seed in services.seeds(make_state(), ["192.0.2.53"], "CERT", "KEY")}
    assert files["etc/pebble/key.pem"].mode == 0o600
    assert "forward-addr: 192.0.2.53" in files["etc/unbound/unbound.conf.d/lab.conf"].content
    assert "* AAAA fd00:1:2:1::b" in files["var/lib/knot/demo.test.zone"].content
    reverse = files["var/lib/knot/1.0.0.0.2.0.0.0.1.0.0.0.0.0.d.f.ip6.arpa.zone"].content
    assert "b.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.0.0.2.0.0.0.1.0.0.0.0.0.d.f.ip6.arpa. PTR host1.demo.test." in reverse
    without = {seed.path: seed for seed in services.seeds(make_state(), [], "CERT", "KEY")}
    assert "forward-zone" not in without["etc/unbound/unbound.conf.d/lab.conf"].content


def test_a_layer_is_refused_without_what_it_stands_on(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no layer"):
        blueprint.layer_lowers(tmp_path, "trixie")
    (tmp_path / "root").mkdir()
    (tmp_path / "layer.json").write_text('{"release": "trixie", "lowers": ["/nowhere/base"]}')
    with pytest.raises(BadInput, match="bookworm"):
        blueprint.layer_lowers(tmp_path, "bookworm")
    with pytest.raises(BadInput, match="/nowhere/base"):
        blueprint.layer_lowers(tmp_path, "trixie")


def test_wrong_requests_are_refused_before_anything_is_made(lab_dir: Path) -> None:
    for arguments in ({"name": "X"}, {"name": "x", "release": "buzz"}, {"name": "x", "hosts": 0}):
        with pytest.raises(BadInput):
            Lab.up(**arguments)  # type: ignore[arg-type]
    assert list(lab_dir.iterdir()) == []


def test_a_spare_host_has_no_lab_services(lab_dir: Path) -> None:
    lab = Lab(make_state(driver="spare", services=None, subnet4="", subnet6=""))
    for attribute in ("acme_directory", "dns_server", "tsig", "ssh_key", "services"):
        with pytest.raises(Refused, match="spare"):
            getattr(lab, attribute)
    with pytest.raises(Refused, match="provider"):
        lab.hosts[0].power_off()
    for address in ("admin@192.0.2.1", "-oProxyCommand=x", ""):
        with pytest.raises(BadInput):
            Lab.adopt("spare", address)


def test_the_bareness_check_is_a_valid_script() -> None:
    assert subprocess.run(["sh", "-n"], input=spare.BARE, text=True, check=False).returncode == 0
