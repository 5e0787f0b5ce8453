"""What the host remembers, and how it is written down."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from houblon.record import history_script, write_script


@pytest.mark.parametrize("script", [write_script, history_script])
@pytest.mark.parametrize("arrived", [0, 5])
def test_a_cut_line_leaves_the_old_record(tmp_path: Path, script: object, arrived: int) -> None:
    """What is not whole takes nothing's place: sshd closes the script's input when the line is lost."""
    file = tmp_path / ("state.json" if script is write_script else "history.jsonl")
    file.write_bytes(b'{"old":1}\n')
    new = b'{"new":2}\n'
    text = script(new).replace("/var/lib/houblon", str(tmp_path))  # type: ignore[operator]
    cut = subprocess.run(["sh", "-c", text], input=new[:arrived], capture_output=True, check=False)
    assert cut.returncode == 65 and b"cut" in cut.stderr
    assert file.read_bytes() == b'{"old":1}\n'
    subprocess.run(["sh", "-c", text], input=new, check=True)
    assert file.read_bytes() == (new if script is write_script else b'{"old":1}\n' + new)
    assert list(tmp_path.iterdir()) == [file]
