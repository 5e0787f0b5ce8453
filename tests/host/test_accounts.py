"""The directory of accounts on a real host: who sees what, guessers, crashes, full disks, restores.

A host of its own: these tests kill slapd and fill its disk, and other tests need theirs alive.
"""

from __future__ import annotations

import base64
import contextlib
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from houblon import directory
from houblon.lab import Lab
from houblon.roles.accounts import DATA, SCRIPT
from tests.host.sites import Applied, changes, environment, make_site

pytestmark = pytest.mark.host

ROOT = f"-Q -Y EXTERNAL -H {directory.LDAPI}"
INSUFFICIENT, NO_OBJECT, CONSTRAINT, INVALID, REFUSED = 50, 32, 19, 49, 48
"""Result codes (RFC 4511, section 4.1.9)."""

ROLE = '''"""A reader of the directory."""

from collections.abc import Iterator

from houblon.contract import Accounts, Claim, Config, Metadata, Needs, NoBackup, Role, Secret, tr
from houblon.kit import Kit


class {title}(Role[Config]):
    metadata = Metadata(
        title="{title}", summary=tr(en="Reads.", fr="Lit."), category="test", licence="CC0-1.0", homepage=""
    )

    def claims(self) -> Iterator[Claim]:
        yield Needs("accounts")
        yield Accounts({claim})
        yield Secret("directory")
        yield NoBackup(tr(en="Nothing is kept.", fr="Rien n'est gardé."))

    def configure(self, kit: Kit) -> None:
        kit.file("/etc/houblon/{name}.pw", kit.secret("directory").reveal_bytes(), mode=0o600, secret=True)
'''
CLAIMS = {
    "reader": 'groups=("staff",), needs=("mail",)',
    "setter": 'writes=("userPassword", "preferredLanguage")',
}
PASSWORD = "un mot de passe à soi"


@pytest.fixture(scope="module")
def one(fresh_lab: Callable[..., Lab], tmp_path_factory: pytest.TempPathFactory) -> Applied:
    """A host with the directory, two readers and a few people."""
    services = "".join(f"  {name}:\n" for name in CLAIMS)
    site = make_site(fresh_lab(), tmp_path_factory.mktemp("sites") / "accounts", services=services)
    for name, claim in CLAIMS.items():
        folder = site.site_folder / "roles" / name
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text(ROLE.format(title=name.title(), name=name, claim=claim))
    site.cli("apply", "--yes", "--accept-new", timeout=900)
    people = [("alice", "active"), ("bob", "active"), ("carol", "disabled"), ("dora", "active")]
    write(site, *(person(name, state) for name, state in people))
    write(
        site,
        group("staff", "alice", "carol"),
        group("others", "bob"),
        group("empty"),
    )
    return site


def person(name: str, state: str = "active", **more: str) -> str:
    values = {
        "uid": name, "cn": f"{name} Ô'Test", "sn": "Test", directory.STATE: state, "mail": f"{name}@example.test",
        directory.RECOVERY: f"{name}@elsewhere.test", directory.PASSWORD: PASSWORD, **more,
    }  # fmt: skip
    kinds = f"objectClass: inetOrgPerson\nobjectClass: {directory.CLASS}\n"
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
    return f"dn: {directory.person_dn(name)}\nchangetype: add\n{kinds}" + "".join(
        f"{key}:: {value}\n" for key, value in encoded.items()
    )


def group(name: str, *members: str) -> str:
    lines = "".join(f"member: {directory.person_dn(member)}\n" for member in members)
    return f"dn: {directory.group_dn(name)}\nchangetype: add\nobjectClass: {directory.GROUP_CLASS}\ncn: {name}\n{lines}"


def replace(name: str, key: str, *values: str) -> str:
    lines = "".join(f"{key}: {value}\n" for value in values)
    return f"dn: {directory.person_dn(name)}\nchangetype: modify\nreplace: {key}\n{lines}"


def result(site: Applied, script: str) -> int:
    """The exit status of a command on the host: for LDAP tools, the result code."""
    return int(site.sh(f"( {script} ) >/dev/null 2>&1; echo $?").splitlines()[-1])


