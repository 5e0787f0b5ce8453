"""Getting in, as far as it goes without a host: keys, host keys, questions, and servers that are none."""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

import paramiko
import pytest

from houblon import connect
from houblon import connection as module
from houblon.cli.ask import at_the_terminal
from houblon.connect import Asking, Door
from houblon.connection import Connection, Result
from houblon.errors import BadInput, CannotConnect, Refused
from houblon.site import load
from houblon.vault import Vault
from tests.unit.toysite import KEY, make_site


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A site of somebody with no keys at all."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    for name in ("SSH_AUTH_SOCK", "HOUBLON_SSH_KEY", "HOUBLON_ADMIN", "HOUBLON_SUDO_PASSWORD_FILE"):
        monkeypatch.delenv(name, raising=False)
    return make_site(tmp_path / "site")


def door(folder: Path, *, trust: bool = True, word: str | None = None) -> Door:
    site = load(folder)
    return Door(site, Vault(folder), Asking(lambda *_: trust, lambda _: word))


def make_key(path: Path, passphrase: str = "") -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-C", "me", "-f", path], check=True)
    return path.with_suffix(".pub").read_text().strip()


def own(folder: Path, public: str) -> None:
    file = folder / "site.yaml"
    file.write_text(file.read_text().replace(KEY, public))


def at(folder: Path, port: int) -> None:
    file = folder / "site.yaml"
    file.write_text(file.read_text().replace("address: 192.0.2.10", f"address: 127.0.0.1\n  port: {port}"))


# --- keys ------------------------------------------------------------------------------------------------------


def test_the_operator_is_the_admin_whose_key_is_here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert door(folder).operator() is None
    with pytest.raises(Refused, match="after this run you could not get in"):
        door(folder).require_operator()
    own(folder, make_key(folder.parent / "home/.ssh/id_ed25519"))
    assert door(folder).require_operator().name == "camille"
    monkeypatch.setenv("HOUBLON_ADMIN", "nobody")
    with pytest.raises(BadInput, match="no such admin"):
        door(folder).operator()


def test_a_key_with_a_passphrase_is_asked_for_only_if_it_is_an_admins(folder: Path) -> None:
    public = make_key(folder.parent / "home/.ssh/id_ed25519", "open sesame")
    asked: list[str] = []

    def ask(answer: str | None) -> Door:
        def password(prompt: str) -> str | None:
            asked.append(prompt)
            return answer

        return Door(load(folder), Vault(folder), Asking(lambda *_: True, password))

    assert ask("open sesame").keys() == [] and asked == []
    own(folder, public)
    assert ask(None).keys() == [] and len(asked) == 1
    with pytest.raises(BadInput, match="wrong passphrase"):
        ask("open barley").keys()
    assert len(ask("open sesame").keys()) == 1


@pytest.mark.parametrize(("content", "what"), [(None, "cannot read"), ("no key", "cannot read")])
def test_a_chosen_key_must_be_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch, content: str | None, what: str
) -> None:
    path = folder / "chosen"
    if content is not None:
        path.write_text(content)
    monkeypatch.setenv("HOUBLON_SSH_KEY", str(path))
    with pytest.raises(BadInput, match=what):
        door(folder).keys()


