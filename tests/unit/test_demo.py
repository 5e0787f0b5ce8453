"""The demo's site: the association example with everything that is marked in it replaced."""

from __future__ import annotations

from pathlib import Path

from houblon.lab import demo
from houblon.site import FILE, load

LAB = {"address": "10.64.0.11", "domain": "demo.test", "directory": "https://lab-acme.demo.test/dir"}
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAGO0mVw//Z+kyMPzpu+tEDWXWkNUzdJLsrIPJa4IWh9 houblon-demo"


def test_the_example_becomes_the_demos_site(tmp_path: Path) -> None:
    (tmp_path / "acme-ca.pem").write_text("")
    (tmp_path / "acme-roots.pem").write_text("")
    text = demo._site_text((demo.EXAMPLE / FILE).read_text(), LAB, KEY)
    (tmp_path / FILE).write_text(text)
    site = load(tmp_path)
    example = load(demo.EXAMPLE)
    assert (site.domain, site.host.address, site.host.user) == ("demo.test", "10.64.0.11", "root")
    assert [admin.name for admin in site.admins] == [admin.name for admin in example.admins]
    assert site.admins[0].keys == (KEY,)
    assert {role.name for role in site.roles} == {role.name for role in example.roles}
    assert "eplace" not in text and ".example:" not in text.replace("gate.example:", "")
    assert "# who runs the site" in text, "the example's comments help whoever plays with the demo"
