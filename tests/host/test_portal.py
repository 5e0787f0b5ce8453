"""The portal as people meet it: in a browser, on a phone, in the dark, without JavaScript, through a feed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
import zoneinfo
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urljoin, urlsplit
from xml.etree import ElementTree

import pytest

from houblon.claims import Unit, Vhost
from houblon.roles.portal import Portal
from houblon.site import load
from houblon.verify.wire import Answer, Wire
from tests.host.browser import chromium
from tests.host.sites import Applied, environment

pytestmark = pytest.mark.host

ATOM = "{http://www.w3.org/2005/Atom}"
SHAPE = "%Y-%m-%d %H:%M"
HEALTH_SECONDS = 200
"""The timer that looks at services runs every minute, and a look takes a while on a busy machine."""


def paths(site: Applied) -> list[str]:
    role = load(site.site_folder).role("portal")
    assert isinstance(role, Portal)
    return [page.path for page in role.pages()]


def get(site: Applied, path: str) -> Answer:
    return Wire(site.host.address).get(f"https://{site.lab.domain}{path}")


def announce(site: Applied, *arguments: str) -> str:
    """`houblon announce`, as a person without a terminal."""
    done = subprocess.run(
        [sys.executable, "-m", "houblon", "announce", *arguments, "--site", str(site.site_folder)],
        capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=300, env=environment(), check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def eventually(look: Callable[[], bool], seconds: float, what: str) -> None:
    end = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < end, what
        time.sleep(2)


@pytest.fixture(scope="module")
def announced(people: Applied) -> Iterator[Applied]:
    """With an incident, and a maintenance to come, one under way and one that is over."""
    now = datetime.now(zoneinfo.ZoneInfo("Europe/Paris"))

    def at(hours: int) -> str:
        return (now + timedelta(hours=hours)).strftime(SHAPE)

    announce(people, "incident", "Les agendas sont lents.", "--en", "Calendars are slow.", "--service", "calendar")
    announce(people, "maintenance", "À venir.", "--en", "To come.", "--from", at(30), "--to", at(31))
    announce(people, "maintenance", "En cours.", "--en", "Under way.", "--from", at(-2), "--to", at(40))
    over = people.site_folder / "announcements" / f"{at(-48)[:10]}-over.yaml"
    over.write_text(
        f"kind: maintenance\ntext: {{fr: Fini., en: Finished.}}\npublished: {at(-60)}\n"
        f"begins: {at(-48)}\nends: {at(-1)}\n"
    )
    people.cli("apply", "--only", "portal", "--yes")
    yield people
    for file in (people.site_folder / "announcements").iterdir():
        file.unlink()
    people.cli("apply", "--only", "portal", "--yes")


# --- in a browser -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_every_page_is_good_on_a_phone_and_a_desk_by_day_and_night(
    announced: Applied, width: int, scheme: str, tmp_path: Path
) -> None:
    from axe_playwright_python.sync_playwright import Axe

    domain = announced.lab.domain
    with chromium(announced) as browser:
        context = browser.new_context(
            viewport={"width": width, "height": 800}, color_scheme=scheme, ignore_https_errors=True
        )
        asked: list[str] = []
        said: list[str] = []
        context.on("request", lambda request: asked.append(request.url))
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        for path in [*paths(announced), "/404.html", "/50x.html"]:
            page.goto(f"https://{domain}{path}")
            violations = Axe().run(page).response["violations"]
            grave = [(one["id"], [node["target"] for node in one["nodes"]]) for one in violations
                     if one["impact"] in ("serious", "critical")]  # fmt: skip
            assert not grave, f"{path}: {grave}"
            wide = page.evaluate("document.documentElement.scrollWidth")
            assert wide <= width, f"{path} is {wide} pixels wide on a screen of {width}"
            small = page.evaluate(
                "[...document.querySelectorAll('header a, h3 a, .button')]"
                ".filter(a => a.getBoundingClientRect().height < 24).map(a => a.textContent)"
            )
            assert not small, f"{path}: too small for a thumb (WCAG 2.2, 2.5.8): {small}"
            page.screenshot(path=tmp_path / f"{path.strip('/').replace('/', '-')}.png", full_page=True)
        assert {urlsplit(url).hostname for url in asked} == {domain}
        assert not said, "the browser has nothing to complain about, the policy included"
        assert not context.cookies()


def test_all_is_there_without_javascript(announced: Applied) -> None:
    domain = announced.lab.domain
    texts = []
    with chromium(announced) as browser:
        for enabled in (False, True):
            context = browser.new_context(java_script_enabled=enabled, ignore_https_errors=True)
            page = context.new_page()
            found = {}
            for path in paths(announced):
                page.goto(f"https://{domain}{path}")
                found[path] = page.inner_text("main")
            texts.append(found)
    assert texts[0] == texts[1]
    assert "cal." in texts[0]["/fr/"] and len(texts[0]["/en/privacy/"]) > 500


def test_the_language_is_switched_on_the_same_page(announced: Applied) -> None:
    with chromium(announced) as browser:
        page = browser.new_context(ignore_https_errors=True, viewport={"width": 360, "height": 800}).new_page()
        page.goto(f"https://{announced.lab.domain}/")
        assert page.get_attribute("html", "lang") == "fr"
        page.get_by_role("link", name="À propos").click()
        page.get_by_role("link", name="English").click()
        assert page.url.endswith("/en/about/") and page.get_attribute("html", "lang") == "en"
        assert page.inner_text("h1") == "About"
        page.get_by_role("link", name="Français").click()
        assert page.url.endswith("/fr/a-propos/")


def test_the_keyboard_skips_the_menu_first(announced: Applied) -> None:
    with chromium(announced) as browser:
        page = browser.new_context(ignore_https_errors=True).new_page()
        page.goto(f"https://{announced.lab.domain}/en/privacy/")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to content"
        assert page.evaluate("document.activeElement.getBoundingClientRect().left") >= 0, "it can be seen"
        page.keyboard.press("Enter")
        assert page.url.endswith("#content")


def test_it_prints_black_on_white_without_the_menu(announced: Applied) -> None:
    with chromium(announced) as browser:
        page = browser.new_context(ignore_https_errors=True, color_scheme="dark").new_page()
        page.emulate_media(media="print")
        page.goto(f"https://{announced.lab.domain}/fr/a-propos/")
        assert not page.locator("nav.pages").is_visible()
        colours = page.evaluate(
            "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
        )
        assert colours == ["rgb(0, 0, 0)", "rgb(255, 255, 255)"]


# --- announcements ----------------------------------------------------------------------------------------


def test_dates_are_live_on_a_page_that_was_written_once(announced: Applied) -> None:
    front, every = get(announced, "/en/").text, get(announced, "/en/incidents/").text
    state = {
        text: re.findall(r'class="label ([a-z-]+)', every[: every.index(text)])[-1]
        for text in ("Calendars are slow.", "To come.", "Under way.", "Finished.")
    }
    assert list(state.values()) == ["open", "planned", "under-way", "over"]
    assert re.findall(r'class="label ([a-z-]+)', front) == ["open", "under-way", "planned"]
    assert "Finished." not in front and "No incident reported" not in front


def test_an_incident_is_published_told_further_and_closed(announced: Applied) -> None:
    before = set((announced.site_folder / "announcements").iterdir())
    said = announce(announced, "incident", "Panne <b>réseau</b>.", "--now")
    assert "Done:" in said
    (file,) = set((announced.site_folder / "announcements").iterdir()) - before

    def entry() -> ElementTree.Element:
        answer = get(announced, "/fr/incidents.atom")
        assert answer.headers["content-type"].startswith("application/atom+xml")
        found = [
            one for one in ElementTree.fromstring(answer.body).iter(f"{ATOM}entry")  # noqa: S314 - our own host's
            if (one.findtext(f"{ATOM}id") or "").endswith(f":{file.stem}")
        ]  # fmt: skip
        assert len(found) == 1
        return found[0]

    assert entry().findtext(f"{ATOM}title") == "Incident\u00a0: Panne <b>réseau</b>."
    assert "Panne &lt;b&gt;réseau&lt;/b&gt;." in get(announced, "/fr/").text
    announce(announced, "update", file.stem, "Un câble.", "--en", "A cable.", "--now")
    assert "A cable." in get(announced, "/en/").text
    assert "Un câble." in "".join(entry().itertext())
    announce(announced, "close", file.stem, "--now")
    assert "réseau" not in get(announced, "/fr/").text
    assert "résolu" in (entry().findtext(f"{ATOM}title") or "")
    assert announced.cli("plan", "--only", "portal").returncode == 0, "nothing is left to do"


# --- links, states, errors --------------------------------------------------------------------------------


class Links(HTMLParser):
    """Where a page leads, and the places in it that others may lead to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.hrefs: list[str] = []
        self.ids: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("href", "src") and value:
                self.hrefs.append(value)
            if name == "id" and value:
                self.ids.add(value)