def modify(site: Applied, who: str, *entries: str) -> int:
    text = base64.b64encode("\n".join(f"{entry}\n" for entry in entries).encode()).decode()
    return result(site, f"echo {text} | base64 -d | ldapmodify {who}")


def write(site: Applied, *entries: str) -> None:
    assert modify(site, ROOT, *entries) == 0


def remove(site: Applied, names: set[str]) -> None:
    write(site, *(f"dn: {directory.person_dn(name)}\nchangetype: delete\n" for name in sorted(names)))


def as_role(name: str) -> str:
    return f"-x -H {directory.LDAP} -D {directory.bind_dn(name)} -y /etc/houblon/{name}.pw"


def as_person(name: str, password: str = PASSWORD) -> str:
    return f"-x -H {directory.LDAPI} -D {directory.person_dn(name)} -w {shlex.quote(password)}"


def login(site: Applied, name: str, password: str = PASSWORD) -> int:
    return result(site, f"ldapwhoami {as_person(name, password)}")


def search(site: Applied, who: str, query: str = "(objectClass=*)", wanted: str = "", base: str = "") -> str:
    return site.sh(
        f"ldapsearch -LLL -o ldif-wrap=no {who} -b {base or directory.SUFFIX} {shlex.quote(query)} {wanted} || :"
    )


def dns(text: str) -> set[str]:
    return {line.removeprefix("dn: ") for line in text.splitlines() if line.startswith("dn: ")}


def uids(text: str) -> set[str]:
    return {dn.partition(",")[0].removeprefix("uid=") for dn in dns(text) if dn.startswith("uid=")}


def kept(site: Applied) -> str:
    return site.sh(f"{SCRIPT} compare")


