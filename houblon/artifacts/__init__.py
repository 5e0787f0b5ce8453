"""Pinned upstream releases: which ones, and where their archives are."""

from houblon.artifacts.cache import Verdict, cached, verdict
from houblon.artifacts.needs import missing, refusal
from houblon.artifacts.pins import Pins

__all__ = ["Pins", "Verdict", "cached", "missing", "refusal", "verdict"]
