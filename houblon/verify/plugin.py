"""The pytest side: pytest collects the *site file* and finds, role by role, claim checks and ``checks.py``."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from houblon import claims as c
from houblon.claims import Claim, Text, tr
from houblon.contract import Role
from houblon.errors import CannotConnect
from houblon.verify import Broken, LeftOut, NotMeasurable, both
from houblon.verify.check import Check
from houblon.verify.claim_checks import from_claims
from houblon.verify.context import Context
from houblon.verify.host_checks import from_host
from houblon.verify.model import NOTHING, Outcome, Result
from houblon.verify.vantage import Vantage
from houblon.verify.wire import Wire

if TYPE_CHECKING:
    import testinfra.host

    from houblon.site import Site

HERE = "not measurable here"
THROUGH: tuple[type[Claim], ...] = (c.Vhost, c.Certificate, c.Database, c.Port)
"""A role's own checks may go through any provider."""

Progress = Callable[[str, int, int], None]
"""Told what comes next, its number, and how many there are."""


class ClaimItem(pytest.Item):
    """A check that follows from a claim or from the host's record."""

    def __init__(self, *, check: Check, context: Context, **options: Any) -> None:
        super().__init__(**options)
        self.check, self.context = check, context
        if check.deep:
            self.add_marker("deep")

    def runtest(self) -> None:
        self.check.run(self.context)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: object = None) -> str:
        return str(excinfo.value)


class RoleChecks(pytest.Module):
    """A role's ``checks.py``, imported as part of the role's package and not by its path.

    By path pytest would load a second copy of the role, for which `isinstance` and settings differ.
    """

    role: Role[Any]

    def _getobj(self) -> ModuleType:
        return importlib.import_module(f"{type(self.role).__module__}.checks")


class RoleNode(pytest.Collector):
    """One role: its claim checks, then its own."""

    def __init__(self, *, role: Role[Any] | None, checks: Iterable[Check], context: Context, **options: Any) -> None:
        super().__init__(**options)
        self.role, self.checks, self.context = role, tuple(checks), context

    def collect(self) -> Iterator[pytest.Item | pytest.Collector]:
        for check in self.checks:
            name = f"{check.name}[{check.subject}]" if check.subject else check.name
            yield ClaimItem.from_parent(self, name=name, check=check, context=self.context)
        if self.role is not None and (path := self.role.folder / "checks.py").is_file():
            node: RoleChecks = RoleChecks.from_parent(self, path=path, nodeid=self.role.name, name="checks.py")
            node.role = self.role
            yield node


class SiteFile(pytest.File):
    """The site file, as pytest sees it: one node for each role."""

    context: Context
    only: str

    def collect(self) -> Iterator[RoleNode]:
        checks: dict[str, list[Check]] = {}
        for check in [*from_claims(self.context), *from_host(self.context)]:
            checks.setdefault(check.role, []).append(check)
        roles = {role.name: role for role in self.context.site.roles}
        for name in dict.fromkeys([*roles, *checks]):
            if self.only in ("", name):
                yield RoleNode.from_parent(
                    self, name=name, nodeid=name, role=roles.get(name), checks=checks.get(name, ()),
                    context=self.context,
                )  # fmt: skip


