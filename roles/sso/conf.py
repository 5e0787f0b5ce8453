"""LemonLDAP::NG's configuration, as its file store holds it (lmConf-1.json). Pure.

Names and meanings of the keys: https://lemonldap-ng.org/documentation/latest/parameterlist.html. What is not here has
LemonLDAP::NG's own default (Lemonldap::NG::Common::Conf::DefaultValues).
"""

from __future__ import annotations

import hashlib
import json
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from houblon import directory

DATA = "/var/lib/houblon-sso"
PERSISTENT = f"{DATA}/persistent"
SESSIONS = f"{DATA}/sessions"
SESSION_HOURS = 12
FORM_SECONDS = 900
"""How long a page with a form may stay open before it is sent; LemonLDAP::NG's two minutes are too short to think
of a password."""
RESET_SECONDS = 3600
LOGIN = r"\A[A-Za-z0-9._@+-]{1,254}\z"
"""What may be typed as a name or an address. None of these characters means anything in a filter (RFC 4515)."""


@dataclass(frozen=True)
class App:
    """A service in the menu.

    :param groups: whose members see it; None: everyone.
    """

    role: str
    title: str
    url: str
    groups: tuple[str, ...] | None


@dataclass(frozen=True)
class Client:
    """A service that signs people in by OpenID Connect."""

    name: str
    title: str
    secret: str
    redirect: tuple[str, ...]
    logout: tuple[str, ...]
    groups: tuple[str, ...]


@dataclass(frozen=True)
class Secrets:
    """What the file holds that nobody else may read."""

    cipher: str
    directory: str
    signing_key: str
    signing_public: str


def configuration(
    *, role: str, fqdn: str, site_name: str, contact: str, mailer: bool, password_length: int,
    second_factor: Iterable[str], apps: Iterable[App], clients: Iterable[Client], secrets: Secrets,
) -> str:
    """The whole file, UTF-8: LemonLDAP::NG hands bytes through to the page as they are."""
    clients = list(clients)
    conf: dict[str, Any] = {
        "cfgNum": 1,
        # Without a date the server says that there is no configuration.
        "cfgDate": 1,
        "cfgAuthor": "houblon",
        "cfgVersion": "2.21.2",
        "portal": f"https://{fqdn}/",
        # The cookie is for this name alone: no other service of the site is ever sent it.
        "domain": fqdn,
        "cookieName": "houblon",
        "securedCookie": 1,
        "httpOnly": 1,
        "sameSite": "Lax",
        "key": secrets.cipher,
        "timeout": SESSION_HOURS * 3600,
        "formTimeout": FORM_SECONDS,
        "requireToken": 1,
        "userControl": LOGIN,
        # A session that was ended must be over at the next click, whichever process answers it.
        "handlerInternalCache": 0,
        "localSessionStorage": "",
        "tokenUseGlobalStorage": 1,
        "corsEnabled": 0,
        "locationRules": {fqdn: {"default": "accept"}},
        "portalDisplayLogout": 1,
        "portalDisplayRegister": 0,
        "portalDisplayRefreshMyRights": 0,
        "portalDisplayOidcConsents": 0,
        "portalDisplayResetPassword": 0,
        "portalDisplayLoginHistory": 0,
        "portalDisplayChangePassword": 1,
        "portalDisplayAppslist": 1,
        "portalDisplayGeneratePassword": 0,
        "portalDisplayPasswordPolicy": 0,
        "portalCheckLogins": 0,
        "portalErrorOnMailNotFound": 0,
        "portalRequireOldPassword": 1,
        "portalEnablePasswordDisplay": 1,
        "portalMainLogo": "",
        "portalFavicon": "houblon/icon.svg",
        "portalCustomCss": "houblon/houblon.css",
        "portalUserAttr": "cn",
        "portalPingInterval": 0,
        "showLanguages": 1,
        "scrollTop": 0,
        "activeTimer": 0,
        "captcha_mail_enabled": 0,
        "captcha_register_enabled": 0,
        "captcha_login_enabled": 0,
        "customPlugins": "Houblon::SSO::Password",
        "houblonMailer": int(mailer),
        "passwordPolicyActivation": 1,
        "passwordPolicyMinSize": password_length,
        "hiddenAttributes": "_password _2fDevices",
        "persistentSessionAttributes": "_2fDevices",
    }
    conf |= _policy(clients) | _storage() | _directory(role, secrets) | _second_factor(site_name, second_factor)
    conf |= _menu(apps) | _provider(fqdn, clients, secrets)
    if mailer:
        conf |= {
            "SMTPServer": "127.0.0.1",
            "SMTPPort": 25,
            "mailFrom": f"noreply@{fqdn.partition('.')[2]}",
            "mailReplyTo": contact,
            "mailTimeout": RESET_SECONDS,
            "mailOnPasswordChange": 1,
        }
    return json.dumps(conf, ensure_ascii=False, indent=1, sort_keys=True) + "\n"


