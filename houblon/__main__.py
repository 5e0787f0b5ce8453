"""`python -m houblon`."""

from houblon.cli import main

main()
