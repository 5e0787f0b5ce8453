"""Debian packages: one apt transaction for all roles, in which no daemon is started."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from houblon.facts.snapshot import POLICY, POLICY_MARK, Seen
from houblon.operations.run import Change, Run
from houblon.resources import Batch, Packages


def diff(batch: Batch, seen: Seen, run: Run) -> list[Change]:
    """Packages to install, and what an interrupted installation left behind."""
    (item,) = batch.items
    assert isinstance(item, Packages)
    changes = []
    if seen.dpkg_broken:
        changes.append(Change("base", "install", "packages", "dpkg", "repair", "an installation was interrupted"))
    if seen.policy_left:
        changes.append(Change("base", "install", "packages", POLICY, "delete", "left by an interrupted run"))
    changes += [
        Change("base", "install", "packages", name, "install") for name in item.names if name not in seen.packages
    ]
    run.new_packages = frozenset(c.subject for c in changes if c.action == "install")
    return changes


def perform(batch: Batch, changes: Sequence[Change], run: Run) -> None:
    """Install them; a policy-rc.d of ours keeps every daemon from starting with Debian's defaults."""
    names = " ".join(shlex.quote(c.subject) for c in changes if c.action == "install")
    script = f"""set -eu
export DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1
mine() {{ [ -f {POLICY} ] && grep -qF '{POLICY_MARK}' {POLICY}; }}
if [ ! -e {POLICY} ] || mine; then
  trap 'mine && rm -f {POLICY} || :' EXIT
  printf '#!/bin/sh\\n{POLICY_MARK}\\nexit 101\\n' >{POLICY}.new; chmod 755 {POLICY}.new; mv -f {POLICY}.new {POLICY}
fi
dpkg --configure -a >/dev/null
"""
    if names:
        script += f"""apt-get -q -y -o DPkg::Lock::Timeout=120 update >/dev/null
apt-get -q -y --no-install-recommends -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 \
 -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold install {names}
"""
    run.shell(script, timeout=1800, step="install packages")
