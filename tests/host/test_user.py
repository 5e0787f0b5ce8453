"""`houblon user` against a real directory: added, found, logged in, shut out, imported, exported, removed."""

from __future__ import annotations

import csv
import io
import json
import stat
import subprocess
import sys
import tarfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from houblon import directory
from tests.host.people import People
from tests.host.sites import environment

pytestmark = pytest.mark.host

PASSWORD = "seven quiet lamps under snow"
BIND = f"ldapwhoami -x -H {directory.LDAPI} -y /dev/stdin -D"
DUMP = (
    "slapcat -o ldif-wrap=no -f /etc/ldap/slapd.conf -b o=houblon |"
    " grep -vE '^(contextCSN|entryCSN|modifyTimestamp|modifiersName|pwdLastSuccess|pwdFailureTime):'"
)
NASTY = [
    "Éloïse d'Aubigné", "Bob O’Neill", "李小龙", "שלום כהן", "محمد علي", "👩‍🚀 Ada", "Zoë 🐉", "Łukasz Żółć", "Renée",
    "*)(uid=*", "admin)(|(uid=*", "Ada\\2a\\28", "x,ou=people,o=houblon", "uid=root+cn=x", ": base64",
    "< file:///etc/passwd",
    "$(reboot)", "`id`", "'; rm -rf / #", '"; DROP TABLE people; --', "userPassword: x", "changetype: delete", "a;b,c",
    "{{ 7*7 }}", "%s%s%n", "<script>alert(1)</script>", "&amp;", "-", "dn: cn=root", "NULL", "x" * 80, "नमस्ते",
]  # fmt: skip


def digest(people: People) -> str:
    """What the directory holds, apart from its bookkeeping of logins."""
    return people.sh(f"{DUMP} | sha256sum")


def show(people: People, name: str) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(people.user("show", name, "--json").stdout)
    return result


def binds(people: People, name: str, password: str = PASSWORD) -> bool:
    """Whether this name and password open the directory, as they open every service."""
    done = people.host.console(
        ["sh", "-c", f"printf %s '{password}' | {BIND} uid={name},{directory.PEOPLE}"], check=False
    )
    assert done.returncode in (0, 49), done.stderr.decode()
    return done.returncode == 0


def table(path: Path, rows: Sequence[Sequence[str]], header: Sequence[str] = ("name", "full name", "groups")) -> Path:
    stream = io.StringIO()
    csv.writer(stream).writerows([header, *rows])
    path.write_text(stream.getvalue(), encoding="utf-8")
    return path


def add(people: People, name: str, *options: str) -> None:
    people.user("add", name, "--name", f"Person {name}", "--password", *options, input=PASSWORD + "\n")


def test_somebody_is_added_found_and_logs_in(people: People) -> None:
    people.user(
        "add", "u.ada", "--name", "Éloïse d'Aubigné", "--mail", "u.ada@example.org", "--alias", "u.ada2@example.org",
        "--recovery", "ada@elsewhere.example", "--group", "u.readers", "--language", "en", "--quota", "5G",
        "--password",
        input=PASSWORD,
    )  # fmt: skip
    seen = show(people, "u.ada")
    assert (seen["full_name"], seen["mail"], seen["aliases"], seen["recovery"], seen["groups"], seen["language"]) == (
        "Éloïse d'Aubigné", "u.ada@example.org", ["u.ada2@example.org"], "ada@elsewhere.example", ["u.readers"], "en"
    )
    assert (seen["file_quota_mb"], seen["state"], seen["has_password"]) == (5120, "active", True)
    assert seen["name"] in {one["name"] for one in json.loads(people.user("list", "--json").stdout)}
    readers = json.loads(people.user("list", "--group", "u.readers", "--json").stdout)
    assert [one["name"] for one in readers] == ["u.ada"]
    assert binds(people, "u.ada")
    assert not binds(people, "u.ada", "something else entirely")
    dump = people.sh(DUMP)
    assert PASSWORD not in dump
    weak = people.user("invite", "u.ada", "--password", input="short\n", check=False)
    assert (weak.returncode, "refused" in weak.stderr) == (2, True)
    assert binds(people, "u.ada")


