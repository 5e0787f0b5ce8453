"""``houblon init``: a few questions, and a site folder that works."""

from __future__ import annotations

import getpass
import locale
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import typer

from houblon import newsite, registry, settings, site, translate
from houblon.cli.french import french
from houblon.cli.hear import Given, ask_hearing
from houblon.contract import Text, tr
from houblon.errors import BadInput
from houblon.settings import Wrong
from houblon.vault import identity as identities
from houblon.vault.make import weakness
from houblon.yamlfile import MAX_BYTES

T = TypeVar("T")
Judge = Callable[[str], T]


@dataclass
class Asker:
    """Asks what is not given, and judges each answer at once.

    :param silent: takes defaults, and refuses where there is none (`--yes`).
    """

    language: Literal["fr", "en"]
    silent: bool

    def __call__(self, question: Text, option: str, given: str | None, default: str, judge: Judge[T]) -> T:
        """
        :param option: the flag that gives the same answer, named when nobody can be asked.
        :param given: what that flag said.
        :raises BadInput: the flag's value is wrong, or nobody is there to answer.
        """
        if given is not None or (self.silent and default):
            try:
                return judge(given if given is not None else default)
            except Wrong as error:
                raise BadInput(f"{option}: {error.what}", cure=error.cure) from None
        if self.silent:
            raise _unanswered(option)
        shown = question(self.language) + (f" [{default}]" if default else "")
        colon = " : " if self.language == "fr" else ": "
        while True:
            try:
                answer = input(f"{shown}{colon}").strip() or default
            except EOFError:
                raise _unanswered(option) from None
            try:
                if not answer:
                    raise Wrong("an answer is needed", "Type it, or stop with Ctrl-C.")
                return judge(answer)
            except Wrong as error:
                self.complain(error)

    def complain(self, error: Wrong) -> None:
        """Say what is wrong with an answer, in the language of the questions."""
        what, cure = (french(error.what), french(error.cure)) if self.language == "fr" else (error.what, error.cure)
        typer.echo(f"  {what[:1].upper()}{what[1:]}. {cure}")


def init(
    folder: Annotated[
        Path | None, typer.Argument(help="The folder to make. Default: the first part of the domain.")
    ] = None,
    language: Annotated[str | None, typer.Option(help="fr or en, for the questions and the comments.")] = None,
    name: Annotated[str | None, typer.Option(help="What the site is called.")] = None,
    domain: Annotated[str | None, typer.Option(help="The site's domain.")] = None,
    address: Annotated[str | None, typer.Option(help="The server: [user@]address[:port].")] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Port of its SSH server.")] = None,
    user: Annotated[str | None, typer.Option(help="First-contact user: root, or one with sudo.")] = None,
    jump: Annotated[str | None, typer.Option(help="Host to go through: [user@]address[:port].")] = None,
    admin: Annotated[str | None, typer.Option(help="Your user name on the server.")] = None,
    email: Annotated[str | None, typer.Option(help="Your e-mail address.")] = None,
    key: Annotated[
        list[str] | None, typer.Option(metavar="FILE", help="Your SSH public key; may be given again.")
    ] = None,
    service: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A service to have; may be given again.")
    ] = None,
    identity: Annotated[
        str, typer.Option(help="What opens the vault: age (a key made for it) or ssh (your SSH key).")
    ] = "age",
    no_passphrase: Annotated[
        bool, typer.Option("--no-passphrase", help="Leave the new age key unprotected on this disk.")
    ] = False,
    alerts: Annotated[str | None, typer.Option(help="How admins hear of trouble: mail, ntfy, webhook, later.")] = None,
    relay: Annotated[str | None, typer.Option(help="For mail: the relay, name:port (587 or 465).")] = None,
    relay_user: Annotated[str | None, typer.Option(help="For mail: user name at the relay.")] = None,
    sender: Annotated[str | None, typer.Option(help="For mail: the address it comes from.")] = None,
    alerts_url: Annotated[
        str | None, typer.Option(help="For ntfy and webhook: the address to POST to, a webhook's with {secret} in it.")
    ] = None,
    alerts_secret_file: Annotated[
        Path | None, typer.Option(help="File (mode 0600): the relay's password, ntfy's token, or a webhook's {secret}.")
    ] = None,
    no_alerts_test: Annotated[bool, typer.Option("--no-alerts-test", help="Send no test message.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing; take the defaults.")] = False,
) -> None:
    """Make a new site folder: ask the few questions, write the settings, make the vault.

    In a folder that has a site.yaml and no vault, such as a copied example, only the vault is made.
    """
    kind = _kind(identity)
    if folder is not None and newsite.is_incomplete(_absolute(folder)):
        _complete(_absolute(folder), folder, language, admin, kind, no_passphrase, yes)
        return
    if folder is not None:
        newsite.refuse_taken(_absolute(folder))
    jump = None if jump is None else _judged("--jump", jump, settings.jump_host)
    user = None if user is None else _judged("--user", user, settings.user_name)
    services = _services(service)

    spoken = _spoken()
    ask = Asker(spoken, yes)
    ask.language = ask(
        tr(en="Language (fr or en)", fr="Langue (fr ou en)"), "--language", language, spoken, _language
    )
    title = ask(
        tr(en="Name of the site, for people", fr="Nom du site, pour les gens"), "--name", name, "", settings.title
    )
    site_domain = ask(tr(en="Domain", fr="Domaine"), "--domain", domain, "", settings.domain)
    in_address = ask(
        tr(
            en="Address of the server (user@address:port unless it is root and 22)",
            fr="Adresse du serveur (compte@adresse:port si ce n'est pas root et 22)",
        ),
        "--address", address, "", settings.endpoint,
    )  # fmt: skip
    me = ask(
        tr(en="Your user name on the server", fr="Votre nom de compte sur le serveur"),
        "--admin", admin, _user_here(), settings.admin_name,
    )  # fmt: skip
    mail = ask(
        tr(en="Your e-mail address", fr="Votre adresse de courriel"),
        "--email", email, f"{me}@{site_domain}", settings.email,
    )  # fmt: skip
    keys = _ask_keys(ask, key)
    given = Given(alerts, relay, relay_user, sender, alerts_url, alerts_secret_file, not no_alerts_test)
    heard = ask_hearing(ask, given, mail, title, identities.ask_on_terminal)
    answers = newsite.Answers(
        language=ask.language, name=title, domain=site_domain, address=in_address[1],
        port=port or in_address[2] or 22, user=user or in_address[0] or "root", jump=jump,
        admin=me, email=mail, keys=keys, services=services, hearing=heard,
    )  # fmt: skip
    target = _absolute(folder or Path(newsite.slug(site_domain)))
    newsite.refuse_taken(target)
    phrase = _passphrase(ask, no_passphrase) if kind == "age" else None
    made = newsite.create(target, answers, kind, phrase, identities.ask_on_terminal)
    _tell(ask.language, folder or Path(target.name), site_domain, made.paper_key.reveal(), made.identity_path)


