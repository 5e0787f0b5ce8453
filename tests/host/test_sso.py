"""The sign-in page as people meet it: links, passwords, second factors, services, and those who should stay out."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from email.message import EmailMessage
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe

from houblon.verify.wire import Answer
from tests.host.people import People
from tests.host.signin import TOY, Person, SignIn, at_the_page, challenge, proven, someone, totp
from tests.host.sites import environment

pytestmark = pytest.mark.host

GOOD = "quatre mots bien longs"
BETTER = "encore quatre autres mots"
PEOPLE = ("s.lea", "s.tom", "s.eve", "s.ann", "s.new", "s.two", "s.out", "s.key", "s.far", "s.cut")
RING = ("s.lea", "s.out", "s.far")


@pytest.fixture(scope="module")
def signin(people: People) -> Iterator[SignIn]:
    """The site of `people` with one more service, for members of ``s.ring``."""
    done = SignIn(people)
    people.lab.set_records([(name, "A", people.host.address) for name in ("auth", "toy")])
    folder = people.site_folder / "roles" / "ssotoy"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(TOY)
    people.edit("services:\n", "services:\n  ssotoy:\n")
    people.cli("apply", "--yes")
    for name in PEOPLE:
        done.person(name, groups=("s.ring",) if name in RING else (), mail=f"{name}@{people.lab.domain}")
    with at_the_page(done):
        yield done
    people.edit("services:\n  ssotoy:\n", "services:\n")
    people.cli("apply", "--yes")
    subprocess.run(
        [sys.executable, "-m", "houblon", "remove", "ssotoy", str(people.site_folder), "--yes"],
        check=True, capture_output=True, env=environment(), stdin=subprocess.DEVNULL,
    )  # fmt: skip
    for name in PEOPLE:
        done.ldif(f"dn: uid={name},ou=people,o=houblon\nchangetype: delete\n")


@pytest.fixture
def visitor(signin: SignIn) -> Iterator[Person]:
    """Somebody with a French browser, who must not have called anybody else's server."""
    with someone(signin) as person:
        yield person
        strangers = {urlsplit(url).hostname for url in person.foreign if not url.startswith("data:")}
        assert all(str(name).endswith(signin.site.lab.domain) for name in strangers), strangers
        assert not person.blocked, "the page's policy forbids what the page does"


def ready(signin: SignIn, person: Person, name: str, password: str = GOOD) -> None:
    """Give somebody a password, the way everybody gets one."""
    person.choose(signin.links(name)[0], password)
    assert "Vous pouvez vous connecter" in person.said()


def test_a_link_leads_to_a_password_and_into_the_menu(signin: SignIn, visitor: Person) -> None:
    link = signin.links("s.lea")[0]
    visitor.choose(link, "court")
    assert visitor.said().startswith("Ce mot de passe est trop court : il faut 12 caractères ou plus")
    visitor.page.fill("#newpassword", GOOD)
    visitor.page.fill("#confirmpassword", "quatre mots bien longues")
    visitor.page.click("form.password button[type=submit]")
    unlike = visitor.page.evaluate("document.querySelector('#confirmpassword').validationMessage")
    assert unlike == "Les deux nouveaux mots de passe ne sont pas les mêmes."
    visitor.choose_here(GOOD)
    assert "Vous pouvez vous connecter" in visitor.said()
    visitor.send("#houblon-in")
    visitor.sign_in("s.lea", GOOD)
    assert visitor.inside()
    assert visitor.services()["Salon privé"] == "Pour le cercle."
    visitor.open(link)
    assert "déjà servi" in visitor.said()


def test_nothing_serious_keeps_anybody_from_using_the_page(signin: SignIn, visitor: Person) -> None:
    """axe-core's rules, on the pages everybody meets."""

    def judged() -> list[str]:
        visitor.page.wait_for_load_state("networkidle")
        found = Axe().run(visitor.page).response["violations"]
        return [f"{one['id']}: {one['help']}" for one in found if one["impact"] in ("serious", "critical")]

    visitor.open()
    assert judged() == []
    visitor.open(signin.links("s.new")[0])
    assert judged() == []
    visitor.choose_here(GOOD)
    visitor.open()
    visitor.sign_in("s.new", GOOD)
    assert judged() == []
    visitor.open("/2fregisters")
    assert judged() == []


