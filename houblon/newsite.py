"""Writes the folder of a new site, all of it or nothing."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from houblon import schema, site, yamlfile
from houblon.contract import tr
from houblon.errors import BadInput
from houblon.hearing import LATER, Hearing
from houblon.registry import Registry, discover
from houblon.settings import FORMAT
from houblon.vault import InitResult, Vault
from houblon.vault.identity import default_file

LAN = (".lan", ".home.arpa", ".internal", ".local", ".home", ".localdomain")
"""Ends of names that no public authority can certify (RFC 6762 appendix G, RFC 8375)."""


@dataclass(frozen=True)
class Answers:
    """What only the site's owner can know, already judged."""

    language: Literal["fr", "en"]
    name: str
    domain: str
    address: str
    port: int
    user: str
    jump: str | None
    admin: str
    email: str
    keys: tuple[str, ...]
    services: tuple[str, ...]
    hearing: Hearing = LATER


def refuse_taken(folder: Path) -> None:
    """:raises BadInput: when the folder holds something, or cannot be made."""
    if folder.is_dir():
        if any(folder.iterdir()):
            raise BadInput("this folder is not empty", cure="Give the name of a new one.", file=folder)
    elif folder.exists() or folder.is_symlink():
        raise BadInput("something else is there", cure="Give the name of a new folder.", file=folder)
    elif not folder.parent.is_dir():
        raise BadInput("the folder above does not exist", cure=f"Run `mkdir -p {folder.parent}`.", file=folder)
    if not os.access(folder if folder.is_dir() else folder.parent, os.W_OK | os.X_OK):
        raise BadInput("you may not write there", cure="Give a folder of your own.", file=folder)


def create(
    folder: Path, answers: Answers, identity: Literal["age", "ssh"], passphrase: str | None,
    ask: Callable[[str], str],
) -> InitResult:  # fmt: skip
    """Make the folder and its vault. When anything fails, even by Ctrl-C, nothing of it is left behind.

    :param identity: what opens the vault here: a new (or houblon's existing) age identity, or the SSH key.
    :param passphrase: protects a new identity; None leaves it unprotected, or opens one that is there by ``ask``.
    :raises BadInput: when the folder is taken, or an answer turns out wrong.
    """
    refuse_taken(folder)
    own = Path(os.environ.get("HOUBLON_IDENTITY") or default_file())
    made_before = own.exists()
    building = Path(tempfile.mkdtemp(prefix=".houblon-init.", dir=folder.parent))
    moved: list[Path] = []
    try:
        registry = discover()
        for name, text in files(answers, registry).items():
            (building / name).write_text(text)
        _prove(building, folder)
        result = Vault.init(building, {answers.admin: answers.keys}, answers.admin, identity, passphrase, ask=ask)
        if folder.is_dir():
            for entry in sorted(building.iterdir(), key=lambda path: path.name == site.FILE):
                moved.append(entry.rename(folder / entry.name))
            building.rmdir()
        else:
            building.chmod(0o777 & ~_umask())
            moved.append(building.rename(folder))
        vault = Vault(folder, ask=ask if passphrase is None else lambda _: passphrase)
        vault.check()  # which also remembers where it lies
        for (role, name), value in answers.hearing.secrets().items():
            vault.set(role, name, value, kind="given")
    except BaseException:
        for path in (building, *moved):
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
        if not made_before:
            own.unlink(missing_ok=True)
            own.with_suffix(".pub").unlink(missing_ok=True)
        raise
    return result


def complete(
    folder: Path, me: str, identity: Literal["age", "ssh"], passphrase: str | None, ask: Callable[[str], str]
) -> InitResult:
    """Make the vault of a site folder that has only a site file, such as a copied example.

    :param me: the admin at the keyboard.
    :raises BadInput: the site file is wrong, or does not name this admin.
    """
    admins = {admin.name: admin.keys for admin in site.load(folder).admins}
    return Vault.init(folder, admins, me, identity, passphrase, ask=ask)


def is_incomplete(folder: Path) -> bool:
    """Whether the folder holds a site file and no vault."""
    return (folder / site.FILE).is_file() and not os.path.lexists(folder / "vault")


def _prove(building: Path, folder: Path) -> None:
    """Whatever was answered, the file written from it must load."""
    try:
        site.load(building)
    except BadInput as error:
        where = folder / site.FILE if error.file == building / site.FILE else error.file
        raise BadInput(error.what, cure=error.cure, file=where, line=error.line, key=error.key) from None


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def slug(domain: str) -> str:
    """The folder's name when none is given: the first part of the domain."""
    return domain.split(".", 1)[0]


def files(answers: Answers, registry: Registry) -> dict[str, str]:
    """The text of every file of a new site, besides its vault."""
    return {
        site.FILE: site_file(answers, registry),
        schema.NAME: schema.text(registry),
        "inventory.py": INVENTORY,
        ".gitignore": GITIGNORE,
        "README.md": README(answers.language).format(name=answers.name, domain=answers.domain),
    }


