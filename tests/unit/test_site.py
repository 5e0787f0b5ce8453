"""The site file: what is understood, and that every mistake gives one clear error."""

from __future__ import annotations

import base64
import os
import subprocess
from pathlib import Path

import pytest
from toysite import KEY, KEY_2, SITE, make_role, make_site

from houblon import settings
from houblon.claims import Port
from houblon.errors import BadInput, Exit
from houblon.site import load

ROOT = Path(__file__).parents[2]
GOOD = SITE.format(services="")
RSA_2048 = "ssh-rsa " + base64.b64encode(
    b"\0\0\0\x07ssh-rsa" + b"\0\0\0\x03\x01\0\x01" + b"\0\0\x01\x01" + b"\0" + b"\xc3" * 256
).decode()
PRIVATE = "-----BEGIN OPENSSH PRIVATE KEY-----\\nb3BlbnNzaC1rZXktdjEAAAAA"


def refused(folder: Path) -> BadInput:
    with pytest.raises(BadInput) as caught:
        load(folder)
    error = caught.value
    assert error.exit_code == Exit.BAD_INPUT == 2
    assert error.what and error.cure, "every error says what is wrong and what to do"
    assert "pydantic" not in str(error) and "Input should" not in str(error)
    return error


def changed(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new)


@pytest.mark.parametrize("name", ["home", "association"])
def test_the_example_sites_load(name: str) -> None:
    site = load(ROOT / "inventories" / name)
    assert [note.split(":")[0] for note in site.notes] == ["alerts"], "nobody hears, until somebody says who"
    assert site.languages == ("fr", "en")
    assert "portal" in [role.name for role in site.roles]
    assert len(site.admins) == {"home": 1, "association": 3}[name]


@pytest.mark.parametrize("name", ["home", "association"])
def test_inventories_are_pyinfra_inventories(name: str) -> None:
    scope: dict[str, object] = {"__file__": str(ROOT / "inventories" / name / "inventory.py")}
    source = (ROOT / "inventories" / name / "inventory.py").read_text()
    assert len([line for line in source.splitlines() if line]) == 3
    exec(source, scope)  # noqa: S102
    ((host, data),) = scope["hosts"]  # type: ignore[misc]
    assert host.startswith("@houblon/192.0.2.")
    assert data["ssh_port"] == 22


def test_defaults(tmp_path: Path) -> None:
    site = load(make_site(tmp_path))
    assert (site.host.port, site.host.user, site.host.jump) == (22, "root", None)
    assert site.languages == ("fr", "en")
    assert site.services == ()
    assert site.roles[0].name == "base"


