"""Pinned upstream releases: which ones, and where their archives are."""

from houblon.artifacts.cache import cached
from houblon.artifacts.pins import Pins

__all__ = ["Pins", "cached"]
