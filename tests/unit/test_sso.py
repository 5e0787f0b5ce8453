"""What the sign-in page is told: LemonLDAP::NG's configuration from the site's claims."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from houblon import directory
from houblon.roles.sso import FAILURES, SNIPPET, conf, words
from houblon.vault.make import make, public_half

KEY = make("rsa-2048", 0, "")
PUBLIC = str(public_half("rsa-2048", KEY, ""))
SECRETS = conf.Secrets("c" * 64, "bind-password", KEY.decode(), PUBLIC)


def configured(**other: Any) -> dict[str, Any]:
    given: dict[str, Any] = {
        "role": "sso", "fqdn": "auth.example.org", "site_name": "L'été", "contact": "alice@example.org",
        "mailer": False, "password_length": 12, "second_factor": (), "apps": (), "clients": (), "secrets": SECRETS,
    }  # fmt: skip
    result: dict[str, Any] = json.loads(conf.configuration(**given | other))
    return result


def client(name: str = "pad", groups: tuple[str, ...] = ()) -> conf.Client:
    return conf.Client(name, "Pad", "client-secret", ("https://pad.example.org/back",), (), groups)


def test_rules_name_groups_by_their_whole_dn() -> None:
    assert conf.rule(None) == conf.rule(()) == "1"
    assert conf.rule(("board",)) == r'listMatch($memberOf, "cn=board,ou=groups,o=houblon", 1)'
    assert conf.rule(("a1", "b2")).count("ou=groups") == 2


@pytest.mark.parametrize("name", ["skip", "unprotect", "skip.it", "a-skip"])
def test_no_word_that_lemonldap_rewrites_survives(name: str) -> None:
    """Lemonldap::NG::Handler::Main::Reload::substitute replaces the bare word skip, inside strings too."""
    written = conf.rule((name,))
    assert not re.search(r"\bskip\b", written)
    unescaped = re.sub(r"\\x([0-9a-f]{2})", lambda found: chr(int(found[1], 16)), written)
    assert directory.group_dn(name) in unescaped


def test_what_may_be_typed_as_a_name_means_nothing_in_a_filter() -> None:
    judge = re.compile(conf.LOGIN.replace(r"\z", r"\Z"))
    for good in ("lea", "jean-luc", "marie.x_2", "marie+list@example.org", "a" * 254):
        assert judge.match(good) and directory.escape(good) == good
    for bad in ("", "*", "a)(uid=*", "a\\2a", "a b", "é", "a\x00", "a" * 255, "lea\nx", "a,ou=x"):
        assert not judge.match(bad), bad


def test_only_active_people_are_found() -> None:
    made = configured()
    for key in ("AuthLDAPFilter", "mailLDAPFilter"):
        assert made[key].startswith(f"(&(objectClass={directory.CLASS})({directory.STATE}=active)")
        assert made[key].count("(") == made[key].count(")")


def test_a_reset_is_asked_for_by_what_one_person_has() -> None:
    assert directory.RECOVERY not in configured(mailer=True)["mailLDAPFilter"]


def test_no_stranger_holds_every_worker() -> None:
    """Whatever reaches the FastCGI server is counted by address."""
    locations = re.findall(r"location [^{]*\{(.*?)^\}", SNIPPET, re.DOTALL | re.MULTILINE)
    behind = [text for text in locations if "fastcgi_pass" in text]
    zones = [re.findall(r"limit_req zone=(\w+) burst=\w+ nodelay;", text) for text in behind]
    assert zones == [["sso_services"], ["sso"]]


def test_menu_keys_hold_no_word_that_the_menu_skips() -> None:
    names = ("prototype", "order", "options")
    apps = [conf.App(name, f"T {name}", "https://x.example.org/", ("board",)) for name in names]
    menu = configured(apps=apps)["applicationList"]["1all"]
    keys = [key for key in menu if key not in ("type", "catname")]
    assert len(keys) == 3
    assert not [key for key in keys if re.search("type|options|catname|order", key)]
    assert all(menu[key]["options"]["display"] == conf.rule(("board",)) for key in keys)


def test_clients_may_send_people_back_to_themselves_and_nowhere_else() -> None:
    made = configured(clients=[client(groups=("board",))])
    options = made["oidcRPMetaDataOptions"]["pad"]
    assert options["oidcRPMetaDataOptionsRedirectUris"] == "https://pad.example.org/back"
    assert options["oidcRPMetaDataOptionsRule"] == conf.rule(("board",))
    assert options["oidcRPMetaDataOptionsRequirePKCE"] == 1
    assert made["cspFormAction"] == "'self' https://pad.example.org"
    assert made["issuerDBOpenIDConnectActivation"] == 1
    assert configured()["issuerDBOpenIDConnectActivation"] == 0


def test_the_public_half_is_the_keys_own_and_names_it() -> None:
    made = configured()
    private = serialization.load_pem_private_key(made["oidcServicePrivateKeySig"].encode(), None)
    public = serialization.load_pem_public_key(made["oidcServicePublicKeySig"].encode())
    assert private.public_key() == public
    other = str(public_half("rsa-2048", make("rsa-2048", 0, ""), ""))
    assert conf.key_id(PUBLIC) != conf.key_id(other)


def test_mail_only_when_the_host_can_send() -> None:
    assert "SMTPServer" not in configured()
    made = configured(mailer=True)
    assert (made["SMTPServer"], made["SMTPPort"], made["mailFrom"]) == ("127.0.0.1", 25, "noreply@example.org")


def test_second_factors_are_for_everybody_and_demanded_of_some() -> None:
    assert configured()["sfRequired"] == 0
    assert configured(second_factor=("board",))["sfRequired"] == conf.rule(("board",))


def test_both_languages_say_the_same_things() -> None:
    assert set(words.WORDS["fr"]) == set(words.WORDS["en"])
    for language in words.WORDS:
        texts = words.messages(language, length=14, summaries={"pad": "x"})
        assert "14" in texts["PE29"] and "{length}" not in "".join(texts.values())
        assert texts["houblon_pad"] == "x"
        # They stand inside a script element, and are set as HTML.
        assert not [text for text in texts.values() if re.search(r"[<>]", text)]


def test_the_jail_sees_failures_and_no_address_that_a_visitor_typed() -> None:
    patterns = re.findall(r"\^%\(__prefix_line\)s(.*)", FAILURES)
    host = r"(?P<host>[0-9a-f.:]+)"
    judges = [re.compile(r"^LLNG\[1\]: " + one.replace("<HOST>", host)) for one in patterns]

    def seen(line: str) -> str | None:
        found = [match["host"] for judge in judges if (match := judge.match(f"LLNG[1]: {line}"))]
        return found[0] if found else None

    assert seen("[warn] Bad password for s.lea (192.0.2.7)") == "192.0.2.7"
    assert seen("[warn] nobody@example.org was not found in LDAP directory (2001:db8::7)") == "2001:db8::7"
    failed = '{"code":"2FA_FAILED","message":"Second factor totp2f failed for s.ann (PE_BADOTP)"'
    rest = ',"portal_error":"PE_BADOTP","remote_addr":"192.0.2.7","type":"totp","user":"s.ann"}'
    assert seen(f"[notice] {failed}{rest}") == "192.0.2.7"
    assert seen("[warn] Bad password for x (192.0.2.66) (192.0.2.7)") is None
    assert seen("[notice] User s.lea successfully authenticated at level 2 (192.0.2.7)") is None
