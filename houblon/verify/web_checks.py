"""Checks of names on the web, as a visitor sees them."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from urllib.parse import urlsplit

from cryptography import x509

from houblon import claims as c
from houblon.claims import Claim, Text, tr
from houblon.verify import Broken
from houblon.verify.certificates import judge_certificate
from houblon.verify.check import Check
from houblon.verify.context import Context
from houblon.verify.probe import TLS
from houblon.verify.wire import Answer

WEB: tuple[type[Claim], ...] = (c.Vhost, c.Certificate)
"""What stands between a visitor and a service."""


def vhost(claim: c.Vhost) -> Iterator[Check]:
    yield Check(claim.role, "https", claim.fqdn, lambda x: _https(x, claim.fqdn), WEB)
    yield Check(claim.role, "redirect", claim.fqdn, lambda x: _redirect(x, claim.fqdn), WEB)


def certificates(x: Context) -> Iterator[Check]:
    """One check for each name on the web, booked to who provides certificates: it alone can mend them.

    Pages are read without judging certificates, so one that went bad shows here and nowhere else.
    """
    owner = next(iter(x.providers().get(c.Certificate, ())), "")
    for claim in x.claims(c.Vhost):
        yield Check(
            owner or claim.role, "certificate", claim.fqdn, partial(_certificate, name=claim.fqdn), WEB
        )


def fetch(x: Context, url: str) -> Answer:
    """GET, with what goes wrong on the way as `Broken`."""
    try:
        return x.wire.get(url)
    except (OSError, http.client.HTTPException) as error:
        raise Broken(
            tr(en=f"{url} answers", fr=f"{url} répond"),
            _network(error),
            tr(en="Is the web server running, and does it know this name?",
               fr="Le serveur web tourne-t-il, et connaît-il ce nom ?"),
        ) from None  # fmt: skip


def _network(error: BaseException) -> Text:
    if isinstance(error, ConnectionRefusedError):
        return tr(en="the connection was refused", fr="la connexion a été refusée")
    if isinstance(error, TimeoutError):
        return tr(en="no answer came in time", fr="aucune réponse n'est venue à temps")
    if isinstance(error, ssl.SSLError):
        why = error.reason or str(error)
        return tr(en=f"the TLS handshake failed ({why})", fr=f"la négociation TLS a échoué ({why})")
    if isinstance(error, ConnectionResetError | http.client.RemoteDisconnected):
        return tr(en="the connection was closed without an answer", fr="la connexion a été fermée sans réponse")
    text = f"{type(error).__name__}: {error}"
    return Text(text, text)


def _https(x: Context, name: str) -> None:
    answer = fetch(x, f"https://{name}/")
    if answer.status >= 500:
        raise Broken(
            tr(en=f"https://{name}/ is served", fr=f"https://{name}/ est servi"),
            tr(en=f"status {answer.status}", fr=f"statut {answer.status}"),
            tr(en="The web server runs, but what it should pass requests to does not answer: look at the service.",
               fr="Le serveur web tourne, mais le service derrière lui ne répond pas : voyez le service."),
        )  # fmt: skip


def _redirect(x: Context, name: str) -> None:
    answer = fetch(x, f"http://{name}/")
    target = urlsplit(answer.headers.get("location", ""))
    if answer.status not in (301, 308) or (target.scheme, target.hostname) != ("https", name):
        raise Broken(
            tr(en=f"http://{name}/ leads to https for good", fr=f"http://{name}/ mène à https"),
            tr(en=f"status {answer.status} to {target.geturl() or 'nowhere'}",
               fr=f"statut {answer.status} vers {target.geturl() or 'rien'}"),
            tr(en="Run `houblon apply`.", fr="Lancez `houblon apply`."),
        )  # fmt: skip


def _certificate(x: Context, name: str) -> None:
    directory = next((first for first, names in _covering(x) if name in names), "")
    try:
        on_host = x509.load_pem_x509_certificates(x.frame(f"certificate {directory}").output.encode())[0]
    except (KeyError, ValueError, IndexError):
        raise Broken(
            tr(en=f"the host has a certificate for {name}", fr=f"l'hôte a un certificat pour {name}"),
            tr(en=f"{TLS}/{directory or name}/fullchain.pem is missing or damaged",
               fr=f"{TLS}/{directory or name}/fullchain.pem manque ou est abîmé"),
            tr(en="Run `houblon apply`.", fr="Lancez `houblon apply`."),
        ) from None  # fmt: skip
    roots = x.frame(f"certificate {directory}").output if x.self_signed else ""
    try:
        shaken = x.wire.handshake(name, extra_roots=roots)
    except OSError as error:
        raise Broken(tr(en=f"{name} speaks TLS", fr=f"{name} parle TLS"), _network(error)) from None
    judge_certificate(name, x509.load_der_x509_certificate(shaken.chain[0]), on_host, shaken.trouble,
                      datetime.fromtimestamp(x.now, UTC))  # fmt: skip


def _covering(x: Context) -> Iterator[tuple[str, tuple[str, ...]]]:
    for claim in x.claims(c.Certificate):
        yield claim.names[0], claim.names


def http_check(claim: c.HttpCheck) -> Iterator[Check]:
    yield Check(claim.role, "http", claim.url, lambda x: _http(x, claim), (*WEB, c.Database))


def _http(x: Context, claim: c.HttpCheck) -> None:
    answer = fetch(x, claim.url)
    look = tr(en="Look at the service's log on the host.", fr="Voyez le journal du service sur l'hôte.")
    if answer.status != claim.status:
        raise Broken(
            tr(en=f"{claim.url} answers with status {claim.status}",
               fr=f"{claim.url} répond avec le statut {claim.status}"),
            tr(en=f"status {answer.status}", fr=f"statut {answer.status}"),
            look,
        )  # fmt: skip
    if claim.contains and claim.contains not in answer.text:
        raise Broken(
            tr(en=f"{claim.url} shows “{claim.contains}”", fr=f"{claim.url} montre « {claim.contains} »"),
            tr(en=f"a page of {len(answer.body)} bytes without it", fr=f"une page de {len(answer.body)} octets sans"),
            look,
        )
