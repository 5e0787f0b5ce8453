"""houblon's pyinfra operations: one, `converge`, that brings a batch of items to its desired state.

Each kind of item has a module with two functions: `diff` is pure and says what differs, `perform` builds the
commands and runs them. Nothing else in houblon builds commands that change a host.
"""

from houblon.operations.converge import converge

__all__ = ["converge"]
