"""The site: a folder with a `site.yaml`, read, judged and made into placed roles. All offline."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from houblon import conflicts, settings, translate, yamlfile
from houblon.artifacts import Pins
from houblon.claims import Claim, Vhost
from houblon.contract import Config, Role
from houblon.errors import BadInput
from houblon.placement import Placement, place
from houblon.registry import Registry, discover
from houblon.settings import Admin, Core, Host

FILE = "site.yaml"
MAX_OVERRIDE_BYTES = 256 * 1024

K = TypeVar("K", bound=Claim)


class Site:
    """A site's settings, its roles in the order they are applied, and all their claims."""

    def __init__(
        self, folder: Path, core: Core, registry: Registry, document: yamlfile.Document,
        configs: Mapping[str, Config],
    ) -> None:  # fmt: skip
        self.folder = folder
        self.file = document.path
        self.name: str = core.name
        self.domain: str = core.domain
        self.languages: tuple[str, ...] = core.languages
        self.admins: tuple[Admin, ...] = core.admins
        self.host: Host = core.host
        self.services: tuple[str, ...] = tuple(core.services)
        self.registry = registry
        self.pins = Pins(folder, core.host.architecture)
        """Which upstream releases the site runs."""
        self.notes: tuple[str, ...] = ()
        """What `houblon check` tells although nothing is wrong."""
        self._document = document
        self._configs = dict(configs)
        self._placement = Placement()
        self._claims: tuple[Claim, ...] = ()

    @property
    def roles(self) -> tuple[Role[Any], ...]:
        """The placed roles, providers before those they provide for."""
        return tuple(self._placement.roles.values())

    def role(self, name: str) -> Role[Any]:
        """A placed role.

        :raises BadInput: when this site does not place it.
        """
        try:
            return self._placement.roles[name]
        except KeyError:
            raise BadInput(
                f"this site has no role `{name}`", cure=translate.suggestion(name, self._placement.roles),
                file=self.file,
            ) from None  # fmt: skip

    def claims(self, kind: type[K]) -> tuple[K, ...]:
        """All claims of a kind, those of recorded roles included, each with its ``role``."""
        return tuple(claim for claim in self._claims if isinstance(claim, kind))

    def page(self, role: str) -> str:
        """Address of a role's page; empty when it serves no name."""
        names = [vhost.fqdn for vhost in self.claims(Vhost) if vhost.role == role]
        return f"https://{names[0]}/" if names else ""

    def override(self, role: str, path: str) -> str:
        """The site's own text in ``overrides/<role>/<path>``; empty when there is none.

        :raises BadInput: when it cannot be read as text.
        """
        base = self.folder / "overrides" / role
        file = base / path
        if ".." in Path(path).parts or not file.resolve().is_relative_to(base.resolve()):
            raise BadInput(
                "an override must stay inside its role's folder", cure="Put the file itself there.", file=file
            )
        try:
            if file.stat().st_size > MAX_OVERRIDE_BYTES:
                raise BadInput("this override is too big", cure="Is it the right file?", file=file)
            return file.read_text("utf-8")
        except (FileNotFoundError, NotADirectoryError):
            return ""
        except UnicodeDecodeError:
            raise BadInput("this override is not UTF-8 text", cure="Save it as UTF-8.", file=file) from None
        except OSError as error:
            raise BadInput(
                f"this override cannot be read: {error.strerror}", cure="Check it with ls -l.", file=file
            ) from None

    def raw_settings(self, role: str) -> dict[str, Any]:
        """What the site file sets for a role, in JSON's types, without defaults; for the host's record."""
        config: Config = self.role(role).config
        return config.model_dump(mode="json", exclude_unset=True)

    def instantiate(self, name: str, values: Mapping[str, Any] | None = None) -> Role[Any]:
        """A role with given (recorded) settings, though the site does not place it: for its removal.

        :raises BadInput: when there is no such role, or these settings no longer fit it.
        """
        cls = self.registry.roles.get(name)
        if cls is None:
            raise BadInput(
                f"there is no role `{name}`", cure=translate.suggestion(name, self.registry.roles),
                file=self.folder / "roles",
            )  # fmt: skip
        document = yamlfile.Document(Path(f"settings of {name} as recorded on the host"))
        config, errors = translate.validate(cls.config_type(), dict(values or {}), document)
        if config is None:
            raise _first(errors)
        return cls(config, self)

    def line_of(self, role: str) -> int | None:
        """The line that a role is there for: its own, or that of the service that needs it."""
        for name in (role, self._placement.origins.get(role, role)):
            if (line := self.line_of_key(name)) is not None:
                return line
        return None

    def line_of_key(self, key: str) -> int | None:
        """The line of a setting as roles name it (``tls.dns.server``, ``portal``), or of what holds it."""
        steps: yamlfile.Trail = tuple(key.split("."))
        for trail in (("services", *steps), steps):
            # Without this, the line of `services:` itself would stand in for a service that is not there.
            if trail[: 1 + (trail != steps)] in self._document.lines:
                return self._document.line(trail)
        return None

    def commit(self) -> tuple[str, bool]:
        """The git commit of the repository that holds the site, and whether the site differs from it.

        ``("", False)`` when there is no git, no repository, no commit in it, or the site is not part of it.
        """
        # A site may lie, ignored, in somebody's larger repository, whose commits say nothing about it.
        if _git(self.folder, "ls-files", "--error-unmatch", "--", FILE) is None:
            return "", False
        status = _git(self.folder, "status", "--porcelain=v2", "--branch", "--", ".") or ""
        lines = status.splitlines()
        sha = next((line.split()[2] for line in lines if line.startswith("# branch.oid ")), "")
        if not sha or sha == "(initial)":
            return "", False
        return sha, any(not line.startswith("#") for line in lines)

    def _settle(self, chosen: Sequence[str], extra: Sequence[Claim]) -> None:
        """Place the roles; split from __init__ because roles are given the site they are placed on."""

        def make(name: str) -> Role[Any]:
            cls = self.registry.roles[name]
            if name not in self._configs:
                # It has settings without a default, and something else than its section called for it.
                _, errors = translate.validate(cls.config_type(), {}, self._document, (name,))
                raise _first(errors)
            return cls(self._configs[name], self)

        def publish(claims: tuple[Claim, ...]) -> None:
            self._claims = claims

        sections = [n for n, cls in self.registry.roles.items() if cls.by_section and n in self._document.data]
        place(self.registry, [*chosen, *sections], make, publish, extra, self._placement)


