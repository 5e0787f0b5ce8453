"""What claims cannot express: both languages lead to each other, and the page calls nobody else."""

from __future__ import annotations

import re

from houblon.roles.portal import Portal
from houblon.site import Site
from houblon.verify.wire import Wire


def test_each_language_leads_to_the_others(wire: Wire, site: Site) -> None:
    """the front page is served in each language, with a link to the others"""
    for language in site.languages:
        page = wire.get(f"https://{site.domain}/{language}/").text
        assert f'<html lang="{language}">' in page, f"/{language}/ is not in this language"
        for other in site.languages:
            assert other == language or f'href="/{other}/"' in page, f"/{language}/ has no link to /{other}/"


def test_the_page_lists_the_services(wire: Wire, site: Site, role: Portal) -> None:
    """every service of the site is on its front page"""
    page = wire.get(f"https://{site.domain}/").text
    for entry in role.entries(site.languages[0]):
        assert f'href="{entry.url}"' in page, f"{entry.title} is not listed"


def test_nothing_is_loaded_from_elsewhere(wire: Wire, site: Site) -> None:
    """the front page loads its own style and icon, and nothing from anywhere else"""
    page = wire.get(f"https://{site.domain}/").text
    loaded = re.findall(r'<link rel="(?:stylesheet|icon)" href="([^"]+)"', page)
    assert loaded and not re.search(r"<(?:script|img|iframe|style)\b|\bsrc=", page), "it loads other things"
    for path in loaded:
        assert path.startswith("/"), f"{path} is loaded from elsewhere"
        status = wire.get(f"https://{site.domain}{path}").status
        assert status == 200, f"{path}: status {status}"