def test_a_new_link_ends_the_earlier(signin: SignIn, visitor: Person) -> None:
    first = signin.links("s.new")[0]
    second, last = signin.links("s.new", "s.new")
    for dead in (first, second):
        visitor.open(dead)
        assert "déjà servi" in visitor.said()
    visitor.choose(last, GOOD)
    assert "Vous pouvez vous connecter" in visitor.said()


def test_a_link_expires(signin: SignIn, visitor: Person) -> None:
    link = signin.links("s.new", hours=1)[0]
    session = f"/var/lib/houblon-sso/sessions/{link.rpartition('=')[2]}"
    kept = json.loads(signin.site.sh(f"cat {session}"))
    hours = json.loads(signin.site.sh("cat /etc/houblon/sso/conf/lmConf-1.json"))["timeout"] / 3600
    assert abs(kept["_utime"] + hours * 3600 - time.time() - 3600) < 120
    visitor.open(link)
    assert visitor.page.locator("#newpassword").count() == 1
    kept["_utime"] -= 3600
    signin.site.host.console(["tee", session], input=json.dumps(kept).encode())
    visitor.page.fill("#newpassword", GOOD)
    visitor.page.fill("#confirmpassword", GOOD)
    visitor.send("form.password button[type=submit]")
    assert "trop vieux" in visitor.said()
    signin.site.sh("systemctl start houblon-sso-purge.service")
    assert signin.site.sh(f"test -e {session} || echo gone").strip() == "gone"


def test_many_links_in_one_call(signin: SignIn) -> None:
    made = signin.links(*(f"s.many{number}" for number in range(300)))
    assert len(set(made)) == 300
    again = signin.links(*(f"s.many{number}" for number in range(300)))
    assert not set(made) & set(again)
    left = signin.site.sh("ls /var/lib/houblon-sso/sessions")
    assert not any(link.rpartition("=")[2] in left for link in made)


@pytest.mark.parametrize(
    "line", ["[]", "{", '{"name": "../etc"}', '{"name": "s.x", "hours": 0}', '{"name": "a)(uid=*"}']
)
def test_a_wrong_line_makes_no_link(signin: SignIn, line: str) -> None:
    lines = '{"name": "s.tom"}\n' + line + "\n"
    done = signin.site.host.console(["/usr/local/lib/houblon/sso-link"], input=lines.encode(), check=False)
    assert done.returncode != 0
    assert done.stdout == b""
    assert b"line 2" in done.stderr


def test_a_person_changes_their_password(signin: SignIn, visitor: Person) -> None:
    ready(signin, visitor, "s.tom")
    visitor.sign_in("s.tom", GOOD)
    with someone(signin) as elsewhere:
        elsewhere.sign_in("s.tom", GOOD)
        assert elsewhere.inside()
        visitor.change("ce n'est pas le bon", BETTER)
        assert visitor.said() == "Votre mot de passe actuel n'est pas le bon."
        visitor.open()
        visitor.change(GOOD, "court")
        assert "trop court" in visitor.said()
        visitor.open()
        visitor.change(GOOD, BETTER)
        assert visitor.said() == "Votre nouveau mot de passe est en place."
        visitor.open()
        assert visitor.inside(), "the session in which it was changed goes on"
        elsewhere.open()
        assert not elsewhere.inside(), "others are over: whoever knew the old password may have been in"
        elsewhere.sign_in("s.tom", GOOD)
        assert elsewhere.said() == "Ce nom ou ce mot de passe n'est pas le bon."
        elsewhere.sign_in(f"s.tom@{signin.site.lab.domain}", BETTER)
        assert elsewhere.inside()


def test_a_password_chosen_by_link_ends_every_session(signin: SignIn, visitor: Person) -> None:
    ready(signin, visitor, "s.cut")
    with someone(signin) as elsewhere:
        elsewhere.sign_in("s.cut", GOOD)
        assert elsewhere.inside()
        visitor.choose(signin.links("s.cut")[0], BETTER)
        assert "Vous pouvez vous connecter" in visitor.said()
        elsewhere.open()
        assert not elsewhere.inside(), "whoever stole the old password may have been in"
    visitor.sign_in("s.cut", BETTER)
    assert visitor.inside()