def load(folder: Path, extra_claims: Sequence[Claim] = ()) -> Site:
    """Read a site folder.

    :param extra_claims: claims recorded on the host for roles that the site file no longer names;
        providers go on providing for them until the role is removed.
    :raises BadInput: naming file, line, key and cure of the first mistake, and how many more there are.
    """
    file = _site_file(folder)
    document = yamlfile.read(file)
    notes = migrate(document)
    registry = discover(folder)
    core, configs, errors = judge(document, registry)
    if core is None or errors:
        raise _first(errors)
    site = Site(folder, core, registry, document, configs)
    written = document.data.get("domain")
    if isinstance(written, str) and not written.isascii():
        notes.append(f"domain: {written} is used in its ASCII form, {core.domain}.")
    try:
        site._settle(list(core.services), extra_claims)
    except BadInput as error:
        if error.file is None:
            key = error.key or ""
            line = site.line_of_key(key) or site.line_of(key.split(".")[0])
            raise BadInput(error.what, cure=error.cure, file=file, line=line, key=error.key) from None
        raise
    placed = {role.name for role in site.roles}
    for role in site.roles:
        if site.host.debian not in role.debian:
            raise _too_old(site, role)
    # Two roles that are only still on the host get along there as they are.
    found = [c for c in conflicts.find(site.claims(Claim)) if placed & set(c.roles)]
    if found:
        raise _first([_conflict(site, conflict) for conflict in found])
    notes += [
        f"{name}: these settings have no effect yet, because no service needs {name}."
        for name in registry.systems
        if name in document.data and name not in placed
    ]
    notes += [note for role in site.roles for note in role.notes()]
    notes += site.pins.notes()
    site.notes = (*notes, *_idle_overrides(folder / "overrides", placed))
    return site


def _too_old(site: Site, role: Role[Any]) -> BadInput:
    """A role does not run on the Debian that the site file says; named by the service that brought it."""
    service = site._placement.origins.get(role.name, role.name)
    why = "" if service == role.name else f", which `{service}` needs,"
    return BadInput(
        f"the role `{role.name}`{why} does not run on Debian {site.host.debian}",
        cure=f"Install Debian {max(role.debian)} on a new host and write `debian: {max(role.debian)}` under `host:`, "
        f"or remove `{service}`.",
        file=site.file, line=site.line_of_key("host.debian"), key="host.debian",
    )  # fmt: skip


