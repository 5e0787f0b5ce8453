"""What a check is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from houblon.claims import Claim
from houblon.verify.context import Context


@dataclass(frozen=True)
class Check:
    """One promise. ``run`` returns when it is kept and raises `Broken` or `NotMeasurable`.

    :param through, root: see `houblon.verify.model.Result`.
    """

    role: str
    name: str
    subject: str
    run: Callable[[Context], None]
    through: tuple[type[Claim], ...] = ()
    root: bool = False
    deep: bool = False
    """Made with ``--deep`` only."""