def test_nobody_changes_a_password_without_a_session(signin: SignIn, visitor: Person) -> None:
    """LemonLDAP::NG's form for an old password: no second factor, and no line for the jail."""

    def counted() -> int:
        logged = signin.site.sh("journalctl -u lemonldap-ng-fastcgi-server -o cat -b")
        return logged.count("Bad password for s.cut (")

    ready(signin, visitor, "s.cut")
    before = counted()
    form = {"user": "s.cut", "newpassword": BETTER, "confirmpassword": BETTER}
    tries = [{"oldpassword": GOOD}, {"oldpassword": GOOD, "password": ""}, {"oldpassword": "ce n'est pas le bon"}]
    said = [signin.post("/", token=signin.token(), **form, **one).text for one in tries]
    assert [text.count('trmsg="1"') for text in said] == [1, 1, 1], "the same whether it is right or wrong"
    assert len(said[0].split('name="token" value="')) == 2, "the form is there to sign in"
    assert not signed_in(signin.login("s.cut", BETTER))
    assert signed_in(signin.login("s.cut", GOOD))
    signin.post("/", **form, oldpassword=GOOD)
    assert counted() - before == len(tries) + 1, "those with a form's token, and one at the sign-in"


def signed_in(answer: Answer) -> bool:
    return any(cookie.startswith("houblon=") and len(cookie) > 60 for cookie in answer.cookies)


def test_english_and_a_phone(signin: SignIn) -> None:
    with someone(signin, "en-GB", viewport={"width": 360, "height": 740}, is_mobile=True) as person:
        person.sign_in("s.nobody", "whatever it is")
        assert person.said() == "This name or this password is not right."
        width = person.page.evaluate("document.documentElement.scrollWidth")
        assert width <= 360, "it scrolls sideways"


def test_a_disabled_person_is_out_at_the_next_click(signin: SignIn, visitor: Person) -> None:
    ready(signin, visitor, "s.out")
    visitor.sign_in("s.out", GOOD)
    assert visitor.inside()
    pending = signin.links("s.out")[0]
    signin.set_state("s.out", "disabled")
    try:
        assert "open sessions: " in signin.about("show", "s.out")
        signin.about("shut-out", "s.out")
        visitor.open()
        assert not visitor.inside()
        visitor.sign_in("s.out", GOOD)
        assert visitor.said() == "Ce nom ou ce mot de passe n'est pas le bon."
        visitor.open(pending)
        assert "déjà servi" in visitor.said()
        late = signin.links("s.out")[0]
        visitor.open(late)
        assert visitor.page.locator("#newpassword").count() == 0, "a link made for a disabled person opens nothing"
    finally:
        signin.set_state("s.out", "active")
    visitor.open()
    visitor.sign_in("s.out", GOOD)
    assert visitor.inside()


def test_who_is_not_in_the_group_neither_sees_nor_enters_the_service(signin: SignIn, visitor: Person) -> None:
    ready(signin, visitor, "s.eve")
    visitor.sign_in("s.eve", GOOD)
    assert "Salon privé" not in visitor.services()
    visitor.open(authorize(signin, challenge()[1]))
    assert visitor.said() == "Ce service n'est pas ouvert à votre groupe."
    assert "code=" not in visitor.page.url


