"""`pyinfra inventory.py deploys/site.py`, for development: pyinfra's own command, houblon's operations."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.host.sites import Applied, environment

pytestmark = pytest.mark.host
ROOT = Path(__file__).parents[2]


def pyinfra(applied: Applied, *options: str) -> str:
    folder = applied.site_folder
    shutil.copy(ROOT / "inventories/association/inventory.py", folder)
    done = subprocess.run(
        [Path(sys.executable).with_name("pyinfra"), *options, folder / "inventory.py", ROOT / "deploys/site.py"],
        env=environment() | {"HOUBLON_IDENTITY": str(folder / ".local/id_ed25519")},
        cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def changed(output: str) -> int:
    """How many operations would change something, or did."""
    return output.count("1 (@houblon/") + output.count("Success\n")


def test_it_sees_what_differs_and_changes_it(applied: Applied) -> None:
    assert changed(pyinfra(applied, "--dry")) == 0
    page = "/srv/houblon/portal/style.css"
    applied.sh(f"echo x >>{page}; systemctl stop fail2ban")
    assert changed(pyinfra(applied, "--dry")) == 2
    assert applied.sh(f"tail -1 {page}").strip() == "x"
    pyinfra(applied, "-y")
    assert applied.plan()["changes"] == []
