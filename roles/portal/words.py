"""What the portal says, in each language a site may have."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Words:
    """The page's own words in one language; ``language`` is its name in itself."""

    language: str
    services: str
    nothing: str
    nothing_more: str
    contact: str
    contact_text: str
    hosted: str
    skip: str
    languages: str
    not_found: str
    home: str


WORDS: dict[str, Words] = {
    "fr": Words(
        language="Français",
        services="Services",
        nothing="Rien à voir pour l’instant.",
        nothing_more="Les services apparaîtront ici dès qu’ils seront ouverts. Revenez bientôt\u202f!",
        contact="Contact",
        contact_text="Une question, un souci\u202f? Écrivez aux personnes qui s’occupent de ce site\u00a0:",
        hosted="Hébergé avec houblon, un logiciel libre.",
        skip="Aller au contenu",
        languages="Langues",
        not_found="Cette page n’existe pas.",
        home="Retour à l’accueil",
    ),
    "en": Words(
        language="English",
        services="Services",
        nothing="Nothing to see yet.",
        nothing_more="Services will appear here as soon as they open. Come back soon!",
        contact="Contact",
        contact_text="A question, a problem? Write to the people who look after this site:",
        hosted="Hosted with houblon, free software.",
        skip="Skip to content",
        languages="Languages",
        not_found="This page does not exist.",
        home="Back to the front page",
    ),
}
