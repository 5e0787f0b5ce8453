"""Takes messages to people: mail, webhook, ntfy. Runs as a user of its own, and remembers what arrived where.

A channel that fails is asked again, later each time; its messages stay until it has taken them. After a long
silence they come as one.
"""

from __future__ import annotations

import base64
import http.client
import json
import smtplib
import ssl
import urllib.parse
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Any

TIMEOUT = 20
BACKOFF = (60, 120, 300, 600, 1800)
"""Seconds until the next try, by how many have failed."""
JOIN = 10
"""More messages than this that wait for a channel are sent to it as one."""
CHAT_CHARACTERS = 4000
"""What the strictest chat servers take in one message."""
LASTING = frozenset({400, 413, 414, 415, 422})
"""Answers that say something about the message, and not about the channel or the hour (RFC 9110, section 15.5)."""
GIVE_UP = 3
"""Tries until a message that a channel will not take goes there as its title alone."""
NTFY_BYTES = 3800
"""ntfy turns a message of more than 4,096 bytes into an attachment."""
Message = Mapping[str, Any]
Send = Callable[[Mapping[str, Any], Message], str]


class Refused(Exception):
    """The channel did not take it; the message says what it answered.

    :param lasting: it never will, as it is.
    """

    def __init__(self, what: str, *, lasting: bool = False) -> None:
        super().__init__(what)
        self.lasting = lasting


def deliver(
    outbox: list[Message], channels: Mapping[str, Mapping[str, Any]], state: dict[str, Any], now: Callable[[], int],
    save: Callable[[], None], senders: Mapping[str, Send] | None = None,
) -> None:
    """Offer every channel what it has not taken yet.

    :param state: ``done`` (by message and channel: time and answer) and ``channels`` (tries, next, error).
    :param save: called after each message, so that a kill repeats one at most.
    """
    done = state.setdefault("done", {})
    for gone in set(done) - {message["id"] for message in outbox}:
        del done[gone]
    health = state.setdefault("channels", {})
    for gone in set(health) - set(channels):
        del health[gone]
    for name, settings in channels.items():
        send = (senders or SENDERS)[name]
        line = health.setdefault(name, {"tries": 0, "next": 0, "error": ""})
        waiting = [m for m in outbox if name not in done.setdefault(m["id"], {})]
        urgent = any(m["kind"] == "test" for m in waiting)
        if not waiting or (now() < line["next"] and not urgent):
            continue
        groups = [waiting] if len(waiting) > JOIN else [[one] for one in waiting]
        for group in groups:
            message = group[0] if len(group) == 1 else join(group)
            if line.get("unfit", 0) >= GIVE_UP:
                # Or it would stand before all that come after it.
                message = {**message, "title": " ".join(message["title"].split())[:150], "text": "houblon alerts list"}
            try:
                answer = send(settings, message)
            except (Refused, OSError, http.client.HTTPException, smtplib.SMTPException, ValueError) as error:
                wait = BACKOFF[min(line["tries"], len(BACKOFF) - 1)]
                unfit = isinstance(error, ValueError) or getattr(error, "lasting", False)
                line.update(tries=line["tries"] + 1, next=now() + wait, error=explain(error), at=now(),
                            unfit=line.get("unfit", 0) + 1 if unfit else 0)  # fmt: skip
                break
            line.update(tries=0, next=0, error="", unfit=0)
            for one in group:
                done[one["id"]][name] = {"at": now(), "answer": answer}
            save()
        save()


def join(messages: list[Message]) -> Message:
    """Many messages as one."""
    last = messages[-1]
    text = "\n\n".join(
        f"{datetime.fromtimestamp(m['at']).astimezone():%Y-%m-%d %H:%M} {m['title']}\n{m['text']}" for m in messages
    )
    keys = sorted({key for m in messages for key in m["keys"]})
    title = f"{len(messages)} × {last['title']}"
    return {**last, "title": title, "text": text, "keys": keys, "grave": any(m["grave"] for m in messages)}


