"""The progress bar of long work."""

from __future__ import annotations

from types import TracebackType

from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from houblon.cli.out import out


class Progress:
    """A bar on standard error while operations run; called with text, number and total."""

    def __init__(self, *, hidden: bool) -> None:
        self._bar = Bar(
            TextColumn("{task.description:<48.48}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
            console=out.errors, disable=hidden, transient=True,
        )
        self._task = None if hidden else self._bar.add_task("", total=None, visible=False)
        self._started = False

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._started:
            self._bar.stop()

    def __call__(self, text: str, number: int, total: int) -> None:
        if self._task is None:
            return
        if not self._started:
            # Not before the first step: a live display would swallow the questions asked ahead of it.
            self._bar.start()
            self._started = True
        self._bar.update(self._task, description=out.mask(text), completed=number - 1, total=total, visible=True)
