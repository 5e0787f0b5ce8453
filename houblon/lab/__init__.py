"""Throwaway Debian hosts with real DNS and a real ACME CA, on the operator's own Linux machine."""

from houblon.lab.host import LabHost
from houblon.lab.lab import Lab

__all__ = ["Lab", "LabHost"]
