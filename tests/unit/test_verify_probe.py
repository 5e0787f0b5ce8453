"""Questions and answers: framing, and parsers fed with what real hosts said."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from houblon.verify import probe
from houblon.verify.probe import FileSeen, Listener, Recorded


def shell(script: str) -> str:
    return subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout


def test_frames_keep_status_and_both_outputs() -> None:
    questions = {"good": "echo out; echo err >&2", "bad": "exit 3", "none": ":", "no end of line": "printf x",
                 "input": "cat; echo read", "brace": "echo }"}  # fmt: skip
    frames = probe.parse_frames(shell(probe.script_for(questions, "n0")), "n0")
    assert frames["good"].lines == ["out", "err"] and frames["good"].status == 0
    assert (frames["bad"].status, frames["bad"].output) == (3, "")
    assert frames["none"].output == "" and frames["no end of line"].output == "x"
    assert frames["input"].lines == ["read"] and frames["brace"].lines == ["}"]


def test_slow_questions_run_beside_the_others(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    # Each waits for the other: one after the other would never end.
    questions = {"a": f"mkfifo {fifo}; echo hello >{fifo}; echo a", "b": f"until [ -p {fifo} ]; do :; done; cat {fifo}"}
    frames = probe.parse_frames(
        subprocess.run(["timeout", "20", "sh", "-c", probe.script_for(questions, "n", ("a", "not asked"))],
                       capture_output=True, text=True, check=True).stdout, "n",
    )  # fmt: skip
    assert frames["a"].lines == ["a"] and frames["b"].lines == ["hello"]


def test_an_answer_cannot_forge_a_frame_nor_a_cut_one_pass() -> None:
    text = shell(probe.script_for({"a": "echo '#guess begin b'; echo; echo '#guess end 0'", "b": "echo b"}, "n1"))
    assert "#guess end 0" in probe.parse_frames(text, "n1")["a"].output
    cut = text[: text.index("#n1 end 0", text.index("#n1 begin b"))]
    assert set(probe.parse_frames(cut, "n1")) == {"a"}


UNITS = """\
Type=forking
Result=success
NRestarts=2
Id=nginx.service
Names=nginx.service
LoadState=loaded
ActiveState=active
SubState=running
UnitFileState=enabled
StateChangeTimestamp=@1795319618

Type=notify
Result=exit-code
NRestarts=0
Id=mariadb.service
Names=mariadb.service mysql.service mysqld.service
LoadState=loaded
ActiveState=failed
SubState=failed
UnitFileState=disabled
StateChangeTimestamp=@1795319589

Type=
Result=success
NRestarts=0
Id=nope.service
Names=nope.service
LoadState=not-found
ActiveState=inactive
SubState=dead
UnitFileState=
StateChangeTimestamp=

"""


def test_units() -> None:
    seen = probe.parse_units(UNITS)
    nginx = seen["nginx.service"]
    assert (nginx.active, nginx.sub, nginx.enabled, nginx.restarts, nginx.since) == (
        "active", "running", "enabled", 2, 1795319618,
    )  # fmt: skip
    assert seen["mysql.service"] is seen["mariadb.service"] and seen["mysql.service"].result == "exit-code"
    assert seen["nope.service"].load == "not-found" and seen["nope.service"].since == 0
    assert probe.parse_units("") == {} and probe.units_question([]) == ":"


LISTEN = """\
udp UNCONN 0      0      127.0.0.53%lo:53   0.0.0.0:* users:(("systemd-resolve",pid=90,fd=12))
udp UNCONN 0      0      10.0.0.5%eth0:68   0.0.0.0:* users:(("systemd-network",pid=80,fd=18))
tcp LISTEN 0      511    0.0.0.0:443 0.0.0.0:* users:(("nginx",pid=27286,fd=6),("nginx",pid=27285,fd=6))
tcp LISTEN 0      128       [::]:22     [::]:* users:(("sshd",pid=66,fd=7))
tcp LISTEN 0      100          *:9000        *:*
tcp LISTEN 0      244      [::1]:5432    [::]:* users:(("postgres",pid=1,fd=5))
tcp LISTEN 0      4    [::ffff:127.0.0.1]:9001    *:* users:(("a b",pid=1,fd=5))
rubbish
"""


def test_listeners() -> None:
    seen = probe.parse_listeners(LISTEN)
    assert seen == [
        Listener("udp", "127.0.0.53%lo", 53, "systemd-resolve"),
        Listener("udp", "10.0.0.5%eth0", 68, "systemd-network"),
        Listener("tcp", "0.0.0.0", 443, "nginx"),  # noqa: S104
        Listener("tcp", "::", 22, "sshd"),
        Listener("tcp", "*", 9000, ""),
        Listener("tcp", "::1", 5432, "postgres"),
        Listener("tcp", "::ffff:127.0.0.1", 9001, "a b"),
    ]
    assert [s.local for s in seen] == [True, False, False, False, False, True, True]


def test_exposure() -> None:
    text = """\
