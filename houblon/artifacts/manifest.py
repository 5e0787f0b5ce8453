"""The three TOML files that name releases: a role's ``artifacts.toml``, a site's ``pins.lock``, a test manifest.

TOML, because Python reads it without a dependency (``tomllib``), and because a lock of flat tables with one value a
line is what git shows best.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from datetime import date, time
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from houblon import translate
from houblon.claims import Artifact
from houblon.errors import BadInput
from houblon.settings import Wrong
from houblon.yamlfile import Document, Trail

MAX_BYTES = 256 * 1024
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,126}")
_SUM = re.compile(r"[0-9a-f]{64}")


def _plain(text: str) -> str:
    if not _PLAIN.fullmatch(text):
        raise Wrong(
            "this becomes the name of a directory, and cannot", "Use letters, digits, dots, hyphens and underscores."
        )
    return text


def _version(text: str) -> str:
    if text == "current":
        raise Wrong("the link to the release that runs has this name", "Write the version as upstream counts.")
    return text


def _sum(text: str) -> str:
    if not _SUM.fullmatch(text):
        raise Wrong("this is no SHA-256 sum", "Write its 64 hexadecimal digits, small letters.")
    return text


def https(text: str) -> str:
    """An address that a release may be downloaded from.

    :raises Wrong: anything but https, a password in it, or a sign that has no place in an address (RFC 3986).
    """
    cure = "Write an address such as https://download.example.org/program-1.0.tar.gz."
    try:
        parts = urlsplit(text)
        good = parts.scheme == "https" and parts.hostname and (parts.port or 1)
    except ValueError:
        raise Wrong("this is no address", cure) from None
    if not good:
        raise Wrong("this is no https address", cure)
    if parts.username is not None or parts.password is not None:
        raise Wrong("an address that everybody may read holds no user name", cure)
    if parts.fragment or not text.isascii() or re.search(r"[\x00-\x20\x7f\"<>\\^`{|}]", text):
        raise Wrong("this address has a sign in it that must be written otherwise (%20 for a blank)", cure)
    return text


def _signature(text: str) -> str:
    return https(text) if text else text


Plain = Annotated[str, AfterValidator(_plain)]
Version = Annotated[Plain, AfterValidator(_version)]
Sum = Annotated[str, AfterValidator(_sum)]
Url = Annotated[str, AfterValidator(https)]
Megabytes = Annotated[int, Field(ge=1, le=65536)]
ARCHITECTURES = ("amd64", "arm64")


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)


class Source(_Entry):
    """Where one archive is, and what it must be."""

    urls: Annotated[tuple[Url, ...], Field(min_length=1)]
    """Addresses, tried in order."""
    sha256: Sum
    """Of the archive."""
    signature: Annotated[str, AfterValidator(_signature)] = ""
    """Address of a detached OpenPGP signature of the archive."""


class Earlier(_Entry):
    """A release that the manifest pinned before; sites whose lock names it go on running it."""

    version: Version
    sha256: Sum


class Release(_Entry):
    """A release in a role's manifest: one archive for all architectures, or a table for each that there is."""

    version: Version
    """As upstream counts."""
    top: Plain
    """The one directory in the archive that everything lies in."""
    urls: tuple[Url, ...] = ()
    sha256: Sum | None = None
    signature: Annotated[str, AfterValidator(_signature)] = ""
    key: str = ""
    """File in the role's folder with the key that must have made the signature."""
    limit_mb: Megabytes = 1024
    """Largest size of the unpacked tree."""
    amd64: Source | None = None
    arm64: Source | None = None
    earlier: tuple[Earlier, ...] = ()
    """What was pinned before, of all architectures."""

    @model_validator(mode="after")
    def _whole(self) -> Release:
        tables = [source for source in (self.amd64, self.arm64) if source]
        if tables and (self.urls or self.sha256 or self.signature):
            raise Wrong(
                "there is one archive for all architectures, and others for single ones",
                "Write urls, sha256 and signature either here or in the tables of the architectures.",
            )
        if not tables and not (self.urls and self.sha256):
            raise Wrong("urls and sha256 are missing", "Write where the archive is, and its SHA-256 sum.")
        signed = [bool(source.signature) for source in tables] or [bool(self.signature)]
        if any(signed) != bool(self.key):
            raise Wrong("a signature needs a key, and a key a signature", "Write both, or none.")
        if self.key and not _PLAIN.fullmatch(self.key):
            raise Wrong("key is no name of a file", "Name a file that lies beside this one.")
        return self

    def source(self, architecture: str) -> tuple[str, Source] | None:
        """The archive for an architecture, and what to call it; None when there is none."""
        if self.sha256:
            return "all", Source(urls=self.urls, sha256=self.sha256, signature=self.signature)
        found: Source | None = getattr(self, architecture, None)
        return (architecture, found) if found else None


class Locked(_Entry):
    """A release that a site runs."""

    role: str
    """The role it belongs to."""
    version: Version
    sha256: Sum
    top: Plain
    urls: tuple[Url, ...] = ()
    architecture: Literal["all", "amd64", "arm64"] = "all"
    limit_mb: Megabytes = 1024


