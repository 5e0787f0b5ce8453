"""What roles know of one person: shown, exported whole, deleted in order. Scripts run for real, on this machine."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import tarfile
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any, cast

import pytest

from houblon.claimjson import claim_to_json
from houblon.claims import Invites, Person, tr
from houblon.connection import Connection
from houblon.errors import BadInput, CannotConnect, OperationFailed, Refused
from houblon.people import invitations, services
from houblon.people import model as people
from houblon.people.export import export, proved
from houblon.people.services import Services
from houblon.people.sheet import free, render, write
from tests.unit.localhost import Localhost


class Channel:
    """A process as an SSH channel; ``cut`` ends it after so many bytes, as a lost line does."""

    def __init__(self, script: str, cut: int | None) -> None:
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(["sh", "-c", script], stdin=pipe, stdout=pipe, stderr=pipe)
        self._left = cut

    def sendall(self, data: bytes) -> None:
        stdin = cast(IO[bytes], self._process.stdin)
        stdin.write(data)
        stdin.flush()

    def shutdown_write(self) -> None:
        cast(IO[bytes], self._process.stdin).close()

    def recv(self, size: int) -> bytes:
        data = cast(IO[bytes], self._process.stdout).read(size if self._left is None else min(size, self._left))
        if self._left is not None:
            self._left -= len(data)
        return data

    def recv_stderr(self, size: int) -> bytes:
        return cast(IO[bytes], self._process.stderr).read(size)

    def recv_exit_status(self) -> int:
        if self._left is not None:
            return -1
        return self._process.wait()

    def close(self) -> None:
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            cast(IO[bytes], pipe).close()
        self._process.wait()


class Here(Localhost):
    """This machine, with roles recorded on it that keep people's data under the prefix."""

    cut: int | None = None

    def record(self, **claims: Person | Invites) -> None:
        roles = {
            name: {"claims": [claim_to_json(claim) | {"role": name}]} for name, claim in sorted(claims.items())
        }
        (self.prefix / "var/lib/houblon/state.json").write_text(json.dumps({"roles": roles}))

    def open_channel(self, script: str) -> Channel:
        return Channel(self.moved(script), self.cut)

    def services(self, *order: str) -> Services:
        """The roles, as a site that applies them in this order knows them."""
        roles = [SimpleNamespace(name=n, provides=("accounts",) if n == "directory" else ()) for n in order]
        return Services(cast(Any, SimpleNamespace(roles=roles)), cast(Connection, self))


def keeper(folder: Path, **other: str) -> Person:
    """A role that keeps a directory for each person."""
    commands = {
        "show": f'[ ! -d "{folder}/$HOUBLON_PERSON" ] || find "{folder}/$HOUBLON_PERSON" -type f',
        "export": f'[ ! -d "{folder}/$HOUBLON_PERSON" ] || cp -a "{folder}/$HOUBLON_PERSON/." "$HOUBLON_EXPORT"/',
        "delete": f'rm -rf "{folder}/$HOUBLON_PERSON"; echo {folder.name} >>{folder.parent}/order',
        "shut_out": f'rm -f "{folder}/session-$HOUBLON_PERSON"',
    }
    return Person(tr(en="Things", fr="Choses"), **{**commands, **other})


@pytest.fixture
def host(tmp_path: Path) -> Here:
    for name in ("calendar", "directory", "files"):
        (tmp_path / name / "alice/sub dir").mkdir(parents=True)
        (tmp_path / name / "alice/sub dir/é 'x'\nname").write_text(f"{name}'s")
        (tmp_path / name / "alice/empty").touch()
        (tmp_path / name / "session-alice").touch()
        (tmp_path / name / "bob").mkdir()
        (tmp_path / name / "bob/kept").touch()
    here = Here(tmp_path)
    here.record(**{name: keeper(tmp_path / name) for name in ("calendar", "directory", "files")})
    return here


def test_the_directory_comes_last_and_the_others_in_reverse(host: Here) -> None:
    known = host.services("directory", "calendar", "files")
    assert [claim.role for claim in known.persons] == ["files", "calendar", "directory"]
    assert [claim.role for claim in host.services("calendar", "files", "directory").persons][-1] == "directory"
    gone = host.services("directory", "files")
    assert [claim.role for claim in gone.persons] == ["calendar", "files", "directory"], "what left the site goes first"


def test_show_shut_out_and_delete_touch_one_person(host: Here) -> None:
    known = host.services("directory", "calendar", "files")
    shown = known.show("alice")
    assert [(claim.role, len(things)) for claim, things in shown] == [("files", 3), ("calendar", 3), ("directory", 3)]
    assert known.shut_out("alice") == []
    assert not list(host.prefix.glob("*/session-alice"))
    for claim in known.persons:
        known.delete(claim, "alice")
    assert (host.prefix / "order").read_text().split() == ["files", "calendar", "directory"]
    assert not list(host.prefix.glob("*/alice"))
    assert len(list(host.prefix.glob("*/bob/kept"))) == 3
    assert all(things == [] for _, things in known.show("alice")), "a name that nobody knows is no error"