def test_settings_are_frozen(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="frozen"):
        load(make_site(tmp_path)).host.port = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "line", "key", "says"),
    [
        pytest.param(changed("domain:", "domian:"), 3, "domian", "Did you mean `domain`?", id="key misspelt"),
        pytest.param(GOOD + "langages: [fr]\n", 13, "langages", "Did you mean `languages`?", id="unknown key"),
        pytest.param(GOOD + "frewall: {}\n", 13, "frewall", "Did you mean `firewall`?", id="unknown role"),
        pytest.param(GOOD + "portal: {}\n", 13, "portal", "Move it under `services:`", id="service on top"),
        pytest.param(
            changed("  address", "  adress: 192.0.2.1\n  address"), 10, "host.adress", "Did you mean `address`?",
            id="unknown nested key",
        ),
        pytest.param(GOOD + "  portl: {}\n", 13, "services.portl", "Did you mean `portal`?", id="service"),
        pytest.param(GOOD + "  nginx: {}\n", 13, "services.nginx", "top level", id="system role as service"),
        pytest.param(GOOD + "  portal: {colour: 1}\n", 13, "services.portal.colour", "unknown key `colour`",
                     id="unknown option"),
        pytest.param(GOOD + "  portal: yes please\n", 13, "services.portal", "must be a set of keys",
                     id="service is text"),
        pytest.param(changed("domain: famille.test", "domain: a.test\ndomain: b.test"), 4, "domain",
                     "first is on line 3", id="duplicate key"),
        pytest.param(changed("host:\n", "host:\n  port: '22'\n"), 10, "host.port",
                     "must be a whole number, and it is text", id="wrong type"),
        pytest.param(changed("host:\n", "host:\n  port: 70000\n"), 10, "host.port", "at most 65535", id="port"),
        pytest.param(changed("host:\n", "host:\n  port: true\n"), 10, "host.port", "true or false", id="bool"),
        pytest.param(changed("name: Famille Exemple", "name: 12"), 2, "name", "between quotes", id="name"),
        pytest.param(changed("name: Famille Exemple", "name:"), 2, "name", "it is empty", id="empty name"),
        pytest.param(GOOD + "languages: fr\n", 13, "languages", "must be a list", id="no list"),
        pytest.param(GOOD + "languages: [de]\n", 13, "languages[0]", "'fr' or 'en'", id="language"),
        pytest.param(GOOD + "languages: [fr, fr]\n", 13, "languages", "twice", id="language twice"),
        pytest.param(GOOD + "languages: []\n", 13, "languages", "at least 1", id="no language"),
        *[
            pytest.param(changed("famille.test\nadmins", f"{name}\nadmins"), 3, "domain", says, id=f"domain {name}")
            for name, says in {
                "'https://famille.test/'": "the name alone",
                "famille..test": "not a valid name",
                "-famille.test": "not a valid name",
                "famille_x.test": "underscore",
                "famille.test.": "final dot",
                "famille": "at least one dot",
                "192.0.2.1": "does not end in a number",
                "'fam ille.test'": "not a valid name",
                f"{'a' * 64}.test": "63 characters",
                "'café\u200b..test'": "not a valid name",
                "'a;b.test'": "not a valid name",
            }.items()
        ],
        *[
            pytest.param(changed("192.0.2.10", f"'{value}'"), 10, "host.address", says, id=f"address {value}")
            for value, says in {
                "192.0.2.256": "not a valid IP address",
                "192.0.2.10:22": "under `port`",
                "root@192.0.2.10": "under `user`",
                "[2001:db8::1]": "brackets",
                "2001:db8::1::2": "not a valid IP address",
                "-oProxyCommand=x": "not a valid name",
            }.items()
        ],
        pytest.param(changed("host:\n", "host:\n  user: 'root; id'\n"), 10, "host.user", "user name", id="user"),
        pytest.param(changed("host:\n", "host:\n  jump: 'a@b:99999'\n"), 10, "host.jump", "1 to 65535", id="jump"),
        pytest.param(changed("name: camille", "name: root"), 5, "admins[0].name", "belongs to the system",
                     id="system admin"),
        pytest.param(changed("name: camille", "name: houblon"), 5, "admins[0].name", "belongs to the system",
                     id="our own user"),
        pytest.param(changed("name: camille", "name: Camille Dupont"), 5, "admins[0].name", "user name",
                     id="admin name"),
        pytest.param(changed("camille@famille.test\n", "camille\n"), 6, "admins[0].email", "e-mail", id="e-mail"),
        pytest.param(changed(f"\n      - {KEY}", " []"), 7, "admins[0].keys", "at least 1", id="no key"),
        pytest.param(changed(f"    keys:\n      - {KEY}\n", ""), 5, "admins[0]", "`keys` is missing", id="keys"),
        pytest.param(changed(KEY, "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAB"), 8, "admins[0].keys[0]", "damaged",
                     id="damaged key"),
        pytest.param(changed(KEY, "ssh-dss AAAA"), 8, "admins[0].keys[0]", "broken", id="DSA key"),
        pytest.param(changed(KEY, RSA_2048), 8, "admins[0].keys[0]", "RSA key is too short", id="short RSA key"),
        pytest.param(changed(KEY, f'"{KEY} \\x07"'), 8, "admins[0].keys[0]", "control", id="bell in key"),
        pytest.param(changed(KEY, "'command=\"x\" " + KEY + "'"), 8, "admins[0].keys[0]", "ssh-ed25519", id="options"),
        pytest.param(changed(KEY, f'"{PRIVATE}"'), 8, "admins[0].keys[0]", "private key", id="private key"),
        pytest.param(GOOD + "# AGE-SECRET-KEY-1QQQQ\n", 13, None, "private key", id="age key in a comment"),
        pytest.param(changed(f"- {KEY}", f"- {KEY}\n      - {KEY}"), 7, "admins[0].keys", "twice", id="key twice"),
        pytest.param(
            changed("host:\n", f"  - name: camille\n    email: c@d.test\n    keys: [{KEY_2}]\nhost:\n"), 4, "admins",
            "two admins are called camille", id="admin twice",
        ),
        pytest.param(
            changed("host:\n", f"  - name: awa\n    email: c@d.test\n    keys: [{KEY} other]\nhost:\n"), 4, "admins",
            "have the same key", id="shared key",
        ),
        pytest.param(changed("version: 1", "version: 99"), 1, "version", "newer houblon", id="newer"),
        pytest.param(changed("version: 1", "version: one"), 1, "version", "version: 1", id="version"),
        pytest.param(changed("version: 1\n", ""), 1, "version", "is missing", id="no version"),
        pytest.param(changed("host:", "host: &h"), 9, "host", "anchors and aliases", id="anchor"),
        pytest.param(changed("host:", "x: *h\nhost:"), 9, "x", "anchors and aliases", id="alias"),
        pytest.param("a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a]\n", 1, "a", "anchors", id="YAML bomb"),
        pytest.param(changed("192.0.2.10", "!!python/object/apply:os.system [id]"), 10, "host.address", "tags",
                     id="tag"),
        pytest.param("a: " + "[" * 5000, 1, "a[0]", "nested too deeply", id="deep"),
        pytest.param(changed("  address", "\taddress"), 10, None, "tab", id="tab"),
        pytest.param(GOOD + "x: 'y\n", 14, None, "quote", id="open quote"),
        pytest.param("- a\n- b\n", 1, None, "not a list of keys", id="list"),
        pytest.param("just text\n", 1, None, "not a list of keys", id="text"),
        pytest.param(" \n\n", 1, None, "empty", id="empty"),
        pytest.param("# nothing\n", 1, None, "says nothing", id="only comments"),
        pytest.param(GOOD + ": 1\n", 13, None, "a key must be", id="empty key"),
        pytest.param(GOOD + "---\na: 1\n", 13, None, "second YAML document", id="two documents"),
        pytest.param(GOOD + "\x1b[31m: 1\n", 13, None, "control characters", id="escape sequence"),
        pytest.param(changed("Famille Exemple", '"a\\u2028b\\e"'), 2, "name", "control", id="escaped control"),
    ],
)  # fmt: skip
def test_bad_input(tmp_path: Path, text: str, line: int, key: str | None, says: str) -> None:
    error = refused(make_site(tmp_path, text))
    assert says in str(error), str(error)
    assert error.file == tmp_path / "site.yaml"
    assert (error.line, error.key) == (line, key), str(error)


