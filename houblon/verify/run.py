"""One verification, from an open connection to a report."""

from __future__ import annotations

import contextlib
import io
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from houblon import __version__
from houblon.claims import Text, tr
from houblon.errors import BadInput, HoublonError, VerificationFailed
from houblon.mask import Masker
from houblon.releases import unverified
from houblon.verify.backend import Runner
from houblon.verify.context import Context
from houblon.verify.host_checks import scan_skips
from houblon.verify.model import Outcome, Report, blame, masked
from houblon.verify.plugin import Plugin, Progress

if TYPE_CHECKING:
    from houblon.site import Site
    from houblon.vault import Vault


@dataclass(frozen=True)
class Options:
    """What the operator asked for.

    :param only: check this role alone; empty for all.
    :param deep: also the slower checks (a real upload, a real mail).
    :param quick: without the scan of all ports.
    """

    only: str = ""
    deep: bool = False
    quick: bool = False


def verify(
    site: Site, runner: Runner, vault: Vault | None = None, options: Options | None = None,
    progress: Progress | None = None,
) -> Report:
    """Run every check and report.

    :raises BadInput: ``only`` names no role of the site.
    :raises CannotConnect: the line was lost; what was seen before is not reported, for half a
        verification is none.
    :raises VerificationFailed: nothing could be checked at all.
    """
    options = options or Options()
    names = [role.name for role in site.roles]
    if options.only and options.only not in names:
        raise BadInput(
            f"this site has no role `{options.only}`", cure=f"It has {', '.join(sorted(names))}.", file=site.file
        )
    started, clock = datetime.now(UTC), time.monotonic()
    context = Context(site, runner, vault, quick=options.quick)
    plugin = Plugin(context, options.only, options.deep, progress)
    try:
        context.look()
        if not options.quick and _scans(context, options.only):
            context.vantage.start_scan(scan_skips(context))
        status = _pytest(site.file.resolve(), plugin)
    finally:
        context.close()
    if plugin.lost is not None:
        raise plugin.lost
    if plugin.interrupted:
        raise KeyboardInterrupt
    results = masked(blame(plugin.results.values(), context.providers()), Masker(context.known_values))
    if not any(result.outcome is Outcome.PASSED or result.bad for result in results):
        raise VerificationFailed(
            "nothing was checked", cure="A site without checks proves nothing; see `houblon check`."
        )
    if status in (pytest.ExitCode.INTERNAL_ERROR, pytest.ExitCode.USAGE_ERROR) or len(results) < plugin.total:
        raise VerificationFailed(
            f"the verification broke off ({len(results)} of {plugin.total} checks done)",
            cure="This is a mistake in houblon or in a role's checks.py; please report it.",
        )
    order = {name: number for number, name in enumerate(names)}
    results.sort(key=lambda result: order.get(result.role, len(order)))
    return Report(
        site.name, site.host.address, started.isoformat(timespec="seconds"), round(time.monotonic() - clock, 1),
        tuple(results), __version__, tuple(site.languages), tuple(_notes(context)),
    )  # fmt: skip


def _scans(context: Context, only: str) -> bool:
    """Whether the role that answers for open ports is part of this run."""
    from houblon.verify.host_checks import from_host

    return any(
        check.name == "nothing else is open" and only in ("", check.role) for check in from_host(context)
    )


def _notes(context: Context) -> Iterator[Text]:
    if context.container:
        yield tr(
            en=f"The host is a container ({context.container}): boot loader, partitions, kernel settings and "
            "AppArmor are not measurable here.",
            fr=f"L'hôte est un conteneur ({context.container}) : amorçage, partitions, réglages du noyau et "
            "AppArmor ne sont pas mesurables ici.",
        )
    if names := ", ".join(unverified(context.site)):
        yield tr(
            en=f"UNVERIFIED: {names}: from a test manifest, not what upstream publishes.",
            fr=f"NON VÉRIFIÉ : {names} : d'un manifeste de test, et non ce que publie le projet.",
        )
    try:
        commit, changed = context.site.commit()
        record = context.record or {}
    except (HoublonError, ValueError, AttributeError):
        return
    applied = str(record.get("commit") or "")
    if applied and commit and (applied != commit or changed):
        yield tr(
            en=f"The host was last applied from commit {applied[:10]}; this checkout differs: see `houblon plan`.",
            fr=f"L'hôte vient du commit {applied[:10]} ; cette copie diffère : voyez `houblon plan`.",
        )


def _pytest(file: Path, plugin: Plugin) -> int:
    """Run pytest in this process, deaf to the operator's own pytest settings, plugins and current folder."""
    arguments = [
        str(file), f"--rootdir={file.parent}", "-c", os.devnull, "--noconftest", "--capture=sys",
        "--continue-on-collection-errors",
        "-p", "no:cacheprovider", "-p", "no:terminal", "-p", "no:faulthandler", "-p", "no:doctest",
        "-p", "no:junitxml", "-p", "no:logging", "-p", "no:unraisableexception", "-p", "no:threadexception",
        "-o", "python_files=checks.py", "-o", "python_functions=test_*", "-o", "python_classes=Test",
    ]  # fmt: skip
    said = io.StringIO()
    with _environment(), contextlib.redirect_stderr(said):
        status = int(pytest.main(arguments, plugins=[plugin]))
    if status in (pytest.ExitCode.INTERNAL_ERROR, pytest.ExitCode.USAGE_ERROR):
        raise VerificationFailed(
            f"pytest gave up: {said.getvalue().strip()[-400:] or status}",
            cure="This is a mistake in houblon or in a role's checks.py; please report it.",
        )
    return status


@contextlib.contextmanager
def _environment() -> Iterator[None]:
    """No plugin that happens to be installed, no option from the environment; put back afterwards."""
    names = ("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "PYTEST_ADDOPTS", "PYTEST_PLUGINS", "PYTEST_CURRENT_TEST")
    before = {name: os.environ.get(name) for name in names}
    try:
        for name in names:
            os.environ.pop(name, None)
        os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