def test_a_phone_confirms(signin: SignIn, visitor: Person) -> None:
    ready(signin, visitor, "s.ann")
    visitor.sign_in("s.ann", GOOD)
    secret = visitor.register_app()
    assert secret not in signin.site.sh("cat /var/lib/houblon-sso/persistent/*"), "it is kept encrypted"
    with someone(signin) as again:
        again.sign_in("s.ann", GOOD)
        assert not again.inside()
        wrong = f"{(int(totp(secret)) + 1) % 10**6:06}"
        again.enter_code(wrong)
        assert not again.inside()
        again.open()
        again.sign_in("s.ann", GOOD)
        again.enter_code(totp(secret))
        assert again.inside()
    failed = signin.site.sh("journalctl -u lemonldap-ng-fastcgi-server -o cat --since -5min")
    assert '"code":"2FA_FAILED"' in failed
    assert signin.about("show", "s.ann").startswith("second factor: TOTP")
    signin.site.sh("install -d /tmp/export")
    signin.about("export", "s.ann", "/tmp/export")
    kept = signin.site.sh("cat /tmp/export/second-factors.json; rm -r /tmp/export")
    assert [one["type"] for one in json.loads(kept)["second_factors"]] == ["TOTP"]
    assert "secret" not in kept.replace("second_factors", "")
    forgot = [sys.executable, "-m", "houblon", "user", "forget-factor", "s.ann", "--site", str(signin.site.site_folder)]
    subprocess.run(forgot, check=True, capture_output=True, timeout=60, env=environment(), stdin=subprocess.DEVNULL)
    visitor.open("/?logout=1")
    visitor.open()
    visitor.sign_in("s.ann", GOOD)
    assert visitor.inside(), "whoever lost the phone comes in with the password again"
    signin.about("delete", "s.ann")
    assert signin.about("show", "s.ann") == ""
    assert signin.about("show", "s.never") == ""


def test_a_group_that_must_have_a_second_factor_is_led_to_it(signin: SignIn, visitor: Person) -> None:
    ready(signin, visitor, "s.key")
    signin.join("careful", "s.key")
    visitor.sign_in("s.key", GOOD)
    assert not visitor.inside()
    assert urlsplit(visitor.page.url).path == "/2fregisters"
    visitor.open()
    assert not visitor.inside(), "no way around it"
    visitor.sign_in("s.key", GOOD)
    secret = visitor.register_app()
    visitor.open()
    assert visitor.inside(), "a code was proven while registering"
    visitor.open("/?logout=1")
    visitor.open()
    visitor.sign_in("s.key", GOOD)
    assert not visitor.inside()
    visitor.enter_code(totp(secret))
    assert visitor.inside()


def test_a_security_key_confirms(signin: SignIn, visitor: Person) -> None:
    """Chromium's own virtual authenticator (WebAuthn's testing interface) stands in for the key."""
    ready(signin, visitor, "s.two")
    line = visitor.page.context.new_cdp_session(visitor.page)
    line.send("WebAuthn.enable")
    line.send("WebAuthn.addVirtualAuthenticator", {"options": {
        "protocol": "ctap2", "transport": "usb", "hasResidentKey": False, "hasUserVerification": True,
        "isUserVerified": True, "automaticPresenceSimulation": True,
    }})  # fmt: skip
    visitor.sign_in("s.two", GOOD)
    visitor.open("/2fregisters/webauthn")
    visitor.page.fill("#keyName", "ma clef")
    visitor.page.click("#retrybutton")
    visitor.page.wait_for_url(lambda url: not url.endswith("/webauthn"))
    visitor.open("/?logout=1")
    with someone(signin) as thief:
        thief.sign_in("s.two", GOOD)
        assert not thief.inside(), "the password alone is not enough"
    visitor.open()
    visitor.sign_in("s.two", GOOD)
    visitor.page.locator("#houblon-user").wait_for()
    assert signin.about("show", "s.two").startswith('second factor: WebAuthn "ma clef"')
    signin.about("forget-second-factor", "s.two")


def authorize(signin: SignIn, code_challenge: str = "", **other: str) -> str:
    domain = signin.site.lab.domain
    query = {
        "response_type": "code", "client_id": "ssotoy", "scope": "openid profile email groups", "state": "s1",
        "nonce": "n1", "redirect_uri": f"https://toy.{domain}/back", "code_challenge": code_challenge,
        "code_challenge_method": "S256",
    }  # fmt: skip
    return f"{signin.base}/oauth2/authorize?{urlencode({k: v for k, v in (query | other).items() if v})}"


def exchange(signin: SignIn, secret: str, **fields: str) -> Answer:
    """A call to the token endpoint."""
    body = urlencode({"client_id": "ssotoy", "client_secret": secret, **fields}).encode()
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    return signin.wire.request("POST", f"{signin.base}/oauth2/token", headers=headers, body=body)


