"""What claims cannot express: the page holds to its policy, and services find what they need to sign people in."""

from __future__ import annotations

import json
import re
from urllib.parse import urlencode

from houblon.contract import OidcClient
from houblon.roles.sso import Sso
from houblon.site import Site
from houblon.verify.wire import Wire

NOBODY = "houblon.verify.nobody"
"""Typed as a name: nobody's."""


def test_the_login_page_answers(wire: Wire, role: Sso) -> None:
    """the sign-in page answers with its form, and lets the browser load nothing from elsewhere"""
    answer = wire.get(f"https://{role.fqdn}/")
    assert answer.status == 200, f"status {answer.status}"
    assert 'name="password"' in answer.text, "it has no form"
    policy = answer.headers.get("content-security-policy", "")
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy, policy
    loaded = re.findall(r'(?:src|<link[^>]*href)="(https?://[^"]+)"', answer.text)
    assert not loaded, f"it loads {', '.join(loaded)}"


def test_a_wrong_login_is_refused(wire: Wire, role: Sso) -> None:
    """a wrong name and password are refused, and the directory was asked about them"""
    base = f"https://{role.fqdn}/"
    token = re.search(r'name="token" value="([^"]+)"', wire.get(base).text)
    assert token, "the form has no token"
    form = {"user": NOBODY, "password": "wrong", "token": token[1]}
    answer = wire.request(
        "POST", base, headers={"Content-Type": "application/x-www-form-urlencoded"}, body=urlencode(form).encode()
    )
    # 5 is PE_BADCREDENTIALS; 6 and 7 would mean that the directory does not answer.
    shown = re.search(r'trmsg="(\d+)"', answer.text)
    assert shown and shown[1] == "5", f"it answers with message {shown[1] if shown else 'none'}, not 5"


def test_clients_find_their_provider(wire: Wire, role: Sso, site: Site) -> None:
    """services that sign people in by OpenID Connect find where, and with which keys"""
    if not site.claims(OidcClient):
        return
    base = f"https://{role.fqdn}"
    found = json.loads(wire.get(f"{base}/.well-known/openid-configuration").text)
    assert found["issuer"] == base, found["issuer"]
    for name, path in (("authorization", "authorize"), ("token", "token"), ("userinfo", "userinfo")):
        assert found[f"{name}_endpoint"] == f"{base}/oauth2/{path}", found[f"{name}_endpoint"]
    keys = json.loads(wire.get(found["jwks_uri"]).text)["keys"]
    assert [key for key in keys if key["kty"] == "RSA" and key["use"] == "sig" and "d" not in key], keys
    for client in site.claims(OidcClient):
        query = {"response_type": "code", "client_id": client.role, "scope": "openid", "state": "x",
                 "redirect_uri": "https://stranger.invalid/"}
        answer = wire.get(f"{base}/oauth2/authorize?{urlencode(query)}")
        assert "stranger.invalid" not in answer.headers.get("location", ""), f"{client.role}: sent to a stranger"