class Plugin:
    """Collects, offers the fixtures, and turns pytest's reports into `Result`.

    :ivar lost: why the run must not be trusted: the line to the host was lost in the middle.
    """

    def __init__(self, context: Context, only: str, deep: bool, progress: Progress | None = None) -> None:
        self.context, self.only, self.deep = context, only, deep
        self.progress = progress
        self.results: dict[str, Result] = {}
        self.lost: CannotConnect | None = None
        self.interrupted = False
        self.total = 0

    # --- collection --------------------------------------------------------------------------------------

    def pytest_configure(self, config: pytest.Config) -> None:
        config.addinivalue_line("markers", "deep: a slower check, run by `houblon verify --deep`")
        config.addinivalue_line("markers", "root: when it fails, nothing that depends on the role can work")
        # Nobody sees pytest's tracebacks here, and its annotated ones take half a second each.
        config.option.tbstyle = "native"

    def pytest_collect_file(self, file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
        if file_path != self.context.site.file.resolve():
            return None
        node: SiteFile = SiteFile.from_parent(parent, path=file_path)
        node.context, node.only = self.context, self.only
        return node

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            role = report.nodeid.split("::")[0] or "host"
            last = [line for line in str(report.longrepr).splitlines() if line.strip()][-1:]
            self.results[f"{role}::checks.py"] = Result(
                role, "checks.py", "", Outcome.FAILED,
                expected=tr(en="the role's own checks can be loaded", fr="les vérifications du rôle se chargent"),
                seen=both(" ".join(last)),
                cure=tr(en="Mend the role's checks.py.", fr="Corrigez le fichier checks.py du rôle."),
            )  # fmt: skip

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        if not self.deep:
            deep = [item for item in items if item.get_closest_marker("deep")]
            items[:] = [item for item in items if item not in deep]
            config.hook.pytest_deselected(items=deep)
        # The scan runs in the background; who waits for it comes last.
        items.sort(key=lambda item: isinstance(item, ClaimItem) and item.check.name == "nothing else is open")
        self.total = len(items)

    def pytest_keyboard_interrupt(self) -> None:
        self.interrupted = True

    # --- the run -----------------------------------------------------------------------------------------

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        if self.progress:
            self.progress(f"{_role_of(item)}: {item.name}", len(self.results) + 1, self.total)
        return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        error = call.excinfo.value if call.excinfo else None
        if isinstance(error, CannotConnect):
            self.lost = error
            item.session.shouldstop = "the line to the host was lost"
        result = _result(item, report, error)
        before = self.results.get(item.nodeid)
        # A teardown that fails spoils a check that passed; one that passes changes nothing.
        ran = report.when == "call" or result.outcome is not Outcome.PASSED
        if ran and (before is None or before.outcome is Outcome.PASSED):
            self.results[item.nodeid] = result
        return report

    # --- fixtures ----------------------------------------------------------------------------------------

    @pytest.fixture(scope="session")
    def host(self) -> testinfra.host.Host:
        return self.context.host

    @pytest.fixture(scope="session")
    def site(self) -> Site:
        return self.context.site

    @pytest.fixture(scope="session")
    def wire(self) -> Wire:
        return self.context.wire

    @pytest.fixture(scope="session")
    def vantage(self) -> Vantage:
        return self.context.vantage

    @pytest.fixture(scope="session")
    def snapshot(self) -> Context:
        return self.context

    @pytest.fixture(scope="module")
    def role(self, request: pytest.FixtureRequest) -> Role[Any]:
        node = request.node.getparent(RoleChecks)
        assert isinstance(node, RoleChecks)
        return node.role


def _role_of(item: pytest.Item) -> str:
    node = item.getparent(RoleNode)
    return node.name if isinstance(node, RoleNode) else "host"


def _result(item: pytest.Item, report: pytest.TestReport, error: BaseException | None) -> Result:
    if isinstance(item, ClaimItem):
        check = item.check
        empty = Result(check.role, check.name, check.subject, Outcome.FAILED, through=check.through, root=check.root)
        about = NOTHING
    else:
        name, _, subject = item.name.removeprefix("test_").partition("[")
        empty = Result(
            _role_of(item), name.replace("_", " "), subject.removesuffix("]"), Outcome.FAILED, through=THROUGH,
            root=item.get_closest_marker("root") is not None,
        )  # fmt: skip
        about = both(_first_line(getattr(getattr(item, "obj", None), "__doc__", None)) or name.replace("_", " "))
    outcome, words = judge(report, error, about)
    return replace(
        empty, outcome=outcome, seconds=round(report.duration, 3), expected=words.get("expected", NOTHING),
        seen=words.get("seen", NOTHING), cure=words.get("cure", NOTHING),
    )  # fmt: skip


def judge(report: pytest.TestReport, error: BaseException | None, about: Text) -> tuple[Outcome, dict[str, Text]]:
    """What a report means, and the words for it. Only a plain pass is a pass."""
    match error:
        case None if report.outcome == "passed" and not hasattr(report, "wasxfail"):
            return Outcome.PASSED, {"expected": about}
        case NotMeasurable():
            return Outcome.NOT_MEASURABLE, {"expected": about, "seen": error.reason}
        case LeftOut():
            return Outcome.SKIPPED, {"expected": about, "seen": error.reason}
        case pytest.skip.Exception():
            reason = str(error.msg or "")
            if reason.lower().startswith(HERE):
                return Outcome.NOT_MEASURABLE, {"expected": about, "seen": both(reason[len(HERE) :].strip(" :,"))}
            return Outcome.SKIPPED, {"expected": about, "seen": both(reason)}
        case Broken():
            return Outcome.FAILED, {"expected": error.expected, "seen": error.seen, "cure": error.cure}
        case pytest.fail.Exception():
            return Outcome.FAILED, {"expected": about, "seen": both(_first_line(str(error.msg)))}
        case AssertionError():
            return Outcome.FAILED, {"expected": about, "seen": both(_first_line(str(error)) or "it is not so")}
        case None:
            return Outcome.FAILED, {"expected": about, "seen": both("it is marked as known to fail")}
        case _:
            said = f"{type(error).__name__}: {_first_line(str(error))}"
            return Outcome.FAILED, {"expected": about, "seen": both(said)}


def _first_line(text: str | None) -> str:
    lines = [line.strip() for line in (text or "").splitlines() if line.strip()]
    return lines[0][:300] if lines else ""
