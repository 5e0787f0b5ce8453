"""The outside eye: somebody else looks at a host, because a dead host does not speak.

`eye` looks and remembers; it is one script of the standard library alone, so that the same file runs on hosts and
on the operator's machine. `desk` sets it up on the latter, `edit` writes names into a site file.
"""

PARTS = ("__init__.py", "eye.py", "memory.py", "words.py")
"""What runs where houblon is not installed: standard library only, and imports nothing else of houblon."""
