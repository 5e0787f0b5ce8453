"""`houblon verify` end to end on this machine: real pytest, real sockets, a toy role, no SSH."""

from __future__ import annotations

import http.server
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from houblon import claims as c
from houblon.connection import Result
from houblon.contract import Role
from houblon.errors import CannotConnect, Exit
from houblon.registry import discover
from houblon.site import Site
from houblon.verify.model import Outcome, Report
from houblon.verify.run import Options, verify


class LocalRunner:
    """The `Runner` protocol on this machine. ``lose_after`` cuts the line after that many scripts."""

    def __init__(self, lose_after: int | None = None) -> None:
        self.scripts: list[str] = []
        self.lose_after = lose_after

    def run(self, script: str, stdin: bytes = b"", timeout: float | None = None) -> Result:
        self.scripts.append(script)
        if self.lose_after is not None and len(self.scripts) > self.lose_after:
            raise CannotConnect("the line was lost")
        done = subprocess.run(["sh", "-c", script], input=stdin, capture_output=True, timeout=timeout, check=False)
        return Result(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))


ROLE = '''
from collections.abc import Iterator
from houblon.contract import Claim, Config, Listen, Metadata, Role, tr

class Toy(Role[Config]):
    metadata = Metadata(title="Toy", summary=tr(en="A toy.", fr="Un jouet."), category="tools", licence="MIT",
                        homepage="https://example.org")
'''


class FakeSite:
    """As much of `houblon.site.Site` as verify uses."""

    def __init__(self, folder: Path, roles: list[Role[Any]], claims: list[c.Claim]) -> None:
        self.folder, self.file, self.name, self.languages = folder, folder / "site.yaml", "test", ("en", "fr")
        self.file.write_text("version: 1\n")
        self.host = SimpleNamespace(address="127.0.0.1", port=22, user="root", jump=None)
        self.roles, self._claims = tuple(roles), claims

    def claims(self, kind: type[c.Claim]) -> tuple[c.Claim, ...]:
        return tuple(claim for claim in self._claims if isinstance(claim, kind))

    def commit(self) -> tuple[str, bool]:
        return "", False


def make_site(folder: Path, checks: dict[str, str], *claims: c.Claim) -> Site:
    """A site with one role for each entry of ``checks`` (the text of its checks.py)."""
    for name, text in checks.items():
        role = folder / "roles" / name
        role.mkdir(parents=True)
        (role / "__init__.py").write_text(ROLE)
        if text:
            (role / "checks.py").write_text(text)
    registry = discover(folder)
    site = FakeSite(folder, [], list(claims))
    roles = [registry.roles[name](registry.roles[name].config_type()(), cast(Site, site)) for name in checks]
    site.roles = tuple(roles)
    return cast(Site, site)


def outcomes(report: Report) -> dict[str, Outcome]:
    return {result.id: result.outcome for result in report.results}


QUICK = Options(quick=True)


@pytest.fixture
def listener() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def web() -> Iterator[int]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.headers["Host"].startswith("toy.test") else 404)
            self.send_header("Set-Cookie", "a=1")
            self.end_headers()
            self.wfile.write("bonjour é".encode())

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


def test_claims_and_own_checks_are_run_with_ids(tmp_path: Path, listener: int, web: int) -> None:
    checks = f'''
import pytest

def test_root(host, site, role, wire, vantage):
    """The page greets."""
    assert host.run("id -u").stdout.strip() == {str(os.getuid())!r}
    assert host.run("exit 7").rc == 7
    assert role.name == "toy" and site.name == "test"
    page = wire.get("http://toy.test:{web}/x")
    assert page.status == 200 and "bonjour é" in page.text and page.cookies == ("a=1",)
    assert wire("http://other.test:{web}/").status == 404
    assert vantage.tcp_open({listener})

@pytest.mark.deep
def test_deep():
    raise AssertionError("only with --deep")

def test_content(host):
    assert host.file("/proc/self/cmdline").content.startswith(b"cat\\0")
    assert host.run("cat", stdin=b"\\xff\\x00").stdout_bytes == b"\\xff\\x00"
'''
    site = make_site(
        tmp_path, {"toy": checks}, c.Listen(listener, role="toy"), c.Listen(1, role="toy"), c.Needs("x", role="toy")
    )
    report = verify(site, LocalRunner(), None, QUICK)
    seen = outcomes(report)
    assert seen[f"toy::listens[tcp/{listener}]"] is Outcome.PASSED
    assert seen["toy::listens[tcp/1]"] is Outcome.FAILED
    assert seen["toy::root"] is Outcome.PASSED, [r.seen.en for r in report.of("toy")]
    assert seen["toy::content"] is Outcome.PASSED
    assert "toy::deep" not in seen
    assert report.exit_code is Exit.VERIFICATION_FAILED
    failed = next(r for r in report.results if r.id == "toy::listens[tcp/1]")
    assert failed.seen.en == "nothing listens there" and failed.seen.fr == "rien n'y écoute"
    deep = verify(site, LocalRunner(), None, Options(quick=True, deep=True))
    assert outcomes(deep)["toy::deep"] is Outcome.FAILED
