"""How houblon gets in: pinned host keys, the operator's identity, jump hosts, first contact."""

from __future__ import annotations

import base64
import hashlib
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import paramiko

from houblon.connection import Connection
from houblon.errors import BadInput, CannotConnect, HoublonError, Refused

if TYPE_CHECKING:
    from houblon.site import Admin, Site
    from houblon.vault import Vault

CONNECT_SECONDS = 20


@dataclass
class Asking:
    """How to ask the person at the keyboard; replaced in scripts by refusals with a cure.

    :param host_key: is shown address, key type and SHA-256 fingerprint; True trusts the key from now on.
    :param password: is shown a prompt; None when nobody can be asked.
    """

    host_key: Callable[[str, str, str], bool]
    password: Callable[[str], str | None]


class Door:
    """The way into one site's host, for the first and for further, fresh connections."""

    def __init__(self, site: Site, vault: Vault, asking: Asking) -> None:
        self.site, self.vault, self.asking = site, vault, asking
        self.known_hosts = site.folder / "known_hosts"
        self._keys: list[paramiko.PKey] | None = None
        self._jump: paramiko.SSHClient | None = None

    def open(self) -> Connection:
        """Connect as the operator's admin account, or, on a host that does not know it yet, as first contact.

        :raises CannotConnect: nobody answers, the host key differs, or no account lets us in.
        """
        me = self.operator()
        names = [me.name] if me else []
        # Each refused account is a failed login to fail2ban, which reads the journal from before its own
        # installation: so the one that worked last is tried first, and before any contact the first-contact one.
        last = self._last_user() if self.known_hosts.exists() else self.site.host.user
        if last == self.site.host.user:
            names.insert(0, last)
        else:
            names.append(self.site.host.user)
        for name in dict.fromkeys(names):
            try:
                connection = self._connect(name, self.keys())
            except _NotLetIn:
                continue
            own = me is not None and name == me.name
            connection.sudo_passwords = lambda n=name, own=own: self._sudo_passwords(n) if own else self._asked(n)
            connection.become_root()
            self.remember(name)
            return connection
        raise CannotConnect(
            f"{self.site.host.address} lets none of {', '.join(names)} in with the keys found here",
            cure="Name your private key in $HOUBLON_SSH_KEY, load it into ssh-agent, or check host.user in site.yaml.",
        )

    def remember(self, user: str) -> None:
        """Keep which account to try first next time, on this machine only."""
        if self._last_user() == user:
            return
        # Only a shortcut: a site folder that cannot be written to works as well.
        with suppress(OSError):
            self._memory.parent.mkdir(mode=0o700, exist_ok=True)
            self._memory.write_text(user + "\n")

    @property
    def _memory(self) -> Path:
        return self.site.folder / ".local" / "last-user"

    def _last_user(self) -> str:
        with suppress(OSError):
            return self._memory.read_text().strip()
        return ""

    def as_admin(self, name: str, key: paramiko.PKey | None = None) -> Connection:
        """A fresh connection as one admin, with root proven; with ``key`` instead of the operator's own."""
        connection = self._connect(name, [key] if key else self.keys())
        connection.sudo_passwords = lambda: self._sudo_passwords(name)
        connection.become_root()
        return connection

    def operator(self) -> Admin | None:
        """The admin of the site whose public key matches a private key at hand."""
        here = {_blob(key) for key in self.keys()}
        wanted = os.environ.get("HOUBLON_ADMIN")
        for admin in self.site.admins:
            if wanted and admin.name != wanted:
                continue
            if any(line.split()[1] in here for line in admin.keys):
                return admin
        return None

    def require_operator(self) -> Admin:
        """Like `operator`, for runs that close the first-contact door behind them.

        :raises Refused: when no key here belongs to an admin.
        """
        me = self.operator()
        if me is None:
            raise Refused(
                "no private key on this machine belongs to an admin of the site; after this run you could not get in",
                cure="Add your public key to `admins` in site.yaml, or name your private key in $HOUBLON_SSH_KEY.",
            )
        return me

    def keys(self) -> list[paramiko.PKey]:
        """Private keys at hand: $HOUBLON_SSH_KEY or the site's own key, then the agent's, then ~/.ssh."""
        if self._keys is None:
            self._keys = list(self._find_keys())
        return self._keys

    def close(self) -> None:
        if self._jump is not None:
            self._jump.close()

    # --- inside ------------------------------------------------------------------------------------------

    def _sudo_passwords(self, name: str) -> Iterator[str]:
        """The vault's, the one it had before its last rotation (the host may not know the new one yet), a typed one."""
        try:
            yield self.vault.get("base", f"sudo-{name}").reveal()
            if (old := self.vault.previous("base", f"sudo-{name}")) is not None:
                yield old.reveal()
        except HoublonError:
            yield from self._asked(name)

    def _asked(self, name: str) -> Iterator[str]:
        typed = self.asking.password(f"sudo password of {name}: ")
        if typed is not None:
            yield typed

    def _find_keys(self) -> Iterator[paramiko.PKey]:
        chosen = os.environ.get("HOUBLON_SSH_KEY")
        own = self.site.folder / ".local" / "id_ed25519"
        if chosen or own.exists():
            yield self._load(Path(chosen).expanduser() if chosen else own, must=True)  # type: ignore[misc]
            return
        yield from paramiko.Agent().get_keys()
        for name in ("id_ed25519", "id_ecdsa", "id_rsa"):
            path = Path.home() / ".ssh" / name
            if path.exists() and (key := self._load(path, must=False)) is not None:
                yield key

    def _load(self, path: Path, *, must: bool) -> paramiko.PKey | None:
        try:
            return paramiko.PKey.from_path(path)
        except paramiko.PasswordRequiredException:
            pass
        except (OSError, ValueError, TypeError, paramiko.SSHException) as error:
            # cryptography reports a protected key as TypeError
            if "assword" not in str(error):
                if must:
                    raise BadInput(f"cannot read this private key: {error}", file=path) from None
                return None
        # A protected key that no admin owns is not worth a question.
        public = path.with_name(path.name + ".pub")
        if not must and public.exists():
            blob = public.read_text().split()[1:2]
            if not any(line.split()[1:2] == blob for admin in self.site.admins for line in admin.keys):
                return None
        phrase = self.asking.password(f"Passphrase of {path}: ")
        if phrase is None:
            return None
        try:
            return paramiko.PKey.from_path(path, passphrase=phrase.encode())
        except (ValueError, TypeError, paramiko.SSHException):
            raise BadInput("wrong passphrase for this private key", file=path) from None

    def _connect(self, user: str, keys: list[paramiko.PKey]) -> Connection:
        host = self.site.host
        client = paramiko.SSHClient()
        if self.known_hosts.exists():
            client.load_host_keys(str(self.known_hosts))
        client.set_missing_host_key_policy(_Pin(self))
        error: Exception | None = None
        for key in keys or [None]:  # one key a try: paramiko gives up on the first agent key that is refused
            if key is None:
                break
            try:
                client.connect(
                    host.address, host.port, username=user, pkey=key, allow_agent=False, look_for_keys=False,
                    timeout=CONNECT_SECONDS, banner_timeout=CONNECT_SECONDS, auth_timeout=CONNECT_SECONDS,
                    sock=self._socket(),
                )
                return Connection(client, user, host.address)
            except paramiko.AuthenticationException as refusal:
                error = refusal
            except paramiko.BadHostKeyException as changed:
                raise CannotConnect(
                    f"{host.address} shows another host key ({_fingerprint(changed.key)}) than the one pinned for this site",
                    file=self.known_hosts,
                    cure="Somebody may be in between. If the host was really reinstalled, remove its line from that file.",
                ) from None
            except (OSError, EOFError, paramiko.SSHException) as trouble:
                raise CannotConnect(
                    f"{host.address} port {host.port} does not answer as an SSH server: {_plain(trouble)}",
                    cure="Check host.address and host.port in site.yaml, and that the host is up.",
                ) from None
        raise _NotLetIn(str(error or "no private key here"))

    def _socket(self) -> paramiko.Channel | None:
        host = self.site.host
        if not host.jump:
            return None
        if self._jump is None or not (transport := self._jump.get_transport()) or not transport.is_active():
            self._jump = self._open_jump(host.jump)
        transport = self._jump.get_transport()
        assert transport is not None
        return transport.open_channel(
            "direct-tcpip", (host.address, host.port), ("127.0.0.1", 0), timeout=CONNECT_SECONDS
        )

    def _open_jump(self, jump: str) -> paramiko.SSHClient:
        account, _, place = jump.rpartition("@")
        name, _, port = place.rpartition(":") if place.count(":") == 1 else (place, "", "")
        client = paramiko.SSHClient()
        client.load_system_host_keys()
        if self.known_hosts.exists():
            client.load_host_keys(str(self.known_hosts))
        client.set_missing_host_key_policy(_Pin(self))
        trouble: Exception | None = None
        for key in self.keys():
            try:
                client.connect(
                    name, int(port or 22), username=account or None, pkey=key, allow_agent=False,
                    look_for_keys=False, timeout=CONNECT_SECONDS,
                )
                return client
            except paramiko.AuthenticationException as refusal:
                trouble = refusal
            except (OSError, EOFError, paramiko.SSHException) as error:
                trouble = error
                break
        raise CannotConnect(
            f"the jump host {name} does not let us through: {_plain(trouble)}",
            cure="Check host.jump in site.yaml (user@host:port) and that `ssh` to it works.",
        )

    def pin(self, hostname: str, key: paramiko.PKey) -> None:
        """Ask about an unknown host key and remember the answer in the site folder's known_hosts."""
        if not self.asking.host_key(hostname, key.get_name(), _fingerprint(key)):
            raise CannotConnect(
                f"the host key of {hostname} ({_fingerprint(key)}) is not trusted",
                cure="Compare the fingerprint with the one your provider shows, then use --accept-new.",
            )
        with self.known_hosts.open("a") as file:
            file.write(f"{hostname} {key.get_name()} {key.get_base64()}\n")


class _NotLetIn(CannotConnect):
    """The host answers, but the account or its keys are refused."""


class _Pin(paramiko.MissingHostKeyPolicy):
    def __init__(self, door: Door) -> None:
        self.door = door

    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:
        self.door.pin(hostname, key)
        client.get_host_keys().add(hostname, key.get_name(), key)


def _fingerprint(key: paramiko.PKey) -> str:
    """As OpenSSH prints it (`ssh-keygen -l`)."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(key.asbytes()).digest()).decode().rstrip("=")


def _blob(key: paramiko.PKey) -> str:
    return str(key.get_base64())


def _plain(error: BaseException | None) -> str:
    if isinstance(error, socket.gaierror):
        return "the name does not resolve"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return str(error) or type(error).__name__
