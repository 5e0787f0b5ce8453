"""Announcements: what people type and write, judged, kept in files that git can merge, and shown."""

from __future__ import annotations

import json
import re
import subprocess
import zoneinfo
from datetime import UTC, datetime, timedelta
from pathlib import Path
from xml.etree import ElementTree

import pytest
from toysite import make_role, make_site

from houblon import announcements, announcing
from houblon.announcements import Said
from houblon.cli.app import run
from houblon.errors import BadInput, Exit
from houblon.kit import Kit
from houblon.roles.portal import ROOT, Portal, dates
from houblon.site import Site, load

PARIS = zoneinfo.ZoneInfo("Europe/Paris")
NOW = "2026-11-22 18:00"
ATOM = "{http://www.w3.org/2005/Atom}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = make_site(tmp_path / "site", services="portal:\npad:\n")
    make_role(folder, "pad", "Vhost(f'pad.{self.site.domain}', root='/srv/pad')")
    return folder


def announce(folder: Path, *arguments: str) -> int:
    return run(["announce", *arguments, "--site", str(folder)])


def rendered(site: Site) -> dict[str, str]:
    """Every text file of the portal, by path below its root."""
    role = site.role("portal")
    kit = Kit(site, role, None)  # type: ignore[arg-type]  # its stages need no secret
    role.configure(kit)
    return {
        item.path.removeprefix(ROOT): item.content.decode() for batch in kit.batches for item in batch.items
    }  # type: ignore[union-attr]


def make(folder: Path, text: str = "Changement de disque.", **options: str | None) -> announcements.Known:
    site = load(folder)
    values: dict[str, str | None] = {"kind": "maintenance", "service": None, "ends": None, "begins": "2026-12-01 22:00"}
    values |= options
    return announcing.create(site, PARIS, said=announcing.texts(site, text, None, None), now=NOW, **values)  # type: ignore[arg-type]


def write(folder: Path, text: str, name: str = "2026-12-01-pad.yaml") -> None:
    (folder / "announcements").mkdir(exist_ok=True)
    (folder / "announcements" / name).write_text(text)


GOOD = """\
kind: maintenance
text:
  fr: Changement de disque.
published: 2026-11-22 18:00
begins: 2026-12-01 22:00
"""


# --- the command ------------------------------------------------------------------------------------------


def test_an_incident_from_its_first_word_to_its_end(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert announce(folder, "incident", "Les pads sont en panne.", "--en", "Pads are down.", "--service", "pad") == 0
    (file,) = (folder / "announcements").iterdir()
    said = capsys.readouterr().out
    assert file.stem in said and f"houblon apply {folder} --only portal" in said
    assert announce(folder, "update", file.stem, "Un disque est plein.") == 0
    assert announce(folder, "close", file.stem, "Tout marche de nouveau.", "--en", "All is well.") == 0
    capsys.readouterr()
    assert announce(folder, "list") == 0
    assert "Nothing is announced. 1 are over: --all shows them." in capsys.readouterr().out
    assert announce(folder, "list", "--all", "--json") == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["kind"] == "incident" and row["service"] == "pad" and row["closed"] >= row["begins"]
    assert [update["text"].get("en") for update in row["updates"]] == [None, "All is well."]
    assert announce(folder, "close", file.stem) == Exit.BAD_INPUT
    assert f"{file.stem} was closed on" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("incident",), "there is nothing to say"),
        (("incident", "   "), "this text is empty"),
        (("incident", "x" * 10_000), "this text has 10000 characters"),
        (("incident", "a\x07b"), "control characters"),
        (("incident", "abc\u202edef"), "control characters"),
        (("incident", "En français.", "--fr", "Encore."), "both in this site's first language"),
        (("incident", "Panne.", "--service", "pda"), "this site has no service `pda`"),
        (("incident", "Panne.", "--service", "nginx"), "this site has no service `nginx`"),
        (("incident", "Panne.", "--from", "demain"), "this is not a date with a time of day"),
        (("maintenance", "Disque."), "--from is missing"),
        (("maintenance", "Disque.", "--from", "2026-13-01 22:00"), "there is no such day"),
        (("maintenance", "Disque.", "--from", "2027-02-29 22:00"), "there is no such day"),
        (("maintenance", "Disque.", "--from", "2027-02-28 25:00"), "there is no such day or time of day"),
        (("maintenance", "Disque.", "--from", "0026-12-01 22:00"), "the year 26 is not meant"),
        (("maintenance", "Disque.", "--from", "2027-03-28 02:30"), "clocks in Europe/Paris skip 2027-03-28 02:30"),
        (("maintenance", "Disque.", "--from", "2099-12-01 22:00", "--to", "2099-12-01 21:00"), "before it begins"),
        (("maintenance", "Disque.", "--from", "2020-12-01 22:00"), "this maintenance is over since 2020-12-01"),
        (("update", "2026-01-01-nothing", "Hm."), "there is no announcement `2026-01-01-nothing`"),
        (("close", "../../site"), "there is no announcement `../../site`"),
        (("close", "x" * 10_000), "there is no announcement"),
    ],
)
def test_what_makes_no_sense_is_refused_and_nothing_is_written(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], complaint: str
) -> None:
    before = sorted(folder.rglob("*"))
    assert announce(folder, *arguments) == Exit.BAD_INPUT
    said = capsys.readouterr().err
    assert complaint in " ".join(said.split())
    assert len(said.splitlines()) <= 40
    assert sorted(folder.rglob("*")) == before