@pytest.mark.parametrize(
    ("content", "line", "says"),
    [
        (b"version: 1\nname: \0\1\2\n", 2, "binary"),
        (b"\x7fELF\0\0\0", 1, "binary"),
        (b"version: 1\nname: caf\xe9\n", 2, "UTF-8"),
        ("version: 1\n".encode("utf-16"), 1, "binary"),
        (b"# x\n" * 100_000, None, "too big"),
        (b"", 1, "empty"),
    ],
)
def test_files_that_are_no_text(tmp_path: Path, content: bytes, line: int | None, says: str) -> None:
    (tmp_path / "site.yaml").write_bytes(content)
    error = refused(tmp_path)
    assert says in error.what
    assert error.line == line


def test_a_private_key_is_never_echoed(tmp_path: Path) -> None:
    for text in (changed(KEY, f'"{PRIVATE}"'), changed(KEY, PRIVATE.replace("\\n", "\n")), GOOD + f"# {PRIVATE}"):
        assert "b3BlbnNzaC1rZXktdjE" not in str(refused(make_site(tmp_path, text)))


def test_folder_and_file_that_are_not_there(tmp_path: Path) -> None:
    assert "houblon init" in refused(tmp_path / "none").cure
    assert "there is no site.yaml" in refused(tmp_path).what
    os.mkfifo(tmp_path / "site.yaml")
    assert "not a regular file" in refused(tmp_path).what
    (tmp_path / "site.yaml").unlink()
    (tmp_path / "site.yaml").symlink_to(tmp_path / "gone")
    assert "no such file" in refused(tmp_path).what


