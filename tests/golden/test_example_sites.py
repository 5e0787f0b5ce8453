"""What every role writes for the two example sites, one golden file for each role.

Files that a role ships as they are stand there by their sum; secrets stand in as their names.
`UPDATE_GOLDEN=1 pytest tests/golden` writes the expected files anew; read the diff before you commit it.
"""

from __future__ import annotations

import base64
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from houblon import site as sites
from houblon.contract import Role
from houblon.kit import SHARED_TEMPLATES, Kit
from houblon.model import STAGES
from houblon.resources import Absent, Directory, Door, Ensure, File, Item, Link, Release, UnitState, User
from houblon.site import Site
from houblon.vault.secret import Secret

EXAMPLES = Path(__file__).parents[2] / "inventories"
EXPECTED = Path(__file__).parent / "expected" / "sites"


class NamedVault:
    """Its secrets are their own names: which value each has does not matter here, where it goes does."""

    def get(self, role: str, name: str) -> Secret:
        return Secret(f"<secret {role}/{name}>".encode())

    def public(self, role: str, name: str) -> str:
        return base64.b64encode(f"public half of {role}/{name}".encode()).decode()

    def earlier(self, role: str, name: str) -> list[Secret]:
        return []


def shipped(role: Role[Any], item: File) -> bool:
    """The role has this very file in its templates, or shares it with others."""
    places = (role.folder / "templates", SHARED_TEMPLATES)
    return any(
        path.is_file() and path.read_bytes() == item.content
        for place in places
        for path in (place / item.path.lstrip("/"),)
    )


def told(role: Role[Any], item: Item) -> str:
    """One item as text."""
    match item:
        case File():
            head = f"file {item.path} {item.mode:o} {item.owner}:{item.group}{' secret' if item.secret else ''}"
            if shipped(role, item):
                return f"{head} shipped {item.sha256}"
            try:
                body = item.content.decode()
            except UnicodeDecodeError:
                return f"{head} binary {item.sha256}"
            return head + "".join(f"\n    {line}".rstrip() for line in body.splitlines())
        case Directory():
            return f"directory {item.path} {item.mode:o} {item.owner}:{item.group}"
        case Link():
            return f"link {item.path} -> {item.target}"
        case Absent():
            return f"absent {item.path}"
        case User():
            return f"account {item.name} {item.home} {item.shell} {' '.join(item.groups)}".rstrip()
        case UnitState():
            return f"unit {item.name} {item.state}"
        case Ensure():
            return f"step {item.name}"
        case Release():
            return f"release {item.path}"
        case Door():
            return "\n".join([f"door {item.name}", *(told(role, file) for file in item.files)])
        case _:
            return f"{type(item).__name__} {getattr(item, 'name', '')}".rstrip()


def rendered(site: Site, role: Role[Any]) -> str:
    """Everything a role asks for, in the order it does."""
    vault: Any = NamedVault()
    kit = Kit(site, role, vault)
    for stage in STAGES:
        kit.stage = stage
        getattr(role, stage)(kit)
    return "".join(f"{batch.stage}: {told(role, item)}\n" for batch in kit.batches for item in batch.items)


@pytest.mark.parametrize("example", ["home", "association"])
def test_example_sites_are_set_up_as_expected(example: str) -> None:
    site = sites.load(EXAMPLES / example)
    folder = EXPECTED / example
    found = {role.name: rendered(site, role) for role in site.roles}
    if os.environ.get("UPDATE_GOLDEN"):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name, text in found.items():
            (folder / f"{name}.txt").write_text(text)
    assert {path.stem for path in folder.glob("*.txt")} == set(found)
    for name, text in found.items():
        assert text == (folder / f"{name}.txt").read_text(), name
