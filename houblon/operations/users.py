"""Local accounts. Passwords travel as crypt(5) hashes on standard input."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Sequence

from houblon.facts.snapshot import Seen
from houblon.operations.run import Change, Run
from houblon.resources import Batch, User


def diff(batch: Batch, seen: Seen, run: Run) -> list[Change]:
    """What differs in a batch of accounts."""
    changes = []
    for user in batch.items:
        assert isinstance(user, User)
        now = seen.users.get(user.name)
        if now is None:
            changes.append(Change(batch.role, batch.stage, "account", user.name, "create"))
            continue
        parts = []
        if now.home != user.home:
            parts.append(f"home {now.home} → {user.home}")
        if now.shell != user.shell:
            parts.append(f"shell {now.shell} → {user.shell}")
        if missing := set(user.groups) - now.groups:
            parts.append("groups + " + ", ".join(sorted(missing)))
        if user.comment and now.comment != user.comment:
            parts.append("comment")
        if user.password_hash and now.password != hashlib.sha256(user.password_hash.encode()).hexdigest():
            parts.append("password (secret)")
        if parts:
            changes.append(Change(batch.role, batch.stage, "account", user.name, "update", "; ".join(parts)))
    return changes


def perform(batch: Batch, changes: Sequence[Change], run: Run) -> None:
    """Create or correct the accounts; homes of people are made, nothing is ever deleted."""
    for change in changes:
        user = next(u for u in batch.items if isinstance(u, User) and u.name == change.subject)
        name, home, shell = shlex.quote(user.name), shlex.quote(user.home), shlex.quote(user.shell)
        kind = "--system --no-create-home" if user.system else "--create-home"
        lines = [
            "set -eu",
            f"if ! getent passwd {name} >/dev/null; then "
            f"if getent group {name} >/dev/null; then g='--no-user-group --gid {name}'; else g=--user-group; fi; "
            f"useradd {kind} $g --home-dir {home} --shell {shell} {name}; fi",
            f'[ "$(getent passwd {name} | cut -d: -f6)" = {home} ] || usermod --home {home} {name}',
            f'[ "$(getent passwd {name} | cut -d: -f7)" = {shell} ] || usermod --shell {shell} {name}',
        ]
        if user.groups:
            lines.append(f"usermod --append --groups {shlex.quote(','.join(user.groups))} {name}")
        if user.comment:
            lines.append(f"usermod --comment {shlex.quote(user.comment)} {name}")
        stdin = b""
        if user.password_hash:
            lines.append("chpasswd --encrypted")
            stdin = f"{user.name}:{user.password_hash}\n".encode()
        run.shell("\n".join(lines), stdin, step=f"account {user.name}")