def site_file(answers: Answers, registry: Registry) -> str:
    """A site file with comments in the owner's language."""

    def say(en: str, fr: str) -> str:
        return tr(en=en, fr=fr)(answers.language)

    languages = "fr, en" if answers.language == "fr" else "en, fr"
    lines = [
        schema.HINT,
        say(
            "# Change anything here; `houblon plan` then shows what that would change on the server.",
            "# Tout se change ici ; `houblon plan` montre ensuite ce que cela changerait sur le serveur.",
        ),
        f"version: {FORMAT}",
        f"name: {scalar(answers.name)}",
        f"domain: {scalar(answers.domain)}",
        f"languages: [{languages}]  # " + say("the first is the default", "la première est celle par défaut"),
        "",
        say(
            "# Who runs the site: an account with sudo on the server, and access to the vault.\n"
            "# `houblon admin add` and `houblon admin remove` change this list and the vault together.",
            "# Qui administre : un compte avec sudo sur le serveur, et l'accès au coffre (vault/).\n"
            "# `houblon admin add` et `houblon admin remove` changent la liste et le coffre ensemble.",
        ),
        "admins:",
        f"  - name: {scalar(answers.admin)}",
        f"    email: {scalar(answers.email)}",
        "    keys:",
        *(f"      - {scalar(key)}" for key in answers.keys),
        "",
        say(
            "# The server. `user` is for the first contact: root, or a user with sudo.",
            "# Le serveur. `user` sert au premier contact : root, ou un compte avec sudo.",
        ),
        "host:",
        f"  address: {scalar(answers.address)}",
        f"  port: {answers.port}",
        f"  user: {scalar(answers.user)}",
        f"  jump: {scalar(answers.jump)}" if answers.jump else "  # jump: " + say(
            "marie@gate.example:22  # a host to go through", "marie@passerelle.example:22  # machine de rebond"
        ),
        "",
        say(
            "# The services; remove the # in front of one to have it.",
            "# Les services ; enlevez le # devant celui que vous voulez.",
        ),
        "services:" if answers.services else "services: {}",
    ]  # fmt: skip
    for name in sorted(registry.services, key=lambda name: (name not in answers.services, name)):
        about = registry.roles[name].metadata
        mark = "" if name in answers.services else "# "
        lines.append(f"  {mark}{name}:  # {about.title}: {about.summary(answers.language)}")
    sections = answers.hearing.sections()
    lines += ["", say("# Who hears when the server is ill; `houblon alerts test` tries it.",
                      "# Qui est prévenu quand le serveur va mal ; `houblon alerts test` essaie.")]  # fmt: skip
    if not sections:
        lines += ["# alerts:", "#   ntfy: https://ntfy.sh/" + say("a-name-nobody-guesses", "un-nom-introuvable")]
    for section, values in sections.items():
        lines += [f"{section}:", *(f"  {key}: {_value(value)}" for key, value in values.items())]
    if answers.domain.endswith(LAN):
        lines += [
            "",
            say(
                "# No authority certifies a name like this one: browsers will ask to trust the server.",
                "# Aucune autorité ne certifie un tel nom : les navigateurs demanderont confirmation.",
            ),
            "tls: self-signed",
        ]
    return "\n".join(lines) + "\n"


def scalar(text: str) -> str:
    """Text as a YAML scalar: plain where nothing can misread it, else in double quotes (JSON is YAML)."""
    plain = re.fullmatch(r"[^\W_](?:[\w .@/+='’-]*[\w.@/+=’-])?", text)
    if plain and not yamlfile.is_special(text) and text.lower() not in {"yes", "no", "on", "off", "y", "n"}:
        return text
    return json.dumps(text, ensure_ascii=False)


def _value(value: object) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(scalar(one) for one in value) + "]"
    return scalar(value) if isinstance(value, str) else json.dumps(value)


INVENTORY = """\
from pathlib import Path

from houblon.inventory import hosts_of

hosts = hosts_of(Path(__file__).parent)
"""

GITIGNORE = """\
# Keys and caches of one machine; everything else here is meant to be shared among the admins.
.local/
.cache/
__pycache__/
*.pyc
"""

README = tr(
    en="""\
# {name}

The site {domain}, run with houblon. Everything about it is in this folder; keep it in git.

- `site.yaml`: the settings. `houblon check` judges them, `houblon plan` shows what would change,
  `houblon apply` changes it, `houblon verify` proves that it worked.
- `vault/`: the secrets, encrypted for every admin. `houblon secret list` shows which there are.
- `overrides/<role>/`: your own snippets for nginx and others; they survive updates.
- `roles/`: services of your own, if you write any.
""",
    fr="""\
# {name}

Le site {domain}, géré avec houblon. Tout ce qui le concerne est dans ce dossier ; gardez-le dans git.

- `site.yaml` : les réglages. `houblon check` les juge, `houblon plan` montre ce qui changerait,
  `houblon apply` le change, `houblon verify` prouve que cela marche.
- `vault/` : les secrets, chiffrés pour chaque admin. `houblon secret list` en donne la liste.
- `overrides/<rôle>/` : vos propres extraits pour nginx et d'autres ; ils survivent aux mises à jour.
- `roles/` : vos propres services, si vous en écrivez.
""",
)


def own_keys() -> Sequence[Path]:
    """Public keys of the person at the keyboard, the best kind first."""
    folder = Path.home() / ".ssh"
    names = ("id_ed25519", "id_ed25519_sk", "id_ecdsa_sk", "id_ecdsa", "id_rsa")
    return [file for name in names if (file := folder / f"{name}.pub").is_file()]
