"""The directory's access rules and frame, computed from claims alone."""

from __future__ import annotations

import base64
import hashlib

import pytest

from houblon import directory
from houblon.claims import Accounts
from houblon.roles.accounts import frame
from houblon.roles.accounts.access import rules


def claim(role: str = "reader", **more: tuple[str, ...]) -> Accounts:
    return Accounts(role=role, **more)  # type: ignore[arg-type]


def test_a_rule_reads_what_is_always_read_and_what_is_claimed() -> None:
    (rule,) = rules([claim(needs=("mail", directory.ALIAS), writes=(directory.LANGUAGE,))])
    assert set(rule.reads) == {"entry", "objectClass", *directory.ALWAYS, "mail", directory.ALIAS}
    assert len(rule.reads) == len(set(rule.reads)), "each once: preferredLanguage is read and written"
    assert rule.writes == (directory.LANGUAGE,)
    assert not rule.password


@pytest.mark.parametrize("spelling", ["userPassword", "userpassword", "USERPASSWORD"])
def test_no_claim_reads_passwords(spelling: str) -> None:
    (rule,) = rules([claim(needs=("mail", spelling), writes=(spelling,))])
    assert "userpassword" not in {name.lower() for name in (*rule.reads, *rule.writes)}
    assert rule.password


@pytest.mark.parametrize("name", ["*", "2.5.4.35", "@inetOrgPerson", "mail,userPassword", "userPassword;x", ""])
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no attribute"):
        rules([claim(needs=(name,))])
    with pytest.raises(ValueError, match="no attribute"):
        rules([claim(writes=(name,))])


def test_groups_narrow_people_and_groups_alike() -> None:
    (rule,) = rules([claim(groups=("board", "staff"))])
    assert rule.people == directory.person_filter(("board", "staff"))
    assert rule.groups == f"(&(objectClass={directory.GROUP_CLASS})(|(cn=board)(cn=staff)))"
    assert "member" not in rule.group_reads
    (wide,) = rules([claim(needs=("member",))])
    assert "member" in wide.group_reads and "member" not in wide.reads


def test_the_order_of_claims_changes_nothing() -> None:
    claims = [claim("sso", writes=("userPassword",)), claim("calendar"), claim("calendar", groups=("board",))]
    assert rules(claims) == rules(reversed(claims))
    assert [rule.dn for rule in rules(claims)] == [directory.bind_dn(n) for n in ("calendar", "calendar", "sso")]


def test_binds_hold_hashes_that_fit_and_never_the_password() -> None:
    password = "Zf3kQ9" * 5
    text = frame.binds({"reader": password, "other": password})
    assert password not in text and text == frame.binds({"other": password, "reader": password})
    stored = [line.split("userPassword:: ")[1] for line in text.splitlines() if "userPassword:: " in line]
    assert len(set(stored)) == 2, "the same password does not show as the same"
    value = base64.b64decode(stored[1])
    raw = base64.b64decode(value.removeprefix(b"{SSHA512}"))
    assert raw[:64] == hashlib.sha512(password.encode() + raw[64:]).digest()
    assert len(raw) == 80


def test_the_frame_is_sorted_as_the_script_compares_it() -> None:
    text = frame.frame(12)
    assert text.splitlines() == sorted(text.splitlines())
    assert f"{frame.POLICY_PEOPLE}\tpwdMinLength: 12\n" in text
    assert f"{frame.POLICY_SERVICES}\tpwdLockout: FALSE\n" in text
    for branch in (directory.PEOPLE, directory.GROUPS, directory.SERVICES):
        assert f"{branch}\tobjectClass: organizationalUnit\n" in text