def test_disabled_people_do_not_get_in_and_enabled_ones_do(people: People) -> None:
    add(people, "u.dis")
    assert binds(people, "u.dis")
    people.user("disable", "u.dis")
    assert not binds(people, "u.dis")
    entry = people.sh(f"{DUMP} | sed -n '/^dn: uid=u.dis,/,/^$/p'")
    assert "houblonState: disabled\n" in entry
    assert "pwdAccountLockedTime: 000001010000Z\n" in entry
    assert show(people, "u.dis")["state"] == "disabled"
    refused = people.user("invite", "u.dis", check=False)
    assert (refused.returncode, "shut out" in refused.stderr) == (4, True)
    people.user("disable", "u.dis")
    people.user("enable", "u.dis")
    assert binds(people, "u.dis")


def test_invitations(people: People, tmp_path: Path) -> None:
    link = people.user("add", "u.inv", "--name", "Inv", "--invite", "link").stdout.splitlines()[-1]
    assert link.startswith("https://")
    again = people.user("invite", "u.inv", "--invite", "link", "--hours", "1").stdout.strip()
    assert again.startswith("https://")
    assert again != link
    sheet = tmp_path / "sheet.html"
    done = people.user("invite", "u.inv", "--sheet", str(sheet))
    assert "https://" not in done.stdout + done.stderr, "a link goes where it was asked to, and nowhere else"
    assert stat.S_IMODE(sheet.stat().st_mode) == 0o600
    assert "u.inv" in sheet.read_text()
    there = people.user("invite", "u.inv", "--sheet", str(sheet), check=False)
    assert (there.returncode, "stands there already" in there.stderr) == (2, True)


def test_groups(people: People) -> None:
    add(people, "u.g1")
    add(people, "u.g2")
    assert "which is new" in people.user("group", "add", "u.choir", "u.g1", "u.g2").stdout
    assert "which is new" not in people.user("group", "add", "u.choir", "u.g1").stdout
    assert json.loads(people.user("group", "list", "u.choir", "--json").stdout) == {"u.choir": ["u.g1", "u.g2"]}
    people.user("group", "remove", "u.choir", "u.g1")
    assert show(people, "u.g1")["groups"] == []
    assert show(people, "u.g2")["groups"] == ["u.choir"]
    before = digest(people)
    for wrong in (["add", "u.choir", "u.nobody"], ["add", "Chœur", "u.g1"], ["remove", "u.none", "u.g1"],
                  ["delete", "u.choir"], ["add", "a)(cn=*", "u.g1"]):  # fmt: skip
        assert people.user("group", *wrong, check=False).returncode in (2, 4)
    assert digest(people) == before
    people.user("group", "delete", "u.choir", "--yes")
    assert show(people, "u.g2")["groups"] == []


def test_edit(people: People) -> None:
    add(people, "u.ed", "--mail", "u.ed@example.org")
    add(people, "u.ed2", "--alias", "u.ed.alias@example.org")
    people.user(
        "edit", "u.ed", "--name", "Ed Nouveau", "--quota", "2G", "--language", "en", "--alias", "u.e@example.org"
    )
    seen = show(people, "u.ed")
    assert (seen["full_name"], seen["family_name"], seen["file_quota_mb"], seen["aliases"]) == (
        "Ed Nouveau", "Nouveau", 2048, ["u.e@example.org"]
    )
    before = digest(people)
    assert "nothing was changed" in people.user("edit", "u.ed", "--language", "en").stdout
    for taken in (["--mail", "U.ED.alias@example.org"], ["--alias", "u.ed.alias@example.org"]):
        done = people.user("edit", "u.ed", *taken, check=False)
        assert (done.returncode, "that of u.ed2 already" in done.stderr) == (4, True)
    assert digest(people) == before
    people.user("edit", "u.ed", "--mail", "", "--alias", "", "--quota", "")
    seen = show(people, "u.ed")
    assert (seen["mail"], seen["aliases"], seen["file_quota_mb"]) == ("", [], None)
    assert binds(people, "u.ed")