def test_every_link_leads_somewhere(announced: Applied) -> None:
    site = load(announced.site_folder)
    names = {vhost.fqdn for vhost in site.claims(Vhost)}
    wire = Wire(announced.host.address)
    queue, seen, ids = [f"https://{site.domain}/"], set[str](), dict[str, set[str]]()
    anchors: list[tuple[str, str]] = []
    while queue:
        url = queue.pop()
        if url in seen:
            continue
        seen.add(url)
        answer = wire.get(url)
        assert answer.status in (200, 301, 302), f"{url}: {answer.status}"
        if urlsplit(url).hostname != site.domain or not answer.headers.get("content-type", "").startswith("text/html"):
            continue
        links = Links(answer.text)
        ids[url] = links.ids
        for href in links.hrefs:
            target = urljoin(url, href)
            parts = urlsplit(target)
            if parts.scheme == "mailto":
                assert re.fullmatch(r"mailto:[^@\s]+@[^@\s]+", href), href
                continue
            assert parts.scheme == "https", f"{url}: {href}"
            page = target.partition("#")[0]
            if parts.fragment:
                anchors.append((page, parts.fragment))
            if parts.hostname in names:
                queue.append(page)
    assert {f"https://{site.domain}{path}" for path in paths(announced)} <= seen
    assert not [(page, anchor) for page, anchor in anchors if anchor not in ids[page]]


