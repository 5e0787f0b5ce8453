"""houblon turns a bare Debian server into a small ethical hoster."""

from importlib.metadata import version

__version__ = version("houblon")
