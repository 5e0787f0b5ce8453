"""The question of `houblon init`: how admins hear that the host is ill, tried at once."""

from __future__ import annotations

import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from houblon import hearing, settings
from houblon.contract import tr
from houblon.errors import BadInput
from houblon.hearing import Hearing
from houblon.settings import Wrong

if TYPE_CHECKING:
    from houblon.cli.init import Asker

GO_ON, AGAIN = "g", "c"


@dataclass(frozen=True)
class Given:
    """What flags say; None for what is to be asked."""

    alerts: str | None = None
    relay: str | None = None
    user: str | None = None
    sender: str | None = None
    url: str | None = None
    secret_file: Path | None = None
    tried: bool = True


def ask_hearing(ask: Asker, given: Given, email: str, site: str, hidden: Callable[[str], str]) -> Hearing:
    """Ask, then send a real message, and ask again until it goes through or the person goes on without.

    :param email: the admin's address, which alarms are mailed to.
    :param hidden: asks without echo.
    :raises BadInput: a flag is wrong; or the message does not go through and nobody can be asked.
    """
    while True:
        heard = _ask(ask, given, email, hidden)
        if heard.kind == "later" or not given.tried:
            return heard
        text = tr(en="A test: alarms will reach you like this.", fr="Un essai : les alarmes vous parviendront ainsi.")
        try:
            answer = hearing.attempt(heard, site, text(ask.language))
        except Wrong as error:
            if ask.silent:
                raise BadInput(
                    f"--alerts {heard.kind}: the test did not go through: {error.what}",
                    cure=f"{error.cure} --no-alerts-test goes on without a test.",
                ) from None
            ask.complain(error)
            choice = ask(
                tr(en="Correct it (c), or go on as it is (g)", fr="Corriger (c), ou garder tel quel (g)"), "--alerts",
                None, AGAIN, _choice,
            )  # fmt: skip
            if choice == GO_ON:
                return heard
            given = Given()
            continue
        typer.echo(tr(
            en=f"  A test message was taken ({answer}). Look whether it has arrived.",
            fr=f"  Un message d'essai est accepté ({answer}). Regardez s'il est arrivé.",
        )(ask.language))  # fmt: skip
        return heard


def _ask(ask: Asker, given: Given, email: str, hidden: Callable[[str], str]) -> Hearing:
    kind = ask(
        tr(
            en="How do you want to hear when the server is ill? mail (by a relay account), ntfy, webhook, later",
            fr="Comment être prévenu quand le serveur va mal ? mail (par un compte relais), ntfy, webhook, later "
            "(plus tard)",
        ),
        "--alerts", given.alerts, "later", hearing.kind,
    )  # fmt: skip
    if kind == "later":
        return Hearing(kind)
    if kind != "mail":
        address = ask(
            tr(en="Its address (https://...)", fr="Son adresse (https://...)"),
            "--alerts-url", given.url, "", hearing.url,
        )  # fmt: skip
        if kind == "webhook":
            return _webhook(ask, given, address, hidden)
        prompt = tr(en="Access token (empty: none): ", fr="Jeton d'accès (vide : aucun) : ")
        token = _secret(ask, given, prompt(ask.language), hidden, needed=False)
        return Hearing(kind, url=address, secret=token)
    name, port = ask(
        tr(en="The relay (name:port, 587 or 465)", fr="Le relais (nom:port, 587 ou 465)"),
        "--relay", given.relay, "", hearing.relay,
    )  # fmt: skip
    user = ask(
        tr(en="Its user name", fr="Son nom d'utilisateur"), "--relay-user", given.user, email, lambda text: text.strip()
    )
    sender = ask(
        tr(en="Address that mail comes from", fr="Adresse d'où vient le courriel"),
        "--sender", given.sender, user if "@" in user else email, settings.email,
    )  # fmt: skip
    prompt = tr(en="Its password: ", fr="Son mot de passe : ")
    password = _secret(ask, given, prompt(ask.language), hidden, needed=True)
    return Hearing(kind, name, port, user, sender, (email,), secret=password)


def _webhook(ask: Asker, given: Given, address: str, hidden: Callable[[str], str]) -> Hearing:
    """The whole address, or one with {secret} in it; the secret part never reaches the site file."""
    if hearing.PLACEHOLDER in address:
        prompt = tr(
            en="What stands for {secret} (goes into the vault): ", fr="Ce que remplace {secret} (va au coffre) : "
        )
        secret = _secret(ask, given, prompt(ask.language), hidden, needed=True)
    elif given.secret_file is not None:
        raise BadInput(
            "--alerts-url has no place for what is in --alerts-secret-file",
            cure="Write {secret} where it belongs, such as https://chat.example.org/hooks/{secret}.",
        )
    else:
        address, secret = hearing.parted(address)
    return Hearing("webhook", url=address, secret=secret)


def _secret(ask: Asker, given: Given, prompt: str, hidden: Callable[[str], str], *, needed: bool) -> str:
    file = given.secret_file
    if file is None:
        if ask.silent and needed:
            raise BadInput(
                "--alerts-secret-file is missing, and nobody is there to ask",
                cure="Let it name a file of mode 0600 that holds the secret.",
            )
        return "" if ask.silent else hidden(prompt)
    try:
        if stat.S_IMODE(file.stat().st_mode) & 0o077:
            raise BadInput("others may read this file", file=file, cure=f"Run `chmod 600 {file}`.")
        return file.read_text().split("\n", 1)[0].rstrip("\r")
    except (OSError, UnicodeDecodeError):
        raise BadInput("this file cannot be read", file=file, cure="Name the file with the secret.") from None


def _choice(text: str) -> str:
    if text.strip().lower()[:1] not in (GO_ON, AGAIN):
        raise Wrong("this is none of the choices", "c, g")
    return text.strip().lower()[:1]
