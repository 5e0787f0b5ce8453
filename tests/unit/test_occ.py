"""`houblon occ`: what it runs, and that every argument arrives as it was typed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from houblon.cli import app, occ
from houblon.errors import BadInput
from houblon.site import load
from tests.unit.toysite import make_role, make_site

ECHO = "#!/bin/sh\n[ $# = 0 ] || printf '%s\\0' \"$@\"\n"


@pytest.fixture(scope="module")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program that prints its arguments, at a path that needs quoting."""
    program = tmp_path_factory.mktemp("a folder; it's") / "occ"
    program.write_text(ECHO)
    program.chmod(0o755)
    return program


def run(script: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["sh", "-c", script], capture_output=True, timeout=20, check=False)


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"))))
def test_arguments_arrive_as_they_are(echo: Path, arguments: list[str]) -> None:
    done = run(occ.script_for(str(echo), arguments))
    assert done.returncode == 0 and done.stderr == b""
    assert done.stdout == b"".join(f"{one}\0".encode() for one in arguments)


def test_a_host_without_the_program_is_told_from_a_failure_of_it(tmp_path: Path) -> None:
    assert run(occ.script_for(str(tmp_path / "none"), ["status"])).returncode == occ.NOT_THERE
    failing = tmp_path / "occ"
    failing.write_text("#!/bin/sh\nexit 3\n")
    failing.chmod(0o755)
    assert run(occ.script_for(str(failing), [])).returncode == 3


def test_the_program_is_the_one_a_role_claims(tmp_path: Path) -> None:
    folder = make_site(tmp_path, services="files:\nother:")
    make_role(folder, "files", "Console('occ', '/opt/files/occ')")
    make_role(folder, "other", "Console('admin', '/opt/other/admin')")
    assert occ.command_of(load(folder)) == "/opt/files/occ"


def test_a_site_without_it_is_told_so_before_any_connection(tmp_path: Path) -> None:
    folder = make_site(tmp_path, services="other:")
    make_role(folder, "other", "Console('admin', '/opt/other/admin')")
    with pytest.raises(BadInput, match="no service of this site has `occ`"):
        occ.command_of(load(folder))
    assert app.run(["occ", str(folder), "--", "status"]) == BadInput.exit_code


@pytest.mark.parametrize("dashes", [["--"], []])
def test_options_after_the_site_are_not_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dashes: list[str]
) -> None:
    asked: list[list[str]] = []
    folder = make_site(tmp_path, services="files:")
    make_role(folder, "files", "Console('occ', '/opt/files/occ')")

    def stop(command: str, arguments: list[str]) -> str:
        asked.append([command, *arguments])
        raise BadInput("far enough")

    monkeypatch.setattr(occ, "script_for", stop)
    monkeypatch.setattr("houblon.cli.occ.open_site", lambda site: (load(Path(site)), None))
    CliRunner().invoke(app.app, ["occ", str(folder), *dashes, "user:list", "--output=json", "-v", "--", "--help"])
    assert asked == [["/opt/files/occ", "user:list", "--output=json", "-v", "--", "--help"]]
