"""Everything the command prints goes through here, so that no secret can slip by."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.text import Text

from houblon.errors import HoublonError
from houblon.mask import Masker

if TYPE_CHECKING:
    from houblon.operations.run import Change
    from houblon.session import Plan
    from houblon.vault import Vault


class Out:
    """Standard output for results, standard error for everything else; both masked.

    :param verbosity: -1 quiet, 0 normal, 1 with diffs of new files, 2 with tracebacks.
    """

    def __init__(self) -> None:
        self.verbosity = 0
        self._vaults: list[Vault] = []
        self.mask = Masker(lambda: (v for vault in self._vaults for v in vault.known_values()))
        self.console = Console(highlight=False, soft_wrap=True)
        self.errors = Console(stderr=True, highlight=False, soft_wrap=True)

    def watch(self, vault: Vault) -> Vault:
        """Mask this vault's secrets from now on."""
        self._vaults.append(vault)
        return vault

    def say(self, text: str = "", style: str | None = None) -> None:
        """A line of the result."""
        if self.verbosity >= 0:
            self.console.print(Text(self.mask(text), style=style or ""))

    def note(self, text: str) -> None:
        """A remark beside the result."""
        if self.verbosity >= 0:
            self.errors.print(Text(self.mask(text), style="dim"))

    def error(self, error: HoublonError) -> None:
        """The one error a failed command ends with."""
        self.errors.print(f"[bold red]houblon:[/] {escape(self.mask(str(error)))}")

    def json(self, data: Any) -> None:
        """A result for programs; masked after serialising, so that escapes cannot hide a secret from the mask."""
        sys.stdout.write(self.mask(json.dumps(data, ensure_ascii=False, indent=2)) + "\n")

    def plan(self, plan: Plan) -> None:
        """A plan for people: by role, one line a change, then the diffs."""
        for name in plan.new_secrets:
            self.say(f"  + secret {name} (made in your vault)", "green")
        self.unverified(plan.unverified)
        for name in plan.lacking:
            self.say(f"  ! {name} is not in the cache: apply refuses before `houblon artifacts fetch`", "yellow")
        for line in plan.adopted:
            self.say(f"  ! {line}", "yellow")
        role = ""
        for change in plan.changes:
            if change.role != role:
                role = change.role
                self.say(role, "bold")
            self.say(f"  {_SIGNS.get(change.action, '~')} {_sentence(change)}", _STYLES.get(change.action))
            self._diff(plan, change)
        for name in plan.unmanaged:
            self.say(f"{name}: no longer managed; left alone until `houblon remove {name}`", "yellow")
        count = len(plan.changes)
        self.say(f"{count} change{'s' if count != 1 else ''}." if count else "No changes.", "bold")

    def unverified(self, names: Iterable[str]) -> None:
        """Say of releases that they come from a test manifest."""
        if listed := ", ".join(names):
            self.say(f"UNVERIFIED: {listed}: from a test manifest, not what upstream publishes", "bold red")

    def _diff(self, plan: Plan, change: Change) -> None:
        if not change.text or self.verbosity < 0 or (change.action == "create" and self.verbosity < 1):
            return
        subjects: Iterable[str] = [change.subject] if change.kind == "file" else change.detail.split(", ")
        for subject in subjects:
            if subject in plan.replaced and self.verbosity < 1:
                self.say("      replaces Debian's file whole; `houblon -v plan` shows the diff", "dim")
                continue
            for line in plan.diffs.get(subject, "").splitlines():
                style = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1], "dim")
                self.say(f"      {line}", style)


_SIGNS = {"create": "+", "install": "+", "delete": "-", "stop": "-", "mask": "-"}
_STYLES = {"create": "green", "install": "green", "delete": "red", "stop": "red", "mask": "red"}


def _sentence(change: Change) -> str:
    detail = f" ({change.detail})" if change.detail else ""
    return f"{change.action} {change.kind} {change.subject}{detail}"


out = Out()
