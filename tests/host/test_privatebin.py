"""PrivateBin as authors, readers and their programs meet it: over TLS, with a client from PyPI and in Chromium."""

from __future__ import annotations

import datetime
import re
import ssl
from collections.abc import Callable, Iterator

import httpx
import pytest
from cryptography.exceptions import InvalidTag
from privatebin import Compression, Expiration, PrivateBin, PrivateBinError

from houblon.lab import Lab
from houblon.roles.privatebin.checks import CSP, HIDDEN
from tests.host.browser import chromium
from tests.host.cached import need
from tests.host.phptoy import add_toy
from tests.host.sites import Applied, make_site, wait_until

pytestmark = pytest.mark.host

SERVICES = """\
  portal:
  privatebin:
    address_days: 30
  toy:
"""
PURGE = "houblon-privatebin-purge"


class ToHost(httpx.HTTPTransport):
    """Every name leads to one address; certificates are judged by the name."""

    def __init__(self, address: str, roots: ssl.SSLContext) -> None:
        super().__init__(verify=roots)
        self.address = address

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.extensions["sni_hostname"] = request.url.host
        request.url = request.url.copy_with(host=self.address)
        return super().handle_request(request)


@pytest.fixture(scope="module")
def paste(fresh_lab: Callable[..., Lab], tmp_path_factory: pytest.TempPathFactory) -> Applied:
    """A host with the service, and another service's PHP programs; applied once."""
    need("privatebin")
    lab = fresh_lab()
    site = make_site(lab, tmp_path_factory.mktemp("sites") / "paste", services=SERVICES)
    add_toy(site.site_folder)
    override = site.site_folder / "overrides" / "nginx" / f"paste.{lab.domain}.conf"
    override.parent.mkdir(parents=True)
    override.write_text('more_set_headers "X-Own: 1";\n')
    lab.set_records([(name, "A", site.host.address) for name in ("@", "paste", "toya", "toyb")])
    site.cli("apply", "--yes", "--accept-new", timeout=900)
    return site


@pytest.fixture
def web(paste: Applied) -> Iterator[httpx.Client]:
    roots = ssl.create_default_context(cafile=str(paste.site_folder / "acme-roots.pem"))
    to_host = ToHost(paste.host.address, roots)
    with httpx.Client(transport=to_host, base_url=f"https://paste.{paste.lab.domain}/") as made:
        yield made


@pytest.fixture
def client(paste: Applied, web: httpx.Client) -> PrivateBin:
    """For whom the ten seconds since the last text are over."""
    forget(paste)
    return PrivateBin(str(web.base_url), client=web)


def sql(site: Applied, query: str) -> str:
    return site.sh(f"runuser -u privatebin -- psql -XAtq -h /run/postgresql -c \"{query}\"").strip()


def forget(site: Applied) -> None:
    sql(site, "UPDATE privatebin_config SET value = '[]' WHERE id = 'TRAFFIC_LIMITER'")


def test_a_text_is_sent_and_read(client: PrivateBin) -> None:
    sent = client.create("C'est déjà l'été ! 🌿", expiration=Expiration.ONE_DAY)
    for _ in range(2):
        read = client.get(id=sent.url.id, passphrase=sent.url.passphrase)
        assert read.text == "C'est déjà l'été ! 🌿"
        assert read.time_to_live is not None and read.time_to_live <= datetime.timedelta(days=1)
    client.delete(id=sent.url.id, delete_token=sent.delete_token)
    with pytest.raises(PrivateBinError, match="n'existe pas"):
        client.get(id=sent.url.id, passphrase=sent.url.passphrase)


def test_what_burns_is_read_once(paste: Applied, client: PrivateBin) -> None:
    sent = client.create("once", burn_after_reading=True)
    assert client.get(id=sent.url.id, passphrase=sent.url.passphrase).text == "once"
    with pytest.raises(PrivateBinError, match="n'existe pas"):
        client.get(id=sent.url.id, passphrase=sent.url.passphrase)
    assert sent.url.id not in sql(paste, "SELECT dataid FROM privatebin_paste").splitlines()


def test_without_the_password_nothing_is_read(client: PrivateBin) -> None:
    sent = client.create("secret", password="sésame")
    assert client.get(id=sent.url.id, passphrase=sent.url.passphrase, password="sésame").text == "secret"
    for wrong in ("sesame", None):
        with pytest.raises(InvalidTag):
            client.get(id=sent.url.id, passphrase=sent.url.passphrase, password=wrong)


