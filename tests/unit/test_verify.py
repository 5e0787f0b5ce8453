"""`houblon verify` end to end on this machine: real pytest, real sockets, a toy role, no SSH."""

from __future__ import annotations

import grp
import hashlib
import html
import http.server
import io
import json
import os
import pwd
import socket
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from xml.etree import ElementTree

import pytest
from rich.console import Console

from houblon import claims as c
from houblon.connection import Result
from houblon.contract import Role
from houblon.errors import BadInput, CannotConnect, Exit, OperationFailed, VerificationFailed
from houblon.registry import discover
from houblon.site import Site
from houblon.vault import Secret
from houblon.verify import host_checks, probe, show
from houblon.verify.claim_checks import GENERATORS, NOT_CHECKED, TOGETHER, from_claims
from houblon.verify.context import Context
from houblon.verify.html import to_html
from houblon.verify.model import Outcome, Report, blame
from houblon.verify.model import Result as ModelResult
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


def only(report: Report, identifier: str) -> Any:
    return next(r for r in report.results if r.id == identifier)


def test_every_kind_of_claim_is_checked_or_says_why_not() -> None:
    checked = set(GENERATORS) | set(TOGETHER)
    everything = {kind for kind in c.ALL if kind is not c.Claim}
    assert checked | set(NOT_CHECKED) == everything
    assert not checked & set(NOT_CHECKED)
    assert all(NOT_CHECKED.values())


def test_outcomes_of_own_checks(tmp_path: Path) -> None:
    site = make_site(
        tmp_path,
        {
            "toy": """
import pytest
from houblon.verify import Broken, not_measurable

@pytest.fixture
def torn():
    yield
    raise RuntimeError("torn down badly")

@pytest.fixture
def never():
    raise OSError("no such thing")

def test_plain():
    pass
def test_broken():
    raise Broken("a", "b", "c")
def test_asserted():
    '''Two is three.

    Not read.'''
    assert 2 == 3, "it is two"
def test_failed():
    pytest.fail("I say so")
def test_container():
    not_measurable("a container")
def test_words():
    pytest.skip("not measurable here: no kernel")
def test_skipped():
    pytest.skip("no reason")
@pytest.mark.xfail
def test_expected_to_fail():
    assert False
@pytest.mark.xfail
def test_unexpectedly_good():
    pass
def test_teardown(torn):
    pass
def test_setup(never):
    pass
def test_exit():
    raise SystemExit(0)
@pytest.mark.parametrize("what", ["x", "y"])
def test_many(what):
    assert what == "x"
"""
        },
    )
    report = verify(site, LocalRunner(), None, QUICK)
    seen = {r.id.removeprefix("toy::"): r.outcome for r in report.of("toy")}
    good = {name for name, outcome in seen.items() if outcome is Outcome.PASSED}
    assert good - {"record", "failed units"} == {"plain", "many[x]"}
    assert {n for n, o in seen.items() if o is Outcome.NOT_MEASURABLE} >= {"container", "words"}
    assert seen["skipped"] is Outcome.SKIPPED
    for name in ("broken", "asserted", "failed", "expected to fail", "unexpectedly good", "teardown", "setup", "exit"):
        assert seen[name] is Outcome.FAILED, name
    broken, asserted = only(report, "toy::broken"), only(report, "toy::asserted")
    assert (broken.expected.en, broken.seen.fr, broken.cure.en) == ("a", "b", "c")
    assert asserted.expected.en == "Two is three." and asserted.seen.en.startswith("it is two")
    assert only(report, "toy::teardown").seen.en == "RuntimeError: torn down badly"
    assert only(report, "toy::container").seen.en == "a container"


def test_a_broken_checks_module_is_red(tmp_path: Path) -> None:
    site = make_site(tmp_path, {"good": "def test_a(): pass", "bad": "import nowhere_at_all"})
    report = verify(site, LocalRunner(), None, QUICK)
    assert outcomes(report)["bad::checks.py"] is Outcome.FAILED
    assert "nowhere_at_all" in only(report, "bad::checks.py").seen.en
    assert outcomes(report)["good::a"] is Outcome.PASSED
    assert not report.ok


def test_the_operator_s_own_pytest_settings_do_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    here = tmp_path / "cwd"
    here.mkdir()
    (here / "pytest.ini").write_text("[pytest]\naddopts = --collect-only --nonsense\n")
    (here / "conftest.py").write_text("raise SystemExit('loaded')\n")
    site = make_site(tmp_path / "site", {"toy": "def test_a():\n    print('noise')\n"})
    (tmp_path / "site" / "conftest.py").write_text("raise SystemExit('loaded')\n")
    (tmp_path / "site" / "pytest.ini").write_text("[pytest]\naddopts = --collect-only\n")
    monkeypatch.chdir(here)
    monkeypatch.setenv("PYTEST_ADDOPTS", "--nonsense")
    capfd.readouterr()
    report = verify(site, LocalRunner(), None, QUICK)
    assert outcomes(report)["toy::a"] is Outcome.PASSED
    assert os.environ["PYTEST_ADDOPTS"] == "--nonsense"
    assert capfd.readouterr() == ("", "")
    assert not list((tmp_path / "site").rglob(".pytest_cache"))