def test_three_hundred_people_at_once_and_once_more(people: People, tmp_path: Path) -> None:
    rows = [(f"u.i{number:03}", NASTY[number % len(NASTY)], "u.imported") for number in range(300)]
    rows = [row for row in rows if row[1] != "-"]
    file = table(tmp_path / "people.csv", rows)
    before = digest(people)
    dry = people.user("import", str(file), "--dry-run", "--json", check=False)
    assert dry.returncode == 10
    assert len(json.loads(dry.stdout)["new"]) == len(rows)
    assert digest(people) == before
    done = json.loads(people.user("import", str(file), "--json").stdout)
    assert (len(done["added"]), done["unchanged"], done["groups_made"]) == (len(rows), [], ["u.imported"])
    sheet = Path(done["sheet"])
    assert stat.S_IMODE(sheet.stat().st_mode) == 0o600
    assert sheet.read_text().count('<section class="page"') == len(rows)
    listed = {one["name"]: one for one in json.loads(people.user("list", "--group", "u.imported", "--json").stdout)}
    assert {name: one["full_name"] for name, one in listed.items()} == {name: full for name, full, _ in rows}
    assert all(one["state"] == "active" and one["groups"] == ["u.imported"] for one in listed.values())
    after = digest(people)
    again = people.user("import", str(file))
    assert "Nothing to do" in again.stdout
    assert digest(people) == after


@pytest.mark.parametrize(("data", "says"), [
    (b"name,full name\nu.x1,Fine\nu.x1,Twice\n", ":3: name: the name u.x1 is in line 2"),
    (b"name,full name,mail\nu.x1,Fine,nobody\nroot,Root,\nu.x2,B,@x.fr\n", "3 mistakes; nobody was added"),
    ("name,full name\nu.x1,Éloïse\n".encode("latin-1"), ":2: this text is not UTF-8"),
    (b"name,full name\nu.x1,\"open\n", "cannot be read"),
    (b"name,full name,phone\nu.x1,A,1\n", "no column"),
    (b"full name\n" + b"x" * 5000 + b"\n", "5000 characters"),
    (b"", "must name the columns"),
    (b"\x89PNG\r\n\x1a\n\0\0", "not UTF-8"),
    (b"name,full name\nu.x1,Fine\nu.taken,Somebody Else\n", ":3: name: the account u.taken is there already"),
])  # fmt: skip
def test_a_file_with_a_mistake_changes_nothing(people: People, tmp_path: Path, data: bytes, says: str) -> None:
    if b"u.taken" in data:
        add(people, "u.taken")
    before = digest(people)
    file = tmp_path / "bad.csv"
    file.write_bytes(data)
    done = people.user("import", str(file), check=False)
    assert done.returncode == 2
    assert says in done.stderr
    assert digest(people) == before
    assert list(tmp_path.iterdir()) == [file], "no sheet either"


def test_the_directory_dies_in_the_middle_of_an_import(people: People, tmp_path: Path) -> None:
    """The same file finishes it, and everybody gets the one invitation."""
    file = table(tmp_path / "half.csv", [(f"u.h{number:03}", f"Half {number}", "u.half") for number in range(400)])
    count = f"ldapsearch -Q -Y EXTERNAL -H {directory.LDAPI} -LLL -b {directory.PEOPLE} '(uid=u.h*)' 1.1 | grep -c ^dn:"
    killer = threading.Thread(target=people.sh, args=(
        f"for i in $(seq 600); do [ \"$({count})\" -ge 20 ] && break; sleep 0.05; done; "
        "systemctl kill -s KILL slapd.service",
    ))  # fmt: skip
    killer.start()
    cut = people.user("import", str(file), check=False)
    killer.join()
    assert cut.returncode == 5, cut.stdout + cut.stderr
    assert len(list(tmp_path.glob("*.html"))) == 0
    people.sh("systemctl reset-failed slapd.service; systemctl start slapd.service; systemctl is-active slapd.service")
    before = int(people.sh(count))
    assert 20 <= before < 400
    done = json.loads(people.user("import", str(file), "--json").stdout)
    assert len(done["added"]) == 400 - before
    assert Path(done["sheet"]).read_text().count('<section class="page"') == 400
    assert len(json.loads(people.user("group", "list", "u.half", "--json").stdout)["u.half"]) == 400
    assert "Nothing to do" in people.user("import", str(file)).stdout


