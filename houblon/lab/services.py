"""The services host: Knot (authoritative DNS, RFC 2136), unbound (resolver), pebble (ACME), for one lab."""

from __future__ import annotations

import datetime
import ipaddress
import json
import re
import socket
import ssl
import struct
import urllib.request
from collections.abc import Iterable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from houblon.errors import BadInput
from houblon.lab.driver import Seed
from houblon.lab.state import LabState

TSIG_NAME = "lab-acme"
TSIG_ADMIN = "lab-admin"
TSIG_ALGORITHM = "hmac-sha256"
MANAGEMENT_PORT = 15000
ADMIN_KEY_FILE = "/etc/knot/admin.key"
TTL = 5
WANTED_BY = "etc/systemd/system/multi-user.target.wants"


def acme_host(state: LabState) -> str:
    """The name of pebble's host; "lab-" keeps clear of the names that a site may want."""
    return f"lab-acme.{state.domain}"


def authority(state: LabState) -> str:
    """Knot's own address: it and unbound both want port 53."""
    return str(ipaddress.ip_network(state.subnet4)[3])


def resolver(state: LabState) -> str:
    return str(ipaddress.ip_network(state.subnet4)[2])


def zones(state: LabState) -> list[str]:
    """The lab's zones: its domain, and the reverse zones of its subnets (mail wants PTR records)."""
    reverse4 = ".".join(reversed(state.subnet4.split(".")[:3])) + ".in-addr.arpa"
    nibbles = ipaddress.ip_network(state.subnet6).network_address.exploded.replace(":", "")[:16]
    return [state.domain, reverse4, ".".join(reversed(nibbles)) + ".ip6.arpa"]


def seeds(state: LabState, upstreams: list[str], certificate: str, key: str) -> list[Seed]:
    """The files of the services host.

    :param upstreams: resolvers for every other name; without any, unbound asks the root servers itself.
    """
    return [
        Seed("etc/knot/knot.conf", _knot(state)),
        Seed(ADMIN_KEY_FILE[1:], f"{TSIG_ALGORITHM}:{TSIG_ADMIN}:{state.tsig_admin}\n", 0o600),
        *(Seed(f"var/lib/knot/{zone}.zone", _zone_file(state, zone)) for zone in zones(state)),
        Seed("etc/unbound/unbound.conf.d/lab.conf", _unbound(state, upstreams)),
        Seed("etc/pebble/pebble.json", _pebble()),
        Seed("etc/pebble/cert.pem", certificate),
        Seed("etc/pebble/key.pem", key, 0o600),
        Seed("etc/systemd/system/pebble.service", _pebble_unit(state)),
        *(
            Seed(f"{WANTED_BY}/{unit}", link=f"{where}/{unit}")
            for unit, where in (
                ("pebble.service", "/etc/systemd/system"),
                ("knot.service", "/usr/lib/systemd/system"),
                ("unbound.service", "/usr/lib/systemd/system"),
            )
        ),
    ]


def _knot(state: LabState) -> str:
    names = ", ".join(["_acme-challenge", *(f'"_acme-challenge{".*" * depth}"' for depth in (1, 2, 3))])
    zone_lines = "".join(f"  - domain: {zone}\n" for zone in zones(state))
    return f"""server:
    rundir: "/run/knot"
    user: knot:knot
    listen: [ {authority(state)}@53 ]
log:
  - target: syslog
    any: info
database:
    storage: "/var/lib/knot"
key:
  - id: {TSIG_NAME}
    algorithm: {TSIG_ALGORITHM}
    secret: {state.tsig}
  - id: {TSIG_ADMIN}
    algorithm: {TSIG_ALGORITHM}
    secret: {state.tsig_admin}
acl:
  - id: challenges
    key: {TSIG_NAME}
    action: update
    update-type: TXT
    update-owner: name
    update-owner-match: pattern
    update-owner-name: [ {names} ]
  - id: admin
    key: {TSIG_ADMIN}
    action: [ update, transfer ]
template:
  - id: default
    storage: "/var/lib/knot"
    file: "%s.zone"
    zonefile-sync: -1
    zonefile-load: whole
    acl: [ challenges, admin ]
zone:
{zone_lines}"""


def _zone_file(state: LabState, zone: str) -> str:
    lines = [
        f"$ORIGIN {zone}.",
        f"$TTL {TTL}",
        f"@ SOA lab-ns.{state.domain}. hostmaster.{state.domain}. 1 3600 600 86400 {TTL}",
        f"@ NS lab-ns.{state.domain}.",
    ]
    if zone == state.domain:
        first = state.hosts[0]
        lines += [f"lab-ns A {authority(state)}", f"lab-acme A {resolver(state)}"]
        for name, host in [("@", first), ("*", first), *((host.name, host) for host in state.hosts)]:
            lines += [f"{name} A {host.address}", f"{name} AAAA {host.address6}"]
    else:
        for host in state.hosts:
            for address in (host.address, host.address6):
                pointer = ipaddress.ip_address(address).reverse_pointer
                if pointer.endswith(zone):
                    lines.append(f"{pointer}. PTR {host.name}.{state.domain}.")
    return "\n".join(lines) + "\n"


