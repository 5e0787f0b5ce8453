"""The port scanner: open, closed, silent and unknown are four different things."""

from __future__ import annotations

import errno
import json
import resource
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest

from houblon.claims import Port
from houblon.verify import Broken, NotMeasurable, scan
from houblon.verify import vantage as outside
from houblon.verify.vantage import Target, Vantage, find_targets


@pytest.fixture
def listener() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def silent() -> Iterator[int]:
    """A port whose queue is full, so that Linux drops further SYNs, as a firewall would."""
    with ExitStack() as stack:
        server = stack.enter_context(closing(socket.socket()))
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for _ in range(8):
            client = stack.enter_context(closing(socket.socket()))
            client.setblocking(False)
            client.connect_ex(server.getsockname())
        yield server.getsockname()[1]


def test_open_closed_and_silent_are_told_apart(listener: int, silent: int) -> None:
    found = scan.scan("127.0.0.1", [listener, 1, silent], wait=0.5)
    assert (found.open, found.closed, found.silent, found.unknown) == ([listener], 1, 1, {})
    assert found.whole
    assert [scan.probe("127.0.0.1", port, 0.5) for port in (listener, 1, silent)] == ["open", "closed", "silent"]


@pytest.mark.parametrize(("address", "first"), [("127.0.0.1", 20_000), ("::1", 60_000)])
def test_many_ports_of_this_machine(listener: int, address: str, first: int) -> None:
    found = scan.scan(address, range(first, 65536), wait=0.5, per_second=100_000)
    assert found.probed == 65536 - first and found.whole
    assert (listener in found.open) == (address == "127.0.0.1")


def test_a_low_limit_of_open_files_makes_it_slower_not_wrong(listener: int) -> None:
    script = (
        "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100));"
        "from houblon.verify.scan import scan;"
        f"f = scan('127.0.0.1', [*range(1, 2000), {listener}], wait=1, per_second=1e6);"
        "print(f.whole, f.open, f.probed)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    words = done.stdout.split()
    assert words[0] == "True" and str(listener) in done.stdout and words[-1] == "2000"


def test_no_files_at_all_is_unknown_not_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> socket.socket:
        raise OSError(errno.EMFILE, "too many")

    monkeypatch.setattr(scan.socket, "socket", none)
    found = scan.scan("127.0.0.1", [1, 2])
    assert found.unknown == {1: "EMFILE", 2: "EMFILE"} and not found.whole


def test_an_unreachable_host_is_unknown_not_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Unreachable(socket.socket):
        def connect_ex(self, address: object) -> int:
            return errno.EHOSTUNREACH

    monkeypatch.setattr(scan.socket, "socket", Unreachable)
    found = scan.scan("127.0.0.1", [1, 2])
    assert set(found.unknown.values()) == {"EHOSTUNREACH"} and not found.whole


def test_the_limit_of_open_files_is_raised_within_bounds() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        assert 1 <= scan._files() <= scan.MOST_IN_FLIGHT
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_as_a_process_it_speaks_json(listener: int) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "houblon.verify.scan", "127.0.0.1", "::1", "--ports", f"{listener}-{listener}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    first, second = map(json.loads, done.stdout.splitlines())
    assert first["open"] == [listener] and second["closed"] == 1


def test_vantage_scans_in_the_background(listener: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outside, "SCAN_PORTS", f"{listener - 50}-{listener + 50}")
    vantage = Vantage("127.0.0.1")
    vantage.start_scan([listener])
    found = vantage.scanned("IPv4")
    assert found.probed == 100 and listener not in found.open
    assert vantage.tcp_open(listener) and not vantage.tcp_open(1)
    with pytest.raises(NotMeasurable, match="no IPv6 address"):
        vantage.tcp_open(listener, "IPv6")


def test_a_scanner_that_dies_is_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    vantage = Vantage("127.0.0.1")
    vantage.start_scan([])
    process = vantage._scans["IPv4"]
    process.kill()
    with pytest.raises(Broken, match="the scanner failed"):
        vantage.scanned("IPv4")
    vantage.start_scan([])
    process = vantage._scans["IPv4"]
    vantage.close()
    assert process.returncode is not None


def test_an_odd_end_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outside, "probe", lambda *_: "EHOSTUNREACH")
    with pytest.raises(Broken, match="EHOSTUNREACH"):
        Vantage("127.0.0.1").tcp_open(80)


def test_one_address_for_each_family() -> None:
    assert [t.address for t in find_targets("127.0.0.1", ["::1", "::2", "192.0.2.1"])] == ["127.0.0.1", "::1"]
    assert [t.family for t in find_targets("::1", ["127.0.0.1"])] == ["IPv6"]


@pytest.mark.parametrize(
    ("address", "source", "lan"),
    [
        ("192.168.1.2", "192.168.1.9", True), ("10.0.0.2", "192.168.1.9", True), ("203.0.113.5", "192.168.1.9", False),
        ("192.168.1.2", "", False), ("fd00::1", "fd00::2", True), ("2001:db8::1", "fd00::2", False),
        ("172.32.0.1", "10.0.0.1", False), ("127.0.0.1", "127.0.0.1", True),
    ],
)  # fmt: skip
def test_where_lan_ports_must_be_open(address: str, source: str, lan: bool) -> None:
    target = Target("IPv6" if ":" in address else "IPv4", address, source)
    assert target.lan is lan
    assert target.expects(Port(22, exposure="lan")) is lan
    assert target.expects(Port(22))
