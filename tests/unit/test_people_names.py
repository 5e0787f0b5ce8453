"""Names, addresses and sizes of people: what is taken, what is refused, what is proposed."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from houblon import directory
from houblon.people import names
from houblon.settings import SYSTEM_USERS, Wrong


@pytest.mark.parametrize(("written", "kept"), [
    ("Éloïse d'Aubigné", "Éloïse d'Aubigné"), ("Éloïse", "Éloïse"), ("  Bob   O’Neill ", "Bob O’Neill"),
    ("李小龙", "李小龙"), ("שלום כהן", "שלום כהן"), ("محمد علي", "محمد علي"), ("می‌خواهم", "می‌خواهم"),
    ("Zoë 🐉", "Zoë 🐉"), ("👩‍🚀 Ada", "👩‍🚀 Ada"), ("X Æ A-12", "X Æ A-12"), ("नमस्ते", "नमस्ते"), ("R2D2", "R2D2"),
    ("*)(uid=*", "*)(uid=*"), ("'; rm -rf /", "'; rm -rf /"), ("<script>alert(1)</script>",
    "<script>alert(1)</script>"),
    ("x" * 80, "x" * 80),
])  # fmt: skip
def test_names_of_people(written: str, kept: str) -> None:
    assert names.full_name(written) == kept


@pytest.mark.parametrize("text", [
    "", "   ", "x" * 81, "x" * 5000, "a\0b", "a\nb", "a\r\nuserPassword: x", "a\tb", "a\x1b[2Jb", "a\x7fb", "a\x85b",
    "a\u2028b", "a\u202eb", "a\u200eb", "a\u2066b", "\ufeffa", "a\ud800b", "a\ufffeb", "a\ue000b", "a\u00adb", "...",
    "-",
    "\u200d",
])  # fmt: skip
def test_names_that_are_refused(text: str) -> None:
    with pytest.raises(Wrong):
        names.full_name(text)


@given(st.text(max_size=100))
def test_a_name_that_is_taken_stays_what_it_is(text: str) -> None:
    try:
        name = names.full_name(text)
    except Wrong:
        return
    assert names.full_name(name) == name == unicodedata.normalize("NFC", name)
    assert 1 <= len(name) <= 80
    assert not any(unicodedata.category(char)[0] == "C" and char not in "\u200c\u200d" for char in name if
                   unicodedata.category(char) != "Cn")  # fmt: skip


@pytest.mark.parametrize("name", ["marie", "marie.dupont", "j-p", "a1", "x" * 31, "alice", "info.team", "roots"])
def test_names_of_accounts(name: str) -> None:
    assert names.account(f" {name} ") == name


@pytest.mark.parametrize("name", [
    "", "a", "x" * 32, "Marie", "marie dupont", "marié", "1abc", ".abc", "a..b", "abc.", "abc-", "a_", "a/b", "../etc",
    "a*b", "a)(uid=*", "a\nb", "a,ou=x", "uid=a", "a@b.fr", "a\0b", "аlice",
    "root", "postmaster", "abuse", "www-data", "hostmaster", "webmaster", "security", "noc", "ftp", "openldap", "admin",
    "administrator", "systemd-network", "houblon-x", "list-request", "owner-list", "info", "nobody", "mailer-daemon",
])  # fmt: skip
def test_names_of_accounts_that_are_refused(name: str) -> None:
    with pytest.raises(Wrong):
        names.account(name)


def test_names_of_the_system_are_reserved_all() -> None:
    assert SYSTEM_USERS <= names.RESERVED
    assert names.RFC_2142 <= names.RESERVED
    with pytest.raises(Wrong, match="belongs to the system"):
        names.account("etherpadx", taken={"etherpadx"})


@pytest.mark.parametrize("name", ["admin", "root", "sudo", "wheel", "Bureau", "b", "a..b", "bureau\n ,", "x-"])
def test_groups_that_are_refused(name: str) -> None:
    with pytest.raises(Wrong):
        names.group(name)


def test_groups() -> None:
    assert [names.group(name) for name in ("bureau", "ca-2026", "staff", "users")] == [
        "bureau", "ca-2026", "staff", "users"
    ]  # fmt: skip


@pytest.mark.parametrize(("name", "proposed"), [
    ("Éloïse d'Aubigné", "eloise.daubigne"), ("Éloïse d’Aubigné", "eloise.daubigne"), ("Marie-Claire Dupont",
    "marie-claire.dupont"),
    ("Søren Ørsted", "soren.orsted"), ("Łukasz Żółć", "lukasz.zolc"), ("Björn Weiß", "bjorn.weiss"), ("Œdipe",
    "oedipe"),
    ("Jean  Pierre Martin", "jean.pierre.martin"), ("J. R. Martin", "j.r.martin"), ("Zoë 🐉", "zoe"), ("李小龙", ""),
    ("Иван Петров", ""), ("Bruce 李", ""), ("שלום", ""), ("🐉", ""), ("x" * 60, "x" * 31), ("Ana-", "ana"), ("O'Neill",
    "oneill"),
])  # fmt: skip
def test_proposals(name: str, proposed: str) -> None:
    assert names.propose(name) == proposed


@given(st.text(max_size=80))
def test_a_proposal_is_a_name_or_nothing(text: str) -> None:
    proposed = names.propose(text)
    assert proposed == "" or proposed[0].isdigit() or len(proposed) == 1 or directory.NAME.fullmatch(proposed)


@pytest.mark.parametrize(("text", "megabytes"), [
    ("500M", 500), ("5G", 5120), ("5 Go", 5120), ("1.5 GiB", 1536), ("1,5 Go", 1536), ("100", 100), ("1T", 1048576),
    ("2048k", 2),
])  # fmt: skip
def test_sizes(text: str, megabytes: int) -> None:
    assert names.quota(text) == megabytes


@pytest.mark.parametrize("text", ["", "lots", "-1", "0", "5 X", "1e9", "99999T", "1G\nuid: x", "½G", "٣G"])
def test_sizes_that_are_refused(text: str) -> None:
    with pytest.raises(Wrong):
        names.quota(text)


@pytest.mark.parametrize(("text", "kept"), [("fr", "fr"), ("Français", "fr"), ("EN", "en"), (" anglais ", "en")])
def test_languages(text: str, kept: str) -> None:
    assert names.language(text) == kept


@pytest.mark.parametrize("text", [
    "a", "a@b", "a@b@c.fr", "a b@c.fr", "a@c.fr\nmail: x@y.fr", "é@c.fr", "<a@c.fr>", "a@-c.fr", "@c.fr", "a@",
    "a)(@c.fr",
    f"{'x' * 65}@c.fr", "a@" + "x." * 140 + "fr", "a..b@c.fr",
])  # fmt: skip
def test_addresses_that_are_refused(text: str) -> None:
    with pytest.raises(Wrong):
        names.email(text)


def test_addresses() -> None:
    assert names.email(" Marie.Dupont+x@Example.ORG ") == "Marie.Dupont+x@example.org"
    assert names.key("Marie@example.org") == names.key("marie@example.org")
