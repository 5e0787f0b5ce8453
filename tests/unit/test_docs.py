"""The documentation says what the code does, and its links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer

from houblon.cli.app import app
from houblon.docsgen import pages

ROOT = Path(__file__).parents[2]
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)#\s]+)(#[^)\s]*)?\)")
WRITTEN = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("inventories/*/*.md")])


def test_the_generated_pages_are_up_to_date() -> None:
    reference, now = ROOT / "docs/reference", pages()
    for path, text in now.items():
        assert (reference / path).read_text() == text, f"{path} is out of date: run `make docs` and commit it"
    roles = {f"roles/{page.name}" for page in (reference / "roles").glob("*.md")}
    assert roles <= now.keys(), "a page of a role that is gone: run `make docs`"


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target, _ in LINK.findall(re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)):
        if "://" not in target and not target.startswith("mailto:"):
            assert (page.parent / target).exists(), f"{page}: {target}"


def test_commands_in_the_docs_exist() -> None:
    known: dict[str, object] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    for page in WRITTEN:
        for command in re.findall(r"(?m)(?:^    |`)(?:\$ )?(?:\.venv/bin/)?houblon ([a-z]+)", page.read_text()):
            assert command in known, f"{page}: houblon {command}"
