"""Claims that cannot both hold, found before any connection."""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from houblon.claims import (
    Artifact,
    Certificate,
    Claim,
    Database,
    DnsRecord,
    HostName,
    Jail,
    Listen,
    Location,
    Port,
    RateLimit,
    Unit,
    Vhost,
)
from houblon.settings import Wrong, domain, hostname


@dataclass(frozen=True)
class Conflict:
    """What cannot be, the roles it is between (one, when a role contradicts itself), and the cure."""

    what: str
    cure: str
    roles: tuple[str, ...]


def find(claims: Iterable[Claim]) -> Iterator[Conflict]:
    """All conflicts, in a stable order. Two equal claims of one role count as one."""
    every = list(dict.fromkeys(claims))
    rename = "Give one of them another name."
    yield from _names(every)
    yield from _twice(every, Vhost, lambda c: c.fqdn.lower(), "serve https://{.fqdn}", rename)
    yield from _ports(every)
    yield from _twice(
        every, Certificate, lambda c: c.names[:1], "claim a certificate for {.names[0]}",
        "One of them claims it and lists the groups of all readers.",
    )  # fmt: skip
    yield from _twice(
        every, Database, lambda c: (c.engine, c.name), "own the {0.engine} database {0.name}",
        "Each needs a database of its own.",
    )  # fmt: skip
    yield from _twice(every, Artifact, lambda c: c.name, "pin a release {.name}", rename)
    yield from _twice(every, Unit, lambda c: c.name, "run the unit {.name}", "Only one may claim it.")
    yield from _twice(every, Jail, lambda c: c.name, "define the jail {.name}", rename)
    yield from _twice(every, Location, lambda c: (c.fqdn, c.path), "serve https://{0.fqdn}{0.path}", rename)
    yield from _twice(every, RateLimit, lambda c: c.zone, "define the rate limit {.zone}", rename)
    yield from _dns(every)


def _twice(
    claims: list[Claim], kind: type[Claim], key: Callable[[Any], Hashable], say: str, cure: str
) -> Iterator[Conflict]:
    """Claims of one kind that differ, although only one may have this key."""
    first: dict[Hashable, Claim] = {}
    for claim in claims:
        if not isinstance(claim, kind):
            continue
        other = first.setdefault((claim.host, key(claim)), claim)
        if other is not claim:
            yield _conflict(say.format(claim), cure, other, claim)


def _conflict(does: str, cure: str, *claims: Claim) -> Conflict:
    roles = tuple(dict.fromkeys(claim.role for claim in claims))
    if len(roles) == 1:
        return Conflict(f"the role `{roles[0]}` would {does} twice", cure, roles)
    return Conflict(f"the roles `{roles[0]}` and `{roles[1]}` both {does}", cure, roles)


def _names(claims: list[Claim]) -> Iterator[Conflict]:
    told: set[str] = set()
    # Vhosts first: certificates and host names are derived from them, by roles that are not to blame.
    for claim in sorted(claims, key=lambda claim: not isinstance(claim, Vhost)):
        match claim:
            case Vhost() | HostName():
                names: tuple[str, ...] = (claim.fqdn,)
            case Certificate():
                names = claim.names
                if not names:
                    yield Conflict(
                        f"the role `{claim.role}` claims a certificate for no name", "Name at least one.",
                        (claim.role,),
                    )  # fmt: skip
            case _:
                continue
        for name in names:
            bare = name.removeprefix("*.") if isinstance(claim, Certificate) else name
            judge = hostname if isinstance(claim, HostName) else domain
            try:
                good = judge(bare) == bare
            except Wrong:
                good = False
            if not good and name not in told:
                told.add(name)
                yield Conflict(
                    f"the role `{claim.role}` claims the name {name!r}, which is not valid",
                    "Use small letters, digits, hyphens and dots; write other letters in their xn-- form.",
                    (claim.role,),
                )


def _ports(claims: list[Claim]) -> Iterator[Conflict]:
    taken: dict[tuple[str, int, str], list[Port | Listen]] = defaultdict(list)
    for claim in claims:
        if isinstance(claim, Port):
            taken[claim.host, claim.number, claim.proto].append(claim)
        elif isinstance(claim, Listen):
            taken[claim.host, claim.port, claim.proto].append(claim)
    for (_, number, proto), group in taken.items():
        if not 1 <= number <= 65535:
            yield Conflict(
                f"the role `{group[0].role}` claims the port {number}, which does not exist",
                "Ports go from 1 to 65535.", (group[0].role,),
            )  # fmt: skip
        told: set[frozenset[str]] = set()
        for one, other in combinations(group, 2):
            pair = frozenset((one.role, other.role))
            if len(pair) == 2 and pair not in told and _overlap(_address(one), _address(other)):
                told.add(pair)
                yield _conflict(
                    f"use port {number}/{proto}", "Give one of them another port, or remove one.", one, other
                )


def _address(claim: Port | Listen) -> str:
    return claim.address if isinstance(claim, Listen) else "*"


def _overlap(one: str, other: str) -> bool:
    def everywhere(address: str) -> bool:
        try:
            return ipaddress.ip_address(address).is_unspecified
        except ValueError:
            return address == "*"

    return one == other or everywhere(one) or everywhere(other)


def _dns(claims: list[Claim]) -> Iterator[Conflict]:
    """RFC 1034 section 3.6.2 (a CNAME stands alone), RFC 7208 section 3.2 (one SPF record),
    RFC 7489 section 6.6.3 (one DMARC record)."""
    names: dict[str, list[DnsRecord]] = defaultdict(list)
    for claim in claims:
        if isinstance(claim, DnsRecord):
            names[claim.name.lower().rstrip(".")].append(claim)
    for name, records in names.items():
        aliases = [r for r in records if r.type == "CNAME"]
        for alias in aliases[:1]:
            for other in records:
                if (other.type, other.value) != (alias.type, alias.value):
                    yield _conflict(
                        f"want records at {name} that contradict each other (CNAME beside {other.type})",
                        "A CNAME stands alone at its name.", alias, other,
                    )  # fmt: skip
                    break
        for prefix, what in (("v=spf1", "SPF"), ("v=DMARC1", "DMARC")):
            same = [r for r in records if r.type == "TXT" and r.value.strip('"').startswith(prefix)]
            for other in same[1:]:
                if other.value != same[0].value:
                    does = f"want an {what} record at {name}"
                    yield _conflict(does, "There may be only one.", same[0], other)
                    break
