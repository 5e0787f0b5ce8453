"""The report as one HTML file: no script, no request, everything escaped."""

from __future__ import annotations

from pathlib import Path

import jinja2

from houblon.verify.model import NOTHING, Outcome, Report
from houblon.verify.show import NAMES, sentence, summary


def to_html(report: Report, language: str = "") -> str:
    """Render the report.

    :param language: ``en`` or ``fr``; the site's first when empty.
    """
    language = language or ("fr" if report.languages[:1] == ("fr",) else "en")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template("report.html.j2").render(
        report=report, language=language, names=NAMES, outcomes=list(Outcome), sentence=sentence,
        summary=summary(report)(language), nothing=NOTHING,
    )  # fmt: skip