def test_a_site_without_pages_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert announce(make_site(tmp_path), "incident", "Panne.") == Exit.BAD_INPUT
    assert "Write `portal:` under `services:`" in " ".join(capsys.readouterr().err.split())


def test_a_near_name_is_suggested(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    known = make(folder)
    assert announce(folder, "close", known.id[:-1]) == Exit.BAD_INPUT
    assert f"Did you mean `{known.id}`?" in capsys.readouterr().err


def test_a_language_the_site_does_not_have_is_refused(tmp_path: Path) -> None:
    folder = make_site(tmp_path, services="portal:\n")
    file = folder / "site.yaml"
    file.write_text(file.read_text().replace("admins:", "languages: [fr]\nadmins:"))
    with pytest.raises(BadInput, match="no pages in that language"):
        announcing.texts(load(folder), "Bonjour.", None, "Hello.")


def test_maintenance_that_should_be_over_is_pointed_out(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(folder, GOOD.replace("2026-12-01 22:00", "2020-12-01 22:00\nends: 2020-12-02 01:00"))
    assert announce(folder, "list") == 0
    assert "2026-12-01-pad was to end 2020-12-02 01:00" in " ".join(capsys.readouterr().err.split())


# --- the files --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [
    "oui", "123", "null", "no", "- a", "# a", "a: b", "'", '"', "{{ 7*7 }}", "ligne\n\nautre: #1\n  x", "été 😀",
    "x" * 5000, "l'eau \u00ab\u00a0chaude\u00a0\u00bb\u202f!", "2026-12-01", "&a *b !c", "a\n...\n---\nb",
])  # fmt: skip
def test_what_is_written_is_read_again(folder: Path, text: str) -> None:
    known = make(folder, text, ends="2026-12-01 23:00")
    (again,) = announcements.load(load(folder))
    assert again.said == known.said
    assert again.said.text.fr == announcements.words(text)
    later = announcing.update(again, Said(fr=text, en=text), "2026-12-01 22:10")
    assert announcements.read(later.file, PARIS).said == later.said
    assert later.said.updates[0].text.en == announcements.words(text)


def test_comments_and_order_stay(folder: Path) -> None:
    write(folder, f"# asked by the committee\n{GOOD}")
    (known,) = announcements.load(load(folder))
    announcing.close(announcing.update(known, Said(fr="Reporté."), "2026-11-23 10:00"), None, "2026-11-23 10:05")
    text = known.file.read_text()
    assert text.startswith(f"# asked by the committee\n{GOOD}")
    assert announcements.read(known.file, PARIS).called_off


def test_two_announcements_of_one_name_are_two_files(folder: Path) -> None:
    names = {make(folder).id, make(folder).id, make(folder, "🌿").id, make(folder, service="pad").id}
    assert names == {
        "2026-12-01-changement-de-disque", "2026-12-01-changement-de-disque-2", "2026-12-01-maintenance",
        "2026-12-01-pad",
    }  # fmt: skip


