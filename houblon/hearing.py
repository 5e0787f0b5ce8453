"""How a site's admins hear that their host is ill, and a real try of it from this machine."""

from __future__ import annotations

import http.client
import re
import smtplib
import ssl
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from typing import Literal

from houblon import settings
from houblon.settings import Wrong

SECONDS = 15
Kind = Literal["mail", "ntfy", "webhook", "later"]
PORTS = (587, 465)
PLACEHOLDER = "{secret}"
TOKEN = re.compile(r"(?=[^/]*[0-9])[A-Za-z0-9_.~%-]{16,}")
"""A part of a path that nobody would guess."""


@dataclass(frozen=True)
class Hearing:
    """What `houblon init` was told.

    :param sender: of mail; relays take no other.
    :param to: addresses of the admins.
    :param url: of the page that takes a POST; of a webhook without its secret part: `PLACEHOLDER` stands there.
    :param secret: the relay's password, the secret part of the webhook, or the token of the ntfy server; empty when
        there is none.
    """

    kind: Kind
    relay: str = ""
    port: int = 587
    user: str = ""
    sender: str = ""
    to: tuple[str, ...] = ()
    url: str = ""
    secret: str = field(default="", repr=False)

    @property
    def address(self) -> str:
        """Where a POST really goes to."""
        return self.url.replace(PLACEHOLDER, self.secret) if self.kind == "webhook" else self.url

    def sections(self) -> Mapping[str, Mapping[str, object]]:
        """The sections of the site file that say the same."""
        match self.kind:
            case "mail":
                relay = {"relay": self.relay, "port": self.port, "user": self.user, "sender": self.sender}
                return {"mailer": relay, "alerts": {"mail": list(self.to)}}
            case "ntfy":
                return {"alerts": {"ntfy": self.url} | ({"ntfy_token": True} if self.secret else {})}
            case "webhook":
                return {"alerts": {"webhook": self.url}}
            case "later":
                return {}

    def secrets(self) -> Mapping[tuple[str, str], str]:
        """Values for the vault, by role and name."""
        names = {"mail": ("mailer", "relay"), "ntfy": ("alerts", "ntfy"), "webhook": ("alerts", "webhook")}
        name = names.get(self.kind)
        return {name: self.secret} if name and self.secret else {}


LATER = Hearing("later")


def relay(text: str) -> tuple[str, int]:
    """A relay as ``name`` or ``name:port``."""
    name, colon, port = text.strip().partition(":")
    if colon and port not in map(str, PORTS):
        raise Wrong("relays listen on port 587 or 465", "Write smtp.example.net:587.")
    return settings.domain(name), int(port or PORTS[0])


def url(text: str) -> str:
    """The address of a page that takes a POST."""
    no_address = Wrong("this is no address of a page", "Write it like https://ntfy.sh/a-name-nobody-guesses.")
    try:
        parts = urllib.parse.urlsplit(text.strip())
        whole = bool(parts.hostname) and parts.port != 0
    except ValueError:  # of brackets, and of a port that is no number
        raise no_address from None
    behind = text.strip().partition("://")[2][len(parts.netloc) :]
    if parts.scheme != "https" or not whole or re.search(r"\s", parts.netloc) or not re.fullmatch("[!-~]*", behind):
        raise no_address
    if parts.username or parts.password:
        raise Wrong("a password does not belong into an address", "Leave it out.")
    return text.strip()


def parted(address: str) -> tuple[str, str]:
    """A webhook's address with `PLACEHOLDER` in the place of its secret part, and that part.

    Who knows the address of a webhook may write to the chat; what makes it hard to guess is a token in the path, the
    last part in most chats (Slack, Mattermost), or the query. The secret goes from the first part that looks like a
    token, or else from the last part, to the end.
    """
    parts = urllib.parse.urlsplit(address)
    site, rest = f"{parts.scheme}://{parts.netloc}/", address.split("://", 1)[1][len(parts.netloc) :].removeprefix("/")
    steps = parts.path.removeprefix("/").split("/")
    last = len(steps) - 1 if steps[-1] else max(0, len(steps) - 2)
    first = next((at for at, step in enumerate(steps) if TOKEN.fullmatch(step)), last)
    open_part = "".join(f"{step}/" for step in steps[:first])
    secret = rest[len(open_part) :]
    return (f"{site}{open_part}{PLACEHOLDER}", secret) if secret else (address, "")


