"""Looks at names from outside: what a visitor meets, and the heartbeat of the host behind it.

Standard library only: this file goes to hosts as it is.

A name is `up`, `ill` (it answers, and something is wrong), `silent`, or `unknown`: this machine is offline itself,
which says nothing about the other.
"""

from __future__ import annotations

import contextlib
import email.utils
import errno
import http.client
import io
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from houblon.watch.words import say

CONTROL = ("www.debian.org", "letsencrypt.org", "www.afnic.fr")
"""Asked only when something is wrong with a watched name, and no other one is well: a TLS handshake with a valid
certificate proves name service, route, clock, and that no portal of a café stands in between."""
HEARTBEAT = "/.well-known/houblon/health.json"
OLD_SECONDS = 600
LIFETIME_LEFT = 0.25
"""As in houblon.verify.certificates: less is left only when renewals have failed for weeks."""
CONNECT_SECONDS, VISIT_SECONDS, NAME_SECONDS = 8.0, 12.0, 50.0
HEAD_BYTES, HEARTBEAT_BYTES = 32 * 1024, 4096
ADDRESSES = 2
"""Of each family; a name with more is looked at in part."""
DAY = 86400
AGENT = "houblon-watch"


@dataclass
class Visit:
    """What one address of a name did.

    :param stage: ``trusted`` (TLS with a valid certificate), ``untrusted`` (it answered), ``unreached``, or
        ``routeless``: this machine has no way into that family of addresses.
    """

    address: str
    family: int
    stage: str = "unreached"
    trouble: str = ""


@dataclass
class Look:
    """One name, looked at once.

    :param state: up, ill, silent or unknown; ``why`` says it in words.
    :param own: it is ill by its own account alone, and has told its own people. Two sites that took each other's
        word for it would never get well again: being told of the other's illness is one.
    """

    name: str
    state: str = "unknown"
    why: list[str] = field(default_factory=list)
    visits: list[Visit] = field(default_factory=list)
    days_left: int | None = None
    heartbeat_age: int | None = None
    own: bool = False


def resolve(name: str, port: int) -> list[tuple[int, str]]:
    """Addresses of a name, at most a few of each family.

    :raises OSError: it has none, or nobody answers (socket.gaierror).
    """
    found: dict[int, list[str]] = {socket.AF_INET: [], socket.AF_INET6: []}
    for family, _, _, _, where in socket.getaddrinfo(name, port, type=socket.SOCK_STREAM):
        if family in found and where[0] not in found[family] and len(found[family]) < ADDRESSES:
            found[family].append(str(where[0]))
    return [(family, address) for family, addresses in found.items() for address in addresses]


def together(work: Callable[[Any], Any], values: Sequence[Any], seconds: float) -> list[Any]:
    """``work`` for each value at once; None where it did not end in time: name services know no deadline."""
    results: list[Any] = [None] * len(values)

    def run(index: int) -> None:
        results[index] = work(values[index])

    # Daemons: a pool of concurrent.futures would wait for the stuck ones when the program ends.
    threads = [threading.Thread(target=run, args=(index,), daemon=True) for index in range(len(values))]
    for thread in threads:
        thread.start()
    until = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(until - time.monotonic(), 0))
    return list(results)