def _absolute(folder: Path) -> Path:
    return Path(os.path.abspath(folder.expanduser()))  # noqa: PTH100 - resolve() would follow a last symlink


def _tell(language: Literal["fr", "en"], folder: Path, domain: str, paper_key: str, identity: Path) -> None:
    typer.echo(
        tr(
            en=f"""
The site is in {folder}/. {identity} opens its vault.

Write this down on paper, by hand, and keep it away from this machine. It opens the vault when all admins'
keys are lost; it is shown only now:

  {paper_key}

What to do next:
  1. Point {domain} to the server, at whoever keeps its DNS.
  2. houblon check {folder}     judges the settings (edit {folder}/site.yaml as you like)
  3. houblon plan {folder}      shows what would change on the server
  4. houblon apply {folder}     changes it
Keep the folder in git: (cd {folder} && git init && git add . && git commit -m "New site")""",
            fr=f"""
Le site est dans {folder}/. {identity} ouvre son coffre.

Recopiez ceci sur papier, à la main, et gardez-le loin de cette machine. Cette clé ouvre le coffre quand celles
de tous les admins sont perdues ; elle n'est montrée que maintenant :

  {paper_key}

Et maintenant :
  1. Faites pointer {domain} vers le serveur, chez qui gère son DNS.
  2. houblon check {folder}     juge les réglages (changez {folder}/site.yaml comme vous voulez)
  3. houblon plan {folder}      montre ce qui changerait sur le serveur
  4. houblon apply {folder}     le change
Gardez le dossier dans git : (cd {folder} && git init && git add . && git commit -m "Nouveau site")""",
        )(language)
    )


def _complete(
    target: Path, shown: Path, language: str | None, admin: str | None, kind: Literal["age", "ssh"],
    no_passphrase: bool, yes: bool,
) -> None:  # fmt: skip
    there = site.load(target)
    ask = Asker(_judged("--language", language, _language) if language else _spoken(), yes)
    names = [one.name for one in there.admins]

    def judge(answer: str) -> str:
        if answer not in names:
            raise Wrong("this is none of the choices", ", ".join(names))
        return answer

    me = ask(
        tr(en="Which admin are you?", fr="Qui êtes-vous parmi les admins ?"), "--admin", admin,
        names[0] if len(names) == 1 else "", judge,
    )  # fmt: skip
    phrase = _passphrase(ask, no_passphrase) if kind == "age" else None
    made = newsite.complete(target, me, kind, phrase, identities.ask_on_terminal)
    _tell(ask.language, shown, there.domain, made.paper_key.reveal(), made.identity_path)


