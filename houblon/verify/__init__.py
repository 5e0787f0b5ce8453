"""Proof that a host does what its site promises: checks from the claims, and each role's ``checks.py``.

A role's ``checks.py`` is an ordinary pytest module. The first line of a test's docstring is what the operator
reads as the expectation; `Broken` says more, `not_measurable` says that this kind of machine cannot show it.
Fixtures: ``host`` (testinfra, as root), ``site``, ``role``, ``wire`` (HTTP from the operator's machine),
``vantage`` (TCP from the operator's machine), ``snapshot``. Tests marked ``deep`` run with ``--deep`` only; one
marked ``root`` means, when it fails, that nothing which depends on the role can work.

Kept light: the port scanner runs as a process of its own and imports this package first.
"""

from __future__ import annotations

from typing import NoReturn

from houblon.claims import Text

__all__ = ["Broken", "LeftOut", "NotMeasurable", "not_measurable"]


class Broken(AssertionError):
    """A promise that the host does not keep, in sentences for the operator. Never holds a secret.

    :param expected: what should be.
    :param seen: what is.
    :param cure: what to do about it, when there is something better than looking at the service's log.
    """

    def __init__(self, expected: Text | str, seen: Text | str, cure: Text | str = "") -> None:
        self.expected, self.seen, self.cure = both(expected), both(seen), both(cure)
        super().__init__(f"expected: {self.expected.en}; seen: {self.seen.en}")


class NotMeasurable(Exception):
    """This kind of machine (a container), or this place to look from, cannot show what was asked."""

    def __init__(self, reason: Text | str) -> None:
        self.reason = both(reason)
        super().__init__(self.reason.en)


class LeftOut(Exception):
    """The operator asked for a run without this check."""

    def __init__(self, reason: Text | str) -> None:
        self.reason = both(reason)
        super().__init__(self.reason.en)


def not_measurable(reason: Text | str) -> NoReturn:
    """End a check that cannot be made here; it is counted apart, never as passed."""
    raise NotMeasurable(reason)


def both(text: Text | str) -> Text:
    """The same words in both languages, for what a program said."""
    return text if isinstance(text, Text) else Text(text, text)
