"""The one family of errors that a user may see, and the exit codes that scripts may rely on."""

from __future__ import annotations

from enum import IntEnum
from pathlib import Path


class Exit(IntEnum):
    """Exit codes of the `houblon` command (docs/reference/exit-codes.md)."""

    OK = 0
    BUG = 1
    BAD_INPUT = 2
    CANNOT_CONNECT = 3
    REFUSED = 4
    OPERATION_FAILED = 5
    VERIFICATION_FAILED = 6
    CHANGES_PENDING = 10


class HoublonError(Exception):
    """What is wrong, where, and what to do about it.

    Shown to the user as it is, so it must never hold a secret.

    :param what: one sentence that says what is wrong.
    :param cure: one sentence that says what to do.
    :param file: the file at fault, if there is one.
    :param line: 1-based line in that file.
    :param key: dotted path of the key at fault, such as ``host.address``.
    """

    exit_code: Exit = Exit.BUG

    def __init__(
        self,
        what: str,
        *,
        cure: str = "",
        file: Path | str | None = None,
        line: int | None = None,
        key: str | None = None,
    ) -> None:
        self.what, self.cure, self.file, self.line, self.key = what, cure, file, line, key
        super().__init__(str(self))

    def __str__(self) -> str:
        place = "" if self.file is None else str(self.file)
        if self.line is not None:
            place += f":{self.line}"
        if self.key:
            place += f": {self.key}" if place else self.key
        text = f"{place}: {self.what}" if place else self.what
        return f"{text}\n  {self.cure}" if self.cure else text


class BadInput(HoublonError):
    """The site folder, an option or an answer is wrong; nothing was contacted."""

    exit_code = Exit.BAD_INPUT


class CannotConnect(HoublonError):
    """The host does not answer, or does not let us in, or is not the host we know."""

    exit_code = Exit.CANNOT_CONNECT


class Refused(HoublonError):
    """Going on could do harm: another run, an older checkout, foreign use of what we need."""

    exit_code = Exit.REFUSED


class OperationFailed(HoublonError):
    """A command on the host failed; the message names the role and the operation."""

    exit_code = Exit.OPERATION_FAILED


class VerificationFailed(HoublonError):
    """The host does not do what the site promises."""

    exit_code = Exit.VERIFICATION_FAILED
