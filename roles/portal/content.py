"""What the pages say, read from the claims and metadata of all roles of the site."""

from __future__ import annotations

from dataclasses import dataclass

from houblon.contract import (
    Accounts,
    BackupSet,
    NoBackup,
    OidcClient,
    Outbound,
    PersonalData,
    Provides,
)
from houblon.roles.portal import dates
from houblon.roles.portal.settings import PortalConfig
from houblon.roles.portal.words import WORDS
from houblon.site import Site


@dataclass(frozen=True)
class Entry:
    """One service as the page shows it, in one language.

    :param who: who may use it, in words.
    """

    role: str
    title: str
    summary: str
    url: str
    who: str = ""


@dataclass(frozen=True)
class Software:
    """A program that runs here."""

    title: str
    licence: str
    homepage: str
    source: str
    upstream: str


@dataclass(frozen=True)
class Kept:
    """Data about people that something keeps."""

    title: str
    what: str
    where: str
    retention: str


@dataclass(frozen=True)
class Saved:
    """What becomes of one role's data in a backup."""

    title: str
    saved: bool
    reason: str


def entries(site: Site, language: str, but: str) -> list[Entry]:
    """Services of this site that have a page of their own, by title; ``but`` is the role that shows them."""
    found = []
    for role in site.roles:
        address = site.page(role.name)
        if address and role.metadata.category != "system" and role.name != but:
            meta = role.metadata
            who = _who(site, role.name, language)
            found.append(Entry(role.name, meta.name(language), meta.summary(language), address, who))
    return sorted(found, key=lambda entry: entry.title.casefold())


def sign_in(site: Site) -> str:
    """Address of the page where people sign in and change their password; empty when there is none."""
    for claim in site.claims(Provides):
        if claim.capability == "sso" and (address := site.page(claim.role)):
            return address
    return ""


def software(site: Site, language: str) -> list[Software]:
    """Every program of the site that has a page of its own somewhere, by title."""
    words = WORDS[language].upstream
    found = [
        Software(meta.title, meta.licence, meta.homepage, meta.source, words[meta.upstream])
        for meta in (role.metadata for role in site.roles)
        if meta.homepage
    ]
    return sorted(found, key=lambda one: one.title.casefold())


def kept(site: Site, language: str) -> list[Kept]:
    """Personal data by what keeps it: services first, then the server."""
    titles = _titles(site, language)
    rows = [
        Kept(
            titles.get(claim.role, WORDS[language].server), claim.what(language), _where(claim.where, language),
            dates.retention(claim.retention_days, language),
        )
        for claim in site.claims(PersonalData)
    ]  # fmt: skip
    services = list(titles.values())
    return sorted(rows, key=lambda row: services.index(row.title) if row.title in services else len(services))


def processors(site: Site, config: PortalConfig, language: str) -> list[str]:
    """Who else sees personal data because the site uses their services (GDPR, articles 4(9) and 13(1)(e)), in words."""
    words = WORDS[language]
    provider = config.hosting.name if config.hosting else ""
    own = config.publisher.name if config.publisher else ""
    role = words.hosting[:1].lower() + words.hosting[1:]
    found = [f"{provider} ({role})"] if provider and provider.casefold() != own.casefold() else []
    found += [words.relay] if _outside(site, "mailer") else []
    return found + ([words.alarms] if _outside(site, "alerts") else [])


def _outside(site: Site, capability: str) -> bool:
    """Whether what provides a capability hands it on to somebody outside the site."""
    reaching = {claim.role for claim in site.claims(Outbound)}
    return any(capability in role.provides and role.name in reaching for role in site.roles)


def backed_up(site: Site) -> bool:
    """Whether anything on the site makes backups."""
    return any(BackupSet in role.consumes for role in site.roles)


def saved(site: Site, language: str) -> list[Saved]:
    """What becomes of the data of each service, and of the server."""
    titles = _titles(site, language)
    sets = {claim.role for claim in site.claims(BackupSet)}
    reasons = {claim.role: claim.reason(language) for claim in site.claims(NoBackup)}
    rows = [
        Saved(title, name in sets, reasons.get(name, ""))
        for name, title in titles.items()
        if name in sets or name in reasons
    ]
    return [*rows, Saved(WORDS[language].server, True, "")] if sets - titles.keys() else rows


def _titles(site: Site, language: str) -> dict[str, str]:
    """The services' names for people, in their order; what they rest on has names for experts only."""
    services = [r for r in site.roles if r.metadata.category != "system"]
    names = {role.name: role.metadata.name(language) for role in services}
    return dict(sorted(names.items(), key=lambda pair: pair[1].casefold()))


def _who(site: Site, role: str, language: str) -> str:
    words = WORDS[language]
    claims: list[Accounts | OidcClient] = [*site.claims(Accounts), *site.claims(OidcClient)]
    groups = [claim.groups for claim in claims if claim.role == role]
    if not groups:
        return words.open_to_all
    if any(not names for names in groups):
        return words.with_account
    names = sorted({name for some in groups for name in some})
    return f"{words.members_of if len(names) == 1 else words.members_of_any} {', '.join(names)}"


_PLACES = ("journal", "/var/log", "/")


def _where(where: str, language: str) -> str:
    """A place in words: paths tell people nothing, and attackers something."""
    words = WORDS[language].places
    for place in _PLACES:
        if where.startswith(place):
            return words[place]
    return where