# --- the questions that need more than a judge -----------------------------------------------------------


def _ask_keys(ask: Asker, given: list[str] | None) -> tuple[str, ...]:
    if given:
        lines = [line for one in given for line in _judged("--key", one, _keys)]
        return tuple(dict.fromkeys(lines))
    found = next(iter(newsite.own_keys()), None)
    return ask(
        tr(
            en="Your SSH public key (a file, or the line itself)",
            fr="Votre clé publique SSH (un fichier, ou la ligne elle-même)",
        ),
        "--key", None, str(found or ""), _keys,
    )  # fmt: skip


def _keys(answer: str) -> tuple[str, ...]:
    """Public keys from a file's name, or pasted."""
    file = Path(answer).expanduser()
    if " " in answer.strip() and not _is_file(file):
        return (settings.public_key(answer),)
    try:
        if not file.is_file() or file.stat().st_size > MAX_BYTES:
            raise OSError
        text = file.read_text()
    except (OSError, ValueError):
        raise Wrong("this file cannot be read", "Give the file with your public key, or paste its line.") from None
    lines = text.splitlines() if "PRIVATE KEY" not in text else [text]
    keys = [settings.public_key(line) for line in lines if line.strip() and not line.startswith("#")]
    if not keys:
        raise Wrong("this file holds no key", "Give the file with your public key, or paste its line.")
    return tuple(dict.fromkeys(keys))


def _is_file(file: Path) -> bool:
    try:
        return file.is_file()
    except (OSError, ValueError):
        return False


def _passphrase(ask: Asker, none: bool) -> str | None:
    """The passphrase of the age identity that is about to be made; None when it is there, or unprotected."""
    file = Path(os.environ.get("HOUBLON_IDENTITY") or identities.default_file()).expanduser()
    if none or file.exists():
        return None
    if os.environ.get("HOUBLON_PASSPHRASE_FILE"):
        return identities.passphrase("", identities.ask_on_terminal)
    if ask.silent:
        raise BadInput(
            f"a passphrase is needed for the new key {file}",
            cure="Let HOUBLON_PASSPHRASE_FILE name a file of mode 0600 that holds it, or say --no-passphrase.",
        )
    first = tr(en="Passphrase for the new key of the vault: ", fr="Phrase de passe de la nouvelle clé du coffre : ")
    again = tr(en="Again: ", fr="Encore une fois : ")
    while True:
        phrase = identities.ask_on_terminal(first(ask.language))
        if weakness(phrase):
            ask.complain(Wrong("this passphrase is too weak", "Take five random words, for example."))
        elif identities.ask_on_terminal(again(ask.language)) != phrase:
            ask.complain(Wrong("the two passphrases differ", "Type the same twice."))
        else:
            return phrase


def _language(answer: str) -> Literal["fr", "en"]:
    match answer.strip().lower()[:2]:
        case "fr":
            return "fr"
        case "en":
            return "en"
    raise Wrong("this is none of the choices", "Answer fr or en.")


def _spoken() -> Literal["fr", "en"]:
    for variable in ("LC_ALL", "LC_MESSAGES", "LANG"):
        if value := os.environ.get(variable):
            return "fr" if locale.normalize(value).lower().startswith("fr") else "en"
    return "en"


def _user_here() -> str:
    try:
        return settings.admin_name(getpass.getuser())
    except (Wrong, KeyError, OSError):
        return ""


def _kind(text: str) -> Literal["age", "ssh"]:
    if text == "age":
        return "age"
    if text == "ssh":
        return "ssh"
    raise BadInput("--identity: this is none of the choices", cure="Write age or ssh.")


def _services(chosen: list[str] | None) -> tuple[str, ...]:
    known = registry.discover().services
    for name in chosen or ():
        if name not in known:
            raise BadInput(f"--service: there is no service `{name}`", cure=translate.suggestion(name, known))
    return tuple(dict.fromkeys(chosen)) if chosen else tuple(name for name in ("portal",) if name in known)


def _judged(option: str, value: str, judge: Judge[T]) -> T:
    try:
        return judge(value)
    except Wrong as error:
        raise BadInput(f"{option}: {error.what}", cure=error.cure) from None


def _unanswered(option: str) -> BadInput:
    return BadInput(f"{option} is missing, and nobody is there to ask", cure=f"Give it: {option} VALUE.")