def test_two_volunteers_add_the_same_person_at_once(people: People) -> None:
    command = [sys.executable, "-m", "houblon", "user", "add", "u.race", "--name", "Race", "--invite", "none",
               "--site", str(people.site_folder)]  # fmt: skip
    running = [
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                         env=environment())
        for _ in range(3)
    ]  # fmt: skip
    ended = [(*one.communicate(timeout=120), one.returncode) for one in running]
    assert sorted(code for _, _, code in ended) == [0, 4, 4]
    assert all("the account u.race is there already" in err for _, err, code in ended if code == 4)


def test_no_value_is_more_than_a_value(people: People) -> None:
    """Each field and each name takes it as it is, or refuses it; nothing else comes into being."""
    value = "*)(uid=*,ou=people,o=houblon\nuserPassword: x\n"
    add(people, "u.inj")
    before = digest(people)
    for option in ("--mail", "--recovery", "--alias", "--language", "--quota", "--mail-quota"):
        assert people.user("edit", "u.inj", option, value, check=False).returncode == 2
    for command in (
        ["show", value], ["disable", value], ["enable", value], ["invite", value], ["remove", value, "--yes"],
        ["list", "--group", value], ["group", "add", value, "u.inj"], ["group", "add", "u.inj", value],
        ["group", "delete", value, "--yes"], ["export", value], ["edit", value, "--name", "x"],
        ["add", value, "--name", "x", "--invite", "none"],
        ["add", "u.inj2", "--name", "x", "--group", value, "--invite", "none"],
        ["add", "u.inj2", "--name", "x", "--mail", value, "--invite", "none"],
    ):
        assert people.user(*command, check=False).returncode == 2, command
    assert digest(people) == before
    people.user("remove", "u.inj", "--yes", "--to", str(people.site_folder / ".local/inj.tar.gz"))
    (people.site_folder / ".local/inj.tar.gz").unlink()


def test_removal_exports_first_and_asks(people: People, tmp_path: Path) -> None:
    add(people, "u.gone", "--recovery", "gone@elsewhere.example", "--group", "u.leaving")
    before = digest(people)
    asked = people.user("remove", "u.gone", check=False)
    assert (asked.returncode, "confirm" in asked.stderr) == (4, True)
    assert "accounts: " in asked.stdout
    nowhere = people.user("remove", "u.gone", "--yes", "--to", str(tmp_path / "none/x.tar.gz"), check=False)
    assert nowhere.returncode == 2
    assert digest(people) == before
    path = tmp_path / "gone.tar.gz"
    done = json.loads(people.user("remove", "u.gone", "--yes", "--json", "--to", str(path)).stdout)
    assert done["deleted"][-1] == "accounts"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with tarfile.open(path) as tar:
        member = tar.extractfile("./accounts/account.ldif")
        assert member is not None
        ldif = member.read().decode()
    assert "gone@elsewhere.example" in ldif
    assert "userPassword" not in ldif
    assert not binds(people, "u.gone")
    assert people.user("show", "u.gone", check=False).returncode == 2
    assert json.loads(people.user("group", "list", "u.leaving", "--json").stdout) == {"u.leaving": []}
    again = people.user("remove", "u.gone", "--yes", check=False)
    assert (again.returncode, "no person called u.gone" in again.stderr) == (2, True)


def test_an_apply_touches_nobody(people: People) -> None:
    add(people, "u.stay", "--group", "u.staying")
    before = digest(people)
    people.cli("apply", "--yes")
    assert people.plan()["changes"] == []
    assert digest(people) == before
    assert binds(people, "u.stay")
