"""The wheel holds all that houblon is, and works without the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel's content, unpacked."""
    target = tmp_path_factory.mktemp("wheel")
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", target],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (archive,) = target.glob("*.whl")
    zipfile.ZipFile(archive).extractall(target / "content")
    return target / "content"


def houblon(wheel: Path, *arguments: str) -> str:
    """Run it as it would run where only the wheel is installed: nothing of the checkout may be found first."""
    done = subprocess.run(
        [sys.executable, *arguments], cwd=wheel.parent, env={**os.environ, "PYTHONPATH": str(wheel)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_holds_every_file_of_the_package(wheel: Path) -> None:
    for name in ("houblon", "roles", "deploys", "templates"):
        inside = wheel / "houblon" / ("" if name == "houblon" else name)
        tracked = subprocess.run(
            ["git", "ls-files", "-z", name], cwd=ROOT, capture_output=True, text=True, check=False
        ).stdout.split("\0")
        for path in filter(None, tracked):
            if (ROOT / path).is_file():
                assert (inside / Path(path).relative_to(name)).is_file(), f"{path} is not in the wheel"
    assert (wheel / "houblon/py.typed").is_file()
    assert not list(wheel.glob("roles")), "a second copy of the roles"


def test_the_command_works_from_it_alone(wheel: Path) -> None:
    where = houblon(wheel, "-c", "import houblon, houblon.roles.nginx as n; print(houblon.__file__, n.__file__)")
    assert where.count(str(wheel)) == 2
    assert houblon(wheel, "-m", "houblon", "--version").startswith("houblon ")
    assert "portal" in houblon(wheel, "-m", "houblon", "service", "list")