def test_a_chosen_key_with_a_passphrase_and_nobody_to_ask(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_key(folder / "chosen", "open sesame")
    monkeypatch.setenv("HOUBLON_SSH_KEY", str(folder / "chosen"))
    with pytest.raises(BadInput, match="has a passphrase, and nobody is here"):
        door(folder).keys()


def test_without_any_key_nobody_is_contacted(folder: Path) -> None:
    with pytest.raises(CannotConnect, match="no private SSH key on this machine"):
        door(folder).open()


# --- servers ---------------------------------------------------------------------------------------------------


@contextmanager
def server(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                threading.Thread(target=serve, args=(client,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        # A thread that waits in accept() does not notice close() alone.
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def hang_up(client: socket.socket) -> None:
    client.close()


def speak_http(client: socket.socket) -> None:
    with suppress(OSError):
        client.sendall(b"HTTP/1.1 400 Bad Request\r\n" * 200)
        client.close()


def say_nothing(client: socket.socket) -> None:
    with suppress(OSError):
        client.recv(1000000)
        client.recv(1000000)


class Host(paramiko.ServerInterface):
    """Accepts no key and notes for whom one was tried."""

    key = paramiko.ECDSAKey.generate()
    tried: list[str] = []  # noqa: RUF012 - one test uses it

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        self.tried.append(username)
        return paramiko.common.AUTH_FAILED


def refuse(client: socket.socket) -> None:
    transport = paramiko.Transport(client)
    transport.add_server_key(Host.key)
    with suppress(paramiko.SSHException, EOFError):
        transport.start_server(server=Host())


@pytest.mark.parametrize("serve", [hang_up, speak_http, say_nothing])
def test_what_is_no_ssh_server_is_one_clear_error(
    folder: Path, serve: Callable[[socket.socket], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connect, "CONNECT_SECONDS", 1)
    own(folder, make_key(folder / ".local/id_ed25519"))
    with server(serve) as port:
        at(folder, port)
        with pytest.raises(CannotConnect, match=f"127.0.0.1 port {port} does not answer as an SSH server"):
            door(folder).open()


def test_a_closed_port_and_a_name_that_does_not_resolve(folder: Path) -> None:
    own(folder, make_key(folder / ".local/id_ed25519"))
    at(folder, 1)
    with pytest.raises(CannotConnect, match="does not answer"):
        door(folder).open()
    file = folder / "site.yaml"
    file.write_text(file.read_text().replace("127.0.0.1", "nowhere.invalid"))
    with pytest.raises(CannotConnect, match="the name does not resolve"):
        door(folder).open()


def test_host_keys_are_asked_for_pinned_and_compared(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own(folder, make_key(folder / ".local/id_ed25519"))
    known = folder / "known_hosts"
    with server(refuse) as port:
        at(folder, port)
        with pytest.raises(CannotConnect, match="is not trusted"):
            door(folder, trust=False).open()
        assert not known.exists() and Host.tried == []
        known.write_text(f"other.example {KEY.rpartition(' ')[0]}")
        with pytest.raises(CannotConnect, match="lets none of camille, root in"):
            door(folder).open()
        assert len(known.read_text().splitlines()) == 1 + 1, "a file without a last newline must not swallow ours"
        assert Host.tried == ["camille", "root"]
        monkeypatch.setattr(Host, "key", paramiko.ECDSAKey.generate())
        with pytest.raises(CannotConnect, match="shows another host key"):
            door(folder).open()
        assert Host.tried == ["camille", "root"]
    known.write_bytes(b"\xff\xfe x\n")
    with pytest.raises(BadInput, match="pinned host keys cannot be read"):
        door(folder).open()


# --- questions -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "mode", "what"),
    [("word\n", 0o640, "others may read"), ("", 0o600, "on one line"), ("a\nb\n", 0o600, "on one line"),
     (None, 0, "cannot read"), (b"\xff", 0o600, "no text")],
)  # fmt: skip
def test_password_files_that_will_not_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | bytes | None, mode: int, what: str
) -> None:
    path = tmp_path / "word"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        path.chmod(mode)
    monkeypatch.setenv("HOUBLON_SUDO_PASSWORD_FILE", str(path))
    with pytest.raises(BadInput, match=what):
        at_the_terminal().password("sudo password of pat: ")


def test_in_scripts_nobody_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOUBLON_SUDO_PASSWORD_FILE", raising=False)
    monkeypatch.setattr("sys.stdin", Path(os.devnull).open())  # noqa: SIM115
    asking = at_the_terminal()
    assert asking.password("sudo password of pat: ") is None
    assert not asking.host_key("h", "ssh-ed25519", "SHA256:x")
    assert at_the_terminal(accept_new=True).host_key("h", "ssh-ed25519", "SHA256:x")
    (tmp_path / "word").write_text(" a word \n")
    (tmp_path / "word").chmod(0o600)
    monkeypatch.setenv("HOUBLON_SUDO_PASSWORD_FILE", str(tmp_path / "word"))
    assert asking.password("sudo password of pat: ") == " a word "
    assert asking.password("Passphrase of id_ed25519: ") is None


# --- answers ---------------------------------------------------------------------------------------------------


def test_lines_are_those_of_the_shell() -> None:
    assert Result(0, "", "").lines() == []
    assert Result(0, "a\n\nb\u2028c\x0cd\n", "").lines() == ["a", "", "b\u2028c\x0cd"]
    assert Result(0, "cut", "").lines() == ["cut"]


def test_neither_answers_nor_connections_show_what_they_carry() -> None:
    assert "word" not in repr(Result(0, "word", "word"))
    names = [name for name, f in Connection.__dataclass_fields__.items() if f.repr]
    assert names == ["client", "user", "address"]


class Said:
    """The standard error of a channel, in pieces."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = list(pieces)

    def recv_stderr(self, _: int) -> bytes:
        return self.pieces.pop(0) if self.pieces else b""


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ((b"lecture\n\x01houblon-re", b"ady\nafter"), (b"after", True)),
        ((b"\x01houblon-password\x01houblon-ready\n",), (b"", True)),
        ((b"sudo: a password is required\n",), (b"sudo: a password is required\n", False)),
        ((b"\x01houblon-password", b"Sorry, try again.\n\x01houblon-password", b"never read"),
         (b"\x01houblon-passwordSorry, try again.\n\x01houblon-password", False)),
    ],
)  # fmt: skip
def test_when_root_is_ours(pieces: tuple[bytes, ...], expected: tuple[bytes, bool]) -> None:
    assert module._listen(cast(Any, Said(*pieces))) == expected


@pytest.mark.parametrize(
    ("user", "said", "tried", "expected"),
    [
        ("pat", b"\x01houblon-passwordSorry, try again.\n", True, "sudo refused the password"),
        ("pat", b"sudo: a password is required\n", False, "sudo wants a password and none was given"),
        ("pat", b"pat is not in the sudoers file.\n", True, "pat is not in the sudoers file."),
        ("pat", b"sh: 1: sudo: not found\n", False, "sudo: not found"),
        ("root", b"Please login as the user \"debian\" rather than the user \"root\".\n", False, "Please login as"),
    ],
)
def test_why_root_is_not_ours(user: str, said: bytes, tried: bool, expected: str) -> None:
    connection = Connection.__new__(Connection)
    connection.user, connection.address = user, "192.0.2.1"
    assert expected in connection._refused(said, tried).what


@pytest.mark.parametrize("text", ["", "plain", "it's", "a'b'c", "$(x) `y` \\ \" \n"])
def test_quoting(text: str) -> None:
    assert shlex.split(module._quote(text)) == [text]


def test_the_second_connection_offers_the_admins_own_keys_alone(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody with eight keys in the agent, the right one last, must not find the new sshd undone."""
    own(folder, make_key(tmp_path / "right"))
    keys = [paramiko.Ed25519Key.from_private_key_file(str(tmp_path / "right"))]
    for number in range(7):
        make_key(tmp_path / f"other{number}")
        keys.insert(0, paramiko.Ed25519Key.from_private_key_file(str(tmp_path / f"other{number}")))
    way = door(folder)
    offered: list[list[paramiko.PKey]] = []

    def connect_with(user: str, given: list[paramiko.PKey]) -> Connection:
        offered.append(given)
        raise CannotConnect("enough seen")

    monkeypatch.setattr(way, "keys", lambda: keys)
    monkeypatch.setattr(way, "_connect", connect_with)
    me = way.require_operator()
    with pytest.raises(CannotConnect):
        way.as_admin(me.name)
    assert offered == [keys[-1:]]