def test_the_first_of_several_mistakes_is_told(tmp_path: Path) -> None:
    text = changed("domain: famille.test", "domain: x_y.test").replace("192.0.2.10", "300.1.1.1") + "colour: red\n"
    error = refused(make_site(tmp_path, text))
    assert error.line == 3
    assert "2 more mistakes" in error.cure


def test_other_alphabets_become_ascii_with_a_note(tmp_path: Path) -> None:
    site = load(make_site(tmp_path, changed("famille.test\nadmins", "Été.test\nadmins")))
    assert site.domain == "xn--t-9fab.test"
    assert any("Été.test" in note and "xn--t-9fab.test" in note for note in site.notes)


@pytest.mark.parametrize("value", ["nas.lan", "2001:db8::7", "gate", "192.0.2.1", "10.0.0.1"])
def test_addresses(tmp_path: Path, value: str) -> None:
    assert load(make_site(tmp_path, changed("192.0.2.10", f'"{value}"'))).host.address == value


@pytest.mark.parametrize("value", ["gate", "awa@gate.test", "awa@gate.test:2222", "awa@[2001:db8::1]:22"])
def test_jump_hosts(tmp_path: Path, value: str) -> None:
    assert load(make_site(tmp_path, changed("host:\n", f'host:\n  jump: "{value}"\n'))).host.jump == value


@pytest.mark.parametrize(
    "arguments", [["-t", "ed25519"], ["-t", "rsa", "-b", "3072"], ["-t", "ecdsa", "-b", "384"]], ids=str
)
def test_real_keys(tmp_path: Path, arguments: list[str]) -> None:
    subprocess.run(
        ["ssh-keygen", "-q", "-N", "", "-C", "a comment", "-f", tmp_path / "k", *arguments], check=True
    )
    line = (tmp_path / "k.pub").read_text().strip()
    assert load(make_site(tmp_path, changed(KEY, line))).admins[0].keys == (line,)
    middle = len(line) // 2
    for broken in (line[:middle], line[:middle] + "\u00e9" + line[middle:], line.replace(" ", " A", 1)):
        refused(make_site(tmp_path, changed(KEY, broken)))


def test_security_keys(tmp_path: Path) -> None:
    kind = b"sk-ssh-ed25519@openssh.com"
    blob = b"".join(len(part).to_bytes(4, "big") + part for part in (kind, bytes(range(32)), b"ssh:"))
    line = f"{kind.decode()} {base64.b64encode(blob).decode()}"
    assert load(make_site(tmp_path, changed(KEY, line))).admins[0].keys == (line,)


def test_an_older_format_is_understood_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def rename(data: dict[str, object]) -> dict[str, object]:
        return {("name" if key == "title" else key): value for key, value in data.items()}

    monkeypatch.setattr(settings, "FORMAT", 2)
    monkeypatch.setitem(settings.MIGRATIONS, 1, rename)
    site = load(make_site(tmp_path, changed("name: Famille", "title: Famille")))
    assert site.name == "Famille Exemple"
    assert "older format 1" in site.notes[0]
    monkeypatch.setattr(settings, "FORMAT", 3)
    assert "too old" in refused(tmp_path).what


def test_settings_without_effect_are_told(tmp_path: Path) -> None:
    site = load(make_site(tmp_path, GOOD + "tls: self-signed\n"))
    assert any(note.startswith("tls:") for note in site.notes)


def test_overrides_without_effect_are_told(tmp_path: Path) -> None:
    for name in ("firewal", "firewall", ".git"):
        (make_site(tmp_path) / "overrides" / name).mkdir(parents=True)
    (note,) = [note for note in load(tmp_path).notes if note.startswith("overrides/")]
    assert note.startswith("overrides/firewal/ has no effect") and "Did you mean `firewall`?" in note