def test_two_people_announce_at_once_and_git_merges(folder: Path, tmp_path: Path) -> None:
    def git(where: Path, *arguments: str) -> None:
        identity = ["-c", "user.name=a", "-c", "user.email=a@a.test", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", "-C", where, *identity, *arguments], check=True, capture_output=True)

    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "site")
    other = tmp_path / "other"
    git(tmp_path, "clone", "-q", str(folder), str(other))
    make(folder, service="pad", kind="incident", begins=None)
    make(other)
    for one in (folder, other):
        git(one, "add", ".")
        git(one, "commit", "-q", "-m", "announce")
    git(other, "pull", "-q", "--no-rebase", "--no-edit")
    assert len(announcements.load(load(other))) == 2


@pytest.mark.parametrize(
    ("old", "new", "line", "key", "complaint"),
    [
        ("kind: maintenance", "kind: outage", 1, "kind", "none of the values"),
        ("begins: 2026-12-01 22:00", "begins: 2026-12-01", 5, "begins", "not a date with a time of day"),
        ("begins: 2026-12-01 22:00", "begin: 2026-12-01 22:00", 5, "begin", "unknown key"),
        ("kind: maintenance", "ends: 2026-11-01 10:00\nkind: maintenance", 1, "ends", "ends before it begins"),
        ("begins: 2026-12-01 22:00", "begins: 2027-03-28 02:30", 5, "begins", "skip this time"),
        ("  fr: Changement de disque.", "  {}", 2, "text", "this says nothing"),
        ("  fr: Changement de disque.", "  de: Plattenwechsel.", 3, "text.de", "unknown key"),
        ("  fr: Changement de disque.", "  fr: 12", 3, "text.fr", "this must be text"),
        ("published: 2026-11-22 18:00\n", "", None, None, "`published` is missing"),
    ],
)
def test_mistakes_in_a_file_are_told_with_their_line(
    folder: Path, old: str, new: str, line: int | None, key: str | None, complaint: str
) -> None:
    assert old in GOOD
    write(folder, GOOD.replace(old, new))
    with pytest.raises(BadInput) as caught:
        load(folder)
    error = caught.value
    assert error.file == folder / "announcements" / "2026-12-01-pad.yaml"
    assert (error.line, error.key) == (line, key)
    assert complaint in error.what and error.cure


@pytest.mark.parametrize("name", ["pad.yaml", "2026-12-01.yaml", "2026-12-01-pad.yml", "2026-12-01-PAD.yaml"])
def test_files_of_other_names_are_refused(folder: Path, name: str) -> None:
    write(folder, GOOD, name)
    with pytest.raises(BadInput, match="not the name of an announcement"):
        load(folder)


def test_a_service_that_is_gone_breaks_nothing_and_is_told_while_open(folder: Path) -> None:
    write(folder, f"{GOOD}service: wiki\n")
    site = load(folder)
    assert any("2026-12-01-pad.yaml" in note and "no service `wiki`" in note for note in site.notes)
    assert "<dd>wiki</dd>" in rendered(site)["/fr/incidents/index.html"]
    write(folder, f"{GOOD}service: wiki\nclosed: 2026-12-02 01:00\n")
    assert not any("wiki" in note for note in load(folder).notes)


# --- the pages --------------------------------------------------------------------------------------------


def test_html_and_commands_in_a_text_stay_text(folder: Path) -> None:
    make(folder, '<script>alert(1)</script> <!--# include virtual="/x" --> & "q"', kind="incident", begins=None)
    pages = rendered(load(folder))
    for path in ("/index.html", "/fr/index.html", "/en/incidents/index.html", "/fr/incidents.atom"):
        assert "<script" not in pages[path] and "include virtual=&#34;/x&#34;" in pages[path]


def test_a_text_in_one_language_says_so_on_the_other_page(folder: Path) -> None:
    make(folder)
    pages = rendered(load(folder))
    assert '<p lang="fr">Changement de disque.</p>' in pages["/en/incidents/index.html"]
    assert "<p>Changement de disque.</p>" in pages["/fr/incidents/index.html"]
    assert "mardi 1er décembre 2026 à\u00a022\u00a0h\u00a000" in pages["/fr/index.html"]
    english = '<time datetime="2026-12-01T22:00+01:00">Tuesday 1 December 2026 at\u00a022:00</time>'
    assert english in pages["/en/index.html"]


