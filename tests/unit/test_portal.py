"""The portal's pages: what they say follows from claims and from the site file, and nothing is made up."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest
from toysite import make_role, make_site

from houblon.errors import BadInput
from houblon.kit import Kit
from houblon.roles.portal import ROOT, Portal, dates
from houblon.site import Site, load

SIGN_IN = ("Provides('sso')", "Vhost(f'auth.{self.site.domain}', root='/srv/auth')")
LEGAL = """\
portal:
  contact: bonjour@famille.test
  abuse: abus@famille.test
  publisher:
    name: Les <Houblonnières>
    address: |
      12 rue de la Brasserie
      67000 Strasbourg
    phone: "+33 3 99 00 00 00"
    director: Awa Diallo
  hosting:
    name: Hébergeur & fils
    address: 1 allée des Serveurs
    phone: "+33 3 00 00 00 00"
  join:
    fr: Venez à la permanence.
  terms: https://famille.test/terms?a=1&b=2
  chatons: true
  promises:
    - en: We answer within a week.
  security_until: 2027-06-01
"""


def made(folder: Path, services: str = "portal:\n") -> tuple[Site, dict[str, str]]:
    """A site, and every text file of its portal by path below its root."""
    site = load(make_site(folder, services=services))
    role = site.role("portal")
    kit = Kit(site, role, None)  # type: ignore[arg-type]  # its stages need no secret
    role.configure(kit)
    items = [item for batch in kit.batches for item in batch.items]
    return site, {item.path.removeprefix(ROOT): item.content.decode() for item in items}  # type: ignore[union-attr]


def remarks(site: Site) -> list[str]:
    """What `houblon check` says about the portal."""
    return [note for note in site.notes if note.startswith("portal:")]


def portal(site: Site) -> Portal:
    role = site.role("portal")
    assert isinstance(role, Portal)
    return role


@pytest.mark.parametrize(
    ("claims", "french", "english"),
    [
        ((), "tout le monde, sans compte", "everyone, without an account"),
        (("Accounts()", "Secret('directory', description='x')"), "toute personne qui a un compte", "everyone with"),
        (("Accounts(groups=('bureau',))", "Secret('directory', description='x')"), "membres du groupe bureau",
         "members of the group bureau"),
        (("OidcClient(redirect=('https://pad.test/',), groups=('b', 'a'))", "Secret('oidc', description='x')",
          "Provides('sso')"), "membres des groupes a, b", "members of the groups a, b"),
    ],
)  # fmt: skip
def test_who_may_use_a_service(tmp_path: Path, claims: tuple[str, ...], french: str, english: str) -> None:
    make_role(tmp_path, "pad", "Vhost(f'pad.{self.site.domain}', root='/srv/pad')", *claims)
    site, pages = made(tmp_path, "portal:\npad:\n")
    assert portal(site).entries("fr")[0].who == french
    assert f"<dd>{french}</dd>" in pages["/fr/index.html"]
    assert english in pages["/en/index.html"]


def test_members_read_their_own_name_of_a_service_and_the_programs_name_with_its_licence(tmp_path: Path) -> None:
    make_role(tmp_path, "pad", "Vhost(f'pad.{self.site.domain}', root='/srv/pad')")
    pad = tmp_path / "roles/pad/__init__.py"
    pad.write_text(pad.read_text().replace('title="pad"', 'title="Etherpad", called=tr(en="Pads", fr="Blocs")'))
    _, pages = made(tmp_path, "portal:\npad:\n")
    assert ">Blocs</a></h3>" in pages["/fr/index.html"] and ">Pads</a></h3>" in pages["/en/index.html"]
    assert "<strong>Etherpad</strong>" in pages["/fr/a-propos/index.html"]


def test_people_are_led_to_the_page_of_their_account(tmp_path: Path) -> None:
    make_role(tmp_path, "gate", *SIGN_IN, "Accounts()", "Secret('directory', description='x')")
    _, pages = made(tmp_path, "portal:\ngate:\n")
    assert 'class="button" href="https://auth.famille.test/"' in pages["/fr/index.html"]
    assert "choisir" in pages["/fr/index.html"], "and told how to get one"


def test_without_accounts_there_is_no_word_of_them(tmp_path: Path) -> None:
    _, pages = made(tmp_path)
    assert 'id="account"' not in pages["/fr/index.html"]


def test_backups_are_told_as_they_are(tmp_path: Path) -> None:
    make_role(tmp_path, "pad", "Vhost(f'pad.{self.site.domain}', root='/srv/pad')", "BackupSet(paths=('/srv/pad',))")
    pad = tmp_path / "roles/pad/__init__.py"
    pad.write_text(pad.read_text().replace('yield NoBackup(tr(en="Nothing is kept.", fr="Rien n\'est gardé."))', ""))
    _, pages = made(tmp_path, "portal:\npad:\n")
    assert "Nothing on this site is backed up yet." in pages["/en/about/index.html"]
    assert "<strong>pad</strong>: not backed up yet" in pages["/en/about/index.html"]
    make_role(tmp_path, "saver", attributes="consumes = (BackupSet,)", category="system")
    _, pages = made(tmp_path, "portal:\npad:\n")
    assert "<strong>pad</strong>: backed up" in pages["/en/about/index.html"]
    assert "Nothing on this site is backed up yet." not in pages["/en/about/index.html"]


def test_what_is_missing_is_said_and_never_made_up(tmp_path: Path) -> None:
    site, pages = made(tmp_path)
    (note,) = remarks(site)
    assert "contact, publisher, hosting;" in note
    about = pages["/fr/a-propos/index.html"]
    assert "L’éditeur n’est pas encore renseigné." in about
    assert about.count("pas encore renseigné</span>") == 1
    assert portal(site).contact == portal(site).abuse == "camille@famille.test"
    assert "/.well-known/security.txt" not in pages


def test_the_legal_notice_says_what_was_set(tmp_path: Path) -> None:
    site, pages = made(tmp_path, LEGAL)
    assert remarks(site) == []
    french, english = pages["/fr/a-propos/index.html"], pages["/en/about/index.html"]
    for page in (french, english):
        assert "Les &lt;Houblonnières&gt;" in page
        assert "12 rue de la Brasserie<br>67000 Strasbourg" in page
        assert "Hébergeur &amp; fils" in page and "Awa Diallo" in page
        assert 'href="mailto:bonjour@famille.test"' in page and 'href="mailto:abus@famille.test"' in page
        assert 'href="https://famille.test/terms?a=1&amp;b=2"' in page
        assert "www.chatons.org/charte" in page and 'class="missing"' not in page
    assert '<p lang="en">We answer within a week.</p>' in french
    assert "<dd>Les &lt;Houblonnières&gt;</dd>" in pages["/fr/vie-privee/index.html"], "they answer for the data"
    assert pages["/.well-known/security.txt"].splitlines() == [
        "Contact: mailto:bonjour@famille.test", "Expires: 2027-06-01T00:00:00Z", "Preferred-Languages: fr, en",
        "Canonical: https://famille.test/.well-known/security.txt",
    ]  # fmt: skip


def test_a_person_may_stay_anonymous(tmp_path: Path) -> None:
    hosting = "{name: B, address: C, phone: '+33100000000'}"
    private = f"portal:\n  contact: a@famille.test\n  anonymous: true\n  hosting: {hosting}\n"
    site, pages = made(tmp_path, private)
    assert remarks(site) == []
    assert "reste anonyme, comme la loi le permet" in pages["/fr/a-propos/index.html"]
    assert 'class="missing"' not in pages["/en/about/index.html"]


def test_a_member_of_chatons_has_terms(tmp_path: Path) -> None:
    site, _ = made(tmp_path, LEGAL.replace("  terms: https://famille.test/terms?a=1&b=2\n", ""))
    assert "until you set terms;" in remarks(site)[0]


def test_half_a_legal_notice_is_remarked(tmp_path: Path) -> None:
    half = "portal:\n  contact: a@famille.test\n  publisher: {name: Moi}\n  hosting: {name: Eux}\n"
    site, pages = made(tmp_path, half)
    assert "publisher.address, publisher.phone, publisher.director, hosting.address, hosting.phone;" in remarks(site)[0]
    assert pages["/en/about/index.html"].count("not given yet") == 5


def test_who_else_sees_personal_data(tmp_path: Path) -> None:
    for known in ("portal:\n", "portal:\n  publisher: {name: Moi}\n"):
        _, pages = made(tmp_path, known)
        assert "whose services the site uses" not in pages["/en/privacy/index.html"], "nobody, as far as it knows"
    at_home = LEGAL.replace("name: Hébergeur & fils", "name: les <houblonnières>")
    make_role(tmp_path, "post", attributes="provides = ('mailer',)")
    make_role(tmp_path, "bell", "Outbound('a chat')", attributes="provides = ('alerts',)")
    _, pages = made(tmp_path, f"{at_home}post:\nbell:\n")
    page = pages["/en/privacy/index.html"]
    assert "<li>the service that carries alarms to the admins</li>" in page
    assert "the mail relay" not in page, "its mail stays here"
    assert "(provider of the machine)" not in page, "the publisher's own machine"


def test_the_provider_and_the_relay_are_named(tmp_path: Path) -> None:
    make_role(tmp_path, "post", "Outbound('a relay')", attributes="provides = ('mailer',)")
    _, pages = made(tmp_path, f"{LEGAL}post:\n")
    french, english = pages["/fr/vie-privee/index.html"], pages["/en/privacy/index.html"]
    assert "<li>Hébergeur &amp; fils (hébergeur de la machine)</li>" in french
    assert "<li>le relais de messagerie, qui achemine les courriels du site</li>" in french
    assert "<li>the mail relay, which carries the site’s mail</li>" in english
    assert "carries alarms" not in english


def test_privacy_follows_from_the_claims(tmp_path: Path) -> None:
    make_role(
        tmp_path, "pad", "Vhost(f'pad.{self.site.domain}', root='/srv/pad')",
        "PersonalData(tr(en='Texts of pads', fr='Textes des pads'), where='/srv/pad/secret-place', retention_days=730)",
        "PersonalData(tr(en='Names', fr='Noms'), where='PostgreSQL', retention_days=None)",
    )  # fmt: skip
    _, pages = made(tmp_path, "portal:\npad:\n")
    french, english = pages["/fr/vie-privee/index.html"], pages["/en/privacy/index.html"]
    assert "Textes des pads" in french and "<dd>2 ans</dd>" in french and "<dd>PostgreSQL</dd>" in french
    assert "Texts of pads" in english and "<dd>as long as the account</dd>" in english
    assert "secret-place" not in french + english
    assert french.index("Textes des pads") < french.index("Le serveur lui-même")
    assert "www.cnil.fr" in french and "camille@famille.test" in french


def test_every_page_leads_to_itself_in_the_other_language(tmp_path: Path) -> None:
    site, pages = made(tmp_path)
    by_key = {(page.key, page.language): page.path for page in portal(site).pages()}
    assert len(by_key) == 8
    for (key, language), path in by_key.items():
        other = "en" if language == "fr" else "fr"
        assert f'<html lang="{language}">' in pages[f"{path}index.html"]
        assert f'<a href="{by_key[key, other]}" hreflang="{other}" lang="{other}">' in pages[f"{path}index.html"]


def test_a_site_in_one_language_has_one(tmp_path: Path) -> None:
    file = make_site(tmp_path, services="portal:\n") / "site.yaml"
    file.write_text(file.read_text().replace("admins:", "languages: [en]\nadmins:"))
    role = portal(load(tmp_path))
    kit = Kit(role.site, role, None)  # type: ignore[arg-type]
    role.configure(kit)
    paths = [item.path for batch in kit.batches for item in batch.items]  # type: ignore[union-attr]
    assert not [path for path in paths if "/fr/" in path]
    assert f"{ROOT}/en/privacy/index.html" in paths


@pytest.mark.parametrize(
    ("settings", "key", "complaint"),
    [
        ("contact: nobody", "contact", "not an e-mail address"),
        ("publisher: {address: Ici}", "publisher", "`name` is missing"),
        ("publisher: {name: ''}", "publisher.name", "empty"),
        ("publisher: {name: A, phone: call me}", "publisher.phone", "not a phone number"),
        ("hosting: {name: A, phone: 123456789}", "hosting.phone", "this must be text"),
        ("hosting: {name: A, address: '" + "x" * 600 + "'}", "hosting.address", "too long"),
        ("terms: http://famille.test/", "terms", "not the address of a page"),
        ("terms: 'https://famille.test/\" onclick='", "terms", "not the address of a page"),
        ("join: {}", "join", "this says nothing"),
        ("promises: [{de: Ja}]", "promises[0].de", "unknown key"),
        ("security_until: 2027-02-30", "security_until", "not a day"),
        ("securty_until: 2027-02-03", "securty_until", "unknown key"),
    ],
)
def test_bad_settings_are_refused_with_their_key(tmp_path: Path, settings: str, key: str, complaint: str) -> None:
    with pytest.raises(BadInput) as caught:
        load(make_site(tmp_path, services=f"portal:\n{textwrap.indent(settings, '  ')}\n"))
    error = caught.value
    assert error.key == f"services.portal.{key}"
    assert complaint in error.what and error.line and error.cure


@pytest.mark.parametrize(
    ("days", "french", "english"),
    [(None, "aussi longtemps que le compte", "as long as the account"), (1, "un jour", "one day"),
     (14, "14 jours", "14 days"), (365, "un an", "one year"), (1095, "3 ans", "3 years")],
)  # fmt: skip
def test_retention_in_words(days: int | None, french: str, english: str) -> None:
    assert (dates.retention(days, "fr"), dates.retention(days, "en")) == (french, english)
