"""What claims cannot express: languages lead to each other, nothing comes from elsewhere, states and dates are live."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from xml.etree import ElementTree

from houblon.roles.portal import Portal
from houblon.site import Site
from houblon.verify.wire import Wire

ATOM = "{http://www.w3.org/2005/Atom}"


def test_each_language_leads_to_the_others(wire: Wire, site: Site, role: Portal) -> None:
    """every page is served in each language, with a link to the same page in the others"""
    paths = {(page.key, page.language): page.path for page in role.pages()}
    for (key, language), path in paths.items():
        page = wire.get(f"https://{site.domain}{path}").text
        assert f'<html lang="{language}">' in page, f"{path} is not in this language"
        for other in site.languages:
            assert other == language or f'href="{paths[key, other]}"' in page, f"{path} has no link to {other}"


def test_the_page_lists_the_services(wire: Wire, site: Site, role: Portal) -> None:
    """every service of the site is on its front page, with its state"""
    for language in site.languages:
        page = wire.get(f"https://{site.domain}/{language}/").text
        entries = role.entries(language)
        for entry in entries:
            assert f'href="{entry.url}"' in page, f"{entry.title} is not listed"
        states = re.findall(r'<span class="health (?:up|down|unknown)">[^<]+</span>', page)
        assert len(states) == len(entries), f"/{language}/ tells the state of {len(states)} of {len(entries)} services"


def test_live_parts_are_filled_in(wire: Wire, site: Site, role: Portal) -> None:
    """no page shows the commands that its states and dates are filled in by, nor these states alone"""
    for page in role.pages():
        assert "<!--#" not in wire.get(f"https://{site.domain}{page.path}").text, f"{page.path} is served unprocessed"
    for entry in role.entries(site.languages[0]):
        status = wire.get(f"https://{site.domain}/state/{entry.role}.{site.languages[0]}.html").status
        assert status == 404, f"the state of {entry.role} is served by itself, with status {status}"


def test_nothing_is_loaded_from_elsewhere(wire: Wire, site: Site, role: Portal) -> None:
    """every page loads its own style and icon, and nothing from anywhere else"""
    for path in ["/", *(page.path for page in role.pages()), "/houblon-verify-no-such-page"]:
        page = wire.get(f"https://{site.domain}{path}").text
        loaded = re.findall(r'<link rel="(?:stylesheet|icon)" href="([^"]+)"', page)
        assert sorted(set(loaded)) == ["/icon.svg", "/style.css"], f"{path} loads {', '.join(loaded) or 'nothing'}"
        assert not re.search(r"<(?:script|img|iframe|style)\b|\bsrc=", page), f"{path} loads other things"
    for path in ("/icon.svg", "/style.css"):
        status = wire.get(f"https://{site.domain}{path}").status
        assert status == 200, f"{path}: status {status}"


def test_the_feed_tells_every_announcement(wire: Wire, site: Site, role: Portal) -> None:
    """each language has an Atom feed with what is announced"""
    for language in site.languages:
        answer = wire.get(f"https://{site.domain}/{language}/incidents.atom")
        assert answer.headers.get("content-type", "").startswith("application/atom+xml"), "it is not served as Atom"
        feed = ElementTree.fromstring(answer.body)  # noqa: S314 - our own host's, and no secret is near
        told = {(entry.findtext(f"{ATOM}id") or "").rpartition(":")[2] for entry in feed.findall(f"{ATOM}entry")}
        missing = [one.id for one in role.announcements if one.is_open and one.id not in told]
        assert not missing, f"it lacks {', '.join(missing)}: run `houblon apply`"


def test_pages_are_asked_for_anew(wire: Wire, site: Site) -> None:
    """no browser shows an old page for a new one"""
    headers = wire.get(f"https://{site.domain}/").headers
    assert headers.get("cache-control") == "no-cache", "the page may be kept"
    assert not {"etag", "last-modified"} & set(headers), "the page claims to be older than it is"


def test_security_txt_has_not_expired(wire: Wire, site: Site, role: Portal) -> None:
    """security.txt, if there is one, holds for today and for less than a year (RFC 9116, section 2.5.5)"""
    answer = wire.get(f"https://{site.domain}/.well-known/security.txt")
    if role.config.security_until is None:
        assert answer.status == 404
        return
    (until,) = re.findall(r"^Expires: (\S+)$", answer.text, re.MULTILINE)
    left = datetime.fromisoformat(until.replace("Z", "+00:00")) - datetime.now(UTC)
    assert left.days >= 0, "it has expired: check the address, then set services.portal.security_until anew"
    assert left.days <= 366, "it expires in more than a year: nobody believes that (services.portal.security_until)"