UNIT                                 EXPOSURE PREDICATE HAPPY
fail2ban.service                          1.8 OK        :-)
getty@tty1.service                        9.6 UNSAFE    😨
rc-local.service                         10.0 DANGEROUS :-{
"""
    assert probe.parse_exposure(text) == {"fail2ban.service": 1.8, "getty@tty1.service": 9.6, "rc-local.service": 10.0}


def test_files_as_they_really_are(tmp_path: Path) -> None:
    plain, link, odd, fifo = tmp_path / "plain", tmp_path / "link", tmp_path / "odd\tname 'x'", tmp_path / "fifo"
    plain.write_text("a")
    plain.chmod(0o640)
    odd.write_text("")
    link.symlink_to(plain)
    subprocess.run(["mkfifo", fifo], check=True)
    paths = [str(p) for p in (plain, link, odd, fifo, tmp_path / "gone")]
    seen = probe.parse_files(shell(probe.files_question(paths)))
    assert (seen[str(plain)].mode, seen[str(plain)].kind) == (0o640, "regular file")
    assert seen[str(plain)].sha256 == "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"
    assert seen[str(odd)].kind == "regular empty file" and len(seen[str(odd)].sha256) == 64
    assert seen[str(link)].target == str(plain) and seen[str(plain)].target == ""
    assert seen[str(link)].sha256 == seen[str(fifo)].sha256 == "" and str(tmp_path / "gone") not in seen


ABOUT = {"sha256": "1" * 64, "mode": "0640", "owner": "root", "group": "www", "secret": True}
RECORD = {
    "roles": {
        "nginx": {"files": {"/a": ABOUT}},
        "base": {"files": {}},
        "old": {},
    }
}


@pytest.mark.parametrize(
    ("seen", "what"),
    [
        (FileSeen("regular file", 0o640, "root", "www", "1" * 64), None),
        (FileSeen("regular file", 0o640, "root", "www", "2" * 64), "content"),
        (FileSeen("regular file", 0o644, "root", "www", "1" * 64), "mode"),
        (FileSeen("regular file", 0o640, "root", "root", "1" * 64), "owner"),
        (FileSeen("symbolic link", 0o777, "root", "www", ""), "kind"),
        (None, "missing"),
    ],
)
def test_drift(seen: FileSeen | None, what: str | None) -> None:
    recorded = probe.recorded_files(RECORD)
    assert recorded == [Recorded("nginx", "/a", "1" * 64, 0o640, "root", "www", True)]
    found = probe.drift(recorded, {"/a": seen} if seen else {})
    assert [word for _, word in found] == ([what] if what else [])


def test_links() -> None:
    (link,) = probe.recorded_files({"roles": {"a": {"links": {"/l": "/x"}}}})
    right, wrong = (FileSeen("symbolic link", 0o777, "root", "root", "", target) for target in ("/x", "/y"))
    plain = FileSeen("regular file", 0o644, "root", "root", "1" * 64)
    assert probe.drift([link], {"/l": right}) == []
    assert [w for _, w in probe.drift([link], {"/l": wrong})] == ["target"]
    assert [w for _, w in probe.drift([link], {"/l": plain})] == ["kind"]


def test_a_host_without_a_record() -> None:
    assert probe.recorded_files(None) == []
    with pytest.raises(KeyError):
        probe.recorded_files({})