def test_what_fails_is_told_and_the_rest_is_still_shut_out(host: Here) -> None:
    host.record(
        calendar=keeper(host.prefix / "calendar", shut_out="echo no session store >&2; exit 3", delete="exit 4"),
        files=keeper(host.prefix / "files"),
    )
    known = host.services("files", "calendar")
    assert known.shut_out("alice") == ["calendar cannot end the sessions of alice: no session store"]
    assert not (host.prefix / "files/session-alice").exists()
    with pytest.raises(OperationFailed, match="calendar cannot delete what it has of alice: status 4"):
        known.delete(known.persons[0], "alice")


def test_the_name_is_data_to_the_commands(host: Here) -> None:
    host.record(echo=Person(tr(en="x", fr="x"), show='printf "%s|\\n" "$HOUBLON_PERSON" "$(cat)"'))
    ((_, things),) = host.services("echo").show("$(touch pwned); a'b")
    assert things == ["$(touch pwned); a'b|", "|"], "and nothing is left on their standard input"


def test_an_export_is_whole_and_private(host: Here, tmp_path: Path) -> None:
    known = host.services("directory", "calendar", "files")
    path = tmp_path / "alice.tar.gz"
    before = set(Path("/var/tmp").glob("houblon-export.*"))
    assert export(known.connection, known.export_script(), "alice", path) == 6
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert set(Path("/var/tmp").glob("houblon-export.*")) == before, "nothing is left on the host"
    with tarfile.open(path) as tar:
        files = {member.name: tar.extractfile(member).read() for member in tar if member.isreg()}  # type: ignore[union-attr]
    assert files["./calendar/sub dir/é 'x'\nname"] == b"calendar's"
    assert len(files) == 7
    with pytest.raises(BadInput):
        export(known.connection, known.export_script(), "alice", path)
    assert export(known.connection, known.export_script(), "nobody", tmp_path / "none.tar.gz") == 0


def test_an_export_that_fails_leaves_no_file(host: Here, tmp_path: Path) -> None:
    host.record(
        calendar=keeper(host.prefix / "calendar"),
        files=keeper(host.prefix / "files", export="echo half >\"$HOUBLON_EXPORT/x\"; echo disk full >&2; exit 1"),
    )
    known = host.services("files", "calendar")
    with pytest.raises(OperationFailed, match="files cannot export: status 1"):
        export(known.connection, known.export_script(), "alice", tmp_path / "a.tar.gz")
    assert not list(tmp_path.glob("*.tar.gz*"))
    assert not list(tmp_path.glob(".*.tar.gz*"))


@pytest.mark.parametrize("cut", [0, 100, 2000])
def test_an_export_that_is_cut_off_leaves_no_file(host: Here, tmp_path: Path, cut: int) -> None:
    known = host.services("directory", "calendar", "files")
    host.cut = cut
    with pytest.raises(CannotConnect, match="lost during the export"):
        export(known.connection, known.export_script(), "alice", tmp_path / "a.tar.gz")
    assert not [p for p in tmp_path.iterdir() if "tar.gz" in p.name]


def test_a_damaged_export_is_not_taken_for_whole(host: Here, tmp_path: Path) -> None:
    known = host.services("directory", "calendar", "files")
    path = tmp_path / "a.tar.gz"
    export(known.connection, known.export_script(), "alice", path)
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], whole[:-20], b"", whole[:200] + b"x" + whole[201:]):
        path.write_bytes(damaged)
        with pytest.raises(OperationFailed, match="not whole"):
            proved(path)
    with tarfile.open(path, "w:gz") as tar:
        tar.add(host.prefix / "files", arcname="files")
    with pytest.raises(OperationFailed, match="checksums is missing"):
        proved(path)


def test_a_host_that_was_never_applied_to_and_a_claim_nobody_understands(host: Here) -> None:
    state = host.prefix / "var/lib/houblon/state.json"
    state.write_text(json.dumps({"roles": {"new": {"claims": [{"claim": "Person", "role": "new", "novel": 1}]}}}))
    with pytest.raises(Refused, match="data of people could be overlooked"):
        host.services("new")
    state.write_text("{half")
    with pytest.raises(CannotConnect, match="cannot be read"):
        host.services()
    state.unlink()
    with pytest.raises(Refused, match="nothing was ever applied"):
        host.services()


# --- invitations -----------------------------------------------------------------------------------------