def test_incidents_stand_before_maintenance_and_the_nearest_comes_first(folder: Path) -> None:
    make(folder, "loin", begins="2027-01-01 10:00")
    make(folder, "bientôt")
    make(folder, "panne", kind="incident", begins="2026-01-01 10:00")
    portal = load(folder).role("portal")
    assert isinstance(portal, Portal)
    assert [one.said.text.fr for one in portal.current()] == ["panne", "bientôt", "loin"]


def test_closed_announcements_leave_the_front_page_and_stay_in_the_list(folder: Path) -> None:
    announcing.close(make(folder), None, "2026-12-02 00:30")
    pages = rendered(load(folder))
    assert "Changement" not in pages["/fr/index.html"]
    assert "terminée" in pages["/fr/incidents/index.html"]
    assert "<title>Maintenance (done):" in pages["/en/incidents.atom"]


def test_the_feed_is_what_rfc_4287_asks_for(folder: Path) -> None:
    known = make(folder, "Première ligne & " + "x" * 120 + "\n\nDeuxième.", ends="2026-12-01 23:00")
    announcing.update(known, Said(en="Still <planned>."), "2026-11-23 09:00")
    announcing.close(make(folder, "Panne.", kind="incident", begins=None), None, "2026-11-22 19:00")
    pages = rendered(load(folder))
    ids: dict[str, list[str]] = {}
    for language in ("fr", "en"):
        text = pages[f"/{language}/incidents.atom"]
        feed = ElementTree.fromstring(text)  # noqa: S314 - our own text
        assert feed.tag == f"{ATOM}feed"
        entries = feed.findall(f"{ATOM}entry")
        assert len(entries) == 2
        for element in (feed, *entries):  # sections 4.1.1 and 4.1.2: exactly one of each
            for name in ("id", "title", "updated"):
                assert len(element.findall(f"{ATOM}{name}")) == 1, name
        assert feed.findtext(f"{ATOM}author/{ATOM}name") == "Famille Exemple"
        (own,) = [one for one in feed.findall(f"{ATOM}link") if one.get("rel") == "self"]
        assert own.get("href") == f"https://famille.test/{language}/incidents.atom"
        moments = [e.text or "" for e in feed.iter() if e.tag in (f"{ATOM}updated", f"{ATOM}published")]
        assert all(datetime.fromisoformat(moment).tzinfo is not None for moment in moments)  # RFC 3339, section 3.3
        assert feed.findtext(f"{ATOM}updated") == max(moments)
        for entry in entries:
            assert entry.find(f"{ATOM}content/{{http://www.w3.org/1999/xhtml}}div") is not None  # section 4.1.3.3
            (link,) = entry.findall(f"{ATOM}link")
            anchor = (link.get("href") or "").removeprefix(f"https://famille.test/{language}/incidents/#")
            assert f'id="{anchor}"' in pages[f"/{language}/incidents/index.html"]
        ids[language] = [entry.findtext(f"{ATOM}id") or "" for entry in entries]
        assert len(set(ids[language])) == 2
    assert ids["fr"] == ids["en"], "one announcement is one entry, whatever its language"


def test_an_empty_feed_is_valid_too(folder: Path) -> None:
    feed = ElementTree.fromstring(rendered(load(folder))["/en/incidents.atom"])  # noqa: S314 - our own text
    assert feed.findtext(f"{ATOM}updated") == "1970-01-01T00:00:00Z"


def test_planning_has_no_clock(folder: Path) -> None:
    make(folder, ends="2026-12-01 23:00")
    assert rendered(load(folder)) == rendered(load(folder))


@pytest.mark.parametrize("text", ["2026-12-01 22:00", "2026-12-31 23:59", "2029-09-19 19:59", "2028-02-29 00:00"])
def test_the_clock_of_a_served_page_compares_by_pattern(text: str) -> None:
    when = announcements.aware(text, PARIS)
    pattern = re.compile(dates.since(when))
    for days in (0, 1, 9, 31, 365, 3650, 20000):
        for minutes in (0, 1, 7, 59, 60, 61, 600, 1439):
            span = timedelta(days=days, minutes=minutes)
            later = (when.astimezone(UTC) + span).strftime(dates.STAMP)
            earlier = (when.astimezone(UTC) - span).strftime(dates.STAMP)
            assert pattern.match(later), later
            assert not pattern.match(earlier) or not span, earlier
    assert len(pattern.pattern) < 400, "nginx would leave a longer command out"
