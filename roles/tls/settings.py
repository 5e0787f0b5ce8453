"""Section `tls:` of the site file, and what certbot needs to know of each DNS provider."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Any, Literal, Self

from pydantic import Field, GetJsonSchemaHandler, model_validator
from pydantic_core import CoreSchema

from houblon.contract import Config

LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"
HOOK = "/usr/local/lib/houblon/acme-dns"


@dataclass(frozen=True)
class Provider:
    """How certbot writes into a zone.

    :param package: Debian package that brings what it takes.
    :param plugin: certbot's name for its plugin; empty for our own hook (RFC 2136 that follows CNAMEs).
    :param token: key of the plugin's credentials file that takes a bare token; empty when the file has
        another form.
    :param description: what the owner puts into the vault.
    """

    package: str
    plugin: str
    token: str
    description: str

    def settings(self, credentials: str, propagation_seconds: int) -> tuple[str, ...]:
        """Lines of certbot's configuration. Route 53 reads the environment for its key, and knows when it is
        done."""
        if not self.plugin:
            return (
                "preferred-challenges = dns",
                f"manual-auth-hook = {HOOK} add",
                f"manual-cleanup-hook = {HOOK} remove",
            )
        if self.plugin == "dns-route53":
            return ()
        return (
            f"{self.plugin}-credentials = {credentials}",
            f"{self.plugin}-propagation-seconds = {propagation_seconds}",
        )


def _plugin(name: str, token: str, description: str) -> Provider:
    return Provider(f"python3-certbot-dns-{name}", f"dns-{name}", token, description)


PROVIDERS: dict[str, Provider] = {
    "rfc2136": Provider(
        "python3-dnspython", "", "", "base64 TSIG key that may update TXT records at _acme-challenge"
    ),
    "cloudflare": _plugin("cloudflare", "dns_cloudflare_api_token", "Cloudflare API token with DNS:Edit"),
    "desec": _plugin("desec", "dns_desec_token", "deSEC token for the zone"),
    "google": _plugin("google", "", "Google service account key (JSON)"),
    "infomaniak": _plugin("infomaniak", "dns_infomaniak_token", "Infomaniak API token with scope Domain"),
    "route53": _plugin("route53", "", "secret access key of an AWS user that may change the zone"),
}
"""Debian 13's plugins; desec and infomaniak do not exist in Debian 12."""


class DnsConfig(Config):
    """How certbot reaches the DNS zone; the key itself is the vault's secret `tls/dns-key`."""

    provider: Literal["rfc2136", "cloudflare", "desec", "google", "infomaniak", "route53"]
    """Who takes the records. With any other provider, a CNAME leads to a zone that takes RFC 2136 updates
    (docs/how-to/certificates.md)."""
    server: str = ""
    """rfc2136: IP address of the primary name server."""
    port: int = Field(default=53, ge=1, le=65535)
    """rfc2136: its port."""
    key_name: str = ""
    """rfc2136: name of the TSIG key. route53: access key ID."""
    algorithm: Literal["HMAC-SHA256", "HMAC-SHA384", "HMAC-SHA512"] = "HMAC-SHA256"
    """rfc2136: algorithm of the TSIG key."""
    propagation_seconds: int = Field(default=10, ge=0, le=1200)
    """How long the provider takes to show a new record on all its servers."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.provider == "rfc2136" and not (_is_address(self.server) and self.key_name):
            raise ValueError("rfc2136 needs server (an IP address) and key_name")
        if self.provider == "route53" and not self.key_name:
            raise ValueError("route53 needs key_name (the access key ID)")
        return self


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


class TlsConfig(Config):
    """Section `tls:` of the site file; `tls: self-signed` is short for `tls: {mode: self-signed}`."""

    mode: Literal["acme", "self-signed"] = "acme"
    """`acme`: certificates of an authority. `self-signed`: for a network no authority can reach."""
    directory: str = Field(default=LETS_ENCRYPT, pattern=r"^https://[^\s'\"]+$")
    """ACME directory of the authority; Let's Encrypt unless told otherwise."""
    ca_bundle: str | None = None
    """PEM file in the site folder that the ACME directory's own certificate is trusted by."""
    roots: str | None = None
    """PEM file in the site folder with the roots that issue; `verify` trusts them besides the public ones."""
    email: str | None = Field(default=None, pattern=r"^[^\s@'\"]+@[^\s@'\"]+$")
    """Address for the ACME account; the first admin's unless told otherwise."""
    challenge: Literal["http-01", "dns-01"] = "http-01"
    """`dns-01` when port 80 cannot be reached from outside, or for a wildcard; needs `dns`."""
    dns: DnsConfig | None = None
    """Needed for `dns-01`."""
    wildcard: bool = False
    """One certificate for all names one level below the domain; needs `dns-01`."""

    @model_validator(mode="before")
    @classmethod
    def _shorthand(cls, data: Any) -> Any:
        return {"mode": data} if isinstance(data, str) else data

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.challenge == "dns-01") != (self.dns is not None):
            raise ValueError("challenge: dns-01 and the block dns: belong together")
        if self.wildcard and self.challenge != "dns-01":
            raise ValueError("wildcard: true needs challenge: dns-01")
        return self

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        schema = handler.resolve_ref_schema(handler(core_schema))
        return {"anyOf": [{"const": "self-signed"}, {"const": "acme"}, schema]}
