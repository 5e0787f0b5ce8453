"""The report for people on a terminal, for programs (JSON) and for continuous integration (JUnit XML)."""

from __future__ import annotations

import json
from typing import Any
from xml.etree import ElementTree

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text as Line

from houblon.claims import Text, tr
from houblon.verify.model import Outcome, Report, Result

STYLE = {
    Outcome.PASSED: "green",
    Outcome.FAILED: "bold red",
    Outcome.BLOCKED: "yellow",
    Outcome.NOT_MEASURABLE: "dim",
    Outcome.SKIPPED: "dim",
}
NAMES = {
    Outcome.PASSED: tr(en="passed", fr="réussies"),
    Outcome.FAILED: tr(en="failed", fr="échouées"),
    Outcome.BLOCKED: tr(en="blocked", fr="bloquées"),
    Outcome.NOT_MEASURABLE: tr(en="not measurable here", fr="non mesurables ici"),
    Outcome.SKIPPED: tr(en="left out", fr="laissées de côté"),
}


def table(report: Report, language: str = "en", *, every: bool = False) -> RenderableType:
    """Counts by role, then one paragraph for each check that is not as it should be.

    :param every: list every check, the good ones too.
    """
    counts = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    counts.add_column("role" if language == "en" else "rôle")
    shown = [outcome for outcome in Outcome if report.counts[outcome] or outcome is Outcome.PASSED]
    for outcome in shown:
        counts.add_column(NAMES[outcome](language), justify="right")
    for role in report.roles:
        results = report.of(role)
        numbers = [sum(result.outcome is outcome for result in results) for outcome in shown]
        style = "red" if any(r.outcome is Outcome.FAILED for r in results) else (
            "yellow" if any(r.bad for r in results) else ""
        )  # fmt: skip
        counts.add_row(
            Line(role, style=style),
            *(Line(str(n) if n else "·", style=STYLE[o] if n else "dim") for n, o in zip(numbers, shown, strict=True)),
        )
    parts: list[RenderableType] = [counts]
    listed = report.results if every else [r for r in report.results if r.outcome is Outcome.FAILED]
    for result in listed:
        parts.append(paragraph(result, language))
    if not every:
        parts += _blocked(report, language)
        parts += _apart(report, language)
    parts += [Line(note(language), style="dim") for note in report.notes]
    parts.append(Line(summary(report)(language), style="bold green" if report.ok else "bold red"))
    return Group(*parts)


def paragraph(result: Result, language: str) -> Line:
    """What is wrong with one check, in one sentence, and what to do."""
    line = Line()
    line.append({Outcome.PASSED: "✓ ", Outcome.FAILED: "✗ "}.get(result.outcome, "· "), STYLE[result.outcome])
    line.append(result.id, "bold")
    if result.outcome is not Outcome.PASSED:
        line.append(f"\n    {sentence(result)(language)}")
        if result.outcome is Outcome.FAILED and (cure := result.cure(language)):
            line.append(f"\n    → {cure}", "cyan")
    return line


def sentence(result: Result) -> Text:
    """Expected and seen, or why it could not be seen."""

    def words(language: str) -> str:
        expected, seen = result.expected(language).rstrip("."), result.seen(language)
        if result.outcome is Outcome.BLOCKED:
            return f"{'blocked by' if language == 'en' else 'bloquée par'} {result.blocked_by}"
        if result.outcome is not Outcome.FAILED:
            return ": ".join(part for part in (NAMES[result.outcome](language), seen) if part)
        lead = "Expected: " if language == "en" else "Attendu : "
        middle = "; seen: " if language == "en" else " ; vu : "
        return f"{lead}{expected}{middle}{seen}"

    return Text(words("en"), words("fr"))


def summary(report: Report) -> Text:
    """The last line: what it adds up to."""

    def words(language: str) -> str:
        counted = ", ".join(f"{n} {NAMES[o](language)}" for o, n in report.counts.items() if n)
        verdict = (
            tr(en="verified", fr="vérifié") if report.ok else tr(en="NOT as promised", fr="NON conforme")
        )(language)
        took = f"{report.seconds:.0f} s" if report.seconds >= 1 else "<1 s"
        return f"{report.site} ({report.host}): {verdict}. {counted}. {took}."

    return Text(words("en"), words("fr"))


