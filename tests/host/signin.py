"""People at the sign-in page: a real browser, directory entries, one-time links, authenticator apps."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from playwright.sync_api import Browser, Page

from houblon import directory
from houblon.verify.wire import Answer, Wire
from tests.host.browser import chromium
from tests.host.sites import Applied

TOY = '''\
"""A service for one group that signs people in by OpenID Connect, for tests."""

from houblon.contract import Accounts, Config, Metadata, NoBackup, OidcClient, Role, Secret, Vhost, tr


class Ssotoy(Role[Config]):
    metadata = Metadata(title="Salon privé", summary=tr(en="For the ring.", fr="Pour le cercle."), category="test",
                        licence="CC0-1.0", homepage="https://toy.test")

    def claims(self):
        yield Vhost(f"toy.{self.site.domain}", root="/srv/ssotoy")
        yield Accounts(groups=("s.ring",))
        yield Secret("directory", length=40, description="bind of the toy")
        yield Secret("oidc", length=40, description="client secret of the toy")
        yield OidcClient(redirect=(f"https://toy.{self.site.domain}/back",), groups=("s.ring",))
        yield NoBackup(tr(en="Nothing is kept.", fr="Rien n'est gardé."))

    def configure(self, kit):
        kit.file("/srv/ssotoy/index.html", "<!doctype html><title>toy</title>\\n")
'''


class SignIn:
    """A site with the sign-in page, and what people do there."""

    def __init__(self, site: Applied) -> None:
        self.site = site
        self.base = f"https://auth.{site.lab.domain}"
        self.wire = Wire(site.host.address)
        self.browser: Browser | None = None

    # --- the directory, by root's own hand ----------------------------------------------------------------

    def ldif(self, text: str) -> None:
        """ldapmodify(1) as root on the host."""
        argv = ["ldapmodify", "-Q", "-Y", "EXTERNAL", "-H", directory.LDAPI]
        self.site.host.console(argv, input=text.encode())

    def person(self, name: str, *, groups: tuple[str, ...] = (), mail: str = "", recovery: str = "") -> None:
        """A person without a password."""
        lines = [
            f"dn: {directory.person_dn(name)}", "changetype: add", "objectClass: inetOrgPerson",
            f"objectClass: {directory.CLASS}", f"uid: {name}", f"cn: Person {name}", f"sn: {name}",
            f"{directory.STATE}: active",
        ]  # fmt: skip
        lines += [f"{directory.MAIL}: {mail}"] if mail else []
        lines += [f"{directory.RECOVERY}: {recovery}"] if recovery else []
        self.ldif("\n".join(lines) + "\n")
        for group in groups:
            self.join(group, name)

    def group(self, name: str) -> None:
        """An empty group, unless it is there."""
        found = self.site.sh(
            f"ldapsearch -LLL -Q -Y EXTERNAL -H {directory.LDAPI} -b {directory.GROUPS} '(cn={name})' cn"
        )
        if not found.strip():
            kind = f"objectClass: {directory.GROUP_CLASS}"
            self.ldif(f"dn: {directory.group_dn(name)}\nchangetype: add\n{kind}\ncn: {name}\n")

    def join(self, group: str, name: str) -> None:
        self.group(group)
        self._member(group, name, "add")

    def leave(self, group: str, name: str) -> None:
        self._member(group, name, "delete")

    def set_state(self, name: str, state: str) -> None:
        change = f"changetype: modify\nreplace: {directory.STATE}\n{directory.STATE}: {state}\n"
        self.ldif(f"dn: {directory.person_dn(name)}\n{change}")

    def _member(self, group: str, name: str, what: str) -> None:
        change = f"changetype: modify\n{what}: member\nmember: {directory.person_dn(name)}\n"
        self.ldif(f"dn: {directory.group_dn(group)}\n{change}")

    # --- what the operator's command runs on the host ------------------------------------------------------

    def links(self, *names: str, hours: int = 72) -> list[str]:
        """One-time links, in the order of the names."""
        lines = "".join(json.dumps({"name": name, "hours": hours, "language": "fr"}) + "\n" for name in names)
        made = self.site.host.console(["/usr/local/lib/houblon/sso-link"], input=lines.encode()).stdout
        answers = [json.loads(line) for line in made.splitlines()]
        assert [one["name"] for one in answers] == list(names)
        assert all(abs(one["expires"] - time.time() - hours * 3600) < 120 for one in answers)
        return [one["url"] for one in answers]

    def about(self, command: str, name: str, folder: str = "") -> str:
        """sso-person COMMAND."""
        more = f"HOUBLON_EXPORT={folder} " if folder else ""
        return self.site.sh(f"{more}HOUBLON_PERSON={name} /usr/local/lib/houblon/sso-person {command}")

    # --- over the wire, without a browser -------------------------------------------------------------------

    def post(self, path: str, cookies: str = "", **fields: str) -> Answer:
        """A form, sent as a browser would."""
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "text/html"}
        if cookies:
            headers["Cookie"] = cookies
        return self.wire.request("POST", self.base + path, headers=headers, body=urlencode(fields).encode())

    def token(self, path: str = "/") -> str:
        """The token of a form."""
        page = self.wire.get(self.base + path).text
        return page.split('name="token" value="')[1].split('"')[0]

    def login(self, name: str, password: str) -> Answer:
        """A login by form."""
        return self.post("/", user=name, password=password, token=self.token())


class Person:
    """One person in a browser of their own."""

    def __init__(self, page: Page, signin: SignIn) -> None:
        self.page, self.signin = page, signin
        self.foreign: list[str] = []
        self.blocked: list[str] = []
        page.on("request", lambda request: self.foreign.append(request.url))
        page.on("console", lambda said: self.blocked.append(said.text) if "Content Security" in said.text else None)

    def another(self) -> Person:
        """The same person at another device: nothing is remembered there."""
        browser = self.page.context.browser
        assert browser is not None
        return Person(browser.new_context(ignore_https_errors=True, locale="fr-FR").new_page(), self.signin)

    def open(self, path: str = "/") -> None:
        self.page.goto(path if path.startswith("https://") else self.signin.base + path)

    def said(self) -> str:
        """The message on top of the page, once it is in the visitor's language."""
        message = self.page.locator(".message [trmsg], .message [trspan]").first
        message.wait_for(state="attached")
        self.page.wait_for_function("() => [...document.querySelectorAll('.message [trmsg], .message [trspan]')]"
                                    ".every(one => one.textContent.trim())")
        return str(message.text_content()).strip()

    def send(self, selector: str) -> None:
        """Press a button that loads a page."""
        with self.page.expect_navigation():
            self.page.click(selector)

    def sign_in(self, name: str, password: str) -> None:
        if not self.page.url.startswith(self.signin.base) or not self.page.locator("#passwordfield").count():
            self.open()
        self.page.fill("#userfield", name)
        self.page.fill("#passwordfield", password)
        self.send("button[type=submit]")

    def inside(self) -> bool:
        return self.page.locator("#houblon-user").count() == 1

    def choose(self, link: str, password: str) -> None:
        """Follow a one-time link and send the form."""
        self.open(link)
        self.choose_here(password)

    def choose_here(self, password: str) -> None:
        self.page.fill("#newpassword", password)
        self.page.fill("#confirmpassword", password)
        self.send("form.password button[type=submit]")

    def change(self, old: str, new: str) -> None:
        """The form of the menu."""
        self.page.fill("#oldpassword", old)
        self.page.fill("#newpassword", new)
        self.page.fill("#confirmpassword", new)
        self.send("#formpass button[type=submit]")

    def register_app(self) -> str:
        """Register an authenticator; gives its secret."""
        self.open("/2fregisters/totp")
        shown = self.page.locator("#secret")
        self.page.wait_for_function("() => document.querySelector('#secret').textContent.trim()")
        secret = "".join(str(shown.text_content()).split())
        self.page.fill("#code", totp(secret))
        self.page.click("#verify")
        self.page.wait_for_url(lambda url: not url.endswith("/totp"))
        return secret

    def enter_code(self, code: str) -> None:
        self.page.fill("#extcode", code)
        self.send("button[type=submit]")

    def links(self) -> list[str]:
        """Where the menu leads."""
        return [str(entry.get_attribute("href")) for entry in self.page.locator(".houblon-apps li a").all()]

    def services(self) -> dict[str, str]:
        """The menu: titles and what they are for."""
        entries = self.page.locator(".houblon-apps li")
        self.page.wait_for_function(
            "() => [...document.querySelectorAll('.houblon-apps span')].every(one => one.textContent.trim())"
        )
        return {
            str(entry.locator("a").text_content()): str(entry.locator("span").text_content()) for entry in entries.all()
        }


