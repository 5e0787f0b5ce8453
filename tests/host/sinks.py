"""A mail relay and an HTTP server that keep all they are given, for tests of what leaves a host.

Both listen on the outer machine, on an address that lab hosts reach, such as their bridge's. Each runs in threads of
its own and can be stopped and started again, to be down for a while.
"""

from __future__ import annotations

import datetime
import email.policy
import ipaddress
import json
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Generic, TypeVar

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

T = TypeVar("T")


class Kept(Generic[T]):
    """What arrived, in order; others can wait for more."""

    def __init__(self) -> None:
        self.all: list[T] = []
        self._news = threading.Condition()

    def add(self, one: T) -> None:
        with self._news:
            self.all.append(one)
            self._news.notify_all()

    def wait_for(self, predicate: Callable[[T], bool], seconds: float = 60) -> T:
        """The first that fits, as soon as it has arrived.

        :raises AssertionError: none did in time; tells what arrived instead.
        """
        with self._news:
            self._news.wait_for(lambda: any(map(predicate, self.all)), seconds)
            found = [one for one in self.all if predicate(one)]
        assert found, f"nothing that fits within {seconds} s; there came {[str(one) for one in self.all]}"
        return found[0]

    def matching(self, predicate: Callable[[T], bool]) -> list[T]:
        """All that fit, so far."""
        with self._news:
            return [one for one in self.all if predicate(one)]


@dataclass(frozen=True)
class Mail:
    """One accepted message: its envelope, who sent it, and whether the line was encrypted."""

    sender: str
    recipients: tuple[str, ...]
    message: EmailMessage
    user: str
    encrypted: bool

    @property
    def subject(self) -> str:
        return str(self.message["Subject"])

    @property
    def text(self) -> str:
        part = self.message.get_body(("plain",))
        return part.get_content() if part else ""

    def __str__(self) -> str:
        return f"{self.sender} -> {','.join(self.recipients)}: {self.subject}"


class SmtpSink(Kept[Mail]):
    """A relay that wants TLS and a login, as providers' do.

    :param cert: a PEM file with key and certificate; `self_signed` makes one.
    :param wrapped: TLS from the first byte (port 465's way) instead of STARTTLS.
    :param refuse: answer to every message instead of taking it, such as ``550 5.7.1 No``.
    """

    def __init__(
        self, address: str, port: int, user: str, password: str, cert: Path, *, wrapped: bool = False
    ) -> None:
        super().__init__()
        self.address, self.port, self.refuse = address, port, ""
        self.failed_logins = 0
        self._user, self._password, self._wrapped = user, password, wrapped
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.load_cert_chain(cert)
        self._controller: Controller | None = None

    def start(self) -> SmtpSink:
        self._controller = Controller(
            self, hostname=self.address, port=self.port, authenticator=self._login, auth_required=True,
            auth_require_tls=not self._wrapped, server_hostname="relay.test",
            **({"ssl_context": self._context} if self._wrapped
               else {"tls_context": self._context, "require_starttls": True}),
        )  # fmt: skip
        self._controller.start()
        return self

    def stop(self) -> None:
        if self._controller is not None:
            self._controller.stop()
            self._controller = None

    def __enter__(self) -> SmtpSink:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _login(self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
        good = isinstance(data, LoginPassword) and (data.login.decode(), data.password.decode()) == (
            self._user, self._password,
        )  # fmt: skip
        self.failed_logins += not good
        return AuthResult(success=good, handled=good, auth_data=self._user if good else None)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        if self.refuse:
            return self.refuse
        assert isinstance(envelope.original_content, bytes)
        message = email.message_from_bytes(envelope.original_content, policy=email.policy.default)
        assert isinstance(message, EmailMessage)
        self.add(Mail(
            envelope.mail_from or "", tuple(envelope.rcpt_tos), message, str(session.auth_data or ""),
            self._wrapped or session.ssl is not None,
        ))  # fmt: skip
        return f"250 2.0.0 taken as {len(self.all)}"


@dataclass(frozen=True)
class Post:
    """One request with its body."""

    method: str
    path: str
    headers: dict[str, str] = field(repr=False)
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def title(self) -> str:
        """The header ``Title`` as ntfy reads it (RFC 2047)."""
        from email.header import decode_header, make_header

        return str(make_header(decode_header(self.headers.get("title", ""))))

    def __str__(self) -> str:
        return f"{self.method} {self.path} {self.body[:200]!r}"


class HttpSink(Kept[Post]):
    """A web server that takes every POST.

    :param status: what it answers; anything but 2xx means that the request is not kept.
    :param context: makes it HTTPS.
    :param token: when set, requests without ``Authorization: Bearer TOKEN`` are answered with 401.
    """

    def __init__(self, address: str, port: int, *, token: str = "", context: ssl.SSLContext | None = None) -> None:
        super().__init__()
        self.context = context
        self.address, self.port, self.status, self.token = address, port, 200, token
        self.refused = 0
        self._server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        return f"{'https' if self.context else 'http'}://{self.address}:{self.port}"

    def start(self) -> HttpSink:
        sink = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                status = sink.status
                if sink.token and headers.get("authorization") != f"Bearer {sink.token}":
                    status = 401
                if 200 <= status < 300:
                    sink.add(Post("POST", self.path, headers, body))
                else:
                    sink.refused += 1
                self.send_response(status)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer((self.address, self.port), Handler)
        self.port = self._server.server_port
        if self.context:
            self._server.socket = self.context.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
        return self

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def __enter__(self) -> HttpSink:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


def self_signed(folder: Path, address: str, name: str = "relay.test") -> tuple[Path, Path]:
    """A key and a certificate for an address and a name: the server's file with both, and what clients trust."""
    key = ec.generate_private_key(ec.SECP256R1())
    who = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    names = x509.SubjectAlternativeName([x509.DNSName(name), x509.IPAddress(ipaddress.ip_address(address))])
    certificate = (
        x509.CertificateBuilder().subject_name(who).issuer_name(who).public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1)).not_valid_after(now + datetime.timedelta(days=2))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    both, trusted = folder / "sink.pem", folder / "sink-ca.pem"
    both.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + pem
    )
    trusted.write_bytes(pem)
    return both, trusted
