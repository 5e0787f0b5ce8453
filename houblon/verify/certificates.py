"""What a certificate must be, judged from its fields. Pure."""

from __future__ import annotations

import math
from datetime import datetime

from cryptography import x509

from houblon.claims import tr
from houblon.verify import Broken

LIFETIME_LEFT = 0.25
"""Certbot renews when a third of the lifetime is left, and may need a few tries: less than this means it fails."""


def judge_certificate(
    name: str, wire: x509.Certificate, on_host: x509.Certificate, trouble: str, now: datetime
) -> None:
    """Compare what the wire shows with what the host has, and with what a visitor needs.

    :param trouble: what the verification of chain and name said; empty when all is well.
    :raises Broken: the first thing that is wrong.
    """
    renew = tr(en="Look at `journalctl -u certbot` on the host; `houblon apply` tries again.",
               fr="Voyez `journalctl -u certbot` sur l'hôte ; `houblon apply` réessaie.")  # fmt: skip
    if trouble:
        raise Broken(
            tr(en=f"visitors of {name} trust its certificate", fr=f"les visiteurs de {name} acceptent son certificat"),
            tr(en=f"{trouble} (issued by {issuer(wire)})", fr=f"{trouble} (émis par {issuer(wire)})"),
            renew,
        )
    if wire.serial_number != on_host.serial_number or wire.issuer != on_host.issuer:
        raise Broken(
            tr(en=f"{name} is served with the host's newest certificate",
               fr=f"{name} est servi avec le dernier certificat de l'hôte"),
            tr(en=f"an older or other one (valid until {wire.not_valid_after_utc:%Y-%m-%d})",
               fr=f"un autre, plus ancien (valable jusqu'au {wire.not_valid_after_utc:%Y-%m-%d})"),
            tr(en="`systemctl reload nginx` on the host; the deploy hook should have done it.",
               fr="`systemctl reload nginx` sur l'hôte ; le script de déploiement aurait dû le faire."),
        )  # fmt: skip
    left = fraction_left(wire, now)
    if left <= LIFETIME_LEFT:
        days = math.floor((wire.not_valid_after_utc - now).total_seconds() / 86400)
        raise Broken(
            tr(en=f"the certificate of {name} is renewed in time", fr=f"le certificat de {name} est renouvelé à temps"),
            tr(en=f"{days} days are left, {left:.0%} of its lifetime",
               fr=f"il reste {days} jours, {left:.0%} de sa durée de vie"),
            renew,
        )  # fmt: skip


def issuer(certificate: x509.Certificate) -> str:
    """The issuer as people know it: its common name, or all of it."""
    names = certificate.issuer.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return str(names[0].value) if names else certificate.issuer.rfc4514_string()


def fraction_left(certificate: x509.Certificate, now: datetime) -> float:
    """Which part of a certificate's lifetime lies ahead; negative once it is over."""
    whole = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    return (certificate.not_valid_after_utc - now) / whole
