"""The site's pages: services and their state, incidents, legal notice, privacy; in French and English."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from markupsafe import escape

from houblon.announcements import Known, load, zone_of
from houblon.contract import Accounts, Claim, HttpCheck, Metadata, NoBackup, Role, Vhost, tr
from houblon.kit import Kit
from houblon.roles.portal import content, dates
from houblon.roles.portal.settings import PortalConfig
from houblon.roles.portal.words import WORDS

ROOT = "/srv/houblon/portal"
STATES = "/srv/houblon/health"
"""Where ``<role>.<language>.html`` says whether a service is up, written by whoever watches over them."""
CSP = (
    "default-src 'none'; style-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
FEED_ENTRIES = 50


@dataclass(frozen=True)
class Page:
    """One page in one language.

    :param key: ``home`` or a key of `Words.slugs`.
    :param live: its states and dates are filled in while it is served.
    """

    key: str
    language: str
    live: bool

    @property
    def path(self) -> str:
        """Its address on the site, and its folder."""
        slug = WORDS[self.language].slugs.get(self.key)
        return f"/{self.language}/{slug}/" if slug else f"/{self.language}/"


class Portal(Role[PortalConfig]):
    metadata = Metadata(
        title="Portal",
        summary=tr(
            en="Pages for members: services, incidents, legal notice, privacy.",
            fr="Pages pour les membres : services, incidents, mentions légales, vie privée.",
        ),
        category="site",
        licence="AGPL-3.0-or-later",
        homepage="",
        called=tr(en="These pages", fr="Ces pages"),
    )
    provides = ("announcements",)

    def claims(self) -> Iterator[Claim]:
        domain = self.site.domain
        yield Vhost(domain, root=ROOT, csp=CSP, snippet=self._directives())
        yield NoBackup(
            tr(
                en="The pages are made from the site folder.",
                fr="Les pages sont produites à partir du dossier du site.",
            )
        )
        yield HttpCheck(f"https://{domain}/", contains=str(escape(self.site.name)))
        for page in self.pages():
            yield HttpCheck(f"https://{domain}{page.path}", contains=str(escape(self.site.name)))

    def derive(self) -> Iterator[Claim]:
        # No claim follows from them, but their mistakes are told by `houblon check`, as all others are; not from
        # claims(), which is asked before the role that knows the time zone is placed.
        assert self.announcements is not None
        return iter(())

    def notes(self) -> Iterator[str]:
        config = self.config
        publisher, hosting = config.publisher, config.hosting
        asked: dict[str, Any] = {
            "contact": config.contact,
            "publisher": publisher or config.anonymous,
            "publisher.address": publisher is None or publisher.address,
            "publisher.phone": publisher is None or publisher.phone,
            "publisher.director": publisher is None or publisher.director,
            "hosting": hosting,
            "hosting.address": hosting is None or hosting.address,
            "hosting.phone": hosting is None or hosting.phone,
        }
        if config.chatons:
            asked["terms"] = config.terms
        missing = [key for key, value in asked.items() if not value]
        if missing:
            yield (
                f"portal: the pages say that something is missing until you set {', '.join(missing)}; "
                "see docs/how-to/portal.md."
            )
        known = {role.name for role in self.site.roles}
        for one in self.announcements:
            if one.is_open and one.said.service and one.said.service not in known:
                yield f"{one.file}: this site has no service `{one.said.service}`; is it a typing mistake?"

    def configure(self, kit: Kit) -> None:
        for page in self.pages():
            self._page(kit, page, f"{ROOT}{page.path}index.html")
        self._page(kit, Page("home", self.site.languages[0], live=True), f"{ROOT}/index.html")
        for language in self.site.languages:
            kit.template(
                "feed.atom", to=f"{ROOT}/{language}/incidents.atom", **self._values(Page("incidents", language, True))
            )
        for code in ("403", "404", "50x"):
            kit.template("error.html", to=f"{ROOT}/{code}.html", code=code, all_words=WORDS)
        kit.tree(f"{ROOT}/style.css", f"{ROOT}/icon.svg", f"{ROOT}/robots.txt")
        kit.tree(f"{ROOT}/humans.txt", contact=self.contact)
        if self.config.security_until is not None:
            kit.tree(f"{ROOT}/.well-known/security.txt", contact=self.contact)

    def remove(self, kit: Kit) -> None:
        kit.absent(ROOT)

    # --- what the pages say ------------------------------------------------------------------------------

    @property
    def contact(self) -> str:
        """Where members write to. An address that works: contact@ would need a mail server that may not be."""
        return self.config.contact or self.site.admins[0].email

    @property
    def abuse(self) -> str:
        """Where unlawful content is reported to."""
        return self.config.abuse or self.contact

    @cached_property
    def announcements(self) -> tuple[Known, ...]:
        """All announcements, the newest first.

        :raises BadInput: when one of their files is wrong.
        """
        return load(self.site)

    def current(self) -> list[Known]:
        """What is not closed: incidents, the newest first, then maintenance, the nearest first."""
        is_open = [one for one in self.announcements if one.is_open]
        incidents = [one for one in is_open if one.said.kind == "incident"]
        return [*incidents, *reversed([one for one in is_open if one not in incidents])]

    def pages(self) -> list[Page]:
        """Every page in every language, error pages aside."""
        return [
            Page(key, language, live)
            for language in self.site.languages
            for key, live in (("home", True), ("incidents", True), ("about", False), ("privacy", False))
        ]

    def entries(self, language: str) -> list[content.Entry]:
        """Services of this site that have a page of their own, by title."""
        return content.entries(self.site, language, but=self.name)

    def _page(self, kit: Kit, page: Page, to: str) -> None:
        kit.template(f"{page.key}.html", to=to, **self._values(page))

    def _values(self, page: Page) -> dict[str, Any]:
        language = page.language
        paths = {(one.key, one.language): one.path for one in self.pages()}
        zone = zone_of(self.site)
        return {
            "page": page,
            "language": language,
            "words": WORDS[language],
            "all_words": WORDS,
            "paths": {key: paths[key, language] for key in ("home", "incidents", "about", "privacy")},
            "translations": {one: paths[page.key, one] for one in self.site.languages},
            "entries": self.entries(language),
            "accounts": bool(self.site.claims(Accounts)),
            "sign_in": content.sign_in(self.site),
            "contact": self.contact,
            "abuse": self.abuse,
            "announced": self.announcements,
            "current": self.current(),
            "zone": zone.key,
            "full": dates.full,
            "since": dates.since,
            "stamp": dates.STAMP,
            "software": content.software(self.site, language),
            "kept": content.kept(self.site, language),
            "processors": content.processors(self.site, self.config, language),
            "saved": content.saved(self.site, language),
            "backed_up": content.backed_up(self.site),
            "titles": {role.name: role.metadata.name(language) for role in self.site.roles},
            "feed_entries": FEED_ENTRIES,
        }

    def _directives(self) -> str:
        """nginx directives besides those of any static site.

        houblon's files all bear the same time stamp, by which no browser could tell a new page from the old one: so
        there are no validators, and nothing is kept (RFC 9111).

        SSI is on for the live pages alone, so that no file of another role is ever searched for commands, and off
        for the states themselves, which are reached by subrequests only. Values of up to 1024 bytes: the patterns of
        `dates.since` are longer than nginx's 256, and would be left out without a word.
        """
        live = "".join(
            f"location = {path}index.html {{\n    ssi on;\n    ssi_silent_errors on;\n    ssi_value_length 1024;\n}}\n"
            for path in ["/", *(page.path for page in self.pages() if page.live)]
        )
        return (
            "error_page 404 /404.html;\nerror_page 403 /403.html;\nerror_page 500 502 503 504 /50x.html;\n"
            'etag off;\nif_modified_since off;\nmore_clear_headers "Last-Modified";\n'
            'more_set_headers "Cache-Control: no-cache";\n'
            'more_set_headers "Cross-Origin-Resource-Policy: same-origin";\n'
            'more_set_headers "Cross-Origin-Opener-Policy: same-origin";\n'
            f"location ^~ /state/ {{\n    internal;\n    ssi off;\n    alias {STATES}/;\n}}\n"
            f"location = /favicon.ico {{\n    return 301 /icon.svg;\n}}\n{live}"
        )
