"""Fetches one file over HTTPS: goes on where it was cut off, gives up on a server that stalls.

Of the standard library: the requests that are made here need TLS, redirects and proxies, and what a larger library adds
(resuming, limits, stalls) would have to be written with it as well.
"""

from __future__ import annotations

import errno
import http.client
import json
import re
import ssl
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from email.message import Message
from io import FileIO
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from houblon import __version__

STALL_SECONDS = 30.0
SLOWEST = 1024
"""Bytes a second below which a server counts as stalled."""
_OPENING = 4
"""Times `STALL_SECONDS`: until the headers of the last of all redirects, or a small file, have come whole."""
_ATTEMPTS = 20
_CHUNK = 256 * 1024
_SIGNATURE_BYTES = 64 * 1024
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

Progress = Callable[[int, int | None], None]
"""Called with the bytes that are there, and how many there will be when the server says so."""


class Unavailable(Exception):
    """This address did not give the file; the text says why."""


class Cut(Unavailable):
    """The connection ended before the file did; what came is kept."""


class TooLarge(Exception):
    """The file has more bytes than its pin allows."""


class DiskFull(Exception):
    """There is no room for the file."""


@dataclass
class Client:
    """How to fetch.

    :param stall_seconds: without (or almost without) a byte, after which a server is given up.
    """

    stall_seconds: float = STALL_SECONDS
    _until: float = field(default=0.0, init=False)
    """On the monotonic clock: when what is being waited for must be there."""

    def text(self, url: str) -> bytes:
        """A small file, such as a signature.

        :raises Unavailable: it cannot be had, or is not small.
        """
        with self._open(url, {}) as answer:
            self._allow(_OPENING)
            try:
                data: bytes = answer.read(_SIGNATURE_BYTES + 1)
            except (OSError, http.client.HTTPException) as error:
                raise Unavailable(_why(error)) from None
        if len(data) > _SIGNATURE_BYTES:
            raise Unavailable("it is larger than any signature")
        return data

    def file(self, url: str, part: FileIO, memory: Path, limit: int, progress: Progress) -> bool:
        """A whole file; attempts go on as long as each brings something.

        :param part: what came in earlier runs, open for reading and writing.
        :param memory: beside it, where the address and version it came from are kept.
        :param limit: most bytes it may have.
        :return: whether what earlier runs had left is part of it.
        :raises Unavailable: it cannot be had from there.
        :raises TooLarge: it is larger than the limit.
        :raises DiskFull: there is no room for it.
        """
        resumed = self._offset(url, part, memory) > 0
        for attempt in range(_ATTEMPTS):
            before = part.seek(0, 2)
            try:
                fresh = self._attempt(url, part, memory, limit, progress)
                return resumed and not fresh
            except Cut:
                offset = self._offset(url, part, memory)
                if attempt + 1 == _ATTEMPTS or not offset or offset <= before:
                    raise
                resumed = resumed or offset > 0
        raise AssertionError

    def _attempt(self, url: str, part: FileIO, memory: Path, limit: int, progress: Progress) -> bool:
        """One request; whether the file began anew with it."""
        offset = self._offset(url, part, memory)
        headers = {}
        if offset:
            headers = {"Range": f"bytes={offset}-", "If-Range": _recall(memory)["validator"]}
        try:
            answer = self._open(url, headers)
        except _Unsatisfiable:
            answer, offset = self._open(url, {}), 0
        with answer:
            start, total = _extent(answer, offset)
            if total is not None and total > limit:
                raise TooLarge(f"it has {total} bytes, more than its pin allows")
            part.seek(start)
            part.truncate()
            _remember(memory, url, answer.headers)
            self._receive(answer, part, start, total, limit, progress)
        return start == 0

    def _receive(
        self, answer: Any, part: FileIO, start: int, total: int | None, limit: int, progress: Progress
    ) -> None:
        have, mark, since = start, start, time.monotonic()
        progress(have, total)
        while True:
            # Also for what is no data, such as the lines between chunks.
            self._allow(1)
            try:
                chunk = answer.read1(_CHUNK)
            except (OSError, http.client.HTTPException) as error:
                raise Cut(_why(error)) from None
            if not chunk:
                break
            have += len(chunk)
            if have > limit:
                raise TooLarge("it is larger than its pin allows")
            write(part, chunk)
            progress(have, total)
            if (passed := time.monotonic() - since) >= self.stall_seconds:
                if have - mark < SLOWEST * passed:
                    raise Cut(f"it stalls: {have - mark} bytes in {passed:.0f} seconds")
                mark, since = have, time.monotonic()
        if total is not None and have < total:
            raise Cut(f"it ends after {have} of {total} bytes")

    def _offset(self, url: str, part: FileIO, memory: Path) -> int:
        """Where to go on; 0 where the server gave nothing to tell versions of the file apart by."""
        known = _recall(memory)
        return part.seek(0, 2) if known["url"] == url and known["validator"] else 0

    def _open(self, url: str, headers: dict[str, str]) -> Any:
        sent = {"User-Agent": f"houblon/{__version__}", "Accept": "*/*", "Accept-Encoding": "identity", **headers}
        self._allow(_OPENING)
        try:
            return self._opener().open(urllib.request.Request(url, headers=sent), timeout=self.stall_seconds)  # noqa: S310
        except HTTPError as error:
            error.close()
            if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and "Range" in headers:
                raise _Unsatisfiable from None
            raise Unavailable(f"it answers {error.code} {error.reason}") from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Unavailable(_why(error)) from None


    def _allow(self, stalls: float) -> None:
        self._until = time.monotonic() + stalls * self.stall_seconds

    def _opener(self) -> urllib.request.OpenerDirector:
        client = self

        class Timed(ssl.SSLSocket):
            """The timeout of a socket begins again with each byte: a server that drips would never meet it."""

            def recv_into(self, *given: Any, **named: Any) -> int:
                left = client._until - time.monotonic()
                if left <= 0:
                    raise TimeoutError
                self.settimeout(min(left, client.stall_seconds))
                return super().recv_into(*given, **named)

        context = ssl.create_default_context()
        context.sslsocket_class = Timed
        opener = urllib.request.OpenerDirector()
        # build_opener() would bring http:, ftp: and file: with it.
        for handler in (
            urllib.request.ProxyHandler(), urllib.request.UnknownHandler(), urllib.request.HTTPDefaultErrorHandler(),
            _OnlyHttps(), urllib.request.HTTPSHandler(context=context), urllib.request.HTTPErrorProcessor(),
        ):  # fmt: skip
            opener.add_handler(handler)
        return opener


