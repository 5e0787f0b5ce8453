"""The checks that follow from claims, one generator for each kind.

A generator yields one `Check` for each promise in a claim; a check passes by returning. What several services
share (units, sockets, packages) comes from the snapshot, what only the outside can show goes over the wire.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from houblon import claims as c
from houblon.claims import Claim, tr
from houblon.verify import Broken, not_measurable
from houblon.verify.check import Check
from houblon.verify.context import Context
from houblon.verify.probe import UnitSeen
from houblon.verify.release_checks import artifact
from houblon.verify.web_checks import certificates, http_check, vhost

LOOP_SECONDS = 120
"""A unit that systemd restarted and that has not been up for this long is in a restart loop."""


NOT_CHECKED: dict[type[Claim], str] = {
    c.Needs: "placement fails without a provider, before any connection",
    c.Provides: "says what a role can do; the checks of what uses it show it",
    c.Outbound: "words for an administrator",
    c.RateLimit: "a proof would be an attack on the host; nginx's checks.py looks for the zones",
    c.Accounts: "the directory role's checks.py binds for each",
    c.OidcClient: "the provider's checks.py asks for each",
    c.Person: "acts on one person; a removal shows what it does",
    c.Invites: "a link that is made must be used; the role's checks.py asks its page",
    c.Console: "run by hand; the role's checks.py asks it things",
    c.Location: "who claims it also claims an HttpCheck of what is there",
    c.Alert: "run by the alerts role, whose checks.py looks at what it found",
    c.Database: "the database role's checks.py opens each database",
    c.RedisUser: "the provider's checks.py logs in as each",
    c.PhpPool: "the provider's checks.py looks at each pool's socket, user and extensions",
    c.Plugin: "only the role plugged into knows whether it is enabled",
    c.BackupSet: "a backup is proven by a restore (backup's checks.py)",
    c.NoBackup: "a reason, printed where backups are listed",
    c.DnsRecord: "published by others; looked up by the DNS command, not on the host, whose hosts file wins",
    c.Secret: "checked for the whole host: files and leaks (host_checks)",
    c.Resource: "refused with numbers before apply",
    c.PersonalData: "retention shows after weeks only; the role that rotates has a check of its setting",
    c.DataPath: "made by the service when it first has data",
}
"""Kinds of claims without a generator, and why."""


# --- units ------------------------------------------------------------------------------------------------


def unit(claim: c.Unit) -> Iterator[Check]:
    make = partial(Check, claim.role, subject=claim.name)
    yield make(name="active", run=lambda x: _active(x, claim.name), through=(c.Database,), root=True)
    yield make(name="enabled", run=lambda x: _enabled(x, claim.name))
    if claim.name.endswith(".service"):
        yield make(name="steady", run=lambda x: _steady(x, claim.name), through=(c.Database,))
    if claim.sandbox is not None:
        limit = claim.sandbox
        yield make(name="sandbox", run=lambda x: _sandboxed(x, claim.name, limit))


def _unit(x: Context, name: str) -> UnitSeen:
    frame = x.frame("units")
    seen = x.units.get(name)
    if seen is None or seen.load in ("not-found", ""):
        raise Broken(
            tr(en=f"the unit {name} exists", fr=f"l'unité {name} existe"),
            tr(en="systemd does not know it", fr="systemd ne la connaît pas")
            if seen or frame.status == 0
            else frame.output.strip()[-200:],
            tr(en="Run `houblon apply`.", fr="Lancez `houblon apply`."),
        )
    return seen


def _active(x: Context, name: str) -> None:
    seen = _unit(x, name)
    if seen.active == "active":
        return
    state = f"{seen.active} ({seen.sub})" + (f", {seen.result}" if seen.result not in ("", "success") else "")
    raise Broken(
        tr(en=f"{name} is active", fr=f"{name} est active"),
        tr(en=f"it is {state}", fr=f"elle est {state}"),
        tr(en=f"Look at `journalctl -u {name} -n 50` on the host, then `systemctl start {name}` or `houblon apply`.",
           fr=f"Voyez `journalctl -u {name} -n 50` sur l'hôte, puis `systemctl start {name}` ou `houblon apply`."),
    )  # fmt: skip


def _enabled(x: Context, name: str) -> None:
    seen = _unit(x, name)
    # "static", "indirect" and "generated" units are started by others (a timer, a socket, a wants link).
    if seen.enabled in ("enabled", "enabled-runtime", "static", "indirect", "generated", "alias"):
        return
    # An instance of a template that another unit pulls in is "disabled" by itself (postgresql@17-main).
    if "@" in name and seen.active == "active" and seen.enabled in ("disabled", "transient"):
        return
    raise Broken(
        tr(en=f"{name} starts at boot", fr=f"{name} démarre avec la machine"),
        tr(en=f"it is {seen.enabled or 'unknown'}", fr=f"elle est {seen.enabled or 'inconnue'}"),
        tr(en="Run `houblon apply`.", fr="Lancez `houblon apply`."),
    )


def _steady(x: Context, name: str) -> None:
    seen = _unit(x, name)
    up = x.now - seen.since
    if seen.active == "activating" or (seen.restarts > 0 and 0 <= up < LOOP_SECONDS):
        raise Broken(
            tr(en=f"{name} keeps running", fr=f"{name} reste en marche"),
            tr(en=f"systemd restarted it {seen.restarts} times, last {max(up, 0)} s ago",
               fr=f"systemd l'a relancée {seen.restarts} fois, la dernière il y a {max(up, 0)} s"),
            tr(en=f"Look at `journalctl -u {name} -n 100` on the host.",
               fr=f"Voyez `journalctl -u {name} -n 100` sur l'hôte."),
        )  # fmt: skip


def _sandboxed(x: Context, name: str, limit: float) -> None:
    if x.units.get(name, None) is None or x.units[name].active != "active":
        not_measurable(tr(en=f"{name} does not run", fr=f"{name} ne tourne pas"))
    exposure = x.exposure.get(x.units[name].name)
    expected = tr(en=f"{name} is confined (exposure of at most {limit:g} of 10)",
                  fr=f"{name} est confinée (exposition d'au plus {limit:g} sur 10)")  # fmt: skip
    if exposure is None:
        raise Broken(expected, tr(en="`systemd-analyze security` does not list it",
                                  fr="`systemd-analyze security` ne la cite pas"))  # fmt: skip
    if exposure > limit:
        raise Broken(
            expected,
            tr(en=f"its exposure is {exposure:g}", fr=f"son exposition est de {exposure:g}"),
            tr(en=f"Run `systemd-analyze security {name}` on the host; `houblon apply` restores its drop-in.",
               fr=f"Lancez `systemd-analyze security {name}` sur l'hôte ; `houblon apply` rétablit sa config."),
        )  # fmt: skip


# --- sockets ----------------------------------------------------------------------------------------------


def listen(claim: c.Listen) -> Iterator[Check]:
    subject = f"{claim.proto}/{claim.port}"
    yield Check(claim.role, "listens", subject, lambda x: _listens(x, claim), (c.Database,), root=True)


def _listens(x: Context, claim: c.Listen) -> None:
    same = [s for s in x.listeners if (s.proto, s.port) == (claim.proto, claim.port)]
    seen = sorted({s.address for s in same})
    allowed = {s.address for s in x.claims(c.Listen) if (s.proto, s.port) == (claim.proto, claim.port)}
    expected = tr(en=f"port {claim.proto}/{claim.port} answers on {claim.address} and nowhere else",
                  fr=f"le port {claim.proto}/{claim.port} répond sur {claim.address}, nulle part ailleurs")  # fmt: skip
    if claim.address not in {address.partition("%")[0] for address in seen}:
        where = ", ".join(seen)
        raise Broken(
            expected,
            tr(en=f"it listens on {where}" if seen else "nothing listens there",
               fr=f"il écoute sur {where}" if seen else "rien n'y écoute"),
            tr(en="Look at the service's log; `houblon apply` restores its settings.",
               fr="Voyez le journal du service ; `houblon apply` rétablit ses réglages."),
        )  # fmt: skip
    if claim.port in x.ports(claim.proto):
        return
    beyond = [s for s in same if s.address.partition("%")[0] not in allowed and not s.local]
    if beyond:
        where = ", ".join(f"{s.address} ({s.program})" for s in beyond)
        raise Broken(
            expected,
            tr(en=f"it also listens on {where}", fr=f"il écoute aussi sur {where}"),
            tr(en="Run `houblon apply`, then look at the service's own settings.",
               fr="Lancez `houblon apply`, puis voyez les réglages du service."),
        )  # fmt: skip


def port(claim: c.Port) -> Iterator[Check]:
    subject = f"{claim.proto}/{claim.number}"
    if claim.proto == "udp":
        yield Check(claim.role, "port", subject, lambda x: _udp(x, claim), root=True)
        return
    for family in ("IPv4", "IPv6"):
        yield Check(
            claim.role, "port", f"{subject} {family}", partial(_reachable, claim=claim, family=family), (c.Port,),
            root=family == "IPv4",
        )  # fmt: skip


def _reachable(x: Context, claim: c.Port, family: str) -> None:
    target = x.vantage.target(family)
    expected = target.expects(claim)
    seen = x.vantage.tcp_open(claim.number, family)
    if seen == expected:
        return
    raise Broken(
        tr(en=f"port {claim.number} is {'open' if expected else 'closed'} from here over {family}",
           fr=f"le port {claim.number} est {'ouvert' if expected else 'fermé'} vu d'ici en {family}"),
        tr(en=f"{target.address} does not answer" if expected else f"{target.address} answers",
           fr=f"{target.address} ne répond pas" if expected else f"{target.address} répond"),
        tr(en="Is the service running? Does your provider's firewall or router let the port through?",
           fr="Le service tourne-t-il ? Le pare-feu de l'hébergeur ou la box laisse-t-il passer ce port ?")
        if expected else "",
    )  # fmt: skip


def _udp(x: Context, claim: c.Port) -> None:
    if not any(s.proto == "udp" and s.port == claim.number and not s.local for s in x.listeners):
        raise Broken(
            tr(en=f"a service waits on udp/{claim.number}", fr=f"un service attend sur udp/{claim.number}"),
            tr(en="nothing listens there", fr="rien n'y écoute"),
        )


# --- the rest ---------------------------------------------------------------------------------------------


def config_test(claim: c.ConfigTest) -> Iterator[Check]:
    yield Check(claim.role, "configuration", claim.command, lambda x: _config(x, claim), root=True)


def _config(x: Context, claim: c.ConfigTest) -> None:
    frame = x.frame(f"config {x.site.claims(c.ConfigTest).index(claim)}")
    if frame.status != 0:
        last = " / ".join(frame.lines[-2:])
        raise Broken(
            tr(en=f"`{claim.command}` accepts the configuration", fr=f"`{claim.command}` accepte la configuration"),
            tr(en=f"it says: {last or frame.status}", fr=f"il dit : {last or frame.status}"),
            tr(en="Mend the file it names (an override?), or run `houblon apply`.",
               fr="Corrigez le fichier cité (une surcharge ?), ou lancez `houblon apply`."),
        )  # fmt: skip


def host_name(claim: c.HostName) -> Iterator[Check]:
    yield Check(claim.role, "resolves", claim.fqdn, lambda x: _resolves(x, claim.fqdn))


def _resolves(x: Context, name: str) -> None:
    lines = [line.split() for line in x.frame("names").lines]
    addresses = next((fields[1:] for fields in lines if fields[0] == name), [])
    if not addresses or not all(a.startswith("127.") or a == "::1" for a in addresses):
        seen = ", ".join(addresses)
        raise Broken(
            tr(en=f"the host finds {name} at itself", fr=f"l'hôte trouve {name} chez lui-même"),
            tr(en=seen or "it does not resolve it", fr=seen or "il ne le résout pas"),
            tr(en="Run `houblon apply`.", fr="Lancez `houblon apply`."),
        )


def jail(claim: c.Jail) -> Iterator[Check]:
    yield Check(claim.role, "jail", claim.name, lambda x: _jail(x, claim.name))


def _jail(x: Context, name: str) -> None:
    frame = x.frame("jails")
    listed = next((line.partition("Jail list:")[2] for line in frame.lines if "Jail list:" in line), "")
    if name not in {word.strip() for word in listed.split(",")}:
        last = frame.lines[-1] if frame.status != 0 and frame.lines else ""
        raise Broken(
            tr(en=f"fail2ban watches for {name}", fr=f"fail2ban surveille {name}"),
            tr(en=last or "it has no such jail", fr=last or "il n'a pas cette prison"),
            tr(en="Look at `journalctl -u fail2ban -n 50` on the host.",
               fr="Voyez `journalctl -u fail2ban -n 50` sur l'hôte."),
        )  # fmt: skip


def packages(x: Context) -> Iterator[Check]:
    """One check for each role: all its Debian packages are installed."""
    wanted: dict[str, list[str]] = {}
    for claim in x.claims(c.Package):
        wanted.setdefault(claim.role, []).extend(claim.names)
    for role, names in wanted.items():
        yield Check(role, "packages", "", partial(_installed, names=tuple(names)))


def _installed(x: Context, names: tuple[str, ...]) -> None:
    lines = [line.split("\t") for line in x.frame("packages").lines if "\t" in line]
    installed = {name for name, status, *_ in lines if status.startswith(("ii", "hi"))}
    if missing := [name for name in names if name not in installed]:
        listed = ", ".join(missing)
        raise Broken(
            tr(en="its Debian packages are installed", fr="ses paquets Debian sont installés"),
            tr(en=f"missing or half installed: {listed}", fr=f"absents ou à moitié installés : {listed}"),
            tr(en="Run `houblon apply`.", fr="Lancez `houblon apply`."),
        )


GENERATORS: dict[type[Claim], Callable[[Any], Iterator[Check]]] = {
    c.Unit: unit,
    c.Listen: listen,
    c.Port: port,
    c.Vhost: vhost,
    c.HttpCheck: http_check,
    c.ConfigTest: config_test,
    c.HostName: host_name,
    c.Jail: jail,
    c.Artifact: artifact,
}
TOGETHER: dict[type[Claim], Callable[[Context], Iterator[Check]]] = {
    c.Package: packages,
    c.Certificate: certificates,
}
"""Kinds whose checks need all claims together."""

PROVIDED: tuple[type[Claim], ...] = (c.HostName, c.Jail)
"""Kinds that are booked to their provider: it alone can break them, and it alone mends them."""


def keeper(x: Context) -> str:
    """The role that answers for what is nobody else's: base, where it is placed."""
    names = [role.name for role in x.site.roles]
    return "base" if "base" in names else names[0] if names else "host"


def from_claims(x: Context) -> Iterator[Check]:
    """All checks that the claims of the placed roles call for."""
    for kind, together in TOGETHER.items():
        if x.claims(kind):
            yield from together(x)
    providers = x.providers()
    for kind, generate in GENERATORS.items():
        for claim in x.claims(kind):
            owner = next(iter(providers.get(kind, ())), keeper(x)) if kind in PROVIDED else claim.role
            for check in generate(claim):
                yield replace(check, role=owner)



