"""`houblon init`: from a few answers to a folder that loads, or to nothing at all."""

from __future__ import annotations

import ast
import contextlib
import json
import os
import pty
import select
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from toysite import KEY, KEY_2

from houblon import hearing, newsite, settings, sshkey
from houblon.cli.app import run
from houblon.cli.french import FRENCH
from houblon.errors import Exit
from houblon.registry import discover
from houblon.site import load
from houblon.vault import Vault, identity
from houblon.yamlfile import read
from tests.host.sinks import HttpSink, SmtpSink, self_signed

ROOT = Path(__file__).parents[2]
FLAGS = [
    "--name", "Famille Exemple", "--domain", "famille.test", "--address", "debian@192.0.2.7:2222",
    "--admin", "camille", "--email", "camille@famille.test",
]  # fmt: skip


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True)
    (home / ".ssh" / "id_ed25519.pub").write_text(KEY + "\n")
    for name in ("XDG_CONFIG_HOME", "HOUBLON_IDENTITY", "HOUBLON_PASSPHRASE_FILE", "LC_ALL", "LC_MESSAGES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("LANG", "C.UTF-8")
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return home


def left_behind(home: Path) -> list[Path]:
    return [*Path().iterdir(), *(path for path in (home / ".config").rglob("*") if path.is_file())]


def test_flags_alone(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["init", "site", "--yes", "--no-passphrase", *FLAGS]) == Exit.OK
    site = load(Path("site"))
    assert (site.name, site.domain) == ("Famille Exemple", "famille.test")
    assert (site.host.address, site.host.port, site.host.user) == ("192.0.2.7", 2222, "debian")
    assert (site.admins[0].name, site.admins[0].keys) == ("camille", (KEY,))
    assert [role.name for role in site.roles if role.name == "portal"]
    assert site.languages == ("en", "fr")
    Vault(Path("site")).check()
    told = capsys.readouterr().out
    paper = [word for word in told.split() if word.startswith("AGE-SECRET-KEY-1")]
    assert len(paper) == 1, "the paper key is shown once"
    for file in Path("site").rglob("*"):
        assert not file.is_file() or paper[0].encode() not in file.read_bytes()
    assert "houblon plan site" in told
    assert {path.name for path in Path("site").iterdir()} == {
        "site.yaml", "site.schema.json", "inventory.py", ".gitignore", "README.md", "vault",
    }  # fmt: skip


def test_the_file_suits_its_schema(home: Path) -> None:
    assert run(["init", "site", "--yes", "--no-passphrase", *FLAGS]) == Exit.OK
    schema = json.loads(Path("site/site.schema.json").read_text())
    Draft202012Validator(schema).validate(read(Path("site/site.yaml")).data)
    assert Path("site/site.yaml").read_text().startswith("# yaml-language-server: $schema=site.schema.json\n")


def answers(monkeypatch: pytest.MonkeyPatch, *lines: str) -> list[str]:
    """Answer the questions; the list fills with what was asked."""
    asked: list[str] = []
    left = iter(lines)

    def answer(prompt: str = "") -> str:
        asked.append(prompt)
        try:
            return next(left)
        except StopIteration:
            raise EOFError from None

    monkeypatch.setattr("builtins.input", answer)
    return asked


def test_questions_in_french(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LANG", "fr_FR.UTF-8")
    asked = answers(monkeypatch, "", "Les Amis", "amis.test", "192.0.2.7", "marie", "", "", "")
    assert run(["init", "--no-passphrase"]) == Exit.OK
    assert len(asked) == 8
    assert asked[0] == "Langue (fr ou en) [fr] : "
    site = load(Path("amis"))
    assert site.languages == ("fr", "en")
    assert site.admins[0].email == "marie@amis.test"
    assert "Qui administre" in Path("amis/site.yaml").read_text()
    assert "Le site amis.test" in Path("amis/README.md").read_text()
    assert "Recopiez ceci sur papier" in capsys.readouterr().out


def test_each_answer_is_judged_at_once(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = answers(
        monkeypatch, "klingon", "fr", "", "Amis", "http://amis.test", "amis.test", "192.0.2.300", "192.0.2.3", "root",
        "marie", "@", "", "/none", KEY_2, "carrier pigeon", "later",
    )  # fmt: skip
    assert run(["init", "--no-passphrase"]) == Exit.OK
    told = capsys.readouterr().out
    assert told.index("none of the choices") < told.index("Il faut une réponse")
    for sentence in ("pas un nom", "adresse IP valide", "appartient au système", "courriel", "ne peut pas être lu"):
        assert sentence in told
    assert len(asked) == 16
    assert load(Path("amis")).admins[0].keys == (KEY_2,)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "--name is missing"),
        (["--name", "x", "--domain", "x_y.test"], "--domain: a name cannot contain an underscore"),
        ([*FLAGS, "--key", "/none"], "--key: this file cannot be read"),
        ([*FLAGS, "--key", "ssh-ed25519 AAAA"], "--key: this public key is damaged"),
        ([*FLAGS, "--service", "portl"], "Did you mean `portal`?"),
        ([*FLAGS, "--identity", "gpg"], "age or ssh"),
        ([*FLAGS, "--language", "de"], "fr or en"),
        ([*FLAGS, "--jump", "a@b:0"], "1 to 65535"),
        ([*FLAGS, "--port", "0"], "--port"),
        (FLAGS, "HOUBLON_PASSPHRASE_FILE"),
        ([*FLAGS, "--identity", "ssh"], "private half"),
    ],
)
def test_bad_flags_leave_nothing(
    home: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    assert run(["init", "site", "--yes", *arguments]) == Exit.BAD_INPUT
    shown = capsys.readouterr()
    assert says in " ".join((shown.out + shown.err).split()), shown
    assert not left_behind(home)


def test_nobody_there_to_answer(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, "en", "Amis")
    assert run(["init", "site"]) == Exit.BAD_INPUT
    assert not left_behind(home)


def test_a_private_key_is_refused_and_not_shown(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", home / "key"], check=True)
    body = (home / "key").read_text().splitlines()[1]
    flags = ["init", "site", "--yes", "--no-passphrase", *FLAGS]
    assert run([*flags, "--key", str(home / "key")]) == Exit.BAD_INPUT
    assert run([*flags, "--key", (home / "key").read_text()]) == Exit.BAD_INPUT
    shown = capsys.readouterr()
    assert "this is a private key" in shown.out + shown.err
    assert body not in shown.out + shown.err


@pytest.mark.parametrize("taken", ["file", "folder", "link", "no parent"])
def test_a_folder_that_is_taken(home: Path, taken: str, capsys: pytest.CaptureFixture[str]) -> None:
    target = Path("site")
    match taken:
        case "file":
            target.write_text("mine")
        case "folder":
            target.mkdir()
            (target / "notes").write_text("mine")
        case "link":
            target.symlink_to("nowhere")
        case "no parent":
            target = Path("above/site")
    before = sorted(Path().rglob("*"))
    assert run(["init", str(target), "--yes", "--no-passphrase", *FLAGS]) == Exit.BAD_INPUT
    assert sorted(Path().rglob("*")) == before
    assert not (home / ".config").exists()


def test_a_copied_example_gets_its_vault_only(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("home", "association"):
        shutil.copytree(ROOT / "inventories" / name, name, ignore=shutil.ignore_patterns("vault"))
    text = Path("association/site.yaml").read_text()
    assert run(["init", "home", "--yes", "--no-passphrase"]) == Exit.OK
    assert run(["check", "home"]) == Exit.OK
    assert run(["init", "home", "--yes", "--no-passphrase"]) == Exit.BAD_INPUT, "it is complete now"
    assert run(["init", "association", "--yes"]) == Exit.BAD_INPUT, "who of the three?"
    asked = answers(monkeypatch, "nobody", "bastien")
    assert run(["init", "association"]) == Exit.OK
    assert len(asked) == 2
    assert run(["check", "association"]) == Exit.OK
    assert Path("association/site.yaml").read_text() == text


def test_an_empty_folder_is_taken_over(home: Path) -> None:
    Path("site").mkdir()
    assert run(["init", "site", "--yes", "--no-passphrase", *FLAGS]) == Exit.OK
    load(Path("site"))
    assert [path.name for path in Path().iterdir()] == ["site"]


def test_ctrl_c_while_the_vault_is_made_leaves_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for moment in ("init", "check"):
        original: Callable[..., object] = getattr(Vault, moment)

        def interrupted(*args: object, original: Callable[..., object] = original, **more: object) -> None:
            original(*args, **more)
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(Vault, moment, interrupted)
            assert run(["init", "site", "--yes", "--no-passphrase", *FLAGS]) == 130
        assert [path for path in left_behind(home) if path.suffix != ".trust"] == []
    assert run(["init", "site", "--yes", "--no-passphrase", *FLAGS]) == Exit.OK


def test_an_identity_that_was_there_is_used_and_kept(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(["init", "one", "--yes", "--no-passphrase", *FLAGS]) == Exit.OK
    file = home / ".config/houblon/identity.age"
    before = file.read_bytes()
    assert run(["init", "two", "--yes", *FLAGS]) == Exit.OK
    assert run(["init", "two", "--yes", *FLAGS]) == Exit.BAD_INPUT
    assert file.read_bytes() == before


def test_the_ssh_key_as_identity(home: Path) -> None:
    key = home / ".ssh/id_ed25519"
    key.with_suffix(".pub").unlink()
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    assert run(["init", "site", "--yes", "--identity", "ssh", *FLAGS]) == Exit.OK
    assert not (home / ".config/houblon/identity.age").exists()
    Vault(Path("site")).check()


def test_awkward_answers_survive_the_file(home: Path) -> None:
    names = ["null", "yes", "12", "a: b", "# x", "l'été", "- a", "\"q\" \\", "é" * 80, "x #y", "&a", "{}", "1.5", "@x"]
    for name in names:
        made = newsite.Answers("fr", name, "x.test", "2001:db8::1", 22, "root", "a@[2001:db8::2]:22", "on",
                               "*a+b@x.test", (KEY,), ())  # fmt: skip
        Path("site.yaml").write_text(newsite.site_file(made, discover()))
        site = load(Path())
        assert site.name == name
        assert (site.admins[0].name, site.admins[0].email) == ("on", "*a+b@x.test")
        assert (site.host.address, site.host.jump) == ("2001:db8::1", "a@[2001:db8::2]:22")


def test_a_lan_name_is_self_signed(home: Path) -> None:
    made = newsite.Answers("fr", "x", "maison.home.arpa", "10.0.0.2", 22, "root", None, "a", "a@x.test", (KEY,),
                           ("portal",))  # fmt: skip
    Path("site.yaml").write_text(newsite.site_file(made, discover()))
    assert load(Path()).raw_settings("tls") == {"mode": "self-signed"}


def test_every_judge_speaks_french() -> None:
    whole_file_only = ("unique", "_admins")
    for module in (settings, sshkey, hearing):
        for function in ast.parse(Path(module.__file__).read_text()).body:
            if not isinstance(function, ast.FunctionDef) or function.name in whole_file_only:
                continue
            for call in ast.walk(function):
                if isinstance(call, ast.Call) and getattr(call.func, "id", "") in ("Wrong", "BadKey"):
                    for sentence in call.args:
                        if isinstance(sentence, ast.Constant):
                            assert sentence.value in FRENCH, f"{module.__name__}: {sentence.value}"


@pytest.fixture
def relay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SmtpSink]:
    """A relay with a certificate that this machine trusts, on the port that relays have."""
    both, trusted = self_signed(tmp_path, "127.0.0.1", "relay.famille.test")
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    sink = SmtpSink("127.0.0.1", 0, "camille", "hop-hop", both)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        sink.port = free.getsockname()[1]
    real = socket.create_connection
    monkeypatch.setattr(socket, "create_connection", lambda where, *more, **named: real(
        ("127.0.0.1", sink.port) if where[0] == "relay.famille.test" else where, *more, **named
    ))  # fmt: skip
    with sink:
        yield sink


MAIL = ["--alerts", "mail", "--relay", "relay.famille.test", "--relay-user", "camille", "--sender", "hub@famille.test"]


def test_mail_is_tried_at_once_and_its_password_kept(home: Path, relay: SmtpSink, tmp_path: Path) -> None:
    (tmp_path / "word").write_text("hop-hop\n")
    (tmp_path / "word").chmod(0o600)
    flags = ["init", "site", "--yes", "--no-passphrase", *FLAGS, *MAIL, "--alerts-secret-file", str(tmp_path / "word")]
    assert run(flags) == Exit.OK
    [mail] = relay.all
    assert (mail.sender, mail.recipients, mail.encrypted) == ("hub@famille.test", ("camille@famille.test",), True)
    made = load(Path("site"))
    assert {"mailer", "alerts"} <= {role.name for role in made.roles}
    assert made.raw_settings("mailer")["relay"] == "relay.famille.test"
    assert Vault(Path("site")).get("mailer", "relay").reveal() == "hop-hop"
    assert b"hop-hop" not in b"".join(file.read_bytes() for file in Path("site").rglob("*") if file.is_file())


def test_a_wrong_password_is_told_and_can_be_corrected(
    home: Path, relay: SmtpSink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "word").write_text("wrong\n")
    (tmp_path / "word").chmod(0o600)
    flags = ["init", "site", "--no-passphrase", "--language", "fr", "--key", KEY, *FLAGS, *MAIL,
             "--alerts-secret-file", str(tmp_path / "word")]  # fmt: skip
    assert run([*flags, "--yes"]) == Exit.BAD_INPUT
    assert "refuses user or password" in capsys.readouterr().err
    assert not left_behind(home)
    monkeypatch.setattr(identity, "ask_on_terminal", lambda prompt: "hop-hop")
    asked = answers(monkeypatch, "c", "mail", "relay.famille.test:587", "camille", "hub@famille.test")
    assert run(flags) == Exit.OK
    assert len(asked) == 5
    assert "mot de passe d'application" in capsys.readouterr().out
    assert len(relay.all) == 1
    answers(monkeypatch, "g")
    assert run(["init", "other", *flags[2:]]) == Exit.OK, "who wants to go on may"
    assert len(relay.all) == 1


def test_a_webhook_and_a_topic_are_tried(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for kind in ("webhook", "ntfy"):
        flags = ["init", kind, "--yes", "--no-passphrase", *FLAGS, "--alerts", kind, "--alerts-url"]
        assert run([*flags, "https://127.0.0.1:9/x"]) == Exit.BAD_INPUT
        assert "no connection" in capsys.readouterr().err
        assert run([*flags, "http://famille.test/x"]) == Exit.BAD_INPUT
        assert run([*flags, "https://127.0.0.1:9/x", "--no-alerts-test"]) == Exit.OK
    assert load(Path("ntfy")).raw_settings("alerts") == {"ntfy": "https://127.0.0.1:9/x"}
    assert load(Path("webhook")).raw_settings("alerts") == {"webhook": "https://127.0.0.1:9/{secret}"}


@pytest.fixture
def chat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HttpSink]:
    """A chat with webhooks over HTTPS, that this machine trusts."""
    both, trusted = self_signed(tmp_path, "127.0.0.1")
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(both)
    with HttpSink("127.0.0.1", 0, context=context) as sink:
        yield sink


HOOK = "T0BEEF/xoxb8Zk3Qw9LmPq2R"


@pytest.mark.parametrize("way", ["flag", "file", "typed", "typed in two"])
def test_the_secret_of_a_webhook_goes_to_the_vault(
    home: Path, chat: HttpSink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    start, _, token = f"{chat.url}/services/{HOOK}".rpartition("/")
    flags = ["init", "site", "--no-passphrase", "--language", "en", "--key", KEY, *FLAGS, "--alerts", "webhook"]
    (tmp_path / "word").write_text(f"{token}\n")
    (tmp_path / "word").chmod(0o600)
    if way == "flag":
        flags += ["--yes", "--alerts-url", f"{start}/{token}"]
    elif way == "file":
        flags += ["--yes", "--alerts-url", f"{start}/{{secret}}", "--alerts-secret-file", str(tmp_path / "word")]
    else:
        monkeypatch.setattr(identity, "ask_on_terminal", lambda prompt: token)
        answers(monkeypatch, f"{start}/{token if way == 'typed' else '{secret}'}")
    assert run(flags) == Exit.OK
    [post] = chat.all
    assert post.path == f"/services/{HOOK}", "the test goes to the real address"
    assert "authorization" not in post.headers
    assert load(Path("site")).raw_settings("alerts") == {"webhook": f"{start}/{{secret}}"}
    assert Vault(Path("site")).get("alerts", "webhook").reveal() == token
    assert token.encode() not in b"".join(file.read_bytes() for file in Path("site").rglob("*") if file.is_file())


@pytest.mark.parametrize(
    ("address", "kept", "secret"),
    [
        ("https://chat.test/hooks/abc", "https://chat.test/hooks/{secret}", "abc"),
        ("https://chat.test/hooks/abc/", "https://chat.test/hooks/{secret}", "abc/"),
        ("https://chat.test/api/webhooks/123456789012345678/Tok_en-1/slack", "https://chat.test/api/webhooks/{secret}",
         "123456789012345678/Tok_en-1/slack"),
        ("https://chat.test/v1/messages?key=k&token=a/b", "https://chat.test/v1/{secret}", "messages?key=k&token=a/b"),
        ("https://chat.test?token=abc", "https://chat.test/{secret}", "?token=abc"),
        ("https://chat.test:8443/", "https://chat.test:8443/", ""),
    ],
)
def test_where_a_webhook_is_parted(address: str, kept: str, secret: str) -> None:
    assert hearing.parted(address) == (kept, secret)


def test_a_secret_without_a_place_is_refused(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["init", "site", "--yes", "--no-passphrase", *FLAGS, "--alerts", "webhook", "--alerts-url"]
    assert run([*flags, "https://chat.test/x", "--alerts-secret-file", str(tmp_path / "word")]) == Exit.BAD_INPUT
    assert "https://chat.example.org/hooks/{secret}" in capsys.readouterr().err
    for broken in ("https://chat.test:port/x", "https://[::1/x", "https://chat.test/é"):
        assert run([*flags, broken]) == Exit.BAD_INPUT
        assert "this is no address of a page" in capsys.readouterr().err
    assert not left_behind(home)


def test_a_password_that_cannot_be_sent_loses_no_answers(
    home: Path, relay: SmtpSink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "word").write_text("clé-de-Zoë\n")
    (tmp_path / "word").chmod(0o600)
    flags = ["init", "site", "--no-passphrase", "--language", "fr", "--key", KEY, *FLAGS, *MAIL,
             "--alerts-secret-file", str(tmp_path / "word")]  # fmt: skip
    assert run([*flags, "--yes"]) == Exit.BAD_INPUT
    said = capsys.readouterr().err
    assert "plain ASCII" in said and "Traceback" not in said and "clé" not in said and "\\x" not in said
    monkeypatch.setattr(identity, "ask_on_terminal", lambda prompt: "hop-hop")
    answers(monkeypatch, "c", "mail", "relay.famille.test:587", "camille", "hub@famille.test")
    assert run(flags) == Exit.OK
    assert "sans accent" in capsys.readouterr().out
    assert len(relay.all) == 1


class Terminal:
    """The real command on a real terminal."""

    def __init__(self, *arguments: str) -> None:
        self.pid, self.fd = pty.fork()
        if self.pid == 0:  # pragma: no cover - the child
            # Tests run in the background (nohup, some CI) inherit an ignored Ctrl-C.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.execv(  # noqa: S606
                sys.executable, [sys.executable, "-c", "from houblon.cli import main; main()", *arguments]
            )
        self.shown = ""

    def until(self, text: str, seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while text not in self.shown:
            assert time.monotonic() < end, self.shown
            if select.select([self.fd], [], [], 0.5)[0]:
                try:
                    self.shown += os.read(self.fd, 4096).decode()
                except OSError:
                    assert text in self.shown, self.shown
                    return

    def type(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def status(self) -> int:
        with contextlib.suppress(OSError):
            while data := os.read(self.fd, 4096):
                self.shown += data.decode()
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def test_on_a_terminal_with_a_passphrase(home: Path) -> None:
    phrase = "orchidee camion plume granit sept"
    terminal = Terminal("init", *FLAGS, "--language", "fr", "--key", KEY, "--alerts", "later")
    for typed in ("abc\n", f"{phrase}\n"):
        terminal.until("Phrase de passe de la nouvelle clé du coffre : ")
        terminal.shown = ""
        terminal.type(typed)
    terminal.until("Encore une fois : ")
    terminal.type(f"{phrase}\n")
    assert terminal.status() == 0, terminal.shown
    assert phrase not in terminal.shown, "a passphrase is not echoed"
    assert "houblon plan famille" in terminal.shown
    assert (home / ".config/houblon/identity.age").read_bytes().startswith(b"age-encryption.org/v1\n")


def test_ctrl_c_at_a_question(home: Path) -> None:
    terminal = Terminal("init")
    terminal.until("Language")
    terminal.type("en\n")
    terminal.until("Name of the site")
    # A signal between Python's last look and its read(2) waits for the next byte: press again, as a person would.
    for _ in range(60):
        if select.select([terminal.fd], [], [], 1)[0]:
            break
        terminal.type("\x03")
    assert terminal.status() == 130, terminal.shown
    assert "Traceback" not in terminal.shown
    assert not left_behind(home)