class Eye:
    """Looks at names.

    :param roots: PEM text of authorities trusted besides the system's.
    :raises ssl.SSLError: ``roots`` holds no certificate.
    """

    def __init__(
        self, *, roots: str = "", control: Iterable[str] = CONTROL, language: str = "en", port: int = 443,
        resolve: Callable[[str, int], list[tuple[int, str]]] = resolve,
    ) -> None:
        self.language, self.port, self.resolve, self.control = language, port, resolve, tuple(control)
        self.context = ssl.create_default_context()
        # Python 3.13 sets it and 3.11 does not: the two would judge differently, and browsers do not ask for it.
        self.context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if roots:
            self.context.load_verify_locations(cadata=roots)

    def look(self, names: Sequence[str]) -> list[Look]:
        """Look at all names at once; takes a minute at most, and two when this machine is offline."""
        found = together(self._look_at, names, NAME_SECONDS + 10)
        looks = [look or Look(name, "silent", [self._say("timeout")]) for name, look in zip(names, found, strict=True)]
        online: dict[int, bool] = {}
        for look in looks:
            self._judge(look, looks, online)
        return looks

    def _say(self, key: str, *values: object) -> str:
        return say(self.language, key, *values)

    def _look_at(self, name: str) -> Look:
        """What is seen, before anybody asks whether this machine is online."""
        look = Look(name)
        until = time.monotonic() + NAME_SECONDS
        try:
            addresses = self.resolve(name, self.port)
        except (OSError, UnicodeError) as error:
            look.why.append(self._say("no name", self._error(error)))
            return look
        for family, address in addresses:
            if not look.visits or time.monotonic() < until - VISIT_SECONDS:
                look.visits.append(self._visit(look, family, address))
        good = next((visit for visit in look.visits if visit.stage == "trusted"), None)
        if good is not None:
            self._heartbeat(look, good)
        return look

    def _connect(self, name: str, visit: Visit, until: float) -> ssl.SSLSocket:
        line = socket.socket(visit.family, socket.SOCK_STREAM)
        try:
            line.settimeout(CONNECT_SECONDS)
            line.connect((visit.address, self.port))
            visit.stage = "untrusted"
            line.settimeout(_left(until))
            return self.context.wrap_socket(line, server_hostname=name)
        except BaseException:
            line.close()
            raise

    def _visit(self, look: Look, family: int, address: str) -> Visit:
        visit = Visit(address, family)
        until = time.monotonic() + VISIT_SECONDS
        try:
            with self._connect(look.name, visit, until) as line:
                visit.stage = "trusted"
                self._lifetime(look, line.getpeercert() or {})
                status = _ask(line, look.name, "/", until).status
                if status >= 400:
                    self._wrong(look, "page", status)
        except ssl.SSLCertVerificationError as error:
            # X509_V_ERR_CERT_HAS_EXPIRED, X509_V_ERR_HOSTNAME_MISMATCH (x509_vfy.h)
            kind = {10: "expired", 62: "wrong name"}.get(error.verify_code, "untrusted")
            visit.trouble = self._say("certificate", address, self._say(kind))
        except (OSError, ValueError, http.client.HTTPException) as error:
            if getattr(error, "errno", None) in (errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                visit.stage = "routeless"
            if visit.stage == "trusted":
                self._wrong(look, "no page", self._error(error))
            else:
                visit.trouble = self._say("no answer", address, self._error(error))
        return visit

    def _lifetime(self, look: Look, certificate: dict[str, Any]) -> None:
        begins, ends = (ssl.cert_time_to_seconds(certificate[key]) for key in ("notBefore", "notAfter"))
        left = ends - time.time()
        look.days_left = int(left // DAY)
        if left / (ends - begins) <= LIFETIME_LEFT:
            self._wrong(look, "renewal", look.days_left)

    def _wrong(self, look: Look, key: str, *values: object) -> None:
        """Each trouble once, however many addresses have it."""
        if (text := self._say(key, *values)) not in look.why:
            look.why.append(text)

    def _heartbeat(self, look: Look, visit: Visit) -> None:
        until = time.monotonic() + VISIT_SECONDS
        try:
            with self._connect(look.name, Visit(visit.address, visit.family), until) as line:
                answer = _ask(line, look.name, HEARTBEAT, until, HEARTBEAT_BYTES)
        except (OSError, ValueError, http.client.HTTPException) as error:
            look.why.append(self._say("no heartbeat", self._error(error)))
            return
        if answer.status != 200:
            look.why.append(self._say("no heartbeat", answer.status))
            return
        try:
            beat = json.loads(answer.body)
            at, state = float(beat["at"]), str(beat["state"])
            # By the other's own clock, where it says the time: that ours is wrong is no illness of the host.
            age = int((answer.date or time.time()) - at)
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
            look.why.append(self._say("no heartbeat", self._say("garbage")))
            return
        look.heartbeat_age = age
        if age > OLD_SECONDS:
            look.why.append(self._say("old", age // 60))
        elif age < -OLD_SECONDS:
            look.why.append(self._say("no heartbeat", self._say("future")))
        elif state != "ok":
            look.own = state == "ill" and not look.why
            look.why.append(self._say("ill") if state == "ill" else self._say("says", state[:40]))

    def _judge(self, look: Look, looks: list[Look], online: dict[int, bool]) -> None:
        """The state, once it is known what this machine can tell."""
        troubled = [visit for visit in look.visits if visit.stage in ("untrusted", "unreached")]
        seen = [visit for visit in look.visits if visit.stage == "trusted"]
        if not look.visits and look.why:
            troubled = [Visit("", 0)]
        real = [visit for visit in troubled if self._online(visit.family, look, looks, online)]
        look.why = [*[visit.trouble for visit in real if visit.trouble], *look.why]
        look.own = look.own and not real
        if not seen and not real:
            look.state, look.why = "unknown", [self._say("offline")]
        elif not seen and all(visit.stage == "unreached" for visit in real):
            look.state = "silent"
        else:
            look.state = "ill" if look.why else "up"

    def _online(self, family: int, about: Look, looks: list[Look], online: dict[int, bool]) -> bool:
        """Whether somebody else answers, over this family of addresses (0: any)."""
        own = {visit.address for visit in about.visits}
        for other in looks:
            apart = not own & {visit.address for visit in other.visits}  # which excludes the one in question too
            if apart and any(v.stage == "trusted" and family in (0, v.family) for v in other.visits):
                return True
        if not online:
            online.update({socket.AF_INET: False, socket.AF_INET6: False})
            for families in together(self._reached, self.control, NAME_SECONDS):
                online.update(dict.fromkeys(families or (), True))
        return any(online.values()) if family == 0 else online[family]

    def _reached(self, name: str) -> set[int]:
        """Over which families a name answers with a valid certificate."""
        good: set[int] = set()
        with contextlib.suppress(OSError, UnicodeError):
            for family, address in self.resolve(name, self.port):
                with contextlib.suppress(OSError, ValueError):
                    if family not in good:
                        self._connect(name, Visit(address, family), time.monotonic() + VISIT_SECONDS).close()
                        good.add(family)
        return good

    def _error(self, error: Exception) -> str:
        if isinstance(error, TimeoutError) or getattr(error, "errno", None) == errno.ETIMEDOUT:
            return self._say("timeout")
        if isinstance(error, ConnectionRefusedError):
            return self._say("refused")
        if getattr(error, "errno", None) in (errno.EHOSTUNREACH, errno.ENETUNREACH):
            return self._say("unreachable")
        if isinstance(error, ssl.SSLError):
            return str(error.reason or "TLS").replace("_", " ").lower()
        return getattr(error, "strerror", None) or str(error) or type(error).__name__


@dataclass(frozen=True)
class Answer:
    """An HTTP answer; ``date`` is what the server's clock said, if it said so."""

    status: int
    body: bytes = b""
    date: float | None = None


def _left(until: float) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


class _Replay:
    """What was received, as http.client wants it."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, mode: str) -> io.BytesIO:
        return io.BytesIO(self._data)


def _ask(line: ssl.SSLSocket, name: str, path: str, until: float, limit: int = 0) -> Answer:
    """GET, with one deadline for all of it: a timeout of the socket alone starts anew with every byte.

    :param limit: bytes of the body that are read; with 0 only the head is.
    :raises OSError, ValueError, http.client.HTTPException: nothing came in time, too much, or no HTTP.
    """
    lines = (f"GET {path} HTTP/1.1", f"Host: {name}", f"User-Agent: {AGENT}", "Accept: */*", "Connection: close")
    line.sendall("".join(f"{text}\r\n" for text in (*lines, "")).encode())
    data, head = b"", -1
    while head < 0 or len(data) < head + limit:
        line.settimeout(_left(until))
        try:
            more = line.recv(16384)
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            more = b""
        if not more:
            break
        data += more
        if head < 0:
            end = data.find(b"\r\n\r\n")
            head = end + 4 if end >= 0 else -1
            if head < 0 and len(data) > HEAD_BYTES:
                raise ValueError("endless head")
            if head >= 0 and limit:
                declared = _parsed(data).getheader("Content-Length", "")
                limit = min(limit, int(declared)) if declared.isdigit() else limit
    response = _parsed(data)
    date = email.utils.parsedate_to_datetime(text).timestamp() if (text := response.getheader("Date")) else None
    return Answer(response.status, response.read(limit) if limit else b"", date)


def _parsed(data: bytes) -> http.client.HTTPResponse:
    response = http.client.HTTPResponse(_Replay(data))  # type: ignore[arg-type]
    response.begin()
    return response
