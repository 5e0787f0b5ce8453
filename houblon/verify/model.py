"""What a verification found, as data; who is to blame; what it adds up to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from houblon.claims import Claim, Text
from houblon.errors import Exit

NOTHING = Text("", "")


class Outcome(StrEnum):
    """What became of a check. Only `PASSED` is good; only `FAILED` and `BLOCKED` are bad."""

    PASSED = "passed"
    FAILED = "failed"
    BLOCKED = "blocked"
    """Failed, but through a role it depends on that is itself broken."""
    NOT_MEASURABLE = "not measurable here"
    SKIPPED = "left out"


@dataclass(frozen=True)
class Result:
    """One check and what became of it.

    :param through: kinds of claims whose providers stand between the check and what it looks at.
    :param root: a failure of this check means that the role itself does not work.
    :param blocked_by: the role that is to blame instead.
    """

    role: str
    check: str
    subject: str
    outcome: Outcome
    seconds: float = 0.0
    expected: Text = NOTHING
    seen: Text = NOTHING
    cure: Text = NOTHING
    through: tuple[type[Claim], ...] = ()
    root: bool = False
    blocked_by: str = ""

    @property
    def id(self) -> str:
        return f"{self.role}::{self.check}" + (f"[{self.subject}]" if self.subject else "")

    @property
    def bad(self) -> bool:
        return self.outcome in (Outcome.FAILED, Outcome.BLOCKED)


@dataclass(frozen=True)
class Report:
    """All results of one run.

    :param started: ISO 8601, UTC.
    :param vantage: where the outside was looked from.
    :param notes: what the reader must know besides, such as an applied commit that is not this one.
    """

    site: str
    host: str
    started: str
    seconds: float
    results: tuple[Result, ...]
    version: str = ""
    languages: tuple[str, ...] = ("en",)
    notes: tuple[Text, ...] = field(default=())

    @property
    def counts(self) -> dict[Outcome, int]:
        found = Counter(result.outcome for result in self.results)
        return {outcome: found[outcome] for outcome in Outcome}

    @property
    def roles(self) -> list[str]:
        """Roles in the order in which they first appear."""
        return list(dict.fromkeys(result.role for result in self.results))

    def of(self, role: str) -> list[Result]:
        return [result for result in self.results if result.role == role]

    @property
    def ok(self) -> bool:
        """At least one check passed and none is bad."""
        return self.counts[Outcome.PASSED] > 0 and not any(result.bad for result in self.results)

    @property
    def exit_code(self) -> Exit:
        return Exit.OK if self.ok else Exit.VERIFICATION_FAILED


def blame(results: Iterable[Result], providers: Mapping[type[Claim], Iterable[str]]) -> list[Result]:
    """Turn failures that have their cause in another, broken role into `Outcome.BLOCKED`.

    A stopped nginx would otherwise paint every web service red and hide which one needs attention. The
    provider's own red check stays, so a run with a blocked check is never green.

    :param providers: the roles that provide for each kind of claim.
    """
    results = list(results)
    broken = {result.role for result in results if result.root and result.outcome is Outcome.FAILED}

    def judge(result: Result) -> Result:
        if result.outcome is not Outcome.FAILED:
            return result
        for kind in result.through:
            for provider in providers.get(kind, ()):
                if provider in broken and provider != result.role:
                    return replace(result, outcome=Outcome.BLOCKED, blocked_by=provider)
        return result

    return [judge(result) for result in results]


def masked(results: Iterable[Result], mask: Callable[[str], str]) -> list[Result]:
    """Results without secrets in any of their texts."""

    def clean(text: Text) -> Text:
        return Text(mask(text.en), mask(text.fr))

    return [
        replace(r, subject=mask(r.subject), expected=clean(r.expected), seen=clean(r.seen), cure=clean(r.cure))
        for r in results
    ]