def test_the_server_never_has_the_text(paste: Applied, client: PrivateBin) -> None:
    client.create("houblon-mark-2 " * 50, compression=Compression.NONE)
    assert "houblon-mark-2" not in paste.sh("runuser -u postgres -- pg_dump privatebin; cat /var/log/nginx/*.log")


def test_one_address_waits_between_two_texts(client: PrivateBin) -> None:
    client.create("one")
    with pytest.raises(PrivateBinError, match="attendre 10 secondes"):
        client.create("two")


def test_no_text_is_kept_for_ever(client: PrivateBin) -> None:
    sent = client.create("for ever", expiration=Expiration.NEVER)
    left = client.get(id=sent.url.id, passphrase=sent.url.passphrase).time_to_live
    assert left is not None and datetime.timedelta(days=6) < left <= datetime.timedelta(days=7)


def test_a_text_that_is_too_big_is_refused(paste: Applied, client: PrivateBin) -> None:
    with pytest.raises(PrivateBinError, match="limité"):
        client.create("a" * 1_800_000, compression=Compression.NONE)
    forget(paste)
    with pytest.raises(httpx.HTTPStatusError, match="413"):
        client.create("a" * 4_000_000, compression=Compression.NONE)
    forget(paste)
    client.create("a" * 1_300_000, compression=Compression.NONE)


def test_what_has_expired_is_deleted_unasked(paste: Applied, client: PrivateBin) -> None:
    old = client.create("old", expiration=Expiration.FIVE_MIN).url.id
    forget(paste)
    young = client.create("young").url.id
    sql(paste, f"UPDATE privatebin_paste SET expiredate = 1 WHERE dataid = '{old}'")  # noqa: S608
    assert sql(paste, "SELECT length(value) > 10 FROM privatebin_config WHERE id = 'TRAFFIC_LIMITER'") == "t"
    paste.sh(f"systemctl start {PURGE}.service")
    left = sql(paste, "SELECT dataid FROM privatebin_paste").splitlines()
    assert old not in left and young in left
    assert sql(paste, "SELECT value FROM privatebin_config WHERE id = 'TRAFFIC_LIMITER'") == "[]"


def test_a_purge_that_fails_is_told(paste: Applied) -> None:
    role = "cd / && runuser -u postgres -- psql -Xqc 'ALTER ROLE privatebin"
    paste.sh(f"{role} NOLOGIN'")
    try:
        paste.sh(f"! systemctl start {PURGE}.service")
        assert "not permitted to log in" in paste.sh(f"journalctl -u {PURGE} -n 20 --no-pager")
    finally:
        paste.sh(f"{role} LOGIN'; systemctl reset-failed {PURGE}.service")


def test_a_text_goes_from_browser_to_browser(paste: Applied) -> None:
    forget(paste)
    with chromium(paste) as browser:
        said: list[str] = []
        author = browser.new_context(ignore_https_errors=True, locale="fr-FR").new_page()
        author.on("console", lambda message: said.append(message.text))
        author.goto(f"https://paste.{paste.lab.domain}/")
        assert author.get_attribute("html", "lang") == "fr"
        assert author.title() == "Paste chiffré"
        options = author.locator("#pasteExpiration option").all_inner_texts()
        assert "1 semaine" in options and "Jamais" not in options
        author.fill("#message", "Rendez-vous à 18 h <b>au local</b>")
        author.check("#burnafterreading")
        author.click("#sendbutton")
        author.wait_for_selector("#pastelink a")
        link = author.get_attribute("#pastelink a", "href")
        assert link is not None and "#" in link

        reader = browser.new_context(ignore_https_errors=True, locale="de-DE").new_page()
        reader.on("console", lambda message: said.append(message.text))
        for text, found in (("Rendez-vous à 18 h <b>au local</b>", True), ("gibt es nicht", False)):
            reader.goto("about:blank")
            reader.goto(link)
            reader.click("#loadconfirm-open-now")
            if found:
                reader.wait_for_selector("#prettymessage, #plaintext", state="visible")
                assert reader.inner_text("#prettymessage:visible, #plaintext:visible").strip() == text
            else:
                reader.wait_for_selector("#errormessage", state="visible")
                assert text in reader.inner_text("#errormessage")
        broken = [text for text in said if "Content Security Policy" in text or "integrity" in text]
        assert not broken, broken


def test_the_browser_s_language_is_taken_when_the_site_has_several(web: httpx.Client) -> None:
    for asked, got in (("en", "en"), ("fr", "fr"), ("en-GB,fr;q=0.5", "en"), ("de", "de"), ("tlh", "fr"), ("", "fr")):
        web.cookies.clear()
        assert f'<html lang="{got}"' in web.get("", headers={"Accept-Language": asked}).raise_for_status().text, asked


