"""How houblon gets in: pinned host keys, the operator's identity, jump hosts, first contact."""

from __future__ import annotations

import base64
import getpass
import hashlib
import logging
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import paramiko

from houblon.connection import Connection, Credential, no_delay
from houblon.errors import BadInput, CannotConnect, HoublonError, Refused
from houblon.settings import endpoint

if TYPE_CHECKING:
    from houblon.settings import Admin
    from houblon.site import Site
    from houblon.vault import Vault

# paramiko prints tracebacks of its own when a line breaks; houblon reports that in one sentence.
logging.getLogger("paramiko").setLevel(logging.CRITICAL + 1)

CONNECT_SECONDS = 20
MAX_KEYS = 6
"""sshd hangs up after six refused keys (sshd_config(5), MaxAuthTries)."""


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

        That the account can become root shows with the first script that runs.

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
            own = me is not None and name == me.name
            try:
                connection = self._connect(name, self._keys_of(me) if me and own else self.keys())
            except _NotLetIn:
                continue
            connection.credentials = partial(self._credentials if own else self._guesses, name)
            self.remember(name)
            return connection
        if not self.keys():
            raise CannotConnect(
                "there is no private SSH key on this machine",
                cure="Name yours in $HOUBLON_SSH_KEY, load it into ssh-agent, or make one with `ssh-keygen`.",
            )
        raise CannotConnect(
            f"{self.site.host.address} lets none of {', '.join(dict.fromkeys(names))} in with the keys found here",
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
        # Not all keys at hand: sshd hangs up after a few that are not this account's.
        admin = next(admin for admin in self.site.admins if admin.name == name)
        connection = self._connect(name, [key] if key is not None else self._keys_of(admin))
        # Nobody is asked: that the vault's password opens sudo is what is to be proven.
        connection.credentials = partial(self._vaulted, name)
        try:
            connection.become_root()
        except BaseException:
            connection.close()
            raise
        return connection

    def operator(self) -> Admin | None:
        """The admin of the site whose public key matches a private key at hand."""
        here = {_blob(key) for key in self.keys()}
        wanted = os.environ.get("HOUBLON_ADMIN")
        if wanted and wanted not in {admin.name for admin in self.site.admins}:
            raise BadInput(
                f"$HOUBLON_ADMIN says {wanted}, and the site has no such admin", file=self.site.file, key="admins",
                cure=f"Its admins are {', '.join(admin.name for admin in self.site.admins)}.",
            )
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

    def _keys_of(self, admin: Admin) -> list[paramiko.PKey]:
        """The keys at hand that an admin's account accepts."""
        accepted = {line.split()[1] for line in admin.keys}
        return [key for key in self.keys() if _blob(key) in accepted]

    def _vaulted(self, name: str) -> Iterator[Credential]:
        """The vault's password, then those before its last rotations: the host may not know the new one yet."""
        yield str(self.vault.get("base", f"sudo-{name}").reveal())
        for old in self.vault.earlier("base", f"sudo-{name}"):
            yield str(old.reveal())

    def _credentials(self, name: str) -> Iterator[Credential]:
        """For the operator's own account on a host that houblon may have set up."""
        # A vault without this secret yet: the account is the provider's, and has our name by chance.
        with suppress(HoublonError):
            yield from self._vaulted(name)
        yield from self._guesses(name)

    def _guesses(self, name: str) -> Iterator[Credential]:
        """For a first-contact account: cloud images need no password."""
        yield None
        if (typed := self.asking.password(f"sudo password of {name}: ")) is not None:
            yield typed

    def _find_keys(self) -> Iterator[paramiko.PKey]:
        chosen = os.environ.get("HOUBLON_SSH_KEY")
        own = self.site.folder / ".local" / "id_ed25519"
        if chosen or own.exists():
            path = Path(chosen).expanduser() if chosen else own
            key = self._load(path, must=True)
            if key is None:
                raise BadInput(
                    "this private key has a passphrase, and nobody is here to give it", file=path,
                    cure="Load it into ssh-agent (`ssh-add`) and unset $HOUBLON_SSH_KEY.",
                )
            yield key
            return
        # An agent that is gone is like none.
        with suppress(paramiko.SSHException, OSError):
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
            blob = public.read_text(errors="replace").split()[1:2]
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
        """Log in to the site's host.

        :raises CannotConnect: also as `_NotLetIn`, when the host answers and accepts none of the keys.
        """
        host = self.site.host
        if not keys:
            raise _NotLetIn("no private key here")
        client = self._client()
        try:
            self._login(client, host.address, host.port, user, keys, self._socket())
        except _NotLetIn:
            client.close()
            raise
        except paramiko.BadHostKeyException as changed:
            client.close()
            raise CannotConnect(
                f"{host.address} shows another host key ({_fingerprint(changed.key)}) than the one pinned for it",
                file=self.known_hosts,
                cure="Somebody may be in between. If the host was really reinstalled, remove its line from that file.",
            ) from None
        except (OSError, EOFError, paramiko.SSHException) as trouble:
            client.close()
            raise CannotConnect(
                f"{host.address} port {host.port} does not answer as an SSH server: {_plain(trouble)}",
                cure="Check host.address and host.port in site.yaml, and that the host is up.",
            ) from None
        return Connection(client, user, host.address)

    def _client(self) -> paramiko.SSHClient:
        client = paramiko.SSHClient()
        if self.known_hosts.exists():
            try:
                client.load_host_keys(str(self.known_hosts))
            except (OSError, ValueError, paramiko.hostkeys.InvalidHostKey) as error:
                raise BadInput(
                    f"the pinned host keys cannot be read: {type(error).__name__}", file=self.known_hosts,
                    cure="Take this file from git, or remove it to compare and pin the host's key again.",
                ) from None
        client.set_missing_host_key_policy(_Pin(self))
        return client

    def _login(
        self, client: paramiko.SSHClient, address: str, port: int, user: str, keys: list[paramiko.PKey],
        sock: paramiko.Channel | None = None,
    ) -> None:
        """Try the keys on one connection: each connection that ends unauthenticated counts against us.

        :raises _NotLetIn: the account accepts none of them.
        """
        first, *others = keys[:MAX_KEYS]
        try:
            client.connect(
                address, port, username=user, pkey=first, allow_agent=False, look_for_keys=False,
                timeout=CONNECT_SECONDS, banner_timeout=CONNECT_SECONDS, auth_timeout=CONNECT_SECONDS, sock=sock,
            )
            return
        except paramiko.AuthenticationException as refusal:
            # paramiko reports a line that dies here as a refusal too.
            if "EOF" in str(refusal) or "timeout" in str(refusal):
                raise paramiko.SSHException(str(refusal)) from None
        transport = client.get_transport()
        for key in others:
            if transport is None or not transport.is_active():
                break
            with suppress(paramiko.AuthenticationException):
                transport.auth_publickey(user, key)
                return
        raise _NotLetIn(f"{user} is refused")

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
        account, name, port = endpoint(jump)
        client = self._client()
        client.load_system_host_keys()
        keys = self.keys()
        trouble: Exception
        try:
            if not keys:
                raise _NotLetIn("there is no private SSH key on this machine")
            self._login(client, name, port or 22, account or getpass.getuser(), keys)
            no_delay(client.get_transport())  # type: ignore[arg-type]
            return client
        except _NotLetIn:
            trouble = Exception("it accepts none of the keys found here")
        except paramiko.BadHostKeyException as changed:
            trouble = Exception(f"it shows another host key ({_fingerprint(changed.key)}) than the one known here")
        except (OSError, EOFError, paramiko.SSHException) as error:
            trouble = error
        client.close()
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
        try:
            old = self.known_hosts.read_text() if self.known_hosts.exists() else ""
            new = f"{hostname} {key.get_name()} {key.get_base64()}\n"
            with self.known_hosts.open("a") as file:
                file.write(new if not old or old.endswith("\n") else "\n" + new)
        except OSError as error:
            raise CannotConnect(
                f"the host's key cannot be remembered: {error.strerror}", file=self.known_hosts,
                cure="Make the site's folder writable.",
            ) from None


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
