"""A site in a temporary folder, with toy roles of its own."""

from __future__ import annotations

import textwrap
from pathlib import Path

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f camille@salon"
KEY_2 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB8eHRwbGhkYFxYVFBMSERAPDg0MCwoJCAcGBQQDAgEA awa@bureau"

SITE = f"""\
version: 1
name: Famille Exemple
domain: famille.test
admins:
  - name: camille
    email: camille@famille.test
    keys:
      - {KEY}
host:
  address: 192.0.2.10
services:
  {{services}}
"""

ROLE = """\
from collections.abc import Iterator
from houblon.contract import *

class Toy{options}(Role[Config]):
    metadata = Metadata(title="{name}", summary=tr(en="A toy.", fr="Un jouet."), category="{category}",
                        licence="CC0-1.0", homepage="https://toy.example")
    {attributes}
    def claims(self) -> Iterator[Claim]:
        yield NoBackup(tr(en="Nothing is kept.", fr="Rien n'est gardé."))
        {claims}
    def derive(self) -> Iterator[Claim]:
        yield from ()
        {derive}
"""


def make_site(folder: Path, text: str | None = None, *, services: str = "") -> Path:
    """Write a site file: ``text``, or the standard one with these services (a block of YAML)."""
    folder.mkdir(parents=True, exist_ok=True)
    block = textwrap.indent(textwrap.dedent(services).strip(), "  ").strip()
    (folder / "site.yaml").write_text(SITE.format(services=block) if text is None else text)
    return folder


def make_role(
    site: Path, name: str, *claims: str, category: str = "toys", attributes: str = "", derive: str = "",
    source: str | None = None,
) -> Path:  # fmt: skip
    """Write a role into a site; each claim is an expression."""
    folder = site / "roles" / name
    folder.mkdir(parents=True)
    body = ROLE.format(
        name=name, options="", category=category, attributes=attributes or "pass", derive=derive or "pass",
        claims="\n        ".join(f"yield {claim}" for claim in claims) or "pass",
    )  # fmt: skip
    (folder / "__init__.py").write_text(body if source is None else textwrap.dedent(source))
    return folder