def test_headers_are_upstream_s_and_the_site_s(web: httpx.Client) -> None:
    answer = web.get("")
    assert answer.headers.get_list("content-security-policy") == [CSP]
    assert answer.headers["x-own"] == "1", "the override"
    assert "x-powered-by" not in answer.headers
    assert web.get("js/privatebin.js").headers["cache-control"] == "max-age=86400"


@pytest.mark.parametrize("path", [*HIDDEN, "cfg/", "index.php/x", "i18n/", "js", "css/%2e%2e/cfg/conf.sample.php"])
def test_nothing_else_of_the_release_is_served(web: httpx.Client, path: str) -> None:
    assert web.get(path).status_code == 404


def test_another_service_gets_at_nothing(paste: Applied) -> None:
    for user in ("toyb", "www-data", "nobody"):
        for command in (
            "cat /etc/privatebin/conf.php",
            "psql -X -h /run/postgresql -d privatebin -c 'SELECT 1'",
            "psql -X -h /run/postgresql -U privatebin -d privatebin -c 'SELECT 1'",
            "ls /var/lib/php/houblon/privatebin/tmp",
        ):
            paste.sh(f"! runuser -u {user} -- {command}")
    # Code is root's, and the program cannot change it.
    assert paste.sh("find -L /opt/privatebin ! -user root -o -perm /022 -type f").strip() == ""


def test_who_sends_is_kept_as_declared_and_who_reads_is_not(paste: Applied, client: PrivateBin) -> None:
    sent = client.create("whose")
    client.get(id=sent.url.id, passphrase=sent.url.passphrase)
    log = paste.sh("cat /var/log/nginx/privatebin/sent.log")
    assert re.search(r"^[0-9a-f.:]+ \[.*\] paste\.\S+ \"POST / ", log, re.MULTILINE)
    assert "GET" not in log and sent.url.id not in log
    everybody = paste.sh("cat /var/log/nginx/access.log")
    # Plain HTTP is: nginx asks itself whether it is up, the authority asks for its challenge.
    assert not re.search(r' paste\.\S+ "\S+ /(?!\.well-known/)\S* \S+" (?!301 )', everybody)
    paste.sh("logrotate -f /etc/logrotate.d/houblon-privatebin")
    assert "maxage 30" in paste.sh("cat /etc/logrotate.d/houblon-privatebin")

    def written() -> bool:
        forget(paste)
        client.create("after")
        return "POST" in paste.sh("cat /var/log/nginx/privatebin/sent.log")

    wait_until(written, seconds=20)
    assert paste.sh("stat -c '%a %U' /var/log/nginx/privatebin /var/log/nginx/privatebin/sent.log").split() == [
        "750", "root", "640", "www-data",
    ]  # fmt: skip
    page = paste.sh("cat /srv/houblon/portal/fr/vie-privee/index.html")
    assert "Adresse de qui a envoyé un texte" in page and "30 jours" in page


def test_what_is_changed_by_hand_is_seen_and_put_back(paste: Applied) -> None:
    paste.sh(
        "sed -i 's/^discussion = false/discussion = true/' /etc/privatebin/conf.php;"
        " chmod 644 /etc/privatebin/conf.php; systemctl disable --now --quiet houblon-privatebin-purge.timer;"
        " echo 'php_admin_value[disable_functions] =' >>/etc/houblon/php/privatebin/fpm.conf"
    )
    seen = {change["subject"] for change in paste.plan()["changes"]}
    assert {"/etc/privatebin/conf.php", f"{PURGE}.timer", "/etc/houblon/php/privatebin/fpm.conf"} <= seen
    paste.cli("apply", "--yes")
    assert paste.plan()["changes"] == []
    assert paste.sh("stat -c %a /etc/privatebin/conf.php").strip() == "640"
    assert "X-Own" in paste.sh("cat /etc/nginx/houblon/overrides/paste.*.conf")


def test_without_days_nobody_s_address_is_kept(paste: Applied, client: PrivateBin) -> None:
    paste.edit("address_days: 30", "address_days: 0")
    paste.cli("apply", "--yes")
    client.create("nobody's")
    paste.sh("! test -e /var/log/nginx/privatebin && ! test -e /etc/logrotate.d/houblon-privatebin")
    assert f"paste.{paste.lab.domain} \"POST" not in paste.sh("cat /var/log/nginx/access.log")
    verified = paste.cli("verify", "--deep")
    assert "failed" not in verified.stdout
