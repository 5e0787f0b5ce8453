"""HTTP and TLS from outside, against a real server; certificates judged field by field."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from houblon.verify import Broken
from houblon.verify.certificates import fraction_left, issuer, judge_certificate
from houblon.verify.wire import Wire

NOW = datetime.now(UTC).replace(microsecond=0)
Pair = tuple[x509.Certificate, ec.EllipticCurvePrivateKey]


def name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def make(
    subject: str, ca: Pair | None = None, *, start: timedelta = timedelta(days=-1), end: timedelta = timedelta(days=89),
    authority: bool = False,
) -> Pair:  # fmt: skip
    key = ec.generate_private_key(ec.SECP256R1())
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(ca[0].subject if ca else name(subject))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW + start)
        .not_valid_after(NOW + end)
        .add_extension(x509.BasicConstraints(authority, None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key((ca[1] if ca else key).public_key()), critical=False
        )
    )
    if not authority:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(subject)]), critical=False)
    else:
        usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
        builder = builder.add_extension(usage, critical=True)
    return builder.sign(ca[1] if ca else key, hashes.SHA256()), key


def pem(*certificates: x509.Certificate) -> str:
    return "".join(c.public_bytes(serialization.Encoding.PEM).decode() for c in certificates)


def write(folder: Path, stem: str, pair: Pair, *more: x509.Certificate) -> tuple[Path, Path]:
    chain, key = folder / f"{stem}.pem", folder / f"{stem}.key"
    chain.write_text(pem(pair[0], *more))
    key.write_bytes(
        pair[1].private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return chain, key


@pytest.fixture(scope="module")
def ca() -> Pair:
    return make("Toy Root", authority=True)


@pytest.fixture
def server(tmp_path: Path, ca: Pair) -> Iterator[int]:
    """Serves pad.test with a chain of the toy CA, own.test self-signed; nothing to any other name."""
    contexts = {}
    middle = make("Toy Middle", ca, authority=True)
    for host, pair, more in (("pad.test", make("pad.test", middle), (middle[0],)), ("own.test", make("own.test"), ())):
        contexts[host] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        contexts[host].load_cert_chain(*write(tmp_path, host, pair, *more))
    base = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    base.load_cert_chain(tmp_path / "own.test.pem", tmp_path / "own.test.key")

    def choose(line: ssl.SSLObject, wanted: str | None, _: ssl.SSLContext) -> int | None:
        if wanted not in contexts:
            return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
        line.context = contexts[wanted]
        return None

    base.sni_callback = choose  # type: ignore[assignment]
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                line, _ = listener.accept()
            except OSError:
                return
            try:
                with base.wrap_socket(line, server_side=True) as tls:
                    request = tls.recv(4096)
                    # Closing with a body unread resets the line, often before the answer is read.
                    while b"Content-Length: 1\r\n" in request and request.endswith(b"\r\n\r\n"):
                        request += tls.recv(4096)
                    if b"/endless" in request:
                        tls.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                        while True:
                            tls.sendall(b"x" * 65536)
                    if request:
                        tls.sendall(
                            b"HTTP/1.1 201 Made\r\nX-A: b\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n"
                            b"Content-Length: 2\r\n\r\nok"
                        )
            except OSError:
                pass

    threading.Thread(target=serve, daemon=True).start()
    yield listener.getsockname()[1]
    listener.close()


def test_names_chains_and_trust(server: int, ca: Pair, tmp_path: Path) -> None:
    root = tmp_path / "root.pem"
    root.write_text(pem(ca[0]))
    wire = Wire("127.0.0.1", (root,), wait=5)
    good = wire.handshake("pad.test", server)
    assert good.trouble == "" and good.version == "TLSv1.3" and len(good.chain) == 2
    assert x509.load_der_x509_certificate(good.chain[1]).subject == name("Toy Middle")
    bad = wire.handshake("own.test", server)
    assert "self-signed" in bad.trouble and x509.load_der_x509_certificate(bad.chain[0]).subject == name("own.test")
    assert wire.handshake("own.test", server, (tmp_path / "own.test.pem").read_text()).trouble == ""
    assert "issuer" in Wire("127.0.0.1", wait=5).handshake("pad.test", server).trouble
    with pytest.raises(ssl.SSLError):
        wire.handshake("stranger.test", server)


def test_requests_over_tls(server: int) -> None:
    wire = Wire("127.0.0.1", wait=5)
    answer = wire.request("POST", f"https://pad.test:{server}/p?q=1", headers={"X": "y"}, body=b"z")
    assert (answer.status, answer.text, answer.headers["x-a"]) == (201, "ok", "b")
    assert answer.cookies == ("a=1", "b=2") and answer.tls == "TLSv1.3" and len(answer.chain) == 2
    with pytest.raises(ssl.SSLCertVerificationError):
        wire.get(f"https://pad.test:{server}/", verify=True)
    with pytest.raises(TimeoutError, match="did not end"):
        wire.get(f"https://pad.test:{server}/endless")
    with pytest.raises(ValueError, match="not an HTTP URL"):
        wire.get("ftp://pad.test/")
    with pytest.raises(ConnectionRefusedError):
        wire.get("http://pad.test:1/")


def test_a_good_certificate_passes(ca: Pair) -> None:
    certificate, _ = make("pad.test", ca)
    judge_certificate("pad.test", certificate, certificate, "", NOW)
    assert issuer(certificate) == "Toy Root"
    assert fraction_left(certificate, NOW) == pytest.approx(89 / 90)


def test_what_is_wrong_with_a_certificate(ca: Pair) -> None:
    certificate, _ = make("pad.test", ca)
    other, _ = make("pad.test", ca)
    with pytest.raises(Broken, match="hostname mismatch"):
        judge_certificate("pad.test", certificate, certificate, "hostname mismatch", NOW)
    with pytest.raises(Broken, match="older or other one"):
        judge_certificate("pad.test", certificate, other, "", NOW)
    with pytest.raises(Broken, match="21 days are left, 24% of its lifetime"):
        judge_certificate("pad.test", certificate, certificate, "", NOW + timedelta(days=67, hours=1))
    judge_certificate("pad.test", certificate, certificate, "", NOW + timedelta(days=66))
    assert fraction_left(certificate, NOW + timedelta(days=90)) < 0
