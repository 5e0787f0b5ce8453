"""`make demo`, without the installation of packages: what a stranger sees first."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from houblon.lab.state import cache_dir
from tests.host.sites import environment

pytestmark = [pytest.mark.host, pytest.mark.skipif(os.geteuid() != 0, reason="a lab needs root")]


def test_the_demo_comes_up_answers_to_its_name_and_leaves_nothing(tmp_path: Path) -> None:
    # A demo that somebody looks at on this machine must go on: another home, another folder of labs.
    home, labs = tmp_path / "home", tmp_path / "labs"
    home.mkdir()
    labs.mkdir()
    (labs / "cache").symlink_to(cache_dir())
    env = environment() | {"HOME": str(home), "HOUBLON_LAB_DIR": str(labs)}
    # What this machine has of upstream releases may be used: nobody downloads them for a test.
    env["XDG_CACHE_HOME"] = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    for variable in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        env.pop(variable, None)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", *arguments], env=env, cwd=tmp_path, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, check=False, timeout=600,
        )  # fmt: skip

    try:
        done = run("houblon.lab.demo", "up")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "https://demo.test/" in done.stdout
        (curl,) = [line.split() for line in done.stdout.splitlines() if line.strip().startswith("curl ")]
        page = subprocess.run([*curl, "-sS"], env=env, capture_output=True, text=True, check=True, timeout=60).stdout
        assert "Les Houblonnières" in page
        plan = run("houblon", "plan", "demo")
        assert (plan.returncode, plan.stdout.strip()) == (0, "No changes."), plan.stdout + plan.stderr
    finally:
        down = run("houblon.lab.demo", "down")
    assert down.returncode == 0, down.stderr
    left = [path for path in home.rglob("*") if not path.is_dir()]
    assert not left, left
    assert not (labs / "labs").exists()
