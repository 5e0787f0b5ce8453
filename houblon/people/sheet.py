"""Invitations as sheets to print: one HTML file, an A4 page a person, nothing loaded from anywhere.

Whoever reads such a file can take the accounts, so it is made for its owner's eyes (mode 0600), and to be burnt.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import jinja2
import segno
from markupsafe import Markup

from houblon.errors import BadInput
from houblon.people.invitations import Invitation
from houblon.people.words import WORDS, moment


@dataclass(frozen=True)
class _Sheet:
    language: str
    full_name: str
    name: str
    url: str
    pieces: Sequence[tuple[str, bool]]
    qr: Markup
    until: str
    password: str = field(repr=False)


def render(invitations: Iterable[Invitation], site: str, domain: str, language: str) -> str:
    """The file's text.

    :param site: the site's name, for people.
    :param language: of the note to the person who prints; each sheet has its person's.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    home = f"https://{domain}/"
    sheets = [_sheet(one, home) for one in invitations]
    return environment.get_template("sheet.html.j2").render(
        sheets=sheets, site=site, home=home, language=language, words=WORDS
    )


def free(path: Path) -> Path:
    """A path that nothing stands at: this one, or with ``-2`` and so on.

    :raises BadInput: when nothing can be written there.
    """
    _refuse_unwritable(path)
    suffix = next((end for end in (".tar.gz",) if path.name.endswith(end)), path.suffix)
    number, found = 1, path
    while found.exists() or found.is_symlink():
        number += 1
        found = path.with_name(f"{path.name.removesuffix(suffix)}-{number}{suffix}")
    return found


def vacant(path: Path) -> Path:
    """A path that somebody chose.

    :raises BadInput: when something stands there, or nothing can be written there.
    """
    _refuse_unwritable(path)
    if path.exists() or path.is_symlink():
        raise BadInput("something stands there already", file=path, cure="Name another file.")
    return path


def write(path: Path, text: str) -> None:
    """Make a file that its owner alone can read; whole, or not at all.

    :raises BadInput: when it cannot be written, or something stands there.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        # Not rename, which would take the place of what another command has just written.
        path.hardlink_to(part)
    except OSError as error:
        raise BadInput(f"this file cannot be written: {error.strerror}", file=path) from None
    finally:
        part.unlink(missing_ok=True)


def _refuse_unwritable(path: Path) -> None:
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise BadInput("no file can be written there", file=path, cure="Name another place.")


def _sheet(invitation: Invitation, home: str) -> _Sheet:
    person = invitation.person
    address = invitation.url or home
    return _Sheet(
        language=person.language if person.language in WORDS else "en", full_name=person.full_name, name=person.name,
        url=invitation.url, pieces=_pieces(address), qr=_qr(address, person.language),
        until=moment(invitation.expires, person.language) if invitation.url else "", password=invitation.password,
    )  # fmt: skip


def _pieces(address: str) -> list[tuple[str, bool]]:
    """An address in pieces that the eye can hold: words at its marks; a token in fours, each with a gap behind it."""
    words = re.findall(r"https://|[^/?&=.]+[/?&=.]*|[/?&=.]+", address)
    parted = {word: re.findall(r".{1,4}", word) for word in words if len(word) > 24}
    return [(part, word in parted) for word in words for part in parted.get(word, [word])]


def _qr(address: str, language: str) -> Markup:
    code = segno.make(address, error="m", micro=False)
    text = code.svg_inline(
        scale=1, border=0, omitsize=True, svgclass=None, lineclass=None, title=WORDS[language].qr, dark="#000"
    )
    return Markup(text)  # noqa: S704 - segno escapes the title; the rest is numbers