class Test(_Entry):
    """What a test manifest puts in a release's place."""

    __test__ = False

    version: Version
    sha256: Sum
    top: Plain
    urls: tuple[Url, ...] = ()
    file: str = ""
    """Path of the archive on this machine, from the manifest's folder on, for `houblon artifacts fetch`."""
    limit_mb: Megabytes | None = None


E = TypeVar("E", bound=BaseModel)


def read(file: Path, architecture: str, *, lenient: bool = False) -> Iterator[Artifact]:
    """The releases of a role's manifest, for an architecture.

    :param lenient: leave out what there is not for that architecture.
    :raises BadInput: naming file, line, key and cure of the first mistake.
    """
    for name, release in entries(file, Release).items():
        found = release.source(architecture)
        if found is None and lenient:
            continue
        if found is None:
            raise BadInput(
                f"there is no release of {name} for {architecture}", file=file, key=name,
                cure="Its service cannot run on a host of that architecture, which `host.architecture` says it has.",
            )  # fmt: skip
        if release.key and not (file.parent / release.key).is_file():
            raise BadInput(
                f"the key file {release.key} is missing", cure="Put it beside the manifest.", file=file,
                key=f"{name}.key",
            )  # fmt: skip
        kind, source = found
        yield Artifact(
            name=name, version=release.version, urls=source.urls, sha256=source.sha256, top=release.top,
            architecture=kind, signature=source.signature, key=release.key if source.signature else "",
            limit_mb=release.limit_mb,
        )  # fmt: skip


def earlier(file: Path, name: str) -> frozenset[tuple[str, str]]:
    """Versions and sums that a role's manifest pinned before under a name.

    :raises BadInput: as `read` does.
    """
    release = entries(file, Release).get(name)
    return frozenset((entry.version, entry.sha256) for entry in release.earlier) if release else frozenset()


def entries(file: Path, model: type[E], cure: str = "") -> dict[str, E]:
    """The tables of a TOML file, in its order, each judged by a model.

    :param cure: what to do about any mistake, where mending the file by hand is not the best idea.
    :raises BadInput: naming file, line, key and cure of the first mistake.
    """
    document = _parsed(file, cure)
    found: dict[str, E] = {}
    for name, value in document.data.items():
        if not NAME.fullmatch(name):
            raise document.error(
                "this is no name of a release", (name,), cure or "Use small letters, digits and hyphens."
            )
        if trail := next(_dates(value, (name,)), None):
            raise document.error("this is a date", trail, cure or "Put it between quotes to make it text.")
        entry, errors = translate.validate(model, value, document, (name,))
        if entry is None:
            error = errors[0]
            advice = cure or re.sub(r"Add `(\w+):`", r"Add `\1 = ...`", error.cure)
            raise BadInput(error.what, cure=advice, file=file, line=error.line, key=error.key)
        found[name] = entry
    return found


def written(name: str, entry: Locked) -> str:
    """A lock's table as text; what has its default is left out."""
    lines = [f"\n[{name}]"]
    for key, value in entry.model_dump(mode="json", exclude_defaults=True).items():
        if isinstance(value, list):
            lines += [f"{key} = [", *(f"  {json.dumps(item)}," for item in value), "]"]
        else:
            lines.append(f"{key} = {json.dumps(value)}")
    return "\n".join(lines) + "\n"


def _parsed(file: Path, cure: str) -> Document:
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise BadInput("this file is too big", cure=cure or "Is it the right file?", file=file)
        text = data.decode()
        return Document(file, tomllib.loads(text), _lines(text))
    except OSError as error:
        raise BadInput(
            f"this file cannot be read: {error.strerror}", cure=cure or "Check it with ls -l.", file=file
        ) from None
    except UnicodeDecodeError:
        raise BadInput("this file is not UTF-8 text", cure=cure or "Save it as UTF-8.", file=file) from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        place = re.search(r" \(at line (\d+), column \d+\)", str(error))
        what = "too deep" if isinstance(error, RecursionError) else str(error).split(" (at ")[0]
        raise BadInput(
            f"this file is not valid TOML: {what}", cure=cure or "Mend that line (https://toml.io/en/v1.0.0).",
            file=file, line=int(place[1]) if place else None,
        ) from None  # fmt: skip


def _lines(text: str) -> dict[Trail, int]:
    """Lines of tables and keys, as far as they are written one a line; for error messages only."""
    found: dict[Trail, int] = {}
    table: Trail = ()
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.fullmatch(r"\s*\[([\w.-]+)\]\s*(#.*)?", line):
            table = tuple(header[1].split("."))
            found.setdefault(table, number)
        elif key := re.match(r"\s*([\w-]+)\s*=", line):
            found.setdefault((*table, key[1]), number)
    return found


def _dates(value: Any, trail: Trail) -> Iterator[Trail]:
    """Where TOML's dates and times stand, which nothing here is."""
    if isinstance(value, date | time):
        yield trail
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from _dates(inner, (*trail, key))
