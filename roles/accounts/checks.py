"""What claims cannot express: who sees what, asked over the real protocol, and what a guesser gets."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from houblon import directory
from houblon.contract import Accounts, tr
from houblon.roles.accounts import READY, AccountsRole, frame
from houblon.roles.accounts.access import Rule
from houblon.site import Site
from houblon.verify import Broken, LeftOut
from houblon.verify.context import Context

ROOT = f"-Q -Y EXTERNAL -H {directory.LDAPI}"
SEARCH = f"ldapsearch -LLL -o ldif-wrap=no {ROOT}"
SCHEME = "{ARGON2}$argon2i"
"""What stored passwords begin with: Argon2id, or Argon2i, the only one that OpenLDAP 2.5 (Debian 12) makes."""
INVALID = 49
"""Invalid credentials (RFC 4511, section 4.1.9): also what a locked account answers."""


def names(text: str) -> set[str]:
    """The ``uid`` values of an LDIF text."""
    return {line.removeprefix("uid: ") for line in text.splitlines() if line.startswith("uid: ")}


def attributes(text: str) -> set[str]:
    """The attributes of an LDIF text, its DNs aside."""
    lines = [line for line in text.splitlines() if line and not line.startswith((" ", "#"))]
    return {line.partition(":")[0] for line in lines} - {"dn"}


def seen_by(host: Any, rule: Rule) -> str:
    """People as a role's bind sees them: the search of root, carried out with the role's rights (RFC 4370)."""
    done = host.run(f"{SEARCH} -e '!authzid=dn:{rule.dn}' -b {directory.PEOPLE} '*' '+'")
    assert done.rc == 0, done.stderr.strip()[:200]
    return str(done.stdout)


@pytest.mark.root
def test_the_directory_answers(host: Any) -> None:
    """The directory answers root over its socket."""
    assert host.run(READY).rc == 0


def test_strangers_see_nobody(host: Any) -> None:
    """Who has not logged in to the directory sees nobody, by socket and by port."""
    for uri in (directory.LDAPI, directory.LDAP):
        found = host.run(f"ldapsearch -x -LLL -H {uri} -b {directory.SUFFIX} 1.1")
        assert found.rc != 0 and not found.stdout.strip(), f"{uri} answers without a password"
    found = host.run(f"{SEARCH} -e '!authzid=' -b {directory.SUFFIX} 1.1")
    assert "dn:" not in found.stdout, "an anonymous search finds entries"


def test_only_this_host_reaches_it(host: Any) -> None:
    """The directory listens on loopback and its socket alone."""
    lines = host.check_output(f"ss -Hltn 'sport = :{directory.PORT}'").splitlines()
    addresses = {line.split()[3] for line in lines}
    assert addresses == {f"{directory.HOST}:{directory.PORT}"}, ", ".join(sorted(addresses))


def test_each_role_sees_its_people_alone(host: Any, role: AccountsRole) -> None:
    """Each role sees the active people of its groups, and of them what it claimed."""
    for dn in {rule.dn for rule in role.rules()}:
        mine = [rule for rule in role.rules() if rule.dn == dn]
        text = seen_by(host, mine[0])
        people = "".join(rule.people for rule in mine)
        wanted = names(host.check_output(f"{SEARCH} -b {directory.PEOPLE} '(|{people})' uid"))
        assert names(text) == wanted, f"{dn} sees {len(names(text))} people, and should see {len(wanted)}"
        extra = attributes(text) - {name for rule in mine for name in rule.reads}
        assert not extra, f"{dn} reads {', '.join(sorted(extra))}"


def test_each_role_logs_in(host: Any, site: Site, snapshot: Context) -> None:
    """Each role's password in the vault is the one the directory knows."""
    if snapshot.vault is None:
        raise LeftOut(tr(en="the vault is closed", fr="le coffre est fermé"))
    for name in sorted({claim.role for claim in site.claims(Accounts)}):
        password = snapshot.vault.get(name, "directory").reveal_bytes()
        who = f"ldapwhoami -x -H {directory.LDAPI} -D {directory.bind_dn(name)} -y /dev/stdin"
        if host.run(who, stdin=password).rc != 0:
            raise Broken(
                tr(en=f"{name} logs in to the directory", fr=f"{name} se connecte à l'annuaire"),
                tr(en="its password is refused", fr="son mot de passe est refusé"),
                tr(en="Run `houblon apply`.", fr="Lancez `houblon apply`."),
            )


def test_passwords_are_hashed(host: Any) -> None:
    """Every password of a person is stored as an Argon2 hash."""
    # Decoded and judged on the host: no hash leaves it.
    stored = f"{SEARCH} -b {directory.PEOPLE} '({directory.PASSWORD}=*)' {directory.PASSWORD}"
    judge = f"while read -r v; do printf %s \"$v\" | base64 -d | head -c {len(SCHEME)}; echo; done | sort | uniq -c"
    found = host.check_output(f"{stored} | sed -n 's/^{directory.PASSWORD}:: //p' | {judge}")
    others = [line for line in found.replace("\0", "").splitlines() if SCHEME not in line]
    assert not others, f"{sum(int(line.split()[0]) for line in others)} are not"


@pytest.mark.deep
def test_a_guesser_is_locked_out_of_one_account(host: Any) -> None:
    """Ten wrong passwords lock that account, for a while, and no other."""
    with person(host, "houblon-verify-a") as one, person(host, "houblon-verify-b") as other:
        assert bind(host, "houblon-verify-a", one) == 0
        for _ in range(frame.FAILURES):
            assert bind(host, "houblon-verify-a", "wrong") == INVALID
        assert bind(host, "houblon-verify-a", one) == INVALID, "the right password still opens it"
        assert bind(host, "houblon-verify-b", other) == 0, "another account is locked too"
        locked = f"{SEARCH} -b {directory.person_dn('houblon-verify-a')} pwdAccountLockedTime"
        stamp = host.check_output(f"{locked} | sed -n 's/^pwdAccountLockedTime: //p'")
        assert stamp.startswith("20"), "the lock has no end"


@contextmanager
def person(host: Any, name: str) -> Iterator[str]:
    """A person for the length of a check, in no group and without an address; gives the password."""
    password, dn = secrets.token_urlsafe(18), directory.person_dn(name)
    remove = f"ldapdelete {ROOT} {dn}"
    entry = (
        f"dn: {dn}\nobjectClass: inetOrgPerson\nobjectClass: {directory.CLASS}\nuid: {name}\ncn: {name}\nsn: {name}\n"
        f"{directory.STATE}: active\n{directory.PASSWORD}: {password}\n"
    )
    host.run(remove)  # left by a check that was cut off
    try:
        assert host.run(f"ldapadd {ROOT}", stdin=entry.encode()).rc == 0
        yield password
    finally:
        host.run(remove)


def bind(host: Any, name: str, password: str) -> int:
    """The result code of a person's login."""
    who = f"ldapwhoami -x -H {directory.LDAPI} -D {directory.person_dn(name)} -y /dev/stdin"
    return int(host.run(who, stdin=password.encode()).rc)