def _unbound(state: LabState, upstreams: list[str]) -> str:
    stubs = "".join(
        # Without its cache, a record is seen as soon as it is set: an ACME client's next query counts.
        f"stub-zone:\n    name: {zone}.\n    stub-addr: {authority(state)}\n    stub-no-cache: yes\n"
        for zone in zones(state)
    )
    forward = "forward-zone:\n    name: .\n" + "".join(f"    forward-addr: {address}\n" for address in upstreams)
    return f"""server:
    interface: {resolver(state)}
    interface: 127.0.0.1
    ip-freebind: yes
    access-control: 0.0.0.0/0 allow
    do-ip6: no
    module-config: "iterator"
    local-zone: "test." nodefault
    unblock-lan-zones: yes
    insecure-lan-zones: yes
    do-not-query-localhost: no
{stubs}{forward if upstreams else ""}"""


def _pebble() -> str:
    return json.dumps(
        {
            "pebble": {
                "listenAddress": "0.0.0.0:443",
                "managementListenAddress": f"0.0.0.0:{MANAGEMENT_PORT}",
                "certificate": "/etc/pebble/cert.pem",
                "privateKey": "/etc/pebble/key.pem",
                "httpPort": 80,
                "tlsPort": 443,
                "ocspResponderURL": "",
                "externalAccountBindingRequired": False,
                "retryAfter": {"authz": 1, "order": 1},
            }
        },
        indent=1,
    )


def _pebble_unit(state: LabState) -> str:
    return f"""[Unit]
Description=pebble, an ACME CA for tests
After=network.target

[Service]
# No pauses before validation, no refused nonces, no forgotten authorisations: those are pebble's defaults.
Environment=PEBBLE_VA_NOSLEEP=1 PEBBLE_WFE_NONCEREJECT=0 PEBBLE_AUTHZREUSE=100
ExecStart=/usr/bin/pebble -config /etc/pebble/pebble.json -dnsserver {resolver(state)}:53
"""


def make_ca(state: LabState, bundle: Path) -> tuple[str, str]:
    """Write a new CA's certificate to `bundle`; return certificate and key (PEM) of pebble's web server."""
    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"houblon lab {state.domain}")])
    now = datetime.datetime.now(datetime.UTC)
    addresses: list[x509.GeneralName] = [
        x509.DNSName(acme_host(state)),
        x509.IPAddress(ipaddress.ip_address(resolver(state))),
    ]

    def build(subject: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(ca_name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=2))
            .not_valid_after(now + datetime.timedelta(days=820))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        )

    usage = dict.fromkeys(
        ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
         "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"), False
    )  # fmt: skip
    ca = (
        build(ca_name, ca_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.KeyUsage(**{**usage, "key_cert_sign": True, "crl_sign": True}), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    leaf = (
        build(x509.Name([]), key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(**{**usage, "digital_signature": True}), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(addresses), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    bundle.write_bytes(ca.public_bytes(serialization.Encoding.PEM))
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return leaf.public_bytes(serialization.Encoding.PEM).decode(), pem.decode()


def update_script(state: LabState, records: Iterable[tuple[str, str, str]], delete: bool = False) -> str:
    """Commands for ``knsupdate`` that replace, whole, each (name, type) named.

    :param records: (name, type, value): the name relative to the domain, "@", or absolute within a zone of
        the lab; names within values are relative to the zone unless they end with a dot.
    :raises BadInput: a name lies in no zone of the lab.
    """
    by_zone: dict[str, list[str]] = {}
    seen: set[tuple[str, str]] = set()
    for name, kind, value in records:
        full, zone = _full_name(state, name)
        lines = by_zone.setdefault(zone, [])
        if (full, kind) not in seen:
            seen.add((full, kind))
            lines.append(f"update delete {full}. {kind}")
        if not delete:
            lines.append(f"update add {full}. {TTL} {kind} {_value(kind, value)}")
    blocks = [
        "\n".join([f"server {authority(state)}", f"zone {zone}.", f"origin {zone}.", *lines, "send"])
        for zone, lines in by_zone.items()
    ]
    return "\n".join(blocks) + "\n"


def _full_name(state: LabState, name: str) -> tuple[str, str]:
    bare = name.rstrip(".")
    for zone in zones(state):
        if bare == zone or bare.endswith(f".{zone}"):
            return bare, zone
    if name.endswith("."):
        raise BadInput(f"{name} is in no zone of this lab", cure=f"Its zones are {', '.join(zones(state))}.")
    return (state.domain if name == "@" else f"{bare}.{state.domain}"), state.domain


def _value(kind: str, value: str) -> str:
    """A TXT value in strings of at most 255 characters, quoted; other values as they are."""
    if kind.upper() != "TXT" or value.startswith('"'):
        return value
    parts = re.findall(r".{1,255}", value, re.S) or [""]
    return " ".join('"' + part.replace("\\", "\\\\").replace('"', '\\"') + '"' for part in parts)


def resolves(server: str, name: str, kind: int = 1, timeout: float = 0.5) -> bool:
    """Whether a DNS server has an answer; a minimal query, since this machine may have no DNS tool."""
    question = b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"
    query = struct.pack(">HHHHHH", 4711, 0x0100, 1, 0, 0, 0) + question + struct.pack(">HH", kind, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(timeout)
        try:
            sock.connect((server, 53))
            sock.send(query)
            answer = sock.recv(4096)
        except OSError:
            return False
    return len(answer) > 12 and answer[:2] == query[:2] and answer[3] & 15 == 0 and answer[6:8] != b"\0\0"


def fetch(state: LabState, bundle: Path, path: str, port: int = MANAGEMENT_PORT) -> str:
    """A page of pebble, from this machine, which does not use the lab's DNS: by address.

    :raises OSError: pebble does not answer.
    """
    context = ssl.create_default_context(cafile=str(bundle))
    # The proxy of the environment, if any, is for the outside.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    with opener.open(f"https://{resolver(state)}:{port}{path}", timeout=5) as response:
        return str(response.read().decode())
