"""Toy releases, and a real HTTPS server that gives them out as badly as it is told."""

from __future__ import annotations

import contextlib
import hashlib
import io
import ssl
import tarfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random
from typing import Any, Literal

from test_verify_wire import make, pem, write

from houblon.claims import Artifact

Packing = Literal["gz", "bz2", "xz"]


def member(name: str, data: bytes = b"", **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    """One member of an archive: a file, unless ``type`` says otherwise."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in fields.items():
        setattr(info, key, value)
    return info, data


def packed(*members: tuple[tarfile.TarInfo, bytes], packing: Packing = "gz") -> bytes:
    stream = io.BytesIO()
    quick = {} if packing == "xz" else {"compresslevel": 1}
    with tarfile.open(  # type: ignore[call-overload]
        fileobj=stream, mode=f"w:{packing}", format=tarfile.PAX_FORMAT, **quick
    ) as tar:  # fmt: skip
        for info, data in members:
            tar.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def toy(size: int = 300_000, packing: Packing = "gz") -> bytes:
    """An archive of about that many bytes, whose one file does not shrink."""
    return packed(
        member("toy", type=tarfile.DIRTYPE, mode=0o755),
        member("toy/data", Random(size).randbytes(size)),  # noqa: S311
        packing=packing,
    )


def artifact(data: bytes, *urls: str, **fields: Any) -> Artifact:
    values = {"name": "toy", "version": "1.0", "top": "toy", "role": "toyapp", **fields}
    return Artifact(urls=urls, sha256=values.pop("sha256", hashlib.sha256(data).hexdigest()), **values)


@dataclass
class Page:
    """What an address gives, and how.

    :param cuts: for each request in turn, the bytes of its answer after which the line is cut.
    :param stall: bytes after which nothing more comes, until the server is closed.
    :param slowly: what of the answer comes in 150 pieces, 0.02 s apart: header, body, or the line before a chunk.
    """

    data: bytes = b""
    tag: str = '"1"'
    ranges: bool = True
    cuts: list[int] = field(default_factory=list)
    stall: int | None = None
    drip: bool = False
    slowly: Literal["", "header", "body", "chunk"] = ""
    chunked: bool = False
    length: bool = True
    status: int = 0
    location: str = ""
    then: Callable[[Page], None] | None = None


class Shop:
    """The server; ``asked`` are the paths and the Range header of each request."""

    def __init__(self, folder: Path) -> None:
        self.pages: dict[str, Page] = {}
        self.asked: list[tuple[str, str]] = []
        self.closing = threading.Event()
        ca = make("Toy Root", authority=True)
        self.roots = folder / "roots.pem"
        self.roots.write_text(pem(ca[0]))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*write(folder, "localhost", make("localhost", ca)))
        shop = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self.close_connection = True
                shop.asked.append((self.path, self.headers.get("Range", "")))
                with contextlib.suppress(OSError):
                    shop.serve(self, shop.pages[self.path])

            def log_message(self, format: str, *args: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def get_request(self) -> Any:
                line, peer = super().get_request()
                return context.wrap_socket(line, server_side=True, do_handshake_on_connect=False), peer

            def handle_error(self, request: Any, client_address: Any) -> None:
                pass  # a client that was killed, or that does not trust us

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def page(self, path: str, data: bytes = b"", **fields: Any) -> str:
        """Put something at a path; gives its address."""
        self.pages[f"/{path}"] = Page(data, **fields)
        return f"https://localhost:{self.port}/{path}"

    def trickle(self, handler: BaseHTTPRequestHandler, page: Page) -> None:
        before, after = b"HTTP/1.1 200 OK\r\n", b"%d" % len(page.data) + b"\r\n\r\n" + page.data
        before, slow, after = {
            "header": (before + b"X-Toy: ", b"x" * 150, b"\r\nContent-Length: " + after),
            "body": (before + b"Content-Length: 150\r\n\r\n", page.data, b""),
            "chunk": (before + b"Transfer-Encoding: chunked\r\n\r\n%x;" % len(page.data), b"x" * 150,
                      b"\r\n" + page.data + b"\r\n0\r\n\r\n"),
        }[page.slowly]  # fmt: skip
        handler.wfile.write(before)
        for byte in slow:
            handler.wfile.write(bytes([byte]))
            self.closing.wait(0.02)
        handler.wfile.write(after)

    def serve(self, handler: BaseHTTPRequestHandler, page: Page) -> None:
        if page.slowly:
            self.trickle(handler, page)
            return
        if page.location:
            handler.send_response(302)
            handler.send_header("Location", page.location)
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        asked, start = handler.headers.get("Range"), 0
        if asked and page.ranges and handler.headers.get("If-Range") == page.tag:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            if start >= len(page.data):
                handler.send_error(416)
                return
        handler.send_response(page.status or (206 if start else 200))
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(page.data) - 1}/{len(page.data)}")
        if page.tag:
            handler.send_header("ETag", page.tag)
        body = page.data[start:]
        if page.chunked:
            handler.send_header("Transfer-Encoding", "chunked")
        elif page.length:
            handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        cut = page.cuts.pop(0) if page.cuts else len(body)
        if page.stall is not None:
            cut = page.stall
        sent = body[:cut]
        if page.chunked:
            end = b"0\r\n\r\n" if cut >= len(body) else b""
            sent = f"{len(sent):x}\r\n".encode() + sent + b"\r\n" + end
        handler.wfile.write(sent)
        handler.wfile.flush()
        if page.then:
            page.then(page)
        while page.drip and not self.closing.wait(0.05):
            handler.wfile.write(b"x")
        if page.stall is not None:
            self.closing.wait()

    def close(self) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