def explain(error: BaseException) -> str:
    """What went wrong, in one line without secrets: addresses of pages may hold some."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        code, said = next(iter(error.recipients.values()))
        return f"{code} {said.decode(errors='replace')}"[:300]
    if isinstance(error, smtplib.SMTPResponseException):
        text = error.smtp_error.decode(errors="replace") if isinstance(error.smtp_error, bytes) else error.smtp_error
        return f"{error.smtp_code} {text}"[:300]
    return (str(error) or type(error).__name__)[:300].replace("\n", " ")


# --- mail -------------------------------------------------------------------------------------------------


def mail(settings: Mapping[str, Any], message: Message) -> str:
    """To the host's own mail server, which has a queue of its own.

    :raises Refused: it took the message for some of the addresses only.
    """
    letter = EmailMessage()
    letter["From"] = Address(display_name=settings["name"], addr_spec=settings["from"])
    letter["To"] = ", ".join(settings["to"])
    letter["Subject"] = f"[{settings['name']}] {message['title']}"
    letter["Date"] = format_datetime(datetime.fromtimestamp(message["at"], UTC))
    letter["Message-ID"] = f"<{message['id']}.alert@{settings['from'].partition('@')[2]}>"
    letter["Auto-Submitted"] = "auto-generated"
    letter["X-Houblon-Keys"] = " ".join(message["keys"])[:800]
    letter.set_content(f"{message['text']}\n\n-- \n{settings['name']} ({settings['host']})\n")
    with smtplib.SMTP(settings.get("server", "127.0.0.1"), settings.get("port", 25), timeout=TIMEOUT) as server:
        server.ehlo_or_helo_if_needed()
        code, said = server.mail(settings["from"])
        _expect(code, said)
        for address in settings["to"]:
            _expect(*server.rcpt(address))
        code, said = server.data(letter.as_bytes(policy=letter.policy.clone(linesep="\r\n")))
        _expect(code, said)
    return f"{code} {said.decode(errors='replace')}"


def _expect(code: int, said: bytes) -> None:
    if not 200 <= code < 300:
        raise Refused(f"{code} {said.decode(errors='replace')}"[:300])


# --- HTTP -------------------------------------------------------------------------------------------------


def webhook(settings: Mapping[str, Any], message: Message) -> str:
    """A JSON object, by POST. ``text`` alone is what chat servers show."""
    body = {
        "site": settings["name"], "host": settings["host"], "id": message["id"], "kind": message["kind"],
        "level": "alarm" if message["grave"] else "info", "title": message["title"], "keys": message["keys"],
        "at": datetime.fromtimestamp(message["at"], UTC).isoformat(),
        "text": f"[{settings['name']}] {message['title']}\n{message['text']}"[:CHAT_CHARACTERS],
    }  # fmt: skip
    data = json.dumps(body, ensure_ascii=False).encode()
    return post(settings["url"], data, {"Content-Type": "application/json; charset=utf-8"})


def ntfy(settings: Mapping[str, Any], message: Message) -> str:
    """A topic of an ntfy server (https://docs.ntfy.sh/publish/)."""
    # RFC 2047 in a header, as ntfy's documentation asks for what is not ASCII.
    title = base64.b64encode(f"[{settings['name']}] {message['title']}".encode()).decode()
    headers = {
        "Title": f"=?UTF-8?B?{title}?=",
        "Priority": "high" if message["grave"] else "default",
        "Tags": "rotating_light" if message["grave"] else "white_check_mark",
    }
    if settings.get("token"):
        headers["Authorization"] = f"Bearer {settings['token']}"
    text = message["text"].encode()[:NTFY_BYTES].decode(errors="ignore")
    return post(settings["url"], text.encode() or b"-", headers)


def post(url: str, data: bytes, headers: Mapping[str, str]) -> str:
    """POST; the answer in one line.

    :raises Refused: any status but 2xx. A redirect would turn the POST into a GET that somebody else answers.
    """
    where = urllib.parse.urlsplit(url)
    line: http.client.HTTPConnection
    if where.scheme == "https":
        line = http.client.HTTPSConnection(str(where.hostname), where.port, timeout=TIMEOUT,
                                           context=ssl.create_default_context())  # fmt: skip
    else:
        line = http.client.HTTPConnection(str(where.hostname), where.port, timeout=TIMEOUT)
    path = (where.path or "/") + (f"?{where.query}" if where.query else "")
    try:
        line.request("POST", path, data, {**headers, "User-Agent": "houblon"})
        answer = line.getresponse()
        said = answer.read(500).decode(errors="replace").strip()
    finally:
        line.close()
    told = f"HTTP {answer.status} {answer.reason}"
    if not 200 <= answer.status < 300:
        raise Refused(f"{told}: {said[:150]}" if said else told, lasting=answer.status in LASTING)
    return told


SENDERS: Mapping[str, Send] = {"mail": mail, "webhook": webhook, "ntfy": ntfy}
