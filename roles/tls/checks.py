"""What claims cannot express: that renewal really works, and that readers see one of our two kinds."""

from __future__ import annotations

from typing import Any

import pytest

from houblon.claims import tr
from houblon.roles.tls import Tls
from houblon.roles.tls.settings import LETS_ENCRYPT
from houblon.verify import Broken


def test_certificates_are_the_wanted_ones(host: Any, role: Tls) -> None:
    """every certificate covers its names, comes from the chosen authority, and is fresh"""
    alone = role.config.mode == "self-signed"
    for lineage in role.lineages():
        alone_checks = [role.selfsigned_check(lineage, *link) for link in lineage.links]
        for check in alone_checks if alone else [role.issued_check(lineage)]:
            if host.run(check).rc != 0:
                raise Broken(
                    tr(en=f"{lineage.name} has its certificate", fr=f"{lineage.name} a son certificat"),
                    tr(
                        en="it is self-signed, old, or for other names",
                        fr="il est auto-signé, ancien ou pour d'autres noms",
                    ),
                    tr(
                        en="Run `houblon apply`: it asks again and says what the authority objects to.",
                        fr="Lancez `houblon apply` : il redemande, et dit ce que l'autorité refuse.",
                    ),
                )


def test_the_last_renewal_did_not_fail(host: Any, role: Tls) -> None:
    """certbot's last run in the background succeeded"""
    if role.config.mode == "self-signed":
        pytest.skip("self-signed certificates are renewed by houblon apply")
    result = host.run("systemctl show -P Result certbot.service").stdout.strip()
    if result != "success":
        raise Broken(
            tr(en="certbot.service succeeded the last time", fr="certbot.service a réussi la dernière fois"),
            f"result: {result}",
            tr(en="See `journalctl -u certbot`.", fr="Voyez `journalctl -u certbot`."),
        )


@pytest.mark.deep
def test_a_renewal_would_succeed(host: Any, role: Tls) -> None:
    """the authority would renew every certificate today (a dry run)"""
    if role.config.mode == "self-signed":
        pytest.skip("self-signed certificates need no authority")
    # A dry run goes to Let's Encrypt's staging directory unless told otherwise, whoever issued.
    server = "" if role.config.directory == LETS_ENCRYPT else f" --server '{role.config.directory}'"
    for lineage in role.lineages():
        done = host.run(
            "set -a; . /etc/houblon/acme.env; set +a;"
            f" certbot renew --dry-run --no-random-sleep-on-renew --cert-name {lineage.name}{server} 2>&1"
        )
        lines = [line.strip() for line in done.stdout.splitlines() if "error" in line or "Detail" in line]
        assert done.rc == 0, f"{lineage.name}: {' '.join(lines)[:300]}"
