"""What the host remembers, and how it is written down."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from houblon import site as sites
from houblon.claimjson import claim_to_json
from houblon.claims import Claim, Port
from houblon.engine import Options, Plan, _refuse_foreign, _unwritten, _without
from houblon.errors import Refused
from houblon.record import Record, RoleRecord, history_script, of_one, read_history, write_script


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


def test_one_role_alone_takes_nothing_of_the_others() -> None:
    """After `apply --only`, what stands in the others' places is still somebody else's."""
    role = {name: RoleRecord(files={f"/etc/{name}": {}}) for name in ("base", "nginx")}
    new = Record(roles=role)
    assert of_one(None, new, "nginx").paths() == {"/etc/nginx"}
    killed = Record(roles=role, pending=["/etc/base", "/etc/nginx"])
    assert of_one(killed, new, "nginx").pending == ["/etc/base"]
    assert of_one(killed, new, "nginx").paths() == {"/etc/base", "/etc/nginx"}


@pytest.fixture
def emptied(tmp_path: Path) -> tuple[Path, Record]:
    """The home example with only a portal and without it, and the record of a host that still has all of it."""
    folder = tmp_path / "site"
    shutil.copytree(Path(__file__).parents[2] / "inventories" / "home", folder)
    text = (folder / "site.yaml").read_text()
    head = text[: text.index("\nservices:")] + "\nservices: "
    (folder / "site.yaml").write_text(f"{head}\n  portal:\n")
    full = sites.load(folder)
    record = Record()
    for role in full.roles:
        claims = [claim_to_json(c) for c in full.claims(Claim) if c.role == role.name]
        record.roles[role.name] = RoleRecord(claims=claims)
    (folder / "site.yaml").write_text(head + "{}\n")
    return folder, record


def test_the_last_vhost_takes_nginx_and_tls_with_it(emptied: tuple[Path, Record]) -> None:
    """Their recorded claims would keep each alive for the other; none could ever be removed."""
    folder, record = emptied
    site, unmanaged, idle = _without(folder, record, "portal")
    assert (unmanaged, idle) == ([], ["nginx", "tls"])
    assert {role.name for role in site.roles} | {"portal", *idle} == set(record.roles)
    assert not {80, 443} & {port.number for port in site.claims(Port)}


def test_a_service_that_stays_keeps_what_it_needs(emptied: tuple[Path, Record]) -> None:
    folder, record = emptied
    record.roles["toy"] = RoleRecord(claims=[{"claim": "Vhost", "role": "toy", "fqdn": "toy.famille.example"}])
    site, unmanaged, idle = _without(folder, record, "portal")
    assert (unmanaged, idle) == (["toy"], [])
    assert {80, 443} <= {port.number for port in site.claims(Port)}
    with pytest.raises(Refused, match="needs nginx"):
        _without(folder, record, "nginx")


def test_half_a_line_of_history_hides_no_other(tmp_path: Path) -> None:
    file = tmp_path / "history.jsonl"
    file.write_text('{"a":1}\n{"b":')
    text = history_script(b'{"c":3}\n').replace("/var/lib/houblon", str(tmp_path))
    subprocess.run(["sh", "-c", text], input=b'{"c":3}\n', check=True)
    assert read_history(file.read_text()) == [{"a": 1}, {"c": 3}]


def test_what_is_somebody_elses_is_taken_only_when_told() -> None:
    """By `remove` too, which converges the other roles on its way."""
    _refuse_foreign(Plan([]), "cure")
    with pytest.raises(Refused, match="/etc/x exists and is not ours"):
        _refuse_foreign(Plan([], adopted=["/etc/x exists and is not ours"]), "cure")


def test_a_record_that_is_not_true_is_written_although_nothing_else_is_to_do(emptied: tuple[Path, Record]) -> None:
    """`verify` and `status` say "run `houblon apply`" then, which must help."""
    site = sites.load(emptied[0])
    assert _unwritten(site, None, Options()) and _unwritten(site, Record(result="running"), Options())
    assert not _unwritten(site, Record(), Options())
    assert not _unwritten(site, Record(result="failed"), Options(only="base")), "the others may be what failed"
    assert not _unwritten(site, Record(commit="a" * 40), Options())
    assert _unwritten(site, Record(commit="a" * 40), Options(allow_older=True)), "else every later run is refused"