def test_only_one_role(tmp_path: Path) -> None:
    site = make_site(tmp_path, {"one": "def test_a(): pass", "two": "def test_a(): pass"})
    report = verify(site, LocalRunner(), None, Options(only="two", quick=True))
    assert report.roles == ["two"]
    with pytest.raises(BadInput, match="no role `three`"):
        verify(site, LocalRunner(), None, Options(only="three"))


def test_a_run_without_checks_is_an_error(tmp_path: Path) -> None:
    site = make_site(tmp_path, {"one": "", "empty": ""})
    with pytest.raises(VerificationFailed, match="nothing was checked"):
        verify(site, LocalRunner(), None, Options(only="empty", quick=True))


@pytest.mark.parametrize("after", range(3))
def test_a_lost_line_ends_the_run(tmp_path: Path, after: int) -> None:
    text = "def test_a(host):\n    host.run('true')\n\ndef test_b(): pass\n"
    site = make_site(tmp_path, {"toy": text, "more": text})
    with pytest.raises(CannotConnect):
        verify(site, LocalRunner(lose_after=after), None, QUICK)


def test_a_cut_answer_is_no_answer(tmp_path: Path) -> None:
    class Cut(LocalRunner):
        def run(self, script: str, stdin: bytes = b"", timeout: float | None = None) -> Result:
            whole = super().run(script, stdin, timeout)
            return Result(0, whole.stdout[: len(whole.stdout) // 2], "")

    with pytest.raises(OperationFailed, match="did not answer about"):
        verify(make_site(tmp_path, {"toy": ""}), Cut(), None, QUICK)


class FakeVault:
    """Holds one secret, and says that it knows it."""

    VALUE = "Ho7-blon&<secret>'quoted'"

    def get(self, role: str, name: str) -> Secret:
        return Secret(self.VALUE.encode())

    def known_values(self) -> list[bytes]:
        return [self.VALUE.encode()]


def test_secrets_are_masked_everywhere(tmp_path: Path, web: int) -> None:
    value = FakeVault.VALUE
    text = f"def test_a():\n    assert 0, {value!r}\n\ndef test_b():\n    raise OSError({value!r})\n"
    site = make_site(tmp_path, {"toy": text}, c.HttpCheck(f"http://toy.test:{web}/", contains=value, role="toy"))
    report = verify(site, LocalRunner(), cast(Any, FakeVault()), QUICK)
    assert report.counts[Outcome.FAILED] >= 3
    console = Console(width=200, file=io.StringIO(), record=True)
    console.print(show.table(report, every=True))
    texts = [show.dumps(report), show.to_junit(report).decode(), to_html(report), to_html(report, "fr"),
             console.export_text()]  # fmt: skip
    for written in texts:
        for form in (value, html.escape(value), json.dumps(value)[1:-1], repr(value)[1:-1]):
            assert form not in written
        assert "•••" in written


def test_a_leak_is_found_where_everybody_may_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = tmp_path / "places"
    (places / "deep").mkdir(parents=True)
    monkeypatch.setattr(host_checks, "LEAK_PLACES", str(places))
    site = make_site(tmp_path / "site", {"toy": ""}, c.Secret("password", role="toy"))
    closed, odd = places / "closed", places / "deep" / "a name\twith odd letters"
    closed.write_text(FakeVault.VALUE)
    closed.chmod(0o600)
    (places / "innocent").write_text("nothing")
    runner = LocalRunner()
    report = verify(site, runner, cast(Any, FakeVault()), QUICK)
    assert outcomes(report)["toy::no secret leaks"] is Outcome.PASSED
    odd.write_bytes(b"\xff\0 before" + FakeVault.VALUE.encode() + b"after")
    report = verify(site, runner, cast(Any, FakeVault()), QUICK)
    leak = only(report, "toy::no secret leaks")
    assert leak.outcome is Outcome.FAILED
    assert "odd letters (password)" in leak.seen.en and "closed" not in leak.seen.en
    assert not any(FakeVault.VALUE in script for script in runner.scripts)


def test_drift_and_secret_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, secret, gone = tmp_path / "plain", tmp_path / "secret", tmp_path / "gone"
    owner = {"owner": pwd.getpwuid(os.getuid()).pw_name, "group": grp.getgrgid(os.getgid()).gr_name}
    files = {}
    for path, mode in ((plain, 0o644), (secret, 0o600), (gone, 0o644)):
        path.write_text(path.name)
        path.chmod(mode)
        files[str(path)] = {
            "sha256": hashlib.sha256(path.name.encode()).hexdigest(), "mode": f"{mode:04o}", **owner,
            "secret": path is secret,
        }  # fmt: skip
    record = tmp_path / "state.json"
    record.write_text(json.dumps({"roles": {"toy": {"files": files}}, "result": "ok", "commit": ""}))
    monkeypatch.setattr(probe, "RECORD", str(record))
    site = make_site(tmp_path / "site", {"toy": "", "other": ""})

    def look() -> dict[str, Outcome]:
        return outcomes(verify(site, LocalRunner(), None, QUICK))

    seen = look()
    assert seen["toy::files"] is seen["toy::secret files"] is seen["toy::record"] is Outcome.PASSED
    assert "other::files" not in seen
    secret.chmod(0o604)
    assert look()["toy::secret files"] is Outcome.FAILED
    secret.chmod(0o600)
    gone.unlink()
    plain.write_text("edited")
    report = verify(site, LocalRunner(), None, QUICK)
    words = only(report, "toy::files").seen
    assert f"{plain} (content changed)" in words.en and f"{gone} (absent)" in words.fr
    record.write_text("{")
    report = verify(site, LocalRunner(), None, QUICK)
    assert "damaged" in only(report, "toy::record").seen.en
    record.unlink()
    assert "nothing was ever applied" in only(verify(site, LocalRunner(), None, QUICK), "toy::record").seen.en


def test_who_is_to_blame() -> None:
    def result(role: str, outcome: Outcome, *through: type[c.Claim], root: bool = False) -> ModelResult:
        return ModelResult(role, "x", "", outcome, through=through, root=root)

    providers = {c.Vhost: ("nginx",), c.Database: ("db",)}
    down = result("nginx", Outcome.FAILED, root=True)
    page = result("pad", Outcome.FAILED, c.Vhost)
    own = result("pad", Outcome.FAILED)
    fine = result("pad", Outcome.PASSED, c.Vhost)
    judged = blame([down, page, own, fine], providers)
    assert [r.outcome for r in judged] == [Outcome.FAILED, Outcome.BLOCKED, Outcome.FAILED, Outcome.PASSED]
    assert judged[1].blocked_by == "nginx"
    small = result("nginx", Outcome.FAILED)
    assert blame([small, page], providers)[1].outcome is Outcome.FAILED
    assert blame([result("nginx", Outcome.FAILED, c.Vhost, root=True)], providers)[0].outcome is Outcome.FAILED


def test_reports_agree_and_escape(tmp_path: Path) -> None:
    nasty = "<script>alert(1)</script> & \\x00 \\x1b[31m ]]>"
    text = f"def test_a():\n    '''{nasty}'''\n    assert 0, '{nasty}'\n\ndef test_b(): pass"
    site = make_site(tmp_path, {"toy": text})
    report = verify(site, LocalRunner(), None, QUICK)
    page, junit, data = to_html(report), show.to_junit(report), json.loads(show.dumps(report))
    assert "<script" not in page and "&lt;script&gt;" in page and "NOT as promised" in page
    assert "NON conforme" in to_html(report, "fr")
    tree = ElementTree.fromstring(junit)  # noqa: S314 - our own
    assert sum(int(s.get("tests", 0)) for s in tree) == len(report.results) == len(data["checks"])
    assert sum(int(s.get("failures", 0)) for s in tree) == data["counts"]["failed"]
    assert data["ok"] is False and data["counts"]["passed"] == report.counts[Outcome.PASSED]
    console = Console(width=120, file=io.StringIO(), record=True)
    console.print(show.table(report))
    assert "toy::a" in console.export_text() and "Traceback" not in console.export_text()


def test_the_reference_names_every_check(tmp_path: Path) -> None:
    claims = (
        c.Unit("a.service"), c.Listen(1), c.Port(2), c.Port(3, "udp"), c.Vhost("a.test"), c.Certificate(("a.test",)),
        c.HttpCheck("https://a.test/"), c.ConfigTest("true"), c.HostName("a.test"), c.Jail("a", "a", "a", (1,)),
        c.Package("a"), c.Secret("a"), c.Artifact(name="a", version="1", urls=(), sha256="0" * 64, top="a"),
    )  # fmt: skip
    assert {type(claim) for claim in claims} == {*GENERATORS, *TOGETHER, c.Secret}
    site = make_site(tmp_path, {"toy": ""}, *(replace(claim, role="toy") for claim in claims if claim.__class__ is not
                                              c.Package), c.Package("a", role="toy"))  # fmt: skip
    context = Context(site, LocalRunner(), None)
    about = {"sha256": "", "mode": "0600", "owner": "root", "group": "root", "secret": True}
    context.frames["record"] = probe.Frame(0, json.dumps({"roles": {"toy": {"files": {"/x": about}}}}))
    names = {check.name for check in [*from_claims(context), *host_checks.from_host(context)]}
    reference = (Path(__file__).parents[2] / "docs/reference/verify.md").read_text()
    assert len(names) == 22
    assert {name for name in names if f"`{name}`" not in reference} == set()
