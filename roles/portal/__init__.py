"""The site's front page: what is hosted here, for whom it matters, in French and English."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from markupsafe import escape

from houblon.contract import Claim, Config, HttpCheck, Metadata, NoBackup, Role, Vhost, tr
from houblon.kit import Kit
from houblon.roles.portal.words import WORDS

ROOT = "/srv/houblon/portal"
CSP = (
    "default-src 'none'; style-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class PortalConfig(Config):
    """Section `portal:` of the services; there is nothing to set."""


@dataclass(frozen=True)
class Entry:
    """One service as the page shows it, in one language."""

    title: str
    summary: str
    url: str


class Portal(Role[PortalConfig]):
    metadata = Metadata(
        title="Portal",
        summary=tr(
            en="A front page that lists the services.", fr="Une page d'accueil qui présente les services."
        ),
        category="site",
        licence="AGPL-3.0-or-later",
        homepage="",
    )

    def claims(self) -> Iterator[Claim]:
        domain = self.site.domain
        yield Vhost(
            domain,
            root=ROOT,
            csp=CSP,
            snippet="error_page 404 /404.html;\n"
            'more_set_headers "Cross-Origin-Resource-Policy: same-origin";\n'
            'more_set_headers "Cross-Origin-Opener-Policy: same-origin";',
        )
        yield NoBackup(
            tr(
                en="The page is made from the site file.",
                fr="La page est produite à partir du fichier du site.",
            )
        )
        for path in ("/", *(f"/{language}/" for language in self.site.languages)):
            yield HttpCheck(f"https://{domain}{path}", contains=str(escape(self.site.name)))

    def configure(self, kit: Kit) -> None:
        first = self.site.languages[0]
        self._page(kit, f"{ROOT}/index.html", first)
        for language in self.site.languages:
            self._page(kit, f"{ROOT}/{language}/index.html", language)
        kit.tree(f"{ROOT}/404.html", words=WORDS)
        kit.tree(f"{ROOT}/style.css", f"{ROOT}/icon.svg", f"{ROOT}/robots.txt")

    def entries(self, language: str) -> list[Entry]:
        """Services of this site that have a page of their own, by title."""
        found = []
        for role in self.site.roles:
            names = [vhost.fqdn for vhost in self.site.claims(Vhost) if vhost.role == role.name]
            if names and role.metadata.category != "system" and role.name != self.name:
                meta = role.metadata
                found.append(Entry(meta.title, meta.summary(language), f"https://{names[0]}/"))
        return sorted(found, key=lambda entry: entry.title.casefold())

    def _page(self, kit: Kit, path: str, language: str) -> None:
        kit.template(
            "page.html",
            to=path,
            language=language,
            words=WORDS[language],
            entries=self.entries(language),
            others=[other for other in self.site.languages if other != language],
            all_words=WORDS,
        )