def rule(groups: Iterable[str] | None) -> str:
    """A Perl expression: true for members of one of the groups, or for everyone when there are none to be in."""
    names = list(groups or ())
    if not names:
        return "1"
    # LemonLDAP::NG rewrites the bare word skip, inside strings too; \x73 is an s.
    dns = ", ".join(f'"{directory.group_dn(name)}"'.replace(name, name.replace("s", r"\x73"), 1) for name in names)
    return f"listMatch($memberOf, {dns}, 1)"


def public_pem(spki: str) -> str:
    """PEM (RFC 7468) of a public key that the vault prints as base64 of its DER."""
    return "-----BEGIN PUBLIC KEY-----\n" + "\n".join(textwrap.wrap(spki, 64)) + "\n-----END PUBLIC KEY-----\n"


def key_id(spki: str) -> str:
    """A name for the key that changes with it, so that clients fetch the new one."""
    return hashlib.sha256(spki.encode()).hexdigest()[:16]


def _policy(clients: Iterable[Client]) -> dict[str, Any]:
    # Browsers hold the redirect after a form to form-action, and a login ends in one to the client.
    origins = {f"https://{urlsplit(uri).netloc}" for client in clients for uri in client.redirect}
    return {
        "cspDefault": "'none'; base-uri 'none'",
        "cspScript": "'self'",
        "cspStyle": "'self'",
        "cspImg": "'self' data:",
        "cspFont": "'self'",
        "cspConnect": "'self'",
        "cspFormAction": " ".join(["'self'", *sorted(origins)]),
    }


def _storage() -> dict[str, Any]:
    def files(path: str) -> dict[str, str]:
        return {
            "Directory": path,
            "LockDirectory": f"{path}-lock",
            "generateModule": "Lemonldap::NG::Common::Apache::Session::Generate::SHA256",
        }

    return {
        "globalStorage": "Apache::Session::File",
        "globalStorageOptions": files(SESSIONS),
        "persistentStorage": "Apache::Session::File",
        "persistentStorageOptions": files(PERSISTENT),
    }


def _directory(role: str, secrets: Secrets) -> dict[str, Any]:
    return {
        "authentication": "LDAP",
        "userDB": "LDAP",
        "passwordDB": "LDAP",
        "ldapServer": directory.LDAPI,
        "ldapBase": directory.PEOPLE,
        "managerDn": directory.bind_dn(role),
        "managerPassword": secrets.directory,
        "AuthLDAPFilter": directory.person_filter(also=f"(|(uid=$user)({directory.MAIL}=$user))"),
        # Not the recovery address: a family shares one, and two entries are none.
        "mailLDAPFilter": directory.person_filter(also=f"(|(uid=$mail)({directory.MAIL}=$mail))"),
        "ldapPpolicyControl": 1,
        # The extended operation (RFC 3062): the directory hashes, and judges what it hashes.
        "ldapSetPassword": 1,
        "ldapChangePasswordAsUser": 1,
        "ldapUsePasswordResetAttribute": 0,
        "ldapExportedVars": {
            "uid": "uid",
            "cn": "cn",
            "sn": "sn",
            "givenName": "givenName",
            "displayName": "displayName",
            "mail": directory.MAIL,
            "recovery": directory.RECOVERY,
            "language": directory.LANGUAGE,
            "memberOf": "memberOf",
        },
        "exportedVars": {},
        "whatToTrace": "uid",
        "macros": {
            "houblonMailTo": "$recovery || $mail || ''",
            "houblonGroups": r'join("; ", map { /^cn=([^,]+),/i ? $1 : () } split(/; /, $memberOf || ""))',
        },
        "mailSessionKey": "houblonMailTo",
    }


