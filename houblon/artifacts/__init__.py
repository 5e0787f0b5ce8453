"""Pinned upstream releases: which ones, and where their archives are."""

from houblon.artifacts.archive import LISTING_SHELL
from houblon.artifacts.cache import Verdict, cached, damaged, verdict
from houblon.artifacts.needs import missing, refusal
from houblon.artifacts.pins import Pins

__all__ = ["LISTING_SHELL", "Pins", "Verdict", "cached", "damaged", "missing", "refusal", "verdict"]