ALICE, BOB = people.Person("alice", "Éloïse <b>d'Aubigné</b>"), people.Person("bob", "שלום", language="en")
ANSWER = {"alice": {"name": "alice", "url": "https://auth.x.fr/l?t=1", "expires": 1795600000},
          "bob": {"name": "bob", "url": "https://auth.x.fr/l?t=2", "expires": 1795600000}}  # fmt: skip


def links(host: Here, *answers: object, status: int = 0) -> list[invitations.Invitation]:
    reply = host.prefix / "reply"
    reply.write_text("".join(f"{a if isinstance(a, str) else json.dumps(a)}\n" for a in answers))
    command = f"cat >{host.prefix}/asked; cat {reply}; exit {status}"
    return invitations.links(cast(Connection, host), Invites(command, role="links"), [ALICE, BOB], 48)


def test_links_are_asked_for_and_understood(host: Here) -> None:
    made = links(host, ANSWER["alice"], ANSWER["bob"])
    assert [(one.person.name, one.url, one.expires) for one in made] == [
        (answer["name"], answer["url"], answer["expires"]) for answer in ANSWER.values()
    ]
    asked = [json.loads(line) for line in (host.prefix / "asked").read_text().splitlines()]
    assert asked == [
        {"name": "alice", "hours": 48, "language": "fr"}, {"name": "bob", "hours": 48, "language": "en"}
    ]
    assert "t=1" not in repr(made), "links do not get into tracebacks"


@pytest.mark.parametrize("answers", [
    (), (ANSWER["alice"],), (ANSWER["bob"], ANSWER["alice"]), (ANSWER["alice"], "nonsense"), (ANSWER["alice"], "[]"),
    (ANSWER["alice"], {**ANSWER["bob"], "url": "http://auth.x.fr/secret"}),
    (ANSWER["alice"], {**ANSWER["bob"], "expires": "soon"}), (ANSWER["alice"], {"name": "bob"}),
])  # fmt: skip
def test_what_is_no_invitation_is_refused_without_being_shown(host: Here, answers: tuple[object, ...]) -> None:
    with pytest.raises(OperationFailed) as caught:
        links(host, *answers)
    assert "secret" not in str(caught.value)


def test_a_role_of_the_site_makes_the_links(host: Here) -> None:
    host.record(gone=Invites("false"), links=Invites("true"), none=keeper(host.prefix / "files"))
    invites = host.services("none", "links").invites
    assert invites is not None
    assert invites.role == "links"
    assert host.services("none").invites is not None, "one that left the site and is still there does as well"
    host.record(none=keeper(host.prefix / "files"))
    assert host.services("none").invites is None


def test_a_command_that_fails(host: Here) -> None:
    with pytest.raises(OperationFailed, match="links makes no links"):
        links(host, ANSWER["alice"], ANSWER["bob"], status=1)


def test_sheets(tmp_path: Path) -> None:
    made = [
        invitations.Invitation(ALICE, "https://auth.x.fr/l?a=1&t=<2>", 1795600000),
        invitations.Invitation(BOB, password="abcd-efgh"),
    ]
    text = render(made, "Les <i>Houblons</i>", "x.fr", "fr")
    assert text.count('<section class="page"') == text.count("<svg") == 2
    assert '<section class="page" lang="fr"' in text
    assert '<section class="page" lang="en"' in text
    assert "<b>" not in text
    assert "<i>" not in text
    assert "Éloïse &lt;b&gt;d&#39;Aubigné" in text
    assert "abcd-efgh" in text
    assert re.sub(r"<[^>]*>", "", text).count("https://auth.x.fr/l?a=1&amp;t=&lt;2&gt;") == 1, "in pieces, but whole"
    assert "Hello <bdi>שלום" in text
    for loads in ("src=", "@import", "url(", "<link", "<script", "href="):
        assert loads not in text
    path = tmp_path / "sheet.html"
    old = os.umask(0)
    try:
        write(path, text)
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(BadInput):
        write(path, "x")
    assert path.read_text() == text
    assert free(path) == tmp_path / "sheet-2.html"
    (tmp_path / "sheet-2.html").symlink_to("/nonexistent")
    assert free(path) == tmp_path / "sheet-3.html"
    (tmp_path / "zoe.lune.tar.gz").touch()
    assert free(tmp_path / "zoe.lune.tar.gz") == tmp_path / "zoe.lune-2.tar.gz"
    with pytest.raises(BadInput, match="no file can be written"):
        free(tmp_path / "none" / "sheet.html")


def test_a_drawn_password_is_easy_to_copy() -> None:
    drawn = {invitations.draw() for _ in range(200)}
    assert len(drawn) == 200
    assert all(len(one) == 19 and not set(one) & set("0O1lI") for one in drawn)
    assert services._NAMED.startswith("IFS= read -r")