def _second_factor(site_name: str, required: Iterable[str]) -> dict[str, Any]:
    groups = list(required)
    return {
        "available2F": "TOTP,WebAuthn",
        "available2FSelfRegistration": "TOTP,WebAuthn",
        "totp2fActivation": 1,
        "totp2fSelfRegistration": 1,
        "totp2fIssuer": site_name,
        "totp2fEncryptSecret": 1,
        "webauthn2fActivation": 1,
        "webauthn2fSelfRegistration": 1,
        "webauthnRpName": site_name,
        "sfRequired": rule(groups) if groups else 0,
        "sfManagerRule": 1,
        "sfLoginTimeout": FORM_SECONDS,
        "sfRegisterTimeout": FORM_SECONDS,
    }


def _menu(apps: Iterable[App]) -> dict[str, Any]:
    entries: dict[str, Any] = {}
    for number, app in enumerate(sorted(apps, key=lambda one: one.title.casefold())):
        # No key may contain "type", "order", "options" or "catname": the menu skips those, rule and all.
        entries[f"s{number:03d}"] = {
            "type": "application",
            "order": number,
            "options": {
                "name": app.title,
                "description": f"houblon_{app.role}",
                "uri": app.url,
                "display": rule(app.groups) if app.groups else "on",
            },
        }
    return {"applicationList": {"1all": {"type": "category", "catname": "", **entries}}}


CLAIMS: Mapping[str, str] = {
    "name": "cn",
    "given_name": "givenName",
    "family_name": "sn",
    "preferred_username": "uid",
    "email": "mail",
    "locale": "language",
    "groups": "houblonGroups;string;always",
}
"""What clients are told (OpenID Connect Core 1.0, section 5.1), and from which attribute."""


def _provider(fqdn: str, clients: Iterable[Client], secrets: Secrets) -> dict[str, Any]:
    clients = list(clients)
    return {
        "issuerDBOpenIDConnectActivation": int(bool(clients)),
        "issuerDBOpenIDConnectRule": 1,
        "issuerDBSAMLActivation": 0,
        "issuerDBCASActivation": 0,
        "oidcServiceMetaDataIssuer": f"https://{fqdn}",
        "oidcServicePrivateKeySig": secrets.signing_key,
        "oidcServicePublicKeySig": public_pem(secrets.signing_public),
        "oidcServiceKeyIdSig": key_id(secrets.signing_public),
        "oidcServiceKeyTypeSig": "RSA",
        "oidcServiceAllowAuthorizationCodeFlow": 1,
        "oidcServiceAllowImplicitFlow": 0,
        "oidcServiceAllowHybridFlow": 0,
        "oidcServiceAllowDynamicRegistration": 0,
        # Whoever is a client was chosen by the site, and may know all of this whatever it asks for.
        "oidcServiceIgnoreScopeForClaims": 1,
        "oidcRPMetaDataExportedVars": {client.name: dict(CLAIMS) for client in clients},
        "oidcRPMetaDataOptions": {client.name: _client(client) for client in clients},
    }


def _client(client: Client) -> dict[str, Any]:
    options = {
        "ClientID": client.name,
        "ClientSecret": client.secret,
        "DisplayName": client.title,
        "RedirectUris": " ".join(client.redirect),
        "PostLogoutRedirectUris": " ".join(client.logout),
        "Rule": rule(client.groups),
        "RequirePKCE": 1,
        "BypassConsent": 1,
        "LogoutBypassConfirm": 1,
        "IDTokenSignAlg": "RS256",
        "IDTokenForceClaims": 1,
        "UserIDAttr": "uid",
        "RefreshToken": 1,
        "RefreshTokenRotation": 1,
        "AllowOffline": 0,
        "Public": 0,
    }
    return {f"oidcRPMetaDataOptions{key}": value for key, value in options.items()}