def test_system_roles_have_their_section_at_the_top(tmp_path: Path) -> None:
    site = load(make_site(tmp_path, GOOD + "  portal:\ntls: self-signed\n"))
    assert site.raw_settings("tls") == {"mode": "self-signed"}
    assert site.raw_settings("portal") == {}
    error = refused(make_site(tmp_path, GOOD + "  portal:\ntls: selfsigned\n"))
    assert (error.line, error.key) == (14, "tls")
    assert "self-signed" in error.cure


def test_a_role_that_refuses_a_setting_is_told_with_its_line(tmp_path: Path) -> None:
    error = refused(make_site(tmp_path, GOOD + "  portal:\ntls:\n  mode: acme\n  ca_bundle: none.pem\n"))
    assert error.line == 16
    assert error.file == tmp_path / "site.yaml"


def test_overrides(tmp_path: Path) -> None:
    site = load(make_site(tmp_path))
    folder = tmp_path / "overrides" / "nginx"
    folder.mkdir(parents=True)
    (folder / "a.conf").write_text("gzip off;\n")
    (folder / "bad.conf").write_bytes(b"\xff\xfe")
    assert site.override("nginx", "a.conf") == "gzip off;\n"
    assert site.override("nginx", "none.conf") == ""
    assert site.override("nginx", "a.conf/none") == ""
    for path in ("bad.conf", "../../site.yaml", "/etc/hostname", "."):
        with pytest.raises(BadInput):
            site.override("nginx", path)
    (folder / "link.conf").symlink_to("/etc/hostname")
    with pytest.raises(BadInput, match="inside"):
        site.override("nginx", "link.conf")


def test_roles_of_a_site_and_recorded_ones(tmp_path: Path) -> None:
    make_site(tmp_path, services="toy:")
    make_role(tmp_path, "toy")
    make_role(tmp_path, "gone", "Port(4444)")
    site = load(tmp_path, [Port(4444, role="gone")])
    assert [port.role for port in site.claims(Port) if port.number == 4444] == ["gone"]
    with pytest.raises(BadInput, match="no role `gone`"):
        site.role("gone")
    assert site.instantiate("gone").name == "gone"
    with pytest.raises(BadInput, match="recorded on the host"):
        site.instantiate("gone", {"old": 1})
    with pytest.raises(BadInput, match="no role `never`"):
        site.instantiate("never")


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    done = subprocess.run(["git", "-C", folder, *identity, *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = load(make_site(tmp_path / "sites" / "home"))
    assert site.commit() == ("", False)
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    assert site.commit() == ("", False), "a repository without commits"
    git(tmp_path, "commit", "-q", "-m", "x")
    sha = git(tmp_path, "rev-parse", "HEAD")
    assert site.commit() == (sha, False), "the repository may be a parent folder"
    (tmp_path / "other").write_text("not of the site")
    assert site.commit() == (sha, False)
    (site.folder / "new").write_text("of the site")
    assert site.commit() == (sha, True)
    (tmp_path / ".gitignore").write_text("/ignored/\n")
    assert load(make_site(tmp_path / "ignored")).commit() == ("", False), "somebody else's repository"
    assert load(make_site(tmp_path / "other_site")).commit() == ("", False), "not in git yet"
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    assert site.commit() == (sha, True), "inside a git hook"
    monkeypatch.setenv("PATH", "/nowhere")
    assert site.commit() == ("", False), "without git"


@pytest.mark.parametrize("debian", [12, 13])
def test_a_role_is_refused_on_a_debian_that_it_does_not_run_on(tmp_path: Path, debian: int) -> None:
    host = changed("  address: 192.0.2.10", f"  address: 192.0.2.10\n  debian: {debian}")
    make_site(tmp_path, host.replace("services:", "services:\n  toy:"))
    make_role(tmp_path, "toy", "Needs('new')")
    make_role(tmp_path, "newer", category="system", attributes="debian, provides = (13,), ('new',)")
    if debian == 13:
        assert "newer" in [role.name for role in load(tmp_path).roles]
        return
    error = refused(tmp_path)
    assert error.what == "the role `newer`, which `toy` needs, does not run on Debian 12"
    assert error.key == "host.debian" and error.line is not None
    assert host.splitlines()[error.line - 1] == "  debian: 12"
