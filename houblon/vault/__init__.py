"""The operator's encrypted secrets. See docs/explanation/vault.md."""

from houblon.vault.secret import Secret
from houblon.vault.spec import Kind, SecretSpec
from houblon.vault.vault import InitResult, Vault

__all__ = ["InitResult", "Kind", "Secret", "SecretSpec", "Vault"]