@contextmanager
def at_the_page(signin: SignIn) -> Iterator[None]:
    """A browser for `someone`, for as long as the block lasts."""
    with chromium(signin.site) as signin.browser:
        yield


@contextmanager
def someone(signin: SignIn, language: str = "fr-FR", **options: Any) -> Iterator[Person]:
    """A visitor with cookies of their own."""
    assert signin.browser is not None
    context = signin.browser.new_context(ignore_https_errors=True, locale=language, **options)
    try:
        yield Person(context.new_page(), signin)
    finally:
        context.close()


def totp(secret: str, at: float | None = None) -> str:
    """Six digits of an authenticator (RFC 6238, SHA-1, 30 seconds)."""
    key = base64.b32decode(secret.upper() + "=" * (-len(secret) % 8))
    step = struct.pack(">Q", int((time.time() if at is None else at) // 30))
    digest = hmac.digest(key, step, "sha1")
    offset = digest[-1] & 15
    return f"{(struct.unpack('>I', digest[offset:offset + 4])[0] & 0x7FFFFFFF) % 10**6:06}"


def challenge() -> tuple[str, str]:
    """A PKCE verifier and its challenge (RFC 7636, S256)."""
    verifier = secrets.token_urlsafe(48)
    return verifier, encode(hashlib.sha256(verifier.encode()).digest())


def encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def proven(token: str, keys: list[dict[str, str]]) -> dict[str, object]:
    """The claims of an ID token, once its RS256 signature is right (RFC 7515).

    :raises cryptography.exceptions.InvalidSignature: it is not.
    """
    head, body, signature = token.split(".")
    header = json.loads(decode(head))
    assert header["alg"] == "RS256"
    key = next(one for one in keys if one["kid"] == header["kid"])
    numbers = rsa.RSAPublicNumbers(int.from_bytes(decode(key["e"])), int.from_bytes(decode(key["n"])))
    numbers.public_key().verify(decode(signature), f"{head}.{body}".encode(), padding.PKCS1v15(), hashes.SHA256())
    claims: dict[str, object] = json.loads(decode(body))
    return claims
