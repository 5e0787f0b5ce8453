"""pyinfra facts: everything a run must know about the host, read in one command."""

from houblon.facts.snapshot import HostState, Seen, parse, script_for

__all__ = ["HostState", "Seen", "parse", "script_for"]