def test_a_service_signs_people_in(signin: SignIn, visitor: Person) -> None:
    domain = signin.site.lab.domain
    conf = json.loads(signin.site.sh("cat /etc/houblon/sso/conf/lmConf-1.json"))
    secret = conf["oidcRPMetaDataOptions"]["ssotoy"]["oidcRPMetaDataOptionsClientSecret"]
    ready(signin, visitor, "s.far")
    verifier, code_challenge = challenge()
    visitor.open(authorize(signin, code_challenge))
    visitor.sign_in("s.far", GOOD)
    assert visitor.page.url.startswith(f"https://toy.{domain}/back?")
    given = {key: value[0] for key, value in parse_qs(urlsplit(visitor.page.url).query).items()}
    assert given["state"] == "s1"
    back = {"grant_type": "authorization_code", "redirect_uri": f"https://toy.{domain}/back"}
    assert exchange(signin, secret, code=given["code"], code_verifier="x" * 50, **back).status == 400
    visitor.open(authorize(signin, code_challenge))
    given = {key: value[0] for key, value in parse_qs(urlsplit(visitor.page.url).query).items()}
    assert exchange(signin, "wrong", code=given["code"], code_verifier=verifier, **back).status in (400, 401)
    tokens = json.loads(exchange(signin, secret, code=given["code"], code_verifier=verifier, **back).text)
    keys = json.loads(signin.wire.get(f"{signin.base}/oauth2/jwks").text)["keys"]
    claims = proven(tokens["id_token"], keys)
    assert claims["iss"] == signin.base
    assert claims["aud"] == ["ssotoy"]
    assert (claims["sub"], claims["nonce"]) == ("s.far", "n1")
    assert claims["email"] == f"s.far@{domain}"
    assert claims["groups"] == ["s.ring"]
    bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
    about = signin.wire.get(f"{signin.base}/oauth2/userinfo", headers=bearer)
    assert json.loads(about.text)["sub"] == "s.far"
    twice = exchange(signin, secret, code=given["code"], code_verifier=verifier, **back)
    assert twice.status == 400, "a code is good once"
    token = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
    refreshed = json.loads(exchange(signin, secret, **token).text)
    signin.about("shut-out", "s.far")
    assert signin.wire.get(f"{signin.base}/oauth2/userinfo", headers=bearer).status == 401
    late = exchange(signin, secret, grant_type="refresh_token", refresh_token=refreshed["refresh_token"])
    assert late.status == 400, "shut out: no more tokens either"


@pytest.mark.parametrize(
    "other",
    [
        {"redirect_uri": "https://stranger.invalid/back"},
        {"redirect_uri": "https://toy.{domain}/back/../other"},
        {"client_id": "stranger"},
        {"code_challenge": "", "code_challenge_method": ""},
        {"response_type": "token"},
    ],
)
def test_a_strange_request_gets_no_code(signin: SignIn, visitor: Person, other: dict[str, str]) -> None:
    ready(signin, visitor, "s.lea")
    visitor.sign_in("s.lea", GOOD)
    asked = {key: value.format(domain=signin.site.lab.domain) for key, value in other.items()}
    visitor.open(authorize(signin, **{"code_challenge": challenge()[1]} | asked))
    arrived = urlsplit(visitor.page.url)
    assert arrived.hostname in (f"auth.{signin.site.lab.domain}", f"toy.{signin.site.lab.domain}")
    assert not {"code", "access_token", "id_token"} & {*parse_qs(arrived.query), *parse_qs(arrived.fragment)}


@pytest.mark.parametrize(
    "name",
    ["*", "s.lea)(uid=*", "*)(|(uid=*", "s.lea\\2a", "\x00", "s.lea\n", "uid=s.lea,ou=people,o=houblon", "é",
     "a" * 10000, ""],
)
def test_no_name_is_a_filter(signin: SignIn, name: str) -> None:
    answer = signin.login(name, GOOD)
    assert answer.status in (200, 401)
    assert not signed_in(answer)
    assert signin.wire.get(f"{signin.base}/ping").status == 200


@pytest.mark.parametrize("password", ["", "x" * 10000, "\x00", "é" * 4000, "{SSHA}AAAA", "' OR 1=1 --"])
def test_no_password_breaks_the_page(signin: SignIn, password: str) -> None:
    answer = signin.login("s.lea", password)
    assert answer.status in (200, 401)
    assert not signed_in(answer)