def _idle_overrides(folder: Path, placed: set[str]) -> Iterator[str]:
    """Overrides that no role reads, most often because of a typing mistake."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.is_dir() and path.name not in placed and not path.name.startswith("."):
            cure = translate.suggestion(path.name, placed)
            yield f"overrides/{path.name}/ has no effect: this site has no role of that name. {cure}"


def _site_file(folder: Path) -> Path:
    file = folder / FILE
    if file.exists() or file.is_symlink():
        return file
    if not folder.exists():
        raise BadInput(
            "there is no such folder", cure=f"Make a site there with `houblon init {folder}`.", file=folder
        )
    raise BadInput(
        f"this is not a site: there is no {FILE} in it",
        cure="Give the folder that holds it, or make a new site with `houblon init`.", file=folder,
    )  # fmt: skip


def migrate(document: yamlfile.Document) -> list[str]:
    """Bring a document's data to the present format, in memory; returns what to tell about it.

    :raises BadInput: when the version is missing, nonsense, too old or too new.
    """
    data = document.data
    if "version" not in data:
        raise BadInput(
            "the key `version` is missing", cure=f"Write `version: {settings.FORMAT}` as the first line.",
            file=document.path, line=1, key="version",
        )  # fmt: skip
    version = data["version"]
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise document.error(
            "this must be the number of the file's format", ("version",),
            f"Write `version: {settings.FORMAT}`.",
        )
    if version > settings.FORMAT:
        raise document.error(
            f"this file was made by a newer houblon (format {version}, this one reads {settings.FORMAT})",
            ("version",), "Update houblon, or get the site file that goes with this version.",
        )  # fmt: skip
    if version == settings.FORMAT:
        return []
    while data["version"] < settings.FORMAT:
        step = settings.MIGRATIONS.get(data["version"])
        if step is None:
            raise document.error(
                f"format {data['version']} is too old to be read", ("version",),
                "Use an older houblon to bring it forward.",
            )  # fmt: skip
        data = {**step(data), "version": data["version"] + 1}
    document.data = data
    return [
        f"version: this file has the older format {version}; it is understood as format {settings.FORMAT}. "
        f"See the changelog for what to change, then write `version: {settings.FORMAT}`."
    ]


def judge(
    document: yamlfile.Document, registry: Registry
) -> tuple[Core | None, dict[str, Config], list[BadInput]]:
    """Check everything in a document against the models; gives every role's settings, and all mistakes."""
    data = document.data
    fixed = {key: value for key, value in data.items() if key not in registry.systems}
    if fixed.get("services", {}) is None:
        fixed["services"] = {}
    core, errors = translate.validate(
        Core, fixed, document, unknown=lambda key: _unknown_key(key, document, registry)
    )
    services = fixed.get("services", {})
    services = services if isinstance(services, dict) else {}
    configs: dict[str, Config] = {}
    for name in services:
        if name not in registry.services:
            errors.append(_unknown_service(name, document, registry))
    for name, cls in registry.roles.items():
        trail: yamlfile.Trail = ("services", name) if name in registry.services else (name,)
        values = services.get(name) if name in registry.services else data.get(name)
        asked = name in services if name in registry.services else name in data
        model = cls.config_type()
        config, found = translate.validate(model, {} if values is None else values, document, trail)
        if config is not None:
            configs[name] = config
        elif asked or cls.always:
            errors += found
    return core, configs, errors


def _unknown_key(key: str, document: yamlfile.Document, registry: Registry) -> BadInput:
    shown = yamlfile.dotted((key,))
    if key in registry.services:
        return document.error(f"`{shown}` is a service", (key,), "Move it under `services:`.")
    known = [*Core.model_fields, *registry.systems]
    cure = translate.suggestion(key, known)
    if cure.startswith("Known"):
        near = translate.suggestion(key, registry.services)
        cure = near.replace("?", " under `services:`?") if near.startswith("Did") else cure
    return document.error(f"unknown key `{shown}`", (key,), cure)


def _unknown_service(name: str, document: yamlfile.Document, registry: Registry) -> BadInput:
    trail = ("services", name)
    shown = yamlfile.dotted((name,))
    if name in registry.systems:
        return document.error(
            f"`{shown}` is no service", trail, "Its settings stand at the top level of the file."
        )
    cure = translate.suggestion(name, registry.services)
    return document.error(f"there is no service `{shown}`", trail, cure)


def _conflict(site: Site, conflict: conflicts.Conflict) -> BadInput:
    placed = {role.name for role in site.roles}
    gone = [role for role in conflict.roles if role not in placed]
    lines = [line for role in conflict.roles if (line := site.line_of(role)) is not None]
    cure = conflict.cure
    if gone:
        cure += f" `{gone[0]}` is still on the host; `houblon remove {gone[0]}` takes it away."
    return BadInput(
        conflict.what, cure=cure, file=site.file, line=max(lines, default=None), key=conflict.roles[-1]
    )


def _first(errors: Sequence[BadInput]) -> BadInput:
    """The first mistake in the file, with the number of further ones."""
    error = min(errors, key=lambda e: e.line or 0)
    others = len(errors) - 1
    if not others:
        return error
    more = f"({others} more mistake{'s' if others > 1 else ''} further on.)"
    return BadInput(error.what, cure=f"{error.cure} {more}", file=error.file, line=error.line, key=error.key)


def _git(folder: Path, *arguments: str) -> str | None:
    """Output of a git command; None when it fails."""
    # A hook's GIT_DIR would point git at another repository than the site's.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    environment |= {"GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C.UTF-8"}
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], env=environment, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, errors="replace", timeout=20, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