def _blocked(report: Report, language: str) -> list[RenderableType]:
    lines: list[RenderableType] = []
    blockers = dict.fromkeys(r.blocked_by for r in report.results if r.outcome is Outcome.BLOCKED)
    for blocker in blockers:
        held = [r for r in report.results if r.blocked_by == blocker]
        roles = ", ".join(dict.fromkeys(r.role for r in held))
        text = tr(
            en=f"! {len(held)} checks of {roles} fail because {blocker} does; mend {blocker} first.",
            fr=f"! {len(held)} vérifications de {roles} échouent à cause de {blocker} ; réparez {blocker} d'abord.",
        )
        lines.append(Line(text(language), style="yellow"))
    return lines


def _apart(report: Report, language: str) -> list[RenderableType]:
    """Checks that were not made, by reason."""
    lines: list[RenderableType] = []
    for outcome in (Outcome.NOT_MEASURABLE, Outcome.SKIPPED):
        reasons: dict[str, int] = {}
        for result in report.results:
            if result.outcome is outcome:
                reasons[result.seen(language)] = reasons.get(result.seen(language), 0) + 1
        for reason, count in reasons.items():
            lines.append(Line(f"· {NAMES[outcome](language)}: {reason} ({count})", style="dim"))
    return lines


def to_json(report: Report) -> dict[str, Any]:
    """Stable names for programs; texts in English (docs/reference/verify.md)."""
    return {
        "site": report.site,
        "host": report.host,
        "started": report.started,
        "seconds": report.seconds,
        "version": report.version,
        "ok": report.ok,
        "counts": {outcome.name.lower(): count for outcome, count in report.counts.items()},
        "notes": [note.en for note in report.notes],
        "checks": [
            {
                "id": result.id, "role": result.role, "check": result.check, "subject": result.subject,
                "outcome": result.outcome.name.lower(), "seconds": result.seconds,
                "expected": result.expected.en, "seen": result.seen.en, "cure": result.cure.en,
                "blocked_by": result.blocked_by,
            }
            for result in report.results
        ],
    }  # fmt: skip


def to_junit(report: Report) -> bytes:
    """JUnit XML: a failure for what is bad, a skip for what was not made."""
    suites = ElementTree.Element("testsuites")
    for role in report.roles:
        results = report.of(role)
        suite = ElementTree.SubElement(
            suites, "testsuite", name=role, tests=str(len(results)),
            failures=str(sum(r.bad for r in results)), errors="0",
            skipped=str(sum(not r.bad and r.outcome is not Outcome.PASSED for r in results)),
            time=f"{sum(r.seconds for r in results):.3f}", timestamp=report.started, hostname=report.host,
        )  # fmt: skip
        for result in results:
            case = ElementTree.SubElement(
                suite, "testcase", classname=f"{report.site}.{role}", name=_xml(result.id.partition("::")[2]),
                time=f"{result.seconds:.3f}",
            )  # fmt: skip
            if result.bad:
                said = _xml(sentence(result).en)
                ElementTree.SubElement(case, "failure", message=said).text = _xml(result.cure.en)
            elif result.outcome is not Outcome.PASSED:
                ElementTree.SubElement(case, "skipped", message=_xml(sentence(result).en))
    ElementTree.indent(suites)
    data: bytes = ElementTree.tostring(suites, encoding="utf-8", xml_declaration=True)
    return data


def _xml(text: str) -> str:
    """Without characters that XML 1.0 forbids; a daemon's output may hold any."""
    return "".join(ch if ch in "\t\n" or " " <= ch <= "\ud7ff" or "\ue000" <= ch <= "\ufffd" or ch > "\uffff" else "�"
                   for ch in text)  # fmt: skip


def dumps(report: Report) -> str:
    """`to_json` as text."""
    return json.dumps(to_json(report), ensure_ascii=False, indent=2)
