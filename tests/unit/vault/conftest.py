"""Fixtures for the vault's tests; what they are is in vaultkit.py."""

from vaultkit import home, site, ssh_key, template

__all__ = ["home", "site", "ssh_key", "template"]