def test_a_form_without_its_token_is_refused(signin: SignIn) -> None:
    assert 'trmsg="81"' in signin.post("/", user="s.lea", password=GOOD).text
    assert 'trmsg="82"' in signin.post("/", user="s.lea", password=GOOD, token="0" * 64).text


def test_interfaces_for_machines_are_shut(signin: SignIn) -> None:
    for path in ("/sessions/global", "/config", "/adminSessions", "/proxy", "/notifications"):
        assert signin.wire.get(signin.base + path).status in (400, 404), path
    assert "Popper" not in signin.wire.get(f"{signin.base}/javascript/popper.js/umd/popper.min.js").text


def link_in(message: EmailMessage) -> str:
    part = message.get_body(("plain",)) or message.get_body(("html",))
    assert part is not None
    text = str(part.get_content())
    return text[text.index("https://auth.") :].split()[0].rstrip(">)]\"")


def test_a_forgotten_password_is_reset_by_mail(signin: SignIn, people: People, visitor: Person) -> None:
    assert people.relay is not None
    signin.ldif(
        "dn: uid=s.two,ou=people,o=houblon\nchangetype: modify\nreplace: houblonRecovery\n"
        "houblonRecovery: two@elsewhere.test\n"
    )
    signin.ldif(
        "dn: uid=s.far,ou=people,o=houblon\nchangetype: modify\nreplace: houblonRecovery\n"
        f"houblonRecovery: s.two@{people.lab.domain}\n"
    )
    printed = signin.links("s.two")[0]

    def ask(whom: str) -> str:
        visitor.open("/resetpwd")
        visitor.page.fill("#mail", whom)
        visitor.send("form.login button[type=submit]")
        visitor.said()
        return visitor.page.inner_text("main")

    known = ask(f"s.two@{people.lab.domain}")  # a child's recovery address too
    assert ask("s.nobody") == known, "it tells who has an account"
    mail = people.relay.wait_for(lambda one: "two@elsewhere.test" in one.recipients)
    assert ask("s.two") == known
    sent = people.relay.matching(lambda one: "two@elsewhere.test" in one.recipients)
    assert len(sent) == 1, "asked twice, sent once"
    visitor.open(printed)
    assert visitor.page.locator("#newpassword").count() == 1, "a mail that anybody may ask for ends no invitation"
    visitor.choose(link_in(mail.message), GOOD)
    assert "Vous pouvez vous connecter" in visitor.said()
    visitor.open(printed)
    assert "déjà servi" in visitor.said(), "a password was chosen"
    visitor.open()
    visitor.sign_in("s.two", GOOD)
    assert visitor.inside()


GUESS = """
import http.client, re, ssl, sys
from urllib.parse import urlencode

name, address, count = sys.argv[1:]
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE

def ask(method, fields=None):
    line = http.client.HTTPSConnection(address, context=context, timeout=8)
    headers = {"Host": name, "Content-Type": "application/x-www-form-urlencoded"}
    line.sock = context.wrap_socket(__import__("socket").create_connection((address, 443), 8), server_hostname=name)
    line.request(method, "/", body=fields and urlencode(fields), headers=headers)
    return line.getresponse().read().decode()

for number in range(int(count)):
    token = re.search('name="token" value="([^"]*)"', ask("GET"))[1]
    ask("POST", {"user": "s.nobody", "password": "wrong", "token": token})
print(len(ask("GET")))
"""


def test_a_guesser_is_kept_out_and_a_class_is_not(signin: SignIn, people: People) -> None:
    """Sixty wrong passwords from one address are too many; twenty are a class that mistypes."""
    other = people.lab.hosts[1]
    argv = ["python3", "-", f"auth.{people.lab.domain}", people.host.address]
    try:
        assert int(other.console([*argv, "20"], input=GUESS.encode()).stdout) > 1000
        other.console([*argv, "45"], input=GUESS.encode(), check=False)
        until = time.monotonic() + 30
        while other.address not in people.sh("fail2ban-client get sso banip"):
            assert time.monotonic() < until, "nobody was banned"
            time.sleep(0.3)
        assert other.console([*argv, "0"], input=GUESS.encode(), check=False).returncode != 0
        assert signin.wire.get(f"{signin.base}/").status == 200
    finally:
        people.sh(f"fail2ban-client set sso unbanip {other.address}", check=False)