class _Unsatisfiable(Exception):
    """The server has fewer bytes than we."""


class _OnlyHttps(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if urlsplit(newurl).scheme != "https":
            raise Unavailable(f"it leads to {newurl[:200]}, which is not https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _extent(answer: Any, offset: int) -> tuple[int, int | None]:
    """Where the body begins in the file, and how long the file is (RFC 9110, 14.4)."""
    length = answer.headers.get("Content-Length")
    if answer.status == http.client.PARTIAL_CONTENT:
        extent = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", answer.headers.get("Content-Range", ""))
        if not offset or extent is None or int(extent[1]) != offset:
            raise Unavailable("it gives another part of the file than the one asked for")
        # A part that ends before the file does is followed by another request.
        return offset, int(extent[3]) if extent[3] != "*" else int(extent[2]) + 1
    if answer.status != http.client.OK:
        raise Unavailable(f"it answers {answer.status} {answer.reason}")
    return 0, int(length) if length and length.isdecimal() else None


def _remember(memory: Path, url: str, headers: Message) -> None:
    """A weak ETag does not vouch for bytes (RFC 9110, 13.1.5)."""
    tag = headers.get("ETag", "")
    validator = tag if tag.startswith('"') else headers.get("Last-Modified", "")
    try:
        memory.write_text(json.dumps({"url": url, "validator": validator}), encoding="utf-8")
    except OSError as error:
        raise full(error) from None


def _recall(memory: Path) -> dict[str, str]:
    try:
        known = json.loads(memory.read_text("utf-8"))
        return {"url": str(known["url"]), "validator": str(known["validator"])}
    except (OSError, ValueError, KeyError, TypeError):
        return {"url": "", "validator": ""}


def write(part: FileIO, data: bytes) -> None:
    """Append to a file that has no buffer, whose rest would fail a second time when the file is closed.

    :raises DiskFull: there is no room.
    """
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[part.write(rest):]
    except OSError as error:
        raise full(error) from None


def full(error: OSError) -> Exception:
    """`DiskFull` when that is what the error says, else the error itself."""
    return DiskFull() if error.errno in _FULL else error


def _why(error: Exception) -> str:
    cause = error.reason if isinstance(error, URLError) else error
    if isinstance(cause, TimeoutError):
        return "it stalls"
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"its certificate is not valid ({cause.verify_message})"
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    return str(cause).strip() or type(cause).__name__
