"""What looks after the host and tells people: standard library only, run by Debian's python3."""
