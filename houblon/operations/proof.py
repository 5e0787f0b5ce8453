"""Prove that every admin gets in and becomes root, by really doing it.

houblon has no admin's private key but the operator's. So a key made for this proof alone is added to each
account's authorized_keys, with an expiry time that sshd enforces (sshd(8), AUTHORIZED_KEYS FILE FORMAT): a
run that is killed leaves a line that opens nothing and that the next apply removes.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence

import paramiko
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from houblon.errors import CannotConnect
from houblon.facts.snapshot import STAMPS, Seen
from houblon.operations.run import Change, Run, StepFailed
from houblon.resources import Batch, Proof

VALID_MINUTES = 3


def diff(batch: Batch, seen: Seen, run: Run) -> list[Change]:
    """Whether anything the admins' way in depends on has changed since the last proof."""
    (item,) = batch.items
    assert isinstance(item, Proof)
    if seen.stamps.get("proof") == item.stamp:
        return []
    return [Change(batch.role, batch.stage, "proof", item.name, "run", ", ".join(item.accounts))]


def perform(batch: Batch, changes: Sequence[Change], run: Run) -> None:
    """Log in as each admin over a fresh connection and become root with the password of the vault.

    :raises StepFailed: naming the admins who cannot.
    """
    (item,) = batch.items
    assert isinstance(item, Proof) and run.way_in is not None
    secret = Ed25519PrivateKey.generate()
    public = secret.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    pem = secret.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()
    key = _load(pem)
    names = " ".join(shlex.quote(n) for n in item.accounts)
    run.shell(
        f"""set -eu
until=$(date -u -d '+{VALID_MINUTES} minutes' +%Y%m%d%H%MZ)
for n in {names}; do
  f=$(getent passwd "$n" | cut -d: -f6)/.ssh/authorized_keys
  printf 'expiry-time="%s",no-port-forwarding,no-agent-forwarding {public} houblon-proof\\n' "$until" >>"$f"
done""",
        step="add the key of the proof",
    )
    failed = []
    try:
        for name in item.accounts:
            try:
                run.way_in.as_admin(name, key).close()
            except CannotConnect as error:
                failed.append(f"{name}: {error.what}")
    finally:
        run.shell(
            f"""for n in {names}; do
  f=$(getent passwd "$n" | cut -d: -f6)/.ssh/authorized_keys
  sed -i --follow-symlinks '/ houblon-proof$/d' "$f"
done""",
            step="remove the key of the proof",
        )
    if failed:
        raise StepFailed("\n".join(failed), item.name)
    run.shell(f"printf %s {item.stamp} >{STAMPS}/.new; mv -f {STAMPS}/.new {STAMPS}/proof", step="stamp")


def _load(pem: str) -> paramiko.PKey:
    import io

    return paramiko.Ed25519Key.from_private_key(io.StringIO(pem))
