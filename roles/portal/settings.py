"""The section `portal:` of the site file: who runs the site, and what only they can say."""

from __future__ import annotations

import re
from datetime import date
from typing import Annotated

from pydantic import AfterValidator, Field

from houblon.announcements import words
from houblon.contract import Config
from houblon.settings import Email, Wrong


def _line(text: str) -> str:
    clean = words(text)
    if "\n" in clean or len(clean) > 200:
        raise Wrong("this is more than a line of 200 characters", "Shorten it.")
    return clean


def _postal(text: str) -> str:
    clean = words(text)
    if len(clean) > 500 or clean.count("\n") > 7:
        raise Wrong("this is too long for a postal address", "At most eight lines.")
    return clean


def _phone(text: str) -> str:
    clean = _line(text)
    if not re.fullmatch(r"\+?[0-9][0-9 .()\u00a0\u202f-]{5,24}", clean):
        raise Wrong("this is not a phone number", 'Write it like "+33 1 23 45 67 89", between quotes.')
    return clean


def _page(text: str) -> str:
    clean = _line(text)
    if not re.fullmatch(r"https://[^\s<>\"']{4,190}", clean):
        raise Wrong("this is not the address of a page", "Write it like https://example.org/terms.")
    return clean


def _day(text: str) -> str:
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise Wrong("this is not a day", "Write it like 2027-06-01.") from None


Line = Annotated[str, AfterValidator(_line)]
Postal = Annotated[str, AfterValidator(_postal)]
Phone = Annotated[str, AfterValidator(_phone), Field(examples=["+33 1 23 45 67 89"])]
Page = Annotated[str, AfterValidator(_page), Field(examples=["https://example.org/terms"])]
Day = Annotated[str, AfterValidator(_day), Field(examples=["2027-06-01"])]
Paragraphs = Annotated[str, AfterValidator(words)]


class Both(Config):
    """A text in the site's languages."""

    fr: Paragraphs | None = None
    """In French."""
    en: Paragraphs | None = None
    """In English."""

    def __call__(self, language: str) -> tuple[str, str]:
        """The text, and the language it is in: the other one if this one is missing."""
        first, second = (self.fr, self.en) if language == "fr" else (self.en, self.fr)
        other = "en" if language == "fr" else "fr"
        return (first, language) if first is not None else (second or "", other)


def _says_something(both: Both) -> Both:
    if both.fr is None and both.en is None:
        raise Wrong("this says nothing", "Write `fr:`, `en:` or both below it.")
    return both


Said = Annotated[Both, AfterValidator(_says_something)]


class Publisher(Config):
    """Who answers for what the site publishes: an association, a person."""

    name: Line
    """Its name."""
    address: Postal | None = None
    """Its postal address (registered office), in several lines after `|`."""
    phone: Phone | None = None
    """Its phone number, between quotes."""
    registration: Line | None = None
    """Number in a register, such as RNA W751234567 or a SIRET."""
    director: Line | None = None
    """Director of publication: a person, of an association its president."""


class Hosting(Config):
    """Whose machine the site runs on: the provider that rents it out, or the publisher at home."""

    name: Line
    """Its name."""
    address: Postal | None = None
    """Its postal address."""
    phone: Phone | None = None
    """Its phone number, between quotes."""


class PortalConfig(Config):
    """Section `portal:` of the services: what the law, and members, want to know of the site."""

    contact: Email | None = None
    """Address that members write to. None: that of the first admin."""
    abuse: Email | None = None
    """Address for reports of unlawful content and abuse. None: the contact."""
    publisher: Publisher | None = None
    """Who publishes the site, for the legal notice."""
    anonymous: bool = False
    """A person publishes the site non-professionally and stays anonymous; `hosting` knows who they are."""
    hosting: Hosting | None = None
    """Whose machine it runs on, for the legal notice."""
    join: Said | None = None
    """How to get an account. None: write to the contact."""
    terms: Page | None = None
    """Page with the terms of use."""
    chatons: bool = False
    """The site is a member of CHATONS: its about page says what its charter asks for."""
    promises: tuple[Said, ...] = ()
    """What the site promises its members, besides."""
    security_until: Day | None = None
    """Until which day `/.well-known/security.txt` (RFC 9116) holds, at most a year ahead. None: there is none."""