def test_a_service_that_is_stopped_is_told_to_be_down_and_up_again(announced: Applied) -> None:
    site = load(announced.site_folder)
    unit = next(c.name for c in site.claims(Unit) if c.role == "calendar" and c.name.endswith(".service"))

    def state() -> str:
        page = get(announced, "/fr/").text
        card = page[page.index(f"https://cal.{site.domain}/") :]
        found = re.search(r'<span class="health ([a-z]+)">', card)
        return found[1] if found else ""

    eventually(lambda: state() == "up", HEALTH_SECONDS, "it is not up to begin with")
    announced.sh(f"systemctl stop {unit}")
    try:
        eventually(lambda: state() == "down", HEALTH_SECONDS, f"{unit} is stopped and the page says {state()}")
    finally:
        announced.sh(f"systemctl start {unit}")
    eventually(lambda: state() == "up", HEALTH_SECONDS, f"{unit} runs again and the page says {state()}")


def test_a_state_that_is_missing_is_unknown_and_nobody_sees_it_alone(announced: Applied) -> None:
    announced.sh("mv /srv/houblon/health/calendar.en.html /srv/houblon/health/away")
    try:
        page = get(announced, "/en/").text
        assert '<span class="health unknown">state unknown</span>' in page
        assert "404" not in page and "[an error" not in page
    finally:
        announced.sh("mv /srv/houblon/health/away /srv/houblon/health/calendar.en.html")
    assert get(announced, "/state/calendar.en.html").status == 404
    assert get(announced, "/state/../health/calendar.en.html").status in (400, 404)


def test_errors_have_pages_of_their_own(announced: Applied) -> None:
    missing = get(announced, "/nothing-here")
    assert missing.status == 404
    assert "Cette page n’existe pas." in missing.text and "This page does not exist." in missing.text
    assert "content-security-policy" in missing.headers
    assert get(announced, "/.well-known/security.txt").status == 404, "nobody has set a day for it"
    assert get(announced, "/favicon.ico").headers["location"].endswith("/icon.svg")


def test_verify_agrees(announced: Applied) -> None:
    found = json.loads(announced.cli("verify", "--only", "portal", "--json", check=False).stdout)["checks"]
    assert len(found) >= 15
    assert not [check for check in found if check["outcome"] == "failed"]