def kind(text: str) -> Kind:
    """One of the ways to hear; a first letter is enough."""
    for one in ("mail", "ntfy", "webhook", "later"):
        if text.strip().lower() in (one, one[0]) or (one == "later" and text.strip().lower().startswith("plus")):
            return one
    raise Wrong("this is none of the choices", "mail, ntfy, webhook, later")


def attempt(hearing: Hearing, site: str, text: str, context: ssl.SSLContext | None = None) -> str:
    """Send a real message; gives the server's answer.

    :param context: trusts whom this machine trusts, unless told otherwise.
    :raises Wrong: it did not go through; says why, without any word of a secret.
    """
    context = context or ssl.create_default_context()
    try:
        return _mail(hearing, site, text, context) if hearing.kind == "mail" else _post(hearing, site, text, context)
    except smtplib.SMTPAuthenticationError as error:
        raise Wrong(f"the relay refuses user or password ({_said(error)})", "Many want an app password.") from None
    except smtplib.SMTPResponseException as error:
        raise Wrong(f"the relay says: {_said(error)}", "Ask your mail provider.") from None
    except smtplib.SMTPRecipientsRefused as error:
        code, said = next(iter(error.recipients.values()))
        raise Wrong(f"the relay says: {code} {said.decode(errors='replace')}", "Check the addresses.") from None
    except ssl.SSLCertVerificationError as error:
        raise Wrong(f"its certificate is not good: {error.verify_message}", "Check the name.") from None
    except Wrong:
        raise
    except (ValueError, http.client.InvalidURL):
        # smtplib and http.client send ASCII; what they say of other signs quotes the secret.
        raise Wrong("a password, name or address with signs other than plain ASCII letters, digits and punctuation "
                    "cannot be sent", "Correct it, or choose another password there.") from None  # fmt: skip
    except (OSError, smtplib.SMTPException, http.client.HTTPException) as error:
        raise Wrong(f"no connection: {error or type(error).__name__}", "Check name and port; some networks close 587."
                    ) from None  # fmt: skip


def _said(error: smtplib.SMTPResponseException) -> str:
    said = error.smtp_error
    text = said.decode(errors="replace") if isinstance(said, bytes) else said
    return " ".join(f"{error.smtp_code} {text}".split())[:200]


def _mail(hearing: Hearing, site: str, text: str, context: ssl.SSLContext) -> str:
    letter = EmailMessage()
    letter["From"], letter["To"] = hearing.sender, ", ".join(hearing.to)
    letter["Subject"], letter["Date"] = f"[{site}] {text}", formatdate()
    letter["Message-ID"] = make_msgid(domain=hearing.sender.partition("@")[2])
    letter.set_content(text)
    server: smtplib.SMTP
    if hearing.port == 465:
        server = smtplib.SMTP_SSL(hearing.relay, hearing.port, timeout=SECONDS, context=context)
    else:
        server = smtplib.SMTP(hearing.relay, hearing.port, timeout=SECONDS)
    with server:
        if hearing.port != 465:
            server.starttls(context=context)
        server.login(hearing.user, hearing.secret)
        server.send_message(letter, hearing.sender, list(hearing.to))
    return f"{hearing.relay}:{hearing.port}"


def _post(hearing: Hearing, site: str, text: str, context: ssl.SSLContext) -> str:
    where = urllib.parse.urlsplit(hearing.address)
    line = http.client.HTTPSConnection(str(where.hostname), where.port, timeout=SECONDS, context=context)
    headers = {"Authorization": f"Bearer {hearing.secret}"} if hearing.kind == "ntfy" and hearing.secret else {}
    data = f"[{site}] {text}"
    if hearing.kind == "webhook":
        import json

        data, headers = json.dumps({"site": site, "kind": "test", "title": text, "text": data}), {
            **headers, "Content-Type": "application/json",
        }  # fmt: skip
    try:
        line.request("POST", (where.path or "/") + (f"?{where.query}" if where.query else ""), data.encode(), headers)
        answer = line.getresponse()
    finally:
        line.close()
    if not 200 <= answer.status < 300:
        raise Wrong(f"it answers: HTTP {answer.status} {answer.reason}", "Check the address, and the token.")
    return f"HTTP {answer.status}"
