"""HTTP and TLS as a visitor sees them: from the operator's machine to the site's address, name by name.

Names are not looked up: the request goes to ``site.host.address`` with the URL's name in SNI and Host, so that
a site can be verified before its DNS points to it.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

WAIT_SECONDS = 20.0
LONGEST_BODY = 8 * 1024 * 1024


@dataclass(frozen=True)
class Handshake:
    """A finished TLS handshake.

    :param chain: certificates as sent, DER, the server's own first.
    :param trouble: why the chain or the name is not to be trusted; empty when it is.
    """

    version: str
    cipher: str
    chain: tuple[bytes, ...]
    trouble: str


@dataclass(frozen=True)
class Answer:
    """An HTTP answer; header names in lower case. ``chain`` and ``tls`` are empty over plain HTTP."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    chain: tuple[bytes, ...] = ()
    tls: str = ""
    cookies: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        return self.body.decode(errors="replace")


class Wire:
    """HTTP(S) requests to one host.

    :param address: where every request goes, whatever its URL says.
    :param roots: PEM files trusted besides the system's (an internal CA).
    """

    def __init__(self, address: str, roots: tuple[Path, ...] = (), wait: float = WAIT_SECONDS) -> None:
        self.address, self.wait = address, wait
        self._trusting = ssl.create_default_context()
        for root in roots:
            self._trusting.load_verify_locations(cafile=root)
        self._blind = ssl.create_default_context()
        self._blind.check_hostname = False
        self._blind.verify_mode = ssl.CERT_NONE
        for context in (self._trusting, self._blind):
            context.set_alpn_protocols(["http/1.1"])

    def __call__(self, url: str, **options: Any) -> Answer:
        """Short for `get`."""
        return self.get(url, **options)

    def get(self, url: str, headers: Mapping[str, str] | None = None, *, verify: bool = False) -> Answer:
        """GET a URL; redirects are not followed. See `request`."""
        return self.request("GET", url, headers=headers, verify=verify)

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        verify: bool = False,
    ) -> Answer:
        """One request on a fresh connection.

        :param verify: refuse a certificate that is not trusted. Off, because certificates have a check of
            their own, and one bad certificate should not paint every other check red.
        :raises OSError: nobody answers, the handshake fails, the line drops (`ssl.SSLError` is one).
        :raises http.client.HTTPException: the answer is no HTTP.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"not an HTTP URL: {url}")
        secure = parts.scheme == "https"
        chain: tuple[bytes, ...] = ()
        version = ""
        line: socket.socket = self._connect(parts.port or (443 if secure else 80))
        try:
            if secure:
                context = self._trusting if verify else self._blind
                wrapped = context.wrap_socket(line, server_hostname=parts.hostname)
                line, chain, version = wrapped, _chain(wrapped), wrapped.version() or ""
            request = http.client.HTTPConnection(parts.netloc, timeout=self.wait)
            request.sock = line
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            request.request(method, target, body=body, headers={"User-Agent": "houblon-verify", **(headers or {})})
            answer = request.getresponse()
            # The socket's timeout is per packet; a server that drips must not hold the run for ever.
            until, blocks, size = time.monotonic() + 3 * self.wait, [], 0
            while block := answer.read1(65536):
                blocks.append(block)
                size += len(block)
                if size > LONGEST_BODY or time.monotonic() > until:
                    raise TimeoutError(f"the answer to {url} did not end after {size} bytes")
            return Answer(
                answer.status,
                {name.lower(): value for name, value in answer.getheaders()},
                b"".join(blocks),
                chain,
                version,
                tuple(answer.headers.get_all("Set-Cookie") or ()),
            )
        finally:
            line.close()

    def handshake(self, name: str, port: int = 443, extra_roots: str = "") -> Handshake:
        """Shake hands as a visitor of ``name`` and judge chain and name; no data is sent.

        :param extra_roots: PEM certificates that count as trusted too (a self-signed one).
        :raises OSError: no TLS is spoken there.
        """
        context = self._trusting
        if extra_roots:
            context = ssl.create_default_context(cadata=extra_roots)
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        trouble = ""
        try:
            with self._wrapped(context, name, port) as line:
                return Handshake(line.version() or "", _cipher(line), _chain(line), "")
        except ssl.SSLCertVerificationError as error:
            trouble = error.verify_message or str(error)
        with self._wrapped(self._blind, name, port) as line:
            return Handshake(line.version() or "", _cipher(line), _chain(line), trouble)

    # --- inside ------------------------------------------------------------------------------------------

    def _connect(self, port: int) -> socket.socket:
        return socket.create_connection((self.address, port), timeout=self.wait)

    def _wrapped(self, context: ssl.SSLContext, name: str, port: int) -> ssl.SSLSocket:
        line = self._connect(port)
        try:
            return context.wrap_socket(line, server_hostname=name)
        except BaseException:
            line.close()
            raise


def _cipher(line: ssl.SSLSocket) -> str:
    cipher = line.cipher()
    return cipher[0] if cipher else ""


def _chain(line: ssl.SSLSocket) -> tuple[bytes, ...]:
    """All certificates as sent. Public since Python 3.13; before, its implementation is reached."""
    getter = getattr(line, "get_unverified_chain", None) or getattr(
        getattr(line, "_sslobj", None), "get_unverified_chain", None
    )
    if getter is not None:
        certificates = getter() or []
        encoded = [c if isinstance(c, bytes) else ssl.PEM_cert_to_DER_cert(c.public_bytes()) for c in certificates]
        if encoded:
            return tuple(encoded)
    own = line.getpeercert(binary_form=True)
    return (own,) if own else ()