def answers(site: Applied, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while result(site, f"ldapwhoami {ROOT}"):
        assert time.monotonic() < end, site.sh("journalctl -u slapd -n 20 --no-pager -o cat")
        time.sleep(0.3)


# --- who sees what -------------------------------------------------------------------------------------------


def test_a_role_sees_active_people_of_its_groups_and_what_it_claimed(one: Applied) -> None:
    seen = search(one, as_role("reader"), wanted="'*' '+'", base=directory.PEOPLE)
    assert uids(seen) == {"alice"}, "not bob of another group, not carol who is disabled, not dora of none"
    found = {line.partition(":")[0] for line in seen.splitlines() if line}
    assert found == {"dn", "objectClass", "uid", "cn", "sn", "mail", "memberOf", directory.STATE}
    assert dns(search(one, as_role("reader"), base=directory.GROUPS)) == {directory.group_dn("staff")}
    assert "member:" not in search(one, as_role("reader"), base=directory.GROUPS)
    assert uids(search(one, as_role("setter"))) == {"alice", "bob", "dora"}


@pytest.mark.parametrize("query", [
    f"({directory.RECOVERY}=alice@elsewhere.test)", f"({directory.PASSWORD}=*)", "(pwdChangedTime=*)",
    "(uid=bob)", "(uid=carol)", f"(memberOf={directory.group_dn('others')})", "(objectClass=simpleSecurityObject)",
])  # fmt: skip
def test_a_filter_tells_nothing_of_what_may_not_be_read(one: Applied, query: str) -> None:
    assert dns(search(one, as_role("reader"), query)) == set()


def test_a_role_finds_the_root_even_where_nobody_is_left_to_see(one: Applied) -> None:
    """Nextcloud takes a directory in which a search finds nothing for one that does not work."""
    assert directory.SUFFIX in dns(search(one, as_role("reader")))
    assert directory.SUFFIX not in dns(search(one, as_person("alice")))


def test_strangers_and_people_among_themselves(one: Applied) -> None:
    for uri in (directory.LDAPI, directory.LDAP):
        assert result(one, f"ldapsearch -x -H {uri} -b {directory.SUFFIX}") == REFUSED
    # A name without a password would be an anonymous login that looks like a good one (RFC 4513, section 5.1.2).
    assert result(one, f"ldapwhoami -x -H {directory.LDAPI} -D {directory.person_dn('alice')} -w ''") != 0
    # Any local user may connect, and is somebody to slapd by the kernel's word, but nobody with rights.
    local = "setpriv --reuid nobody --regid nogroup --clear-groups"
    assert result(one, f"{local} ldapwhoami {ROOT}") == 0
    assert "dn:" not in one.sh(f"{local} ldapsearch -LLL {ROOT} -b {directory.SUFFIX} 1.1 || :")
    assert uids(search(one, as_person("alice"))) == {"alice"}
    assert directory.PASSWORD not in search(one, as_person("alice"), wanted="'*' '+' userPassword")
    for change in (replace("alice", "mail", "root@example.test"), replace("bob", directory.PASSWORD, "it is mine now")):
        assert modify(one, as_person("alice"), change) == INSUFFICIENT
    with pytest.raises(OSError), contextlib.closing(socket.create_connection((one.host.address, 389), 3)):
        pass


def test_writes_are_the_claimed_ones(one: Applied) -> None:
    assert modify(one, as_role("setter"), replace("dora", directory.LANGUAGE, "fr")) == 0
    assert modify(one, as_role("setter"), replace("dora", directory.PASSWORD, "chosen on the page")) == 0
    assert login(one, "dora", "chosen on the page") == 0
    assert login(one, "dora") == INVALID
    assert directory.PASSWORD not in search(one, as_role("setter"), wanted="'*' userPassword")
    assert modify(one, as_role("setter"), replace("dora", "mail", "x@example.test")) == INSUFFICIENT
    assert modify(one, as_role("setter"), replace("carol", directory.PASSWORD, "chosen on the page")) != 0
    assert modify(one, as_role("reader"), replace("alice", directory.PASSWORD, "chosen on the page")) == INSUFFICIENT
    assert modify(one, as_role("setter"), person("mallory")) == INSUFFICIENT


def test_people_choose_their_own_password_and_it_is_hashed(one: Applied) -> None:
    write(one, person("emile"))
    change = f"ldappasswd {as_person('emile')} -a {shlex.quote(PASSWORD)} -s"
    assert "quality" in one.sh(f"{change} court 2>&1 || :"), "shorter than 12"
    assert modify(one, as_person("emile"), replace("emile", directory.PASSWORD, "court")) == CONSTRAINT
    assert result(one, f"{change} 'une autre phrase'") == 0
    assert login(one, "emile", "une autre phrase") == 0
    stored = f"ldapsearch -LLL -o ldif-wrap=no {ROOT} -b {directory.PEOPLE} '({directory.PASSWORD}=*)' userPassword"
    hashes = one.sh(f"{stored} | sed -n 's/^userPassword:: //p'").split()
    assert len(hashes) >= 5
    for line in hashes:
        assert base64.b64decode(line).startswith(b"{ARGON2}$argon2id$v=19$m=19456,t=2,p=1$")


def test_nobody_has_two_passwords(one: Applied) -> None:
    write(one, person("nina"))
    spare = f"add: {directory.PASSWORD}\n{directory.PASSWORD}: a spare one, for later\n"
    change = f"dn: {directory.person_dn('nina')}\nchangetype: modify\n{spare}"
    assert modify(one, as_person("nina"), change) == CONSTRAINT
    assert login(one, "nina", "a spare one, for later") == INVALID and login(one, "nina") == 0


def test_a_disabled_person_stays_out_whatever_happens_to_the_password(one: Applied) -> None:
    """slapd lifts pwdAccountLockedTime when root sets a password; the state alone must keep them out."""
    write(one, person("felix"))
    assert login(one, "felix") == 0
    write(one, replace("felix", directory.STATE, "disabled"), replace("felix", "pwdAccountLockedTime", "000001010000Z"))
    assert login(one, "felix") == INVALID
    write(one, replace("felix", directory.PASSWORD, "set while disabled"))
    assert login(one, "felix", "set while disabled") == INVALID
    write(one, replace("felix", directory.STATE, "active"), replace("felix", "pwdAccountLockedTime"))
    assert login(one, "felix", "set while disabled") == 0


@pytest.mark.parametrize("change", [
    replace("bob", "mail", "Alice@Example.test"),
    replace("bob", "mail", "b@example.test", "c@example.test"),
    replace("bob", directory.STATE, "dormant"),
    replace("bob", directory.LANGUAGE, "de"),
    person("root").replace(f"uid:: {base64.b64encode(b'root').decode()}", "uid: root\nuid: Root Bis"),
])  # fmt: skip
def test_the_directory_itself_refuses_nonsense(one: Applied, change: str) -> None:
    assert modify(one, ROOT, change) == CONSTRAINT


def test_groups_follow_people(one: Applied) -> None:
    write(one, person("gaston"), group("choir", "gaston"))
    assert directory.group_dn("choir") in search(one, ROOT, "(uid=gaston)", "memberOf")
    nobody = f"changetype: modify\nadd: member\nmember: {directory.person_dn('nobody')}\n"
    assert modify(one, ROOT, f"dn: {directory.group_dn('choir')}\n{nobody}") == NO_OBJECT
    remove(one, {"gaston"})
    assert "member" not in search(one, ROOT, "(cn=choir)", "member")
    assert dns(search(one, ROOT, "(cn=choir)")) == {directory.group_dn("choir")}, "an empty group stays"


# --- guessers ------------------------------------------------------------------------------------------------


@pytest.fixture
def short_lock(one: Applied) -> Iterator[None]:
    """Locks of a second, until the next apply puts the policy back."""
    change = "changetype: modify\nreplace: pwdLockoutDuration\npwdLockoutDuration: 1\n"
    write(one, f"dn: cn=people,ou=policies,{directory.SUFFIX}\n{change}")
    yield
    assert [c["subject"] for c in one.plan()["changes"]], "a policy changed by hand is a change to undo"
    one.cli("apply", "--yes")
    assert "pwdLockoutDuration: 300" in search(one, ROOT, "(cn=people)")


def test_a_guesser_locks_one_account_and_it_opens_by_itself(one: Applied, short_lock: None) -> None:
    write(one, person("hugo"), person("irma"))
    wrong = one.sh(
        f"for i in 1 2 3 4 5 6 7 8 9 10; do ldapwhoami {as_person('hugo', 'guess')} >/dev/null 2>&1; echo $?; done;"
        f" ldapwhoami {as_person('hugo')} >/dev/null 2>&1; echo $?"
    ).split()
    assert wrong == [str(INVALID)] * 11, "the eleventh was the right password"
    assert login(one, "irma") == 0
    assert result(one, f"ldapwhoami {as_role('reader')}") == 0
    end = time.monotonic() + 20
    while login(one, "hugo") != 0:
        assert time.monotonic() < end, "the lock never ended"
        time.sleep(0.5)


def test_the_bind_of_a_role_cannot_be_locked(one: Applied) -> None:
    guess = f"ldapwhoami -x -H {directory.LDAPI} -D {directory.bind_dn('reader')} -w guess"
    one.sh(f"for i in $(seq 12); do {guess} >/dev/null 2>&1; done; :")
    assert result(one, f"ldapwhoami {as_role('reader')}") == 0


# --- convergence ---------------------------------------------------------------------------------------------


def test_people_are_no_business_of_an_apply(one: Applied) -> None:
    before = kept(one)
    assert one.plan()["changes"] == []
    one.cli("apply", "--yes")
    assert kept(one) == before


@pytest.mark.faults
def test_a_new_version_of_the_package_changes_nothing(one: Applied) -> None:
    """Debian's maintainer scripts make a directory of their own when they find none."""
    before = kept(one)
    one.sh("DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --reinstall slapd >/dev/null 2>&1")
    answers(one)
    assert one.plan()["changes"] == []
    assert kept(one) == before
    assert "/usr/sbin/slapd -d 0 -h ldap://127.0.0.1" in one.sh("ps -o args= -p $(systemctl show -P MainPID slapd)")


def test_what_an_apply_owns_is_put_back(one: Applied) -> None:
    """A bind's password changed by hand, a bind nobody claims, a branch's entry of our policies gone."""
    write(
        one,
        f"dn: {directory.bind_dn('reader')}\nchangetype: modify\nreplace: userPassword\nuserPassword: something else\n",
        "dn: cn=backdoor,ou=services,o=houblon\nchangetype: add\nobjectClass: applicationProcess\n"
        "objectClass: simpleSecurityObject\ncn: backdoor\nuserPassword: let me in\n",
    )
    people = uids(search(one, ROOT))
    assert len(one.plan()["changes"]) == 1
    one.cli("apply", "--yes")
    assert result(one, f"ldapwhoami {as_role('reader')}") == 0
    assert dns(search(one, ROOT, "(cn=backdoor)")) == set()
    assert uids(search(one, ROOT)) == people


def test_no_secret_is_shown_or_left_readable(one: Applied) -> None:
    password = one.sh("cat /etc/houblon/reader.pw")
    hashed = one.sh("sed -n 's/.*userPassword:: //p' /etc/houblon/directory.binds").split()
    assert len(hashed) == len(CLAIMS)
    shown = one.cli("plan", "--json", check=False).stdout + one.sh("journalctl --no-pager -o cat | tail -n 3000")
    assert not [secret for secret in (password, *hashed, PASSWORD) if secret in shown]
    assert one.sh("stat -c '%a %U' /etc/houblon/directory.binds /etc/houblon/reader.pw").split() == ["600", "root"] * 2
    assert one.sh(f"find {DATA} -perm /o+rwx") == ""


def test_the_checks_of_the_role_pass(one: Applied) -> None:
    done = one.cli("verify", "--only", "accounts", "--deep", "--quick")
    assert "verified" in done.stdout
    assert not uids(search(one, ROOT, "(uid=houblon-verify*)")), "a check left somebody behind"


# --- backup and removal --------------------------------------------------------------------------------------


def test_a_dump_restores_the_same_directory(one: Applied) -> None:
    before = kept(one)
    one.sh(f"umask 077; {SCRIPT} dump >/root/directory.ldif")
    write(one, person("late"))
    remove(one, {"bob"})
    assert kept(one) != before
    one.sh("""cd /root; : >nothing.ldif; head -n -30 directory.ldif >cut.ldif
        sed 's/^objectClass: inet/objectClass: /' directory.ldif >bad.ldif""")
    now = kept(one)
    for damaged in ("cut", "nothing", "bad"):
        assert result(one, f"{SCRIPT} restore </root/{damaged}.ldif") != 0
        assert kept(one) == now, f"{damaged}.ldif changed something"
    assert result(one, f"{SCRIPT} restore </root/directory.ldif") == 0
    answers(one)
    assert kept(one) == before
    assert login(one, "bob") == 0
    assert directory.group_dn("others") in search(one, ROOT, "(uid=bob)", "memberOf")
    assert one.sh(f"ls {DATA}").split() == ["data.mdb", "lock.mdb"]
    assert one.plan()["changes"] == []


def test_the_commands_for_one_person(one: Applied) -> None:
    write(one, person("jeanne", givenName="Jeanne"), group("chess", "jeanne"))
    run = f"export HOUBLON_PERSON=jeanne HOUBLON_EXPORT=/root/export; mkdir -p $HOUBLON_EXPORT; {SCRIPT}"
    assert one.sh(f"{run} person-show").strip().split("; ")[0] == "jeanne Ô'Test"
    one.sh(f"{run} person-export")
    exported = one.sh("cat /root/export/account.ldif")
    assert f"{directory.RECOVERY}: jeanne@elsewhere.test" in exported
    assert directory.group_dn("chess") in exported and "userPassword" not in exported
    one.sh(f"{run} person-delete")
    for command in ("person-show", "person-export", "person-delete"):
        assert one.sh(f"{run} {command}") == "", "nothing to do for a name it does not know"
    assert uids(search(one, ROOT, "(uid=jeanne)")) == set()
    for name in ("", "*", "a,ou=groups", "../alice", "alice)(uid=*"):
        assert result(one, f"HOUBLON_PERSON={shlex.quote(name)} {SCRIPT} person-delete") == 2


# --- faults --------------------------------------------------------------------------------------------------


def test_killed_in_mid_write_it_keeps_what_it_acknowledged(one: Applied) -> None:
    names = [f"kill{number:04}" for number in range(600)]
    text = "\n".join(person(name, userPassword="{SSHA}AAAA") for name in names)
    one.host.console(["sh", "-c", "cat >/root/many.ldif"], input=text.encode())
    one.sh(f"""(ldapmodify -v {ROOT} -f /root/many.ldif >/root/said 2>/root/error; echo $? >/root/ended) &
        n=0; until [ $(grep -c 'modify complete' /root/said) -ge 40 ]; do
            sleep 0.05; n=$((n+1)); [ $n -lt 600 ] || exit 1
        done
        kill -9 $(systemctl show -P MainPID slapd); wait""")
    assert one.sh("cat /root/ended").strip() != "0", "it was not killed in the middle"
    said = one.sh("cat /root/said")
    answers(one)
    done = said.count("modify complete")
    stored = uids(search(one, ROOT, "(uid=kill*)"))
    assert 40 <= done < len(names)
    assert set(names[:done]) <= stored, "an acknowledged write is gone"
    assert stored <= set(names[: done + 1]), "somebody nobody asked for yet"
    assert one.sh(f"{SCRIPT} dump | grep -c '^dn: uid=kill'").strip() == str(len(stored))
    remove(one, stored)
    assert one.plan()["changes"] == []


@pytest.mark.faults
def test_it_comes_back_however_often_it_dies(one: Applied) -> None:
    """systemd gives a unit up after five starts in ten seconds, unless told otherwise."""
    for _ in range(7):
        one.sh("kill -9 $(systemctl show -P MainPID slapd)")
        answers(one)


@contextmanager
def small_disk(site: Applied, folder: Path) -> Iterator[None]:
    """The directory's data on an ext4 of 6 MiB, by a loop device of this machine; afterwards where it was."""
    image = folder / "small.img"
    with image.open("wb") as file:
        file.truncate(6 * 2**20)
    subprocess.run(["mkfs.ext4", "-q", "-O", "^has_journal", "-m", "0", image], check=True)
    attach = ["losetup", "-f", "--show", str(image)]
    device = subprocess.run(attach, check=True, capture_output=True, text=True).stdout.strip()
    try:
        site.sh(f"""set -e; systemctl stop slapd
            mknod /root/small b 7 {device.removeprefix("/dev/loop")}
            mount /root/small /mnt; rmdir /mnt/lost+found; chown openldap:openldap /mnt; chmod 700 /mnt
            cp -a --sparse=always {DATA}/. /mnt/; umount /mnt; mount /root/small {DATA}
            systemctl start slapd""")
        yield
    finally:
        site.sh(f"systemctl stop slapd; umount {DATA} /mnt; rm -f /root/small; systemctl start slapd", check=False)
        subprocess.run(["losetup", "-d", device], check=True)


@pytest.mark.faults
def test_a_full_disk_refuses_writes_and_loses_nothing(one: Applied, tmp_path: Path) -> None:
    before = kept(one)
    names = [f"full{number:04}" for number in range(300)]
    with small_disk(one, tmp_path):
        answers(one)
        # Bounded, and only on the small disk: without the mount it would fill the machine's own.
        one.sh(f"mountpoint -q {DATA}")
        one.sh(f"dd if=/dev/zero of={DATA}/ballast bs=64k count=100 2>/dev/null; :")
        assert modify(one, f"-c {ROOT}", *(person(name, userPassword="{SSHA}AAAA") for name in names)) != 0
        assert "No space left" in one.sh("journalctl -u slapd --no-pager -o cat -n 50")
        assert login(one, "alice") == 0, "who has an account can still log in"
        stored = uids(search(one, ROOT, "(uid=full*)"))
        assert stored < set(names)
        one.sh(f"rm {DATA}/ballast; systemctl kill -s KILL slapd")
        answers(one)
        assert uids(search(one, ROOT, "(uid=full*)")) == stored
        remove(one, stored)
        assert kept(one) == before
        write(one, person("space"))
        remove(one, {"space"})
    answers(one)
    assert kept(one) == before


def test_a_role_that_leaves_takes_its_bind_with_it(one: Applied) -> None:
    assert directory.bind_dn("setter") in dns(search(one, ROOT, "(objectClass=simpleSecurityObject)"))
    one.edit("  setter:\n", "")
    removed = subprocess.run(
        [sys.executable, "-m", "houblon", "remove", "setter", str(one.site_folder), "--yes"],
        capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=300, env=environment(), check=False,
    )  # fmt: skip
    assert removed.returncode == 0, removed.stdout + removed.stderr
    one.cli("apply", "--yes")
    assert dns(search(one, ROOT, "(objectClass=simpleSecurityObject)")) == {directory.bind_dn("reader")}
    assert changes(one.cli("plan").stdout) == 0
